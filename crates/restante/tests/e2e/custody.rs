//! Papers for the chain of custody, read by programs that are not ours.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::common::{Incident, fail, messages, restante, succeed, top};

fn export(incident: &Incident, more: &[&str], out: &str) -> Command {
    let mut command = restante();
    command
        .arg("export")
        .arg(incident.path("case"))
        .args(more)
        .arg("-o")
        .arg(incident.path(out));
    command
}

#[test]
fn mactime_reads_the_body_file_and_sha256sum_checks_the_manifest() {
    let incident = Incident::new("drill");
    succeed(&mut incident.recover("case", "mail", &[]));
    succeed(&mut export(&incident, &["--bodyfile"], "files.body"));
    let mut mactime = Command::new("mactime");
    let timeline = mactime
        .args(["-d", "-y", "-z", "UTC", "-b"])
        .arg(incident.path("files.body"))
        .output()
        .expect("mactime is of sleuthkit; scripts/setup.sh installs what tests need");
    let timeline = String::from_utf8(timeline.stdout).unwrap();
    let restored = messages(&incident.path("mail"));
    assert!(timeline.lines().count() > restored.len(), "{timeline}");
    assert!(timeline.contains("deleted, and recovered"), "{timeline}");

    let target = incident.target("mail");
    let manifest = ["--manifest", "--to", target.as_str()];
    succeed(&mut export(&incident, &manifest, "sums"));
    let check = || {
        let mut check = Command::new("sha256sum");
        check
            .args(["-c", "--quiet", "--strict"])
            .arg(incident.path("sums"));
        check.current_dir(incident.path("mail")).output().unwrap()
    };
    assert!(check().status.success());
    let lines = fs::read_to_string(incident.path("sums")).unwrap();
    assert_eq!(lines.lines().count(), restored.len());
    fail(&mut export(&incident, &manifest, "sums"), 2);
    // A file that was changed is found by the one who checks, and is in no new manifest.
    fs::write(&restored[0], "changed").unwrap();
    assert!(!check().status.success());
    let more = ["--manifest", "--b3", "--to", target.as_str()];
    succeed(&mut export(&incident, &more, "b3"));
    let lines = fs::read_to_string(incident.path("b3")).unwrap();
    assert_eq!(lines.lines().count(), restored.len() - 1);
}

/// Reads the DFXML by Python's parser: of each message its SHA-256 by its bytes on the volume, and
/// whether every sector of them lies in a range of the disks that is named.
const READER: &str = r#"
import hashlib, json, sys, xml.etree.ElementTree as ET
NS = "{http://www.forensicswiki.org/wiki/Category:Digital_Forensics_XML}"
OWN = "{https://github.com/restante/restante}"
root = ET.parse(sys.argv[1]).getroot()
disks = {i.get(OWN + "disk"): open(i.text, "rb") for i in root.find(NS + "source")}
messages = []
for file in root.findall(NS + "fileobject"):
    read = b""
    for run in file.find(OWN + "byte_runs"):
        disk = disks[run.get("disk")]
        disk.seek(int(run.get("img_offset")))
        read += disk.read(int(run.get("len")))
    sums = {h.get("type"): h.text for h in file.findall(NS + "hashdigest")}
    messages.append({"sha256": sums["sha256"], "read": len(read), "runs": len(file.find(NS + "byte_runs")),
        "subject": b"Subject:" in read, "account": file.find(OWN + "message").get("account")})
print(json.dumps(messages))
"#;

#[test]
fn digital_forensics_xml_leads_from_each_message_to_the_sectors_of_the_disks() {
    // Of a volume that is not rebuilt, so that its bytes stand on the disks as they are.
    let incident = Incident::new("raid10-dirty");
    succeed(&mut incident.recover("case", "mail", &[]));
    succeed(&mut export(&incident, &["--dfxml"], "case.xml"));
    let mut lint = Command::new("xmllint");
    lint.args(["--nonet", "--noout", "--schema"])
        .arg(top().join("fixtures/dfxml/dfxml.xsd"))
        .arg(incident.path("case.xml"));
    succeed(&mut lint);
    let mut python = Command::new("python3");
    python.args(["-c", READER]).arg(incident.path("case.xml"));
    let read: Value = serde_json::from_str(&succeed(&mut python)).unwrap();
    let read = read.as_array().unwrap();
    assert!(read.len() > 20, "{read:?}");
    let truth = top().join("fixtures/incidents/raid10-dirty/truth.json");
    let truth: Value = serde_json::from_slice(&fs::read(truth).unwrap()).unwrap();
    let known: Vec<&Value> = truth["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| &message["sha256"])
        .collect();
    for message in read {
        assert!(known.contains(&&message["sha256"]), "{message}");
        assert!(message["runs"].as_u64() > Some(0), "{message}");
        assert!(
            message["subject"] == true,
            "its bytes are elsewhere: {message}"
        );
    }
}

/// `verify CASE`, with more arguments; what it says, and whether all holds.
fn verify(incident: &Incident, more: &[&str]) -> (Value, bool) {
    let mut command = restante();
    command.arg("verify").arg(incident.path("case")).args(more);
    let output = command.arg("--json").output().unwrap();
    let said = serde_json::from_slice(&output.stdout).unwrap();
    (said, output.status.success())
}

/// All lines of one kind that `verify` says.
fn lines<'a>(said: &'a Value, kind: &str) -> Vec<&'a str> {
    let lines = said[kind].as_array().unwrap().iter();
    lines.map(|line| line.as_str().unwrap()).collect()
}

