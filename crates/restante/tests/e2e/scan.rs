//! The scan: one catalogue, whoever writes it and however often that is interrupted.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::{Incident, fail, restante, succeed, top};

/// Units of a disk.
const UNIT: u64 = 64 << 20;

/// A sparse disk of a few units with mail in each of them, also where they meet.
fn disk(dir: &Path, name: &str, units: u64) -> PathBuf {
    let path = dir.join(name);
    let file = File::create(&path).unwrap();
    file.set_len(units * UNIT + 12_345).unwrap();
    let message =
        b"Received: from mx.relay.example by imap.saltmarsh.example;\n\tTue, 03 Jun 2014 \
        09:05:11 +0200\nMessage-ID: <1@tidewater.example>\nSubject: tides\n\nHigh water at nine.\n";
    for unit in 0..units {
        for at in [0, 4096, UNIT / 2 + 512, UNIT - 512, UNIT - 100] {
            file.write_all_at(message, unit * UNIT + at).unwrap();
        }
    }
    path
}

fn scan(case: &Path, images: &[&Path], more: &[&str]) -> Command {
    let mut command = restante();
    command.arg("scan").arg(case).args(images).args(more);
    command
}

/// The files of a catalogue: their contents, and the numbers of their inodes.
fn catalogue(case: &Path) -> BTreeMap<String, (Vec<u8>, u64)> {
    let entries = fs::read_dir(case.join("catalogue")).unwrap();
    entries
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().to_string_lossy().into_owned();
            let inode = entry.metadata().unwrap().ino();
            (name, (fs::read(entry.path()).unwrap(), inode))
        })
        .collect()
}

/// The same without the inodes.
fn contents(case: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = catalogue(case).into_iter();
    files.map(|(name, (bytes, _))| (name, bytes)).collect()
}

fn case_json(case: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(case.join("case.json")).unwrap()).unwrap()
}

fn hash(path: &Path) -> String {
    blake3::hash(&fs::read(path).unwrap()).to_hex().to_string()
}

#[test]
fn shares_on_several_machines_make_the_catalogue_of_one_scan() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (disk(dir.path(), "a.img", 4), disk(dir.path(), "b.img", 2));
    let (alone, shared) = (dir.path().join("alone"), dir.path().join("shared"));
    let whole = succeed(&mut scan(&alone, &[&a, &b], &["--threads", "1"]));
    assert!(whole.contains("message"), "{whole}");
    assert_eq!(
        case_json(&alone)["evidence"]["a"]["blake3"],
        hash(&a).as_str()
    );

    // All at once and one of them twice; another is killed, and done later.
    let run = |share: &str| {
        let mut command = scan(&shared, &[&a, &b], &["--units", share, "--threads", "2"]);
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let mut killed = run("2/3");
    let running = [run("1/3"), run("3/3"), run("3/3")];
    killed.kill().unwrap();
    killed.wait().unwrap();
    for run in running {
        let output = run.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
    }
    let last = run("2/3").wait_with_output().unwrap();
    assert!(last.status.success());
    // The last share has completed the case, without a coordinator.
    let files = contents(&shared);
    let parts: Vec<&String> = files
        .keys()
        .filter(|name| name.ends_with(".part"))
        .collect();
    assert!(parts.len() <= 2, "what the killed one left: {parts:?}");
    assert_eq!(
        case_json(&shared)["evidence"]["b"]["blake3"],
        hash(&b).as_str()
    );
    assert_eq!(
        case_json(&shared)["evidence"],
        case_json(&alone)["evidence"]
    );
    // A plain scan finds nothing to do but to clean up.
    let before = catalogue(&shared);
    succeed(&mut scan(&shared, &[], &[]));
    assert_eq!(contents(&shared), contents(&alone));
    for (name, (_, inode)) in catalogue(&shared) {
        assert_eq!(before[&name].1, inode, "{name} was written again");
    }
    succeed(restante().arg("verify").arg(&shared));
}

#[test]
fn a_plain_scan_completes_what_shares_left() {
    let dir = tempfile::tempdir().unwrap();
    let image = disk(dir.path(), "a.img", 3);
    let case = dir.path().join("case");
    let text = succeed(&mut scan(&case, &[&image], &["--units", "2/4"]));
    assert!(text.contains("units are left to other shares"), "{text}");
    assert!(text.contains("NOT IDENTIFIED YET: a"), "{text}");
    assert!(case_json(&case)["evidence"]["a"]["blake3"].is_null());
    let wrong = fail(&mut scan(&case, &[], &["--units", "5/4"]), 2);
    assert!(wrong.contains("I/N"), "{wrong}");
    let text = succeed(&mut scan(&case, &[], &[]));
    assert!(!text.contains("NOT IDENTIFIED"), "{text}");
    assert_eq!(
        case_json(&case)["evidence"]["a"]["blake3"],
        hash(&image).as_str()
    );
}

