//! The directory of a case.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{CaseError, CaseFile, FORMAT, write_atomically};

/// The directories that every case has.
const DIRECTORIES: [&str; 4] = [CATALOGUE, MESSAGES, LEDGER, REPORT];

/// The directory of the segments of the scan.
pub const CATALOGUE: &str = "catalogue";
/// The directory of the segments of the message index.
pub const MESSAGES: &str = "messages";
/// The directory of what carving tells of mailboxes in the message index.
pub const MAILBOXES: &str = "mailboxes";
/// The list of accounts that a person gave, if `case.json` names one.
pub const ACCOUNTS: &str = "accounts.json";
/// The directory of what was handed over.
pub const LEDGER: &str = "ledger";
/// The directory of the report.
pub const REPORT: &str = "report";

/// Held for a moment by those who change `case.json` or the log of a case that others joined.
const EDIT_LOCK: &str = "lock.edit";

/// The right to change `case.json` and the log, until it is dropped.
#[derive(Debug)]
pub struct Edit {
    _lock: File,
}

/// An open case. While it is open for writing no other run can write to it.
#[derive(Debug)]
pub struct Case {
    path: PathBuf,
    /// Held for its lock, which ends with the process however it ends.
    _lock: Option<File>,
}

impl Case {
    /// Opens the case in `path`, or begins one there if the directory is new or empty.
    pub fn open_or_create(path: &Path) -> Result<Self, CaseError> {
        let begun = path.join("case.json").exists();
        if !begun && path.exists() && !holds_nothing_else(path)? {
            return Err(CaseError::NotEmpty {
                path: path.to_owned(),
            });
        }
        fs::create_dir_all(path).map_err(|source| CaseError::io(path, source))?;
        if !begun {
            for name in DIRECTORIES {
                let dir = path.join(name);
                fs::create_dir_all(&dir).map_err(|source| CaseError::io(&dir, source))?;
            }
        }
        let lock = lock(path, "lock", FlockOperation::NonBlockingLockExclusive)?;
        let case = Self {
            path: path.to_owned(),
            _lock: Some(lock),
        };
        if !begun {
            case.write_file(&CaseFile::new())?;
        }
        case.file()?;
        Ok(case)
    }

    /// Opens the case in `path`, or begins one there, to work on it beside others that join it, on
    /// other machines too. Who wants it for himself waits until all of them are done.
    ///
    /// Joined runs may write files that are the same whoever writes them; what is read and
    /// written again, `case.json` and the log, they change only while they hold [`Case::edit`].
    pub fn join(path: &Path) -> Result<Self, CaseError> {
        let begun = || path.join("case.json").exists();
        // Another run may begin it while this one looks.
        if !begun() && path.exists() && !holds_nothing_else(path)? && !begun() {
            return Err(CaseError::NotEmpty {
                path: path.to_owned(),
            });
        }
        for name in DIRECTORIES {
            let dir = path.join(name);
            fs::create_dir_all(&dir).map_err(|source| CaseError::io(&dir, source))?;
        }
        let lock = lock(path, "lock", FlockOperation::NonBlockingLockShared)?;
        let case = Self {
            path: path.to_owned(),
            _lock: Some(lock),
        };
        let edit = case.edit()?;
        if !path.join("case.json").exists() {
            case.write_file(&CaseFile::new())?;
        }
        drop(edit);
        case.file()?;
        Ok(case)
    }

    /// Waits until no other joined run changes `case.json` or the log, and keeps them from it until
    /// what it gives is dropped.
    pub fn edit(&self) -> Result<Edit, CaseError> {
        let held = lock(&self.path, EDIT_LOCK, FlockOperation::LockExclusive)?;
        Ok(Edit { _lock: held })
    }

    /// Opens the case in `path` to work on it.
    pub fn open(path: &Path) -> Result<Self, CaseError> {
        let case = Self::open_to_read(path)?;
        let lock = lock(path, "lock", FlockOperation::NonBlockingLockExclusive)?;
        // One that a person removed, to have what lies in it made again.
        for name in DIRECTORIES {
            let dir = path.join(name);
            fs::create_dir_all(&dir).map_err(|source| CaseError::io(&dir, source))?;
        }
        Ok(Self {
            _lock: Some(lock),
            ..case
        })
    }

