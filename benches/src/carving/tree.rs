//! Mail that was handed over, as it lies in a tree of Maildirs.

use std::fs;
use std::io;
use std::path::Path;

/// Where mail waits whose account nothing proves.
const UNATTRIBUTED: &str = "_unattributed";
/// The folders of an account that hold restored mail begin with this.
const RESTORED: &str = ".restored_emails";
/// The folder of what is not whole.
const DAMAGED: &str = "Damaged";

/// A file that was handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handed {
    /// `local@domain`; `None` where nothing proved an account.
    pub account: Option<String>,
    /// Whether it was called damaged; all else is claimed to be whole.
    pub damaged: bool,
    /// The path below the tree.
    pub path: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// All mail of `DOMAIN/LOCAL/Maildir/.restored_emails*` and of `_unattributed` below `root`, in
/// the order of its paths.
///
/// A folder that is not there holds nothing.
pub fn read(root: &Path) -> io::Result<Vec<Handed>> {
    let mut handed = Vec::new();
    for domain in names(root)? {
        let below = root.join(&domain);
        if domain == UNATTRIBUTED {
            read_folder(root, &below, None, false, &mut handed)?;
            for folder in names(&below)? {
                if let Some(name) = folder.strip_prefix('.') {
                    let damaged = is_damaged(name);
                    read_folder(root, &below.join(&folder), None, damaged, &mut handed)?;
                }
            }
            continue;
        }
        for local in names(&below)? {
            let maildir = below.join(&local).join("Maildir");
            let account = format!("{local}@{domain}");
            for folder in names(&maildir)? {
                if let Some(name) = folder.strip_prefix(RESTORED) {
                    let damaged = is_damaged(name.trim_start_matches('.'));
                    let path = maildir.join(&folder);
                    read_folder(root, &path, Some(&account), damaged, &mut handed)?;
                }
            }
        }
    }
    Ok(handed)
}

fn is_damaged(folder: &str) -> bool {
    folder.split('.').next() == Some(DAMAGED)
}

fn read_folder(
    root: &Path,
    folder: &Path,
    account: Option<&str>,
    damaged: bool,
    handed: &mut Vec<Handed>,
) -> io::Result<()> {
    for part in ["cur", "new"] {
        let part = folder.join(part);
        for name in names(&part)? {
            let path = part.join(name);
            if path.is_file() {
                let bytes = fs::read(&path)?;
                let path = path.strip_prefix(root).unwrap_or(&path);
                handed.push(Handed {
                    account: account.map(str::to_owned),
                    damaged,
                    path: path.to_string_lossy().into_owned(),
                    bytes,
                });
            }
        }
    }
    Ok(())
}

/// What is in a directory, in order.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort_unstable();
    Ok(names)
}
