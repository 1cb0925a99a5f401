//! What an IMAP server says: its responses (RFC 9051, section 9; the same in RFC 3501), read without
//! regard to which extension they belong to.
//!
//! A response is a line in which strings may stand as literals. [`Raw`] is such a line as it came;
//! [`Response::parse`] makes values of it. Servers differ in details, so that everything that has the
//! form of a response is one, and what is not understood is left alone.

/// Lists in lists, at most: servers need four.
const MOST_DEPTH: usize = 16;
/// So much of what a server says in words is kept, in characters.
const MOST_WORDS: usize = 400;
/// Stands for a literal in the line of a [`Raw`]; no line has it otherwise.
pub(super) const LITERAL: u8 = 0;

/// A response as it came: the line, in which [`LITERAL`] stands for each literal.
#[derive(Debug, Default)]
pub(super) struct Raw {
    pub(super) line: Vec<u8>,
    pub(super) literals: Vec<Vec<u8>>,
}

/// A value in a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// A word or a number, as `FETCH`, `12`, `\Seen`, `BODY[]`.
    Atom(Vec<u8>),
    /// A string, quoted or as a literal.
    Text(Vec<u8>),
    /// Values in parentheses.
    List(Vec<Self>),
}

impl Value {
    /// The bytes of a word or string.
    pub(super) fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Atom(bytes) | Self::Text(bytes) => Some(bytes),
            Self::List(_) => None,
        }
    }

    /// The values of a list; none of what is no list.
    pub(super) fn list(&self) -> &[Self] {
        match self {
            Self::List(values) => values,
            _ => &[],
        }
    }

    /// The number that a word is.
    pub(super) fn number(&self) -> Option<u64> {
        std::str::from_utf8(self.bytes()?).ok()?.parse().ok()
    }

    /// Whether it is this word, in upper or lower case.
    pub(super) fn is(&self, word: &str) -> bool {
        matches!(self, Self::Atom(bytes) if bytes.eq_ignore_ascii_case(word.as_bytes()))
    }
}

/// How a command or a connection went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Ok,
    No,
    Bad,
    Bye,
    PreAuth,
}

/// What a server says of how it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) condition: Condition,
    /// The response code, as `APPENDUID 7 12`, in upper case; empty if there is none.
    pub(super) code: String,
    /// What it says to people.
    pub(super) text: String,
}

impl Status {
    /// Whether the response code is `name`.
    pub(super) fn is(&self, name: &str) -> bool {
        self.code.split(' ').next() == Some(name)
    }
}

/// A response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Response {
    /// It waits for the rest of a command.
    Continue(String),
    /// How the command of this tag went, or without a tag how the connection does.
    Status(Option<String>, Status),
    /// Data.
    Data(Vec<Value>),
}

impl Response {
    /// Reads a response; `None` if it has not the form of one.
    pub(super) fn parse(raw: Raw) -> Option<Self> {
        let line = raw.line.as_slice();
        if let Some(rest) = line.strip_prefix(b"+") {
            let rest = rest.strip_prefix(b" ").unwrap_or(rest);
            return Some(Self::Continue(words(rest)));
        }
        let (tag, rest) = split(line);
        let (word, text) = split(rest);
        let condition = match word.to_ascii_uppercase().as_slice() {
            b"OK" => Some(Condition::Ok),
            b"NO" => Some(Condition::No),
            b"BAD" => Some(Condition::Bad),
            b"BYE" => Some(Condition::Bye),
            b"PREAUTH" => Some(Condition::PreAuth),
            _ => None,
        };
        let tag = match tag {
            b"*" => None,
            b"" => return None,
            tag => Some(words(tag)),
        };
        if let Some(condition) = condition {
            return Some(Self::Status(tag, status(condition, text)));
        }
        if tag.is_some() {
            return None;
        }
        let mut parser = Parser {
            rest,
            literals: raw.literals.into_iter(),
        };
        parser.values(0).map(Self::Data)
    }
}

/// A line up to its first space, and what is behind that.
fn split(line: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b' ', line) {
        Some(at) => {
            let (word, rest) = line.split_at(at);
            (word, rest.get(1..).unwrap_or_default())
        }
        None => (line, &[]),
    }
}

fn status(condition: Condition, text: &[u8]) -> Status {
    let code = text
        .strip_prefix(b"[")
        .and_then(|rest| Some(rest.split_at(memchr::memchr(b']', rest)?)));
    let (code, text) = match code {
        Some((code, rest)) => (code, rest.get(1..).unwrap_or_default()),
        None => (&[][..], text),
    };
    Status {
        condition,
        code: words(code).to_ascii_uppercase(),
        text: words(text.trim_ascii()),
    }
}

/// Words for people, bounded.
fn words(bytes: &[u8]) -> String {
    let bytes = bytes
        .get(..bytes.len().min(4 * MOST_WORDS))
        .unwrap_or(bytes);
    String::from_utf8_lossy(bytes)
        .chars()
        .take(MOST_WORDS)
        .collect()
}

/// What is left of a line.
struct Parser<'a> {
    rest: &'a [u8],
    literals: std::vec::IntoIter<Vec<u8>>,
}

