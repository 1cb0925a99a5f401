//! LZO1X, as btrfs keeps it.
//!
//! The stream is described in the kernel's `Documentation/staging/lzo.rst`; how btrfs cuts it into
//! segments, in `fs/btrfs/lzo.c`.
#![warn(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

use evidence::Fields;

/// How many bytes the lengths in front of the stream and of each segment have.
const LENGTH_BYTES: usize = 4;

/// Decodes an extent: its length, then segments, each of which is one sector when decoded. The length
/// of a segment never crosses the border of a sector. Stops at `limit` bytes.
pub(crate) fn decode_extent(bytes: &[u8], sector: usize, limit: usize) -> Option<Vec<u8>> {
    let fields = Fields::new(bytes);
    let total = fields.le_u32(0)? as usize;
    let mut out = Vec::new();
    let mut at = LENGTH_BYTES;
    while at < total && out.len() < limit {
        let left = sector.checked_sub(at.checked_rem(sector)?)?;
        if left < LENGTH_BYTES {
            at = at.checked_add(left)?;
        }
        let length = fields.le_u32(at)? as usize;
        at = at.checked_add(LENGTH_BYTES)?;
        let segment = fields.slice(at, length)?;
        at = at.checked_add(length)?;
        let mut decoder = Decoder {
            input: Fields::new(segment),
            at: 0,
            out: Vec::with_capacity(sector),
            limit: sector,
        };
        decoder.run()?;
        out.append(&mut decoder.out);
    }
    out.truncate(limit);
    Some(out)
}

/// A stream while it is decoded.
struct Decoder<'a> {
    input: Fields<'a>,
    at: usize,
    out: Vec<u8>,
    limit: usize,
}

impl Decoder<'_> {
    fn byte(&mut self) -> Option<usize> {
        let byte = self.input.u8(self.at)?;
        self.at = self.at.checked_add(1)?;
        Some(byte.into())
    }

    fn word(&mut self) -> Option<usize> {
        let word = self.input.le_u16(self.at)?;
        self.at = self.at.checked_add(2)?;
        Some(word.into())
    }

    /// A length whose bits in the instruction are all 0: each byte 0 adds 255, the first other one
    /// ends it.
    fn long(&mut self, base: usize) -> Option<usize> {
        let mut length = base;
        loop {
            match self.byte()? {
                0 => length = length.checked_add(255)?,
                last => return length.checked_add(last),
            }
        }
    }

    fn literals(&mut self, count: usize) -> Option<()> {
        let part = self.input.slice(self.at, count)?;
        if self.out.len().checked_add(count)? > self.limit {
            return None;
        }
        self.out.extend_from_slice(part);
        self.at = self.at.checked_add(count)?;
        Some(())
    }

    /// Copies `length` bytes from `distance` bytes back; the two may overlap.
    fn copy(&mut self, distance: usize, length: usize) -> Option<()> {
        let start = self.out.len().checked_sub(distance)?;
        if distance == 0 || self.out.len().checked_add(length)? > self.limit {
            return None;
        }
        for index in start..start.checked_add(length)? {
            let byte = *self.out.get(index)?;
            self.out.push(byte);
        }
        Some(())
    }

    /// Decodes up to the mark of the end.
    fn run(&mut self) -> Option<()> {
        // How many literals the last instruction copied, 4 standing for more.
        let mut state = 0;
        if let Some(first) = self.input.u8(0).filter(|first| *first > 17) {
            let count = usize::from(first).checked_sub(17)?;
            self.at = 1;
            self.literals(count)?;
            state = count.min(4);
        }
        loop {
            let instruction = self.byte()?;
            if instruction < 16 && state == 0 {
                let count = match instruction {
                    0 => self.long(15)?,
                    short => short,
                };
                self.literals(count.checked_add(3)?)?;
                state = 4;
                continue;
            }
            let found = match instruction {
                0..=15 => self.near(instruction, state)?,
                16..=63 => self.far(instruction)?,
                _ => self.short(instruction)?,
            };
            let Some(found) = found else {
                return Some(());
            };
            self.copy(found.distance, found.length)?;
            self.literals(found.literals)?;
            state = found.literals;
        }
    }

    /// Two or three bytes, depending on how many literals came before.
    fn near(&mut self, instruction: usize, state: usize) -> Option<Option<Match>> {
        let (base, length) = if state == 4 { (2049, 3) } else { (1, 2) };
        let high = self.byte()?;
        let distance = (high << 2).checked_add(instruction >> 2)?;
        Some(Some(Match {
            distance: distance.checked_add(base)?,
            length,
            literals: instruction & 3,
        }))
    }

    /// A match whose distance stands in a word of its own; `None` inside for the mark of the end.
    fn far(&mut self, instruction: usize) -> Option<Option<Match>> {
        let (bits, base) = if instruction < 32 {
            (7, 16384)
        } else {
            (31, 1)
        };
        let length = match instruction & bits {
            0 => self.long(bits)?,
            short => short,
        };
        let word = self.word()?;
        let mut distance = word >> 2;
        if instruction < 32 {
            distance = distance.checked_add((instruction & 8) << 11)?;
            if distance == 0 {
                return Some(None);
            }
        }
        Some(Some(Match {
            distance: distance.checked_add(base)?,
            length: length.checked_add(2)?,
            literals: word & 3,
        }))
    }

    /// A match whose length stands in the instruction.
    fn short(&mut self, instruction: usize) -> Option<Option<Match>> {
        let (base, bits) = if instruction < 128 { (3, 1) } else { (5, 3) };
        let length = ((instruction >> 5) & bits).checked_add(base)?;
        let high = self.byte()?;
        let distance = (high << 3).checked_add((instruction >> 2) & 7)?;
        Some(Some(Match {
            distance: distance.checked_add(1)?,
            length,
            literals: instruction & 3,
        }))
    }
}

/// What an instruction says: bytes to copy from what was decoded, then literals.
struct Match {
    distance: usize,
    length: usize,
    literals: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn framed(segment: &[u8]) -> Vec<u8> {
        let length = u32::try_from(segment.len()).unwrap();
        let total = length.saturating_add(8);
        let mut bytes = [total, length].map(u32::to_le_bytes).concat();
        bytes.extend_from_slice(segment);
        bytes
    }

    #[test]
    fn literals_matches_and_the_end_are_told_apart() {
        // "abcd", then 10 bytes from 4 back, then two literals, then the end.
        let stream = [
            21,
            b'a',
            b'b',
            b'c',
            b'd',
            32 | 8,
            (3 << 2) | 2,
            0,
            b'x',
            b'y',
            17,
            0,
            0,
        ];
        let got = decode_extent(&framed(&stream), 4096, 4096).unwrap();
        assert_eq!(got, b"abcdabcdabcdabxy");
        assert_eq!(decode_extent(&framed(&stream), 4096, 5).unwrap(), b"abcda");
        assert_eq!(decode_extent(&framed(&stream[..12]), 4096, 4096), None);
        let too_far = [21, b'a', b'b', b'c', b'd', 32 | 8, 5 << 2, 0, 17, 0, 0];
        assert_eq!(decode_extent(&framed(&too_far), 4096, 4096), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Some(out) = decode_extent(&framed(&bytes), 4096, 10_000) {
                prop_assert!(out.len() <= 4096);
            }
            let _ = decode_extent(&bytes, 4096, 10_000);
        }
    }
}
