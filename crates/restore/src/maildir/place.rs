//! Directories of a target, opened so that nobody's symbolic link leads elsewhere.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use filesystem::Timestamp;
use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, RenameFlags, Stat, Timespec, Timestamps, Uid, fchmod, fchown,
    fstat, fsync, futimens, linkat, mkdirat, openat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;

use crate::RestoreError;

/// A directory of the target that is open, with the owner and mode that new things in it get.
pub(super) struct Directory {
    fd: OwnedFd,
    path: PathBuf,
    owner: Owner,
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
        let mut directory = Self {
            fd,
            path: there.to_owned(),
            owner: Owner::of(&stat).without_others(),
        };
        for name in path.strip_prefix(there).unwrap_or(path).components() {
            directory = directory.open_or_make(name.as_os_str().as_encoded_bytes())?;
        }
        Ok(directory)
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
                }))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::LOOP) => Err(RestoreError::SymbolicLink { path }),
            Err(Errno::NOTDIR) if self.is_link(name) => Err(RestoreError::SymbolicLink { path }),
            Err(errno) => Err(RestoreError::io(&path, errno)),
        }
    }

    /// Opens the directory `name` in this one, and makes it like this one if it is not there.
    pub(super) fn open_or_make(&self, name: &[u8]) -> Result<Self, RestoreError> {
        if let Some(there) = self.open(name)? {
            return Ok(there);
        }
        let path = self.path_of(name);
        let wrap = |errno: Errno| RestoreError::io(&path, errno);
        match mkdirat(&self.fd, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(wrap(errno)),
        }
        let made = self
            .open(name)?
            .ok_or_else(|| RestoreError::io(&path, io::Error::from(io::ErrorKind::NotFound)))?;
        made.own(&made.fd, self.owner, self.owner.mode | Mode::RWXU)
            .map_err(wrap)?;
        Ok(Self {
            owner: Owner {
                mode: self.owner.mode | Mode::RWXU,
                ..self.owner
            },
            ..made
        })
    }

    /// Whether there is something called `name` here.
    pub(super) fn has(&self, name: &[u8]) -> bool {
        statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Reads the file `name`, if it is there; it must be short.
    pub(super) fn read(&self, name: &[u8]) -> Result<Option<Vec<u8>>, RestoreError> {
        const LIMIT: u64 = 16 << 20;
        let path = self.path_of(name);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        match openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => {
                let mut text = Vec::new();
                io::Read::read_to_end(&mut io::Read::take(File::from(fd), LIMIT), &mut text)
                    .map_err(|source| RestoreError::io(&path, source))?;
                Ok(Some(text))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::LOOP) => Err(RestoreError::SymbolicLink { path }),
            Err(errno) => Err(RestoreError::io(&path, errno)),
        }
    }

    /// Writes a new file `name` with `bytes`, synced to the disk. One that is there is truncated:
    /// only names in `tmp` and lock files, which are ours, are written so.
    pub(super) fn write(
        &self,
        name: &[u8],
        bytes: &[u8],
        modified: Option<Timestamp>,
    ) -> Result<(), RestoreError> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.write_with(name, bytes, modified, flags)
    }

    /// Writes `name` only if there is nothing of that name; says whether it did.
    pub(super) fn write_new(&self, name: &[u8], bytes: &[u8]) -> Result<bool, RestoreError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        match self.write_with(name, bytes, None, flags) {
            Ok(()) => Ok(true),
            Err(RestoreError::Io { source, .. })
                if source.kind() == io::ErrorKind::AlreadyExists =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn write_with(
        &self,
        name: &[u8],
        bytes: &[u8],
        modified: Option<Timestamp>,
        flags: OFlags,
    ) -> Result<(), RestoreError> {
        let write = || -> io::Result<()> {
            let fd = openat(&self.fd, name, flags, Mode::RUSR | Mode::WUSR)?;
            let mut file = File::from(fd);
            file.write_all(bytes)?;
            self.own(&file, self.owner, self.owner.file_mode() | Mode::RUSR)?;
            if let Some(time) = modified {
                let time = Timespec {
                    tv_sec: time.seconds,
                    tv_nsec: time.nanoseconds.into(),
                };
                futimens(
                    &file,
                    &Timestamps {
                        last_access: time,
                        last_modification: time,
                    },
                )?;
            }
            file.sync_all()
        };
        write().map_err(|source| RestoreError::io(&self.path_of(name), source))
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

    /// Replaces `name` by the file `from`, both in this directory.
    pub(super) fn replace(&self, from: &[u8], name: &[u8]) -> Result<(), RestoreError> {
        rustix::fs::renameat(&self.fd, from, &self.fd, name)
            .map_err(|errno| RestoreError::io(&self.path_of(name), errno))
    }

    /// Removes the file `name`, which this run made.
    pub(super) fn remove_own(&self, name: &[u8]) -> Result<(), RestoreError> {
        unlinkat(&self.fd, name, AtFlags::empty())
            .map_err(|errno| RestoreError::io(&self.path_of(name), errno))
    }

    /// Makes the names in this directory durable.
    pub(super) fn sync(&self) -> Result<(), RestoreError> {
        fsync(&self.fd).map_err(|errno| RestoreError::io(&self.path, errno))
    }

    fn own(&self, file: impl AsFd, owner: Owner, mode: Mode) -> Result<(), Errno> {
        let stat = fstat(&file)?;
        if stat.st_uid != owner.uid.as_raw() || stat.st_gid != owner.gid.as_raw() {
            fchown(&file, Some(owner.uid), Some(owner.gid))?;
        }
        fchmod(&file, mode)
    }

    fn is_link(&self, name: &[u8]) -> bool {
        statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| stat.st_mode & 0o170_000 == 0o120_000)
    }

    fn path_of(&self, name: &[u8]) -> PathBuf {
        use std::os::unix::ffi::OsStrExt;
        self.path.join(std::ffi::OsStr::from_bytes(name))
    }
}
