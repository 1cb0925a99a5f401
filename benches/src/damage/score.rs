//! What came back.

use std::collections::{HashMap, HashSet};

use super::original::{Original, TrueFile};

/// What came back of the files whose contents are all still there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Score {
    /// Files whose contents are all still there.
    pub intact: usize,
    /// Of these, those that came back exactly, with their paths.
    pub exact: usize,
    /// Of these, those that came back exactly, with their paths from the domain on: where the
    /// blocks of the directories above it are gone, nothing says what they were called.
    pub mailbox: usize,
    /// Of these, those whose contents came back exactly under any name.
    pub contents: usize,
    /// The paths of those that came back as whole, but with other contents.
    pub wrong: Vec<String>,
    /// The paths of the others that did not come back exactly.
    pub missed: Vec<String>,
}

/// A file that a tool brought back: its path, and the hash of its contents.
pub type Recovered = (String, blake3::Hash);

/// Scores what a tool brought back from `broken`, the broken devices of `original`.
///
/// Tools put what they find below directories of their own, so a path counts by its end.
pub fn score(original: &Original, broken: &[Vec<u8>], recovered: &[Recovered]) -> Score {
    let contents: HashSet<blake3::Hash> = recovered.iter().map(|(_, hash)| *hash).collect();
    let mut paths: HashMap<&str, HashSet<blake3::Hash>> = HashMap::new();
    for (path, hash) in recovered {
        for tail in tails(path) {
            paths.entry(tail).or_default().insert(*hash);
        }
    }
    let mut score = Score::default();
    for file in &original.files {
        let hashes = paths.get(file.path.as_str());
        let exact = hashes.is_some_and(|hashes| hashes.contains(&file.hash));
        if is_intact(file, original, broken) {
            score.intact += 1;
            score.exact += usize::from(exact);
            let below = file.path.splitn(3, '/').nth(2).unwrap_or(&file.path);
            let in_mailbox = paths.get(below);
            score.mailbox += usize::from(in_mailbox.is_some_and(|all| all.contains(&file.hash)));
            score.contents += usize::from(contents.contains(&file.hash));
            if !exact {
                let list = if hashes.is_some() {
                    &mut score.wrong
                } else {
                    &mut score.missed
                };
                list.push(file.path.clone());
            }
        }
    }
    score
}

/// The path and all that is left of it when directories in front are taken away.
fn tails(path: &str) -> impl Iterator<Item = &str> {
    let slashes = path.char_indices().filter(|(_, c)| *c == '/');
    std::iter::once(path).chain(slashes.map(|(at, _)| &path[at + 1..]))
}

/// Whether every piece of `file` still stands in one of its places.
fn is_intact(file: &TrueFile, original: &Original, broken: &[Vec<u8>]) -> bool {
    file.pieces.iter().all(|places| {
        places.iter().any(|place| {
            let range = place.at..place.at + place.length;
            let before = original.devices[place.device].get(range.clone());
            before == broken[place.device].get(range)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_counts_by_its_end() {
        assert!(tails("a/b/c").eq(["a/b/c", "b/c", "c"]));
    }
}
