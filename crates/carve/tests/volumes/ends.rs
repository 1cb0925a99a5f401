//! Where messages end.

use sha2::{Digest, Sha256};

use crate::{BLOCK, Volume, base64, mail, noise, volume};

#[test]
fn text_that_fills_its_last_block_may_go_on_and_is_not_whole() {
    let head = b"From: ada@lindenhof.example\nDate: Mon, 1 Jan 2024 00:00:00 +0000\n\n";
    let mut text = head.to_vec();
    while text.len() < BLOCK {
        text.extend_from_slice(b"and the shelf holds more\n");
    }
    text.truncate(BLOCK - 1);
    text.push(b'\n');
    let mut volume = volume();
    volume.lay(20, &text, 0, 1).lay(21, &noise(9, BLOCK), 0, 1);
    assert_eq!(volume.whole(), Vec::<Vec<u8>>::new());
    assert_eq!(volume.carve().len(), 1);
}

#[test]
fn what_a_list_added_below_a_signed_body_is_not_cut_off_and_called_whole() {
    let mut text = mail(5, 3000, true);
    text.extend_from_slice(b"_______________\nShelf mailing list\n");
    while !text.len().is_multiple_of(BLOCK) {
        text.push(if text.len() % 40 == 39 { b'\n' } else { b'x' });
    }
    let blocks = text.len() / BLOCK;
    let mut volume = volume();
    volume
        .lay(20, &text, 0, 99)
        .lay(20 + blocks, &noise(9, BLOCK), 0, 1);
    assert_eq!(volume.whole(), Vec::<Vec<u8>>::new());
}

/// Signed messages from block 10 on, every second one without a signature, and behind the end of each
/// what its last block held before.
fn over_older(count: u64) -> (Volume, Vec<Vec<u8>>) {
    let older =
        "the road to the mill is closed, and so is the one to the quarry; ".repeat(BLOCK / 64 + 1);
    let mut volume = volume();
    let mails: Vec<Vec<u8>> = (0..count).map(|n| mail(n, 5000, n % 2 == 0)).collect();
    for (number, mail) in mails.iter().enumerate() {
        let mut blocks = mail.clone();
        let used = blocks.len() % BLOCK;
        blocks.extend_from_slice(&older.as_bytes()[used..BLOCK]);
        volume.lay(10 + 4 * number, &blocks, 0, 99);
    }
    (volume, mails)
}

#[test]
fn what_a_block_held_before_is_left_out_where_a_device_leaves_it() {
    let (volume, mails) = over_older(8);
    assert_eq!(volume.whole(), mails);
    // What a list added is none of that.
    let (mut volume, mails) = over_older(8);
    let list = String::from_utf8(mail(60, 5000, true)).unwrap();
    let list = list.replacen("Subject:", "List-Id: <shelf.example>\nSubject:", 1);
    let mut blocks = list.into_bytes();
    blocks.extend_from_slice(b"_______________\nShelf mailing list\n");
    let used = blocks.len() % BLOCK;
    blocks.extend_from_slice(&b"the road to the quarry is open; ".repeat(BLOCK / 32)[used..BLOCK]);
    volume.lay(100, &blocks, 0, 99);
    assert_eq!(volume.whole(), mails);
    // Two may be what somebody added below them, and broke off there.
    let (volume, _) = over_older(2);
    assert_eq!(volume.whole(), Vec::<Vec<u8>>::new());
}

/// A signed message of text, of so many bytes in all, whose last line has no end: its signature covers all of
/// it, by its length if asked for.
fn signed_text(bytes: usize, by_length: bool) -> Vec<u8> {
    let with = |body: &str| {
        let canonical = format!("{}\r\n", body.replace('\n', "\r\n"));
        let hash = base64(&Sha256::digest(&canonical));
        let limit = if by_length {
            format!("l={:05}; ", canonical.len())
        } else {
            String::new()
        };
        format!(
            "Return-Path: <shop@vendor.example>\nDKIM-Signature: v=1; a=rsa-sha256; c=simple/simple;\n\t\
             {limit}bh={hash}; b=AAAA\nFrom: shop@vendor.example\nDate: Mon, 1 Jan 2024 00:00:00 +0000\n\
             Subject: shelf\n\n{body}"
        )
    };
    let text = "and the shelf holds more of all that\n".repeat(bytes / 36 + 1);
    let body = bytes - with("").len();
    with(&format!("{}!", &text[..body - 1])).into_bytes()
}

