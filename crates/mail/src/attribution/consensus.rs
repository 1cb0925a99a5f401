//! What the messages of a mailbox say of its account, by what servers wrote on top of them.

use std::collections::BTreeMap;

use super::{server_of_most, stage};
use crate::account::{Accounts, Address, Nobody};
use crate::delivery::{Field, Trace, server_of};

/// So many messages must name an account that is to be believed on their word.
const LEAST: usize = 3;
/// So many, where the name of a directory says the same.
const LEAST_WITH_PATH: usize = 2;

/// What the messages of a mailbox say of the account.
#[derive(Debug, Default)]
pub(crate) struct Consensus {
    muted: bool,
    /// How often each address is named in which field, and by which server.
    to: BTreeMap<(Address, Field, Option<String>), usize>,
    /// How much mail each server put into it, by its own words.
    servers: BTreeMap<String, usize>,
    /// How many messages name several recipients.
    split: usize,
    /// Senders of mail without a trace.
    from: BTreeMap<Address, usize>,
    /// How much mail has no trace.
    untraced: usize,
    /// How many messages were read.
    all: usize,
}

/// How an account is named.
#[derive(Debug)]
struct Sum {
    count: usize,
    /// How often by a server that others of the accounts are served by.
    by_own_server: usize,
    /// Whether each time in `Delivered-To`.
    is_final: bool,
    /// Whether something else names it.
    is_known: bool,
    /// Why it is none.
    ruled_out: Option<String>,
}

/// What a consensus comes to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Agreed {
    /// It names this account, and how.
    On(Address, String),
    /// Messages name several, in words.
    Split(String),
    /// Too few say anything.
    Nothing,
}

impl Consensus {
    /// One that reads no headers.
    pub(super) fn muted() -> Self {
        Self {
            muted: true,
            ..Self::default()
        }
    }

    /// Adds a message.
    pub(crate) fn add(&mut self, content: &[u8]) {
        self.add_one_of(content, 1);
    }

    /// Adds a message that was taken of so many.
    pub(super) fn add_one_of(&mut self, content: &[u8], many: usize) {
        let Some(trace) = Some(content).filter(|_| !self.muted).and_then(Trace::of) else {
            return;
        };
        self.all = self.all.saturating_add(1);
        match trace {
            Trace::To(address, field) => {
                let server = server_of(content);
                if let Some(server) = server.clone().filter(|_| field == Field::DeliveredTo) {
                    let sum = self.servers.entry(server).or_default();
                    *sum = sum.saturating_add(many);
                }
                let said = (address, field, server);
                let count = self.to.entry(said).or_default();
                *count = count.saturating_add(1);
            }
            // It names somebody, and not whom the others name.
            Trace::Split(_) => self.split = self.split.saturating_add(1),
            Trace::Silent => {}
            Trace::From(from) => {
                self.untraced = self.untraced.saturating_add(1);
                if let Some(from) = from {
                    let count = self.from.entry(from).or_default();
                    *count = count.saturating_add(1);
                }
            }
        }
    }

    /// The account that the traces name; `local` is what is left of the path as the name of a mailbox
    /// without its domain.
    ///
    /// Nine of ten messages that name anybody must name it, and so must three, or all if there are
    /// fewer. An account that nothing else names may be an alias of another one, so it is
    /// believed only by three, two if `local` is its name, and if each has it in `Delivered-To`, which
    /// stands behind all aliases, and in a domain of which others are known, if any are, or by a server
    /// that puts mail into these mailboxes, if one is known.
    ///
    /// Mail that somebody kept from elsewhere bears the words of other servers. Where messages name
    /// several, those count that the server names which delivered most of them.
    pub(crate) fn agreed(&self, accounts: &Accounts, local: Option<&str>) -> Agreed {
        let all = self.by(accounts, local, |_| true);
        let (Agreed::Split(_), Some(server)) = (&all, self.server()) else {
            return all;
        };
        match self.by(accounts, local, |by| by == Some(server)) {
            Agreed::On(account, how) => Agreed::On(account, format!("{how} by {server}")),
            Agreed::Split(_) | Agreed::Nothing => all,
        }
    }

