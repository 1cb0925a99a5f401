//! What the server's quota leaves to a Maildir: read from its `maildirsize`, never written.
//!
//! The first line states the limits (`10485760S,1000C`: bytes and messages), each further one how
//! much was added or, with a minus, taken away; their sum is what the account has. Source: Maildir++
//! (Sam Varshavchik), "Quota support"; Dovecot's `maildir` quota keeps the same file.

use std::path::Path;

use super::place::Directory;
use crate::{RestoreError, Room};

const FILE: &[u8] = b"maildirsize";

/// How much more the Maildir at `path` takes. Without a `maildirsize` nothing is known to limit it.
pub fn room(path: &Path) -> Result<Room, RestoreError> {
    let text = match Directory::find_maildir(path)? {
        Some(maildir) => maildir.read(FILE)?,
        None => None,
    };
    Ok(text.map_or_else(Room::default, |text| parse(&text)))
}

/// What a `maildirsize` leaves. A line that cannot be read adds nothing: the server makes such a
/// file again.
fn parse(text: &[u8]) -> Room {
    let text = String::from_utf8_lossy(text);
    let mut lines = text.lines();
    let (mut bytes, mut messages) = (None, None);
    for limit in lines.next().unwrap_or_default().split(',') {
        let limit = limit.trim();
        // A limit of nothing is none.
        let number = |digits: &str| digits.parse::<u64>().ok().filter(|limit| *limit > 0);
        if let Some(digits) = limit.strip_suffix('S') {
            bytes = number(digits);
        } else if let Some(digits) = limit.strip_suffix('C') {
            messages = number(digits);
        }
    }
    let (mut used_bytes, mut used_messages) = (0_i64, 0_i64);
    for line in lines {
        let mut numbers = line.split_ascii_whitespace().map(str::parse::<i64>);
        if let (Some(Ok(size)), Some(Ok(count))) = (numbers.next(), numbers.next()) {
            used_bytes = used_bytes.saturating_add(size);
            used_messages = used_messages.saturating_add(count);
        }
    }
    let left = |limit: Option<u64>, used: i64| {
        limit.map(|limit| limit.saturating_sub(u64::try_from(used).unwrap_or(0)))
    };
    Room {
        bytes: left(bytes, used_bytes),
        messages: left(messages, used_messages),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_maildirsize_says_what_is_left() {
        let room = |bytes, messages| Room { bytes, messages };
        let table: [(&[u8], Room); 9] = [
            (b"1000S,10C\n300 2\n", room(Some(700), Some(8))),
            (b"1000S,10C\n300 2\n-100 -1\n", room(Some(800), Some(9))),
            (b"10C,1000S\n2000 20\n", room(Some(0), Some(0))),
            (b"1000S\n 300   2\n", room(Some(700), None)),
            (b"0S,0C\n300 2\n", room(None, None)),
            (b"1000S\n-300 -2\n", room(Some(1000), None)),
            (
                b"1000S\nnonsense\n9 1\n99999999999999999999999 1\n",
                room(Some(991), None),
            ),
            (b"\xFF\xFF", room(None, None)),
            (b"", room(None, None)),
        ];
        for (text, want) in table {
            let shown = String::from_utf8_lossy(text);
            assert_eq!(parse(text), want, "{shown}");
        }
    }

    #[test]
    fn a_mailbox_without_the_file_has_no_known_limit_and_a_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let maildir = dir.path().join("Maildir");
        assert_eq!(room(&maildir).unwrap(), Room::default());
        std::fs::create_dir(&maildir).unwrap();
        assert_eq!(room(&maildir).unwrap(), Room::default());
        std::os::unix::fs::symlink("/etc/passwd", maildir.join("maildirsize")).unwrap();
        assert!(matches!(
            room(&maildir),
            Err(RestoreError::SymbolicLink { .. })
        ));
    }
}
