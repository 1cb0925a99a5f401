//! Mail as a real Dovecot stored it: every message is found, in every kind of store.
//!
//! `fixtures/maildir` holds the same 18 messages in each; its manifest says which file is whose.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::allow_attributes,
    reason = "a test that cannot make its disk has failed"
)]

mod common;

use std::collections::BTreeMap;
use std::io::Read;

use scan::{BLOCK_BYTES, Find};

use crate::common::{called, scan_of, top};

/// The files of one store by their paths, as the fixture has them.
fn files(store: &str) -> BTreeMap<String, Vec<u8>> {
    let packed = std::fs::File::open(top().join("fixtures/maildir/stores.tar.zst")).unwrap();
    let mut archive = tar::Archive::new(zstd::Decoder::new(packed).unwrap());
    let mut files = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_string_lossy().into_owned();
        let path = path.trim_start_matches("./").to_owned();
        if entry.header().entry_type().is_file() && path.starts_with(&format!("{store}/")) {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            files.insert(path, bytes);
        }
    }
    assert!(!files.is_empty(), "{store}");
    files
}

/// A disk with the files one behind the other, each at the beginning of a block of `align` bytes,
/// and where each begins.
fn disk(files: &BTreeMap<String, Vec<u8>>, align: usize) -> (Vec<u8>, BTreeMap<String, u64>) {
    let (mut disk, mut places) = (vec![0; BLOCK_BYTES], BTreeMap::new());
    for (path, bytes) in files {
        places.insert(path.clone(), disk.len() as u64);
        disk.extend_from_slice(bytes);
        disk.resize(disk.len().next_multiple_of(align), 0);
    }
    (disk, places)
}

/// The files that are messages of a Maildir.
fn messages(places: &BTreeMap<String, u64>) -> Vec<u64> {
    let found = places.iter().filter(|(path, _)| path.contains("/cur/"));
    let found: Vec<u64> = found.map(|(_, at)| *at).collect();
    assert_eq!(found.len(), 18);
    found
}

fn offsets(finds: &[&Find]) -> Vec<u64> {
    finds.iter().map(|find| find.offset.get()).collect()
}

#[test]
fn every_message_of_a_maildir_is_found_where_it_begins_and_nowhere_else() {
    for align in [512, 1024, 4096] {
        let (disk, places) = disk(&files("maildir"), align);
        let result = scan_of(disk);
        let mut wanted = messages(&places);
        wanted.sort_unstable();
        assert_eq!(
            offsets(&called(&result.finds, "message")),
            wanted,
            "{align}"
        );
    }
}

#[test]
fn messages_are_found_at_any_byte_behind_what_is_no_text() {
    let files = files("maildir");
    let message = files
        .iter()
        .find(|(path, _)| path.contains("/cur/"))
        .unwrap()
        .1;
    for at in [1_usize, 7, 511, 513, 4095, 4097, 9999] {
        let mut disk = vec![0x90; at];
        disk.extend_from_slice(message);
        let result = scan_of(disk);
        assert_eq!(offsets(&called(&result.finds, "message")), [at as u64]);
    }
}

#[test]
fn compressed_messages_are_told_from_other_compressed_files() {
    for (store, what) in [
        ("maildir-gz", "gzip-message"),
        ("maildir-bz2", "bzip2-message"),
        ("maildir-xz", "xz-message"),
        ("maildir-zstd", "zstd-message"),
        ("maildir-lz4", "lz4-message"),
    ] {
        let (mut disk, places) = disk(&files(store), 4096);
        let other = zstd::encode_all(&b"tides and timetables ".repeat(99)[..], 3).unwrap();
        let at = disk.len() as u64;
        disk.extend_from_slice(&other);
        let result = scan_of(disk);
        let mut wanted = messages(&places);
        wanted.sort_unstable();
        assert_eq!(offsets(&called(&result.finds, what)), wanted, "{store}");
        assert_eq!(offsets(&called(&result.finds, "zstd")), [at]);
    }
}

#[test]
fn every_record_of_dbox_files_is_found_with_its_size() {
    for store in ["sdbox", "mdbox", "mdbox-gz"] {
        let files = files(store);
        let (disk, _) = disk(&files, 4096);
        let result = scan_of(disk.clone());
        let records = called(&result.finds, "dbox-record");
        assert_eq!(records.len(), 18, "{store}");
        for record in records {
            // DBOX_MAGIC_POST stands behind each.
            let end = (record.offset.get() + record.bytes.unwrap()) as usize;
            assert_eq!(&disk[end..end + 4], b"\n\x01\x03\n");
        }
        let boxes = files.keys().filter(|path| {
            let name = path.rsplit('/').next().unwrap_or_default();
            name.starts_with("u.") || name.starts_with("m.")
        });
        assert_eq!(called(&result.finds, "dbox-file").len(), boxes.count());
    }
}

#[test]
fn every_message_of_an_mbox_is_found_by_its_from_line() {
    let (disk, _) = disk(&files("mbox"), 4096);
    let result = scan_of(disk.clone());
    // Dovecot writes a message of its own into the first mbox of an account.
    let own = memchr::memmem::find_iter(&disk, b"\nFrom MAILER-DAEMON ").count();
    let found = called(&result.finds, "mbox-from");
    assert!(
        (18..=18 + 4).contains(&(found.len() - own)),
        "{}",
        found.len()
    );
    for find in found {
        let line = &disk[find.offset.get() as usize..][..find.bytes.unwrap() as usize];
        assert!(line.starts_with(b"From ") && line.ends_with(b"\n"));
    }
}

#[test]
fn indexes_logs_caches_and_lists_of_uids_are_found() {
    let files = files("maildir");
    let (disk, places) = disk(&files, 4096);
    let result = scan_of(disk);
    for (ending, what) in [
        ("dovecot.index.log", "dovecot-log"),
        ("dovecot.list.index.log", "dovecot-log"),
        ("dovecot.index.cache", "dovecot-cache"),
        ("dovecot-uidlist", "dovecot-uidlist"),
        ("dovecot.index", "dovecot-index"),
        ("dovecot.list.index", "dovecot-index"),
    ] {
        let found = offsets(&called(&result.finds, what));
        for (path, at) in &places {
            if path.rsplit('/').next() == Some(ending) {
                assert!(found.contains(at), "{path}");
            }
        }
    }
}
