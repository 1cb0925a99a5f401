//! `drill`: recover a small known incident, and score what came out against its truth.
//!
//! The incident is a real array, made and broken by a real kernel (`fixtures/README.md`); it is
//! part of the program, so that a drill needs nothing but it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::recover;
use crate::args::{AccountOptions, Common, Drill, HandingBack, Hashes, Recover, Server, WhenFull};
use crate::output::{Output, table};
use crate::usage::Usage;

/// The disks of the incident, as `tar` packed with zstd.
static DISKS: &[u8] = include_bytes!("../../../../fixtures/incidents/drill/disks.tar.zst");
/// What was on them.
static TRUTH: &str = include_str!("../../../../fixtures/incidents/drill/truth.json");

/// What the builder of the incident knows of its mail.
#[derive(Debug, Deserialize)]
struct Truth {
    messages: Vec<TrueMessage>,
}

/// One message of the incident.
#[derive(Debug, Deserialize)]
struct TrueMessage {
    account: String,
    folder: String,
    sha256: String,
    deleted: bool,
    #[serde(default)]
    survives: Option<String>,
    #[serde(default)]
    flags: String,
}

/// How a restored tree compares with the truth.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct Score {
    /// Messages that can still be had.
    survivors: u64,
    /// Of them, restored exactly, to their account.
    exact: u64,
    /// Of them, in the right folder.
    in_folder: u64,
    /// Of them, with the right flags.
    with_flags: u64,
    /// Messages claimed whole that equal none of the incident.
    r#false: u64,
    /// Exact messages in an account that they never belonged to.
    misfiled: u64,
    /// The same message more than once in an account.
    duplicates: u64,
    /// Messages in the folders for damaged ones.
    damaged: u64,
    /// Messages that wait for a person.
    unattributed: u64,
}

impl Score {
    const fn is_perfect(&self) -> bool {
        self.exact == self.survivors
            && self.in_folder == self.exact
            && self.with_flags == self.exact
            && self.r#false == 0
            && self.misfiled == 0
            && self.duplicates == 0
    }
}

/// Runs the command.
pub(crate) fn run(args: &Drill, common: &Common) -> Result<Output> {
    let directory = directory(args.dir.as_deref())?;
    let disks = unpack(&directory)?;
    let restored = directory.join("restored");
    let recovered = recover::run(
        &Recover {
            case: directory.join("case"),
            images: disks,
            raw: Vec::new(),
            to: format!("maildir:{}", restored.display()),
            hashes: Hashes {
                sha256: false,
                no_hash: false,
            },
            accounts: AccountOptions {
                patterns: Vec::new(),
                default_domain: None,
                list: None,
                delimiters: None,
            },
            handing_back: HandingBack {
                when_full: WhenFull::Stop,
                server: Server::default(),
            },
        },
        common,
    )?;
    let truth: Truth = serde_json::from_str(TRUTH)?;
    let score = score(&truth, &read_tree(&restored)?);
    let mut text = recovered.text;
    text.push_str("\nscore against what was there\n");
    text.push_str(&table(&rows(&score)));
    let html = directory.join("case/report/report.html");
    text.push_str(&format!(
        "\n{}\nrestored mail: {}\nreport: {}\n",
        if score.is_perfect() {
            "The drill passed: every message that can be had is back, and nothing else."
        } else {
            "THE DRILL FAILED: this build must not be used on evidence."
        },
        restored.display(),
        html.display(),
    ));
    Ok(Output {
        failed: recovered.failed || !score.is_perfect(),
        json: json!({"score": score, "recover": recovered.json, "report": html, "restored": restored}),
        text,
    })
}

/// The directory to work in: the one that was named, or a new one.
fn directory(named: Option<&Path>) -> Result<PathBuf> {
    let Some(path) = named else {
        let made = tempfile::Builder::new()
            .prefix("restante-drill-")
            .tempdir()?;
        return Ok(made.keep());
    };
    let path = std::path::absolute(path)?;
    if fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Usage::error(format!(
            "{} is not empty; name a new directory for the drill",
            path.display()
        )));
    }
    Ok(path)
}

/// Unpacks the disks of the incident and gives their paths, sorted.
fn unpack(directory: &Path) -> Result<Vec<PathBuf>> {
    let disks = directory.join("disks");
    fs::create_dir_all(&disks).with_context(|| disks.display().to_string())?;
    tar::Archive::new(zstd::Decoder::new(DISKS)?)
        .unpack(&disks)
        .with_context(|| format!("unpacking the disks to {}", disks.display()))?;
    let mut paths = Vec::new();
    for entry in fs::read_dir(&disks).with_context(|| disks.display().to_string())? {
        paths.push(entry?.path());
    }
    paths.sort();
    Ok(paths)
}

/// One file of a restored tree.
struct Restored {
    /// `local@domain`; `None` where mail waits for a person.
    account: Option<String>,
    folder: String,
    sha256: String,
    flags: String,
}

