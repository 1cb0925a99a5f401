//! Metadata areas: the header, and the ring of texts behind it.
//!
//! A metadata area begins with a header of one sector; the rest is a ring into which each
//! new text is written behind the last one, at a multiple of 512 bytes, going round at the
//! end. Nothing clears older texts: they stay until the ring comes round.

use std::sync::Arc;

use evidence::{ByteOffset, Cause, Fields, GapCause, Loss, Origin, ReadAt, ReadAtExt};

use super::text::Section;
use super::{DiskArea, Id, VolumeGroup, crc};
use crate::document::{DeviceName, VersionState};

/// The length of the header, and where the ring begins (`MDA_HEADER_SIZE`).
const MDA_HEADER_SIZE: u64 = 512;
/// To what multiple texts begin (`MDA_ORIGINAL_ALIGNMENT`).
const ALIGNMENT: usize = 512;
/// `FMTT_MAGIC`.
const MAGIC: &[u8; 16] = b"\x20LVM2\x20x[5A%r0N*>";
/// How much of an area is read: LVM's own are one megabyte, and it refuses texts above 64 MiB.
const MOST_BYTES: u64 = 64 << 20;
/// The shortest text that can describe a volume group.
const SHORTEST: usize = 256;
/// How long the name of a volume group may be (`NAME_LEN`).
const NAME_LEN: usize = 128;
/// Flag of a location: this area is not in use (`RAW_LOCN_IGNORED`).
const RAW_LOCN_IGNORED: u32 = 1;

/// Whether a metadata area begins where it does on a physical volume: 4096 bytes from its start
/// (`mda_header.magic`, `mda_header.start`).
pub(crate) fn begins_with_area(device: &dyn ReadAt) -> bool {
    const START: u64 = 4096;
    let header = device.read_whole(ByteOffset::new(START), 32);
    header.is_some_and(|bytes| {
        let fields = Fields::new(&bytes);
        fields.slice(4, MAGIC.len()) == Some(MAGIC) && fields.le_u64(24) == Some(START)
    })
}

/// Where a text lies in the ring (`raw_locn`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawLocation {
    /// Where it begins, in bytes from the start of the area.
    pub offset: u64,
    /// How long it is, with the zero at its end.
    pub size: u64,
    /// LVM's CRC of it.
    pub checksum: u32,
    /// `RAW_LOCN_IGNORED` or nothing.
    pub flags: u32,
}

/// A text in a ring.
#[derive(Clone, Debug, PartialEq)]
pub struct Version {
    /// Where on the device it begins, in bytes.
    pub offset: u64,
    /// The text, with the zero at its end.
    pub text: Arc<[u8]>,
    /// LVM's CRC of the text.
    pub crc: u32,
    /// What the header says about it.
    pub state: VersionState,
    /// The UUID of the group, by the text's second line.
    pub id: Option<Id>,
    /// The number of the text, by its third line.
    pub seqno: Option<u64>,
    /// What it says, or why it cannot be true.
    pub group: Result<Arc<VolumeGroup>, String>,
}

/// A metadata area of a physical volume.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetadataArea {
    /// Where its header says the current text is; `None` without a text or a sound header.
    pub committed: Option<RawLocation>,
    /// A text that was written but not yet committed.
    pub precommitted: Option<RawLocation>,
    /// Every text in the ring, in the order of their offsets.
    pub versions: Vec<Version>,
    /// What is wrong with the area.
    pub losses: Vec<Loss>,
}

