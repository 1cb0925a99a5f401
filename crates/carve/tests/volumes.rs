//! Made-up volumes without a file system: what is on them comes back exact, or as damaged.

use std::sync::Arc;

use carve::{Carving, carve, carve_shifted};
use evidence::view::{BitShifted, Memory};
use evidence::{ByteOffset, ReadAt, ReadAtExt};
use mail::Proof;
use sha2::{Digest, Sha256};

const BLOCK: usize = 4096;

/// A sequence that looks random, the same for the same seed.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = bytes.chunks(3).flat_map(|three| {
        let value = three
            .iter()
            .fold(0_u32, |value, byte| value << 8 | u32::from(*byte));
        let value = value << (8 * (3 - three.len()));
        (0..=three.len()).map(move |n| DIGITS[(value >> (18 - 6 * n) & 63) as usize] as char)
    });
    let mut text: String = digits.collect();
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}

/// A message with an attachment of so many bytes, signed if asked for.
fn mail(number: u64, attached: usize, signed: bool) -> Vec<u8> {
    let boundary = format!("=_{:016x}", number.wrapping_mul(0x1234_5678_9ABC_DEF1));
    let text = base64(&noise(number, attached));
    let starts = (0..text.len()).step_by(76);
    let lines: Vec<&str> = starts
        .map(|at| &text[at..text.len().min(at + 76)])
        .collect();
    let body = format!(
        "--{boundary}\nContent-Type: text/plain\n\nThe shelf in the cellar holds box {number}.\n--{boundary}\n\
         Content-Type: application/pdf\nContent-Transfer-Encoding: base64\n\n{}\n--{boundary}--\n",
        lines.join("\n")
    );
    let hash = base64(&Sha256::digest(body.replace('\n', "\r\n")));
    let signature = format!(
        "DKIM-Signature: v=1; a=rsa-sha256; c=simple/simple; d=vendor.example;\n\tbh={hash}; b=AAAA\n"
    );
    format!(
        "Return-Path: <shop@vendor.example>\nDelivered-To: ada@lindenhof.example\n{}From: shop@vendor.example\n\
         Date: Mon, 1 Jan 2024 00:00:{:02} +0000\nSubject: box {number}\nMIME-Version: 1.0\n\
         Content-Type: multipart/mixed; boundary=\"{boundary}\"\n\n{body}",
        if signed { signature.as_str() } else { "" },
        number % 60,
    )
    .into_bytes()
}

/// A volume of so many blocks, all zeros.
struct Volume(Vec<u8>);

impl Volume {
    /// Lays blocks of `content` from block `at` on, those from `from` to `to` of it.
    fn lay(&mut self, at: usize, content: &[u8], from: usize, to: usize) -> &mut Self {
        let end = content.len().min(to * BLOCK);
        let part = &content[from * BLOCK..end];
        self.0[at * BLOCK..at * BLOCK + part.len()].copy_from_slice(part);
        self
    }

    fn carve(&self) -> Vec<Carving> {
        carve(&Memory::new(self.0.clone()), &[], &|_| ()).messages
    }

    fn bytes(&self, message: &Carving) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (at, length) in &message.found.pieces {
            bytes.extend_from_slice(&self.0[*at as usize..(*at + *length) as usize]);
        }
        for repair in &message.found.repairs {
            assert_eq!(bytes[repair.at as usize], repair.read);
            bytes[repair.at as usize] = repair.stored;
        }
        bytes
    }

    /// The messages that are said to be whole.
    fn whole(&self) -> Vec<Vec<u8>> {
        let messages = self.carve();
        let whole = messages
            .iter()
            .filter(|message| message.found.proof.is_some());
        whole.map(|message| self.bytes(message)).collect()
    }
}

fn volume() -> Volume {
    Volume(vec![0; 256 * BLOCK])
}

#[test]
fn messages_in_one_piece_come_back_signed_or_not() {
    let mut volume = volume();
    let mails: Vec<Vec<u8>> = (0..6).map(|n| mail(n, 9000, n % 2 == 0)).collect();
    for (number, mail) in mails.iter().enumerate() {
        volume.lay(10 + 20 * number, mail, 0, 99);
    }
    assert_eq!(volume.whole(), mails);
}

