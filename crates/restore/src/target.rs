//! Where mail is handed back to.

use std::fmt;
use std::path::{Path, PathBuf};

use mail::Address;
use rustix::fs::{Access, access};

use crate::imap::{self, ImapTarget};
use crate::room::nearest_existing;
use crate::{Mailbox, RestoreError};

/// A place that takes mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Maildirs on this machine.
    Maildir(MaildirTarget),
    /// A server.
    Imap(ImapTarget),
}

impl Target {
    /// Reads `maildir:PATTERN`, `imap://HOST` or `imaps://HOST`.
    pub fn parse(text: &str) -> Result<Self, RestoreError> {
        let error = |why| RestoreError::NoTarget {
            // A password in it is not shown again.
            text: text.rsplit('@').next().unwrap_or_default().to_owned(),
            why,
        };
        if text.starts_with("imap:") || text.starts_with("imaps:") {
            return ImapTarget::parse(text).map(Self::Imap).map_err(error);
        }
        let Some(pattern) = text.strip_prefix("maildir:") else {
            return Err(error(
                "it begins with neither maildir: nor imap:// nor imaps://",
            ));
        };
        MaildirTarget::new(pattern)
            .map(Self::Maildir)
            .map_err(error)
    }

    /// The identity of the target, which its ledger is filed under.
    pub fn id(&self) -> String {
        match self {
            Self::Maildir(target) => target.id(),
            Self::Imap(target) => target.id(),
        }
    }

    /// Checks, as far as it can be told before anything is done, that the target takes mail and
    /// lies outside the case in `case`.
    pub fn check(&self, case: &Path) -> Result<(), RestoreError> {
        match self {
            Self::Maildir(target) => target.check(case),
            Self::Imap(target) => target.check(),
        }
    }

    /// The mailbox of `place`; `None` if the target has none for it.
    pub fn mailbox(&self, place: &Place) -> Result<Option<Mailbox<'_>>, RestoreError> {
        match (self, place) {
            (Self::Maildir(target), place) => Ok(Some(Mailbox::Maildir(target.path_of(place)))),
            (Self::Imap(target), Place::Account(account)) => {
                let mailbox = imap::Mailbox::new(target, account)?;
                Ok(Some(Mailbox::Server(Box::new(mailbox))))
            }
            (Self::Imap(_), Place::Unattributed) => Ok(None),
        }
    }

    /// Where the mailbox of `place` is, in a form that is the same for two that are one; `None` if
    /// the target has none for it. Where names differ only by case, some file systems and servers
    /// make them one.
    pub fn location(&self, place: &Place) -> Option<PathBuf> {
        let location = match (self, place) {
            (Self::Maildir(target), place) => target.path_of(place).to_string_lossy().into_owned(),
            (Self::Imap(target), Place::Account(account)) => {
                target.login_name(account).replace('/', "\\")
            }
            (Self::Imap(_), Place::Unattributed) => return None,
        };
        Some(PathBuf::from(location.to_lowercase()))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Maildir(target) => write!(f, "{}", target.base().display()),
            Self::Imap(target) => write!(f, "{target}"),
        }
    }
}

/// Who a mailbox in the target belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// An account.
    Account(Address),
    /// Nobody yet: mail whose account is not proven waits here for a person to decide.
    Unattributed,
}

/// Maildirs on this machine, at places that a pattern names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaildirTarget {
    /// The part of the pattern without placeholders.
    base: PathBuf,
    /// The names after it.
    names: Vec<String>,
}

impl MaildirTarget {
    fn new(pattern: &str) -> Result<Self, &'static str> {
        if pattern.is_empty() {
            return Err("it names no directory");
        }
        let pattern = if pattern.contains('{') {
            pattern.to_owned()
        } else {
            format!(
                "{}/{{domain}}/{{local}}/Maildir",
                pattern.trim_end_matches('/')
            )
        };
        let names: Vec<&str> = pattern.split('/').collect();
        let first = names
            .iter()
            .position(|name| name.contains('{'))
            .unwrap_or(0);
        let (base, rest) = names.split_at(first);
        if base.contains(&"..") {
            return Err("it has `..` in it, which leads elsewhere behind a symbolic link");
        }
        let tail = rest.join("/");
        let mut literal = tail.clone();
        for placeholder in ["{domain}", "{local}", "{account}"] {
            literal = literal.replace(placeholder, "");
        }
        if literal.contains(['{', '}']) {
            return Err("it has a placeholder other than {domain}, {local} and {account}");
        }
        if rest.iter().any(|name| matches!(*name, "" | "." | "..")) {
            return Err("it has an empty name, `.` or `..` after a placeholder");
        }
        if !tail.contains("{account}") && !tail.contains("{local}") {
            return Err("it gives all accounts one place: use {local} or {account}");
        }
        let base = base.join("/");
        let base = match (base.as_str(), first) {
            ("", 0) => PathBuf::from("."),
            ("", _) => PathBuf::from("/"),
            (text, _) => PathBuf::from(text),
        };
        Ok(Self {
            base,
            names: rest.iter().map(|name| (*name).to_owned()).collect(),
        })
    }

    /// The directory that all mailboxes are below.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// The Maildir of an account. An [`Address`] holds nothing that could lead elsewhere.
    pub fn maildir_of(&self, account: &Address) -> PathBuf {
        let mut path = self.base.clone();
        for name in &self.names {
            path.push(
                name.replace("{domain}", account.domain())
                    .replace("{local}", account.local())
                    .replace("{account}", &account.to_string()),
            );
        }
        path
    }

    /// The Maildir of a place.
    pub fn path_of(&self, place: &Place) -> PathBuf {
        match place {
            Place::Account(account) => self.maildir_of(account),
            Place::Unattributed => self.base.join("_unattributed"),
        }
    }

    /// The identity of the target, which its ledger is filed under: the same however its place is
    /// spelled, and before and after it is made.
    pub fn id(&self) -> String {
        let base = real_path(&self.base)
            .or_else(|_| std::path::absolute(&self.base))
            .unwrap_or_else(|_| self.base.clone());
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"maildir:");
        hasher.update(base.as_os_str().as_encoded_bytes());
        hasher.update(b"/");
        hasher.update(self.names.join("/").as_bytes());
        hasher
            .finalize()
            .to_hex()
            .get(..16)
            .unwrap_or_default()
            .to_owned()
    }

    /// Checks that the target can be written to and lies outside the case in `case`, which need not
    /// be there yet.
    pub fn check(&self, case: &Path) -> Result<(), RestoreError> {
        let there = nearest_existing(&self.base);
        let case = real_path(case).map_err(|source| RestoreError::io(case, source))?;
        let base = real_path(&self.base).map_err(|source| RestoreError::io(&there, source))?;
        if base.starts_with(&case) {
            return Err(RestoreError::InsideCase {
                path: self.base.clone(),
            });
        }
        let real = there
            .canonicalize()
            .map_err(|source| RestoreError::io(&there, source))?;
        if !real.is_dir() {
            return Err(RestoreError::io(
                &there,
                std::io::Error::from(std::io::ErrorKind::NotADirectory),
            ));
        }
        access(&real, Access::WRITE_OK | Access::EXEC_OK)
            .map_err(|errno| RestoreError::io(&there, errno))
    }
}

