//! The transaction log of an index.

use std::ops::RangeInclusive;

use evidence::Fields;

use super::index::{Extension, IndexRecord, KEYWORDS, MOST_HEADER, MailIndex};

/// `enum mail_transaction_type`.
const APPEND: u32 = 0x2;
const FLAG_UPDATE: u32 = 0x4;
const EXT_INTRO: u32 = 0x40;
const EXT_RESET: u32 = 0x80;
const EXT_HDR_UPDATE: u32 = 0x100;
const EXT_REC_UPDATE: u32 = 0x200;
const KEYWORD_UPDATE: u32 = 0x400;
const KEYWORD_RESET: u32 = 0x800;
const EXT_ATOMIC_INC: u32 = 0x1000;
const EXT_HDR_UPDATE32: u32 = 0x1_0000;
/// `MAIL_TRANSACTION_EXPUNGE`, with `MAIL_TRANSACTION_EXPUNGE_PROT`: bits that stand in each.
const EXPUNGE: u32 = 0xCD91;
/// `MAIL_TRANSACTION_EXPUNGE_GUID`, with the same bits.
const EXPUNGE_GUID: u32 = 0xED90;
const TYPE_MASK: u32 = 0x0FFF_FFFF;
/// `MAIL_TRANSACTION_EXTERNAL`: done, and not only asked for.
const EXTERNAL: u32 = 0x1000_0000;
/// So many records in a row are no chance.
const LEAST_CHAIN: usize = 4;
/// The length of a record's header.
const RECORD_HEADER: usize = 8;
/// `enum modify_type`.
const MODIFY_ADD: u8 = 0;
const MODIFY_REMOVE: u8 = 1;
const MODIFY_REPLACE: u8 = 2;
/// A change may name any range of messages; a log that names all of them again and again is
/// none of Dovecot's.
const MOST_CHANGES: u64 = 1 << 28;

/// A log whose header was read.
pub(super) struct Log<'a> {
    fields: Fields<'a>,
    header_size: usize,
    pub(super) indexid: u32,
    pub(super) file_seq: u32,
    prev_file_seq: u32,
}

impl<'a> Log<'a> {
    /// Reads the header, `struct mail_transaction_log_header`.
    pub(super) fn parse(log: &'a [u8]) -> Option<Self> {
        let fields = Fields::new(log);
        if fields.u8(0)? != 1 {
            return None;
        }
        Some(Self {
            fields,
            header_size: usize::from(fields.le_u16(2)?),
            indexid: fields.le_u32(4)?,
            file_seq: fields.le_u32(8)?,
            prev_file_seq: fields.le_u32(12)?,
        })
    }

    /// Whether no other log was before it.
    pub(super) const fn is_first(&self) -> bool {
        self.prev_file_seq == 0
    }

    /// Applies what stands from the offset `from` on, and says whether that was all up to its end.
    ///
    /// Where it breaks off, it goes on at the next place from which transactions follow each other
    /// up to the end.
    pub(super) fn apply(&self, from: usize, index: &mut MailIndex) -> bool {
        let mut at = from.max(self.header_size);
        let mut changes = Changes {
            index,
            current: None,
            left: MOST_CHANGES,
        };
        let mut is_whole = true;
        loop {
            while let Some((kind, data, next)) = record(self.fields, at) {
                // A record that makes no sense is left out: the next one says where it begins
                // itself.
                let _ = changes.apply(kind, Fields::new(data));
                at = next;
            }
            if at >= self.fields.bytes().len() {
                return is_whole;
            }
            is_whole = false;
            // What the records there were about, those that are lost said.
            changes.current = None;
            match self.resume(at) {
                Some(next) => at = next,
                None => return false,
            }
        }
    }

    /// Where behind `at` records follow each other again.
    fn resume(&self, at: usize) -> Option<usize> {
        let length = self.fields.bytes().len();
        let start = at.checked_add(4)?.checked_next_multiple_of(4)?;
        (start..length).step_by(4).find(|at| {
            let mut next = *at;
            for _ in 0..LEAST_CHAIN {
                match record(self.fields, next) {
                    Some((kind, _, end)) if is_kind(kind) => next = end,
                    _ => return next == length && next > *at,
                }
            }
            true
        })
    }
}

