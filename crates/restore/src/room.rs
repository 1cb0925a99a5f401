//! How much more a mailbox takes.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use rustix::fs::{stat, statvfs};
use serde::Serialize;

use crate::RestoreError;

/// How much more a mailbox takes; `None` where nothing says that there is a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Room {
    /// Bytes.
    pub bytes: Option<u64>,
    /// Messages.
    pub messages: Option<u64>,
}

impl Room {
    /// Whether so many messages of so many bytes in all have room.
    pub fn fits(&self, bytes: u64, messages: u64) -> bool {
        self.bytes.is_none_or(|free| bytes <= free)
            && self.messages.is_none_or(|free| messages <= free)
    }
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.bytes, self.messages) {
            (None, None) => write!(f, "no limit"),
            (Some(bytes), None) => write!(f, "{bytes} bytes"),
            (None, Some(messages)) => write!(f, "{messages} messages"),
            (Some(bytes), Some(messages)) => write!(f, "{bytes} bytes and {messages} messages"),
        }
    }
}

/// What is to be written to one file system.
#[derive(Debug)]
struct Demand {
    /// The first place on it that mail goes to, for what is said about it.
    path: PathBuf,
    bytes: u64,
    files: u64,
}

/// What is to be written, by file system: mailboxes of one target may lie on several.
#[derive(Debug, Default)]
pub struct Demands {
    by_device: BTreeMap<u64, Demand>,
}

impl Demands {
    /// Adds what is to be written to the mailbox at `path`, which need not be there yet.
    pub fn add(&mut self, path: &Path, bytes: u64, files: u64) -> Result<(), RestoreError> {
        let there = nearest_existing(path);
        let device = device_of(&there)?;
        let demand = self.by_device.entry(device).or_insert_with(|| Demand {
            path: there,
            bytes: 0,
            files: 0,
        });
        demand.bytes = demand.bytes.saturating_add(bytes);
        demand.files = demand.files.saturating_add(files);
        Ok(())
    }

    /// Why the file system that the mailbox at `path` lies on does not hold what is to be written
    /// to it, by all mailboxes together: a file system that was filled up would refuse the mail
    /// that arrives.
    pub fn check(&self, path: &Path) -> Result<(), RestoreError> {
        let Some(demand) = self.by_device.get(&device_of(&nearest_existing(path))?) else {
            return Ok(());
        };
        let stat = statvfs(&demand.path).map_err(|errno| RestoreError::io(&demand.path, errno))?;
        let free_bytes = stat.f_bavail.saturating_mul(stat.f_frsize);
        // A file system that makes inodes as needed says that it has none at all.
        let free_files = if stat.f_files == 0 {
            u64::MAX
        } else {
            stat.f_favail
        };
        // Half a block a file is lost at its end, on average; a whole one is reckoned.
        let slack = demand.files.saturating_mul(stat.f_frsize);
        let needed = demand.bytes.saturating_add(slack);
        if needed > free_bytes || demand.files > free_files {
            return Err(RestoreError::NoRoom {
                path: demand.path.clone(),
                free_bytes,
                free_files,
                bytes: needed,
                files: demand.files,
            });
        }
        Ok(())
    }
}

fn device_of(path: &Path) -> Result<u64, RestoreError> {
    stat(path)
        .map(|stat| stat.st_dev)
        .map_err(|errno| RestoreError::io(path, errno))
}

/// The nearest of a path and the directories above it that is there.
pub(crate) fn nearest_existing(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute
        .ancestors()
        .find(|above| above.exists())
        .unwrap_or(Path::new("/"))
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_without_limits_takes_all_and_each_limit_counts() {
        let room = |bytes, messages| Room { bytes, messages };
        assert!(room(None, None).fits(u64::MAX, u64::MAX));
        assert!(room(Some(10), None).fits(10, u64::MAX));
        assert!(!room(Some(10), None).fits(11, 1));
        assert!(!room(Some(10), Some(1)).fits(10, 2));
        assert!(room(None, Some(2)).fits(u64::MAX, 2));
    }

    #[test]
    fn mailboxes_on_one_file_system_need_their_room_together() {
        let dir = tempfile::tempdir().unwrap();
        let free = statvfs(dir.path()).unwrap();
        let free = free.f_bavail * free.f_frsize;
        let (one, two) = (dir.path().join("a/b/c"), dir.path().join("d"));
        let mut demands = Demands::default();
        demands.add(&one, free / 3 * 2, 1).unwrap();
        demands.check(&two).unwrap();
        demands.add(&two, free / 3 * 2, 1).unwrap();
        for path in [&one, &two] {
            let error = demands.check(path).unwrap_err();
            assert!(matches!(error, RestoreError::NoRoom { .. }), "{error}");
        }
        // What nothing goes to needs nothing.
        Demands::default().check(&one).unwrap();
    }
}
