//! Partitions of a device whose table is gone, by the labels in them.
//!
//! A label of md at the start of a partition says where in it the label lies and how much of the
//! device the array uses, so it gives the start of the partition and the least end. Partitions
//! follow each other closely: behind one, and at the start of the device, some MiB are searched for
//! the next label. File systems and swap, which state their length as well, are passed over.

use std::sync::Arc;

use evidence::view::Slice;
use evidence::{ByteOffset, Fields, ReadAt, ReadAtExt, SECTOR_BYTES};

use super::Partition;
use crate::document::DeviceName;
use crate::{infer, md};

/// How far a partition may begin behind the one before it.
const MOST_GAP: u64 = 16 << 20;

/// What is left between partitions is one only if it is longer than tables and alignment take.
const LEAST_REST: u64 = 4 << 20;

/// Where partitions end if only what follows tells: at multiples of this.
const ALIGNED: u64 = 1 << 20;

/// Most partitions that are looked for.
const MOST: usize = 128;

/// What was found of a partition.
struct Piece {
    start: u64,
    end: u64,
    what: String,
    is_label: bool,
}

/// The partitions of `device` as far as labels of md in them say where they lie, with what is left of
/// the device behind and between them; none if no label does. Each comes with what says so.
pub(crate) fn lost(device: &Arc<dyn ReadAt>, name: &DeviceName) -> Vec<(Partition, String)> {
    let pieces = pieces(device, name);
    if !pieces.iter().any(|piece| piece.is_label) {
        return Vec::new();
    }
    let mut ranges: Vec<(u64, u64, String)> = Vec::new();
    let mut at = 0;
    for piece in &pieces {
        rest(at, piece.start, &mut ranges);
        ranges.push((piece.start, piece.end, piece.what.clone()));
        at = piece.end;
    }
    rest(at, device.len(), &mut ranges);
    let numbered = (1..).zip(ranges);
    numbered
        .map(|(number, (start, end, why))| {
            let partition = Partition {
                number,
                start,
                bytes: end.saturating_sub(start),
                kind: String::new(),
                uuid: None,
                label: String::new(),
            };
            (partition, why)
        })
        .collect()
}

/// Adds what lies between two partitions, if that is more than tables take.
fn rest(from: u64, to: u64, ranges: &mut Vec<(u64, u64, String)>) {
    let from = from.max(ALIGNED).next_multiple_of(ALIGNED);
    if to.saturating_sub(from) >= LEAST_REST {
        let why = "what is left of the device beside the partitions that labels tell of".to_owned();
        ranges.push((from, to, why));
    }
}

/// What states its own length on the device, in its order.
fn pieces(device: &Arc<dyn ReadAt>, name: &DeviceName) -> Vec<Piece> {
    let mut found = Vec::new();
    let mut at = 0;
    while found.len() < MOST
        && let Some(piece) = next(device, name, at)
    {
        at = piece.end;
        found.push(piece);
    }
    found
}

/// The first of them that begins at a place or not far behind it.
fn next(device: &Arc<dyn ReadAt>, name: &DeviceName, from: u64) -> Option<Piece> {
    let end = device.len().min(from.saturating_add(MOST_GAP));
    let length = usize::try_from(end.checked_sub(from)?).ok()?;
    let (bytes, _gaps) = device.read_vec(ByteOffset::new(from), length).ok()?;
    let sector = usize::try_from(SECTOR_BYTES).ok()?;
    (0..length).step_by(sector).find_map(|inside| {
        let head = bytes.get(inside..)?;
        let start = from.checked_add(u64::try_from(inside).ok()?)?;
        let room = device.len().checked_sub(start)?;
        let labelled = has_label(head).then(|| array(device, name, (start, room)));
        let (bytes, what, is_label) = labelled
            .flatten()
            .map(|bytes| (bytes, "an md label in it", true))
            .or_else(|| stated(head).map(|(what, bytes)| (bytes, what, false)))?;
        (bytes > 0 && bytes <= room).then(|| Piece {
            start,
            end: start.saturating_add(bytes),
            what: format!("{what} says that it begins here and is {bytes} bytes long"),
            is_label,
        })
    })
}

/// Whether a label of md may lie at the start of what begins here.
fn has_label(head: &[u8]) -> bool {
    let fields = Fields::new(head);
    [0, 4096]
        .into_iter()
        .any(|at| fields.le_u32(at) == Some(md::MAGIC))
}

