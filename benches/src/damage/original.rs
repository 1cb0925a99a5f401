//! File systems full of mail, and the truth about them.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::contents::Delivery;
use crate::contents::mount::{Disks, Mount, run};
use crate::contents::prototype;

/// Contents are looked for in pieces of this size: the smallest block of any kind.
pub(super) const PIECE: usize = 1024;

/// A format with the options that matter for getting it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// A short name.
    pub name: &'static str,
    /// mkfs with its options; the images follow.
    pub mkfs: &'static str,
    /// How many devices it lies on.
    pub devices: usize,
    /// The length of each of them.
    pub mib: u64,
    /// How much mail is laid on it.
    pub mail_mib: u64,
}

const fn kind(name: &'static str, mkfs: &'static str) -> Kind {
    Kind {
        name,
        mkfs,
        devices: 1,
        mib: 192,
        mail_mib: 48,
    }
}

const fn pool(name: &'static str, mkfs: &'static str, devices: usize) -> Kind {
    Kind {
        devices,
        mib: 256,
        ..kind(name, mkfs)
    }
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 11] = [
        kind("ext4", "mkfs.ext4 -q -F -b 4096"),
        kind("ext4-1k", "mkfs.ext4 -q -F -b 1024"),
        kind(
            "ext4-2014",
            "mkfs.ext4 -q -F -b 4096 -O ^metadata_csum,^64bit,^orphan_file",
        ),
        kind(
            "ext4-2014-1k",
            "mkfs.ext4 -q -F -b 1024 -O ^metadata_csum,^64bit,^orphan_file",
        ),
        kind("ext3", "mkfs.ext3 -q -F -b 4096"),
        kind("xfs-v5", "mkfs.xfs -q -f --unsupported"),
        kind("xfs-v4", "mkfs.xfs -q -f --unsupported -m crc=0"),
        kind("xfs-v5-1k", "mkfs.xfs -q -f --unsupported -b size=1024"),
        kind("btrfs", "mkfs.btrfs -q -f -m dup -d single"),
        pool("btrfs-raid1", "mkfs.btrfs -q -f -m raid1 -d raid1", 2),
        pool("btrfs-raid10", "mkfs.btrfs -q -f -m raid10 -d raid10", 4),
    ];

    /// Whether kernels mount it no longer, so that mkfs has to lay down the files.
    pub(super) fn is_laid_down(self) -> bool {
        self.mkfs.contains("crc=0")
    }
}

/// A file as it was stored.
pub struct TrueFile {
    /// Its path, from the root on, without a slash in front.
    pub path: String,
    /// The hash of its contents.
    pub hash: blake3::Hash,
    /// Where each piece of its contents lies: any of the places will do.
    pub(super) pieces: Vec<Vec<Place>>,
}

/// A range of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) device: usize,
    pub(super) at: usize,
    pub(super) length: usize,
}

/// A file system, whole, and the truth about it.
pub struct Original {
    /// What it is.
    pub kind: Kind,
    /// Its devices.
    pub devices: Vec<Vec<u8>>,
    /// Its files.
    pub files: Vec<TrueFile>,
}

impl Original {
    /// Makes a file system of `kind` below `folder` and fills it.
    pub fn make(kind: Kind, folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let images: Vec<PathBuf> = (0..kind.devices)
            .map(|number| folder.join(format!("{}-{number}.img", kind.name)))
            .collect();
        for image in &images {
            File::create(image)?.set_len(kind.mib << 20)?;
        }
        let contents = if kind.is_laid_down() {
            lay_down(kind, folder, &images)?
        } else {
            fill(kind, folder, &images)?
        };
        let devices: Vec<Vec<u8>> = images.iter().map(fs::read).collect::<io::Result<_>>()?;
        for image in images {
            fs::remove_file(image)?;
        }
        let index = Index::of(&devices);
        let files = contents
            .into_iter()
            .map(|(path, bytes)| TrueFile {
                path,
                hash: blake3::hash(&bytes),
                pieces: index.places(&devices, &bytes),
            })
            .collect();
        Ok(Self {
            kind,
            devices,
            files,
        })
    }
}

