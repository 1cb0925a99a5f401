//! The feature flags of a superblock.
//!
//! Source: Linux `Documentation/filesystems/ext4/super.rst`, `s_feature_compat`,
//! `s_feature_incompat`, `s_feature_ro_compat`. The names are those that `dumpe2fs` prints.

/// `COMPAT_HAS_JOURNAL`.
pub(super) const COMPAT_HAS_JOURNAL: u32 = 0x4;
/// `COMPAT_SPARSE_SUPER2`: two backups, named by `s_backup_bgs`.
pub(super) const COMPAT_SPARSE_SUPER2: u32 = 0x200;

/// `INCOMPAT_COMPRESSION`.
const INCOMPAT_COMPRESSION: u32 = 0x1;
/// `INCOMPAT_FILETYPE`: directory entries keep the kind of the file.
pub(super) const INCOMPAT_FILETYPE: u32 = 0x2;
/// `INCOMPAT_RECOVER`: the journal holds what the blocks do not, yet.
pub(super) const INCOMPAT_RECOVER: u32 = 0x4;
/// `INCOMPAT_JOURNAL_DEV`: this is the journal of another file system.
const INCOMPAT_JOURNAL_DEV: u32 = 0x8;
/// `INCOMPAT_META_BG`: group descriptors lie in the groups that they describe.
pub(super) const INCOMPAT_META_BG: u32 = 0x10;
/// `INCOMPAT_EXTENTS`.
pub(super) const INCOMPAT_EXTENTS: u32 = 0x40;
/// `INCOMPAT_64BIT`.
pub(super) const INCOMPAT_64BIT: u32 = 0x80;
/// `INCOMPAT_CSUM_SEED`: the seed of the checksums is kept, the UUID may have changed.
pub(super) const INCOMPAT_CSUM_SEED: u32 = 0x2000;
/// `INCOMPAT_LARGEDIR`: directories may be longer than 4 GiB.
pub(super) const INCOMPAT_LARGEDIR: u32 = 0x4000;

/// `RO_COMPAT_SPARSE_SUPER`.
pub(super) const RO_COMPAT_SPARSE_SUPER: u32 = 0x1;
/// `RO_COMPAT_HUGE_FILE`: `i_blocks` may be wide, and count blocks.
pub(super) const RO_COMPAT_HUGE_FILE: u32 = 0x8;
/// `RO_COMPAT_GDT_CSUM`, also called `uninit_bg`.
pub(super) const RO_COMPAT_GDT_CSUM: u32 = 0x10;
/// `RO_COMPAT_BIGALLOC`: allocation in clusters of blocks.
pub(super) const RO_COMPAT_BIGALLOC: u32 = 0x200;
/// `RO_COMPAT_METADATA_CSUM`.
pub(super) const RO_COMPAT_METADATA_CSUM: u32 = 0x400;
/// `RO_COMPAT_ORPHAN_PRESENT`.
pub(super) const RO_COMPAT_ORPHAN_PRESENT: u32 = 0x10000;

/// A flag and its name.
type Name = (u32, &'static str);

const COMPAT: &[Name] = &[
    (0x1, "dir_prealloc"),
    (0x2, "imagic_inodes"),
    (COMPAT_HAS_JOURNAL, "has_journal"),
    (0x8, "ext_attr"),
    (0x10, "resize_inode"),
    (0x20, "dir_index"),
    (0x40, "lazy_bg"),
    (0x80, "exclude_inode"),
    (0x100, "exclude_bitmap"),
    (COMPAT_SPARSE_SUPER2, "sparse_super2"),
    (0x400, "fast_commit"),
    (0x800, "stable_inodes"),
    (0x1000, "orphan_file"),
];

const INCOMPAT: &[Name] = &[
    (INCOMPAT_COMPRESSION, "compression"),
    (INCOMPAT_FILETYPE, "filetype"),
    (INCOMPAT_RECOVER, "needs_recovery"),
    (INCOMPAT_JOURNAL_DEV, "journal_dev"),
    (INCOMPAT_META_BG, "meta_bg"),
    (INCOMPAT_EXTENTS, "extent"),
    (INCOMPAT_64BIT, "64bit"),
    (0x100, "mmp"),
    (0x200, "flex_bg"),
    (0x400, "ea_inode"),
    (0x1000, "dirdata"),
    (INCOMPAT_CSUM_SEED, "metadata_csum_seed"),
    (INCOMPAT_LARGEDIR, "large_dir"),
    (0x8000, "inline_data"),
    (0x10000, "encrypt"),
    (0x20000, "casefold"),
];

const RO_COMPAT: &[Name] = &[
    (RO_COMPAT_SPARSE_SUPER, "sparse_super"),
    (0x2, "large_file"),
    (0x4, "btree_dir"),
    (RO_COMPAT_HUGE_FILE, "huge_file"),
    (RO_COMPAT_GDT_CSUM, "uninit_bg"),
    (0x20, "dir_nlink"),
    (0x40, "extra_isize"),
    (0x80, "has_snapshot"),
    (0x100, "quota"),
    (RO_COMPAT_BIGALLOC, "bigalloc"),
    (RO_COMPAT_METADATA_CSUM, "metadata_csum"),
    (0x800, "replica"),
    (0x1000, "read-only"),
    (0x2000, "project"),
    (0x4000, "shared_blocks"),
    (0x8000, "verity"),
    (RO_COMPAT_ORPHAN_PRESENT, "orphan_present"),
];

/// What ext2 and ext3 know of the incompatible features: file types, recovery, the journal
/// device, meta block groups.
const INCOMPAT_EXT3: u32 = 0x1E;
/// What ext2 and ext3 know of the features that matter to writers only.
const RO_COMPAT_EXT3: u32 = 0x7;

/// The features of a file system, as its superblock lists them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Features {
    /// `s_feature_compat`.
    pub(super) compat: u32,
    /// `s_feature_incompat`.
    pub(super) incompat: u32,
    /// `s_feature_ro_compat`.
    pub(super) ro_compat: u32,
}

