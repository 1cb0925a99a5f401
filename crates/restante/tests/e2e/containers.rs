//! The incident in the containers that labs use: the same mail comes back.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{Incident, fail, restante, succeed, tree};

/// Runs a tool that `scripts/setup.sh` installs.
fn tool(dir: &Path, line: &str) {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap());
    command.args(words).current_dir(dir);
    succeed(&mut command);
}

/// The disks of the incident, each in another container; they lie in `dir`.
fn contained(disks: &[PathBuf], dir: &Path) -> Vec<PathBuf> {
    fs::create_dir(dir).unwrap();
    let made = disks.iter().enumerate().map(|(number, disk)| {
        let (line, name) = match number % 6 {
            0 => (
                "ewfacquire -q -u -d sha1 -S 8388608 -c none -t d0 DISK",
                "d0.E01",
            ),
            1 => (
                "qemu-img convert -c -f raw -O qcow2 DISK d1.qcow2",
                "d1.qcow2",
            ),
            2 => (
                "qemu-img convert -f raw -O vpc -o force_size=on DISK d2.vhd",
                "d2.vhd",
            ),
            3 => (
                "qemu-img convert -f raw -O vmdk -o subformat=monolithicFlat DISK d3.vmdk",
                "d3.vmdk",
            ),
            4 => ("qemu-img convert -f raw -O vhdx DISK d4.vhdx", "d4.vhdx"),
            _ => ("qemu-img convert -f raw -O vdi DISK d5.vdi", "d5.vdi"),
        };
        tool(dir, &line.replace("DISK", &disk.display().to_string()));
        dir.join(name)
    });
    made.collect()
}

fn case_json(case: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(case.join("case.json")).unwrap()).unwrap()
}

#[test]
fn disks_in_containers_give_the_same_mail_as_raw_ones() {
    let incident = Incident::new("drill");
    succeed(&mut incident.recover("case", "mail", &[]));
    let images = contained(&incident.disks(), &incident.path("lab"));
    let mut command = restante();
    command
        .arg("recover")
        .arg(incident.path("case2"))
        .args(&images)
        .args(["--to", &incident.target("mail2")])
        .arg("--events")
        .arg(incident.path("events"));
    let text = succeed(&mut command);
    assert_eq!(tree(&incident.path("mail")), tree(&incident.path("mail2")));
    for hash in ["md5", "sha1"] {
        assert!(
            text.contains(&format!("d0: the {hash} stored in the image agrees")),
            "{text}"
        );
    }
    // The evidence is what is in the containers: its hashes are those of the raw disks.
    let hashes = |case: &str| {
        let file = case_json(&incident.path(case));
        let all = file["evidence"].as_object().unwrap().clone();
        let mut hashes: Vec<String> = all
            .values()
            .map(|record| record["blake3"].as_str().unwrap().to_owned())
            .collect();
        hashes.sort();
        hashes
    };
    assert_eq!(hashes("case"), hashes("case2"));
    events_tell_the_run(&fs::read_to_string(incident.path("events")).unwrap());
    an_image_that_was_changed_is_told(&incident, &images[0]);
}

/// Every line is an event, and each step that starts ends with all that it had to do.
fn events_tell_the_run(text: &str) {
    let events: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let named = |name: &'static str| events.iter().filter(move |event| event["event"] == name);
    assert_eq!(events[0]["event"], "run");
    assert_eq!(events[0]["command"], "recover");
    assert_eq!(events.last().unwrap()["event"], "exit");
    assert_eq!(events.last().unwrap()["done"], true);
    assert!(events.iter().all(|event| event["time"].is_u64()));
    assert_eq!(named("start").count(), named("end").count());
    for step in [
        "scan", "hashes", "assemble", "look", "rebuild", "sync", "report",
    ] {
        assert!(
            named("end").any(|event| event["step"] == step),
            "{step}\n{text}"
        );
    }
    // One after the other, none inside another.
    for pair in events[1..events.len() - 1].chunk_by(|a, _| a["event"] != "end") {
        assert_eq!(pair[0]["event"], "start", "{text}");
        assert!(
            pair.iter().all(|event| event["step"] == pair[0]["step"]),
            "{text}"
        );
    }
    let scanned = named("end").find(|event| event["step"] == "scan").unwrap();
    assert_eq!(scanned["unit"], "bytes");
    assert_eq!(scanned["done"], scanned["total"]);
}

/// A chunk that is damaged is unread, and the stored hash no longer holds.
fn an_image_that_was_changed_is_told(incident: &Incident, first: &Path) {
    let mut bytes = fs::read(first).unwrap();
    // Not a chunk of zeros: as a gap it would read as what was acquired, and the hashes would say so.
    let begin = 4096;
    let written = |part: &[u8]| part.iter().all(|byte| *byte != 0);
    let place = bytes[begin..].windows(64).position(written).unwrap();
    bytes[begin + place] ^= 1;
    fs::write(first, bytes).unwrap();
    let mut scan = restante();
    scan.arg("scan").arg(incident.path("case3")).arg(first);
    let text = succeed(&mut scan);
    assert!(
        text.contains("THE MD5 STORED IN THE IMAGE DOES NOT AGREE"),
        "{text}"
    );
    let file = case_json(&incident.path("case3"));
    let record = &file["evidence"]["d0"];
    assert_ne!(record["unread"], 0);
    assert_eq!(record["container"]["hashes"]["sha1"]["agrees"], false);
    let output = restante()
        .arg("verify")
        .arg(incident.path("case3"))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("d0 has another sha1 than its container states"),
        "{text}"
    );
    // All segments may be named, as a shell's `*` does.
    let later = first.with_extension("E02");
    let mut again = restante();
    again
        .arg("scan")
        .arg(incident.path("case3"))
        .args([first, later.as_path()]);
    succeed(&mut again);
    assert_eq!(
        case_json(&incident.path("case3"))["evidence"]
            .as_object()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn a_disk_that_begins_like_a_container_needs_to_be_called_raw() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("like.img");
    let mut bytes = vec![0; 1 << 20];
    bytes[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
    fs::write(&image, bytes).unwrap();
    let case = dir.path().join("case");
    let mut scan = restante();
    scan.arg("scan").arg(&case).arg(&image);
    let error = fail(&mut scan, 1);
    assert!(error.contains("--raw"), "{error}");
    assert!(!case.exists());
    let mut scan = restante();
    scan.arg("scan").arg(&case).arg("--raw").arg(&image);
    succeed(&mut scan);
    // The case remembers it.
    for more in [&["--again", "like"][..], &[]] {
        let mut scan = restante();
        scan.arg("scan").arg(&case).args(more);
        succeed(&mut scan);
        assert_eq!(case_json(&case)["evidence"]["like"]["format"], "raw");
    }
}
