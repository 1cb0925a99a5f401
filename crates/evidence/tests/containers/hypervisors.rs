//! What hypervisors write, as `qemu-img` makes and reads it.

use std::fs;
use std::process::Command;

use evidence::image::{self, Format};
use evidence::{Error, ReadAt};

use crate::common::{Lab, assert_holds, open};

/// `qemu-img` puts the disk into a container, and what it reads out of it again is wanted. The disk
/// in some formats is a little longer than what was put in.
fn round_trip(lab: &Lab, format: &str, options: &str, number: usize) {
    let name = format!("{format}-{number}.img");
    lab.run(&format!(
        "qemu-img convert -f raw -O {format} {options} raw.img {name}"
    ));
    lab.run(&format!(
        "qemu-img convert -f {format} -O raw {name} back.img"
    ));
    let wanted = fs::read(lab.path("back.img")).unwrap();
    assert!(wanted.starts_with(&lab.disk), "{format} {options}");
    let image = open(&lab.path(&name));
    let word = if format == "vpc" { "vhd" } else { format };
    assert_eq!(image.format().name(), word, "{options}");
    assert_holds(&image, &wanted, &format!("{format} {options}"));
}

#[test]
fn what_qemu_writes_is_read_as_qemu_reads_it() {
    let lab = Lab::new();
    let options = [
        ("qcow2", ""),
        ("qcow2", "-c"),
        ("qcow2", "-o compat=0.10"),
        ("qcow2", "-c -o compat=0.10,cluster_size=4096"),
        ("qcow2", "-c -o compression_type=zstd"),
        ("qcow2", "-o cluster_size=512"),
        ("qcow2", "-c -o cluster_size=2M"),
        ("qcow2", "-c -o compression_type=zstd,cluster_size=2M"),
        ("qcow2", "-o preallocation=full,lazy_refcounts=on"),
        ("qcow2", "-S 0"),
        ("vpc", "-o subformat=dynamic"),
        ("vpc", "-o subformat=fixed"),
        ("vpc", "-o subformat=fixed,force_size=on"),
        ("vpc", "-o subformat=dynamic,force_size=on"),
        ("vhdx", "-o subformat=dynamic"),
        ("vhdx", "-o subformat=fixed"),
        (
            "vhdx",
            "-o subformat=dynamic,block_size=1M,block_state_zero=off",
        ),
        ("vmdk", "-o subformat=monolithicSparse"),
        ("vmdk", "-o subformat=monolithicFlat"),
        ("vmdk", "-o subformat=twoGbMaxExtentSparse"),
        ("vmdk", "-o subformat=twoGbMaxExtentFlat"),
        ("vmdk", "-o subformat=streamOptimized"),
        ("vmdk", "-o subformat=monolithicSparse,zeroed_grain=on"),
        ("vdi", ""),
        ("vdi", "-o static=on"),
    ];
    for (number, (format, options)) in options.into_iter().enumerate() {
        round_trip(&lab, format, options, number);
    }
}

