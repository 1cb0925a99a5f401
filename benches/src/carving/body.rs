//! Bodies of made-up mail: text in the encodings that mail comes in, and parts within parts.

use super::blob::blob;
use super::head;
use super::prose::{Language, encode, letter, title};
use crate::encoding::{base64_lines, quoted_printable};
use crate::random::Random;

/// How a message is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Text as it is, 7-bit or 8-bit.
    Text,
    /// Text in quoted-printable.
    QuotedPrintable,
    /// Text in base64.
    Base64,
    /// HTML in any encoding.
    Html,
    /// multipart/alternative: text and HTML.
    Alternative,
    /// multipart/mixed: text and attachments.
    Mixed,
    /// Multipart within multipart.
    Nested,
    /// A message within the message.
    Forward,
}

impl Kind {
    const ALL: [(Self, usize); 8] = [
        (Self::Text, 24),
        (Self::QuotedPrintable, 10),
        (Self::Base64, 8),
        (Self::Html, 10),
        (Self::Alternative, 12),
        (Self::Mixed, 20),
        (Self::Nested, 8),
        (Self::Forward, 8),
    ];

    /// One of them, as often as they are usual.
    pub(super) fn any(random: &mut Random) -> Self {
        let mut at = random.below(Self::ALL.iter().map(|(_, weight)| weight).sum());
        for (kind, weight) in Self::ALL {
            if at < weight {
                return kind;
            }
            at -= weight;
        }
        Self::Text
    }

    /// A short name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::QuotedPrintable => "quoted-printable",
            Self::Base64 => "base64",
            Self::Html => "html",
            Self::Alternative => "alternative",
            Self::Mixed => "mixed",
            Self::Nested => "nested",
            Self::Forward => "forward",
        }
    }

    /// Whether something in the body says where it ends: boundaries that close, or base64.
    pub const fn is_structured(self) -> bool {
        !matches!(self, Self::Text | Self::QuotedPrintable | Self::Html)
    }
}

/// An entity: its `Content-` fields, each with its LF, and its body.
pub(super) struct Entity {
    pub(super) fields: Vec<String>,
    pub(super) body: Vec<u8>,
}

/// A body of `kind` and about `size` bytes.
pub(super) fn entity(random: &mut Random, kind: Kind, language: Language, size: usize) -> Entity {
    match kind {
        Kind::Text => text_as(random, language, size, &["7bit", "8bit"]),
        Kind::QuotedPrintable => text_as(random, language, size, &["quoted-printable"]),
        Kind::Base64 => text_as(random, language, size, &["base64"]),
        Kind::Html => html(random, language, size),
        Kind::Alternative => {
            let parts = vec![
                text(random, language, size / 3),
                html(random, language, size / 2),
            ];
            multipart(random, "alternative", &parts)
        }
        Kind::Mixed => {
            let first = text(random, language, size.min(900));
            with_attachments(random, first, size)
        }
        Kind::Nested => {
            let first = entity(random, Kind::Alternative, language, size.min(2_500));
            with_attachments(random, first, size)
        }
        Kind::Forward => forward(random, language, size),
    }
}

/// Text in any encoding of its language.
fn text(random: &mut Random, language: Language, size: usize) -> Entity {
    let coding = *random.pick(language.encodings());
    let letter = letter(random, language, size);
    coded(random, "plain", &letter, coding)
}

/// Text in one of `transfers`, with a charset that the language uses with it if there is one.
fn text_as(random: &mut Random, language: Language, size: usize, transfers: &[&str]) -> Entity {
    let mut usual = language.encodings().to_vec();
    usual.retain(|(_, transfer)| transfers.contains(transfer));
    let coding = if usual.is_empty() {
        ("utf-8", transfers.last().copied().unwrap_or("8bit"))
    } else {
        *random.pick(&usual)
    };
    let letter = letter(random, language, size);
    coded(random, "plain", &letter, coding)
}

fn html(random: &mut Random, language: Language, size: usize) -> Entity {
    let letter = letter(random, language, size * 2 / 3);
    let mut page = String::from("<html>\n<head>\n<style type=\"text/css\">\n");
    page.push_str(&format!(
        "p {{ margin: {}px; color: #{:06x}; }}\n",
        random.below(20),
        random.below(1 << 24)
    ));
    page.push_str("</style>\n</head>\n<body bgcolor=\"#ffffff\">\n");
    for paragraph in letter.split("\n\n") {
        let color = random.below(1 << 24);
        page.push_str(&format!(
            "<p><font color=\"#{color:06x}\">{paragraph}</font></p>\n"
        ));
        if random.percent(30) {
            page.push_str(&format!(
                "<a href=\"http://news.harbourhill.example/c?i={:x}\">",
                random.word()
            ));
            page.push_str(&format!("{}</a><br>\n", title(random, language)));
        }
    }
    page.push_str("</body>\n</html>\n");
    let coding = *random.pick(language.encodings());
    coded(random, "html", &page, coding)
}

