//! Fixed cases of the generator: the inference of geometry says nothing false, and is no worse
//! than it was.
//!
//! `cargo bench -p benches --bench geometry -- --case NUMBER` shows one of them.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by failing"
)]

use std::collections::BTreeMap;

use benches::cases::{Case, readable};
use benches::contents::Contents;
use benches::judge::Verdict;
use benches::pile::{DISKS, Pile, Stale};
use benches::trial;
use rayon::prelude::{IntoParallelIterator, ParallelIterator};

/// The seed that the bench takes too.
const SEED: u64 = 1;

/// The cases: all levels, with all members and with some missing.
const CASES: [u64; 17] = [0, 1, 2, 3, 4, 5, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28];

/// How many cases of each level are exact, or exact but for the start, at least: raise them
/// with the inference.
///
/// They are below what one run says: the kernel of each machine places the mail of the file
/// systems anew, and a case may turn on where.
const FLOORS: [(&str, usize); 7] = [
    ("linear", 0),
    ("RAID-0", 1),
    ("RAID-1", 0),
    ("RAID-10", 1),
    ("RAID-4", 1),
    ("RAID-5", 3),
    ("RAID-6", 1),
];

/// How many cases are right at least, of all levels.
const RIGHT: usize = 10;

#[test]
fn nothing_false_is_said_and_no_level_is_worse_than_it_was() {
    let contents = Contents::new();
    let verdicts: Vec<(Case, Verdict)> = CASES
        .into_par_iter()
        .map(|number| {
            let case = Case::new(SEED, number);
            let outcome = trial::run(&case, &contents).unwrap();
            (case, outcome.verdict)
        })
        .collect();
    let mut right: BTreeMap<&str, usize> = BTreeMap::new();
    let wrong = verdicts
        .iter()
        .filter(|(_, v)| matches!(v, Verdict::Wrong(_)));
    let wrong: Vec<String> = wrong.map(|(case, v)| format!("{case}: {v}")).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    for (case, verdict) in &verdicts {
        let is_right = matches!(verdict, Verdict::Exact | Verdict::StartUnknown);
        *right.entry(case.array.level.name()).or_default() += usize::from(is_right);
    }
    for (level, floor) in FLOORS {
        let right = right.get(level).copied().unwrap_or(0);
        assert!(
            right >= floor,
            "{level}: {right} cases are right: {}",
            list(&verdicts)
        );
    }
    let all: usize = right.values().sum();
    assert!(all >= RIGHT, "{all} are right: {}", list(&verdicts));
}

/// A line for each case.
fn list(verdicts: &[(Case, Verdict)]) -> String {
    let line = |(case, verdict): &(Case, Verdict)| format!("\n{case}: {verdict}");
    verdicts.iter().map(line).collect()
}

fn sort_pile(seed: u64, stale: Stale) -> (Pile, benches::pile::Sorted) {
    let pile = Pile::new(seed, stale);
    let laid = pile.lay_out(&Contents::new()).unwrap();
    assert_eq!(laid.disks.len(), DISKS);
    let disks = readable(&laid.disks);
    let aggregate = aggregate::discover(&disks, &trial::probe);
    let sorted = pile.judge(&aggregate, &disks, &laid);
    (pile, sorted)
}

#[test]
fn nothing_false_is_said_of_a_pile() {
    for stale in [Stale::Replaced, Stale::ThrownOut] {
        let (pile, sorted) = sort_pile(SEED, stale);
        let is_wrong = |verdict: &Verdict| matches!(verdict, Verdict::Wrong(_));
        assert!(!sorted.verdicts.iter().any(is_wrong), "{pile}\n{sorted:#?}");
        assert!(sorted.strangers_taken.is_empty(), "{pile}\n{sorted:#?}");
    }
}

#[test]
fn a_pile_is_sorted_into_its_groups() {
    // A member that was thrown out, and that nothing took the place of, agrees with the others
    // wherever nothing was written since: with it a RAID-6 may remain a loss.
    for (stale, least) in [(Stale::Replaced, 3), (Stale::ThrownOut, 2)] {
        let (pile, sorted) = sort_pile(SEED, stale);
        assert!(sorted.grouped >= least, "{pile}\n{sorted:#?}");
        assert!(sorted.strangers_taken.is_empty(), "{pile}\n{sorted:#?}");
    }
}