impl MetadataArea {
    /// Reads the metadata area at `area` of `device`, called `name` in origins.
    pub fn read(device: &dyn ReadAt, name: &DeviceName, area: DiskArea) -> Self {
        let mut this = Self::default();
        let room = device.len().saturating_sub(area.offset);
        // A size of zero means to the end of the device.
        let size = match area.size {
            0 => room,
            size => size.min(room),
        }
        .min(MOST_BYTES);
        let at = ByteOffset::new(area.offset);
        let Some((bytes, gaps)) = usize::try_from(size)
            .ok()
            .and_then(|length| device.read_vec(at, length).ok())
        else {
            return this;
        };
        let origin = Origin::new(name.to_string(), at);
        if !gaps.is_empty() {
            let cause = gaps.iter().next().map_or(GapCause::Unreadable, |g| g.cause);
            this.lose("LVM metadata area", &origin, Cause::Gap(cause));
        }
        match header(&bytes, area.offset) {
            Ok((committed, precommitted)) => {
                this.committed = committed;
                this.precommitted = precommitted;
            }
            Err(why) => this.lose(
                "LVM metadata header",
                &origin,
                Cause::Corrupt(why.to_owned()),
            ),
        }
        let ring = Ring { bytes: &bytes };
        this.add_located(ring, &origin);
        this.add_found(ring, area.offset);
        this.versions.sort_by_key(|version| version.offset);
        this
    }

    /// Looks for texts in a part of a device that need not be a metadata area.
    pub(super) fn search(device: &dyn ReadAt, name: &DeviceName, area: DiskArea) -> Self {
        let mut this = Self::default();
        let length = usize::try_from(area.size.min(MOST_BYTES)).unwrap_or(0);
        if let Ok((bytes, gaps)) = device.read_vec(ByteOffset::new(area.offset), length) {
            if let Some(gap) = gaps.iter().next() {
                let origin = Origin::new(name.to_string(), ByteOffset::new(area.offset));
                this.lose("LVM metadata texts", &origin, Cause::Gap(gap.cause));
            }
            this.add_found(Ring { bytes: &bytes }, area.offset);
        }
        this
    }

    fn lose(&mut self, what: &str, origin: &Origin, cause: Cause) {
        self.losses.push(Loss {
            what: what.to_owned(),
            origin: origin.clone(),
            cause,
        });
    }

    /// Adds the texts that the header points to, if their checksums hold.
    fn add_located(&mut self, ring: Ring<'_>, area: &Origin) {
        for (state, location) in [
            (VersionState::Current, self.committed),
            (VersionState::Precommitted, self.precommitted),
        ] {
            let Some(location) = location else { continue };
            let offset = area.offset.get().saturating_add(location.offset);
            match ring.text(location.offset, location.size) {
                Some(text) if crc(&text) == location.checksum => {
                    self.versions.push(Version::new(offset, text, state));
                }
                _ => self.lose(
                    "the metadata text that the header points to",
                    &Origin::new(area.source.clone(), ByteOffset::new(offset)),
                    Cause::Corrupt("its checksum does not hold".to_owned()),
                ),
            }
        }
    }

    /// Adds the texts that the ring holds besides those.
    fn add_found(&mut self, ring: Ring<'_>, area_offset: u64) {
        let mut at = ALIGNMENT;
        let mut first = None;
        while at < ring.bytes.len() {
            let text = ring
                .begins_text(at)
                .then(|| ring.text_to_zero(at, first))
                .flatten();
            let Some(text) = text else {
                at = at.saturating_add(ALIGNMENT);
                continue;
            };
            first = first.or(Some(at));
            let offset = area_offset.saturating_add(at as u64);
            at = at.saturating_add(text.len().next_multiple_of(ALIGNMENT));
            if self.versions.iter().any(|v| v.offset == offset) {
                continue;
            }
            let mut version = Version::new(offset, text, VersionState::Older);
            let located = [self.committed, self.precommitted].into_iter().flatten();
            if located
                .into_iter()
                .any(|l| l.offset == offset.saturating_sub(area_offset))
            {
                // It may still parse: a changed number in it is not seen by any parser.
                version.group = Err("its checksum does not hold".to_owned());
            }
            self.versions.push(version);
        }
    }
}

impl Version {
    fn new(offset: u64, text: Vec<u8>, state: VersionState) -> Self {
        let group = Section::parse(&text)
            .map_err(|error| error.to_string())
            .and_then(|root| VolumeGroup::from_text(&root))
            .map(Arc::new);
        let (id, seqno) = first_lines(&text);
        Self {
            offset,
            crc: crc(&text),
            id,
            seqno,
            text: text.into(),
            state,
            group,
        }
    }
}

