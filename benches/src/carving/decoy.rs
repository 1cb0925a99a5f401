//! Files that look like mail and are none.

use super::background::text_file;
use super::head::{account, date, stranger};
use super::prose::{Language, letter, paragraph, title};
use crate::random::Random;

/// What a decoy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Decoy {
    /// A program with header fields in its strings, some at the start of a line.
    Source,
    /// A standard's text with examples of messages.
    Standard,
    /// A note that quotes a message, line by line.
    Quote,
    /// A note with what a mail program shows of a message that is answered.
    Answer,
    /// An `.eml` with names to fill in where a message has its sender, recipient and date.
    Template,
    /// What a web server answered, as caches store it.
    Http,
    /// Records of `Name: value` lines: packages, directories, translations.
    Records,
    /// A log that prints heads.
    Log,
}

impl Decoy {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Source,
        Self::Standard,
        Self::Quote,
        Self::Answer,
        Self::Template,
        Self::Http,
        Self::Records,
        Self::Log,
    ];

    /// A short name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Standard => "standard",
            Self::Quote => "quote",
            Self::Answer => "answer",
            Self::Template => "template",
            Self::Http => "http",
            Self::Records => "records",
            Self::Log => "log",
        }
    }

    /// One such file.
    pub fn make(self, random: &mut Random) -> Vec<u8> {
        let text = match self {
            Self::Source => source(random),
            Self::Standard => standard(random),
            Self::Quote => quote(random),
            Self::Answer => answer(random),
            Self::Template => template(random),
            Self::Http => http(random),
            Self::Records => records(random),
            Self::Log => log(random),
        };
        text.into_bytes()
    }
}

fn some_text(random: &mut Random) -> String {
    let length = random.within(200..=4_000);
    String::from_utf8_lossy(&text_file(random, length)).into_owned()
}

/// A head as an example shows it.
fn example(random: &mut Random) -> String {
    format!(
        "From: {}\nTo: {}\nSubject: {}\nDate: {}\nMessage-ID: <{:x}@machine.example>\n",
        stranger(random),
        account(random),
        title(random, Language::English),
        date(random, 1_000_000_000),
        random.word()
    )
}

fn source(random: &mut Random) -> String {
    let program = some_text(random);
    let subject = title(random, Language::English);
    match random.below(3) {
        0 => format!(
            "#!/bin/sh\n# Tells the office that the night job is done.\nset -e\n/usr/sbin/sendmail -t <<END\n\
             From: cron@$HOST\nTo: $ADMIN\nSubject: {subject}\nMIME-Version: 1.0\nContent-Type: text/plain\n\n\
             $REPORT\nEND\nexit 0\n{program}"
        ),
        1 => format!(
            "import email\n\nHEAD = \"\"\"\\\nFrom: %s\nTo: %s\nSubject: {subject}\nDate: %s\n\n%s\n\"\"\"\n\n\
             def fields(message):\n    message[\"Received\"] = \"from localhost\"\n    \
             message[\"Subject\"] = \"{subject}\"\n    return message.as_bytes()\n\n{program}"
        ),
        _ => format!(
            "static const char *names[] = {{\n    \"Return-Path:\",\n    \"Delivered-To:\",\n    \"Received:\",\n    \
             \"From:\",\n    \"Subject:\",\n    \"Content-Transfer-Encoding:\",\n    NULL\n}};\n\n\
             /*\nSubject: what this does\nTo: whoever reads it\n*/\n{program}"
        ),
    }
}

fn standard(random: &mut Random) -> String {
    let mut text = format!(
        "Harbour Working Group\nRequest for Remarks: {}\n\n",
        random.below(9_000)
    );
    text.push_str(&format!("1.  {}\n\n", title(random, Language::English)));
    for section in 2..random.within(4..=9) {
        text.push_str(&paragraph(random, Language::English));
        let example = example(random);
        text.push_str("\nAn example of such a message:\n\n");
        // Some standards set examples in from the margin, some do not.
        let margin = *random.pick(&["", "   ", "       "]);
        for line in example.lines().chain(["", "Content of the message."]) {
            text.push_str(&format!("{margin}{line}\n"));
        }
        text.push_str(&format!(
            "\n{section}.  {}\n\n",
            title(random, Language::English)
        ));
    }
    text
}

