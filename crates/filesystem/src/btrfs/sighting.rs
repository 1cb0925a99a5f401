//! Tree blocks, recognised one by one anywhere on a device.

use evidence::ByteOffset;

use super::checksum::CsumType;
use super::key::Key;
use super::node::{Header, Node};
use crate::survey::Window;

/// Tree blocks begin at multiples of this.
const STEP: usize = 4096;
/// What tree blocks may be long, the usual one first.
const NODE_SIZES: [u32; 5] = [16384, 4096, 8192, 32768, 65536];

/// A tree block that was seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sighting {
    pub(super) header: Header,
    /// Where on its device it begins.
    pub(super) place: ByteOffset,
    /// What its checksum proves; `None` if no checksum fits.
    pub(super) proof: Option<Proof>,
}

/// What the checksum of a whole block says of the file system, and what is in the block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Proof {
    pub(super) nodesize: u32,
    pub(super) csum: CsumType,
    /// The keys of the first and the last entry.
    pub(super) bounds: (Key, Key),
}

/// What of btrfs was seen on a device.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sightings(pub(super) Vec<Sighting>);

impl Sightings {
    /// The tree blocks that begin in `window`.
    pub(crate) fn of(window: &Window) -> Self {
        let mut seen = Vec::new();
        for (place, block) in window.blocks(STEP) {
            if let Some(header) = Header::parse(block) {
                let proof = proof(window, place, header);
                seen.push(Sighting {
                    header,
                    place,
                    proof,
                });
            }
        }
        Self(seen)
    }

    /// Adds what was seen behind this.
    pub(crate) fn append(&mut self, mut next: Self) {
        self.0.append(&mut next.0);
    }
}

/// Which size and checksum make the block at `place` whole.
fn proof(window: &Window, place: ByteOffset, header: Header) -> Option<Proof> {
    for nodesize in NODE_SIZES {
        let Some(block) = window.at(place, nodesize as usize) else {
            continue;
        };
        for csum in CsumType::ALL {
            if csum.block_fits(block) {
                let node = Node {
                    header,
                    bytes: block.to_vec(),
                    lost: Vec::new(),
                };
                return node.bounds().map(|bounds| Proof {
                    nodesize,
                    csum,
                    bounds,
                });
            }
        }
    }
    None
}
