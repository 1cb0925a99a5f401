//! How the path of a mail store names its account.

use std::sync::Arc;

use super::address::domain_of;
use super::{AccountList, Address, Owner};
use crate::maildir::is_placeholder;

/// How the path of a mail store names its account.
///
/// A pattern is the end of a path, such as `{domain}/{local}/Maildir`. `{domain}`, `{local}`
/// and `{account}` (both, with `@`) each stand for a whole name, `*` for any name, and `{store}`
/// for those that servers give to the directory of a mailbox (`Maildir`, `mdbox`, `mail`, …).
/// `{local}-{time}` is a local part with the time behind it at which iRedMail made the account,
/// `{local}-{id}` one with a number behind it, as Synology has for users of a directory service.
/// `{hash}` is a name of one or two letters that the local part begins with; of several, each may
/// also be the next letter of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Domain,
    Local,
    /// `{local}-{time}`: the local part, a dash, and year to second with dots.
    LocalAndTime,
    /// `{local}-{id}`: the local part, a dash, and a number.
    LocalAndId,
    Account,
    Hash,
    Any,
    Store,
    Name(String),
}

impl Part {
    const fn names_account(&self) -> bool {
        matches!(
            self,
            Self::Domain | Self::Local | Self::LocalAndTime | Self::LocalAndId | Self::Account
        )
    }
}

/// What stands before `-2014.06.01.10.11.12`.
fn without_time(name: &str) -> Option<&str> {
    let (local, time) = name.rsplit_once('-')?;
    let numbers: Vec<&str> = time.split('.').collect();
    let is_number = |(number, length): (&&str, usize)| {
        number.len() == length && number.bytes().all(|byte| byte.is_ascii_digit())
    };
    let is_time = numbers.len() == 6 && numbers.iter().zip([4, 2, 2, 2, 2, 2]).all(is_number);
    is_time.then_some(local)
}

/// What stands before `-1105`.
fn without_id(name: &str) -> Option<&str> {
    let (local, id) = name.rsplit_once('-')?;
    (!id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit())).then_some(local)
}

/// What servers call the directory of a mailbox.
const STORE_DIRECTORIES: [&str; 11] = [
    "Maildir", "maildir", ".maildir", ".Maildir", "mdbox", "sdbox", "dbox", "mail", "Mail",
    ".mail", "mbox",
];

/// Whether the names above a local part are what servers spread accounts over directories by: its
/// first letters each time (Dovecot's `%1n/%2n`), or its letters in their order, the last one
/// repeated (iRedMail).
fn are_hashes(hashes: &[&str], local: &str) -> bool {
    let local = local.to_lowercase();
    let is_beginning = |hash: &&str| {
        let letters = hash.chars().count();
        (1..=2).contains(&letters) && local.starts_with(&hash.to_lowercase())
    };
    if hashes.iter().all(is_beginning) {
        return true;
    }
    let last = local.chars().next_back();
    let letters = local.chars().chain(last.into_iter().cycle());
    let in_order: String = letters.take(hashes.len()).collect();
    hashes.concat().to_lowercase() == in_order
}

/// Why rules cannot be made of what was said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    /// A text is no pattern.
    #[error("{pattern:?} is not a path pattern: {why}. An example: {{domain}}/{{local}}/Maildir")]
    Pattern {
        /// The text.
        pattern: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The default domain is none.
    #[error("{0:?} is not a domain: write a host name such as lindenhof.example")]
    Domain(String),
    /// The delimiters are characters that do more than delimit.
    #[error(
        "{0:?} are not recipient delimiters: write one or more of the characters that your server \
         has between an account and a detail, such as + or +- (not letters, digits, dots, @)"
    )]
    Delimiters(String),
}