/// The UUID and the number that the second and third line of a text state.
fn first_lines(text: &[u8]) -> (Option<Id>, Option<u64>) {
    let mut lines = text.split(|c| *c == b'\n').skip(1).take(2);
    let mut after = |name: &[u8]| {
        let value = lines.next()?.strip_prefix(name)?;
        std::str::from_utf8(value).ok()
    };
    let id = after(b"id = ").and_then(|id| Id::parse(id.trim_matches('"')));
    let seqno = after(b"seqno = ").and_then(|seqno| seqno.parse().ok());
    (id, seqno)
}

/// The committed and the precommitted location in the header of an area that lies at `offset`.
fn header(
    bytes: &[u8],
    offset: u64,
) -> Result<(Option<RawLocation>, Option<RawLocation>), &'static str> {
    const SHORT: &str = "the area is shorter than its header";
    let size = usize::try_from(MDA_HEADER_SIZE).unwrap_or(ALIGNMENT);
    let fields = Fields::new(bytes.get(..size).ok_or(SHORT)?);
    if fields.slice(4, 16) != Some(MAGIC) {
        return Err("there is no header");
    }
    if fields.le_u32(0) != Some(crc(bytes.get(4..size).unwrap_or_default())) {
        return Err("its checksum does not hold");
    }
    if fields.le_u32(20) != Some(1) {
        return Err("its version is not 1");
    }
    if fields.le_u64(24) != Some(offset) {
        return Err("it says that it lies elsewhere");
    }
    Ok((location(fields, 40), location(fields, 64)))
}

/// The `raw_locn` at `at`; `None` if it is empty or says that the area is not in use.
fn location(fields: Fields<'_>, at: usize) -> Option<RawLocation> {
    let location = RawLocation {
        offset: fields.le_u64(at)?,
        size: fields.le_u64(at.checked_add(8)?)?,
        checksum: fields.le_u32(at.checked_add(16)?)?,
        flags: fields.le_u32(at.checked_add(20)?)?,
    };
    (location.offset != 0 && location.size != 0 && location.flags & RAW_LOCN_IGNORED == 0)
        .then_some(location)
}

/// A metadata area from its header on; behind the header the bytes are a ring.
#[derive(Clone, Copy)]
struct Ring<'a> {
    bytes: &'a [u8],
}

impl Ring<'_> {
    /// `size` bytes at `offset`, going on behind the header if they reach the end.
    fn text(self, offset: u64, size: u64) -> Option<Vec<u8>> {
        let start = usize::try_from(offset).ok()?;
        let size = usize::try_from(size).ok()?;
        let ring = self.bytes.len().checked_sub(ALIGNMENT)?;
        if start < ALIGNMENT || start >= self.bytes.len() || size > ring {
            return None;
        }
        let end = start.checked_add(size)?;
        let mut text = self.bytes.get(start..end.min(self.bytes.len()))?.to_vec();
        if let Some(over) = end.checked_sub(self.bytes.len()) {
            let stop = ALIGNMENT.checked_add(over)?;
            text.extend_from_slice(self.bytes.get(ALIGNMENT..stop)?);
        }
        Some(text)
    }

    /// The text at `at` with the zero that ends it. One that goes round must end before the
    /// `first` text of the ring, or before itself.
    fn text_to_zero(self, at: usize, first: Option<usize>) -> Option<Vec<u8>> {
        let head = self.bytes.get(at..)?;
        let text = if let Some(length) = head.iter().position(|c| *c == 0) {
            head.get(..=length)?.to_vec()
        } else {
            let tail = self.bytes.get(ALIGNMENT..first.unwrap_or(at))?;
            let length = tail.iter().position(|c| *c == 0)?;
            [head, tail.get(..=length)?].concat()
        };
        (text.len() > SHORTEST).then_some(text)
    }

    /// Whether a text may begin at `at`: `name {`, then lines with `id` and `seqno`.
    fn begins_text(self, at: usize) -> bool {
        // The three lines may go round the end of the ring.
        let head = self.bytes.get(at..).unwrap_or_default();
        let tail = self.bytes.get(ALIGNMENT..).unwrap_or_default();
        let mut bytes = head.iter().chain(tail).copied().take(3 * NAME_LEN);
        let mut line = || -> Vec<u8> { bytes.by_ref().take_while(|c| *c != b'\n').collect() };
        let (name, id, seqno) = (line(), line(), line());
        name.strip_suffix(b" {").is_some_and(|name| {
            !name.is_empty() && name.len() <= NAME_LEN && name.iter().all(|c| is_name_byte(*c))
        }) && id.starts_with(b"id = \"")
            && seqno.starts_with(b"seqno = ")
    }
}

