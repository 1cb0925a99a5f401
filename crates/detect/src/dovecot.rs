//! Files of Dovecot: dbox records, indexes, transaction logs, caches, lists of UIDs.
//!
//! Sources: Dovecot 2.3, `src/lib-storage/index/dbox-common/dbox-file.h`,
//! `src/lib-index/mail-index.h`, `mail-transaction-log.h`, `mail-cache-private.h`, and
//! `src/lib-storage/index/maildir/maildir-uidlist.c`.

use evidence::Fields;
use mail::dovecot::crypt;
use scan::{Detector, Found, Place, SECTOR_ALIGN, Signature, Trigger};

/// The detectors of Dovecot's files.
pub fn detectors() -> Vec<Box<dyn Detector>> {
    let file = |magics, at, reach, read| -> Box<dyn Detector> {
        Box::new(Signature {
            magics,
            at,
            align: SECTOR_ALIGN,
            reach,
            read,
        })
    };
    vec![
        Box::new(DboxRecord),
        file(&[b"2 M"], 0, 64, dbox_file),
        // `base_header_size` of `struct mail_index_header`.
        file(&[&[120, 0]], 2, 120, index),
        // `hdr_size` of `struct mail_transaction_log_header`.
        file(&[&[40, 0]], 2, 48, log),
        // `major_version` and `compat_sizeof_uoff_t` of `struct mail_cache_header`.
        file(&[&[1, 8], &[1, 4]], 0, 32, cache),
        file(&[b"3 V"], 0, 256, uidlist),
        file(&[crypt::MAGIC], 0, 256, encrypted),
    ]
}

/// A message that the plugin mail_crypt encrypted, as a Maildir keeps it.
fn encrypted(place: &Place<'_>) -> Option<Found> {
    let encrypted = crypt::recognise(place.bytes)?;
    Some(Found {
        part_of: encrypted.key,
        ..Found::new("encrypted-message")
    })
}

/// A message in an sdbox or mdbox file: `struct dbox_message_header`.
struct DboxRecord;

/// `DBOX_MAGIC_PRE` and `DBOX_MESSAGE_TYPE_NORMAL`.
const DBOX_PRE: &[u8] = b"\x01\x02N";
/// The length of the header.
const DBOX_HEADER: usize = 30;

impl Detector for DboxRecord {
    fn triggers(&self) -> Vec<Trigger> {
        vec![Trigger::Needle(DBOX_PRE)]
    }

    fn reach(&self) -> usize {
        DBOX_HEADER
    }

    fn examine(&self, place: &Place<'_>) -> Option<Found> {
        let fields = Fields::new(place.bytes);
        // `space1`, `oid_hex`, `space2`, `message_size_hex`, `save_lf`.
        let blanks = [fields.u8(3)?, fields.u8(12)?];
        let size = hex_number(fields.slice(13, 16)?)?;
        let whole = blanks == [b' ', b' '] && fields.u8(DBOX_HEADER.saturating_sub(1))? == b'\n';
        whole.then(|| Found {
            // With its header; the trailer behind it is not counted.
            bytes: size.checked_add(DBOX_HEADER as u64),
            number: Some(size),
            ..Found::new("dbox-record")
        })
    }
}

/// The first line of an sdbox or mdbox file: version, `DBOX_HEADER_MSG_HEADER_SIZE` and
/// `DBOX_HEADER_CREATE_STAMP`.
fn dbox_file(place: &Place<'_>) -> Option<Found> {
    let end = memchr::memchr(b'\n', place.bytes)?;
    let line = std::str::from_utf8(place.bytes.get(..end)?).ok()?;
    let mut words = line.split(' ').skip(1);
    let header = words.next()?.strip_prefix('M')?;
    let created = words.next()?.strip_prefix('C')?;
    let is_right = u64::from_str_radix(header, 16) == Ok(DBOX_HEADER as u64);
    let created = u64::from_str_radix(created, 16).ok()?;
    is_right.then(|| Found {
        number: Some(created),
        ..Found::new("dbox-file")
    })
}

/// `struct mail_index_header`.
fn index(place: &Place<'_>) -> Option<Found> {
    let fields = Fields::new(place.bytes);
    let (header, record) = (fields.le_u32(4)?, fields.le_u32(8)?);
    let (id, next_uid) = (fields.le_u32(16)?, fields.le_u32(28)?);
    let plausible = fields.u8(0)? == 7
        && fields.u8(1)? <= 9
        && (120..1 << 20).contains(&header)
        && (5..1 << 16).contains(&record)
        // `MAIL_INDEX_COMPAT_LITTLE_ENDIAN` and nothing else.
        && fields.le_u32(12)? == 1
        && is_time(id)
        && next_uid > 0;
    plausible.then(|| Found {
        number: Some(u64::from(id)),
        owner: fields.le_u32(24).map(u64::from),
        ..Found::new("dovecot-index")
    })
}

/// `struct mail_transaction_log_header`.
fn log(place: &Place<'_>) -> Option<Found> {
    let fields = Fields::new(place.bytes);
    let (id, sequence) = (fields.le_u32(4)?, fields.le_u32(8)?);
    let plausible = fields.u8(0)? == 1
        && fields.u8(1)? <= 9
        && is_time(id)
        && (1..1 << 24).contains(&sequence)
        && is_time(fields.le_u32(20)?)
        // `compat_flags` and what is unused behind it.
        && fields.le_u32(32)? <= 1;
    plausible.then(|| Found {
        number: Some(u64::from(id)),
        owner: Some(u64::from(sequence)),
        ..Found::new("dovecot-log")
    })
}

/// `struct mail_cache_header`.
fn cache(place: &Place<'_>) -> Option<Found> {
    let fields = Fields::new(place.bytes);
    let (id, sequence) = (fields.le_u32(4)?, fields.le_u32(8)?);
    let plausible = fields.u8(2)? <= 9
        && fields.u8(3)? == 0
        && is_time(id)
        && (is_time(sequence) || (1..1 << 24).contains(&sequence))
        && fields.le_u32(12)? < 1 << 30;
    plausible.then(|| Found {
        number: Some(u64::from(id)),
        owner: Some(u64::from(sequence)),
        ..Found::new("dovecot-cache")
    })
}

/// `indexid` is the time at which the index was made: from 2001 to 2106.
const fn is_time(seconds: u32) -> bool {
    seconds > 1_000_000_000
}

/// The first line of a `dovecot-uidlist` of version 3: `3 V… N… G…`.
fn uidlist(place: &Place<'_>) -> Option<Found> {
    let end = memchr::memchr(b'\n', place.bytes)?;
    let line = std::str::from_utf8(place.bytes.get(..end)?).ok()?;
    let mut words = line.strip_prefix("3 ")?.split(' ');
    let validity = words.next()?.strip_prefix('V')?.parse().ok()?;
    let next: u64 = words.next()?.strip_prefix('N')?.parse().ok()?;
    let guid = words.find_map(|word| word.strip_prefix('G'));
    Some(Found {
        number: Some(validity),
        owner: Some(next),
        part_of: guid
            .filter(|guid| guid.len() == 32 && guid.bytes().all(|b| b.is_ascii_hexdigit()))
            .map(str::to_owned),
        ..Found::new("dovecot-uidlist")
    })
}

/// The number that hexadecimal digits stand for.
fn hex_number(digits: &[u8]) -> Option<u64> {
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}
