//! Detectors of aligned structures with bytes that stand at a fixed place in them.

use std::num::NonZeroU64;

use crate::{Detector, Found, Place, Trigger};

/// Structures that are known by bytes at a fixed place: a [`Detector`] without state.
#[derive(Clone, Copy, Debug)]
pub struct Signature {
    /// The bytes; of several, any.
    pub magics: &'static [&'static [u8]],
    /// Where in the structure they stand.
    pub at: usize,
    /// The structure begins at a multiple of this many bytes of the disk.
    pub align: NonZeroU64,
    /// How many bytes of the structure `read` wants to see.
    pub reach: usize,
    /// Looks closer at the structure (cut short at the end of the disk and at gaps).
    pub read: fn(&Place<'_>) -> Option<Found>,
}

impl Detector for Signature {
    fn triggers(&self) -> Vec<Trigger> {
        let magics = self.magics.iter();
        magics
            .map(|magic| Trigger::Aligned {
                align: self.align,
                at: self.at,
                magic,
            })
            .collect()
    }

    fn reach(&self) -> usize {
        self.reach
    }

    fn examine(&self, place: &Place<'_>) -> Option<Found> {
        (self.read)(place)
    }
}
