//! Targets without room: quotas, full and read-only file systems.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::common::{Incident, fail, messages, restante, succeed, tree};

/// A file system of its own, mounted for a test and gone after it.
struct Mounted(PathBuf);

impl Mounted {
    fn tmpfs(path: PathBuf, options: &str) -> Self {
        fs::create_dir_all(&path).unwrap();
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(&path)
            .status()
            .unwrap();
        assert!(status.success(), "this test mounts a tmpfs: run it as root");
        Self(path)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// `sync --json` of the case to the directory `mail`: whether all was done, and what it said.
fn sync(incident: &Incident, mail: &str, more: &[&str]) -> (bool, Value) {
    let output = restante()
        .args(["sync", "--json"])
        .arg(incident.path("case"))
        .arg("--to")
        .arg(incident.target(mail))
        .args(more)
        .output()
        .unwrap();
    let said = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.success(), said)
}

fn maildir(mail: &Path, account: &str) -> PathBuf {
    let (local, domain) = account.split_once('@').unwrap();
    mail.join(domain).join(local).join("Maildir")
}

#[test]
fn a_full_or_read_only_target_is_said_and_nothing_is_written_to_it() {
    let incident = Incident::new("drill");
    let full = Mounted::tmpfs(incident.path("full"), "size=200k");
    let error = fail(
        &mut incident.recover("case", "full", &["--when-full", "stop"]),
        1,
    );
    assert!(error.contains("has room for"), "{error}");
    assert!(tree(&full.0).is_empty());
    // Without being told to stop it leaves these accounts out, and goes on to the report.
    fail(&mut incident.recover("case", "full", &[]), 1);
    assert!(tree(&full.0).is_empty());
    assert!(incident.path("case/report/report.html").exists());
    let (done, said) = sync(&incident, "full", &[]);
    assert!(!done);
    let totals = &said["totals"];
    assert_eq!(totals["added"], 0);
    assert!(
        totals["planned"]["no_room"].as_u64().unwrap() > 100,
        "{totals}"
    );

    let read_only = Mounted::tmpfs(incident.path("read-only"), "ro");
    let error = fail(&mut incident.recover("case", "read-only", &[]), 1);
    assert!(error.to_lowercase().contains("read-only"), "{error}");
    assert!(tree(&read_only.0).is_empty());

    // The case is not harmed by either: the same command with a better target goes on.
    succeed(&mut incident.recover("case", "mail", &[]));
    assert_eq!(incident.score("mail")["yield"], 1.0);
}

#[test]
fn an_account_over_its_quota_is_left_out_until_there_is_room_and_its_quota_file_is_not_touched() {
    let incident = Incident::new("drill");
    succeed(&mut incident.recover("case", "elsewhere", &[]));
    let (poor, rich) = ("info@oakandash.example", "bruno@saltmarsh.example");
    let mail = incident.path("mail");
    for account in [poor, rich] {
        fs::create_dir_all(maildir(&mail, account)).unwrap();
    }
    let quota = maildir(&mail, poor).join("maildirsize");
    fs::write(&quota, "100000S,1000C\n70000 3\n-1000 -1\n").unwrap();
    fs::write(
        maildir(&mail, rich).join("maildirsize"),
        "100000000S\n5 1\n",
    )
    .unwrap();

    let before = tree(&mail);
    let (_, plan) = sync(&incident, "mail", &["--dry-run"]);
    let planned = &plan["accounts"][poor];
    assert_eq!(planned["room"]["bytes"], 31_000);
    assert_eq!(planned["room"]["messages"], 998);
    assert_eq!(planned["planned"]["whole"], 0);
    let left_out = planned["planned"]["no_room"].as_u64().unwrap();
    let by_folder = planned["folders"].as_object().unwrap().values();
    let sum: u64 = by_folder.map(|f| f["no_room"].as_u64().unwrap()).sum();
    assert!(sum == left_out && sum > 40, "{planned}");
    let (done, _) = sync(&incident, "mail", &["--when-full", "stop"]);
    assert!(!done);
    assert_eq!(before, tree(&mail), "a plan, and a run that stops");

    let (done, said) = sync(&incident, "mail", &[]);
    assert!(!done, "an account was left out");
    assert_eq!(
        said["totals"]["planned"], plan["totals"]["planned"],
        "the run is its plan"
    );
    assert!(messages(&maildir(&mail, poor)).is_empty());
    assert!(!messages(&maildir(&mail, rich)).is_empty());
    let reason = said["accounts"][poor]["failures"][0].as_str().unwrap();
    assert!(
        reason.contains("room for 31000 bytes and 998 messages"),
        "{reason}"
    );

    let raised = "100000000S\n70000 3\n";
    fs::write(&quota, raised).unwrap();
    let (done, said) = sync(&incident, "mail", &[]);
    assert!(done, "{said}");
    assert_eq!(said["totals"]["added"], left_out);
    assert_eq!(fs::read_to_string(&quota).unwrap(), raised);
    assert_eq!(incident.score("mail")["yield"], 1.0);
    assert_eq!(incident.score("mail")["duplicates"], 0);
}

#[test]
fn what_cannot_be_written_in_one_account_is_said_and_the_others_are_done() {
    let incident = Incident::new("drill");
    succeed(&mut incident.recover("case", "elsewhere", &[]));
    let mail = incident.path("mail");
    let (locked, partly) = ("info@oakandash.example", "bruno@saltmarsh.example");
    let account = Mounted::tmpfs(maildir(&mail, locked), "ro");
    let folder = Mounted::tmpfs(maildir(&mail, partly).join(".restored_emails.Sent"), "ro");
    let (done, said) = sync(&incident, "mail", &[]);
    assert!(!done);
    for (name, added) in [(locked, 0), (partly, 21)] {
        let outcome = &said["accounts"][name];
        let failure = outcome["failures"][0].as_str().unwrap();
        assert!(failure.contains("Read-only"), "{failure}");
        assert_eq!(outcome["added"], added, "{name}: {outcome}");
    }
    assert!(tree(&account.0).is_empty() && tree(&folder.0).is_empty());
    drop(folder);
    drop(account);
    let (done, _) = sync(&incident, "mail", &[]);
    assert!(done);
    let score = incident.score("mail");
    assert_eq!(
        (&score["yield"], &score["duplicates"]),
        (&1.0.into(), &0.into())
    );
}
