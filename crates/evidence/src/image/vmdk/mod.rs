//! VMDK: flat and sparse, in one file or several, and stream-optimised.
//!
//! Source: VMware, "Virtual Disk Format 5.0". A descriptor, a text of its own or inside a sparse
//! file, lists the extents that the disk is made of.

mod descriptor;
mod sparse;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::descriptor::{Descriptor, Extent, Kind};
use self::sparse::{Grains, Header};
use super::Format;
use super::blocks::{BlockMap, Blocks, Stored};
use super::container::{Container, Opened, damaged, needs_parent, printable, unread};
use super::files::Files;
use super::raw::RawFile;
use crate::view::{Concat, Slice};
use crate::{ByteOffset, Error, ReadAt, SECTOR_BYTES};

/// Extents of one disk at most: a disk of 64 TiB in pieces of 2 GB has 32,768.
const MOST_EXTENTS: usize = 1 << 16;

/// Whether a file begins as a sparse extent or as a descriptor does.
pub(super) fn begins(head: &[u8]) -> bool {
    head.starts_with(sparse::MAGIC) || head.starts_with(descriptor::FIRST_LINE)
}

/// Opens the VMDK at `path`, which is the only one of `files`.
pub(super) fn open(path: &Path, files: Files) -> Result<Opened, Error> {
    let bad = |what: &str| damaged(&files, Format::Vmdk, what);
    let magic: Option<[u8; 4]> = files.array(0, 0);
    if magic.as_ref().is_some_and(|magic| magic == sparse::MAGIC) {
        return monolithic(files);
    }
    let length = files.bytes(0)?;
    if length > descriptor::MAX_BYTES {
        return Err(bad("it is too long for a descriptor"));
    }
    let text = usize::try_from(length)
        .ok()
        .and_then(|length| files.whole(0, 0, length));
    let descriptor = text
        .and_then(|text| Descriptor::parse(&text))
        .filter(|descriptor| !descriptor.extents.is_empty())
        .ok_or_else(|| bad("its descriptor lists no extents that can be read"))?;
    if let Some(parent) = &descriptor.parent {
        return Err(needs_parent(&files, Format::Vmdk, parent));
    }
    if descriptor.extents.len() > MOST_EXTENTS {
        return Err(bad("it has more extents than any disk"));
    }
    let mut warnings = Vec::new();
    let parts: Vec<Arc<dyn ReadAt>> = descriptor
        .extents
        .iter()
        .map(|extent| open_extent(path, extent, &mut warnings))
        .collect::<Result<_, _>>()?;
    let contents = Concat::new(parts).ok_or_else(|| bad("its extents are too long together"))?;
    Ok(opened(
        Arc::new(contents),
        &descriptor.create_type,
        descriptor.extents.len(),
        warnings,
    ))
}

fn opened(
    contents: Arc<dyn ReadAt>,
    create_type: &str,
    extents: usize,
    warnings: Vec<String>,
) -> Opened {
    let facts = [
        ("create_type", printable(create_type)),
        ("extents", extents.to_string()),
    ];
    Opened {
        contents,
        container: Container::without_hashes(Format::Vmdk, facts),
        warnings,
    }
}

/// A sparse file with its descriptor inside.
fn monolithic(files: Files) -> Result<Opened, Error> {
    let bad = |what: &str| damaged(&files, Format::Vmdk, what);
    let header = Header::read(&files, 0).ok_or_else(|| bad("its header is damaged"))?;
    let (sector, sectors) = header.descriptor;
    if sector == 0 {
        return Err(Error::NotEvidence {
            path: files.path(0).to_owned(),
            what: "is one extent of a VMDK; name its descriptor, the small .vmdk beside it that \
                   lists the extents"
                .to_owned(),
        });
    }
    let length = sectors
        .saturating_mul(SECTOR_BYTES)
        .min(descriptor::MAX_BYTES);
    let text = usize::try_from(length)
        .ok()
        .zip(sector.checked_mul(SECTOR_BYTES))
        .and_then(|(length, at)| files.whole(0, at, length));
    let descriptor = text
        .and_then(|text| Descriptor::parse(&text))
        .ok_or_else(|| bad("the descriptor inside it is damaged"))?;
    if let Some(parent) = &descriptor.parent {
        return Err(needs_parent(&files, Format::Vmdk, parent));
    }
    let mut warnings = Vec::new();
    let contents = grains(files, header, None, &mut warnings);
    Ok(opened(contents, &descriptor.create_type, 1, warnings))
}

