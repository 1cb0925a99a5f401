//! A list of accounts, and one message in several places of an account.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::common::{ext4_image, fail, messages, restante, succeed};

const DOMAIN: &str = "vmail/lindenhof.example";

fn mail(to: &str, trace: &str, number: u64) -> String {
    format!(
        "Return-Path: <x@y.example>\nDelivered-To: {to}@lindenhof.example\n{trace}\
         Received: from y by imap.lindenhof.example; Tue, 17 Jun 2014 10:00:00 +0000\n\
         From: x@y.example\nMessage-ID: <{number}@y.example>\nSubject: {number}\n\nletter {number}\n"
    )
}

/// Puts `text` into a folder of an account as the message `number`; its path.
fn put(root: &Path, account: &str, folder: &str, number: u64, text: &str) -> PathBuf {
    let maildir = root.join(DOMAIN).join(account).join("Maildir").join(folder);
    for directory in ["cur", "new", "tmp"] {
        fs::create_dir_all(maildir.join(directory)).unwrap();
    }
    let (size, lines) = (text.len(), text.matches('\n').count());
    let name = format!(
        "140000000{number}.M{number}P1.mx,S={size},W={}:2,S",
        size + lines
    );
    let path = maildir.join("cur").join(name);
    fs::write(&path, text).unwrap();
    path
}

/// An ext4 image of a tree: Ada has one message in two folders as a hard link, another one as a
/// copy, and two copies of a third that came on different ways; one account was given up.
fn image(dir: &Path) -> PathBuf {
    let root = dir.join("root");
    let linked = put(&root, "ada", "", 1, &mail("ada", "", 1));
    let archive = put(&root, "ada", ".Archive", 9, "x");
    fs::remove_file(&archive).unwrap();
    fs::hard_link(&linked, archive.with_file_name(linked.file_name().unwrap())).unwrap();
    put(&root, "ada", "", 2, &mail("ada", "", 2));
    put(&root, "ada", ".Copies", 2, &mail("ada", "", 2));
    put(&root, "ada", "", 3, &mail("ada", "", 3));
    let by_list = "List-Id: <l.y.example>\n";
    put(&root, "ada", "", 4, &mail("ada", by_list, 3));
    put(&root, "old", "", 5, &mail("old", "", 5));
    let image = dir.join("disk.img");
    ext4_image(&root, &image, 16 << 20);
    image
}

fn restored(mail: &Path, account: &str, folder: &str) -> Vec<String> {
    let maildir = mail.join("lindenhof.example").join(account).join("Maildir");
    let mut subjects: Vec<String> = messages(&maildir.join(folder))
        .iter()
        .filter(|path| path.parent().unwrap() == maildir.join(folder).join("cur"))
        .map(|path| {
            let text = fs::read_to_string(path).unwrap();
            let subject = text.lines().find_map(|line| line.strip_prefix("Subject: "));
            subject.unwrap().to_owned()
        })
        .collect();
    subjects.sort();
    subjects
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn all_mail_is_judged_against_the_list_and_what_was_in_two_folders_is_restored_to_both() {
    let dir = tempfile::tempdir().unwrap();
    let (image, case, mail) = (
        image(dir.path()),
        dir.path().join("case"),
        dir.path().join("mail"),
    );
    let list = dir.path().join("accounts.txt");
    fs::write(
        &list,
        "ada@Lindenhof.example:{PLAIN}secret:1:1\ndora@lindenhof.example\nbad one\n",
    )
    .unwrap();
    let target = format!("maildir:{}", mail.display());
    let recover = || {
        let mut command = restante();
        command
            .arg("recover")
            .arg(&case)
            .arg(&image)
            .args(["--to", &target]);
        command
    };
    let error = fail(recover().arg("--accounts").arg(&list), 2);
    assert!(
        error.contains("line 3") && error.contains("--default-domain"),
        "{error}"
    );
    assert!(
        !case.exists(),
        "a list that cannot be read is known before anything is made"
    );

    fs::write(
        &list,
        "ada@Lindenhof.example:{PLAIN}secret:1:1\ndora@lindenhof.example\n",
    )
    .unwrap();
    succeed(recover().arg("--accounts").arg(&list));
    assert_eq!(
        restored(&mail, "ada", ".restored_emails"),
        ["1", "2", "3", "3"]
    );
    assert_eq!(restored(&mail, "ada", ".restored_emails.Archive"), ["1"]);
    assert_eq!(restored(&mail, "ada", ".restored_emails.Copies"), ["2"]);
    assert!(!mail.join("lindenhof.example/old").exists());
    assert_eq!(messages(&mail.join("_unattributed")).len(), 1);

    let accounts = json(&succeed(restante().args(["accounts", "--json"]).arg(&case)));
    assert_eq!(accounts["dora@lindenhof.example"]["messages"], 0);
    assert_eq!(accounts["dora@lindenhof.example"]["listed"], true);
    let why = accounts["_unattributed"]["evidence"].to_string();
    assert!(
        why.contains("old@lindenhof.example is not in the list"),
        "{why}"
    );
    let text = succeed(restante().arg("accounts").arg(&case));
    assert!(
        text.contains("nothing was found: dora@lindenhof.example"),
        "{text}"
    );

    let report = json(&fs::read_to_string(case.join("report/report.json")).unwrap());
    let missing = &report["account_list"]["nothing_found"];
    assert_eq!(*missing, serde_json::json!(["dora@lindenhof.example"]));
    let ada = &report["accounts"][0];
    let alike = ada["near_duplicate_messages"].as_array().unwrap();
    assert_eq!(
        (alike.len(), &alike[0]["likeness"]),
        (2, &alike[1]["likeness"])
    );
    assert_eq!(report["totals"]["near_duplicates"], 2);
    let ids: Vec<&str> = alike
        .iter()
        .map(|one| one["id"].as_str().unwrap())
        .collect();
    let inspected = json(&succeed(
        restante()
            .args(["inspect", "--json"])
            .arg(&case)
            .arg(ids[0]),
    ));
    assert_eq!(inspected[0]["near_duplicates"], serde_json::json!([ids[1]]));
    for file in ["case.json", "accounts.json", "log.jsonl"] {
        let text = fs::read_to_string(case.join(file)).unwrap();
        assert!(!text.contains("secret"), "{file}");
    }

    // The list stands until another one is given, which sorts the mail anew.
    succeed(restante().arg("rebuild").arg(&case));
    let accounts = json(&succeed(restante().args(["accounts", "--json"]).arg(&case)));
    assert_eq!(accounts["_unattributed"]["messages"], 1);
    fs::write(&list, "ada@lindenhof.example\nold@lindenhof.example\n").unwrap();
    succeed(
        restante()
            .arg("rebuild")
            .arg(&case)
            .arg("--accounts")
            .arg(&list),
    );
    succeed(restante().arg("sync").arg(&case).args(["--to", &target]));
    assert_eq!(restored(&mail, "old", ".restored_emails"), ["5"]);
    assert_eq!(
        restored(&mail, "ada", ".restored_emails"),
        ["1", "2", "3", "3"]
    );
}