    /// Opens the case in `path` without its lock, to look at it while another run works.
    pub fn open_to_read(path: &Path) -> Result<Self, CaseError> {
        if !path.join("case.json").is_file() {
            return Err(CaseError::NotACase {
                path: path.to_owned(),
            });
        }
        let case = Self {
            path: path.to_owned(),
            _lock: None,
        };
        case.file()?;
        Ok(case)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads `case.json`.
    pub fn file(&self) -> Result<CaseFile, CaseError> {
        let path = self.path.join("case.json");
        let text = fs::read(&path).map_err(|source| CaseError::io(&path, source))?;
        // The format is looked at first: another one may not even have the same fields.
        let any: serde_json::Value = parse(&path, &text)?;
        let found = any["format"].as_u64().unwrap_or(0);
        if found != FORMAT {
            return Err(CaseError::OtherFormat {
                path: self.path.clone(),
                found,
                program: any["program"]
                    .as_str()
                    .unwrap_or("an unknown program")
                    .escape_debug()
                    .to_string(),
            });
        }
        parse(&path, &text)
    }

    /// Replaces `case.json`.
    pub fn write_file(&self, file: &CaseFile) -> Result<(), CaseError> {
        self.write_json("case.json", file)
    }

    /// Reads the JSON document `name`; `None` if it is not there yet.
    pub fn read_json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, CaseError> {
        let path = self.path.join(name);
        match fs::read(&path) {
            Ok(text) => parse(&path, &text).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(CaseError::io(&path, source)),
        }
    }

    /// Writes the JSON document `name`, for people to read too.
    pub fn write_json<T: Serialize>(&self, name: &str, value: &T) -> Result<(), CaseError> {
        let path = self.path.join(name);
        let mut text = serde_json::to_vec_pretty(value).map_err(|source| CaseError::Malformed {
            path: path.clone(),
            line: source.line(),
            source,
        })?;
        text.push(b'\n');
        write_atomically(&path, &text)
    }
}

fn parse<T: DeserializeOwned>(path: &Path, text: &[u8]) -> Result<T, CaseError> {
    serde_json::from_slice(text).map_err(|source| CaseError::Malformed {
        path: path.to_owned(),
        line: source.line(),
        source,
    })
}

/// Whether a directory is empty, or holds only what a killed start of this very case left.
fn holds_nothing_else(path: &Path) -> Result<bool, CaseError> {
    let entries = fs::read_dir(path).map_err(|source| CaseError::io(path, source))?;
    for entry in entries {
        let entry = entry.map_err(|source| CaseError::io(path, source))?;
        let name = entry.file_name();
        let ours = DIRECTORIES
            .iter()
            .chain(&["lock", EDIT_LOCK, "case.json.part"])
            .any(|known| name == *known);
        if !ours {
            return Ok(false);
        }
    }
    Ok(true)
}

fn lock(path: &Path, name: &str, operation: FlockOperation) -> Result<File, CaseError> {
    let name = path.join(name);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&name)
        .map_err(|source| CaseError::io(&name, source))?;
    match flock(&file, operation) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(CaseError::Locked {
            path: path.to_owned(),
        }),
        Err(errno) => Err(CaseError::io(&name, errno.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_run_at_a_time_works_on_a_case() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("case");
        let first = Case::open_or_create(&path).unwrap();
        assert!(matches!(Case::open(&path), Err(CaseError::Locked { .. })));
        assert!(Case::open_to_read(&path).is_ok());
        drop(first);
        assert!(Case::open(&path).is_ok());
    }

    #[test]
    fn many_may_join_a_case_that_nobody_has_for_himself() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("case");
        let joined: Vec<Case> = std::thread::scope(|scope| {
            let runs: Vec<_> = (0..8).map(|_| scope.spawn(|| Case::join(&path))).collect();
            runs.into_iter()
                .map(|run| run.join().unwrap().unwrap())
                .collect()
        });
        assert!(matches!(Case::open(&path), Err(CaseError::Locked { .. })));
        std::thread::scope(|scope| {
            for case in &joined {
                scope.spawn(|| {
                    for _ in 0..10 {
                        let edit = case.edit().unwrap();
                        let mut file = case.file().unwrap();
                        let count: u32 = file
                            .program
                            .rsplit(' ')
                            .next()
                            .unwrap()
                            .parse()
                            .unwrap_or(0);
                        file.program = format!("test {}", count + 1);
                        case.write_file(&file).unwrap();
                        drop(edit);
                    }
                });
            }
        });
        assert_eq!(joined[0].file().unwrap().program, "test 80");
        drop(joined);
        let alone = Case::open(&path).unwrap();
        assert!(matches!(Case::join(&path), Err(CaseError::Locked { .. })));
        drop(alone);
    }

    #[test]
    fn other_directories_and_other_formats_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(
            Case::open(dir.path()),
            Err(CaseError::NotACase { .. })
        ));
        fs::write(dir.path().join("holiday.jpg"), b"x").unwrap();
        assert!(matches!(
            Case::open_or_create(dir.path()),
            Err(CaseError::NotEmpty { .. })
        ));
        let path = dir.path().join("case");
        drop(Case::open_or_create(&path).unwrap());
        fs::write(
            path.join("case.json"),
            br#"{"format": 99, "program": "restante 9.0"}"#,
        )
        .unwrap();
        let error = Case::open(&path).unwrap_err();
        assert!(matches!(error, CaseError::OtherFormat { found: 99, .. }));
    }
}
