//! What users do between two runs is respected.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::common::{Incident, messages, succeed, tree};

fn base(path: &Path) -> String {
    let name = path.file_name().unwrap().to_str().unwrap();
    name.split(":2,").next().unwrap().to_owned()
}

fn sync(incident: &Incident, more: &[&str]) -> serde_json::Value {
    let mut command = crate::common::restante();
    command
        .args(["sync", "--json"])
        .arg(incident.path("case"))
        .arg("--to")
        .arg(incident.target("mail"))
        .args(more);
    serde_json::from_str(&succeed(&mut command)).unwrap()
}

#[test]
fn what_the_user_deleted_moved_or_read_is_left_as_it_is() {
    let incident = Incident::new("drill");
    succeed(&mut incident.recover("case", "mail", &[]));
    let mail = incident.path("mail");
    let all = messages(&mail);
    let (deleted, moved, read) = (&all[0], &all[1], &all[2]);
    fs::remove_file(deleted).unwrap();
    let maildir: PathBuf = moved.ancestors().nth(3).unwrap().to_owned();
    fs::create_dir_all(maildir.join("cur")).unwrap();
    fs::rename(moved, maildir.join("cur").join("1.moved:2,S")).unwrap();
    let flagged = read.with_file_name(format!("{}:2,FRS", base(read)));
    fs::rename(read, &flagged).unwrap();

    let before = tree(&mail);
    let totals = sync(&incident, &[])["totals"].clone();
    assert_eq!(totals["added"], 0, "{totals}");
    assert_eq!(totals["planned"]["moved_or_deleted"], 2, "{totals}");
    assert_eq!(before, tree(&mail));
}

#[test]
fn without_its_ledger_a_run_still_finds_what_is_there_by_name_and_content() {
    let incident = Incident::new("drill");
    succeed(&mut incident.recover("case", "mail", &[]));
    let mail = incident.path("mail");
    let moved = &messages(&mail)[1];
    let maildir: PathBuf = moved.ancestors().nth(3).unwrap().to_owned();
    fs::create_dir_all(maildir.join(".Mine/cur")).unwrap();
    fs::rename(moved, maildir.join(".Mine/cur/1.moved:2,S")).unwrap();
    fs::remove_dir_all(incident.path("case/ledger")).unwrap();
    let before = tree(&mail);
    let totals = sync(&incident, &[])["totals"].clone();
    assert_eq!(totals["added"], 0, "{totals}");
    assert_eq!(totals["planned"]["already_live"], 1, "{totals}");
    assert_eq!(before, tree(&mail));
}

#[test]
fn one_target_spelled_otherwise_is_the_same_and_deleted_mail_stays_deleted() {
    let incident = Incident::new("drill");
    succeed(&mut incident.recover("case", "mail", &[]));
    let mail = incident.path("mail");
    fs::remove_file(&messages(&mail)[0]).unwrap();
    std::os::unix::fs::symlink(&mail, incident.path("link")).unwrap();
    for spelling in ["link", "./mail//"] {
        let mut command = crate::common::restante();
        command
            .args(["sync", "--json"])
            .arg(incident.path("case"))
            .arg("--to")
            .arg(incident.target(spelling));
        let done: serde_json::Value = serde_json::from_str(&succeed(&mut command)).unwrap();
        assert_eq!(done["totals"]["added"], 0, "{spelling}");
        assert_eq!(done["totals"]["planned"]["moved_or_deleted"], 1);
    }
}

#[test]
fn what_the_user_unsubscribed_or_moved_within_the_restored_folders_stays_so() {
    let incident = Incident::new("drill");
    succeed(&mut incident.recover("case", "mail", &[]));
    let mail = incident.path("mail");
    let moved = &messages(&mail)[0];
    let maildir: PathBuf = moved.ancestors().nth(3).unwrap().to_owned();
    let kept = maildir.join(".restored_emails.Kept/cur");
    fs::create_dir_all(&kept).unwrap();
    fs::rename(moved, kept.join(moved.file_name().unwrap())).unwrap();
    fs::write(maildir.join("subscriptions"), "V\t2\n\n").unwrap();
    let before = tree(&mail);
    let totals = sync(&incident, &[])["totals"].clone();
    assert_eq!(totals["added"], 0, "{totals}");
    assert_eq!(before, tree(&mail));
    // The move is known by name also when the ledger is lost.
    fs::remove_dir_all(incident.path("case/ledger")).unwrap();
    let totals = sync(&incident, &[])["totals"].clone();
    assert_eq!(totals["added"], 0, "{totals}");
    assert_eq!(totals["planned"]["moved_or_deleted"], 1, "{totals}");
}

