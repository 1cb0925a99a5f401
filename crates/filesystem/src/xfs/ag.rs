//! Allocation groups: how block and inode numbers become places on the volume.
//!
//! A number has the group in its high bits and the position inside the group in its low
//! ones, so numbers have breaks where `sb_agblocks` is no power of two. Specification:
//! *Allocation Groups*, *Inode Numbers*.

use std::fmt;

use evidence::{BlockNumber, ByteOffset};

use super::superblock::Superblock;
use crate::InodeNumber;

/// `xfs_fsblock_t`: the number of a block, with its group in the high bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct FsBlock(pub(super) u64);

impl fmt::Display for FsBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// `number` as its part above the low `bits`, and those.
fn split(number: u64, bits: u8) -> Option<(u64, u64)> {
    let high = number.checked_shr(bits.into())?;
    let low = number ^ high.checked_shl(bits.into())?;
    Some((high, low))
}

impl Superblock {
    /// How many blocks the group `agno` has; `None` if there is no such group.
    fn ag_blocks(&self, agno: u64) -> Option<u64> {
        let last = u64::from(self.sb_agcount).checked_sub(1)?;
        let whole = u64::from(self.sb_agblocks);
        match agno {
            _ if agno < last => Some(whole),
            _ if agno == last => self.sb_dblocks.checked_sub(last.checked_mul(whole)?),
            _ => None,
        }
    }

    /// Where `count` blocks from `start` on lie, if they are inside one group: no extent
    /// reaches from one into the next.
    pub(super) fn run(&self, start: FsBlock, count: u64) -> Option<ByteOffset> {
        let (agno, agbno) = split(start.0, self.sb_agblklog)?;
        if agbno.checked_add(count)? > self.ag_blocks(agno)? {
            return None;
        }
        let linear = agno
            .checked_mul(self.sb_agblocks.into())?
            .checked_add(agbno)?;
        let inside = self.block.offset_of(BlockNumber::new(linear))?;
        let at = inside.get().checked_add_signed(self.base)?;
        Some(ByteOffset::new(at))
    }

    /// How far behind the start of the file system `place` lies.
    pub(super) fn inside(&self, place: ByteOffset) -> Option<u64> {
        let at = i128::from(place.get()).checked_sub(self.base.into())?;
        u64::try_from(at).ok()
    }

    /// The number of the block at `place`, if one begins there.
    pub(super) fn block_at(&self, place: ByteOffset) -> Option<FsBlock> {
        let inside = self.inside(place)?;
        let block = u64::from(self.block.get());
        if !inside.is_multiple_of(block) {
            return None;
        }
        let linear = inside.checked_div(block)?;
        let agno = linear.checked_div(self.sb_agblocks.into())?;
        let agbno = linear.checked_rem(self.sb_agblocks.into())?;
        let number = agno.checked_shl(self.sb_agblklog.into())? | agbno;
        (agno < self.sb_agcount.into()).then_some(FsBlock(number))
    }

    /// The number that an inode at `place` has.
    pub(super) fn inode_at(&self, place: ByteOffset) -> Option<InodeNumber> {
        let block = u64::from(self.block.get());
        let within = self.inside(place)?.checked_rem(block)?;
        let size = u64::from(self.sb_inodesize);
        if !within.is_multiple_of(size) {
            return None;
        }
        let index = within.checked_div(size)?;
        let first = self.block_at(place.checked_sub(within)?)?;
        let number = InodeNumber(first.0.checked_shl(self.sb_inopblog.into())? | index);
        // Not where the headers of a group are.
        self.inode_place(number).map(|_| number)
    }

    /// Where the inode `number` lies, if the geometry has room for it.
    pub(super) fn inode_place(&self, number: InodeNumber) -> Option<ByteOffset> {
        let (block, index) = split(number.0, self.sb_inopblog)?;
        let inside = index.checked_mul(self.sb_inodesize.into())?;
        let (_, agbno) = split(block, self.sb_agblklog)?;
        // The first four sectors of a group are its headers: superblock, AGF, AGI, AGFL.
        let headers = u64::from(self.sb_sectsize).checked_mul(4)?;
        if agbno.checked_mul(self.block.get().into())? < headers {
            return None;
        }
        self.run(FsBlock(block), 1)?.checked_add(inside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xfs::superblock::tests::superblock;
    use proptest::prelude::*;

    #[test]
    fn numbers_skip_what_a_group_does_not_fill() {
        let sb = superblock();
        let at = |n| sb.run(FsBlock(n), 1).map(ByteOffset::get);
        assert_eq!(at(999), Some(999 * 4096));
        assert_eq!(at(1000), None);
        assert_eq!(at(1024), Some(1000 * 4096));
        assert_eq!(at(3 * 1024 + 499), Some(3499 * 4096));
        assert_eq!(at(3 * 1024 + 500), None);
        assert_eq!(at(4 * 1024), None);
        assert_eq!(sb.run(FsBlock(990), 10), sb.run(FsBlock(990), 1));
        assert_eq!(sb.run(FsBlock(990), 11), None);
        assert_eq!(sb.run(FsBlock(990), u64::MAX), None);
    }

    #[test]
    fn a_file_system_may_begin_anywhere_also_before_the_view() {
        let mut sb = superblock();
        sb.base = 8192;
        let at = |sb: &Superblock, n| sb.run(FsBlock(n), 1).map(ByteOffset::get);
        assert_eq!(at(&sb, 1024), Some(1002 * 4096));
        assert_eq!(
            sb.block_at(ByteOffset::new(1002 * 4096)),
            Some(FsBlock(1024))
        );
        assert_eq!(sb.block_at(ByteOffset::new(4096)), None);
        sb.base = -8192;
        assert_eq!(at(&sb, 1), None);
        assert_eq!(at(&sb, 1024), Some(998 * 4096));
        assert_eq!(
            sb.block_at(ByteOffset::new(998 * 4096)),
            Some(FsBlock(1024))
        );
    }

    #[test]
    fn no_inode_lies_in_the_headers_of_a_group() {
        let sb = superblock();
        let at = |n| sb.inode_place(InodeNumber(n)).map(ByteOffset::get);
        assert_eq!(at(7), None);
        assert_eq!(at(9), Some(4096 + 512));
        assert_eq!(at(1024 * 8), None);
        assert_eq!(at(1025 * 8 + 7), Some(1001 * 4096 + 7 * 512));
        assert_eq!(at(u64::MAX), None);
    }

    proptest! {
        #[test]
        fn places_are_inside_the_file_system(number: u64, count in 0_u64..2000) {
            let sb = superblock();
            let end = 3500 * 4096;
            for number in [number, number % 5000, number % 40_000] {
                if let Some(at) = sb.run(FsBlock(number), count) {
                    prop_assert!(at.get() + count * 4096 <= end);
                    prop_assert!(count == 0 || sb.block_at(at) == Some(FsBlock(number)));
                }
                if let Some(at) = sb.inode_place(InodeNumber(number)) {
                    prop_assert!(at.get() + 512 <= end);
                    prop_assert_eq!(sb.inode_at(at), Some(InodeNumber(number)));
                }
            }
        }
    }
}
