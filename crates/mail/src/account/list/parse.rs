//! The text of an account list: a line an account, an alias or a domain, in the forms in which mail
//! servers keep them.

use std::collections::BTreeSet;

use super::{AccountList, Data, Target};
use crate::account::Address;
use crate::account::address::domain_of;

/// So much of a line is shown in an error, in characters.
const SHOWN: usize = 80;

/// A line that says nothing that is understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// A line.
    #[error("line {line}: {text:?} {why}")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// The beginning of the line.
        text: String,
        /// What is wrong, and what to write.
        why: String,
    },
    /// There is no account in it, nor a domain that admits any.
    #[error(
        "it lists no account and no domain, so all mail would be nobody's; write one account a \
         line, as ada@lindenhof.example, or @lindenhof.example for all of a domain"
    )]
    Empty,
}

pub(super) fn parse(text: &str, default_domain: Option<&str>) -> Result<AccountList, ListError> {
    let mut parser = Parser {
        default_domain,
        data: Data {
            accounts: BTreeSet::new(),
            aliases: std::collections::BTreeMap::new(),
            catch_alls: std::collections::BTreeMap::new(),
            domains: BTreeSet::new(),
        },
    };
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    for (number, line) in logical_lines(text) {
        let line = line.and_then(|line| parser.line(&line).map_err(|why| (line, why)));
        line.map_err(|(line, why)| ListError::Line {
            line: number,
            text: line.chars().take(SHOWN).collect(),
            why,
        })?;
    }
    if parser.data.accounts.is_empty() && parser.data.domains.is_empty() {
        return Err(ListError::Empty);
    }
    Ok(parser.data.into())
}

type Line = Result<String, (String, String)>;

/// The lines without comments and without empty ones, each with its number. A line that begins with
/// white space goes on with the one before if that ends in a comma, and is wrong otherwise: what
/// Postfix would read as one line may as well be a list with an indent.
fn logical_lines(text: &str) -> Vec<(usize, Line)> {
    let mut lines: Vec<(usize, Line)> = Vec::new();
    for (number, raw) in (1..).zip(text.lines()) {
        let line = without_comment(raw);
        if line.trim().is_empty() {
            continue;
        }
        if !line.starts_with(char::is_whitespace) {
            lines.push((number, Ok(line.to_owned())));
            continue;
        }
        match lines.last_mut() {
            Some((_, Ok(before))) if before.ends_with(',') => {
                before.push(' ');
                before.push_str(line.trim_start());
            }
            _ => {
                let why = "begins with white space, and the line before does not end in a comma: \
                           take the white space away, or end the line before with a comma if \
                           this one goes on with it";
                lines.push((number, Err((line.to_owned(), why.to_owned()))));
            }
        }
    }
    lines
}

/// A line up to `#` at its beginning or behind white space.
fn without_comment(line: &str) -> &str {
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        if c == '#' && before.is_whitespace() {
            return line.get(..at).unwrap_or_default().trim_end();
        }
        before = c;
    }
    line.trim_end()
}

struct Parser<'a> {
    default_domain: Option<&'a str>,
    data: Data,
}

/// What stands at the beginning of a line.
enum Key {
    Address(Address),
    Domain(String),
}

