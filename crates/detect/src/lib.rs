//! What a scan looks for on every disk: detectors for the [`scan`] of all that mail recovery wants to know of it.
//!
//! [`all`] gives them. A detector says what a thing is called in the catalogue, and what it
//! states of itself; none of them proves that the thing is still in use, and none keeps a state.
//! The kinds, and what their numbers mean, are listed in `docs/case-format.md`.
//!
//! | module | finds |
//! |---|---|
//! | [`labels`] | labels of RAID, volume managers, partition tables, encryption; superblocks |
//! | [`message`] | header blocks, `From ` lines of mboxes |
//! | [`dovecot`] | dbox records and files, indexes, logs, caches, lists of UIDs |
//! | [`compressed`] | gzip, zstd, xz, bzip2, LZ4: with a message inside, or without |
//! | [`ext`], [`xfs`], [`btrfs`] | blocks of metadata |

#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )
)]

pub mod btrfs;
pub mod compressed;
pub mod dovecot;
pub mod ext;
pub mod labels;
pub mod message;
pub mod xfs;

use scan::{Detector, Detectors};

/// All detectors, ready for a scan.
///
/// # Errors
///
/// None that can happen: their needles are few and short.
pub fn all() -> Result<Detectors, Error> {
    let mut all: Vec<Box<dyn Detector>> = Vec::new();
    all.extend(labels::detectors());
    all.extend(message::detectors());
    all.extend(dovecot::detectors());
    all.extend(compressed::detectors());
    all.extend(ext::detectors());
    all.extend(xfs::detectors());
    all.extend(btrfs::detectors());
    Ok(Detectors::new(all)?)
}

/// Whether a find called `what` is a label: what a device says of itself as a whole, by which a
/// person tells disks apart.
pub fn is_label(what: &str) -> bool {
    labels::NAMES.contains(&what)
}

/// Why detectors could not be made ready.
#[derive(Debug, thiserror::Error)]
#[error("the needles of the scan cannot be searched for: {0}")]
pub struct Error(#[from] scan::BuildError);

/// Bytes in hexadecimal, as the catalogue keeps UUIDs.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
