//! Numbers for what has none of its own.
//!
//! An inode number of XFS is below 2^61 on any device that there is. The highest bit says that a
//! number was made here.

/// Set in all numbers that were made here.
const MADE: u64 = 1 << 63;
/// A directory that is only one block; its sector is in the low bits.
const BLOCK: u64 = MADE | 1 << 61;
/// The contents of a deleted inode, whatever it was called; its number is in the low bits.
const NAMELESS: u64 = MADE | 1 << 62;
const LOW: u64 = (1 << 61) - 1;

/// The directory of everything whose place in the tree is lost.
pub(super) const ORPHANS: u64 = MADE;
/// A root in place of one that is lost.
pub(super) const ROOT: u64 = MADE | 1;
/// The name of [`ORPHANS`].
pub(super) const ORPHANS_NAME: &[u8] = b"#orphans";

/// Whether `number` was made here.
pub(super) const fn is_made(number: u64) -> bool {
    number & MADE != 0
}

/// The number of the directory that is only the block at `place`.
pub(super) const fn of_block(place: u64) -> u64 {
    BLOCK | ((place / 512) & LOW)
}

/// The number of the contents of the deleted inode `number`, by none of the names that it may have had.
pub(super) const fn nameless(number: u64) -> u64 {
    NAMELESS | (number & LOW)
}

/// The deleted inode whose contents `number` stands for.
pub(super) fn contents_of(number: u64) -> Option<u64> {
    (number & !LOW == NAMELESS).then_some(number & LOW)
}

/// How a number is shown in names.
pub(super) fn shown(number: u64) -> String {
    if number & BLOCK == BLOCK {
        return format!("block-{}", number & LOW);
    }
    contents_of(number).unwrap_or(number & !MADE).to_string()
}
