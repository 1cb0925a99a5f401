//! What is for owners: their pages and the mails to them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::{damaged, empty, folder, incident, note};
use mail::Record;
use mail::proof::HoleCause;
use report::{Facts, NoticeOptions};
use serde_json::Value;

/// What Python's email package reads of a mail.
fn read_by_python(path: &Path) -> Value {
    const SCRIPT: &str = "import email,email.policy,json,sys\n\
        m=email.message_from_binary_file(open(sys.argv[1],'rb'),policy=email.policy.default)\n\
        print(json.dumps({'defects':[repr(d) for d in m.defects],'headers':dict(m.items()),\
        'body':m.get_content()}))";
    let output = Command::new("python3")
        .args(["-c", SCRIPT])
        .arg(path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn every_owner_gets_a_page_facts_and_a_table_of_their_own_and_of_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let case = incident(dir.path());
    let facts = Facts::gather(&case).unwrap();
    let out = dir.path().join("out");
    report::write(&facts, &case, &out).unwrap();
    let mut pages = 0;
    for account in facts.accounts.iter().filter(|a| !a.is_unattributed()) {
        let (local, domain) = account.address.split_once('@').unwrap();
        let file = |ending: &str| {
            let path = out.join(format!("accounts/{domain}/{local}.{ending}"));
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        let (html, json, table) = (file("html"), file("json"), file("csv"));
        assert!(html.contains("How much came back?") && html.contains("Content-Security-Policy"));
        let own: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(own["expected"], account.counts.expected);
        let rows = csv::Reader::from_reader(table.as_bytes())
            .into_records()
            .count() as u64;
        assert_eq!(
            rows,
            account.counts.found + account.counts.listed_but_gone,
            "{}",
            account.address
        );
        for other in facts
            .accounts
            .iter()
            .filter(|o| o.address != account.address)
        {
            let alone = format!(">{}<", other.address);
            assert!(
                !html.contains(&alone),
                "{} names {}",
                account.address,
                other.address
            );
            assert!(!table.contains(&format!("\"{}\"", other.address)));
        }
        pages += 1;
    }
    assert!(pages > 3, "{pages}");
}

#[test]
fn notices_are_mails_that_another_program_reads() {
    let dir = tempfile::tempdir().unwrap();
    let case = incident(dir.path());
    let facts = Facts::gather(&case).unwrap();
    let out = dir.path().join("out");
    let count = report::notices(&facts, &out, &NoticeOptions::default()).unwrap();
    let ada = out.join("notices/lindenhof.example/ada.eml");
    let mail = read_by_python(&ada);
    assert_eq!(mail["defects"], serde_json::json!([]));
    let headers = &mail["headers"];
    assert_eq!(headers["To"], "ada@lindenhof.example");
    assert_eq!(headers["From"], "postmaster@lindenhof.example");
    assert_eq!(headers["Auto-Submitted"], "auto-generated");
    let account = facts
        .accounts
        .iter()
        .find(|a| a.address.starts_with("ada@"))
        .unwrap();
    let expected = account.counts.expected.to_string();
    assert!(
        headers["Subject"].as_str().unwrap().contains(&expected),
        "{headers}"
    );
    let body = mail["body"].as_str().unwrap();
    for question in [
        "Is mail lost?",
        "How much came back?",
        "Where is it?",
        "When is it finished?",
    ] {
        assert!(body.contains(question), "{body}");
    }
    assert!(!body.contains("{{") && !body.contains("{%"));
    // The same case gives the same mail, and its template is there to be edited.
    let before = fs::read(&ada).unwrap();
    let template = out.join("notices/template.txt");
    let options = NoticeOptions {
        template: Some(template),
        from: None,
    };
    assert_eq!(report::notices(&facts, &out, &options).unwrap(), count);
    assert_eq!(before, fs::read(&ada).unwrap());
}

#[test]
fn names_from_disks_make_no_other_recipients_and_what_is_no_more_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let case = empty(dir.path());
    let names = ["x>,<bob", "+ada", "\u{200B}eve", "bo"];
    let records: Vec<Record> = names
        .iter()
        .map(|name| {
            let account = format!("{name}@lindenhof.example");
            Record::Message(Box::new(common::message(
                &account,
                "INBOX",
                1,
                1_400_000_000,
            )))
        })
        .collect();
    case.write_segment("messages", "volume-000000", &records)
        .unwrap();
    let facts = Facts::gather(&case).unwrap();
    let out = dir.path().join("out");
    report::write(&facts, &case, &out).unwrap();
    let notices = report::notices(&facts, &out, &NoticeOptions::default()).unwrap();
    assert_eq!(notices.written, 2, "{notices:?}");
    // The first is no address: its mail is nobody's.
    assert_eq!(notices.left_out.len(), 1, "{notices:?}");
    assert!(!out.join("accounts/lindenhof.example/x>,<bob.csv").exists());
    for name in &names[1..] {
        let table = fs::read_to_string(out.join(format!("accounts/lindenhof.example/{name}.csv")));
        assert_eq!(table.unwrap().lines().count(), 2, "{name}");
    }
    let mail = read_by_python(&out.join("notices/lindenhof.example/bo.eml"));
    assert!(
        mail["body"]
            .as_str()
            .unwrap()
            .contains("The search is not at its end"),
        "{mail}"
    );
    // Another rule gives the mail to fewer accounts: papers of the others must not stay.
    case.write_segment("messages", "volume-000000", &records[3..])
        .unwrap();
    let facts = Facts::gather(&case).unwrap();
    report::write(&facts, &case, &out).unwrap();
    report::notices(&facts, &out, &NoticeOptions::default()).unwrap();
    for (folder, count) in [("accounts", 3), ("notices", 1)] {
        let left = fs::read_dir(out.join(folder).join("lindenhof.example")).unwrap();
        assert_eq!(left.count(), count, "{folder}");
    }
}

#[test]
fn a_translated_template_and_hostile_names_make_a_mail_without_other_headers() {
    let dir = tempfile::tempdir().unwrap();
    let case = empty(dir.path());
    let ada = "ada@lindenhof.example";
    let hostile = "Bcc: all@x.example\r\nX: \u{202e}\u{1b}[2J";
    let mut one = damaged(
        ada,
        "Entw&APw-rfe",
        1,
        1_400_000_000,
        HoleCause::NeverWritten,
    );
    one.summary.subject = hostile.to_owned();
    let records = [
        Record::Message(Box::new(one)),
        Record::Lost(note(ada, hostile, 3, 1_400_000_000, hostile)),
        folder(ada, hostile, 1, &[hostile]),
    ];
    case.write_segment("messages", "volume-000000", &records)
        .unwrap();
    let facts = Facts::gather(&case).unwrap();
    let out = dir.path().join("out");
    let template = dir.path().join("deutsch.txt");
    let text = "Subject: Zurück: {{ back }} von {{ expected }} – {{ damaged_messages[0].subject }}\n\n\
        Für {{ account }}\n{% for f in folders %}{{ f.name }}: {{ f.whole }}\n{% endfor %}";
    fs::write(&template, text).unwrap();
    let options = NoticeOptions {
        template: Some(template.clone()),
        from: mail::Address::parse("hilfe@lindenhof.example"),
    };
    report::notices(&facts, &out, &options).unwrap();
    let mail = read_by_python(&out.join("notices/lindenhof.example/ada.eml"));
    assert_eq!(mail["defects"], serde_json::json!([]), "{mail}");
    let headers = mail["headers"].as_object().unwrap();
    assert!(
        !headers.contains_key("Bcc") && !headers.contains_key("X"),
        "{headers:?}"
    );
    assert_eq!(headers["From"], "hilfe@lindenhof.example");
    assert!(
        headers["Subject"]
            .as_str()
            .unwrap()
            .starts_with("Zurück: 1 von"),
        "{headers:?}"
    );
    let body = mail["body"].as_str().unwrap();
    assert!(
        body.contains("Für ada") && body.contains("Entwürfe"),
        "{body}"
    );
    assert!(!body.contains('\u{1b}') && !body.contains('\u{202e}'));
    for (wrong, why) in [
        ("Hello\n", "its first line is not"),
        ("Subject: {{ nobody }}\n", "undefined"),
        ("Subject: a\n\n{% for f in folders %}\n", "syntax error"),
    ] {
        fs::write(&template, wrong).unwrap();
        let error = report::notices(&facts, &out, &options)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(why) && error.contains("deutsch.txt"),
            "{error}"
        );
    }
}

