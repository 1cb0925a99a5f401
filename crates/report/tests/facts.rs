//! The facts of cases that were made by hand.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use common::{damaged, empty, folder, incident, message, note};
use evidence::GapCause;
use mail::Record;
use mail::proof::HoleCause;
use report::{Account, Facts, Looks, Wanted, WantedRegion};
use serde_json::{Value, json};

fn account<'a>(facts: &'a Facts, address: &str) -> &'a Account {
    facts
        .accounts
        .iter()
        .find(|account| account.address == address)
        .unwrap()
}

#[test]
fn an_empty_case_has_an_empty_report() {
    let dir = tempfile::tempdir().unwrap();
    let case = empty(dir.path());
    let facts = Facts::gather(&case).unwrap();
    assert_eq!((facts.totals.accounts, facts.totals.found), (0, 0));
    assert!(facts.aggregate.is_none() && facts.as_of.is_none());
    assert!(facts.checks.iter().all(|check| check.holds));
    let paths = report::write(&facts, &case, &dir.path().join("out/report")).unwrap();
    let page = fs::read_to_string(paths.html).unwrap();
    assert!(page.contains("No message is known yet"));
    for table in [paths.accounts, paths.folders, paths.messages] {
        assert_eq!(fs::read_to_string(table).unwrap().lines().count(), 1);
    }
}

#[test]
fn sums_add_up_over_the_whole_incident() {
    let dir = tempfile::tempdir().unwrap();
    let facts = Facts::gather(&incident(dir.path())).unwrap();
    for check in &facts.checks {
        assert!(check.holds, "{check:?}");
    }
    let totals = &facts.totals;
    assert_eq!(totals.accounts, 6);
    assert_eq!(totals.unattributed, 14);
    assert_eq!(totals.expected, totals.whole + totals.damaged + totals.lost);
    assert_eq!(
        totals.found,
        totals.expected + totals.rejected + totals.duplicates
    );
    let ada = account(&facts, "ada@lindenhof.example");
    assert_eq!((ada.counts.damaged, ada.counts.lost), (8, 7));
    assert_eq!(ada.damaged_messages.len(), 8);
    assert_eq!(ada.counts.listed_but_gone, 2);
    assert!(ada.counts.duplicates > 0);
    let drafts = ada
        .folders
        .iter()
        .find(|f| f.name == "Entw&APw-rfe")
        .unwrap();
    assert_eq!(drafts.shown.as_deref(), Some("Entw\u{fc}rfe"));
    let zoe = account(&facts, "zoe@saltmarsh.example");
    assert_eq!((zoe.counts.found, zoe.folders.len()), (0, 1));
    assert_eq!(facts.accounts.last().unwrap().address, "_unattributed");
}

#[test]
fn a_message_in_several_states_counts_once_and_in_the_best_one() {
    let dir = tempfile::tempdir().unwrap();
    let case = empty(dir.path());
    let ada = "ada@lindenhof.example";
    let in_snapshot = |mut message: mail::Message| {
        message.layer = mail::Layer::Snapshot("aggr0/snap1".to_owned());
        message.origin.device = common::SNAPSHOT.to_owned();
        message
    };
    let deleted = |mut message: mail::Message| {
        message.standing = filesystem::Standing::Deleted;
        message.grade = mail::Grade::Complete;
        message
    };
    let time = 1_400_000_000;
    let used = message(ada, "INBOX", 1, time);
    let mut moved = in_snapshot(message(ada, "Archive", 9, time));
    moved.id = used.id.clone();
    let only_there = in_snapshot(message(ada, "INBOX", 2, time));
    let mut too = deleted(message(ada, "Trash", 8, time));
    too.id = only_there.id.clone();
    let gone = deleted(message(ada, "Trash", 3, time));
    let twice = deleted(in_snapshot(gone.clone()));
    let all = [moved, too, twice, gone, only_there, used];
    let records: Vec<Record> = all
        .iter()
        .map(|message| Record::Message(Box::new(message.clone())))
        .collect();
    case.write_segment("messages", "all", &records).unwrap();
    let facts = Facts::gather(&case).unwrap();
    for check in &facts.checks {
        assert!(check.holds, "{check:?}");
    }
    let counts = facts.totals.counts;
    assert_eq!((counts.found, counts.whole, counts.duplicates), (6, 3, 3));
    assert_eq!((counts.deleted, counts.in_snapshots), (1, 1));
    let paths = report::write(&facts, &case, &dir.path().join("out/report")).unwrap();
    let page = fs::read_to_string(paths.html).unwrap();
    assert!(page.contains("1 message that had been deleted is among them"));
    assert!(page.contains("1 message was in a snapshot only"));
    let table = fs::read_to_string(paths.messages).unwrap();
    assert!(
        table.contains("\"deleted, and recovered\"")
            && table.contains("\"in snapshot aggr0/snap1\"")
    );
}

