//! Version 2: a binary header with a checksum, and JSON behind it; twice.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use evidence::{ByteOffset, Fields, ReadAt, ReadAtExt};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::hash::Hash;
use super::{Container, Digest, Kdf, MOST_KEY_BYTES, MOST_SLOTS, Payload, Slot, text, uuid};

/// The magic of the first header, and that of the second.
const MAGIC: [&[u8]; 2] = [b"LUKS\xBA\xBE\0\x02", b"SKUL\xBA\xBE\0\x02"];
/// The length of `struct luks2_hdr_disk`.
const BINARY_BYTES: usize = 4096;
/// The lengths of a header, which is also where the second one begins.
const SIZES: [u64; 9] = [
    0x4000, 0x8000, 0x1_0000, 0x2_0000, 0x4_0000, 0x8_0000, 0x10_0000, 0x20_0000, 0x40_0000,
];
/// Where the checksum stands, and for how many bytes there is room.
const CHECKSUM: (usize, usize) = (448, 64);
/// More stripes than any program writes; cryptsetup writes 4,000.
const MOST_STRIPES: u32 = 1 << 16;
/// More objects of a kind than a header has room for that a person would read.
const MOST_OBJECTS: usize = 256;

/// One of the two headers.
struct Header {
    sequence: u64,
    uuid: String,
    label: String,
    /// The JSON; an error if the checksum does not hold.
    json: Result<Vec<u8>, &'static str>,
}

/// Reads the newer one of the sound headers of `device`.
pub(super) fn read(device: &dyn ReadAt) -> Option<Container> {
    let first = header_at(device, 0, 0);
    let second = SIZES
        .iter()
        .find_map(|at| header_at(device, 1, *at).filter(|header| header.json.is_ok()));
    let mut notes = Vec::new();
    let sound = |header: &Option<Header>| header.as_ref().is_some_and(|h| h.json.is_ok());
    match (sound(&first), &second) {
        (false, Some(_)) => notes.push(
            "the first header is gone or damaged: what is said is that of the second one"
                .to_owned(),
        ),
        (true, None) => notes.push("the second header is gone or damaged".to_owned()),
        _ => {}
    }
    let has_first = first.is_some();
    let best = match (first, second) {
        (Some(first), Some(second)) if second.sequence > first.sequence => second,
        (Some(first), Some(second)) if first.json.is_err() => second,
        (Some(first), _) => first,
        (None, second) => second?,
    };
    Some(container(best, has_first, notes))
}

/// The header of one of the two kinds at `at`.
fn header_at(device: &dyn ReadAt, kind: usize, at: u64) -> Option<Header> {
    let magic = MAGIC.get(kind)?;
    let read = device.read_whole(ByteOffset::new(at), magic.len())?;
    if read != *magic {
        return None;
    }
    let broken = |why| Header {
        sequence: 0,
        uuid: String::new(),
        label: String::new(),
        json: Err(why),
    };
    let Some(binary) = device.read_whole(ByteOffset::new(at), BINARY_BYTES) else {
        return Some(broken("its header cannot be read whole"));
    };
    let fields = Fields::new(&binary);
    let mut header = Header {
        sequence: fields.be_u64(16)?,
        label: text(fields.slice(24, 48)?),
        uuid: uuid(fields.slice(168, 40)?),
        ..broken("its header is damaged: the checksum does not hold")
    };
    let size = fields.be_u64(8)?;
    // `hdr_offset`: where the header itself lies.
    if SIZES.contains(&size) && fields.be_u64(256)? == at && (at == 0 || at == size) {
        let bytes = device.read_whole(ByteOffset::new(at), usize::try_from(size).ok()?);
        if let Some(json) = bytes.and_then(sound) {
            header.json = Ok(json);
        }
    }
    Some(header)
}

/// The JSON of a header whose checksum holds.
fn sound(mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    let (at, room) = CHECKSUM;
    let hash = Hash::from_name(&text(bytes.get(72..104)?))?;
    let stored = bytes.get(at..at.checked_add(hash.bytes())?)?.to_vec();
    bytes.get_mut(at..at.checked_add(room)?)?.fill(0);
    if hash.digest(&[&bytes]) != stored {
        return None;
    }
    let mut json = bytes.split_off(BINARY_BYTES.min(bytes.len()));
    let end = json.iter().position(|byte| *byte == 0);
    json.truncate(end.unwrap_or(json.len()));
    Some(json)
}

