//! MH: a message a file, called by its number.
//!
//! Flags stand in `.mh_sequences`, by name of the sequence and numbers of messages; a message that
//! was removed keeps its file, with `,` or `#` before the number, until somebody tidies up. Source:
//! the manual pages mh-sequence(5) and rmm(1) of nmh.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use evidence::{ByteOffset, ReadAtExt};
use filesystem::{DirEntry, File, FileKind, Filesystem, InodeNumber};

use crate::maildir::Flags;
use crate::mbox;
use crate::store::{Contents, Folder, Known, MailFile, find_entry};
use crate::structure::Structure;

const SEQUENCES: &[u8] = b".mh_sequences";
/// What of a file is looked at to tell whether it is a message.
const HEAD: u64 = 8192;

/// Whether a directory that lists `children` is a folder: it has sequences, or files called by
/// numbers of which the first is a message.
pub(crate) fn is_folder(fs: &dyn Filesystem, children: &[DirEntry]) -> bool {
    let numbered = children
        .iter()
        .filter_map(|entry| Some((number(&entry.name)?, entry)));
    let first = numbered.min_by_key(|(number, _)| *number);
    let Some((_, first)) = first else {
        return false;
    };
    find_entry(children, SEQUENCES).is_some() || is_message(fs, first.inode)
}

fn is_message(fs: &dyn Filesystem, number: InodeNumber) -> bool {
    let Ok(inode) = fs.inode(number) else {
        return false;
    };
    if inode.kind != FileKind::Regular {
        return false;
    }
    let length = usize::try_from(inode.size.min(HEAD)).unwrap_or(0);
    let head = File::open(fs, &inode).read_whole(ByteOffset::ZERO, length);
    // A file called `2014` may be an mbox.
    head.is_some_and(|head| {
        Structure::of_part(&head).has_header && !mbox::begins(&head) && !is_article(&head)
    })
}

/// Whether a message was posted and not mailed: news servers keep articles the same way.
fn is_article(head: &[u8]) -> bool {
    let mut lines = head.split(|byte| *byte == b'\n');
    let mut lines = lines
        .by_ref()
        .take_while(|line| !line.trim_ascii().is_empty());
    lines.any(|line| {
        line.get(..11)
            .is_some_and(|name| name.eq_ignore_ascii_case(b"newsgroups:"))
    })
}

/// The number of a message.
fn number(name: &[u8]) -> Option<u32> {
    let plain = !name.is_empty() && name.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(name)
        .ok()
        .filter(|_| plain)?
        .parse()
        .ok()
}

/// Lists a folder.
pub(crate) fn list(folder: &Folder, fs: &dyn Filesystem, device: &str) -> Contents {
    let mut contents = Contents::default();
    let mut record = folder.record(device);
    let sequences = folder
        .read_index(fs, device, SEQUENCES)
        .unwrap_or_else(|loss| {
            contents.losses.push(loss);
            None
        });
    let sequences = sequences
        .map(|text| Sequences::parse(&text))
        .unwrap_or_default();
    for entry in &folder.entries {
        let path = folder.path.join(&entry.name);
        let removed = entry
            .name
            .strip_prefix(b",")
            .or_else(|| entry.name.strip_prefix(b"#"));
        let Some(uid) = number(removed.unwrap_or(&entry.name)) else {
            continue;
        };
        if fs
            .inode(entry.inode)
            .is_ok_and(|inode| inode.kind != FileKind::Regular)
        {
            continue;
        }
        record.present = record.present.saturating_add(u64::from(removed.is_none()));
        contents.files.push(MailFile {
            path,
            inode: entry.inode,
            owner: folder.owner.clone(),
            doubt: folder.doubt.clone(),
            folder: folder.name.clone(),
            keywords: Vec::new(),
            part: None,
            known: Known {
                uid: Some(uid),
                flags: sequences.flags(uid),
                is_expunged: removed.is_some(),
                ..Known::default()
            },
        });
    }
    contents.folders.push(record);
    contents
}

/// `.mh_sequences`: a line a sequence, `NAME: 1 4-7`.
#[derive(Debug, Default)]
struct Sequences(BTreeMap<String, Vec<RangeInclusive<u32>>>);

impl Sequences {
    fn parse(text: &[u8]) -> Self {
        let lines = text.split(|byte| *byte == b'\n');
        let parsed = lines.filter_map(|line| {
            let (name, numbers) = std::str::from_utf8(line).ok()?.split_once(':')?;
            let numbers = numbers.split_ascii_whitespace().filter_map(|word| {
                let (first, last) = word.split_once('-').unwrap_or((word, word));
                Some(first.parse().ok()?..=last.parse().ok()?)
            });
            Some((name.trim().to_ascii_lowercase(), numbers.collect()))
        });
        Self(parsed.collect())
    }

    fn has(&self, name: &str, number: u32) -> Option<bool> {
        let ranges = self.0.get(name)?;
        Some(ranges.iter().any(|range| range.contains(&number)))
    }

    /// The flags of a message. It was seen if there is a list of those that were not.
    fn flags(&self, number: u32) -> Flags {
        let mut letters = String::new();
        letters.extend((self.has("unseen", number) == Some(false)).then_some('S'));
        for (name, letter) in [("replied", 'R'), ("flagged", 'F')] {
            letters.extend((self.has(name, number) == Some(true)).then_some(letter));
        }
        Flags::new(&letters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_give_flags() {
        let sequences = Sequences::parse(b"unseen: 3 5-7\nreplied: 1\nflagged: 1 7\ncur: 4\n");
        let letters: Vec<String> = [1, 3, 4, 6, 7]
            .map(|number| sequences.flags(number).letters().to_owned())
            .to_vec();
        assert_eq!(letters, ["FRS", "", "S", "", "F"]);
        assert_eq!(Sequences::default().flags(1).letters(), "");
    }

    #[test]
    fn only_numbers_are_messages() {
        assert_eq!(number(b"12"), Some(12));
        for name in [&b""[..], b"12.", b"+1", b",12", b"99999999999"] {
            assert_eq!(number(name), None);
        }
    }
}