#[test]
fn a_folder_that_only_the_servers_list_knows_is_named_with_its_messages() {
    let dir = tempfile::tempdir().unwrap();
    let case = empty(dir.path());
    let ada = "ada@lindenhof.example";
    let Record::Folder(mut listed) = folder(ada, "Taxes", 0, &[]) else {
        unreachable!()
    };
    listed.path = "/srv/vmail/lindenhof.example/ada/Maildir/dovecot.list.index.log".to_owned();
    listed.listed = Some(41);
    case.write_segment("messages", "all", &[Record::Folder(listed)])
        .unwrap();
    let facts = Facts::gather(&case).unwrap();
    let taxes = &account(&facts, ada).folders[0];
    assert_eq!((taxes.expected, taxes.counted_by_list), (0, Some(41)));
    let paths = report::write(&facts, &case, &dir.path().join("out/report")).unwrap();
    let page = fs::read_to_string(paths.html).unwrap();
    assert!(page.contains("Taxes (41 messages)"));
}

#[test]
fn what_was_handed_over_is_told_from_what_waits() {
    let dir = tempfile::tempdir().unwrap();
    let facts = Facts::gather(&incident(dir.path())).unwrap();
    let bela = account(&facts, "bela@lindenhof.example");
    assert_eq!(bela.counts.waiting, 0);
    assert_eq!(
        bela.counts.handed_over + bela.counts.already_live,
        bela.counts.whole
    );
    let ada = account(&facts, "ada@lindenhof.example");
    assert!(ada.counts.waiting > 0 && ada.counts.handed_over > 0);
    assert!(ada.last_handed_over.is_some() && facts.targets.len() == 1);
    assert_eq!(
        account(&facts, "o'neill@quarry.example").counts.handed_over,
        0
    );
}

#[test]
fn a_message_found_elsewhere_is_not_lost() {
    let dir = tempfile::tempdir().unwrap();
    let case = empty(dir.path());
    let ada = "ada@lindenhof.example";
    let at = 1_400_000_000;
    let mut copy = message(ada, "INBOX", 7, at);
    copy.origin.device = common::SNAPSHOT.to_owned();
    let gone = "1400000000.M7P42.mx1,S=2059,W=2099";
    assert!(copy.origin.path.contains(gone));
    let mut elsewhere = message(ada, "INBOX", 9, at);
    elsewhere.folder = "Archive".to_owned();
    elsewhere.origin.device = common::SNAPSHOT.to_owned();
    let hole = HoleCause::Gap(GapCause::Unreadable);
    let records = [
        Record::Lost(note(ada, "INBOX", 7, at, "its inode could not be read")),
        Record::Lost(note(ada, "INBOX", 8, at, "its inode could not be read")),
        Record::Lost(note(
            "eve@lindenhof.example",
            "INBOX",
            7,
            at,
            "its inode could not be read",
        )),
        folder(ada, "INBOX", 0, &[gone, "1400000001.M8P1.mx1"]),
        Record::Message(Box::new(copy)),
        Record::Message(Box::new(damaged(ada, "INBOX", 9, at, hole))),
        Record::Message(Box::new(elsewhere)),
    ];
    case.write_segment("messages", "volume-000000", &records)
        .unwrap();
    let facts = Facts::gather(&case).unwrap();
    assert!(facts.checks.iter().all(|check| check.holds));
    let account = account(&facts, ada);
    let counts = &account.counts;
    assert_eq!((counts.whole, counts.damaged, counts.lost), (2, 1, 1));
    assert_eq!((counts.duplicates, counts.listed_but_gone), (1, 1));
    assert_eq!(
        account.lost_messages[0].delivered.as_deref(),
        Some("2014-05-13T16:53:20Z")
    );
    assert!(
        account.damaged_messages[0]
            .whole_copy
            .as_deref()
            .unwrap()
            .starts_with(common::SNAPSHOT)
    );
    // Another account's file of the same name says nothing about this one's.
    assert_eq!(facts.totals.lost, 2);
    let paths = report::write(&facts, &case, &dir.path().join("out")).unwrap();
    let table = fs::read_to_string(paths.messages).unwrap();
    assert_eq!(table.matches("\"lost\"").count(), 2);
    assert!(table.contains("it was found at volume:aggr0/snap1:/srv/vmail"));
}

