//! Which container an image is kept in.
//!
//! By signature, never by name. A container is recognised by its first bytes (a VHD also by its
//! footer) and by header fields that must fit each other and the file; [`super::open_raw`] takes
//! a file as it is whatever it looks like.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::Files;
use super::{Format, ewf, qcow2, vdi, vhd, vhdx, vmdk};
use crate::{Error, ReadAt};

/// What else is known of a container, by the name of the fact.
pub type Facts = BTreeMap<String, String>;

/// What a container says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its format.
    pub format: Format,
    /// Sizes and the like, for people.
    pub facts: Facts,
    /// The MD5 of the contents that is stored in it, in hexadecimal.
    pub md5: Option<String>,
    /// The SHA-1 of the contents that is stored in it, in hexadecimal.
    pub sha1: Option<String>,
}

impl Container {
    /// A container of a format that stores no hashes.
    pub(super) fn without_hashes<const N: usize>(
        format: Format,
        facts: [(&str, String); N],
    ) -> Self {
        Self {
            format,
            facts: facts.map(|(name, fact)| (name.to_owned(), fact)).into(),
            md5: None,
            sha1: None,
        }
    }
}

/// A container that was opened.
pub(super) struct Opened {
    /// The bytes of the disk.
    pub(super) contents: Arc<dyn ReadAt>,
    pub(super) container: Container,
    pub(super) warnings: Vec<String>,
}

/// Formats that are recognised and not read: first bytes, name, and what to do.
const NAMED: [(&[u8], &str, &str); 6] = [
    (
        b"EVF2\x0d\x0a\x81\x00",
        "EnCase's Ex01",
        "convert it with `ewfexport` to E01 or raw, and see whether the hashes agree",
    ),
    (
        b"LVF\x09\x0d\x0a\xff\x00",
        "EnCase's L01",
        "it holds files, not a disk",
    ),
    (
        b"LEF2\x0d\x0a\x81\x00",
        "EnCase's Lx01",
        "it holds files, not a disk",
    ),
    (
        b"AFF10\x0d\x0a\x00",
        "AFF",
        "convert it with `affconvert -r`",
    ),
    (
        b"COWD\x01\x00\x00\x00",
        "a VMDK of ESX of the kind vmfsSparse",
        "convert it with `qemu-img convert -O raw`",
    ),
    (
        b"QFI\xfb\x00\x00\x00\x01",
        "qcow of version 1",
        "convert it with `qemu-img convert -O raw`",
    ),
];

/// Opens the container at `path`; `None` if the file is none.
pub(super) fn open(path: &Path) -> Result<Option<Opened>, Error> {
    let files = Files::new(vec![path.to_owned()]);
    let length = usize::try_from(files.bytes(0)?.min(4096)).unwrap_or(4096);
    let Some(head) = files.whole(0, 0, length) else {
        // A disk whose beginning cannot be read is a disk.
        return Ok(None);
    };
    let opened = if ewf::begins(&head) {
        ewf::open(path)
    } else if head.starts_with(b"QFI\xfb\x00\x00\x00\x02")
        || head.starts_with(b"QFI\xfb\x00\x00\x00\x03")
    {
        qcow2::open(files)
    } else if head.starts_with(b"vhdxfile") {
        vhdx::open(files)
    } else if vmdk::begins(&head) {
        vmdk::open(path, files)
    } else if vdi::begins(&head) {
        vdi::open(files)
    } else if let Some((_, name, instead)) =
        NAMED.iter().find(|(bytes, ..)| head.starts_with(bytes))
    {
        return Err(unread(&files, name, instead));
    } else if aff4(&head) {
        return Err(unread(
            &files,
            "AFF4",
            "convert it to a raw image with pyaff4",
        ));
    } else {
        return vhd::open(files);
    };
    opened.map(Some)
}

/// What is in a container, and is not read: what it is, and what to do instead.
pub(super) fn unread(files: &Files, what: &str, instead: &str) -> Error {
    Error::unsupported(
        format!(
            "{what}: {instead}; a raw disk that only begins like that is read with --raw. This"
        ),
        files.origin(0, 0),
    )
}

/// An AFF4 volume is a ZIP archive that begins with its `container.description`.
fn aff4(head: &[u8]) -> bool {
    let name = b"container.description";
    head.starts_with(b"PK\x03\x04") && head.windows(name.len()).take(512).any(|part| part == name)
}

/// What is wrong with the header of a container whose first bytes are right.
pub(super) fn damaged(files: &Files, format: Format, what: &str) -> Error {
    Error::corrupt(
        format!(
            "begins as {} does, but {what}. Get another copy of it; if it is a raw disk that only \
             begins like one, name it with --raw",
            format.describe()
        ),
        files.origin(0, 0),
    )
}

/// A container that needs another file beside it, which is never looked for in silence.
pub(super) fn needs_parent(files: &Files, format: Format, parent: &str) -> Error {
    let parent = match parent {
        "" => "which it does not name".to_owned(),
        parent => printable(parent),
    };
    let what = format!(
        "{} that holds only what differs from its parent, {parent}",
        format.describe()
    );
    unread(
        files,
        &what,
        "put both together with `qemu-img convert -O raw`, and name what comes out",
    )
}

/// Text out of a container, as it may be shown.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .take(200)
        .flat_map(char::escape_debug)
        .collect()
}

/// A hash as it is written.
pub(super) fn hexadecimal(hash: &[u8]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The first segment of the image that the file at `path` is a later segment of.
pub fn first_segment(path: &Path) -> Option<PathBuf> {
    ewf::first_of(path)
}
