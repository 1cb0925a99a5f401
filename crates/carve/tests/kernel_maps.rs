//! Mboxes that a real kernel wrote by turns, so that they lie in many pieces: the maps that it kept among the files
//! are enough to put them together. Of the file system nothing else is looked at.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on says so by failing"
)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use carve::carve;
use evidence::view::Memory;

const MBOXES: usize = 5;
const MESSAGES: usize = 240;

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output();
    let output =
        output.unwrap_or_else(|error| panic!("{program}: {error}; scripts/setup.sh installs it"));
    assert!(
        output.status.success(),
        "{program} (tests that mount run as root): {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Text of our own, from 1 to 20 KB.
fn message(number: usize) -> String {
    let mut text = format!(
        "Return-Path: <eve@vendor.example>\nDelivered-To: ada@lindenhof.example\nFrom: eve@vendor.example\n\
         Date: Mon, 1 Jan 2024 00:{:02}:{:02} +0000\nSubject: list {number}\n",
        number / 60,
        number % 60
    );
    let boundary = format!("=_{:08x}", (number + 3) * 40_503);
    let mut state = number * 7919 + 13;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state >> 33
    };
    let things = [
        "shelf", "cellar", "box", "key", "lamp", "window", "stair", "roof",
    ];
    writeln!(
        text,
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"{boundary}\"\n"
    )
    .unwrap();
    writeln!(text, "--{boundary}\nContent-Type: text/plain\n").unwrap();
    for line in 0..5 + number * 37 % 60 {
        let (one, two) = (things[next() & 7], things[next() & 7]);
        writeln!(text, "{line} the {one} by the {two} and box {number}").unwrap();
    }
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    writeln!(
        text,
        "--{boundary}\nContent-Type: image/png\nContent-Transfer-Encoding: base64\n"
    )
    .unwrap();
    for _ in 0..number * 53 % 150 {
        let line: String = (0..76).map(|_| digits[next() & 63] as char).collect();
        writeln!(text, "{line}").unwrap();
    }
    writeln!(text, "AAAA\n--{boundary}--").unwrap();
    text
}

/// The image of a file system on which mboxes grew by turns, each on the disk before the next.
fn image(dir: &Path, kind: &str, block: &str) -> Vec<u8> {
    let (image, mount) = (dir.join("image"), dir.join("mount"));
    File::create(&image).unwrap().set_len(96 << 20).unwrap();
    fs::create_dir(&mount).unwrap();
    let (image, mount) = (image.to_str().unwrap(), mount.to_str().unwrap());
    run(kind, &["-q", "-F", "-b", block, image]);
    run("mount", &["-o", "loop", image, mount]);
    let name = |number: usize| format!("{mount}/user{number}");
    let mut files: Vec<File> = (0..MBOXES)
        .map(|n| File::create(name(n)).unwrap())
        .collect();
    for number in 0..MESSAGES {
        let file = &mut files[number * 7 % MBOXES];
        let postmark = "From eve@vendor.example Mon Jan  1 00:00:00 2024\n";
        writeln!(file, "{postmark}{}", message(number)).unwrap();
        file.sync_all().unwrap();
    }
    drop(files);
    run("umount", &[mount]);
    let bytes = fs::read(image).unwrap();
    fs::remove_file(image).unwrap();
    fs::remove_dir(mount).unwrap();
    bytes
}

#[test]
fn mboxes_that_grew_by_turns_are_put_together_by_their_maps() {
    let wanted: BTreeSet<Vec<u8>> = (0..MESSAGES).map(|n| message(n).into_bytes()).collect();
    // A border that looks bad is not believed, whatever a map says. With pointers the first twelve blocks of each
    // file are only in its inode.
    for (kind, block, least) in [
        ("mkfs.ext4", "4096", 95),
        ("mkfs.ext4", "1024", 95),
        ("mkfs.ext3", "1024", 70),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let image = image(dir.path(), kind, block);
        let carved = carve(&Memory::new(image.clone()), &[], &|_| ());
        let mut found = BTreeSet::new();
        for message in carved.whole() {
            let pieces = message.found.pieces.iter();
            let bytes: Vec<u8> = pieces
                .flat_map(|(at, length)| image[*at as usize..(at + length) as usize].to_vec())
                .collect();
            let number = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
            assert!(
                wanted.contains(&bytes),
                "{kind} {block}: not as it was: {number} {message:?}"
            );
            assert!(found.insert(bytes), "{kind} {block}: twice: {number}");
        }
        let share = found.len() * 100 / MESSAGES;
        assert!(
            share >= least,
            "{kind} {block}: {} of {MESSAGES}",
            found.len()
        );
    }
}