#[test]
fn a_signed_message_in_three_pieces_out_of_order_comes_back() {
    let (broken, other) = (mail(1, 60_000, true), mail(2, 20_000, false));
    let mut volume = volume();
    volume
        .lay(100, &broken, 0, 6)
        .lay(40, &broken, 6, 13)
        .lay(180, &broken, 13, 99);
    volume.lay(106, &other, 0, 99);
    let mut whole = volume.whole();
    whole.sort_by_key(Vec::len);
    assert_eq!(whole, [other, broken]);
    let messages = volume.carve();
    let proven = messages
        .iter()
        .find(|message| message.found.pieces.len() == 3)
        .unwrap();
    assert_eq!(proven.found.proof, Some(Proof::BodyHash));
}

#[test]
fn what_goes_on_nowhere_is_damaged_and_not_whole() {
    let mut volume = volume();
    let broken = mail(1, 60_000, true);
    volume.lay(100, &broken, 0, 6);
    volume.lay(106, &noise(7, 4 * BLOCK), 0, 4);
    let messages = volume.carve();
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].found.proof, None);
    assert!(!messages[0].found.contradictions.is_empty());
    assert!(broken.starts_with(&volume.bytes(&messages[0])));
}

#[test]
fn messages_as_broken_senders_write_them_come_back_as_they_are() {
    let trace = "Return-Path: <shop@vendor.example>\nDelivered-To: ada@lindenhof.example\n";
    let texts = [
        // A postmark in the header, which no mbox begins with.
        format!(
            "{trace}From shop@vendor.example  Mon Jan  1 00:00:00 2024\nFrom: shop@vendor.example\nSubject: box\n\nIt came.\n"
        ),
        // No empty line, no end of the last line, and a part that never ends.
        format!(
            "{trace}From: shop@vendor.example\nTo: ada@lindenhof.example\nSubject: box\n--text follows this line--\nIt came.\n\nYours\n"
        ),
        format!("{trace}From: shop@vendor.example\nSubject: box\n\nIt came, and it is"),
        format!(
            "{trace}From: shop@vendor.example\nContent-Type: multipart/mixed; boundary=x1\n\n--x1\n\nIt came.\n"
        ),
    ];
    let mut volume = volume();
    let mut all: Vec<Vec<u8>> = texts.into_iter().map(String::into_bytes).collect();
    for (number, text) in all.iter().enumerate() {
        volume.lay(3 + number * 7, text, 0, 1);
    }
    let mut whole = volume.whole();
    whole.sort();
    all.sort();
    assert_eq!(whole.len(), all.len());
    assert!(whole == all);
    assert_eq!(volume.carve().len(), all.len());
}

/// Signed messages, and some whose senders left them open: one of three blocks, and three of one.
fn left_open() -> (Volume, Vec<Vec<u8>>) {
    let mut volume = Volume(vec![0; 1024 * BLOCK]);
    let mut mails: Vec<Vec<u8>> = (0..30).map(|n| mail(n, 9000, true)).collect();
    for number in 30..34 {
        let mut open = mail(number, if number < 33 { 1000 } else { 8000 }, false);
        let last = open.len() - b"\n--=_0123456789abcdef--\n".len();
        open.truncate(last);
        open.push(b'\n');
        mails.push(open);
    }
    for (number, mail) in mails.iter().enumerate() {
        volume.lay(1 + 8 * number, mail, 0, 99);
    }
    (volume, mails)
}

#[test]
fn a_message_that_its_sender_left_open_is_whole_where_files_hardly_break() {
    let (volume, mails) = left_open();
    assert!(volume.whole() == mails);
}

#[test]
fn a_message_that_is_left_open_is_damaged_where_files_break_and_others_stand_behind_them() {
    let (mut volume, mut mails) = left_open();
    let text = "a line of something else that begins no message and ends none either\n".repeat(50);
    for number in 0..20 {
        // Behind a message that is whole, and one that breaks off.
        volume.lay(1 + 8 * number + 4, text.as_bytes(), 0, 1);
        let broken = mail(100 + number as u64, 20_000, false);
        volume.lay(400 + 8 * number, &broken, 0, 2);
        volume.lay(402 + 8 * number, &noise(9, BLOCK), 0, 1);
    }
    mails.pop();
    let whole = volume.whole();
    assert!(mails.iter().all(|mail| whole.contains(mail)));
    assert_eq!(whole.len(), mails.len());
}

