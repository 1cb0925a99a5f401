//! Messages on which something below throws doubt: read, and not to be handed over as whole unless
//! they prove themselves.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by failing"
)]

use std::io::Write;
use std::sync::Arc;

use evidence::view::Memory;
use evidence::{ByteOffset, Gaps, OutOfRange, ReadAt};
use filesystem::{Extent, Place};
use mail::codec::Codec;
use mail::content::{Content, reread};
use mail::proof::{Hole, HoleCause};
use mail::record::FileOrigin;

/// Bytes of which a range is suspect.
struct Doubted(Memory, std::ops::Range<usize>);

impl ReadAt for Doubted {
    fn len(&self) -> u64 {
        self.0.len()
    }

    fn read_at(&self, at: ByteOffset, buf: &mut [u8]) -> Result<Gaps, OutOfRange> {
        let mut gaps = self.0.read_at(at, buf)?;
        let start = usize::try_from(at.get()).unwrap();
        let from = self.1.start.max(start);
        let to = self.1.end.min(start + buf.len());
        if from < to {
            gaps.add_suspect(from - start..to - start);
        }
        Ok(gaps)
    }
}

fn read(stored: Vec<u8>, doubt: std::ops::Range<usize>) -> Content {
    let length = stored.len() as u64;
    let view: Arc<dyn ReadAt> = Arc::new(Doubted(Memory::new(stored), doubt));
    let origin = FileOrigin {
        offset: 0,
        cuts: Vec::new(),
        device: "volume:v".to_owned(),
        path: "/m".to_owned(),
        inode: 1,
        stored_bytes: length,
        codec: Codec::Plain,
        pieces: vec![Extent {
            file_offset: 0,
            length,
            place: Place::At(ByteOffset::ZERO),
        }],
        repairs: Vec::new(),
    };
    reread(&view, &origin).unwrap()
}

#[test]
fn suspect_bytes_stay_and_are_holes_of_their_own_kind() {
    let text = b"Subject: x\r\n\r\nbody".to_vec();
    let content = read(text.clone(), 4..9);
    assert_eq!(content.bytes, text);
    let hole = Hole {
        start: 4,
        bytes: 5,
        why: HoleCause::Suspect,
    };
    assert_eq!(content.holes, [hole]);
    assert_eq!(read(text.clone(), 40..41).holes, []);
}

#[test]
fn the_checksum_of_a_compressed_message_clears_it_of_suspicion() {
    let text = b"Subject: x\r\n\r\nbody\r\n".repeat(9);
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gz.write_all(&text).unwrap();
    let stored = gz.finish().unwrap();
    let content = read(stored.clone(), 12..20);
    assert_eq!(content.bytes, text);
    assert_eq!(content.holes, []);
    let mut wrong = stored;
    wrong[15] ^= 0x40;
    assert!(!read(wrong, 12..20).holes.is_empty());
}
