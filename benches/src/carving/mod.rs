//! Made-up volumes that judge carving: mail without any file system, and the truth about it.
//!
//! A [`message`](message::message) is made from a seed, of our own text. A [`scene`](scene::Scene)
//! is an image on which messages lie among other files, and knows where each byte of each message
//! is. [`grid`] makes scenes of messages in pieces, [`awkward`] one of mail in awkward places and
//! of files that only look like mail.
//!
//! [`restante`] runs the program on such an image, [`tree`] reads what it handed over, and
//! [`score`] compares that with the truth.
//!
//! Nothing here knows the code that is judged.

pub mod awkward;
mod background;
mod blob;
pub mod body;
pub mod canvas;
pub mod decoy;
pub mod dkim;
pub mod grid;
mod head;
pub mod message;
pub mod peers;
mod prose;
pub mod restante;
pub mod scene;
pub mod score;
pub mod tree;
pub mod volume;

/// The blocks of the volumes of the grid, in bytes.
pub const BLOCKS: [usize; 2] = [1024, 4096];
