use super::*;

fn read(text: &[u8]) -> Reader {
    let mut reader = Reader::new();
    reader.feed(text);
    reader
}

fn mixed() -> Vec<u8> {
    let lines = format!("{}\n", "QUJD".repeat(19)).repeat(40);
    format!(
        "From: a@b.example\nContent-Type: multipart/mixed;\n boundary=\"x1y2z3\"\n\n--x1y2z3\n\
         Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nh\u{e9}llo\n\
         --x1y2z3\nContent-Type: application/pdf\nContent-Transfer-Encoding: base64\n\n{lines}QUI=\n\
         --x1y2z3--\n"
    )
    .into_bytes()
}

#[test]
fn a_sound_message_has_no_flaws_and_may_end_when_it_is_closed() {
    let text = mixed();
    let (head, rest) = text.split_at(text.windows(2).position(|two| two == b"\n\n").unwrap() + 2);
    let mut reader = read(head);
    reader.feed_block(rest);
    assert_eq!(reader.cost(), 0.0);
    assert!(reader.may_end() && reader.is_closed_within(head.len() as u64));
    assert!(!reader.is_closed_within(10));
    assert_eq!(reader.closed(), Some(text.len() as u64));
    assert_eq!(reader.boundaries(), 3);
    assert!(!read(&text[..text.len() - 20]).may_end());
    // What names a boundary itself is not tied by it to what is before.
    let mut other = read(b"From: a@b.example\nX-");
    other.begin_piece();
    other.feed_block(&text);
    assert_eq!(other.boundaries(), 0);
}

#[test]
fn the_state_does_not_depend_on_how_the_bytes_come() {
    let text = mixed();
    let whole = read(&text);
    for size in [1, 7, 512, 1000] {
        let mut reader = Reader::new();
        text.chunks(size).for_each(|chunk| reader.feed(chunk));
        assert_eq!(reader.cost(), whole.cost());
        assert_eq!(reader.base64_lines(), whole.base64_lines());
        assert_eq!(reader.closed(), whole.closed());
    }
}

#[test]
fn the_phase_of_base64_says_what_must_follow() {
    let text = mixed();
    let start = text.windows(4).position(|four| four == b"QUJD").unwrap();
    let cut = start + 77 * 3 + 31;
    let reader = read(&text[..cut]);
    assert_eq!(reader.base64_phase(), Some((76, 31)));
    let mut good = reader.clone();
    good.feed(&text[cut..cut + 500]);
    assert_eq!(good.cost(), 0.0);
    let mut bad = reader;
    bad.feed(&text[cut + 5..cut + 505]);
    assert!(bad.cost() > 6.0, "{}", bad.cost());
}

#[test]
fn lines_of_one_length_in_text_have_a_phase() {
    let head = "From: a@b.example\nContent-Type: text/plain\n\nwords and words\n";
    let line = "hQEMA7rAQUJDREVG".repeat(4);
    let armor = format!(
        "-----BEGIN PGP MESSAGE-----\n\n{}",
        format!("{line}\n").repeat(20)
    );
    let line = format!("M{}", "B5!.1PT*&@H`".repeat(5));
    let uuencode = format!("begin 644 ball.png\n{}", format!("{line}\n").repeat(20));
    for (name, run, length) in [("pgp", armor, 64), ("uuencode", uuencode, 61)] {
        let text = format!("{head}{run}");
        let cut = text.len() - 5 * (length + 1) - 20;
        let (before, after) = text.as_bytes().split_at(cut);
        let reader = read(before);
        assert_eq!(reader.cost(), 0.0, "{name}");
        assert_eq!(
            reader.base64_phase(),
            Some((length, length + 1 - 20)),
            "{name}"
        );
        assert!(!reader.unfinished().1);
        let mut good = reader.clone();
        good.feed_block(after);
        assert_eq!(good.cost(), 0.0, "{name}");
        assert!(good.base64_lines() > reader.base64_lines());
        let mut bad = reader;
        bad.feed_block(b"another text, with words\nand lines\n");
        assert!(bad.cost() > 4.0, "{name}: {}", bad.cost());
    }
    // What text itself began far behind a border is no flaw.
    let mut reader = read(head.as_bytes());
    reader.feed_block(
        format!(
            "{}{}\n",
            "more words\n".repeat(20),
            "QUJDREVGR0hJ0123".repeat(4)
        )
        .as_bytes(),
    );
    assert_eq!(reader.cost(), 0.0);
}

