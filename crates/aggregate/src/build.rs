//! From the document to devices that can be read.

#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )
)]

use std::collections::{BTreeMap, BTreeSet};

use crate::devices::Devices;
use crate::discover::Disk;
use crate::document::{Aggregate, Area, DeviceName, Encrypted, Group, SegmentMap, VERSION, Volume};
use crate::luks::Keys;
use crate::raid::GeometryError;

/// How many layers of devices may lie on each other: each one costs stack when it is read.
pub(crate) const MOST_LAYERS: usize = 32;

/// A statement of the document that cannot be true.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("aggregate.json: {statement}: {problem}")]
pub struct Error {
    /// The statement: `volume:aggr0/mail1`, `group:md0`, or the document as a whole.
    pub statement: String,
    /// What is wrong with it, and what to do.
    pub problem: Problem,
}

/// What can be wrong with a statement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Another version of the document.
    #[error(
        "its version is {found}, this program reads {VERSION}: run `restante assemble` again or use the program that wrote it"
    )]
    Version {
        /// The version that it states.
        found: u32,
    },
    /// Two statements about one device.
    #[error("two statements have this name: rename or remove one")]
    Twice,
    /// A device whose name is not of its kind.
    #[error(
        "the name of a volume begins with partition: or volume:, that of what is opened with luks:"
    )]
    Name,
    /// It lies on a device that is nowhere.
    #[error(
        "it lies on {device}, which is neither an image nor stated: add the image or the statement, or put null for a missing device"
    )]
    Unknown {
        /// The device that is named.
        device: DeviceName,
    },
    /// Devices that lie on each other in a circle.
    #[error("it lies on itself, through {devices}: break the circle")]
    Circle {
        /// The devices of the circle.
        devices: String,
    },
    /// More layers than can be read.
    #[error("more than {MOST_LAYERS} layers of devices lie under it")]
    TooDeep,
    /// A segment that does not begin where the one before it ends.
    #[error(
        "segment {segment} begins at byte {start}, the one before it ends at {end}: segments are in order, without gaps or overlaps"
    )]
    Order {
        /// The number of the segment, from 1.
        segment: usize,
        /// Where it begins.
        start: u64,
        /// Where it should.
        end: u64,
    },
    /// Segments that do not add up to the volume.
    #[error("its segments end at byte {end}, but it has {bytes} bytes")]
    Length {
        /// The end of its last segment.
        end: u64,
        /// Its stated length.
        bytes: u64,
    },
    /// A segment without areas, or stripes of no length.
    #[error("segment {segment}: {what}")]
    Segment {
        /// The number of the segment, from 1.
        segment: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// A role that is not in the geometry, or that two members have.
    #[error("role {role} is given {times} times: members have the roles 0 to {last}, each once")]
    Role {
        /// The role.
        role: u32,
        /// How many members have it.
        times: usize,
        /// The last role of the geometry.
        last: u32,
    },
    /// One device in two roles.
    #[error("{device} is a member twice")]
    MemberTwice {
        /// The device.
        device: DeviceName,
    },
    /// An epoch of a device that is no member.
    #[error("the device is no member of that group, or of any: correct its name or the group's")]
    NoMember,
    /// An epoch of a range that cannot be.
    #[error("its length is zero or too long: put how many bytes it has")]
    Region,
    /// A geometry that contradicts itself.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
}

