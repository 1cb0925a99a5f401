//! Where things came from, and what could not be had.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{ByteOffset, GapCause};

/// Where something was found: a disk, group or volume by its name in the case, and an offset in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// The name of the disk, group or volume.
    pub source: String,
    /// The offset in it, in bytes.
    pub offset: ByteOffset,
}

impl Origin {
    /// The place at `offset` of `source`.
    pub fn new(source: impl Into<String>, offset: ByteOffset) -> Self {
        Self {
            source: source.into(),
            offset,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.source, self.offset)
    }
}

/// Why something could not be had.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", content = "detail")]
pub enum Cause {
    /// The bytes could not be read.
    Gap(GapCause),
    /// The bytes were read and contradict themselves: what is wrong with them.
    Corrupt(String),
    /// The bytes are fine, but `restante` cannot read this yet: what it is.
    Unsupported(String),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gap(gap) => f.write_str(gap.describe()),
            Self::Corrupt(what) => write!(f, "damaged: {what}"),
            Self::Unsupported(what) => write!(f, "not supported: {what}"),
        }
    }
}

/// Something that could not be had. A walk returns what it got and a list of these.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Loss {
    /// What is lost, in words: `directory block`, `inode 4711`, `segment 3 of mail1`.
    pub what: String,
    /// Where it should have been.
    pub origin: Origin,
    /// Why it could not be had.
    pub cause: Cause,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}: {}", self.what, self.origin, self.cause)
    }
}
