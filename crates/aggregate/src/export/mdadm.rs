//! Groups as `mdadm` commands.

use std::collections::BTreeSet;
use std::fmt::Write;

use evidence::SECTOR_BYTES;

use super::{Statements, letters, not_in_kernel, warning};
use crate::document::{Aggregate, DeviceName, Group, Member};
use crate::raid::{Level, Raid5Layout, Raid6Layout, Raid10Layout};

const HEAD: &str = "\
# Assembles the arrays read-only over read-only loop devices: nothing is written.
# Where labels are gone, the commented commands make them anew. They WRITE labels, so they
# are for overlays or copies only, never for the evidence. An overlay over $disk_a:
#   truncate -s 1G disk_a.cow; cow=$(losetup --find --show disk_a.cow)
#   dmsetup create disk_a --table \"0 $(blockdev --getsz $disk_a) snapshot $disk_a $cow P 8\"
";

/// A shell script of `mdadm` commands that assemble the groups of the document, read-only, the
/// lower ones first; and, as comments, those that make them anew over overlays.
///
/// Groups over logical volumes are left out: they are LVM's, and have no md labels.
pub fn mdadm_commands(aggregate: &Aggregate) -> String {
    let statements = Statements::new(aggregate);
    let mut text = HEAD.to_owned();
    text += warning(aggregate);
    text += &statements.open_disks(statements.disks.keys(), " --partscan");
    let mut done = BTreeSet::new();
    for name in statements.groups.keys() {
        for below in statements.below(name) {
            let group = statements.groups.get(&below);
            if let Some(group) = group.filter(|_| done.insert(below.clone())) {
                text += &commands(&statements, group);
            }
        }
    }
    text
}

fn commands(statements: &Statements<'_>, group: &Group) -> String {
    if group.name.contains('/') {
        return format!(
            "# {}: a RAID volume of LVM; put it together with dmsetup, or activate it with LVM\n",
            letters(&group.name, "/._-+", '?')
        );
    }
    let level = &group.geometry.level;
    if let Some(why) = not_in_kernel(level).or_else(|| not_in_md(level)) {
        return format!("# {}: {why}\n", letters(&group.name, "/._-+", '?'));
    }
    if statements.lies_on_frames(&DeviceName::group(&group.name)) {
        return format!(
            "# {}: md cannot leave out the checksums between its members' data: export it as an image instead\n",
            letters(&group.name, "/._-+", '?')
        );
    }
    let array = array_path(&group.name);
    let mut members: Vec<&Member> = group.members.iter().collect();
    members.sort_by_key(|member| member.role);
    let paths: Vec<Option<String>> = members
        .iter()
        .map(|member| match (&member.device, &member.left_out) {
            (Some(device), None) => Some(path(statements, device)),
            _ => None,
        })
        .collect();
    let there: Vec<&str> = paths.iter().flatten().map(String::as_str).collect();
    let mut text = format!(
        "mdadm --assemble --readonly --run {array} {}\n",
        there.join(" ")
    );
    let _ = writeln!(text, "# {}", create(&array, group, &members, &paths));
    text
}

/// Why there is no md array like this, though there may be one of device-mapper.
const fn not_in_md(level: &Level) -> Option<&'static str> {
    match level {
        Level::Raid0 { chunk_bytes, .. } if *chunk_bytes % 1024 != 0 => {
            Some("md has no chunks of this size: put it together with dmsetup")
        }
        _ => None,
    }
}

