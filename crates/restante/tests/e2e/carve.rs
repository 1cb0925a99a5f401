//! Mail on a disk whose file system is gone, and of which only blocks are left.

use std::fs;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::common::{fail, messages, restante, succeed, top, tree};

const BLOCK: usize = 4096;

/// A message of `bytes` or a little more that a server delivered to `to`.
fn mail(to: &str, server: &str, number: usize, bytes: usize) -> Vec<u8> {
    let mut text = format!(
        "Return-Path: <shop@vendor.example>\nDelivered-To: {to}\nReceived: from mx.example by {server};\n\
         \tMon, 1 Jan 2024 00:00:{number:02} +0000\nFrom: shop@vendor.example\n\
         Date: Mon, 1 Jan 2024 00:00:00 +0000\nSubject: box {number}\n\n"
    );
    while text.len() < bytes {
        text.push_str(&format!(
            "On shelf {number} there is room for box {} and for more.\n",
            text.len()
        ));
    }
    text.into_bytes()
}

/// The file of the mdbox in `fixtures/maildir`, as Dovecot wrote it.
fn mdbox() -> Vec<u8> {
    let packed = fs::File::open(top().join("fixtures/maildir/stores.tar.zst")).unwrap();
    let mut archive = tar::Archive::new(zstd::Decoder::new(packed).unwrap());
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.path().unwrap().ends_with("mdbox/mdbox/storage/m.1") {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            return bytes;
        }
    }
    panic!("the fixture has no m.1");
}

