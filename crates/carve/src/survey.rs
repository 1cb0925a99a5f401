//! The one pass over a device: what each sector holds, and where messages may begin.

use std::ops::Range;

use evidence::{ByteOffset, ReadAt, ReadAtExt};
use mail::header::{REACH, begins_anew, header};
use rayon::prelude::*;

use crate::language::{Language, SAMPLE_BYTES};
use crate::maps;
use crate::stored::Sightings;

/// The smallest unit that a disk reads and a file system gives.
pub(crate) const SECTOR: usize = 512;
/// Read at a time.
pub(crate) const WINDOW: u64 = 4 << 20;
/// A sector of text has no more control characters than this; of anything else one byte in ten
/// is one.
const MOST_CONTROL: usize = 6;

/// What a sector holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sector {
    /// Nothing but zeros.
    Zero = 0,
    /// Text, of whatever kind, up to zeros at its end.
    Text = 1,
    /// Anything else, or what could not be read.
    Other = 2,
    /// What somebody else has explained.
    Taken = 3,
}

impl Sector {
    const fn of_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::Zero,
            1 => Self::Text,
            2 => Self::Other,
            _ => Self::Taken,
        }
    }

    /// The class of the bytes of a sector.
    fn of(bytes: &[u8]) -> Self {
        let Some(last) = bytes.iter().rposition(|byte| *byte != 0) else {
            return Self::Zero;
        };
        let body = bytes.get(..=last).unwrap_or_default();
        let control: usize = body
            .chunks(128)
            .map(|chunk| {
                usize::from(
                    chunk
                        .iter()
                        .map(|byte| u8::from(is_control(*byte)))
                        .sum::<u8>(),
                )
            })
            .sum();
        if control.saturating_mul(SECTOR) <= MOST_CONTROL.saturating_mul(body.len().max(64)) {
            Self::Text
        } else {
            Self::Other
        }
    }
}

/// Whether a byte is none that text has: text of any alphabet, tabs and line ends, form feeds and
/// the escapes of Japanese mail are.
pub(crate) const fn is_control(byte: u8) -> bool {
    (byte < 0x20) & !matches!(byte, b'\t' | b'\n' | b'\r' | 0x0C | 0x1B) | (byte == 0x7F)
}

/// What the pass over a device found.
pub(crate) struct Survey {
    /// Four sectors in a byte.
    sectors: Vec<u8>,
    /// Where headers of messages begin, at the start of a sector.
    pub(crate) heads: Vec<u64>,
    /// How the text of the device goes.
    pub(crate) language: Language,
    /// Stretches of text that nothing was learned from.
    pub(crate) unseen: Vec<Vec<u8>>,
    /// Where files of mail stores seem to be.
    pub(crate) stores: Sightings,
    /// Sectors that begin as maps of files do: leaves of trees of extents, and blocks of pointers.
    pub(crate) leaves: Vec<u64>,
    pub(crate) pointers: Vec<u64>,
}

impl Survey {
    /// Reads `device` once, but for the ranges that are `taken` (sorted).
    pub(crate) fn of(
        device: &dyn ReadAt,
        taken: &[Range<u64>],
        progress: &(dyn Fn(u64) + Sync),
    ) -> Self {
        let windows = device.len().div_ceil(WINDOW);
        // The sample is spread over the device, and the same however many threads there are.
        let learned = (SAMPLE_BYTES / WINDOW).max(1);
        let every = windows.div_ceil(learned).max(1);
        let parts: Vec<Part> = (0..windows)
            .into_par_iter()
            .map(|window| {
                let part = Part::of(
                    device,
                    window.saturating_mul(WINDOW),
                    taken,
                    window % every == 0,
                );
                progress(WINDOW.min(device.len().saturating_sub(window.saturating_mul(WINDOW))));
                part
            })
            .collect();
        let mut survey = Self {
            sectors: Vec::with_capacity(parts.iter().map(|part| part.sectors.len()).sum()),
            heads: Vec::new(),
            language: Language::default(),
            unseen: Vec::new(),
            stores: Sightings::default(),
            leaves: Vec::new(),
            pointers: Vec::new(),
        };
        let (mut covered, mut facts_from, mut sampled) = (0, 0, 0_u64);
        for part in parts {
            survey.sectors.extend(part.sectors);
            for head in part.heads {
                // A line of a header may begin at a sector by chance, but no field within a line. What is
                // like a header and has none of what only mail has, before its line is cut, is no part
                // of what begins there.
                let is_within = head.span.start < covered;
                let is_cut = head.cuts_line && facts_from >= head.span.start;
                if is_within && !is_cut && !head.is_within_line {
                    continue;
                }
                if is_within && is_cut {
                    survey.heads.pop();
                }
                survey.heads.push(head.span.start);
                covered = head.span.end;
                facts_from = head.facts_from;
            }
            for stretch in part.sample {
                sampled = sampled.wrapping_add(1);
                if sampled.is_multiple_of(8) && survey.unseen.len() < MOST_UNSEEN {
                    survey.unseen.push(stretch);
                } else {
                    survey.language.learn(&stretch);
                }
            }
            survey.stores.append(part.stores);
            for (all, own) in [
                (&mut survey.leaves, part.leaves),
                (&mut survey.pointers, part.pointers),
            ] {
                let room = MOST_MAPS.saturating_sub(all.len());
                all.extend(own.into_iter().take(room));
            }
        }
        survey
    }

