//! Text that nobody wrote: sentences of our own, mixed and varied by seed.

use std::sync::LazyLock;

use crate::random::Random;

const ENGLISH: &str = include_str!("../../../scripts/lab/text/en.txt");
const GERMAN: &str = include_str!("../../../scripts/lab/text/de.txt");
const FRENCH: &str = include_str!("../../../scripts/lab/text/fr.txt");
const JAPANESE: &str = include_str!("../../../scripts/lab/text/ja.txt");
const RUSSIAN: &str = include_str!("../../../scripts/lab/text/ru.txt");

const WHO: [&str; 24] = [
    "the harbour office",
    "my neighbour",
    "Mrs Abel",
    "the second shift",
    "our auditor",
    "the choir",
    "a man from the waterworks",
    "the new apprentice",
    "whoever was on duty",
    "the printer",
    "Ivo",
    "the committee",
    "the bridge keeper",
    "your cousin",
    "the school",
    "the night train",
    "Marguerite",
    "the insurance",
    "one of the gardeners",
    "the ferry company",
    "the landlord",
    "somebody upstairs",
    "the museum",
    "the seed merchant",
];
const DID: [&str; 24] = [
    "returned",
    "has counted",
    "wants to borrow",
    "sent back",
    "measured",
    "will repaint",
    "lost",
    "asks for",
    "has mended",
    "cannot find",
    "promised",
    "put away",
    "would rather sell",
    "delivered",
    "forgot",
    "keeps",
    "has ordered",
    "is still waiting for",
    "wrote down",
    "photographed",
    "doubts",
    "signed for",
    "has insured",
    "carried off",
];
const WHAT: [&str; 28] = [
    "the keys of the boathouse",
    "eleven crates of pears",
    "a revised estimate",
    "the minutes of March",
    "the long ladder",
    "two rolls of tarred paper",
    "the copper kettle",
    "a list of tenants",
    "the west window",
    "the spare pump",
    "forty yards of rope",
    "the piano stool",
    "every receipt since spring",
    "the deed of the mill",
    "a map without a scale",
    "the visitors' book",
    "nine folding tables",
    "the bees",
    "the drawings of the roof",
    "a parcel without a name",
    "the ledger of 1931",
    "the oak planks",
    "three bags of lime",
    "the timetable",
    "a letter for you",
    "the old signboard",
    "the telescope",
    "half of the tiles",
];
const WHEN: [&str; 20] = [
    "before the frost",
    "on Thursday",
    "at a quarter past nine",
    "without a word",
    "after the meeting",
    "in the rain",
    "as agreed",
    "for the second time this year",
    "by the early bus",
    "between two and four",
    "although nobody asked",
    "at our expense",
    "while the kettle boiled",
    "from the top of the stairs",
    "in good order",
    "by mistake",
    "at the end of the month",
    "with a note pinned to it",
    "under protest",
    "as every autumn",
];

/// A language that mail is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    English,
    German,
    French,
    Japanese,
    Russian,
}

impl Language {
    /// One of them; half of all mail is English.
    pub(super) fn any(random: &mut Random) -> Self {
        match random.below(20) {
            0..10 => Self::English,
            10..14 => Self::German,
            14..17 => Self::French,
            17 => Self::Japanese,
            _ => Self::Russian,
        }
    }

