//! Beside those who use the mailbox: a Dovecot that delivers, a client that moves and deletes, mutt.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::common::{Incident, restante, succeed, top};

/// How often each content is in the mailbox `maildir`, by SHA-256 as `sha256sum` prints it.
fn contents(maildir: &Path) -> BTreeMap<String, usize> {
    let output = Command::new("find")
        .arg(maildir)
        .args(["-path", "*/[cn][ue][rw]/*", "-type", "f"])
        .args(["-exec", "sha256sum", "{}", "+"])
        .output()
        .unwrap();
    let mut found = BTreeMap::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        // A name with a backslash in it is marked by one before the line.
        let sum = line.trim_start_matches('\\').split(' ').next().unwrap();
        *found.entry(sum.to_owned()).or_default() += 1;
    }
    found
}

fn sums(value: &Value) -> Vec<String> {
    let list = value.as_array().unwrap().iter();
    list.map(|sum| sum.as_str().unwrap().to_owned()).collect()
}

#[test]
fn mail_that_is_delivered_moved_and_deleted_meanwhile_is_neither_lost_nor_doubled() {
    const ACCOUNT: &str = "info@oakandash.example";
    let incident = Incident::new("drill");
    succeed(&mut incident.recover("case", "elsewhere", &[]));
    let wanted = contents(&incident.path("elsewhere/oakandash.example/info/Maildir"));
    let mail = incident.path("mail");
    let maildir = mail.join("oakandash.example/info/Maildir");
    fs::create_dir_all(&maildir).unwrap();
    fs::set_permissions(incident.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    for path in [maildir.parent().unwrap(), &maildir] {
        chown(path, Some(65534), Some(65534)).expect("only root may test owners");
    }
    let ended = incident.path("ended");
    let user = Command::new("python3")
        .arg(top().join("scripts/dovecot_user.py"))
        .arg(&maildir)
        .arg("--until")
        .arg(&ended)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Slowed down, so that there is much time for others between any two steps of it.
    let mut slow = Command::new("strace");
    slow.args(["-f", "-qq", "-o", "/dev/null", "-e"])
        .arg("inject=fsync,renameat2:delay_enter=15000")
        .arg(env!("CARGO_BIN_EXE_restante"));
    let sync = |command: &mut Command| -> Value {
        command
            .args(["sync", "--json", "--account", ACCOUNT])
            .arg(incident.path("case"))
            .arg("--to")
            .arg(incident.target("mail"));
        serde_json::from_str(&succeed(command)).unwrap()
    };
    let first = sync(&mut slow);
    fs::write(&ended, "").unwrap();
    let user = user.wait_with_output().unwrap();
    assert!(
        user.status.success(),
        "scripts/setup.sh installs what tests need"
    );
    let user: Value = serde_json::from_slice(&user.stdout).unwrap();
    assert_eq!(user["log"], "", "Dovecot complains");
    let (deleted, moved) = (sums(&user["deleted"]), sums(&user["moved"]));
    assert!(
        user["rounds"].as_u64().unwrap() > 10 && deleted.len() > 2,
        "{user}"
    );
    assert_eq!(
        first["totals"]["added"].as_u64().unwrap() as usize,
        wanted.values().sum::<usize>()
    );

    let again = sync(&mut restante());
    assert_eq!(again["totals"]["added"], 0);
    let cleared = deleted.len() + moved.len();
    let mut expected = wanted;
    for sum in deleted {
        *expected.get_mut(&sum).unwrap() -= 1;
    }
    expected.retain(|_, count| *count > 0);
    for sum in sums(&user["delivered"]) {
        expected.insert(sum, 1);
    }
    assert_eq!(contents(&maildir), expected);
    assert_eq!(
        again["totals"]["planned"]["moved_or_deleted"]
            .as_u64()
            .unwrap() as usize,
        cleared
    );
}

/// What mutt shows of a folder: for each message its SHA-256, as it is given to a pipe whole.
fn shown_by_mutt(folder: &Path, scratch: &Path) -> Vec<String> {
    let list = scratch.join("shown");
    let _ = fs::remove_file(&list);
    let keep = scratch.join("keep.sh");
    let script = format!("sha256sum | cut -c1-64 >> '{}'\n", list.display());
    fs::write(&keep, script).unwrap();
    // Without the folder it would ask whether to make it, and take the first key for the answer.
    let settings = format!(
        "set folder='{}'\nset pipe_split=yes pipe_sep='' pipe_decode=no wait_key=no quit=yes\n",
        scratch.display()
    );
    let rc = scratch.join("muttrc");
    fs::write(&rc, settings).unwrap();
    let push = format!(
        "push '<tag-pattern>~A<enter><tag-prefix><pipe-message>sh {}<enter><exit>'",
        keep.display()
    );
    // mutt wants a terminal: script(1) gives it one.
    let mutt = format!(
        "TERM=xterm mutt -n -R -F '{}' -f '{}' -e \"{push}\"",
        rc.display(),
        folder.display()
    );
    let status = Command::new("timeout")
        .args(["60", "script", "-qec", &mutt, "/dev/null"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .env("HOME", scratch)
        .status()
        .unwrap();
    assert!(
        status.success(),
        "mutt on {}: scripts/setup.sh installs it",
        folder.display()
    );
    let text = fs::read_to_string(&list).unwrap_or_default();
    let mut sums: Vec<String> = text.lines().map(str::to_owned).collect();
    sums.sort();
    sums
}

#[test]
fn mutt_opens_every_restored_message() {
    let incident = Incident::new("drill");
    succeed(&mut incident.recover("case", "mail", &[]));
    let maildir = incident.path("mail/oakandash.example/info/Maildir");
    let mut folders = 0;
    for entry in fs::read_dir(&maildir).unwrap() {
        let folder = entry.unwrap().path();
        if !folder.join("cur").is_dir() {
            continue;
        }
        let here: Vec<String> = contents(&folder)
            .into_iter()
            .flat_map(|(sum, count)| std::iter::repeat_n(sum, count))
            .collect();
        if here.is_empty() {
            continue;
        }
        assert_eq!(
            shown_by_mutt(&folder, &incident.path("")),
            here,
            "{}",
            folder.display()
        );
        folders += 1;
    }
    assert!(folders > 4, "{folders} folders");
}