/// Whether a record can be of this type: one bit, and flags that there are.
const fn is_kind(kind: u32) -> bool {
    let bare = kind & TYPE_MASK;
    kind & !(TYPE_MASK | EXTERNAL | 0x2000_0000) == 0
        && (bare.is_power_of_two() || bare == EXPUNGE || bare == EXPUNGE_GUID)
}

/// The record at `at`: its type, its data, and where the next one begins.
fn record<'a>(fields: Fields<'a>, at: usize) -> Option<(u32, &'a [u8], usize)> {
    // Seven bits a byte, each with its upper bit set once the record is whole, in units of four.
    let size = fields.array::<4>(at)?;
    let mut units = 0_usize;
    for byte in size {
        units = (units << 7) | usize::from(byte.checked_sub(0x80)?);
    }
    let size = units.checked_mul(4).filter(|size| *size >= RECORD_HEADER)?;
    let kind = fields.le_u32(at.checked_add(4)?)?;
    let length = size.checked_sub(RECORD_HEADER)?;
    let data = fields.slice(at.checked_add(RECORD_HEADER)?, length)?;
    Some((kind, data, at.checked_add(size)?))
}

/// An index while a log is applied to it.
struct Changes<'i> {
    index: &'i mut MailIndex,
    /// The extension that the next updates are about.
    current: Option<usize>,
    /// How many changes of single messages are still made.
    left: u64,
}

