//! Containers are opened as those who wrote them open them: QEMU writes what LUKS1 holds, cryptsetup
//! what LUKS2 holds, and every byte must be what was put in.

use std::sync::Arc;

use aggregate::document::{DeviceName, Encrypted};
use aggregate::luks::{Keys, Secret};
use aggregate::{Disk, build_with, discover_with, outermost};
use evidence::view::Memory;
use evidence::{ByteOffset, GapCause, Gaps, ReadAt, ReadAtExt};

use crate::tools::{Lab, PASSPHRASE, disk, even_bytes};

/// Not a multiple of the sectors that are read at once.
const BYTES: usize = (2 << 20) + 24 * 4096;

/// Some bytes that each sector has others of, and zeros.
fn contents() -> Vec<u8> {
    let mut all = even_bytes("contents", BYTES);
    all[300_000..400_000].fill(0);
    all
}

fn keys(of: &str, secret: &str) -> Keys {
    let mut keys = Keys::default();
    keys.add(of, Secret::new(secret.as_bytes().to_vec()));
    keys
}

/// What a disk holds that is a container, and how it is stated.
fn open(disks: &[Disk], keys: &Keys) -> (Encrypted, Option<Arc<dyn ReadAt>>) {
    let aggregate = discover_with(disks, &[], keys, &|_, _| None);
    let [found] = aggregate.encrypted.as_slice() else {
        panic!("{:?}", aggregate.encrypted);
    };
    let devices = build_with(&aggregate, disks, keys).unwrap();
    assert!(devices.locked().is_empty());
    let device = found.opened.as_ref().map(|name| devices.get(name).unwrap());
    if let Some(name) = &found.opened {
        assert_eq!(outermost(&aggregate, &devices), [name]);
    }
    (found.clone(), device)
}

fn all_of(device: &dyn ReadAt) -> Vec<u8> {
    let length = usize::try_from(device.len()).unwrap();
    device.read_whole(ByteOffset::ZERO, length).unwrap()
}

/// Encrypts `contents` in place by cryptsetup.
fn encrypt(lab: &Lab, name: &str, contents: &[u8], arguments: &[&str]) -> Vec<u8> {
    let mut whole = contents.to_vec();
    whole.resize(contents.len() + (32 << 20), 0);
    std::fs::write(lab.path(name), whole).unwrap();
    let mut all = vec!["reencrypt", "--encrypt", "-q", "--key-file", "key"];
    all.extend(["--reduce-device-size", "32M"]);
    all.extend_from_slice(arguments);
    all.push(name);
    lab.run("cryptsetup", &all);
    lab.read(name)
}

#[test]
fn version_1_by_qemu_in_every_cipher() {
    let lab = Lab::new();
    let contents = contents();
    std::fs::write(lab.path("plain"), &contents).unwrap();
    for options in [
        "cipher-alg=aes-256,cipher-mode=xts,ivgen-alg=plain64,hash-alg=sha256",
        "cipher-alg=aes-128,cipher-mode=xts,ivgen-alg=plain64,hash-alg=sha1",
        "cipher-alg=aes-256,cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha256,hash-alg=sha1",
        "cipher-alg=aes-128,cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha256,hash-alg=sha512",
        "cipher-alg=aes-256,cipher-mode=cbc,ivgen-alg=plain,hash-alg=ripemd160",
        "cipher-alg=serpent-256,cipher-mode=xts,ivgen-alg=plain64,hash-alg=sha512",
        "cipher-alg=twofish-256,cipher-mode=cbc,ivgen-alg=plain64,hash-alg=sha256",
    ] {
        let options = format!("key-secret=s,iter-time=10,{options}");
        let secret = ["--object", "secret,id=s,file=key"];
        lab.qemu_img(
            &[
                &["convert", "-q", "-f", "raw", "-O", "luks"],
                &secret[..],
                &["-o", &options, "plain", "sealed"],
            ]
            .concat(),
        );
        let disks = [disk("a", lab.read("sealed"))];
        let (found, device) = open(&disks, &keys("*", PASSPHRASE));
        assert_eq!(found.opened, Some(DeviceName::opened(&found.uuid)));
        let device = device.unwrap_or_else(|| panic!("{options}: {:?}", found.notes));
        assert!(all_of(device.as_ref()) == contents, "{options}");
    }
}

#[test]
fn version_2_by_cryptsetup_with_both_sectors_and_functions() {
    let lab = Lab::new();
    let contents = contents();
    let pbkdf2 = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];
    let argon2 = |kind| {
        let cheap = ["--pbkdf-memory", "1024", "--pbkdf-parallel", "3"];
        [
            &["--pbkdf", kind][..],
            &cheap,
            &["--pbkdf-force-iterations", "4"],
        ]
        .concat()
    };
    for arguments in [
        [&pbkdf2[..], &["--sector-size", "512"]].concat(),
        [&argon2("argon2id")[..], &["--sector-size", "4096"]].concat(),
        [
            &argon2("argon2i")[..],
            &["--cipher", "aes-cbc-essiv:sha256", "--key-size", "256"],
        ]
        .concat(),
        [
            &pbkdf2[..],
            &[
                "--cipher",
                "aes-xts-plain64",
                "--key-size",
                "256",
                "--hash",
                "sha512",
            ],
        ]
        .concat(),
    ] {
        let sealed = encrypt(&lab, "sealed", &contents, &arguments);
        let (found, device) = open(&[disk("a", sealed)], &keys("disk:a", PASSPHRASE));
        let device = device.unwrap_or_else(|| panic!("{arguments:?}: {:?}", found.notes));
        let opened = all_of(device.as_ref());
        assert!(opened[..BYTES] == contents, "{arguments:?}");
    }
}