#[test]
fn a_killed_scan_does_only_the_missing_units() {
    let dir = tempfile::tempdir().unwrap();
    let image = disk(dir.path(), "a.img", 24);
    let case = dir.path().join("case");
    let mut child = scan(&case, &[&image], &["--threads", "1", "-q"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // Until a few segments are there; the machine decides how many.
    for _ in 0..10_000 {
        let there = fs::read_dir(case.join("catalogue")).map_or(0, Iterator::count);
        if there >= 3 {
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let before = catalogue(&case);
    succeed(&mut scan(&case, &[], &["--threads", "2"]));
    let after = catalogue(&case);
    assert_eq!(after.len(), 25);
    for (name, (_, inode)) in &before {
        if !name.ends_with(".part") {
            assert_eq!(after[name].1, *inode, "{name} was written again");
        }
    }
    let whole = dir.path().join("whole");
    succeed(&mut scan(&whole, &[&image], &["--threads", "2"]));
    assert_eq!(contents(&case), contents(&whole));
}

#[test]
fn without_hashing_the_identity_waits_and_everyone_says_so() {
    let incident = Incident::new("drill");
    let case = incident.path("case");
    let disks = incident.disks();
    let disks: Vec<&Path> = disks.iter().map(PathBuf::as_path).collect();
    let text = succeed(&mut scan(&case, &disks, &["--no-hash"]));
    assert!(text.contains("not identified"), "{text}");
    for step in ["assemble", "rebuild", "report"] {
        let text = succeed(restante().arg(step).arg(&case));
        assert!(
            text.contains("NOT IDENTIFIED YET: disk-a, disk-b, disk-c"),
            "{step}: {text}"
        );
    }
    let failed = restante().arg("verify").arg(&case).output().unwrap();
    assert_eq!(failed.status.code(), Some(1));
    let said = String::from_utf8(failed.stdout).unwrap();
    assert!(said.contains("not identified yet"), "{said}");
    // A later scan hashes; the catalogue is then the same as if it had at once.
    succeed(&mut scan(&case, &[], &[]));
    let text = succeed(restante().arg("rebuild").arg(&case));
    assert!(!text.contains("NOT IDENTIFIED"), "{text}");
    succeed(restante().arg("verify").arg(&case));
    let at_once = incident.path("at-once");
    succeed(&mut scan(&at_once, &disks, &[]));
    assert_eq!(contents(&case), contents(&at_once));
    // And without it again, nothing is forgotten.
    succeed(&mut scan(&case, &[], &["--no-hash"]));
    assert_eq!(contents(&case), contents(&at_once));
}

#[test]
fn duckdb_reads_the_catalogue_as_the_program_does() {
    let incident = Incident::new("drill");
    let case = incident.path("case");
    let disks = incident.disks();
    let disks: Vec<&Path> = disks.iter().map(PathBuf::as_path).collect();
    let said = succeed(&mut scan(&case, &disks, &["--json"]));
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    let read = succeed(
        Command::new("python3")
            .arg(top().join("scripts/read_catalogue.py"))
            .arg(&case)
            .arg(top().join("docs/case-format.md")),
    );
    let read: serde_json::Value = serde_json::from_str(&read).unwrap();
    assert_eq!(read["unsorted"], 0);
    let evidence = said["evidence"].as_object().unwrap();
    assert_eq!(evidence.len(), 3);
    for (name, record) in evidence {
        let disk = &read["disks"][name];
        assert_eq!(disk["unit_bytes"], record["bytes"]);
        assert_eq!(disk["block_bytes"], record["bytes"]);
        assert_eq!(disk["finds"], said["finds"][name], "{name}");
        assert!(disk["finds"].as_object().unwrap().len() > 5, "{disk}");
    }
    // The queries of the documentation give something.
    let queries = read["queries"].as_array().unwrap();
    assert!(queries.len() >= 2);
    for rows in queries {
        assert!(!rows.as_array().unwrap().is_empty());
    }
}

#[test]
fn inspect_shows_a_block_with_its_finds_and_its_neighbours() {
    let incident = Incident::new("drill");
    succeed(&mut incident.recover("case", "mail", &[]));
    let case = incident.path("case");
    let inspect = |place: &str, more: &[&str]| {
        succeed(restante().arg("inspect").arg(&case).arg(place).args(more))
    };
    let text = inspect("disk:disk-a:4096", &[]);
    assert!(text.contains("class: label"), "{text}");
    assert!(text.contains("found: md-superblock at 4096"), "{text}");
    assert!(text.contains("blocks around: 0 zero"), "{text}");
    let lines = text.lines().filter(|line| line.starts_with("00000000"));
    assert!(lines.count() > 4, "{text}");
    // A volume is shown in the same way.
    let text = inspect("volume:mail/south:1024", &["--length", "64"]);
    assert!(text.contains("class: ext-metadata"), "{text}");
    assert!(text.contains("found: ext-superblock at 1024"), "{text}");
    let json = inspect("volume:mail/south:1024", &["--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["class"], "ext-metadata");
    assert_eq!(json["finds"][0]["what"], "ext-superblock");
    assert!(json["blocks"].as_array().unwrap().len() > 1);
}
