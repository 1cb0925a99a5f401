//! What a command has to say, as text and as JSON.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::args::Common;

/// The outcome of a command, in both forms.
#[derive(Clone, Debug, Default)]
pub(crate) struct Output {
    /// For `--json`.
    pub(crate) json: Value,
    /// For people. It holds no control characters from a disk: see [`shown`].
    pub(crate) text: String,
    /// Whether what was asked for could not be done or did not hold.
    pub(crate) failed: bool,
}

impl Output {
    /// An outcome with this JSON and this text.
    pub(crate) const fn new(json: Value, text: String) -> Self {
        Self {
            json,
            text,
            failed: false,
        }
    }

    /// The exit code that goes with it.
    pub(crate) fn exit_code(&self) -> ExitCode {
        if self.failed {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        }
    }

    /// Prints it to standard output.
    pub(crate) fn print(&self, common: &Common) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if common.json {
            writeln!(
                out,
                "{}",
                report::harmless_json(&serde_json::to_string_pretty(&self.json)?)
            )?;
        } else {
            out.write_all(self.text.as_bytes())?;
        }
        out.flush()
    }
}

/// Says on standard error, or with `--json` on standard output, what went wrong.
pub(crate) fn complain(common: &Common, error: &anyhow::Error) {
    let text = shown(&explain(error));
    if common.json {
        let _ = writeln!(io::stdout(), "{}", json!({ "error": text }));
    }
    let _ = writeln!(io::stderr(), "restante: {text}");
}

/// An error with its causes, each said once: many name their cause in their own text.
fn explain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&cause);
        }
    }
    text
}

/// Text from a disk as it may be shown on a terminal: control characters, and those that change
/// the direction of writing, are written as escapes.
pub(crate) fn shown(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if c != '\n' && report::is_hostile(c) {
            safe.extend(c.escape_unicode());
        } else {
            safe.push(c);
        }
    }
    safe
}

/// A table with its columns aligned; the first row is its head. Columns of numbers are set right.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let cell = |row: &'_ Vec<String>, column: usize| -> String {
        shown(row.get(column).map_or("", String::as_str)).replace('\n', " ")
    };
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            rows.iter()
                .map(|row| cell(row, column).chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let numeric: Vec<bool> = (0..columns)
        .map(|column| {
            rows.iter().skip(1).all(|row| {
                let text = cell(row, column);
                text.is_empty() || is_number(&text)
            })
        })
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::from(" ");
        for (column, (width, right)) in widths.iter().zip(&numeric).enumerate() {
            let cell = cell(row, column);
            let _ = if *right {
                write!(line, " {cell:>width$}")
            } else {
                write!(line, " {cell:<width$}")
            };
            line.push(' ');
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Whether a cell is a number, with or without a unit.
fn is_number(cell: &str) -> bool {
    let mut words = cell.split_whitespace();
    let digits = words
        .next()
        .is_some_and(|word| word.bytes().all(|b| b.is_ascii_digit() || b == b'.'));
    let unit = words
        .next()
        .is_none_or(|word| word.ends_with('B') && word.len() <= 3);
    digits && unit && words.next().is_none()
}

/// A length in bytes, as people read it.
pub(crate) fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_a_disk_can_steer_the_terminal() {
        assert_eq!(shown("a\u{1b}[2Jb\u{202e}c\n"), "a\\u{1b}[2Jb\\u{202e}c\n");
        let text = table(&[
            vec!["name".to_owned(), "n".to_owned()],
            vec!["x\ny\u{7}".to_owned(), "10".to_owned()],
        ]);
        assert_eq!(text, "  name       n\n  x y\\u{7}  10\n");
    }
}
