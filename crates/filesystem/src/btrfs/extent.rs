//! The map of a file: `struct btrfs_file_extent_item`.

use std::ops::Range;

use evidence::{ByteOffset, Fields};

use super::key::{EXTENT_DATA, Key};
use crate::decompress::Codec;
use crate::{Extent, Place};

/// Where in an item the contents of an inline extent begin, or the fields of the others.
const INLINE_AT: usize = 21;
/// `BTRFS_MAX_UNCOMPRESSED`: what is compressed at a time.
const MAX_UNCOMPRESSED: u64 = 128 << 10;

/// Where the bytes of an extent are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// In the item itself, which lies in a tree block: at this logical address.
    Inline { at: u64, length: u64 },
    /// In data blocks, from `disk_bytenr` on; `offset` bytes of what they hold are skipped.
    Regular {
        disk_bytenr: u64,
        disk_num_bytes: u64,
        offset: u64,
    },
    /// `BTRFS_FILE_EXTENT_PREALLOC`: allocated, never written.
    Prealloc,
    /// `disk_bytenr` is 0.
    Hole,
}

/// One item of the map of a file, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileExtent {
    /// Where in the file it begins.
    pub(super) start: u64,
    /// How many bytes of the file it is.
    pub(super) num_bytes: u64,
    /// When its data was written.
    pub(super) generation: u64,
    /// How it is compressed.
    pub(super) codec: Option<Codec>,
    pub(super) content: Content,
}

impl FileExtent {
    /// Reads the item of `key`, whose data lies at the logical address `at`.
    pub(super) fn parse(key: Key, item: &[u8], at: u64, sectorsize: u32) -> Option<Self> {
        if key.item_type != EXTENT_DATA {
            return None;
        }
        let fields = Fields::new(item);
        let ram_bytes = fields.le_u64(8)?;
        let codec = match fields.u8(16)? {
            0 => None,
            1 => Some(Codec::Zlib),
            2 => Some(Codec::Lzo { sector: sectorsize }),
            3 => Some(Codec::Zstd),
            _ => return None,
        };
        let encoded = fields.u8(17)? != 0 || fields.le_u16(18)? != 0;
        let kind = fields.u8(20)?;
        let start = key.offset;
        if encoded || (codec.is_some() && ram_bytes > MAX_UNCOMPRESSED) {
            return None;
        }
        let generation = fields.le_u64(0)?;
        let extent = |num_bytes, content| Self {
            start,
            num_bytes,
            generation,
            codec,
            content,
        };
        let found = match kind {
            0 => {
                let length = fields.from(INLINE_AT)?.bytes().len() as u64;
                let at = at.checked_add(INLINE_AT as u64)?;
                let size = if codec.is_some() { ram_bytes } else { length };
                extent(size, Content::Inline { at, length })
            }
            1 | 2 => {
                let content = not_inline(fields, kind, ram_bytes, codec.is_some())?;
                extent(fields.le_u64(45)?, content)
            }
            _ => return None,
        };
        start.checked_add(found.num_bytes)?;
        Some(found)
    }

    /// The range of the file that it is.
    pub(super) const fn range(&self) -> Range<u64> {
        self.start..self.start.saturating_add(self.num_bytes)
    }

    /// Where its bytes are.
    pub(super) fn place(&self) -> Place {
        let (at, stored, skip) = match self.content {
            Content::Inline { at, length } => (at, length, 0),
            Content::Regular {
                disk_bytenr,
                disk_num_bytes,
                offset,
            } => (disk_bytenr, disk_num_bytes, offset),
            Content::Prealloc => return Place::Unwritten,
            Content::Hole => return Place::Hole,
        };
        match self.codec {
            Some(codec) => Place::Compressed {
                at: ByteOffset::new(at),
                stored,
                codec,
                skip,
            },
            None => Place::At(ByteOffset::new(at.saturating_add(skip))),
        }
    }

    /// The logical addresses of the data blocks that it needs.
    pub(super) fn blocks(&self) -> Option<Range<u64>> {
        let Content::Regular {
            disk_bytenr,
            disk_num_bytes,
            offset,
        } = self.content
        else {
            return None;
        };
        if self.codec.is_some() {
            return Some(disk_bytenr..disk_bytenr.saturating_add(disk_num_bytes));
        }
        let start = disk_bytenr.saturating_add(offset);
        Some(start..start.saturating_add(self.num_bytes))
    }

    /// The address and length of the whole extent in the extent tree.
    pub(super) const fn allocation(&self) -> Option<(u64, u64)> {
        match self.content {
            Content::Regular {
                disk_bytenr,
                disk_num_bytes,
                ..
            } => Some((disk_bytenr, disk_num_bytes)),
            _ => None,
        }
    }
}