#[test]
fn a_message_within_another_one_that_begins_where_a_block_does_is_none_of_its_own() {
    let trace = "Return-Path: <>\nDelivered-To: ada@lindenhof.example\n";
    let inner = "From: ada@lindenhof.example\nTo: shop@vendor.example\nDate: Mon, 1 Jan 2024 00:00:00 +0000\nSubject: order\n\nTwo boxes.\n";
    let head = format!(
        "{trace}From: daemon@vendor.example\nSubject: undelivered\nContent-Type: multipart/report; boundary=x1\n\n--x1\n\n"
    );
    let due = "\n--x1\nContent-Type: message/rfc822\n\n";
    let reason = "The mailbox of that name is full.\n";
    let room = BLOCK - head.len() - due.len();
    let mut reasons = reason.repeat(room / reason.len());
    reasons.push_str(&"-".repeat(room - reasons.len()));
    let outer = format!("{head}{reasons}{due}{inner}\n--x1--\n").into_bytes();
    assert!(outer[BLOCK..].starts_with(inner.as_bytes()));
    let mut volume = volume();
    volume.lay(8, &outer, 0, 2);
    for number in 0..6 {
        volume.lay(20 + 8 * number as usize, &mail(number, 9000, true), 0, 99);
    }
    let messages = volume.carve();
    assert_eq!(messages.len(), 7);
    assert!(volume.whole().contains(&outer));
}

/// Heads and last blocks of unsigned messages, with other things between them: of the
/// numbers in `nothing` the last block follows the head; of those in `misses` a part is missing between
/// them, and of number 0 the phase of base64 fits all the same.
fn heads_and_ends(
    misses: std::ops::Range<u64>,
    nothing: std::ops::Range<u64>,
) -> (Volume, Vec<Vec<u8>>) {
    const HEAD: usize = 2;
    // So many blocks have a whole number of lines.
    const LINE: usize = 77;
    let mut volume = volume();
    let mut whole = Vec::new();
    let mut lay = |number: u64, blocks: usize| {
        let text = mail(number, (blocks * BLOCK - 2600) * 3 / 4 * 76 / LINE, false);
        assert_eq!(text.len().div_ceil(BLOCK), blocks, "{}", text.len());
        let at = 2 + number as usize * 6;
        volume.lay(at, &text, 0, HEAD);
        volume.lay(at + 4, &text, blocks - 1, blocks);
        text
    };
    for number in misses {
        let spare = if number == 0 { 0 } else { 3 + number as usize };
        lay(number, HEAD + 1 + LINE - spare);
    }
    for number in nothing {
        whole.push(lay(number, HEAD + 1));
    }
    whole.sort();
    (volume, whole)
}

#[test]
fn base64_that_fits_by_chance_is_not_joined_where_files_lie_in_many_pieces() {
    let (volume, _) = heads_and_ends(0..30, 0..0);
    assert!(volume.whole().is_empty());
    let (volume, mut all) = heads_and_ends(1..10, 10..30);
    let mut whole = volume.whole();
    whole.sort();
    all.sort();
    assert_eq!(whole.len(), all.len());
    assert!(whole == all);
}

/// Lays 12 signed messages of 60 blocks each into pieces of 9 blocks and less, where `place` puts each.
fn in_many_pieces(mut place: impl FnMut(usize) -> usize) -> (Volume, Vec<Vec<u8>>) {
    const PIECES: [usize; 8] = [9, 9, 8, 8, 8, 7, 7, 4];
    let mut volume = Volume(vec![0; 1536 * BLOCK]);
    let mut all = Vec::new();
    for number in 0..12 {
        let text = mail(number, 179_000 + 64 * number as usize, true);
        assert_eq!(text.len().div_ceil(BLOCK), 60);
        let mut from = 0;
        for blocks in PIECES {
            volume.lay(place(blocks), &text, from, from + blocks);
            from += blocks;
        }
        all.push(text);
    }
    all.sort();
    (volume, all)
}

