//! The generator and its judge against the code that reads RAID groups: two ways to write down
//! every layout, made apart from each other, must agree, and what is false must be called so.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by failing"
)]

use aggregate::document::{Aggregate, DeviceName, Group, Member, VERSION};
use aggregate::raid::{Geometry, ParityDelay, Raid0Layout, Raid5Layout, Raid6Layout, Raid10Layout};
use benches::arrays::Level;
use benches::cases::{Case, readable};
use benches::contents::{Contents, Kind};
use benches::judge::{Verdict, judge};
use benches::trial;
use evidence::ReadAt;

/// The level in the words of a document.
fn level(case: &Case, lengths: &[u64]) -> aggregate::raid::Level {
    use aggregate::raid::Level as Stated;
    let chunk_bytes = case.array.chunk as u64;
    let members = case.array.members as u32;
    match case.array.level {
        Level::Linear => Stated::Linear {
            member_bytes: lengths.to_vec(),
        },
        Level::Raid0 => Stated::Raid0 {
            layout: Raid0Layout::default(),
            chunk_bytes,
            member_bytes: lengths.to_vec(),
        },
        Level::Raid1 => Stated::Raid1 { members },
        Level::Raid4 => Stated::Raid4 {
            chunk_bytes,
            members,
        },
        Level::Raid5(number) => Stated::Raid5 {
            layout: Raid5Layout::from_number(number).unwrap(),
            chunk_bytes,
            members,
            delay: ParityDelay::NONE,
        },
        Level::Raid6(number) => Stated::Raid6 {
            layout: Raid6Layout::from_number(number).unwrap(),
            chunk_bytes,
            members,
            delay: ParityDelay::NONE,
        },
        Level::Raid10 { near, far, offset } => Stated::Raid10 {
            layout: Raid10Layout {
                near: near as u32,
                far: far as u32,
                offset,
                far_sets: aggregate::raid::FarSets::Whole,
            },
            chunk_bytes,
            members,
            member_bytes: lengths[0],
        },
    }
}

/// What a document says that is right.
fn stated(case: &Case, content: &[u8]) -> Group {
    let data = case.array.lay_out(content);
    let lengths: Vec<u64> = data.iter().map(|data| data.len() as u64).collect();
    let members = (0..case.array.members).map(|role| Member {
        role: role as u32,
        device: (!case.missing.contains(&role)).then(|| DeviceName::disk(&case.names[role])),
        data_offset: case.offsets[role],
        data_size: lengths[role],
        left_out: None,
        bad_blocks: Vec::new(),
    });
    Group {
        name: "stated".to_owned(),
        geometry: Geometry::filling(level(case, &lengths), lengths[0]).unwrap(),
        members: members.collect(),
        evidence: Vec::new(),
        confidence: 1.0,
        over: Vec::new(),
    }
}

/// Case `number`, but small and of random bytes.
fn small(number: u64) -> Case {
    let mut case = Case::new(77, number);
    case.kind = Kind::Random;
    case.bytes = (case.array.row_bytes() * 3).clamp(1 << 20, 24 << 20) + 4096 * 5;
    case
}

fn verdict(case: &Case, content: &[u8], group: Group) -> Verdict {
    let disks = readable(&case.disks(content));
    let aggregate = Aggregate {
        version: VERSION,
        groups: vec![group],
        ..Aggregate::default()
    };
    judge(&aggregate, &disks, &trial::truth(case, content))
}

#[test]
fn what_is_laid_out_reads_back_through_the_stated_geometry() {
    let contents = Contents::new();
    for number in 0..120 {
        let case = small(number);
        let content = case.content(&contents).unwrap();
        let found = verdict(&case, &content, stated(&case, &content));
        assert_eq!(found, Verdict::Exact, "{case}");
    }
}

#[test]
fn members_in_each_others_place_are_called_wrong() {
    let contents = Contents::new();
    let mut tried = 0;
    for number in 0..60 {
        let case = small(number);
        let there: Vec<usize> = (0..case.array.members)
            .filter(|role| !case.missing.contains(role))
            .collect();
        // Copies may be exchanged; so may members whose chunks are one and the same by chance.
        if matches!(case.array.level, Level::Raid1 | Level::Raid10 { .. }) {
            continue;
        }
        let content = case.content(&contents).unwrap();
        let mut group = stated(&case, &content);
        let (a, b) = (there[0], there[there.len() - 1]);
        let device = group.members[a].device.take();
        group.members[a].device = group.members[b].device.take();
        group.members[b].device = device;
        let offset = group.members[a].data_offset;
        group.members[a].data_offset = group.members[b].data_offset;
        group.members[b].data_offset = offset;
        let found = verdict(&case, &content, group);
        // One member behind the other, in the wrong order, is half of the group from a later start.
        let half = case.array.level == Level::Linear && matches!(found, Verdict::Partial(_));
        assert!(
            half || matches!(found, Verdict::Wrong(_)),
            "{case}: {found}"
        );
        tried += 1;
    }
    assert!(tried > 20);
}

