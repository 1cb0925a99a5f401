//! What lies on the arrays: real file systems, full of mail.
//!
//! They are made by mkfs and filled through the kernel, once, and kept below the build folder.
//! Two builds are not equal byte for byte, since the kernel chooses places and writes times;
//! figures are compared within one build. Mounting takes root.

mod lvm;
mod mail;
mod maildirs;
mod make;
pub(crate) mod mount;
pub(crate) mod prototype;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

pub(crate) use self::maildirs::Delivery;
use crate::random::Random;

/// What lies on an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// ext4 as mkfs makes it today.
    Ext4,
    /// ext4 without checksums of metadata and without 64-bit fields: usual in 2014.
    Ext4Of2014,
    /// XFS whose blocks state their address (v5).
    Xfs,
    /// XFS without checksums (v4), usual in 2014. Laid down by mkfs, since kernels no longer
    /// mount it: its log holds no copies.
    XfsV4,
    /// btrfs.
    Btrfs,
    /// A physical volume of LVM2 with an ext4 of 2014.
    Lvm,
    /// ext4 of 2014 with messages in gzip.
    Gzip,
    /// Bytes without any structure, as encryption leaves them.
    Random,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 8] = [
        Self::Ext4,
        Self::Ext4Of2014,
        Self::Xfs,
        Self::XfsV4,
        Self::Btrfs,
        Self::Lvm,
        Self::Gzip,
        Self::Random,
    ];

    /// A short name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Ext4Of2014 => "ext4-2014",
            Self::Xfs => "xfs",
            Self::XfsV4 => "xfs-v4",
            Self::Btrfs => "btrfs",
            Self::Lvm => "lvm",
            Self::Gzip => "gzip",
            Self::Random => "random",
        }
    }

    /// How long the content is: a whole file system, as it fills a real array.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Ext4 | Self::Ext4Of2014 | Self::Xfs | Self::Gzip => 96 << 20,
            Self::XfsV4 => 104 << 20,
            Self::Btrfs => 160 << 20,
            Self::Lvm => lvm::EXTENTS_START + Self::Ext4Of2014.bytes(),
            Self::Random => 64 << 20,
        }
    }
}

/// A content, and an earlier state of it.
#[derive(Debug, Default)]
struct Loaded {
    now: OnceLock<Arc<Vec<u8>>>,
    early: OnceLock<Arc<Vec<u8>>>,
}

/// All contents, each made and read when it is first asked for.
#[derive(Debug)]
pub struct Contents {
    folder: PathBuf,
    loaded: [Loaded; Kind::ALL.len()],
}

impl Contents {
    /// The contents below the build folder.
    pub fn new() -> Self {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
            || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target")),
            PathBuf::from,
        );
        Self {
            folder: target.join("geometry-contents"),
            loaded: Default::default(),
        }
    }

    /// The content of `kind`.
    pub fn get(&self, kind: Kind) -> io::Result<Arc<Vec<u8>>> {
        let slot = self.loaded.get(kind as usize).map(|loaded| &loaded.now);
        self.load(slot, kind, false)
    }

    /// The content of `kind` as it was after about half of its mail had come.
    pub fn early(&self, kind: Kind) -> io::Result<Arc<Vec<u8>>> {
        let slot = self.loaded.get(kind as usize).map(|loaded| &loaded.early);
        self.load(slot, kind, true)
    }

    fn load(
        &self,
        slot: Option<&OnceLock<Arc<Vec<u8>>>>,
        kind: Kind,
        early: bool,
    ) -> io::Result<Arc<Vec<u8>>> {
        let slot = slot.ok_or_else(|| io::Error::other("a kind that is not listed"))?;
        if let Some(bytes) = slot.get() {
            return Ok(Arc::clone(bytes));
        }
        let bytes = match kind {
            Kind::Random => Random::new(u64::from(early)).bytes(kind.bytes()),
            Kind::Lvm => {
                let fs = make::image(&self.folder, Kind::Ext4Of2014, early)?;
                let mut bytes = lvm::header(lvm::EXTENTS_START + fs.len());
                bytes.extend_from_slice(&fs);
                bytes
            }
            kind => make::image(&self.folder, kind, early)?,
        };
        Ok(Arc::clone(slot.get_or_init(|| Arc::new(bytes))))
    }
}

impl Default for Contents {
    fn default() -> Self {
        Self::new()
    }
}
