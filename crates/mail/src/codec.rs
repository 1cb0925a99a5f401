//! Compression of single messages, as Dovecot's zlib plugin stores them.
//!
//! Which codec a file has is told by its first bytes, as Dovecot does; its name says nothing.
//! Formats: RFC 1952 (gzip), the bzip2 and xz file formats, RFC 8878 (zstd), and Dovecot's own
//! frame around LZ4 blocks (`src/lib-compression/iostream-lz4.h`).

use std::io::{self, BufRead, Read};

use evidence::Fields;
use serde::{Deserialize, Serialize};

/// No message is longer: servers cap far below (Postfix at 10 MB, large providers at 150 MB), and
/// a file that decompresses without end must end somewhere.
pub const MAX_MESSAGE_BYTES: u64 = 256 << 20;

/// How a message is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// As it is.
    Plain,
    /// gzip.
    Gzip,
    /// bzip2.
    Bzip2,
    /// xz.
    Xz,
    /// Zstandard.
    Zstd,
    /// Dovecot's LZ4 frame.
    Lz4,
}

impl Codec {
    /// The codec of a file that begins with `head`.
    pub fn of(head: &[u8]) -> Self {
        match head {
            [0x1F, 0x8B, 8, ..] => Self::Gzip,
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, ..] => Self::Bzip2,
            [0xFD, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [0x28, 0xB5, 0x2F, 0xFD, ..] => Self::Zstd,
            _ if head.starts_with(LZ4_MAGIC) => Self::Lz4,
            _ => Self::Plain,
        }
    }

    /// Whether the format carries a checksum of the contents that decoding has verified.
    ///
    /// Dovecot's zstd streams carry none, and its LZ4 frame has no place for one.
    pub const fn verifies(self) -> bool {
        matches!(self, Self::Gzip | Self::Bzip2 | Self::Xz)
    }
}

/// What came out of a compressed file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The message, or its beginning if `error` says why no more came.
    pub bytes: Vec<u8>,
    /// Why decoding stopped early.
    pub error: Option<String>,
}

impl Decoded {
    /// Whether it stopped because there is more than any message has.
    pub fn is_too_long(&self) -> bool {
        self.bytes.len() as u64 > MAX_MESSAGE_BYTES
    }
}

/// Undoes the compression of `stored`; what was decoded before an error is kept.
pub fn decode(codec: Codec, stored: &[u8]) -> Decoded {
    let mut bytes = Vec::new();
    let result = match codec {
        Codec::Plain => {
            bytes.extend_from_slice(stored);
            Ok(())
        }
        Codec::Gzip => drain(flate2::read::MultiGzDecoder::new(stored), &mut bytes),
        Codec::Bzip2 => drain(bzip2::read::MultiBzDecoder::new(stored), &mut bytes),
        Codec::Xz => drain(
            liblzma::read::XzDecoder::new_multi_decoder(stored),
            &mut bytes,
        ),
        Codec::Zstd => {
            zstd::Decoder::with_buffer(stored).and_then(|decoder| drain(decoder, &mut bytes))
        }
        Codec::Lz4 => lz4_frame(&mut &*stored, &mut bytes, true),
    };
    Decoded {
        bytes,
        error: result.err().map(|error| error.to_string()),
    }
}

/// Undoes the compression of the one file that `from` begins with, and takes no more out of `from`
/// than that: behind it something else may lie.
///
/// Dovecot's LZ4 frame does not say where it ends; its last chunk is shorter than the others, or the
/// length of one more is zero.
pub fn decode_one(codec: Codec, from: &mut impl BufRead) -> Decoded {
    let mut bytes = Vec::new();
    let result = match codec {
        Codec::Plain => Err(io::Error::other("a plain file does not say where it ends")),
        Codec::Gzip => drain(flate2::bufread::GzDecoder::new(from), &mut bytes),
        Codec::Bzip2 => drain(bzip2::bufread::BzDecoder::new(from), &mut bytes),
        Codec::Xz => drain(liblzma::bufread::XzDecoder::new(from), &mut bytes),
        Codec::Zstd => zstd::Decoder::with_buffer(from)
            .and_then(|decoder| drain(decoder.single_frame(), &mut bytes)),
        Codec::Lz4 => lz4_frame(from, &mut bytes, false),
    };
    Decoded {
        bytes,
        error: result.err().map(|error| error.to_string()),
    }
}

