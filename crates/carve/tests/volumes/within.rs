//! Messages that begin within blocks, messages and stores.

use crate::{BLOCK, mail, volume};

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

/// A file whose first field was written over in part is no store with a message in it.
#[test]
fn a_message_whose_first_field_was_written_over_is_not_whole_without_it() {
    let plain = note(1);
    for (before, is_whole) in [
        (&b"Sf\\uh.\x14;cth: <ro\x7fsa@lsVzEdxample>\x0b"[..], false),
        (b"\x01\x02\x03\0\x09\0\0\0SHELF\x02", true),
    ] {
        let file = [before, &plain].concat();
        let mut volume = volume();
        let whole = volume.lay(16, &file, 0, 1).whole();
        let want: Vec<Vec<u8>> = is_whole.then(|| plain.clone()).into_iter().collect();
        assert_eq!(whole, want, "{}", String::from_utf8_lossy(before));
        assert_eq!(volume.carve().len(), 1);
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
