//! The configuration language in which LVM writes its metadata.
//!
//! ```text
//! section = name "{" { section | assignment } "}"
//! assignment = name "=" value
//! value = integer | float | string | bare word | "[" [ value { "," value } ] "]"
//! ```
//!
//! Comments go from `#` to the end of the line; strings stand in `"` with backslash escapes or
//! in `'` without. The grammar is that of `libdm/libdm-config.c`. Sections nest no deeper than
//! [`DEEPEST`], so a text cannot exhaust the stack.

/// How deep sections may nest; LVM's own texts have four levels.
pub const DEEPEST: usize = 16;

/// A section: its entries in the order of the text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Section {
    /// Names and what they stand for. A name may come twice; the first one counts.
    pub entries: Vec<(String, Entry)>,
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// More entries.
    Section(Section),
    /// A value.
    Value(Value),
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A whole number.
    Integer(i64),
    /// A number with a point; LVM writes none into metadata.
    Float(f64),
    /// A string or bare word. Bytes that are not UTF-8 are replaced.
    Text(String),
    /// An array; its members are no arrays.
    List(Vec<Self>),
}

/// Why a text is not in this language, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {at}: {what}")]
pub struct SyntaxError {
    /// The offset in the text.
    pub at: usize,
    /// What is wrong.
    pub what: &'static str,
}

impl Section {
    /// The text as a section without a name. It ends at its end or at the first zero byte.
    pub fn parse(text: &[u8]) -> Result<Self, SyntaxError> {
        let end = text.iter().position(|c| *c == 0).unwrap_or(text.len());
        let mut parser = Parser {
            text: text.get(..end).unwrap_or_default(),
            at: 0,
        };
        let section = parser.entries(0)?;
        match parser.peek() {
            None => Ok(section),
            Some(_) => Err(parser.error("a closing brace without its opening one")),
        }
    }

