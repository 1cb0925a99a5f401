//! Where LVM puts extents.

/// The default length of an extent.
pub(crate) const EXTENT: u64 = 4 << 20;

/// Where the first extent lies: at a mebibyte, and before 2010 behind a metadata area of 192 KiB; on a
/// group at the next whole row.
pub(crate) const USUAL_STARTS: [u64; 2] = [1 << 20, 192 << 10];

/// Where LVM begins the first extent of a device of such rows today.
pub(crate) fn first_extent(row: u64) -> u64 {
    let [usual, _] = USUAL_STARTS;
    usual.checked_next_multiple_of(row.max(1)).unwrap_or(usual)
}
