//! Arrays over which a newer one was created on the same disks, and resynced.

use aggregate::document::{Epoch, Region};

use super::*;

/// The disks of a RAID-6 of six, of whose rows from `from` on a newer one took these for its parity.
fn created_again(
    newer: &str,
    order: &[usize],
    chunk: usize,
    offset: usize,
    rows: Range<usize>,
) -> Vec<Disk> {
    let mut disks = lay_out(&CONTENT, "6-ls", 6, 64 << 10, 1 << 20);
    resync(&mut disks, newer, order, chunk, offset, rows);
    shuffled(disks, &[], "disk")
}

/// The two chunks of each row that the newer array took come back by the older one's parity.
#[test]
fn what_a_newer_array_took_for_its_parity_is_rebuilt() {
    let order = [3, 0, 4, 2, 5, 1];
    for (newer, chunk, offset, rows) in [
        ("6-ls", 64 << 10, 1 << 20, 0..60),
        ("6-rs", 64 << 10, 1 << 20, 0..30),
        ("6-ls", 128 << 10, 2 << 20, 0..40),
    ] {
        let case = format!("{newer}, chunk {chunk}, rows {rows:?}");
        let disks = created_again(newer, &order, chunk, offset, rows);
        let aggregate = discover(&disks, &|_, _| None);
        assert!(
            found(&aggregate, &disks, &CONTENT),
            "{case}: {:#?}",
            aggregate.losses
        );
        let group = &aggregate.groups[0];
        let says = |line: &String| line.contains("was created over it");
        assert!(
            group.evidence.iter().any(says),
            "{case}: {:?}",
            group.evidence
        );
        let pieces = |region: &Region| region.pieces.is_some() && region.epoch == Epoch::New;
        assert!(aggregate.epochs.iter().any(pieces), "{case}");
    }
}

/// Where parity is the newer array's all over and noise is all that is rebuilt, nothing is said that is
/// not so.
#[test]
fn the_newer_array_is_not_taken_for_the_one_that_wrote_the_contents() {
    let last = (10 << 20) / (64 << 10);
    let disks = created_again("6-ls", &[0, 2, 1, 3, 5, 4], 64 << 10, 1 << 20, 0..last);
    let aggregate = discover(&disks, &|_, _| None);
    if !aggregate.groups.is_empty() {
        assert!(found(&aggregate, &disks, &CONTENT));
    }
}