/// The JSON of a header; of its objects those are taken that make sense.
#[derive(Debug, Deserialize)]
struct Metadata {
    keyslots: BTreeMap<u32, Value>,
    #[serde(default)]
    tokens: BTreeMap<u32, Value>,
    segments: BTreeMap<u32, Value>,
    digests: BTreeMap<u32, Value>,
    #[serde(default)]
    config: Config,
}

#[derive(Debug, Default, Deserialize)]
struct Config {
    #[serde(default)]
    requirements: Requirements,
}

#[derive(Debug, Default, Deserialize)]
struct Requirements {
    #[serde(default)]
    mandatory: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Typed {
    r#type: String,
}

#[derive(Debug, Deserialize)]
struct Keyslot {
    key_size: usize,
    af: Spread,
    area: Area,
    kdf: Function,
    /// 0 for one that is only used when it is asked for.
    #[serde(default = "usual")]
    priority: u32,
}

const fn usual() -> u32 {
    1
}

#[derive(Debug, Deserialize)]
struct Spread {
    r#type: String,
    stripes: u32,
    hash: String,
}

#[derive(Debug, Deserialize)]
struct Area {
    r#type: String,
    offset: String,
    encryption: String,
    key_size: usize,
}

#[derive(Debug, Deserialize)]
struct Function {
    r#type: String,
    salt: String,
    hash: Option<String>,
    iterations: Option<u32>,
    time: Option<u32>,
    memory: Option<u32>,
    cpus: Option<u32>,
}

#[derive(Debug, Deserialize)]
struct Segment {
    r#type: String,
    offset: String,
    size: String,
    #[serde(default)]
    iv_tweak: String,
    #[serde(default)]
    encryption: String,
    #[serde(default)]
    sector_size: u32,
    integrity: Option<Value>,
    #[serde(default)]
    flags: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct DigestObject {
    keyslots: Vec<String>,
    segments: Vec<String>,
    hash: String,
    iterations: u32,
    salt: String,
    digest: String,
}

fn container(header: Header, has_first: bool, mut notes: Vec<String>) -> Container {
    let mut container = Container {
        version: 2,
        uuid: header.uuid,
        label: header.label,
        payload: Err(String::new()),
        slots: Vec::new(),
        other_slots: 0,
        digests: Vec::new(),
        tokens: Vec::new(),
        has_first,
        notes: Vec::new(),
    };
    let metadata = header.json.map_err(str::to_owned).and_then(|json| {
        let read: Result<Metadata, _> = serde_json::from_slice(&json);
        read.map_err(|error| format!("the metadata in its header does not parse: {error}"))
    });
    match metadata {
        Ok(metadata) => fill(&mut container, &metadata, &mut notes),
        Err(why) => {
            notes.push(why.clone());
            container.payload = Err(why);
        }
    }
    container.notes = notes;
    container
}

fn fill(container: &mut Container, metadata: &Metadata, notes: &mut Vec<String>) {
    let mut slots: Vec<(u32, Slot)> = Vec::new();
    for (number, value) in metadata.keyslots.iter().take(MOST_SLOTS) {
        let read = object::<Keyslot>(value).and_then(|slot| slot_of(*number, slot));
        match read {
            Some(slot) => slots.push(slot),
            None => {
                container.other_slots = container.other_slots.saturating_add(1);
                notes.push(format!(
                    "slot {number} ({}) is of a kind that is not read",
                    kind_of(value)
                ));
            }
        }
    }
    // Those that are preferred come first.
    slots.sort_by_key(|(priority, slot)| (std::cmp::Reverse(*priority), slot.number));
    container.slots = slots.into_iter().map(|(_, slot)| slot).collect();
    let digests = metadata.digests.values().take(MOST_OBJECTS);
    container.digests = digests
        .filter_map(|value| digest_of(object(value)?))
        .collect();
    let tokens = metadata.tokens.values().take(MOST_OBJECTS);
    container.tokens = tokens.map(kind_of).collect();
    container.payload = payload_of(metadata, &container.digests, &container.slots);
}

fn object<T: DeserializeOwned>(value: &Value) -> Option<T> {
    T::deserialize(value).ok()
}

/// The `type` of an object, for people.
fn kind_of(value: &Value) -> String {
    object::<Typed>(value).map_or_else(String::new, |typed| text(typed.r#type.as_bytes()))
}

fn slot_of(number: u32, slot: Keyslot) -> Option<(u32, Slot)> {
    let lengths = [slot.key_size, slot.area.key_size];
    let fits = lengths.iter().all(|n| (1..=MOST_KEY_BYTES).contains(n))
        && (1..=MOST_STRIPES).contains(&slot.af.stripes)
        && slot.area.r#type == "raw"
        && slot.af.r#type == "luks1";
    fits.then_some(())?;
    let salt = bytes_of(&slot.kdf.salt)?;
    let kdf = match slot.kdf.r#type.as_str() {
        "pbkdf2" => Kdf::Pbkdf2 {
            hash: text(slot.kdf.hash?.as_bytes()),
            iterations: slot.kdf.iterations?,
            salt,
        },
        kind @ ("argon2i" | "argon2id") => Kdf::Argon2 {
            is_id: kind == "argon2id",
            time: slot.kdf.time?,
            memory: slot.kdf.memory?,
            lanes: slot.kdf.cpus?,
            salt,
        },
        _ => return None,
    };
    let read = Slot {
        number,
        kdf,
        at: slot.area.offset.parse().ok()?,
        cipher: text(slot.area.encryption.as_bytes()),
        lock_bytes: slot.area.key_size,
        key_bytes: slot.key_size,
        stripes: slot.af.stripes,
        hash: text(slot.af.hash.as_bytes()),
    };
    Some((slot.priority, read))
}

fn digest_of(digest: DigestObject) -> Option<Digest> {
    let numbers = |all: &[String]| -> Vec<u32> {
        all.iter()
            .take(MOST_OBJECTS)
            .filter_map(|number| number.parse().ok())
            .collect()
    };
    Some(Digest {
        slots: numbers(&digest.keyslots),
        segments: numbers(&digest.segments),
        hash: text(digest.hash.as_bytes()),
        iterations: digest.iterations,
        salt: bytes_of(&digest.salt)?,
        digest: bytes_of(&digest.digest)?,
    })
}

/// Bytes that stand in base64; salts and digests are short.
fn bytes_of(text: &str) -> Option<Vec<u8>> {
    BASE64_STANDARD
        .decode(text.get(..text.len().min(1024))?)
        .ok()
}

/// The part of the device that is encrypted, if there is one and no more.
fn payload_of(metadata: &Metadata, digests: &[Digest], slots: &[Slot]) -> Result<Payload, String> {
    let required = &metadata.config.requirements.mandatory;
    if !required.is_empty() {
        let names: Vec<String> = required.iter().map(|name| text(name.as_bytes())).collect();
        return Err(format!(
            "it needs what is not supported: {}; an interrupted re-encryption is to be ended with \
             cryptsetup on a copy",
            names.join(", ")
        ));
    }
    let unreadable = || "what its header says of the encrypted part does not make sense".to_owned();
    let mut segments = metadata.segments.iter();
    let (Some((number, value)), None) = (segments.next(), segments.next()) else {
        return Err("its encrypted part is in several pieces, which is not supported".to_owned());
    };
    let segment: Segment = object(value).ok_or_else(unreadable)?;
    if segment.r#type != "crypt" || segment.integrity.is_some() || !segment.flags.is_empty() {
        return Err(format!(
            "its encrypted part is of a kind that is not supported: {}{}",
            text(segment.r#type.as_bytes()),
            if segment.integrity.is_some() {
                " with authentication tags"
            } else {
                ""
            }
        ));
    }
    let is_of = |digest: &&Digest| digest.segments.contains(number);
    let digest = digests.iter().find(is_of).ok_or_else(unreadable)?;
    let mut lengths = slots
        .iter()
        .filter(|slot| digest.slots.contains(&slot.number));
    let key_bytes = lengths.next().map(|slot| slot.key_bytes);
    let read = || {
        let bytes = match segment.size.as_str() {
            "dynamic" => None,
            size => Some(size.parse().ok()?),
        };
        let sector_bytes = segment.sector_size;
        let is_sector = sector_bytes.is_power_of_two() && (512..=4096).contains(&sector_bytes);
        is_sector.then_some(())?;
        Some(Payload {
            at: segment.offset.parse().ok()?,
            bytes,
            cipher: text(segment.encryption.as_bytes()),
            key_bytes: key_bytes.unwrap_or(0),
            sector_bytes,
            iv_offset: segment.iv_tweak.parse().ok()?,
            number: *number,
        })
    };
    read().ok_or_else(unreadable)
}