#[test]
fn signed_messages_in_many_pieces_come_back_by_the_order_in_which_these_were_given_away() {
    // From the end of the device to its beginning, with gaps between them.
    let mut next = 1530;
    let (volume, all) = in_many_pieces(|blocks| {
        next -= blocks + 1 + usize::from(noise(next as u64, 1)[0] % 5);
        next
    });
    let mut whole = volume.whole();
    whole.sort();
    assert_eq!(whole.len(), all.len());
    assert!(whole == all);
}

#[test]
fn one_wrong_bit_of_a_signed_body_is_mended_and_noted() {
    let mut volume = volume();
    let sound = mail(3, 6000, true);
    volume.lay(20, &sound, 0, 99);
    volume.0[20 * BLOCK + 2000] ^= 2;
    let messages = volume.carve();
    assert_eq!(messages[0].found.repairs.len(), 1);
    assert_eq!(volume.whole(), [sound]);
}

#[test]
fn a_message_that_begins_within_a_block_comes_back_where_nothing_stands_before_it() {
    let mut volume = volume();
    for number in 0..40_u64 {
        volume.lay(8 + 2 * number as usize, &mail(number, 5000, true), 0, 99);
    }
    let within = mail(77, 9000, false);
    let at = 100 * BLOCK + 3 * 512;
    volume.0[at..at + within.len()].copy_from_slice(&within);
    // One that is forwarded as it was begins at a sector too, and is no message of its own.
    let inner = mail(78, 2000, true);
    let mut outer =
        b"From: ada@lindenhof.example\nDate: Mon, 1 Jan 2024 00:00:00 +0000\n\n".to_vec();
    outer.resize(BLOCK + 1023, b'x');
    outer.push(b'\n');
    outer.extend_from_slice(&inner);
    volume.lay(120, &outer, 0, 99);
    let whole = volume.whole();
    assert_eq!(whole.len(), 42);
    assert!(whole.contains(&within) && whole.contains(&outer));
    assert!(!whole.contains(&inner));
}

#[test]
fn the_outcome_does_not_depend_on_the_number_of_threads() {
    let mut volume = volume();
    for number in 0..8_usize {
        let mail = mail(number as u64, 30_000, number % 3 == 0);
        volume
            .lay(8 + 12 * number, &mail, 0, 4)
            .lay(130 + 12 * number, &mail, 4, 99);
    }
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| volume.carve())
    };
    assert_eq!(with(1), with(3));
}

#[test]
fn taken_ranges_are_left_alone() {
    let mut volume = volume();
    volume.lay(20, &mail(1, 3000, true), 0, 99);
    let taken = 20 * BLOCK as u64..30 * BLOCK as u64;
    assert!(
        carve(&Memory::new(volume.0), &[taken], &|_| ())
            .messages
            .is_empty()
    );
}

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
fn a_body_that_a_list_changed_is_whole_by_its_structure_and_any_other_is_not() {
    for (list, is_whole) in [
        ("List-Id: shelves <shelves.list.example>\n", true),
        ("", false),
    ] {
        let text = String::from_utf8(mail(5, 3000, true)).unwrap();
        let text = text.replacen("Subject:", &format!("{list}Subject:"), 1);
        let text = text
            .replace("The shelf in", "[list] The shelf in")
            .into_bytes();
        let mut volume = volume();
        volume.lay(20, &text, 0, 99);
        let wanted = if is_whole { vec![text] } else { Vec::new() };
        assert_eq!(volume.whole(), wanted, "{list:?}");
    }
}

/// Where many messages are proven, and hardly a bit has turned, a signature that does not verify was broken
/// before the message came here.
#[test]
fn among_many_that_verify_a_message_that_does_not_is_whole_by_its_structure() {
    let broken = String::from_utf8(mail(5, 3000, true)).unwrap();
    let broken = broken
        .replace("The shelf in", "EXTERNAL: The shelf in")
        .into_bytes();
    for others in [0, 20] {
        let mut volume = volume();
        volume.lay(20, &broken, 0, 99);
        for number in 0..others {
            volume.lay(
                30 + 4 * number,
                &mail(10 + number as u64, 4000, true),
                0,
                99,
            );
        }
        let is_whole = volume.whole().contains(&broken);
        assert_eq!(is_whole, others > 0, "beside {others}");
    }
}

