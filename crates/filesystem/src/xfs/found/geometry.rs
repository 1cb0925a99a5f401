//! The geometry of file systems whose first superblock is gone.
//!
//! A hypothesis is a superblock that says where the file system begins. They come from copies
//! of the superblock in other groups, from the distances between the headers of groups, from
//! inode numbers and the places that they are found at, and from the other file systems of the
//! device: `mkfs` over an old file system chooses the same geometry again. What is found where
//! the hypothesis says decides (`proof.rs`).

use std::collections::{BTreeMap, BTreeSet};

use evidence::BlockSize;

use super::seen::{HeaderKind, Mark, SeenHeader, SeenInode, Sightings, UNMARKED};
use crate::xfs::features::Features;
use crate::xfs::superblock::{Superblock, Version};

/// So many inodes are asked about a hypothesis.
pub(super) const SAMPLE: usize = 2048;
/// Headers are compared with so many that follow.
const NEIGHBOURS: usize = 6;
/// What `mkfs.xfs` chooses where nothing tells.
const USUAL_BLOCK: u32 = 4096;
/// `sb_agblklog` is inside these.
const AGBLKLOGS: std::ops::RangeInclusive<u8> = 4..=31;

/// `count` elements of `list` at most, spread over all of it.
pub(super) fn spread<T>(list: &[T], count: usize) -> impl Iterator<Item = &T> {
    list.iter()
        .step_by(list.len().div_ceil(count.max(1)).max(1))
}

/// The value that most of `values` have, the smallest of those if several are as frequent.
pub(super) fn most<T: Ord + Copy>(values: impl Iterator<Item = T>) -> Option<T> {
    let mut votes: BTreeMap<T, usize> = BTreeMap::new();
    for value in values {
        let count = votes.entry(value).or_default();
        *count = count.saturating_add(1);
    }
    let best = votes.values().copied().max()?;
    votes
        .into_iter()
        .find(|(_, count)| *count == best)
        .map(|(value, _)| value)
}

/// The numbers that make a geometry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Shape {
    block: u32,
    agblocks: u32,
    sector: u16,
    base: i64,
    /// Only one group is known, and how long it is is not: nothing behind it can be placed.
    single: bool,
}

/// What blocks themselves say of lengths, for one mark.
struct Sizes {
    inode: u16,
    dirblock: u32,
    /// Directory entries name kinds of files.
    ftype: bool,
}

/// A superblock that may be that of a file system.
pub(super) struct Hypothesis {
    pub(super) sb: Superblock,
    /// Nothing but maps that lead to the right blocks can prove it: numbers of inodes and
    /// places fit to several sizes of blocks.
    pub(super) by_maps_only: bool,
}

/// Hypotheses of the file system whose metadata carry `mark`, without any order.
pub(super) fn hypotheses(seen: &Sightings, mark: Mark, length: u64) -> Vec<Hypothesis> {
    let sizes = sizes(seen, mark);
    let stated = |sb| Hypothesis {
        sb,
        by_maps_only: false,
    };
    let mut all: Vec<Hypothesis> = copies(seen, mark).into_iter().map(stated).collect();
    let headers = from_headers(seen, mark).into_iter();
    let made = headers.filter_map(|shape| superblock(shape, &sizes, mark, length));
    all.extend(made.map(stated));
    if mark != UNMARKED {
        let shapes = from_inodes(seen, mark, sizes.inode).into_iter();
        let made = shapes.filter_map(|shape| superblock(shape, &sizes, mark, length));
        all.extend(made.map(|sb| Hypothesis {
            sb,
            by_maps_only: true,
        }));
    }
    all
}

/// The geometry of `other` for the version 4 blocks of `seen`: as a newer file system has it.
pub(super) fn borrowed(seen: &Sightings, other: &Superblock, length: u64) -> Option<Hypothesis> {
    let shape = Shape {
        block: other.block.get(),
        agblocks: other.sb_agblocks,
        sector: other.sb_sectsize,
        base: other.base,
        single: false,
    };
    let sb = superblock(shape, &sizes(seen, UNMARKED), UNMARKED, length)?;
    Some(Hypothesis {
        sb,
        by_maps_only: true,
    })
}

