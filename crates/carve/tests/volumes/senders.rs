//! Messages as their senders and lists leave them.

use crate::{BLOCK, Volume, mail, noise, volume};

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
