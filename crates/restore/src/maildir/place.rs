//! Directories of a target, opened so that nobody's symbolic link leads elsewhere.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Mutex;

use filesystem::Timestamp;
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, RenameFlags, Stat, Timespec, Timestamps, Uid, fchmod,
    fchown, fstat, fsync, futimens, linkat, mkdirat, openat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::RestoreError;

/// A directory of the target that is open, with the owner and mode that new things in it get.
pub(super) struct Directory {
    fd: OwnedFd,
    path: PathBuf,
    owner: Owner,
    /// Shared by all directories of a mailbox: its group, if something could not be given to it.
    group_not_given: Rc<Cell<Option<u32>>>,
}

/// So much of a file of the server's is read.
const READ_LIMIT: u64 = 16 << 20;

/// Held while a directory is made.
static MAKING: Mutex<()> = Mutex::new(());

/// The name that something has until it is whole. It does not begin with a dot, so Dovecot takes
/// it for no folder of a Maildir.
fn draft_of(name: &[u8]) -> Vec<u8> {
    let digest = blake3::hash(name).to_hex();
    format!("restante-new.{}", digest.get(..16).unwrap_or_default()).into_bytes()
}

#[derive(Clone, Copy)]
struct Owner {
    uid: Uid,
    gid: Gid,
    mode: Mode,
}

impl Owner {
    fn of(stat: &Stat) -> Self {
        Self {
            uid: Uid::from_raw(stat.st_uid),
            gid: Gid::from_raw(stat.st_gid),
            mode: Mode::from_raw_mode(stat.st_mode & 0o2777),
        }
    }

    /// The same, closed to everybody but owner and group.
    fn without_others(self) -> Self {
        Self {
            mode: self.mode.difference(Mode::RWXO),
            ..self
        }
    }

    /// The mode of files beside directories of this mode: the same, not executable.
    fn file_mode(self) -> Mode {
        self.mode.intersection(Mode::from_raw_mode(0o666))
    }
}

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

impl Directory {
    /// Opens the Maildir at `path`, making it and what is above it if need be.
    ///
    /// New directories get the owner and mode of the one they are made in, but give nothing to
    /// others: they will hold mail. Above what has to be made the administrator may have links;
    /// the Maildir itself must not be one.
    pub(super) fn open_maildir(path: &Path) -> Result<Self, RestoreError> {
        let (mut directory, there) = Self::open_above(path)?;
        for name in path.strip_prefix(&there).unwrap_or(path).components() {
            directory = directory.open_or_make(name.as_os_str().as_encoded_bytes())?;
        }
        Ok(directory)
    }

    /// Opens the Maildir at `path`, if it is there.
    pub(super) fn find_maildir(path: &Path) -> Result<Option<Self>, RestoreError> {
        let (mut directory, there) = Self::open_above(path)?;
        for name in path.strip_prefix(&there).unwrap_or(path).components() {
            match directory.open(name.as_os_str().as_encoded_bytes())? {
                Some(below) => directory = below,
                None => return Ok(None),
            }
        }
        Ok(Some(directory))
    }

    /// The nearest directory above `path` that is there, and its path.
    fn open_above(path: &Path) -> Result<(Self, PathBuf), RestoreError> {
        let there = path
            .ancestors()
            .skip(1)
            .find(|above| above.is_dir())
            .unwrap_or(Path::new("."));
        let there = if there.as_os_str().is_empty() {
            Path::new(".")
        } else {
            there
        };
        let fd = rustix::fs::open(
            there,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|errno| RestoreError::io(there, errno))?;
        let stat = fstat(&fd).map_err(|errno| RestoreError::io(there, errno))?;
        let directory = Self {
            fd,
            path: there.to_owned(),
            owner: Owner::of(&stat).without_others(),
            group_not_given: Rc::default(),
        };
        Ok((directory, there.to_owned()))
    }

