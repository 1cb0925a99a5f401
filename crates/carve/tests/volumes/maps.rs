//! Files in pieces of which only the maps are left that ext4, ext3 and ext2 keep among the files.

use crate::{BLOCK, Volume, mail, noise};

/// Text without anything that ties its blocks together.
fn plain(number: u64, blocks: usize) -> Vec<u8> {
    let mut text = format!(
        "Return-Path: <eve@vendor.example>\nDelivered-To: ada@lindenhof.example\nFrom: eve@vendor.example\n\
         Date: Mon, 1 Jan 2024 00:00:00 +0000\nSubject: list {number}\n\n"
    );
    let words = [
        "shelf", "cellar", "box", "key", "lamp", "window", "stair", "roof",
    ];
    for byte in noise(number + 77, usize::MAX >> 40) {
        text.push_str(words[usize::from(byte) % words.len()]);
        text.push(if byte > 230 { '\n' } else { ' ' });
        if text.len() > blocks * BLOCK - 900 {
            break;
        }
    }
    text.push('\n');
    text.into_bytes()
}

/// Lays `content` at these runs of blocks, as (first, how many).
fn lay(volume: &mut Volume, content: &[u8], runs: &[(usize, usize)]) {
    let mut from = 0;
    for (first, count) in runs {
        volume.lay(*first, content, from, from + count);
        from += count;
    }
}

/// Puts the leaf of an extent tree at block `at`, of these runs.
fn leaf(volume: &mut Volume, at: usize, logical: usize, runs: &[(usize, usize)]) {
    let mut node = vec![0x0A, 0xF3];
    node.extend((runs.len() as u16).to_le_bytes());
    node.extend(((BLOCK as u16 - 12) / 12).to_le_bytes());
    node.extend([0; 6]);
    let mut next = logical as u32;
    for (first, count) in runs {
        node.extend(next.to_le_bytes());
        node.extend((*count as u16).to_le_bytes());
        node.extend([0; 2]);
        node.extend((*first as u32).to_le_bytes());
        next += *count as u32;
    }
    volume.0[at * BLOCK..at * BLOCK + node.len()].copy_from_slice(&node);
}

fn volume() -> Volume {
    Volume(vec![0; 400 * BLOCK])
}

const RUNS: [(usize, usize); 5] = [(100, 2), (40, 1), (180, 3), (60, 2), (20, 1)];

#[test]
fn text_in_many_pieces_is_put_together_by_the_leaf_of_its_tree() {
    let text = plain(1, 9);
    let mut volume = volume();
    lay(&mut volume, &text, &RUNS);
    lay(&mut volume, &plain(2, 3), &[(102, 3)]);
    assert!(!volume.whole().contains(&text));
    leaf(&mut volume, 300, 0, &RUNS);
    // A copy in the journal that is older, and one of a file that is no mail.
    leaf(&mut volume, 301, 0, &RUNS[..3]);
    leaf(&mut volume, 302, 0, &[(210, 4), (220, 1)]);
    let whole = volume.whole();
    assert_eq!(whole.iter().filter(|one| **one == text).count(), 1);
    assert_eq!(whole.len(), 2);
}

#[test]
fn a_file_of_two_leaves_is_joined_and_one_without_its_first_gives_no_top() {
    let text = plain(3, 9);
    let mut volume = volume();
    lay(&mut volume, &text, &RUNS);
    leaf(&mut volume, 301, 3, &RUNS[2..]);
    assert!(!volume.whole().contains(&text));
    leaf(&mut volume, 300, 0, &RUNS[..2]);
    assert!(volume.whole().contains(&text));
}

#[test]
fn a_map_that_is_older_than_what_its_blocks_hold_makes_nothing_whole() {
    let (text, other) = (plain(4, 9), mail(5, 9_000, false));
    let mut volume = volume();
    lay(&mut volume, &text, &RUNS);
    leaf(&mut volume, 300, 0, &RUNS);
    // Another message has the three blocks in the middle since.
    lay(&mut volume, &other, &[(180, 4)]);
    assert_eq!(volume.whole(), [other]);
}

/// An mbox of messages with these numbers, in pieces, with the leaf of its tree.
fn mbox_in_pieces(numbers: std::ops::Range<u64>) -> (Vec<Vec<u8>>, Volume) {
    let mails: Vec<Vec<u8>> = numbers.map(|number| plain(number, 2)).collect();
    let mut file = Vec::new();
    for mail in &mails {
        file.extend_from_slice(b"From eve@vendor.example Mon Jan  1 00:00:00 2024\n");
        file.extend_from_slice(mail);
        file.push(b'\n');
    }
    let mut volume = volume();
    lay(&mut volume, &file, &RUNS);
    leaf(&mut volume, 300, 0, &RUNS);
    (mails, volume)
}

#[test]
fn messages_of_an_mbox_in_pieces_are_put_together() {
    let (mails, volume) = mbox_in_pieces(10..15);
    let mut whole = volume.whole();
    whole.sort();
    assert_eq!(whole, mails);
}

#[test]
fn blocks_of_pointers_put_the_rest_behind_the_twelve_blocks_of_the_inode() {
    // Beside those of the file, or between its blocks, as ext3 had it.
    for (runs, of_pointers) in [
        ([(100, 14), (40, 3), (180, 2)], 300),
        ([(100, 12), (113, 5), (180, 2)], 112),
    ] {
        let text = plain(20, 19);
        let mut volume = volume();
        lay(&mut volume, &text, &runs);
        let blocks = runs.iter().flat_map(|(first, count)| *first..first + count);
        let pointers: Vec<u8> = blocks
            .skip(12)
            .flat_map(|block| (block as u32).to_le_bytes())
            .collect();
        assert!(!volume.whole().contains(&text));
        volume.0[of_pointers * BLOCK..of_pointers * BLOCK + pointers.len()]
            .copy_from_slice(&pointers);
        assert!(volume.whole().contains(&text), "{runs:?}");
    }
}

#[test]
fn maps_that_share_blocks_give_nothing_twice_and_no_more_than_the_device_has() {
    let text = plain(30, 9);
    let mut volume = volume();
    lay(&mut volume, &text, &RUNS);
    leaf(&mut volume, 300, 0, &RUNS);
    // Other maps of the same blocks, one of which has all blocks again and again.
    leaf(&mut volume, 301, 0, &RUNS[1..]);
    leaf(&mut volume, 302, 9, &[(100, 2), (180, 3), (60, 1)]);
    leaf(&mut volume, 303, 0, &[(1, 399); 300]);
    // Blocks of pointers that point to each other, and to themselves.
    for block in 310..390_usize {
        let pointers = (310..390_u32).flat_map(u32::to_le_bytes);
        let pointers: Vec<u8> = pointers.collect();
        volume.0[block * BLOCK..block * BLOCK + pointers.len()].copy_from_slice(&pointers);
    }
    assert_eq!(volume.whole(), [text]);
}

#[test]
fn what_a_map_does_not_make_whole_is_not_lost() {
    let (mails, mut volume) = mbox_in_pieces(40..45);
    // A block in the middle is another's since.
    volume.lay(181, &noise(3, BLOCK), 0, 1);
    let messages = volume.carve();
    assert_eq!(messages.len(), mails.len());
    let whole = volume.whole();
    assert!(whole.len() >= 3 && whole.iter().all(|one| mails.contains(one)));
}
