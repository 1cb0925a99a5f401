//! Messages of an mbox that lies somewhere on a device, outside of any file that is known.

use std::ops::Range;

use evidence::ReadAt;
use filesystem::{Extent, Place};

use super::scan::scan;
use super::split::split;
use super::{known_of, ranges};
use crate::store::Known;

pub use super::begins;
pub use super::postmark::POSTMARK;

/// A message between two postmarks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loose {
    /// All of it that lies in the file, from its header to its end, in bytes of the stretch.
    pub span: Range<u64>,
    /// What of that is handed over: not the fields that mailbox software keeps in the header.
    pub ranges: Vec<Range<u64>>,
    /// What the file says of it.
    pub known: Known,
    /// Its keywords.
    pub keywords: Vec<String>,
    /// Whether a length in its header leads exactly to its end.
    pub is_measured: bool,
    /// Whether mailbox software put it there for itself.
    pub is_pseudo: bool,
}

/// The messages in a stretch of an mbox, whose first postmark it begins with.
pub fn messages(stretch: &dyn ReadAt) -> Vec<Loose> {
    let all = Extent {
        file_offset: 0,
        length: stretch.len(),
        place: Place::At(evidence::ByteOffset::ZERO),
    };
    let seen = scan(stretch, &[all]);
    let items = split(stretch, &seen).into_iter();
    let with_postmark = items.filter(|item| item.postmark.is_some());
    let loose = with_postmark.map(|item| Loose {
        span: item.range.clone(),
        ranges: ranges(&item, &seen),
        known: known_of(&item),
        keywords: item.header.keywords.iter().cloned().collect(),
        is_measured: item.is_measured,
        is_pseudo: item.header.is_pseudo,
    });
    loose.collect()
}
