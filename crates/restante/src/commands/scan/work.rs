//! Scanning the units that are not scanned yet.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use case::{CATALOGUE, Case, CaseError};
use evidence::ReadAt;
use evidence::image::Image;
use indicatif::ProgressBar;
use rayon::prelude::*;
use scan::catalogue::{SEGMENT_EXTENSION, Segment, segment_name};
use scan::{Detectors, RunningSha256, ScanOptions, Unit, scan_unit, units};

use crate::args::{Hashes, Share};
use crate::session::{scanned_segment, scanned_unit};

/// Segments that wait to be written at most. The medium of the case is rarely the slower one.
const MOST_WAITING: usize = 8;

/// How many finds of each kind there are, by evidence.
pub(super) type Counts = BTreeMap<String, BTreeMap<String, u64>>;

/// What is to be scanned, and how.
#[derive(Clone, Copy)]
pub(super) struct Work<'a> {
    pub(super) case: &'a Case,
    pub(super) disks: &'a [(String, Image)],
    pub(super) hashes: Hashes,
    pub(super) share: Option<Share>,
    pub(super) bar: &'a ProgressBar,
}

/// A segment on its way to the disk: its name and its bytes.
type Written = (String, Bytes);

impl Work<'_> {
    /// Scans what is not scanned yet, and counts what was found, now or before.
    ///
    /// A segment is synced by a thread of its own, so that those that scan never wait for the
    /// medium of the case.
    pub(super) fn run(self) -> Result<Counts> {
        let detectors = detect::all()?;
        let (sender, receiver) = sync_channel(MOST_WAITING);
        let (counts, written) = thread::scope(|scope| {
            let writer = scope.spawn(move || self.write(&receiver));
            let counts = self.all_units(&detectors, &sender);
            drop(sender);
            let written = writer
                .join()
                .map_err(|_| anyhow!("the thread that writes the catalogue died"));
            (counts, written)
        });
        // If writing failed, that is why scanning ended.
        written??;
        counts
    }

    fn write(self, segments: &Receiver<Written>) -> Result<(), CaseError> {
        let mut any = false;
        for (name, bytes) in segments {
            self.case
                .write_file_of(CATALOGUE, &name, SEGMENT_EXTENSION, &bytes)?;
            any = true;
        }
        if any {
            self.case.sync_files(CATALOGUE)?;
        }
        Ok(())
    }

    fn all_units(self, detectors: &Detectors, to: &SyncSender<Written>) -> Result<Counts> {
        let total = self.disks.iter().map(|(_, disk)| disk.len());
        self.bar.set_length(total.sum());
        let counts: Vec<Counts> = if self.hashes.sha256 {
            // SHA-256 is a chain: the units of one disk follow each other, the disks run abreast.
            self.disks
                .par_iter()
                .map(|(name, disk)| self.in_order(name, disk, detectors, to))
                .collect::<Result<_>>()?
        } else {
            let mut work = Vec::new();
            for (name, disk) in self.disks {
                let mine = units(disk).filter(|unit| self.is_mine(name, *unit));
                work.extend(mine.map(|unit| (name, disk, unit)));
            }
            self.bar
                .set_length(work.iter().map(|(_, _, unit)| unit.bytes).sum());
            work.into_par_iter()
                .map(|(name, disk, unit)| self.in_any_order(name, disk, unit, detectors, to))
                .collect::<Result<_>>()?
        };
        Ok(counts.into_iter().fold(Counts::new(), added))
    }

    /// Whether a unit belongs to this share. That depends on its evidence and its place alone, so
    /// shares need not know of each other.
    fn is_mine(self, name: &str, unit: Unit) -> bool {
        let Some(Share { part, of }) = self.share else {
            return true;
        };
        // Where the shares begin differs from disk to disk: the last units of disks, which make
        // the shares uneven, fall on all of them.
        let [first, ..] = *blake3::hash(name.as_bytes()).as_bytes();
        let number = (unit.start.get() / scan::UNIT_BYTES).wrapping_add(u64::from(first));
        number % of == part.saturating_sub(1)
    }

    fn in_any_order(
        self,
        name: &str,
        disk: &Image,
        unit: Unit,
        detectors: &Detectors,
        to: &SyncSender<Written>,
    ) -> Result<Counts> {
        if let Some(known) = scanned_segment(self.case, name, unit)?
            && (known.unit.blake3.is_some() || self.hashes.no_hash)
        {
            self.bar.inc(unit.bytes);
            return Ok(counted(&known));
        }
        let (segment, _) = self.scan_one(name, disk, unit, None, detectors, to)?;
        Ok(counted(&segment))
    }

    fn in_order(
        self,
        name: &str,
        disk: &Image,
        detectors: &Detectors,
        to: &SyncSender<Written>,
    ) -> Result<Counts> {
        let mut state = RunningSha256::new();
        let mut counts = Counts::new();
        for unit in units(disk) {
            let known = scanned_unit(self.case, name, unit)?.and_then(|record| record.sha256());
            let known = known.zip(scanned_segment(self.case, name, unit)?);
            let (after, segment) = match known {
                Some((after, segment)) => {
                    self.bar.inc(unit.bytes);
                    (Some(after), segment)
                }
                None => {
                    let (segment, after) =
                        self.scan_one(name, disk, unit, Some(state), detectors, to)?;
                    (after, segment)
                }
            };
            state = after.ok_or_else(|| anyhow!("the state of SHA-256 was lost"))?;
            counts = added(counts, counted(&segment));
        }
        Ok(counts)
    }

    /// Scans one unit and sends its segment to be written.
    fn scan_one(
        self,
        name: &str,
        disk: &Image,
        unit: Unit,
        sha256: Option<RunningSha256>,
        detectors: &Detectors,
        to: &SyncSender<Written>,
    ) -> Result<(Segment, Option<RunningSha256>)> {
        let options = ScanOptions {
            hash: !self.hashes.no_hash,
            ..ScanOptions::default()
        };
        let progress = |count| self.bar.inc(count);
        let result = scan_unit(disk, unit, detectors, &options, sha256, &progress)
            .with_context(|| format!("evidence {name}"))?;
        let state = result.sha256.clone();
        let segment = Segment::new(name, unit, result);
        let bytes = segment.encode()?;
        to.send((segment_name(name, unit), bytes))
            .map_err(|_| anyhow!("the catalogue could not be written"))?;
        Ok((segment, state))
    }
}

/// The finds of a segment, counted.
fn counted(segment: &Segment) -> Counts {
    let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
    for find in &segment.finds {
        match kinds.get_mut(find.what.as_ref()) {
            Some(count) => *count = count.saturating_add(1),
            None => {
                kinds.insert(find.what.to_string(), 1);
            }
        }
    }
    BTreeMap::from([(segment.unit.evidence.clone(), kinds)])
}

/// Both counts together.
fn added(mut sum: Counts, more: Counts) -> Counts {
    for (evidence, kinds) in more {
        let known = sum.entry(evidence).or_default();
        for (what, count) in kinds {
            let all = known.entry(what).or_default();
            *all = all.saturating_add(count);
        }
    }
    sum
}
