//! A device as device-mapper tables.

use std::collections::BTreeSet;
use std::fmt::Write;

use evidence::SECTOR_BYTES;

use super::{Statements, letters, not_in_kernel, warning};
use crate::document::{Aggregate, Area, DeviceName, Group, Member, Segment, SegmentMap, Volume};
use crate::raid::{Level, Raid5Layout, Raid10Layout};

/// A shell script of `dmsetup create` commands that puts `device` together, read-only, with
/// everything below it. Missing members are left out as the kernel allows it; parts that no
/// target can give become `error` targets, and a comment says why.
///
/// Groups with parity become `raid` targets without metadata devices: no label is read or
/// written.
pub fn dmsetup_table(aggregate: &Aggregate, device: &DeviceName) -> String {
    let statements = Statements::new(aggregate);
    let order = statements.below(device);
    let mut script = Script {
        statements: &statements,
        unmade: BTreeSet::new(),
        text: format!(
            "# Puts {} together, read-only. Nothing is written.\n",
            letters(&device.0, ":/._-+", '?')
        ),
    };
    script.text += warning(aggregate);
    script.text += &statements.open_disks(order.iter(), "");
    for name in &order {
        let on = statements.on(name);
        if let Some(below) = on.iter().find(|below| script.unmade.contains(*below)) {
            let below = letters(&below.0, ":/._-+", '?');
            script.give_up(name, &format!("it lies on {below}, which cannot be made"));
        } else if let Some(group) = statements.groups.get(name) {
            script.group(name, group);
        } else if let Some(volume) = statements.volumes.get(name) {
            script.volume(volume);
        } else if let Some(below) = statements.opened.get(name) {
            script.opened(name, below);
        }
    }
    script.text
}

struct Script<'a> {
    statements: &'a Statements<'a>,
    text: String,
    /// Devices that no table can make.
    unmade: BTreeSet<DeviceName>,
}