    /// Takes the sectors that `span` touches, with the heads in it: something else explains them.
    pub(crate) fn take(&mut self, span: &Range<u64>) {
        let sector = SECTOR as u64;
        for number in span.start / sector..span.end.div_ceil(sector) {
            let byte = usize::try_from(number / 4).ok();
            if let Some(byte) = byte.and_then(|at| self.sectors.get_mut(at)) {
                *byte |= (Sector::Taken as u8) << (number % 4 * 2);
            }
        }
        let from = self.heads.partition_point(|head| *head < span.start);
        let to = self.heads.partition_point(|head| *head < span.end);
        self.heads.drain(from..to.max(from));
    }

    /// Whether a message or a file of a store begins at a place.
    pub(crate) fn begins_mail(&self, at: u64) -> bool {
        self.heads.binary_search(&at).is_ok() || self.stores.begins_at(at)
    }

    /// What the sector at a multiple of [`SECTOR`] holds.
    pub(crate) fn sector(&self, offset: u64) -> Sector {
        let number = offset / SECTOR as u64;
        let byte = usize::try_from(number / 4)
            .ok()
            .and_then(|at| self.sectors.get(at));
        byte.map_or(Sector::Other, |byte| {
            Sector::of_bits(byte >> (number % 4 * 2))
        })
    }
}

/// What seems to be a header at the start of a sector.
struct Head {
    span: Range<u64>,
    /// Where the first of it lies that only mail has.
    facts_from: u64,
    /// Whether the sector before ends within a line.
    cuts_line: bool,
    /// Whether that line can't go on with the field that begins here.
    is_within_line: bool,
}

/// So many maps of a kind are kept.
const MOST_MAPS: usize = 1 << 18;

/// What a window gave.
struct Part {
    sectors: Vec<u8>,
    /// Where headers lie.
    heads: Vec<Head>,
    sample: Vec<Vec<u8>>,
    stores: Sightings,
    leaves: Vec<u64>,
    pointers: Vec<u64>,
}

/// Stretches that are kept to measure by.
const MOST_UNSEEN: usize = 1024;

/// So much of each sampled block is learned from.
const SAMPLE_STRETCH: usize = 1024;