impl PathPattern {
    /// Reads a pattern.
    pub fn parse(text: &str) -> Result<Self, RulesError> {
        let error = |why| RulesError::Pattern {
            pattern: text.to_owned(),
            why,
        };
        let mut parts = Vec::new();
        for name in text.split('/').filter(|name| !name.is_empty()) {
            parts.push(match name {
                "{domain}" => Part::Domain,
                "{local}" => Part::Local,
                "{local}-{time}" => Part::LocalAndTime,
                "{local}-{id}" => Part::LocalAndId,
                "{account}" => Part::Account,
                "{store}" => Part::Store,
                "{hash}" => Part::Hash,
                "*" => Part::Any,
                other if other.contains(['{', '}', '*']) => {
                    return Err(error("a placeholder must be a whole name"));
                }
                other => Part::Name(other.to_owned()),
            });
        }
        let count = |part: &Part| {
            let same = |other: &&Part| match (part, other) {
                (Part::Local, Part::LocalAndTime | Part::LocalAndId) => true,
                (part, other) => part == *other,
            };
            parts.iter().filter(same).count()
        };
        match (
            count(&Part::Account),
            count(&Part::Local),
            count(&Part::Domain),
        ) {
            (1, 0, 0) | (0, 1, 0 | 1) => Ok(Self {
                text: text.to_owned(),
                parts,
            }),
            _ => Err(error(
                "it needs {account}, or {local} with or without {domain}, each once",
            )),
        }
    }

    /// The account that the end of `path` names, and which name of the path is the first that
    /// names it.
    fn matches(&self, path: &[&str], default_domain: Option<&str>) -> Option<(Address, usize)> {
        let start = path.len().checked_sub(self.parts.len())?;
        let (mut domain, mut local, mut account) = (default_domain, None, None);
        let (mut first, mut hashes) = (None, Vec::new());
        for (index, (part, name)) in self.parts.iter().zip(path.get(start..)?).enumerate() {
            if part.names_account() {
                first.get_or_insert(start.saturating_add(index));
            }
            let is_lost = is_placeholder(name.as_bytes());
            match part {
                // A name that is lost is nobody's.
                part if part.names_account() && is_lost => return None,
                Part::Domain => domain = Some(*name),
                Part::Local => local = Some(*name),
                Part::LocalAndTime => local = Some(without_time(name)?),
                Part::LocalAndId => local = Some(without_id(name)?),
                Part::Account => account = Some(*name),
                Part::Hash => hashes.push(*name),
                Part::Any => {}
                Part::Store => STORE_DIRECTORIES.contains(name).then_some(())?,
                Part::Name(wanted) => (wanted == name).then_some(())?,
            }
        }
        let address = match account {
            Some(account) => Address::parse(account),
            None => Address::new(local?, domain?),
        }?;
        (hashes.is_empty() || are_hashes(&hashes, address.local())).then_some(())?;
        Some((address, first?))
    }
}

/// The rules that give mail to accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountRules {
    patterns: Vec<PathPattern>,
    /// Whether a person gave the patterns.
    given: bool,
    default_domain: Option<String>,
    list: Option<Arc<AccountList>>,
    delimiters: String,
}

impl Default for AccountRules {
    fn default() -> Self {
        Self::new(&[], None).unwrap_or(Self {
            patterns: Vec::new(),
            given: false,
            default_domain: None,
            list: None,
            delimiters: Self::DELIMITERS.to_owned(),
        })
    }
}

impl AccountRules {
    /// What stands between an account and a detail, unless a person says otherwise.
    pub const DELIMITERS: &'static str = "+";

    /// The patterns that are tried when none are given, in this order; `docs/accounts.md` says which
    /// are of which server.
    ///
    /// Those that name no domain serve with a default one.
    pub const PATTERNS: [&'static str; 24] = [
        "{domain}/*/*/*/{local}-{time}/{store}",
        "{domain}/*/*/{local}-{time}/{store}",
        "{domain}/*/{local}-{time}/{store}",
        "{domain}/{local}-{time}/{store}",
        "{domain}/{local}/{store}",
        "{domain}/{hash}/{local}/{store}",
        "{domain}/{hash}/{hash}/{local}/{store}",
        "{domain}/{hash}/{hash}/{hash}/{local}/{store}",
        "{account}/{store}",
        "{domain}/{local}",
        "{domain}/{hash}/{local}",
        "{domain}/{hash}/{hash}/{local}",
        "{account}",
        "home/{local}/{store}",
        "homes/{local}/{store}",
        "homes/*/*/{local}-{id}/{store}",
        "home/{local}",
        "homes/{local}",
        "var/mail/{local}",
        "spool/mail/{local}",
        "var/mail/{hash}/{local}",
        "spool/mail/{hash}/{local}",
        "var/mail/{hash}/{hash}/{local}",
        "spool/mail/{hash}/{hash}/{local}",
    ];

