//! The rules by which a case gives mail to accounts: what is said of them now, or was said last.

use std::fs;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};
use case::{ACCOUNTS as LIST, AccountPaths, Case};
use mail::account::{AccountList, AccountRules};

use crate::args::AccountOptions;
use crate::usage::Usage;

/// The word that forgets the list.
const NONE: &str = "none";
/// A list of accounts is no longer than this, in bytes: some ten million lines.
const MOST_BYTES: u64 = 512 << 20;

/// What is said of accounts in one run, read and checked.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    patterns: Vec<String>,
    default_domain: Option<String>,
    delimiters: Option<String>,
    list: Option<ListText>,
}

/// What is said of the list.
#[derive(Clone, Debug)]
enum ListText {
    /// There is none any more.
    None,
    /// The text of the file.
    Text { path: String, text: String },
}

impl Said {
    /// Reads and checks the options, before anything is done.
    pub(crate) fn check(options: &AccountOptions, case: &Path) -> Result<Self> {
        let said = Self {
            patterns: options.patterns.clone(),
            default_domain: options.default_domain.clone(),
            delimiters: options.delimiters.clone(),
            list: options.list.as_deref().map(read).transpose()?,
        };
        let rules = AccountRules::new(&said.patterns, said.default_domain.as_deref())?;
        if let Some(delimiters) = &said.delimiters {
            rules.with_delimiters(delimiters)?;
        }
        // Names in it without a domain are in the one that was said before, if none is now.
        let before = if case.join("case.json").exists() {
            Case::open_to_read(case)?.file()?.accounts.default_domain
        } else {
            None
        };
        said.parsed(said.default_domain.as_deref().or(before.as_deref()))?;
        Ok(said)
    }

    /// The list in the file, if one is given.
    fn parsed(&self, default_domain: Option<&str>) -> Result<Option<AccountList>> {
        let Some(ListText::Text { path, text }) = &self.list else {
            return Ok(None);
        };
        let list = AccountList::parse(text, default_domain);
        Ok(Some(
            list.with_context(|| format!("the list of accounts {path}"))?,
        ))
    }

    /// The rules of this case: each option stands until it is given again, so that a later run does
    /// not sort mail otherwise.
    pub(crate) fn rules(&self, case: &Case) -> Result<(AccountPaths, AccountRules)> {
        let mut file = case.file()?;
        let before = file.accounts.clone();
        let paths = &mut file.accounts;
        if !self.patterns.is_empty() {
            paths.patterns.clone_from(&self.patterns);
        }
        for (kept, said) in [
            (&mut paths.default_domain, &self.default_domain),
            (&mut paths.delimiters, &self.delimiters),
        ] {
            if said.is_some() {
                kept.clone_from(said);
            }
        }
        if matches!(self.list, Some(ListText::None)) {
            paths.list = None;
        }
        if let Some(list) = self.parsed(paths.default_domain.as_deref())? {
            // First the list, then the digest that makes it the one of the case.
            case.write_json(LIST, &list)?;
            paths.list = Some(digest(&list)?);
        }
        if *paths != before {
            case.write_file(&file)?;
        }
        let rules = kept(case)?;
        Ok((file.accounts, rules))
    }
}

/// The rules of the case as they were given last.
pub(crate) fn kept(case: &Case) -> Result<AccountRules> {
    let paths = case.file()?.accounts;
    let mut rules = AccountRules::new(&paths.patterns, paths.default_domain.as_deref())?;
    if let Some(delimiters) = &paths.delimiters {
        rules = rules.with_delimiters(delimiters)?;
    }
    match list(case)? {
        Some(list) => Ok(rules.with_list(list)),
        None => Ok(rules),
    }
}

/// The list of accounts of the case, if it has one.
pub(crate) fn list(case: &Case) -> Result<Option<AccountList>> {
    let Some(wanted) = case.file()?.accounts.list else {
        return Ok(None);
    };
    let list: Option<AccountList> = case.read_json(LIST)?;
    match list {
        Some(list) if digest(&list)? == wanted => Ok(Some(list)),
        _ => Err(Usage::error(format!(
            "{LIST} in the case is not the list of accounts that case.json names; give the list \
             again with --accounts FILE, or --accounts {NONE} to go on without one"
        ))),
    }
}

fn digest(list: &AccountList) -> Result<String> {
    let text = serde_json::to_vec(list)?;
    Ok(blake3::hash(&text).to_hex().to_string())
}

fn read(path: &Path) -> Result<ListText> {
    if path == Path::new(NONE) {
        return Ok(ListText::None);
    }
    let shown = path.display().to_string();
    let wrap = || format!("the list of accounts {shown}");
    let file = fs::File::open(path).with_context(wrap)?;
    let mut bytes = Vec::new();
    file.take(MOST_BYTES.saturating_add(1))
        .read_to_end(&mut bytes)
        .with_context(wrap)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(Usage::error(format!(
            "{} has more than {MOST_BYTES} bytes, which is no list of accounts",
            wrap()
        )));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let before = error
            .as_bytes()
            .iter()
            .take(error.utf8_error().valid_up_to());
        let line = before.filter(|byte| **byte == b'\n').count() + 1;
        Usage::error(format!(
            "{}, line {line}: not UTF-8; write it in UTF-8, for example with `iconv -f latin1 -t \
             utf8`",
            wrap()
        ))
    })?;
    Ok(ListText::Text { path: shown, text })
}
