//! EWF: the images that EnCase (`.E01`), SMART (`.S01`) and libewf write.
//!
//! Source: Expert Witness Compression Format specification, Joachim Metz, libewf. A set of segment
//! files, each a list of sections; the chunks of the disk, compressed or not, lie in them, and
//! tables say where. Everything has an Adler-32, and all of them are checked: a chunk that does
//! not fit its own is a gap.

mod header;
mod names;
mod section;
mod table;
mod volume;

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::section::{Section, sections, segment_number};
use self::table::Table;
use self::volume::Volume;
use super::blocks::{BlockMap, Blocks, Stored};
use super::container::{Container, Facts, Opened};
use super::files::Files;
use crate::{ByteOffset, Error, GapCause, Gaps, OutOfRange, ReadAt, ReadAtExt};

/// Whether a file begins as a segment does.
pub(super) fn begins(head: &[u8]) -> bool {
    head.starts_with(section::SIGNATURE)
}

/// The first segment of the image that the file at `path` is a later segment of.
pub(super) fn first_of(path: &Path) -> Option<PathBuf> {
    let mut header = [0; 13];
    File::open(path).ok()?.read_exact(&mut header).ok()?;
    let number = segment_number(&header)?;
    (number > 1).then(|| names::first_path(path, u32::from(number)))?
}

/// The tables of an image, and which chunk each begins with.
struct Tables {
    chunk_bytes: u64,
    tables: Vec<(u64, Table)>,
}

impl BlockMap for Tables {
    fn block_bytes(&self) -> u64 {
        self.chunk_bytes
    }

    fn locate(&self, files: &Files, number: u64) -> Stored {
        let after = self.tables.partition_point(|(first, _)| *first <= number);
        match after
            .checked_sub(1)
            .and_then(|index| self.tables.get(index))
        {
            Some((first, table)) if number.saturating_sub(*first) < table.count => {
                table.locate(files, number.saturating_sub(*first))
            }
            _ => Stored::Gap(GapCause::ChunkDamaged),
        }
    }
}

/// What is gathered from the sections of all segments.
#[derive(Default)]
struct Gathered {
    volume: Option<Volume>,
    tables: Vec<Table>,
    /// Where the chunks of the table that follows end.
    chunks_end: Option<u64>,
    errors: Vec<Range<u64>>,
    md5: Option<String>,
    sha1: Option<String>,
    facts: Facts,
    warnings: Vec<String>,
}

/// Opens the image whose first segment is at `path`.
pub(super) fn open(path: &Path) -> Result<Opened, Error> {
    let mut files = Files::new(Vec::new());
    let mut gathered = Gathered::default();
    let mut segment = path.to_owned();
    for number in 1_u16..=u16::MAX {
        let file = files.push(segment.clone());
        check_header(&files, file, number)?;
        let sections = sections(&files, file)?;
        gathered.chunks_end = None;
        for (index, section) in sections.iter().enumerate() {
            let next = index.checked_add(1).and_then(|next| sections.get(next));
            gathered.take(&files, file, section, next)?;
        }
        if sections.last().is_none_or(|last| last.kind == "done") {
            break;
        }
        segment = next_segment(path, &segment, number)?;
    }
    gathered.finish(files)
}

fn check_header(files: &Files, file: usize, number: u16) -> Result<(), Error> {
    let header: Option<[u8; 13]> = files.array(file, 0);
    match header.as_ref().and_then(|bytes| segment_number(bytes)) {
        Some(found) if found == number => Ok(()),
        Some(found) => Err(Error::NotEvidence {
            path: files.path(file).to_owned(),
            what: format!(
                "is segment {found} of an EWF image where segment {number} is wanted; give the \
                 segments the names that they had, and name the first one"
            ),
        }),
        None => Err(Error::corrupt(
            "the header of this EWF segment file is damaged. Get another copy of it; if it is a raw \
             disk that only begins like one, name it with --raw",
            files.origin(file, 0),
        )),
    }
}

/// The file of the segment after `number`, which must be there.
fn next_segment(first: &Path, last: &Path, number: u16) -> Result<PathBuf, Error> {
    let wanted = u32::from(number).saturating_add(1);
    let path = names::segment_path(first, wanted);
    match path {
        Some(path) if path.is_file() => Ok(path),
        missing => Err(Error::NotEvidence {
            path: first.to_owned(),
            what: format!(
                "is not complete: {} says that a segment follows, and segment {wanted}, {}, is not \
                 there. Put all segments of the image in one directory",
                last.display(),
                missing.map_or_else(
                    || "which has no name".to_owned(),
                    |p| p.display().to_string()
                )
            ),
        }),
    }
}

impl Gathered {
    /// Takes what `section` says; `next` is the one after it.
    fn take(
        &mut self,
        files: &Files,
        file: usize,
        section: &Section,
        next: Option<&Section>,
    ) -> Result<(), Error> {
        match section.kind.as_str() {
            "volume" | "disk" if self.volume.is_none() => {
                self.volume = Volume::read(files, file, section);
            }
            // The same again, in each segment. Where the first copy is damaged it is needed.
            "data" if self.volume.is_none() => {
                self.volume = Volume::read(files, file, section);
            }
            "header" if self.facts.is_empty() => {
                self.facts = header::values(files, file, section);
            }
            "sectors" => self.chunks_end = Some(section.end),
            "table" => self.take_table(files, file, section, next)?,
            "table2" => self.take_second_table(files, file, section),
            "error2" => match volume::errors(files, file, section) {
                Some(errors) => self.errors.extend(errors),
                None => self.warn(
                    files,
                    file,
                    section,
                    "the list of sectors that could not be read",
                ),
            },
            "hash" => match volume::md5(files, file, section) {
                Some(md5) => self.md5 = Some(md5),
                None => self.warn(files, file, section, "the stored MD5"),
            },
            "digest" => match volume::digests(files, file, section) {
                Some((md5, sha1)) => {
                    self.md5 = self.md5.take().or(md5);
                    self.sha1 = sha1;
                }
                None => self.warn(files, file, section, "the stored MD5 and SHA-1"),
            },
            _ => {}
        }
        Ok(())
    }

