//! Whose mail it is: accounts and the evidence for them.
//!
//! An [`Address`] is an account, or leads to one. [`AccountRules`] say which account a path names;
//! an [`AccountList`] is what a person knows of the accounts, and [`Accounts`] put that together
//! with those that were found: they say which account mail to an address goes to.

mod accounts;
mod address;
mod list;
mod lookup;
mod path;

use serde::{Deserialize, Serialize};

pub use accounts::{Accounts, Nobody, Stage};
pub use address::Address;
pub use list::{AccountList, ListError};
pub use path::{AccountRules, PathPattern, RulesError};

/// An account and what says that something is its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The account.
    pub account: Address,
    /// The evidence, in words.
    pub evidence: String,
}
