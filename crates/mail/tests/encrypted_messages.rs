//! Messages that a real Dovecot encrypted: each is named with its key, none is handed over.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot set up its store has failed"
)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use common::{DEVICE, ext4_of};
use mail::Record;
use mail::account::AccountRules;
use mail::content::{examine, reread};
use mail::store::find;
use serde_json::Value;
use sha2::{Digest, Sha256};

fn fixture(name: &str) -> PathBuf {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/crypt");
    top.join(name)
}

/// Everything that phase 1 finds in the store `name`, with the SHA-256 of what is a message.
fn records(name: &str) -> Vec<(Record, String)> {
    let dir = tempfile::tempdir().unwrap();
    let packed = fs::File::open(fixture("stores.tar.zst")).unwrap();
    let all = dir.path().join("stores");
    tar::Archive::new(zstd::Decoder::new(packed).unwrap())
        .unpack(&all)
        .unwrap();
    let root = dir.path().join("root");
    fs::create_dir_all(root.join("vmail/tidewater.example")).unwrap();
    fs::rename(all.join(name), root.join("vmail/tidewater.example/ada")).unwrap();
    let fs = ext4_of(&root, 64);
    let stores = find(fs.as_ref(), &AccountRules::default());
    let mut records = Vec::new();
    for folder in &stores.folders {
        for file in &folder.list(fs.as_ref(), DEVICE).files {
            let record = examine(fs.as_ref(), DEVICE, file);
            let digest = match &record {
                Record::Message(message) => {
                    let bytes = reread(fs.view(), &message.origin).unwrap().bytes;
                    let digest = Sha256::digest(&bytes);
                    digest.iter().map(|byte| format!("{byte:02x}")).collect()
                }
                _ => String::new(),
            };
            records.push((record, digest));
        }
    }
    records
}

fn check(name: &str) {
    let manifest: Value =
        serde_json::from_slice(&fs::read(fixture("manifest.json")).unwrap()).unwrap();
    let rows = manifest["stores"][name].as_array().unwrap();
    let is_encrypted = |row: &&Value| row["encrypted"].as_bool().unwrap();
    let found = records(name);
    let mut plain: Vec<&str> = found
        .iter()
        .filter(
            |(record, _)| matches!(record, Record::Message(message) if message.grade.is_whole()),
        )
        .map(|(_, digest)| digest.as_str())
        .collect();
    let mut expected: Vec<&str> = rows
        .iter()
        .filter(|row| !is_encrypted(row))
        .map(|row| row["sha256"].as_str().unwrap())
        .collect();
    plain.sort_unstable();
    expected.sort_unstable();
    assert_eq!(plain, expected, "{name}");

    let lost: Vec<_> = found
        .iter()
        .filter_map(|(record, _)| match record {
            Record::Lost(note) if note.is_encrypted => Some(note),
            _ => None,
        })
        .collect();
    let mut folders: Vec<&str> = lost.iter().map(|note| note.folder.as_str()).collect();
    let mut expected: Vec<&str> = rows
        .iter()
        .filter(is_encrypted)
        .map(|row| row["folder"].as_str().unwrap())
        .collect();
    folders.sort_unstable();
    expected.sort_unstable();
    assert_eq!(folders, expected, "{name}");
    assert_eq!(found.len(), rows.len(), "{name}: nothing else is found");
    // The digests as doveadm says them: that of version 2, and that of version 1.
    let keys: BTreeSet<&str> = lost
        .iter()
        .map(|note| {
            let at = note.why.find("key digest ").unwrap() + 11;
            note.why.get(at..at + 64).unwrap()
        })
        .collect();
    let version = usize::from(name.ends_with("-v1"));
    let key = manifest["keys"][version].as_str().unwrap();
    assert_eq!(keys, BTreeSet::from([key]), "{name}");
    for note in lost {
        let owner = note.owner.as_ref().unwrap();
        assert_eq!(owner.account.to_string(), "ada@tidewater.example", "{name}");
        assert!(note.delivered.is_some(), "{name}");
    }
}

#[test]
fn in_a_maildir_of_either_version_and_compressed() {
    check("maildir");
    check("maildir-gz");
    check("maildir-v1");
}

#[test]
fn in_a_dbox_of_either_kind() {
    check("sdbox");
    check("mdbox");
}