impl Changes<'_> {
    fn apply(&mut self, kind: u32, data: Fields<'_>) -> Option<()> {
        match kind & TYPE_MASK {
            APPEND => self.append(data),
            FLAG_UPDATE => self.flags(data),
            KEYWORD_UPDATE => self.keywords(data),
            KEYWORD_RESET => {
                for at in steps(data, 8) {
                    let uids = range(data, at)?;
                    self.each(uids, |record| record.keywords.clear());
                }
                Some(())
            }
            EXT_INTRO => self.introduce(data),
            EXT_RESET => self.reset(data),
            EXT_HDR_UPDATE => self.header(data, false),
            EXT_HDR_UPDATE32 => self.header(data, true),
            EXT_REC_UPDATE => self.records(data),
            EXT_ATOMIC_INC => self.increase(data),
            EXPUNGE if kind & EXTERNAL != 0 => {
                for at in steps(data, 8) {
                    self.expunge(range(data, at)?);
                }
                Some(())
            }
            EXPUNGE_GUID if kind & EXTERNAL != 0 => {
                for at in steps(data, 20) {
                    let uid = data.le_u32(at)?;
                    self.expunge(uid..=uid);
                }
                Some(())
            }
            _ => Some(()),
        }
    }

    /// `struct mail_index_record`, without extensions: the number and the flags.
    fn append(&mut self, data: Fields<'_>) -> Option<()> {
        for at in steps(data, 8) {
            let record = IndexRecord {
                flags: data.u8(at.checked_add(4)?)?,
                ..IndexRecord::default()
            };
            self.index.records.insert(data.le_u32(at)?, record);
        }
        Some(())
    }

    /// Changes each message of a range.
    fn each(&mut self, uids: RangeInclusive<u32>, change: impl Fn(&mut IndexRecord)) {
        if uids.is_empty() {
            return;
        }
        for (_, record) in self.index.records.range_mut(uids) {
            let Some(left) = self.left.checked_sub(1) else {
                return;
            };
            self.left = left;
            change(record);
        }
    }

    fn expunge(&mut self, uids: RangeInclusive<u32>) {
        if uids.is_empty() {
            return;
        }
        let there = self.index.records.range(uids);
        let there: Vec<u32> = there.map(|(uid, _)| *uid).collect();
        for uid in there {
            self.index.records.remove(&uid);
        }
    }

    /// `struct mail_transaction_flag_update`.
    fn flags(&mut self, data: Fields<'_>) -> Option<()> {
        for at in steps(data, 12) {
            let add = data.u8(at.checked_add(8)?)?;
            let remove = data.u8(at.checked_add(9)?)?;
            self.each(range(data, at)?, |record| {
                record.flags = (record.flags & !remove) | add;
            });
        }
        Some(())
    }

    /// `struct mail_transaction_keyword_update`: what to do, a keyword, and ranges of messages.
    fn keywords(&mut self, data: Fields<'_>) -> Option<()> {
        let modify_type = data.u8(0)?;
        let name_size = usize::from(data.le_u16(2)?);
        let name = String::from_utf8_lossy(data.slice(4, name_size)?).into_owned();
        let known = self.index.keywords.iter().position(|known| *known == name);
        let number = known.unwrap_or_else(|| {
            // The first keyword of all makes the extension, and takes a number of its own.
            self.extension(KEYWORDS);
            self.index.keywords.push(name);
            self.index.keywords.len().saturating_sub(1)
        });
        let uids = data.from(name_size.checked_add(4)?.checked_next_multiple_of(4)?)?;
        for at in steps(uids, 8) {
            self.each(range(uids, at)?, |record| match modify_type {
                MODIFY_ADD => {
                    record.keywords.insert(number);
                }
                MODIFY_REMOVE => {
                    record.keywords.remove(&number);
                }
                MODIFY_REPLACE => record.keywords = std::iter::once(number).collect(),
                _ => {}
            });
        }
        Some(())
    }

    /// The number of the extension `name`, which is added if it is new.
    fn extension(&mut self, name: &[u8]) -> usize {
        self.index.number_of(name).unwrap_or_else(|| {
            self.index.extensions.push(Extension {
                name: name.to_vec(),
                ..Extension::default()
            });
            self.index.extensions.len().saturating_sub(1)
        })
    }

    /// `struct mail_transaction_ext_intro`: which extension the next updates are about.
    fn introduce(&mut self, data: Fields<'_>) -> Option<()> {
        self.current = None;
        let record_size = data.le_u16(12)?;
        let name_size = usize::from(data.le_u16(18)?);
        let number = match data.le_u32(0)? {
            u32::MAX => self.extension(data.slice(20, name_size)?),
            number => usize::try_from(number).ok()?,
        };
        let extension = self.index.extensions.get_mut(number)?;
        if record_size != u16::MAX {
            extension.record_size = usize::from(record_size);
        }
        self.current = Some(number);
        Some(())
    }

    /// `struct mail_transaction_ext_reset`: what the extension kept is of no worth any more.
    fn reset(&mut self, data: Fields<'_>) -> Option<()> {
        let number = self.current?;
        if data.u8(4)? == 0 {
            for record in self.index.records.values_mut() {
                self.left = self.left.checked_sub(1)?;
                record.extensions.remove(&number);
            }
        }
        Some(())
    }

    /// `struct mail_transaction_ext_hdr_update`: an offset, a length and data, or several.
    fn header(&mut self, data: Fields<'_>, is_wide: bool) -> Option<()> {
        let extension = self.index.extensions.get_mut(self.current?)?;
        let mut at = 0_usize;
        while at < data.bytes().len() {
            let (offset, size, from) = if is_wide {
                let field = |at| usize::try_from(data.le_u32(at)?).ok();
                (field(at)?, field(at.checked_add(4)?)?, at.checked_add(8)?)
            } else {
                let field = |at| Some(usize::from(data.le_u16(at)?));
                (field(at)?, field(at.checked_add(2)?)?, at.checked_add(4)?)
            };
            let new = data.slice(from, size)?;
            let end = offset.checked_add(size).filter(|end| *end <= MOST_HEADER)?;
            if extension.header.len() < end {
                extension.header.resize(end, 0);
            }
            extension.header.get_mut(offset..end)?.copy_from_slice(new);
            at = from.checked_add(size)?.checked_next_multiple_of(4)?;
        }
        Some(())
    }

    /// `struct mail_transaction_ext_atomic_inc`: a number and what is added to its record.
    fn increase(&mut self, data: Fields<'_>) -> Option<()> {
        let number = self.current?;
        let size = self.index.extensions.get(number)?.record_size;
        for at in steps(data, 8) {
            let diff = i32::from_le_bytes(data.array(at.checked_add(4)?)?);
            if let Some(record) = self.index.records.get_mut(&data.le_u32(at)?) {
                let none = || vec![0; size];
                add(record.extensions.entry(number).or_insert_with(none), diff);
            }
        }
        Some(())
    }

    /// `struct mail_transaction_ext_rec_update`: a number and a record of the extension.
    fn records(&mut self, data: Fields<'_>) -> Option<()> {
        let number = self.current?;
        let size = self.index.extensions.get(number)?.record_size;
        let each = size.checked_next_multiple_of(4)?.checked_add(4)?;
        for at in steps(data, each) {
            let new = data.slice(at.checked_add(4)?, size)?;
            if let Some(record) = self.index.records.get_mut(&data.le_u32(at)?) {
                record.extensions.insert(number, new.to_vec());
            }
        }
        Some(())
    }
}