/// The lengths of inodes and directory blocks with `mark`.
fn sizes(seen: &Sightings, mark: Mark) -> Sizes {
    let ours = || seen.inodes.iter().filter(|inode| inode.mark == mark);
    let dirs = || seen.dirs.iter().filter(|dir| dir.mark == mark);
    let inode = if mark == UNMARKED {
        // The inodes of a chunk lie side by side.
        let places: Vec<u64> = ours().map(|inode| inode.place).collect();
        let gaps = places.windows(2).filter_map(|pair| match pair {
            [one, next] => u16::try_from(next.saturating_sub(*one)).ok(),
            _ => None,
        });
        most(gaps.filter(|gap| gap.is_power_of_two() && *gap <= 2048)).unwrap_or(256)
    } else {
        most(ours().filter_map(|inode| inode.size)).unwrap_or(512)
    };
    Sizes {
        inode,
        dirblock: most(dirs().filter_map(|dir| dir.size)).unwrap_or(USUAL_BLOCK),
        ftype: most(dirs().filter_map(|dir| dir.ftype)).unwrap_or(mark != UNMARKED),
    }
}

/// Hypotheses from the copies of the superblock.
fn copies(seen: &Sightings, mark: Mark) -> Vec<Superblock> {
    let bases: BTreeSet<i64> = bases(seen, mark).into_iter().collect();
    let mut all: Vec<Superblock> = Vec::new();
    for copy in &seen.superblocks {
        let is_ours = match copy.sb.version {
            Version::V5 => copy.sb.meta_uuid == mark,
            Version::V4 => mark == UNMARKED,
        };
        if !is_ours {
            continue;
        }
        let sb = &copy.sb;
        let sector = u64::from(sb.sb_sectsize);
        let beside = seen.headers.iter().find(|header| {
            let distance = match header.kind {
                HeaderKind::Agf => sector,
                HeaderKind::Agi => sector.saturating_mul(2),
            };
            header.mark == mark && copy.place.checked_add(distance) == Some(header.place)
        });
        let from_header = beside.and_then(|header| base_of(copy.place, sb, header.seqno));
        let alone = || {
            let own = base_of(copy.place, sb, 0);
            bases.iter().copied().chain([0]).chain(own).collect()
        };
        let starts: Vec<i64> = from_header.map_or_else(alone, |base| vec![base]);
        for base in starts {
            let sb = Superblock { base, ..sb.clone() };
            match all.iter_mut().find(|other| same_geometry(other, &sb)) {
                // Copies do not all name the root.
                Some(other) if other.sb_rootino == NULLFSINO => *other = sb,
                Some(_) => {}
                None => all.push(sb),
            }
        }
    }
    all
}

/// `NULLFSINO`: what copies of the superblock that `mkfs.xfs` did not come back to say of the root.
pub(super) const NULLFSINO: u64 = u64::MAX;

/// Whether two superblocks lay the same file system out in the same way.
pub(super) fn same_geometry(one: &Superblock, other: &Superblock) -> bool {
    let shape = |sb: &Superblock| {
        (
            (
                sb.version == Version::V5,
                sb.base,
                sb.block.get(),
                sb.sb_agblocks,
            ),
            (sb.sb_inodesize, sb.sb_dirblklog, sb.sb_uuid),
        )
    };
    shape(one) == shape(other)
}

/// Where a file system begins whose group `seqno` begins at `place`.
fn base_of(place: u64, sb: &Superblock, seqno: u32) -> Option<i64> {
    let group = u64::from(sb.sb_agblocks).checked_mul(sb.block.get().into())?;
    difference(place, group.checked_mul(seqno.into())?)
}

