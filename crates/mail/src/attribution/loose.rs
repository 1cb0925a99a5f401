//! Whose single messages are: of which no directory is left, and nothing but their own header
//! says anything.

use std::collections::BTreeMap;

use crate::account::{Accounts, Address, Nobody, Owner, Stage};
use crate::delivery::{Field, Trace, server_of};

use super::{server_of_most, stage};

/// What the header of a message says of its delivery.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) trace: Option<Trace>,
    /// The server that wrote the topmost `Received`.
    server: Option<String>,
}

impl Delivery {
    /// What this one says: the content of a message, or as much of it as its header has.
    pub(crate) fn of(content: &[u8]) -> Self {
        Self {
            trace: Trace::of(content),
            server: server_of(content),
        }
    }

    /// Where it was delivered to, if it says so in the field that stands behind all aliases.
    pub(crate) const fn to(&self) -> Option<&Address> {
        match &self.trace {
            Some(Trace::To(address, Field::DeliveredTo)) => Some(address),
            _ => None,
        }
    }
}

/// The accounts that single messages may be given to.
#[derive(Clone, Debug)]
pub struct Local {
    /// Those that something else names.
    known: Accounts,
    /// These, and those that the server puts mail into.
    accounts: Accounts,
    /// The server that delivered the most of the mail, if it is clear.
    server: Option<String>,
}

/// Whose a message is that only its own header says something of; or, in words, why nobody's though
/// it names somebody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// The account, and what says so.
    pub owner: Option<Owner>,
    /// What speaks against the account that something names.
    pub doubt: Option<String>,
}

impl Local {
    /// The accounts that are `known`, and those that `delivered` mail went to by the server that
    /// delivered most of it: of what differs in case and detail alone, the spelling that is there
    /// most often.
    pub(crate) fn new<'d>(
        known: &Accounts,
        delivered: impl Iterator<Item = &'d Delivery> + Clone,
    ) -> Self {
        let traced = delivered.clone().filter(|one| one.to().is_some());
        let server = server_of_most(traced.filter_map(|one| Some((one.server.as_deref()?, 1))));
        let mut accounts = known.clone();
        if let Some(server) = server.clone().filter(|_| known.are_unknown()) {
            accounts.set_server(server);
        }
        let own = delivered.filter(|one| server.is_some() && one.server == server);
        let mut counts: BTreeMap<Address, usize> = BTreeMap::new();
        for account in own.filter_map(|one| known.without_detail(one.to()?)) {
            *counts.entry(account).or_default() += 1;
        }
        let mut counts: Vec<(Address, usize)> = counts.into_iter().collect();
        counts.sort_by(|(a, x), (b, y)| (std::cmp::Reverse(x), a).cmp(&(std::cmp::Reverse(y), b)));
        for (account, _) in counts {
            if accounts.whose(&account, Stage::AfterAliases) == Err(Nobody::Unknown) {
                accounts.add(account);
            }
        }
        Self {
            known: known.clone(),
            accounts,
            server,
        }
    }

    /// All of them.
    pub(crate) const fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// The owner of a message, by its own trace: the account that the server of these mailboxes put
    /// it into, one that something else names, or the one that wrote what nobody delivered.
    pub(crate) fn owner(&self, delivery: &Delivery) -> Judged {
        let server = self.server.as_deref();
        let by = server.filter(|_| delivery.server.as_deref() == server);
        match &delivery.trace {
            Some(Trace::To(address, field)) => match by {
                Some(server) => delivered_to(address, *field, &self.accounts, |account| {
                    format!(
                        "its own header names {account} in {}, written by {server}, which delivered \
                         most of the mail that lies here",
                        field.name()
                    )
                }),
                None => delivered_to(address, *field, &self.known, |_| {
                    format!(
                        "its own header names {address} in {}; nothing else of its path is left",
                        field.name()
                    )
                }),
            },
            Some(Trace::Split(sides)) => Judged {
                owner: None,
                doubt: Some(format!("its own header names {sides}")),
            },
            Some(Trace::From(Some(from))) => Judged {
                owner: self.accounts.sender(from).map(|account| Owner {
                    account: account.clone(),
                    evidence: format!(
                        "no server delivered it, and {account}, an account here, wrote it"
                    ),
                }),
                doubt: None,
            },
            Some(Trace::From(None) | Trace::Silent) | None => Judged::default(),
        }
    }
}

/// Whose a message is that a server delivered to `address`, as it wrote in `field`.
fn delivered_to(
    address: &Address,
    field: Field,
    accounts: &Accounts,
    evidence: impl Fn(&Address) -> String,
) -> Judged {
    match accounts.whose(address, stage(field)) {
        Ok(account) => Judged {
            owner: Some(Owner {
                evidence: evidence(&account),
                account,
            }),
            doubt: None,
        },
        Err(Nobody::Unknown) => Judged::default(),
        Err(Nobody::RuledOut(why)) => Judged {
            owner: None,
            doubt: Some(format!(
                "its own header names {address} in {}, but {why}",
                field.name()
            )),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::consensus::tests::known;
    use super::*;

    /// Whose a message is, among others that were delivered.
    fn owner(message: &str, others: &[&str], names: &[&str]) -> Option<String> {
        let others: Vec<Delivery> = others
            .iter()
            .map(|it| Delivery::of(it.as_bytes()))
            .collect();
        let local = Local::new(&known(names), others.iter());
        let owner = local.owner(&Delivery::of(message.as_bytes())).owner;
        owner.map(|owner| owner.account.to_string())
    }

    fn mail(to: &str, by: &str) -> String {
        format!(
            "Delivered-To: {to}\nReceived: from a by {by};\n\tMon, 1 Jan 2024 00:00:00 +0000\n\nhi\n"
        )
    }

    #[test]
    fn a_message_needs_an_account_that_something_else_names() {
        let message = "Delivered-To: ada+x@x.example\nFrom: b@y.example\n\nhi\n";
        let ada = "ada@x.example";
        assert_eq!(owner(message, &[], &[ada]).as_deref(), Some(ada));
        assert_eq!(owner(message, &[], &["bob@x.example"]), None);
        // What nobody delivered is its sender's, if that is one of them.
        let sent = "From: ada@x.example\n\nhi\n";
        assert_eq!(owner(sent, &[], &[ada]).as_deref(), Some(ada));
        assert_eq!(owner(sent, &[], &["bob@x.example"]), None);
    }

    #[test]
    fn the_server_that_delivered_most_names_accounts() {
        let (ada, bob) = ("ada@x.example", "bob@x.example");
        let own = [ada, ada, bob].map(|to| mail(to, "imap.x.example"));
        let kept = [
            mail("cy@z.example", "mx.z.example"),
            mail(bob, "mx.z.example"),
        ];
        let all: Vec<&str> = own.iter().chain(&kept).map(String::as_str).collect();
        assert_eq!(owner(&own[2], &all, &[]).as_deref(), Some(bob));
        // What another server wrote names nobody, unless something else does too.
        for message in &kept {
            assert_eq!(owner(message, &all, &[]), None);
        }
        assert_eq!(owner(&kept[1], &all, &[bob]).as_deref(), Some(bob));
        // Too few say who it is.
        assert_eq!(owner(&own[2], &all[1..3], &[]), None);
        assert_eq!(owner(&own[2], &all[1..], &[]), None);
    }
}