/// Reads `DOMAIN/LOCAL/Maildir/.restored_emails*` and `_unattributed`.
fn read_tree(root: &Path) -> Result<Vec<Restored>> {
    let mut found = Vec::new();
    for domain in directories(root)? {
        if domain == "_unattributed" {
            let maildir = root.join(&domain);
            read_folder(&maildir, None, "INBOX", &mut found)?;
            continue;
        }
        for local in directories(&root.join(&domain))? {
            let maildir = root.join(&domain).join(&local).join("Maildir");
            for folder in directories(&maildir)? {
                let Some(name) = folder.strip_prefix(".restored_emails") else {
                    continue;
                };
                let name = match name.trim_start_matches('.') {
                    "" => "INBOX",
                    name => name,
                };
                let account = Some(format!("{local}@{domain}"));
                read_folder(&maildir.join(&folder), account, name, &mut found)?;
            }
        }
    }
    Ok(found)
}

fn directories(path: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(names),
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn read_folder(
    path: &Path,
    account: Option<String>,
    folder: &str,
    found: &mut Vec<Restored>,
) -> Result<()> {
    for directory in ["cur", "new"] {
        let Ok(entries) = fs::read_dir(path.join(directory)) else {
            continue;
        };
        for entry in entries {
            let entry = entry?;
            let name = mail::maildir::MaildirName::parse(entry.file_name().as_encoded_bytes())
                .flags
                .letters()
                .to_owned();
            let digest = Sha256::digest(fs::read(entry.path())?);
            found.push(Restored {
                account: account.clone(),
                folder: folder.to_owned(),
                sha256: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
                flags: name,
            });
        }
    }
    Ok(())
}

/// Compares a restored tree with the truth.
fn score(truth: &Truth, restored: &[Restored]) -> Score {
    let mut score = Score::default();
    let mut owners: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    // What is still to be met: the messages of each account, by contents.
    let mut wanted: BTreeMap<(&str, &str), Vec<&TrueMessage>> = BTreeMap::new();
    for message in &truth.messages {
        let owners = owners.entry(message.sha256.as_str()).or_default();
        owners.insert(&message.account);
        let survives = message.survives.as_deref().unwrap_or("full") == "full";
        if message.deleted || survives {
            let key = (message.account.as_str(), message.sha256.as_str());
            wanted.entry(key).or_default().push(message);
        }
        score.survivors += u64::from(survives && !message.deleted);
    }
    for file in restored {
        let Some(account) = &file.account else {
            score.unattributed += 1;
            continue;
        };
        if file.folder == "Damaged" {
            score.damaged += 1;
            continue;
        }
        let Some(owners) = owners.get(file.sha256.as_str()) else {
            score.r#false += 1;
            continue;
        };
        if !owners.contains(account.as_str()) {
            score.misfiled += 1;
            continue;
        }
        let left = wanted.entry((account, &file.sha256)).or_default();
        // The one in this very folder is met first.
        let at = left.iter().position(|m| m.folder == file.folder);
        let at = at.or(if left.is_empty() { None } else { Some(0) });
        let Some(message) = at.map(|at| left.swap_remove(at)) else {
            score.duplicates += 1;
            continue;
        };
        if !message.deleted {
            score.exact += 1;
            score.in_folder += u64::from(message.folder == file.folder);
            let flags = mail::maildir::Flags::new(&message.flags);
            score.with_flags += u64::from(flags.letters() == file.flags);
        }
    }
    score
}

fn rows(score: &Score) -> Vec<Vec<String>> {
    [
        ("messages that can be had", score.survivors),
        ("restored exactly", score.exact),
        ("  in the right folder", score.in_folder),
        ("  with the right flags", score.with_flags),
        ("false", score.r#false),
        ("in a wrong account", score.misfiled),
        ("twice", score.duplicates),
        ("damaged", score.damaged),
        ("waiting for a person", score.unattributed),
    ]
    .into_iter()
    .map(|(what, count)| vec![what.to_owned(), count.to_string()])
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn truth(account: &str, folder: &str, sha256: &str, deleted: bool) -> TrueMessage {
        TrueMessage {
            account: account.to_owned(),
            folder: folder.to_owned(),
            sha256: sha256.to_owned(),
            deleted,
            survives: None,
            flags: "S".to_owned(),
        }
    }

    fn file(account: Option<&str>, folder: &str, sha256: &str) -> Restored {
        Restored {
            account: account.map(str::to_owned),
            folder: folder.to_owned(),
            sha256: sha256.to_owned(),
            flags: "S".to_owned(),
        }
    }

    #[test]
    fn every_mistake_costs_its_own_point() {
        let truth = Truth {
            messages: vec![
                truth("a@x.example", "INBOX", "1", false),
                truth("a@x.example", "Sent", "2", false),
                truth("b@x.example", "INBOX", "3", true),
            ],
        };
        let a = Some("a@x.example");
        let perfect = [file(a, "INBOX", "1"), file(a, "Sent", "2")];
        assert!(score(&truth, &perfect).is_perfect());
        let mistakes = [
            file(a, "INBOX", "1"),
            file(a, "INBOX", "1"),
            file(a, "INBOX", "2"),
            file(a, "INBOX", "3"),
            file(a, "INBOX", "9"),
            file(a, "Damaged", "9"),
            file(None, "INBOX", "9"),
        ];
        let got = score(&truth, &mistakes);
        let want = Score {
            survivors: 2,
            exact: 2,
            in_folder: 1,
            with_flags: 2,
            r#false: 1,
            misfiled: 1,
            duplicates: 1,
            damaged: 1,
            unattributed: 1,
        };
        assert_eq!(got, want);
    }
}
