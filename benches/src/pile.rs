//! A pile of 24 disks: three groups, two spares, a stale member and a stranger.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::sync::Arc;

use aggregate::document::{Aggregate, DeviceName};

use crate::arrays::{Array, Level};
use crate::cases::{Case, Named};
use crate::contents::{Contents, Kind};
use crate::disk::Disk;
use crate::judge::{Truth, Verdict, judge, members};
use crate::random::Random;
use crate::trial;

/// How many disks lie on the table.
pub const DISKS: usize = 24;

/// Whose old copy lies on the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stale {
    /// That of a member of the RAID-5 group, which is there too: it was replaced.
    Replaced,
    /// That of the member that the RAID-6 group lacks: it was thrown out, and the group went on.
    ThrownOut,
}

/// The table.
#[derive(Clone, Debug)]
pub struct Pile {
    /// RAID-6 of nine without one, RAID-5 of six, RAID-10 of six.
    pub groups: [Case; 3],
    /// Whose old copy is there.
    pub stale: Stale,
    /// The group and role of the stale member.
    stale_role: (usize, usize),
    /// What the disk without RAID holds.
    foreign: Kind,
    /// The names of the stale member, the disk without RAID, and the spares.
    strangers: [String; 4],
}

/// The disks of a pile, and what its groups hold.
pub struct Laid {
    /// All disks, by name.
    pub disks: Vec<Named>,
    /// The content of each group.
    pub contents: [Vec<u8>; 3],
}

/// How a pile was sorted.
#[derive(Clone, Debug)]
pub struct Sorted {
    /// The verdict on each group.
    pub verdicts: Vec<Verdict>,
    /// Of how many groups the disks are named together, and no others with them: as a group or
    /// in a loss.
    pub grouped: usize,
    /// Disks that were taken into a group and belong to none.
    pub strangers_taken: Vec<DeviceName>,
}

impl Pile {
    /// The pile of `seed`.
    pub fn new(seed: u64, stale: Stale) -> Self {
        let mut random = Random::of_case(seed, 24);
        let mut names: Vec<String> = (0..DISKS)
            .map(|number| format!("disk-{number:02}"))
            .collect();
        random.shuffle(&mut names);
        let mut kinds = [Kind::Ext4, Kind::Xfs, Kind::Ext4Of2014];
        random.shuffle(&mut kinds);
        let near = Level::Raid10 {
            near: 2,
            far: 1,
            offset: false,
        };
        let levels = [
            (Level::Raid6(*random.pick(&[0, 1, 2, 3])), 9),
            (Level::Raid5(*random.pick(&[0, 1, 2, 3])), 6),
            (near, 6),
        ];
        let gone = random.below(9);
        let mut number = 0;
        let groups = levels.map(|(level, members)| {
            let place = number as usize;
            number += 1;
            let missing = if place == 0 { vec![gone] } else { Vec::new() };
            let own = (0..members).map(|role| match missing.contains(&role) {
                true => String::new(),
                false => names.pop().unwrap_or_default(),
            });
            let own = own.collect();
            Case {
                number: place as u64,
                array: Array {
                    level,
                    members,
                    chunk: 16384 << random.below(5),
                },
                kind: kinds[place],
                bytes: kinds[place].bytes(),
                offsets: vec![*random.pick(&[1 << 20, 2 << 20, 4 << 20, 0x20_0000]); members],
                missing,
                names: own,
                leftovers: 0,
                tail: random.below(64) * 4096,
            }
        });
        let stale_role = match stale {
            Stale::Replaced => (1, random.below(6)),
            Stale::ThrownOut => (0, gone),
        };
        let strangers = std::array::from_fn(|_| names.pop().unwrap_or_default());
        Self {
            groups,
            stale,
            stale_role,
            foreign: Kind::Btrfs,
            strangers,
        }
    }

    /// Makes the disks.
    pub fn lay_out(&self, contents: &Contents) -> io::Result<Laid> {
        let mut disks = Vec::new();
        let mut laid: [Vec<u8>; 3] = Default::default();
        for (group, content) in self.groups.iter().zip(&mut laid) {
            *content = group.content(contents)?;
            disks.extend(group.disks(content));
        }
        let (group, role) = self.stale_role;
        let group = &self.groups[group];
        let early = contents.early(group.kind)?;
        let mut old = group.array.lay_out(&early[..group.bytes.min(early.len())]);
        let length = disks
            .iter()
            .map(|(_, disk)| evidence::ReadAt::len(&**disk))
            .max();
        let [stale, foreign, spares @ ..] = &self.strangers;
        let mut add = |name: &String, disk| disks.push((name.clone(), Arc::new(disk)));
        add(stale, group.disk(role, std::mem::take(&mut old[role])));
        add(foreign, Disk::new(0, contents.get(self.foreign)?.to_vec()));
        for spare in spares {
            add(spare, Disk::new(length.unwrap_or(0), Vec::new()));
        }
        disks.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(Laid {
            disks,
            contents: laid,
        })
    }

    /// Judges what `aggregate` says of the pile.
    pub fn judge(&self, aggregate: &Aggregate, disks: &[aggregate::Disk], laid: &Laid) -> Sorted {
        let pairs = self.groups.iter().zip(&laid.contents);
        let truths: Vec<Truth<'_>> = pairs
            .map(|(case, content)| trial::truth(case, content))
            .collect();
        let belong: BTreeSet<&DeviceName> = truths.iter().flat_map(|truth| &truth.disks).collect();
        let taken = aggregate.groups.iter().flat_map(members);
        Sorted {
            verdicts: truths
                .iter()
                .map(|truth| judge(aggregate, disks, truth))
                .collect(),
            grouped: truths
                .iter()
                .filter(|truth| is_grouped(aggregate, truth, disks))
                .count(),
            strangers_taken: taken
                .filter(|name| !belong.contains(name))
                .cloned()
                .collect(),
        }
    }
}

/// Whether the disks of one group are named together and alone, as a group or in a loss.
fn is_grouped(aggregate: &Aggregate, truth: &Truth<'_>, disks: &[aggregate::Disk]) -> bool {
    let as_group = aggregate
        .groups
        .iter()
        .any(|group| members(group).collect::<BTreeSet<_>>() == truth.disks.iter().collect());
    let as_loss = aggregate.losses.iter().any(|loss| {
        disks.iter().all(|(name, _)| {
            let name = DeviceName::disk(name);
            loss.what.contains(&name.0) == truth.disks.contains(&name)
        })
    });
    as_group || as_loss
}

impl fmt::Display for Pile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for case in &self.groups {
            writeln!(f, "{case}: {}", case.names.join(" "))?;
        }
        let [stale, foreign, spares @ ..] = &self.strangers;
        let (group, role) = self.stale_role;
        write!(
            f,
            "{stale} is an old role {role} of case {group}, {foreign} is {} alone, spares: {}",
            self.foreign.name(),
            spares.join(" ")
        )
    }
}
