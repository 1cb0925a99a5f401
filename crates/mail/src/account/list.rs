//! What a person knows of the accounts: those that there are, their aliases, the domains.

mod parse;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::lookup::Lookup;
use super::{Address, Stage};

pub use parse::ListError;

/// The accounts that there are, the aliases that lead to them, and the domains.
///
/// A domain with a listed account has no others. One of which no account is listed admits all that
/// other evidence names in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Data", into = "Data")]
pub struct AccountList {
    accounts: Lookup,
    aliases: Lookup,
    targets: BTreeMap<Address, BTreeSet<Target>>,
    catch_alls: BTreeMap<String, BTreeSet<Target>>,
    domains: BTreeSet<String>,
    /// The domains with listed accounts.
    closed: BTreeSet<String>,
}

/// Where an alias leads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Target {
    /// An address, of an account or an alias.
    Address(Address),
    /// The same local part in another domain.
    Domain(String),
    /// What is no account: a program, a file, an address that is none here.
    Elsewhere(String),
}

/// An account list as it is kept.
#[derive(Clone, Serialize, Deserialize)]
struct Data {
    accounts: BTreeSet<Address>,
    aliases: BTreeMap<Address, BTreeSet<Target>>,
    catch_alls: BTreeMap<String, BTreeSet<Target>>,
    domains: BTreeSet<String>,
}

impl From<Data> for AccountList {
    fn from(data: Data) -> Self {
        let domain = |account: &Address| account.domain().to_owned();
        Self {
            closed: data.accounts.iter().map(domain).collect(),
            accounts: data.accounts.into_iter().collect(),
            aliases: data.aliases.keys().cloned().collect(),
            targets: data.aliases,
            catch_alls: data.catch_alls,
            domains: data.domains,
        }
    }
}

impl From<AccountList> for Data {
    fn from(list: AccountList) -> Self {
        Self {
            accounts: list.accounts.all().clone(),
            aliases: list.targets,
            catch_alls: list.catch_alls,
            domains: list.domains,
        }
    }
}

/// The accounts that mail to an address goes to.
#[derive(Debug, Default)]
pub(super) struct Reached {
    /// Those that are listed. Of several, two are enough to know that it is not one.
    pub(super) accounts: BTreeSet<Address>,
    /// Addresses in domains of which no account is listed.
    pub(super) open: BTreeSet<Address>,
}

impl AccountList {
    /// Reads a list; accounts without a domain are in `default_domain`.
    pub fn parse(text: &str, default_domain: Option<&str>) -> Result<Self, ListError> {
        parse::parse(text, default_domain)
    }

    /// The listed accounts.
    pub const fn accounts(&self) -> &BTreeSet<Address> {
        self.accounts.all()
    }

    /// How many aliases there are, catch-alls included.
    pub fn alias_count(&self) -> usize {
        self.targets.len().saturating_add(self.catch_alls.len())
    }

    /// The domains that are listed by themselves.
    pub const fn domains(&self) -> &BTreeSet<String> {
        &self.domains
    }

    /// The account that `account` is in the list, or itself if its domain admits all accounts.
    pub fn admit(&self, account: &Address) -> Option<Address> {
        if let Some(listed) = self.accounts.get(account) {
            return Some(listed.clone());
        }
        // The mailbox of an address that is an alias now was an account once: whose, nobody says.
        let is_open = self.is_open(account.domain()) && self.aliases.get(account).is_none();
        is_open.then(|| account.clone())
    }

    /// Whether all accounts of a domain are accounts.
    fn is_open(&self, domain: &str) -> bool {
        self.domains.contains(domain) && !self.closed.contains(domain)
    }

    /// The accounts that mail to `address` goes to, with details behind `delimiters`. An address
    /// that was written down after all aliases is an account's, if there is such an account.
    pub(super) fn reach(&self, address: &Address, delimiters: &str, stage: Stage) -> Reached {
        let mut reached = Reached::default();
        if stage == Stage::AfterAliases
            && let Some(account) = self.accounts.get_with_detail(address, delimiters)
        {
            reached.accounts.insert(account.clone());
            return reached;
        }
        let mut seen = BTreeSet::from([address.clone()]);
        let mut left = VecDeque::from([address.clone()]);
        while let Some(address) = left.pop_front() {
            if reached.accounts.len() > 1 {
                break;
            }
            let Some(targets) = self.next(&address, delimiters, &mut reached) else {
                continue;
            };
            for target in targets {
                let next = match target {
                    Target::Address(next) => next.clone(),
                    Target::Domain(domain) => match Address::new(address.local(), domain) {
                        Some(next) => next,
                        None => continue,
                    },
                    Target::Elsewhere(_) => continue,
                };
                if seen.insert(next.clone()) {
                    left.push_back(next);
                } else if let Some(account) = self.accounts.get(&next) {
                    // An alias that leads to itself too: a copy stays with the account.
                    reached.accounts.insert(account.clone());
                }
            }
        }
        reached
    }

