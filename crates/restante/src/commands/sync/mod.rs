//! `sync`: hand mail back.
//!
//! Accounts are planned and carried out one by one, several abreast: what is kept of all of them
//! is where their messages lie in the index, and how each came out.

pub(crate) mod custody;
mod index;
mod room;
mod summary;

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use aggregate::document::DeviceName;
use anyhow::{Context, Result};
use bytes::Bytes;
use case::log::Effort;
use case::{Case, LEDGER};
use evidence::ReadAt;
use indicatif::ProgressBar;
use mail::content::reread;
use mail::{Address, Message, MessageId};
use rayon::prelude::*;
use restore::imap::{Credentials, ImapOptions};
use restore::plan::{Plan, plan};
use restore::{Ledger, Mailbox, Outcome as Fate, Place, RestoreError, Target};

use crate::args::{Common, HandingBack, Server, Sync};
use crate::output::Output;
use crate::progress;
use crate::session::Session;
use crate::usage::Usage;
use custody::{Carried, Custody};
pub(crate) use index::Index;
use summary::{Outcome, summarise};

/// Runs the command.
pub(crate) fn run(args: &Sync, common: &Common) -> Result<Output> {
    let target = checked_target(&args.to, &args.handing_back.server, &args.case)?;
    let case = Case::open(&args.case)?;
    let wanted: BTreeSet<Address> = args
        .accounts
        .iter()
        .map(|text| {
            Address::parse(text).ok_or_else(|| {
                Usage::error(format!("{text:?} is not an account like local@domain"))
            })
        })
        .collect::<Result<_>>()?;
    sync(
        &case,
        &target,
        &wanted,
        args.dry_run,
        &args.handing_back,
        common,
    )
}

/// Hands the mail of the case back to `target`: of the accounts `wanted`, or of all if it is empty.
pub(crate) fn sync(
    case: &Case,
    target: &Target,
    wanted: &BTreeSet<Address>,
    dry_run: bool,
    options: &HandingBack,
    common: &Common,
) -> Result<Output> {
    let index = Index::open(case, wanted)?;
    check_apart(target, index.all())?;
    let accounts = Accounts {
        dry_run,
        case,
        target,
        index: &index,
    };
    let workers = workers(target, options)?;
    if dry_run {
        let planned = accounts.survey_all(&workers, options)?;
        return Ok(summarise(&planned, dry_run, common));
    }
    let custody = Custody::begin(case, target, wanted)?;
    let carried_out = || -> Result<Carried> {
        let planned = accounts.survey_all(&workers, options)?;
        let start = Instant::now();
        let size = planned.iter().map(|outcome| outcome.bytes).sum();
        let bar = progress::bar(common, "sync", size, progress::Unit::Bytes);
        let views = views(case)?;
        let outcomes: Vec<Outcome> = workers.run(|| {
            let carry_out = |outcome| accounts.carry_out(outcome, &views, &bar);
            planned.into_par_iter().map(carry_out).collect()
        });
        let effort = Effort::since(start, bar.position());
        bar.finish_and_clear();
        Ok(Carried {
            accounts: outcomes.len(),
            effort,
            output: summarise(&outcomes, dry_run, common),
        })
    };
    custody.end(carried_out())
}

/// The accounts of a case at a target.
struct Accounts<'a> {
    /// Nothing is written, not even to the ledger.
    dry_run: bool,
    case: &'a Case,
    target: &'a Target,
    index: &'a Index,
}

impl Accounts<'_> {
    /// Plans all accounts before anything is written: whether it fits, and whether the target is ours.
    fn survey_all(&self, workers: &Workers, options: &HandingBack) -> Result<Vec<Outcome>> {
        let places: Vec<&Place> = self.index.places().collect();
        let mut planned: Vec<Outcome> = workers.run(|| {
            let survey = |place: &&Place| self.survey(place);
            places.par_iter().map(survey).collect()
        });
        check_still_there(self.target, &planned)?;
        room::settle(self.target, &mut planned, options.when_full)?;
        Ok(planned)
    }

    /// Plans one account and gives the plan to `then`.
    fn planned<T>(
        &self,
        place: &Place,
        mailbox: &mut Mailbox<'_>,
        then: impl FnOnce(&mut Plan<'_>, &mut Mailbox<'_>, Ledger) -> T,
    ) -> Result<T> {
        let messages = self.index.messages(place)?;
        let mut ledger = Ledger::open(&self.case.path().join(LEDGER), &self.target.id(), place)?;
        if !self.dry_run {
            mailbox.settle(place, &messages, &mut ledger)?;
        }
        let live = mailbox.live(place, &messages)?;
        let mut plan = plan(place, &messages, &live, &ledger);
        Ok(then(&mut plan, mailbox, ledger))
    }

    /// What is to be done for one account.
    fn survey(&self, place: &Place) -> Outcome {
        let mut outcome = Outcome::new(place);
        let error = self.look(place, &mut outcome).err();
        outcome.error = error.map(|error| format!("{error:#}"));
        outcome
    }

    fn look(&self, place: &Place, outcome: &mut Outcome) -> Result<()> {
        let Some(mut mailbox) = self.target.mailbox(place)? else {
            outcome.waiting = self.index.count(place);
            return Ok(());
        };
        outcome.is_there = mailbox.is_there();
        self.planned(place, &mut mailbox, |plan, _, ledger| {
            outcome.take_plan(plan);
            outcome.restored_before = ledger
                .entries()
                .iter()
                .any(|entry| entry.outcome == Fate::Restored);
        })?;
        outcome.room = mailbox.room()?;
        Ok(())
    }

    /// Does it, unless there is no room for it or it could not even be planned.
    fn carry_out(
        &self,
        mut outcome: Outcome,
        views: &HashMap<String, Arc<dyn ReadAt>>,
        bar: &ProgressBar,
    ) -> Outcome {
        if outcome.error.is_none()
            && let Err(error) = self.hand_over(&mut outcome, views, bar)
        {
            outcome.error = Some(format!("{error:#}"));
        }
        outcome
    }

    fn hand_over(
        &self,
        outcome: &mut Outcome,
        views: &HashMap<String, Arc<dyn ReadAt>>,
        bar: &ProgressBar,
    ) -> Result<()> {
        let place = outcome.place.clone();
        let Some(mut mailbox) = self.target.mailbox(&place)? else {
            return Ok(());
        };
        self.planned(&place, &mut mailbox, |plan, mailbox, mut ledger| {
            if outcome.no_room.is_some() {
                plan.withhold();
            }
            outcome.take_plan(plan);
            outcome.applied = mailbox.apply(plan, &place, &mut ledger, &|message| {
                bar.inc(message.bytes);
                content(views, message)
            });
        })
    }
}

