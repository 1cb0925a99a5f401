//! A disk on which bits turned, and a file system that says nothing of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::common::{ext4_image, messages, restante, succeed};

const MAILDIR: &str = "vmail/lindenhof.example/ada/Maildir/cur";

/// Writes a message as Dovecot would.
fn deliver(root: &Path, number: u64, text: &str) {
    let (size, lines) = (text.len(), text.matches('\n').count());
    let name = format!("140000000{number}.M1P1.mx,S={size},W={}:2,S", size + lines);
    fs::write(root.join(MAILDIR).join(name), text).unwrap();
}

/// Turns one bit behind the only place where the image has `text`.
fn turn(image: &mut [u8], text: &str, behind: usize, bit: u8) {
    let mut places = (0..image.len()).filter(|at| image[*at..].starts_with(text.as_bytes()));
    let at = places.next().unwrap();
    assert_eq!(places.next(), None, "{text}");
    image[at + behind] ^= bit;
}

#[test]
fn what_base64_and_body_hashes_show_is_turned_back_and_what_nothing_shows_is_doubted() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    fs::create_dir_all(root.join(MAILDIR)).unwrap();
    let head = "Delivered-To: ada@lindenhof.example\nFrom: x@y.example\n";
    let lines = |count: usize, mark: &str| {
        let line = "QUJDabcd0123+/xyZabQ".repeat(4)[..76].to_owned();
        format!("{line}\n").repeat(count)
            + &format!("{mark:A<76}\n")
            + &format!("{line}\n").repeat(9)
    };
    let base64 = "Content-Transfer-Encoding: base64\n\n";
    let known = format!("{head}Subject: known\n{base64}{}", lines(40, "mark/one"));
    let open = format!("{head}Subject: open\n{base64}{}", lines(9000, "mark/two"));
    // `printf 'We lost the game.\r\n' | openssl dgst -sha256 -binary | base64`
    let hash = "16yIuudIXYllLkLo3HuvrHJs8W5xZohr1VQFuq23L1o=";
    let signed = format!(
        "{head}DKIM-Signature: v=1; a=rsa-sha256; c=simple/simple; bh={hash}\n\nWe lost the game.\n"
    );
    let short = format!("{head}Subject: short\n\nA note.\n");
    let long = format!(
        "{head}Subject: long\n\n{}",
        "One more on the shelf.\n".repeat(9000)
    );
    let all = [&known, &open, &signed, &short, &long];
    for (number, text) in (1..).zip(all) {
        deliver(&root, number, text);
    }
    let disk = dir.path().join("disk.img");
    ext4_image(&root, &disk, 16 << 20);
    let mut image = fs::read(&disk).unwrap();
    // `m` with its highest bit is no base64, and nothing else has that.
    turn(&mut image, "mark/one", 0, 0x80);
    // 0x7F is `w` or `o`.
    turn(&mut image, "mark/two", 8, 0x3E);
    turn(&mut image, "We lost the game.", 4, 0x02);
    fs::write(&disk, &image).unwrap();

    let case = dir.path().join("case");
    let mail = dir.path().join("mail");
    let target = format!("maildir:{}", mail.display());
    succeed(
        restante()
            .arg("recover")
            .arg(&case)
            .arg(&disk)
            .args(["--to", &target]),
    );
    let restored = messages(&mail);
    let (damaged, whole): (Vec<_>, Vec<_>) = restored
        .iter()
        .partition(|path| path.to_string_lossy().contains(".Damaged"));
    let whole: BTreeSet<String> = whole
        .into_iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    assert_eq!(whole, BTreeSet::from([known, signed, short]));
    assert_eq!(damaged.len(), 2);

    // As after a run that was killed when all segments were written.
    let index = || {
        let files = fs::read_dir(case.join("messages")).unwrap();
        let files = files.map(|file| file.unwrap().path());
        let segments = files.filter(|path| !path.ends_with("index.json"));
        segments
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect::<BTreeMap<_, _>>()
    };
    let before = index();
    let state = case.join("messages/index.json");
    let unfinished = fs::read_to_string(&state).unwrap();
    let unfinished = unfinished.replace("\"finished\": true", "\"finished\": false");
    assert!(unfinished.contains("\"finished\": false"), "{unfinished}");
    fs::write(&state, unfinished).unwrap();
    succeed(restante().arg("rebuild").arg(&case));
    assert_eq!(index(), before);
}
