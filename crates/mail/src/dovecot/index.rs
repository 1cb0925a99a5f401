//! What an index says of the messages of a folder.

use std::collections::{BTreeMap, BTreeSet};

use evidence::Fields;

use super::log::Log;

/// `MAIL_INDEX_MAJOR_VERSION`.
const MAJOR_VERSION: u8 = 7;
/// Offsets in `struct mail_index_header`.
const BASE_HEADER_SIZE: usize = 2;
const HEADER_SIZE: usize = 4;
const RECORD_SIZE: usize = 8;
const INDEXID: usize = 16;
const UID_VALIDITY: usize = 24;
const MESSAGES_COUNT: usize = 32;
const LOG_FILE_SEQ: usize = 60;
const LOG_FILE_HEAD_OFFSET: usize = 68;
/// The length of `struct mail_index_ext_header`.
const EXT_HEADER: usize = 16;
/// `MAIL_INDEX_EXT_KEYWORDS`.
pub(super) const KEYWORDS: &[u8] = b"keywords";
/// The header of an extension is no longer: names of all folders of a mailbox are in one.
pub(super) const MOST_HEADER: usize = 16 << 20;

/// A message as an index knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexRecord {
    /// `enum mail_flags`, and flags of the index above them.
    pub flags: u8,
    /// The numbers of its keywords.
    pub(super) keywords: BTreeSet<usize>,
    /// By the number of an extension, what that keeps of the message.
    pub(super) extensions: BTreeMap<usize, Vec<u8>>,
}

/// An extension: what a format keeps beside the flags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Extension {
    pub(super) name: Vec<u8>,
    pub(super) header: Vec<u8>,
    pub(super) record_size: usize,
}

/// An index with its log, as Dovecot would have it in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MailIndex {
    /// Which generation of UIDs; 0 if only a log is left, which does not say.
    pub uid_validity: u32,
    /// Whether nothing of it breaks off, so that what it does not list is not there.
    pub is_whole: bool,
    /// The messages by UID.
    pub records: BTreeMap<u32, IndexRecord>,
    pub(super) extensions: Vec<Extension>,
    /// The names of keywords by their numbers.
    pub(super) keywords: Vec<String>,
}

impl MailIndex {
    /// Reads an index and its logs, the older first; `None` if neither is one of a known version.
    ///
    /// A log that belongs to another index is left out, and so is what the index contains already.
    pub fn read(index: Option<&[u8]>, logs: &[&[u8]]) -> Option<Self> {
        let based = index.and_then(|index| Self::of_file(Fields::new(index)));
        let (mut this, base) = match based {
            Some((this, base)) => (this, Some(base)),
            None => (
                Self {
                    is_whole: index.is_none(),
                    ..Self::default()
                },
                None,
            ),
        };
        let logs = logs.iter().filter_map(|log| Log::parse(log));
        let mut logs: Vec<Log<'_>> = logs.collect();
        logs.sort_by_key(|log| log.file_seq);
        logs.dedup_by_key(|log| log.file_seq);
        let newest = logs.last().map(|log| log.indexid);
        let id = base.as_ref().map(|base| base.indexid).or(newest);
        let mut any = base.is_some();
        for log in logs.iter().filter(|log| Some(log.indexid) == id) {
            let from = match &base {
                Some(base) if log.file_seq < base.log_file_seq => continue,
                Some(base) if log.file_seq == base.log_file_seq => base.log_file_head_offset,
                _ => 0,
            };
            // A log alone is all there was only if it goes back to the beginning.
            this.is_whole &= any || log.is_first();
            any = true;
            this.is_whole &= log.apply(from, &mut this);
        }
        any.then_some(this)
    }

    /// Reads the file `dovecot.index` and where in the log it ends.
    fn of_file(fields: Fields<'_>) -> Option<(Self, Base)> {
        if fields.u8(0)? != MAJOR_VERSION {
            return None;
        }
        let usize_at = |at| usize::try_from(fields.le_u32(at)?).ok();
        let header_size = usize_at(HEADER_SIZE)?;
        let record_size = usize_at(RECORD_SIZE)?;
        let mut this = Self {
            uid_validity: fields.le_u32(UID_VALIDITY)?,
            is_whole: true,
            ..Self::default()
        };
        let offsets = this.read_extensions(
            fields,
            usize::from(fields.le_u16(BASE_HEADER_SIZE)?),
            header_size,
        );
        let keywords = this.extensions.iter().position(|ext| ext.name == KEYWORDS);
        if let Some(keywords) = keywords.and_then(|number| this.extensions.get(number)) {
            this.keywords = keyword_names(Fields::new(&keywords.header)).unwrap_or_default();
        }
        let base = Base {
            indexid: fields.le_u32(INDEXID)?,
            log_file_seq: fields.le_u32(LOG_FILE_SEQ)?,
            log_file_head_offset: usize_at(LOG_FILE_HEAD_OFFSET)?,
        };
        if record_size < 5 {
            return None;
        }
        for number in 0..usize_at(MESSAGES_COUNT)? {
            let at = header_size.checked_add(number.checked_mul(record_size)?)?;
            let Some(record) = fields.slice(at, record_size) else {
                this.is_whole = false;
                break;
            };
            this.read_record(Fields::new(record), &offsets, keywords);
        }
        Some((this, base))
    }

