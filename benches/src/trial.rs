//! One case from its number to its verdict.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aggregate::document::{Aggregate, DeviceName, FilesystemStatement};
use evidence::ReadAt;

use crate::arrays::Level;
use crate::cases::{Case, readable};
use crate::contents::Contents;
use crate::judge::{Truth, Verdict, judge};

/// What came of a case.
#[derive(Debug)]
pub struct Outcome {
    /// How it was judged.
    pub verdict: Verdict,
    /// What `aggregate` said.
    pub aggregate: Aggregate,
    /// How long that took.
    pub took: Duration,
    /// How many bytes it read of the disk that it read most of.
    pub read: u64,
    /// Whether a file system is stated on a disk of a group that was not found: what is read
    /// there would be another file's.
    pub on_bare_disk: bool,
}

/// Makes the disks of `case`, lets `aggregate` look at them, and judges what it says.
pub fn run(case: &Case, contents: &Contents) -> io::Result<Outcome> {
    let content = case.content(contents)?;
    let named = case.disks(&content);
    let disks = readable(&named);
    let begun = Instant::now();
    let aggregate = aggregate::discover(&disks, &probe);
    let took = begun.elapsed();
    let read = named.iter().map(|(_, disk)| disk.take_count()).max();
    let truth = truth(case, &content);
    let verdict = judge(&aggregate, &disks, &truth);
    let on_bare_disk = !truth.is_mirror
        && aggregate
            .filesystems
            .iter()
            .any(|fs| truth.disks.contains(&fs.device));
    Ok(Outcome {
        verdict,
        on_bare_disk,
        took,
        read: read.unwrap_or(0),
        aggregate,
    })
}

/// What is true of a case.
pub fn truth<'a>(case: &Case, content: &'a [u8]) -> Truth<'a> {
    let there: Vec<usize> = (0..case.array.members)
        .filter(|role| !case.missing.contains(role))
        .collect();
    let name = |role: &usize| DeviceName::disk(&case.names[*role]);
    let survives = |gone: &[usize]| case.array.survives(&[&case.missing, gone].concat());
    // Each member, with the one after it where both may go: then Q is needed too.
    let spare = (0..there.len()).filter_map(|at| {
        let pair = [there[at], there[(at + 1) % there.len()]];
        let gone = [&pair[..], &pair[..1]]
            .into_iter()
            .find(|gone| survives(gone))?;
        Some(gone.iter().map(name).collect::<BTreeSet<DeviceName>>())
    });
    let spare = spare.collect();
    Truth {
        content,
        disks: there.iter().map(name).collect(),
        spare,
        is_mirror: case.array.level == Level::Raid1,
    }
}

/// Recognises file systems, as the program does.
pub fn probe(device: Arc<dyn ReadAt>, name: &DeviceName) -> Option<FilesystemStatement> {
    // One that is there and cannot be read is no statement.
    let fs = filesystem::open(device, &name.0).ok().flatten()?;
    let info = fs.info();
    Some(FilesystemStatement {
        device: name.clone(),
        kind: info.kind.to_string().to_lowercase(),
        uuid: String::new(),
        label: info.label.clone(),
        bytes: info.bytes,
        notes: Vec::new(),
    })
}
