//! Evidence: images and devices, opened read-only.
//!
//! [`open`] takes the path of a raw image, of a block device, of the first piece of a split image
//! or of a container ([`Format`] lists them), finds a ddrescue mapfile beside it, and gives an
//! [`Image`]. Of a container it is the contents of the disk that are read and hashed.
//!
//! Images are read with `pread`, never mapped: a mapped page on a failing medium kills the
//! process with SIGBUS, a failed read is an error that becomes a gap. `docs/evidence.md` says
//! more.

#![cfg_attr(
    not(test),
    warn(clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

mod blocks;
mod codec;
mod container;
mod ewf;
mod files;
mod mapfile;
mod qcow2;
mod raw;
mod split;
mod vdi;
mod vhd;
mod vhdx;
mod vmdk;

use std::fs::{self, FileType};
use std::ops::Range;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::view::Concat;
use crate::{ByteOffset, Error, GapCause, Gaps, OutOfRange, ReadAt, ReadAtExt};

pub use container::{Container, Facts, first_segment};
pub use mapfile::{Mapfile, MapfileError};
use raw::RawFile;
pub use split::siblings;

/// How an image is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One file with the bytes of the disk.
    Raw,
    /// The same in several files, one after the other.
    Split,
    /// The disk itself, or a partition of it.
    Device,
    /// EnCase's or SMART's segment files: `.E01`, `.S01`.
    Ewf,
    /// QEMU's qcow2.
    Qcow2,
    /// Virtual PC's VHD.
    Vhd,
    /// Hyper-V's VHDX.
    Vhdx,
    /// VMware's VMDK.
    Vmdk,
    /// VirtualBox's VDI.
    Vdi,
}

impl Format {
    /// The word for it in `case.json`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Split => "split",
            Self::Device => "device",
            Self::Ewf => "ewf",
            Self::Qcow2 => "qcow2",
            Self::Vhd => "vhd",
            Self::Vhdx => "vhdx",
            Self::Vmdk => "vmdk",
            Self::Vdi => "vdi",
        }
    }

    /// The word for it in a sentence, with its article.
    pub(crate) const fn describe(self) -> &'static str {
        match self {
            Self::Raw | Self::Split => "a raw image",
            Self::Device => "a device",
            Self::Ewf => "an EWF image",
            Self::Qcow2 => "a qcow2 image",
            Self::Vhd => "a VHD",
            Self::Vhdx => "a VHDX",
            Self::Vmdk => "a VMDK",
            Self::Vdi => "a VDI",
        }
    }

    /// Whether `name` is that of a format that is the bytes of the disk and nothing else.
    pub fn is_raw_name(name: &str) -> bool {
        [Self::Raw, Self::Split, Self::Device]
            .iter()
            .any(|format| format.name() == name)
    }
}

/// One disk as evidence. It can be read, and that is all.
pub struct Image {
    path: PathBuf,
    format: Format,
    mapfile: Option<PathBuf>,
    contents: Arc<dyn ReadAt>,
    /// What ddrescue did not get, ordered and apart, in bytes.
    not_rescued: Vec<Range<u64>>,
    warnings: Vec<String>,
    container: Option<Container>,
}

impl Image {
    /// The path that was named; of a split image, the first piece.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How the image is kept.
    pub const fn format(&self) -> Format {
        self.format
    }

    /// The ddrescue mapfile that was found beside it.
    pub fn mapfile(&self) -> Option<&Path> {
        self.mapfile.as_deref()
    }

    /// What ddrescue did not get, ordered and apart, in bytes.
    pub fn not_rescued(&self) -> &[Range<u64>] {
        &self.not_rescued
    }

    /// What a person should know: a missing piece, a mapfile that ends early.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// What the container says of itself; `None` for what is raw.
    pub const fn container(&self) -> Option<&Container> {
        self.container.as_ref()
    }
}

impl ReadAt for Image {
    fn len(&self) -> u64 {
        self.contents.len()
    }

