//! A volume and its snapshot: what was deleted since comes back once, and says from where.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::common::{ext4_image, messages, restante, succeed};

const CHUNK: usize = 4096;
const MAILDIR: &str = "vmail/lindenhof.example/ada/Maildir";

/// The name of message `number`, and its text.
fn message(number: u64) -> (String, String) {
    let text = format!(
        "Delivered-To: ada@lindenhof.example\nFrom: x@y.example\nSubject: {number}\n\n{}",
        "words of a letter\n".repeat(600)
    );
    let (size, lines) = (text.len(), text.matches('\n').count());
    let name = format!("140000000{number}.M1P1.mx,S={size},W={}:2,S", size + lines);
    (name, text)
}

/// An ext4 image with three messages in it.
fn image(dir: &Path) -> PathBuf {
    let root = dir.join("root");
    for directory in ["cur", "new", "tmp"] {
        fs::create_dir_all(root.join(MAILDIR).join(directory)).unwrap();
    }
    for number in 1..=3 {
        let (name, text) = message(number);
        fs::write(root.join(MAILDIR).join("cur").join(name), text).unwrap();
    }
    let image = dir.join("now.img");
    ext4_image(&root, &image, 16 << 20);
    image
}

/// The store of a snapshot that was taken of `before`, when it has become `now`.
fn store(before: &[u8], now: &[u8]) -> Vec<u8> {
    let mut store = vec![0; 2 * CHUNK];
    // `struct disk_header`: magic, valid, version, chunk size in sectors.
    for (at, number) in [(0, 0x7041_6E53_u32), (4, 1), (8, 1), (12, 8)] {
        store[at..at + 4].copy_from_slice(&number.to_le_bytes());
    }
    let chunks = before.chunks(CHUNK).zip(now.chunks(CHUNK)).enumerate();
    let mut saved = 0;
    for (number, (old, _)) in chunks.filter(|(_, (old, new))| old != new) {
        let on_store = (store.len() / CHUNK) as u64;
        let at = CHUNK + saved * 16;
        store[at..at + 8].copy_from_slice(&(number as u64).to_le_bytes());
        store[at + 8..at + 16].copy_from_slice(&on_store.to_le_bytes());
        store.extend(old);
        saved += 1;
    }
    assert!((1..250).contains(&saved), "{saved} chunks");
    store
}

#[test]
fn a_message_that_only_a_snapshot_has_is_restored_once_and_marked() {
    let dir = tempfile::tempdir().unwrap();
    let now = image(dir.path());
    let before = fs::read(&now).unwrap();
    let (gone, text) = message(2);
    let output = Command::new("debugfs")
        .args(["-w", "-R", &format!("rm /{MAILDIR}/cur/{gone}")])
        .arg(&now)
        .output()
        .expect("debugfs is needed; scripts/setup.sh installs it");
    assert!(output.status.success(), "{output:?}");
    // Its blocks were given to something else since.
    let mut image = fs::read(&now).unwrap();
    let at = (0..image.len())
        .step_by(CHUNK)
        .find(|at| image[*at..].starts_with(text.as_bytes()))
        .unwrap();
    image[at..at + CHUNK].fill(b'x');
    fs::write(&now, &image).unwrap();
    let saved = dir.path().join("saved.img");
    fs::write(&saved, store(&before, &image)).unwrap();

    let case = dir.path().join("case");
    succeed(restante().arg("scan").arg(&case).args([&now, &saved]));
    let bytes = image.len();
    let area = |device: &str| json!({"device": device, "offset": 0});
    let aggregate = json!({
        "version": 1,
        "volumes": [
            {"device": "volume:mail", "bytes": bytes, "segments": [{"start": 0, "bytes": bytes,
                "map": {"kind": "linear", "device": "disk:now", "offset": 0}}]},
            {"device": "volume:monday", "bytes": bytes, "snapshot_of": "volume:mail", "segments": [
                {"start": 0, "bytes": bytes, "map": {"kind": "snapshot",
                    "origin": area("volume:mail"), "store": area("disk:saved")}}]},
        ],
    });
    fs::write(case.join("aggregate.json"), aggregate.to_string()).unwrap();
    let counts = succeed(restante().args(["rebuild", "--json"]).arg(&case));
    let counts: serde_json::Value = serde_json::from_str(&counts).unwrap();
    assert!(counts["in_snapshots"].as_u64() >= Some(3), "{counts}");

    let mail = dir.path().join("mail");
    let target = format!("maildir:{}", mail.display());
    succeed(restante().arg("sync").arg(&case).args(["--to", &target]));
    let restored = messages(&mail.join("lindenhof.example"));
    let mut texts: Vec<String> = restored
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    texts.sort();
    let want: Vec<String> = (1..=3).map(|number| message(number).1).collect();
    assert_eq!(texts, want);
    succeed(restante().arg("report").arg(&case));
    let table = fs::read_to_string(case.join("report/messages.csv")).unwrap();
    let marked = table
        .lines()
        .filter(|line| line.contains("in snapshot monday"));
    assert_eq!(marked.filter(|line| line.contains("\"whole\"")).count(), 1);
    succeed(
        restante()
            .args(["verify"])
            .arg(&case)
            .args(["--to", &target]),
    );
}