impl Script<'_> {
    fn create(&mut self, name: &str, table: &str) {
        // Writing to a String cannot fail.
        let _ = write!(
            self.text,
            "dmsetup create --readonly {name} <<TABLE\n{table}TABLE\n"
        );
    }

    fn comment(&mut self, device: &DeviceName, what: &str) {
        let _ = writeln!(self.text, "# {}: {what}", letters(&device.0, ":/._-+", '?'));
    }

    /// Says why a device cannot be made.
    fn give_up(&mut self, device: &DeviceName, why: &str) {
        self.comment(device, why);
        self.unmade.insert(device.clone());
    }

    /// The path of a device in the script.
    fn path(&self, device: &DeviceName) -> String {
        match self.statements.disks.get(device) {
            Some(variable) => format!("${variable}"),
            None => format!("/dev/mapper/{}", mapper_name(device)),
        }
    }

    /// A device and an offset in sectors; `None` if the device is missing.
    fn area(&self, area: &Area) -> Option<String> {
        let device = area.device.as_ref()?;
        Some(format!("{} {}", self.path(device), sectors(area.offset)))
    }

    /// A container, whose key cryptsetup asks for.
    fn opened(&mut self, name: &DeviceName, below: &DeviceName) {
        let _ = writeln!(
            self.text,
            "cryptsetup open --readonly {} {}",
            self.path(below),
            mapper_name(name)
        );
    }

    fn volume(&mut self, volume: &Volume) {
        let mut table = String::new();
        let framed = |segment: &Segment| matches!(segment.map, SegmentMap::Framed { .. });
        let chunks = |segment: &Segment| {
            matches!(
                segment.map,
                SegmentMap::Snapshot { .. } | SegmentMap::Thin { .. }
            )
        };
        if volume.segments.iter().any(chunks) {
            self.give_up(
                &volume.device,
                "device-mapper would write to the store of a snapshot or the pool: export it as an image instead",
            );
            return;
        }
        if volume.segments.iter().any(framed) {
            self.give_up(&volume.device, "device-mapper cannot leave out the checksums between its data: export it as an image instead");
            return;
        }
        let uneven = volume.segments.iter().any(|segment| {
            let mut numbers = crate::build::areas(&segment.map)
                .into_iter()
                .map(|a| a.offset);
            segment.bytes % SECTOR_BYTES != 0 || numbers.any(|n| n % SECTOR_BYTES != 0)
        });
        if uneven {
            self.comment(&volume.device, "a part is no multiple of 512 bytes, which device-mapper cannot give: export it as an image instead");
        }
        for segment in &volume.segments {
            let target = self.target(&segment.map, segment.bytes);
            let _ = writeln!(
                table,
                "{} {} {target}",
                sectors(segment.start),
                sectors(segment.bytes)
            );
        }
        self.create(&mapper_name(&volume.device), &table);
    }

    fn target(&self, map: &SegmentMap, bytes: u64) -> String {
        const ERROR: &str = "error";
        match map {
            SegmentMap::Linear(area) => self
                .area(area)
                .map_or_else(|| ERROR.to_owned(), |area| format!("linear {area}")),
            SegmentMap::Striped {
                stripe_bytes,
                areas,
            } => {
                // A striped target needs all its devices.
                let there: Option<Vec<String>> = areas.iter().map(|a| self.area(a)).collect();
                there.map_or_else(
                    || ERROR.to_owned(),
                    |areas| {
                        let stripe = sectors(*stripe_bytes);
                        format!("striped {} {stripe} {}", areas.len(), areas.join(" "))
                    },
                )
            }
            SegmentMap::Mirrored { areas } => {
                let there: Vec<String> = areas.iter().filter_map(|a| self.area(a)).collect();
                mirror(&there, bytes)
            }
            SegmentMap::Zero => "zero".to_owned(),
            // The kernel would write to the store of a snapshot and to a pool.
            SegmentMap::Snapshot { .. } | SegmentMap::Thin { .. } => ERROR.to_owned(),
            // Volumes with frames are given up before.
            SegmentMap::Missing { .. } | SegmentMap::Framed { .. } => ERROR.to_owned(),
        }
    }

    /// Whether a volume has no byte that is there.
    fn is_gone(&self, device: &DeviceName) -> bool {
        let volume = self.statements.volumes.get(device);
        volume.is_some_and(|v| v.segments.iter().all(|s| is_missing(&s.map)))
    }

    /// Whether a volume has bytes that are not there.
    fn lacks_parts(&self, device: &DeviceName) -> bool {
        let volume = self.statements.volumes.get(device);
        volume.is_some_and(|v| v.segments.iter().any(|s| is_missing(&s.map)))
    }

    /// A group: first each member's data as a device of its own, then the array over them.
    fn group(&mut self, name: &DeviceName, group: &Group) {
        let mut members: Vec<&Member> = group.members.iter().collect();
        members.sort_by_key(|member| member.role);
        let mut parts: Vec<Option<String>> = Vec::new();
        for member in members {
            let device = match (&member.device, &member.left_out) {
                (Some(device), None) if !self.is_gone(device) => device,
                _ => {
                    parts.push(None);
                    continue;
                }
            };
            if self.lacks_parts(device) {
                // The kernel answers a read error by writing: a member must be whole or away.
                self.give_up(
                    name,
                    "a member lacks a part of its bytes: export it as an image instead",
                );
                return;
            }
            let part = format!("{}.{}", mapper_name(name), member.role);
            let table = format!(
                "0 {} linear {} {}\n",
                sectors(member.data_size),
                self.path(device),
                sectors(member.data_offset)
            );
            self.create(&part, &table);
            parts.push(Some(format!("/dev/mapper/{part}")));
        }
        match array(&group.geometry.level, group.geometry.bytes, &parts) {
            Ok(Array::Target(target)) => {
                let table = format!("0 {} {target}\n", sectors(group.geometry.bytes));
                self.create(&mapper_name(name), &table);
            }
            Ok(Array::Table(table)) => self.create(&mapper_name(name), &table),
            Ok(Array::Stripes(targets, chunk)) => {
                let bytes = group.geometry.bytes;
                let each = bytes.checked_div(targets.len() as u64).unwrap_or(0);
                let mut stripes = String::new();
                for (number, target) in targets.iter().enumerate() {
                    let part = format!("{}.set{number}", mapper_name(name));
                    self.create(&part, &format!("0 {} {target}\n", sectors(each)));
                    let _ = write!(stripes, " /dev/mapper/{part} 0");
                }
                let table = format!(
                    "0 {} striped {} {chunk}{stripes}\n",
                    sectors(bytes),
                    targets.len()
                );
                self.create(&mapper_name(name), &table);
            }
            Err(why) => self.give_up(name, why),
        }
    }
}

/// Whether a device that a segment needs is missing.
fn is_missing(map: &SegmentMap) -> bool {
    match map {
        SegmentMap::Linear(area) | SegmentMap::Framed { area, .. } => area.device.is_none(),
        SegmentMap::Striped { areas, .. } => areas.iter().any(|area| area.device.is_none()),
        SegmentMap::Mirrored { areas } => areas.iter().all(|area| area.device.is_none()),
        SegmentMap::Zero => false,
        SegmentMap::Snapshot { origin, store } => origin.device.is_none() || store.device.is_none(),
        SegmentMap::Thin { metadata, data, .. } => {
            metadata.device.is_none() || data.device.is_none()
        }
        SegmentMap::Missing { .. } => true,
    }
}

