//! Made-up volumes without a file system: what is on them comes back exact, or as damaged.

mod bits;
mod ends;
mod maps;
mod pieces;
mod senders;
mod within;

use carve::{Carving, carve};
use evidence::view::Memory;
use sha2::{Digest, Sha256};

const BLOCK: usize = 4096;

/// A sequence that looks random, the same for the same seed.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = bytes.chunks(3).flat_map(|three| {
        let value = three
            .iter()
            .fold(0_u32, |value, byte| value << 8 | u32::from(*byte));
        let value = value << (8 * (3 - three.len()));
        (0..=three.len()).map(move |n| DIGITS[(value >> (18 - 6 * n) & 63) as usize] as char)
    });
    let mut text: String = digits.collect();
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}

/// A message with an attachment of so many bytes, signed if asked for.
fn mail(number: u64, attached: usize, signed: bool) -> Vec<u8> {
    let boundary = format!("=_{:016x}", number.wrapping_mul(0x1234_5678_9ABC_DEF1));
    let text = base64(&noise(number, attached));
    let starts = (0..text.len()).step_by(76);
    let lines: Vec<&str> = starts
        .map(|at| &text[at..text.len().min(at + 76)])
        .collect();
    let body = format!(
        "--{boundary}\nContent-Type: text/plain\n\nThe shelf in the cellar holds box {number}.\n--{boundary}\n\
         Content-Type: application/pdf\nContent-Transfer-Encoding: base64\n\n{}\n--{boundary}--\n",
        lines.join("\n")
    );
    let hash = base64(&Sha256::digest(body.replace('\n', "\r\n")));
    let signature = format!(
        "DKIM-Signature: v=1; a=rsa-sha256; c=simple/simple; d=vendor.example;\n\tbh={hash}; b=AAAA\n"
    );
    format!(
        "Return-Path: <shop@vendor.example>\nDelivered-To: ada@lindenhof.example\n{}From: shop@vendor.example\n\
         Date: Mon, 1 Jan 2024 00:00:{:02} +0000\nSubject: box {number}\nMIME-Version: 1.0\n\
         Content-Type: multipart/mixed; boundary=\"{boundary}\"\n\n{body}",
        if signed { signature.as_str() } else { "" },
        number % 60,
    )
    .into_bytes()
}

/// A volume of so many blocks, all zeros.
struct Volume(Vec<u8>);

impl Volume {
    /// Lays blocks of `content` from block `at` on, those from `from` to `to` of it.
    fn lay(&mut self, at: usize, content: &[u8], from: usize, to: usize) -> &mut Self {
        let end = content.len().min(to * BLOCK);
        let part = &content[from * BLOCK..end];
        self.0[at * BLOCK..at * BLOCK + part.len()].copy_from_slice(part);
        self
    }

    fn carve(&self) -> Vec<Carving> {
        carve(&Memory::new(self.0.clone()), &[], &|_| ()).messages
    }

    fn bytes(&self, message: &Carving) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (at, length) in &message.found.pieces {
            bytes.extend_from_slice(&self.0[*at as usize..(*at + *length) as usize]);
        }
        for repair in &message.found.repairs {
            assert_eq!(bytes[repair.at as usize], repair.read);
            bytes[repair.at as usize] = repair.stored;
        }
        bytes
    }

    /// The messages that are said to be whole.
    fn whole(&self) -> Vec<Vec<u8>> {
        let messages = self.carve();
        let whole = messages
            .iter()
            .filter(|message| message.found.proof.is_some());
        whole.map(|message| self.bytes(message)).collect()
    }
}

fn volume() -> Volume {
    Volume(vec![0; 256 * BLOCK])
}

#[test]
fn messages_in_one_piece_come_back_signed_or_not() {
    let mut volume = volume();
    let mails: Vec<Vec<u8>> = (0..6).map(|n| mail(n, 9000, n % 2 == 0)).collect();
    for (number, mail) in mails.iter().enumerate() {
        volume.lay(10 + 20 * number, mail, 0, 99);
    }
    assert_eq!(volume.whole(), mails);
}

#[test]
fn the_outcome_does_not_depend_on_the_number_of_threads() {
    let mut volume = volume();
    for number in 0..8_usize {
        let mail = mail(number as u64, 30_000, number % 3 == 0);
        volume
            .lay(8 + 12 * number, &mail, 0, 4)
            .lay(130 + 12 * number, &mail, 4, 99);
    }
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| volume.carve())
    };
    assert_eq!(with(1), with(3));
}

#[test]
fn taken_ranges_are_left_alone() {
    let mut volume = volume();
    volume.lay(20, &mail(1, 3000, true), 0, 99);
    let taken = 20 * BLOCK as u64..30 * BLOCK as u64;
    assert!(
        carve(&Memory::new(volume.0), &[taken], &|_| ())
            .messages
            .is_empty()
    );
}
