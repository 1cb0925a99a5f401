//! File systems over several devices.

use std::path::PathBuf;

use super::{Attached, blank, run};

/// The images of a btrfs.
pub(crate) struct Devices {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) images: Vec<PathBuf>,
}

impl Devices {
    /// Makes a btrfs over `count` devices of `megabytes` each.
    pub(crate) fn mkfs(count: usize, megabytes: u64, arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let images: Vec<PathBuf> = (0..count)
            .map(|number| blank(dir.path(), &format!("image{number}"), megabytes << 20))
            .collect();
        let names = images.iter().map(|path| path.to_str().unwrap());
        let all: Vec<&str> = ["-q", "-f"]
            .into_iter()
            .chain(arguments.iter().copied())
            .chain(names)
            .collect();
        run("mkfs.btrfs", "btrfs-progs", &all);
        Self { dir, images }
    }

    /// Mounts it.
    pub(crate) fn mount(&self, options: &str) -> Attached {
        Attached::new(&self.images, options)
    }
}
