//! Where inodes lie when descriptors do not say: runs of inodes with consecutive numbers.

use evidence::ByteOffset;

use super::volume::Volume;
use crate::InodeNumber;

/// Inodes with consecutive numbers, side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Run {
    /// The number of the first one.
    pub(super) first: u64,
    /// How many there are.
    pub(super) count: u64,
    /// Where the first one lies.
    pub(super) at: ByteOffset,
}

/// Runs that were worked out without descriptors.
#[derive(Clone, Debug, Default)]
pub(super) struct Tables {
    /// By number, apart from each other.
    pub(super) runs: Vec<Run>,
    /// Whether there are no descriptors at all, so that only these count.
    pub(super) alone: bool,
}

impl Tables {
    /// The same without the inodes at places that are `foreign`: another file system's.
    pub(super) fn without(self, inode_bytes: usize, foreign: impl Fn(u64) -> bool) -> Self {
        let size = inode_bytes as u64;
        let mut runs: Vec<Run> = Vec::new();
        for run in self.runs {
            let mut start = 0_u64;
            for inside in 0..=run.count {
                let at = run.at.get().saturating_add(inside.saturating_mul(size));
                if inside < run.count && !foreign(at) {
                    continue;
                }
                let first = run.at.checked_add(size.saturating_mul(start));
                if let Some(at) = first.filter(|_| inside > start) {
                    runs.push(Run {
                        first: run.first.saturating_add(start),
                        count: inside.saturating_sub(start),
                        at,
                    });
                }
                start = inside.saturating_add(1);
            }
        }
        Self { runs, ..self }
    }

    /// Where the inode `number` lies.
    pub(super) fn place(&self, number: u64, inode_bytes: usize) -> Option<ByteOffset> {
        let next = self.runs.partition_point(|run| run.first <= number);
        let run = self.runs.get(next.checked_sub(1)?)?;
        let inside = number.checked_sub(run.first)?;
        (inside < run.count).then_some(())?;
        run.at.checked_add(inside.checked_mul(inode_bytes as u64)?)
    }
}

impl Volume {
    /// All runs of inodes: the tables of the groups, as far as they were ever in use.
    pub(super) fn inode_runs(&self) -> Vec<Run> {
        if self.tables.alone {
            return self.tables.runs.clone();
        }
        let per_group = self.sb.inodes_per_group.get();
        // A table that lies past the end of the view has no inode to offer.
        let groups = self.sb.groups().min(
            self.view
                .len()
                .checked_div(u64::from(self.sb.block.get()))
                .unwrap_or(0),
        );
        let mut runs = Vec::new();
        for group in 0..groups {
            let first = group.saturating_mul(per_group).saturating_add(1);
            let left = self.sb.inodes.saturating_add(1).saturating_sub(first);
            if let Ok(found) = self.group(group) {
                let used = match found.inodes_used {
                    Some(used) if self.sb.seed.is_none() => used,
                    _ => per_group,
                };
                runs.push(Run {
                    first,
                    count: used.min(left),
                    at: self.nominal(found.inode_table),
                });
            } else if let Some(at) = self.tables.place(first, self.sb.inode_bytes) {
                runs.push(Run {
                    first,
                    count: per_group.min(left),
                    at,
                });
            }
        }
        runs
    }

    /// Where the inode lies by the tables that were worked out without descriptors.
    pub(super) fn place_by_tables(&self, number: InodeNumber) -> Option<ByteOffset> {
        self.tables.place(number.0, self.sb.inode_bytes)
    }
}
