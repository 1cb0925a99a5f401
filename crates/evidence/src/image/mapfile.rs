//! ddrescue mapfiles: which areas of an image were rescued.
//!
//! Format: GNU ddrescue manual, chapter "Mapfile structure". Comment lines begin with `#`; the
//! first other line is the state of the run; each further line is `pos size status`, where only
//! status `+` means that the area was read.

use std::ffi::OsString;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::Error;

/// A mapfile of this length would have tens of millions of areas.
const MAX_BYTES: u64 = 1 << 30;

/// Why a text is not a mapfile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct MapfileError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong there.
    pub what: &'static str,
}

/// The areas of an image that ddrescue has read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapfile {
    /// Rescued areas, ordered and apart, in bytes.
    rescued: Vec<Range<u64>>,
    end: u64,
}

impl Mapfile {
    /// Reads the text of a mapfile.
    pub fn parse(text: &[u8]) -> Result<Self, MapfileError> {
        let mut rescued: Vec<Range<u64>> = Vec::new();
        let mut end = 0_u64;
        let mut state_seen = false;
        for (number, raw) in text.split(|byte| *byte == b'\n').enumerate() {
            let wrong = |what| MapfileError {
                line: number.saturating_add(1),
                what,
            };
            let line = std::str::from_utf8(raw).map_err(|_| wrong("not text"))?;
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let fields: Vec<&str> = line.split_whitespace().collect();
            if !state_seen {
                state_line(&fields).ok_or_else(|| wrong("not the state of a ddrescue run"))?;
                state_seen = true;
                continue;
            }
            let [pos, size, status] = fields.as_slice() else {
                return Err(wrong("not `position size status`"));
            };
            let pos = number_of(pos).ok_or_else(|| wrong("position is not a number"))?;
            let size = number_of(size).ok_or_else(|| wrong("size is not a number"))?;
            if pos < end {
                return Err(wrong("areas overlap or are out of order"));
            }
            end = pos
                .checked_add(size)
                .ok_or_else(|| wrong("area ends past 2^64"))?;
            match *status {
                "+" => match rescued.last_mut() {
                    Some(last) if last.end == pos => last.end = end,
                    _ => rescued.push(pos..end),
                },
                "?" | "*" | "/" | "-" => {}
                _ => return Err(wrong("unknown status")),
            }
        }
        if !state_seen {
            return Err(MapfileError {
                line: 1,
                what: "no state line",
            });
        }
        Ok(Self { rescued, end })
    }

    /// Where the last area ends, in bytes.
    pub const fn end(&self) -> u64 {
        self.end
    }

    /// The areas of an image of `length` bytes that were not rescued, ordered and apart.
    pub fn not_rescued(&self, length: u64) -> Vec<Range<u64>> {
        let mut holes = Vec::new();
        let mut from = 0;
        for good in &self.rescued {
            if good.start > from {
                holes.push(from..good.start.min(length));
            }
            from = good.end;
        }
        if from < length {
            holes.push(from..length);
        }
        holes.retain(|hole| hole.start < hole.end);
        holes
    }
}

/// `current_pos current_status [current_pass]`.
fn state_line(fields: &[&str]) -> Option<()> {
    let (pos, rest) = fields.split_first()?;
    number_of(pos)?;
    let (status, rest) = rest.split_first()?;
    matches!(*status, "?" | "*" | "/" | "-" | "F" | "G" | "+").then_some(())?;
    match rest {
        [] => Some(()),
        [pass] => number_of(pass).map(|_| ()),
        _ => None,
    }
}

/// A number as ddrescue writes it: decimal, `0x` hexadecimal, or octal with a leading `0`.
fn number_of(text: &str) -> Option<u64> {
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return u64::from_str_radix(hex, 16).ok();
    }
    match text.strip_prefix('0') {
        Some(octal) if !octal.is_empty() => u64::from_str_radix(octal, 8).ok(),
        _ => text.parse().ok(),
    }
}

/// The mapfile beside the image at `path`, by the names that people give it.
pub(super) fn beside(path: &Path) -> Result<Option<(PathBuf, Mapfile)>, Error> {
    let added = ["map", "mapfile", "log", "logfile"].map(|suffix| {
        let mut name = OsString::from(path);
        name.push(".");
        name.push(suffix);
        PathBuf::from(name)
    });
    let replaced = ["map", "mapfile", "log"].map(|suffix| path.with_extension(suffix));
    for candidate in added.into_iter().chain(replaced) {
        let Ok(metadata) = fs::metadata(&candidate) else {
            continue;
        };
        if !metadata.is_file() || candidate == path {
            continue;
        }
        if metadata.len() > MAX_BYTES {
            return Err(Error::NotEvidence {
                path: candidate,
                what: "may be the image's ddrescue mapfile, and is too long to be read; if it is \
                       not, move it away"
                    .to_owned(),
            });
        }
        let text = fs::read(&candidate).map_err(|source| Error::io(&candidate, source))?;
        match Mapfile::parse(&text) {
            Ok(map) => return Ok(Some((candidate, map))),
            // Some other log that only shares the name; but a file that says it is ddrescue's
            // and cannot be read must not be passed over: its bad areas would count as read.
            Err(error) if says_ddrescue(&text) => {
                return Err(Error::NotEvidence {
                    path: candidate,
                    what: format!(
                        "is a ddrescue mapfile that cannot be read ({error}); mend it or move it away"
                    ),
                });
            }
            Err(_) => {}
        }
    }
    Ok(None)
}

fn says_ddrescue(text: &[u8]) -> bool {
    let head = text.get(..text.len().min(200)).unwrap_or_default();
    head.windows(8).any(|window| window == b"ddrescue")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_finished_areas_count_as_rescued() {
        let text = b"# Mapfile. Created by GNU ddrescue version 1.27\n# current_pos\n\
            0x00400000     ?               1\n\
            0x00000000  0x00100000  +\n0x00100000  0x00100000  *\n\
            0x00200000  0x00100000  /\n0x00300000  0x00100000  +\n0x00400000  0x00100000  ?\n";
        let map = Mapfile::parse(text).unwrap();
        assert_eq!(map.end(), 0x50_0000);
        assert_eq!(
            map.not_rescued(0x60_0000),
            [0x10_0000..0x30_0000, 0x40_0000..0x60_0000]
        );
    }

    #[test]
    fn other_texts_are_not_mapfiles() {
        for text in [
            &b"hello\n"[..],
            b"",
            b"0x0 + 1\n0 zz +\n",
            b"0x0 + 1\n0x200 0x200 +\n0x0 0x100 +\n",
            b"0x0 + 1\n0 0x200 X\n",
        ] {
            assert!(Mapfile::parse(text).is_err(), "{text:?}");
        }
    }
}
