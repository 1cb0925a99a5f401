//! Labels of arrays and volumes on changed images, and mapfiles.

use aggregate::{Disk, build, discover};
use evidence::image::Mapfile;
use evidence::{ByteOffset, ReadAtExt};

use crate::patch::base;

/// Changes a disk with partitions, md and LVM, and puts together what its labels say then.
pub(crate) fn labels(input: &[u8]) {
    let disks: Vec<Disk> = vec![("a".to_owned(), base("labels").patched(input))];
    let aggregate = discover(&disks, &|_, _| None);
    // What was worked out must be something that can be put together; an error is an answer.
    if let Ok(devices) = build(&aggregate, &disks) {
        for (_, device) in devices.iter() {
            let end = device.len().saturating_sub(512);
            for at in [0, end / 2, end] {
                let length = device.len().min(512);
                let _ = device.read_vec(ByteOffset::new(at), usize::try_from(length).unwrap_or(0));
            }
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
