//! Version 1: `struct luks_phdr`, which is big-endian and has no checksum.

use evidence::{ByteOffset, Fields, ReadAt, ReadAtExt, SECTOR_BYTES};

use super::{Container, DIGEST_BYTES, Digest, Kdf, MOST_KEY_BYTES, Payload, Slot, text, uuid};

/// The length of `struct luks_phdr`.
const HEADER_BYTES: usize = 592;
/// `LUKS_MAGIC` and `version`.
const MAGIC: &[u8] = b"LUKS\xBA\xBE\0\x01";
/// Where the slots begin, how long one is, and how many there are.
const SLOTS: (usize, usize, u32) = (208, 48, 8);
/// `LUKS_KEY_ENABLED`.
const ENABLED: u32 = 0x00AC_71F3;
/// More stripes than any program writes; cryptsetup writes 4,000.
const MOST_STRIPES: u32 = 1 << 16;

/// Reads the header at the start of `device`.
pub(super) fn read(device: &dyn ReadAt) -> Option<Container> {
    let magic = device.read_whole(ByteOffset::ZERO, MAGIC.len())?;
    if magic != MAGIC {
        return None;
    }
    let Some(bytes) = device.read_whole(ByteOffset::ZERO, HEADER_BYTES) else {
        return Some(unreadable("its header cannot be read whole"));
    };
    parse(Fields::new(&bytes)).or_else(|| Some(unreadable("its header contradicts itself")))
}

/// A container of which nothing more is known.
fn unreadable(why: &str) -> Container {
    Container {
        version: 1,
        uuid: String::new(),
        label: String::new(),
        payload: Err(why.to_owned()),
        slots: Vec::new(),
        other_slots: 0,
        digests: Vec::new(),
        tokens: Vec::new(),
        has_first: true,
        notes: vec![why.to_owned()],
    }
}

fn parse(header: Fields<'_>) -> Option<Container> {
    let cipher = text(header.slice(8, 32)?);
    let mode = text(header.slice(40, 32)?);
    let hash = text(header.slice(72, 32)?);
    let at = u64::from(header.be_u32(104)?).checked_mul(SECTOR_BYTES)?;
    let key_bytes = usize::try_from(header.be_u32(108)?).ok()?;
    if cipher.is_empty() || at == 0 || !(1..=MOST_KEY_BYTES).contains(&key_bytes) {
        return None;
    }
    let cipher = format!("{cipher}-{mode}");
    let digest = Digest {
        slots: Vec::new(),
        segments: Vec::new(),
        hash: hash.clone(),
        iterations: header.be_u32(164)?,
        salt: header.slice(132, 32)?.to_vec(),
        digest: header.slice(112, DIGEST_BYTES)?.to_vec(),
    };
    let (first, length, count) = SLOTS;
    let mut slots = Vec::new();
    let mut notes = Vec::new();
    for number in 0..count {
        let start = usize::try_from(number).ok()?.checked_mul(length)?;
        let slot = header.slice(first.checked_add(start)?, length)?;
        match slot_of(Fields::new(slot), number, &cipher, &hash, key_bytes) {
            Ok(slot) => slots.extend(slot),
            Err(why) => notes.push(format!("slot {number}: {why}")),
        }
    }
    Some(Container {
        version: 1,
        uuid: uuid(header.slice(168, 40)?),
        label: String::new(),
        payload: Ok(Payload {
            at,
            bytes: None,
            cipher,
            key_bytes,
            sector_bytes: 512,
            iv_offset: 0,
            number: 0,
        }),
        slots,
        other_slots: 0,
        digests: vec![digest],
        tokens: Vec::new(),
        has_first: true,
        notes,
    })
}

/// A slot that is in use; `None` for one that is not.
fn slot_of(
    slot: Fields<'_>,
    number: u32,
    cipher: &str,
    hash: &str,
    key_bytes: usize,
) -> Result<Option<Slot>, &'static str> {
    let cut = "it is cut short";
    if slot.be_u32(0).ok_or(cut)? != ENABLED {
        return Ok(None);
    }
    let iterations = slot.be_u32(4).ok_or(cut)?;
    let stripes = slot.be_u32(44).ok_or(cut)?;
    if iterations == 0 || !(1..=MOST_STRIPES).contains(&stripes) {
        return Err("it is in use, and damaged");
    }
    Ok(Some(Slot {
        number,
        kdf: Kdf::Pbkdf2 {
            hash: hash.to_owned(),
            iterations,
            salt: slot.slice(8, 32).ok_or(cut)?.to_vec(),
        },
        at: u64::from(slot.be_u32(40).ok_or(cut)?).saturating_mul(SECTOR_BYTES),
        cipher: cipher.to_owned(),
        lock_bytes: key_bytes,
        key_bytes,
        stripes,
        hash: hash.to_owned(),
    }))
}