#[test]
fn a_body_hash_shows_the_end_of_a_message_wherever_that_is() {
    let letter = |byte: &u8| b"aeiou rst\n\xE4"[usize::from(byte % 11)];
    let older: Vec<u8> = noise(3, BLOCK).iter().map(letter).collect();
    for by_length in [false, true] {
        for bytes in [BLOCK, 3 * BLOCK, 1500, BLOCK + 40, 3 * BLOCK - 7] {
            let text = signed_text(bytes, by_length);
            let mut blocks = text.clone();
            let used = blocks.len() % BLOCK;
            if used > 0 {
                // The edge of a block is no line's end: that would be what somebody added.
                blocks.push(b'y');
                blocks.extend_from_slice(&older[used..BLOCK - 2]);
                blocks.push(b'x');
            }
            let mut volume = volume();
            volume
                .lay(20, &blocks, 0, 99)
                .lay(20 + blocks.len() / BLOCK, &noise(9, BLOCK), 0, 1);
            let lengths: Vec<usize> = volume.whole().iter().map(Vec::len).collect();
            assert_eq!(lengths, [text.len()], "{bytes} {by_length}");
            assert_eq!(volume.whole(), [text], "{bytes} {by_length}");
        }
    }
}

#[test]
fn a_boundary_is_closed_also_where_something_else_stands_in_its_line() {
    let (mut volume, mails) = over_older(8);
    for (number, mail) in mails.iter().enumerate() {
        // Without the end of the last line, and what the block held before at its place.
        volume.0[(10 + 4 * number) * BLOCK + mail.len() - 1] = b'y';
    }
    let ends = mails.iter().map(|mail| mail[..mail.len() - 1].to_vec());
    assert_eq!(volume.whole(), ends.collect::<Vec<_>>());
}

#[test]
fn what_runs_on_behind_an_end_into_other_blocks_is_older_where_a_device_leaves_it() {
    let (mut volume, mut mails) = over_older(8);
    let mail = mail(61, 5000, false);
    let mut blocks = mail.clone();
    let older = "the road to the mill is closed, and so is the one to the quarry;\n".repeat(400);
    let used = blocks.len() % BLOCK;
    blocks.extend_from_slice(&older.as_bytes()[used..3 * BLOCK + 70]);
    volume.lay(100, &blocks, 0, 99);
    mails.push(mail);
    assert_eq!(volume.whole(), mails);
}

#[test]
fn a_page_and_base64_show_their_end_at_the_edge_of_a_block() {
    let head = "From: ada@lindenhof.example\nDate: Mon, 1 Jan 2024 00:00:00 +0000\n";
    let page = |end: &str| {
        let start = format!("{head}Content-Type: text/html\n\n<html>\n");
        let text = "<p>and the shelf holds more</p>\n".repeat(BLOCK / 32);
        let room = BLOCK - start.len() - end.len() - 1;
        format!("{start}{}\n{end}", &text[..room])
    };
    let encoded = |end: &str| {
        let start = format!("{head}Content-Type: image/png\nContent-Transfer-Encoding: base64\n\n");
        // The rest of the block in lines of 76, and a last one.
        let lines = (BLOCK - start.len() - end.len()) / 77;
        let pad = BLOCK - start.len() - end.len() - 77 * lines;
        let line = format!("{}\n", "QUJDabcd0123+/xyZabQ".repeat(4)[..76].to_owned());
        format!(
            "X-Pad: {}\n{start}{}{end}",
            "x".repeat(pad - 8),
            line.repeat(lines)
        )
    };
    for (text, is_whole) in [
        (page("</body></HTML>\n"), true),
        (page("<p>more</p>\n"), false),
        (encoded("QUJDabcd\n"), true),
        (
            encoded(&format!(
                "{}\n",
                "QUJDabcd0123+/xyZabQ".repeat(4)[..76].to_owned()
            )),
            false,
        ),
    ] {
        assert_eq!(text.len(), BLOCK);
        let mut volume = volume();
        volume
            .lay(20, text.as_bytes(), 0, 1)
            .lay(21, &noise(9, BLOCK), 0, 1);
        assert_eq!(volume.whole().len(), usize::from(is_whole), "{text}");
    }
}
