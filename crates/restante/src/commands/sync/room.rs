//! Which accounts have no room for what is to be added.

use anyhow::{Result, bail};
use restore::{Demands, Target};

use super::summary::Outcome;
use crate::args::WhenFull;

/// Marks the accounts of `planned` that have no room, by their quota or by their file system.
///
/// An account that has not room for all of it is left out whole: one that was filled up would
/// refuse the mail that arrives. With [`WhenFull::Stop`] one such account is an error, and nothing
/// was written.
pub(super) fn settle(target: &Target, planned: &mut [Outcome], when_full: WhenFull) -> Result<()> {
    for outcome in planned.iter_mut() {
        if !outcome.room.fits(outcome.bytes, outcome.files) {
            let reason = format!("its quota has room for {}", outcome.room);
            outcome.withhold(reason);
        }
    }
    if let Target::Maildir(target) = target {
        let mut demands = Demands::default();
        for outcome in planned.iter().filter(|outcome| outcome.files > 0) {
            let path = target.path_of(&outcome.place);
            demands.add(&path, outcome.bytes, outcome.files)?;
        }
        for outcome in planned.iter_mut().filter(|outcome| outcome.files > 0) {
            if let Err(error) = demands.check(&target.path_of(&outcome.place)) {
                outcome.withhold(error.to_string());
            }
        }
    }
    let mut left_out = planned.iter().filter_map(Outcome::left_out);
    if when_full == WhenFull::Stop
        && let Some(first) = left_out.next()
    {
        bail!(
            "{first}; {} more accounts have no room either. Nothing was written: make room, or \
             leave such accounts out with --when-full skip",
            left_out.count()
        );
    }
    Ok(())
}