    fn warn(&mut self, files: &Files, file: usize, section: &Section, what: &str) {
        self.warnings.push(format!(
            "{what} of the EWF image, at {}, is damaged and is not used",
            files.origin(file, section.data)
        ));
    }

    fn take_table(
        &mut self,
        files: &Files,
        file: usize,
        section: &Section,
        next: Option<&Section>,
    ) -> Result<(), Error> {
        // Chunks are counted through all tables: without the number of one table's chunks
        // nothing after it can be placed. The second copy, if there is one, says it too.
        let table = Table::read(files, file, section, self.chunks_end).or_else(|| {
            let copy = next.filter(|next| next.kind == "table2")?;
            Table::read(files, file, copy, self.chunks_end)
        });
        let table = table.ok_or_else(|| {
            Error::corrupt(
                "the header of this EWF table is damaged, and so is its copy: how many chunks it \
                 has is not known, nor where those after it belong. Get another copy of the file",
                files.origin(file, section.data),
            )
        })?;
        self.tables.push(table);
        Ok(())
    }

    fn take_second_table(&mut self, files: &Files, file: usize, section: &Section) {
        let chunks_end = self.chunks_end.take();
        if let Some(first) = self.tables.last_mut()
            && !first.sound
            && let Some(second) = Table::read(files, file, section, chunks_end)
            && second.sound
            && second.count == first.count
        {
            *first = second;
        }
    }

    fn finish(mut self, files: Files) -> Result<Opened, Error> {
        let Some(volume) = self.volume else {
            return Err(Error::corrupt(
                "the EWF image has no volume section that is whole: the size of its chunks is not \
                 known. Get another copy of the file",
                files.origin(0, 0),
            ));
        };
        let mut tables = Vec::new();
        let mut first = 0_u64;
        for table in self.tables {
            let count = table.count;
            tables.push((first, table));
            first = first.saturating_add(count);
        }
        let wanted = volume.bytes.div_ceil(volume.chunk_bytes);
        // What is acquired from a stream has its size written at the end, in `data`; a run that
        // was cut off has fewer chunks than it meant to have.
        if first < wanted || volume.chunks != wanted {
            self.warnings.push(format!(
                "the EWF image has {first} chunks and says {} for {} bytes, which take {wanted}; \
                 what is not there is a gap",
                volume.chunks, volume.bytes
            ));
        }
        let unsound = tables.iter().filter(|(_, table)| !table.sound).count();
        if unsound > 0 {
            self.warnings.push(format!(
                "{unsound} tables of the EWF image are damaged, and so are their copies: their \
                 chunks are gaps"
            ));
        }
        let not_acquired = merged(&self.errors, &volume);
        let map = Tables {
            chunk_bytes: volume.chunk_bytes,
            tables,
        };
        let contents = Arc::new(Acquired {
            contents: Blocks::new(map, volume.bytes, files),
            not_acquired,
        });
        let mut facts = self.facts;
        facts.insert("chunk_bytes".to_owned(), volume.chunk_bytes.to_string());
        facts.insert("sector_bytes".to_owned(), volume.sector_bytes.to_string());
        facts.insert("chunks".to_owned(), first.to_string());
        facts.insert(
            "bytes_not_acquired".to_owned(),
            contents.known_gaps().to_string(),
        );
        Ok(Opened {
            contents,
            container: Container {
                format: super::Format::Ewf,
                facts,
                md5: self.md5,
                sha1: self.sha1,
            },
            warnings: self.warnings,
        })
    }
}

/// The sectors of the acquisition's errors in bytes, ordered and apart.
fn merged(errors: &[Range<u64>], volume: &Volume) -> Vec<Range<u64>> {
    let mut sorted: Vec<Range<u64>> = errors
        .iter()
        .map(|range| {
            let bytes = |sector: u64| sector.saturating_mul(volume.sector_bytes).min(volume.bytes);
            bytes(range.start)..bytes(range.end)
        })
        .filter(|range| !range.is_empty())
        .collect();
    sorted.sort_by_key(|range| (range.start, range.end));
    let mut apart: Vec<Range<u64>> = Vec::new();
    for range in sorted {
        match apart.last_mut() {
            Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
            _ => apart.push(range),
        }
    }
    apart
}

/// The contents, less what the program that made the image could not read from the disk.
struct Acquired {
    contents: Blocks<Tables>,
    not_acquired: Vec<Range<u64>>,
}

impl ReadAt for Acquired {
    fn len(&self) -> u64 {
        self.contents.len()
    }

    fn known_gaps(&self) -> u64 {
        let bytes = |range: &Range<u64>| range.end.saturating_sub(range.start);
        self.not_acquired.iter().map(bytes).sum()
    }

    fn read_at(&self, at: ByteOffset, buf: &mut [u8]) -> Result<Gaps, OutOfRange> {
        self.check_range(at, buf.len())?;
        let mut gaps = self.contents.read_at(at, buf)?;
        super::blank(
            &self.not_acquired,
            GapCause::NotAcquired,
            at,
            buf,
            &mut gaps,
        );
        Ok(gaps)
    }
}
