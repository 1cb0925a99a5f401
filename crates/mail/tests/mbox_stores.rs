//! Every kind of mbox, with lines in the mail that look like the beginning of another, read back
//! against what Dovecot shows of it, and against what was written where Dovecot takes it apart.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot set up its store has failed"
)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use common::{DEVICE, ext4_of};
use mail::account::AccountRules;
use mail::content::{examine, reread};
use mail::store::find;
use mail::{Grade, Message, Record};
use serde_json::Value;
use sha2::{Digest, Sha256};

const HOME: &str = "vmail/tidewater.example/ada";

/// The home of `fixtures/mbox` in an ext4 image; `ruin` is called before it is made.
fn records(ruin: impl FnOnce(&Path)) -> Vec<(Record, Vec<u8>)> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let packed = fs::File::open(top.join("fixtures/mbox/home.tar.zst")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    let home = root.join(HOME);
    fs::create_dir_all(&home).unwrap();
    tar::Archive::new(zstd::Decoder::new(packed).unwrap())
        .unpack(&home)
        .unwrap();
    ruin(&home);
    let fs = ext4_of(&root, 16);
    let stores = find(fs.as_ref(), &AccountRules::default());
    let mut records = Vec::new();
    for folder in &stores.folders {
        for file in &folder.list(fs.as_ref(), DEVICE).files {
            let record = examine(fs.as_ref(), DEVICE, file);
            let bytes = match &record {
                Record::Message(message) => {
                    let again = reread(fs.view(), &message.origin).unwrap();
                    assert_eq!(mail::MessageId::of(&again.bytes), message.id);
                    again.bytes.to_vec()
                }
                _ => Vec::new(),
            };
            records.push((record, bytes));
        }
    }
    records
}

fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn message(record: &Record) -> &Message {
    match record {
        Record::Message(message) => message,
        other => panic!("{other:?}"),
    }
}

/// By folder, the SHA-256 of each message with LF line ends, in the order of the file.
fn digests(records: &[(Record, Vec<u8>)]) -> BTreeMap<String, Vec<String>> {
    let mut folders: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (record, bytes) in records {
        let text = String::from_utf8_lossy(bytes).replace("\r\n", "\n");
        let folder = message(record).folder.clone();
        folders
            .entry(folder)
            .or_default()
            .push(sha256(text.as_bytes()));
    }
    folders
}

#[test]
fn every_kind_of_mbox_is_taken_apart_where_its_messages_end() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let manifest = fs::read(top.join("fixtures/mbox/manifest.json")).unwrap();
    let manifest: BTreeMap<String, Value> = serde_json::from_slice(&manifest).unwrap();
    let records = records(|_| {});
    let mut found = digests(&records);
    for (name, want) in manifest {
        let want: Vec<String> = serde_json::from_value(want["messages"].clone()).unwrap();
        assert_eq!(found.remove(&name).unwrap_or_default(), want, "{name}");
    }
    assert_eq!(found, BTreeMap::new());
    for (record, _) in &records {
        let message = message(record);
        assert_eq!(message.grade, Grade::Proven, "{message:?}");
        let owner = message.owner.as_ref().unwrap();
        assert_eq!(owner.account.to_string(), "ada@tidewater.example");
    }
}

#[test]
fn messages_around_damage_are_whole_and_what_it_touched_is_not() {
    let body = |number: usize| format!("{number:08} words of the message\n").repeat(400);
    let text = |number: usize| {
        let body = body(number);
        format!(
            "From: a@tidewater.example\nSubject: {number}\n\
             X-UID: {number}\nStatus: RO\nContent-Length: {}\n\n{body}",
            body.len()
        )
    };
    let whole: Vec<String> = (1..=12)
        .map(|number| {
            format!(
                "From: a@tidewater.example\nSubject: {number}\n\n{}",
                body(number)
            )
        })
        .collect();
    let mut file = Vec::new();
    let mut starts = Vec::new();
    for number in 1..=12 {
        starts.push(file.len());
        file.extend(b"From a@tidewater.example Sun Jan 01 00:00:00 2012\n");
        file.extend(text(number).as_bytes());
        file.push(b'\n');
    }
    starts.push(file.len());
    // The first block, one inside a message, and one over the border of two.
    let border = starts[8] / 4096;
    let inside = starts[4] / 4096 + 1;
    let wiped = [0, inside, border];
    for block in wiped {
        file[block * 4096..(block + 1) * 4096].fill(0);
    }
    let records = records(|home| fs::write(home.join("mail/Ruin"), &file).unwrap());
    let of_file = records
        .iter()
        .filter(|(record, _)| message(record).folder == "Ruin");
    let mut complete = Vec::new();
    for (record, bytes) in of_file {
        let message = message(record);
        if message.grade.is_whole() {
            complete.push(String::from_utf8(bytes.clone()).unwrap());
        } else {
            let fragment = message.grade == Grade::Fragment;
            assert!(fragment || !message.holes.is_empty(), "{message:?}");
        }
    }
    let touched = |number: usize| {
        let blocks = starts[number] / 4096..=(starts[number + 1] - 2) / 4096;
        wiped.iter().any(|block| blocks.contains(block))
    };
    let want: Vec<String> = (0..12)
        .filter(|number| !touched(*number))
        .map(|number| whole[number].clone())
        .collect();
    assert!(want.len() >= 8);
    assert_eq!(complete, want);
}

