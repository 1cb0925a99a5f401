//! Keywords as Courier keeps them: in the directory `courierimapkeywords` of a folder.
//!
//! `:list` has the names of keywords, an empty line, and for each message that has any its name
//! and their numbers; a file `.NUMBER.NAME` has what was changed since, a keyword a line. Source:
//! Courier's `README.imapkeywords` and `maildir/maildirkeywords.c`.

use std::collections::BTreeMap;

use evidence::Loss;
use filesystem::Filesystem;

use super::is_keyword;
use crate::store::{Folder, entries_of, read_file};

const DIRECTORY: &[u8] = b"courierimapkeywords";

/// By the base name of a message, its keywords, sorted.
pub(super) type Keywords = BTreeMap<Vec<u8>, Vec<String>>;

/// Reads the keywords of a folder. What cannot be read goes to `losses`.
pub(super) fn keywords(
    folder: &Folder,
    fs: &dyn Filesystem,
    device: &str,
    losses: &mut Vec<Loss>,
) -> Keywords {
    let Some(directory) = folder.entry(DIRECTORY) else {
        return Keywords::new();
    };
    let path = folder.path.join(DIRECTORY);
    let entries = entries_of(fs, directory, losses);
    let mut read = |entry: &filesystem::DirEntry| {
        let read = read_file(fs, device, &path.join(&entry.name), entry.inode);
        read.unwrap_or_else(|loss| {
            losses.push(loss);
            None
        })
    };
    let list = entries.iter().find(|entry| entry.name == b":list");
    let list = list.and_then(&mut read);
    let mut keywords = list.map(|text| parse_list(&text)).unwrap_or_default();
    for entry in &entries {
        if let Some(message) = changed(&entry.name)
            && let Some(text) = read(entry)
        {
            keywords.insert(message.to_vec(), named(text.split(|byte| *byte == b'\n')));
        }
    }
    keywords
}

/// The message that a file `.NUMBER.NAME` is about.
fn changed(name: &[u8]) -> Option<&[u8]> {
    let rest = name.strip_prefix(b".")?;
    let dot = memchr::memchr(b'.', rest)?;
    let (number, message) = rest.split_at_checked(dot)?;
    let is_number = !number.is_empty() && number.iter().all(u8::is_ascii_digit);
    message.get(1..).filter(|_| is_number)
}

fn named<'a>(names: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
    let names = names.filter_map(|name| std::str::from_utf8(name).ok());
    let mut names: Vec<String> = names
        .filter(|name| is_keyword(name))
        .map(str::to_owned)
        .collect();
    names.sort();
    names.dedup();
    names
}

fn parse_list(text: &[u8]) -> Keywords {
    let mut lines = text.split(|byte| *byte == b'\n');
    let names: Vec<&[u8]> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
    let messages = lines.filter_map(|line| {
        let colon = memchr::memrchr(b':', line)?;
        let (message, numbers) = line.split_at_checked(colon)?;
        let numbers = std::str::from_utf8(numbers.get(1..)?).ok()?;
        let numbers = numbers.split_ascii_whitespace();
        let keywords = numbers.filter_map(|number| names.get(number.parse::<usize>().ok()?));
        Some((message.to_vec(), named(keywords.copied())))
    });
    messages.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_names_keywords_by_their_numbers() {
        let got = parse_list(b"invoice\n$Forwarded\n\na.b,S=1:0 1\nc.d:1 7\nnonsense\n");
        let want = [
            (
                b"a.b,S=1".to_vec(),
                vec!["$Forwarded".to_owned(), "invoice".to_owned()],
            ),
            (b"c.d".to_vec(), vec!["$Forwarded".to_owned()]),
        ];
        assert_eq!(got, Keywords::from(want));
        assert_eq!(changed(b".12.a.b,S=1"), Some(&b"a.b,S=1"[..]));
        assert_eq!(changed(b":list"), None);
    }
}
