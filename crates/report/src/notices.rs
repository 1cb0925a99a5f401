//! One ready mail for each account, from a template that can be edited and translated.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use case::write_atomically;
use mail::Address;
use mail_builder::MessageBuilder;
use mail_builder::headers::address::Address as Mailbox;
use mail_builder::headers::raw::Raw;
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, UndefinedBehavior, context};

use crate::facts::{Account, Facts};
use crate::text::is_hostile;
use crate::words::{bytes, percent};
use crate::write::sweep;
use crate::{ReportError, utf7};

/// The template that is used if none is given. Its first line is the subject; `docs/report.md` lists
/// what can stand in it.
pub const TEMPLATE: &str = include_str!("../templates/notice.txt");

/// Subjects of damaged messages that a notice may list.
const MOST_LISTED: usize = 50;

/// How to write notices.
#[derive(Clone, Debug, Default)]
pub struct NoticeOptions {
    /// A file with another template than [`TEMPLATE`].
    pub template: Option<PathBuf>,
    /// Who writes; `postmaster` of the account's domain if nobody is named.
    pub from: Option<Address>,
}

/// The notices that were written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notices {
    /// How many.
    pub written: u64,
    /// Accounts whose names are no address that mail can be sent to: a name on a disk may be anything.
    pub left_out: Vec<String>,
}

/// Writes a notice for each account of which something is known, below `notices` in `directory`,
/// and the template that they are made from. Notices of accounts that are no more are removed.
pub fn notices(
    facts: &Facts,
    directory: &Path,
    options: &NoticeOptions,
) -> Result<Notices, ReportError> {
    let (name, template) = match &options.template {
        Some(path) => {
            let text = fs::read_to_string(path).map_err(|source| ReportError::io(path, source))?;
            (path.display().to_string(), text)
        }
        None => ("the built-in template".to_owned(), TEMPLATE.to_owned()),
    };
    let wrong = |error: &dyn std::fmt::Display| ReportError::Template {
        template: name.clone(),
        why: error.to_string(),
    };
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let syntax = SyntaxConfig::builder()
        .keep_trailing_newline(true)
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build();
    environment.set_syntax(syntax.map_err(|error| wrong(&error))?);
    environment
        .add_template("notice", &template)
        .map_err(|error| wrong(&error))?;
    let notice = environment
        .get_template("notice")
        .map_err(|error| wrong(&error))?;
    let top = directory.join("notices");
    let mut notices = Notices::default();
    let mut kept = BTreeSet::from([top.join("template.txt")]);
    for account in &facts.accounts {
        let Some(address) = Address::parse(&account.address) else {
            continue;
        };
        if account.counts.expected == 0 && account.folders.is_empty() {
            continue;
        }
        if !is_dot_atom(address.local()) {
            notices.left_out.push(account.address.clone());
            continue;
        }
        let text = notice
            .render(values(facts, account))
            .map_err(|error| wrong(&error))?;
        let mail = compose(facts, &address, &text, options).map_err(|why| wrong(&why))?;
        let path = top.join(address.domain());
        fs::create_dir_all(&path).map_err(|source| ReportError::io(&path, source))?;
        let path = path.join(format!("{}.eml", address.local()));
        write_atomically(&path, &mail)?;
        kept.insert(path);
        notices.written = notices.written.saturating_add(1);
    }
    fs::create_dir_all(&top).map_err(|source| ReportError::io(&top, source))?;
    write_atomically(&top.join("template.txt"), template.as_bytes())?;
    sweep(&top, &["eml"], &kept)?;
    Ok(notices)
}

/// Whether the name stands in a header as it is (RFC 5322, section 3.2.3): no comma, bracket or
/// space that would make another recipient of it.
fn is_dot_atom(local: &str) -> bool {
    local.split('.').all(|atom| {
        !atom.is_empty()
            && atom
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte))
    })
}

/// What can stand in a template.
fn values(facts: &Facts, account: &Account) -> minijinja::Value {
    let counts = &account.counts;
    let folders: Vec<minijinja::Value> = account
        .folders
        .iter()
        .map(|folder| {
            context! {
                name => harmless(folder.shown.as_deref().unwrap_or(&folder.name)),
                expected => folder.expected,
                whole => folder.whole,
                damaged => folder.damaged,
                lost => folder.lost,
            }
        })
        .collect();
    let damaged: Vec<minijinja::Value> = account
        .damaged_messages
        .iter()
        .take(MOST_LISTED)
        .map(|message| {
            context! {
                subject => harmless(&message.subject),
                from => harmless(&message.from),
                delivered => day(&message.delivered),
                folder => harmless(&utf7::decode(&message.folder).unwrap_or_else(|| message.folder.clone())),
            }
        })
        .collect();
    let back = counts.whole.saturating_add(counts.damaged);
    context! {
        account => account.address.as_str(),
        expected => counts.expected,
        whole => counts.whole,
        damaged => counts.damaged,
        lost => counts.lost,
        encrypted => counts.encrypted,
        back => back,
        percent => percent(back, counts.expected),
        size => bytes(counts.whole_bytes.saturating_add(counts.damaged_bytes)),
        deleted => counts.deleted,
        handed_over => counts.handed_over.saturating_add(counts.already_live),
        waiting => counts.waiting,
        searched => facts.is_searched(),
        first => account.first_delivered.as_deref().map(day),
        last => account.last_delivered.as_deref().map(day),
        folders => folders,
        damaged_messages => damaged,
        as_of => facts.as_of.as_deref().map(day),
    }
}

/// The day of a time.
fn day(time: &str) -> String {
    time.split('T').next().unwrap_or(time).to_owned()
}

/// Text from disks on one line, without what acts on a terminal or on the direction of a line.
fn harmless(text: &str) -> String {
    text.chars()
        .map(|c| if is_hostile(c) { ' ' } else { c })
        .collect()
}

/// The mail that a rendered template is.
fn compose(
    facts: &Facts,
    to: &Address,
    text: &str,
    options: &NoticeOptions,
) -> Result<Vec<u8>, String> {
    let (first, body) = text.split_once('\n').unwrap_or((text, ""));
    let subject = first
        .strip_prefix("Subject:")
        .ok_or("its first line is not `Subject: …`")?;
    let from = match &options.from {
        Some(address) if !is_dot_atom(address.local()) => {
            return Err(format!("{address} cannot stand in a header as it is"));
        }
        Some(address) => address.to_string(),
        None => format!("postmaster@{}", to.domain()),
    };
    let as_of = facts.as_of.as_deref().unwrap_or("1970-01-01T00:00:00Z");
    let seconds = as_of
        .parse::<jiff::Timestamp>()
        .map_or(0, jiff::Timestamp::as_second);
    // The same case gives the same mail, so that one that is sent twice is known as such.
    let id = blake3::hash(format!("{} {as_of} {to} {text}", facts.case).as_bytes()).to_hex();
    let id = id.get(..32).unwrap_or_default();
    MessageBuilder::new()
        .from(Mailbox::new_address(None::<String>, from))
        .to(Mailbox::new_address(None::<String>, to.to_string()))
        .subject(harmless(subject.trim()))
        .date(seconds)
        .message_id(format!("{id}@{}", to.domain()))
        .header("Auto-Submitted", Raw::new("auto-generated"))
        .text_body(body.trim_start_matches('\n'))
        .write_to_vec()
        .map_err(|error| error.to_string())
}