impl Part {
    fn of(device: &dyn ReadAt, start: u64, taken: &[Range<u64>], sampled: bool) -> Self {
        let mut part = Self {
            sectors: Vec::new(),
            heads: Vec::new(),
            sample: Vec::new(),
            stores: Sightings::default(),
            leaves: Vec::new(),
            pointers: Vec::new(),
        };
        let own = WINDOW.min(device.len().saturating_sub(start));
        let length = own
            .saturating_add(REACH as u64)
            .min(device.len().saturating_sub(start));
        let Ok(length) = usize::try_from(length) else {
            return part;
        };
        let own = usize::try_from(own).unwrap_or(length).min(length);
        let count = own.div_ceil(SECTOR);
        let end = start.saturating_add(length as u64);
        if range_with(taken, start).is_some_and(|range| range.end >= end) {
            part.sectors = uniform(Sector::Taken, count);
            return part;
        }
        let Ok((bytes, gaps)) = device.read_vec(ByteOffset::new(start), length) else {
            part.sectors = uniform(Sector::Other, count);
            return part;
        };
        let mut packed = 0_u8;
        let mut before = Sector::Other;
        for number in 0..count {
            let at = number.saturating_mul(SECTOR);
            let end = at.saturating_add(SECTOR).min(own);
            let offset = start.saturating_add(at as u64);
            let sector = if is_taken(taken, offset) {
                Sector::Taken
            } else if gaps.touch(at..end) {
                Sector::Other
            } else {
                Sector::of(bytes.get(at..end).unwrap_or_default())
            };
            let rest = bytes.get(at..).unwrap_or_default();
            if sector == Sector::Other {
                let own = bytes.get(at..end).unwrap_or_default();
                if own.starts_with(&maps::MAGIC) {
                    part.leaves.push(offset);
                } else if maps::may_be_pointers(own, device.len()) {
                    part.pointers.push(offset);
                }
            }
            if let Some(header) = (sector == Sector::Text).then(|| header(rest)).flatten() {
                let before = bytes.get(..at).unwrap_or_default();
                let line_before = before.rsplit(|byte| matches!(byte, b'\n' | 0)).next();
                let line_before = line_before.unwrap_or_default();
                part.heads.push(Head {
                    span: offset..offset.saturating_add(header.seen),
                    facts_from: offset.saturating_add(header.first_fact),
                    cuts_line: !line_before.is_empty(),
                    is_within_line: begins_anew(line_before, rest, &header),
                });
            }
            if sampled && sector == Sector::Text && before == Sector::Text && number % 8 == 4 {
                let stretch = rest
                    .get(..SAMPLE_STRETCH.min(rest.len()))
                    .unwrap_or_default();
                if is_written(stretch) {
                    part.sample.push(stretch.to_vec());
                }
            }
            before = sector;
            packed |= (sector as u8) << (number % 4 * 2);
            if number % 4 == 3 || number + 1 == count {
                part.sectors.push(std::mem::take(&mut packed));
            }
        }
        part.stores
            .look(&bytes, own, start, &|at| !is_taken(taken, at));
        part
    }
}

/// So many sectors, all of one kind, packed.
fn uniform(sector: Sector, count: usize) -> Vec<u8> {
    let bits = sector as u8;
    vec![bits | bits << 2 | bits << 4 | bits << 6; count.div_ceil(4)]
}

/// Whether the sector at `offset` lies in one of the sorted ranges.
fn is_taken(taken: &[Range<u64>], offset: u64) -> bool {
    range_with(taken, offset).is_some()
}

fn range_with(taken: &[Range<u64>], offset: u64) -> Option<&Range<u64>> {
    let next = taken.partition_point(|range| range.end <= offset);
    taken.get(next).filter(|range| range.start <= offset)
}

/// Whether a stretch is text that a person or a program wrote, and no base64.
fn is_written(stretch: &[u8]) -> bool {
    let spaces = stretch
        .iter()
        .filter(|byte| matches!(byte, b' ' | b'\n'))
        .count();
    spaces.saturating_mul(30) > stretch.len() && stretch.iter().all(|byte| *byte != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use evidence::view::Memory;

    const MAIL: &[u8] = b"Return-Path: <a@b.example>\nFrom: a@b.example\nDate: Mon, 1 Jan 2024 00:00:00 +0000\n\nhello\n";

    #[test]
    fn what_is_like_a_header_takes_none_of_the_message_behind_it() {
        let mut text = b"Format: 1.0\nUpstream-Name: Nettle\n".to_vec();
        while text.len() < 4096 {
            text.extend_from_slice(b"Files: *\nCopyright: 2001 somebody\n .\n");
        }
        text.truncate(4096);
        assert_ne!(text.last(), Some(&b'\n'));
        text.extend_from_slice(MAIL);
        text.resize(8192, 0);
        let survey = Survey::of(&Memory::new(text), &[], &|_| ());
        assert_eq!(survey.heads, [4096]);
    }

    #[test]
    fn sectors_are_told_apart_and_heads_found() {
        let mut disk = vec![0_u8; 16 << 10];
        disk[1024..1024 + MAIL.len()].copy_from_slice(MAIL);
        disk[4096..8192].copy_from_slice(&[7; 4096]);
        let taken = 12288..16384;
        let survey = Survey::of(&Memory::new(disk), &[taken], &|_| ());
        assert_eq!(survey.heads, [1024]);
        assert_eq!(survey.sector(0), Sector::Zero);
        assert_eq!(survey.sector(1024), Sector::Text);
        assert_eq!(survey.sector(4096), Sector::Other);
        assert_eq!(survey.sector(12288), Sector::Taken);
        assert_eq!(survey.sector(1 << 20), Sector::Other);
    }
}
