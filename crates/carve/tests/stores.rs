//! Files of mail stores as a real Dovecot wrote them, on a device without a file system.
//!
//! `fixtures/maildir` holds the same 18 messages in each kind of store; its manifest has the SHA-256
//! of each, as Dovecot shows it.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by failing"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use carve::{Carved, carve};
use evidence::view::Memory;
use mail::codec::{Codec, decode};
use sha2::{Digest, Sha256};

/// The block that ext4 takes for small file systems.
const BLOCK: usize = 1024;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/maildir")
}

/// The files of one store that hold messages, by their paths.
fn files(store: &str) -> BTreeMap<String, Vec<u8>> {
    let packed = File::open(fixtures().join("stores.tar.zst")).unwrap();
    let mut archive = tar::Archive::new(zstd::Decoder::new(packed).unwrap());
    let mut files = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_string_lossy().into_owned();
        let path = path.trim_start_matches("./").to_owned();
        let is_file = entry.header().entry_type().is_file();
        let is_own = path.starts_with(&format!("{store}/"));
        if is_file && is_own && !path.contains("dovecot") && !path.contains("subscriptions") {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            files.insert(path, bytes);
        }
    }
    assert!(!files.is_empty(), "{store}");
    files
}

/// The folder of each message of a store, by the SHA-256 of it.
fn truth(store: &str) -> BTreeMap<String, String> {
    let manifest = std::fs::read(fixtures().join("manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let messages = manifest["stores"][store].as_array().unwrap().iter();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let all: BTreeMap<String, String> = messages
        .map(|message| (text(&message["sha256"]), text(&message["folder"])))
        .collect();
    assert_eq!(all.len(), 18);
    all
}

/// Appends a file to a disk at the next block.
fn lay(disk: &mut Vec<u8>, bytes: &[u8]) {
    disk.resize(disk.len().next_multiple_of(BLOCK), 0);
    disk.extend_from_slice(bytes);
    disk.resize(disk.len().next_multiple_of(BLOCK), 0);
}

/// A disk with the files of a store one behind the other.
fn disk(store: &str) -> Vec<u8> {
    let mut disk = vec![0; 16 * BLOCK];
    for bytes in files(store).values() {
        lay(&mut disk, bytes);
    }
    disk
}

/// The SHA-256 of all that was carved whole, with the folder that stood beside it.
fn whole(disk: &[u8], carved: &Carved) -> BTreeMap<String, Option<String>> {
    let messages = carved.messages.iter();
    let whole = messages.filter(|carving| carving.found.proof.is_some());
    let read = whole.map(|carving| {
        let mut stored = Vec::new();
        for (at, length) in &carving.found.pieces {
            let at = usize::try_from(*at).unwrap();
            stored.extend_from_slice(&disk[at..at + usize::try_from(*length).unwrap()]);
        }
        let content = decode(Codec::of(&stored), &stored);
        assert_eq!(content.error, None);
        let digest = Sha256::digest(&content.bytes);
        let hex = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let folder = carving.found.stored.as_ref();
        (hex, folder.and_then(|stored| stored.folder.clone()))
    });
    read.collect()
}

fn carved(disk: &[u8]) -> BTreeMap<String, Option<String>> {
    let carved = carve(&Memory::new(disk.to_vec()), &[], &|_| ());
    whole(disk, &carved)
}

#[test]
fn every_message_of_a_store_comes_back_exact_and_nothing_else() {
    for store in [
        "maildir-gz",
        "maildir-bz2",
        "maildir-xz",
        "maildir-zstd",
        "maildir-lz4",
        "sdbox",
        "mdbox",
        "mdbox-gz",
        "mbox",
    ] {
        let truth = truth(store);
        let found = carved(&disk(store));
        let missed: Vec<&String> = truth.keys().filter(|m| !found.contains_key(*m)).collect();
        let strange: Vec<&String> = found.keys().filter(|m| !truth.contains_key(*m)).collect();
        assert!(missed.is_empty(), "{store}: {missed:?}");
        assert!(strange.is_empty(), "{store}: {strange:?}");
    }
}

#[test]
fn an_mdbox_says_the_folder_that_a_message_was_saved_to() {
    for store in ["mdbox", "mdbox-gz"] {
        let truth = truth(store);
        for (message, folder) in carved(&disk(store)) {
            let listed = truth[&message].replace('/', ".");
            assert_eq!(folder, Some(listed), "{store}");
        }
    }
}

#[test]
fn a_compressed_message_in_a_record_that_begins_at_a_sector_is_there_once() {
    let files = files("mdbox-gz");
    let file = files.values().next().unwrap();
    let gzip = [0x1F, 0x8B, 8];
    let places = (0..file.len()).filter(|at| file[*at..].starts_with(&gzip));
    let mut tried = 0;
    for place in places {
        let mut disk = vec![0; 16 * BLOCK + (512 - place % 512)];
        disk.extend_from_slice(file);
        disk.resize(disk.len().next_multiple_of(BLOCK), 0);
        let carved = carve(&Memory::new(disk.clone()), &[], &|_| ());
        assert_eq!(carved.messages.len(), 18, "a message at {place}");
        tried += 1;
    }
    assert!(tried >= 18);
}

/// A disk on which the file of an mdbox lies in two pieces, its end first, with another store
/// between them.
fn broken(file: &[u8], at: usize) -> Vec<u8> {
    let (first, rest) = file.split_at(at);
    let mut disk = vec![0; 16 * BLOCK];
    lay(&mut disk, rest);
    for bytes in files("maildir").values().take(4) {
        lay(&mut disk, bytes);
    }
    lay(&mut disk, first);
    // No message may reach over the end of the disk, by its length.
    lay(&mut disk, &vec![0xA5; 200 * BLOCK]);
    disk
}

#[test]
fn a_message_that_its_file_is_broken_in_comes_back_by_its_lengths() {
    for store in ["mdbox", "mdbox-gz"] {
        let truth = truth(store);
        let files = files(store);
        let file = files.values().next().unwrap();
        let breaks: Vec<usize> = (BLOCK..file.len()).step_by(BLOCK).collect();
        let mut whole = 0;
        for at in &breaks {
            let found = carved(&broken(file, *at));
            let missed = truth.keys().filter(|m| !found.contains_key(*m)).count();
            let strange: Vec<&String> = found.keys().filter(|m| !truth.contains_key(*m)).collect();
            assert!(strange.is_empty(), "{store}, broken at {at}: {strange:?}");
            assert!(missed <= 1, "{store}, broken at {at}: {missed} are missing");
            whole += usize::from(missed == 0);
        }
        // Of bytes that are no text nothing tells where the break is; and it may fall between.
        let all = breaks.len();
        assert!(whole * 100 >= all * 90, "{store}: {whole} of {all} breaks");
    }
}

#[test]
fn a_compressed_file_in_two_pieces_comes_back_by_its_checksum() {
    for store in ["maildir-gz", "maildir-bz2", "maildir-xz"] {
        let truth = truth(store);
        let files = files(store);
        let (mut whole, mut all) = (0, 0);
        for broken in files.values().filter(|file| file.len() > BLOCK) {
            let breaks = (BLOCK..broken.len()).step_by(BLOCK);
            for at in breaks.step_by((broken.len() / BLOCK / 4).max(1)) {
                let (first, rest) = broken.split_at(at);
                let mut disk = vec![0; 16 * BLOCK];
                lay(&mut disk, rest);
                for other in files.values().filter(|other| *other != broken) {
                    lay(&mut disk, other);
                }
                lay(&mut disk, first);
                lay(&mut disk, &Sha256::digest(first).repeat(3 * BLOCK / 32));
                let found = carved(&disk);
                assert!(found.keys().all(|message| truth.contains_key(message)));
                assert!(found.len() + 1 >= truth.len(), "{store}: {}", found.len());
                all += 1;
                whole += usize::from(found.len() == truth.len());
            }
        }
        // What bzip2 packed contradicts itself late behind a break.
        assert!(all > 5 && whole * 4 >= all * 3, "{store}: {whole} of {all}");
    }
}

#[test]
fn a_broken_mbox_gives_nothing_false() {
    let truth = truth("mbox");
    let plain = files("maildir");
    let plain: BTreeSet<String> = plain
        .values()
        .map(|bytes| {
            Sha256::digest(bytes)
                .iter()
                .map(|b| format!("{b:02x}"))
                .collect()
        })
        .collect();
    for file in files("mbox").values() {
        for at in (BLOCK..file.len()).step_by(BLOCK) {
            let found = carved(&broken(file, at));
            let strange: Vec<&String> = found
                .keys()
                .filter(|m| !truth.contains_key(*m) && !plain.contains(*m))
                .collect();
            assert!(strange.is_empty(), "broken at {at}: {strange:?}");
        }
    }
}

#[test]
fn no_damage_makes_it_panic_or_run_over_the_disk() {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap() % below
    };
    for store in ["mdbox", "mdbox-gz", "mbox", "maildir-lz4"] {
        let sound = disk(store);
        for _ in 0..30 {
            let mut disk = sound.clone();
            for _ in 0..20 {
                let (from, to) = (random(disk.len()), random(disk.len()));
                let length = random(3000).min(disk.len() - from).min(disk.len() - to);
                match random(3) {
                    0 => disk[to..to + length].fill(u8::try_from(random(256)).unwrap()),
                    1 => disk.copy_within(from..from + length, to),
                    _ => disk[to] ^= 1 << random(8),
                }
            }
            let carved = carve(&Memory::new(disk.clone()), &[], &|_| ());
            for (at, length) in carved.messages.iter().flat_map(|one| &one.found.pieces) {
                assert!(at + length <= disk.len() as u64);
            }
        }
    }
}