/// Whether LVM allows this byte in a name.
pub(super) const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'+')
}

#[cfg(test)]
mod tests {
    use evidence::view::Memory;

    use super::*;

    fn text(seqno: u32, padding: usize) -> Vec<u8> {
        let mut text = format!(
            "vg0 {{\nid = \"Gu4eWQ-0DE4-e878-culN-1Zsk-gnft-mkbrkc\"\nseqno = {seqno}\n\
             extent_size = 128\nphysical_volumes {{\n}}\n}}\n# {}\n",
            "x".repeat(padding + 200)
        )
        .into_bytes();
        text.push(0);
        text
    }

    /// An area of `size` at 4096 with `texts` at their offsets; the last one is current.
    fn area(size: usize, texts: &[(usize, Vec<u8>)]) -> Vec<u8> {
        let mut area = vec![0; size];
        for (at, text) in texts {
            for (i, byte) in text.iter().enumerate() {
                let place = at + i;
                let place = if place < size {
                    place
                } else {
                    place - size + 512
                };
                area[place] = *byte;
            }
        }
        let (at, last) = texts.last().unwrap();
        area[4..20].copy_from_slice(MAGIC);
        area[20] = 1;
        area[24..32].copy_from_slice(&4096_u64.to_le_bytes());
        area[32..40].copy_from_slice(&(size as u64).to_le_bytes());
        area[40..48].copy_from_slice(&(*at as u64).to_le_bytes());
        area[48..56].copy_from_slice(&(last.len() as u64).to_le_bytes());
        area[56..60].copy_from_slice(&crc(last).to_le_bytes());
        let sum = crc(&area[4..512]);
        area[..4].copy_from_slice(&sum.to_le_bytes());
        area
    }

    fn read(area: &[u8]) -> MetadataArea {
        let mut disk = vec![0; 4096];
        disk.extend_from_slice(area);
        let whole = DiskArea {
            offset: 4096,
            size: area.len() as u64,
        };
        MetadataArea::read(&Memory::new(disk), &DeviceName::disk("a"), whole)
    }

    fn found(area: &MetadataArea) -> Vec<(u64, u64, VersionState)> {
        area.versions
            .iter()
            .map(|v| (v.offset, v.group.as_ref().unwrap().seqno, v.state))
            .collect()
    }

    #[test]
    fn a_text_that_goes_round_is_put_together() {
        let bytes = area(
            4096,
            &[
                (1024, text(1, 0)),
                (2048, text(2, 700)),
                (3584, text(3, 300)),
            ],
        );
        let area = read(&bytes);
        assert_eq!(
            found(&area),
            [
                (4096 + 1024, 1, VersionState::Older),
                (4096 + 2048, 2, VersionState::Older),
                (4096 + 3584, 3, VersionState::Current)
            ]
        );
        assert!(area.losses.is_empty());
    }

    #[test]
    fn a_broken_current_text_leaves_the_older_ones() {
        let mut bytes = area(4096, &[(512, text(1, 0)), (1536, text(2, 0))]);
        bytes[1536 + 100] ^= 1;
        let area = read(&bytes);
        assert_eq!(area.losses.len(), 1);
        let intact: Vec<bool> = area.versions.iter().map(|v| v.group.is_ok()).collect();
        assert_eq!(intact, [true, false]);
    }

    #[test]
    fn a_broken_header_leaves_all_texts_as_older_ones() {
        let mut bytes = area(4096, &[(512, text(1, 0)), (1536, text(2, 0))]);
        bytes[30] ^= 1;
        let area = read(&bytes);
        assert_eq!(area.losses.len(), 1);
        assert_eq!(area.versions.len(), 2);
        assert!(area.committed.is_none());
    }
}