#[test]
fn owners_are_told_that_messages_are_encrypted_by_the_mail_system() {
    let dir = tempfile::tempdir().unwrap();
    let case = empty(dir.path());
    let account = "ada@lindenhof.example";
    let why = "encrypted with Dovecot's mail_crypt, key digest 29354bd2; it cannot be read without \
               the private key of the user or the server";
    let mut lost = note(account, "INBOX", 3, 1_400_000_000, why);
    lost.is_encrypted = true;
    let records = [
        Record::Message(Box::new(common::message(
            account,
            "INBOX",
            1,
            1_400_000_000,
        ))),
        Record::Lost(lost),
    ];
    case.write_segment("messages", "volume-000000", &records)
        .unwrap();
    let facts = Facts::gather(&case).unwrap();
    assert_eq!((facts.totals.lost, facts.totals.encrypted), (1, 1));
    assert!(facts.checks.iter().all(|check| check.holds));
    let out = dir.path().join("out");
    report::write(&facts, &case, &out).unwrap();
    report::notices(&facts, &out, &NoticeOptions::default()).unwrap();
    let read = |name: &str| fs::read_to_string(out.join(name)).unwrap();
    let page = read("accounts/lindenhof.example/ada.html");
    assert!(page.contains("1 message is encrypted by the mail system"));
    assert!(page.contains("key digest 29354bd2"));
    assert!(read("report.html").contains("encrypted with Dovecot&#x27;s mail_crypt"));
    let mail = read_by_python(&out.join("notices/lindenhof.example/ada.eml"));
    let body = mail["body"].as_str().unwrap();
    assert!(
        body.contains("1 of these messages are encrypted by the mail system"),
        "{body}"
    );
}
