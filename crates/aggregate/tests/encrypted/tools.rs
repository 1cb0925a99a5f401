//! The programs that write containers, and disks for them.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use aggregate::document::{Aggregate, Encrypted};
use aggregate::{Disk, discover};
use evidence::view::Memory;
use sha2::{Digest, Sha256};

/// What containers of the tests are opened with.
pub(crate) const PASSPHRASE: &str = "linden along the road";

/// A place for files, with the passphrase in `key`.
pub(crate) struct Lab(tempfile::TempDir);

impl Lab {
    pub(crate) fn new() -> Self {
        let lab = Self(tempfile::tempdir().unwrap());
        std::fs::write(lab.path("key"), PASSPHRASE).unwrap();
        lab
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs `qemu-img`, again where it cannot measure how fast the machine is, which it must to
    /// make a container and cannot on one that has much else to do.
    pub(crate) fn qemu_img(&self, arguments: &[&str]) {
        let mut last = String::new();
        for _ in 0..50 {
            let output = self.output("qemu-img", arguments);
            if output.status.success() {
                return;
            }
            last = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(last.contains("CPU usage"), "{arguments:?}: {last}");
        }
        panic!("{last}");
    }

    fn output(&self, program: &str, arguments: &[&str]) -> std::process::Output {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.0.path());
        command.env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/bin");
        command
            .output()
            .unwrap_or_else(|error| panic!("{program}: {error}; scripts/setup.sh installs it"))
    }

    /// Runs a program in the place; gives what it says.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.output(program, arguments);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{program} {arguments:?}: {}: {said}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        said
    }

    /// A new container `name` of that many bytes, made by cryptsetup.
    pub(crate) fn container(&self, name: &str, bytes: usize, arguments: &[&str]) -> Vec<u8> {
        std::fs::write(self.path(name), vec![0; bytes]).unwrap();
        let mut all = vec!["luksFormat", "-q", "--key-file", "key"];
        all.extend_from_slice(arguments);
        all.push(name);
        self.run("cryptsetup", &all);
        self.read(name)
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    pub(crate) fn uuid(&self, name: &str) -> String {
        let said = self.run("cryptsetup", &["luksUUID", name]);
        said.trim().to_owned()
    }
}

/// A disk in memory.
pub(crate) fn disk(name: &str, bytes: Vec<u8>) -> Disk {
    (name.to_owned(), Arc::new(Memory::new(bytes)))
}

/// What is said of one disk.
pub(crate) fn look(bytes: Vec<u8>) -> Aggregate {
    discover(&[disk("a", bytes)], &|_, _| None)
}

/// What is said to be encrypted on one disk that holds nothing else.
pub(crate) fn encrypted(bytes: Vec<u8>) -> Encrypted {
    let aggregate = look(bytes);
    let [encrypted] = aggregate.encrypted.as_slice() else {
        panic!("{:?}", aggregate.encrypted);
    };
    let mut unused = aggregate.unused.iter();
    assert!(
        unused.any(|unused| unused.device == encrypted.device),
        "{:?}",
        aggregate.unused
    );
    encrypted.clone()
}

/// Bytes of which each is as likely as any other.
pub(crate) fn even_bytes(seed: &str, length: usize) -> Vec<u8> {
    let blocks = (0_u64..).flat_map(|number| {
        let mut hash = Sha256::new();
        hash.update(seed);
        hash.update(number.to_le_bytes());
        hash.finalize()
    });
    blocks.take(length).collect()
}

/// A file of a fixture of disks.
pub(crate) fn fixture(archive: &str, name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures")
        .join(archive);
    let mut decoder = zstd::Decoder::new(std::fs::File::open(path).unwrap()).unwrap();
    decoder.window_log_max(27).unwrap();
    for entry in tar::Archive::new(decoder).entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.path().unwrap().as_ref() == Path::new(name) {
            let mut contents = Vec::new();
            entry.read_to_end(&mut contents).unwrap();
            return contents;
        }
    }
    panic!("no {name} in {archive}")
}
