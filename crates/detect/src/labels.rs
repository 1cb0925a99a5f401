//! Labels of what lies below file systems, and superblocks.
//!
//! Sources: Linux `Documentation/admin-guide/md.rst` and `drivers/md/md_p.h`; LVM2
//! `lib/label/label.h`; UEFI specification 5.3; cryptsetup `docs/on-disk-format.pdf`
//! and `docs/on-disk-format-luks2.pdf`; libbde's *BitLocker Drive Encryption format*; and for the
//! superblocks the kernel's `fs/ext4/ext4.h`, `fs/xfs/libxfs/xfs_format.h`, and
//! `include/uapi/linux/btrfs_tree.h`.

use std::num::NonZeroU64;

use evidence::Fields;
use scan::{Detector, Family, Found, Place, SECTOR_ALIGN, Signature};

use crate::hex;

/// What their finds are called.
pub(crate) const NAMES: [&str; 9] = [
    "md-superblock",
    "lvm-label",
    "gpt-header",
    "luks-header",
    "bitlocker-header",
    "bitlocker-metadata",
    "xfs-superblock",
    "ext-superblock",
    "btrfs-superblock",
];

/// The detectors of labels and superblocks.
pub fn detectors() -> Vec<Box<dyn Detector>> {
    let label = |magics, at, reach, read| Signature {
        magics,
        at,
        align: SECTOR_ALIGN,
        reach,
        read,
    };
    let all = [
        label(&[&[0xFC, 0x4E, 0x2B, 0xA9]], 0, 256, md_superblock),
        label(&[b"LABELONE"], 0, 512, lvm_label),
        label(&[b"EFI PART"], 0, 512, gpt_header),
        label(&[b"LUKS\xBA\xBE", b"SKUL\xBA\xBE"], 0, 512, luks_header),
        label(&[b"-FVE-FS-"], 3, 512, bitlocker_header),
        label(&[b"-FVE-FS-"], 0, 512, bitlocker_metadata),
        label(&[b"XFSB"], 0, 512, xfs_superblock),
        label(&[&[0x53, 0xEF]], 56, 1024, ext_superblock),
        Signature {
            align: FOUR_KIB,
            ..label(&[b"_BHRfS_M"], 64, 4096, btrfs_superblock)
        },
    ];
    all.into_iter()
        .map(|one| -> Box<dyn Detector> { Box::new(one) })
        .collect()
}

const FOUR_KIB: NonZeroU64 = match NonZeroU64::new(4096) {
    Some(bytes) => bytes,
    None => NonZeroU64::MIN,
};

fn label(what: &'static str, bytes: u64, part_of: Option<&[u8]>) -> Found {
    Found {
        bytes: Some(bytes),
        part_of: part_of.map(hex),
        family: Some(Family::Label),
        ..Found::new(what)
    }
}

/// `mdp_superblock_1`, or `mdp_super_t` of version 0.90.
fn md_superblock(place: &Place<'_>) -> Option<Found> {
    let fields = Fields::new(place.bytes);
    match fields.le_u32(4)? {
        1 if fields.le_u32(8)? < 0x1000 => Some(Found {
            number: fields.le_u64(200),
            ..label("md-superblock", 256, fields.slice(16, 16))
        }),
        0 if matches!(fields.le_u32(8)?, 90 | 91) => {
            // `set_uuid0`, and `set_uuid1` to `set_uuid3`, which stand apart.
            let first = fields.slice(20, 4)?;
            let uuid = [first, fields.slice(52, 12)?].concat();
            Some(label("md-superblock", 4096, Some(&uuid)))
        }
        _ => None,
    }
}

/// `struct label_header`.
fn lvm_label(place: &Place<'_>) -> Option<Found> {
    let fields = Fields::new(place.bytes);
    let uuid = fields.slice(32, 32)?;
    let is_lvm2 = fields.slice(24, 8)? == b"LVM2 001";
    is_lvm2.then(|| Found {
        number: fields.le_u64(8),
        part_of: std::str::from_utf8(uuid)
            .ok()
            .filter(|uuid| uuid.bytes().all(|byte| byte.is_ascii_alphanumeric()))
            .map(str::to_owned),
        ..label("lvm-label", 512, None)
    })
}

fn gpt_header(place: &Place<'_>) -> Option<Found> {
    let fields = Fields::new(place.bytes);
    let whole = (92..=512).contains(&fields.le_u32(12)?);
    whole.then(|| Found {
        // MyLBA
        number: fields.le_u64(24),
        ..label("gpt-header", 512, fields.slice(56, 16))
    })
}

/// `struct luks_phdr`, or `struct luks2_hdr_disk`, which is there twice: the second one says where
/// it lies.
fn luks_header(place: &Place<'_>) -> Option<Found> {
    let fields = Fields::new(place.bytes);
    let version = fields.be_u16(6)?;
    let is_second = place.bytes.starts_with(b"SKUL");
    if !(version == 2 || version == 1 && !is_second) {
        return None;
    }
    let uuid = fields.slice(168, 36)?.iter().filter(|byte| **byte != b'-');
    let uuid: String = uuid.copied().map(char::from).collect();
    let is_uuid = uuid.len() == 32 && uuid.bytes().all(|byte| byte.is_ascii_hexdigit());
    Some(Found {
        number: if is_second {
            fields.be_u64(256)
        } else {
            Some(0)
        },
        part_of: is_uuid.then(|| uuid.to_ascii_lowercase()),
        ..label("luks-header", 512, None)
    })
}

/// The boot sector of a volume that BitLocker encrypts: it jumps behind its parameters.
fn bitlocker_header(place: &Place<'_>) -> Option<Found> {
    (place.bytes.first() == Some(&0xEB)).then(|| label("bitlocker-header", 512, None))
}

/// One of the three copies of its metadata, which state where the first one is.
fn bitlocker_metadata(place: &Place<'_>) -> Option<Found> {
    let fields = Fields::new(place.bytes);
    let plausible = matches!(fields.le_u16(10)?, 1 | 2) && fields.le_u32(76)? < 65536;
    plausible.then(|| Found {
        number: fields.le_u64(32),
        ..label("bitlocker-metadata", 512, fields.slice(80, 16))
    })
}

/// `struct xfs_dsb`.
fn xfs_superblock(place: &Place<'_>) -> Option<Found> {
    let fields = Fields::new(place.bytes);
    let block = fields.be_u32(4)?;
    let plausible = block.is_power_of_two() && (512..=65536).contains(&block);
    plausible.then(|| Found {
        family: Some(Family::Xfs),
        ..label("xfs-superblock", 512, fields.slice(32, 16))
    })
}

/// `struct ext4_super_block`.
fn ext_superblock(place: &Place<'_>) -> Option<Found> {
    let fields = Fields::new(place.bytes);
    let plausible = fields.le_u32(24)? <= 6
        && fields.le_u16(58)? < 8
        && fields.le_u32(76)? <= 1
        && fields.le_u32(32)? > 0;
    plausible.then(|| Found {
        // s_block_group_nr: which copy it is.
        number: fields.le_u16(90).map(u64::from),
        family: Some(Family::Ext),
        ..label("ext-superblock", 1024, fields.slice(104, 16))
    })
}

/// `struct btrfs_super_block`.
fn btrfs_superblock(place: &Place<'_>) -> Option<Found> {
    let fields = Fields::new(place.bytes);
    let sectors = fields.le_u32(144)?;
    sectors.is_power_of_two().then(|| Found {
        number: fields.le_u64(48),
        family: Some(Family::Btrfs),
        ..label("btrfs-superblock", 4096, fields.slice(32, 16))
    })
}
