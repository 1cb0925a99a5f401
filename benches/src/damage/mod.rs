//! File systems that lost their heads, and what of them can still be had.
//!
//! An [`Original`] is a file system full of mail, filled through the kernel, with the truth about
//! every file; [`Damage`] breaks a copy of it; [`score`] counts what of the files whose contents
//! are all still there came back. [`rivals`] are other tools, on the same copies.

mod breaking;
mod original;
pub mod rivals;
pub mod score;

pub use breaking::Damage;
pub use original::{Kind, Original, TrueFile};
