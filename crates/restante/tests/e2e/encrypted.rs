//! A store on a volume that LUKS encrypts: named without its key, and whole with it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{fail, messages, restante, succeed};

const MAILDIR: &str = "vmail/lindenhof.example/ada/Maildir";
const PASSPHRASE: &str = "linden along the road";

/// The name of message `number`, and its text.
fn message(number: u64) -> (String, String) {
    let text = format!(
        "Delivered-To: ada@lindenhof.example\nFrom: x@y.example\nSubject: {number}\n\n{}",
        format!("words of letter {number}\n").repeat(100 + 37 * usize::try_from(number).unwrap())
    );
    let (size, lines) = (text.len(), text.matches('\n').count());
    let name = format!(
        "14000000{number:02}.M1P1.mx,S={size},W={}:2,S",
        size + lines
    );
    (name, text)
}

fn run(program: &str, arguments: &[&str], place: &Path) {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(place)
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}; scripts/setup.sh installs it"));
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {output:?}"
    );
}

/// A disk whose only partition is a container of version 2 with an ext4 with a Maildir in it.
fn disk(place: &Path) -> PathBuf {
    let root = place.join("root");
    for directory in ["cur", "new", "tmp"] {
        fs::create_dir_all(root.join(MAILDIR).join(directory)).unwrap();
    }
    for number in 1..=20 {
        let (name, text) = message(number);
        fs::write(root.join(MAILDIR).join("cur").join(name), text).unwrap();
    }
    fs::File::create(place.join("plain"))
        .unwrap()
        .set_len(48 << 20)
        .unwrap();
    run(
        "mke2fs",
        &[
            "-q", "-t", "ext4", "-b", "4096", "-d", "root", "plain", "16M",
        ],
        place,
    );
    fs::write(place.join("key"), PASSPHRASE).unwrap();
    run(
        "cryptsetup",
        &[
            "reencrypt",
            "--encrypt",
            "--type",
            "luks2",
            "-q",
            "--key-file",
            "key",
            "--reduce-device-size",
            "32M",
            "--sector-size",
            "4096",
            "--pbkdf",
            "argon2id",
            "--pbkdf-memory",
            "1024",
            "--pbkdf-parallel",
            "1",
            "--pbkdf-force-iterations",
            "4",
            "plain",
        ],
        place,
    );
    let sealed = fs::read(place.join("plain")).unwrap();
    let mut whole = vec![0; (1 << 20) + sealed.len() + (1 << 20)];
    whole[1 << 20..][..sealed.len()].copy_from_slice(&sealed);
    let path = place.join("disk.img");
    fs::write(&path, whole).unwrap();
    run(
        "sgdisk",
        &["-n", "1:2048:+48M", "-t", "1:8309", "disk.img"],
        place,
    );
    path
}

fn keys(place: &Path, text: &str) -> PathBuf {
    let path = place.join("keys.json");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

#[test]
fn a_locked_store_is_named_and_its_key_brings_every_message_back() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path();
    let image = disk(place);
    let case = place.join("case");
    let mail = place.join("mail");
    let recover = || {
        let mut command = restante();
        command.arg("recover").arg(&case).arg(&image);
        command
            .arg("--to")
            .arg(format!("maildir:{}", mail.display()));
        command
    };

    // Without the key: exit 0, the name of what is there, nothing handed over.
    let said = succeed(&mut recover());
    assert!(
        said.contains("Encrypted, and not read: partition:disk/1"),
        "{said}"
    );
    assert!(said.contains("a LUKS2 encrypted volume"), "{said}");
    assert!(said.contains("passphrase"), "{said}");
    assert!(!mail.exists() || messages(&mail).is_empty());
    let report = fs::read(case.join("report/report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
    let stated = &report["aggregate"]["encrypted"][0];
    assert_eq!(stated["kind"], "luks2");
    assert_eq!(report["totals"]["found"], 0);
    let page = fs::read_to_string(case.join("report/report.html")).unwrap();
    assert!(page.contains("1 device is encrypted and could not be read"));

    // A wrong key changes nothing, and is said to be wrong.
    let file = keys(place, r#"{"*": {"passphrase": "linden along the rode"}}"#);
    let said = succeed(recover().arg("--unlock").arg(&file));
    assert!(said.contains("none of the keys"), "{said}");

    // With the key: everything, exact.
    let uuid = stated["uuid"].as_str().unwrap();
    let file = keys(place, &format!(r#"{{"{uuid}": {{"key_file": "key"}}}}"#));
    let said = succeed(recover().arg("--unlock").arg(&file));
    assert!(said.contains(&format!("opened luks:{uuid}")), "{said}");
    let mut found: Vec<String> = messages(&mail)
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    found.sort();
    let mut expected: Vec<String> = (1..=20).map(|number| message(number).1).collect();
    expected.sort();
    assert!(found == expected, "{} of {}", found.len(), expected.len());

    // Later steps ask for it again, and take it from the environment too.
    let said = fail(restante().arg("verify").arg(&case), 1);
    assert!(said.is_empty() || said.contains("--unlock"), "{said}");
    let said = fail(restante().arg("rebuild").arg(&case), 2);
    assert!(said.contains("--unlock") && said.contains(uuid), "{said}");
    let text = format!(r#"{{"*": {{"passphrase": "{PASSPHRASE}"}}}}"#);
    succeed(
        restante()
            .arg("verify")
            .arg(&case)
            .env("RESTANTE_UNLOCK", text),
    );

    // Nothing of it stays.
    let mut left = vec![case];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else {
            let bytes = fs::read(&path).unwrap();
            let mut windows = bytes.windows(PASSPHRASE.len());
            assert!(
                !windows.any(|part| part == PASSPHRASE.as_bytes()),
                "{}",
                path.display()
            );
        }
    }
}

#[test]
fn keys_that_others_can_read_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = keys(dir.path(), r#"{"*": {"passphrase": "linden"}}"#);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let said = fail(
        restante()
            .arg("report")
            .arg(dir.path())
            .arg("--unlock")
            .arg(&file),
        2,
    );
    assert!(
        said.contains("chmod 600") && !said.contains("linden"),
        "{said}"
    );
}