    /// Opens the directory `name` in this one, if it is there.
    pub(super) fn open(&self, name: &[u8]) -> Result<Option<Self>, RestoreError> {
        let path = self.path_of(name);
        match openat(&self.fd, name, DIRECTORY, Mode::empty()) {
            Ok(fd) => {
                let stat = fstat(&fd).map_err(|errno| RestoreError::io(&path, errno))?;
                Ok(Some(Self {
                    fd,
                    path,
                    owner: Owner::of(&stat),
                    group_not_given: Rc::clone(&self.group_not_given),
                }))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::LOOP) => Err(RestoreError::SymbolicLink { path }),
            Err(Errno::NOTDIR) if self.is_link(name) => Err(RestoreError::SymbolicLink { path }),
            Err(errno) => Err(RestoreError::io(&path, errno)),
        }
    }

    /// Opens the directory `name` in this one, and makes it like this one if it is not there.
    ///
    /// It has its owner and mode before it has its name: a run that is killed leaves none that its
    /// user cannot enter, and none that what is made later would take after.
    pub(super) fn open_or_make(&self, name: &[u8]) -> Result<Self, RestoreError> {
        if let Some(there) = self.open(name)? {
            return Ok(there);
        }
        // Accounts are restored side by side and share the directory of their domain. Two would
        // take each other's draft for one that a killed run left.
        let _alone = MAKING
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(there) = self.open(name)? {
            return Ok(there);
        }
        let draft = draft_of(name);
        self.remove_left(&draft)?;
        let made =
            self.make_draft(&draft)
                .and_then(|made| match self.name_directory(&draft, name) {
                    Ok(()) => Ok(made),
                    Err(errno) => Err(RestoreError::io(&self.path_of(name), errno)),
                });
        if made.is_err() {
            // What is half made must not stay; the error that comes back says why it was.
            let _ = unlinkat(&self.fd, draft.as_slice(), AtFlags::REMOVEDIR);
            // The server may have made it meanwhile.
            if let Some(there) = self.open(name)? {
                return Ok(there);
            }
        }
        let made = made?;
        self.sync()?;
        Ok(Self {
            path: self.path_of(name),
            ..made
        })
    }

    /// Makes the empty directory `draft` with the owner and mode of this one.
    fn make_draft(&self, draft: &[u8]) -> Result<Self, RestoreError> {
        let path = self.path_of(draft);
        mkdirat(&self.fd, draft, Mode::RWXU).map_err(|errno| RestoreError::io(&path, errno))?;
        let made = self
            .open(draft)?
            .ok_or_else(|| RestoreError::io(&path, io::Error::from(io::ErrorKind::NotFound)))?;
        let mode = self.owner.mode | Mode::RWXU;
        self.own(&made.fd, mode, &path)?;
        Ok(Self {
            owner: Owner { mode, ..self.owner },
            ..made
        })
    }