/// The command that makes an array anew without touching its data.
fn create(array: &str, group: &Group, members: &[&Member], paths: &[Option<String>]) -> String {
    let level = &group.geometry.level;
    let offsets: BTreeSet<u64> = members
        .iter()
        .filter(|member| member.device.is_some())
        .map(|member| member.data_offset)
        .collect();
    let varied = offsets.len() > 1;
    let offset = offsets.first().copied().unwrap_or(0);
    // A label that fits before the data leaves it alone; where data begins at once, only one
    // behind the data does.
    let metadata = if offset >= 8192 { "1.2" } else { "1.0" };
    let mut command =
        format!("mdadm --create {array} --assume-clean --readonly --run --metadata={metadata}");
    let _ = write!(
        command,
        " --level={} --raid-devices={}",
        level_name(level),
        paths.len()
    );
    if let Some(chunk) = group.geometry.chunk_bytes() {
        let _ = write!(command, " --chunk={}", kib(chunk));
    }
    if let Some(layout) = layout_name(level) {
        let _ = write!(command, " --layout={layout}");
    }
    if !matches!(level, Level::Linear { .. } | Level::Raid0 { .. }) {
        let size = members
            .iter()
            .filter(|m| m.device.is_some())
            .map(|m| m.data_size)
            .min();
        let _ = write!(command, " --size={}", kib(size.unwrap_or(0)));
    }
    if metadata == "1.2" {
        if varied {
            command += " --data-offset=variable";
        } else {
            let _ = write!(command, " --data-offset={}s", offset / SECTOR_BYTES);
        }
    }
    for (path, member) in paths.iter().zip(members) {
        match path {
            None => command += " missing",
            Some(path) if varied && metadata == "1.2" => {
                let _ = write!(command, " {path}:{}s", member.data_offset / SECTOR_BYTES);
            }
            Some(path) => {
                let _ = write!(command, " {path}");
            }
        }
    }
    command
}

/// The path of a member.
fn path(statements: &Statements<'_>, device: &DeviceName) -> String {
    if let Some(variable) = statements.disks.get(device) {
        return format!("\"${variable}\"");
    }
    match device.0.split_once(':') {
        Some(("partition", bare)) => {
            let on = statements.on(device);
            let disk = on.first().and_then(|disk| statements.disks.get(disk));
            let number = letters(bare.rsplit('/').next().unwrap_or_default(), "", '?');
            match disk {
                Some(variable) => format!("\"${{{variable}}}p{number}\""),
                None => match on.first().and_then(|d| d.0.strip_prefix("group:")) {
                    Some(group) => format!("{}p{number}", array_path(group)),
                    None => format!("/dev/mapper/{}", letters(bare, "._-+", '-')),
                },
            }
        }
        Some(("group", name)) => array_path(name),
        Some((_, bare)) => format!("/dev/{}", letters(bare, "/._-+", '?')),
        None => letters(&device.0, "._-+", '?'),
    }
}

fn array_path(name: &str) -> String {
    format!("/dev/md/{}", letters(name, "._-", '-'))
}

/// Kibibytes, the unit of mdadm's sizes.
const fn kib(bytes: u64) -> u64 {
    bytes / 1024
}

/// The level as mdadm names it; what md has not gets no command.
const fn level_name(level: &Level) -> &'static str {
    match level {
        Level::Linear { .. } => "linear",
        Level::Raid0 { .. } => "0",
        Level::Raid1 { .. } => "1",
        Level::Raid4 { .. } => "4",
        Level::Raid5 { .. } => "5",
        Level::Raid6 { .. } => "6",
        Level::Raid10 { .. } => "10",
        Level::RaidDp { .. } | Level::Table { .. } => "",
    }
}

/// The layout as mdadm names it, for levels that have several.
fn layout_name(level: &Level) -> Option<String> {
    match level {
        Level::Raid5 { layout, .. } => Some(raid5_layout(*layout).to_owned()),
        Level::Raid6 { layout, .. } => Some(raid6_layout(*layout).to_owned()),
        Level::Raid10 { layout, .. } => Some(raid10_layout(*layout)),
        Level::Linear { .. }
        | Level::Raid0 { .. }
        | Level::Raid1 { .. }
        | Level::Raid4 { .. }
        | Level::RaidDp { .. }
        | Level::Table { .. } => None,
    }
}