/// Two of the layouts differ in Q alone, which reads use only when two members are missing.
#[test]
fn another_q_is_called_wrong() {
    let contents = Contents::new();
    let mut case = (0..)
        .map(small)
        .find(|case| case.array.level == Level::Raid6(1))
        .unwrap();
    case.missing.clear();
    let content = case.content(&contents).unwrap();
    let mut group = stated(&case, &content);
    assert_eq!(verdict(&case, &content, group.clone()), Verdict::Exact);
    let aggregate::raid::Level::Raid6 { layout, .. } = &mut group.geometry.level else {
        panic!("RAID-6 is stated as {:?}", group.geometry);
    };
    *layout = Raid6Layout::DdfZeroRestart;
    let found = verdict(&case, &content, group);
    assert!(matches!(found, Verdict::Wrong(_)), "{found}");
}

#[test]
fn a_group_that_begins_rows_later_is_exact_but_for_its_start() {
    let contents = Contents::new();
    let mut case = (0..)
        .map(small)
        .find(|case| case.array.level == Level::Raid4)
        .unwrap();
    case.bytes = case.array.row_bytes() * 8;
    let content = case.content(&contents).unwrap();
    let mut group = stated(&case, &content);
    for member in &mut group.members {
        member.data_offset += 2 * case.array.chunk as u64;
    }
    assert_eq!(
        verdict(&case, &content, group),
        Verdict::StartUnknown,
        "{case}"
    );
}

/// A group that is stated from the start of its disks has its content as far from its own start
/// as data begins on all of its members together.
#[test]
fn what_begins_far_into_every_member_is_found_there() {
    let contents = Contents::new();
    let is_wide = |case: &Case| case.array.level == Level::Raid4 && case.array.members >= 6;
    let mut case = (0..).map(small).find(is_wide).unwrap();
    case.missing.clear();
    case.leftovers = 0;
    case.array.chunk = 64 << 10;
    case.offsets.fill(264_192 * 512);
    case.bytes = case.array.row_bytes() * 4;
    let content = case.content(&contents).unwrap();
    let mut group = stated(&case, &content);
    let before = case.offsets[0];
    let data = case.array.members as u64 - 1;
    for member in &mut group.members {
        member.data_offset -= before;
        member.data_size += before;
    }
    group.geometry.bytes += before * data;
    assert_eq!(
        verdict(&case, &content, group),
        Verdict::StartUnknown,
        "{case}"
    );
}

/// A mirror's members read the same from any place on: its start is not to be known.
#[test]
fn a_mirror_of_whole_disks_is_exact_but_for_its_start() {
    let contents = Contents::new();
    let same = |case: &Case| {
        case.offsets
            .iter()
            .all(|at| *at == case.offsets[0] && *at > 0)
    };
    let mirrors = (0..)
        .map(small)
        .filter(|case| case.array.level == Level::Raid1);
    let case = mirrors.into_iter().find(same).unwrap();
    let content = case.content(&contents).unwrap();
    let length = case.disks(&content)[0].1.len();
    let mut group = stated(&case, &content);
    group.geometry.bytes = length;
    for member in &mut group.members {
        member.data_offset = 0;
        member.data_size = length;
    }
    assert_eq!(
        verdict(&case, &content, group),
        Verdict::StartUnknown,
        "{case}"
    );
}

#[test]
fn silence_and_losses_are_told_apart() {
    let contents = Contents::new();
    let case = small(0);
    let content = case.content(&contents).unwrap();
    let disks = readable(&case.disks(&content));
    let truth = trial::truth(&case, &content);
    let mut aggregate = Aggregate {
        version: VERSION,
        ..Aggregate::default()
    };
    assert_eq!(judge(&aggregate, &disks, &truth), Verdict::Silent);
    let names: Vec<&str> = truth.disks.iter().map(|name| name.0.as_str()).collect();
    aggregate.losses.push(evidence::Loss {
        what: format!("a group on {}", names.join(", ")),
        origin: evidence::Origin::new("disk:x", evidence::ByteOffset::ZERO),
        cause: evidence::Cause::Unsupported("undecided".to_owned()),
    });
    assert_eq!(judge(&aggregate, &disks, &truth), Verdict::Tie);
}
