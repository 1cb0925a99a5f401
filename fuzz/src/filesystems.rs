//! File systems on changed images.

use evidence::{ByteOffset, ReadAt};
use filesystem::{Device, File, Filesystem, find_all, walk};

use crate::patch::base;

/// No image has more entries; a walk that gives more does not end.
const MOST_ENTRIES: usize = 1 << 16;
/// So much of each file is read.
const MOST_BYTES: u64 = 64 << 10;

/// Changes the image of `format`, and reads all files of all file systems that are found on it.
pub(crate) fn read(format: &str, input: &[u8]) {
    let devices = [Device {
        name: format!("disk:{format}"),
        bytes: base(format).patched(input),
    }];
    let (found, _losses) = find_all(&devices, &|_| ());
    for one in found {
        read_all(one.fs.as_ref());
    }
}

fn read_all(fs: &dyn Filesystem) {
    let mut buffer = Vec::new();
    for (count, entry) in walk(fs).enumerate() {
        assert!(count < MOST_ENTRIES, "the walk does not end");
        let Ok(entry) = entry else { continue };
        let file = File::open(fs, &entry.inode);
        let end = file
            .pieces()
            .last()
            .map_or(0, |piece| piece.file_offset + piece.length);
        assert!(end <= file.len(), "pieces behind the end of {}", entry.path);
        buffer.resize(usize::try_from(file.len().min(MOST_BYTES)).unwrap_or(0), 0);
        if let Ok(gaps) = file.read_at(ByteOffset::ZERO, &mut buffer) {
            let inside = gaps.iter().all(|gap| gap.range.end <= buffer.len());
            assert!(inside, "gaps behind the end of a read");
        }
    }
}
