//! Containers that are damaged anywhere: no panic, and of EWF, which has checksums over all of it,
//! nothing false.

use std::fs;

use evidence::image::{self, Format};
use evidence::{ByteOffset, ReadAt, ReadAtExt};

use crate::common::{Lab, Numbers, all};

/// Damages of each container.
const ROUNDS: u64 = 150;
/// A claimed size may be large without any bytes behind it: what is read of it.
const MOST_READ: u64 = 8 << 20;

/// Some bytes changed, many of them in the first part where the metadata are, or the end cut off.
fn damaged(good: &[u8], seed: u64) -> Vec<u8> {
    let mut numbers = Numbers(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    numbers.next();
    let mut file = good.to_vec();
    for _ in 0..=numbers.below(6) {
        let end = match numbers.below(4) {
            0 => file.len(),
            1 => file.len().min(512),
            2 => file.len().min(8192),
            _ => file.len().min(300_000),
        };
        let at = numbers.below(end);
        match numbers.below(4) {
            0 => file[at] = 0xFF,
            1 => file[at] = 0,
            2 => file[at] ^= 1 << numbers.below(8),
            _ => {
                let stop = (at + 16).min(end);
                file[at..stop].fill(0xFF);
            }
        }
    }
    if numbers.below(5) == 0 {
        file.truncate(numbers.below(good.len()).max(1));
    }
    file
}

fn read_some(image: &dyn ReadAt) {
    for at in [0, image.len() / 2, image.len().saturating_sub(MOST_READ)] {
        let length = (image.len() - at).min(MOST_READ);
        let length = usize::try_from(length).unwrap();
        let (bytes, gaps) = image.read_vec(ByteOffset::new(at), length).unwrap();
        assert_eq!(bytes.len(), length);
        for gap in gaps.iter() {
            assert!(bytes[gap.range.clone()].iter().all(|byte| *byte == 0));
        }
    }
}

#[test]
fn hypervisors_containers_with_random_damage_are_read_or_refused() {
    let lab = Lab::new();
    for (number, line) in [
        "qcow2 -c",
        "qcow2 -o cluster_size=4096",
        "qcow2 -c -o compression_type=zstd",
        "vpc",
        "vhdx",
        "vmdk",
        "vmdk -o subformat=streamOptimized",
        "vdi",
    ]
    .iter()
    .enumerate()
    {
        lab.run(&format!(
            "qemu-img convert -f raw -O {line} raw.img c{number}"
        ));
        let good = fs::read(lab.path(&format!("c{number}"))).unwrap();
        for seed in 0..ROUNDS {
            let path = lab.path("damaged");
            fs::write(&path, damaged(&good, seed)).unwrap();
            if let Ok(image) = image::open(&path) {
                read_some(&image);
            }
        }
    }
}

#[test]
fn ewf_with_random_damage_says_nothing_false() {
    let lab = Lab::new();
    let mut opened = 0;
    for (format, level) in [("encase6", "fast"), ("encase6", "none"), ("smart", "fast")] {
        lab.run(&format!(
            "ewfacquire -q -u -f {format} -c {level} -t {format}-{level} raw.img"
        ));
        let suffix = if format == "smart" { "s01" } else { "E01" };
        let path = lab.path(&format!("{format}-{level}.{suffix}"));
        let good = fs::read(&path).unwrap();
        for seed in 0..ROUNDS {
            fs::write(&path, damaged(&good, seed)).unwrap();
            let Ok(image) = image::open(&path) else {
                continue;
            };
            if image.format() != Format::Ewf {
                continue;
            }
            opened += 1;
            let (bytes, gaps) = all(&image);
            assert_eq!(bytes.len(), lab.disk.len());
            for (at, byte) in bytes.iter().enumerate() {
                if *byte != lab.disk[at] {
                    assert!(
                        gaps.touch(at..at + 1),
                        "{format} {level} seed {seed} at {at}"
                    );
                }
            }
        }
    }
    assert!(
        opened > ROUNDS,
        "most damage leaves something to read: {opened}"
    );
}
