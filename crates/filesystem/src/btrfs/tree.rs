//! A tree as the list of its leaves.
//!
//! Only the nodes above the leaves are read to make it. So a tree that is put together from leaves
//! that were found one by one is the same thing as one that a root leads to.

use std::ops::Range;

use super::key::Key;
use super::node::{Item, Node};
use super::superblock::Root;
use super::volume::Volume;

/// A leaf, and the part of the keys that it answers for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leaf {
    /// The first key of its part.
    pub(super) first: Key,
    /// The first key behind its part.
    pub(super) end: Key,
    pub(super) bytenr: u64,
    pub(super) generation: u64,
    /// The newest generation of which it is known that the leaf belonged to the tree then.
    pub(super) as_of: u64,
}

/// A tree: leaves by ascending keys, whose parts do not overlap.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    pub(super) leaves: Vec<Leaf>,
    /// Parts of the keys that lost nodes led to, in order and apart from each other.
    pub(super) lost: Vec<Range<Key>>,
}

/// What a look through a part of a tree comes by.
#[derive(Clone, Copy, Debug)]
pub(super) enum Seen<'a> {
    /// An item.
    Item(Entry<'a>),
    /// An item whose key is known, but not its data.
    NoData(Key),
    /// Items with keys from the first to before the second may be lost.
    Lost(Key, Key),
}

/// An item with its data.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    pub(super) key: Key,
    pub(super) data: &'a [u8],
    /// The logical address of the data.
    pub(super) at: u64,
    /// The leaf that it is in.
    pub(super) leaf: &'a Leaf,
}

/// A node that still has to be gone into.
struct Open {
    slot: Range<Key>,
    root: Root,
}

impl Tree {
    /// The tree below `root`.
    pub(super) fn below(volume: &Volume, root: Root) -> Self {
        Self::below_where(volume, root, &|_| true)
    }

    /// The tree below `root`, without parts of the keys that are not `wanted`.
    pub(super) fn below_where(
        volume: &Volume,
        root: Root,
        wanted: &dyn Fn(&Range<Key>) -> bool,
    ) -> Self {
        let mut tree = Self::default();
        let mut open = vec![Open {
            slot: Key::MIN..Key::MAX,
            root,
        }];
        while let Some(Open { slot, root: at }) = open.pop() {
            if !wanted(&slot) {
                continue;
            }
            if at.level == 0 {
                tree.leaves.push(Leaf {
                    first: slot.start,
                    end: slot.end,
                    bytenr: at.bytenr,
                    generation: at.generation,
                    as_of: root.generation,
                });
                continue;
            }
            let node = volume
                .node(at.bytenr, at.generation)
                .filter(|node| node.header.level == at.level);
            match node {
                Some(node) => tree.enter(&node, slot, &mut open),
                None => tree.lost.push(slot),
            }
        }
        tree.leaves.sort_by_key(|leaf| leaf.first);
        tree.lost = evidence::merged(tree.lost);
        tree
    }

    /// The same tree, of which it is known that it was so in the generation `as_of`.
    pub(super) fn known_as_of(mut self, as_of: u64) -> Self {
        for leaf in &mut self.leaves {
            leaf.as_of = leaf.as_of.max(as_of);
        }
        self
    }

    /// Opens what `node`, which answers for `slot`, points to.
    fn enter(&mut self, node: &Node, slot: Range<Key>, open: &mut Vec<Open>) {
        let pointers = node.pointers();
        if !node.lost.is_empty() || pointers.is_empty() {
            // Which pointers are missing nobody can say: between those that are left there may be
            // others, and leaves found elsewhere may fill in.
            self.lost.push(slot.clone());
        }
        for (number, pointer) in pointers.iter().enumerate() {
            let next = pointers.get(number.saturating_add(1));
            let first = if number == 0 { slot.start } else { pointer.key };
            let end = next.map_or(slot.end, |next| next.key);
            let part = first.max(slot.start)..end.min(slot.end);
            // A child that begins with another key is not this one's: no block is entered twice.
            if part.is_empty() || pointer.key >= part.end {
                continue;
            }
            open.push(Open {
                slot: part,
                root: Root {
                    bytenr: pointer.blockptr,
                    generation: pointer.generation,
                    level: node.header.level.saturating_sub(1),
                },
            });
        }
    }

