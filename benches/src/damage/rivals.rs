//! What engineers use today, each on a copy of the broken devices.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::original::{Kind, read_below};
use super::score::Recovered;
use crate::contents::mount::{Disks, Mount};

/// A rival is stopped after so long, or when it wrote so much: where file systems lie over each other,
/// some write until the disk is full.
const MOST_TIME: Duration = Duration::from_secs(300);
const MOST_BYTES: u64 = 2 << 30;

/// How often that is looked at.
const PAUSE: Duration = Duration::from_millis(50);

/// A tool that brings files back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rival {
    /// The format's own checker, then a mount: e2fsck, xfs_repair, btrfs check.
    Check,
    /// ext4magic, which reads the journal.
    Ext4magic,
    /// extundelete, which reads the journal.
    Extundelete,
    /// The Sleuth Kit.
    TskRecover,
    /// btrfs restore.
    BtrfsRestore,
}

impl Rival {
    /// All of them. TestDisk is not here: it copies files only by hand.
    pub const ALL: [Self; 5] = [
        Self::Check,
        Self::Ext4magic,
        Self::Extundelete,
        Self::TskRecover,
        Self::BtrfsRestore,
    ];

    /// A short name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Check => "check+mount",
            Self::Ext4magic => "ext4magic",
            Self::Extundelete => "extundelete",
            Self::TskRecover => "tsk_recover",
            Self::BtrfsRestore => "btrfs restore",
        }
    }

    /// Whether it says that it reads `kind`, and the kernel here does if it needs it to.
    pub fn reads(self, kind: Kind) -> bool {
        let (ext, btrfs) = (kind.name.starts_with("ext"), kind.name.starts_with("btrfs"));
        match self {
            Self::Check => kind.name != "xfs-v4",
            Self::Ext4magic | Self::Extundelete | Self::TskRecover => ext,
            Self::BtrfsRestore => btrfs,
        }
    }

    /// What it brings back from `broken`. It works in `folder`, which is empty again afterwards.
    pub fn recover(
        self,
        kind: Kind,
        broken: &[Vec<u8>],
        folder: &Path,
    ) -> io::Result<Vec<Recovered>> {
        let images: Vec<PathBuf> = (0..broken.len())
            .map(|number| folder.join(format!("copy-{number}.img")))
            .collect();
        for (image, device) in images.iter().zip(broken) {
            fs::write(image, device)?;
        }
        let out = folder.join("out");
        fs::create_dir_all(&out)?;
        let files = self.work(kind, &images, &out);
        fs::remove_dir_all(&out)?;
        for image in images {
            fs::remove_file(image)?;
        }
        let files = files?.into_iter();
        Ok(files
            .map(|(path, bytes)| (path, blake3::hash(&bytes)))
            .collect())
    }

    fn work(
        self,
        kind: Kind,
        images: &[PathBuf],
        out: &Path,
    ) -> io::Result<Vec<(String, Vec<u8>)>> {
        let Some(image) = images.first() else {
            return Ok(Vec::new());
        };
        let image_text = image.to_string_lossy();
        let out_text = out.to_string_lossy();
        match self {
            Self::Check => return check_and_mount(kind, images, out),
            Self::Ext4magic => {
                // -M brings back everything, -R only what was deleted.
                attempt(out, "ext4magic", &[&image_text, "-M", "-d", &out_text]);
            }
            Self::Extundelete => {
                let all = ["--restore-all", "-o", &out_text, &image_text];
                attempt(out, "extundelete", &all);
            }
            Self::TskRecover => attempt(out, "tsk_recover", &["-e", &image_text, &out_text]),
            Self::BtrfsRestore => {
                let disks = Disks::attach(images)?;
                let first = disks.first().to_string_lossy().into_owned();
                attempt(out, "btrfs", &["restore", "-i", &first, &out_text]);
            }
        }
        read_below(out)
    }
}

/// Lets the checker mend the file system, mounts it, and reads what there is.
fn check_and_mount(
    kind: Kind,
    images: &[PathBuf],
    out: &Path,
) -> io::Result<Vec<(String, Vec<u8>)>> {
    let disks = Disks::attach(images)?;
    let first = disks.first().to_string_lossy().into_owned();
    if kind.name.starts_with("ext") {
        attempt(out, "e2fsck", &["-fy", &first]);
    } else if kind.name.starts_with("xfs") {
        // With a log that cannot be replayed it asks to have it zeroed.
        attempt(out, "xfs_repair", &[&first]);
        attempt(out, "xfs_repair", &["-L", &first]);
    } else {
        attempt(out, "btrfs", &["check", "--repair", "--force", &first]);
    }
    match Mount::device(disks.first(), out, "ro") {
        Err(_) => Ok(Vec::new()),
        Ok(mount) => {
            let files = read_below(out);
            mount.end()?;
            files
        }
    }
}

/// Runs a tool for as long as it may take. What counts is what it leaves, not what it says.
fn attempt(folder: &Path, tool: &str, arguments: &[&str]) {
    let started = Command::new(tool)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut running) = started else {
        return;
    };
    let begin = Instant::now();
    while let Ok(None) = running.try_wait() {
        if begin.elapsed() > MOST_TIME || bytes_below(folder) > MOST_BYTES {
            let _ = running.kill();
        }
        sleep(PAUSE);
    }
}

/// What the files below `folder` take on the disk, in bytes.
fn bytes_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let each = entries.filter_map(|entry| {
        let metadata = entry.metadata().ok()?;
        Some(if metadata.is_dir() {
            bytes_below(&entry.path())
        } else {
            metadata.blocks() * 512
        })
    });
    each.sum()
}
