//! The names of segment files: `.E01` to `.E99`, then `.EAA` to `.EZZ`, `.FAA` to `.ZZZ`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The file of segment `number` of the image whose first segment is at `first`; `None` after the
/// last that has a name.
pub(super) fn segment_path(first: &Path, number: u32) -> Option<PathBuf> {
    let suffix = first.extension().and_then(OsStr::to_str)?;
    let letter = *suffix.as_bytes().first()?;
    let a = if letter.is_ascii_lowercase() {
        b'a'
    } else {
        b'A'
    };
    if number <= 99 {
        return Some(first.with_extension(format!("{}{number:02}", char::from(letter))));
    }
    let index = number.checked_sub(100)?;
    let carry = u8::try_from(index / (26 * 26)).ok()?;
    let leading = letter.checked_add(carry)?;
    if leading > a.checked_add(25)? {
        return None;
    }
    let digit = |value: u32| {
        u8::try_from(value % 26)
            .ok()?
            .checked_add(a)
            .map(char::from)
    };
    let name: String = [Some(char::from(leading)), digit(index / 26), digit(index)]
        .into_iter()
        .collect::<Option<_>>()?;
    Some(first.with_extension(name))
}

/// The file of the first segment, of the image that segment `number` at `path` belongs to.
pub(super) fn first_path(path: &Path, number: u32) -> Option<PathBuf> {
    let suffix = path.extension().and_then(OsStr::to_str)?;
    let letter = *suffix.as_bytes().first()?;
    let back = u8::try_from(number.saturating_sub(100) / (26 * 26)).ok()?;
    let letter = char::from(letter.checked_sub(back)?);
    Some(path.with_extension(format!("{letter}01")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_named_as_encase_names_them() {
        let first = Path::new("/lab/disk.E01");
        for (number, suffix) in [
            (1, "E01"),
            (99, "E99"),
            (100, "EAA"),
            (101, "EAB"),
            (126, "EBA"),
            (775, "EZZ"),
            (776, "FAA"),
        ] {
            let path = segment_path(first, number).unwrap();
            assert_eq!(path.extension().unwrap(), suffix);
            assert_eq!(first_path(&path, number).as_deref(), Some(first));
        }
        assert_eq!(segment_path(first, 100 + 22 * 676), None);
        let path = segment_path(Path::new("d.s01"), 100).unwrap();
        assert_eq!(path, Path::new("d.saa"));
    }
}
