//! Volumes in stripes over groups whose file systems say too little of where they lie: found by the
//! text that goes on from one group to the next.
//!
//! LVM's stripes are counted from the first extents of its physical volumes, which begin where their
//! groups have whole rows. Where the file system begins in such a stretch, one copy of its superblock
//! tells; without any the volume is taken to begin where LVM puts the first extent, which is enough to
//! read what lies in it across the ends of stripes.

use std::collections::BTreeMap;
use std::sync::Arc;

use evidence::view::Slice;
use evidence::{ByteOffset, Loss, ReadAt};

use super::{Finder, FoundVolume, called, found_name, short};
use crate::coverage::ranges;
use crate::document::{Area, DeviceName, Segment, SegmentMap, Volume};
use crate::infer::{Anchor, Source, TextStripes, text_stripes};
use crate::lvm::{EXTENT, first_extent};

/// Most stretches of stripes that are looked for.
const MOST_STRETCHES: usize = 4;

/// Copies of superblocks below this are those that journals have of the first one.
const LEAST_ADDRESS: u64 = 16 << 10;

/// A group, from where the first extent of a physical volume lies on it.
struct Base {
    /// Its index among the devices.
    number: usize,
    name: DeviceName,
    start: u64,
    from_start: Arc<dyn ReadAt>,
}

/// A stretch of stripes over groups, with where these begin.
struct Stretch {
    bases: Vec<Base>,
    stripes: TextStripes,
}

impl Finder {
    /// States the volumes in stripes over groups that text shows, and of whose file systems nothing
    /// is stated yet; `rows` are the bytes of data in a row of each device.
    pub(super) fn add_stripes(&mut self, by_source: &BTreeMap<Source, Vec<Anchor>>, rows: &[u64]) {
        for _ in 0..MOST_STRETCHES {
            let at_extents = self.stretch(rows, &first_extent);
            let at_starts = self.stretch(rows, &|_| 0);
            let both = [at_extents, at_starts].into_iter().flatten();
            let best = both.max_by(|a, b| a.stripes.nats.total_cmp(&b.stripes.nats));
            let Some(stretch) = best else {
                return;
            };
            let begun = stretch.filesystem(by_source);
            let begun = begun.filter(|(source, start)| {
                !self.is_stated(*source) && self.fits(&stretch, *source, *start)
            });
            let Some(volume) = self.striped_volume(&stretch, begun) else {
                return;
            };
            if let Some((source, _)) = begun {
                let is_other = |loss: &Loss| !loss.what.ends_with(&called(source));
                self.found.losses.retain(is_other);
            }
            self.found.volumes.push(volume);
        }
    }

    /// Whether there is a volume of a file system already.
    fn is_stated(&self, source: Source) -> bool {
        let name = found_name(&short(source));
        let mut volumes = self.found.volumes.iter();
        volumes.any(|found| found.volume.device == name)
    }

    /// The stretch that text shows on groups that begin where `first` says for their rows.
    fn stretch(&self, rows: &[u64], first: &dyn Fn(u64) -> u64) -> Option<Stretch> {
        let groups = self.devices.iter().zip(rows).enumerate();
        let groups = groups.filter(|(_, ((name, _), _))| name.0.starts_with("group:"));
        let bases = groups.filter_map(|(number, ((name, device), row))| {
            let start = first(*row);
            let room = device.len().checked_sub(start)?;
            Some(Base {
                number,
                name: name.clone(),
                start,
                from_start: Arc::new(Slice::new(Arc::clone(device), ByteOffset::new(start), room)),
            })
        });
        let bases: Vec<Base> = bases.collect();
        let devices = bases.iter().map(|base| Arc::clone(&base.from_start));
        let devices: Vec<_> = devices.collect();
        let taken = |device: usize, at: u64| {
            let base = bases.get(device);
            base.is_some_and(|base| self.is_taken(&base.name, base.start.saturating_add(at)))
        };
        let stripes = text_stripes(&devices, &taken)?;
        Some(Stretch { bases, stripes })
    }

    /// Whether a volume that was found has a place of a device.
    fn is_taken(&self, name: &DeviceName, at: u64) -> bool {
        let segments = self
            .found
            .volumes
            .iter()
            .flat_map(|found| &found.volume.segments);
        let mut areas = segments.flat_map(ranges);
        areas.any(|(area, bytes)| {
            let inside = at
                .checked_sub(area.offset)
                .is_some_and(|inside| inside < bytes);
            area.device.as_ref() == Some(name) && inside
        })
    }

    /// Whether a file system that begins so far behind the bases of a stretch has room there: what a
    /// newer array left of its own may agree by chance.
    fn fits(&self, stretch: &Stretch, source: Source, start: u64) -> bool {
        let length = self.superblocks.length(source);
        length.is_none_or(|(length, _)| stretch.room(start).is_some_and(|room| length <= room))
    }

