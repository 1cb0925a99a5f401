//! What is said of a BitLocker volume is what cryptsetup says of it.

use aggregate::document::EncryptionKind;

use crate::tools::{Lab, encrypted, look};

const AT: [usize; 3] = [1 << 20, 2 << 20, 3 << 20];

/// A volume with three copies of its metadata: two keys and a description.
fn volume() -> Vec<u8> {
    let mut disk = vec![0; 4 << 20];
    disk[..3].copy_from_slice(&[0xEB, 0x58, 0x90]);
    disk[3..11].copy_from_slice(b"-FVE-FS-");
    disk[11..14].copy_from_slice(&[0, 2, 8]);
    let identifier = [
        0x3B, 0xD6, 0x67, 0x49, 0x29, 0x2E, 0xD8, 0x4A, 0x83, 0x99, 0xF6, 0xA3, 0x39, 0xE3, 0xD0, 1,
    ];
    disk[160..176].copy_from_slice(&identifier);
    disk[510..512].copy_from_slice(&[0x55, 0xAA]);
    let block = metadata();
    for (at, field) in AT.into_iter().zip([176, 184, 192]) {
        disk[field..field + 8].copy_from_slice(&(at as u64).to_le_bytes());
        disk[at..][..block.len()].copy_from_slice(&block);
    }
    disk
}

fn metadata() -> Vec<u8> {
    let mut entries = Vec::new();
    entries.extend(key(0x2000, 0x11));
    entries.extend(key(0x0800, 0x22));
    // The key of the volume itself, and where the start of what it encrypts was moved to.
    entries.extend(entry(3, 5, &[0x33; 60]));
    let moved = [0x38_0000_u64, 8192].map(u64::to_le_bytes);
    entries.extend(entry(15, 15, &moved.concat()));
    let name: Vec<u8> = "STORE D: 5/5/2020\0"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    entries.extend(entry(7, 2, &name));
    let size = u32::try_from(48 + entries.len()).unwrap();
    let mut block = b"-FVE-FS-".to_vec();
    block.extend(u16::to_le_bytes(
        u16::try_from((size + 64) / 16 + 1).unwrap(),
    ));
    block.extend([2, 0, 4, 0, 4, 0]);
    block.extend((4_u64 << 20).to_le_bytes());
    block.extend([0; 4]);
    block.extend(16_u32.to_le_bytes());
    for at in AT {
        block.extend((at as u64).to_le_bytes());
    }
    block.extend((0x38_0000_u64).to_le_bytes());
    block.extend(size.to_le_bytes());
    block.extend([1, 0, 0, 0, 48, 0, 0, 0]);
    block.extend(size.to_le_bytes());
    block.extend([0x44; 16]);
    block.extend(5_u32.to_le_bytes());
    block.extend(0x8005_u32.to_le_bytes());
    block.extend(0x01D6_2200_0000_0000_u64.to_le_bytes());
    block.extend(entries);
    block.resize(65536, 0);
    block
}

fn entry(kind: u16, value: u16, data: &[u8]) -> Vec<u8> {
    let size = u16::try_from(data.len() + 8).unwrap();
    let mut entry: Vec<u8> = [size, kind, value, 1]
        .into_iter()
        .flat_map(u16::to_le_bytes)
        .collect();
    entry.extend(data);
    entry
}

/// A volume master key with the salt of a stretched key and an encrypted key.
fn key(lock: u16, id: u8) -> Vec<u8> {
    let mut data = vec![id; 16];
    data.extend(0x01D6_2200_0000_0000_u64.to_le_bytes());
    data.extend([0; 2]);
    data.extend(lock.to_le_bytes());
    let mut stretched = vec![0, 0x10, 0, 0];
    stretched.extend([id; 16]);
    data.extend(entry(0, 3, &stretched));
    data.extend(entry(0, 5, &[id; 60]));
    entry(2, 8, &data)
}

#[test]
fn a_volume_is_named_as_cryptsetup_names_it() {
    let lab = Lab::new();
    let disk = volume();
    std::fs::write(lab.path("disk"), &disk).unwrap();
    let said = lab.run("cryptsetup", &["bitlkDump", "disk"]);
    let found = encrypted(disk);
    assert_eq!(found.kind, EncryptionKind::Bitlocker);
    for text in [&found.uuid, &found.label] {
        assert!(
            !text.is_empty() && said.contains(text.as_str()),
            "{text}: {said}"
        );
    }
    assert_eq!(found.cipher, "AES-XTS, 256 bits");
    assert_eq!(found.keys.len(), 2);
    for (key, lock) in found.keys.iter().zip(["passphrase", "recovery passphrase"]) {
        let id = key.rsplit(' ').next().unwrap();
        let rest = said
            .split_once(id)
            .unwrap_or_else(|| panic!("{id}: {said}"))
            .1;
        assert!(
            rest.contains(&format!("VMK protected with {lock}\n")),
            "{said}"
        );
    }
    assert!(found.needs.contains("recovery key"), "{}", found.needs);
}

#[test]
fn a_copy_of_the_metadata_is_enough() {
    let mut disk = volume();
    disk[AT[0]..][..4096].fill(0);
    let found = encrypted(disk.clone());
    assert_eq!(found.keys.len(), 2);
    for at in AT {
        disk[at..][..4096].fill(0);
    }
    let found = encrypted(disk);
    assert_eq!(found.kind, EncryptionKind::Bitlocker);
    assert!(found.notes[0].contains("metadata"), "{:?}", found.notes);
}

#[test]
fn damaged_metadata_never_stop_anything() {
    let mut whole = volume();
    whole.truncate(AT[0] + 65536);
    for at in (0..600).step_by(13) {
        let mut disk = whole.clone();
        disk[AT[0] + at..][..4].fill(0xFF);
        if at < 500 {
            disk[160 + at % 40] ^= 0xFF;
        }
        look(disk);
    }
}