    fn known_gaps(&self) -> u64 {
        let bytes = |bad: &Range<u64>| bad.end.saturating_sub(bad.start);
        let not_rescued = self.not_rescued.iter().map(bytes).sum::<u64>();
        not_rescued.saturating_add(self.contents.known_gaps())
    }

    fn read_at(&self, at: ByteOffset, buf: &mut [u8]) -> Result<Gaps, OutOfRange> {
        self.check_range(at, buf.len())?;
        // A window that ddrescue has nothing of is not read at all: it may be a hole of a disk
        // that answers slowly.
        let mut gaps = Gaps::none();
        blank(&self.not_rescued, GapCause::NotRescued, at, buf, &mut gaps);
        if gaps.bytes() == buf.len() && !buf.is_empty() {
            return Ok(gaps);
        }
        let mut gaps = self.contents.read_at(at, buf)?;
        blank(&self.not_rescued, GapCause::NotRescued, at, buf, &mut gaps);
        Ok(gaps)
    }
}

/// Sets to zero what of `buf`, read at `at`, lies in `areas`, which are ordered and apart, and names
/// it in `gaps`.
fn blank(areas: &[Range<u64>], cause: GapCause, at: ByteOffset, buf: &mut [u8], gaps: &mut Gaps) {
    let start = at.get();
    let end = start.saturating_add(buf.len() as u64);
    let first = areas.partition_point(|area| area.end <= start);
    for area in areas.iter().skip(first).take_while(|area| area.start < end) {
        let range = relative(area, start, end);
        if let Some(hole) = buf.get_mut(range.clone()) {
            hole.fill(0);
        }
        gaps.add(range, cause);
    }
}

/// The part of `range` inside `start..end`, counted from `start`.
fn relative(range: &Range<u64>, start: u64, end: u64) -> Range<usize> {
    let index = |n: u64| usize::try_from(n.saturating_sub(start)).unwrap_or(usize::MAX);
    index(range.start.max(start))..index(range.end.min(end))
}

/// The longest disk that a container may claim to hold: more than any there is. A file of a few
/// bytes can claim any length, and all of it would be scanned.
const MAX_CONTAINED: u64 = 1 << 50;

/// Opens the evidence at `path`.
///
/// Refused, with a text that says what to do instead: a directory, an empty file, a text, a
/// ddrescue mapfile in the place of its image, a middle piece of a split image, a container that
/// is damaged, needs another file, or is of a kind that is not read.
pub fn open(path: &Path) -> Result<Image, Error> {
    let is_file = kind_of(path)?.is_file();
    if is_file && let Some(first) = first_segment(path) {
        return Err(refused(
            path,
            &format!(
                "is a later segment of an EWF image; name its first segment, {}",
                first.display()
            ),
        ));
    }
    match is_file
        .then(|| container::open(path))
        .transpose()?
        .flatten()
    {
        Some(opened) => contained(path, opened),
        None => open_raw(path),
    }
}

/// Opens the evidence at `path` as raw, whatever it looks like: a raw disk can begin with the
/// bytes of a container.
pub fn open_raw(path: &Path) -> Result<Image, Error> {
    let kind = kind_of(path)?;
    let pieces = if kind.is_file() { siblings(path) } else { None };
    if let Some(first) = pieces.as_ref().and_then(|set| set.first_other_than(path)) {
        return Err(refused(
            path,
            &format!(
                "is a later piece of a split image; name its first piece, {}",
                first.display()
            ),
        ));
    }
    let mut warnings = Vec::new();
    let (contents, format): (Arc<dyn ReadAt>, Format) = match pieces {
        Some(set) if set.len() > 1 => {
            warnings.push(format!(
                "{} files, from {} on, were joined to one disk; if each is a disk, give them names \
                 that do not count up",
                set.len(),
                path.display()
            ));
            (Arc::new(set.open(&mut warnings)?), Format::Split)
        }
        _ => {
            let file = RawFile::open(path)?;
            let format = if kind.is_block_device() {
                Format::Device
            } else {
                Format::Raw
            };
            (Arc::new(file), format)
        }
    };
    if contents.is_empty() {
        return Err(refused(
            path,
            "is empty: nothing was imaged; see whether the copy failed",
        ));
    }
    if kind.is_file()
        && let Some(what) = looks_like_text(contents.as_ref())
    {
        return Err(refused(path, what));
    }
    with_mapfile(Image {
        path: path.to_owned(),
        format,
        mapfile: None,
        contents,
        not_rescued: Vec::new(),
        warnings,
        container: None,
    })
}