fn quote(random: &mut Random) -> String {
    let mut text = String::new();
    let mark = *random.pick(&["> ", ">", "| ", ">> "]);
    if random.percent(50) {
        text.push_str(&paragraph(random, Language::English));
        text.push('\n');
    }
    let letter = letter(random, Language::English, 900);
    for line in example(random).lines().chain([""]).chain(letter.lines()) {
        text.push_str(&format!("{mark}{line}\n"));
    }
    text
}

fn answer(random: &mut Random) -> String {
    let mut text = letter(random, Language::English, 500);
    text.push_str(&format!(
        "\n________________________________\nFrom: {}\nSent: Friday, 3 May 2013 {}:{:02}\nTo: {}\nCc: {}\nSubject: RE: {}\n\n",
        title(random, Language::English),
        random.below(12) + 1,
        random.below(60),
        title(random, Language::English),
        account(random),
        title(random, Language::English)
    ));
    text.push_str(&letter(random, Language::English, 1_500));
    text
}

fn template(random: &mut Random) -> String {
    let (open, close) = *random.pick(&[
        ("{{ ", " }}"),
        ("<%= ", " %>"),
        ("${", "}"),
        ("%(", ")s"),
        ("[[", "]]"),
    ]);
    let mut text = format!(
        "From: {open}sender{close}\nTo: {open}recipient{close}\nSubject: {} {open}number{close}\nDate: {open}now{close}\n\
         MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\nDear {open}name{close},\n\n",
        title(random, Language::English)
    );
    text.push_str(&letter(random, Language::English, 700));
    text
}

fn http(random: &mut Random) -> String {
    let mut text = String::new();
    if random.percent(50) {
        text.push_str("HTTP/1.1 200 OK\r\n");
    }
    let body = format!(
        "<html><body>{}</body></html>\n",
        letter(random, Language::English, 2_000)
    );
    text.push_str(&format!(
        "Date: {}\r\nServer: lamplighter/2.{}\r\nLast-Modified: {}\r\nETag: \"{:x}\"\r\nContent-Length: {}\r\n\
         Connection: close\r\nContent-Type: text/html; charset=utf-8\r\n\r\n",
        date(random, 1_380_000_000),
        random.below(9),
        date(random, 1_370_000_000),
        random.word(),
        body.len()
    ));
    text.push_str(&body);
    text
}

fn records(random: &mut Random) -> String {
    let mut text = String::new();
    let style = random.below(3);
    for number in 0..random.within(3..=12) {
        let name = title(random, Language::English)
            .replace(' ', "-")
            .to_lowercase();
        text.push_str(&match style {
            0 => format!(
                "Package: {name}\nVersion: {}.{}\nMaintainer: {}\nArchitecture: all\nDescription: {}\n more of it\n\n",
                number,
                random.below(30),
                stranger(random),
                title(random, Language::English)
            ),
            1 => format!(
                "dn: uid={name},ou=people,dc=example\nobjectClass: person\nmail: {}\ncn: {name}\n\n",
                account(random)
            ),
            _ => format!(
                "Project-Id-Version: {name}\nReport-Msgid-Bugs-To: {}\nPO-Revision-Date: 2013-0{}-11\nMIME-Version: 1.0\n\
                 Content-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: 8bit\n\n{}\n",
                stranger(random),
                random.below(8) + 1,
                paragraph(random, Language::English)
            ),
        });
    }
    text
}

fn log(random: &mut Random) -> String {
    let mut text = String::new();
    for _ in 0..random.within(5..=30) {
        let at = format!(
            "2013-11-{:02} {:02}:{:02}:07",
            random.within(1..=30),
            random.below(24),
            random.below(60)
        );
        text.push_str(&format!("{at} DEBUG head of the message follows\n"));
        if random.percent(50) {
            text.push_str(&example(random));
        } else {
            text.push_str(&format!(
                "{at} header Received: from {}\n",
                stranger(random)
            ));
            text.push_str(&format!(
                "{at} header Subject: {}\n",
                title(random, Language::English)
            ));
        }
        text.push_str(&format!("{at} INFO {}\n", title(random, Language::English)));
    }
    text
}
