//! Tests of directories made by hand: damage that the kernel would not mount.

use super::*;
use crate::xfs::checksum::Expected;
use crate::xfs::checksum::tests::describe;
use crate::xfs::data::tests::{entry_bytes, free_bytes};
use crate::xfs::extent::tests::record;
use crate::xfs::inode::read;
use crate::xfs::inode::tests::{NUMBER, image};
use crate::xfs::superblock::tests::superblock;
use crate::xfs::volume::tests::volume;
use evidence::GapCause;
use evidence::view::Memory;
use proptest::prelude::*;
use std::sync::Arc;

const BLOCK: u64 = 40;

/// A single-block directory of `names`, whose inodes count up from 300.
fn single(names: &[&str]) -> Vec<u8> {
    let mut block = b"XDB3".to_vec();
    block.resize(HEADER_V5, 0);
    let mut leaf = Vec::new();
    let own = [(".", NUMBER.0), ("..", 128)];
    let files = names.iter().zip(300..).map(|(name, inode)| (*name, inode));
    for (name, inode) in own.into_iter().chain(files) {
        leaf.extend(leaf::hash(name.as_bytes()).to_be_bytes());
        leaf.extend((block.len() as u32 / 8).to_be_bytes());
        let entry = entry_bytes(block.len(), name.as_bytes(), inode);
        block.extend(entry);
    }
    let tail = leaf.len() + 8;
    let free = 4096 - tail - block.len();
    let unused = free_bytes(block.len(), free);
    block.extend(unused);
    block.extend(&leaf);
    block.extend((leaf.len() as u32 / 8).to_be_bytes());
    block.extend([0; 4]);
    seal(&mut block);
    block
}

fn seal(block: &mut [u8]) {
    let expected = Expected {
        place: ByteOffset::new(BLOCK * 4096),
        uuid: [7; 16],
        owner: NUMBER.0,
    };
    describe(block, DIR3_DATA, expected);
}

fn inode_with(records: &[Vec<u8>]) -> Vec<u8> {
    image(0o040_755, 2, records.len() as u32, 4096, &records.concat())
}

fn list_of(block: &[u8]) -> Listing {
    let raw = inode_with(&[record(0, BLOCK, 1, false)]);
    let volume = volume(&[(NUMBER.0 * 512, &raw), (BLOCK * 4096, block)]);
    list(&volume, &read(&volume, NUMBER).unwrap())
}

fn names(listing: &Listing) -> Vec<&str> {
    let entries = listing.entries.iter();
    entries.map(|e| str::from_utf8(&e.name).unwrap()).collect()
}

#[test]
fn entries_behind_damage_are_found_by_the_index() {
    let mut block = single(&["cur", "new", "tmp"]);
    assert_eq!(names(&list_of(&block)), ["cur", "new", "tmp"]);
    assert_eq!(list_of(&block).losses, []);
    // The length of the name `cur`: nothing follows on it any more.
    let cur = HEADER_V5 + 16 + 16;
    assert_eq!(block[cur + 8], 3);
    block[cur + 8] = 200;
    let damaged = list_of(&block);
    assert_eq!(names(&damaged), ["new", "tmp"]);
    assert!(!damaged.losses.is_empty());
}

#[test]
fn a_wrong_checksum_gives_the_entries_and_a_loss() {
    let mut block = single(&["cur", "new"]);
    block[3000] ^= 1;
    let damaged = list_of(&block);
    assert_eq!(names(&damaged), ["cur", "new"]);
    assert_eq!(damaged.losses.len(), 1);
    assert!(damaged.losses[0].to_string().contains("checksum"));
}

#[test]
fn a_block_of_another_directory_gives_nothing() {
    let mut block = single(&["cur"]);
    block[47] ^= 1;
    checksum::tests::seal(&mut block, 4);
    let foreign = list_of(&block);
    assert_eq!(names(&foreign), [""; 0]);
    assert!(foreign.losses[0].to_string().contains("belongs to inode"));
}

#[test]
fn names_that_no_file_can_have_are_losses() {
    let mut block = single(&["a/b", "ok", "x\0y"]);
    seal(&mut block);
    let listing = list_of(&block);
    assert_eq!(names(&listing), ["ok"]);
    assert!(listing.losses[0].to_string().contains("2 entries"));
}

#[test]
fn entries_in_a_gap_are_lost_and_the_others_are_given() {
    let block = single(&["cur", "new", "tmp"]);
    let raw = inode_with(&[record(0, BLOCK, 1, false)]);
    let whole = volume(&[(NUMBER.0 * 512, &raw), (BLOCK * 4096, &block)]);
    let at = (BLOCK * 4096) as usize;
    // The second half of the entry `cur` and the first of `new`.
    let gap = at + HEADER_V5 + 16 + 16 + 8..at + HEADER_V5 + 16 + 16 + 24;
    let (bytes, _) = whole.view.read_vec(ByteOffset::ZERO, 3500 * 4096).unwrap();
    let holed = Memory::new(bytes).with_gaps(&Gaps::one(gap, GapCause::Unreadable));
    let holed = Volume::new("volume:test", whole.sb.clone(), Arc::new(holed));
    let listing = list(&holed, &read(&holed, NUMBER).unwrap());
    assert_eq!(names(&listing), ["tmp"]);
    assert_eq!(listing.losses.len(), 1);
    assert_eq!(listing.losses[0].cause, Cause::Gap(GapCause::Unreadable));
}

#[test]
fn a_block_that_is_mapped_twice_is_listed_once() {
    let records = [record(0, BLOCK, 1, false), record(1, BLOCK, 1, false)];
    let raw = inode_with(&records);
    let block = single(&["cur"]);
    let volume = volume(&[(NUMBER.0 * 512, &raw), (BLOCK * 4096, &block)]);
    let listing = list(&volume, &read(&volume, NUMBER).unwrap());
    assert_eq!(names(&listing), ["cur"]);
    assert_eq!(listing.losses.len(), 1);
}

#[test]
fn blocks_of_the_index_are_not_listed() {
    let leaf = superblock().leaf_offset();
    let records = [record(0, BLOCK, 1, false), record(leaf, 50, 1, false)];
    let raw = inode_with(&records);
    let volume = volume(&[(NUMBER.0 * 512, &raw), (BLOCK * 4096, &single(&["cur"]))]);
    let listing = list(&volume, &read(&volume, NUMBER).unwrap());
    assert_eq!(names(&listing), ["cur"]);
    assert_eq!(listing.losses, []);
}

proptest! {
    #[test]
    fn any_block_is_listed_without_panic(
        bytes in prop::collection::vec((0_usize..4096, any::<u8>()), 0..20),
    ) {
        let mut block = single(&["cur", "new", "tmp"]);
        for (at, byte) in bytes {
            block[at] = byte;
        }
        seal(&mut block);
        let _ = list_of(&block);
    }
}
