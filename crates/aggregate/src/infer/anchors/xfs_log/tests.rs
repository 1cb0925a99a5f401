//! File systems of version 4 that a kernel filled: every anchor's address must be the place.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use crate::infer::relations::Set;
use evidence::view::Memory;

use super::super::{Anchor, Collector, Source};
use crate::document::DeviceName;
use crate::infer::sample::{Candidate, read_window, windows};

/// The file system `name` of fixtures/xfs.
fn image(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/xfs/v4.tar.zst");
    let bytes = zstd::decode_all(&std::fs::read(path).unwrap()[..]).unwrap();
    let mut archive = tar::Archive::new(&bytes[..]);
    let wanted = |entry: &tar::Entry<'_, &[u8]>| entry.path().unwrap().as_ref() == Path::new(name);
    let mut entry = archive
        .entries()
        .unwrap()
        .map(Result::unwrap)
        .find(wanted)
        .unwrap();
    let mut contents = Vec::new();
    entry.read_to_end(&mut contents).unwrap();
    contents
}

fn anchors(devices: Vec<Vec<u8>>) -> Vec<Anchor> {
    let candidates: Vec<Candidate> = devices
        .into_iter()
        .map(|bytes| Candidate::new(DeviceName::disk("a"), Arc::new(Memory::new(bytes))))
        .collect();
    let windows = windows(candidates.iter().map(|c| c.device.len()).max().unwrap());
    let mut collector = Collector::default();
    for start in &windows {
        for (device, candidate) in candidates.iter().enumerate() {
            collector.look(device, *start, &read_window(&*candidate.device, *start));
        }
    }
    let mut anchors = collector.anchors(&candidates, &windows, Set::default());
    anchors.retain(|anchor| !matches!(anchor.source, Source::Files(_)));
    anchors
}

#[test]
fn what_the_log_says_is_where_things_are() {
    for (name, least) in [
        ("2014.img", 200),
        ("small-blocks.img", 200),
        ("large-directories.img", 200),
        ("large-inodes.img", 200),
    ] {
        let image = image(name);
        let uuid: [u8; 16] = image[32..48].try_into().unwrap();
        let anchors = anchors(vec![image]);
        let (right, wrong): (Vec<&Anchor>, Vec<&Anchor>) =
            anchors.iter().partition(|a| a.at == a.address);
        assert!(
            right
                .iter()
                .all(|anchor| anchor.source == Source::Xfs(uuid))
        );
        let logged = right.iter().filter(|anchor| anchor.together.is_some());
        assert!(logged.count() >= least, "{name}");
        assert!(wrong.len() * 20 <= right.len(), "{name}: {wrong:?}");
    }
}

/// The log is cut by chunks, and the anchors lie on other devices than what names them.
#[test]
fn what_the_log_says_holds_over_chunks_on_three_devices() {
    const CHUNK: usize = 32 << 10;
    let image = image("2014.img");
    let mut devices = vec![vec![0; 1 << 20]; 3];
    for (number, chunk) in image.chunks(CHUNK).enumerate() {
        devices[(number + 1) % 3].extend_from_slice(chunk);
    }
    let anchors = anchors(devices);
    let is_right = |anchor: &&Anchor| {
        let number = anchor.address as usize / CHUNK;
        // Device 0 has chunks 2, 5, 8 …, device 1 has 0, 3, 6 …
        let at = (1 << 20) + number / 3 * CHUNK + anchor.address as usize % CHUNK;
        anchor.device == (number + 1) % 3 && anchor.at == at as u64
    };
    let right = anchors.iter().filter(is_right).count();
    assert!(right >= 1000, "{right}");
    assert!(
        (anchors.len() - right) * 20 <= right,
        "{right} of {}",
        anchors.len()
    );
}