/// Reads `from` to its end, piece by piece, so that what came before an error stays: decoders give
/// nothing of the piece that they fail in, so it is small.
fn drain(mut from: impl Read, into: &mut Vec<u8>) -> io::Result<()> {
    let mut piece = [0; 1 << 10];
    loop {
        match from.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                into.extend_from_slice(piece.get(..count).unwrap_or_default());
                if into.len() as u64 > MAX_MESSAGE_BYTES {
                    return Err(io::Error::other("longer than any message"));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// `IOSTREAM_LZ4_MAGIC` of `struct iostream_lz4_header`.
const LZ4_MAGIC: &[u8] = b"Dovecot-LZ4\x0d\x2a\x9b\xc5";
/// `IOSTREAM_LZ4_HEADER_LEN`: the magic and `max_uncompressed_chunk_size`, a big-endian `u32`.
const LZ4_HEADER_BYTES: usize = 19;
/// A chunk claims no more than this; Dovecot writes 64 KiB.
const LZ4_MAX_CHUNK: usize = 16 << 20;

/// Chunks, each the big-endian length of an LZ4 block and the block, up to the end of `from`; or, if
/// something else may follow, up to a chunk that is shorter than the others or a length of zero.
fn lz4_frame(from: &mut impl BufRead, into: &mut Vec<u8>, is_alone: bool) -> io::Result<()> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut header = [0; LZ4_HEADER_BYTES];
    from.read_exact(&mut header)?;
    let largest = Fields::new(&header)
        .be_u32(LZ4_MAGIC.len())
        .and_then(|bytes| usize::try_from(bytes).ok())
        .filter(|bytes| header.starts_with(LZ4_MAGIC) && *bytes <= LZ4_MAX_CHUNK)
        .ok_or_else(|| bad("the LZ4 header claims too large a chunk"))?;
    let mut chunk = vec![0; largest];
    loop {
        let next = from.fill_buf()?;
        // A length of zero is of what lies behind the file, and is left there.
        if next.is_empty() || !is_alone && next.starts_with(&[0; 4]) {
            return Ok(());
        }
        let mut length = [0; 4];
        from.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        // A block of LZ4 is little longer than what it holds.
        if length == 0 || length > largest.saturating_add(largest / 128).saturating_add(64) {
            return Err(bad("an LZ4 chunk claims another length than chunks have"));
        }
        let mut block = vec![0; length];
        from.read_exact(&mut block)?;
        let count = lz4_flex::block::decompress_into(&block, &mut chunk)
            .map_err(|_| bad("an LZ4 chunk does not decode"))?;
        into.extend_from_slice(chunk.get(..count).unwrap_or_default());
        if into.len() as u64 > MAX_MESSAGE_BYTES {
            return Err(bad("longer than any message"));
        }
        if !is_alone && count < largest {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn lz4(text: &[u8]) -> Vec<u8> {
        let mut frame = LZ4_MAGIC.to_vec();
        frame.extend(65536_u32.to_be_bytes());
        for chunk in text.chunks(65536) {
            let block = lz4_flex::block::compress(chunk);
            frame.extend((block.len() as u32).to_be_bytes());
            frame.extend(block);
        }
        frame
    }

    #[test]
    fn every_codec_is_recognised_and_undone() {
        let text: Vec<u8> = b"Subject: linden\n\nthe trees along the road\n".repeat(4000);
        let mut xz = Vec::new();
        liblzma::read::XzEncoder::new(&text[..], 6)
            .read_to_end(&mut xz)
            .unwrap();
        let mut bz2 = Vec::new();
        bzip2::read::BzEncoder::new(&text[..], bzip2::Compression::best())
            .read_to_end(&mut bz2)
            .unwrap();
        let table = [
            (Codec::Plain, text.clone()),
            (Codec::Gzip, gzip(&text)),
            (Codec::Bzip2, bz2),
            (Codec::Xz, xz),
            (Codec::Zstd, zstd::encode_all(&text[..], 3).unwrap()),
            (Codec::Lz4, lz4(&text)),
        ];
        for (codec, stored) in table {
            assert_eq!(Codec::of(&stored), codec);
            let decoded = decode(codec, &stored);
            assert_eq!(decoded.error, None, "{codec:?}");
            assert!(decoded.bytes == text, "{codec:?}");
            if codec != Codec::Plain {
                let mut followed = stored.clone();
                followed.extend([0; 700]);
                let mut rest = &followed[..];
                let one = decode_one(codec, &mut rest);
                assert_eq!(one.error, None, "{codec:?}");
                assert!(one.bytes == text, "{codec:?}");
                assert_eq!(followed.len() - rest.len(), stored.len(), "{codec:?}");
                let cut = decode(codec, &stored[..stored.len() - 5]);
                assert!(cut.error.is_some(), "{codec:?}");
                assert!(text.starts_with(&cut.bytes), "{codec:?}");
            }
        }
    }

    #[test]
    fn nonsense_after_a_magic_is_an_error_and_no_panic() {
        for magic in [
            &[0x1F, 0x8B, 8][..],
            b"BZh91AY&",
            b"\xFD7zXZ\0",
            &[0x28, 0xB5, 0x2F, 0xFD],
            LZ4_MAGIC,
        ] {
            for fill in [0_u8, 0xFF, 0x55] {
                let mut stored = magic.to_vec();
                stored.extend([fill; 100]);
                let decoded = decode(Codec::of(&stored), &stored);
                assert!(decoded.error.is_some(), "{magic:?} {fill}");
            }
        }
    }
}