/// The content of an extent that is not in its item.
fn not_inline(fields: Fields<'_>, kind: u8, ram_bytes: u64, compressed: bool) -> Option<Content> {
    let disk_bytenr = fields.le_u64(21)?;
    let disk_num_bytes = fields.le_u64(29)?;
    let offset = fields.le_u64(37)?;
    let used = offset.checked_add(fields.le_u64(45)?)?;
    disk_bytenr.checked_add(disk_num_bytes.max(used))?;
    if disk_bytenr == 0 {
        return Some(Content::Hole);
    }
    if kind == 2 {
        return Some(Content::Prealloc);
    }
    let fits = used <= ram_bytes.max(disk_num_bytes);
    let bounded = !compressed || disk_num_bytes <= MAX_UNCOMPRESSED;
    (fits && bounded).then_some(Content::Regular {
        disk_bytenr,
        disk_num_bytes,
        offset,
    })
}

/// Puts the map of a file of `size` bytes together from `parts`, each a range and where it is.
/// Ranges that no part covers are lost where `lost` reaches and `between` elsewhere.
pub(super) fn map(
    size: u64,
    mut parts: Vec<(Range<u64>, Place)>,
    mut lost: Vec<Range<u64>>,
    between: Place,
) -> Vec<Extent> {
    parts.sort_by_key(|(range, _)| range.start);
    lost.sort_by_key(|range| range.start);
    let mut all: Vec<(Range<u64>, Place)> = Vec::new();
    let mut end = 0_u64;
    let ends = std::iter::once((size..size, Place::Lost));
    for (range, place) in parts.into_iter().chain(ends) {
        // What lies between the parts, as far as it is known to be lost.
        for gone in &lost {
            let gone = gone.start.max(end)..gone.end.min(range.start);
            if !gone.is_empty() {
                end = gone.end;
                all.push((gone, Place::Lost));
            }
        }
        end = end.max(range.end);
        all.push((range, place));
    }
    let mut pieces = crate::pieces::Pieces::new(size, between);
    for (range, place) in all {
        pieces.push(range, place);
    }
    pieces.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn regular(disk_bytenr: u64, offset: u64, num_bytes: u64) -> Vec<u8> {
        let mut item = vec![0; 53];
        item[0] = 9;
        item[8..16].copy_from_slice(&65536_u64.to_le_bytes());
        item[20] = 1;
        item[21..29].copy_from_slice(&disk_bytenr.to_le_bytes());
        item[29..37].copy_from_slice(&65536_u64.to_le_bytes());
        item[37..45].copy_from_slice(&offset.to_le_bytes());
        item[45..53].copy_from_slice(&num_bytes.to_le_bytes());
        item
    }

    #[test]
    fn extents_reach_no_further_than_what_they_were_cut_from() {
        let key = Key::new(257, EXTENT_DATA, 8192);
        let read = |item: &[u8]| FileExtent::parse(key, item, 0, 4096);
        let good = read(&regular(1 << 20, 4096, 61_440)).unwrap();
        assert_eq!(good.place(), Place::At(ByteOffset::new((1 << 20) + 4096)));
        assert_eq!(good.range(), 8192..69_632);
        assert!(read(&regular(1 << 20, 4096, 61_441)).is_none());
        assert!(read(&regular(1 << 20, u64::MAX, 2)).is_none());
        assert_eq!(read(&regular(0, 0, 4096)).unwrap().place(), Place::Hole);
        let mut packed = regular(1 << 20, 4096, 8192);
        packed[16] = 3;
        assert!(matches!(
            read(&packed).unwrap().place(),
            Place::Compressed { skip: 4096, .. }
        ));
        packed[16] = 4;
        assert!(read(&packed).is_none());
    }

    #[test]
    fn what_a_lost_item_may_have_mapped_is_no_hole() {
        let at = |n| Place::At(ByteOffset::new(n));
        let parts = vec![(8..12, at(100)), (0..4, at(50))];
        let pieces = map(20, parts, vec![4..6, 11..14], Place::Hole);
        let got: Vec<(u64, u64, Place)> = pieces
            .iter()
            .map(|p| (p.file_offset, p.length, p.place))
            .collect();
        let want = [
            (0, 4, at(50)),
            (4, 2, Place::Lost),
            (6, 2, Place::Hole),
            (8, 4, at(100)),
            (12, 2, Place::Lost),
            (14, 6, Place::Hole),
        ];
        assert_eq!(got, want);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(item in prop::collection::vec(any::<u8>(), 0..80), offset: u64, at: u64) {
            if let Some(extent) = FileExtent::parse(Key::new(1, EXTENT_DATA, offset), &item, at, 4096) {
                let _ = (extent.place(), extent.blocks(), extent.range());
            }
        }

        #[test]
        fn pieces_reach_from_zero_to_the_size_whatever_the_map(
            parts in prop::collection::vec((0_u64..60, 1_u64..9), 0..9),
            lost in prop::collection::vec((0_u64..60, 1_u64..9), 0..5),
            size in 0_u64..70,
        ) {
            let parts = parts.into_iter().map(|(at, n)| (at..at + n, Place::At(ByteOffset::new(at)))).collect();
            let lost = lost.into_iter().map(|(at, n)| at..at + n).collect();
            let mut end = 0;
            for piece in map(size, parts, lost, Place::Hole) {
                prop_assert_eq!(piece.file_offset, end);
                end += piece.length;
            }
            prop_assert_eq!(end, size);
        }
    }
}