    /// How far behind the bases the volume in a stretch begins, and how long it is: where a copy of its
    /// superblock says that it was `begun`, or with the first extent if nothing else lies before the text;
    /// as far as the superblock or the text says, and all of the groups reach.
    fn reach(&self, stretch: &Stretch, begun: Option<(Source, u64)>) -> Option<(u64, u64)> {
        let TextStripes {
            stripe, from, to, ..
        } = stretch.stripes;
        let width = stretch.stripes.order.len() as u64;
        let is_free = |base: &Base| {
            let mut places = (0..from / stripe).map(|row| base.start.saturating_add(row * stripe));
            !places.any(|at| self.is_taken(&base.name, at))
        };
        let start = match begun {
            Some((_, start)) => start,
            None if stretch.ordered().all(is_free) => from % stripe,
            None => from,
        };
        let length = begun.and_then(|(source, _)| self.superblocks.length(source));
        let length = match length {
            Some((length, _)) => length,
            None => to.next_multiple_of(EXTENT).checked_sub(start)? * width,
        };
        Some((start, length.min(stretch.room(start)?))).filter(|(_, bytes)| *bytes > 0)
    }

    /// The volume in a stretch, whose file system was `begun` where one is known.
    fn striped_volume(
        &self,
        stretch: &Stretch,
        begun: Option<(Source, u64)>,
    ) -> Option<FoundVolume> {
        let TextStripes {
            stripe,
            from,
            to,
            nats,
            ..
        } = stretch.stripes;
        let (start, bytes) = self.reach(stretch, begun)?;
        let areas = stretch.ordered().map(|base| Area {
            device: Some(base.name.clone()),
            offset: base.start.saturating_add(start),
        });
        let areas = areas.collect();
        let names = stretch.ordered().map(|base| base.name.to_string());
        let names: Vec<String> = names.collect();
        let text = format!(
            "no label and no metadata: text goes on from one group to the next at the ends of stripes of {} KiB over {}, from byte {from} to byte {to} behind where LVM begins on them ({nats:.0} nats)",
            stripe >> 10,
            names.join(", "),
        );
        let (name, what, place) = match begun {
            Some((source, _)) => (
                short(source),
                format!("{}: its first superblock is gone", called(source)),
                format!(
                    "a copy of the superblock of {} lies where it is {start} bytes behind that",
                    called(source)
                ),
            ),
            None => (
                self.next_name(),
                "what lies in stripes over groups: nothing of its file system says where it begins".to_owned(),
                "where it begins and ends is not known: it is taken to begin with the first extent, or with the text".to_owned(),
            ),
        };
        let map = SegmentMap::Striped {
            stripe_bytes: stripe,
            areas,
        };
        Some(FoundVolume {
            volume: Volume {
                device: found_name(&name),
                uuid: None,
                bytes,
                hidden: false,
                snapshot_of: None,
                segments: vec![Segment {
                    start: 0,
                    bytes,
                    map,
                }],
                evidence: vec![text, place],
            },
            what,
            stated: 0,
        })
    }

    /// A name for a volume of which no file system is known.
    fn next_name(&self) -> String {
        let volumes = self.found.volumes.iter();
        let named = volumes.filter(|found| found.volume.device.0.contains("/stripes-"));
        format!("stripes-{}", named.count() + 1)
    }
}

impl Stretch {
    /// The groups in the order of the stripes.
    fn ordered(&self) -> impl Iterator<Item = &Base> {
        let order = self.stripes.order.iter();
        order.filter_map(|number| self.bases.get(*number))
    }

    /// How many bytes a volume may have that begins so far behind the bases.
    fn room(&self, start: u64) -> Option<u64> {
        let TextStripes { stripe, .. } = self.stripes;
        let rooms = self
            .ordered()
            .map(|base| base.from_start.len().saturating_sub(start));
        Some(rooms.min()? / stripe * stripe * self.stripes.order.len() as u64)
    }

    /// The file system whose blocks lie in the stretch, and how far behind the bases it begins: most
    /// copies of its superblock say so, and none but whole stripes lie before it.
    fn filesystem(&self, by_source: &BTreeMap<Source, Vec<Anchor>>) -> Option<(Source, u64)> {
        let TextStripes {
            stripe, from, to, ..
        } = self.stripes;
        let (edge, row) = (from % stripe, stripe * self.stripes.order.len() as u64);
        let mut votes: BTreeMap<(Source, u64), usize> = BTreeMap::new();
        let is_copy =
            |anchor: &&Anchor| anchor.together.is_none() && anchor.address >= LEAST_ADDRESS;
        for anchor in by_source.values().flatten().filter(is_copy) {
            let mut ordered = (0_u64..).zip(self.ordered());
            let start = ordered
                .find(|(_, base)| base.number == anchor.device)
                .and_then(|(column, base)| {
                    let inside = anchor.at.checked_sub(base.start)?.checked_sub(edge)?;
                    let position = inside / stripe * row + column * stripe + inside % stripe;
                    position.checked_sub(anchor.address)
                });
            if let Some(start) = start.filter(|start| start % row == 0) {
                *votes
                    .entry((anchor.source, start / row * stripe + edge))
                    .or_default() += 1;
            }
        }
        votes.retain(|(_, start), _| *start < to);
        let best = votes.into_iter().max_by_key(|(_, count)| *count);
        best.map(|(place, _)| place)
    }
}