    /// The sentences that there are in it.
    fn sentences(self) -> &'static [String] {
        static ALL: LazyLock<[Vec<String>; 5]> =
            LazyLock::new(|| [ENGLISH, GERMAN, FRENCH, JAPANESE, RUSSIAN].map(split));
        &ALL[self as usize]
    }

    /// Charsets and transfer encodings that mail in it comes in.
    pub(super) fn encodings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::English => &[
                ("us-ascii", "7bit"),
                ("us-ascii", "7bit"),
                ("utf-8", "quoted-printable"),
                ("utf-8", "8bit"),
                ("utf-8", "base64"),
            ],
            Self::German => &[
                ("iso-8859-1", "8bit"),
                ("iso-8859-15", "quoted-printable"),
                ("utf-8", "8bit"),
                ("utf-8", "base64"),
            ],
            Self::French => &[
                ("windows-1252", "8bit"),
                ("iso-8859-15", "8bit"),
                ("utf-8", "quoted-printable"),
                ("utf-8", "8bit"),
            ],
            Self::Japanese => &[
                ("iso-2022-jp", "7bit"),
                ("shift_jis", "8bit"),
                ("utf-8", "base64"),
                ("euc-jp", "8bit"),
            ],
            Self::Russian => &[
                ("koi8-r", "8bit"),
                ("windows-1251", "base64"),
                ("utf-8", "quoted-printable"),
                ("utf-8", "8bit"),
            ],
        }
    }

    /// Columns of a line of text.
    fn width(self) -> usize {
        if self == Self::Japanese { 36 } else { 72 }
    }
}

/// `text` in `charset`; what it has no code for becomes `?`.
pub(super) fn encode(text: &str, charset: &str) -> Vec<u8> {
    if charset == "us-ascii" {
        return text
            .chars()
            .map(|c| if c.is_ascii() { c as u8 } else { b'?' })
            .collect();
    }
    let Some(encoding) = encoding_rs::Encoding::for_label(charset.as_bytes()) else {
        return text.as_bytes().to_vec();
    };
    // A character that the charset lacks would come out as an HTML reference.
    let mut out = Vec::new();
    for line in text.split_inclusive('\n') {
        let (bytes, _, lacks) = encoding.encode(line);
        if lacks {
            out.extend(
                line.chars()
                    .map(|c| if c.is_ascii() { c as u8 } else { b'?' }),
            );
        } else {
            out.extend_from_slice(&bytes);
        }
    }
    out
}

/// The sentences of `source`, each on one line.
fn split(source: &str) -> Vec<String> {
    let parts = source.split_inclusive(['.', '。', '?', '!']);
    parts
        .map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|part| part.chars().count() > 12)
        .collect()
}

/// One sentence, with the stop at its end.
pub(super) fn sentence(random: &mut Random, language: Language) -> String {
    if language == Language::English && random.percent(70) {
        return made_sentence(random);
    }
    let mut text = random.pick(language.sentences()).clone();
    // No two letters in the world have only sentences in common.
    if random.percent(30) {
        text.push_str(&format!(
            " ({}/{})",
            random.below(90) + 10,
            random.below(9000)
        ));
    }
    text
}

fn made_sentence(random: &mut Random) -> String {
    let who = *random.pick(&WHO);
    let mut text: String = who.chars().take(1).flat_map(char::to_uppercase).collect();
    text.extend(who.chars().skip(1));
    for part in [*random.pick(&DID), *random.pick(&WHAT), *random.pick(&WHEN)] {
        text.push(' ');
        text.push_str(part);
    }
    if random.percent(40) {
        let joint = *random.pick(&[", and", "; meanwhile", ", because", ", so that"]);
        text.push_str(joint);
        for part in [*random.pick(&WHO), *random.pick(&DID), *random.pick(&WHAT)] {
            text.push(' ');
            text.push_str(part);
        }
    }
    if random.percent(25) {
        text.push_str(&format!(
            " (no. {}, {}.{:02})",
            random.below(9000),
            random.below(900),
            random.below(100)
        ));
    }
    text.push_str(random.pick::<&str>(&[".", ".", ".", "!", "?"]));
    text
}

/// A few words of it, for a subject or the name of a file.
pub(super) fn title(random: &mut Random, language: Language) -> String {
    let sentence = sentence(random, language);
    if language == Language::Japanese {
        return sentence.chars().take(random.within(5..=14)).collect();
    }
    let words: Vec<&str> = sentence.split(' ').take(random.within(2..=7)).collect();
    words
        .join(" ")
        .trim_end_matches([',', ';', '.', '!', '?'])
        .to_owned()
}

