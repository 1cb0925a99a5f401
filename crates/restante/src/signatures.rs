//! What the scan looks for on every disk: the labels and superblocks that the picture of a disk
//! and its engineer want to know of, wherever they lie.

use std::num::NonZeroU64;

use evidence::Fields;
use scan::{Signature, Signatures};

/// The signatures of structures that storage and mail stores begin with.
pub(crate) fn signatures() -> Signatures {
    let always = |_: &[u8]| true;
    Signatures::new(vec![
        Signature {
            what: "md-superblock",
            magic: &[0xFC, 0x4E, 0x2B, 0xA9],
            at: 0,
            align: at_multiples_of(4096),
            length: 256,
            // Major version 1 with a known feature map, or 0 with minor version 90 or 91.
            check: |bytes| {
                let fields = Fields::new(bytes);
                match fields.le_u32(4) {
                    Some(1) => fields.le_u32(8).is_some_and(|map| map < 0x1000),
                    Some(0) => matches!(fields.le_u32(8), Some(90 | 91)),
                    _ => false,
                }
            },
        },
        Signature {
            what: "lvm-label",
            magic: b"LABELONE",
            at: 0,
            align: at_multiples_of(512),
            length: 32,
            check: |bytes| Fields::new(bytes).slice(24, 8) == Some(b"LVM2 001"),
        },
        Signature {
            what: "gpt-header",
            magic: b"EFI PART",
            at: 0,
            align: at_multiples_of(512),
            length: 92,
            check: |bytes| Fields::new(bytes).le_u32(12).is_some_and(|size| size >= 92),
        },
        Signature {
            what: "xfs-superblock",
            magic: b"XFSB",
            at: 0,
            align: at_multiples_of(512),
            length: 128,
            check: |bytes| {
                let block = Fields::new(bytes).be_u32(4).unwrap_or(0);
                block.is_power_of_two() && (512..=65536).contains(&block)
            },
        },
        Signature {
            what: "ext-superblock",
            magic: &[0x53, 0xEF],
            at: 56,
            align: at_multiples_of(1024),
            length: 1024,
            check: |bytes| {
                let fields = Fields::new(bytes);
                fields.le_u32(24).is_some_and(|log| log <= 6)
                    && fields.le_u16(58).is_some_and(|state| state < 8)
                    && fields.le_u32(76).is_some_and(|rev| rev <= 1)
                    && fields.le_u32(32).is_some_and(|per_group| per_group > 0)
            },
        },
        Signature {
            what: "btrfs-superblock",
            magic: b"_BHRfS_M",
            at: 64,
            align: at_multiples_of(4096),
            length: 4096,
            check: always,
        },
        Signature {
            what: "luks-header",
            magic: b"LUKS\xBA\xBE",
            at: 0,
            align: at_multiples_of(512),
            length: 512,
            check: always,
        },
    ])
}

/// An alignment; one byte if it were zero, which none is.
const fn at_multiples_of(bytes: u64) -> NonZeroU64 {
    match NonZeroU64::new(bytes) {
        Some(bytes) => bytes,
        None => NonZeroU64::MIN,
    }
}
