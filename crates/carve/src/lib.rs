//! Phase 2: mail from blocks and bits, where no file system explains them any more.
//!
//! [`carve`] reads a device once (`survey`) and works out on which [`Grid`] the blocks of the
//! file system lay that is gone. From each block that begins with the header of a message it
//! follows the message block by block: a `reader` knows what part of a message it is in, and what
//! the next block must look like to go on. What lies in one piece is put together that way. For
//! the rest, `search` looks among the blocks that nobody has claimed.
//!
//! A message is whole only if something shows it: a body hash of DKIM verifies, or every border
//! and the end fit and nothing else would fit as well. What breaks off is given as far as it goes,
//! as damaged.
//!
//! ```
//! use evidence::view::Memory;
//!
//! let mut disk = vec![0; 64 << 10];
//! let mail = b"From: ada@lindenhof.example\nDate: Mon, 1 Jan 2024 00:00:00 +0000\n\nhello\n";
//! disk[8192..8192 + mail.len()].copy_from_slice(mail);
//! let carved = carve::carve(&Memory::new(disk), &[], &|_| ());
//! assert_eq!(carved.messages[0].found.pieces, [(8192, mail.len() as u64)]);
//! ```

mod blocks;
mod borders;
mod breaks;
mod chain;
mod chunks;
mod device;
mod dkim;
mod doubt;
mod habits;
mod judge;
mod language;
mod lines;
mod maps;
mod ordered;
mod pool;
mod reader;
mod repair;
mod search;
mod shifted;
mod stored;
mod survey;
mod times;
mod turned;
mod words;

pub use blocks::Grid;
pub use chain::End;
pub use chunks::{doubt_across_chunks, doubt_ends_of_chunks};
pub use device::carve;
pub use doubt::{Doubt, Search, TurnedBits};
pub use shifted::{Shifted, carve_shifted};

/// What was carved out of a device.
#[derive(Clone, Debug)]
pub struct Carved {
    /// On which grid the blocks of the file system lay.
    pub grid: Grid,
    /// The messages, by where they begin.
    pub messages: Vec<Carving>,
    /// Bytes of text that no message was made of.
    pub unclaimed: u64,
}

impl Carved {
    /// The messages that something shows to be whole.
    pub fn whole(&self) -> impl Iterator<Item = &Carving> {
        self.messages
            .iter()
            .filter(|message| message.found.proof.is_some())
    }
}

/// A message that was carved, and how it was put together.
#[derive(Clone, Debug, PartialEq)]
pub struct Carving {
    /// What was found: places on the device, proof, repairs, contradictions.
    pub found: mail::carved::Carved,
    /// Why it ends where it ends; `None` if it breaks off.
    pub end: Option<End>,
    /// How much speaks for each border between its blocks, in nats: by the offset in the message.
    pub borders: Vec<(u64, f64)>,
}