/// A statement that makes a device.
#[derive(Clone, Copy)]
enum Statement<'a> {
    Group(&'a Group),
    Volume(&'a Volume),
    Encrypted(&'a Encrypted),
}

impl Statement<'_> {
    fn on(&self) -> BTreeSet<&DeviceName> {
        match self {
            Self::Group(group) => group.members.iter().flat_map(|m| &m.device).collect(),
            Self::Volume(volume) => on_devices(volume),
            Self::Encrypted(encrypted) => BTreeSet::from([&encrypted.device]),
        }
    }
}

/// Puts together every device that `aggregate` states, over `disks` by their names in the case.
///
/// Everything is checked, since a person may have edited the document. Disks and members that
/// are missing are no errors: reads of what they held are gaps.
pub fn build(aggregate: &Aggregate, disks: &[Disk]) -> Result<Devices, Error> {
    build_with(aggregate, disks, &Keys::default())
}

/// As [`build()`], with `keys` for what is encrypted. Without one that opens it, what is stated to be
/// opened is a gap as a whole, and is named in [`Devices::locked`].
pub fn build_with(aggregate: &Aggregate, disks: &[Disk], keys: &Keys) -> Result<Devices, Error> {
    if aggregate.version != VERSION {
        return Err(Error {
            statement: "the document".to_owned(),
            problem: Problem::Version {
                found: aggregate.version,
            },
        });
    }
    let mut devices = Devices::of_disks(disks);
    let mut waiting = statements(aggregate, &devices)?;
    check_known(&waiting, &devices)?;
    check_epochs(aggregate)?;
    // Layer by layer: whatever lies only on what is there already comes next.
    for _ in 0..MOST_LAYERS {
        let ready: Vec<DeviceName> = waiting
            .iter()
            .filter(|(_, statement)| statement.on().into_iter().all(|on| devices.contains(on)))
            .map(|(name, _)| name.clone())
            .collect();
        if ready.is_empty() {
            break;
        }
        for name in ready {
            let Some(statement) = waiting.remove(&name) else {
                continue;
            };
            let opened = match statement {
                Statement::Group(group) => devices.open_group(group, &aggregate.epochs),
                Statement::Volume(volume) => devices.open_volume(volume),
                Statement::Encrypted(encrypted) => devices.open_encrypted(&name, encrypted, keys),
            };
            let device = opened.map_err(|problem| Error {
                statement: name.to_string(),
                problem,
            })?;
            devices.insert(name, device);
        }
    }
    match waiting.keys().next() {
        None => Ok(devices),
        Some(name) => Err(Error {
            statement: name.to_string(),
            problem: circle(&waiting, name),
        }),
    }
}

/// The statements by the device that they make; no two make the same one.
fn statements<'a>(
    aggregate: &'a Aggregate,
    devices: &Devices,
) -> Result<BTreeMap<DeviceName, Statement<'a>>, Error> {
    let groups = aggregate
        .groups
        .iter()
        .map(|group| (DeviceName::group(&group.name), Statement::Group(group)));
    let volumes = aggregate
        .volumes
        .iter()
        .map(|volume| (volume.device.clone(), Statement::Volume(volume)));
    let opened = aggregate.encrypted.iter().filter_map(|encrypted| {
        let name = encrypted.opened.clone()?;
        Some((name, Statement::Encrypted(encrypted)))
    });
    let mut all = BTreeMap::new();
    for (name, statement) in groups.chain(volumes).chain(opened) {
        let kinds: &[&str] = match statement {
            Statement::Group(_) => &["group:"],
            Statement::Volume(_) => &["partition:", "volume:"],
            Statement::Encrypted(_) => &["luks:"],
        };
        let wrong_kind = !kinds.iter().any(|kind| name.0.starts_with(kind));
        let problem = if wrong_kind {
            Some(Problem::Name)
        } else if devices.contains(&name) || all.contains_key(&name) {
            Some(Problem::Twice)
        } else {
            None
        };
        if let Some(problem) = problem {
            return Err(Error {
                statement: name.to_string(),
                problem,
            });
        }
        all.insert(name, statement);
    }
    Ok(all)
}

/// Whether every device that a statement names is a disk or another statement.
fn check_known(
    statements: &BTreeMap<DeviceName, Statement<'_>>,
    devices: &Devices,
) -> Result<(), Error> {
    for (name, statement) in statements {
        for on in statement.on() {
            if !devices.contains(on) && !statements.contains_key(on) {
                return Err(Error {
                    statement: name.to_string(),
                    problem: Problem::Unknown { device: on.clone() },
                });
            }
        }
    }
    Ok(())
}

/// Whether every region of the epochs speaks of a member, and of a range that can be.
fn check_epochs(aggregate: &Aggregate) -> Result<(), Error> {
    for region in &aggregate.epochs {
        let mut groups = aggregate.groups.iter();
        let known = groups.any(|group| {
            let mut devices = group.members.iter().flat_map(|member| &member.device);
            devices.any(|device| region.concerns(&group.name, device))
        });
        let pieces = region.pieces;
        let fits = region.bytes > 0
            && region.start.checked_add(region.bytes).is_some()
            && pieces.is_none_or(|p| p.bytes > 0 && p.bytes <= p.every);
        if !known || !fits {
            return Err(Error {
                statement: format!("the epoch of {} from byte {}", region.device, region.start),
                problem: if fits {
                    Problem::NoMember
                } else {
                    Problem::Region
                },
            });
        }
    }
    Ok(())
}

/// Why `from` cannot be put together: the circle below it, or too many layers.
fn circle(waiting: &BTreeMap<DeviceName, Statement<'_>>, from: &DeviceName) -> Problem {
    let mut path: Vec<&DeviceName> = vec![from];
    // Each of these lies on another that waits; a path longer than all of them repeats one.
    while path.len() <= waiting.len() {
        let next = path.last().and_then(|name| {
            let on = waiting.get(*name)?.on();
            on.into_iter().find(|name| waiting.contains_key(*name))
        });
        let Some(next) = next else {
            return Problem::TooDeep;
        };
        if let Some(start) = path.iter().position(|name| *name == next) {
            let names: Vec<String> = path.iter().skip(start).map(|n| n.to_string()).collect();
            return Problem::Circle {
                devices: names.join(", "),
            };
        }
        path.push(next);
    }
    Problem::TooDeep
}

