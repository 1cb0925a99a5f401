//! A disk to put into containers, and ways to compare.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use evidence::image::{self, Image};
use evidence::{ByteOffset, Gaps, ReadAt, ReadAtExt};

/// Bytes of the disk: no multiple of any chunk, cluster or block.
pub(crate) const DISK_BYTES: usize = 512 * 4495;

/// Numbers that are the same in each run.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        // xorshift64 (Marsaglia).
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }
}

/// A disk with contents that do not compress, text that does, and zeros, each over many chunks.
pub(crate) fn disk() -> Vec<u8> {
    let mut numbers = Numbers(0x5EED_0D15_C000_0001);
    let mut bytes = Vec::with_capacity(DISK_BYTES);
    while bytes.len() < 900_000 {
        bytes.extend(numbers.next().to_le_bytes());
    }
    bytes.resize(1_600_000, 0);
    while bytes.len() < DISK_BYTES - 700 {
        bytes.extend(format!("poste restante, sheet {}\n", bytes.len()).bytes());
    }
    while bytes.len() < DISK_BYTES {
        bytes.extend(numbers.next().to_le_bytes());
    }
    bytes.truncate(DISK_BYTES);
    bytes
}

/// A directory with the disk in it as `raw.img`.
pub(crate) struct Lab {
    dir: tempfile::TempDir,
    pub(crate) disk: Vec<u8>,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk = disk();
        fs::write(dir.path().join("raw.img"), &disk).unwrap();
        Self { dir, disk }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs a tool in the directory; it must succeed. Gives what it printed.
    pub(crate) fn run(&self, line: &str) -> String {
        let (text, code) = self.outcome(line);
        assert_eq!(code, Some(0), "{line}\n{text}");
        text
    }

    /// The same, and its exit code, whatever that is.
    pub(crate) fn outcome(&self, line: &str) -> (String, Option<i32>) {
        let mut words = line.split_whitespace();
        let output = Command::new(words.next().unwrap())
            .args(words)
            .current_dir(self.dir.path())
            .output()
            .unwrap_or_else(|error| panic!("{line}: {error}; scripts/setup.sh installs it"));
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        (text, output.status.code())
    }
}

pub(crate) fn open(path: &Path) -> Image {
    image::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All bytes and all gaps, in one read.
pub(crate) fn all(image: &dyn ReadAt) -> (Vec<u8>, Gaps) {
    let length = usize::try_from(image.len()).unwrap();
    image.read_vec(ByteOffset::ZERO, length).unwrap()
}

/// Asserts that an image holds `wanted`, however it is read: at once, and in odd pieces by several
/// threads at a time.
pub(crate) fn assert_holds(image: &Image, wanted: &[u8], what: &str) {
    let (bytes, gaps) = all(image);
    assert_eq!(bytes.len(), wanted.len(), "{what}");
    assert!(gaps.is_empty(), "{what}: {gaps:?}");
    assert!(bytes == wanted, "{what}: the contents differ");
    std::thread::scope(|scope| {
        for seed in 1..=4_u64 {
            scope.spawn(move || {
                let mut numbers = Numbers(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
                for _ in 0..100 {
                    let at = numbers.below(wanted.len());
                    let length = numbers.below(100_000).min(wanted.len() - at);
                    let (part, gaps) = image.read_vec(ByteOffset::new(at as u64), length).unwrap();
                    assert!(gaps.is_empty(), "{what}");
                    assert!(part == wanted[at..at + length], "{what}: at {at}");
                }
            });
        }
    });
}

/// The ranges of all gaps.
pub(crate) fn ranges(gaps: &Gaps) -> Vec<std::ops::Range<usize>> {
    gaps.iter().map(|gap| gap.range.clone()).collect()
}

/// `length` bytes at `at`, and their gaps.
pub(crate) fn part(image: &dyn ReadAt, at: u64, length: usize) -> (Vec<u8>, Gaps) {
    image.read_vec(ByteOffset::new(at), length).unwrap()
}
