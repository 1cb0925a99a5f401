//! LUKS headers are named wherever they lie, and what would open them.

use aggregate::discover;
use aggregate::document::{DeviceName, EncryptionKind, SegmentMap};

use crate::tools::{Lab, disk, encrypted, fixture, look};

/// Quick to make and as good as any other.
const V1: &[&str] = &["--type", "luks1", "--pbkdf-force-iterations", "1000"];
const V2: &[&str] = &[
    "--type",
    "luks2",
    "--label",
    "mail store",
    "--pbkdf",
    "argon2id",
    "--pbkdf-memory",
    "1024",
    "--pbkdf-parallel",
    "2",
    "--pbkdf-force-iterations",
    "4",
];

#[test]
fn both_versions_are_named_with_what_cryptsetup_says_of_them() {
    let lab = Lab::new();
    let first = encrypted(lab.container("one", 4 << 20, V1));
    assert_eq!(first.kind, EncryptionKind::Luks1);
    assert_eq!(first.uuid, lab.uuid("one"));
    assert_eq!(first.cipher, "aes-xts-plain64, 512 bits");
    assert_eq!(first.keys, ["slot 0: PBKDF2 with sha256, 1000 iterations"]);
    assert_eq!(first.bytes, 2 << 20);
    assert_eq!(first.opened, None);

    let second = encrypted(lab.container("two", 20 << 20, V2));
    assert_eq!(second.kind, EncryptionKind::Luks2);
    assert_eq!(second.uuid, lab.uuid("two"));
    assert_eq!(second.label, "mail store");
    assert_eq!(
        second.keys,
        ["slot 0: Argon2id of 1 MiB, 4 passes, 2 lanes"]
    );
    assert_eq!(second.bytes, 4 << 20);
    assert!(second.needs.contains("passphrase"), "{}", second.needs);
    assert!(second.notes.is_empty(), "{:?}", second.notes);
}

#[test]
fn a_container_of_qemu_is_named() {
    let lab = Lab::new();
    lab.qemu_img(&[
            "create", "-q", "-f", "luks", "--object", "secret,id=s,file=key", "-o",
            "key-secret=s,iter-time=10,cipher-alg=serpent-256,cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha256",
            "one", "1M",
        ],
    );
    let found = encrypted(lab.read("one"));
    assert_eq!(found.uuid, lab.uuid("one"));
    assert_eq!(found.cipher, "serpent-cbc-essiv:sha256, 256 bits");
}

#[test]
fn a_second_header_speaks_where_the_first_is_gone_or_damaged() {
    let lab = Lab::new();
    let whole = lab.container("two", 20 << 20, V2);
    for damage in [0..4096, 200..201] {
        let mut disk = whole.clone();
        disk[damage.clone()].fill(0xA5);
        let found = encrypted(disk);
        assert_eq!(found.uuid, lab.uuid("two"), "{damage:?}");
        assert_eq!(found.keys.len(), 1, "{damage:?}");
        assert!(found.notes[0].contains("second one"), "{:?}", found.notes);
    }
    let mut disk = whole.clone();
    disk[0x4000 + 4096..0x4000 + 4200].fill(0);
    assert!(encrypted(disk).notes[0].contains("the second header"));

    // With both damaged only the name is left, and no way to open it.
    let mut disk = whole;
    disk[4100] ^= 1;
    disk[0x4000 + 4100] ^= 1;
    let found = encrypted(disk);
    assert_eq!(found.uuid, lab.uuid("two"));
    assert!(
        found.keys.is_empty() && found.needs.contains("backup"),
        "{found:?}"
    );
}

#[test]
fn a_header_without_slots_says_that_no_passphrase_helps() {
    let lab = Lab::new();
    lab.container("one", 4 << 20, V1);
    lab.run("cryptsetup", &["erase", "-q", "one"]);
    let found = encrypted(lab.read("one"));
    assert!(found.keys.is_empty());
    assert!(found.needs.contains("no slot is left"), "{}", found.needs);
}