    /// Looks through all items with keys in `part`, by ascending keys.
    pub(super) fn visit(&self, volume: &Volume, part: Range<Key>, see: &mut dyn FnMut(Seen<'_>)) {
        let from = self.lost.partition_point(|lost| lost.end <= part.start);
        for lost in self.lost.iter().skip(from) {
            let start = lost.start.max(part.start);
            let end = lost.end.min(part.end);
            if start >= end {
                break;
            }
            see(Seen::Lost(start, end));
        }
        let from = self.leaves.partition_point(|leaf| leaf.end <= part.start);
        for leaf in self.leaves.iter().skip(from) {
            if leaf.first >= part.end {
                break;
            }
            let part = leaf.first.max(part.start)..leaf.end.min(part.end);
            leaf.visit(volume, &part, see);
        }
    }

    /// The item with the greatest key in `part`, handed to `see`.
    pub(super) fn last<T>(
        &self,
        volume: &Volume,
        part: Range<Key>,
        see: impl Fn(Entry<'_>) -> T,
    ) -> Option<T> {
        let from = self.leaves.partition_point(|leaf| leaf.first < part.end);
        for leaf in self.leaves.iter().take(from).rev() {
            if leaf.end <= part.start {
                break;
            }
            let mut found = None;
            let part = leaf.first.max(part.start)..leaf.end.min(part.end);
            leaf.visit(volume, &part, &mut |seen| {
                if let Seen::Item(entry) = seen {
                    found = Some(see(entry));
                }
            });
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// The item of `key`, handed to `see`.
    pub(super) fn find<T>(
        &self,
        volume: &Volume,
        key: Key,
        see: impl Fn(Entry<'_>) -> T,
    ) -> Option<T> {
        self.last(volume, key..key.next(), see)
    }

    /// Whether items in `part` may be lost.
    pub(super) fn is_lost(&self, volume: &Volume, part: Range<Key>) -> bool {
        let mut lost = false;
        self.visit(volume, part, &mut |seen| {
            lost |= !matches!(seen, Seen::Item(_));
        });
        lost
    }
}

impl Leaf {
    /// Looks through the items with keys in `part`, which is within the leaf's own.
    fn visit(&self, volume: &Volume, part: &Range<Key>, see: &mut dyn FnMut(Seen<'_>)) {
        let node = volume
            .node(self.bytenr, self.generation)
            .filter(|node| node.header.level == 0);
        let Some(node) = node else {
            see(Seen::Lost(part.start, part.end));
            return;
        };
        let (items, cut) = node.items();
        let mut before = part.start;
        for (skipped, item) in &items {
            if *skipped && before < item.key && item.key > part.start {
                let end = item.key.min(part.end);
                if before < end {
                    see(Seen::Lost(before, end));
                }
            }
            before = before.max(item.key.next());
            if part.contains(&item.key) {
                self.show(&node, item, see);
            }
        }
        if cut && before < part.end {
            see(Seen::Lost(before, part.end));
        }
    }

    fn show(&self, node: &Node, item: &Item, see: &mut dyn FnMut(Seen<'_>)) {
        let data = item.data.clone();
        match data.and_then(|data| Some((data.start, node.bytes.get(data)?))) {
            Some((start, data)) => see(Seen::Item(Entry {
                key: item.key,
                data,
                at: self.bytenr.saturating_add(start as u64),
                leaf: self,
            })),
            None => see(Seen::NoData(item.key)),
        }
    }
}
