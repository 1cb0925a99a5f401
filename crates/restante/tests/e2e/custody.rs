//! Papers for the chain of custody, read by programs that are not ours.

use std::fs;
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
