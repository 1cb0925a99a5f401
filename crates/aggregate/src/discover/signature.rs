//! Contents that are recognised by name, so that a person knows what a device is and what to
//! do about it.

use evidence::{ByteOffset, ReadAt, ReadAtExt};

use crate::volumes_found::is_one_of_several;

/// Where a signature stands.
#[derive(Clone, Copy)]
enum At {
    /// Bytes from the start.
    Start(u64),
    /// Bytes from the end.
    End(u64),
}

/// RAID metadata of controllers that is not read. It makes the rest of the device a part of something
/// larger, which its contents tell.
const FOREIGN_RAID: &[(At, &[u8], &str)] = &[
    (
        At::End(512),
        &[0xDE, 0x11, 0xDE, 0x11],
        "DDF RAID metadata that is damaged, and nothing in the contents says which group it was a member of; give the geometry by hand",
    ),
    (
        At::End(1024),
        b"Intel Raid ISM Cfg Sig. ",
        "Intel RAID metadata (IMSM), which names disks by serial numbers that images do not have, and nothing in the contents says which group it was a member of; give the geometry by hand",
    ),
];

/// Everything else, the more certain signatures first.
const CONTENTS: &[(At, &[u8], &str)] = &[
    (At::Start(4086), b"SWAPSPACE2", "swap space"),
    (At::Start(65526), b"SWAPSPACE2", "swap space"),
    (At::Start(4086), b"SWAP-SPACE", "swap space"),
    (
        At::Start(4120),
        b"\xC6\x85\x73\xF6\x4E\x1A\x45\xCA\x82\x65\xF5\x7F\x48\xBA\x6D\x81",
        "a bcache device: not read yet; the data of a backing device usually begins 8192 bytes further on",
    ),
    (
        At::Start(4120),
        b"\xC6\x85\x73\xF6\x66\xCE\x90\xA9\xD9\x6A\x60\xCF\x80\x3D\xF7\xEF",
        "a bcachefs file system: its metadata is not read yet",
    ),
    (
        At::Start(3),
        b"NTFS    ",
        "an NTFS file system: its metadata is not read yet",
    ),
    (
        At::Start(3),
        b"EXFAT   ",
        "an exFAT file system: its metadata is not read yet",
    ),
    (
        At::Start(82),
        b"FAT32   ",
        "a FAT file system: its metadata is not read yet",
    ),
    (
        At::Start(54),
        b"FAT1",
        "a FAT file system: its metadata is not read yet",
    ),
    (
        At::Start(3),
        b"ReFS\0\0\0\0",
        "a ReFS file system: its metadata is not read yet",
    ),
    (
        At::Start(32),
        b"NXSB",
        "an APFS container: its metadata is not read yet",
    ),
    (
        At::Start(1024),
        b"H+\0\x04",
        "an HFS+ file system: its metadata is not read yet",
    ),
    (
        At::Start(1024),
        b"\x10\x20\xF5\xF2",
        "an F2FS file system: its metadata is not read yet",
    ),
    (
        At::Start(65588),
        b"ReIsEr",
        "a ReiserFS file system: its metadata is not read yet",
    ),
    (
        At::Start(32768),
        b"JFS1",
        "a JFS file system: its metadata is not read yet",
    ),
    (
        At::Start(66908),
        b"\x19\x01\x54\x19",
        "a UFS2 file system: its metadata is not read yet",
    ),
    (
        At::Start(1 << 20),
        b"\x0D\xD0\x01\xC0",
        "a VMFS volume: not read yet; export its virtual disks and add them as images",
    ),
    (At::Start(32769), b"CD001", "an ISO 9660 image"),
    (At::Start(0), b"hsqs", "a SquashFS image"),
    (
        At::Start(0),
        b"SnAp\x01\0\0\0",
        "the changed blocks of an LVM snapshot: not read yet; its origin is",
    ),
    (
        At::Start(0),
        b"dmvdo001",
        "a VDO volume: its blocks are compressed and not read yet",
    ),
    (
        At::Start(0),
        b"bluestore block device",
        "a Ceph BlueStore device: not read yet",
    ),
    (
        At::Start(0),
        b"integrt\0",
        "a dm-integrity device: not read yet",
    ),
    (
        At::Start(0),
        b"HM\x01\0",
        "an LVM1 physical volume: not read; its metadata is of before 2003",
    ),
];