#[cfg(test)]
mod tests {
    use evidence::view::Memory;

    use super::*;

    use crate::infer::text;
    use crate::volumes_found::{Known, find};

    const STRIPE: usize = 64 << 10;
    /// What a row of data of each group has: LVM begins its extents at whole ones.
    const ROWS: [u64; 2] = [256 << 10, 384 << 10];

    fn group(name: &str, bytes: Vec<u8>) -> (DeviceName, Arc<dyn ReadAt>) {
        (DeviceName(name.to_owned()), Arc::new(Memory::new(bytes)))
    }

    /// Two groups over which a volume of text lies in stripes, with `superblock` as the block of the
    /// volume that it names; the first two stripes of each are wiped.
    fn groups(superblock: Option<(usize, [u8; 1024])>) -> [(DeviceName, Arc<dyn ReadAt>); 2] {
        let mut volume = text(8 << 20);
        volume[..4 * STRIPE].fill(0);
        if let Some((at, block)) = superblock {
            volume[at..at + 1024].copy_from_slice(&block);
        }
        let mut halves = ROWS.map(|row| vec![0; usize::try_from(first_extent(row)).unwrap()]);
        for (number, stripe) in volume.chunks(STRIPE).enumerate() {
            halves[1 - number % 2].extend_from_slice(stripe);
        }
        let [a, b] = halves;
        [group("group:a", a), group("group:b", b)]
    }

    fn areas(found: &FoundVolume) -> Vec<(String, u64)> {
        let [segment] = found.volume.segments.as_slice() else {
            panic!("{:?}", found.volume.segments);
        };
        let SegmentMap::Striped {
            stripe_bytes,
            areas,
        } = &segment.map
        else {
            panic!("{:?}", segment.map);
        };
        assert_eq!(*stripe_bytes, STRIPE as u64);
        let areas = areas.iter();
        areas
            .map(|area| (area.device.as_ref().unwrap().to_string(), area.offset))
            .collect()
    }

    fn row(name: &DeviceName) -> Option<u64> {
        Some(ROWS[usize::from(name.0 == "group:b")])
    }

    #[test]
    fn a_volume_without_file_system_begins_with_the_first_extents() {
        let found = find(groups(None).to_vec(), &row, &Known::default());
        let volume = found.volumes.first().unwrap();
        assert_eq!(volume.volume.device.0, "volume:found/stripes-1");
        let [a, b] = ROWS.map(first_extent);
        assert_ne!(a, b);
        let want = [("group:b".to_owned(), b), ("group:a".to_owned(), a)];
        assert_eq!(areas(volume), want);
    }

    /// The superblock of an ext4 of so many blocks of 1 KiB, in group 1.
    fn superblock(blocks: u32, of_group: u32) -> [u8; 1024] {
        let mut block = [0; 1024];
        block[4..8].copy_from_slice(&blocks.to_le_bytes());
        block[20..24].copy_from_slice(&1_u32.to_le_bytes());
        block[32..36].copy_from_slice(&of_group.to_le_bytes());
        block[40..44].copy_from_slice(&1024_u32.to_le_bytes());
        block[56..58].copy_from_slice(&0xEF53_u16.to_le_bytes());
        block[76..80].copy_from_slice(&1_u32.to_le_bytes());
        block[88..90].copy_from_slice(&256_u16.to_le_bytes());
        block[90..92].copy_from_slice(&1_u16.to_le_bytes());
        block[104..120].copy_from_slice(&[7; 16]);
        block
    }

    #[test]
    fn a_copy_of_the_superblock_says_where_the_file_system_begins() {
        // An ext4 that begins two rows of stripes into the volume: a backup of group 1 says so.
        let begins = 4 * STRIPE;
        let (blocks, of_group) = (7 * 1024_u32, 3 * 1024_u32);
        let backup = (1 + usize::try_from(of_group).unwrap()) * 1024;
        let block = superblock(blocks, of_group);
        let found = find(
            groups(Some((begins + backup, block))).to_vec(),
            &row,
            &Known::default(),
        );
        let volume = found.volumes.first().unwrap();
        assert_eq!(volume.volume.device.0, "volume:found/07070707");
        assert_eq!(volume.volume.bytes, u64::from(blocks) * 1024);
        let [a, b] = ROWS.map(|row| first_extent(row) + 2 * STRIPE as u64);
        let want = [("group:b".to_owned(), b), ("group:a".to_owned(), a)];
        assert_eq!(areas(volume), want);
        // One that has no room there is of another array.
        let block = superblock(64 * blocks, of_group);
        let found = find(
            groups(Some((begins + backup, block))).to_vec(),
            &row,
            &Known::default(),
        );
        let volume = found.volumes.first().unwrap();
        assert_eq!(volume.volume.device.0, "volume:found/stripes-1");
    }
}