    /// Where an alias leads from `address`; what is none is added to `reached`.
    fn next(
        &self,
        address: &Address,
        delimiters: &str,
        reached: &mut Reached,
    ) -> Option<&BTreeSet<Target>> {
        // As Postfix looks addresses up: virtual(5), "table search order".
        if let Some(alias) = self.aliases.get_with_detail(address, delimiters) {
            return self.targets.get(alias);
        }
        if let Some(account) = self.accounts.get_with_detail(address, delimiters) {
            reached.accounts.insert(account.clone());
            return None;
        }
        let catch_all = self.catch_alls.get(address.domain());
        if catch_all.is_none() && self.is_open(address.domain()) {
            reached.open.insert(address.clone());
        }
        catch_all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "\
# people
ada@x.example
bob@x.example
Carl@x.example
@open.example
# aliases
info@x.example -> ada@x.example
sales@x.example bob@x.example, ada@x.example
help@x.example info@x.example
bob@x.example bob@x.example, ada@x.example
gone@x.example -> gone@elsewhere.example
loop@x.example pool@x.example
pool@x.example loop@x.example
@catch.example ada@x.example
@twin.example @x.example
news@open.example -> dora@open.example
";

    fn reached(text: &str, stage: Stage) -> Vec<String> {
        let list = AccountList::parse(LIST, None).unwrap();
        let address = Address::parse(text).unwrap();
        let reached = list.reach(&address, "+", stage);
        let open = reached.open.iter().map(|address| format!("open {address}"));
        let accounts = reached.accounts.iter().map(ToString::to_string);
        accounts.chain(open).collect()
    }

    #[test]
    fn aliases_lead_to_accounts_and_to_no_others() {
        let ada: &[&str] = &["ada@x.example"];
        let table: [(&str, &[&str]); 15] = [
            ("ada@x.example", ada),
            ("ADA+x@X.example", ada),
            ("carl@x.example", &["Carl@x.example"]),
            ("info@x.example", ada),
            ("Info+x@x.example", ada),
            ("help@x.example", ada),
            ("sales@x.example", &["ada@x.example", "bob@x.example"]),
            ("bob@x.example", &["ada@x.example", "bob@x.example"]),
            ("gone@x.example", &[]),
            ("loop@x.example", &[]),
            ("who@catch.example", ada),
            ("ada@twin.example", ada),
            ("eve@open.example", &["open eve@open.example"]),
            ("news@open.example", &["open dora@open.example"]),
            ("eve@y.example", &[]),
        ];
        for (text, want) in table {
            assert_eq!(reached(text, Stage::BeforeAliases), want, "{text}");
        }
        assert_eq!(
            reached("bob@x.example", Stage::AfterAliases),
            ["bob@x.example"]
        );
        assert_eq!(reached("info@x.example", Stage::AfterAliases), ada);
    }

    #[test]
    fn a_mailbox_is_admitted_by_its_own_name_only() {
        let list = AccountList::parse(LIST, None).unwrap();
        let table = [
            ("Ada@x.example", Some("ada@x.example")),
            ("info@x.example", None),
            ("ada+x@x.example", None),
            ("eve@open.example", Some("eve@open.example")),
            ("news@open.example", None),
            ("eve@y.example", None),
        ];
        for (text, want) in table {
            let got = list.admit(&Address::parse(text).unwrap());
            assert_eq!(got.map(|a| a.to_string()).as_deref(), want, "{text}");
        }
    }

    #[test]
    fn what_is_kept_of_a_list_is_the_list() {
        let list = AccountList::parse(LIST, None).unwrap();
        let text = serde_json::to_string(&list).unwrap();
        assert_eq!(serde_json::from_str::<AccountList>(&text).unwrap(), list);
    }
}
