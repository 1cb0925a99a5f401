//! The classes of a unit's blocks, as runs.

use evidence::ByteOffset;

use crate::{BLOCK_BYTES, Class, Family};

/// Blocks beside each other that have one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Where on the disk the first of them begins.
    pub start: ByteOffset,
    /// How long they are together, in bytes: blocks of [`BLOCK_BYTES`], the last one of a disk
    /// shorter if the disk is.
    pub bytes: u64,
    /// What they look like.
    pub class: Class,
}

/// The class of each block of a unit that begins at `start` and has `bytes` bytes, as runs.
pub(crate) fn runs(start: u64, bytes: u64, classes: &[Class]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut done = 0_u64;
    for class in classes {
        let length = (BLOCK_BYTES as u64).min(bytes.saturating_sub(done));
        match runs.last_mut() {
            Some(run) if run.class == *class => run.bytes = run.bytes.saturating_add(length),
            _ => runs.push(Run {
                start: ByteOffset::new(start.saturating_add(done)),
                bytes: length,
                class: *class,
            }),
        }
        done = done.saturating_add(length);
    }
    runs
}

/// Gives the blocks that a structure at `offset` covers the class of its family, as far as they
/// lie in the unit at `start`. What could not be read stays so.
pub(crate) fn mark(classes: &mut [Class], start: u64, (offset, bytes, family): (u64, u64, Family)) {
    let block = BLOCK_BYTES as u64;
    let from = offset.saturating_sub(start);
    let to = from.saturating_add(bytes).div_ceil(block);
    let range = usize::try_from(from / block).unwrap_or(usize::MAX)
        ..usize::try_from(to).unwrap_or(usize::MAX).min(classes.len());
    for class in classes.get_mut(range).unwrap_or_default() {
        if *class != Class::Unread {
            *class = Class::Metadata(family);
        }
    }
}
