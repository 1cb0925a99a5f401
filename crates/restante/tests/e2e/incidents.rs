//! The main job over whole incidents, scored against what was there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::common::{Incident, Shown, drill_truth, messages, succeed, top, tree, words};

/// Recovers an incident with one thread and with two, twice each, and scores it.
fn recover_and_score(incident: &Incident, folder_share: f64) {
    succeed(&mut incident.recover("case-1", "mail-1", &["--threads", "1"]));
    succeed(&mut incident.recover("case-2", "mail-2", &["--threads", "2"]));
    let one = tree(&incident.path("mail-1"));
    assert!(!one.is_empty());
    assert_eq!(
        one,
        tree(&incident.path("mail-2")),
        "two threads, another tree"
    );

    let score = incident.score("mail-1");
    assert_eq!(score["yield"], 1.0, "{score}");
    assert!(score["folder"].as_f64().unwrap() >= folder_share, "{score}");
    for zero in [
        "false",
        "misfiled",
        "duplicates",
        "outside",
        "sizes",
        "damaged",
    ] {
        assert_eq!(score[zero], 0, "{zero}: {score}");
    }
    for share in ["flags", "keywords"] {
        assert!(
            score[share].is_null() || score[share] == 1.0,
            "{share}: {score}"
        );
    }

    let again = succeed(&mut incident.recover("case-1", "mail-1", &["--json"]));
    let again: Value = serde_json::from_str(&again).unwrap();
    assert_eq!(again["sync"]["totals"]["added"], 0);
    assert_eq!(
        one,
        tree(&incident.path("mail-1")),
        "a second run changed the tree"
    );
    for directory in ["case-1", "case-2"] {
        let report = incident.path(directory).join("report/report.html");
        assert!(fs::metadata(report).unwrap().len() > 1000);
    }
}

#[test]
fn drill_incident_comes_back_whole() {
    recover_and_score(&Incident::new("drill"), 1.0);
}

#[test]
fn raid6_without_two_members_comes_back_whole() {
    recover_and_score(&Incident::new("raid6-two-missing"), 1.0);
}

#[test]
fn raid10_with_a_dirty_journal_comes_back_whole() {
    recover_and_score(&Incident::new("raid10-dirty"), 1.0);
}

#[test]
fn a_partition_with_xfs_and_nested_folders_comes_back_whole() {
    // Ten messages lay in a folder called "Damaged", which gets another name.
    recover_and_score(&Incident::new("no-raid-partition"), 0.88);
}

/// The incidents of the shared folder, where it lies beside the repository.
#[test]
fn shared_incidents_come_back_whole() {
    let cases = top().join("../shared/cases");
    for name in [
        "md5-xfs",
        "aggregate",
        "store-gz",
        "store-mdbox",
        "deleted-ext4",
    ] {
        let folder = cases.join(name);
        if folder.is_dir() {
            recover_and_score(&Incident::from_folder(&folder), 1.0);
        }
    }
}

