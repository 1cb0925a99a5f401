//! One array: from the chosen members to a group of `aggregate.json`.

use evidence::{Cause, GapCause, Loss, Origin, SECTOR_BYTES};

use super::choose::{Choice, Chosen, choose};
use super::layout::{Derived, derive};
use super::superblock::{Found, Reshape, Superblock};
use crate::document::{BadBlocks, Group, Member, Unused};
use crate::raid::MAX_MEMBERS;

/// What became of the labels of one array.
#[derive(Default)]
pub(super) struct Assembled {
    pub(super) group: Option<Group>,
    pub(super) unused: Vec<Unused>,
    pub(super) losses: Vec<Loss>,
}

/// Assembles the array that all of `labels` belong to, under `name`.
pub(super) fn assemble(name: &str, labels: &[&Found]) -> Assembled {
    let Some(choice) = choose(labels) else {
        return Assembled::default();
    };
    let superblock = &choice.newest.superblock;
    if let Some(reshape) = &superblock.reshape {
        return refused(name, &choice, labels, reshaping(superblock, reshape));
    }
    if superblock.raid_disks == 0 || superblock.raid_disks > MAX_MEMBERS {
        let what = format!("an array of {} members", superblock.raid_disks);
        return refused(name, &choice, labels, what);
    }
    let sectors: Vec<Option<u64>> = (0..superblock.raid_disks)
        .map(|role| {
            choice
                .members
                .get(&role)
                .map(|member| member.found.superblock.used())
        })
        .collect();
    match derive(superblock, &sectors) {
        Ok(derived) => finished(name, &choice, derived),
        Err(what) => refused(name, &choice, labels, what),
    }
}

/// An array that cannot be read, and why.
fn refused(name: &str, choice: &Choice<'_>, labels: &[&Found], what: String) -> Assembled {
    let newest = choice.newest;
    let unused = labels.iter().map(|found| Unused {
        device: found.device.clone(),
        copy_of: None,
        why: format!("belongs to md array {name}, which cannot be read (see the losses)"),
    });
    Assembled {
        group: None,
        unused: unused.collect(),
        losses: vec![Loss {
            what: format!("md array {name} (UUID {})", newest.superblock.set_uuid),
            origin: Origin::new(newest.device.0.clone(), newest.at),
            cause: Cause::Unsupported(what),
        }],
    }
}

fn reshaping(superblock: &Superblock, reshape: &Reshape) -> String {
    let disks = i64::from(superblock.raid_disks);
    let (from, to) = match i64::from(reshape.delta_disks) {
        more if more >= 0 => (disks.saturating_sub(more), disks),
        fewer => (disks, disks.saturating_add(fewer)),
    };
    let kib = |sectors: u64| sectors.checked_div(2).unwrap_or(0);
    format!(
        "an interrupted reshape from level {}, layout {}, chunk {} KiB, {from} members to level \
         {}, layout {}, chunk {} KiB, {to} members, which had come to sector {}; let it come to \
         its end on a machine with md, on copies of the disks: mdadm --assemble --force \
         /dev/mdN COPY... (with --backup-file if the reshape had one), wait until /proc/mdstat \
         shows no reshape, then give the copies to restante",
        superblock.level,
        superblock.layout,
        kib(superblock.chunksize),
        reshape.new_level,
        reshape.new_layout,
        kib(u64::from(reshape.new_chunk)),
        reshape.reshape_position,
    )
}

fn finished(name: &str, choice: &Choice<'_>, derived: Derived) -> Assembled {
    let superblock = &choice.newest.superblock;
    let members: Vec<Member> = (0..superblock.raid_disks)
        .map(|role| member(role, choice.members.get(&role)))
        .collect();
    let present: Vec<bool> = members
        .iter()
        .map(|member| member.device.is_some() && member.left_out.is_none())
        .collect();
    let mut evidence = vec![statement(superblock)];
    evidence.extend(choice.members.values().map(|member| labelled(member.found)));
    evidence.extend(derived.notes);
    evidence.extend(choice.members.values().filter_map(rebuilt));
    evidence.extend(unclean(superblock, &present));
    let group = Group {
        name: name.to_owned(),
        geometry: derived.geometry,
        members,
        evidence,
        confidence: 1.0,
        over: Vec::new(),
    };
    let mut losses = group.missing();
    losses.extend(
        choice
            .members
            .values()
            .filter_map(|member| unknown_bad_blocks(member.found)),
    );
    let unused = choice.unused.iter().map(|(found, why)| Unused {
        device: found.device.clone(),
        copy_of: None,
        why: format!("md array {name}: {why}"),
    });
    Assembled {
        unused: unused.collect(),
        group: Some(group),
        losses,
    }
}