    /// Rules with `patterns` ([`Self::PATTERNS`] if there are none); paths that name only a
    /// local part belong to `default_domain`.
    pub fn new(patterns: &[String], default_domain: Option<&str>) -> Result<Self, RulesError> {
        let parsed: Result<Vec<_>, _> = if patterns.is_empty() {
            Self::PATTERNS
                .iter()
                .map(|p| PathPattern::parse(p))
                .collect()
        } else {
            patterns.iter().map(|p| PathPattern::parse(p)).collect()
        };
        let domain =
            |text: &str| domain_of(text).ok_or_else(|| RulesError::Domain(text.to_owned()));
        Ok(Self {
            patterns: parsed?,
            given: !patterns.is_empty(),
            default_domain: default_domain.map(domain).transpose()?,
            list: None,
            delimiters: Self::DELIMITERS.to_owned(),
        })
    }

    /// The same rules, with everything judged against `list`.
    #[must_use]
    pub fn with_list(self, list: AccountList) -> Self {
        Self {
            list: Some(Arc::new(list)),
            ..self
        }
    }

    /// The same rules, where any of `delimiters` stands between an account and a detail.
    pub fn with_delimiters(self, delimiters: &str) -> Result<Self, RulesError> {
        let delimits = |c: char| c.is_ascii_punctuation() && !matches!(c, '.' | '@' | '/' | '"');
        if delimiters.is_empty() || !delimiters.chars().all(delimits) {
            return Err(RulesError::Delimiters(delimiters.to_owned()));
        }
        Ok(Self {
            delimiters: delimiters.to_owned(),
            ..self
        })
    }

    /// What a person knows of the accounts.
    pub const fn list(&self) -> Option<&Arc<AccountList>> {
        self.list.as_ref()
    }

    /// The characters that may stand between an account and a detail.
    pub fn delimiters(&self) -> &str {
        &self.delimiters
    }

    /// The owner of a mailbox as the list of accounts has it; an error says, in words, why it is
    /// nobody's.
    pub fn judge(&self, owner: Owner) -> Result<Owner, String> {
        let Some(list) = &self.list else {
            return Ok(owner);
        };
        match list.admit(&owner.account) {
            Some(account) => Ok(Owner { account, ..owner }),
            None => Err(format!(
                "{}: but {} is not in the list of accounts",
                owner.evidence, owner.account
            )),
        }
    }

    /// The owner of the mail store in the directory at `path`, by the first pattern that fits.
    ///
    /// Patterns that name an account with its domain go before those that take the default one.
    pub fn owner_of(&self, path: &[Vec<u8>]) -> Option<Owner> {
        self.find(path).map(|(owner, _)| owner)
    }

    /// The account that a store itself names: `local` in `domain`, or in the default one.
    pub(crate) fn named(&self, local: &str, domain: Option<&str>) -> Option<Address> {
        Address::parse(local)
            .or_else(|| Address::new(local, domain.or(self.default_domain.as_deref())?))
    }

    /// The owner of a mail store that lies inside a mailbox whose owner is not known, `depth`
    /// names below the root.
    ///
    /// The folder `clients/acme.example/bob` of somebody's mailbox is not Bob's account: the
    /// path must begin to name the account at or above the mailbox. Patterns that a person gave
    /// are believed.
    pub fn owner_inside(&self, path: &[Vec<u8>], depth: usize) -> Option<Owner> {
        let (owner, first) = self.find(path)?;
        (self.given || first < depth).then_some(owner)
    }