/// Lets QEMU change a disk in its container.
fn qemu_io(lab: &Lab, format: &str, line: &str, name: &str) {
    let output = Command::new("qemu-io")
        .args(["-f", format, "-c", line])
        .arg(lab.path(name))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn extents_of_two_gigabytes_are_joined() {
    let lab = Lab::new();
    for subformat in ["twoGbMaxExtentFlat", "twoGbMaxExtentSparse"] {
        lab.run(&format!(
            "qemu-img create -f vmdk -o subformat={subformat} long.vmdk 5G"
        ));
        // At the seam of two extents, and in the last one.
        for (at, pattern) in [("2147418112", 7), ("5368643584", 9)] {
            let line = format!("write -P {pattern} {at} 65536");
            qemu_io(&lab, "vmdk", &line, "long.vmdk");
        }
        let image = open(&lab.path("long.vmdk"));
        assert_eq!(image.len(), 5 << 30);
        assert_eq!(image.container().unwrap().facts["extents"], "3");
        for (at, pattern) in [(2_147_418_112_u64, 7_u8), (5_368_643_584, 9)] {
            let (bytes, gaps) = crate::common::part(&image, at - 512, 512 + 65536);
            assert!(gaps.is_empty(), "{subformat}: {gaps:?}");
            assert!(bytes[..512].iter().all(|byte| *byte == 0), "{subformat}");
            assert!(
                bytes[512..].iter().all(|byte| *byte == pattern),
                "{subformat}"
            );
        }
    }
}

#[test]
fn zero_clusters_and_snapshots_of_qcow2() {
    let lab = Lab::new();
    lab.run("qemu-img convert -f raw -O qcow2 raw.img z.qcow2");
    for line in [
        "write -z 65536 131072",
        "discard 524288 65536",
        "write -P 5 1000 3000",
    ] {
        qemu_io(&lab, "qcow2", line, "z.qcow2");
    }
    lab.run("qemu-img snapshot -c before z.qcow2");
    lab.run("qemu-img convert -f qcow2 -O raw z.qcow2 z.img");
    let wanted = fs::read(lab.path("z.img")).unwrap();
    let image = open(&lab.path("z.qcow2"));
    assert_holds(&image, &wanted, "zero clusters");
    assert!(image.warnings()[0].contains("1 internal snapshots"));
}

/// The last byte of `crypt_method` in the header of qcow2: 1 for AES, 2 for LUKS.
const CRYPT_METHOD: usize = 35;

/// What is said of an image that is refused.
fn refusal(lab: &Lab, name: &str) -> String {
    match image::open(&lab.path(name)) {
        Err(error @ (Error::Unsupported { .. } | Error::NotEvidence { .. })) => error.to_string(),
        other => panic!("{name}: {:?}", other.map(|image| image.format())),
    }
}

#[test]
fn what_needs_another_file_or_a_key_is_refused_by_name() {
    let lab = Lab::new();
    lab.run("qemu-img convert -f raw -O qcow2 raw.img base.qcow2");
    lab.run("qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 child.qcow2");
    assert!(refusal(&lab, "child.qcow2").contains("base.qcow2"));
    lab.run("qemu-img convert -f raw -O vmdk raw.img base.vmdk");
    lab.run("qemu-img create -q -f vmdk -b base.vmdk -F vmdk child.vmdk");
    assert!(refusal(&lab, "child.vmdk").contains("base.vmdk"));
    // LUKS in it would have qemu measure how fast the machine is, which a busy one refuses.
    lab.run(
        "qemu-img create -q -f qcow2 --object secret,id=s,data=x \
         -o encrypt.format=aes,encrypt.key-secret=s locked.qcow2 1M",
    );
    assert!(refusal(&lab, "locked.qcow2").contains("encrypted"));
    let mut qcow2 = fs::read(lab.path("locked.qcow2")).unwrap();
    qcow2[CRYPT_METHOD] = 2;
    fs::write(lab.path("luks.qcow2"), qcow2).unwrap();
    assert!(refusal(&lab, "luks.qcow2").contains("encrypted"));
    lab.run("qemu-img create -q -f qcow2 -o data_file=data.raw outside.qcow2 1M");
    assert!(refusal(&lab, "outside.qcow2").contains("another file"));
    lab.run("qemu-img create -q -f qcow2 -o extended_l2=on wide.qcow2 1M");
    assert!(refusal(&lab, "wide.qcow2").contains("extended L2"));
    lab.run("qemu-img create -q -f qcow old.qcow 1M");
    assert!(refusal(&lab, "old.qcow").contains("version 1"));
    fs::write(lab.path("new.Ex01"), b"EVF2\r\n\x81\0\x02\x01").unwrap();
    assert!(refusal(&lab, "new.Ex01").contains("Ex01"));
    // A VHD whose type is set to differencing, its checksum counted again.
    lab.run("qemu-img convert -f raw -O vpc raw.img d.vhd");
    let mut vhd = fs::read(lab.path("d.vhd")).unwrap();
    vhd[63] = 4;
    vhd[64..68].fill(0);
    let sum: u32 = vhd[..512].iter().map(|byte| u32::from(*byte)).sum();
    vhd[64..68].copy_from_slice(&(!sum).to_be_bytes());
    fs::write(lab.path("d.vhd"), vhd).unwrap();
    assert!(refusal(&lab, "d.vhd").contains("parent"));
}

#[test]
fn a_descriptor_does_not_choose_files_elsewhere() {
    let lab = Lab::new();
    for name in ["/etc/hostname", "../raw.img", "sub/raw.img"] {
        let text = format!(
            "# Disk DescriptorFile\nversion=1\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\n\
             RW 8 FLAT \"{name}\" 0\n"
        );
        fs::write(lab.path("evil.vmdk"), text).unwrap();
        assert!(refusal(&lab, "evil.vmdk").contains("directory"));
    }
    let text = "# Disk DescriptorFile\nparentCID=ffffffff\nRW 8 FLAT \"gone.vmdk\" 0\n";
    fs::write(lab.path("lone.vmdk"), text).unwrap();
    assert!(refusal(&lab, "lone.vmdk").contains("gone.vmdk"));
}

#[test]
fn a_raw_disk_that_only_begins_like_a_container_is_not_misread() {
    let lab = Lab::new();
    for begin in [
        &b"QFI\xfb\0\0\0\x03"[..],
        b"EVF\x09\r\n\xff\0",
        b"vhdxfile",
        b"KDMV\x01\0\0\0",
        b"conectix",
        b"QFI\xfb\0\0\0\x01",
    ] {
        let mut disk = lab.disk.clone();
        disk[..begin.len()].copy_from_slice(begin);
        fs::write(lab.path("like.img"), &disk).unwrap();
        let error = image::open(&lab.path("like.img"))
            .map(|image| image.len())
            .unwrap_err();
        assert!(error.to_string().contains("--raw"), "{error}");
        let raw = image::open_raw(&lab.path("like.img")).unwrap();
        assert_eq!(raw.format(), Format::Raw);
        assert_holds(&raw, &disk, "--raw");
    }
    // The footer of a VHD that is a file on the disk: its size is not that of the disk.
    lab.run("qemu-img create -q -f vpc -o subformat=fixed,force_size=on f.vhd 1M");
    let vhd = fs::read(lab.path("f.vhd")).unwrap();
    let mut disk = lab.disk.clone();
    let end = disk.len();
    disk[end - 512..].copy_from_slice(&vhd[vhd.len() - 512..]);
    fs::write(lab.path("like.img"), &disk).unwrap();
    let image = open(&lab.path("like.img"));
    assert_eq!(image.format(), Format::Raw);
    assert_eq!(image.len(), end as u64);
}
