//! Where on the disks bytes come from: what is read of them while a message is read.
//!
//! Every layout (RAID with a member missing, LVM, framed sectors) asks the disks at last. So the way
//! to a disk's offset is not worked out a second time for the papers: it is watched. A block that
//! had to be rebuilt names the blocks that it was rebuilt from.

use std::sync::{Arc, Mutex, PoisonError};

use aggregate::Disk;
use evidence::{ByteOffset, Gaps, OutOfRange, ReadAt};

/// A range of a disk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DiskRun {
    /// The disk's name in the case.
    pub(super) disk: Arc<str>,
    /// Where it begins, in bytes.
    pub(super) start: u64,
    /// How long it is.
    pub(super) bytes: u64,
}

/// What was read of all disks.
#[derive(Clone, Default)]
pub(super) struct Trace(Arc<Mutex<Vec<DiskRun>>>);

impl Trace {
    /// The disk, watched.
    pub(super) fn watch(&self, (name, disk): Disk) -> Disk {
        let watched = Watched {
            name: name.as_str().into(),
            disk,
            trace: self.clone(),
        };
        (name, Arc::new(watched))
    }

    /// What was read since it was last asked, sorted, ranges that touch put together.
    pub(super) fn take(&self) -> Vec<DiskRun> {
        let mut runs = std::mem::take(&mut *self.lock());
        runs.sort();
        let mut joined: Vec<DiskRun> = Vec::new();
        for run in runs {
            match joined.last_mut() {
                Some(last)
                    if last.disk == run.disk
                        && run.start <= last.start.saturating_add(last.bytes) =>
                {
                    let end = run.start.saturating_add(run.bytes);
                    last.bytes = last.bytes.max(end.saturating_sub(last.start));
                }
                _ => joined.push(run),
            }
        }
        joined
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<DiskRun>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A disk whose reads are written down.
struct Watched {
    name: Arc<str>,
    disk: Arc<dyn ReadAt>,
    trace: Trace,
}

impl ReadAt for Watched {
    fn len(&self) -> u64 {
        self.disk.len()
    }

    fn known_gaps(&self) -> u64 {
        self.disk.known_gaps()
    }

    fn read_at(&self, at: ByteOffset, buf: &mut [u8]) -> Result<Gaps, OutOfRange> {
        self.trace.lock().push(DiskRun {
            disk: Arc::clone(&self.name),
            start: at.get(),
            bytes: buf.len() as u64,
        });
        self.disk.read_at(at, buf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evidence::view::Memory;

    #[test]
    fn ranges_that_touch_are_one_and_each_is_told_once() {
        let trace = Trace::default();
        let disk: Arc<dyn ReadAt> = Arc::new(Memory::new(vec![0; 8192]));
        let (_, watched) = trace.watch(("a".to_owned(), disk));
        for (at, length) in [(4096, 10), (0, 512), (512, 512), (4100, 100)] {
            let mut buf = vec![0; length];
            let _gaps = watched.read_at(ByteOffset::new(at), &mut buf).unwrap();
        }
        let runs: Vec<(u64, u64)> = trace.take().iter().map(|r| (r.start, r.bytes)).collect();
        assert_eq!(runs, [(0, 1024), (4096, 104)]);
        assert!(trace.take().is_empty());
    }
}