    /// Gives the directory `draft` its name, unless there is something of that name.
    fn name_directory(&self, draft: &[u8], name: &[u8]) -> Result<(), Errno> {
        match renameat_with(&self.fd, draft, &self.fd, name, RenameFlags::NOREPLACE) {
            // Where that cannot be done: a directory replaces nothing but an empty one.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                rustix::fs::renameat(&self.fd, draft, &self.fd, name)
            }
            other => other,
        }
    }

    /// Removes what a killed run left under a name of ours: a file or an empty directory.
    fn remove_left(&self, name: &[u8]) -> Result<(), RestoreError> {
        let removed = match unlinkat(&self.fd, name, AtFlags::empty()) {
            // Linux says ISDIR, POSIX and other systems PERM.
            Err(Errno::ISDIR | Errno::PERM) => unlinkat(&self.fd, name, AtFlags::REMOVEDIR),
            other => other,
        };
        match removed {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(RestoreError::io(&self.path_of(name), errno)),
        }
    }

    /// Whether there is something called `name` here.
    pub(super) fn has(&self, name: &[u8]) -> bool {
        statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Whether `name` and `other`, both here, are one file.
    pub(super) fn is_same(&self, name: &[u8], other: &[u8]) -> bool {
        let of = |name| statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW);
        match (of(name), of(other)) {
            (Ok(one), Ok(two)) => (one.st_dev, one.st_ino) == (two.st_dev, two.st_ino),
            _ => false,
        }
    }

    /// Reads the file `name`, if it is there. What is longer than [`READ_LIMIT`] is refused: half
    /// of it would be taken for all.
    pub(super) fn read(&self, name: &[u8]) -> Result<Option<Vec<u8>>, RestoreError> {
        let path = self.path_of(name);
        // A pipe that its user put there is opened without waiting for somebody to write.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd = match openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(RestoreError::SymbolicLink { path }),
            Err(errno) => return Err(RestoreError::io(&path, errno)),
        };
        let stat = fstat(&fd).map_err(|errno| RestoreError::io(&path, errno))?;
        let mut text = Vec::new();
        let file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if file {
            io::Read::read_to_end(&mut io::Read::take(File::from(fd), READ_LIMIT), &mut text)
                .map_err(|source| RestoreError::io(&path, source))?;
        }
        if file && (text.len() as u64) < READ_LIMIT {
            Ok(Some(text))
        } else {
            Err(RestoreError::NotReadable {
                path,
                limit: READ_LIMIT,
            })
        }
    }

    /// Writes a new file `name` with `bytes`, synced to the disk. The name is one of ours: what a
    /// killed run or anybody else left there is unlinked, never opened, so that neither a link nor
    /// a pipe leads the bytes elsewhere.
    pub(super) fn write(&self, name: &[u8], bytes: &[u8]) -> Result<(), RestoreError> {
        self.write_unsynced(name, bytes, None)?;
        self.sync_file(name)
    }

    /// The same with the time `modified`, not synced yet: many files are synced quicker after all
    /// of them are written.
    pub(super) fn write_unsynced(
        &self,
        name: &[u8],
        bytes: &[u8],
        modified: Option<Timestamp>,
    ) -> Result<(), RestoreError> {
        self.remove_left(name)?;
        let path = self.path_of(name);
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(&self.fd, name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|errno| RestoreError::io(&path, errno))?;
        let written = self.fill(File::from(fd), bytes, modified, &path);
        if written.is_err() {
            // What is half written must not stay; the error that comes back says why it was.
            let _ = unlinkat(&self.fd, name, AtFlags::empty());
        }
        written
    }

    /// Syncs the file `name`, which this run wrote, to the disk; it is removed if that fails.
    pub(super) fn sync_file(&self, name: &[u8]) -> Result<(), RestoreError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let synced = openat(&self.fd, name, flags, Mode::empty()).and_then(fsync);
        synced.map_err(|errno| {
            let _ = unlinkat(&self.fd, name, AtFlags::empty());
            RestoreError::io(&self.path_of(name), errno)
        })
    }

    fn fill(
        &self,
        mut file: File,
        bytes: &[u8],
        modified: Option<Timestamp>,
        path: &Path,
    ) -> Result<(), RestoreError> {
        let wrap = |source| RestoreError::io(path, source);
        file.write_all(bytes).map_err(wrap)?;
        self.own(&file, self.owner.file_mode() | Mode::RUSR, path)?;
        if let Some(time) = modified {
            let time = Timespec {
                tv_sec: time.seconds,
                tv_nsec: time.nanoseconds.into(),
            };
            let times = Timestamps {
                last_access: time,
                last_modification: time,
            };
            futimens(&file, &times).map_err(|errno| wrap(errno.into()))?;
        }
        Ok(())
    }

    /// Writes `name` only if there is nothing of that name; says whether it did. The name appears
    /// with all of its contents.
    pub(super) fn write_new(&self, name: &[u8], bytes: &[u8]) -> Result<bool, RestoreError> {
        if self.has(name) {
            return Ok(false);
        }
        let draft = draft_of(name);
        self.write(&draft, bytes)?;
        match self.move_new(&draft, self, name) {
            Ok(()) => Ok(true),
            Err(error) => {
                self.remove_left(&draft)?;
                if error.is_exists() {
                    Ok(false)
                } else {
                    Err(error)
                }
            }
        }
    }

    /// Moves `name` to `to` in `other`, unless there is something of that name.
    pub(super) fn move_new(
        &self,
        name: &[u8],
        other: &Self,
        to: &[u8],
    ) -> Result<(), RestoreError> {
        let wrap = |errno: Errno| RestoreError::io(&other.path_of(to), errno);
        match renameat_with(&self.fd, name, &other.fd, to, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(()),
            // Some network file systems cannot do that: a link refuses what is there just as well.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                linkat(&self.fd, name, &other.fd, to, AtFlags::empty()).map_err(wrap)?;
                unlinkat(&self.fd, name, AtFlags::empty()).map_err(wrap)
            }
            Err(errno) => Err(wrap(errno)),
        }
    }

    /// Gives the file `name` a second name, unless there is something of that name; says whether it
    /// did.
    pub(super) fn link_new(&self, name: &[u8], second: &[u8]) -> Result<bool, RestoreError> {
        match linkat(&self.fd, name, &self.fd, second, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(errno) => Err(RestoreError::io(&self.path_of(second), errno)),
        }
    }

    /// Replaces `name` by the file `from`, both in this directory.
    pub(super) fn replace(&self, from: &[u8], name: &[u8]) -> Result<(), RestoreError> {
        rustix::fs::renameat(&self.fd, from, &self.fd, name)
            .map_err(|errno| RestoreError::io(&self.path_of(name), errno))
    }

    /// Removes the file `name`, if it is there, which this run or an earlier one made.
    pub(super) fn remove_own(&self, name: &[u8]) -> Result<(), RestoreError> {
        self.remove_left(name)
    }

    /// Makes the names in this directory durable.
    pub(super) fn sync(&self) -> Result<(), RestoreError> {
        fsync(&self.fd).map_err(|errno| RestoreError::io(&self.path, errno))
    }

    /// Gives what was made to the owner of this directory, with `mode`.
    ///
    /// Who is not root may give a file to no group of which they are no member. Then it keeps
    /// theirs, closed to it: other people may be in that one than in the mailbox's.
    fn own(&self, file: impl AsFd, mode: Mode, path: &Path) -> Result<(), RestoreError> {
        let wrap = |errno| RestoreError::io(path, errno);
        let Owner { uid, gid, .. } = self.owner;
        let stat = fstat(&file).map_err(wrap)?;
        let mut mode = mode;
        if stat.st_uid != uid.as_raw() || stat.st_gid != gid.as_raw() {
            match fchown(&file, Some(uid), Some(gid)) {
                Ok(()) => {}
                Err(Errno::PERM) if stat.st_uid == uid.as_raw() && !geteuid().is_root() => {
                    self.group_not_given.set(Some(gid.as_raw()));
                    mode = mode.difference(Mode::RWXG | Mode::SGID);
                }
                Err(Errno::PERM) => {
                    return Err(RestoreError::Owner {
                        path: path.to_owned(),
                        uid: uid.as_raw(),
                        gid: gid.as_raw(),
                    });
                }
                Err(errno) => return Err(wrap(errno)),
            }
        }
        fchmod(&file, mode).map_err(wrap)
    }

    /// The group of a mailbox, if something in it could not be given to it.
    pub(super) fn group_not_given(&self) -> Option<u32> {
        self.group_not_given.get()
    }

    /// The path of `name` in this directory.
    pub(super) fn path_of(&self, name: &[u8]) -> PathBuf {
        use std::os::unix::ffi::OsStrExt;
        self.path.join(std::ffi::OsStr::from_bytes(name))
    }

    fn is_link(&self, name: &[u8]) -> bool {
        statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
    }
}