    /// What `name` stands for.
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.entries
            .iter()
            .find_map(|(key, entry)| (key == name).then_some(entry))
    }

    /// The section `name`.
    pub fn section(&self, name: &str) -> Option<&Self> {
        match self.get(name)? {
            Entry::Section(section) => Some(section),
            Entry::Value(_) => None,
        }
    }

    /// The sections in this one, with their names.
    pub fn sections(&self) -> impl Iterator<Item = (&str, &Self)> {
        self.entries.iter().filter_map(|(key, entry)| match entry {
            Entry::Section(section) => Some((key.as_str(), section)),
            Entry::Value(_) => None,
        })
    }

    /// The value `name`.
    pub fn value(&self, name: &str) -> Option<&Value> {
        match self.get(name)? {
            Entry::Value(value) => Some(value),
            Entry::Section(_) => None,
        }
    }

    /// The number `name`, if it is one and not below zero.
    pub fn number(&self, name: &str) -> Option<u64> {
        match self.value(name)? {
            Value::Integer(number) => u64::try_from(*number).ok(),
            _ => None,
        }
    }

    /// The string `name`.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.value(name)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The array `name`; a single value counts as an array of one.
    pub fn list(&self, name: &str) -> Option<&[Value]> {
        match self.value(name)? {
            Value::List(list) => Some(list),
            value => Some(std::slice::from_ref(value)),
        }
    }
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    const fn error(&self, what: &'static str) -> SyntaxError {
        SyntaxError { at: self.at, what }
    }

    /// The next byte that is neither space nor comment; afterwards `at` is its place.
    fn peek(&mut self) -> Option<u8> {
        let mut comment = false;
        loop {
            let byte = *self.text.get(self.at)?;
            match byte {
                b'\n' => comment = false,
                b'#' => comment = true,
                _ if comment || byte.is_ascii_whitespace() || byte == 0x0B => {}
                _ => return Some(byte),
            }
            self.skip();
        }
    }

    const fn skip(&mut self) {
        self.at = self.at.saturating_add(1);
    }

    /// The bytes from `at` on for which `belongs` holds; afterwards `at` is behind them.
    fn take_while(&mut self, belongs: impl Fn(u8) -> bool) -> &[u8] {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let length = rest.iter().take_while(|c| belongs(**c)).count();
        self.at = self.at.saturating_add(length);
        rest.get(..length).unwrap_or_default()
    }

    /// Entries up to a closing brace, which is left, or to the end.
    fn entries(&mut self, depth: usize) -> Result<Section, SyntaxError> {
        let mut section = Section::default();
        while let Some(byte) = self.peek() {
            if byte == b'}' {
                break;
            }
            let name = self.name()?;
            let entry = match self.peek() {
                Some(b'{') if depth >= DEEPEST => {
                    return Err(self.error("sections nest too deep"));
                }
                Some(b'{') => {
                    self.skip();
                    let inner = self.entries(depth.saturating_add(1))?;
                    if self.peek() != Some(b'}') {
                        return Err(self.error("the text ends inside a section"));
                    }
                    self.skip();
                    Entry::Section(inner)
                }
                Some(b'=') => {
                    self.skip();
                    Entry::Value(self.value()?)
                }
                _ => return Err(self.error("expected { or = after a name")),
            };
            section.entries.push((name, entry));
        }
        Ok(section)
    }

    fn name(&mut self) -> Result<String, SyntaxError> {
        let name = match self.peek() {
            Some(quote @ (b'"' | b'\'')) => self.quoted(quote)?,
            _ => self.bare(|c| !matches!(c, b'#' | b'=' | b'{' | b'}') && !c.is_ascii_whitespace()),
        };
        if name.is_empty() {
            return Err(self.error("expected a name"));
        }
        Ok(name)
    }

    fn value(&mut self) -> Result<Value, SyntaxError> {
        if self.peek() != Some(b'[') {
            return self.single();
        }
        self.skip();
        let mut list = Vec::new();
        loop {
            match self.peek() {
                None => return Err(self.error("the text ends inside an array")),
                Some(b']') => break,
                Some(b',') => self.skip(),
                Some(_) => list.push(self.single()?),
            }
        }
        self.skip();
        Ok(Value::List(list))
    }

    fn single(&mut self) -> Result<Value, SyntaxError> {
        match self.peek() {
            Some(quote @ (b'"' | b'\'')) => self.quoted(quote).map(Value::Text),
            Some(b'0'..=b'9' | b'+' | b'-' | b'.') => self.number(),
            Some(b'[') => Err(self.error("an array inside an array")),
            _ => {
                let word = self.bare(|c| {
                    !matches!(c, b'#' | b'=' | b'{' | b'}' | b',' | b']')
                        && !c.is_ascii_whitespace()
                });
                if word.is_empty() {
                    return Err(self.error("expected a value"));
                }
                Ok(Value::Text(word))
            }
        }
    }

    fn bare(&mut self, belongs: impl Fn(u8) -> bool) -> String {
        String::from_utf8_lossy(self.take_while(belongs)).into_owned()
    }

    fn number(&mut self) -> Result<Value, SyntaxError> {
        let start = self.at;
        let digits = self.take_while(|c| matches!(c, b'0'..=b'9' | b'+' | b'-' | b'.'));
        let digits = String::from_utf8_lossy(digits).into_owned();
        let wrong = SyntaxError {
            at: start,
            what: "not a number",
        };
        if digits.contains('.') {
            return digits.parse().map(Value::Float).map_err(|_| wrong);
        }
        match digits.parse() {
            Ok(number) => Ok(Value::Integer(number)),
            // Some old 32-bit builds wrote a creation time beyond 64 bits.
            Err(error) if *error.kind() == std::num::IntErrorKind::PosOverflow => {
                Ok(Value::Integer(i64::MAX))
            }
            Err(_) => Err(wrong),
        }
    }

    /// A string up to the closing `quote`; only `"` has escapes.
    fn quoted(&mut self, quote: u8) -> Result<String, SyntaxError> {
        self.skip();
        let mut bytes = Vec::new();
        loop {
            let byte = self.text.get(self.at).copied();
            self.skip();
            match byte {
                None => return Err(self.error("the text ends inside a string")),
                Some(b'\\') if quote == b'"' => {
                    bytes.extend(self.text.get(self.at));
                    self.skip();
                }
                Some(byte) if byte == quote => break,
                Some(byte) => bytes.push(byte),
            }
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    #[test]
    fn a_text_of_every_kind_is_read() {
        let text = br#"# Generated
            vg0 { id = "a\"b\\" seqno=7
              status = ["READ", "WRITE"] flags = [] # nothing
              'odd name' = bare, "quoted name" { x = -3 y = .5 } }
            creation_time = 99999999999999999999 single = 'it\'
        "#;
        // A comma is no part of a bare word: what comes next must be a name.
        assert!(Section::parse(text).is_err());
        let text = String::from_utf8_lossy(text).replace("bare,", "bare");
        let root = Section::parse(text.as_bytes()).unwrap();
        let vg = root.section("vg0").unwrap();
        assert_eq!(vg.text("id"), Some(r#"a"b\"#));
        assert_eq!(vg.number("seqno"), Some(7));
        assert_eq!(vg.list("status").unwrap().len(), 2);
        assert_eq!(vg.list("flags"), Some(&[][..]));
        assert_eq!(vg.text("odd name"), Some("bare"));
        let inner = vg.section("quoted name").unwrap();
        assert_eq!(inner.value("x"), Some(&Value::Integer(-3)));
        assert_eq!(inner.number("x"), None);
        assert_eq!(inner.value("y"), Some(&Value::Float(0.5)));
        assert_eq!(root.value("creation_time"), Some(&Value::Integer(i64::MAX)));
        assert_eq!(root.text("single"), Some("it\\"));
    }

    #[test]
    fn broken_texts_are_errors_that_say_where() {
        for (text, at) in [
            ("a {", 3),
            ("}", 0),
            ("a = [1, 2", 9),
            ("a = \"x", 7),
            ("a b", 2),
            ("a = [[1]]", 5),
            ("a =", 3),
        ] {
            assert_eq!(
                Section::parse(text.as_bytes()).unwrap_err().at,
                at,
                "{text}"
            );
        }
        let deep = "a {".repeat(100_000);
        let error = Section::parse(deep.as_bytes()).unwrap_err();
        assert_eq!(error.what, "sections nest too deep");
    }

    #[test]
    fn a_text_ends_at_its_first_zero() {
        let root = Section::parse(b"a = 1\n\0}}}").unwrap();
        assert_eq!(root.number("a"), Some(1));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Section::parse(&text);
        }

        #[test]
        fn no_text_of_the_right_letters_panics(text in "[a{}=\\[\\],#\"'\\\\0-9.\n -]{0,80}") {
            let _ = Section::parse(text.as_bytes());
        }
    }
}
