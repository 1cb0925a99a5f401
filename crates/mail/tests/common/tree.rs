//! A file system in memory, as it is when it was put together again.

use std::collections::BTreeMap;
use std::sync::Arc;

use evidence::view::Memory;
use evidence::{ByteOffset, Cause, Loss, Origin, ReadAt};
use filesystem::{
    DirEntry, Extent, Extents, FileKind, Filesystem, Info, Inode, InodeNumber, Kind, Listing,
    Place as At, Standing, Timestamp,
};

pub(crate) const BLOCK: usize = 4096;

/// A file system in memory: a tree of names, each file in blocks of its own.
pub(crate) struct Tree {
    pub(crate) info: Info,
    pub(crate) view: Arc<dyn ReadAt>,
    pub(crate) inodes: BTreeMap<u64, (Inode, Vec<Extent>)>,
    pub(crate) entries: BTreeMap<u64, Vec<DirEntry>>,
}

/// Puts a tree together.
#[derive(Default)]
pub(crate) struct Maker {
    pub(crate) bytes: Vec<u8>,
    pub(crate) inodes: BTreeMap<u64, (Inode, Vec<Extent>)>,
    pub(crate) entries: BTreeMap<u64, BTreeMap<Vec<u8>, u64>>,
}

impl Maker {
    pub(crate) fn new() -> Self {
        let mut maker = Self::default();
        maker.inode(FileKind::Directory, 0);
        maker
    }

    pub(crate) fn inode(&mut self, kind: FileKind, size: u64) -> u64 {
        let number = self.inodes.len() as u64 + 2;
        let time = Timestamp {
            seconds: 1_400_000_000 + i64::try_from(number).unwrap(),
            nanoseconds: 0,
        };
        let inode = Inode {
            number: InodeNumber(number),
            standing: Standing::InUse,
            kind,
            mode: 0,
            uid: 0,
            gid: 0,
            links: 1,
            size,
            accessed: time,
            modified: time,
            changed: time,
            created: None,
            place: ByteOffset::ZERO,
            raw: Vec::new(),
        };
        self.inodes.insert(number, (inode, Vec::new()));
        number
    }

    pub(crate) fn directory(&mut self, path: &str) -> u64 {
        let mut at = 2;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let known = self.entries.entry(at).or_default().get(name.as_bytes());
            at = match known.copied() {
                Some(number) => number,
                None => {
                    let number = self.inode(FileKind::Directory, 0);
                    self.name(at, name, number);
                    number
                }
            };
        }
        at
    }

    pub(crate) fn name(&mut self, directory: u64, name: &str, number: u64) {
        let entries = self.entries.entry(directory).or_default();
        entries.insert(name.as_bytes().to_vec(), number);
    }

    /// A file at `path`; its inode.
    pub(crate) fn file(&mut self, path: &str, contents: &[u8]) -> u64 {
        let (directory, name) = path.rsplit_once('/').unwrap();
        let directory = self.directory(directory);
        let number = self.inode(FileKind::Regular, contents.len() as u64);
        let start = self.bytes.len() as u64;
        self.bytes.extend(contents);
        self.bytes
            .resize(self.bytes.len().next_multiple_of(BLOCK), 0);
        self.inodes.get_mut(&number).unwrap().1 = vec![Extent {
            file_offset: 0,
            length: contents.len() as u64,
            place: At::At(ByteOffset::new(start)),
        }];
        self.name(directory, name, number);
        number
    }

    pub(crate) fn done(self) -> Tree {
        let entries = self.entries.into_iter().map(|(directory, names)| {
            let names = names.into_iter().map(|(name, number)| DirEntry {
                name,
                inode: InodeNumber(number),
            });
            (directory, names.collect())
        });
        Tree {
            info: Info {
                kind: Kind::Ext4,
                version: String::new(),
                uuid: [0; 16],
                label: String::new(),
                block_bytes: u32::try_from(BLOCK).unwrap(),
                bytes: self.bytes.len() as u64,
                notes: Vec::new(),
            },
            view: Arc::new(Memory::new(self.bytes)),
            inodes: self.inodes,
            entries: entries.collect(),
        }
    }
}

impl Filesystem for Tree {
    fn info(&self) -> &Info {
        &self.info
    }

    fn view(&self) -> &Arc<dyn ReadAt> {
        &self.view
    }

    fn root(&self) -> InodeNumber {
        InodeNumber(2)
    }

    fn inode(&self, number: InodeNumber) -> Result<Inode, Loss> {
        let found = self.inodes.get(&number.0).map(|(inode, _)| inode.clone());
        found.ok_or_else(|| Loss {
            what: format!("inode {number}"),
            origin: Origin::new("volume:v", ByteOffset::ZERO),
            cause: Cause::Corrupt("it is gone".to_owned()),
        })
    }

    fn entries(&self, dir: &Inode) -> Listing {
        Listing {
            entries: self.entries.get(&dir.number.0).cloned().unwrap_or_default(),
            losses: Vec::new(),
        }
    }

    fn extents(&self, file: &Inode) -> Extents {
        let found = self.inodes.get(&file.number.0);
        Extents {
            pieces: found.map(|(_, pieces)| pieces.clone()).unwrap_or_default(),
            losses: Vec::new(),
        }
    }
}