#[test]
fn an_mdbox_without_indexes_or_file_system_comes_back_into_its_folders() {
    let dir = tempfile::tempdir().unwrap();
    let image = disk(dir.path(), &[mdbox()]);
    let out = dir.path().join("mail");
    let target = format!("maildir:{}", out.display());
    let mut recover = restante();
    let case = dir.path().join("case");
    succeed(
        recover
            .arg("recover")
            .arg(&case)
            .arg(&image)
            .args(["--to", &target]),
    );

    let manifest = fs::read(top().join("fixtures/maildir/manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let listed = manifest["stores"]["mdbox"].as_array().unwrap().iter();
    let mut wanted: Vec<(String, String)> = listed
        .map(|message| {
            let folder = message["folder"].as_str().unwrap().replace('/', ".");
            let folder = match folder.as_str() {
                "INBOX" => ".restored_emails".to_owned(),
                folder => format!(".restored_emails.{folder}"),
            };
            (folder, message["sha256"].as_str().unwrap().to_owned())
        })
        .collect();
    wanted.sort();
    // All of it is hers, whatever other servers wrote on top of some of it.
    let ada = out.join("tidewater.example/ada/Maildir");
    let mut found: Vec<(String, String)> = messages(&ada)
        .iter()
        .map(|path| {
            let folder = path.parent().and_then(Path::parent).unwrap();
            let folder = folder.file_name().unwrap().to_string_lossy().into_owned();
            (folder, sha256(path))
        })
        .collect();
    found.sort();
    assert_eq!(found, wanted);
    assert!(!out.join("_unattributed").exists());
}

fn sha256(path: &Path) -> String {
    let digest = Sha256::digest(fs::read(path).unwrap());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A disk without a file system, with messages in its blocks.
fn disk(dir: &Path, mails: &[Vec<u8>]) -> PathBuf {
    let mut bytes = vec![0; 512 * BLOCK];
    for (number, mail) in mails.iter().enumerate() {
        let at = (10 + 7 * number) * BLOCK;
        bytes[at..at + mail.len()].copy_from_slice(mail);
    }
    let path = dir.join("disk.img");
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn mail_beside_the_partitions_of_a_disk_is_carved_too() {
    let dir = tempfile::tempdir().unwrap();
    let mails: Vec<Vec<u8>> = (0..6)
        .map(|n| mail("ada@lindenhof.example", "imap.lindenhof.example", n, 3000))
        .collect();
    let image = disk(dir.path(), &mails);
    let mut bytes = fs::read(&image).unwrap();
    // One Linux partition, with nothing in it, in the second of two mebibytes.
    bytes[446 + 4] = 0x83;
    bytes[446 + 8..446 + 12].copy_from_slice(&2048_u32.to_le_bytes());
    bytes[446 + 12..446 + 16].copy_from_slice(&2048_u32.to_le_bytes());
    bytes[510..512].copy_from_slice(&[0x55, 0xAA]);
    fs::write(&image, bytes).unwrap();
    let out = dir.path().join("mail");
    let target = format!("maildir:{}", out.display());
    let case = dir.path().join("case");
    let mut recover = restante();
    recover.arg("recover").arg(&case).arg(&image);
    let said = succeed(recover.args(["--to", &target]));
    assert!(said.contains("partition:disk/1"), "{said}");
    let mut hers = mails;
    hers.sort();
    assert_eq!(contents(&out.join("lindenhof.example/ada/Maildir")), hers);
}

/// A step of its own on a case.
fn step(name: &str, case: &Path) -> Command {
    let mut command = restante();
    command.arg(name).arg(case);
    command
}

fn contents(root: &Path) -> Vec<Vec<u8>> {
    let mut contents: Vec<Vec<u8>> = messages(root)
        .iter()
        .map(|path| fs::read(path).unwrap())
        .collect();
    contents.sort();
    contents
}

#[test]
fn mail_without_a_file_system_is_carved_step_by_step_and_explained() {
    let dir = tempfile::tempdir().unwrap();
    let here = "imap.lindenhof.example";
    let mut mails: Vec<Vec<u8>> = (0..5)
        .map(|n| mail("ada@lindenhof.example", here, n, 900 * (n + 1)))
        .collect();
    mails.push(mail("bo@old.example", "mx.old.example", 9, 2000));
    let image = disk(dir.path(), &mails);
    let case = dir.path().join("case");
    let out = dir.path().join("mail");
    let target = format!("maildir:{}", out.display());
    let step = |name: &str| step(name, &case);
    succeed(step("scan").arg(&image));
    succeed(&mut step("assemble"));
    let early = fail(&mut step("carve"), 2);
    assert!(early.contains("restante rebuild"), "{early}");
    succeed(&mut step("rebuild"));
    let carved: Value = serde_json::from_str(&succeed(step("carve").arg("--json"))).unwrap();
    assert_eq!(carved["disk:disk"]["whole"], 6, "{carved}");
    assert_eq!(carved["disk:disk"]["block_bytes"], BLOCK);

    succeed(step("sync").args(["--to", &target]));
    let ada = out.join("lindenhof.example/ada/Maildir");
    let mut hers = mails[..5].to_vec();
    hers.sort();
    assert_eq!(contents(&ada), hers);
    assert_eq!(contents(&out.join("_unattributed")), [mails[5].clone()]);

    let file = messages(&ada).remove(0);
    let name = file.file_name().unwrap().to_string_lossy().into_owned();
    let id = name
        .split(".R")
        .nth(1)
        .unwrap()
        .get(..32)
        .unwrap()
        .to_owned();
    let story = succeed(step("carve").args(["--explain", &id]));
    assert!(
        story.contains("zeros follow") && story.contains("pieces"),
        "{story}"
    );
    assert!(fail(step("carve").args(["--explain", "zz"]), 2).contains("no message"));

    let before = tree(&out);
    succeed(&mut step("carve"));
    succeed(step("sync").args(["--to", &target]));
    assert_eq!(before, tree(&out), "a second run changed the tree");
}

/// The stripes of the data chunk that `mkfs.btrfs` made on `images`: the index of the image, and the
/// offset.
fn data_stripes(images: &[PathBuf]) -> Vec<(usize, u64)> {
    let output = Command::new("btrfs")
        .args(["inspect-internal", "dump-tree", "-t", "chunk"])
        .arg(&images[0])
        .output()
        .expect("btrfs is needed; scripts/setup.sh installs it");
    let text = String::from_utf8(output.stdout).unwrap();
    let (_, of_data) = text.split_once("type DATA").unwrap();
    let of_data = of_data.split("CHUNK_ITEM").next().unwrap();
    let stripes = of_data.lines().filter(|line| line.contains("devid"));
    let stripes = stripes.map(|line| {
        let number = |word: &str| -> u64 {
            let mut words = line.split_whitespace();
            words.by_ref().find(|w| *w == word).unwrap();
            words.next().unwrap().parse().unwrap()
        };
        (number("devid") as usize - 1, number("offset"))
    });
    stripes.collect()
}

#[test]
fn mail_that_lies_across_the_devices_of_a_btrfs_is_carved_by_its_addresses() {
    const STRIPE: usize = 64 << 10;
    let dir = tempfile::tempdir().unwrap();
    let images: Vec<PathBuf> = ["a", "b", "c"]
        .iter()
        .map(|name| dir.path().join(name))
        .collect();
    for image in &images {
        let file = fs::File::create(image).unwrap();
        file.set_len(128 << 20).unwrap();
    }
    let made = Command::new("mkfs.btrfs")
        .args(["-q", "-d", "raid0", "-m", "raid1c3"])
        .args(&images)
        .output()
        .expect("mkfs.btrfs is needed; scripts/setup.sh installs it");
    assert!(made.status.success(), "{made:?}");
    let stripes = data_stripes(&images);
    assert_eq!(stripes.len(), 3);
    // Deleted long ago: nothing in the file system tells of it.
    let text = mail(
        "ada@lindenhof.example",
        "imap.lindenhof.example",
        7,
        5 * STRIPE,
    );
    for (number, part) in text.chunks(STRIPE).enumerate() {
        let (image, offset) = stripes[number % 3];
        let file = fs::File::options().write(true).open(&images[image]);
        let at = offset + (number / 3 * STRIPE) as u64;
        file.unwrap().write_all_at(part, at).unwrap();
    }
    let (case, out) = (dir.path().join("case"), dir.path().join("mail"));
    let target = format!("maildir:{}", out.display());
    let step = |name: &str| step(name, &case);
    succeed(step("scan").args(&images));
    succeed(&mut step("assemble"));
    succeed(&mut step("rebuild"));
    let carved: Value = serde_json::from_str(&succeed(step("carve").arg("--json"))).unwrap();
    let devices = carved.as_object().unwrap();
    let (name, counts) = devices.iter().find(|(_, c)| c["whole"] == 1).unwrap();
    assert!(name.starts_with("btrfs:"), "{carved}");
    assert_eq!(counts["damaged"], 0);
    // Its blocks are free in a file system that is there.
    let kept = fs::read_to_string(case.join("messages/carved-000000.jsonl")).unwrap();
    let kept: Value = serde_json::from_str(kept.lines().next().unwrap()).unwrap();
    assert_eq!(kept["standing"], "deleted");
    let others = devices.values().filter(|c| c["whole"] != 1);
    for other in others {
        assert_eq!(other["damaged"], 0, "{carved}");
        assert_eq!(other["unclaimed"], 0, "{carved}");
    }
    succeed(step("sync").args(["--to", &target]));
    assert_eq!(contents(&out), [text]);
    succeed(step("verify").args(["--to", &target]));
}

#[test]
fn mail_whose_bits_are_shifted_is_carved_where_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let mails: Vec<Vec<u8>> = (0..6)
        .map(|n| mail("ada@lindenhof.example", "imap.lindenhof.example", n, 3000))
        .collect();
    let image = disk(dir.path(), &mails);
    let mut before = 0;
    let shifted = fs::read(&image).unwrap().into_iter().map(|byte| {
        let pair = u16::from_be_bytes([before, byte]);
        before = byte;
        (pair >> 3) as u8
    });
    fs::write(&image, shifted.collect::<Vec<u8>>()).unwrap();
    let (case, out) = (dir.path().join("case"), dir.path().join("mail"));
    let target = format!("maildir:{}", out.display());
    let step = |name: &str| step(name, &case);
    succeed(step("scan").arg(&image));
    succeed(&mut step("assemble"));
    succeed(&mut step("rebuild"));
    assert!(!succeed(&mut step("carve")).contains("bits"));
    let said = succeed(step("carve").arg("--bit-offsets"));
    assert!(said.contains("disk:disk+3bits"), "{said}");
    succeed(step("sync").args(["--to", &target]));
    let mut hers = mails;
    hers.sort();
    assert_eq!(contents(&out.join("lindenhof.example/ada/Maildir")), hers);
    succeed(step("verify").args(["--to", &target]));
}
