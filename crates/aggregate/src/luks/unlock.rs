//! From a passphrase to the volume key.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use evidence::{ByteOffset, ReadAt, ReadAtExt};
use zeroize::Zeroizing;

use super::hash::Hash;
use super::{Container, Digest, Kdf, Payload, Slot, cipher};

/// Sectors of slots have this length, whatever those of the volume have.
const SLOT_SECTOR: usize = 512;
/// Most memory that a slot may ask for, in KiB: as much as cryptsetup itself writes.
const MOST_MEMORY: u32 = 4 << 20;
/// Most work that is done for a container: passes times KiB, some minutes. cryptsetup makes slots that
/// take two seconds.
const MOST_WORK: u64 = 512 << 20;
/// Most repetitions of a hash that are done for one, some minutes as well.
const MOST_ITERATIONS: u64 = 500_000_000;
/// Most lanes; cryptsetup writes four.
const MOST_LANES: u32 = 64;
/// A locked key is no longer: 64 bytes times 65,536 stripes.
const MOST_AREA: usize = 4 << 20;

/// How much may still be done for a container: a forged header must not stop a run.
pub(super) struct Budget {
    work: u64,
    iterations: u64,
}

impl Budget {
    /// That of one container, for all of its slots and all keys.
    pub(super) const fn new() -> Self {
        Self {
            work: MOST_WORK,
            iterations: MOST_ITERATIONS,
        }
    }

    fn take_iterations(&mut self, iterations: u32) -> Option<()> {
        self.iterations = self.iterations.checked_sub(u64::from(iterations))?;
        (iterations > 0).then_some(())
    }

    fn take_memory(&mut self, time: u32, memory: u32, lanes: u32) -> Option<()> {
        let work = u64::from(time).checked_mul(u64::from(memory))?;
        self.work = self.work.checked_sub(work)?;
        (memory <= MOST_MEMORY && lanes <= MOST_LANES).then_some(())
    }
}

/// A volume key. Nothing shows it.
pub(super) type VolumeKey = Zeroizing<Vec<u8>>;

/// The key of a container's volume that `secret` opens one of the slots of; `None` if it opens none.
/// `troubles` learns which slots could not be tried.
pub(super) fn volume_key(
    device: &dyn ReadAt,
    container: &Container,
    payload: &Payload,
    secret: &[u8],
    budget: &mut Budget,
    troubles: &mut Vec<String>,
) -> Option<VolumeKey> {
    for slot in &container.slots {
        match try_slot(device, container, payload, slot, secret, budget) {
            Ok(Some(key)) => return Some(key),
            Ok(None) => {}
            Err(why) => {
                let why = format!("slot {} was not tried: {why}", slot.number);
                if !troubles.contains(&why) {
                    troubles.push(why);
                }
            }
        }
    }
    None
}

fn try_slot(
    device: &dyn ReadAt,
    container: &Container,
    payload: &Payload,
    slot: &Slot,
    secret: &[u8],
    budget: &mut Budget,
) -> Result<Option<VolumeKey>, String> {
    let digests: Vec<&Digest> = container
        .digests
        .iter()
        .filter(|digest| is_for(digest, slot, payload))
        .collect();
    if digests.is_empty() {
        return Err("nothing says what its key is recognised by".to_owned());
    }
    let hash = Hash::from_name(&slot.hash).ok_or_else(|| unsupported_hash(&slot.hash))?;
    let stripes = usize::try_from(slot.stripes).unwrap_or(usize::MAX);
    let length = slot.key_bytes.checked_mul(stripes);
    let length = length.filter(|length| *length <= MOST_AREA);
    let length = length.ok_or("it is longer than any")?;
    let area = length.next_multiple_of(SLOT_SECTOR);
    let mut locked = device
        .read_whole(ByteOffset::new(slot.at), area)
        .map(Zeroizing::new)
        .ok_or("its contents cannot be read whole")?;
    let mut key = Zeroizing::new(vec![0; slot.lock_bytes]);
    derive(&slot.kdf, secret, &mut key, budget)?;
    let cipher = cipher::open(&slot.cipher, &key)?;
    for (number, sector) in (0..).zip(locked.chunks_mut(SLOT_SECTOR)) {
        cipher.decrypt(sector, number);
    }
    let spread = locked.get(..length).unwrap_or_default();
    let key = merge(spread, slot.key_bytes, hash);
    for digest in digests {
        if is_key(&key, digest, budget)? {
            return Ok(Some(key));
        }
    }
    Ok(None)
}

