//! Text from disks that tries to act on whoever reads the report.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;

use case::Case;
use common::{damaged, empty, folder, message, note};
use mail::Record;
use mail::proof::HoleCause;
use report::{Facts, Paths};

const SUBJECT: &str = "</bdi><script>alert(1)</script>\u{1b}[2J\u{202e}gpj\u{9b}31m\r\nX: y";
const FROM: &str = "=HYPERLINK(\"http://x.example\";\"'\") onmouseover=alert(1)";
const FOLDER: &str = "@SUM(1)<img src=x onerror=alert(1)>\"&APw-";

fn hostile(case: &Case) {
    let ada = "ada@lindenhof.example";
    let at = 1_400_000_000;
    let mut one = damaged(ada, FOLDER, 1, at, HoleCause::NeverWritten);
    one.summary.subject = SUBJECT.to_owned();
    one.summary.from = FROM.to_owned();
    one.contradictions = vec![SUBJECT.to_owned()];
    one.origin.path = format!("/\u{2066}<b>{SUBJECT}");
    one.delivered.seconds = i64::MAX;
    let mut early = message(ada, "\u{202e}&2D0-&lt;", 2, at);
    early.delivered.seconds = i64::MIN;
    early.summary.subject = "\t=1+1".to_owned();
    let mut lost = note(ada, FOLDER, 3, at, SUBJECT);
    lost.path = format!("{SUBJECT}/cur/99999999999999999999.{SUBJECT}.x");
    let mut rejected = lost.clone();
    rejected.owner = None;
    let records = [
        Record::Message(Box::new(one)),
        Record::Message(Box::new(early)),
        Record::Lost(lost),
        Record::Rejected(rejected),
        folder(ada, SUBJECT, 1, &[SUBJECT, "-1+cmd|' /C calc'!A0"]),
    ];
    case.write_segment("messages", "volume-000000", &records)
        .unwrap();
    let mut file = case.file().unwrap();
    let record = serde_json::json!({"path": SUBJECT, "format": SUBJECT, "bytes": u64::MAX,
        "warnings": [SUBJECT], "blake3": SUBJECT});
    file.evidence
        .insert(SUBJECT.to_owned(), serde_json::from_value(record).unwrap());
    case.write_file(&file).unwrap();
    let step = serde_json::json!({SUBJECT: SUBJECT});
    case.log(SUBJECT, step.clone(), step.clone(), step, None)
        .unwrap();
}

fn written() -> (tempfile::TempDir, Paths) {
    let dir = tempfile::tempdir().unwrap();
    let case = empty(dir.path());
    hostile(&case);
    let facts = Facts::gather(&case).unwrap();
    let paths = report::write(&facts, &case, &dir.path().join("out")).unwrap();
    (dir, paths)
}

fn acts_on_terminals(text: &str) -> bool {
    text.contains(|c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    })
}

#[test]
fn nothing_on_the_page_is_markup_of_the_disk() {
    let (_dir, paths) = written();
    let page = fs::read_to_string(paths.html).unwrap();
    for bad in [
        "<script",
        "<img",
        "<b>\u{2066}",
        "onerror=alert(1)>",
        "http-equiv=\"refresh",
    ] {
        assert!(!page.contains(bad), "{bad}");
    }
    assert!(!acts_on_terminals(&page));
    assert!(page.contains("\\u{202e}gpj"));
    assert!(page.contains("&lt;script&gt;alert(1)"));
    // Every quote of the disk's own is escaped: none ends an attribute.
    assert!(
        page.contains(
            "title=\"stored as @SUM(1)&lt;img src=x onerror=alert(1)&gt;&quot;&amp;APw-\""
        )
    );
}

#[test]
fn the_page_needs_no_network_and_runs_nothing() {
    let (_dir, paths) = written();
    let page = fs::read_to_string(paths.html).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>"));
    assert!(page.contains("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">"));
    for outside in [
        "src=\"",
        "<link",
        "@import",
        "url(",
        "<iframe",
        "href=\"http",
    ] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn no_cell_of_a_table_is_a_formula() {
    let (_dir, paths) = written();
    for path in [paths.accounts, paths.folders, paths.messages] {
        let text = fs::read_to_string(&path).unwrap();
        assert!(!acts_on_terminals(&text), "{}", path.display());
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        for row in reader.records() {
            for cell in &row.unwrap() {
                assert!(!cell.starts_with(['=', '+', '-', '@', '\t']), "{cell}");
            }
        }
    }
}

#[test]
fn the_json_keeps_the_text_and_shows_nothing_of_it_raw() {
    let (_dir, paths) = written();
    let text = fs::read_to_string(paths.json).unwrap();
    assert!(!acts_on_terminals(&text));
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let damaged = &json["accounts"][0]["damaged_messages"][0];
    assert_eq!(damaged["subject"], SUBJECT);
    assert_eq!(damaged["from"], FROM);
}