    /// The server that delivered more than half of the mail that names a recipient.
    fn server(&self) -> Option<&str> {
        let mut servers: BTreeMap<&str, usize> = BTreeMap::new();
        for ((_, _, server), count) in &self.to {
            if let Some(server) = server {
                *servers.entry(server).or_default() += count;
            }
        }
        let all: usize = self.to.values().sum::<usize>().saturating_add(self.split);
        let (server, count) = servers.into_iter().max_by_key(|(_, count)| *count)?;
        (count.saturating_mul(2) > all).then_some(server)
    }

    /// The server that delivered more than half of what these say that was delivered, where no path says
    /// whose they are: mail that was kept from elsewhere is not the most of it.
    pub(super) fn server_of_all<'c>(all: impl Iterator<Item = &'c Self>) -> Option<String> {
        let servers = all.flat_map(|one| &one.servers);
        server_of_most(servers.map(|(server, count)| (server.as_str(), *count)))
    }

    /// The account that the traces name which a server wrote that `counts`.
    fn by(
        &self,
        accounts: &Accounts,
        local: Option<&str>,
        counts: impl Fn(Option<&str>) -> bool,
    ) -> Agreed {
        let said = || {
            let all = self.to.iter();
            all.filter(|((_, _, server), _)| counts(server.as_deref()))
        };
        let named = said().map(|(_, count)| *count).sum::<usize>();
        let named = named.saturating_add(self.split);
        let mut sums: BTreeMap<Address, Sum> = BTreeMap::new();
        for ((address, field, server), count) in said() {
            let final_ = *field == Field::DeliveredTo;
            let (account, is_known, ruled_out) = match accounts.whose(address, stage(*field)) {
                Ok(account) => (Some(account), true, None),
                Err(Nobody::Unknown) => (accounts.without_detail(address), false, None),
                Err(Nobody::RuledOut(why)) => (Some(address.clone()), false, Some(why)),
            };
            let Some(account) = account else { continue };
            let sum = sums.entry(account).or_insert(Sum {
                count: 0,
                by_own_server: 0,
                is_final: true,
                is_known,
                ruled_out,
            });
            sum.count = sum.count.saturating_add(*count);
            if server
                .as_deref()
                .is_some_and(|server| accounts.are_served_by(server))
            {
                sum.by_own_server = sum.by_own_server.saturating_add(*count);
            }
            sum.is_final &= final_;
        }
        let Some((account, sum)) = sums
            .iter()
            .max_by_key(|(address, sum)| (sum.count, std::cmp::Reverse(*address)))
        else {
            return Agreed::Nothing;
        };
        if sum.count.saturating_mul(10) < named.saturating_mul(9) {
            return if named >= LEAST {
                Agreed::Split(self.sides(sums.iter().map(|(a, sum)| (a, sum.count))))
            } else {
                Agreed::Nothing
            };
        }
        if let Some(why) = &sum.ruled_out {
            return Agreed::Split(format!(
                "{} of its {} messages were delivered to it, but {why}",
                sum.count, self.all
            ));
        }
        let is_path = local.is_some_and(|local| local.eq_ignore_ascii_case(account.local()));
        let least = if is_path { LEAST_WITH_PATH } else { LEAST };
        let known = accounts.all();
        let domain = accounts.are_unknown()
            || known.iter().any(|one| one.domain() == account.domain())
            || sum.by_own_server >= least;
        let enough = sum.count >= least || (sum.count == self.all && sum.is_known);
        if enough && (sum.is_known || (sum.is_final && domain && sum.count >= least)) {
            let how = format!(
                "{} of its {} messages were delivered to it",
                sum.count, self.all
            );
            return Agreed::On(account.clone(), how);
        }
        Agreed::Nothing
    }

    /// The two addresses that are named most.
    fn sides<'s>(&self, sums: impl Iterator<Item = (&'s Address, usize)>) -> String {
        let mut sums: Vec<(&Address, usize)> = sums.collect();
        sums.sort_by_key(|(address, count)| (std::cmp::Reverse(*count), *address));
        let sides = sums.iter().take(2);
        let sides = sides.map(|(address, count)| format!("{count} to {address}"));
        let sides: Vec<String> = sides.collect();
        format!(
            "of its {} messages were delivered {}",
            self.all,
            sides.join(", ")
        )
    }

    /// The account that wrote the mail, if none of it was delivered.
    pub(super) fn sender(&self, accounts: &Accounts) -> Option<(Address, String)> {
        let (from, count) = self.from.iter().max_by_key(|(_, count)| **count)?;
        let account = accounts.sender(from)?;
        let all_untraced = self.untraced == self.all;
        let most = count.saturating_mul(10) >= self.all.saturating_mul(9);
        let enough = *count >= LEAST && all_untraced && most;
        enough.then(|| {
            let how = format!(
                "it is the sender of {count} of its {} messages, none of which was delivered",
                self.all
            );
            (account.clone(), how)
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::account::AccountRules;

    pub(in crate::attribution) fn known(names: &[&str]) -> Accounts {
        let mut accounts = Accounts::new(&AccountRules::default());
        for name in names {
            accounts.add(Address::parse(name).unwrap());
        }
        accounts
    }

    pub(in crate::attribution) fn consensus(to: &[&str]) -> Consensus {
        let mut consensus = Consensus::default();
        for address in to {
            consensus.add(format!("Delivered-To: {address}\nFrom: x@y.example\n\n").as_bytes());
        }
        consensus
    }

    fn on(agreed: Agreed) -> Option<String> {
        match agreed {
            Agreed::On(account, _) => Some(account.to_string()),
            _ => None,
        }
    }

    #[test]
    fn nine_of_ten_and_three_at_least_must_name_the_account() {
        let all = known(&["ada@x.example", "bob@x.example"]);
        let agreed = |to: &[&str]| on(consensus(to).agreed(&all, None));
        let ada = "ada@x.example";
        assert_eq!(agreed(&[ada; 3]).as_deref(), Some(ada));
        assert_eq!(agreed(&[ada]).as_deref(), Some(ada));
        let mut mixed = vec![ada; 9];
        mixed.push("bob@x.example");
        assert_eq!(agreed(&mixed).as_deref(), Some(ada));
        mixed.pop();
        mixed.extend(["bob@x.example"; 2]);
        assert_eq!(agreed(&mixed), None);
        assert!(matches!(
            consensus(&mixed).agreed(&all, None),
            Agreed::Split(_)
        ));
        assert_eq!(
            agreed(&["ada+lists@x.example", "Ada@x.example", ada]).as_deref(),
            Some(ada)
        );
    }

    #[test]
    fn mail_that_was_kept_from_elsewhere_does_not_split_a_mailbox() {
        let all = known(&["ada@x.example"]);
        let mail = |to: &str, by: &str| {
            format!(
                "Delivered-To: {to}\nReceived: from a by {by};\n\tMon, 1 Jan 2024 00:00:00 +0000\n\nhi\n"
            )
        };
        let mailbox = |mails: &[(&str, &str)], local: Option<&str>| {
            let mut consensus = Consensus::default();
            for (to, by) in mails {
                consensus.add(mail(to, by).as_bytes());
            }
            on(consensus.agreed(&all, local))
        };
        let (own, bo) = ("imap.x.example", "bo@x.example");
        let kept = ("list@z.example", "mx.z.example");
        let three = [(bo, own), (bo, own), (bo, own), kept];
        assert_eq!(mailbox(&three, None).as_deref(), Some(bo));
        // Two are enough with the name of a directory, and of another server they are too few.
        assert_eq!(mailbox(&three[1..], None), None);
        assert_eq!(mailbox(&three[1..], Some("bo")).as_deref(), Some(bo));
        assert_eq!(mailbox(&three[1..], Some("cy")), None);
        assert_eq!(mailbox(&three[2..], Some("bo")), None);
        // What the same server delivered to somebody else is a contradiction.
        let two = [(bo, own), (bo, own), (bo, own), ("cy@x.example", own)];
        assert_eq!(mailbox(&two, Some("bo")), None);
    }

    #[test]
    fn whom_the_server_of_the_others_names_is_one_of_them() {
        let mut all = known(&["ada@x.example"]);
        let of = |server: &str| {
            let mut consensus = Consensus::default();
            for number in 0..3 {
                let mail = format!(
                    "Delivered-To: bo@y.example\nReceived: from a by {server};\n\tMon, 1 Jan 2024 00:00:0{number} +0000\n\nhi\n"
                );
                consensus.add(mail.as_bytes());
            }
            consensus
        };
        let (own, other) = ("imap.x.example", "mx.z.example");
        assert_eq!(on(of(own).agreed(&all, None)), None);
        // Any machine calls itself so.
        for name in ["localhost", "localhost.localdomain", "mail"] {
            all.add_server(name.to_owned());
            assert_eq!(on(of(name).agreed(&all, None)), None);
        }
        all.add_server(own.to_owned());
        assert_eq!(
            on(of(own).agreed(&all, None)).as_deref(),
            Some("bo@y.example")
        );
        assert_eq!(on(of(other).agreed(&all, None)), None);
    }

    #[test]
    fn where_no_path_is_left_the_server_of_most_mail_names_the_accounts() {
        let of = |to: &str, server: &str| {
            let mut consensus = Consensus::default();
            for _ in 0..3 {
                consensus.add(
                    format!("Delivered-To: {to}\nReceived: from a by {server}; x\n\n").as_bytes(),
                );
            }
            consensus
        };
        let own = ["bo@y.example", "cy@z.example"].map(|to| of(to, "imap.x.example"));
        let kept = of("me@old.example", "mx.old.example");
        let mut all = known(&[]);
        assert!(on(kept.agreed(&all, None)).is_some());
        assert_eq!(Consensus::server_of_all([&own[0], &kept].into_iter()), None);
        let server = Consensus::server_of_all(own.iter().chain([&kept])).unwrap();
        assert_eq!(server, "imap.x.example");
        all.add_server(server);
        assert_eq!(on(kept.agreed(&all, None)), None);
        for (one, account) in own.iter().zip(["bo@y.example", "cy@z.example"]) {
            assert_eq!(on(one.agreed(&all, None)).as_deref(), Some(account));
        }
    }

    #[test]
    fn an_address_that_may_be_an_alias_is_no_account() {
        let all = known(&["ada@x.example"]);
        let sales = "sales@x.example";
        assert_eq!(on(consensus(&[sales]).agreed(&all, None)), None);
        assert_eq!(
            on(consensus(&[sales; 3]).agreed(&all, None)).as_deref(),
            Some(sales)
        );
        assert_eq!(
            on(consensus(&["list@z.example"; 3]).agreed(&all, None)),
            None
        );
        let mut before_aliases = Consensus::default();
        for _ in 0..5 {
            before_aliases.add(b"X-Original-To: sales@x.example\nReceived: from a by b; x\n\n");
        }
        assert_eq!(on(before_aliases.agreed(&all, None)), None);
        assert_eq!(
            on(before_aliases.agreed(&known(&[sales]), None)).as_deref(),
            Some(sales)
        );
    }

    #[test]
    fn a_sender_counts_only_for_mail_that_nobody_delivered() {
        let all = known(&["ada@x.example"]);
        let mut sent = Consensus::default();
        for _ in 0..3 {
            sent.add(b"From: Ada <ada@x.example>\nTo: b@y.example\n\n");
        }
        assert_eq!(
            sent.sender(&all).map(|(a, _)| a.to_string()).as_deref(),
            Some("ada@x.example")
        );
        assert_eq!(sent.sender(&known(&["bob@x.example"])), None);
        sent.add(b"Received: from a by b; x\nFrom: ada@x.example\n\n");
        assert_eq!(sent.sender(&all), None);
    }
}