/// Mail with an mbox in it is one message, and no file of several.
#[test]
fn a_postmark_within_a_message_begins_none() {
    let inner = String::from_utf8(mail(6, 2300, false)).unwrap();
    let mbox = format!("From ada@lindenhof.example Mon Jan  1 00:00:00 2024\n{inner}\n").repeat(2);
    let text = format!(
        "Return-Path: <shop@vendor.example>\nDelivered-To: bo@lindenhof.example\nFrom: shop@vendor.example\n\
         Date: Mon, 1 Jan 2024 00:00:00 +0000\nSubject: boxes\nMIME-Version: 1.0\n\
         Content-Type: multipart/mixed; boundary=\"outer\"\n\n--outer\nContent-Type: text/plain\n\n\
         All boxes of the shelf:\n\n--outer\nContent-Type: application/mbox\n\n{mbox}\n--outer--\n"
    );
    // What else is there says how large blocks are.
    let beside: Vec<Vec<u8>> = (10..14).map(|number| mail(number, 4000, true)).collect();
    let whole_of = |content: &[u8]| {
        let mut volume = volume();
        volume.lay(20, content, 0, 99);
        for (number, mail) in beside.iter().enumerate() {
            volume.lay(40 + 4 * number, mail, 0, 99);
        }
        let mut whole = volume.whole();
        whole.retain(|message| !beside.contains(message));
        whole
    };
    assert_eq!(whole_of(text.as_bytes()), [text.into_bytes()]);
    // As a file of its own it is one of two messages.
    let inner = inner.into_bytes();
    assert_eq!(whole_of(mbox.as_bytes()), [inner.clone(), inner]);
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

/// A message of which the first block ends in its header, within a field that says nothing.
fn broken_in_its_header(number: u64) -> Vec<u8> {
    let date = |minute: u64| {
        let (day, month) = (number % 28 + 1, ["Jan", "May"][number as usize % 2]);
        format!("{day} {month} 2024 {:02}:{minute:02}:17 +0000", number % 24)
    };
    let text = mail(number, 3000, true);
    let text = String::from_utf8_lossy(&text);
    let sent = format!("Mon, 1 Jan 2024 00:00:{:02} +0000", number % 60);
    let top = format!(
        "Received: from relay.example by mx.example; {}\nTo: ada@lindenhof.example\nX-Pad: ",
        date(5)
    );
    let before = text.find("DKIM").unwrap_or(0);
    let pad = "x".repeat(BLOCK - before - top.len() + 20);
    let fields = format!(
        "{top}{pad}\nReceived: from host.example by relay.example; {}\nDKIM",
        date(4)
    );
    let text = text.replacen("DKIM", &fields, 1);
    text.replacen(&sent, &date(3), 1).into_bytes()
}

#[test]
fn dates_tell_which_pieces_of_a_header_belong_together() {
    let mut mails: Vec<Vec<u8>> = (0..40).map(broken_in_its_header).collect();
    let mut volume = volume();
    for (number, mail) in mails.iter().enumerate() {
        volume
            .lay(3 * number, mail, 0, 1)
            .lay(120 + 3 * ((7 * number) % 40), mail, 1, 99);
    }
    let mut whole = volume.whole();
    whole.sort();
    mails.sort();
    assert_eq!(whole.len(), mails.len());
    assert_eq!(whole, mails);
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

/// A message of plain text.
fn note(number: u64) -> Vec<u8> {
    format!(
        "Return-Path: <bo@salt.example>\nFrom: bo@salt.example\nDate: Tue, 2 Jan 2024 10:00:{:02} +0000\n\
         Message-ID: <{number}@salt.example>\nSubject: salt\n\nThe road to the mill is open again, {number} carts passed.\n",
        number % 60,
    )
    .into_bytes()
}

#[test]
fn messages_in_a_store_that_nobody_knows_end_where_a_number_before_them_says() {
    let mails: Vec<Vec<u8>> = (0..5).map(note).collect();
    let numbers: [fn(usize) -> Vec<u8>; 4] = [
        |length| (length as u32).to_le_bytes().to_vec(),
        |length| (length as u32).to_be_bytes().to_vec(),
        |length| (length as u64).to_be_bytes().to_vec(),
        |length| length.to_string().into_bytes(),
    ];
    for (kind, number) in numbers.iter().enumerate() {
        let mut file = b"SHELF\x01".to_vec();
        for mail in &mails {
            // What follows a message is text like its own.
            file.extend([&number(mail.len()), &b"\0\0\0"[..], mail, b"seen\n\x01"].concat());
        }
        assert_eq!(volume().lay(16, &file, 0, 1).whole(), mails, "kind {kind}");
    }
}

#[test]
fn what_no_number_measures_within_something_else_must_show_its_own_end() {
    let plain = note(1);
    let unended = plain.strip_suffix(b"\n").unwrap().to_vec();
    for (content, behind, is_whole) in [
        (plain.clone(), &b"\x01\x02"[..], true),
        // Zeros follow, as behind a file.
        (plain.clone(), &[0; 64], true),
        // These may be its next line.
        (plain, b"seen\x01", false),
        // Its last line may end in what follows.
        (unended, b"\xFE\x01", false),
        (mail(1, 300, false), b"seen\x01", false),
        (mail(1, 300, true), b"seen\x01", true),
    ] {
        let file = [&b"\x01\x02\x03"[..], &content, behind].concat();
        let mut volume = volume();
        let whole = volume.lay(16, &file, 0, 1).whole();
        let want: Vec<Vec<u8>> = is_whole.then_some(content).into_iter().collect();
        assert_eq!(whole, want, "{}", String::from_utf8_lossy(&file));
        assert_eq!(volume.carve().len(), 1);
    }
}

#[test]
fn a_turned_byte_in_a_header_does_not_make_its_rest_a_message() {
    let mut content = mail(3, 9000, true);
    content[20] = 1;
    let mut volume = volume();
    volume.lay(16, &content, 0, 8);
    let all = volume.carve();
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].found.pieces[0].0, 16 * BLOCK as u64);
}