fn coded(random: &mut Random, subtype: &str, text: &str, coding: (&str, &str)) -> Entity {
    let (charset, transfer) = coding;
    let bytes = encode(text, charset);
    let body = match transfer {
        "base64" => base64_lines(&bytes).into_bytes(),
        "quoted-printable" => quoted_printable(&bytes).into_bytes(),
        _ => bytes,
    };
    let quote = if random.percent(30) { "\"" } else { "" };
    let mut fields = vec![format!(
        "Content-Type: text/{subtype}; charset={quote}{charset}{quote}\n"
    )];
    if transfer != "7bit" || random.percent(50) {
        fields.push(format!("Content-Transfer-Encoding: {transfer}\n"));
    }
    if random.percent(20) {
        fields.push("Content-Disposition: inline\n".to_owned());
    }
    Entity { fields, body }
}

/// `first` and attachments that fill `size` in all.
fn with_attachments(random: &mut Random, first: Entity, size: usize) -> Entity {
    let mut parts = vec![first];
    let mut left = size.saturating_sub(parts[0].body.len()).max(600);
    while left > 0 && parts.len() < 5 {
        let length = if random.percent(60) {
            left
        } else {
            left.min(random.within(500..=20_000))
        };
        left -= length;
        parts.push(attachment(random, length));
    }
    multipart(random, "mixed", &parts)
}

/// An attachment of about `size` bytes as they are written.
fn attachment(random: &mut Random, size: usize) -> Entity {
    let blob = blob(random, size * 3 / 4);
    let name = title(random, Language::English).replace([' ', ','], "-");
    let mut fields = vec![
        format!(
            "Content-Type: {};\n name=\"{name}.{}\"\n",
            blob.mime, blob.extension
        ),
        "Content-Transfer-Encoding: base64\n".to_owned(),
        format!(
            "Content-Disposition: attachment;\n\tfilename=\"{name}.{}\"\n",
            blob.extension
        ),
    ];
    if random.percent(20) {
        fields.push(format!("Content-ID: <{:x}@part>\n", random.word()));
    }
    random.shuffle(&mut fields);
    Entity {
        fields,
        body: base64_lines(&blob.bytes).into_bytes(),
    }
}

/// A letter, and a message of somebody else's below it.
fn forward(random: &mut Random, language: Language, size: usize) -> Entity {
    let inner_kind = *random.pick(&[Kind::Text, Kind::Mixed, Kind::Alternative]);
    let inner = entity(random, inner_kind, language, size.saturating_sub(700));
    let mut message = head::of_forwarded(random, &inner.fields).into_bytes();
    message.push(b'\n');
    message.extend(inner.body);
    let mut fields = vec!["Content-Type: message/rfc822\n".to_owned()];
    if random.percent(60) {
        fields.push("Content-Disposition: attachment; filename=\"forwarded.eml\"\n".to_owned());
    }
    let forwarded = Entity {
        fields,
        body: message,
    };
    let parts = vec![text(random, language, 200), forwarded];
    multipart(random, "mixed", &parts)
}

fn multipart(random: &mut Random, subtype: &str, parts: &[Entity]) -> Entity {
    let boundary = boundary(random);
    let mut body = Vec::new();
    if random.percent(25) {
        body.extend(b"This is a multi-part message in MIME format.\n");
    }
    for (number, part) in parts.iter().enumerate() {
        // The line end in front of a boundary belongs to it, so a part of text has two.
        if number > 0 || !body.is_empty() {
            body.push(b'\n');
        }
        body.extend(format!("--{boundary}\n").bytes());
        for field in &part.fields {
            body.extend(field.bytes());
        }
        body.push(b'\n');
        body.extend(&part.body);
    }
    body.extend(format!("\n--{boundary}--\n").bytes());
    if random.percent(20) {
        body.push(b'\n');
    }
    let space = *random.pick(&[" ", "\n ", "\n\t"]);
    let quoted = boundary.contains('=') || random.percent(70);
    let quote = if quoted { "\"" } else { "" };
    let mut fields = vec![format!(
        "Content-Type: multipart/{subtype};{space}boundary={quote}{boundary}{quote}\n"
    )];
    if random.percent(15) {
        fields.push("Content-Transfer-Encoding: 8bit\n".to_owned());
    }
    Entity { fields, body }
}

/// A boundary in the shape of one of several programs' ones.
fn boundary(random: &mut Random) -> String {
    let (a, b) = (random.word(), random.word());
    match random.below(6) {
        0 => format!(
            "----=_NextPart_{:03}_{:04X}_{:08X}.{:08X}",
            a % 1000,
            a >> 48,
            a as u32,
            b as u32
        ),
        1 => format!("------------{:024}", a),
        2 => format!("Apple-Mail-{}-{}", a % 90 + 10, b % 1_000_000_000),
        3 => format!("=_{a:016x}{b:08x}"),
        4 => format!("{a:016x}{:06x}", b as u16),
        _ => format!("_{:03}_{a:016X}{b:016X}harbourhill_", a % 10),
    }
}