/// The contents of a sparse file; `sectors` of it, if its descriptor says so.
fn grains(
    files: Files,
    header: Header,
    sectors: Option<u64>,
    warnings: &mut Vec<String>,
) -> Arc<dyn ReadAt> {
    if header.unclean {
        warnings.push(format!(
            "{} was not closed: its newest changes may be missing",
            files.path(0).display()
        ));
    }
    let bytes = |sectors: u64| sectors.saturating_mul(SECTOR_BYTES);
    let contents = Blocks::new(Grains { header }, bytes(header.capacity), files);
    match sectors {
        Some(sectors) if sectors != header.capacity => Arc::new(Slice::new(
            Arc::new(contents),
            ByteOffset::ZERO,
            bytes(sectors),
        )),
        _ => Arc::new(contents),
    }
}

struct Zeros;

impl BlockMap for Zeros {
    fn block_bytes(&self) -> u64 {
        1 << 20
    }

    fn locate(&self, _: &Files, _: u64) -> Stored {
        Stored::Zeros
    }
}

fn open_extent(
    descriptor: &Path,
    extent: &Extent,
    warnings: &mut Vec<String>,
) -> Result<Arc<dyn ReadAt>, Error> {
    let unfit = |what: String| Error::NotEvidence {
        path: descriptor.to_owned(),
        what,
    };
    let bytes = extent
        .sectors
        .checked_mul(SECTOR_BYTES)
        .ok_or_else(|| unfit("is a VMDK with an extent of more than 2^64 bytes".to_owned()))?;
    let path = match &extent.kind {
        Kind::Zero => return Ok(Arc::new(Blocks::new(Zeros, bytes, Files::new(Vec::new())))),
        Kind::Other(kind) => {
            return Err(unread(
                &Files::new(vec![descriptor.to_owned()]),
                &format!("a VMDK with an extent of the kind {}", printable(kind)),
                "use `qemu-img convert -O raw`, or name the disk itself",
            ));
        }
        Kind::Flat { .. } | Kind::Sparse => extent_path(descriptor, extent)?,
    };
    if let Kind::Flat { first_sector } = extent.kind {
        let at = first_sector.checked_mul(SECTOR_BYTES).map(ByteOffset::new);
        let at = at.ok_or_else(|| unfit("is a VMDK whose extent begins nowhere".to_owned()))?;
        return Ok(Arc::new(Slice::new(
            Arc::new(RawFile::open(&path)?),
            at,
            bytes,
        )));
    }
    let files = Files::new(vec![path]);
    let header = Header::read(&files, 0)
        .ok_or_else(|| damaged(&files, Format::Vmdk, "its header is damaged"))?;
    Ok(grains(files, header, Some(extent.sectors), warnings))
}

/// The file of an extent. It must lie beside the descriptor: a descriptor is evidence, and must
/// not choose which other files of this machine are read.
fn extent_path(descriptor: &Path, extent: &Extent) -> Result<PathBuf, Error> {
    let refuse = |what: String| Error::NotEvidence {
        path: descriptor.to_owned(),
        what,
    };
    let name = &extent.file;
    if name.is_empty() || name.contains(['/', '\\', '\0']) || name == "." || name == ".." {
        return Err(refuse(format!(
            "is a VMDK whose extent {} is named with a directory; put all its files in one \
             directory, and change a copy of the descriptor so that it names them alone",
            printable(name)
        )));
    }
    let path = descriptor.with_file_name(name);
    if path.is_file() {
        return Ok(path);
    }
    Err(refuse(format!(
        "is not complete: its extent {} is not there. Put all files of the VMDK in one directory",
        path.display()
    )))
}
