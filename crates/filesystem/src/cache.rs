//! Metadata blocks, read in windows and kept for a while.
//!
//! A walk asks for thousands of inodes that lie side by side. Below may be a RAID whose every
//! read costs a rebuild, so the tables are read 64 KiB at a time and the newest windows stay.
//! Memory is bounded by [`SHARDS`] × [`KEPT`] × [`WINDOW_BYTES`] = 8 MiB.
#![warn(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use std::sync::{Arc, Mutex, PoisonError};

use evidence::{ByteOffset, Cause, GapCause, Gaps, ReadAt, ReadAtExt};

/// How much is read at a time.
const WINDOW_BYTES: u64 = 64 * 1024;
/// Windows are spread over this many locks, so that threads rarely meet.
const SHARDS: usize = 8;
/// How many windows a shard keeps.
const KEPT: usize = 16;

/// One window of the view, with what of it could not be read.
struct Window {
    bytes: Vec<u8>,
    gaps: Gaps,
}

/// Windows by number, the one used last at the end.
type Shard = Vec<(u64, Arc<Window>)>;

/// A view with a memory for metadata.
pub(crate) struct Cache {
    view: Arc<dyn ReadAt>,
    shards: [Mutex<Shard>; SHARDS],
}

impl Cache {
    /// A cache over `view`, empty yet.
    pub(crate) fn new(view: Arc<dyn ReadAt>) -> Self {
        Self {
            view,
            shards: std::array::from_fn(|_| Mutex::new(Vec::new())),
        }
    }

    /// `length` bytes at `at`, or why they cannot be had: metadata with a hole is worth nothing.
    ///
    /// `length` is that of a small structure, an inode or a descriptor.
    pub(crate) fn read(&self, at: ByteOffset, length: usize) -> Result<Vec<u8>, Cause> {
        let mut bytes = Vec::with_capacity(length);
        let mut next = at.get();
        while bytes.len() < length {
            let window = self.window(next / WINDOW_BYTES);
            let inside = usize::try_from(next % WINDOW_BYTES).unwrap_or(usize::MAX);
            let rest = length.saturating_sub(bytes.len());
            let stop = inside.saturating_add(rest).min(window.bytes.len());
            let Some(part) = window.bytes.get(inside..stop).filter(|p| !p.is_empty()) else {
                return Err(Cause::Gap(GapCause::BeyondEnd));
            };
            if let Some(cause) = gap_in(&window.gaps, inside, stop) {
                return Err(Cause::Gap(cause));
            }
            bytes.extend_from_slice(part);
            next = next.saturating_add(part.len() as u64);
        }
        Ok(bytes)
    }

    fn window(&self, number: u64) -> Arc<Window> {
        let shard = number
            .checked_rem(SHARDS as u64)
            .and_then(|index| usize::try_from(index).ok())
            .and_then(|index| self.shards.get(index));
        let lock = |shard: &'_ Mutex<Shard>, new: Option<&Arc<Window>>| {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            remember(&mut shard, number, new)
        };
        if let Some(found) = shard.and_then(|shard| lock(shard, None)) {
            return found;
        }
        // Read without the lock: two threads may read the same window once each, but none
        // waits for the disk while it only wants another window.
        let start = number.saturating_mul(WINDOW_BYTES);
        let length = self.view.len().saturating_sub(start).min(WINDOW_BYTES);
        let length = usize::try_from(length).unwrap_or(0);
        let (bytes, gaps) = self
            .view
            .read_vec(ByteOffset::new(start), length)
            .unwrap_or_default();
        let window = Arc::new(Window { bytes, gaps });
        if let Some(shard) = shard {
            lock(shard, Some(&window));
        }
        window
    }
}

/// The window `number` of `shard`, moved to its end; if it is not there, `new` takes its place.
fn remember(shard: &mut Shard, number: u64, new: Option<&Arc<Window>>) -> Option<Arc<Window>> {
    let window = match shard.iter().position(|(n, _)| *n == number) {
        Some(index) => shard.remove(index).1,
        None => Arc::clone(new?),
    };
    if shard.len() >= KEPT {
        shard.remove(0);
    }
    shard.push((number, Arc::clone(&window)));
    Some(window)
}

/// Why a byte of `start..stop` could not be read, if one could not.
pub(crate) fn gap_in(gaps: &Gaps, start: usize, stop: usize) -> Option<GapCause> {
    gaps.iter()
        .find(|gap| gap.range.start < stop && start < gap.range.end)
        .map(|gap| gap.cause)
}

/// `length` bytes of `view` at `at`, not kept: for blocks that are read once.
pub(crate) fn read_whole(
    view: &dyn ReadAt,
    at: ByteOffset,
    length: usize,
) -> Result<Vec<u8>, Cause> {
    let (bytes, gaps) = view
        .read_vec(at, length)
        .map_err(|_| Cause::Gap(GapCause::BeyondEnd))?;
    match gap_in(&gaps, 0, length) {
        None => Ok(bytes),
        Some(cause) => Err(Cause::Gap(cause)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evidence::OutOfRange;
    use evidence::view::Memory;
    use std::sync::atomic::{AtomicUsize, Ordering};

    struct Counting(Memory, AtomicUsize);

    impl ReadAt for Counting {
        fn len(&self) -> u64 {
            self.0.len()
        }
        fn read_at(&self, at: ByteOffset, buf: &mut [u8]) -> Result<Gaps, OutOfRange> {
            self.1.fetch_add(1, Ordering::Relaxed);
            self.0.read_at(at, buf)
        }
    }

    fn numbered(length: usize) -> Vec<u8> {
        (0..length).map(|i| (i % 251) as u8).collect()
    }

    #[test]
    fn many_inodes_of_one_window_are_one_read() {
        let base = Arc::new(Counting(
            Memory::new(numbered(300_000)),
            AtomicUsize::new(0),
        ));
        let cache = Cache::new(Arc::clone(&base) as Arc<dyn ReadAt>);
        for at in (0..65_536).step_by(256) {
            cache.read(ByteOffset::new(at), 256).unwrap();
        }
        assert_eq!(base.1.load(Ordering::Relaxed), 1);
        let across = cache.read(ByteOffset::new(65_530), 12).unwrap();
        assert_eq!(across, numbered(300_000)[65_530..65_542]);
    }

    #[test]
    fn only_what_touches_a_gap_is_refused() {
        let holed =
            Memory::new(numbered(5000)).with_gaps(&Gaps::one(100..200, GapCause::Unreadable));
        let cache = Cache::new(Arc::new(holed));
        assert!(cache.read(ByteOffset::ZERO, 100).is_ok());
        assert_eq!(
            cache.read(ByteOffset::new(199), 2),
            Err(Cause::Gap(GapCause::Unreadable))
        );
        assert!(cache.read(ByteOffset::new(200), 4800).is_ok());
        assert_eq!(
            cache.read(ByteOffset::new(4999), 2),
            Err(Cause::Gap(GapCause::BeyondEnd))
        );
    }

    #[test]
    fn the_number_of_windows_is_bounded() {
        let cache = Cache::new(Arc::new(Memory::new(vec![0; 20 << 20])));
        for at in (0..20 << 20).step_by(32_768) {
            cache.read(ByteOffset::new(at), 4).unwrap();
        }
        let kept: usize = cache.shards.iter().map(|s| s.lock().unwrap().len()).sum();
        assert_eq!(kept, SHARDS * KEPT);
    }
}
