//! Trees to which no root leads any more, put together from the blocks that were seen of them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

use super::find::Identity;
use super::key::Key;
use super::sighting::Sighting;
use super::superblock::Root;
use super::tree::{Leaf, Tree};
use super::volume::Volume;

/// All blocks that were seen, by the tree that they were written for, the newest first.
pub(super) struct Forest<'a> {
    volume: &'a Volume,
    by_owner: HashMap<u64, Vec<Sighting>>,
}

/// Parts of the keys that nothing answers for yet, by where they begin.
#[derive(Default)]
pub(super) struct Free(BTreeMap<Key, Key>);

impl Free {
    pub(super) fn add(&mut self, part: &Range<Key>) {
        if part.start < part.end {
            self.0.insert(part.start, part.end);
        }
    }

    /// The parts of `wanted` that are free.
    pub(super) fn within(&self, wanted: &Range<Key>) -> Vec<Range<Key>> {
        let before = self.0.range(..=wanted.start).next_back();
        let from = before.map_or(wanted.start, |(start, _)| *start);
        self.0
            .range(from..wanted.end)
            .map(|(start, end)| (*start).max(wanted.start)..(*end).min(wanted.end))
            .filter(|part| part.start < part.end)
            .collect()
    }

    /// Takes `part`, which is free, away.
    pub(super) fn take(&mut self, part: &Range<Key>) {
        let Some((start, end)) = self.0.range(..=part.start).next_back() else {
            return;
        };
        let (start, end) = (*start, *end);
        self.0.remove(&start);
        self.add(&(start..part.start));
        self.add(&(part.end..end));
    }
}

/// The order in which blocks of a tree are believed.
///
/// A block may be written, and replaced, several times before a commit. Within one
/// transaction room is given out upwards and not used again, so the higher address is the later one.
fn newest_first(seen: &Sighting) -> (Reverse<u64>, Reverse<u8>, Reverse<u64>) {
    let header = seen.header;
    (
        Reverse(header.generation),
        Reverse(header.level),
        Reverse(header.bytenr),
    )
}

impl<'a> Forest<'a> {
    /// The blocks of `identity`.
    pub(super) fn new(volume: &'a Volume, identity: &Identity<'_>) -> Self {
        let mut by_owner: HashMap<u64, Vec<Sighting>> = HashMap::new();
        let mut known: HashSet<(u64, u64)> = HashSet::new();
        // Whole ones first, so that of a block and its damaged copy the whole one is kept.
        let mut all: Vec<&Sighting> = identity.nodes.iter().map(|seen| &seen.sighting).collect();
        all.sort_by_key(|s| (s.proof.is_none(), s.header.bytenr, s.place));
        for sighting in all {
            let header = sighting.header;
            if known.insert((header.bytenr, header.generation)) {
                by_owner.entry(header.owner).or_default().push(*sighting);
            }
        }
        for all in by_owner.values_mut() {
            all.sort_by_key(newest_first);
        }
        Self { volume, by_owner }
    }

    /// The trees of which blocks were seen.
    pub(super) fn owners(&self) -> Vec<u64> {
        let mut owners: Vec<u64> = self.by_owner.keys().copied().collect();
        owners.sort_unstable();
        owners
    }

    /// The blocks of a tree, the newest first.
    pub(super) fn of(&self, owner: u64) -> &[Sighting] {
        self.by_owner.get(&owner).map_or(&[], Vec::as_slice)
    }

    /// The tree below `root`, with what that does not lead to filled in from blocks of `owners`. With the
    /// root comes a generation in which it is known to have been the root.
    pub(super) fn tree(&self, root: Option<(Root, u64)>, owners: &[u64]) -> Tree {
        let root =
            root.filter(|(root, _)| self.volume.node(root.bytenr, root.generation).is_some());
        let mut tree = match root.or_else(|| self.newest_root(owners)) {
            Some((root, as_of)) => Tree::below(self.volume, root).known_as_of(as_of),
            None => Tree {
                leaves: Vec::new(),
                lost: std::iter::once(Key::MIN..Key::MAX).collect(),
            },
        };
        self.fill(&mut tree, owners);
        tree
    }