#[test]
fn the_drill_passes_and_says_where_its_report_is() {
    let dir = tempfile::tempdir().unwrap();
    let work = dir.path().join("drill");
    let text = succeed(
        crate::common::restante()
            .arg("drill")
            .arg("--dir")
            .arg(&work),
    );
    assert!(text.contains("The drill passed"), "{text}");
    let report = text
        .lines()
        .find_map(|line| line.strip_prefix("report: "))
        .unwrap();
    assert!(fs::metadata(report).unwrap().is_file());
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// All messages below `mail`, as Dovecot shows them; every restored folder must be subscribed.
fn shown_by_dovecot(mail: &Path) -> BTreeSet<Shown> {
    let mut shown = BTreeSet::new();
    for domain in fs::read_dir(mail).unwrap() {
        let domain = domain.unwrap();
        for local in fs::read_dir(domain.path()).unwrap() {
            let local = local.unwrap();
            let name = |entry: &fs::DirEntry| entry.file_name().into_string().unwrap();
            let account = format!("{}@{}", name(&local), name(&domain));
            let output = Command::new("python3")
                .arg(top().join("scripts/dovecot_read.py"))
                .arg(local.path().join("Maildir"))
                .output()
                .unwrap();
            assert!(
                output.status.success(),
                "Dovecot refused {account}; scripts/setup.sh installs it: {}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr),
            );
            let read: Value = serde_json::from_slice(&output.stdout).unwrap();
            for folder in read["folders"].as_array().unwrap() {
                let messages = folder["messages"].as_array().unwrap();
                assert!(messages.is_empty() || folder["subscribed"] == true);
                shown.extend(messages.iter().map(|message| {
                    (
                        account.clone(),
                        text(&folder["name"]),
                        text(&message["sha256"]),
                        text(&message["flags"]),
                        words(&message["keywords"]),
                        message["internaldate"].as_i64().unwrap(),
                    )
                }));
            }
        }
    }
    shown
}

#[test]
fn a_real_dovecot_shows_the_restored_mail_as_it_was() {
    let incident = Incident::new("drill");
    succeed(&mut incident.recover("case", "mail", &[]));
    let (wanted, deleted) = drill_truth();
    let shown = shown_by_dovecot(&incident.path("mail"));
    assert!(
        shown.is_superset(&wanted),
        "{:?}",
        wanted.difference(&shown)
    );
    // What was deleted comes back as far as its blocks prove it, as it was.
    let more: BTreeSet<Shown> = shown.difference(&wanted).cloned().collect();
    assert!(
        deleted.is_superset(&more),
        "{:?}",
        more.difference(&deleted)
    );
}

#[test]
fn verify_proves_a_case_and_names_what_was_changed() {
    let incident = Incident::new("raid6-two-missing");
    succeed(&mut incident.recover("case", "mail", &["--sha256"]));
    let verify = || {
        let mut command = crate::common::restante();
        command
            .arg("verify")
            .arg(incident.path("case"))
            .arg("--to")
            .arg(incident.target("mail"));
        command
    };
    let text = succeed(&mut verify());
    assert!(!text.contains("FAILS"), "{text}");

    // SHA-256 as another program counts it.
    let case: Value =
        serde_json::from_slice(&fs::read(incident.path("case/case.json")).unwrap()).unwrap();
    for record in case["evidence"].as_object().unwrap().values() {
        let path = record["path"].as_str().unwrap();
        let output = Command::new("sha256sum").arg(path).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.starts_with(record["sha256"].as_str().unwrap()));
    }

    // Every paper of the case that is changed, cut or lost is named, and nothing else.
    let ledgers = fs::read_dir(incident.path("case/ledger")).unwrap();
    let target = ledgers.last().unwrap().unwrap().path();
    let domain = fs::read_dir(&target).unwrap().last().unwrap().unwrap();
    let ledger = fs::read_dir(domain.path())
        .unwrap()
        .last()
        .unwrap()
        .unwrap();
    let index = fs::read_dir(incident.path("case/messages"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| fs::read_to_string(path).is_ok_and(|text| text.contains("\"grade\"")))
        .unwrap();
    type Change = fn(&str) -> String;
    let cut: Change = |text| {
        text.lines()
            .skip(1)
            .map(|line| format!("{line}\n"))
            .collect()
    };
    let end: Change = |text| {
        let lines = text.lines().count();
        text.lines()
            .take(lines - 1)
            .map(|line| format!("{line}\n"))
            .collect()
    };
    let claim: Change = |text| {
        text.to_owned()
            + r#"{"device":"disk:a","path":"/","owner":{"account":"eve@example.org","evidence":""}}"#
            + "\n"
    };
    let other: Change = |text| text.replacen("\"folder\":\"INBOX", "\"folder\":\"OUTBOX", 1);
    for (path, change, why) in [
        (incident.path("case/log.jsonl"), cut, "the chain is broken"),
        (
            incident.path("case/log.jsonl"),
            end,
            "its end is not the one",
        ),
        (ledger.path(), cut, "lines of the ledger are missing"),
        (index, other, "the message index is not as it was made"),
        (
            incident.path("case/mailboxes/carved.jsonl"),
            claim,
            "the message index is not as it was made",
        ),
    ] {
        let before = fs::read_to_string(&path).unwrap();
        fs::write(&path, change(&before)).unwrap();
        let output = verify().output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{}: {text}", path.display());
        assert!(text.contains(why), "{}: {text}", path.display());
        fs::write(&path, before).unwrap();
    }
    succeed(&mut verify());

    let message = messages(&incident.path("mail")).remove(0);
    let mut bytes = fs::read(&message).unwrap();
    bytes[0] ^= 1;
    fs::write(&message, bytes).unwrap();
    let disk = incident.disks().remove(0);
    let mut bytes = fs::read(&disk).unwrap();
    bytes[5_000_000] ^= 1;
    fs::write(&disk, bytes).unwrap();
    let output = verify().output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("has another BLAKE3"), "{text}");
    assert!(text.contains("does not hold the message"), "{text}");
}