#[test]
fn what_is_of_another_message_costs() {
    let head = b"From: a@b.example\nContent-Type: text/plain\n\nwords and words\n";
    for (what, more) in [
        (
            "its boundary",
            &b"------=_Part_1234_5678\nContent-Type: text/html\n"[..],
        ),
        (
            "its base64",
            b"QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVowMTIzNDU2Nzg5QUJDREVGR0hJSktM\n",
        ),
        ("its line ends", b"more\r\n"),
        ("bytes that are no text", b"\x01\x02\x03\n"),
    ] {
        let mut reader = read(head);
        reader.feed_block(more);
        assert!(reader.cost() >= 4.0, "{what}: {}", reader.cost());
    }
}

#[test]
fn a_body_hash_verifies_at_the_end_and_is_seen_on_the_way() {
    // The hash of RFC 6376, appendix A.2.
    let text = b"DKIM-Signature: a=rsa-sha256; c=simple/simple;\n bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=; b=x\n\
        From: joe@football.example.com\n\nHi.\n\nWe lost the game. Are you hungry yet?\n\nJoe.\n";
    let reader = read(text);
    assert!(reader.is_signed() && reader.verifies());
    let mut watching = Reader::watching();
    watching.feed(text);
    watching.feed(b"what somebody added\n");
    assert!(!watching.verifies());
    assert_eq!(watching.verified(), Some(text.len() as u64));
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..3000)) {
        let mut reader = Reader::watching();
        reader.feed(&bytes);
        let mut text = mixed();
        text.splice(60..60, bytes);
        reader = Reader::watching();
        reader.feed(&text);
    }
}

#[test]
fn a_field_that_comes_again_behind_a_border_speaks_against_it() {
    let top = b"From: a@b.example\nDate: Mon, 1 Jan 2024 00:00:00 +0000\n";
    for (rest, weighs) in [
        (&b"Subject: hi\nTo: b@b.example\n\n"[..], false),
        (b"Received: from x by y\nFrom: b@b.example\n\n", true),
        // Within a block its sender writes that way.
        (b"Subject: hi\nSubject: hi\n\n", false),
        (b"Subject: hi\n\nFrom: b@b.example\n", false),
    ] {
        let mut reader = Reader::new();
        reader.feed_block(top);
        let before = reader.cost();
        reader.feed_block(rest);
        let shown = String::from_utf8_lossy(rest);
        assert_eq!(reader.cost() > before, weighs, "{shown}");
    }
}

#[test]
fn a_page_is_open_until_it_is_closed() {
    let head = b"From: a@b.example\nContent-Type: text/html\n\n";
    for (page, open, ended) in [
        ("<HTML><body>hi\n", true, false),
        ("<html>hi\n</body></html>\n", false, true),
        ("<html>hi</html>\nadded below\n", false, false),
        ("<p>hi\n", false, false),
        ("<html>hi</ht\nml >\n", true, false),
        ("<html>hi</html >\n", false, false),
    ] {
        let mut reader = Reader::new();
        reader.feed(head);
        reader.feed(page.as_bytes());
        assert_eq!(
            (reader.leaves_page_open(), reader.shows_end()),
            (open, ended),
            "{page}"
        );
    }
}

#[test]
fn a_signature_over_a_first_part_says_how_long_the_body_is_at_least() {
    let text = |length: u32| {
        let hash = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        format!(
            "DKIM-Signature: v=1; a=rsa-sha256; c=simple/simple; d=b.example;\n\tl={length}; bh={hash}; b=AA\n\
             From: a@b.example\n\nhello\n"
        )
    };
    // The hash is that of nothing.
    assert!(!read(text(0).as_bytes()).contradicts_partial());
    assert!(read(text(7).as_bytes()).contradicts_partial());
    assert!(read(text(900).as_bytes()).contradicts_partial());
    assert!(!read(b"From: a@b.example\n\nhello\n").contradicts_partial());
}