/// Who carries a sync out: threads of our own where a server bounds how many there may be.
struct Workers(Option<rayon::ThreadPool>);

impl Workers {
    fn run<T: Send>(&self, task: impl FnOnce() -> T + Send) -> T {
        match &self.0 {
            Some(pool) => pool.install(task),
            None => task(),
        }
    }
}

fn workers(target: &Target, options: &HandingBack) -> Result<Workers> {
    Ok(Workers(match target {
        Target::Maildir(_) => None,
        // An account at a time has one connection, so that this many threads are it.
        Target::Imap(_) => Some(
            rayon::ThreadPoolBuilder::new()
                .num_threads(options.server.connections)
                .build()?,
        ),
    }))
}

/// Checks that the target is the one that the ledger is about: users empty their mailboxes, but
/// not all of them down to the directory.
fn check_still_there(target: &Target, planned: &[Outcome]) -> Result<()> {
    let before: Vec<&Outcome> = planned.iter().filter(|o| o.restored_before).collect();
    if before.is_empty() || before.iter().any(|outcome| outcome.is_there) {
        return Ok(());
    }
    Err(Usage::error(format!(
        "the ledger knows {} accounts that were restored to this target, and none of their \
         mailboxes is there any more: is another file system mounted at {}? To restore to a new \
         place name it by a new path; to begin anew here, move CASE/ledger/{} away",
        before.len(),
        target,
        target.id(),
    )))
}

/// Checks that no two accounts of the case, restored now or not, share a place at the target,
/// and that none lies inside another's: one would read the other's mail.
fn check_apart(target: &Target, places: &BTreeSet<Place>) -> Result<()> {
    let mut paths: Vec<(PathBuf, &Place)> = places
        .iter()
        .filter_map(|place| Some((target.location(place)?, place)))
        .collect();
    // By components, so that what lies inside a directory comes right after it.
    paths.sort();
    for pair in paths.windows(2) {
        if let [(outer, one), (inner, other)] = pair
            && inner.starts_with(outer)
        {
            return Err(Usage::error(format!(
                "the target gives {} and {} one place, {}: use a pattern with {{domain}} and {{local}}, \
                 or {{account}}. Nothing was written",
                name_of(one),
                name_of(other),
                outer.display()
            )));
        }
    }
    Ok(())
}

/// The views that messages are read from, by the names of their file systems.
pub(crate) fn views(case: &Case) -> Result<HashMap<String, Arc<dyn ReadAt>>> {
    views_of(case, &Session::open(case)?)
}

/// The same, on the devices of `session`.
pub(crate) fn views_of(case: &Case, session: &Session) -> Result<HashMap<String, Arc<dyn ReadAt>>> {
    let mut open = HashMap::new();
    let views = super::rebuild::views(case)?;
    for (name, view) in views.into_iter().chain(super::carve::views(case)?) {
        let device = |device: &str| session.devices.get(&DeviceName(device.to_owned()));
        open.extend(view.open(device)?.map(|view| (name, view)));
    }
    Ok(open)
}

/// The bytes of a message, read again and proved to be what was found.
pub(crate) fn content(
    views: &HashMap<String, Arc<dyn ReadAt>>,
    message: &Message,
) -> Result<Bytes, RestoreError> {
    let changed = |why: &str| RestoreError::Changed {
        id: message.id.to_string(),
        why: why.to_owned(),
    };
    let view = views
        .get(&message.origin.device)
        .ok_or_else(|| changed("its device is not in aggregate.json any more"))?;
    let content = reread(view, &message.origin)
        .ok_or_else(|| changed("its extents do not fit the device any more"))?;
    if MessageId::of(&content.bytes) == message.id {
        Ok(content.bytes)
    } else {
        Err(changed("its bytes are others"))
    }
}

pub(crate) fn name_of(place: &Place) -> String {
    match place {
        Place::Account(account) => account.to_string(),
        Place::Unattributed => "_unattributed".to_owned(),
    }
}

/// Reads a target and checks what can be checked before anything is done.
pub(crate) fn checked_target(text: &str, server: &Server, case: &Path) -> Result<Target> {
    let target = match Target::parse(text)? {
        Target::Imap(target) => Target::Imap(target.with(ImapOptions {
            ca: server.ca.clone(),
            allow_cleartext: server.allow_cleartext,
            credentials: Credentials::read(server.credentials.as_deref())?,
        })),
        maildir => maildir,
    };
    target.check(case).context("the target cannot be used")?;
    Ok(target)
}