/// The disk in a container.
fn contained(path: &Path, opened: container::Opened) -> Result<Image, Error> {
    let length = opened.contents.len();
    if length == 0 {
        return Err(refused(path, "holds an empty disk: nothing was imaged"));
    }
    if length > MAX_CONTAINED {
        return Err(refused(
            path,
            &format!(
                "says that it holds a disk of {length} bytes, more than any there is: it is damaged"
            ),
        ));
    }
    with_mapfile(Image {
        path: path.to_owned(),
        format: opened.container.format,
        mapfile: None,
        contents: opened.contents,
        not_rescued: Vec::new(),
        warnings: opened.warnings,
        container: Some(opened.container),
    })
}

/// Whether the checksum of a structure is the one that is stored. Built for fuzzing every one is, or nearly
/// every change would end here.
const fn sum_holds(computed: u32, stored: u32) -> bool {
    cfg!(fuzzing) || computed == stored
}

fn refused(path: &Path, what: &str) -> Error {
    Error::NotEvidence {
        path: path.to_owned(),
        what: what.to_owned(),
    }
}

/// What kind of file evidence is kept in: a file or a block device.
fn kind_of(path: &Path) -> Result<FileType, Error> {
    let kind = fs::metadata(path)
        .map_err(|source| Error::io(path, source))?
        .file_type();
    if kind.is_dir() {
        return Err(refused(path, "is a directory; name the images in it"));
    }
    if !kind.is_file() && !kind.is_block_device() {
        return Err(refused(path, "is neither a file nor a block device"));
    }
    Ok(kind)
}

/// The image with what the mapfile beside it says.
fn with_mapfile(mut image: Image) -> Result<Image, Error> {
    let Some((found, map)) = mapfile::beside(&image.path)? else {
        return Ok(image);
    };
    let length = image.contents.len();
    if map.end() < length {
        image.warnings.push(format!(
            "{} covers {} of {length} bytes; what it does not cover is taken as not rescued",
            found.display(),
            map.end(),
        ));
    }
    image.not_rescued = map.not_rescued(length);
    image.mapfile = Some(found);
    Ok(image)
}

/// Says what to do if the evidence is a text, which no image of a disk is.
///
/// A member of an array may well begin with text. What is whole sectors long is therefore only
/// taken for a text if it is small and text all through.
fn looks_like_text(contents: &dyn ReadAt) -> Option<&'static str> {
    const HEAD: usize = 4096;
    const SMALL: usize = 1 << 20;
    let length = usize::try_from(contents.len()).unwrap_or(usize::MAX);
    let read = if !contents.len().is_multiple_of(crate::SECTOR_BYTES) {
        length.min(HEAD)
    } else if length < SMALL {
        length
    } else {
        return None;
    };
    let head = contents.read_whole(ByteOffset::ZERO, read)?;
    if Mapfile::parse(&head).is_ok() {
        return Some(
            "is a ddrescue mapfile; name the image that it belongs to: the mapfile is found beside it",
        );
    }
    let text = head
        .iter()
        .all(|byte| matches!(byte, b'\t' | b'\n' | b'\r' | 0x20..=0x7E | 0x80..=0xFF));
    text.then_some("is a text, not the image of a disk; name raw images or block devices")
}

/// A part of a split image that is not there.
struct MissingPiece {
    length: u64,
}

impl ReadAt for MissingPiece {
    fn len(&self) -> u64 {
        self.length
    }

