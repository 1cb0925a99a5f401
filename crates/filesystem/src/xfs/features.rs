//! Feature bits: `sb_versionnum`, `sb_features2` and the feature words of version 5.

use evidence::{Error, Fields, Origin};

use super::superblock::Version;

/// What the feature bits say that matters for reading.
#[derive(Clone, Debug, Default)]
pub(super) struct Features {
    /// Directory entries name the kind of their inode.
    pub(super) ftype: bool,
    /// Metadata carries `sb_meta_uuid`.
    pub(super) meta_uuid: bool,
    /// `xfs_repair` has to run before Linux mounts it.
    pub(super) needs_repair: bool,
    /// The names of all features that are on, for people.
    pub(super) names: Vec<String>,
}

impl Features {
    /// What a person should know.
    pub(super) fn notes(&self) -> Vec<String> {
        let note = "NEEDSREPAIR is set: an upgrade or xfs_repair did not finish; \
                    Linux would not mount this file system";
        self.needs_repair
            .then(|| note.to_owned())
            .into_iter()
            .collect()
    }
}

/// `XFS_SB_VERSION_DIRV2BIT`.
const DIRV2BIT: u16 = 0x2000;
/// `XFS_SB_VERSION_MOREBITSBIT`: `sb_features2` counts.
const MOREBITSBIT: u16 = 0x8000;

/// `XFS_SB_VERSION2_*`: bits of `sb_features2` that change nothing, or nothing that is not
/// handled, for reading.
const FEATURES2: [(u32, &str); 4] = [
    (0x002, "lazy-count"),
    (0x008, "attr2"),
    (0x080, "projid32"),
    (FEATURES2_FTYPE, "ftype"),
];
/// `XFS_SB_VERSION2_FTYPE`.
const FEATURES2_FTYPE: u32 = 0x200;

/// `XFS_SB_FEAT_RO_COMPAT_*`: who only reads may ignore these, known or not.
const RO_COMPAT: [(u32, &str); 4] = [
    (0x1, "finobt"),
    (0x2, "rmapbt"),
    (0x4, "reflink"),
    (0x8, "inobtcount"),
];

/// `XFS_SB_FEAT_INCOMPAT_*` that are understood. Exchange-range and parent pointers are no
/// concern of a reader that follows names downwards.
const INCOMPAT: [(u32, &str); 8] = [
    (INCOMPAT_FTYPE, "ftype"),
    (0x2, "sparse inodes"),
    (INCOMPAT_META_UUID, "metadata UUID"),
    (0x8, "bigtime"),
    (INCOMPAT_NEEDSREPAIR, "needs repair"),
    (0x20, "large extent counters"),
    (0x40, "exchange-range"),
    (0x80, "parent pointers"),
];
const INCOMPAT_FTYPE: u32 = 0x1;
const INCOMPAT_META_UUID: u32 = 0x4;
const INCOMPAT_NEEDSREPAIR: u32 = 0x10;

/// Features that have a name, but move things to where this reader does not look.
const INCOMPAT_REFUSED: [(u32, &str); 3] =
    [(0x100, "METADIR"), (0x200, "ZONED"), (0x400, "ZONE_GAPS")];

/// What a person can do about a feature that is not understood.
const WAY_AROUND: &str =
    "a Linux kernel that knows it can mount a copy with `-o ro,norecovery` and copy the files off";

/// Reads the feature bits of a superblock.
///
/// Bits that change the format in a way that is not understood are [`Error::Unsupported`].
pub(super) fn read(
    fields: Fields<'_>,
    version: Version,
    origin: &Origin,
) -> Result<Features, Error> {
    let word = |at: usize| fields.be_u32(at).unwrap_or(0);
    match version {
        Version::V5 => {
            let incompat = word(216);
            let refused = unknown(incompat, &INCOMPAT);
            if refused != 0 {
                let names = bit_names(refused, &INCOMPAT_REFUSED);
                return Err(unsupported("sb_features_incompat", &names, origin));
            }
            let mut names = set_names(incompat, &INCOMPAT);
            names.append(&mut set_names(word(212), &RO_COMPAT));
            Ok(Features {
                ftype: incompat & INCOMPAT_FTYPE != 0,
                meta_uuid: incompat & INCOMPAT_META_UUID != 0,
                needs_repair: incompat & INCOMPAT_NEEDSREPAIR != 0,
                names,
            })
        }
        Version::V4 => {
            let versionnum = fields.be_u16(100).unwrap_or(0);
            if versionnum & DIRV2BIT == 0 {
                let names = "version 1 directories (DIRV2BIT is off)";
                return Err(unsupported("sb_versionnum", names, origin));
            }
            // Some kernels wrote the word four bytes further on: `sb_bad_features2`.
            let features2 = match versionnum & MOREBITSBIT {
                0 => 0,
                _ => word(200) | word(204),
            };
            let refused = unknown(features2, &FEATURES2);
            if refused != 0 {
                return Err(unsupported(
                    "sb_features2",
                    &bit_names(refused, &[]),
                    origin,
                ));
            }
            Ok(Features {
                ftype: features2 & FEATURES2_FTYPE != 0,
                names: set_names(features2, &FEATURES2),
                ..Features::default()
            })
        }
    }
}

fn unsupported(field: &str, names: &str, origin: &Origin) -> Error {
    let what = format!("an XFS feature of {field}: {names}; {WAY_AROUND}; this");
    Error::unsupported(what, origin.clone())
}

/// The bits of `word` that `table` does not know.
fn unknown(word: u32, table: &[(u32, &str)]) -> u32 {
    table.iter().fold(word, |rest, (bit, _)| rest & !bit)
}

/// The names of the bits of `table` that are set in `word`.
fn set_names(word: u32, table: &[(u32, &str)]) -> Vec<String> {
    let set = table.iter().filter(|(bit, _)| word & bit != 0);
    set.map(|(_, name)| (*name).to_owned()).collect()
}

/// All bits of `word`: by name if `table` has one, and by number.
fn bit_names(word: u32, table: &[(u32, &str)]) -> String {
    let mut names = Vec::new();
    for number in 0..u32::BITS {
        let bit = 1_u32.checked_shl(number).unwrap_or(0);
        if word & bit != 0 {
            names.push(match table.iter().find(|(known, _)| *known == bit) {
                Some((_, name)) => format!("{name} (bit {number})"),
                None => format!("bit {number}"),
            });
        }
    }
    names.join(", ")
}