/// `bytes` with so many bits before them.
fn shifted(bytes: &[u8], bits: usize) -> Vec<u8> {
    let mut shifted = vec![0; bits / 8];
    let mut before = 0;
    for byte in bytes {
        let pair = u16::from_be_bytes([before, *byte]) >> (bits % 8);
        shifted.push(pair as u8);
        before = *byte;
    }
    shifted
}

#[test]
fn mail_in_streams_that_are_shifted_by_any_bits_comes_back_by_the_one_that_it_begins_at() {
    for bits in [1, 3, 7, 8 * 13, 8 * 511 + 5] {
        let mut mails: Vec<Vec<u8>> = (0..4).map(|n| mail(n, 9000, n % 2 == 0)).collect();
        let mut volume = volume();
        for (number, mail) in mails.iter().enumerate() {
            volume.lay(16 + 8 * number, mail, 0, 8);
        }
        // One in two pieces.
        let split = mail(9, 20000, true);
        volume.lay(100, &split, 0, 3).lay(120, &split, 3, 9);
        mails.push(split);
        let device: Arc<dyn ReadAt> = Arc::new(Memory::new(shifted(&volume.0, bits)));
        let streams = carve_shifted(&device, &[], &|_| ());
        let [stream] = streams.as_slice() else {
            panic!("{bits} bits: {} streams", streams.len());
        };
        assert_eq!(stream.bits, bits as u64);
        let view = BitShifted::new(Arc::clone(&device), stream.bits);
        let read = |message: &Carving| {
            let pieces = message.found.pieces.iter();
            let read =
                pieces.map(|(at, length)| view.read_vec(ByteOffset::new(*at), *length as usize));
            read.flat_map(|piece| piece.unwrap().0).collect()
        };
        let whole: Vec<Vec<u8>> = stream.carved.whole().map(read).collect();
        assert_eq!(whole, mails, "{bits} bits");
    }
}

#[test]
fn a_disk_whose_bits_are_where_they_should_be_has_no_shifted_stream() {
    let mut volume = volume();
    for number in 0..6 {
        volume.lay(16 + 8 * number, &mail(number as u64, 9000, true), 0, 8);
    }
    let device: Arc<dyn ReadAt> = Arc::new(Memory::new(volume.0));
    assert!(carve_shifted(&device, &[], &|_| ()).is_empty());
}
