//! What the oracle tests share: images, kernel mounts, and the comparison of a mounted tree with
//! the one that is read here.
//!
//! These tests need root, loop devices, and the tools that make the file systems. They fail, and
//! say what to install, rather than skip.

pub(crate) mod fill;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use evidence::{ByteOffset, Gaps, Loss, ReadAt};
use filesystem::{File, FileKind, Filesystem, FsPath, Standing};

/// Runs a tool and gives its output; fails with what it printed, or how to install it.
pub(crate) fn run<S: AsRef<OsStr>>(tool: &str, package: &str, arguments: &[S]) -> String {
    let output = Command::new(tool)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| {
            panic!("{tool}: {error}; install it with: apt-get install {package}")
        });
    assert!(
        output.status.success(),
        "{tool} {:?}: {}\n{}{}",
        arguments.iter().map(AsRef::as_ref).collect::<Vec<_>>(),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// An image mounted by the kernel; unmounted when dropped, also by a failing test.
pub(crate) struct Mount {
    at: tempfile::TempDir,
}

impl Mount {
    /// Mounts `image` with `options` besides `loop`.
    pub(crate) fn new(image: &Path, options: &str) -> Self {
        let at = tempfile::tempdir().unwrap();
        let options = format!("loop,{options}");
        let arguments: [&OsStr; 4] = [
            "-o".as_ref(),
            options.as_ref(),
            image.as_os_str(),
            at.path().as_os_str(),
        ];
        run("mount", "mount (and run the tests as root)", &arguments);
        Self { at }
    }

    /// The root of the mounted tree.
    pub(crate) fn path(&self) -> &Path {
        self.at.path()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // A process that another test is just starting may hold the mount for a moment.
        let patient = std::iter::repeat_n(&[][..], 50);
        for arguments in patient.chain([&["-l"][..]]) {
            let output = Command::new("umount")
                .args(arguments)
                .arg(self.at.path())
                .output();
            if output.is_ok_and(|output| output.status.success()) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
}

/// What of a file must be the same for the kernel and for us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) kind: FileKind,
    pub(crate) size: u64,
    /// The BLAKE3 hash of the contents, or of the target of a symbolic link.
    pub(crate) hash: Option<blake3::Hash>,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mode: u16,
    pub(crate) modified: (i64, u32),
    pub(crate) links: u32,
}

/// A tree by path, the names joined by slashes; the root is empty.
pub(crate) type Tree = BTreeMap<Vec<u8>, Seen>;

/// The tree below `root` as the kernel shows it.
pub(crate) fn kernel_tree(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut open = vec![(root.to_owned(), Vec::new())];
    while let Some((path, name)) = open.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let kind = meta.file_type();
        let special =
            kind.is_fifo() || kind.is_socket() || kind.is_char_device() || kind.is_block_device();
        let (kind, hash) = if kind.is_dir() {
            for entry in fs::read_dir(&path).unwrap() {
                let entry = entry.unwrap();
                let mut name: Vec<u8> = name.clone();
                if !name.is_empty() {
                    name.push(b'/');
                }
                name.extend(entry.file_name().as_bytes());
                open.push((entry.path(), name));
            }
            (FileKind::Directory, None)
        } else if kind.is_symlink() {
            let target = fs::read_link(&path).unwrap();
            let hash = blake3::hash(target.as_os_str().as_bytes());
            (FileKind::Symlink, Some(hash))
        } else if special {
            (FileKind::Special, None)
        } else {
            (FileKind::Regular, Some(hash_file(&path)))
        };
        let seen = Seen {
            kind,
            size: if special { 0 } else { meta.size() },
            hash,
            uid: meta.uid(),
            gid: meta.gid(),
            mode: meta.mode() as u16,
            modified: (meta.mtime(), meta.mtime_nsec() as u32),
            links: meta.nlink() as u32,
        };
        tree.insert(name, seen);
    }
    tree
}

fn hash_file(path: &Path) -> blake3::Hash {
    let mut file = fs::File::open(path).unwrap();
    let mut hasher = blake3::Hasher::new();
    let mut buf = vec![0; 1 << 20];
    loop {
        match file.read(&mut buf).unwrap() {
            0 => return hasher.finalize(),
            count => hasher.update(&buf[..count]),
        };
    }
}

/// The tree as it is read here, and what was lost of files in use. What a deleted file held
/// may be written over, and when the kernel commits decides: without its contents it has no
/// hash.
pub(crate) fn our_tree(fs: &dyn Filesystem) -> (Tree, Vec<Loss>) {
    let mut tree = Tree::new();
    let mut losses = Vec::new();
    for entry in filesystem::walk(fs) {
        let entry = match entry {
            Ok(entry) => entry,
            Err(loss) => {
                losses.push(loss);
                continue;
            }
        };
        let inode = &entry.inode;
        let hash = match inode.kind {
            FileKind::Directory | FileKind::Special => None,
            FileKind::Regular | FileKind::Symlink => {
                let file = File::open(fs, inode);
                let (hash, gaps) = hash_ours(&file);
                if inode.standing == Standing::InUse {
                    assert!(gaps.is_empty(), "{}: {gaps:?}", entry.path);
                    losses.extend(file.losses().iter().cloned());
                }
                gaps.is_empty().then_some(hash)
            }
        };
        let seen = Seen {
            kind: inode.kind,
            size: inode.size,
            hash,
            uid: inode.uid,
            gid: inode.gid,
            mode: inode.mode,
            modified: (inode.modified.seconds, inode.modified.nanoseconds),
            links: inode.links,
        };
        tree.insert(key(&entry.path), seen);
    }
    (tree, losses)
}

/// The key of a path in a [`Tree`].
pub(crate) fn key(path: &FsPath) -> Vec<u8> {
    path.names().join(&b'/')
}

fn hash_ours(file: &File) -> (blake3::Hash, Gaps) {
    let mut hasher = blake3::Hasher::new();
    let mut buf = vec![0; 1 << 20];
    let mut all = Gaps::none();
    let mut at = 0;
    while at < file.len() {
        let length = (file.len() - at).min(buf.len() as u64) as usize;
        let gaps = file
            .read_at(ByteOffset::new(at), &mut buf[..length])
            .unwrap();
        all.add_all_at(at as usize, &gaps);
        hasher.update(&buf[..length]);
        at += length as u64;
    }
    (hasher.finalize(), all)
}

/// Every difference between two trees, in words.
pub(crate) fn differences(want: &Tree, got: &Tree) -> Vec<String> {
    let mut all = Vec::new();
    for (path, seen) in want {
        let path_text = String::from_utf8_lossy(path);
        match got.get(path) {
            None => all.push(format!("{path_text}: missing")),
            Some(ours) if ours != seen => {
                all.push(format!("{path_text}:\n  want {seen:?}\n  got  {ours:?}"));
            }
            Some(_) => {}
        }
    }
    for path in got.keys().filter(|path| !want.contains_key(*path)) {
        all.push(format!("{}: not there", String::from_utf8_lossy(path)));
    }
    all
}

/// An image, opened as evidence.
pub(crate) fn image(path: &Path) -> Arc<dyn ReadAt> {
    Arc::new(evidence::image::open(path).unwrap())
}

/// Opens the file system in `path`, which must be there.
pub(crate) fn open(path: &Path) -> Box<dyn Filesystem> {
    let fs = filesystem::open(image(path), "volume").unwrap();
    fs.unwrap_or_else(|| panic!("{}: nothing is recognised", path.display()))
}

/// Fails with every difference between the tree that is read from `path` and `want`.
pub(crate) fn assert_tree(path: &Path, want: &Tree) {
    let fs = open(path);
    let (got, losses) = our_tree(fs.as_ref());
    assert!(losses.is_empty(), "{losses:#?}");
    let all = differences(want, &got);
    assert!(
        all.is_empty(),
        "{} differences in {} files ({}):\n{}",
        all.len(),
        want.len(),
        fs.info().version,
        all.join("\n")
    );
}

/// Compares the image at `path`, cleanly unmounted, with what the kernel shows of it.
pub(crate) fn assert_same_as_kernel(path: &Path) {
    let want = {
        let mount = Mount::new(path, "ro");
        kernel_tree(mount.path())
    };
    assert_tree(path, &want);
}

/// An empty image of `bytes` bytes, sparse, in `dir`.
pub(crate) fn blank(dir: &Path, name: &str, bytes: u64) -> PathBuf {
    let path = dir.join(name);
    fs::File::create(&path).unwrap().set_len(bytes).unwrap();
    path
}

/// Random numbers that are the same in every run.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// Bytes that look like nothing.
    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend(self.next().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}
