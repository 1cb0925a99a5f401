//! How containers pack blocks.

use std::io::{self, Read};

use flate2::read::{DeflateDecoder, ZlibDecoder};

/// How a block is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Codec {
    /// As it is, followed by its Adler-32 (EWF).
    Adler,
    /// A zlib stream, which ends with an Adler-32 of the contents.
    Zlib,
    /// A deflate stream without any checksum (qcow2).
    Deflate,
    /// A zstd frame (qcow2).
    Zstd,
}

impl Codec {
    /// The contents of a block of which `wanted` bytes belong to the disk, and which is at most
    /// `most` bytes long; `None` if `stored` is damaged.
    pub(super) fn unpack(self, stored: &[u8], wanted: usize, most: usize) -> Option<Vec<u8>> {
        match self {
            Self::Adler => checked(stored, wanted, most),
            Self::Zlib => read(ZlibDecoder::new(stored), wanted, most, true),
            // These may be followed by other things, and qcow2 packs whole clusters, the last
            // one of a disk filled up: what counts is that the bytes come.
            Self::Deflate => read(DeflateDecoder::new(stored), wanted, most, false),
            Self::Zstd => {
                let frame = zstd::Decoder::with_buffer(stored).ok()?.single_frame();
                read(frame, wanted, most, false)
            }
        }
    }
}

/// A stored block whose last four bytes are its Adler-32.
fn checked(stored: &[u8], wanted: usize, most: usize) -> Option<Vec<u8>> {
    // The last block may be filled up to its size, or be followed by other things: its checksum
    // says how long it is.
    let filled = stored.len().saturating_sub(4).min(most);
    [filled, wanted].into_iter().find_map(|length| {
        let (block, rest) = stored.split_at_checked(length)?;
        let sum = rest.first_chunk().copied().map(u32::from_le_bytes)?;
        let whole = length >= wanted && adler2::adler32_slice(block) == sum;
        whole.then(|| block.get(..wanted).map(<[u8]>::to_vec))?
    })
}

/// `wanted` bytes out of `stream`, which gives no more than `most`. With `to_end` it must end there,
/// with a checksum that holds.
fn read(stream: impl Read, wanted: usize, most: usize, to_end: bool) -> Option<Vec<u8>> {
    let limit = if to_end { most.checked_add(1)? } else { wanted };
    let mut block = Vec::with_capacity(wanted);
    let count = stream
        .take(limit as u64)
        .read_to_end(&mut block)
        .map_err(|_: io::Error| ())
        .ok()?;
    if count < wanted || count > most {
        return None;
    }
    block.truncate(wanted);
    Some(block)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_block_is_as_long_as_its_checksum_says() {
        let mut stored = b"poste restante".to_vec();
        stored.extend(adler2::adler32_slice(b"poste restante").to_le_bytes());
        assert_eq!(
            Codec::Adler.unpack(&stored, 5, 32_768).as_deref(),
            Some(&b"poste"[..])
        );
        stored.extend(b"another section");
        assert_eq!(
            Codec::Adler.unpack(&stored, 14, 32_768).as_deref(),
            Some(&b"poste restante"[..])
        );
        stored[3] ^= 1;
        assert_eq!(Codec::Adler.unpack(&stored, 14, 32_768), None);
        assert_eq!(Codec::Adler.unpack(b"abc", 0, 512), None);
    }
}