impl Parser<'_> {
    fn line(&mut self, line: &str) -> Result<(), String> {
        if let Some((key, targets)) = line.split_once("->") {
            return self.alias(key.trim(), targets);
        }
        let end = line.find(char::is_whitespace);
        let colon = line.find(':');
        match (colon, end) {
            // aliases(5): `info: ada`.
            (Some(colon), Some(end)) if end == colon.saturating_add(1) => {
                let (key, targets) = line.split_at(colon);
                self.alias(key, targets.get(1..).unwrap_or_default())
            }
            // A passwd-file: what is behind the name, a password too, is not looked at.
            (Some(colon), end) if end.is_none_or(|end| colon < end) => {
                self.account(line.get(..colon).unwrap_or_default())
            }
            (_, None) => self.alone(line),
            (_, Some(end)) => {
                let (key, value) = line.split_at(end);
                self.entry(key, value.trim())
            }
        }
    }

    /// A line of one word: an account, or a domain.
    fn alone(&mut self, word: &str) -> Result<(), String> {
        match self.key(word)? {
            Key::Address(account) => {
                self.data.accounts.insert(account);
            }
            Key::Domain(domain) => {
                self.data.domains.insert(domain);
            }
        }
        Ok(())
    }

    fn account(&mut self, word: &str) -> Result<(), String> {
        let account = self.address(word)?;
        self.data.accounts.insert(account);
        Ok(())
    }

    /// An entry of one of Postfix's maps: `virtual_mailbox_maps`, whose values are paths or `OK`, or
    /// `virtual_alias_maps`.
    fn entry(&mut self, key: &str, value: &str) -> Result<(), String> {
        let is_one = !value.contains(|c: char| c == ',' || c.is_whitespace());
        let is_path = value.contains('/') && !value.starts_with(['/', '|']);
        if is_one && (is_path || value.eq_ignore_ascii_case("ok")) {
            return self.alone(key);
        }
        let names_domain = !key.contains('@') && key.contains('.');
        match (names_domain, value.contains('@')) {
            // A virtual alias domain, whose value means nothing.
            (true, false) => self.alone(key),
            (true, true) => Err(format!(
                "leads from a domain to an address: write @{key} for all addresses of a domain, or \
                 {key}@DOMAIN"
            )),
            (false, _) => self.alias(key, value),
        }
    }

    fn alias(&mut self, key: &str, targets: &str) -> Result<(), String> {
        let targets = self.targets(targets)?;
        let aliases = match self.key(key)? {
            Key::Address(alias) => {
                let itself = Target::Address(alias.clone());
                if targets.contains(&itself) {
                    // Mail to it stays with it: it is an account.
                    self.data.accounts.insert(alias.clone());
                    if targets.len() == 1 {
                        return Ok(());
                    }
                }
                self.data.aliases.entry(alias).or_default()
            }
            Key::Domain(domain) if key.starts_with('@') => {
                self.data.catch_alls.entry(domain).or_default()
            }
            Key::Domain(domain) => {
                return Err(format!(
                    "leads from a domain: write @{domain} for all addresses of a domain"
                ));
            }
        };
        aliases.extend(targets);
        Ok(())
    }

    /// Where an alias leads: words with commas or white space between. What is a program, a file or
    /// a further list (aliases(5)) is no account.
    fn targets(&self, text: &str) -> Result<BTreeSet<Target>, String> {
        let text = text.trim();
        if text.starts_with(['|', '/', '"']) || text.starts_with(":include:") {
            return Ok(BTreeSet::from([Target::Elsewhere(text.to_owned())]));
        }
        let words = text.split(|c: char| c == ',' || c.is_whitespace());
        let words = words.filter(|word| !word.is_empty());
        let targets: Result<BTreeSet<Target>, String> = words
            .map(|word| match word.strip_prefix('@') {
                Some(domain) => domain_of(domain)
                    .map(Target::Domain)
                    .ok_or_else(|| no_domain(domain)),
                None if word.contains('@') => Ok(Address::parse(word)
                    .map_or_else(|| Target::Elsewhere(word.to_owned()), Target::Address)),
                None => self.address(word).map(Target::Address),
            })
            .collect();
        match targets {
            Ok(targets) if targets.is_empty() => Err(
                "leads nowhere: write the account behind it, as info@lindenhof.example -> \
                 ada@lindenhof.example"
                    .to_owned(),
            ),
            targets => targets,
        }
    }

    fn key(&self, word: &str) -> Result<Key, String> {
        if let Some(domain) = word.strip_prefix('@') {
            let domain = domain_of(domain).ok_or_else(|| no_domain(domain))?;
            return Ok(Key::Domain(domain));
        }
        if !word.contains('@') && word.contains('.') {
            let domain = domain_of(word).ok_or_else(|| no_domain(word))?;
            return Ok(Key::Domain(domain));
        }
        self.address(word).map(Key::Address)
    }

    /// The address that a word is, in the default domain if it names none.
    fn address(&self, word: &str) -> Result<Address, String> {
        let address = if word.contains('@') {
            Address::parse(word)
        } else {
            let domain = self.default_domain.ok_or_else(|| {
                format!(
                    "names no domain: write {word}@DOMAIN, or give the domain of all such names \
                     with --default-domain"
                )
            })?;
            Address::new(word, domain)
        };
        address.ok_or_else(|| {
            format!(
                "names {word:?}, which is no account: write local@domain, such as \
                 ada@lindenhof.example, without spaces, quotes and slashes"
            )
        })
    }
}

