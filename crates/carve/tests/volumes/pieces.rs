//! Messages in several pieces.

use mail::Proof;

use crate::{BLOCK, Volume, mail, noise, volume};

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