#[test]
fn the_second_header_opens_it_and_any_of_the_slots() {
    let lab = Lab::new();
    let contents = contents();
    let cheap = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];
    encrypt(&lab, "sealed", &contents, &cheap);
    std::fs::write(lab.path("file"), even_bytes("key file", 4096)).unwrap();
    let add = ["luksAddKey", "-q", "--key-file", "key", "sealed", "file"];
    lab.run("cryptsetup", &[&add[..], &cheap].concat());
    let mut sealed = lab.read("sealed");
    sealed[..4096].fill(0);
    let mut keys = Keys::default();
    keys.add(&lab.uuid("sealed"), Secret::new(lab.read("file")));
    let (found, device) = open(&[disk("a", sealed)], &keys);
    assert_eq!(found.keys.len(), 2);
    assert!(all_of(device.unwrap().as_ref())[..BYTES] == contents);
}

#[test]
fn a_wrong_key_opens_nothing_and_says_so() {
    let lab = Lab::new();
    let sealed = lab.container(
        "one",
        4 << 20,
        &["--type", "luks1", "--pbkdf-force-iterations", "1000"],
    );
    let (found, device) = open(
        &[disk("a", sealed.clone())],
        &keys("*", "linden along the rode"),
    );
    assert!(device.is_none() && found.opened.is_none());
    assert!(
        found.notes[0].contains("none of the keys"),
        "{:?}",
        found.notes
    );
    let (found, _) = open(&[disk("a", sealed)], &keys("volume:other", PASSPHRASE));
    assert!(
        found.notes[0].contains("no key was given for it"),
        "{:?}",
        found.notes
    );
    assert!(!format!("{:?}", keys("*", PASSPHRASE)).contains("linden"));
}

#[test]
fn a_gap_takes_the_sectors_that_it_touches_and_no_more() {
    let lab = Lab::new();
    let contents = contents();
    let cheap = [
        "--pbkdf",
        "pbkdf2",
        "--pbkdf-force-iterations",
        "1000",
        "--sector-size",
        "4096",
    ];
    let sealed = encrypt(&lab, "sealed", &contents, &cheap);
    let (found, _) = open(&[disk("a", sealed.clone())], &keys("*", PASSPHRASE));
    let at = usize::try_from(found.at).unwrap();
    let mut gaps = Gaps::one(at + 8192 + 100..at + 8192 + 101, GapCause::NotRescued);
    gaps.add(at + 5 * 4096 - 1..at + 5 * 4096 + 1, GapCause::Unreadable);
    let memory = Memory::new(sealed).with_gaps(&gaps);
    let disks = [("a".to_owned(), Arc::new(memory) as Arc<dyn ReadAt>)];
    let (_, device) = open(&disks, &keys("*", PASSPHRASE));
    let device = device.unwrap();
    for (from, length) in [
        (0, 100_000),
        (8000, 300),
        (8192, 4096),
        (12288, 1),
        (9000, 12000),
        (BYTES - 7, 7),
    ] {
        let (bytes, found) = device
            .read_vec(ByteOffset::new(from as u64), length)
            .unwrap();
        for (index, byte) in bytes.iter().enumerate() {
            let place = from + index;
            let cause = match place / 4096 {
                2 => Some(GapCause::NotRescued),
                4 | 5 => Some(GapCause::Unreadable),
                _ => None,
            };
            let gap = found.iter().find(|gap| gap.range.contains(&index));
            assert_eq!(gap.map(|gap| gap.cause), cause, "{from} {index}");
            let expected = if cause.is_some() { 0 } else { contents[place] };
            assert_eq!(*byte, expected, "{from} {index}");
        }
    }
}

#[test]
fn without_its_key_what_was_opened_is_a_gap() {
    let lab = Lab::new();
    let sealed = lab.container(
        "one",
        4 << 20,
        &["--type", "luks1", "--pbkdf-force-iterations", "1000"],
    );
    let disks = [disk("a", sealed)];
    let with = keys("*", PASSPHRASE);
    let aggregate = discover_with(&disks, &[], &with, &|_, _| None);
    let devices = build_with(&aggregate, &disks, &Keys::default()).unwrap();
    let name = aggregate.encrypted[0].opened.clone().unwrap();
    assert!(devices.locked()[&name].contains("no key"));
    let device = devices.get(&name).unwrap();
    assert_eq!(device.len(), 2 << 20);
    let (_, gaps) = device.read_vec(ByteOffset::new(512), 100).unwrap();
    assert_eq!(gaps.bytes(), 100);
}

#[test]
fn parameters_that_ask_for_too_much_are_not_followed() {
    let lab = Lab::new();
    let mut sealed = lab.container(
        "one",
        4 << 20,
        &["--type", "luks1", "--pbkdf-force-iterations", "1000"],
    );
    sealed[208 + 4..208 + 8].fill(0xFF);
    let (found, device) = open(&[disk("a", sealed)], &keys("*", PASSPHRASE));
    assert!(device.is_none());
    assert!(
        found.notes[0].contains("more than is done"),
        "{:?}",
        found.notes
    );
}