/// The devices that no group and no volume of `aggregate` lies on: those that can hold a file
/// system of their own.
pub fn outermost<'d>(aggregate: &Aggregate, devices: &'d Devices) -> Vec<&'d DeviceName> {
    let members = aggregate.groups.iter().flat_map(|group| &group.members);
    let members = members.filter_map(|member| member.device.as_ref());
    let below: BTreeSet<&DeviceName> = members
        .chain(aggregate.volumes.iter().flat_map(made_of))
        .chain(opened_devices(aggregate))
        .collect();
    let names = devices.iter().map(|(name, _)| name);
    names.filter(|name| !below.contains(name)).collect()
}

/// The encrypted devices that were opened: what is in them is a device of its own.
pub(crate) fn opened_devices(aggregate: &Aggregate) -> impl Iterator<Item = &DeviceName> {
    let encrypted = aggregate.encrypted.iter();
    let opened = encrypted.filter(|encrypted| encrypted.opened.is_some());
    opened.map(|encrypted| &encrypted.device)
}

/// The devices that a volume lies on.
pub(crate) fn on_devices(volume: &Volume) -> BTreeSet<&DeviceName> {
    let areas = volume
        .segments
        .iter()
        .flat_map(|segment| areas(&segment.map));
    areas.filter_map(|area| area.device.as_ref()).collect()
}

/// The devices that a volume is made of: all that it lies on but the origin of a snapshot, which
/// is a volume in its own right.
fn made_of(volume: &Volume) -> BTreeSet<&DeviceName> {
    let origins = volume
        .segments
        .iter()
        .filter_map(|segment| match &segment.map {
            SegmentMap::Snapshot { origin, .. } => origin.device.as_ref(),
            SegmentMap::Thin { origin, .. } => origin.as_ref()?.device.as_ref(),
            _ => None,
        });
    let mut on = on_devices(volume);
    for origin in origins {
        on.remove(origin);
    }
    on
}

/// The areas of a map.
pub(crate) fn areas(map: &SegmentMap) -> Vec<&Area> {
    match map {
        SegmentMap::Linear(area) | SegmentMap::Framed { area, .. } => vec![area],
        SegmentMap::Striped { areas, .. } | SegmentMap::Mirrored { areas } => {
            areas.iter().collect()
        }
        SegmentMap::Snapshot { origin, store } => vec![origin, store],
        SegmentMap::Thin {
            metadata,
            data,
            origin,
            ..
        } => [metadata, data].into_iter().chain(origin).collect(),
        SegmentMap::Zero | SegmentMap::Missing { .. } => Vec::new(),
    }
}

/// Whether the segments of a volume follow each other and make sense.
pub(crate) fn check_segments(volume: &Volume) -> Result<(), Problem> {
    let mut end = 0_u64;
    for (number, segment) in (1_usize..).zip(&volume.segments) {
        if segment.start != end {
            return Err(Problem::Order {
                segment: number,
                start: segment.start,
                end,
            });
        }
        let wrong = |what| Problem::Segment {
            segment: number,
            what,
        };
        match &segment.map {
            SegmentMap::Striped {
                stripe_bytes: 0, ..
            } => {
                return Err(wrong("its stripes have no length: put their size in bytes"));
            }
            SegmentMap::Striped { areas, .. } | SegmentMap::Mirrored { areas }
                if areas.is_empty() =>
            {
                return Err(wrong("it has no areas: name at least one"));
            }
            SegmentMap::Framed { framing, .. } => framing.check().map_err(wrong)?,
            _ => {}
        }
        let stored = match &segment.map {
            SegmentMap::Framed { framing, .. } => framing.stored(0..segment.bytes).map(|s| s.end),
            _ => Some(segment.bytes),
        };
        let fits = |area: &Area| stored.is_some_and(|s| area.offset.checked_add(s).is_some());
        if segment.bytes == 0 || !areas(&segment.map).into_iter().all(fits) {
            return Err(wrong("its length or an offset cannot be"));
        }
        end = end
            .checked_add(segment.bytes)
            .ok_or_else(|| wrong("its length or an offset cannot be"))?;
    }
    if end != volume.bytes {
        return Err(Problem::Length {
            end,
            bytes: volume.bytes,
        });
    }
    Ok(())
}