impl Features {
    /// Whether a compatible feature is on.
    pub(super) const fn compat(self, flag: u32) -> bool {
        self.compat & flag != 0
    }

    /// Whether an incompatible feature is on.
    pub(super) const fn incompat(self, flag: u32) -> bool {
        self.incompat & flag != 0
    }

    /// Whether a feature is on that a reader may leave alone.
    pub(super) const fn ro_compat(self, flag: u32) -> bool {
        self.ro_compat & flag != 0
    }

    /// Whether there is anything that ext3 does not know.
    pub(super) const fn need_ext4(self) -> bool {
        self.incompat & !INCOMPAT_EXT3 != 0 || self.ro_compat & !RO_COMPAT_EXT3 != 0
    }

    /// The names of the features that are on.
    pub(super) fn names(self) -> Vec<&'static str> {
        let on = |bits: u32, all: &'static [Name]| {
            all.iter()
                .filter(move |(bit, _)| bits & bit != 0)
                .map(|(_, name)| *name)
        };
        on(self.compat, COMPAT)
            .chain(on(self.incompat, INCOMPAT))
            .chain(on(self.ro_compat, RO_COMPAT))
            .collect()
    }

    /// What cannot be read about a file system with these features, and what to do instead.
    pub(super) fn refusal(self) -> Option<String> {
        if self.incompat(INCOMPAT_JOURNAL_DEV) {
            return Some(
                "reading an external journal as a file system (name the volume whose journal it \
                 is instead)"
                    .to_owned(),
            );
        }
        if self.incompat(INCOMPAT_COMPRESSION) {
            return Some(
                "an ext file system with e2compr compression (carve its blocks instead, or mount \
                 it with a kernel that has the e2compr patches)"
                    .to_owned(),
            );
        }
        match unknown(self.incompat, INCOMPAT) {
            0 => None,
            bits => Some(format!(
                "an ext file system with s_feature_incompat {bits:#x}, which is not known here \
                 (carve its blocks instead, or mount it with a kernel that knows it)"
            )),
        }
    }

    /// The bits of `s_feature_ro_compat` that are not known: harmless to a reader, by the rules
    /// of the format.
    pub(super) fn unknown_ro_compat(self) -> u32 {
        unknown(self.ro_compat, RO_COMPAT)
    }
}

fn unknown(bits: u32, known: &[Name]) -> u32 {
    known.iter().fold(bits, |rest, (bit, _)| rest & !bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changes_the_layout_beyond_understanding_is_refused() {
        let with = |incompat| Features {
            incompat,
            ..Features::default()
        };
        assert_eq!(with(0x2C2).refusal(), None);
        assert!(with(INCOMPAT_JOURNAL_DEV).refusal().is_some());
        assert!(with(0x8000_0000).refusal().unwrap().contains("0x80000000"));
    }

    #[test]
    fn unknown_features_of_writers_are_named_and_not_refused() {
        let features = Features {
            ro_compat: 0x4000_0001,
            ..Features::default()
        };
        assert_eq!(features.unknown_ro_compat(), 0x4000_0000);
        assert_eq!(features.refusal(), None);
        assert_eq!(features.names(), ["sparse_super"]);
    }
}