impl Parser<'_> {
    /// Values up to the end of the line or of the list.
    fn values(&mut self, depth: usize) -> Option<Vec<Value>> {
        if depth > MOST_DEPTH {
            return None;
        }
        let mut values = Vec::new();
        while let Some(first) = self.rest.first() {
            match first {
                b' ' => self.skip(1),
                b')' if depth > 0 => return Some(values),
                b'(' => {
                    self.skip(1);
                    let list = self.values(depth.saturating_add(1))?;
                    // A list that the line ends in is none.
                    if self.rest.first() != Some(&b')') {
                        return None;
                    }
                    self.skip(1);
                    values.push(Value::List(list));
                }
                b'"' => values.push(Value::Text(self.quoted()?)),
                &LITERAL => {
                    self.skip(1);
                    values.push(Value::Text(self.literals.next()?));
                }
                _ => values.push(Value::Atom(self.atom())),
            }
        }
        (depth == 0).then_some(values)
    }

    fn skip(&mut self, count: usize) {
        self.rest = self.rest.get(count..).unwrap_or_default();
    }

    fn quoted(&mut self) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        let mut bytes = self.rest.iter().enumerate().skip(1);
        loop {
            match bytes.next()? {
                (at, b'"') => {
                    self.skip(at.saturating_add(1));
                    return Some(text);
                }
                (_, b'\\') => text.push(*bytes.next()?.1),
                (_, byte) => text.push(*byte),
            }
        }
    }

    /// A word; what stands in brackets in it belongs to it, spaces and all.
    fn atom(&mut self) -> Vec<u8> {
        let mut in_brackets = false;
        let end = self.rest.iter().position(|byte| {
            match byte {
                b'[' => in_brackets = true,
                b']' => in_brackets = false,
                _ => {}
            }
            !in_brackets && matches!(byte, b' ' | b'(' | b')' | b'"' | &LITERAL)
        });
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        // What is nothing else is a word of one character, so that reading goes on.
        let (word, rest) = if word.is_empty() {
            self.rest.split_at(self.rest.len().min(1))
        } else {
            (word, rest)
        };
        self.rest = rest;
        word.to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &[u8], literals: &[&[u8]]) -> Option<Response> {
        Response::parse(Raw {
            line: line.to_vec(),
            literals: literals.iter().map(|bytes| bytes.to_vec()).collect(),
        })
    }

    fn atom(text: &str) -> Value {
        Value::Atom(text.as_bytes().to_vec())
    }

    fn text(text: &str) -> Value {
        Value::Text(text.as_bytes().to_vec())
    }

    #[test]
    fn responses_of_all_forms_are_read() {
        let fetch = parse(
            b"* 12 FETCH (UID 7 INTERNALDATE \" 7-Jul-1996 02:44:25 -0700\" BODY[HEADER.FIELDS (TO)] \0 FLAGS (\\Seen $Label))",
            &[b"To: a\r\n\r\n"],
        );
        let list = vec![
            atom("UID"),
            atom("7"),
            atom("INTERNALDATE"),
            text(" 7-Jul-1996 02:44:25 -0700"),
            atom("BODY[HEADER.FIELDS (TO)]"),
            text("To: a\r\n\r\n"),
            atom("FLAGS"),
            Value::List(vec![atom("\\Seen"), atom("$Label")]),
        ];
        let want = vec![atom("12"), atom("FETCH"), Value::List(list)];
        assert_eq!(fetch, Some(Response::Data(want)));
        let status = |tag: Option<&str>, condition, code: &str, text: &str| {
            let status = Status {
                condition,
                code: code.to_owned(),
                text: text.to_owned(),
            };
            Some(Response::Status(tag.map(str::to_owned), status))
        };
        let table: [(&[u8], Option<Response>); 6] = [
            (
                b"A1 OK [APPENDUID 38505 3955] done",
                status(Some("A1"), Condition::Ok, "APPENDUID 38505 3955", "done"),
            ),
            (
                b"A1 no [overquota] Full",
                status(Some("A1"), Condition::No, "OVERQUOTA", "Full"),
            ),
            (b"* BYE", status(None, Condition::Bye, "", "")),
            (b"* OK [broken", status(None, Condition::Ok, "", "[broken")),
            (b"+ ready", Some(Response::Continue("ready".to_owned()))),
            (b"+", Some(Response::Continue(String::new()))),
        ];
        for (line, want) in table {
            assert_eq!(parse(line, &[]), want, "{}", String::from_utf8_lossy(line));
        }
        let list = parse(b"* LIST (\\HasNoChildren) \"/\" \"a \\\"b\\\\\"", &[]);
        let want = vec![
            atom("LIST"),
            Value::List(vec![atom("\\HasNoChildren")]),
            text("/"),
            text("a \"b\\"),
        ];
        assert_eq!(list, Some(Response::Data(want)));
    }

    #[test]
    fn what_is_no_response_is_none() {
        let deep = [b"* ".as_slice(), &b"(".repeat(100), &b")".repeat(100)].concat();
        let table: [&[u8]; 8] = [
            b"",
            b"A1 FETCH",
            b"* LIST (a",
            b"* LIST \"a",
            b"* LIST \"a\\",
            b"* X \0",
            &deep,
            b"* (a))(",
        ];
        for line in table {
            assert_eq!(parse(line, &[]), None, "{}", String::from_utf8_lossy(line));
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_that_a_server_says_breaks_it(line in proptest::collection::vec(0_u8..128, 0..200)) {
            let _ = parse(&line, &[b"a", b"b"]);
        }
    }
}
