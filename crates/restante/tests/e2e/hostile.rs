//! Mailboxes that mean harm to whoever looks at them, by all the ways there are to look.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::common::{restante, succeed, top};

/// The case and the mail of a disk that `scripts/hostile_mailbox.py` made.
struct Hostile {
    dir: tempfile::TempDir,
}

impl Hostile {
    /// Recovers all of it; also what that prints is checked.
    fn recovered() -> Self {
        let hostile = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        let mut make = Command::new("python3");
        make.arg(top().join("scripts/hostile_mailbox.py"));
        succeed(make.arg(hostile.path("disk.img")));
        let target = hostile.target();
        let disk = hostile.path("disk.img").display().to_string();
        hostile.says("recover", &[&disk, "--to", &target, "-v"]);
        hostile
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn target(&self) -> String {
        format!("maildir:{}", self.path("mail").display())
    }

    /// What a command says, of which nothing may act on a terminal.
    #[track_caller]
    fn says(&self, command: &str, more: &[&str]) -> String {
        let mut run = restante();
        run.arg(command).arg(self.path("case")).args(more);
        let output = run.output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{command}: {error}");
        let said = String::from_utf8(output.stdout).unwrap();
        let acts = said.chars().chain(error.chars()).find(|c| acts(*c));
        assert_eq!(acts, None, "{command} {more:?}");
        said
    }
}

/// Whether a character acts on a terminal, or changes the direction of what follows.
fn acts(c: char) -> bool {
    (c.is_control() && !matches!(c, '\n' | '\t'))
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[test]
fn nothing_that_is_printed_acts_on_a_terminal() {
    let hostile = Hostile::recovered();
    // Once more with nothing read from the index that is there already; `verify` says to remove it where
    // it was changed.
    fs::remove_dir_all(hostile.path("case/messages")).unwrap();
    hostile.says("rebuild", &["-v"]);
    hostile.says("carve", &["-v"]);
    assert!(hostile.says("accounts", &["-v"]).contains("mallory@"));
    hostile.says("accounts", &["--json"]);
    let target = hostile.target();
    let elsewhere = format!("maildir:{}", hostile.path("elsewhere").display());
    let planned = hostile.says("sync", &["--dry-run", "-v", "--to", &elsewhere]);
    for seen in ["<script>", "Sent_[2J_", "&IC4-seen-override"] {
        assert!(planned.contains(seen), "{seen}: {planned}");
    }
    hostile.says("verify", &["--to", &target, "-v"]);
    // Every message as a person sees it, the one with a header of 10 MiB too.
    let index = fs::read_dir(hostile.path("case/messages")).unwrap();
    let mut ids = Vec::new();
    for path in index.map(|entry| entry.unwrap().path()) {
        if path
            .extension()
            .is_some_and(|extension| extension == "jsonl")
        {
            let text = fs::read_to_string(path).unwrap();
            let lines = text
                .lines()
                .map(|line| serde_json::from_str::<Value>(line).unwrap());
            ids.extend(lines.filter_map(|line| line["id"].as_str().map(str::to_owned)));
        }
    }
    ids.sort();
    ids.dedup();
    assert!(ids.len() > 20, "{ids:?}");
    for id in &ids {
        hostile.says("inspect", &[id]);
    }
    // The JSON is what it was, though nothing in it acts.
    let all = ids
        .iter()
        .map(|id| hostile.says("inspect", &[id, "--json"]));
    let subjects: String = all
        .map(|said| serde_json::from_str::<Value>(&said).unwrap())
        .map(|said| said[0]["summary"]["subject"].to_string())
        .collect();
    assert!(subjects.contains('\u{202e}'), "{subjects}");
}

/// The words of a text, without the spaces and line ends that a layout puts between them.
fn packed(text: &str) -> String {
    text.split_whitespace().collect()
}

#[test]
fn chromium_shows_hostile_text_as_text_asks_nothing_of_the_net_and_prints_all_of_it() {
    let hostile = Hostile::recovered();
    let account = hostile.path("case/report/accounts/saltmarsh.example/mallory.html");
    let mut browse = Command::new("python3");
    browse
        .arg(top().join("scripts/browse.py"))
        .arg(hostile.path("seen"))
        .arg(hostile.path("case/report/report.html"))
        .arg(account);
    let seen: Value = serde_json::from_str(&succeed(&mut browse)).unwrap();
    for page in seen.as_array().unwrap() {
        let name = &page["page"];
        for (width, look) in page["widths"].as_object().unwrap() {
            let empty = Value::Array(Vec::new());
            assert_eq!(look["said"], empty, "{name} at {width}");
            assert_eq!(look["asked"], empty, "{name} at {width}");
            assert_eq!(look["scripts"], 0, "{name} at {width}");
            assert_eq!(
                look["scrolls"], 0,
                "{name} at {width} is wider than its window"
            );
            let title = look["title"].as_str().unwrap();
            assert!(!title.contains("seen"), "{title}");
            let text = look["text"].as_str().unwrap();
            assert_eq!(text.chars().find(|c| acts(*c)), None, "{name} at {width}");
            for shown in [
                "<script>document.title='seen-script'</script>",
                "<h1>seen-markup</h1>",
                "onerror=alert(1)>",
                "\" onmouseover=alert(1) x=\"seen-quote'",
                "content=0;url=https://saltmarsh.example/seen-refresh>",
                "seen-override",
                "{{ 7 * 7 }}{% raw %}seen-template${7*7}<!-- -->]]>&amp;&#60;",
                "=HYPERLINK(",
                "<script>document.title='seen-folder'",
            ] {
                assert!(
                    packed(text).contains(&packed(shown)),
                    "{shown} at {width}: {text}"
                );
            }
        }
        // On paper nothing is cut: of every table the last row is there to its last word.
        let printed = packed(page["printed"].as_str().unwrap());
        let tables = page["tables"].as_array().unwrap();
        assert!(!tables.is_empty());
        for row in tables {
            for cell in row.as_str().unwrap().split(['\t', '\n']) {
                let cell = packed(cell);
                assert!(printed.contains(&cell), "{name}: {cell} is not on paper");
            }
        }
    }
}
