//! `log.jsonl`: what was done, each line chained to the one before.
//!
//! A line's `previous` is the BLAKE3 of the line before it, without its line feed; of the first
//! line, sixty-four zeros. A line that was changed, removed or put in later breaks the chain.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::{Case, CaseError, write_atomically};

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// When, in seconds since 1970.
    pub time: u64,
    /// The step: `scan`, `assemble`, `rebuild` …
    pub step: String,
    /// What the step was asked to do.
    pub options: serde_json::Value,
    /// What it worked from: a digest, or counts.
    pub input: serde_json::Value,
    /// What came out.
    pub output: serde_json::Value,
    /// How long it took, and how much it went through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effort: Option<Effort>,
    /// BLAKE3 of the line before, in hexadecimal.
    pub previous: String,
    /// Which line it is, from 1. Those of the first versions do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// What did not hold of the log when this line was written. Writing goes on, but not as if nothing
    /// had been.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken: Option<String>,
    /// BLAKE3 of this line, as it was read.
    #[serde(skip)]
    pub digest: String,
}

/// How long a step took, and how much it went through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effort {
    /// How long it took, in milliseconds.
    pub milliseconds: u64,
    /// How many bytes were read for it, or handed over by it.
    pub bytes: u64,
}

impl Effort {
    /// What went through `bytes` since `start`.
    pub fn since(start: Instant, bytes: u64) -> Self {
        Self {
            milliseconds: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
            bytes,
        }
    }
}

impl Case {
    /// Appends a line to the log, chained to the last.
    pub fn log(
        &self,
        step: &str,
        options: serde_json::Value,
        input: serde_json::Value,
        output: serde_json::Value,
        effort: Option<Effort>,
    ) -> Result<(), CaseError> {
        let path = self.path().join("log.jsonl");
        let wrap = |source: io::Error| CaseError::io(&path, source);
        let whole = read_whole_lines(&path).map_err(wrap)?;
        let broken = self.check_head(&path, &whole).err();
        let number = whole.lines().count().saturating_add(1);
        let line = Line {
            time: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |elapsed| elapsed.as_secs()),
            step: step.to_owned(),
            options,
            input,
            output,
            effort,
            previous: digest(whole.lines().last()),
            number: Some(number as u64),
            broken: broken.map(|error| error.to_string()),
            digest: String::new(),
        };
        let mut text = serde_json::to_vec(&line).map_err(|source| CaseError::Malformed {
            path: path.clone(),
            line: 0,
            source,
        })?;
        text.push(b'\n');
        // So that a line with a number never stands in a log without a head, whenever a run is killed.
        if self.read_json::<Head>(HEAD)?.is_none() {
            self.write_head(&whole)?;
        }
        let append = || -> io::Result<()> {
            let mut file = File::options().create(true).append(true).open(&path)?;
            // A run that was killed may have left half a line, which was never a record.
            file.set_len(whole.len() as u64)?;
            file.write_all(&text)?;
            file.sync_all()
        };
        append().map_err(wrap)?;
        // A chain says nothing of its last line: that one stands beside it.
        let text = String::from_utf8_lossy(&text);
        self.write_head(&[whole.as_str(), &text].concat())
    }

    /// Notes where the log ends whose text is `whole`.
    fn write_head(&self, whole: &str) -> Result<(), CaseError> {
        let head = Head {
            lines: whole.lines().count(),
            digest: digest(whole.lines().last()),
        };
        let json = serde_json::to_vec(&head).unwrap_or_default();
        write_atomically(&self.path().join(HEAD), &json)
    }

    /// Reads the log and proves its chain.
    pub fn verified_log(&self) -> Result<Vec<Line>, CaseError> {
        let path = self.path().join("log.jsonl");
        let text = read_whole_lines(&path).map_err(|source| CaseError::io(&path, source))?;
        let mut lines: Vec<Line> = Vec::new();
        let mut before = None;
        for (index, raw) in text.lines().enumerate() {
            let number = index.saturating_add(1);
            let mut line: Line =
                serde_json::from_str(raw).map_err(|source| CaseError::Malformed {
                    path: path.clone(),
                    line: number,
                    source,
                })?;
            if line.previous != digest(before) {
                return Err(CaseError::BrokenChain { path, line: number });
            }
            before = Some(raw);
            line.digest = digest(before);
            lines.push(line);
        }
        self.check_head(&path, &text)?;
        Ok(lines)
    }

    /// Checks that the log reaches to the line that was written last, and that it is that one. A
    /// run that was killed in between leaves a line more than the head says.
    fn check_head(&self, path: &Path, text: &str) -> Result<(), CaseError> {
        let Some(head) = self.read_json::<Head>(HEAD)? else {
            // Cases of the first versions have no head, and no numbers either.
            let numbered = text.lines().any(has_number);
            return if numbered {
                Err(CaseError::NoHead {
                    path: path.to_owned(),
                })
            } else {
                Ok(())
            };
        };
        let holds = match head.lines.checked_sub(1) {
            None => head.digest == digest(None),
            Some(last) => {
                let line = text.lines().nth(last);
                line.is_some() && digest(line) == head.digest
            }
        };
        if holds {
            Ok(())
        } else {
            Err(CaseError::CutLog {
                path: path.to_owned(),
                line: head.lines,
            })
        }
    }
}

