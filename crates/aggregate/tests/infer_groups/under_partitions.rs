//! Arrays of whole disks beneath partition tables: a newer array was made on the partitions.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use aggregate::document::DeviceName;
use aggregate::{Disk, build, discover};
use evidence::{ByteOffset, ReadAtExt};

use super::labels::label;
use super::{CONTENT, disk, found, lay_out};

/// Where partitions begin, in bytes.
const FIRST: usize = 1 << 20;
const SECOND: usize = 5 << 20;

/// Writes a GPT over the start and the end of a disk, with partitions that begin at `starts` and leave nothing
/// between them.
fn cut(folder: &Path, bytes: &mut Vec<u8>, starts: &[usize]) {
    let path = folder.join("disk.img");
    bytes.resize(bytes.len() + (1 << 20), 0);
    fs::write(&path, &bytes).unwrap();
    let ends = starts.iter().skip(1).map(|end| Some(*end));
    let lines: Vec<String> = starts
        .iter()
        .zip(ends.chain([None]))
        .map(|(start, end)| match end {
            Some(end) => format!("start={}, size={}\n", start / 512, (end - start) / 512),
            None => format!("start={}\n", start / 512),
        })
        .collect();
    let mut child = Command::new("sfdisk")
        .args(["-q", path.to_str().unwrap()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("sfdisk: {error}; scripts/setup.sh installs it"));
    let script = format!("label: gpt\n{}", lines.concat());
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), script.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    *bytes = fs::read(&path).unwrap();
}

/// Disks of an array whose data begins 1 MiB into them, with partitions of which the last are a newer array.
fn disks(layout: &str, n: usize, missing: usize, starts: &[usize]) -> Vec<Disk> {
    let folder = tempfile::tempdir().unwrap();
    let mut disks = lay_out(&CONTENT, layout, n, 64 << 10, 1 << 20);
    for bytes in &mut disks {
        cut(folder.path(), bytes, starts);
    }
    let last = *starts.last().unwrap();
    let mut parts: Vec<Vec<u8>> = disks.iter().map(|bytes| bytes[last..].to_vec()).collect();
    let roles: Vec<usize> = (0..n).rev().collect();
    label(&mut parts, "newer", 5, 256 << 10, &roles);
    for (bytes, part) in disks.iter_mut().zip(parts) {
        bytes.splice(last.., part);
    }
    let disks = disks.into_iter().enumerate();
    let disks = disks.filter(|(number, _)| *number != missing);
    disks
        .map(|(number, bytes)| disk(&format!("d{}", (number * 3) % 7), bytes))
        .collect()
}

#[test]
fn an_array_of_whole_disks_is_found_beneath_partitions_with_a_newer_one() {
    for (layout, n, starts) in [
        ("5-ls", 4, &[FIRST, SECOND][..]),
        ("6-ls", 5, &[FIRST]),
        ("5-la", 5, &[SECOND]),
    ] {
        let disks = disks(layout, n, 1, starts);
        let aggregate = discover(&disks, &|_, _| None);
        let case = format!("{layout} {starts:?}: {:?}", aggregate.losses);
        let names: Vec<&String> = aggregate.groups.iter().map(|group| &group.name).collect();
        assert_eq!(names, ["found-1", "newer"], "{case}");
        let older = &aggregate.groups[0];
        // A partition that begins where the array does shows all of it.
        let mut members = older.members.iter().filter_map(|one| one.device.as_ref());
        let on_disks = members.all(|name| name.0.starts_with("disk:"));
        assert!(on_disks || starts == [FIRST], "{case}");
        assert_eq!(aggregate.groups[1].over, ["found-1"], "{case}");
        let begun_over = aggregate::coverage::begun_over(&aggregate);
        assert!(begun_over.contains(&DeviceName::group("newer")), "{case}");
        let devices = build(&aggregate, &disks).unwrap();
        let device = devices.get(&DeviceName::group("found-1")).unwrap();
        let read = device.read_whole(ByteOffset::ZERO, CONTENT.len()).unwrap();
        let blocks = read.chunks(4096).zip(CONTENT.chunks(4096));
        let wrong = blocks.filter(|(read, own)| read != own).count();
        // The newer labels lie over some.
        assert!(wrong <= 2 * n, "{case}: {wrong} blocks");
    }
}

#[test]
fn an_array_on_partitions_stays_there() {
    let folder = tempfile::tempdir().unwrap();
    let mut parts = lay_out(&CONTENT, "5-ls", 4, 64 << 10, 1 << 20);
    parts.remove(2);
    let disks: Vec<Disk> = parts
        .into_iter()
        .zip(["b", "a", "c"])
        .map(|(part, name)| {
            let mut bytes = vec![0; SECOND + part.len()];
            cut(folder.path(), &mut bytes, &[FIRST, SECOND]);
            bytes[SECOND..SECOND + part.len()].copy_from_slice(&part);
            disk(name, bytes)
        })
        .collect();
    let aggregate = discover(&disks, &|_, _| None);
    let [group] = aggregate.groups.as_slice() else {
        panic!("{:?} {:?}", aggregate.groups, aggregate.losses);
    };
    let mut members = group.members.iter().filter_map(|one| one.device.as_ref());
    assert!(members.all(|name| name.0.ends_with("/2")), "{group:?}");
    assert!(found(&aggregate, &disks, &CONTENT));
}
