//! Subvolumes as branches of one tree, and the numbers of their inodes.
//!
//! Each subvolume counts its inodes for itself. The number of an inode here has the number of its
//! branch in the upper 16 bits, so that the inodes of the first subvolume keep theirs.

use super::root::Link;
use super::tree::Tree;
use crate::{InodeNumber, Standing};

/// The bits below the number of the branch.
const BITS: u32 = 48;
/// The directory of what nothing leads to.
pub(super) const ORPHANS: InodeNumber = InodeNumber(0xFFFF << BITS);
/// No branch has this number or a higher one.
const MOST_BRANCHES: usize = 0x7F00;
/// A subvolume, or what is left of one state of it.
#[derive(Debug)]
pub(super) struct Branch {
    /// The number of its tree.
    pub(super) id: u64,
    pub(super) tree: Tree,
    pub(super) standing: Standing,
    /// Where it is linked.
    pub(super) link: Option<Link>,
    /// Whether its directories still list what they list: not where single inodes of several
    /// states are all that is left.
    pub(super) lists: bool,
}

/// What an inode number stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    /// An inode of the branch with this index.
    Inode(usize, u64),
    /// The directory of orphans.
    Orphans,
}

impl Number {
    /// What `number` stands for.
    pub(super) fn of(number: InodeNumber) -> Self {
        if number == ORPHANS {
            return Self::Orphans;
        }
        let objectid = number.0 & (1_u64 << BITS).wrapping_sub(1);
        let branch = usize::try_from(number.0 >> BITS).unwrap_or(usize::MAX);
        Self::Inode(branch, objectid)
    }

    /// The number of the inode `objectid` of a branch; `None` if it is too large to be one.
    pub(super) fn inode(branch: usize, objectid: u64) -> Option<InodeNumber> {
        let fits = branch < MOST_BRANCHES && objectid >> BITS == 0;
        let branch = u64::try_from(branch).ok().filter(|_| fits)?;
        Some(InodeNumber(branch << BITS | objectid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_the_first_branch_keeps_its_own() {
        assert_eq!(Number::inode(0, 257), Some(InodeNumber(257)));
        for (branch, objectid) in [(0, 256), (3, 1 << 40), (MOST_BRANCHES - 1, 1)] {
            let number = Number::inode(branch, objectid).unwrap();
            assert_eq!(Number::of(number), Number::Inode(branch, objectid));
        }
        assert_eq!(Number::of(ORPHANS), Number::Orphans);
        assert_eq!(Number::inode(0, 1 << 48), None);
        assert_eq!(Number::inode(MOST_BRANCHES, 1), None);
    }
}
