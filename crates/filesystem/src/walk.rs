//! The tree of a file system, in one order.

use std::collections::HashSet;
use std::ops::Range;

use evidence::{Loss, merged};

use crate::{DirEntry, FileKind, Filesystem, FsPath, Inode, InodeNumber, Place, Standing};

/// Directories deeper than this are not entered: a loop in damaged metadata would be one.
const MAX_DEPTH: usize = 512;

/// One name in the tree.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Where it stands.
    pub path: FsPath,
    /// What it is.
    pub inode: Inode,
}

/// The walk through a tree: each directory before what is in it, names in byte order.
///
/// A directory is entered once, whatever names lead to it, so damaged metadata cannot make
/// the walk endless. Files with several names appear under each.
pub struct Walk<'a> {
    fs: &'a dyn Filesystem,
    entered: HashSet<InodeNumber>,
    /// Directories being listed, each with what is left of it, in reverse order.
    open: Vec<(FsPath, Vec<DirEntry>)>,
    losses: Vec<Loss>,
    started: bool,
    /// Whether the last entry is the directory on top of `open`.
    entered_last: bool,
}

/// The ranges of the view of `fs` that files in use have, folders and links among them, in whole
/// blocks, merged. Files whose maps are not whole are left out, and so are the structures of the
/// file system itself.
pub fn in_use(fs: &dyn Filesystem) -> Vec<Range<u64>> {
    let block = u64::from(fs.info().block_bytes).max(1);
    let files = walk(fs)
        .filter_map(Result::ok)
        .filter(|entry| entry.inode.standing == Standing::InUse);
    let ranges = files
        .map(|entry| fs.extents(&entry.inode))
        .filter(|extents| extents.losses.is_empty())
        .flat_map(|extents| extents.pieces)
        .filter_map(|piece| {
            let (at, length) = match piece.place {
                Place::At(at) => (at, piece.length),
                Place::Compressed { at, stored, .. } => (at, stored),
                Place::Hole | Place::Unwritten | Place::Lost => return None,
            };
            let end = at.checked_add(length)?.get();
            Some(at.get() / block * block..end.checked_next_multiple_of(block)?)
        });
    merged(ranges.collect())
}

/// Walks through the whole tree of `fs` from its root.
pub fn walk(fs: &dyn Filesystem) -> Walk<'_> {
    Walk {
        fs,
        entered: HashSet::new(),
        open: Vec::new(),
        losses: Vec::new(),
        started: false,
        entered_last: false,
    }
}

impl Walk<'_> {
    /// What the directory that was last given lists, by descending name; `None` if the last
    /// entry was no directory, or one that was entered before.
    pub fn children(&self) -> Option<&[DirEntry]> {
        self.entered_last
            .then(|| self.open.last())?
            .map(|(_, entries)| entries.as_slice())
    }

    /// Leaves out what is in the directory that was last given.
    pub fn prune(&mut self) {
        if std::mem::take(&mut self.entered_last) {
            self.open.pop();
        }
    }

    fn visit(&mut self, path: FsPath, number: InodeNumber) -> Result<Entry, Loss> {
        let inode = self.fs.inode(number).map_err(|mut loss| {
            loss.what = format!("{path} ({})", loss.what);
            loss
        })?;
        if inode.kind == FileKind::Directory
            && path.names().len() < MAX_DEPTH
            && self.entered.insert(number)
        {
            let mut listing = self.fs.entries(&inode);
            self.losses.append(&mut listing.losses);
            listing.entries.reverse();
            self.open.push((path.clone(), listing.entries));
            self.entered_last = true;
        }
        Ok(Entry { path, inode })
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<Entry, Loss>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(loss) = self.losses.pop() {
            return Some(Err(loss));
        }
        self.entered_last = false;
        if !self.started {
            self.started = true;
            let root = self.fs.root();
            return Some(self.visit(FsPath::root(), root));
        }
        loop {
            let (path, rest) = self.open.last_mut()?;
            match rest.pop() {
                Some(entry) => {
                    let path = path.join(&entry.name);
                    return Some(self.visit(path, entry.inode));
                }
                None => {
                    self.open.pop();
                }
            }
        }
    }
}
