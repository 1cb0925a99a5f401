//! Stores that a real Dovecot wrote, in every format and codec, read back against what it says is in
//! them.

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
use mail::account::AccountRules;
use mail::content::{examine, reread};
use mail::store::find;
use mail::{Grade, Message, Record};
use sha2::{Digest, Sha256};

/// Unpacks the store `name` of the fixtures `set` as an account's home; gives the root of the tree.
fn unpack(dir: &Path, set: &str, name: &str) -> PathBuf {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let packed = top.join("fixtures").join(set).join("stores.tar.zst");
    let packed = fs::File::open(packed).unwrap();
    let all = dir.join("stores");
    tar::Archive::new(zstd::Decoder::new(packed).unwrap())
        .unpack(&all)
        .unwrap();
    let root = dir.join("root");
    fs::create_dir_all(root.join("vmail/tidewater.example")).unwrap();
    fs::rename(all.join(name), root.join("vmail/tidewater.example/ada")).unwrap();
    root
}

/// Everything that phase 1 finds in the store `name`, and the SHA-256 of each message.
fn records(set: &str, name: &str) -> (Vec<Record>, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let fs = ext4_of(&unpack(dir.path(), set, name), 64);
    let stores = find(fs.as_ref(), &AccountRules::default());
    assert!(stores.losses.is_empty());
    let mut records = Vec::new();
    let mut digests = Vec::new();
    for folder in &stores.folders {
        let contents = folder.list(fs.as_ref(), DEVICE);
        records.extend(contents.folders.into_iter().map(Record::Folder));
        for file in &contents.files {
            let record = examine(fs.as_ref(), DEVICE, file);
            if let Record::Message(message) = &record {
                let again = reread(fs.view(), &message.origin).unwrap();
                assert_eq!(mail::MessageId::of(&again.bytes), message.id);
                digests.push(sha256(&again.bytes));
            }
            records.push(record);
        }
    }
    (records, digests)
}

fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn messages(records: &[Record]) -> Vec<&Message> {
    records
        .iter()
        .filter_map(|record| match record {
            Record::Message(message) => Some(message.as_ref()),
            _ => None,
        })
        .collect()
}

/// What is compared of a message: folder, UID, size, flags, keywords, date, SHA-256.
type Row = (String, u64, u64, String, Vec<String>, i64, String);

fn compare(name: &str) {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let manifest = fs::read(top.join("fixtures/maildir/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    compare_with("maildir", name, &manifest["stores"][name]);
}

/// Compares what is in use in a store with what Dovecot said; gives how much was expunged.
fn compare_with(set: &str, name: &str, said: &serde_json::Value) -> usize {
    let want: BTreeSet<Row> = said
        .as_array()
        .unwrap()
        .iter()
        .map(|message| {
            let mut keywords: Vec<String> =
                serde_json::from_value(message["keywords"].clone()).unwrap();
            keywords.sort();
            (
                message["folder"].as_str().unwrap().replace('/', "."),
                message["uid"].as_u64().unwrap(),
                message["size"].as_u64().unwrap(),
                message["flags"].as_str().unwrap().to_owned(),
                keywords,
                message["date"].as_i64().unwrap(),
                message["sha256"].as_str().unwrap().to_owned(),
            )
        })
        .collect();
    let (records, digests) = records(set, name);
    let found = messages(&records);
    assert_eq!(found.len(), digests.len());
    let there: Vec<_> = found
        .iter()
        .zip(digests)
        .filter(|(message, _)| !message.is_deleted())
        .collect();
    let got: BTreeSet<Row> = there
        .iter()
        .map(|(message, digest)| {
            (
                message.folder.clone(),
                u64::from(message.uid.unwrap_or_default()),
                message.bytes,
                message.flags.letters().to_owned(),
                message.keywords.clone(),
                message.delivered.seconds,
                digest.clone(),
            )
        })
        .collect();
    assert_eq!(got, want, "{name}");
    assert_eq!(there.len(), want.len());
    for message in &found {
        assert_eq!(message.grade, Grade::Proven, "{message:?}");
        assert!(message.contradictions.is_empty(), "{message:?}");
        let owner = message.owner.as_ref().unwrap();
        assert_eq!(owner.account.to_string(), "ada@tidewater.example");
    }
    found.len().saturating_sub(there.len())
}

#[test]
fn dboxes_that_were_in_use_are_what_dovecot_says() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let manifest = fs::read(top.join("fixtures/dbox/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    // Of what was expunged an sdbox keeps nothing, nor does an mdbox once it was purged or moved.
    for (name, expunged) in [
        ("sdbox", 0),
        ("mdbox", 2),
        ("mdbox-purged", 0),
        ("mdbox-alt", 0),
        ("sdbox-alt", 0),
    ] {
        assert_eq!(
            compare_with("dbox", name, &manifest[name]),
            expunged,
            "{name}"
        );
    }
}

#[test]
fn a_plain_maildir_is_what_dovecot_says() {
    compare("maildir");
}

#[test]
fn nested_folders_are_what_dovecot_says() {
    compare("maildir-fs");
}

#[test]
fn every_codec_is_what_dovecot_says() {
    for codec in ["gz", "bz2", "xz", "lz4", "zstd"] {
        compare(&format!("maildir-{codec}"));
    }
}

#[test]
fn an_mbox_is_what_dovecot_says() {
    compare("mbox");
}

#[test]
fn dboxes_are_what_dovecot_says() {
    for store in ["sdbox", "mdbox", "mdbox-gz"] {
        compare(store);
    }
}

#[test]
fn a_maildir_of_courier_is_what_courier_says() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let manifest = fs::read(top.join("fixtures/courier/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    compare_with("courier", "courier", &manifest["courier"]);
}

#[test]
fn the_list_of_folders_is_what_dovecot_has() {
    let dir = tempfile::tempdir().unwrap();
    let root = unpack(dir.path(), "maildir", "maildir");
    let maildir = root.join("vmail/tidewater.example/ada/Maildir");
    let log = fs::read(maildir.join("dovecot.list.index.log")).unwrap();
    let listed = mail::maildir::parse_list_log(&log).unwrap();
    let rows: Vec<(String, Option<u32>)> = listed
        .iter()
        .map(|folder| (folder.name.clone(), folder.messages))
        .collect();
    let row = |name: &str, messages| (name.to_owned(), messages);
    assert_eq!(
        rows,
        [
            row("Archive.2014", Some(3)),
            row("Entw&APw-rfe", Some(3)),
            // Dovecot does not count the inbox in its list.
            row("INBOX", None),
            row("Sent", Some(4)),
        ]
    );
    for folder in listed {
        let path = match folder.name.as_str() {
            "INBOX" => maildir.join("dovecot-uidlist"),
            name => maildir.join(format!(".{name}/dovecot-uidlist")),
        };
        let uidlist = fs::read(path).unwrap();
        let uidlist = mail::maildir::Uidlist::parse(&uidlist).unwrap();
        assert_eq!(uidlist.guid.as_deref(), Some(folder.guid.as_str()));
    }
}
