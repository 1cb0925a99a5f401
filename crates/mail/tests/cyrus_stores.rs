//! Stores that a real Cyrus IMAP wrote, read back against what it says is in them over IMAP.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot set up its store has failed"
)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use common::{DEVICE, ext4_of};
use mail::account::AccountRules;
use mail::content::{examine, reread};
use mail::proof::Proof;
use mail::store::find;
use mail::{Message, Record};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// All messages in the spool `name` of `fixtures/cyrus`, with their SHA-256. `ruin` is called with
/// the directory of the spool before that becomes a file system.
fn messages(name: &str, ruin: impl FnOnce(&Path)) -> Vec<(Message, String)> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let packed = fs::File::open(top.join("fixtures/cyrus/stores.tar.zst")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    tar::Archive::new(zstd::Decoder::new(packed).unwrap())
        .unpack(dir.path().join("all"))
        .unwrap();
    let root = dir.path().join("all").join(name);
    ruin(&root);
    let fs = ext4_of(&root, 16);
    let stores = find(fs.as_ref(), &AccountRules::default());
    let mut found = Vec::new();
    for folder in &stores.folders {
        let contents = folder.list(fs.as_ref(), DEVICE);
        assert!(contents.losses.is_empty(), "{:?}", contents.losses);
        for file in &contents.files {
            if let Record::Message(message) = examine(fs.as_ref(), DEVICE, file) {
                let again = reread(fs.view(), &message.origin).unwrap();
                let digest = Sha256::digest(&again.bytes);
                let digest = digest.iter().map(|byte| format!("{byte:02x}")).collect();
                found.push((*message, digest));
            }
        }
    }
    found
}

/// What is compared of a message: folder, UID, flags, keywords, date, SHA-256.
type Row = (String, u64, String, Vec<String>, i64, String);

fn said_by_cyrus(name: &str) -> (String, BTreeSet<Row>) {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let manifest = fs::read(top.join("fixtures/cyrus/manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let messages = manifest["stores"][name].as_array().unwrap().iter();
    let rows = messages.map(|message| {
        (
            text(&message["folder"]).replace('/', "."),
            message["uid"].as_u64().unwrap(),
            text(&message["flags"]),
            serde_json::from_value(message["keywords"].clone()).unwrap(),
            message["date"].as_i64().unwrap(),
            text(&message["sha256"]),
        )
    });
    (text(&manifest["account"]), rows.collect())
}

#[test]
fn both_layouts_are_what_cyrus_says() {
    for name in ["uuid", "legacy"] {
        let (account, want) = said_by_cyrus(name);
        let found = messages(name, |_| {});
        // One was expunged, and its file is still there.
        let (expunged, there): (Vec<_>, Vec<_>) = found
            .into_iter()
            .partition(|(message, _)| message.is_deleted());
        assert_eq!(expunged.len(), 1, "{name}");
        let got: BTreeSet<Row> = there
            .iter()
            .map(|(message, digest)| {
                (
                    message.folder.clone(),
                    u64::from(message.uid.unwrap()),
                    message.flags.letters().to_owned(),
                    message.keywords.clone(),
                    message.delivered.seconds,
                    digest.clone(),
                )
            })
            .collect();
        assert_eq!(got, want, "{name}");
        assert_eq!(there.len(), want.len());
        for (message, _) in there.iter().chain(&expunged) {
            assert!(message.proofs.contains(&Proof::Sha1), "{message:?}");
            let owner = message.owner.as_ref().unwrap();
            assert_eq!(owner.account.to_string(), account);
        }
    }
}

#[test]
fn without_indexes_messages_stay_and_a_changed_one_is_told_by_its_guid() {
    let (_, want) = said_by_cyrus("legacy");
    let inbox = "domain/t/tidewater.example/j/user/john^doe";
    let bare = messages("legacy", |root| {
        for name in ["cyrus.index", "cyrus.header", "cyrus.cache"] {
            fs::remove_file(root.join(inbox).join(name)).unwrap();
        }
        fs::remove_file(root.join(inbox).join("Sent/cyrus.index")).unwrap();
    });
    let digests: BTreeSet<&String> = bare.iter().map(|(_, digest)| digest).collect();
    for row in &want {
        assert!(digests.contains(&row.5), "{row:?}");
    }
    let changed = messages("legacy", |root| {
        let path = root.join(inbox).join("Sent/1.");
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).unwrap();
    });
    let damaged = changed
        .iter()
        .filter(|(message, _)| !message.grade.is_whole());
    let damaged: Vec<&str> = damaged
        .map(|(message, _)| message.origin.path.as_str())
        .collect();
    assert_eq!(damaged, [format!("/{inbox}/Sent/1.")]);
}
