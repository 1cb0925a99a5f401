//! File systems over several devices.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{Mount, blank, run};

/// The images of a btrfs.
pub(crate) struct Devices {
    /// Removed when dropped.
    _dir: tempfile::TempDir,
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
        Self { _dir: dir, images }
    }

    /// Mounts it: the other devices are attached first.
    pub(crate) fn mount(&self, options: &str) -> Mounted {
        let (first, others) = self.images.split_first().unwrap();
        let mut options = options.to_owned();
        let mut loops = Vec::new();
        for image in others {
            let arguments = ["--find".as_ref(), "--show".as_ref(), image.as_os_str()];
            let name = run("losetup", "mount (and run the tests as root)", &arguments);
            options.push_str(&format!(",device={}", name.trim()));
            loops.push(name.trim().to_owned());
        }
        Mounted {
            mount: Some(Mount::new(first, &options)),
            loops,
        }
    }
}

/// A mounted btrfs; unmounted and detached when dropped.
pub(crate) struct Mounted {
    /// Dropped by hand, before the devices below it go.
    mount: Option<Mount>,
    loops: Vec<String>,
}

impl Mounted {
    /// The root of the mounted tree.
    pub(crate) fn path(&self) -> &Path {
        self.mount.as_ref().unwrap().path()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        self.mount = None;
        for name in &self.loops {
            let _ = Command::new("losetup").args(["--detach", name]).output();
        }
    }
}