/// An array over its members.
enum Array {
    /// One target for its whole length.
    Target(String),
    /// Several.
    Table(String),
    /// Stripes over a device for each of these targets, and their chunk in sectors.
    Stripes(Vec<String>, u64),
}

/// The array of a level over the devices of its members.
fn array(level: &Level, bytes: u64, parts: &[Option<String>]) -> Result<Array, &'static str> {
    const INCOMPLETE: &str =
        "a member is missing, and the level has no redundancy: export it as an image instead";
    let all = || {
        parts
            .iter()
            .cloned()
            .collect::<Option<Vec<String>>>()
            .ok_or(INCOMPLETE)
    };
    let raid = |kind: &str, chunk: u64| {
        let devices: Vec<String> = parts.iter().map(|p| raid_member(p.as_deref())).collect();
        Array::Target(format!(
            "raid {kind} 2 {} nosync {} {}",
            sectors(chunk),
            devices.len(),
            devices.join(" ")
        ))
    };
    if let Some(why) = not_in_kernel(level) {
        return Err(why);
    }
    Ok(match level {
        Level::Linear { member_bytes } => Array::Table(concatenation(&all()?, member_bytes)),
        Level::Raid0 {
            chunk_bytes,
            member_bytes,
            ..
        } => {
            let chunks = |bytes: &u64| bytes.checked_div(*chunk_bytes);
            let mut counts = member_bytes.iter().map(chunks);
            let first = counts.next();
            if counts.any(|count| Some(count) != first) {
                return Err(
                    "device-mapper has no stripes over members of different length: assemble it with mdadm",
                );
            }
            let all: Vec<String> = all()?.iter().map(|part| format!("{part} 0")).collect();
            let chunk = sectors(*chunk_bytes);
            Array::Target(format!("striped {} {chunk} {}", all.len(), all.join(" ")))
        }
        Level::Raid1 { .. } => {
            let there: Vec<String> = parts.iter().flatten().map(|p| format!("{p} 0")).collect();
            Array::Target(mirror(&there, bytes))
        }
        Level::Raid4 { chunk_bytes, .. } => raid("raid5_n", *chunk_bytes),
        Level::Raid5 {
            layout,
            chunk_bytes,
            ..
        } => raid(raid5_type(*layout), *chunk_bytes),
        // Its target has no `nosync`: it would compute parity anew. (The others went above.)
        Level::Raid6 { .. } | Level::RaidDp { .. } | Level::Table { .. } => {
            return Err(
                "device-mapper cannot leave RAID 6 as it is: assemble it with mdadm, or export it as an image",
            );
        }
        Level::Raid10 {
            layout,
            chunk_bytes,
            ..
        } => stripes_of_mirrors(*layout, *chunk_bytes, bytes, parts)?,
    })
}

/// A member of a `raid` target: no metadata device, and perhaps no device at all.
fn raid_member(part: Option<&str>) -> String {
    format!("- {}", part.unwrap_or("-"))
}

fn concatenation(parts: &[String], member_bytes: &[u64]) -> String {
    let mut table = String::new();
    let mut start = 0_u64;
    for (part, bytes) in parts.iter().zip(member_bytes) {
        let _ = writeln!(table, "{start} {} linear {part} 0", sectors(*bytes));
        start = start.saturating_add(sectors(*bytes));
    }
    table
}

/// A mirror of copies that are there; one copy needs no mirror.
fn mirror(copies: &[String], bytes: u64) -> String {
    // Regions of 512 KiB; none may be longer than the mirror, nor shorter than a page.
    let region = if sectors(bytes) < 1024 { 8 } else { 1024 };
    match copies {
        [] => "error".to_owned(),
        [one] => format!("linear {one}"),
        [one, ..] if sectors(bytes) < region => format!("linear {one}"),
        // A log in memory that believes all copies to be equal.
        many => {
            let count = many.len();
            format!("mirror core 2 {region} nosync {count} {}", many.join(" "))
        }
    }
}

/// The names of the kernel's `raid_types` in `drivers/md/dm-raid.c`.
const fn raid5_type(layout: Raid5Layout) -> &'static str {
    match layout {
        Raid5Layout::LeftAsymmetric => "raid5_la",
        Raid5Layout::RightAsymmetric => "raid5_ra",
        Raid5Layout::LeftSymmetric => "raid5_ls",
        Raid5Layout::RightSymmetric => "raid5_rs",
        Raid5Layout::ParityFirst => "raid4",
        Raid5Layout::ParityLast => "raid5_n",
    }
}

