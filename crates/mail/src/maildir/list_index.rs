//! `dovecot.list.index`: the folders of a mailbox, each with its GUID and how many messages it
//! had.
//!
//! It is an index as those of folders are. Names stand in the header of the extension `list`; each
//! folder is a "message", whose `list` record names its level, its parent and its GUID, and whose
//! `msgs` record counts its messages.
//!
//! Source: Dovecot's `src/lib-storage/list/mailbox-list-index.h`.

use std::collections::BTreeMap;

use evidence::Fields;

use crate::dovecot::{DELETED, MailIndex};
use crate::store::level;

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

/// A folder, or a level of folders.
#[derive(Clone, Debug, Default)]
struct Node {
    /// `MAIL_DELETED`, which says here that a folder is only a level of others.
    is_nonexistent: bool,
    name_id: u32,
    parent_uid: u32,
    guid: [u8; 16],
    messages: Option<u32>,
}

/// Reads a log alone; `None` if it is none of a known version.
pub fn parse_list_log(log: &[u8]) -> Option<Vec<ListedFolder>> {
    parse_list(None, Some(log))
}

/// Reads the list from its index and its log; `None` if neither is one of a known version.
pub fn parse_list(index: Option<&[u8]>, log: Option<&[u8]>) -> Option<Vec<ListedFolder>> {
    let logs: Vec<&[u8]> = log.into_iter().collect();
    let list = MailIndex::read(index, &logs)?;
    let names = list.header("list").and_then(names).unwrap_or_default();
    let nodes = list.records.iter().map(|(uid, record)| {
        let mut node = Node {
            is_nonexistent: record.flags & DELETED != 0,
            ..Node::default()
        };
        if let Some(of_list) = list.extension(*uid, "list") {
            node.name_id = of_list.le_u32(0).unwrap_or_default();
            node.parent_uid = of_list.le_u32(4).unwrap_or_default();
            node.guid = of_list.array(8).unwrap_or_default();
        }
        node.messages = list.extension(*uid, "msgs").and_then(|msgs| msgs.le_u32(0));
        (*uid, node)
    });
    Some(folders(&nodes.collect(), &names))
}

/// The header of `list`: a flag, then numbers and names up to the number 0.
fn names(header: Fields<'_>) -> Option<BTreeMap<u32, &[u8]>> {
    let mut names = BTreeMap::new();
    let mut rest = header.from(1)?.bytes();
    while let Some((id, text)) = rest.split_first_chunk::<4>() {
        let id = u32::from_le_bytes(*id);
        let Some(end) = memchr::memchr(0, text).filter(|_| id != 0) else {
            break;
        };
        names.insert(id, text.get(..end)?);
        rest = text.get(end.checked_add(1)?..)?;
    }
    Some(names)
}

/// The folders that can hold messages and whose name is known, by name.
fn folders(nodes: &BTreeMap<u32, Node>, names: &BTreeMap<u32, &[u8]>) -> Vec<ListedFolder> {
    let there = nodes.values().filter(|node| !node.is_nonexistent);
    let mut folders: Vec<ListedFolder> = there
        .filter_map(|node| {
            Some(ListedFolder {
                name: name(node, nodes, names)?,
                guid: node.guid.iter().map(|byte| format!("{byte:02x}")).collect(),
                messages: node.messages,
            })
        })
        .collect();
    folders.sort_by(|a, b| (&a.name, &a.guid).cmp(&(&b.name, &b.guid)));
    folders
}

/// The name of a folder with those of its parents.
fn name(node: &Node, nodes: &BTreeMap<u32, Node>, names: &BTreeMap<u32, &[u8]>) -> Option<String> {
    let mut levels = Vec::new();
    let mut at = Some(node);
    while let Some(node) = at {
        levels.push(level(names.get(&node.name_id)?));
        if levels.len() > MOST_LEVELS {
            return None;
        }
        at = match node.parent_uid {
            0 => None,
            parent => Some(nodes.get(&parent)?),
        };
    }
    levels.reverse();
    Some(levels.join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_that_are_their_own_parents_end() {
        let node = Node {
            name_id: 1,
            parent_uid: 7,
            ..Node::default()
        };
        let names = BTreeMap::from([(1, &b"a"[..])]);
        assert_eq!(folders(&BTreeMap::from([(7, node)]), &names), []);
    }
}
