//! `dovecot.list.index.log`: the folders of a mailbox, each with its GUID and how many messages
//! it had.
//!
//! A transaction log: behind a header, records of a length, a type and data. Names of folders
//! stand in the header of the extension `list`; each folder is a "message" of the index, whose
//! `list` record names its level, its parent and its GUID, and whose `msgs` record counts its
//! messages. Once the log is long, Dovecot moves its beginning into `dovecot.list.index`, which is
//! not read: then folders whose names stand there are left out here.
//!
//! Source: Dovecot's `src/lib-index/mail-transaction-log.h` and
//! `src/lib-storage/list/mailbox-list-index.h`.

use std::collections::BTreeMap;

use evidence::Fields;

/// The extension types of records (`enum mail_transaction_type`), without the flags above them.
const EXPUNGE: u32 = 0x1;
const APPEND: u32 = 0x2;
const FLAG_UPDATE: u32 = 0x4;
const EXT_INTRO: u32 = 0x40;
const EXT_HDR_UPDATE: u32 = 0x100;
const EXT_REC_UPDATE: u32 = 0x200;
const EXPUNGE_GUID: u32 = 0x2000;
/// `MAIL_TRANSACTION_EXPUNGE_PROT`: bits that stand in every expunge.
const EXPUNGE_PROT: u32 = 0x0000_CD90;
/// `MAIL_DELETED`, which says here that a folder is only a level of others.
const NONEXISTENT: u8 = 0x04;
/// The length of a record's header.
const RECORD_HEADER: usize = 8;
/// Levels that a folder's name may have.
const MOST_LEVELS: usize = 64;

/// A folder as the list knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedFolder {
    /// Its name as it is stored, with `.` between levels.
    pub name: String,
    /// Its GUID, in hexadecimal, as `dovecot-uidlist` writes it.
    pub guid: String,
    /// How many messages it had when the server looked last; `None` where it did not say.
    pub messages: Option<u32>,
}

/// What the log has said so far.
#[derive(Default)]
struct State<'a> {
    /// Extensions by their number: the name, and how long a record of one is.
    extensions: Vec<(Vec<u8>, usize)>,
    /// The one that the next updates are about.
    current: Option<usize>,
    /// Names of levels, by their number.
    names: BTreeMap<u32, &'a [u8]>,
    folders: BTreeMap<u32, Node>,
}

/// A folder, or a level of folders.
#[derive(Clone, Debug, Default)]
struct Node {
    is_nonexistent: bool,
    name_id: u32,
    parent_uid: u32,
    guid: [u8; 16],
    messages: Option<u32>,
}