    fn read_at(&self, at: ByteOffset, buf: &mut [u8]) -> Result<Gaps, OutOfRange> {
        self.check_range(at, buf.len())?;
        buf.fill(0);
        Ok(Gaps::one(0..buf.len(), GapCause::PieceMissing))
    }
}

impl split::Pieces {
    /// Opens all pieces; one that is missing in the middle becomes a gap as long as the first.
    fn open(&self, warnings: &mut Vec<String>) -> Result<Concat, Error> {
        let mut parts: Vec<Arc<dyn ReadAt>> = Vec::new();
        let mut piece_bytes = 0;
        for piece in self.paths() {
            match piece {
                split::Piece::There(path) => {
                    let file = RawFile::open(path)?;
                    piece_bytes = piece_bytes.max(file.len());
                    parts.push(Arc::new(file));
                }
                split::Piece::Missing(path) => {
                    warnings.push(format!(
                        "{} is missing: its {piece_bytes} bytes are a gap",
                        path.display()
                    ));
                    parts.push(Arc::new(MissingPiece {
                        length: piece_bytes,
                    }));
                }
            }
        }
        let path = self.first();
        Concat::new(parts).ok_or_else(|| Error::NotEvidence {
            path: path.to_owned(),
            what: "is a split image of more than 2^64 bytes".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, name: &str, bytes: &[u8]) -> PathBuf {
        let path = dir.join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn pieces_are_joined_and_a_missing_one_is_a_gap() {
        let dir = tempfile::tempdir().unwrap();
        let first = write(dir.path(), "d.001", &[1; 512]);
        write(dir.path(), "d.002", &[2; 512]);
        write(dir.path(), "d.004", &[4; 100]);
        let image = open(&first).unwrap();
        assert_eq!(image.format(), Format::Split);
        assert_eq!(image.len(), 3 * 512 + 100);
        assert_eq!(image.warnings().len(), 2);
        let (bytes, gaps) = image.read_vec(ByteOffset::new(1000), 600).unwrap();
        assert_eq!(bytes[23], 2);
        assert_eq!(bytes[599], 4);
        assert_eq!(gaps, Gaps::one(24..536, GapCause::PieceMissing));
        assert!(matches!(
            open(&dir.path().join("d.002")),
            Err(Error::NotEvidence { what, .. }) if what.contains("d.001")
        ));
    }

    #[test]
    fn a_mapfile_turns_its_bad_areas_into_gaps() {
        let dir = tempfile::tempdir().unwrap();
        let path = write(dir.path(), "d.img", &[7; 4096]);
        write(
            dir.path(),
            "d.img.map",
            b"# Mapfile. Created by GNU ddrescue\n0x0 ? 1\n0 0x400 +\n0x400 0x200 -\n0x600 0xA00 +\n",
        );
        let image = open(&path).unwrap();
        let (bytes, gaps) = image.read_vec(ByteOffset::new(0x3FF), 0x300).unwrap();
        assert_eq!((bytes[0], bytes[1], bytes[0x201]), (7, 0, 7));
        assert_eq!(gaps, Gaps::one(1..0x201, GapCause::NotRescued));
    }

    #[test]
    fn what_is_no_evidence_is_refused_with_advice() {
        let dir = tempfile::tempdir().unwrap();
        let cases = [
            (write(dir.path(), "empty", b""), "is empty"),
            (
                write(dir.path(), "notes.txt", b"call the customer\n"),
                "is a text",
            ),
            (
                write(dir.path(), "x.map", b"0x0 + 1\n0 0x400 +\n"),
                "is a ddrescue mapfile",
            ),
            (dir.path().to_owned(), "is a directory"),
        ];
        for (path, want) in cases {
            match open(&path) {
                Err(Error::NotEvidence { what, .. }) => assert!(what.contains(want), "{what}"),
                other => panic!("{want}: {:?}", other.map(|i| i.len())),
            }
        }
        assert!(matches!(
            open(&dir.path().join("nothing")),
            Err(Error::Io { .. })
        ));
    }
}