/// Whether a line of the log says which it is.
fn has_number(line: &str) -> bool {
    serde_json::from_str::<Line>(line).is_ok_and(|line| line.number.is_some())
}

/// The file that names the last line of the log.
const HEAD: &str = "log.head";

/// The last line that was written.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    /// How many lines there are.
    lines: usize,
    /// The digest of the last one.
    digest: String,
}

/// The digest that the next line carries.
fn digest(line: Option<&str>) -> String {
    line.map_or_else(
        || "0".repeat(64),
        |line| blake3::hash(line.as_bytes()).to_hex().to_string(),
    )
}

/// The log up to its last line feed; empty if there is none yet.
fn read_whole_lines(path: &Path) -> io::Result<String> {
    let mut bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    // Half a line may end within a letter: it goes before the text is looked at.
    let end = bytes
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at.saturating_add(1));
    bytes.truncate(end);
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_changed_line_breaks_the_chain_and_a_torn_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let case = Case::open_or_create(&dir.path().join("case")).unwrap();
        for step in ["scan", "assemble", "rebuild"] {
            case.log(step, json!({}), json!({"n": 1}), json!(null), None)
                .unwrap();
        }
        let path = case.path().join("log.jsonl");
        let text = fs::read_to_string(&path).unwrap();
        let torn = [text.as_bytes(), b"{\"step\": \"\xC3"].concat();
        fs::write(&path, torn).unwrap();
        case.log("sync", json!({}), json!(null), json!(null), None)
            .unwrap();
        assert_eq!(case.verified_log().unwrap().len(), 4);
        fs::write(&path, text.replacen("\"n\":1", "\"n\":2", 1)).unwrap();
        assert!(matches!(
            case.verified_log(),
            Err(CaseError::BrokenChain { line: 2, .. })
        ));
    }

    #[test]
    fn the_last_line_can_neither_be_changed_nor_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        let case = Case::open_or_create(&dir.path().join("case")).unwrap();
        for step in ["scan", "sync"] {
            case.log(step, json!({}), json!({"n": 1}), json!(null), None)
                .unwrap();
        }
        let path = case.path().join("log.jsonl");
        let text = fs::read_to_string(&path).unwrap();
        let first = text.lines().next().unwrap();
        for changed in [
            format!("{first}\n"),
            text.replace("\"sync\"", "\"scan\""),
            String::new(),
        ] {
            fs::write(&path, changed).unwrap();
            let error = case.verified_log().unwrap_err();
            assert!(
                matches!(error, CaseError::CutLog { line: 2, .. }),
                "{error}"
            );
        }
        // What is written after that is no cure: it says what it found.
        fs::write(&path, format!("{first}\n")).unwrap();
        case.log("report", json!({}), json!(null), json!(null), None)
            .unwrap();
        let lines = case.verified_log().unwrap();
        assert!(lines[1].broken.as_deref().unwrap().contains("line 2"));
        // Without a head the log may have ended anywhere.
        fs::write(&path, format!("{first}\n")).unwrap();
        fs::remove_file(case.path().join(HEAD)).unwrap();
        let error = case.verified_log().unwrap_err();
        assert!(matches!(error, CaseError::NoHead { .. }), "{error}");
    }

    #[test]
    fn a_run_that_is_killed_around_a_line_leaves_a_log_that_holds() {
        let dir = tempfile::tempdir().unwrap();
        let case = Case::open_or_create(&dir.path().join("case")).unwrap();
        let path = case.path().join("log.jsonl");
        // Killed after the head was begun and before the first line, or in it.
        case.write_head("").unwrap();
        assert_eq!(case.verified_log().unwrap(), []);
        fs::write(&path, "{\"time").unwrap();
        for step in ["scan", "sync"] {
            case.log(step, json!({}), json!({"n": 1}), json!(null), None)
                .unwrap();
        }
        assert_eq!(case.verified_log().unwrap().len(), 2);
        // Killed before it wrote the head.
        let head = fs::read(case.path().join(HEAD)).unwrap();
        case.log("report", json!({}), json!(null), json!(null), None)
            .unwrap();
        fs::write(case.path().join(HEAD), head).unwrap();
        let lines = case.verified_log().unwrap();
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|line| line.broken.is_none()));
    }
}
