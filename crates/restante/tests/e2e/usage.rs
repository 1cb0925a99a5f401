//! Wrong usage gets a message that says what and what next, and harms nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{Incident, fail, restante, succeed, tree};

fn recover(case: &Path, image: &Path, target: &str) -> Command {
    let mut command = restante();
    command
        .arg("recover")
        .arg(case)
        .arg(image)
        .args(["--to", target]);
    command
}

#[test]
fn what_is_no_evidence_is_refused_before_anything_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| -> PathBuf {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let case = dir.path().join("case");
    let target = format!("maildir:{}", dir.path().join("mail").display());
    let table = [
        (write("empty.img", b""), "is empty"),
        (write("notes.txt", b"the shelf in Austin\n"), "is a text"),
        (
            write(
                "disk.map",
                b"# Mapfile. Created by GNU ddrescue\n0x0 + 1\n0x0 0x200 +\n",
            ),
            "ddrescue mapfile",
        ),
        (dir.path().to_owned(), "is a directory"),
    ];
    for (image, wanted) in table {
        let error = fail(&mut recover(&case, &image, &target), 2);
        assert!(error.contains(wanted), "{error}");
        assert!(!case.exists() && !dir.path().join("mail").exists());
    }
    let missing = dir.path().join("nothing.img");
    let error = fail(&mut recover(&case, &missing, &target), 1);
    assert!(error.contains("nothing.img"), "{error}");
    assert!(!case.exists());
    let error = fail(
        restante().arg("recover").arg(&case).args(["--to", &target]),
        2,
    );
    assert!(error.contains("no image was named"), "{error}");
    let error = fail(restante().arg("undelete").arg(&case), 2);
    assert!(error.contains("undelete"), "{error}");
}

#[test]
fn targets_that_cannot_take_mail_are_refused_untouched() {
    let incident = Incident::new("raid6-two-missing");
    let disk = incident.disks().remove(0);
    let case = incident.path("case");
    let inside = format!("maildir:{}", case.join("mail").display());
    let error = fail(&mut recover(&case, &disk, &inside), 2);
    assert!(error.contains("inside the case"), "{error}");
    assert!(!case.exists(), "a refused run left a case behind");
    for (target, wanted) in [
        ("/srv/vmail", "begins with neither maildir: nor"),
        ("imap://localhost", "needs credentials"),
        ("imap://ada:secret@host", "it names a user"),
        ("maildir:/x/{user}", "a placeholder other than"),
    ] {
        let output = recover(&case, &disk, target).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(matches!(output.status.code(), Some(1 | 2)), "{target}");
        assert!(error.contains(wanted), "{error}");
    }
    // A target that is a file.
    let file = incident.path("file");
    fs::write(&file, b"x").unwrap();
    fail(
        &mut recover(&case, &disk, &format!("maildir:{}", file.display())),
        1,
    );
    assert_eq!(fs::read(&file).unwrap(), b"x");
}

#[test]
fn a_target_that_gives_two_accounts_one_place_is_refused() {
    let incident = Incident::new("drill");
    // bruno@saltmarsh.example and bruno@tidewater.example.
    let target = format!(
        "maildir:{}/{{local}}/Maildir",
        incident.path("mail").display()
    );
    let mut command = restante();
    command
        .arg("recover")
        .arg(incident.path("case"))
        .args(incident.disks())
        .args(["--to", &target]);
    let error = fail(&mut command, 2);
    assert!(error.contains("one place"), "{error}");
    assert!(!incident.path("mail").exists());
}

#[test]
fn one_member_too_many_is_a_loss_that_is_named() {
    let incident = Incident::new("raid6-two-missing");
    fs::remove_file(incident.disks().remove(0)).unwrap();
    let text = succeed(&mut incident.recover("case", "mail", &[]));
    assert!(text.contains("missing"), "{text}");
    // What lies in the chunks that are there comes back, and nothing else does.
    let score = incident.score("mail");
    assert_eq!([&score["false"], &score["misfiled"]], [0, 0], "{score}");
}

#[test]
fn evidence_without_mail_says_what_to_do_next() {
    let incident = Incident::new("raid6-two-missing");
    for disk in incident.disks() {
        fs::write(disk, vec![0x55; 1 << 20]).unwrap();
    }
    let mut command = incident.recover("case", "mail", &[]);
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("No mail was found"), "{text}");
    assert!(text.contains("recovery-guide"), "{text}");
}

#[test]
fn cases_of_others_are_not_touched() {
    let incident = Incident::new("raid6-two-missing");
    succeed(&mut incident.recover("case", "mail", &[]));
    let file = incident.path("case/case.json");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("\"format\": 1", "\"format\": 7")).unwrap();
    let before = tree(&incident.path("case"));
    let error = fail(&mut incident.recover("case", "mail", &[]), 2);
    assert!(error.contains("case format 7"), "{error}");
    assert_eq!(before, tree(&incident.path("case")));

    let error = fail(restante().arg("rebuild").arg(incident.path("mail")), 2);
    assert!(error.contains("is not a case"), "{error}");
    let error = fail(&mut incident.recover("mail", "mail-2", &[]), 2);
    assert!(error.contains("not empty"), "{error}");
}

#[test]
fn evidence_that_changed_its_size_is_refused() {
    let incident = Incident::new("raid6-two-missing");
    succeed(&mut incident.recover("case", "mail", &[]));
    let disk = incident.disks().remove(0);
    let length = fs::metadata(&disk).unwrap().len();
    fs::OpenOptions::new()
        .write(true)
        .open(&disk)
        .unwrap()
        .set_len(length - 4096)
        .unwrap();
    let error = fail(&mut incident.recover("case", "mail", &[]), 2);
    assert!(error.contains("not the same evidence"), "{error}");
}