/// Whether a digest tells of the key in `slot` whether it is that of `payload`.
fn is_for(digest: &Digest, slot: &Slot, payload: &Payload) -> bool {
    let has = |all: &[u32], one| all.is_empty() || all.contains(&one);
    has(&digest.slots, slot.number) && has(&digest.segments, payload.number)
}

fn unsupported_hash(name: &str) -> String {
    format!("the hash {name} is not supported")
}

/// Makes a key of a passphrase.
fn derive(kdf: &Kdf, secret: &[u8], key: &mut [u8], budget: &mut Budget) -> Result<(), String> {
    let too_much = || {
        format!(
            "its parameters ask for more than is done: {}",
            kdf.describe()
        )
    };
    match kdf {
        Kdf::Pbkdf2 {
            hash,
            iterations,
            salt,
        } => {
            let hash = Hash::from_name(hash).ok_or_else(|| unsupported_hash(hash))?;
            budget.take_iterations(*iterations).ok_or_else(too_much)?;
            hash.pbkdf2(secret, salt, *iterations, key);
            Ok(())
        }
        Kdf::Argon2 {
            is_id,
            time,
            memory,
            lanes,
            salt,
        } => {
            budget
                .take_memory(*time, *memory, *lanes)
                .ok_or_else(too_much)?;
            let params = Params::new(*memory, *time, *lanes, Some(key.len()));
            let params = params.map_err(|error| error.to_string())?;
            let algorithm = if *is_id {
                Algorithm::Argon2id
            } else {
                Algorithm::Argon2i
            };
            let mut blocks: Vec<Block> = Vec::new();
            blocks
                .try_reserve_exact(params.block_count())
                .map_err(|_| format!("there is no memory for it: {}", kdf.describe()))?;
            blocks.resize(params.block_count(), Block::new());
            Argon2::new(algorithm, Version::V0x13, params)
                .hash_password_into_with_memory(secret, salt, key, &mut blocks)
                .map_err(|error| error.to_string())
        }
    }
}

/// Puts a key together that was spread over stripes: the sum of all, each but the last diffused.
///
/// Source: *LUKS1 On-Disk Format Specification*, section 2.4, `AFmerge`.
fn merge(spread: &[u8], key_bytes: usize, hash: Hash) -> VolumeKey {
    let mut key = Zeroizing::new(vec![0; key_bytes]);
    let mut stripes = spread.chunks(key_bytes.max(1)).peekable();
    while let Some(stripe) = stripes.next() {
        for (sum, byte) in key.iter_mut().zip(stripe) {
            *sum ^= byte;
        }
        if stripes.peek().is_some() {
            diffuse(&mut key, hash);
        }
    }
    key
}

/// Replaces each piece as long as a digest by the digest of its number and itself.
fn diffuse(key: &mut [u8], hash: Hash) {
    for (number, piece) in (0_u32..).zip(key.chunks_mut(hash.bytes())) {
        let digest = Zeroizing::new(hash.digest(&[&number.to_be_bytes(), piece]));
        for (byte, new) in piece.iter_mut().zip(digest.iter()) {
            *byte = *new;
        }
    }
}

/// Whether `key` is the one that was digested.
fn is_key(key: &[u8], digest: &Digest, budget: &mut Budget) -> Result<bool, String> {
    let hash = Hash::from_name(&digest.hash).ok_or_else(|| unsupported_hash(&digest.hash))?;
    budget
        .take_iterations(digest.iterations)
        .ok_or("the digest of its key asks for more than is done")?;
    // Fewer bytes would fit too many keys.
    if !(16..=64).contains(&digest.digest.len()) {
        return Err("the digest of its key has no length that it can have".to_owned());
    }
    let mut made = vec![0; digest.digest.len()];
    hash.pbkdf2(key, &digest.salt, digest.iterations, &mut made);
    Ok(made == digest.digest)
}
