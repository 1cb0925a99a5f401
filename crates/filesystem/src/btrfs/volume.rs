//! What all parsers of the format share: the devices, the sizes, tree blocks by their address.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use evidence::{ByteOffset, Cause, Loss, Origin};
use serde::{Deserialize, Serialize};

use super::checksum::CsumType;
use super::mend::{Reading, mend};
use super::node::{Header, Node};
use super::pool::Pool;

/// Tree blocks are spread over this many locks.
const SHARDS: usize = 8;
/// How many blocks a shard keeps: at most 64 KiB × 8 × 48 = 24 MiB.
const KEPT: usize = 48;

/// The sizes and the checksum of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Format {
    pub(super) sectorsize: u32,
    pub(super) nodesize: u32,
    pub(super) csum: CsumType,
}

/// Stands for whatever generation is the newest that is there.
const ANY: u64 = u64::MAX;

/// Blocks by address and generation; `None` is one that cannot be had. The newest are behind.
type Shard = Vec<((u64, u64), Option<Arc<Node>>)>;

/// The devices of one file system, understood so far that tree blocks can be read.
pub(super) struct Volume {
    /// Its name in origins, which count logical addresses.
    pub(super) name: String,
    pub(super) pool: Pool,
    pub(super) format: Format,
    /// The UUID that tree blocks carry.
    pub(super) metadata_uuid: [u8; 16],
    shards: [Mutex<Shard>; SHARDS],
}

impl Volume {
    pub(super) fn new(name: &str, pool: Pool, format: Format, metadata_uuid: [u8; 16]) -> Self {
        Self {
            name: name.to_owned(),
            pool,
            format,
            metadata_uuid,
            shards: std::array::from_fn(|_| Mutex::new(Vec::new())),
        }
    }

    /// The tree block at `bytenr` that was written in `generation`: whole, or what is left of it.
    pub(super) fn node(&self, bytenr: u64, generation: u64) -> Option<Arc<Node>> {
        let index = bytenr
            .checked_div(self.format.nodesize.into())
            .and_then(|number| number.checked_rem(SHARDS as u64))
            .and_then(|index| usize::try_from(index).ok())?;
        let shard = self.shards.get(index)?;
        let key = (bytenr, generation);
        {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(at) = shard.iter().position(|(known, _)| *known == key) {
                let entry = shard.remove(at);
                let node = entry.1.clone();
                shard.push(entry);
                return node;
            }
        }
        // Read without the lock, so that nobody waits for the disk who wants another block.
        let node = self.read_node(bytenr, generation).map(Arc::new);
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if shard.len() >= KEPT {
            shard.remove(0);
        }
        shard.push((key, node.clone()));
        node
    }

    /// The tree block at `bytenr`, whenever it was written.
    pub(super) fn newest_node(&self, bytenr: u64) -> Option<Arc<Node>> {
        self.node(bytenr, ANY)
    }

    fn read_node(&self, bytenr: u64, generation: u64) -> Option<Node> {
        let size = self.format.nodesize as usize;
        let fits = |header: &Header| {
            header.fsid == self.metadata_uuid
                && header.bytenr == bytenr
                && (header.generation == generation || generation == ANY)
        };
        let mut copies = Vec::new();
        let mut newest: Option<Node> = None;
        for variant in 0..self.pool.variants(bytenr) {
            let mut bytes = vec![0; size];
            let gaps = self.pool.read(bytenr, &mut bytes, variant);
            let header = Header::parse(&bytes).filter(&fits);
            match header {
                Some(header) if gaps.is_empty() && self.format.csum.block_fits(&bytes) => {
                    let older = |known: &Node| known.header.generation < header.generation;
                    if newest.as_ref().is_none_or(older) {
                        newest = Some(Node {
                            header,
                            bytes,
                            lost: Vec::new(),
                        });
                    }
                    // Copies of different age are possible only where any of them will do.
                    if generation != ANY {
                        return newest;
                    }
                }
                _ => copies.push(Reading { bytes, gaps }),
            }
        }
        newest.or_else(|| mend(&copies, self.format.csum, fits))
    }

    /// A loss at the logical address `at`.
    pub(super) fn loss(&self, what: impl Into<String>, at: u64, cause: Cause) -> Loss {
        Loss {
            what: what.into(),
            origin: Origin::new(self.name.clone(), ByteOffset::new(at)),
            cause,
        }
    }
}

/// A contradiction as a cause.
pub(super) fn corrupt(what: impl Into<String>) -> Cause {
    Cause::Corrupt(what.into())
}

/// How often each value is there: the one that is there most often, the lesser of equals.
pub(super) fn most_frequent<T: Ord + std::hash::Hash + Copy>(
    values: impl Iterator<Item = T>,
) -> Option<T> {
    let mut counts: HashMap<T, u64> = HashMap::new();
    for value in values {
        let count = counts.entry(value).or_default();
        *count = count.saturating_add(1);
    }
    let best = |(value, count): &(T, u64)| (*count, std::cmp::Reverse(*value));
    counts.into_iter().max_by_key(best).map(|(value, _)| value)
}