/// Reads the log; `None` if it is none of a known version. What breaks off is read up to there.
pub fn parse_list_log(log: &[u8]) -> Option<Vec<ListedFolder>> {
    let fields = Fields::new(log);
    if fields.u8(0)? != 1 {
        return None;
    }
    let mut at = usize::from(fields.le_u16(2)?);
    let mut state = State::default();
    while let Some((kind, data, next)) = record(fields, at) {
        // A record that makes no sense is left out: the next one says where it begins itself.
        let _ = state.apply(kind, Fields::new(data));
        at = next;
    }
    Some(state.folders())
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

impl<'a> State<'a> {
    fn apply(&mut self, kind: u32, data: Fields<'a>) -> Option<()> {
        // Above the sixteen bits stand flags: external, sync, boundary.
        match kind & 0xFFFF {
            APPEND => self.append(data),
            FLAG_UPDATE => self.flags(data),
            EXT_INTRO => self.introduce(data),
            EXT_HDR_UPDATE => self.header(data),
            EXT_REC_UPDATE => self.records(data),
            kind if kind & !EXPUNGE_PROT == EXPUNGE && kind != EXPUNGE => {
                for at in steps(data, 8) {
                    let (first, last) = (data.le_u32(at)?, data.le_u32(at.checked_add(4)?)?);
                    self.folders.retain(|uid, _| !(first..=last).contains(uid));
                }
                Some(())
            }
            kind if kind & !EXPUNGE_PROT == EXPUNGE_GUID => {
                for at in steps(data, 20) {
                    self.folders.remove(&data.le_u32(at)?);
                }
                Some(())
            }
            _ => Some(()),
        }
    }

    /// `struct mail_index_record`, without extensions: the number and the flags.
    fn append(&mut self, data: Fields<'_>) -> Option<()> {
        for at in steps(data, 8) {
            let node = Node {
                is_nonexistent: data.u8(at.checked_add(4)?)? & NONEXISTENT != 0,
                ..Node::default()
            };
            self.folders.insert(data.le_u32(at)?, node);
        }
        Some(())
    }

    /// `struct mail_transaction_flag_update`.
    fn flags(&mut self, data: Fields<'_>) -> Option<()> {
        for at in steps(data, 12) {
            let (first, last) = (data.le_u32(at)?, data.le_u32(at.checked_add(4)?)?);
            let add = data.u8(at.checked_add(8)?)? & NONEXISTENT != 0;
            let remove = data.u8(at.checked_add(9)?)? & NONEXISTENT != 0;
            let all = self.folders.iter_mut();
            for (_, node) in all.filter(|(uid, _)| (first..=last).contains(*uid)) {
                node.is_nonexistent = (node.is_nonexistent || add) && !remove;
            }
        }
        Some(())
    }

    /// `struct mail_transaction_ext_intro`: which extension the next updates are about.
    fn introduce(&mut self, data: Fields<'_>) -> Option<()> {
        self.current = None;
        let record_size = usize::from(data.le_u16(12)?);
        let name_size = usize::from(data.le_u16(18)?);
        let number = match data.le_u32(0)? {
            u32::MAX => {
                let name = data.slice(20, name_size)?;
                let known = self.extensions.iter().position(|(known, _)| known == name);
                known.unwrap_or_else(|| {
                    self.extensions.push((name.to_vec(), record_size));
                    self.extensions.len().saturating_sub(1)
                })
            }
            number => usize::try_from(number).ok()?,
        };
        self.extensions.get_mut(number)?.1 = record_size;
        self.current = Some(number);
        Some(())
    }

    /// Whether the updates are about the extension `name`, and how long its records are.
    fn of(&self, name: &[u8]) -> Option<usize> {
        let (current, size) = self.extensions.get(self.current?)?;
        (current == name).then_some(*size)
    }

    /// `struct mail_transaction_ext_hdr_update`. The header of `list`: a flag, then numbers and
    /// names up to the number 0. Dovecot writes it whole.
    fn header(&mut self, data: Fields<'a>) -> Option<()> {
        self.of(b"list")?;
        if data.le_u16(0)? != 0 {
            return Some(());
        }
        let size = usize::from(data.le_u16(2)?);
        let header = data.slice(4, size)?;
        let mut rest = header.get(1..)?;
        while let Some((id, names)) = rest.split_first_chunk::<4>() {
            let id = u32::from_le_bytes(*id);
            let end = names.iter().position(|byte| *byte == 0)?;
            if id == 0 {
                break;
            }
            self.names.insert(id, names.get(..end)?);
            rest = names.get(end.checked_add(1)?..)?;
        }
        Some(())
    }

    /// `struct mail_transaction_ext_rec_update`: a number and a record of the extension.
    fn records(&mut self, data: Fields<'_>) -> Option<()> {
        let is_list = self.of(b"list");
        let size = is_list.or_else(|| self.of(b"msgs"))?;
        let each = size.checked_next_multiple_of(4)?.checked_add(4)?;
        for at in steps(data, each) {
            let node = self.folders.entry(data.le_u32(at)?).or_default();
            let at = at.checked_add(4)?;
            if is_list.is_some() {
                node.name_id = data.le_u32(at)?;
                node.parent_uid = data.le_u32(at.checked_add(4)?)?;
                node.guid = data.array(at.checked_add(8)?)?;
            } else {
                node.messages = Some(data.le_u32(at)?);
            }
        }
        Some(())
    }

    /// The folders that can hold messages and whose name is known, by name.
    fn folders(&self) -> Vec<ListedFolder> {
        let there = self.folders.values().filter(|node| !node.is_nonexistent);
        let mut folders: Vec<ListedFolder> = there
            .filter_map(|node| {
                Some(ListedFolder {
                    name: self.name(node)?,
                    guid: node.guid.iter().map(|byte| format!("{byte:02x}")).collect(),
                    messages: node.messages,
                })
            })
            .collect();
        folders.sort_by(|a, b| (&a.name, &a.guid).cmp(&(&b.name, &b.guid)));
        folders
    }

    /// The name of a folder with those of its parents.
    fn name(&self, node: &Node) -> Option<String> {
        let mut levels = Vec::new();
        let mut at = Some(node);
        while let Some(node) = at {
            let name = self.names.get(&node.name_id)?;
            levels.push(String::from_utf8_lossy(name).into_owned());
            if levels.len() > MOST_LEVELS {
                return None;
            }
            at = match node.parent_uid {
                0 => None,
                parent => Some(self.folders.get(&parent)?),
            };
        }
        levels.reverse();
        Some(levels.join("."))
    }
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
                (0_usize..8, proptest::collection::vec(proptest::num::u8::ANY, 0..60)),
                0..40,
            ),
        ) {
            let kinds = [EXPUNGE | EXPUNGE_PROT, APPEND, FLAG_UPDATE, EXT_INTRO, EXT_HDR_UPDATE,
                EXT_REC_UPDATE, EXPUNGE_GUID | EXPUNGE_PROT, 9];
            let mut log = vec![1, 3, 40, 0];
            log.resize(40, 0);
            for (kind, mut data) in records {
                data.resize(data.len().next_multiple_of(4), 0);
                let units = (data.len() + 8) / 4;
                log.extend([0x80, 0x80, 0x80, 0x80 | units as u8]);
                log.extend(kinds[kind].to_le_bytes());
                log.extend(data);
            }
            let _ = parse_list_log(&log);
            let _ = parse_list_log(&log[..log.len() / 2]);
        }
    }

    #[test]
    fn levels_that_are_their_own_parents_end() {
        let mut state = State::default();
        state.names.insert(1, b"a");
        let node = Node {
            name_id: 1,
            parent_uid: 7,
            ..Node::default()
        };
        state.folders.insert(7, node);
        assert_eq!(state.folders(), []);
    }
}
