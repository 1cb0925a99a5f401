//! Mail that breaks the rules comes back byte for byte.

use std::collections::BTreeMap;
use std::fs;

use crate::common::{ext4_image, messages, restante, succeed};

/// Messages that break rules, by what they break. Each is told from all others by its bytes.
fn letters() -> BTreeMap<&'static str, Vec<u8>> {
    let head = |subject: &str| {
        format!(
            "Return-Path: <grete@quarry.example>\nDelivered-To: ada@lindenhof.example\n\
             From: Grete <grete@quarry.example>\nDate: Tue, 17 Jun 2014 08:09:10 +0200\n\
             Message-ID: <{subject}@quarry.example>\nSubject: {subject}\n"
        )
        .into_bytes()
    };
    let with = |subject: &str, rest: &[u8]| [head(subject), rest.to_vec()].concat();
    let deep = |levels: usize, closed: bool| {
        let mut text = head(if closed { "nested" } else { "unclosed" });
        for level in 0..levels {
            text.extend(
                format!("Content-Type: multipart/mixed; boundary=b{level}\n\n--b{level}\n")
                    .into_bytes(),
            );
        }
        text.extend(b"Content-Type: text/plain\n\nthe innermost words\n");
        for level in (0..levels).rev().filter(|_| closed) {
            text.extend(format!("--b{level}--\n").into_bytes());
        }
        text
    };
    let attached = |levels: usize| {
        let mut text = head("attached");
        for level in 0..levels {
            text.extend(
                format!("Content-Type: message/rfc822\n\nSubject: level {level}\n").into_bytes(),
            );
        }
        text.extend(b"\nthe innermost words\n");
        text
    };
    let mac = head("carriage").into_iter().map(|byte| match byte {
        b'\n' => b'\r',
        other => other,
    });
    let mac: Vec<u8> = mac.chain(*b"\rwords\rand words\r").collect();
    let fields: String = (0..100_000).map(|n| format!("X-{n}: {n}\n")).collect();
    let folded = format!("X-Folded: a\n{}\nwords\n", " b\n".repeat(100_000));
    let comment = format!("To: {}\n\nwords\n", "(".repeat(200_000));
    let encoded = format!("Subject: {}\n\nwords\n", "=?utf-8?Q?=41?= ".repeat(50_000));
    let parameters = format!(
        "Content-Type: text/plain{}\n\nwords\n",
        (0..20_000)
            .map(|n| format!("; name*{n}*=a"))
            .collect::<String>()
    );
    let boundaries = format!(
        "Content-Type: multipart/mixed; boundary=\"{}\"\n\n{}\n",
        "x".repeat(70),
        format!("--{}\n", "x".repeat(69)).repeat(10_000)
    );
    BTreeMap::from([
        ("8-bit header", with("bits", b"X-Name: J\xfcrgen \xe4\xff\x80\n\nwords\n")),
        ("no end of the header", with("endless", b"X-Last: field\n")),
        ("no end of the last line", with("line", b"\nwords")),
        ("NUL", with("nul", b"X-Nul: a\0b\n\nwords \0 and \0\0 words\n")),
        ("control characters", with("bell", b"\n\x07\x1b[31m\x08\x0b\x0c\x7f\n")),
        ("a line of 1 MB", with("long", &[b"\n".to_vec(), vec![b'a'; 1 << 20]].concat())),
        ("a field of 10 MB", with("field", &[b"X-Long: ".to_vec(), vec![b'h'; 10_000_000], b"\n\nwords\n".to_vec()].concat())),
        ("100,000 fields", with("fields", format!("{fields}\nwords\n").as_bytes())),
        ("a field of 100,000 lines", with("folded", folded.as_bytes())),
        ("CR only", mac),
        ("CR LF and LF by turns", with("turns", b"\r\none\r\ntwo\nthree\r\r\nfour\n")),
        ("10,000 nested parts", deep(10_000, true)),
        ("10,000 parts that nothing closes", deep(10_000, false)),
        ("10,000 attached messages in each other", attached(10_000)),
        ("comments that do not end", with("comment", comment.as_bytes())),
        ("50,000 encoded words", with("words", encoded.as_bytes())),
        ("20,000 parameters", with("parameters", parameters.as_bytes())),
        ("lines that are almost boundaries", with("boundaries", boundaries.as_bytes())),
        ("a boundary of nothing", with("empty", b"Content-Type: multipart/mixed; boundary=\"\"\n\n--\n\nx\n----\n")),
        ("an unknown encoding", with("encoding", b"Content-Type: text/plain; charset=x-none\nContent-Transfer-Encoding: uuencode\n\n\xc3\x28\n")),
        ("lines that begin with From", with("from", b"\nFrom here on\n>From there\nFrom x@y Mon Jun  9 10:00:00 2014\nwords\n")),
        ("a dot alone", with("dot", b"\n.\n..\nQUIT\r\n.\r\nwords\n")),
    ])
}

#[test]
fn mail_that_breaks_the_rules_comes_back_as_it_was_stored() {
    let dir = tempfile::tempdir().unwrap();
    let cur = dir
        .path()
        .join("tree/srv/vmail/lindenhof.example/ada/Maildir/cur");
    fs::create_dir_all(&cur).unwrap();
    for side in ["new", "tmp"] {
        fs::create_dir(cur.with_file_name(side)).unwrap();
    }
    let letters = letters();
    for (number, text) in letters.values().enumerate() {
        // Names without lengths: nothing but the file says how long it is.
        fs::write(
            cur.join(format!("{}.M1P1.mx1:2,S", 1_402_992_550 + number)),
            text,
        )
        .unwrap();
    }
    let image = dir.path().join("mail.img");
    ext4_image(&dir.path().join("tree"), &image, 96 << 20);

    let mail = dir.path().join("mail");
    let mut recover = restante();
    recover
        .arg("recover")
        .arg(dir.path().join("case"))
        .arg(&image);
    succeed(
        recover
            .arg("--to")
            .arg(format!("maildir:{}", mail.display())),
    );
    let restored: Vec<Vec<u8>> = messages(&mail)
        .iter()
        .map(|path| fs::read(path).unwrap())
        .collect();
    for (what, text) in &letters {
        let times = restored.iter().filter(|found| *found == text).count();
        assert_eq!(times, 1, "{what} came back {times} times");
    }
    assert_eq!(restored.len(), letters.len(), "nothing is invented");
}
