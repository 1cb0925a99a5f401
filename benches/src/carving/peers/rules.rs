//! Rules for tools that know nothing of mail: names of fields that messages begin with.
//!
//! They are written knowing how the mail here begins, so what these tools find is the most that
//! they can. A real volume has other fields too.

use std::fs;
use std::io;
use std::path::Path;

/// Names that many messages begin with.
const FIRST_FIELDS: [&str; 21] = [
    "Return-Path",
    "X-Original-To",
    "Delivered-To",
    "Envelope-to",
    "Received",
    "X-UIDL",
    "X-Sieve",
    "X-Spam-Status",
    "Authentication-Results",
    "DKIM-Signature",
    "ARC-Message-Signature",
    "From",
    "To",
    "Date",
    "Delivery-date",
    "Subject",
    "MIME-Version",
    "Message-ID",
    "Content-Type",
    "References",
    "User-Agent",
];

/// The other spelling of one, for a tool that minds case.
const OTHER_SPELLING: &str = "Return-path";

/// The longest message that is looked for.
const MOST_BYTES: usize = 1 << 20;

/// Cuts at the first NUL. The program is given the image on its standard input, from the first
/// byte of the message on, and the name of the file to write.
const CUT_AT_NUL: &str = r#"perl -e 'binmode STDIN; open O, ">", shift; binmode O; while ($n < 1048576 && sysread STDIN, $_, 65536) { $n += length; if (s/\0.*//s) { print O $_; last } print O $_ }' "$1""#;

/// Rules as foremost, forsmost and scalpel read them. `end` is what a message ends with or stands
/// before, as the tool has it.
pub(super) fn write_table(path: &Path, end: &str) -> io::Result<()> {
    let mut text = String::new();
    for name in FIRST_FIELDS {
        text.push_str(&format!("\teml\tn\t{MOST_BYTES}\t{name}:\t{end}\n"));
    }
    fs::write(path, text)
}

/// A recipe of magicrescue for each name.
pub(super) fn write_recipes(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for name in FIRST_FIELDS.into_iter().chain([OTHER_SPELLING]) {
        let recipe =
            format!("0 string {name}:\nextension eml\nmin_output_file 100\ncommand {CUT_AT_NUL}\n");
        fs::write(folder.join(name), recipe)?;
    }
    Ok(())
}
