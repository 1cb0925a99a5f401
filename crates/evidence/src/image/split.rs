//! Split images: `disk.001, disk.002 …`, `disk.aa, disk.ab …`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// How many pieces in a row may be missing before the set is taken to end.
const MAX_MISSING: usize = 3;

/// One piece of a split image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Its file.
    There(PathBuf),
    /// The file that should be there, since later ones are.
    Missing(PathBuf),
}

/// The pieces of a split image, in order.
#[derive(Clone, Debug)]
pub struct Pieces {
    first: PathBuf,
    pieces: Vec<Piece>,
}

impl Pieces {
    /// How many pieces there are, missing ones included.
    pub(super) const fn len(&self) -> usize {
        self.pieces.len()
    }

    /// The first piece.
    pub(super) fn first(&self) -> &Path {
        &self.first
    }

    /// The first piece, if that is not the file at `path`.
    pub fn first_other_than(&self, path: &Path) -> Option<&Path> {
        (self.first != path).then_some(&self.first)
    }

    /// The pieces in order.
    pub(super) fn paths(&self) -> &[Piece] {
        &self.pieces
    }

    /// Whether the file at `path` is one of the pieces.
    pub fn contains(&self, path: &Path) -> bool {
        self.pieces
            .iter()
            .any(|piece| matches!(piece, Piece::There(there) if there == path))
    }
}

/// The pieces of the split image that the file at `path` belongs to; `None` if its name is
/// not that of a piece.
pub fn siblings(path: &Path) -> Option<Pieces> {
    let suffix = path.extension().and_then(OsStr::to_str)?;
    let first = first_suffix(suffix, path)?;
    if !path.with_extension(&first).is_file() {
        // `shelf.2014` is a name like any other.
        return None;
    }
    let mut pieces = Vec::new();
    let mut missing = Vec::new();
    let mut next = Some(first.clone());
    while let Some(suffix) = next {
        let piece = path.with_extension(&suffix);
        if piece.is_file() {
            pieces.append(&mut missing);
            pieces.push(Piece::There(piece));
        } else {
            missing.push(Piece::Missing(piece));
            if missing.len() > MAX_MISSING {
                break;
            }
        }
        next = successor(&suffix);
    }
    Some(Pieces {
        first: path.with_extension(&first),
        pieces,
    })
}

/// The suffix that the first piece of the set has: `001` or `000`, `aa`, `aaa`.
fn first_suffix(suffix: &str, path: &Path) -> Option<String> {
    let width = suffix.len();
    if width >= 2 && suffix.bytes().all(|byte| byte.is_ascii_digit()) {
        let zero = "0".repeat(width);
        let one = format!("{:0>width$}", 1);
        return Some(if path.with_extension(&zero).is_file() {
            zero
        } else {
            one
        });
    }
    let letters = matches!(width, 2 | 3) && suffix.bytes().all(|byte| byte.is_ascii_lowercase());
    letters.then(|| "a".repeat(width))
}

/// The suffix after this one, as `split` counts; `None` after the last.
fn successor(suffix: &str) -> Option<String> {
    let mut bytes = suffix.as_bytes().to_vec();
    for byte in bytes.iter_mut().rev() {
        match *byte {
            b'9' => *byte = b'0',
            b'z' => *byte = b'a',
            other => {
                *byte = other.saturating_add(1);
                return String::from_utf8(bytes).ok();
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_count_as_split_does() {
        assert_eq!(successor("009").as_deref(), Some("010"));
        assert_eq!(successor("az").as_deref(), Some("ba"));
        assert_eq!(successor("zz"), None);
        assert_eq!(successor("99"), None);
    }

    #[test]
    fn a_name_that_is_no_piece_has_no_siblings() {
        let dir = tempfile::tempdir().unwrap();
        let lone = dir.path().join("disk.db");
        std::fs::write(&lone, b"x").unwrap();
        assert!(siblings(&lone).is_none());
        assert!(siblings(&dir.path().join("disk.img")).is_none());
    }
}