#[test]
fn a_disk_is_pictured_and_what_could_not_be_read_stays_seen() {
    let dir = tempfile::tempdir().unwrap();
    let facts = Facts::gather(&incident(dir.path())).unwrap();
    let disk = &facts.disks[1];
    assert_eq!(disk.name, "disk-b");
    assert_eq!(
        disk.runs.iter().map(|run| run.bytes).sum::<u64>(),
        disk.bytes
    );
    let unread: Vec<_> = disk
        .runs
        .iter()
        .filter(|run| run.looks == Looks::Unread)
        .collect();
    assert_eq!((unread[0].start, unread[0].bytes), (201 << 20, 3 << 20));
    assert_eq!(disk.areas[0].part, "role 3");
    assert_eq!(disk.areas[0].start, 1 << 20);
    assert_eq!(facts.disks[0].finds[1].offsets, [4096]);
    let group = &facts.aggregate.unwrap().groups[0];
    assert_eq!((group.missing, group.redundancy), (1, 1));
}

#[test]
fn a_log_that_was_changed_is_reported_and_stops_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let case = incident(dir.path());
    let log = case.path().join("log.jsonl");
    let text = fs::read_to_string(&log).unwrap();
    fs::write(&log, text.replacen("\"groups\":1", "\"groups\":2", 1)).unwrap();
    let facts = Facts::gather(&case).unwrap();
    assert!(
        facts
            .log
            .problem
            .as_deref()
            .unwrap()
            .contains("chain is broken")
    );
    let paths = report::write(&facts, &case, &dir.path().join("out")).unwrap();
    assert!(
        fs::read_to_string(paths.html)
            .unwrap()
            .contains("The log of the case does not hold")
    );
}

#[test]
fn the_report_is_the_same_each_time() {
    let dir = tempfile::tempdir().unwrap();
    let case = incident(dir.path());
    let write = |name: &str| {
        let facts = Facts::gather(&case).unwrap();
        let paths = report::write(&facts, &case, &dir.path().join(name)).unwrap();
        [
            paths.html,
            paths.json,
            paths.accounts,
            paths.folders,
            paths.messages,
        ]
        .map(|path| fs::read(path).unwrap())
    };
    assert!(write("one") == write("two"));
}

/// The fields of a JSON value with their kinds, elements of lists taken together.
fn schema(value: &Value, path: &str, out: &mut BTreeSet<String>) {
    let kind = match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                schema(value, &format!("{path}.{name}"), out);
            }
            return;
        }
        Value::Array(items) => {
            for item in items {
                schema(item, &format!("{path}[]"), out);
            }
            return;
        }
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
    };
    out.insert(format!("{path}: {kind}"));
}