/// RAID 10 as stripes over mirrors, which it is where copies lie beside each other and fill the
/// row. A `raid` target would want labels of its own here.
fn stripes_of_mirrors(
    layout: Raid10Layout,
    chunk_bytes: u64,
    bytes: u64,
    parts: &[Option<String>],
) -> Result<Array, &'static str> {
    let near = usize::try_from(layout.near).unwrap_or(0);
    if near == 0 || layout.far != 1 || parts.len().checked_rem(near) != Some(0) {
        return Err("device-mapper has no RAID 10 of this layout: assemble it with mdadm");
    }
    let sets = (parts.len() as u64).checked_div(u64::from(layout.near));
    let each = sets.and_then(|sets| bytes.checked_div(sets)).unwrap_or(0);
    let mirrors = parts.chunks(near).map(|set| {
        let there: Vec<String> = set.iter().flatten().map(|p| format!("{p} 0")).collect();
        mirror(&there, each)
    });
    Ok(Array::Stripes(mirrors.collect(), sectors(chunk_bytes)))
}

/// The name of a device in /dev/mapper.
fn mapper_name(device: &DeviceName) -> String {
    let doubled = device.0.replace('-', "--").replace(['/', ':'], "-");
    format!("restante-{}", letters(&doubled, "._-+", '_'))
}

/// Whole sectors.
const fn sectors(bytes: u64) -> u64 {
    bytes / SECTOR_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::VERSION;
    use crate::raid::{Geometry, ParityDelay};

    fn member(role: u32, device: Option<&str>) -> Member {
        Member {
            role,
            device: device.map(DeviceName::disk),
            data_offset: 1 << 20,
            data_size: 4 << 20,
            left_out: None,
            bad_blocks: Vec::new(),
        }
    }

    fn over(level: Level) -> Aggregate {
        let group = Group {
            name: "md0".to_owned(),
            geometry: Geometry {
                level,
                bytes: 8 << 20,
            },
            members: vec![member(0, Some("a")), member(1, None), member(2, Some("c"))],
            evidence: Vec::new(),
            confidence: 1.0,
            over: Vec::new(),
        };
        let map = SegmentMap::Linear(Area {
            device: Some(DeviceName::group("md0")),
            offset: 1 << 20,
        });
        let volume = Volume {
            device: DeviceName::volume("vg-0/mail"),
            uuid: None,
            bytes: 4096,
            hidden: false,
            snapshot_of: None,
            segments: vec![Segment {
                start: 0,
                bytes: 4096,
                map,
            }],
            evidence: Vec::new(),
        };
        Aggregate {
            version: VERSION,
            groups: vec![group],
            volumes: vec![volume],
            ..Aggregate::default()
        }
    }

    #[test]
    fn a_volume_comes_with_all_that_it_lies_on() {
        let level = Level::Raid5 {
            layout: Raid5Layout::LeftSymmetric,
            chunk_bytes: 65536,
            members: 3,
            delay: ParityDelay::NONE,
        };
        let script = dmsetup_table(&over(level), &DeviceName::volume("vg-0/mail"));
        assert_eq!(
            script,
            "# Puts volume:vg-0/mail together, read-only. Nothing is written.\n\
             a=$(losetup --find --show --read-only a.img)\n\
             c=$(losetup --find --show --read-only c.img)\n\
             dmsetup create --readonly restante-group-md0.0 <<TABLE\n\
             0 8192 linear $a 2048\nTABLE\n\
             dmsetup create --readonly restante-group-md0.2 <<TABLE\n\
             0 8192 linear $c 2048\nTABLE\n\
             dmsetup create --readonly restante-group-md0 <<TABLE\n\
             0 16384 raid raid5_ls 2 128 nosync 3 - /dev/mapper/restante-group-md0.0 \
             - - - /dev/mapper/restante-group-md0.2\nTABLE\n\
             dmsetup create --readonly restante-volume-vg--0-mail <<TABLE\n\
             0 8 linear /dev/mapper/restante-group-md0 2048\nTABLE\n"
        );
    }

    #[test]
    fn what_device_mapper_cannot_make_is_said_and_left_out() {
        let level = Level::Linear {
            member_bytes: vec![4 << 20; 3],
        };
        let script = dmsetup_table(&over(level), &DeviceName::volume("vg-0/mail"));
        assert!(
            script.contains("# group:md0: a member is missing"),
            "{script}"
        );
        assert!(
            script.ends_with("# volume:vg-0/mail: it lies on group:md0, which cannot be made\n")
        );
    }
}
