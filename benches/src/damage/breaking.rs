//! What happens to file systems.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::original::{Kind, Original, PIECE};
use crate::contents::mount::{Disks, Mount, run};
use crate::random::Random;

/// A way to break a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// None: what a tool cannot read here it will not read anywhere.
    Nothing,
    /// The superblock and all its copies are zeros.
    Superblocks,
    /// The first tenth of every device is zeros.
    FirstTenth,
    /// One in twenty blocks of 4 KiB is zeros.
    Random5,
    /// A new file system of the same kind, made with the same options.
    SameOver,
    /// A new ext4 over it.
    Ext4Over,
    /// A new XFS over it.
    XfsOver,
    /// One bit is flipped in one in twenty blocks of metadata.
    Flips,
    /// Half of the files, and all of one account, are deleted through the kernel.
    Deleted,
}

impl Damage {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Nothing,
        Self::Superblocks,
        Self::FirstTenth,
        Self::Random5,
        Self::SameOver,
        Self::Ext4Over,
        Self::XfsOver,
        Self::Flips,
        Self::Deleted,
    ];

    /// A short name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Superblocks => "superblocks",
            Self::FirstTenth => "first-tenth",
            Self::Random5 => "random-5",
            Self::SameOver => "same-over",
            Self::Ext4Over => "ext4-over",
            Self::XfsOver => "xfs-over",
            Self::Flips => "flips",
            Self::Deleted => "deleted",
        }
    }

    /// Whether it can be done to `kind` here: to delete takes a kernel that mounts it.
    pub fn fits(self, kind: Kind) -> bool {
        self != Self::Deleted || !kind.is_laid_down()
    }

    /// A broken copy of the devices of `original`. Files are made in `folder` and removed.
    pub fn apply(
        self,
        original: &Original,
        folder: &Path,
        random: &mut Random,
    ) -> io::Result<Vec<Vec<u8>>> {
        let mut devices = original.devices.clone();
        match self {
            Self::Nothing => {}
            Self::Superblocks => devices.iter_mut().for_each(|d| wipe_superblocks(d)),
            Self::FirstTenth => {
                for device in &mut devices {
                    let end = device.len() / 10;
                    device[..end].fill(0);
                }
            }
            Self::Random5 => {
                for block in devices
                    .iter_mut()
                    .flat_map(|device| device.chunks_mut(4096))
                {
                    if random.percent(5) {
                        block.fill(0);
                    }
                }
            }
            Self::SameOver => format(&mut devices, original.kind.mkfs, true, folder)?,
            Self::Ext4Over => format(&mut devices, "mkfs.ext4 -q -F -b 4096", false, folder)?,
            Self::XfsOver => format(&mut devices, "mkfs.xfs -q -f --unsupported", false, folder)?,
            Self::Flips => flip(original, &mut devices, random),
            Self::Deleted => through_files(&mut devices, folder, |images| {
                delete(original, images, folder, random)
            })?,
        }
        Ok(devices)
    }
}

/// Wipes every sector that looks like a superblock of ext, XFS or btrfs.
fn wipe_superblocks(device: &mut [u8]) {
    let is =
        |device: &[u8], at: usize, magic: &[u8]| device.get(at..at + magic.len()) == Some(magic);
    for at in (0..device.len()).step_by(512) {
        if at % 1024 == 0 && is(device, at + 0x38, &[0x53, 0xEF]) && looks_ext(&device[at..]) {
            device[at..at + 1024].fill(0);
        } else if is(device, at, b"XFSB") {
            device[at..at + 512].fill(0);
        } else if is(device, at + 64, b"_BHRfS_M") {
            device[at..at + 4096].fill(0);
        }
    }
}

/// Whether what has the magic number of an ext superblock also has its usual fields.
fn looks_ext(bytes: &[u8]) -> bool {
    let word =
        |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    bytes.len() >= 1024 && word(0x18) <= 6 && word(0x20) > 0 && word(0x28) > 0
}

/// Makes a new file system over all `devices`, or over each.
fn format(devices: &mut [Vec<u8>], mkfs: &str, together: bool, folder: &Path) -> io::Result<()> {
    let at_once = if together { devices.len() } else { 1 };
    through_files(devices, folder, |images| {
        for set in images.chunks(at_once) {
            let mut words = mkfs.split(' ');
            let mut command = Command::new(words.next().unwrap_or_default());
            run(command.args(words).args(no_discard(mkfs)).args(set))?;
        }
        Ok(())
    })
}

/// Lets `change` work on `devices` as files in `folder`.
fn through_files(
    devices: &mut [Vec<u8>],
    folder: &Path,
    change: impl FnOnce(&[PathBuf]) -> io::Result<()>,
) -> io::Result<()> {
    let images: Vec<PathBuf> = (0..devices.len())
        .map(|number| folder.join(format!("broken-{number}.img")))
        .collect();
    for (image, device) in images.iter().zip(devices.iter()) {
        fs::write(image, device)?;
    }
    change(&images)?;
    for (image, device) in images.iter().zip(devices.iter_mut()) {
        *device = fs::read(image)?;
        fs::remove_file(image)?;
    }
    Ok(())
}

/// Deletes every file of the first account and half of the others.
fn delete(
    original: &Original,
    images: &[PathBuf],
    folder: &Path,
    random: &mut Random,
) -> io::Result<()> {
    let disks = Disks::attach(images)?;
    let place = folder.join("delete.mount");
    let mount = Mount::device(disks.first(), &place, "rw")?;
    let first = original.files.first().map(|file| account(&file.path));
    for file in &original.files {
        if first == Some(account(&file.path)) || random.percent(50) {
            fs::remove_file(place.join(&file.path))?;
        }
    }
    if let Some(account) = first {
        fs::remove_dir_all(place.join(account))?;
    }
    mount.end()?;
    fs::remove_dir(place)
}

/// The directory of the account that a file belongs to.
fn account(path: &str) -> &str {
    path.split_once("/Maildir/")
        .map_or("", |(account, _)| account)
}

/// The option that keeps mkfs from discarding everything first: disks of 2014 do not, and images do.
fn no_discard(mkfs: &str) -> &'static [&'static str] {
    match mkfs.split(' ').next() {
        Some("mkfs.ext4" | "mkfs.ext3") => &["-E", "nodiscard"],
        _ => &["-K"],
    }
}

/// Flips a bit in one in twenty of the blocks that hold no file's contents.
fn flip(original: &Original, devices: &mut [Vec<u8>], random: &mut Random) {
    let mut contents: Vec<Vec<bool>> = devices
        .iter()
        .map(|device| vec![false; device.len().div_ceil(PIECE)])
        .collect();
    let places = original
        .files
        .iter()
        .flat_map(|file| &file.pieces)
        .flatten();
    for place in places {
        contents[place.device][place.at / PIECE] = true;
    }
    for (device, contents) in devices.iter_mut().zip(contents) {
        for (block, contents) in device.chunks_mut(4096).zip(contents.chunks(4096 / PIECE)) {
            let metadata = !contents.contains(&true) && block.iter().any(|byte| *byte != 0);
            if metadata && random.percent(5) {
                let at = random.below(block.len());
                block[at] ^= 1 << random.below(8);
            }
        }
    }
}