#[test]
fn nothing_of_a_compressed_mbox_is_whole_whose_checksum_does_not_hold() {
    let records = records(|home| {
        let path = home.join("mail/packed.gz");
        let mut bytes = fs::read(&path).unwrap();
        let checksum = bytes.len() - 8;
        bytes[checksum] ^= 1;
        fs::write(path, bytes).unwrap();
    });
    let packed = |record: &Record| message(record).folder == "packed.gz";
    let all: Vec<&Message> = records
        .iter()
        .map(|(record, _)| record)
        .filter(|record| packed(record))
        .map(message)
        .collect();
    assert_eq!(all.len(), 8);
    assert!(all.iter().all(|message| message.grade == Grade::Damaged));
}

#[test]
fn mail_without_any_form_is_handed_over_as_it_is() {
    let stamp = b"From a@tidewater.example Sun Jan 01 00:00:00 2012\n".to_vec();
    let mut nested = Vec::new();
    for depth in 0..10_000 {
        nested.extend(
            format!("Content-Type: multipart/mixed; boundary=b{depth}\n\n--b{depth}\n").bytes(),
        );
    }
    let odd: Vec<Vec<u8>> = vec![
        b"Subject: \xFF\xFE\x80 8 bit\n\nwords\n".to_vec(),
        b"Subject: no end of the header".to_vec(),
        b"Subject: NUL\n\na\0b\0\0c\n".to_vec(),
        [
            b"Subject: one line\n\n".to_vec(),
            vec![b'x'; 1 << 20],
            b"\n".to_vec(),
        ]
        .concat(),
        b"Subject: CR only\r\rwords\rmore\r".to_vec(),
        [b"Subject: parts\n".to_vec(), nested].concat(),
        b"Subject: long\n"
            .iter()
            .copied()
            .chain(vec![b'y'; 1 << 20])
            .collect(),
    ];
    let records = records(|home| {
        let maildir = home.join("Maildir/cur");
        fs::create_dir_all(&maildir).unwrap();
        for (number, raw) in odd.iter().enumerate() {
            let name = format!("140299255{number}.M{number}P1.mx:2,S");
            fs::write(maildir.join(name), raw).unwrap();
            let alone = [stamp.clone(), raw.clone(), b"\n".to_vec()].concat();
            fs::write(home.join(format!("mail/Odd-{number}")), alone).unwrap();
        }
    });
    for (number, raw) in odd.iter().enumerate() {
        let folder = format!("Odd-{number}");
        let of_mbox = |message: &Message| message.folder == folder;
        let of_maildir = |message: &Message| {
            let name = format!("/140299255{number}.");
            message.origin.path.contains(&name)
        };
        for is_it in [&of_mbox as &dyn Fn(&Message) -> bool, &of_maildir] {
            let found: Vec<_> = records
                .iter()
                .filter(|(record, _)| is_it(message(record)))
                .collect();
            let [(record, bytes)] = found.as_slice() else {
                panic!("{number}: {} messages", found.len());
            };
            let text = String::from_utf8_lossy(&raw[..raw.len().min(40)]);
            // An mbox does not keep that a last line had no end.
            let mut raw = raw.clone();
            if message(record).folder == folder && !raw.ends_with(b"\n") {
                raw.push(b'\n');
            }
            assert!(
                *bytes == raw,
                "{number} {text:?}: {} of {}",
                bytes.len(),
                raw.len()
            );
            assert_eq!(message(record).grade, Grade::Proven, "{number}");
        }
    }
}
