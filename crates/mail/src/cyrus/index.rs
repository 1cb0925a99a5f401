//! `cyrus.index`: a header, then a record for each message, numbers in big-endian.
//!
//! Source: Cyrus IMAP's `imap/mailbox.h`, of the versions 10 (2.3) to 20 (3.10).

use std::collections::BTreeMap;

use evidence::Fields;
use filesystem::Timestamp;

/// Offsets in the header.
const OFFSET_MINOR_VERSION: usize = 8;
const OFFSET_START_OFFSET: usize = 12;
const OFFSET_RECORD_SIZE: usize = 16;
/// Offsets in a record that all versions have in common.
const OFFSET_UID: usize = 0;
const OFFSET_MESSAGE_GUID: usize = 60;
/// `FLAG_ANSWERED` and so on, of the lower half of the flags.
const FLAGS: [(u32, char); 5] = [(1, 'R'), (2, 'F'), (4, 'T'), (8, 'D'), (16, 'S')];
/// `FLAG_INTERNAL_EXPUNGED`.
const EXPUNGED: u32 = 1 << 31;
/// The versions whose records end in a checksum.
const FIRST_WITH_CRC: u32 = 12;
/// Nanoseconds in a second.
const NANOSECONDS: u64 = 1_000_000_000;

/// A message as the index knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IndexRecord {
    pub(super) internaldate: Timestamp,
    pub(super) size: u64,
    /// Letters of Maildir.
    pub(super) letters: String,
    /// The numbers of its user flags.
    pub(super) user_flags: Vec<usize>,
    /// The SHA-1 of the message.
    pub(super) guid: [u8; 20],
    pub(super) is_expunged: bool,
}

/// Where in a record fields are that moved in version 20.
struct Layout {
    internaldate: usize,
    size: usize,
    system_flags: usize,
    user_flags: usize,
    is_wide: bool,
}

const NARROW: Layout = Layout {
    internaldate: 4,
    size: 12,
    system_flags: 32,
    user_flags: 36,
    is_wide: false,
};
const WIDE: Layout = Layout {
    internaldate: 8,
    size: 24,
    system_flags: 36,
    user_flags: 40,
    is_wide: true,
};

/// The messages by UID; `None` if it is no index of a known version. Records that contradict their
/// checksum are left out.
pub(super) fn parse(index: &[u8]) -> Option<BTreeMap<u32, IndexRecord>> {
    let header = Fields::new(index);
    let version = header.be_u32(OFFSET_MINOR_VERSION)?;
    let layout = match version {
        10..=19 => &NARROW,
        20 => &WIDE,
        _ => return None,
    };
    let start = usize::try_from(header.be_u32(OFFSET_START_OFFSET)?).ok()?;
    let size = usize::try_from(header.be_u32(OFFSET_RECORD_SIZE)?).ok()?;
    if !(80..=4096).contains(&size) {
        return None;
    }
    let records = index.get(start..)?.chunks_exact(size);
    let sound = records.filter(|record| version < FIRST_WITH_CRC || is_sound(record));
    Some(
        sound
            .filter_map(|record| parse_record(Fields::new(record), layout))
            .collect(),
    )
}

/// Whether the checksum that a record ends in is that of the rest.
fn is_sound(record: &[u8]) -> bool {
    let Some((rest, crc)) = record.split_last_chunk::<4>() else {
        return false;
    };
    crc32fast::hash(rest) == u32::from_be_bytes(*crc)
}

fn parse_record(fields: Fields<'_>, layout: &Layout) -> Option<(u32, IndexRecord)> {
    let uid = fields.be_u32(OFFSET_UID).filter(|uid| *uid > 0)?;
    let system = fields.be_u32(layout.system_flags)?;
    let set = FLAGS.iter().filter(|(bit, _)| system & bit != 0);
    let internaldate = if layout.is_wide {
        let nanoseconds = fields.be_u64(layout.internaldate)?;
        Timestamp {
            seconds: i64::try_from(nanoseconds / NANOSECONDS).ok()?,
            nanoseconds: u32::try_from(nanoseconds % NANOSECONDS).ok()?,
        }
    } else {
        Timestamp {
            seconds: i64::from(fields.be_u32(layout.internaldate)?),
            nanoseconds: 0,
        }
    };
    let size = if layout.is_wide {
        fields.be_u64(layout.size)?
    } else {
        u64::from(fields.be_u32(layout.size)?)
    };
    // Four words of 32 flags each.
    let words = (0..4_usize).filter_map(|word| {
        let bits = fields.be_u32(layout.user_flags.checked_add(word.checked_mul(4)?)?)?;
        Some((word, bits))
    });
    let user_flags = words.flat_map(|(word, bits)| {
        let set = (0..32_usize).filter(move |bit| bits >> bit & 1 == 1);
        set.map(move |bit| word.saturating_mul(32).saturating_add(bit))
    });
    let record = IndexRecord {
        internaldate,
        size,
        letters: set.map(|(_, letter)| *letter).collect(),
        user_flags: user_flags.collect(),
        guid: fields.array(OFFSET_MESSAGE_GUID)?,
        is_expunged: system & EXPUNGED != 0,
    };
    Some((uid, record))
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn no_index_makes_it_panic(
            mut index in proptest::collection::vec(proptest::num::u8::ANY, 0..900),
            version in 8_u32..22,
            sizes in proptest::array::uniform2(0_u32..300),
        ) {
            if index.len() > 20 {
                index[8..12].copy_from_slice(&version.to_be_bytes());
                index[12..16].copy_from_slice(&sizes[0].to_be_bytes());
                index[16..20].copy_from_slice(&sizes[1].to_be_bytes());
            }
            let _ = parse(&index);
        }
    }
}
