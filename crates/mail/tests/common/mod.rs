//! What the tests of mail stores share: a tree as a file system that the program reads.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use filesystem::Filesystem;

/// The device that the file system lies on.
pub(crate) const DEVICE: &str = "volume:mail";

/// An ext4 file system of `mib` MiB that holds the tree below `root`.
pub(crate) fn ext4_of(root: &Path, mib: u64) -> Box<dyn Filesystem> {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("volume.img");
    fs::File::create(&image)
        .unwrap()
        .set_len(mib << 20)
        .unwrap();
    let output = Command::new("mke2fs")
        .args(["-q", "-t", "ext4", "-b", "4096", "-d"])
        .args([root, &image])
        .output()
        .expect("mke2fs is needed; scripts/setup.sh installs it");
    assert!(output.status.success(), "{output:?}");
    // An open image is read on after its name is gone.
    let volume = Arc::new(evidence::image::open(&image).unwrap());
    filesystem::open(volume, DEVICE).unwrap().unwrap()
}
