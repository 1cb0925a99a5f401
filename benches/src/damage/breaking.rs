//! What happens to file systems.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use super::original::{Original, PIECE};
use crate::contents::mount::run;
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
}

impl Damage {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Nothing,
        Self::Superblocks,
        Self::FirstTenth,
        Self::Random5,
        Self::SameOver,
        Self::Ext4Over,
        Self::XfsOver,
        Self::Flips,
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
        }
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
    let images: Vec<_> = (0..devices.len())
        .map(|number| folder.join(format!("over-{number}.img")))
        .collect();
    for (image, device) in images.iter().zip(devices.iter()) {
        fs::write(image, device)?;
    }
    let sets: Vec<_> = images
        .chunks(if together { images.len() } else { 1 })
        .collect();
    for set in sets {
        let mut words = mkfs.split(' ');
        let mut command = Command::new(words.next().unwrap_or_default());
        run(command.args(words).args(no_discard(mkfs)).args(set))?;
    }
    for (image, device) in images.iter().zip(devices.iter_mut()) {
        *device = fs::read(image)?;
        fs::remove_file(image)?;
    }
    Ok(())
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
