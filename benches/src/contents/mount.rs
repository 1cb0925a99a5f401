//! Tools, loop devices and mounts, which take root.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs a tool; an error says what it printed.
pub(crate) fn run(command: &mut Command) -> io::Result<Vec<u8>> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| {
        io::Error::other(format!("{program}: {error}; scripts/setup.sh installs it"))
    })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{program} (run as root): {said}")))
}

/// Images as block devices, for as long as this is kept.
pub(crate) struct Disks(Vec<PathBuf>);

impl Disks {
    /// Attaches each image to a loop device.
    pub(crate) fn attach(images: &[PathBuf]) -> io::Result<Self> {
        let mut disks = Self(Vec::new());
        for image in images {
            let name = run(Command::new("losetup").args(["-f", "--show"]).arg(image))?;
            let name = String::from_utf8_lossy(&name).trim().to_owned();
            disks.0.push(PathBuf::from(name));
        }
        Ok(disks)
    }

    /// The devices, in the order of the images.
    pub(crate) fn paths(&self) -> &[PathBuf] {
        &self.0
    }

    /// The first device.
    pub(crate) fn first(&self) -> &Path {
        self.0.first().map_or(Path::new(""), PathBuf::as_path)
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        for disk in &self.0 {
            // A device that stays attached does no harm to the figures.
            let _ = run(Command::new("losetup").arg("-d").arg(disk));
        }
    }
}

/// A mounted file system; unmounted also after an error.
pub(crate) struct Mount(PathBuf);

impl Mount {
    /// Mounts an image.
    pub(crate) fn image(image: &Path, place: &Path) -> io::Result<Self> {
        Self::new(image, place, "loop")
    }

    /// Mounts a device with the options of `options`; those of a pool must all be attached.
    pub(crate) fn device(device: &Path, place: &Path, options: &str) -> io::Result<Self> {
        if device.to_string_lossy().contains("loop") {
            // Only the tools of btrfs know that devices belong together; others have no such tool.
            let _ = run(Command::new("btrfs").args(["device", "scan"]));
        }
        Self::new(device, place, options)
    }

    fn new(device: &Path, place: &Path, options: &str) -> io::Result<Self> {
        fs::create_dir_all(place)?;
        run(Command::new("mount")
            .args(["-o", options])
            .args([device, place]))?;
        Ok(Self(place.to_owned()))
    }

    /// Unmounts it.
    pub(crate) fn end(self) -> io::Result<()> {
        let place = self.0.clone();
        std::mem::forget(self);
        run(Command::new("umount").arg(place)).map(|_| ())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Only after an error, which is the one to be reported.
        let _ = run(Command::new("umount").arg(&self.0));
    }
}
