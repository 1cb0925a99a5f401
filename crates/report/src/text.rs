//! Making text from disks harmless wherever it is shown.
//!
//! A subject line can hold what moves a terminal's cursor, what turns the direction of a line,
//! or what a spreadsheet takes for a formula. It is shown as what it is, in escapes.

use std::borrow::Cow;
use std::fmt::Write;

/// Whether a character acts on what shows it: controls, and marks that change the direction of
/// text (Unicode TR9) or that are not seen at all.
pub fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{061C}' | '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{2028}' | '\u{2029}'
            | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}'
            | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E007F}')
}

/// The text with every hostile character written as `\u{202e}`.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hostile) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len().saturating_add(16));
    for c in text.chars() {
        if is_hostile(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// The text as a cell of a table that a spreadsheet may open: it never begins a formula.
pub(crate) fn cell(text: &str) -> Cow<'_, str> {
    let shown = visible(text);
    let formula = |c: char| {
        matches!(
            c,
            '=' | '+' | '-' | '@' | '\t' | '\u{FF1D}' | '\u{FF0B}' | '\u{FF0D}' | '\u{FF20}'
        )
    };
    // A tab at the start is shown as an escape by now; it gets its mark all the same.
    if shown.starts_with(formula) || text.starts_with(formula) {
        Cow::Owned(format!("'{shown}"))
    } else {
        shown
    }
}

/// JSON with every hostile character inside its strings written as `\u202e`. What a program
/// reads from it is the same; what a terminal shows of it is harmless.
pub fn harmless_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        // Outside of strings JSON has no other control than the line feeds between its lines.
        if is_hostile(c) && c != '\n' {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_on_a_terminal_is_shown_as_escapes() {
        assert_eq!(visible("plain \u{fc} text"), "plain \u{fc} text");
        assert_eq!(visible("\u{1b}[2J\r\n"), "\\u{1b}[2J\\u{d}\\u{a}");
        assert_eq!(visible("a\u{202e}gpj.exe"), "a\\u{202e}gpj.exe");
        assert_eq!(
            visible("\u{9b}2J\u{2066}\u{200f}"),
            "\\u{9b}2J\\u{2066}\\u{200f}"
        );
    }

    #[test]
    fn no_cell_begins_a_formula() {
        for text in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\u{ff1d}1"] {
            assert!(cell(text).starts_with('\''), "{text:?}");
        }
        for text in ["", "a=1", "Re: =1", "\u{fc}"] {
            assert_eq!(cell(text), text);
        }
    }

    #[test]
    fn json_stays_the_same_value() {
        let value = serde_json::json!({"s": "\u{1b}\u{7f}\u{9b}\u{202e}\u{e0001}\n\"\\ \u{fc}"});
        let text = harmless_json(&serde_json::to_string_pretty(&value).unwrap());
        assert!(!text.contains(|c| is_hostile(c) && c != '\n'));
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text).unwrap(),
            value
        );
    }
}
