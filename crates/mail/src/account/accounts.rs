//! The accounts that there are, as far as is known, and which of them an address leads to.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::lookup::Lookup;
use super::{AccountList, AccountRules, Address};

/// The accounts that evidence names, and what a person said of them.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    known: Lookup,
    list: Option<Arc<AccountList>>,
    /// The characters that may stand between an account and a detail.
    delimiters: String,
    /// The servers that put mail into their mailboxes.
    servers: BTreeSet<String>,
}

/// Whether an address was written down before or after the server put accounts for aliases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// As the sender wrote it.
    BeforeAliases,
    /// As the mailbox is called.
    AfterAliases,
}

/// Why an address leads to no account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nobody {
    /// Nothing else names an account that it could be.
    Unknown,
    /// What a person said of the accounts rules it out: why, in words.
    RuledOut(String),
}

impl Accounts {
    /// No accounts but those that a person listed.
    pub fn new(rules: &AccountRules) -> Self {
        let listed = rules.list().map(|list| list.accounts().clone());
        Self {
            known: listed.into_iter().flatten().collect(),
            list: rules.list().cloned(),
            delimiters: rules.delimiters().to_owned(),
            servers: BTreeSet::new(),
        }
    }

    /// Adds a server that puts mail into these mailboxes; not by a name that any machine has for itself.
    pub(crate) fn add_server(&mut self, name: String) {
        let is_own = name.starts_with("localhost") || name.starts_with("127.");
        if name.contains('.') && !is_own {
            self.servers.insert(name);
        }
    }

    /// Sets the server that put most mail into these mailboxes, whatever it calls itself: who was served by
    /// another one has another name for it.
    pub(crate) fn set_server(&mut self, name: String) {
        self.servers = BTreeSet::from([name]);
    }

    /// Whether a server puts mail into these mailboxes: whoever it names as the
    /// last one to have it is one of theirs, also in a domain of which none is known.
    pub(crate) fn are_served_by(&self, name: &str) -> bool {
        self.servers.contains(name)
    }

    /// Whether nothing is known that a further account could be measured by: no account, and no server.
    pub(crate) fn are_unknown(&self) -> bool {
        self.all().is_empty() && self.servers.is_empty()
    }

    /// Adds an account that evidence names, if the list does not rule it out.
    pub fn add(&mut self, account: Address) {
        let admitted = match &self.list {
            Some(list) => list.admit(&account),
            None => Some(account),
        };
        if let Some(account) = admitted {
            self.known.insert(account);
        }
    }

    /// All of them.
    pub const fn all(&self) -> &BTreeSet<Address> {
        self.known.all()
    }

    /// Whether a person listed accounts.
    pub const fn are_listed(&self) -> bool {
        self.list.is_some()
    }

    /// The account that mail to `address` goes to: itself, whatever the case of its local part, or
    /// without its detail; and through aliases, where they are known.
    pub fn whose(&self, address: &Address, stage: Stage) -> Result<Address, Nobody> {
        let Some(list) = &self.list else {
            let found = self.known.get_with_detail(address, &self.delimiters);
            return found.cloned().ok_or(Nobody::Unknown);
        };
        let reached = list.reach(address, &self.delimiters, stage);
        let mut accounts = reached.accounts;
        // Where all accounts of a domain are admitted, an address may be one that nothing names.
        let mut unknown = 0_usize;
        for open in &reached.open {
            match self.known.get_with_detail(open, &self.delimiters) {
                Some(known) => {
                    accounts.insert(known.clone());
                }
                None => unknown = unknown.saturating_add(1),
            }
        }
        let several = accounts.len().saturating_add(unknown) > 1;
        match accounts.pop_first() {
            Some(account) if !several => Ok(account),
            None if unknown == 1 => Err(Nobody::Unknown),
            None if !several => Err(Nobody::RuledOut(format!(
                "{address} is not in the list of accounts"
            ))),
            _ => Err(Nobody::RuledOut(format!(
                "{address} is an alias of several accounts"
            ))),
        }
    }

    /// The account that a sender is, whatever the case of its local part: an alias may be several
    /// people's.
    pub fn sender(&self, from: &Address) -> Option<&Address> {
        self.known.get(from)
    }

    /// An address without its detail: the account that it would be, if it is one.
    pub fn without_detail(&self, address: &Address) -> Option<Address> {
        match address.local().find(|c| self.delimiters.contains(c)) {
            Some(at) => address.until(at),
            None => Some(address.clone()),
        }
    }

    /// Whether mail to `address` may be that of `account`, as far as case and detail go.
    pub fn is_same(&self, address: &Address, account: &Address) -> bool {
        let one: Lookup = std::iter::once(account.clone()).collect();
        one.get_with_detail(address, &self.delimiters).is_some()
            || self
                .whose(address, Stage::AfterAliases)
                .is_ok_and(|found| found == *account)
    }
}
