//! What the end-to-end tests share: incidents, runs of the program, trees to compare.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The top of the repository.
pub(crate) fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// An incident from `fixtures/incidents`, unpacked, with a place for its case and its mail.
pub(crate) struct Incident {
    dir: tempfile::TempDir,
    truth: PathBuf,
}

impl Incident {
    /// Unpacks the incident `name`.
    pub(crate) fn new(name: &str) -> Self {
        Self::from_folder(&top().join("fixtures/incidents").join(name))
    }

    /// Unpacks the incident in `folder`, which holds `disks.tar.zst` and `truth.json`.
    pub(crate) fn from_folder(folder: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let packed = fs::File::open(folder.join("disks.tar.zst")).unwrap();
        let mut archive = tar::Archive::new(zstd::Decoder::new(packed).unwrap());
        archive.unpack(dir.path().join("unpacked")).unwrap();
        Self {
            dir,
            truth: folder.join("truth.json"),
        }
    }

    /// A path beside the disks.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The disks, sorted by name, without the mapfiles beside them.
    pub(crate) fn disks(&self) -> Vec<PathBuf> {
        let mut disks = Vec::new();
        let mut left = vec![self.path("unpacked")];
        while let Some(dir) = left.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    left.push(path);
                } else if path.extension().is_none_or(|ending| ending != "map") {
                    disks.push(path);
                }
            }
        }
        disks.sort();
        disks
    }

    /// `recover CASE DISKS --to maildir:MAIL`, with more arguments.
    pub(crate) fn recover(&self, case: &str, mail: &str, more: &[&str]) -> Command {
        let mut command = restante();
        command
            .arg("recover")
            .arg(self.path(case))
            .args(self.disks())
            .arg("--to")
            .arg(self.target(mail))
            .args(more);
        command
    }

    /// `recover CASE --to maildir:MAIL`, with the evidence that the case has.
    pub(crate) fn recover_again(&self, case: &str, mail: &str) -> Command {
        let mut command = restante();
        command
            .arg("recover")
            .arg(self.path(case))
            .arg("--to")
            .arg(self.target(mail));
        command
    }

    /// The target whose mail lies in the directory `mail`.
    pub(crate) fn target(&self, mail: &str) -> String {
        format!("maildir:{}", self.path(mail).display())
    }

    /// The score of the tree in `mail`, by `scripts/score.py`.
    pub(crate) fn score(&self, mail: &str) -> serde_json::Value {
        let output = Command::new("python3")
            .arg(top().join("scripts/score.py"))
            .arg(&self.truth)
            .arg(self.path(mail))
            .arg("--json")
            .output()
            .expect("python3 scores the restored mail; scripts/setup.sh installs what tests need");
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
    }
}

/// The program.
pub(crate) fn restante() -> Command {
    Command::new(env!("CARGO_BIN_EXE_restante"))
}

/// Runs a command that must succeed, and gives what it printed.
pub(crate) fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}\n{}", both(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a command that must fail with `code`, and gives what it said on standard error.
pub(crate) fn fail(command: &mut Command, code: i32) -> String {
    let output = command.output().unwrap();
    assert_eq!(
        output.status.code(),
        Some(code),
        "{command:?}\n{}",
        both(&output)
    );
    String::from_utf8(output.stderr).unwrap()
}

fn both(output: &Output) -> String {
    format!(
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// An ext4 image of `bytes` that holds what is below `root`.
pub(crate) fn ext4_image(root: &Path, image: &Path, bytes: u64) {
    fs::File::create(image).unwrap().set_len(bytes).unwrap();
    let output = Command::new("mke2fs")
        .args(["-q", "-t", "ext4", "-b", "4096", "-d"])
        .args([root, image])
        .output()
        .expect("mke2fs is needed; scripts/setup.sh installs it");
    assert!(output.status.success(), "{}", both(&output));
}

/// Every file and directory below `root`: its mode, the time of files, and their contents.
pub(crate) fn tree(root: &Path) -> BTreeMap<PathBuf, (u32, i64, String)> {
    let mut all = BTreeMap::new();
    let mut left = vec![root.to_owned()];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let metadata = path.symlink_metadata().unwrap();
            let name = path.strip_prefix(root).unwrap().to_owned();
            if metadata.is_dir() {
                all.insert(name, (metadata.mode(), 0, String::new()));
                left.push(path);
            } else {
                let contents = if metadata.is_symlink() {
                    fs::read_link(&path)
                        .unwrap()
                        .into_os_string()
                        .into_encoded_bytes()
                } else {
                    fs::read(&path).unwrap()
                };
                let digest = blake3::hash(&contents).to_hex().to_string();
                // Only messages carry a time that means something.
                let time = match path.parent().and_then(Path::file_name) {
                    Some(name) if name == "cur" => metadata.mtime(),
                    _ => 0,
                };
                all.insert(name, (metadata.mode(), time, digest));
            }
        }
    }
    all
}

/// The files of a tree that are messages.
pub(crate) fn messages(root: &Path) -> Vec<PathBuf> {
    tree(root)
        .into_keys()
        .filter(|path| {
            path.parent()
                .and_then(Path::file_name)
                .is_some_and(|name| name == "cur")
        })
        .map(|path| root.join(path))
        .filter(|path| path.is_file())
        .collect()
}

/// Account, folder, content, flags, keywords, time of delivery.
pub(crate) type Shown = (String, String, String, String, Vec<String>, i64);

/// A list of words, sorted.
pub(crate) fn words(value: &serde_json::Value) -> Vec<String> {
    let list = value.as_array().unwrap().iter();
    let mut words: Vec<String> = list.map(|word| word.as_str().unwrap().to_owned()).collect();
    words.sort();
    words
}

/// What a server must show of the incident `drill`: of what was in use, and of what was deleted.
pub(crate) fn drill_truth() -> (BTreeSet<Shown>, BTreeSet<Shown>) {
    let truth = fs::read(top().join("fixtures/incidents/drill/truth.json")).unwrap();
    let truth: serde_json::Value = serde_json::from_slice(&truth).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let (mut in_use, mut deleted) = (BTreeSet::new(), BTreeSet::new());
    for message in truth["messages"].as_array().unwrap() {
        let folder = match message["folder"].as_str().unwrap() {
            "INBOX" => "restored_emails".to_owned(),
            name => format!("restored_emails.{name}"),
        };
        let shown = (
            text(&message["account"]),
            folder,
            text(&message["sha256"]),
            text(&message["flags"]),
            words(&message["keywords"]),
            message["date"].as_i64().unwrap(),
        );
        if message["deleted"] == true {
            // Of what was carved, only the message itself says something.
            let (account, _, digest, .., date) = shown.clone();
            let folder = "restored_emails.Recovered".to_owned();
            deleted.insert((account, folder, digest, String::new(), Vec::new(), date));
            deleted.insert(shown);
        } else {
            in_use.insert(shown);
        }
    }
    (in_use, deleted)
}
