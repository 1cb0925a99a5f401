//! Extents that are stored compressed.

use std::io::Read;

use serde::{Deserialize, Serialize};

use crate::lzo;

/// The largest window that a zstd extent may ask for: what the kernel gives it.
const ZSTD_WINDOW_LOG: u32 = 17;

/// How an extent is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// Deflate with zlib's header.
    Zlib,
    /// LZO1X in segments, each of which decodes to one sector.
    Lzo {
        /// Bytes in a sector.
        sector: u32,
    },
    /// Zstandard.
    Zstd,
}

impl Codec {
    /// The first `limit` bytes of what `stored` holds; fewer if there are no more.
    ///
    /// `None` if it does not decode.
    pub(crate) fn decode(self, stored: &[u8], limit: usize) -> Option<Vec<u8>> {
        match self {
            Self::Zlib => take(flate2::read::ZlibDecoder::new(stored), limit),
            Self::Lzo { sector } => {
                lzo::decode_extent(stored, usize::try_from(sector).ok()?.max(1), limit)
            }
            Self::Zstd => {
                let decoder = zstd::stream::read::Decoder::with_buffer(stored).ok()?;
                let mut decoder = decoder.single_frame();
                decoder.window_log_max(ZSTD_WINDOW_LOG).ok()?;
                take(decoder, limit)
            }
        }
    }
}

/// The first `limit` bytes of `from`; the buffer grows only with what comes out.
fn take(from: impl Read, limit: usize) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    from.take(limit as u64).read_to_end(&mut out).ok()?;
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn the_start_of_an_extent_is_decoded_with_anything_behind_it() {
        let text = b"From: poste restante\r\n".repeat(500);
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        zlib.write_all(&text).unwrap();
        for (codec, mut stored) in [
            (Codec::Zlib, zlib.finish().unwrap()),
            (Codec::Zstd, zstd::encode_all(text.as_slice(), 3).unwrap()),
        ] {
            stored.extend([0; 100]);
            assert_eq!(codec.decode(&stored, 1 << 20).unwrap(), text);
            assert_eq!(codec.decode(&stored, 100).unwrap(), text[..100]);
            stored[3] ^= 0x55;
            stored.truncate(60);
            assert_eq!(codec.decode(&stored, 1 << 20), None);
        }
    }
}