/// Whether the members of a group have the roles of its geometry, each once.
pub(crate) fn check_members(group: &Group) -> Result<(), Problem> {
    let count = group.geometry.members();
    let last = count.saturating_sub(1);
    let mut times: BTreeMap<u32, usize> = BTreeMap::new();
    let mut devices = BTreeSet::new();
    for member in &group.members {
        let entry = times.entry(member.role).or_default();
        *entry = entry.saturating_add(1);
        if let Some(device) = &member.device
            && !devices.insert(device)
        {
            return Err(Problem::MemberTwice {
                device: device.clone(),
            });
        }
    }
    if let Some((role, times)) = times
        .iter()
        .find(|(role, times)| **role > last || **times != 1)
    {
        return Err(Problem::Role {
            role: *role,
            times: *times,
            last,
        });
    }
    match (0..count).find(|role| !times.contains_key(role)) {
        Some(role) => Err(Problem::Role {
            role,
            times: 0,
            last,
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use evidence::view::Memory;

    use super::*;
    use crate::document::Segment;

    fn disk() -> Disk {
        ("a".to_owned(), Arc::new(Memory::new(vec![7; 8192])))
    }

    fn volume(name: &str, on: &str, segments: &[(u64, u64)]) -> Volume {
        let map = || {
            SegmentMap::Linear(Area {
                device: Some(DeviceName(on.to_owned())),
                offset: 0,
            })
        };
        Volume {
            device: DeviceName(name.to_owned()),
            uuid: None,
            bytes: segments.iter().map(|(_, bytes)| bytes).sum(),
            hidden: false,
            snapshot_of: None,
            segments: segments
                .iter()
                .map(|(start, bytes)| Segment {
                    start: *start,
                    bytes: *bytes,
                    map: map(),
                })
                .collect(),
            evidence: Vec::new(),
        }
    }

    fn aggregate(volumes: Vec<Volume>) -> Aggregate {
        Aggregate {
            version: VERSION,
            volumes,
            ..Aggregate::default()
        }
    }

    fn problem(volumes: Vec<Volume>) -> Problem {
        match build(&aggregate(volumes), &[disk()]) {
            Ok(_) => panic!("it was built"),
            Err(error) => error.problem,
        }
    }

    #[test]
    fn statements_may_come_in_any_order() {
        let volumes = vec![
            volume("volume:z/1", "volume:y/1", &[(0, 10)]),
            volume("volume:y/1", "partition:a/1", &[(0, 20)]),
            volume("partition:a/1", "disk:a", &[(0, 100), (100, 100)]),
        ];
        let devices = build(&aggregate(volumes), &[disk()]).unwrap();
        assert_eq!(devices.iter().count(), 4);
        let device = devices.get(&DeviceName::volume("z/1")).unwrap();
        assert_eq!(device.len(), 10);
    }

    #[test]
    fn contradictions_are_errors_that_name_the_statement() {
        let on_disk = |segments| vec![volume("volume:v", "disk:a", segments)];
        assert!(matches!(
            problem(on_disk(&[(0, 5), (4, 5)])),
            Problem::Order {
                segment: 2,
                start: 4,
                end: 5
            }
        ));
        assert!(matches!(
            problem(on_disk(&[(0, 0)])),
            Problem::Segment { .. }
        ));
        assert!(matches!(
            problem(vec![volume("volume:v", "disk:b", &[(0, 1)])]),
            Problem::Unknown { .. }
        ));
        assert!(matches!(
            problem(vec![volume("disk:v", "disk:a", &[(0, 1)])]),
            Problem::Name
        ));
        let twice = vec![on_disk(&[(0, 1)]).remove(0), on_disk(&[(0, 1)]).remove(0)];
        assert_eq!(problem(twice), Problem::Twice);
        let mut long = on_disk(&[(0, 5)]);
        long[0].bytes = 6;
        let error = build(&aggregate(long), &[disk()]).err().unwrap();
        assert_eq!(
            error.to_string(),
            "aggregate.json: volume:v: its segments end at byte 5, but it has 6 bytes"
        );
    }

    #[test]
    fn circles_and_towers_are_errors() {
        let circle = vec![
            volume("volume:a", "volume:b", &[(0, 1)]),
            volume("volume:b", "volume:c", &[(0, 1)]),
            volume("volume:c", "volume:b", &[(0, 1)]),
        ];
        assert_eq!(
            problem(circle),
            Problem::Circle {
                devices: "volume:b, volume:c".to_owned()
            }
        );
        let tower = (0..100)
            .map(|i| {
                let on = if i == 0 {
                    "disk:a".to_owned()
                } else {
                    format!("volume:{}", i - 1)
                };
                volume(&format!("volume:{i}"), &on, &[(0, 1)])
            })
            .collect();
        assert_eq!(problem(tower), Problem::TooDeep);
    }
}
