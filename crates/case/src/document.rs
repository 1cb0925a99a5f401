//! `case.json`: the evidence and who wrote the case.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The format of the case that this program writes and reads.
pub const FORMAT: u64 = 1;

/// The contents of `case.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseFile {
    /// [`FORMAT`].
    pub format: u64,
    /// The program and version that began the case.
    pub program: String,
    /// The evidence, by the names that the rest of the case uses.
    pub evidence: BTreeMap<String, EvidenceRecord>,
    /// How paths name accounts, if a person said so.
    #[serde(default)]
    pub accounts: AccountPaths,
}

/// How paths name accounts, where a person said so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountPaths {
    /// The patterns, in their order; without any the built-in ones are tried.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub patterns: Vec<String>,
    /// The domain of accounts whose path names only a local part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_domain: Option<String>,
    /// The characters between an account and a detail, such as `+`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delimiters: Option<String>,
    /// BLAKE3 of the list of accounts, which the case keeps beside this file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<String>,
}

impl CaseFile {
    /// A case without evidence.
    pub(crate) fn new() -> Self {
        Self {
            format: FORMAT,
            program: concat!("restante ", env!("CARGO_PKG_VERSION")).to_owned(),
            evidence: BTreeMap::new(),
            accounts: AccountPaths::default(),
        }
    }
}

/// One disk that was given as evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceRecord {
    /// Where its image is.
    pub path: PathBuf,
    /// How it is kept: `raw`, `split`, `device`, or the container that it lies in, such as `ewf`.
    pub format: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// The ddrescue mapfile beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mapfile: Option<PathBuf>,
    /// How many bytes the mapfile says were not rescued.
    #[serde(default)]
    pub not_rescued: u64,
    /// BLAKE3 of the list of areas that were not rescued: another mapfile is other evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_rescued_digest: Option<String>,
    /// When its file was last changed, in nanoseconds since 1970, as it was added. As long as
    /// that and its length stay, it is believed to be the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified_ns: Option<u64>,
    /// What a person should know of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// BLAKE3 of its contents, in hexadecimal, once it was read to the end. Bytes that could
    /// not be read count as zeros; `unread` says how many there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blake3: Option<String>,
    /// SHA-256 of the same, if it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// How many of its bytes could not be read.
    #[serde(default)]
    pub unread: u64,
    /// What its container says of itself, if it is kept in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerRecord>,
}

/// What the container of an image says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// Sizes and the like, for people.
    pub facts: BTreeMap<String, String>,
    /// The hashes of the contents that are stored in it, by their kind: `md5`, `sha1`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hashes: BTreeMap<String, StoredHash>,
}

/// A hash that is stored in a container, and what its contents hash to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredHash {
    /// What is stored, in hexadecimal.
    pub stored: String,
    /// What the contents hash to now, bytes that could not be read as zeros; not known before they
    /// were hashed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub computed: Option<String>,
    /// Whether the two agree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agrees: Option<bool>,
}
