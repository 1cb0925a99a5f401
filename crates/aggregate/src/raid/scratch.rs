//! Memory that reads borrow and give back, so that a degraded read does not allocate.

use std::sync::{Mutex, PoisonError};

/// Buffers that no read uses at the moment.
#[derive(Default)]
pub(crate) struct Pool(Mutex<Vec<Vec<u8>>>);

/// Most buffers that are kept: more threads than this at once allocate.
const KEPT: usize = 64;

impl Pool {
    /// Runs `work` with a buffer of `length` bytes that holds anything.
    pub(crate) fn with<T>(&self, length: usize, work: impl FnOnce(&mut [u8]) -> T) -> T {
        let mut buffer = self.lock().pop().unwrap_or_default();
        if buffer.len() < length {
            buffer.resize(length, 0);
        }
        let result = work(buffer.split_at_mut(length).0);
        let mut pool = self.lock();
        if pool.len() < KEPT {
            pool.push(buffer);
        }
        result
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        // The list is whole at any time, also if a thread died while it held it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