/// The magic of a ZFS uberblock, and where the first label keeps them.
const ZFS_UBERBLOCK: u64 = 0x00BA_B10C;
const ZFS_UBERBLOCKS: std::ops::Range<u64> = 128..256;

/// What controller's RAID metadata `device` carries.
pub(super) fn foreign_raid(device: &dyn ReadAt) -> Option<&'static str> {
    find(device, FOREIGN_RAID)
}

/// What `device` looks like.
pub(super) fn contents(device: &dyn ReadAt) -> Option<&'static str> {
    find(device, CONTENTS).or_else(|| {
        is_zfs(device).then_some("a member of a ZFS pool: its metadata is not read yet; messages can be carved from blocks that ZFS did not compress")
    })
}

fn find(device: &dyn ReadAt, known: &[(At, &[u8], &'static str)]) -> Option<&'static str> {
    known.iter().find_map(|(at, magic, name)| {
        let at = match at {
            At::Start(at) => *at,
            At::End(back) => device.len().checked_sub(*back)?,
        };
        let bytes = device.read_whole(ByteOffset::new(at), magic.len())?;
        (bytes == *magic).then_some(*name)
    })
}

/// Whether there are uberblocks of either byte order where a ZFS label has them.
fn is_zfs(device: &dyn ReadAt) -> bool {
    ZFS_UBERBLOCKS.into_iter().any(|slot| {
        let at = ByteOffset::new(slot.saturating_mul(1024));
        device.read_whole(at, 8).is_some_and(|bytes| {
            bytes == ZFS_UBERBLOCK.to_le_bytes() || bytes == ZFS_UBERBLOCK.to_be_bytes()
        })
    })
}

/// What is to be said of a device on which nothing is recognised.
pub(super) fn nothing(device: &dyn ReadAt) -> String {
    const LOOK: u64 = 1 << 20;
    if is_one_of_several(device) {
        return "one of several devices of a btrfs: its first superblock is gone; what is left of it is put together from its blocks".to_owned();
    }
    let length = usize::try_from(device.len().min(LOOK)).unwrap_or(0);
    match device.read_vec(ByteOffset::ZERO, length) {
        Ok((_, gaps)) if gaps.bytes() == length => "its first bytes cannot be read".to_owned(),
        Ok((bytes, _)) if bytes.iter().all(|byte| *byte == 0) => {
            "nothing recognised: its first megabyte reads as zeros".to_owned()
        }
        _ => "nothing recognised".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use evidence::view::Memory;

    use super::*;

    #[test]
    fn signatures_are_found_at_either_end() {
        let mut disk = vec![0; 1 << 18];
        assert_eq!(contents(&Memory::new(disk.clone())), None);
        assert!(nothing(&Memory::new(disk.clone())).contains("zeros"));
        disk[4086..4096].copy_from_slice(b"SWAPSPACE2");
        let name = contents(&Memory::new(disk.clone())).unwrap();
        assert_eq!(name, "swap space");
        disk[(1 << 18) - 512..][..4].copy_from_slice(&[0xDE, 0x11, 0xDE, 0x11]);
        let name = foreign_raid(&Memory::new(disk.clone())).unwrap();
        assert!(name.starts_with("DDF"), "{name}");
        disk[4086..4096].fill(0);
        disk[200 * 1024..][..8].copy_from_slice(&ZFS_UBERBLOCK.to_be_bytes());
        let name = contents(&Memory::new(disk)).unwrap();
        assert!(name.contains("ZFS"), "{name}");
    }
}