/// A path without symbolic links, as far as it is there.
fn real_path(path: &Path) -> std::io::Result<PathBuf> {
    let all = std::path::absolute(path)?;
    let there = nearest_existing(&all);
    let mut real = there.canonicalize()?;
    real.extend(all.strip_prefix(&there).unwrap_or(Path::new("")));
    Ok(real)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maildir(text: &str) -> MaildirTarget {
        match Target::parse(text).unwrap() {
            Target::Maildir(target) => target,
            Target::Imap(target) => panic!("{target}"),
        }
    }

    #[test]
    fn patterns_name_the_place_of_an_account() {
        let ada = Address::parse("ada@lindenhof.example").unwrap();
        let table = [
            (
                "maildir:/srv/vmail/",
                "/srv/vmail/lindenhof.example/ada/Maildir",
            ),
            ("maildir:/home/{local}/Maildir", "/home/ada/Maildir"),
            ("maildir:/m/{account}", "/m/ada@lindenhof.example"),
            (
                "maildir:/m/{domain}/u-{local}/mail",
                "/m/lindenhof.example/u-ada/mail",
            ),
            ("maildir:{account}", "./ada@lindenhof.example"),
        ];
        for (text, want) in table {
            assert_eq!(maildir(text).maildir_of(&ada), Path::new(want), "{text}");
        }
    }

    #[test]
    fn texts_that_name_no_target_are_refused() {
        for bad in [
            "/srv/vmail",
            "maildir:",
            "imap:host",
            "imap://ada:secret@host",
            "maildir:/m/{user}",
            "maildir:/m/{domain}",
            "maildir:/m/{local}/../x",
            "maildir:/m/../n",
            "maildir:../{local}",
        ] {
            assert!(Target::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_target_inside_the_case_is_refused_even_if_it_is_not_there_yet() {
        let dir = tempfile::tempdir().unwrap();
        let case = dir.path().join("case");
        std::fs::create_dir(&case).unwrap();
        let inside = maildir(&format!("maildir:{}/a/b", case.display()));
        assert!(matches!(
            inside.check(&case),
            Err(RestoreError::InsideCase { .. })
        ));
        let beside = maildir(&format!("maildir:{}/case-out", dir.path().display()));
        beside.check(&case).unwrap();
    }

    #[test]
    fn a_target_has_one_identity_however_it_is_spelled() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().display().to_string();
        std::fs::create_dir(dir.path().join("disk")).unwrap();
        std::os::unix::fs::symlink("disk", dir.path().join("link")).unwrap();
        let spellings = ["disk/mail", "disk//mail/", "disk/./mail", "link/mail"];
        let id = |name: &str| maildir(&format!("maildir:{top}/{name}")).id();
        let before = id("disk/mail");
        for name in spellings {
            assert_eq!(id(name), before, "{name}");
        }
        std::fs::create_dir(dir.path().join("disk/mail")).unwrap();
        for name in spellings {
            assert_eq!(id(name), before, "{name}");
        }
        assert_ne!(id("disk/other"), before);
        assert_ne!(id("disk/mail/{local}"), before);
    }

    #[test]
    fn no_spelling_leads_into_the_case() {
        let dir = tempfile::tempdir().unwrap();
        let case = dir.path().join("case");
        std::fs::create_dir(&case).unwrap();
        std::os::unix::fs::symlink("case", dir.path().join("link")).unwrap();
        let top = dir.path().display();
        for name in ["case/a", "link", "link/a/b", "./case", "case//a"] {
            let target = maildir(&format!("maildir:{top}/{name}"));
            let error = target.check(&case).unwrap_err();
            assert!(matches!(error, RestoreError::InsideCase { .. }), "{name}");
        }
        let error = Target::parse(&format!("maildir:{top}/new/../case/a")).unwrap_err();
        assert!(error.to_string().contains("`..`"), "{error}");
    }
}
