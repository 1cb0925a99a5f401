//! Compressed files, and whether what they hold begins like mail.
//!
//! Of each the first bytes are decoded, as many as are in reach, and looked at: `gzip-message` is one
//! that begins with a header block, `gzip` any other. What needs more than is in reach, or more
//! memory than is sensible, is named without a look.
//!
//! Sources: RFC 1952, RFC 8878, the .xz file format 1.2, the lz4 frame format 1.6, bzip2's
//! `decompress.c`, and Dovecot's `src/lib-compression/iostream-lz4.h`.

use std::io::Read;

use evidence::Fields;
use scan::{Detector, Found, Place, SECTOR_ALIGN, Signature};

use mail::header::header;

/// Bytes of a file that are looked at.
const REACH: usize = 64 << 10;
/// Bytes that are decoded of it: enough for a header block to show itself.
const DECODED: u64 = 8 << 10;
/// Memory that a decoder may want, in bytes.
const MOST_MEMORY: u64 = 16 << 20;
/// The same as a power of two.
const MOST_WINDOW_LOG: u32 = 23;
/// Bytes in a block of Dovecot's LZ4 at most; it writes 64 KiB.
const MOST_CHUNK: usize = 1 << 20;
/// `IOSTREAM_LZ4_MAGIC`, and the length of the header that begins with it.
const LZ4_MAGIC: &[u8] = b"Dovecot-LZ4\x0d\x2a\x9b\xc5";
const LZ4_HEADER: usize = 19;

/// The detectors of compressed files.
pub fn detectors() -> Vec<Box<dyn Detector>> {
    let file = |magics, read| -> Box<dyn Detector> {
        Box::new(Signature {
            magics,
            at: 0,
            align: SECTOR_ALIGN,
            reach: REACH,
            read,
        })
    };
    vec![
        file(&[&[0x1F, 0x8B, 8]], gzip),
        file(&[&[0x28, 0xB5, 0x2F, 0xFD]], zstd),
        file(&[&[0xFD, b'7', b'z', b'X', b'Z', 0]], xz),
        file(&[b"BZh"], bzip2),
        file(&[LZ4_MAGIC], dovecot_lz4),
        file(&[&[0x04, 0x22, 0x4D, 0x18]], lz4_frame),
    ]
}

/// The name for a file of which `decoded` is the beginning; `None` if nothing came out.
fn named(decoded: &[u8], message: &'static str, other: &'static str) -> Option<Found> {
    if decoded.is_empty() {
        return None;
    }
    Some(Found::new(if header(decoded).is_some() {
        message
    } else {
        other
    }))
}

/// What comes out of a decoder before it fails, ends, or has given enough.
fn beginning(decoder: impl Read) -> Vec<u8> {
    let mut decoded = Vec::new();
    // What came before an error counts: the file goes on behind what is in reach.
    let _ = decoder.take(DECODED).read_to_end(&mut decoded);
    decoded
}

fn gzip(place: &Place<'_>) -> Option<Found> {
    // FLG has three reserved bits.
    let flags = *place.bytes.get(3)?;
    if flags & 0xE0 != 0 {
        return None;
    }
    let decoded = beginning(flate2::read::GzDecoder::new(place.bytes));
    named(&decoded, "gzip-message", "gzip")
}

fn zstd(place: &Place<'_>) -> Option<Found> {
    // Frame_Header_Descriptor has a reserved bit.
    if place.bytes.get(4)? & 0x08 != 0 {
        return None;
    }
    let mut decoder = zstd::Decoder::with_buffer(place.bytes).ok()?;
    decoder.window_log_max(MOST_WINDOW_LOG).ok()?;
    named(&beginning(decoder), "zstd-message", "zstd")
}

fn xz(place: &Place<'_>) -> Option<Found> {
    // Stream Flags and the CRC32 over them.
    let fields = Fields::new(place.bytes);
    if crc32fast::hash(fields.slice(6, 2)?) != fields.le_u32(8)? {
        return None;
    }
    let decoder = liblzma::stream::Stream::new_stream_decoder(MOST_MEMORY, 0).ok()?;
    let decoded = beginning(liblzma::read::XzDecoder::new_stream(place.bytes, decoder));
    Some(named(&decoded, "xz-message", "xz").unwrap_or_else(|| Found::new("xz")))
}

fn bzip2(place: &Place<'_>) -> Option<Found> {
    // The level, and what a block begins with.
    let level = place.bytes.get(3)?;
    if !(b'1'..=b'9').contains(level) || place.bytes.get(4..10)? != b"1AY&SY" {
        return None;
    }
    // Nothing comes out before a whole block is there.
    let decoded = beginning(bzip2::read::BzDecoder::new(place.bytes));
    Some(named(&decoded, "bzip2-message", "bzip2").unwrap_or_else(|| Found::new("bzip2")))
}

fn dovecot_lz4(place: &Place<'_>) -> Option<Found> {
    let fields = Fields::new(place.bytes);
    let chunk = fields.be_u32(LZ4_MAGIC.len())?;
    let room = usize::try_from(chunk).ok()?.min(MOST_CHUNK);
    let stored = usize::try_from(fields.be_u32(LZ4_HEADER)?).ok()?;
    let body = fields.slice(LZ4_HEADER.checked_add(4)?, stored);
    let decoded = body.and_then(|body| lz4_flex::block::decompress(body, room).ok());
    let decoded = decoded.unwrap_or_default();
    let found = named(&decoded, "lz4-message", "dovecot-lz4");
    Some(found.unwrap_or_else(|| Found::new("dovecot-lz4")))
}

/// A frame of the `lz4` program, in which no mail server stores: named only.
fn lz4_frame(place: &Place<'_>) -> Option<Found> {
    let fields = Fields::new(place.bytes);
    // FLG: version 01, a reserved bit. BD: a block size of 4 to 7, reserved bits.
    let (flags, block) = (fields.u8(4)?, fields.u8(5)?);
    let right = flags >> 6 == 1 && flags & 2 == 0 && block & 0x8F == 0 && block >> 4 >= 4;
    right.then(|| Found::new("lz4"))
}