    /// Reads the headers of extensions and gives where in a record each is.
    fn read_extensions(&mut self, fields: Fields<'_>, base: usize, end: usize) -> Vec<usize> {
        let mut offsets = Vec::new();
        let mut at = base;
        while at < end {
            let Some((extension, offset, next)) = extension_at(fields, at) else {
                break;
            };
            self.extensions.push(extension);
            offsets.push(offset);
            at = next;
        }
        offsets
    }

    fn read_record(&mut self, record: Fields<'_>, offsets: &[usize], keywords: Option<usize>) {
        let (Some(uid), Some(flags)) = (record.le_u32(0), record.u8(4)) else {
            return;
        };
        if uid == 0 {
            // No message has this number: the disk was wiped here.
            self.is_whole = false;
            return;
        }
        let mut parsed = IndexRecord {
            flags,
            ..IndexRecord::default()
        };
        for (number, (extension, offset)) in self.extensions.iter().zip(offsets).enumerate() {
            let Some(data) = record.slice(*offset, extension.record_size) else {
                continue;
            };
            if Some(number) == keywords {
                let bits = data.iter().enumerate().flat_map(|(at, byte)| {
                    let set = (0..8_usize).filter(move |bit| byte >> bit & 1 == 1);
                    set.map(move |bit| at.saturating_mul(8).saturating_add(bit))
                });
                parsed.keywords = bits.collect();
            } else if !data.is_empty() {
                parsed.extensions.insert(number, data.to_vec());
            }
        }
        self.records.insert(uid, parsed);
    }

    /// What the extension `name` keeps of the message `uid`.
    pub fn extension(&self, uid: u32, name: &str) -> Option<Fields<'_>> {
        let number = self.number_of(name.as_bytes())?;
        let record = self.records.get(&uid)?;
        Some(Fields::new(record.extensions.get(&number)?))
    }

    /// The header of the extension `name`.
    pub fn header(&self, name: &str) -> Option<Fields<'_>> {
        let number = self.number_of(name.as_bytes())?;
        Some(Fields::new(&self.extensions.get(number)?.header))
    }

    /// The keywords of the message `uid`, sorted.
    pub fn keywords(&self, uid: u32) -> Vec<String> {
        let record = self.records.get(&uid);
        let numbers = record.into_iter().flat_map(|record| &record.keywords);
        let names = numbers.filter_map(|number| self.keywords.get(*number).cloned());
        let names: BTreeSet<String> = names.collect();
        names.into_iter().collect()
    }

    pub(super) fn number_of(&self, name: &[u8]) -> Option<usize> {
        let mut extensions = self.extensions.iter();
        extensions.position(|extension| extension.name == name)
    }
}

/// Which log goes on where an index ends.
struct Base {
    indexid: u32,
    log_file_seq: u32,
    log_file_head_offset: usize,
}

/// The extension whose header begins at `at`, where in a record it is, and where the next begins.
/// The parts of a header are aligned to eight bytes.
fn extension_at(fields: Fields<'_>, at: usize) -> Option<(Extension, usize, usize)> {
    let header_size = usize::try_from(fields.le_u32(at)?).ok()?;
    let record_offset = usize::from(fields.le_u16(at.checked_add(8)?)?);
    let record_size = usize::from(fields.le_u16(at.checked_add(10)?)?);
    let name_size = usize::from(fields.le_u16(at.checked_add(14)?)?);
    let name = fields.slice(at.checked_add(EXT_HEADER)?, name_size)?;
    let named = EXT_HEADER
        .checked_add(name_size)?
        .checked_next_multiple_of(8)?;
    let data = at.checked_add(named)?;
    let header = fields.slice(data, header_size)?;
    let next = data.checked_add(header_size.checked_next_multiple_of(8)?)?;
    let extension = Extension {
        name: name.to_vec(),
        header: header.to_vec(),
        record_size,
    };
    Some((extension, record_offset, next))
}

/// `struct mail_index_keyword_header`: a count, a record for each with the offset of its name, and
/// the names.
fn keyword_names(header: Fields<'_>) -> Option<Vec<String>> {
    let count = usize::try_from(header.le_u32(0)?).ok()?;
    let names = header.from(count.checked_mul(8)?.checked_add(4)?)?;
    let name = |number: usize| {
        let at = number.checked_mul(8)?.checked_add(8)?;
        let at = usize::try_from(header.le_u32(at)?).ok()?;
        let name = names.from(at)?.bytes();
        let name = name.split(|byte| *byte == 0).next()?;
        Some(String::from_utf8_lossy(name).into_owned())
    };
    (0..count).map(name).collect()
}
