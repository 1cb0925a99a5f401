//! Devices without a header: only what is even throughout is said to look encrypted.

use std::sync::Arc;

use aggregate::discover;
use aggregate::document::EncryptionKind;
use evidence::view::Memory;
use evidence::{GapCause, Gaps};

use crate::tools::{Lab, disk, encrypted, even_bytes, look};

const MIB: usize = 1 << 20;

#[test]
fn even_bytes_look_encrypted_and_nothing_more_is_said() {
    let found = encrypted(even_bytes("volume", 8 * MIB));
    assert_eq!(found.kind, EncryptionKind::NoHeader);
    assert_eq!(found.bytes, 8 * MIB as u64);
    assert!(found.uuid.is_empty() && found.keys.is_empty() && found.cipher.is_empty());
    let aggregate = look(even_bytes("volume", 8 * MIB));
    assert!(
        aggregate.unused[0]
            .why
            .starts_with("looks like encrypted data: 8388608 bytes")
    );
}

/// Many texts that differ, so that compressors have something to do.
fn text(length: usize) -> Vec<u8> {
    let words = [
        "linden", "road", "letter", "harbour", "noon", "paper", "seven", "bridge",
    ];
    let mut all = Vec::new();
    for byte in even_bytes("text", length / 4) {
        let word = words[usize::from(byte >> 5)];
        all.extend_from_slice(word.as_bytes());
        all.extend_from_slice(format!(" {byte}").as_bytes());
        all.push(if byte % 13 == 0 { b'\n' } else { b' ' });
    }
    all.truncate(length);
    all
}

#[test]
fn compressed_and_other_data_are_not_said_to_be_encrypted() {
    let lab = Lab::new();
    std::fs::write(lab.path("text"), text(12 * MIB)).unwrap();
    for (program, arguments) in [
        ("gzip", vec!["-k", "-9", "text"]),
        ("bzip2", vec!["-k", "text"]),
        ("zstd", vec!["-q", "-9", "text"]),
    ] {
        lab.run(program, &arguments);
    }
    for name in ["text", "text.gz", "text.bz2", "text.zst"] {
        let bytes = lab.read(name);
        assert!(bytes.len() > MIB + 8192, "{name}: {}", bytes.len());
        // Behind the header, as a part of an archive lies on a disk.
        let cut = bytes[4096..].to_vec();
        let aggregate = look(cut);
        assert_eq!(aggregate.encrypted, [], "{name}");
    }
}

#[test]
fn one_place_that_is_something_else_is_enough_to_say_nothing() {
    let even = even_bytes("volume", 8 * MIB);
    for (at, what) in [
        (0, &[0_u8; 512][..]),
        (0, b"From: ada@lindenhof.example\r\nSubject: a header that nobody encrypted\r\n\r\nand a text behind it, which is what people write to each other"),
        (8 * MIB - 4096, &[0; 4096]),
    ] {
        let mut disk = even.clone();
        disk[at..][..what.len()].copy_from_slice(what);
        assert_eq!(look(disk).encrypted, [], "{at}");
    }
}

#[test]
fn members_of_a_group_over_even_bytes_are_members() {
    // RAID-5, left-symmetric, chunks of 64 KiB, of five disks and no labels.
    const CHUNK: usize = 64 << 10;
    let data = even_bytes("array", 16 * MIB);
    let mut members = vec![Vec::new(); 5];
    for (row, stripe) in data.chunks(4 * CHUNK).enumerate() {
        let mut parity = vec![0; CHUNK];
        let at = 4 - row % 5;
        for (index, chunk) in stripe.chunks(CHUNK).enumerate() {
            parity
                .iter_mut()
                .zip(chunk)
                .for_each(|(sum, byte)| *sum ^= byte);
            members[(at + 1 + index) % 5].extend_from_slice(chunk);
        }
        members[at].extend(parity);
    }
    let disks: Vec<_> = (0..)
        .zip(members)
        .map(|(number, bytes): (u32, _)| disk(&format!("d{number}"), bytes))
        .collect();
    let aggregate = discover(&disks, &|_, _| None);
    let on_disks = aggregate.encrypted.iter();
    let on_disks: Vec<_> = on_disks
        .filter(|one| one.device.0.starts_with("disk:"))
        .collect();
    assert!(on_disks.is_empty(), "{on_disks:?}");
}

#[test]
fn what_cannot_be_read_is_not_guessed() {
    let even = even_bytes("volume", 4 * MIB);
    let gaps = Gaps::one(MIB..4 * MIB, GapCause::Unreadable);
    let disks = [(
        "a".to_owned(),
        Arc::new(Memory::new(even).with_gaps(&gaps)) as Arc<_>,
    )];
    assert_eq!(discover(&disks, &|_, _| None).encrypted, []);
}
