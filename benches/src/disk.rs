//! A disk in memory that counts what is read of it.

use std::sync::atomic::{AtomicU64, Ordering};

use evidence::{ByteOffset, Gaps, OutOfRange, ReadAt, ReadAtExt};

/// Zeros that take no memory, and bytes behind them.
#[derive(Debug)]
pub struct Disk {
    zeros: u64,
    bytes: Vec<u8>,
    read: AtomicU64,
}

impl Disk {
    /// A disk of so many `zeros`, then `bytes`.
    pub const fn new(zeros: u64, bytes: Vec<u8>) -> Self {
        Self {
            zeros,
            bytes,
            read: AtomicU64::new(0),
        }
    }

    /// How many bytes were read since the last time that this was asked.
    pub fn take_count(&self) -> u64 {
        self.read.swap(0, Ordering::Relaxed)
    }
}

impl ReadAt for Disk {
    fn len(&self) -> u64 {
        self.zeros + self.bytes.len() as u64
    }

    fn read_at(&self, at: ByteOffset, buf: &mut [u8]) -> Result<Gaps, OutOfRange> {
        self.check_range(at, buf.len())?;
        self.read.fetch_add(buf.len() as u64, Ordering::Relaxed);
        let zeros = self.zeros.saturating_sub(at.get()).min(buf.len() as u64);
        let (head, tail) = buf.split_at_mut(zeros as usize);
        head.fill(0);
        let from = at.get().saturating_sub(self.zeros) as usize;
        if !tail.is_empty() {
            tail.copy_from_slice(&self.bytes[from..from + tail.len()]);
        }
        Ok(Gaps::none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_come_before_the_bytes() {
        let disk = Disk::new(3, vec![1, 2, 3]);
        for (at, expected) in [(0, [0, 0]), (2, [0, 1]), (3, [1, 2]), (4, [2, 3])] {
            let read = disk.read_whole(ByteOffset::new(at), 2);
            assert_eq!(read.as_deref(), Some(&expected[..]), "{at}");
        }
        assert_eq!(disk.take_count(), 8);
        assert!(disk.read_whole(ByteOffset::new(5), 2).is_none());
    }
}