/// A paragraph in wrapped lines.
pub(super) fn paragraph(random: &mut Random, language: Language) -> String {
    let mut text = String::new();
    for _ in 0..random.within(2..=7) {
        if !text.is_empty() && language != Language::Japanese {
            text.push(' ');
        }
        text.push_str(&sentence(random, language));
    }
    wrap(&text, language)
}

/// `text` in lines of its language's width.
fn wrap(text: &str, language: Language) -> String {
    let mut out = String::new();
    let mut column = 0;
    let width = language.width();
    if language == Language::Japanese {
        for (at, char) in text.chars().enumerate() {
            if at > 0 && at % width == 0 {
                out.push('\n');
            }
            out.push(char);
        }
        out.push('\n');
        return out;
    }
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > width {
            out.push('\n');
            column = 0;
        } else if column > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out.push('\n');
    out
}

/// The text of a letter of about `size` bytes: greeting, paragraphs, lists, quotes, a signature.
pub(super) fn letter(random: &mut Random, language: Language, size: usize) -> String {
    let mut text = String::new();
    if random.percent(60) {
        text.push_str(&title(random, language));
        text.push_str(",\n\n");
    }
    loop {
        match random.below(20) {
            0 => list(random, language, &mut text),
            1 => quote(random, language, &mut text),
            2 => table(random, &mut text),
            _ => text.push_str(&paragraph(random, language)),
        }
        if text.len() >= size {
            break;
        }
        text.push('\n');
    }
    if random.percent(40) {
        // The space is part of the mark: it is where relaxed bodies differ from simple ones.
        text.push_str("\n-- \n");
        text.push_str(&title(random, Language::English));
        text.push_str(&format!(
            "\nTel.  +00 {} {}\n",
            random.below(900) + 100,
            random.below(90_000)
        ));
    }
    if random.percent(15) {
        text.push_str("\n\n");
    }
    text
}

fn list(random: &mut Random, language: Language, text: &mut String) {
    for _ in 0..random.within(2..=8) {
        text.push_str(random.pick::<&str>(&[" * ", "  - ", "\t- "]));
        text.push_str(&title(random, language));
        text.push('\n');
    }
}

/// What a letter answers to: marked line by line, or below a head that looks like a message's.
fn quote(random: &mut Random, language: Language, text: &mut String) {
    let who = title(random, Language::English);
    if random.percent(60) {
        text.push_str(&format!("On Tuesday {who} wrote:\n"));
        for line in paragraph(random, language).lines() {
            text.push_str(&format!("> {line}\n"));
        }
    } else {
        text.push_str(&format!(
            "-----Original Message-----\nFrom: {who}\nSent: Monday {}:{:02}\nSubject: {}\n\n",
            random.below(12) + 1,
            random.below(60),
            title(random, language)
        ));
        text.push_str(&paragraph(random, language));
    }
}

/// Figures in columns, with tabs and runs of spaces.
fn table(random: &mut Random, text: &mut String) {
    let tabs = random.percent(50);
    for _ in 0..random.within(3..=12) {
        let (count, price) = (random.below(500), random.below(100_000));
        let what = *random.pick(&WHAT);
        let end = if random.percent(20) { " " } else { "" };
        text.push_str(&if tabs {
            format!("{count}\t{what}\t{}.{:02}{end}\n", price / 100, price % 100)
        } else {
            format!(
                "{count:>6}  {what:<32} {:>7}.{:02}{end}\n",
                price / 100,
                price % 100
            )
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charsets_write_what_they_can() {
        assert_eq!(encode("Übung", "iso-8859-1"), b"\xDCbung");
        assert_eq!(encode("вода", "koi8-r"), b"\xD7\xCF\xC4\xC1");
        assert_eq!(encode("10 €", "us-ascii"), b"10 ?");
    }

    #[test]
    fn a_letter_has_the_length_that_is_asked_for() {
        let mut random = Random::new(4);
        for size in [100, 5_000, 50_000] {
            let text = letter(&mut random, Language::English, size);
            assert!((size..size + 3_000).contains(&text.len()));
        }
    }
}