    /// The newest block that can be the root of a tree: every commit writes the root anew, and no
    /// block of the same commit is on a higher level.
    fn newest_root(&self, owners: &[u64]) -> Option<(Root, u64)> {
        let owner = owners.first()?;
        let newest = self.of(*owner).first()?;
        let header = newest.header;
        // Whether it is the root or not, what it leads to is of that generation.
        let root = Root {
            bytenr: header.bytenr,
            generation: header.generation,
            level: header.level,
        };
        (newest.proof.is_some() && header.level > 0).then_some((root, header.generation))
    }

    /// Fills in what is lost of `tree`: newer blocks answer before older ones, and what a node
    /// leads to before leaves of the same age.
    fn fill(&self, tree: &mut Tree, owners: &[u64]) {
        let mut free = Free::default();
        let readable = |leaf: &Leaf| self.volume.node(leaf.bytenr, leaf.generation).is_some();
        tree.leaves.retain(|leaf| {
            let there = readable(leaf);
            if !there {
                free.add(&(leaf.first..leaf.end));
            }
            there
        });
        for lost in &tree.lost {
            for part in self.uncovered(tree, lost) {
                free.add(&part);
            }
        }
        if free.0.is_empty() {
            tree.lost.clear();
            return;
        }
        let mut candidates: Vec<&Sighting> =
            owners.iter().flat_map(|owner| self.of(*owner)).collect();
        candidates.sort_by_key(|s| newest_first(s));
        for candidate in candidates {
            for leaf in self.leaves_of(candidate, &free) {
                for part in free.within(&(leaf.first..leaf.end)) {
                    free.take(&part);
                    tree.leaves.push(Leaf {
                        first: part.start,
                        end: part.end,
                        ..leaf
                    });
                }
            }
            if free.0.is_empty() {
                break;
            }
        }
        tree.leaves.sort_by_key(|leaf| leaf.first);
        tree.lost = free.0.into_iter().map(|(start, end)| start..end).collect();
    }

    /// The parts of `lost` that no leaf of `tree` answers for.
    fn uncovered(&self, tree: &Tree, lost: &Range<Key>) -> Vec<Range<Key>> {
        let mut parts = Vec::new();
        let mut from = lost.start;
        let first = tree.leaves.partition_point(|leaf| leaf.end <= lost.start);
        for leaf in tree.leaves.iter().skip(first) {
            if leaf.first >= lost.end {
                break;
            }
            // What a damaged node had between two pointers that are left, nobody can say: the leaf
            // of the one before answers only for the keys that it has.
            let node = self.volume.node(leaf.bytenr, leaf.generation);
            let bounds = node.and_then(|node| node.bounds());
            let (start, end) = bounds.map_or((leaf.first, leaf.end), |(first, last)| {
                (first.max(leaf.first), last.next().min(leaf.end))
            });
            parts.push(from..start);
            from = from.max(end);
        }
        parts.push(from..lost.end);
        parts.retain(|part| part.start < part.end);
        parts
    }

    /// The leaves that a block leads to, as far as they can fill something in.
    fn leaves_of(&self, candidate: &Sighting, free: &Free) -> Vec<Leaf> {
        let header = candidate.header;
        if let Some(proof) = candidate.proof {
            let (first, last) = proof.bounds;
            // What the last pointer leads to may go on behind its key.
            let end = if header.level == 0 {
                last.next()
            } else {
                Key::MAX
            };
            if free.within(&(first..end)).is_empty() {
                return Vec::new();
            }
        }
        let Some(node) = self.volume.node(header.bytenr, header.generation) else {
            return Vec::new();
        };
        let Some((first, last)) = node.bounds() else {
            return Vec::new();
        };
        if header.level == 0 {
            return vec![Leaf {
                first,
                end: last.next(),
                bytenr: header.bytenr,
                generation: header.generation,
                as_of: header.generation,
            }];
        }
        let root = Root {
            bytenr: header.bytenr,
            generation: header.generation,
            level: header.level,
        };
        let wanted = |part: &Range<Key>| !free.within(part).is_empty();
        let mut leaves = Tree::below_where(self.volume, root, &wanted).leaves;
        leaves.retain_mut(|leaf| {
            let node = self.volume.node(leaf.bytenr, leaf.generation);
            let Some((_, last)) = node.and_then(|node| node.bounds()) else {
                return false;
            };
            leaf.first = leaf.first.max(first);
            if leaf.end == Key::MAX {
                leaf.end = last.next();
            }
            leaf.first < leaf.end
        });
        leaves
    }
}