/// Asserts that `verify` fails, with one complaint that has `wanted` in it.
#[track_caller]
fn assert_seen(incident: &Incident, wanted: &str) {
    let (said, holds) = verify(incident, &[]);
    let fails = lines(&said, "fails");
    assert!(!holds && fails.len() == 1, "{wanted}: {said:#}");
    assert!(fails[0].contains(wanted), "{wanted}: {fails:?}");
}

/// The ledgers of the accounts in the case, which has one target.
fn ledgers(incident: &Incident) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut left = vec![incident.path("case/ledger")];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// The text of a log or ledger without its last line.
fn without_last_line(text: &str) -> &str {
    let end = text.trim_end().rfind('\n').unwrap();
    text.get(..=end).unwrap()
}

#[test]
fn a_ledger_that_anybody_else_wrote_to_is_seen_also_after_the_next_sync() {
    let incident = Incident::new("drill");
    succeed(&mut incident.recover("case", "mail", &[]));
    assert!(verify(&incident, &[]).1);
    let ledger = &ledgers(&incident)[0];
    let text = fs::read_to_string(ledger).unwrap();
    let last = text.lines().last().unwrap();
    let entry: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let name = entry["name"].as_str().unwrap();
    for (changed, wanted) in [
        (format!("{text}{last}\n"), "has 1 lines that no sync wrote"),
        (
            without_last_line(&text).to_owned(),
            "lines were changed or removed",
        ),
        (text.replace(name, "1"), "lines were changed or removed"),
        (format!("{text}{{"), "has 1 lines that no sync wrote"),
    ] {
        fs::write(ledger, &changed).unwrap();
        assert_seen(&incident, wanted);
    }
    fs::remove_file(ledger).unwrap();
    assert_seen(&incident, "is gone");
    let foreign = ledger.with_file_name("nobody.jsonl");
    fs::write(ledger, &text).unwrap();
    fs::write(&foreign, &text).unwrap();
    assert_seen(&incident, "was written by no sync that the log knows");
    fs::remove_file(&foreign).unwrap();
    assert!(verify(&incident, &[]).1);

    // The next sync goes on from what it finds, and says so for good.
    fs::write(ledger, format!("{text}{last}\n")).unwrap();
    let sync = || {
        let mut sync = restante();
        sync.arg("sync").arg(incident.path("case"));
        succeed(sync.arg("--to").arg(incident.target("mail")))
    };
    assert!(sync().contains("somebody else wrote to the case"));
    assert!(!sync().contains("somebody else wrote to the case"));
    assert_seen(&incident, "when the sync of line");
}

/// What a sync wrote that was killed before it could say so is no tampering, and what it found is still
/// held against it.
#[test]
fn a_sync_that_was_cut_off_is_told_from_one_that_somebody_forged() {
    let incident = Incident::new("drill");
    succeed(&mut incident.recover("case", "mail", &[]));
    let (log, head) = (
        incident.path("case/log.jsonl"),
        incident.path("case/log.head"),
    );
    let whole = fs::read_to_string(&log).unwrap();
    let ended = whole
        .lines()
        .position(|line| line.contains("\"step\":\"sync\""))
        .unwrap();
    let cut: String = whole
        .lines()
        .take(ended)
        .map(|line| format!("{line}\n"))
        .collect();
    // As a kill between the last ledger and the log leaves it.
    fs::write(&log, &cut).unwrap();
    let last = blake3::hash(cut.lines().last().unwrap().as_bytes()).to_hex();
    fs::write(
        &head,
        format!("{{\"lines\":{ended},\"digest\":\"{last}\"}}"),
    )
    .unwrap();
    let (said, holds) = verify(&incident, &[]);
    assert!(holds, "{said:#}");
    assert!(
        lines(&said, "notes")
            .iter()
            .all(|line| line.contains("was cut off")),
        "{said:#}"
    );
    assert_eq!(lines(&said, "notes").len(), ledgers(&incident).len());
    // The next one closes it.
    succeed(&mut incident.recover_again("case", "mail"));
    let (said, holds) = verify(&incident, &[]);
    assert!(holds && lines(&said, "notes").is_empty(), "{said:#}");
    // A forger who takes the beginning away too leaves ledgers that no sync wrote.
    let cut = without_last_line(&cut);
    fs::write(&log, cut).unwrap();
    let last = blake3::hash(cut.lines().last().unwrap().as_bytes()).to_hex();
    fs::write(
        &head,
        format!("{{\"lines\":{},\"digest\":\"{last}\"}}", ended - 1),
    )
    .unwrap();
    let (said, holds) = verify(&incident, &[]);
    assert!(!holds);
    assert_eq!(
        lines(&said, "fails").len(),
        ledgers(&incident).len(),
        "{said:#}"
    );
}

