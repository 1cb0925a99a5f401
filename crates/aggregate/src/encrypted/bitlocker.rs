//! BitLocker: the boot sector leads to three copies of its metadata, which name the volume and
//! say what its key is locked with.
//!
//! Source: *BitLocker Drive Encryption (BDE) format* of libbde, and cryptsetup's `lib/bitlk`.

use evidence::{ByteOffset, Fields, ReadAt, ReadAtExt};
use uuid::Uuid;

/// What the boot sector and each copy of the metadata have.
const SIGNATURE: &[u8] = b"-FVE-FS-";
/// What the boot sector of a removable disk has in its place.
const TO_GO: &[u8] = b"MSWIN4.1";
/// Where the identifier and the three places of the metadata stand, for fixed disks and for
/// removable ones.
const PLACES: [usize; 2] = [160, 424];
/// Identifiers of BitLocker, and of BitLocker that encrypted what was in use only.
const IDENTIFIERS: [&str; 2] = [
    "4967d63b-2e29-4ad8-8399-f6a339e3d001",
    "92a84d3b-dd80-4d0e-9e4e-b1e3284eaed8",
];
/// Metadata have at most so many bytes.
const MOST_METADATA: usize = 64 << 10;
/// Where the header of the metadata begins, and where its entries do.
const METADATA_AT: usize = 64;
const ENTRIES_AT: usize = 112;
/// Entries are looked at up to this many.
const MOST_ENTRIES: usize = 256;
/// Longest description that is kept, in characters.
const MOST_TEXT: usize = 200;

/// What the metadata of a volume say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Volume {
    /// Its identifier; empty if no copy of the metadata can be read.
    pub(super) uuid: String,
    /// What Windows calls it: the machine, the drive and the day.
    pub(super) description: String,
    /// The cipher.
    pub(super) cipher: String,
    /// What its key is locked with, each with its identifier.
    pub(super) keys: Vec<String>,
    /// Whether a key lies beside it that is not locked.
    pub(super) has_clear_key: bool,
}

/// The volume whose boot sector is at the start of `device`.
pub(super) fn read(device: &dyn ReadAt) -> Option<Volume> {
    let sector = device.read_whole(ByteOffset::ZERO, 512)?;
    let boot = Fields::new(&sector);
    let signature = boot.slice(3, SIGNATURE.len())?;
    let identified = PLACES.iter().find(|at| {
        let identifier = boot.slice(**at, 16).map(guid);
        identifier.is_some_and(|guid| IDENTIFIERS.contains(&guid.as_str()))
    });
    if signature != SIGNATURE && !(signature == TO_GO && identified.is_some()) {
        return None;
    }
    let places = match identified {
        Some(at) => places(boot, at.saturating_add(16)),
        None => vista(boot).into_iter().collect(),
    };
    let read = places.into_iter().find_map(|at| metadata(device, at));
    Some(read.unwrap_or_default())
}

fn places(boot: Fields<'_>, at: usize) -> Vec<u64> {
    let each = (0..3_usize).map(|number| number.saturating_mul(8).saturating_add(at));
    each.filter_map(|at| boot.le_u64(at)).collect()
}

/// Of Windows Vista: the number of a cluster.
fn vista(boot: Fields<'_>) -> Option<u64> {
    let cluster = u64::from(boot.le_u16(11)?).checked_mul(u64::from(boot.u8(13)?))?;
    boot.le_u64(56)?.checked_mul(cluster)
}

/// The metadata at `at`, if they are some.
fn metadata(device: &dyn ReadAt, at: u64) -> Option<Volume> {
    let rest = device.len().checked_sub(at)?;
    let length = usize::try_from(rest)
        .unwrap_or(usize::MAX)
        .min(MOST_METADATA);
    let (bytes, _) = device.read_vec(ByteOffset::new(at), length).ok()?;
    let block = Fields::new(&bytes);
    if block.slice(0, SIGNATURE.len())? != SIGNATURE {
        return None;
    }
    let size = usize::try_from(block.le_u32(METADATA_AT)?).ok()?;
    let end = METADATA_AT.checked_add(size)?.min(bytes.len());
    let mut volume = Volume {
        uuid: guid(block.slice(METADATA_AT.checked_add(16)?, 16)?),
        cipher: cipher(block.le_u32(METADATA_AT.checked_add(36)?)?),
        ..Volume::default()
    };
    let mut at = ENTRIES_AT;
    for _ in 0..MOST_ENTRIES {
        let Some(entry) = entry(block, at, end) else {
            break;
        };
        volume.add(&entry);
        at = entry.next;
    }
    Some(volume)
}

/// An entry of the metadata.
struct Entry<'a> {
    kind: u16,
    value: u16,
    data: &'a [u8],
    next: usize,
}

fn entry(block: Fields<'_>, at: usize, end: usize) -> Option<Entry<'_>> {
    let size = usize::from(block.le_u16(at)?);
    let next = at
        .checked_add(size)
        .filter(|next| size >= 8 && *next <= end)?;
    Some(Entry {
        kind: block.le_u16(at.checked_add(2)?)?,
        value: block.le_u16(at.checked_add(4)?)?,
        data: block.slice(at.checked_add(8)?, size.checked_sub(8)?)?,
        next,
    })
}

impl Volume {
    fn add(&mut self, entry: &Entry<'_>) {
        match (entry.kind, entry.value) {
            // A volume master key.
            (2, 8) => {
                let data = Fields::new(entry.data);
                if let (Some(id), Some(lock)) = (data.slice(0, 16), data.le_u16(26)) {
                    self.has_clear_key |= lock == 0;
                    self.keys.push(format!("{} {}", lock_name(lock), guid(id)));
                }
            }
            // The description.
            (7, 2) => self.description = utf16(entry.data),
            _ => {}
        }
    }
}

/// What a key is locked with.
fn lock_name(lock: u16) -> String {
    let name = match lock {
        0 => "a key that lies beside it unlocked",
        0x0100 => "the machine's TPM",
        0x0200 => "startup key (.BEK file)",
        0x0500 => "the machine's TPM with a PIN",
        0x0800 => "recovery key",
        0x1000 => "smart card",
        0x2000 => "password",
        other => return format!("lock {other:#06x}"),
    };
    name.to_owned()
}

fn cipher(method: u32) -> String {
    let name = match method & 0xFFFF {
        0x8000 => "AES-CBC with elephant diffuser, 128 bits",
        0x8001 => "AES-CBC with elephant diffuser, 256 bits",
        0x8002 => "AES-CBC, 128 bits",
        0x8003 => "AES-CBC, 256 bits",
        0x8004 => "AES-XTS, 128 bits",
        0x8005 => "AES-XTS, 256 bits",
        other => return format!("method {other:#06x}"),
    };
    name.to_owned()
}

/// A GUID, whose first numbers are little-endian.
fn guid(bytes: &[u8]) -> String {
    bytes.try_into().map_or_else(
        |_| String::new(),
        |bytes| Uuid::from_bytes_le(bytes).hyphenated().to_string(),
    )
}

/// A text of UTF-16, without what could not be shown.
fn utf16(bytes: &[u8]) -> String {
    let units = bytes
        .chunks_exact(2)
        .filter_map(|pair| pair.try_into().ok().map(u16::from_le_bytes));
    char::decode_utf16(units.take_while(|unit| *unit != 0))
        .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
        .filter(|c| !c.is_control())
        .take(MOST_TEXT)
        .collect()
}
