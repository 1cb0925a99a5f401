//! Small images, and changes to them.

use std::collections::HashMap;
use std::fs;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use evidence::view::{Memory, Overlay};
use evidence::{ByteOffset, ReadAt};

/// Changes are counted in units of this size.
const SECTOR: usize = 512;
/// More of them make a run slow and say no more.
const MOST_CHANGES: usize = 64;

/// An image to be changed.
pub(crate) struct Base {
    bytes: Arc<dyn ReadAt>,
    /// The sectors that are not nothing but zeros: where the structures lie.
    used: Vec<u64>,
}

/// The image `name` of the fixtures, unpacked once.
pub(crate) fn base(name: &str) -> Arc<Base> {
    static ALL: OnceLock<Mutex<HashMap<String, Arc<Base>>>> = OnceLock::new();
    let mut all = ALL
        .get_or_init(Mutex::default)
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    Arc::clone(all.entry(name.to_owned()).or_insert_with(|| {
        let path = format!("{}/{name}.img.zst", crate::FIXTURES);
        let packed = fs::read(&path).unwrap_or_default();
        assert!(
            !packed.is_empty(),
            "{path} is not there: scripts/make-fuzz-images.sh makes it"
        );
        Arc::new(Base::new(
            zstd::decode_all(packed.as_slice()).unwrap_or_default(),
        ))
    }))
}

impl Base {
    fn new(bytes: Vec<u8>) -> Self {
        let sectors = bytes.chunks(SECTOR).enumerate();
        let used = sectors.filter(|(_, sector)| sector.iter().any(|byte| *byte != 0));
        Self {
            used: used.map(|(number, _)| (number * SECTOR) as u64).collect(),
            bytes: Arc::new(Memory::new(bytes)),
        }
    }

    /// The image with the changes that `input` says.
    pub(crate) fn patched(&self, input: &[u8]) -> Arc<dyn ReadAt> {
        let mut overlay = Overlay::new(Arc::clone(&self.bytes));
        for (at, bytes) in self.changes(input) {
            overlay.lay(ByteOffset::new(at), bytes);
        }
        Arc::new(overlay)
    }

    /// The changes that `input` says: where, and what is laid there.
    ///
    /// A change is two bytes for one of the used sectors, two for a place in it (whose upper bits
    /// move on to the sectors behind it, which may be free), one for a length of 1 to 16, and the
    /// bytes that are laid there.
    pub(crate) fn changes<'a>(&self, input: &'a [u8]) -> Vec<(u64, &'a [u8])> {
        let mut changes = Vec::new();
        let mut rest = input;
        for _ in 0..MOST_CHANGES {
            let Some(([a, b, c, d, length], tail)) = rest.split_first_chunk() else {
                break;
            };
            let length = usize::from(length % 16) + 1;
            let (bytes, tail) = tail.split_at(length.min(tail.len()));
            let sector = usize::from(u16::from_le_bytes([*a, *b])) % self.used.len().max(1);
            let place = u64::from(u16::from_le_bytes([*c, *d]) % 4096);
            let start = self.used.get(sector).copied().unwrap_or(0);
            changes.push((start + place, bytes));
            rest = tail;
        }
        changes
    }

    /// How long the image is.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.len()
    }

    /// The `length` bytes of the image at `at`; zeros behind its end.
    pub(crate) fn original(&self, at: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let there = self.bytes.len().saturating_sub(at).min(length as u64);
        let there = usize::try_from(there).unwrap_or(0);
        let (front, _) = bytes.split_at_mut(there);
        if !front.is_empty() {
            let read = self.bytes.read_at(ByteOffset::new(at), front);
            assert!(read.is_ok(), "{length} bytes at {at}");
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use evidence::ReadAtExt;

    #[test]
    fn an_input_says_where_and_what() {
        let mut bytes = vec![0; 4096];
        bytes[1024] = 1;
        let base = Base::new(bytes);
        let image = base.patched(&[0, 0, 3, 0, 1, 7, 8, 0, 0, 0, 2, 0, 9]);
        let (bytes, gaps) = image.read_vec(ByteOffset::ZERO, 4096).unwrap();
        assert!(gaps.is_empty());
        assert_eq!(&bytes[1024..1030], [1, 0, 0, 7, 8, 0]);
        assert_eq!(bytes[1024 + 512], 9);
    }
}