/// mkfs with the options of `kind` and `more`, on `images`.
fn mkfs(kind: Kind, more: &[&Path], images: &[PathBuf]) -> io::Result<()> {
    let mut words = kind.mkfs.split(' ');
    let mut command = std::process::Command::new(words.next().unwrap_or_default());
    run(command.args(words).args(more).args(images)).map(|_| ())
}

fn fill(kind: Kind, folder: &Path, images: &[PathBuf]) -> io::Result<Vec<(String, Vec<u8>)>> {
    let disks = Disks::attach(images)?;
    mkfs(kind, &[], disks.paths())?;
    let place = folder.join(format!("{}.mount", kind.name));
    let mount = Mount::device(disks.first(), &place, "rw")?;
    Delivery::new(&place, 11, false)?.until(kind.mail_mib << 20)?;
    mount.end()?;
    // What counts is what the kernel reads after a mount, not what was written.
    let mount = Mount::device(disks.first(), &place, "ro")?;
    let contents = read_below(&place)?;
    mount.end()?;
    fs::remove_dir(place)?;
    Ok(contents)
}

fn lay_down(kind: Kind, folder: &Path, images: &[PathBuf]) -> io::Result<Vec<(String, Vec<u8>)>> {
    let source = folder.join(format!("{}.source", kind.name));
    Delivery::new(&source, 11, false)?.until(kind.mail_mib << 20)?;
    let list = prototype::write(&source)?;
    mkfs(kind, &[Path::new("-p"), &list], images)?;
    fs::remove_file(list)?;
    let contents = read_below(&source)?;
    fs::remove_dir_all(source)?;
    Ok(contents)
}

/// All files below `root` that are not empty and can be read, by path.
pub(super) fn read_below(root: &Path) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(folder) = open.pop() {
        // On what a rival mounted, directories and files may be broken.
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let kind = entry.file_type()?;
            if kind.is_dir() {
                open.push(path);
            } else if kind.is_file() {
                let bytes = fs::read(&path).unwrap_or_default();
                let name = path.strip_prefix(root).unwrap_or(&path);
                if !bytes.is_empty() {
                    files.push((name.to_string_lossy().into_owned(), bytes));
                }
            }
        }
    }
    files.sort();
    Ok(files)
}

/// All pieces of all devices, by hash.
struct Index(HashMap<[u8; 16], Vec<(u32, u32)>>);

impl Index {
    fn of(devices: &[Vec<u8>]) -> Self {
        let mut index: HashMap<[u8; 16], Vec<(u32, u32)>> = HashMap::new();
        for (number, device) in devices.iter().enumerate() {
            for (at, piece) in device.chunks(PIECE).enumerate() {
                if piece.iter().any(|byte| *byte != 0) {
                    let place = (number as u32, at as u32);
                    index.entry(key(piece)).or_default().push(place);
                }
            }
        }
        Self(index)
    }

    /// Where each piece of `contents` lies; the last one has zeros behind it on the device, unless
    /// the contents lie within metadata.
    fn places(&self, devices: &[Vec<u8>], contents: &[u8]) -> Vec<Vec<Place>> {
        let mut pieces = Vec::new();
        for piece in contents.chunks(PIECE) {
            let mut whole = piece.to_vec();
            whole.resize(PIECE, 0);
            if piece.iter().all(|byte| *byte == 0) {
                continue;
            }
            let found = self.0.get(&key(&whole));
            let places = found.into_iter().flatten().map(|(device, at)| Place {
                device: *device as usize,
                at: *at as usize * PIECE,
                length: piece.len(),
            });
            let mut places: Vec<Place> = places.collect();
            if places.is_empty() {
                places = anywhere(devices, piece);
            }
            pieces.push(places);
        }
        pieces
    }
}

fn key(piece: &[u8]) -> [u8; 16] {
    let mut key = [0; 16];
    key.copy_from_slice(&blake3::hash(piece).as_bytes()[..16]);
    key
}

/// Every place where `piece` stands, at any byte: contents that lie in metadata.
fn anywhere(devices: &[Vec<u8>], piece: &[u8]) -> Vec<Place> {
    let finder = memchr::memmem::Finder::new(piece);
    let mut places = Vec::new();
    for (device, bytes) in devices.iter().enumerate() {
        places.extend(finder.find_iter(bytes).map(|at| Place {
            device,
            at,
            length: piece.len(),
        }));
    }
    places
}