#[test]
fn the_fields_of_the_json_stay_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let case = incident(dir.path());
    let mut facts = Facts::gather(&case).unwrap();
    facts.wanted = Some(vec![Wanted {
        what: "the missing member in role 2 of group:md0".to_owned(),
        messages: 3,
        bytes: 12_288,
        with_others: 1,
        places: 2,
        regions: vec![WantedRegion {
            start: 4096,
            bytes: 512,
            needed_by: 3,
        }],
        more_regions: 0,
    }]);
    let paths = report::write(&facts, &case, &dir.path().join("out")).unwrap();
    let json: Value = serde_json::from_slice(&fs::read(paths.json).unwrap()).unwrap();
    assert_eq!(json["format"], report::FORMAT);
    let mut fields = BTreeSet::new();
    schema(&json, "", &mut fields);
    // What a step notes in the log is the step's own, and so are the aggregate's statements.
    let foreign = [
        ".log.steps[].input",
        ".log.steps[].output",
        ".log.steps[].options",
        ".aggregate.",
    ];
    let ours = ["missing: number", "left_out: number", "redundancy: number"];
    fields.retain(|field| {
        ours.iter().any(|end| field.ends_with(end))
            || !foreign.iter().any(|start| field.starts_with(start))
    });
    let mut root = json!({});
    for field in &fields {
        let (path, kind) = field.split_once(": ").unwrap();
        place(&mut root, path.trim_start_matches('.'), kind);
    }
    let account = root["properties"]["accounts"]["items"].take();
    root["properties"]["accounts"]["items"] = json!({"$ref": "#/$defs/account"});
    root["$defs"] = json!({"account": account});
    root["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    root["title"] = json!("report.json of restante; accounts/DOMAIN/LOCAL.json is $defs/account");
    root["properties"]["format"] = json!({"const": report::FORMAT});
    root["required"] = json!(["format", "accounts", "totals", "checks"]);
    let found = serde_json::to_string_pretty(&root).unwrap() + "\n";
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/report.schema.json");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(golden, &found).unwrap();
    }
    assert!(
        found == fs::read_to_string(golden).unwrap(),
        "fields were added, renamed or removed: see report::FORMAT, then run with UPDATE_GOLDEN=1"
    );
    let out = dir.path().join("out");
    for (file, pointer) in [
        ("report.json", ""),
        ("accounts/lindenhof.example/ada.json", "/$defs/account"),
    ] {
        validate(Path::new(golden), pointer, &out.join(file));
    }
}

/// Puts a field of a `kind` into a schema, at `path` (`accounts[].folders[].name`). Texts may be null.
fn place(schema: &mut Value, path: &str, kind: &str) {
    let (name, rest) = path.split_once('.').unwrap_or((path, ""));
    let lists = name.matches("[]").count();
    schema["type"] = json!("object");
    let mut at = &mut schema["properties"][name.trim_end_matches("[]")];
    for _ in 0..lists {
        at["type"] = json!("array");
        at = &mut at["items"];
    }
    if rest.is_empty() {
        at["type"] = match kind {
            "number" => json!("number"),
            "bool" => json!("boolean"),
            _ => json!(["string", "null"]),
        };
    } else {
        place(at, rest, kind);
    }
}

/// Has Python's jsonschema prove that `file` is what the schema says.
fn validate(schema: &Path, pointer: &str, file: &Path) {
    const SCRIPT: &str = "import json,sys,jsonschema\n\
        s=json.load(open(sys.argv[1]))\n\
        s={'$schema':s['$schema'],'$defs':s['$defs'],'$ref':'#'+sys.argv[2]} if sys.argv[2] else s\n\
        jsonschema.Draft202012Validator.check_schema(s)\n\
        jsonschema.validate(json.load(open(sys.argv[3])),s)";
    let output = Command::new("python3")
        .args(["-c", SCRIPT])
        .arg(schema)
        .arg(pointer)
        .arg(file)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{} (scripts/setup.sh installs jsonschema): {}",
        file.display(),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn regions_that_are_not_a_groups_own_are_in_the_facts_and_in_the_picture() {
    let dir = tempfile::tempdir().unwrap();
    let case = incident(dir.path());
    let facts = Facts::gather(&case).unwrap();
    let disk = facts.disks.iter().find(|disk| disk.name == "disk-a");
    let epochs: Vec<_> = disk
        .unwrap()
        .epochs
        .iter()
        .map(|e| (e.start, e.bytes))
        .collect();
    assert_eq!(epochs, [(0, 20 << 20), (60 << 20, 131_072)]);
    let paths = report::write(&facts, &case, &dir.path().join("report")).unwrap();
    let page = fs::read_to_string(paths.html).unwrap();
    for class in ["wiped", "newer", "suspect"] {
        assert!(
            page.contains(&format!("<path class=\"{class}\"")),
            "{class}"
        );
        assert!(page.contains(&format!("key {class}")), "{class}");
    }
}