#[test]
fn a_container_on_a_partition_is_the_partition() {
    let lab = Lab::new();
    let container = lab.container("one", 4 << 20, V1);
    std::fs::write(lab.path("disk"), vec![0; 8 << 20]).unwrap();
    lab.run("sgdisk", &["-n", "1:2048:+4M", "-t", "1:8309", "disk"]);
    let mut whole = lab.read("disk");
    whole[1 << 20..][..container.len()].copy_from_slice(&container);
    let aggregate = look(whole);
    let [found] = aggregate.encrypted.as_slice() else {
        panic!("{:?}", aggregate.encrypted);
    };
    assert_eq!(found.device.0, "partition:a/1");
    assert_eq!(found.uuid, lab.uuid("one"));
}

#[test]
fn a_container_on_an_array_is_the_array() {
    let lab = Lab::new();
    let header = lab.container("one", 4 << 20, V1);
    let read = |number| {
        fixture(
            "md/arrays.tar.zst",
            &format!("bad-blocks-raid1/0{number}.img"),
        )
    };
    let mut members: Vec<Vec<u8>> = (0..2).map(read).collect();
    let before = discover(&numbered(&members), &|_, _| None);
    let group = &before.groups[0];
    for member in &group.members {
        let at = usize::try_from(member.data_offset).unwrap();
        let disk = &mut members[usize::try_from(member.role).unwrap()];
        let length = disk.len() - at;
        disk[at..].copy_from_slice(&header[..length]);
    }
    let aggregate = discover(&numbered(&members), &|_, _| None);
    let [found] = aggregate.encrypted.as_slice() else {
        panic!("{:?}", aggregate.encrypted);
    };
    assert_eq!(found.device, DeviceName::group(&group.name));
    assert_eq!(found.uuid, lab.uuid("one"));
}

fn numbered(members: &[Vec<u8>]) -> Vec<aggregate::Disk> {
    let all = (0..).zip(members);
    all.map(|(number, bytes): (u32, _)| disk(&format!("d{number}"), bytes.clone()))
        .collect()
}

#[test]
fn a_container_on_a_logical_volume_is_the_volume() {
    let lab = Lab::new();
    let header = lab.container("one", 4 << 20, V1);
    let mut disks: Vec<Vec<u8>> = ["a.img", "b.img"]
        .iter()
        .map(|name| fixture("lvm/linear.tar.zst", name))
        .collect();
    let before = discover(&numbered(&disks), &|_, _| None);
    let volume = &before.volumes[0];
    let SegmentMap::Linear(area) = &volume.segments[0].map else {
        panic!("{volume:?}");
    };
    let number = area.device.as_ref().unwrap().0.trim_start_matches("disk:d");
    let at = usize::try_from(area.offset).unwrap();
    disks[number.parse::<usize>().unwrap()][at..][..4096].copy_from_slice(&header[..4096]);
    let aggregate = discover(&numbered(&disks), &|_, _| None);
    let [found] = aggregate.encrypted.as_slice() else {
        panic!("{:?}", aggregate.encrypted);
    };
    assert_eq!(found.device, volume.device);
    assert_eq!(found.uuid, lab.uuid("one"));
}

#[test]
fn damaged_headers_never_stop_anything() {
    let lab = Lab::new();
    for (name, arguments) in [("one", V1), ("two", V2)] {
        let mut whole = lab.container(name, 18 << 20, arguments);
        whole.truncate(0x8000);
        for at in (0..0x4200).step_by(151) {
            let mut disk = whole.clone();
            disk[at..at + 8].fill(0xFF);
            look(disk);
        }
        for length in [8, 100, 512, 600, 4096, 5000, 0x4000] {
            look(whole[..length].to_vec());
        }
    }
}

#[test]
fn a_second_header_below_a_file_system_is_what_something_left() {
    let lab = Lab::new();
    let mut whole = lab.container("two", 20 << 20, V2);
    whole[..4096].fill(0);
    let statement = |device: &DeviceName| aggregate::document::FilesystemStatement {
        device: device.clone(),
        kind: "ext4".to_owned(),
        uuid: String::new(),
        label: String::new(),
        bytes: 20 << 20,
        notes: Vec::new(),
    };
    let aggregate = discover(&[disk("a", whole)], &|_, name| Some(statement(name)));
    assert_eq!(aggregate.encrypted, []);
    assert_eq!(aggregate.filesystems.len(), 1);
}
