//! Finding an address among others as mail servers do: whatever its case, and without its detail.

use std::collections::{BTreeMap, BTreeSet};

use super::Address;

/// A set of addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lookup {
    exact: BTreeSet<Address>,
    /// By the address in lower case; `None` where several differ in nothing else.
    folded: BTreeMap<String, Option<Address>>,
}

impl Lookup {
    pub(super) fn insert(&mut self, address: Address) {
        if !self.exact.insert(address.clone()) {
            return;
        }
        self.folded
            .entry(folded(&address))
            .and_modify(|one| *one = None)
            .or_insert(Some(address));
    }

    pub(super) const fn all(&self) -> &BTreeSet<Address> {
        &self.exact
    }

    /// The address as it stands here: the same, or the only one that differs in case alone.
    pub(super) fn get(&self, address: &Address) -> Option<&Address> {
        self.exact
            .get(address)
            .or_else(|| self.folded.get(&folded(address))?.as_ref())
    }

    /// The same, or else the only one that `address` is with a detail behind one of `delimiters`.
    ///
    /// With `-` among them, `mary-ann-lists` may be of `mary` or of `mary-ann`: if both are here, it
    /// is nobody's.
    pub(super) fn get_with_detail(&self, address: &Address, delimiters: &str) -> Option<&Address> {
        if let Some(same) = self.get(address) {
            return Some(same);
        }
        let places = address.local().char_indices();
        let places = places.filter(|(_, c)| delimiters.contains(*c));
        let mut found = places.filter_map(|(at, _)| self.get(&address.until(at)?));
        let first = found.next()?;
        found.all(|other| other == first).then_some(first)
    }
}

impl FromIterator<Address> for Lookup {
    fn from_iter<I: IntoIterator<Item = Address>>(addresses: I) -> Self {
        let mut lookup = Self::default();
        for address in addresses {
            lookup.insert(address);
        }
        lookup
    }
}

fn folded(address: &Address) -> String {
    format!("{}@{}", address.local().to_lowercase(), address.domain())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    #[test]
    fn case_and_detail_are_looked_through_only_if_one_address_is_left() {
        let all = [
            "ada@x.example",
            "Bob@x.example",
            "bob@x.example",
            "mary@x.example",
            "mary-ann@x.example",
            "c+d@x.example",
            "c@x.example",
            "\u{d6}zil@x.example",
        ];
        let lookup: Lookup = all.iter().map(|text| address(text)).collect();
        let table = [
            ("ada@x.example", "+", Some("ada@x.example")),
            ("ADA@X.example", "+", Some("ada@x.example")),
            ("Ada+a+b@x.example", "+", Some("ada@x.example")),
            ("ada-a@x.example", "+", None),
            ("ada-a@x.example", "+-", Some("ada@x.example")),
            ("ada+a@x.example", "", None),
            ("ada@y.example", "+", None),
            ("bob@x.example", "+", Some("bob@x.example")),
            ("BOB@x.example", "+", None),
            ("mary-ann-lists@x.example", "-", None),
            ("mary-lists@x.example", "-", Some("mary@x.example")),
            ("c+d@x.example", "+", Some("c+d@x.example")),
            ("c+d+e@x.example", "+", None),
            ("+a@x.example", "+", None),
            ("\u{f6}zil+a@x.example", "+", Some("\u{d6}zil@x.example")),
        ];
        for (text, delimiters, want) in table {
            let got = lookup.get_with_detail(&address(text), delimiters);
            let got = got.map(ToString::to_string);
            assert_eq!(got.as_deref(), want, "{text} {delimiters}");
        }
    }
}