#[test]
fn mail_that_the_account_has_already_is_not_added_and_the_rest_follows_the_live_maildir() {
    let incident = Incident::new("drill");
    succeed(&mut incident.recover("case", "elsewhere", &[]));
    let restored = messages(&incident.path("elsewhere"));
    let (first, second) = (&restored[0], &restored[1]);
    let relative = first.strip_prefix(incident.path("elsewhere")).unwrap();
    let account: PathBuf = relative.components().take(3).collect();
    assert!(second.starts_with(incident.path("elsewhere").join(&account)));
    // The live account has one of them as it is, the other with CR LF line ends and compressed.
    let live = incident.path("mail").join(&account);
    fs::create_dir_all(live.join("cur")).unwrap();
    fs::create_dir_all(live.join(".Old/new")).unwrap();
    fs::copy(first, live.join("cur/1325376000.M1P1.host:2,S")).unwrap();
    let text = fs::read(second).unwrap();
    let mut dos = Vec::new();
    for byte in text {
        if byte == b'\n' && dos.last() != Some(&b'\r') {
            dos.push(b'\r');
        }
        dos.push(byte);
    }
    let packed = zstd::encode_all(&dos[..], 3).unwrap();
    fs::write(live.join(".Old/new/1325376001.M1P1.host"), packed).unwrap();
    fs::write(live.join("subscriptions"), "V\t2\n\nOld\n").unwrap();
    fs::set_permissions(&live, fs::Permissions::from_mode(0o750)).unwrap();
    let untouched = [
        "cur/1325376000.M1P1.host:2,S",
        ".Old/new/1325376001.M1P1.host",
    ]
    .map(|name| (live.join(name), fs::read(live.join(name)).unwrap()));

    let dry = sync(&incident, &["--dry-run"]);
    assert_eq!(dry["totals"]["added"], 0);
    assert!(!live.join(".restored_emails").exists(), "a dry run wrote");
    let done = sync(&incident, &[]);
    assert_eq!(dry["totals"]["planned"], done["totals"]["planned"]);
    assert_eq!(done["totals"]["planned"]["already_live"], 2);
    assert_eq!(done["totals"]["added"], restored.len() - 2);
    for (path, bytes) in untouched {
        assert_eq!(fs::read(path).unwrap(), bytes);
    }
    let mode = |name: &str| fs::metadata(live.join(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(".restored_emails"), 0o750);
    assert!(live.join(".restored_emails/maildirfolder").exists());
    let subscriptions = fs::read_to_string(live.join("subscriptions")).unwrap();
    assert!(subscriptions.starts_with("V\t2\n\nOld\nrestored_emails\n"));
}

#[test]
fn one_account_can_be_restored_alone() {
    let incident = Incident::new("drill");
    for step in ["scan", "assemble", "rebuild"] {
        let mut command = crate::common::restante();
        command.arg(step).arg(incident.path("case"));
        if step == "scan" {
            command.args(incident.disks());
        }
        succeed(&mut command);
    }
    let accounts: serde_json::Value = serde_json::from_str(&succeed(
        crate::common::restante()
            .args(["accounts", "--json"])
            .arg(incident.path("case")),
    ))
    .unwrap();
    let (name, facts) = accounts.as_object().unwrap().iter().next().unwrap();
    let done = sync(&incident, &["--account", name]);
    assert_eq!(done["totals"]["added"], facts["messages"]);
    let error = crate::common::fail(
        crate::common::restante()
            .args(["sync", "--account", "nobody@nowhere.example"])
            .arg(incident.path("case"))
            .arg("--to")
            .arg(incident.target("mail")),
        2,
    );
    assert!(
        error.contains("no mail of nobody@nowhere.example"),
        "{error}"
    );
}

#[test]
fn a_link_that_a_user_made_is_not_followed() {
    let incident = Incident::new("drill");
    succeed(&mut incident.recover("case", "elsewhere", &[]));
    let restored = messages(&incident.path("elsewhere"));
    let relative = restored[0]
        .strip_prefix(incident.path("elsewhere"))
        .unwrap();
    let account: PathBuf = relative.components().take(3).collect();
    let live = incident.path("mail").join(&account);
    let prey = incident.path("prey");
    fs::create_dir_all(&live).unwrap();
    fs::create_dir_all(&prey).unwrap();
    std::os::unix::fs::symlink(&prey, live.join(".restored_emails")).unwrap();
    let mut command = crate::common::restante();
    command
        .arg("sync")
        .arg(incident.path("case"))
        .arg("--to")
        .arg(incident.target("mail"));
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("is a symbolic link"), "{text}");
    assert!(fs::read_dir(&prey).unwrap().next().is_none());
    // The other accounts got theirs.
    assert!(messages(&incident.path("mail")).len() > 50);
}

#[test]
fn a_target_that_was_wiped_is_not_taken_for_users_who_deleted_all() {
    let incident = Incident::new("drill");
    succeed(&mut incident.recover("case", "mail", &[]));
    fs::remove_dir_all(incident.path("mail")).unwrap();
    let error = crate::common::fail(&mut incident.recover_again("case", "mail"), 2);
    assert!(error.contains("none of their mailboxes"), "{error}");
    succeed(&mut incident.recover_again("case", "elsewhere"));
    assert_eq!(incident.score("elsewhere")["yield"], 1.0);
}