const fn raid5_layout(layout: Raid5Layout) -> &'static str {
    match layout {
        Raid5Layout::LeftAsymmetric => "left-asymmetric",
        Raid5Layout::RightAsymmetric => "right-asymmetric",
        Raid5Layout::LeftSymmetric => "left-symmetric",
        Raid5Layout::RightSymmetric => "right-symmetric",
        Raid5Layout::ParityFirst => "parity-first",
        Raid5Layout::ParityLast => "parity-last",
    }
}

const fn raid6_layout(layout: Raid6Layout) -> &'static str {
    match layout {
        Raid6Layout::LeftAsymmetric => "left-asymmetric",
        Raid6Layout::RightAsymmetric => "right-asymmetric",
        Raid6Layout::LeftSymmetric => "left-symmetric",
        Raid6Layout::RightSymmetric => "right-symmetric",
        Raid6Layout::ParityFirst => "parity-first",
        Raid6Layout::ParityLast => "parity-last",
        Raid6Layout::DdfZeroRestart => "ddf-zero-restart",
        Raid6Layout::DdfNRestart => "ddf-N-restart",
        Raid6Layout::DdfNContinue => "ddf-N-continue",
        Raid6Layout::LeftAsymmetric6 => "left-asymmetric-6",
        Raid6Layout::RightAsymmetric6 => "right-asymmetric-6",
        Raid6Layout::LeftSymmetric6 => "left-symmetric-6",
        Raid6Layout::RightSymmetric6 => "right-symmetric-6",
        Raid6Layout::ParityFirst6 => "parity-first-6",
    }
}

/// A letter for where the copies lie and their number: `n2`, `f2`, `o2`.
fn raid10_layout(layout: Raid10Layout) -> String {
    match (layout.far, layout.offset) {
        (1, _) => format!("n{}", layout.near),
        (far, true) => format!("o{far}"),
        (far, false) => format!("f{far}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::VERSION;
    use crate::raid::{Geometry, ParityDelay};

    fn member(role: u32, device: Option<&str>) -> Member {
        Member {
            role,
            device: device.map(|name| DeviceName(name.to_owned())),
            data_offset: 1 << 20,
            data_size: 4 << 20,
            left_out: None,
            bad_blocks: Vec::new(),
        }
    }

    #[test]
    fn lower_arrays_come_first_and_new_labels_only_in_comments() {
        let group = |name: &str, members: Vec<Member>| Group {
            name: name.to_owned(),
            geometry: Geometry {
                level: Level::Raid5 {
                    layout: Raid5Layout::LeftSymmetric,
                    chunk_bytes: 65536,
                    members: 3,
                    delay: ParityDelay::NONE,
                },
                bytes: 8 << 20,
            },
            members,
            evidence: Vec::new(),
            confidence: 1.0,
            over: Vec::new(),
        };
        let aggregate = Aggregate {
            version: VERSION,
            groups: vec![
                group(
                    "a",
                    vec![
                        member(0, Some("group:z")),
                        member(1, None),
                        member(2, Some("disk:x y;rm")),
                    ],
                ),
                group(
                    "z",
                    vec![
                        member(0, Some("disk:1")),
                        member(1, Some("disk:2")),
                        member(2, None),
                    ],
                ),
            ],
            ..Aggregate::default()
        };
        let text = mdadm_commands(&aggregate);
        let commands: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            commands,
            [
                "disk_1=$(losetup --find --show --read-only --partscan 1.img)",
                "disk_2=$(losetup --find --show --read-only --partscan 2.img)",
                "x_y_rm=$(losetup --find --show --read-only --partscan x?y?rm.img)",
                "mdadm --assemble --readonly --run /dev/md/z \"$disk_1\" \"$disk_2\"",
                "mdadm --assemble --readonly --run /dev/md/a /dev/md/z \"$x_y_rm\"",
            ]
        );
        assert!(text.contains(
            "# mdadm --create /dev/md/z --assume-clean --readonly --run --metadata=1.2 --level=5 \
             --raid-devices=3 --chunk=64 --layout=left-symmetric --size=4096 --data-offset=2048s \
             \"$disk_1\" \"$disk_2\" missing"
        ));
    }
}