/// `one - other`.
fn difference(one: u64, other: u64) -> Option<i64> {
    i64::try_from(i128::from(one).checked_sub(other.into())?).ok()
}

/// `value / by`, if nothing is left over.
fn exact(value: u64, by: u64) -> Option<u64> {
    (value.checked_rem(by)? == 0).then(|| value.checked_div(by))?
}

/// Where the file system of `mark` begins, by blocks that name their own address: the places that
/// most of them agree on.
fn bases(seen: &Sightings, mark: Mark) -> Vec<i64> {
    let dirs = seen.dirs.iter().filter(|dir| dir.mark == mark);
    let leaves = seen.leaves.iter().filter(|leaf| leaf.mark == mark);
    let addresses = dirs.map(|dir| (dir.place, dir.address));
    let addresses = addresses.chain(leaves.map(|leaf| (leaf.place, leaf.address)));
    let mut votes: BTreeMap<i64, usize> = BTreeMap::new();
    if mark != UNMARKED {
        for base in addresses.filter_map(|(place, address)| difference(place, address)) {
            let count = votes.entry(base).or_default();
            *count = count.saturating_add(1);
        }
    }
    let mut bases: Vec<(usize, i64)> = votes.into_iter().map(|(base, n)| (n, base)).collect();
    bases.sort_by(|one, other| other.cmp(one));
    bases.into_iter().take(3).map(|(_, base)| base).collect()
}

/// Geometries in which headers of groups lie where they are.
fn from_headers(seen: &Sightings, mark: Mark) -> Vec<Shape> {
    let ours: Vec<&SeenHeader> = seen.headers.iter().filter(|h| h.mark == mark).collect();
    let mut votes: BTreeMap<Shape, usize> = BTreeMap::new();
    let mut vote = |shape: Option<Shape>| {
        if let Some(shape) = shape {
            let count = votes.entry(shape).or_default();
            *count = count.saturating_add(1);
        }
    };
    for (index, one) in ours.iter().enumerate() {
        let after = ours.iter().skip(index.saturating_add(1)).take(NEIGHBOURS);
        for other in after.filter(|other| other.kind == one.kind) {
            for sector in sectors(&ours, one) {
                vote(between(one, other, sector));
            }
        }
        // One group alone tells its blocks, and blocks with addresses tell where all begins.
        for base in bases(seen, mark)
            .into_iter()
            .take(usize::from(one.seqno > 0))
        {
            for sector in sectors(&ours, one) {
                vote(alone(one, sector, base));
            }
        }
    }
    let mut shapes: Vec<(usize, Shape)> = votes.into_iter().map(|(s, n)| (n, s)).collect();
    shapes.sort_by(|one, other| other.cmp(one));
    shapes.into_iter().take(8).map(|(_, shape)| shape).collect()
}

/// The lengths of a sector that the place of `header` allows: the other header of the group tells.
fn sectors(headers: &[&SeenHeader], header: &SeenHeader) -> Vec<u16> {
    let all = [512_u16, 1024, 2048, 4096];
    let beside = |sector: &u16| {
        let other = match header.kind {
            HeaderKind::Agf => header.place.checked_add((*sector).into()),
            HeaderKind::Agi => header.place.checked_sub((*sector).into()),
        };
        headers
            .iter()
            .any(|h| Some(h.place) == other && h.kind != header.kind && h.seqno == header.seqno)
    };
    match all.iter().copied().find(beside) {
        Some(sector) => vec![sector],
        None => all.to_vec(),
    }
}

/// How far behind the start of its group a header lies.
fn inside_group(kind: HeaderKind, sector: u16) -> u64 {
    match kind {
        HeaderKind::Agf => sector.into(),
        HeaderKind::Agi => u64::from(sector).saturating_mul(2),
    }
}

