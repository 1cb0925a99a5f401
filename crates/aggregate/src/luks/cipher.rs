//! The ciphers that sectors are encrypted with, by the names that dm-crypt has for them.

use aes::cipher::consts::U16;
use aes::cipher::{
    Array, BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt, BlockSizeUser, InnerIvInit,
    KeyInit,
};
use aes::{Aes128, Aes192, Aes256};
use serpent::Serpent;
use twofish::Twofish;
use xts_mode::Xts128;
use zeroize::Zeroizing;

use super::hash::Hash;

/// Decrypts sectors, each by itself.
pub(super) trait SectorCipher: Send + Sync {
    /// Decrypts `sector` in place, whose number is `number`; it is a multiple of 16 bytes.
    fn decrypt(&self, sector: &mut [u8], number: u64);
}

/// A cipher of blocks of 16 bytes.
trait Blocks:
    BlockSizeUser<BlockSize = U16> + BlockCipherDecrypt + BlockCipherEncrypt + Clone + Send + Sync
{
}

impl<C> Blocks for C where
    C: BlockSizeUser<BlockSize = U16>
        + BlockCipherDecrypt
        + BlockCipherEncrypt
        + Clone
        + Send
        + Sync
{
}

type Iv = Array<u8, U16>;

/// The cipher called `name` (`aes-xts-plain64`) with `key`; the error says what is not supported.
pub(super) fn open(name: &str, key: &[u8]) -> Result<Box<dyn SectorCipher>, String> {
    let bits = key.len().saturating_mul(8);
    let opened = || {
        let mut parts = name.splitn(3, '-');
        let (cipher, mode, iv) = (parts.next()?, parts.next()?, parts.next()?);
        // XTS has two keys of one length.
        let each = if mode == "xts" { bits / 2 } else { bits };
        match (cipher, each) {
            ("aes", 128) => with::<Aes128>(cipher, mode, iv, key),
            ("aes", 192) => with::<Aes192>(cipher, mode, iv, key),
            ("aes", 256) => with::<Aes256>(cipher, mode, iv, key),
            ("serpent", _) => with::<Serpent>(cipher, mode, iv, key),
            ("twofish", _) => with::<Twofish>(cipher, mode, iv, key),
            _ => None,
        }
    };
    opened().ok_or_else(|| format!("the cipher {name} with a key of {bits} bits is not supported"))
}

fn with<C: Blocks + KeyInit + 'static>(
    cipher: &str,
    mode: &str,
    iv: &str,
    key: &[u8],
) -> Option<Box<dyn SectorCipher>> {
    match mode {
        "xts" => {
            let (first, second) = key.split_at_checked(key.len() / 2)?;
            let first = C::new_from_slice(first).ok()?;
            let second = C::new_from_slice(second).ok()?;
            Some(Box::new(Xts {
                cipher: Xts128::new(first, second),
                iv: Number::of(iv)?,
            }))
        }
        "cbc" => Some(Box::new(Cbc {
            cipher: C::new_from_slice(key).ok()?,
            iv: match iv.strip_prefix("essiv:") {
                Some(hash) => Start::Hidden(essiv(cipher, hash, key)?),
                None => Start::Number(Number::of(iv)?),
            },
        })),
        _ => None,
    }
}

/// What makes a number out of that of a sector which cannot be known without the key.
fn essiv(cipher: &str, hash: &str, key: &[u8]) -> Option<Box<dyn Encrypt>> {
    let salt = Zeroizing::new(Hash::from_name(hash)?.digest(&[key]));
    Some(match (cipher, salt.len()) {
        ("aes", 16) => Box::new(Aes128::new_from_slice(&salt).ok()?),
        ("aes", 32) => Box::new(Aes256::new_from_slice(&salt).ok()?),
        ("serpent", _) => Box::new(Serpent::new_from_slice(&salt).ok()?),
        ("twofish", _) => Box::new(Twofish::new_from_slice(&salt).ok()?),
        _ => return None,
    })
}

/// Encrypts a block.
trait Encrypt: Send + Sync {
    fn encrypt(&self, block: &mut Iv);
}

impl<C: Blocks> Encrypt for C {
    fn encrypt(&self, block: &mut Iv) {
        self.encrypt_block(block);
    }
}

/// How the number of a sector is written.
#[derive(Clone, Copy)]
enum Number {
    /// Its lower 32 bits, little-endian.
    Plain,
    /// All 64 bits, little-endian.
    Plain64,
    /// All 64 bits, big-endian, at the end.
    Plain64Be,
}

impl Number {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "plain" => Self::Plain,
            "plain64" => Self::Plain64,
            "plain64be" => Self::Plain64Be,
            _ => return None,
        })
    }

    fn write(self, number: u64) -> Iv {
        let number = u128::from(number);
        Array(match self {
            Self::Plain => (number & u128::from(u32::MAX)).to_le_bytes(),
            Self::Plain64 => number.to_le_bytes(),
            Self::Plain64Be => number.to_be_bytes(),
        })
    }
}

struct Xts<C: BlockSizeUser<BlockSize = U16>> {
    cipher: Xts128<C>,
    iv: Number,
}

impl<C: Blocks> SectorCipher for Xts<C> {
    fn decrypt(&self, sector: &mut [u8], number: u64) {
        // The library wants one block at least.
        if sector.len() >= 16 {
            self.cipher.decrypt_sector(sector, self.iv.write(number));
        }
    }
}

/// What a chain of blocks begins with.
enum Start {
    Number(Number),
    Hidden(Box<dyn Encrypt>),
}

struct Cbc<C> {
    cipher: C,
    iv: Start,
}

impl<C: Blocks> SectorCipher for Cbc<C> {
    fn decrypt(&self, sector: &mut [u8], number: u64) {
        let iv = match &self.iv {
            Start::Number(kind) => kind.write(number),
            Start::Hidden(cipher) => {
                let mut iv = Number::Plain64.write(number);
                cipher.encrypt(&mut iv);
                iv
            }
        };
        let mut chain = cbc::Decryptor::inner_iv_init(self.cipher.clone(), &iv);
        let (blocks, _) = Array::slice_as_chunks_mut(sector);
        chain.decrypt_blocks(blocks);
    }
}