fn member(role: u32, chosen: Option<&Chosen<'_>>) -> Member {
    let Some(chosen) = chosen else {
        return Member {
            role,
            device: None,
            data_offset: 0,
            data_size: 0,
            left_out: None,
            bad_blocks: Vec::new(),
        };
    };
    let superblock = &chosen.found.superblock;
    // Past what was rebuilt the member holds nothing of the array: a shorter data area says so.
    let sectors = superblock
        .used()
        .min(superblock.recovery_offset.unwrap_or(u64::MAX));
    Member {
        role,
        device: Some(chosen.found.device.clone()),
        data_offset: superblock.data_offset.saturating_mul(SECTOR_BYTES),
        data_size: sectors.saturating_mul(SECTOR_BYTES),
        left_out: chosen.left_out.clone(),
        bad_blocks: bad_blocks(superblock),
    }
}

/// The recorded bad blocks, from the start of the data area on.
fn bad_blocks(superblock: &Superblock) -> Vec<BadBlocks> {
    let in_data = superblock.bad_blocks.iter().filter_map(|bad| {
        let end = bad
            .start
            .checked_add(bad.sectors)?
            .checked_sub(superblock.data_offset)?;
        let start = bad.start.saturating_sub(superblock.data_offset);
        Some(BadBlocks {
            start: start.checked_mul(SECTOR_BYTES)?,
            bytes: end.checked_sub(start)?.checked_mul(SECTOR_BYTES)?,
        })
    });
    in_data.filter(|bad| bad.bytes > 0).collect()
}

/// What the labels say of the array as a whole.
fn statement(superblock: &Superblock) -> String {
    let name = match superblock.set_name.as_str() {
        "" => String::new(),
        name => format!(", name {}", name.escape_default()),
    };
    format!(
        "md array with UUID {}{name}, created {}, last written {} (Unix time)",
        superblock.set_uuid, superblock.ctime, superblock.utime
    )
}

fn labelled(found: &Found) -> String {
    format!(
        "md {} label on {}, checksum holds, events {}, {}",
        found.superblock.version, found.device, found.superblock.events, found.superblock.role
    )
}

fn rebuilt(member: &Chosen<'_>) -> Option<String> {
    let superblock = &member.found.superblock;
    let sectors = superblock
        .recovery_offset
        .filter(|_| member.left_out.is_none())?;
    Some(format!(
        "{} was being rebuilt and is read up to sector {sectors} of its data; the rest comes \
         from the other members",
        member.found.device
    ))
}

/// A warning where parity may not match the data, and is needed.
fn unclean(superblock: &Superblock, present: &[bool]) -> Option<String> {
    let from = superblock.resync_offset?;
    let degraded = present.contains(&false);
    let parity = matches!(superblock.level, 4..=6);
    Some(match (parity, degraded) {
        (true, true) => format!(
            "the array was not stopped in order and members are missing: from sector {from} of \
             the members on, rows that were being written at the time may be rebuilt wrongly"
        ),
        (true, false) => format!(
            "the array was not stopped in order: parity may not match from sector {from} of the \
             members on; data is read without it"
        ),
        (false, _) => format!(
            "the array was not stopped in order: copies may differ from sector {from} on; the \
             first one is read"
        ),
    })
}

fn unknown_bad_blocks(found: &Found) -> Option<Loss> {
    found.superblock.bad_blocks_unknown.then(|| Loss {
        what: format!(
            "the log of bad blocks of {}: places that the array knew to be bad are read as if \
             they were good",
            found.device
        ),
        origin: Origin::new(found.device.0.clone(), found.at),
        cause: Cause::Gap(GapCause::Unreadable),
    })
}