fn no_domain(text: &str) -> String {
    format!("names {text:?}, which is no domain: write a host name such as lindenhof.example")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(text: &str, default_domain: Option<&str>) -> serde_json::Value {
        serde_json::to_value(AccountList::parse(text, default_domain).unwrap()).unwrap()
    }

    #[test]
    fn the_forms_of_all_servers_say_the_same() {
        let plain = kept(
            "ada@x.example\nbob@x.example\ninfo@x.example -> ada@x.example\n",
            None,
        );
        let forms = [
            // Windows, a byte order mark, comments, other case.
            "\u{feff}# all\r\nAda@x.example\r\nbob@X.example.\r\ninfo@x.example  ->  ada@X.EXAMPLE # desk\r\n",
            // passwd-files: doc.dovecot.org, "Passwd-file".
            "ada@x.example:{SSHA512}aa/bb==:5000:5000::/srv/x:/bin/false:quota=5M here\n\
             bob@x.example::::::\ninfo@x.example ada@x.example\n",
            // virtual_mailbox_maps: postfix.org/VIRTUAL_README.html.
            "ada@x.example    x.example/ada/\nbob@x.example\tOK\ninfo@x.example   ada@x.example\n",
            // aliases(5).
            "ada@x.example\nbob@x.example\ninfo@x.example: ada@x.example\n",
            // An entry that leads to itself, and one over several lines.
            "ada@x.example ada@x.example\nbob@x.example bob@x.example\ninfo@x.example ada@x.example,\n   ada@x.example\n",
        ];
        for form in forms {
            let got = kept(form, None);
            let lower = serde_json::to_string(&got).unwrap().to_lowercase();
            assert_eq!(lower, plain.to_string(), "{form}");
        }
        // Names without a domain.
        assert_eq!(
            kept(
                "ada\nbob:x:1000:1000:Bob,,,:/home/bob:/bin/sh\ninfo: ada\n",
                Some("x.example")
            ),
            plain
        );
    }

    #[test]
    fn domains_have_both_forms_and_catch_alls_lead_to_accounts() {
        let list = kept(
            "b\u{fc}cher.example\n@XN--BCHER-KVA.example\nshop.example anything\n@y.example ada@x.example\n",
            None,
        );
        assert_eq!(
            list["domains"],
            serde_json::json!(["shop.example", "xn--bcher-kva.example"])
        );
        assert_eq!(
            list["catch_alls"],
            serde_json::json!({"y.example": [{"address": "ada@x.example"}]})
        );
    }

    #[test]
    fn a_list_keeps_no_password() {
        let text = kept("ada@x.example:{PLAIN}secret:1:1::/h\n", None).to_string();
        assert!(!text.contains("secret"), "{text}");
    }

    #[test]
    fn a_bad_line_is_named_with_what_to_write() {
        let table = [
            ("ada@x.example\nbob\n", 2, "write bob@DOMAIN"),
            ("a b@x.example c\nada@\n", 1, "--default-domain"),
            ("# x\n\nada@localhost\n", 3, "local@domain"),
            ("@x\n", 1, "host name"),
            ("ada@x.example\n  bob@x.example\n", 2, "white space"),
            ("info@x.example ->\n", 1, "leads nowhere"),
            ("x.example ada@x.example\n", 1, "write @x.example"),
            ("x.example -> ada@x.example\n", 1, "write @x.example"),
            ("../../etc@x.example\n", 1, "slashes"),
            ("ada@x.example\n\u{1b}[31m@x.example\n", 2, "\\u{1b}"),
        ];
        for (text, number, says) in table {
            let error = AccountList::parse(text, None).unwrap_err();
            let shown = error.to_string();
            assert!(shown.contains(says), "{text:?}: {shown}");
            assert!(shown.starts_with(&format!("line {number}:")), "{shown}");
            assert!(!shown.contains('\u{1b}'), "{shown:?}");
        }
        for text in ["", "# nothing\n", "info@x.example -> ada@x.example\n"] {
            assert_eq!(AccountList::parse(text, None), Err(ListError::Empty));
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic_and_what_is_read_is_kept(text in "([a-c@.:, \\->#\"|/\u{fc}\n]|x\\.example){0,60}") {
            if let Ok(list) = AccountList::parse(&text, Some("d.example")) {
                let kept = serde_json::to_string(&list).unwrap();
                proptest::prop_assert_eq!(serde_json::from_str::<AccountList>(&kept).unwrap(), list);
            }
        }
    }
}