    fn find(&self, path: &[Vec<u8>]) -> Option<(Owner, usize)> {
        let names: Option<Vec<&str>> = path
            .iter()
            .map(|name| std::str::from_utf8(name).ok())
            .collect();
        let names = names?;
        [None, self.default_domain.as_deref()]
            .into_iter()
            .find_map(|domain| {
                self.patterns.iter().find_map(|pattern| {
                    let (account, first) = pattern.matches(&names, domain)?;
                    let evidence = format!("path /{} fits {}", names.join("/"), pattern.text);
                    Some((Owner { account, evidence }, first))
                })
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(rules: &AccountRules, path: &str) -> Option<String> {
        let names: Vec<Vec<u8>> = path.split('/').map(|n| n.as_bytes().to_vec()).collect();
        rules.owner_of(&names).map(|o| o.account.to_string())
    }

    #[test]
    fn default_patterns_name_the_usual_stores() {
        let rules = AccountRules::default();
        let table = [
            (
                "srv/vmail/Lindenhof.Example/ada/Maildir",
                Some("ada@lindenhof.example"),
            ),
            (
                "lindenhof.example/o'neill/Maildir",
                Some("o'neill@lindenhof.example"),
            ),
            (
                "vmail/lindenhof.example/john.smith/Maildir",
                Some("john.smith@lindenhof.example"),
            ),
            (
                "vmail/lindenhof.example/john.smith",
                Some("john.smith@lindenhof.example"),
            ),
            ("vmail/ada@lindenhof.example", Some("ada@lindenhof.example")),
            (
                "mail/lindenhof.example/ada/mail",
                Some("ada@lindenhof.example"),
            ),
            (
                "var/vmail/vmail1/lindenhof.example/m/a/r/mary-ann-2014.06.01.10.11.12/Maildir",
                Some("mary-ann@lindenhof.example"),
            ),
            (
                "vmail1/lindenhof.example/ada-2014.06.01.10.11.12/Maildir",
                Some("ada@lindenhof.example"),
            ),
            (
                "var/qmail/mailnames/lindenhof.example/ada/Maildir",
                Some("ada@lindenhof.example"),
            ),
            (
                "home/lindenho/mail/lindenhof.example/ada",
                Some("ada@lindenhof.example"),
            ),
            (
                "var/mail/vhosts/lindenhof.example/ada",
                Some("ada@lindenhof.example"),
            ),
            (
                "srv/lindenhof.example/ada/mdbox",
                Some("ada@lindenhof.example"),
            ),
            ("home/john.smith/Maildir", None),
            ("volume1/homes/ada/.Maildir", None),
            ("backup/2014.01/ada", None),
            ("lindenhof.example/ada/Maildir/cur", None),
            ("lindenhof.example/.hidden/Maildir", None),
            ("lindenhof.example/a b/Maildir", None),
            ("x/ImapMail/imap.acme.example/INBOX", None),
            ("Maildir", None),
        ];
        for (path, want) in table {
            assert_eq!(owner(&rules, path).as_deref(), want, "{path}");
        }
    }

    #[test]
    fn each_system_has_its_paths() {
        let rules = AccountRules::new(&[], Some("saltmarsh.example")).unwrap();
        let (ada, home) = ("ada@lindenhof.example", "ada@saltmarsh.example");
        // The sources stand in docs/accounts.md.
        let table = [
            (
                "Dovecot, %d/%n",
                "var/mail/vhosts/lindenhof.example/ada",
                ada,
            ),
            (
                "Dovecot, %d/%n/mail",
                "var/mail/vhosts/lindenhof.example/ada/mail",
                ada,
            ),
            (
                "Dovecot, %d/%u",
                "srv/vmail/lindenhof.example/ada@lindenhof.example",
                ada,
            ),
            (
                "Dovecot, %d/%1n/%n",
                "srv/vmail/lindenhof.example/a/ada",
                ada,
            ),
            (
                "Dovecot, %d/%1n/%2n/%n",
                "srv/lindenhof.example/a/ad/ada/mdbox",
                ada,
            ),
            ("Dovecot, %1n/%n of users", "var/mail/a/ada", home),
            ("Courier, users", "home/ada/Maildir", home),
            (
                "Courier, virtual",
                "home/vmail/lindenhof.example/ada/Maildir",
                ada,
            ),
            ("cPanel", "home/lindenho/mail/lindenhof.example/ada", ada),
            (
                "cPanel, second disk",
                "home2/lindenho/mail/lindenhof.example/ada",
                ada,
            ),
            (
                "Plesk",
                "var/qmail/mailnames/lindenhof.example/ada/Maildir",
                ada,
            ),
            (
                "iRedMail",
                "var/vmail/vmail1/lindenhof.example/a/d/a/ada-2014.06.01.10.11.12/Maildir",
                ada,
            ),
            (
                "iRedMail, no time",
                "var/vmail/vmail1/lindenhof.example/a/d/a/ada/Maildir",
                ada,
            ),
            (
                "Postfix virtual(8)",
                "var/mail/vhosts/lindenhof.example/ada",
                ada,
            ),
            (
                "PostfixAdmin",
                "var/vmail/lindenhof.example/ada@lindenhof.example",
                ada,
            ),
            ("Synology", "volume1/homes/ada/.Maildir", home),
            (
                "Synology, domain user",
                "volume1/homes/@DH-QUARRY/7/ada-1105/.Maildir",
                home,
            ),
        ];
        for (system, path, want) in table {
            assert_eq!(owner(&rules, path).as_deref(), Some(want), "{system}");
        }
        let bo = owner(&rules, "vmail1/lindenhof.example/b/o/o/bo/Maildir");
        assert_eq!(bo.as_deref(), Some("bo@lindenhof.example"));
        for (what, path) in [
            (
                "a hash that is not of the name",
                "srv/vmail/lindenhof.example/x/ada/Maildir",
            ),
            (
                "a folder of an account",
                "srv/vmail/lindenhof.example/ada/clients/bob/Maildir",
            ),
            (
                "Zimbra: a number, which its database knows",
                "opt/zimbra/store/0/3/msg/0",
            ),
            (
                "a domain user without number",
                "volume1/homes/@DH-QUARRY/7/ada/.Maildir",
            ),
        ] {
            assert_eq!(owner(&rules, path), None, "{what}");
        }
    }

    #[test]
    fn a_list_rules_out_what_a_path_names() {
        let list = "Ada@lindenhof.example\ninfo@lindenhof.example -> ada@lindenhof.example\n";
        let list = AccountList::parse(list, None).unwrap();
        let rules = AccountRules::default().with_list(list);
        let judged = |name: &str| {
            let names = ["srv", "lindenhof.example", name, "Maildir"];
            let names: Vec<Vec<u8>> = names.iter().map(|name| name.as_bytes().to_vec()).collect();
            rules.judge(rules.owner_of(&names).unwrap())
        };
        let ada = judged("ada").unwrap();
        assert_eq!(ada.account.to_string(), "Ada@lindenhof.example");
        for name in ["old", "info"] {
            let why = judged(name).unwrap_err();
            assert!(
                why.contains("path /srv") && why.contains("not in the list"),
                "{why}"
            );
        }
    }

    #[test]
    fn a_default_domain_serves_paths_that_name_none() {
        let rules = AccountRules::new(&[], Some("saltmarsh.example")).unwrap();
        assert_eq!(
            owner(&rules, "home/ada/Maildir").as_deref(),
            Some("ada@saltmarsh.example")
        );
        for path in [
            "volume1/homes/ada/.Maildir",
            "home/ada",
            "var/mail/ada",
            "var/spool/mail/ada",
        ] {
            let want = Some("ada@saltmarsh.example");
            assert_eq!(owner(&rules, path).as_deref(), want, "{path}");
        }
        assert_eq!(
            owner(&rules, "x/quarry.example/ada/Maildir").as_deref(),
            Some("ada@quarry.example")
        );
    }

    #[test]
    fn patterns_that_say_too_little_or_too_much_are_refused() {
        for bad in [
            "",
            "Maildir",
            "{local}/{local}",
            "{account}/{local}",
            "u-{local}",
            "{domain}",
        ] {
            assert!(PathPattern::parse(bad).is_err(), "{bad}");
        }
        let rules = AccountRules::new(&["{domain}/*/{local}".to_owned()], None).unwrap();
        assert_eq!(
            owner(&rules, "a.example/x/eve").as_deref(),
            Some("eve@a.example")
        );
    }
}