/// The geometry in which two headers of the same kind lie where they do.
fn between(one: &SeenHeader, other: &SeenHeader, sector: u16) -> Option<Shape> {
    let groups = i64::from(other.seqno).checked_sub(one.seqno.into())?;
    let apart = difference(other.place, one.place)?;
    if (apart < 0) != (groups < 0) {
        return None;
    }
    let bytes = exact(apart.unsigned_abs(), groups.unsigned_abs()).filter(|bytes| *bytes > 0)?;
    // The last group may be shorter than all others.
    let agblocks = one.length.max(other.length);
    let block = exact(bytes, agblocks.into())?;
    let before = bytes.checked_mul(one.seqno.into())?;
    let start = one.place.checked_sub(inside_group(one.kind, sector))?;
    Some(Shape {
        block: u32::try_from(block).ok()?,
        agblocks,
        sector,
        base: difference(start, before)?,
        single: false,
    })
}

/// The geometry of a file system that begins at `base` and has one known header.
fn alone(header: &SeenHeader, sector: u16, base: i64) -> Option<Shape> {
    let start = header
        .place
        .checked_sub(inside_group(header.kind, sector))?;
    let before = u64::try_from(i128::from(start).checked_sub(base.into())?).ok()?;
    let bytes = exact(before, header.seqno.into())?;
    let block = exact(bytes, header.length.into())?;
    Some(Shape {
        block: u32::try_from(block).ok()?,
        agblocks: header.length,
        sector,
        base,
        single: false,
    })
}

/// Geometries in which version 5 inodes lie where their numbers say.
///
/// Inside a group numbers and places go on side by side, so an inode number is its group and a
/// distance; two inodes of different groups give the length of a group.
fn from_inodes(seen: &Sightings, mark: Mark, inode: u16) -> Vec<Shape> {
    let ours: Vec<&SeenInode> = seen.inodes.iter().filter(|i| i.mark == mark).collect();
    let sample: Vec<(u64, u64)> = spread(&ours, SAMPLE).map(|i| (i.ino, i.place)).collect();
    let start = bases(seen, mark).first().copied();
    // A directory block or a leaf is never shorter than a block.
    let dirs = seen.dirs.iter().filter(|dir| dir.mark == mark);
    let leaves = seen.leaves.iter().filter(|leaf| leaf.mark == mark);
    let by_dirs = most(dirs.filter_map(|dir| dir.size)).unwrap_or(65536);
    let by_leaves = most(leaves.filter_map(|leaf| leaf.size));
    let fits = |block: &u32| by_leaves.map_or(*block <= by_dirs, |size| *block == size);
    let all = [512_u32, 1024, 2048, 4096, 8192, 16384, 32768, 65536];
    let mut shapes = Vec::new();
    for block in all.into_iter().filter(fits) {
        let fitting = AGBLKLOGS.filter_map(|agblklog| {
            let shape = by_numbers(&sample, start, block, inode, agblklog)?;
            let fits =
                |(ino, at): &&(u64, u64)| place_of(&shape, inode, agblklog, *ino) == Some(*at);
            Some((sample.iter().filter(fits).count(), shape))
        });
        let fitting: Vec<(usize, Shape)> = fitting.collect();
        let most = fitting.iter().map(|(count, _)| *count).max();
        // As long as all inodes lie near the starts of groups, their numbers fit groups of a half, a
        // quarter and so on just as well.
        let alike = fitting
            .into_iter()
            .filter(|(count, _)| Some(*count) == most);
        shapes.extend(alike.map(|(_, shape)| shape));
    }
    shapes
}

/// A number as its group and the bytes behind that group's start.
fn split(ino: u64, block: u32, inode: u16, agblklog: u8) -> Option<(u64, u64)> {
    let inopblog = block.checked_div(inode.into())?.checked_ilog2()?;
    let bits = u32::from(agblklog).checked_add(inopblog)?;
    let agno = ino.checked_shr(bits)?;
    let agino = ino ^ agno.checked_shl(bits)?;
    Some((agno, agino.checked_mul(inode.into())?))
}

