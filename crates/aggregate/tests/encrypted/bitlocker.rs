//! What is said of a BitLocker volume is what cryptsetup says of it.

use aggregate::document::EncryptionKind;

use crate::tools::{Lab, encrypted, look};

const AT: [usize; 3] = [1 << 20, 2 << 20, 3 << 20];

/// A volume with three copies of its metadata: two keys and a description.
fn volume() -> Vec<u8> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../fixtures/fuzz/bitlocker.img.zst"
    );
    let packed = std::fs::read(path)
        .unwrap_or_else(|error| panic!("{path}: {error}: scripts/make-fuzz-images.sh makes it"));
    zstd::decode_all(packed.as_slice()).unwrap()
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