/// Adds to a little-endian number of any length.
fn add(number: &mut [u8], diff: i32) {
    let before = number.iter().rev();
    let before = before.fold(0_i64, |sum, byte| sum.wrapping_shl(8) | i64::from(*byte));
    let after = before.wrapping_add(i64::from(diff)).to_le_bytes();
    for (byte, new) in number.iter_mut().zip(after) {
        *byte = new;
    }
}

/// Two UIDs at `at`: the first and the last of a range.
fn range(data: Fields<'_>, at: usize) -> Option<RangeInclusive<u32>> {
    Some(data.le_u32(at)?..=data.le_u32(at.checked_add(4)?)?)
}

/// Where the whole items of `each` bytes in `data` begin.
fn steps(data: Fields<'_>, each: usize) -> impl Iterator<Item = usize> + use<> {
    let length = data.bytes().len();
    (0..length)
        .step_by(each.max(1))
        .take_while(move |at| at.checked_add(each).is_some_and(|end| end <= length))
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn no_log_makes_it_panic(
            records in proptest::collection::vec(
                (0_usize..14, proptest::collection::vec(proptest::num::u8::ANY, 0..60)),
                0..40,
            ),
        ) {
            let kinds = [EXPUNGE | EXTERNAL, APPEND, FLAG_UPDATE, EXT_INTRO, EXT_HDR_UPDATE,
                EXT_REC_UPDATE, EXPUNGE_GUID | EXTERNAL, KEYWORD_UPDATE, KEYWORD_RESET, EXT_RESET,
                EXT_HDR_UPDATE32, EXPUNGE, EXT_ATOMIC_INC, 9];
            let mut log = vec![1, 3, 40, 0];
            log.resize(40, 0);
            for (kind, mut data) in records {
                data.resize(data.len().next_multiple_of(4), 0);
                let units = (data.len() + 8) / 4;
                log.extend([0x80, 0x80, 0x80, 0x80 | units as u8]);
                log.extend(kinds[kind].to_le_bytes());
                log.extend(data);
            }
            let _ = MailIndex::read(None, &[&log]);
            let _ = MailIndex::read(Some(&log), &[&log[..log.len() / 2]]);
            let _ = crate::maildir::parse_list_log(&log);
        }

        #[test]
        fn no_index_makes_it_panic(
            mut index in proptest::collection::vec(proptest::num::u8::ANY, 0..600),
            sizes in proptest::array::uniform4(0_u32..400),
        ) {
            if index.len() > 40 {
                index[0] = 7;
                index[2..4].copy_from_slice(&(sizes[0] as u16).to_le_bytes());
                index[4..8].copy_from_slice(&sizes[1].to_le_bytes());
                index[8..12].copy_from_slice(&sizes[2].to_le_bytes());
                index[32..36].copy_from_slice(&(sizes[3] * 1000).to_le_bytes());
            }
            let _ = MailIndex::read(Some(&index), &[]);
        }
    }
}
