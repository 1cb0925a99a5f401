//! Makes file systems: mkfs, a mount on a loop device, and mail.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Kind;
use super::maildirs::Delivery;
use super::mount::{Mount, run};
use super::prototype;

/// Changes whenever what is made changes, so that nothing old is taken for it.
const VERSION: u32 = 2;

/// How a file system is made.
struct Recipe {
    /// mkfs with its options; the image follows.
    mkfs: &'static [&'static str],
    bytes: u64,
    /// How many MiB of mail are on it in the end.
    mail_mib: u64,
    gzip: bool,
}

const fn recipe(kind: Kind) -> Recipe {
    let (mkfs, mail_mib): (&'static [&'static str], _) = match kind {
        Kind::Ext4 => (
            &[
                "mkfs.ext4",
                "-q",
                "-F",
                "-b",
                "4096",
                "-U",
                "5b1f6a9e-52a1-4d0c-9a52-0c3c5d1f2b01",
            ],
            76,
        ),
        Kind::Xfs => (
            &[
                "mkfs.xfs",
                "-q",
                "-f",
                "--unsupported",
                "-m",
                "uuid=5b1f6a9e-52a1-4d0c-9a52-0c3c5d1f2b02",
            ],
            66,
        ),
        // mkfs fills the first allocation group first.
        Kind::XfsV4 => (
            &[
                "mkfs.xfs",
                "-q",
                "-f",
                "--unsupported",
                "-d",
                "agcount=2",
                "-m",
            ],
            76,
        ),
        Kind::Btrfs => (
            &[
                "mkfs.btrfs",
                "-q",
                "-U",
                "5b1f6a9e-52a1-4d0c-9a52-0c3c5d1f2b04",
            ],
            72,
        ),
        // 2014 had larger groups; small ones give as many copies as larger file systems have.
        _ => (
            &[
                "mkfs.ext4",
                "-q",
                "-F",
                "-b",
                "4096",
                "-g",
                "8192",
                "-O",
                "^metadata_csum,^64bit",
            ],
            76,
        ),
    };
    Recipe {
        mkfs,
        bytes: kind.bytes() as u64,
        mail_mib,
        gzip: matches!(kind, Kind::Gzip),
    }
}

/// The image of a file system of `kind` in `folder`, which is made if it is not there.
pub(super) fn image(folder: &Path, kind: Kind, early: bool) -> io::Result<Vec<u8>> {
    fs::create_dir_all(folder)?;
    let name = |state: &str| folder.join(format!("{}.v{VERSION}.{state}", kind.name()));
    // Two programs may want it at once.
    let lock = File::create(folder.join(format!("{}.lock", kind.name())))?;
    lock.lock()?;
    let (now, before) = (name("img"), name("early.img"));
    if !now.exists() || !before.exists() {
        let made = match kind {
            Kind::XfsV4 => lay_down(folder, &recipe(kind)),
            _ => fill(folder, &recipe(kind), kind),
        };
        let (image, early_image) = made
            .map_err(|error| io::Error::other(format!("an image of {}: {error}", kind.name())))?;
        fs::rename(early_image, &before)?;
        fs::rename(image, &now)?;
    }
    fs::read(if early { before } else { now })
}

/// Something in the file system that is removed in the end, whatever happened.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        // What is left over does no harm: it is written anew the next time.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Makes an image, mounts it, and delivers mail to it; the image and its earlier state.
fn fill(folder: &Path, recipe: &Recipe, kind: Kind) -> io::Result<(PathBuf, PathBuf)> {
    let image = folder.join(format!("{}.part", kind.name()));
    let early = image.with_extension("early.part");
    let place = folder.join(format!("{}.mount", kind.name()));
    File::create(&image)?.set_len(recipe.bytes)?;
    let (program, options) = recipe.mkfs.split_first().unwrap_or((&"", &[]));
    run(Command::new(program).args(options).arg(&image))?;
    let mount = Mount::image(&image, &place)?;
    let mut delivery = Delivery::new(&place, 7 + kind as u64, recipe.gzip)?;
    delivery.until((recipe.mail_mib << 20) * 6 / 10)?;
    mount.end()?;
    fs::copy(&image, &early)?;
    let mount = Mount::image(&image, &place)?;
    delivery.until(recipe.mail_mib << 20)?;
    mount.end()?;
    fs::remove_dir(place)?;
    Ok((image, early))
}

/// Lets mkfs.xfs lay down a folder of mail, for kernels that do not mount v4; once for each state.
fn lay_down(folder: &Path, recipe: &Recipe) -> io::Result<(PathBuf, PathBuf)> {
    let source = Removed(folder.join("xfs-v4.source"));
    let mut delivery = Delivery::new(&source.0, 5, recipe.gzip)?;
    let mut states = Vec::new();
    for (state, bytes) in [
        ("early", (recipe.mail_mib << 20) * 6 / 10),
        ("now", recipe.mail_mib << 20),
    ] {
        delivery.until(bytes)?;
        let list = prototype::write(&source.0)?;
        let image = folder.join(format!("xfs-v4.{state}.part"));
        File::create(&image)?.set_len(recipe.bytes)?;
        let (program, options) = recipe.mkfs.split_first().unwrap_or((&"", &[]));
        run(Command::new(program)
            .args(options)
            .args(["crc=0", "-p"])
            .arg(&list)
            .arg(&image))?;
        fs::remove_file(list)?;
        states.push(image);
    }
    match <[PathBuf; 2]>::try_from(states) {
        Ok([early, now]) => Ok((now, early)),
        Err(_) => Err(io::Error::other("two states are made")),
    }
}