fn place_of(shape: &Shape, inode: u16, agblklog: u8, ino: u64) -> Option<u64> {
    let (agno, inside) = split(ino, shape.block, inode, agblklog)?;
    let group = u64::from(shape.agblocks).checked_mul(shape.block.into())?;
    let linear = agno.checked_mul(group)?.checked_add(inside)?;
    linear.checked_add_signed(shape.base)
}

/// The geometries that two inodes, or one and the start, leave.
fn by_numbers(
    sample: &[(u64, u64)],
    start: Option<i64>,
    block: u32,
    inode: u16,
    agblklog: u8,
) -> Option<Shape> {
    let parts = |(ino, place): (u64, u64)| {
        let (agno, inside) = split(ino, block, inode, agblklog)?;
        Some((agno, difference(place, inside)?))
    };
    let mut starts: Vec<(u64, i64)> = sample.iter().copied().filter_map(parts).collect();
    starts.extend(start.map(|base| (0, base)));
    let (agno, at) = starts.iter().copied().min()?;
    let (last, end) = starts.iter().copied().max()?;
    let whole = 1_u64.checked_shl(agblklog.into())?;
    let groups = last.checked_sub(agno)?;
    let agblocks = match groups {
        0 if agno == 0 => whole,
        0 => return None,
        groups => {
            let apart = u64::try_from(end.checked_sub(at)?).ok()?;
            exact(exact(apart, groups)?, block.into())?
        }
    };
    // Groups of a power of two blocks lie as one group does: numbers have no breaks.
    if agblocks > whole || agblocks <= whole / 2 || (groups > 0 && agblocks == whole) {
        return None;
    }
    let before = i64::try_from(agno.checked_mul(agblocks)?.checked_mul(block.into())?).ok()?;
    Some(Shape {
        block,
        agblocks: u32::try_from(agblocks).ok()?,
        sector: 512,
        base: at.checked_sub(before)?,
        single: groups == 0,
    })
}

/// The superblock of a file system of that shape, on a device of `length` bytes.
fn superblock(shape: Shape, sizes: &Sizes, mark: Mark, length: u64) -> Option<Superblock> {
    let block = BlockSize::new(shape.block)?;
    let blocklog = u8::try_from(shape.block.trailing_zeros()).ok()?;
    let end = i128::from(length).checked_sub(shape.base.into())?;
    let mut sb_dblocks = u64::try_from(end).ok()?.checked_div(shape.block.into())?;
    if shape.single {
        sb_dblocks = sb_dblocks.min(shape.agblocks.into());
    }
    let sb_agblocks = shape.agblocks;
    let agblklog = sb_agblocks.checked_next_power_of_two()?.trailing_zeros();
    let per_block = shape.block.checked_div(sizes.inode.into())?;
    let dirblocks = sizes.dirblock.checked_div(shape.block)?.max(1);
    (sb_dblocks > 0 && per_block > 0).then_some(())?;
    Some(Superblock {
        version: if mark == UNMARKED {
            Version::V4
        } else {
            Version::V5
        },
        base: shape.base,
        block,
        sb_blocklog: blocklog,
        sb_dblocks,
        sb_rblocks: 0,
        sb_uuid: mark,
        meta_uuid: mark,
        sb_logstart: 0,
        sb_logblocks: 0,
        sb_rootino: NULLFSINO,
        sb_agblocks,
        sb_agcount: u32::try_from(sb_dblocks.div_ceil(sb_agblocks.into())).ok()?,
        sb_agblklog: u8::try_from(agblklog).ok()?,
        sb_sectsize: shape.sector,
        sb_inodesize: sizes.inode,
        sb_inopblog: u8::try_from(per_block.checked_ilog2()?).ok()?,
        sb_fname: [0; 12],
        sb_dirblklog: u8::try_from(dirblocks.checked_ilog2()?).ok()?,
        features: Features {
            ftype: sizes.ftype,
            ..Features::default()
        },
        notes: Vec::new(),
    })
}
