//! Containers of disks, changed.
//!
//! They are opened by their path, so the changes are made in a file, and undone after each run.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use evidence::{ByteOffset, Gaps, ReadAt, ReadAtExt, image};

use crate::patch::base;

/// The images that are changed; `scripts/make-fuzz-images.sh` makes them. The first byte of an input chooses.
const KINDS: [&str; 11] = [
    "ewf",
    "ewf_stored",
    "smart",
    "qcow2",
    "qcow2_zstd",
    "vhd",
    "vhd_fixed",
    "vhdx",
    "vmdk",
    "vmdk_text",
    "vdi",
];
/// The file that the descriptor of a VMDK in pieces names.
const EXTENT: &str = "image-f001.vmdk";
/// What is longer is read in places only.
const READ_WHOLE: u64 = 2 << 20;
/// How much is read at once.
const PIECE: usize = 64 << 10;

/// One image in a file.
struct Kept {
    /// Its directory, removed in the end.
    _directory: tempfile::TempDir,
    path: PathBuf,
    file: File,
}

thread_local! {
    /// The images in files, by their kind.
    static KEPT: RefCell<HashMap<&'static str, Kept>> = RefCell::default();
}

/// Changes a container, and reads the disk in it.
pub(crate) fn read(input: &[u8]) {
    let Some((first, rest)) = input.split_first() else {
        return;
    };
    let number = usize::from(*first) % KINDS.len();
    let kind = KINDS.get(number).copied().unwrap_or("ewf");
    // Each thread has files of its own, which end with it.
    KEPT.with_borrow_mut(|kept| {
        let kept = kept.entry(kind).or_insert_with(|| Kept::new(kind));
        kept.changed(kind, rest);
    });
}

impl Kept {
    /// Makes the changes that `input` says, looks, and undoes them.
    fn changed(&self, kind: &str, input: &[u8]) {
        let base = base(kind);
        let changes = base.changes(input);
        for (at, bytes) in &changes {
            let written = self.file.write_all_at(bytes, *at);
            assert!(written.is_ok(), "{written:?}");
        }
        // A run that panics leaves its changes, and is the last one.
        look(&self.path);
        let undo = |(at, bytes): &(u64, &[u8])| {
            let before = base.original(*at, bytes.len());
            self.file.write_all_at(&before, *at)
        };
        let restored = changes.iter().try_for_each(undo);
        let restored = restored.and_then(|()| self.file.set_len(base.bytes()));
        assert!(restored.is_ok(), "{restored:?}");
    }

    #[expect(
        clippy::expect_used,
        reason = "without a place for the image there is nothing to fuzz"
    )]
    fn new(kind: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory for the image");
        // A name that segments are counted from.
        let path = directory.path().join("image.E01");
        let base = base(kind);
        let whole = usize::try_from(base.bytes()).unwrap_or(0);
        fs::write(&path, base.original(0, whole)).expect("the image");
        fs::write(directory.path().join(EXTENT), [b'x'; 8192]).expect("the extent");
        let file = File::options().write(true).open(&path).expect("the image");
        Self {
            _directory: directory,
            path,
            file,
        }
    }
}

/// Opens it as evidence and reads what can be had; an error is an answer.
fn look(path: &Path) {
    let Ok(image) = image::open(path) else {
        return;
    };
    let length = image.len();
    let mut starts: Vec<u64> = if length <= READ_WHOLE {
        (0..length).step_by(PIECE).collect()
    } else {
        vec![0, PIECE as u64, length / 3, length / 2]
    };
    starts.push(length.saturating_sub(PIECE as u64));
    for start in starts {
        let there = length.saturating_sub(start).min(PIECE as u64);
        let there = usize::try_from(there).unwrap_or(0);
        let read = image.read_vec(ByteOffset::new(start), there);
        assert!(read.is_ok(), "{there} bytes at {start} of {length}");
        let (bytes, gaps) = read.unwrap_or_default();
        assert!(gaps.bytes() <= bytes.len(), "more gaps than bytes");
        assert!(
            zero_in_gaps(&bytes, &gaps),
            "what could not be had is no zero"
        );
        // Read again in pieces, over borders of blocks, it is the same.
        let from = there / 3;
        let part = image.read_vec(
            ByteOffset::new(start + from as u64),
            (there - from).min(777),
        );
        assert!(part.is_ok(), "a part of what was read is out of range");
        let (part, _) = part.unwrap_or_default();
        assert!(bytes.get(from..from + part.len()) == Some(part.as_slice()));
    }
}

fn zero_in_gaps(bytes: &[u8], gaps: &Gaps) -> bool {
    gaps.iter().all(|gap| {
        let hole = bytes.get(gap.range.clone());
        hole.is_some_and(|hole| hole.iter().all(|byte| *byte == 0))
    })
}
