//! Labels of arrays, volumes and encryption on changed images, what the scan makes of a disk and what is
//! carved from it, and mapfiles.

use aggregate::luks::{Keys, Secret};
use aggregate::{Devices, Disk, build_with, discover_with};
use evidence::image::Mapfile;
use evidence::view::Memory;
use evidence::{ByteOffset, ReadAt, ReadAtExt};
use scan::{ScanOptions, scan_unit, units};

use crate::patch::base;

/// What opens the encrypted images.
const PASSPHRASE: &[u8] = b"restante";

/// Changes a disk with labels, and reads of what these say then.
pub(crate) fn labels(image: &str, input: &[u8]) {
    let Some(devices) = devices(image, input) else {
        return;
    };
    for (_, device) in devices.iter() {
        let end = device.len().saturating_sub(512);
        for at in [0, end / 2, end] {
            let length = device.len().min(512);
            let _ = device.read_vec(ByteOffset::new(at), usize::try_from(length).unwrap_or(0));
        }
    }
}

/// What the labels of a changed disk say, put together: an error is an answer.
fn devices(image: &str, input: &[u8]) -> Option<Devices> {
    let disks: Vec<Disk> = vec![("a".to_owned(), base(image).patched(input))];
    let mut keys = Keys::default();
    keys.add("*", Secret::new(PASSPHRASE.to_vec()));
    let aggregate = discover_with(&disks, &[], &keys, &|_, _| None);
    build_with(&aggregate, &disks, &keys).ok()
}

/// Scans a disk that is the input, and carves it.
#[expect(clippy::expect_used, reason = "the detectors are those of a release")]
pub(crate) fn contents(input: &[u8]) {
    let disk = Memory::new(input.to_vec());
    let detectors = detect::all().expect("detectors");
    for unit in units(&disk) {
        let scanned = scan_unit(
            &disk,
            unit,
            &detectors,
            &ScanOptions::default(),
            None,
            &|_| (),
        );
        for find in scanned.map(|unit| unit.finds).unwrap_or_default() {
            assert!(find.offset.get() < disk.len(), "a find behind the end");
        }
    }
    for message in carve::carve(&disk, &[], &|_| ()).messages {
        for (at, length) in message.found.pieces {
            assert!(at + length <= disk.len(), "a piece behind the end");
        }
    }
}

/// Reads a ddrescue mapfile.
pub(crate) fn mapfile(input: &[u8]) {
    if let Ok(map) = Mapfile::parse(input) {
        for area in map.not_rescued(1 << 40) {
            assert!(area.start < area.end && area.end <= 1 << 40);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_images_have_what_is_to_be_fuzzed() {
        for image in ["labels", "ddf", "luks1", "luks2"] {
            let devices = devices(image, &[]).unwrap();
            let names: Vec<String> = devices.iter().map(|(name, _)| name.to_string()).collect();
            assert!(names.len() > 1, "{image}: {names:?}");
        }
        let disk = [("a".to_owned(), base("bitlocker").patched(&[]))];
        let encrypted = discover_with(&disk, &[], &Keys::default(), &|_, _| None).encrypted;
        assert_eq!(encrypted.len(), 1);
    }
}