/// How long a device is whose array begins `at` and has this much room, by the label at its start.
fn array(device: &Arc<dyn ReadAt>, name: &DeviceName, at: (u64, u64)) -> Option<u64> {
    let rest = Slice::new(Arc::clone(device), ByteOffset::new(at.0), at.1);
    let labels = md::read_superblocks(&rest, name).into_iter();
    let mut sound = labels.filter(|label| label.fault.is_none());
    let label = sound.find(md::Found::is_at_start)?.superblock;
    let sectors = label.data_offset.checked_add(label.data_size)?;
    sectors.checked_mul(SECTOR_BYTES)
}

/// What begins here, if it is a file system or swap, and how long it says that it is.
fn stated(head: &[u8]) -> Option<(&'static str, u64)> {
    // union swap_header of the kernel: last_page at 1028, the magic at the end of the first page.
    let fields = Fields::new(head);
    if fields.array::<10>(4086) == Some(*b"SWAPSPACE2") {
        let pages = u64::from(fields.le_u32(1028)?).checked_add(1)?;
        return Some(("swap", pages.checked_mul(4096)?));
    }
    infer::by_superblock(head)
}

#[cfg(test)]
mod tests {
    use evidence::view::Memory;

    use super::*;

    /// A label of version 1.2 for a device that is this long, of which data takes all but 1 MiB.
    fn label(bytes: u64) -> Vec<u8> {
        let mut label = vec![0; 256];
        label[..4].copy_from_slice(&md::MAGIC.to_le_bytes());
        label[4..8].copy_from_slice(&1_u32.to_le_bytes());
        let data = (bytes - (1 << 20)) / 512;
        for (at, value) in [(80, data), (128, 2048), (136, data), (144, 8)] {
            label[at..at + 8].copy_from_slice(&u64::to_le_bytes(value));
        }
        let words = label.as_chunks::<4>().0.iter();
        let sum: u64 = words.map(|word| u64::from(u32::from_le_bytes(*word))).sum();
        let sum = (sum & 0xffff_ffff) + (sum >> 32);
        label[216..220].copy_from_slice(&u32::try_from(sum).unwrap().to_le_bytes());
        label
    }

    fn found(disk: Vec<u8>) -> Vec<(u64, u64)> {
        let device: Arc<dyn ReadAt> = Arc::new(Memory::new(disk));
        let lost = lost(&device, &DeviceName::disk("a"));
        lost.iter().map(|(p, _)| (p.start, p.bytes)).collect()
    }

    #[test]
    fn labels_say_where_partitions_lie_and_the_rest_is_one() {
        let mib = 1 << 20;
        let mut disk = vec![0; 40 * mib];
        let place = |disk: &mut Vec<u8>, at: usize, what: &[u8]| {
            disk[at..at + what.len()].copy_from_slice(what);
        };
        place(&mut disk, mib + 4096, &label(8 << 20));
        // Swap of 3 MiB is passed over, and a second member begins at a sector behind it.
        let swap = 9 * mib;
        place(&mut disk, swap + 1028, &767_u32.to_le_bytes());
        place(&mut disk, swap + 4086, b"SWAPSPACE2");
        place(&mut disk, 12 * mib + 512 + 4096, &label(10 << 20));
        let mib = mib as u64;
        let expected = [
            (mib, 8 * mib),
            (9 * mib, 3 * mib),
            (12 * mib + 512, 10 * mib),
            (23 * mib, 17 * mib),
        ];
        assert_eq!(found(disk), expected);
    }

    #[test]
    fn what_lies_before_the_first_label_is_a_partition_too() {
        let mut disk = vec![0; 24 << 20];
        disk[(9 << 20) + 4096..][..256].copy_from_slice(&label(15 << 20));
        let mib = 1 << 20;
        assert_eq!(found(disk), [(mib, 8 * mib), (9 * mib, 15 * mib)]);
    }

    #[test]
    fn without_a_label_or_with_one_that_lies_elsewhere_nothing_is_said() {
        let mut disk = vec![0; 16 << 20];
        disk[9 << 20..][1028..1032].copy_from_slice(&9_u32.to_le_bytes());
        disk[9 << 20..][4086..4096].copy_from_slice(b"SWAPSPACE2");
        assert_eq!(found(disk.clone()), []);
        // Longer than the device.
        disk[(1 << 20) + 4096..][..256].copy_from_slice(&label(64 << 20));
        assert_eq!(found(disk), []);
    }
}
