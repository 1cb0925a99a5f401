//! Contents of attachments and of files that are no mail: bytes that are built like real ones.

use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, ZlibEncoder};

use super::prose::{Language, letter};
use crate::random::Random;

/// A file to attach: its MIME type, the end of its name, its bytes.
pub(super) struct Blob {
    pub(super) mime: &'static str,
    pub(super) extension: &'static str,
    pub(super) bytes: Vec<u8>,
}

/// A file of about `size` bytes.
pub(super) fn blob(random: &mut Random, size: usize) -> Blob {
    let (mime, extension, bytes) = match random.below(7) {
        0 => ("application/pdf", "pdf", pdf(random, size)),
        1 => ("application/zip", "zip", zip(random, size)),
        2 => ("image/jpeg", "jpg", jpeg(random, size)),
        3 => ("application/msword", "doc", compound(random, size)),
        4 => ("text/csv", "csv", csv(random, size)),
        5 => ("application/gzip", "gz", deflated(random, size)),
        _ => ("application/octet-stream", "bin", random.bytes(size)),
    };
    Blob {
        mime,
        extension,
        bytes,
    }
}

fn deflated(random: &mut Random, size: usize) -> Vec<u8> {
    // Prose packs to less than a half; a few letters are enough to fill any size.
    let mut out = Vec::new();
    while out.len() < size {
        let text = letter(random, Language::English, 40_000.min(3 * size));
        let mut packer = DeflateEncoder::new(Vec::new(), Compression::default());
        // Writing to memory does not fail.
        let _ = packer.write_all(text.as_bytes());
        out.extend(packer.finish().unwrap_or_default());
    }
    out.truncate(size);
    out
}

fn pdf(random: &mut Random, size: usize) -> Vec<u8> {
    let mut out = b"%PDF-1.4\n%\xE2\xE3\xCF\xD3\n".to_vec();
    let mut number = 1;
    while out.len() < size {
        let rest = (size - out.len()).min(random.within(1_000..=30_000));
        let mut packer = ZlibEncoder::new(Vec::new(), Compression::default());
        let text = letter(random, Language::English, rest);
        let _ = packer.write_all(text.as_bytes());
        let stream = packer.finish().unwrap_or_default();
        let head = format!(
            "{number} 0 obj\n<< /Length {} /Filter /FlateDecode >>\nstream\n",
            stream.len()
        );
        out.extend(head.bytes());
        out.extend(stream);
        out.extend(b"\nendstream\nendobj\n");
        number += 1;
    }
    out.extend(format!("trailer\n<< /Size {number} >>\nstartxref\n9\n%%EOF\n").bytes());
    out
}

fn zip(random: &mut Random, size: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while out.len() < size {
        let length = (size - out.len()).min(random.within(800..=20_000));
        let body = deflated(random, length);
        let name = format!("plan/{:06}.txt", random.below(1_000_000));
        out.extend(b"PK\x03\x04\x14\0\0\0\x08\0");
        out.extend(random.bytes(8));
        out.extend((length as u32).to_le_bytes());
        out.extend((length as u32 * 3).to_le_bytes());
        out.extend((name.len() as u16).to_le_bytes());
        out.extend([0; 2]);
        out.extend(name.bytes());
        out.extend(body);
    }
    out.extend(b"PK\x05\x06");
    out.extend([0; 18]);
    out
}

fn jpeg(random: &mut Random, size: usize) -> Vec<u8> {
    let mut out = b"\xFF\xD8\xFF\xE0\0\x10JFIF\0\x01\x01\0\0H\0H\0\0\xFF\xDB\0C\0".to_vec();
    out.extend((0..64).map(|place| 8 + place / 2));
    while out.len() < size {
        let byte = random.below(256) as u8;
        out.push(byte);
        // Within entropy-coded data a zero follows each FF.
        if byte == 0xFF {
            out.push(0);
        }
    }
    out.extend(b"\xFF\xD9");
    out
}

/// What word processors of long ago wrote: sectors, many of them zero, and UTF-16 text.
fn compound(random: &mut Random, size: usize) -> Vec<u8> {
    let mut out = b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1".to_vec();
    out.resize(512, 0);
    while out.len() < size {
        let end = out.len() + 512;
        match random.below(4) {
            0 => {}
            1 => out.extend(std::iter::repeat_n(0xFF, random.within(64..=512))),
            2 => out.extend(random.bytes(480)),
            _ => {
                let text = letter(random, Language::English, 240);
                let wide = text.bytes().take(250).flat_map(|byte| [byte, 0]);
                out.extend(wide);
            }
        }
        out.resize(end, 0);
    }
    out
}

fn csv(random: &mut Random, size: usize) -> Vec<u8> {
    let mut out = b"date;account;amount;text\r\n".to_vec();
    while out.len() < size {
        let line = format!(
            "2013-{:02}-{:02};{};{},{:02};{:x}\r\n",
            random.below(12) + 1,
            random.below(28) + 1,
            random.below(1_000_000),
            random.below(5_000),
            random.below(100),
            random.word() >> 24,
        );
        out.extend(line.bytes());
    }
    out
}
