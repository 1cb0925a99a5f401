//! A newer btrfs over all disks of an array: its superblocks make none of them a device of its own.

use std::fs;
use std::process::Command;
use std::sync::Arc;

use aggregate::{Disk, discover};
use evidence::{ReadAt, image};

use super::{CONTENT, lay_out};

/// The second copy of the superblock lies at 64 MiB, and mkfs.btrfs asks for more.
const DISK: u64 = 136 << 20;

/// Makes a btrfs over disks that begin with these bytes.
fn with_btrfs(folder: &std::path::Path, starts: &[Vec<u8>]) -> Vec<Disk> {
    let paths = (0..starts.len()).map(|number| folder.join(format!("{number}.img")));
    let paths: Vec<_> = paths.collect();
    for (path, bytes) in paths.iter().zip(starts) {
        fs::write(path, bytes).unwrap();
        fs::File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_len(DISK)
            .unwrap();
    }
    let output = Command::new("mkfs.btrfs")
        .args(["-q", "-f", "-K", "-d", "raid0", "-m", "raid1"])
        .args(&paths)
        .output()
        .unwrap_or_else(|error| panic!("mkfs.btrfs: {error}; scripts/setup.sh installs it"));
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let disk = |path: &std::path::PathBuf| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        (
            name,
            Arc::new(image::open_raw(path).unwrap()) as Arc<dyn ReadAt>,
        )
    };
    paths.iter().map(disk).collect()
}

#[test]
fn an_array_under_a_btrfs_of_several_is_put_together() {
    let folder = tempfile::tempdir().unwrap();
    let mut members = lay_out(&CONTENT, "5-ls", 4, 64 << 10, 1 << 20);
    members.swap(0, 2);
    let disks = with_btrfs(folder.path(), &members);
    let aggregate = discover(&disks, &|_, _| None);
    let [group] = aggregate.groups.as_slice() else {
        panic!("{:?} {:?}", aggregate.groups, aggregate.losses);
    };
    assert_eq!(group.geometry.level.name(), "RAID-5");
    let devices = group.members.iter().map(|member| &member.device);
    let devices: Vec<_> = devices
        .map(|name| name.as_ref().map(|name| name.0.clone()))
        .collect();
    assert_eq!(
        devices,
        [2, 1, 0, 3].map(|number| Some(format!("disk:{number}")))
    );
}

#[test]
fn a_btrfs_of_several_alone_makes_no_group() {
    let folder = tempfile::tempdir().unwrap();
    let disks = with_btrfs(folder.path(), &[Vec::new(), Vec::new(), Vec::new()]);
    let aggregate = discover(&disks, &|_, _| None);
    assert!(aggregate.groups.is_empty(), "{:?}", aggregate.groups);
}