#[test]
fn the_end_of_the_log_is_held_by_its_head_and_by_what_was_kept_outside() {
    let incident = Incident::new("drill");
    succeed(&mut incident.recover("case", "mail", &[]));
    let (said, _) = verify(&incident, &[]);
    let kept = said["log_line"].as_str().unwrap().to_owned();
    assert!(verify(&incident, &["--log-line", &kept]).1);
    let (log, head) = (
        incident.path("case/log.jsonl"),
        incident.path("case/log.head"),
    );
    let (text, head_text) = (fs::read_to_string(&log).unwrap(), fs::read(&head).unwrap());
    fs::write(&log, without_last_line(&text)).unwrap();
    assert_seen(&incident, "lines behind it are missing");
    fs::remove_file(&head).unwrap();
    assert_seen(&incident, "log.head, which names its last line, is missing");
    // Whoever writes all of it anew is seen by the line that was kept, which still counts later.
    fs::write(&log, &text).unwrap();
    fs::write(&head, &head_text).unwrap();
    succeed(&mut incident.recover_again("case", "mail"));
    assert!(verify(&incident, &["--log-line", &kept]).1);
    let forged = text.replacen("\"time\":1", "\"time\":2", 1);
    rechain(&log, &head, &forged);
    assert!(verify(&incident, &[]).1);
    let (said, holds) = verify(&incident, &["--log-line", &kept]);
    assert!(!holds, "{said:#}");
    assert!(
        lines(&said, "fails")[0].contains("was written anew"),
        "{said:#}"
    );
}

/// Writes a log and its head so that the chain holds whatever its lines say.
fn rechain(log: &Path, head: &Path, text: &str) {
    let mut before = "0".repeat(64);
    let mut whole = String::new();
    for line in text.lines() {
        let start = line.find("\"previous\":\"").unwrap() + 12;
        let line = format!("{}{before}{}", &line[..start], &line[start + 64..]);
        before = blake3::hash(line.as_bytes()).to_hex().to_string();
        whole.push_str(&line);
        whole.push('\n');
    }
    fs::write(log, whole).unwrap();
    let lines = text.lines().count();
    fs::write(
        head,
        format!("{{\"lines\":{lines},\"digest\":\"{before}\"}}"),
    )
    .unwrap();
}

#[test]
fn mail_that_is_not_where_it_was_put_is_said_by_account() {
    let incident = Incident::new("drill");
    succeed(&mut incident.recover("case", "mail", &[]));
    let target = incident.target("mail");
    let see = || verify(&incident, &["--to", &target]);
    let (said, holds) = see();
    assert!(holds && lines(&said, "notes").is_empty(), "{said:#}");
    let accounts = said["accounts"].as_object().unwrap().clone();
    assert!(accounts.len() > 1, "{said:#}");
    let there = |account: &Value| account["there"].as_u64().unwrap();
    let total: u64 = accounts.values().map(there).sum();
    assert_eq!(total, messages(&incident.path("mail")).len() as u64);
    let (one, of_one) = accounts.iter().find(|(_, fates)| there(fates) > 1).unwrap();
    let (local, domain) = one.split_once('@').unwrap();
    let home = incident.path("mail").join(domain).join(local);
    let files = messages(&home);
    // One message: its user may do that.
    fs::remove_file(&files[0]).unwrap();
    let (said, holds) = see();
    assert!(holds, "{said:#}");
    assert_eq!(said["accounts"][one]["gone"], 1);
    assert_eq!(said["accounts"][one]["there"], there(of_one) - 1);
    assert!(lines(&said, "notes")[0].contains("1 of the"), "{said:#}");
    // All of one account: called out, first of all.
    for file in &files[1..] {
        fs::remove_file(file).unwrap();
    }
    let (said, holds) = see();
    assert!(holds, "{said:#}");
    assert!(
        lines(&said, "notes")[0].starts_with(&format!("{one}: NONE")),
        "{said:#}"
    );
    // All of all accounts: nothing is left to prove.
    for file in messages(&incident.path("mail")) {
        fs::remove_file(file).unwrap();
    }
    let (said, holds) = see();
    assert!(!holds, "{said:#}");
    assert!(
        lines(&said, "fails")[0].contains("nothing is left"),
        "{said:#}"
    );
}
