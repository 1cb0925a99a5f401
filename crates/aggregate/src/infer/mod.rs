//! RAID groups from the contents of devices that no label explains.
//!
//! 1. [`sample`]: a bounded part of every device, at the same places.
//! 2. [`pile`]: which devices belong together, by linear algebra over GF(2^8) ([`relations`]);
//!    brought in line where their data begins at different offsets ([`shift`]), without those that
//!    hold an older state ([`twins`]), each mirror as one ([`mirrors`]). Copies that lie further
//!    down are RAID-10s of their own kind ([`rings`]), as are those that go around ([`near_copies`]).
//!    What lies in stripes over groups is told apart by the column ([`stripes`]).
//! 3. Hypotheses, each solved from one kind of evidence: [`algebra`] reads RAID-6 off the factors
//!    of the relations, [`anchored`] solves for blocks that state their own address ([`anchors`]),
//!    [`order`] for [`contents`] that continue each other.
//! 4. [`score`]: all kinds of evidence judge every hypothesis, whichever it came from, also by
//!    whether what it rebuilds makes sense ([`rebuilt`]); [`decide`] asks for one that stands out;
//!    [`verify`] rebuilds blocks that are there from the others and compares.
//!    Where a newer array was created over an older one on the same devices, [`created_again`] takes out
//!    what the newer one says, and [`rebuilt_member`] the member that it made of the others.
//!    A member that was not written to the end is known by what the others make of it ([`lagging`]).
//! 5. [`base`]: where the group itself begins; [`statement`]: what is said of it.
//!
//! What stays undecided is a [`Loss`] that lists what is left to choose from: nothing is
//! guessed.
#![warn(clippy::indexing_slicing)]

mod algebra;
mod anchored;
mod anchors;
mod base;
mod beside;
mod contents;
mod created_again;
mod decide;
mod hypothesis;
mod lagging;
mod member_ends;
mod mirrors;
mod near_copies;
mod order;
mod pile;
mod rebuilt;
mod rebuilt_member;
mod relations;
mod rings;
mod sample;
mod score;
mod shape;
mod shift;
mod start;
mod statement;
mod stripes;
mod survey;
mod text_stripes;
mod twins;
mod verify;
mod written_over;

use std::collections::BTreeSet;
use std::sync::Arc;

use evidence::{ByteOffset, Cause, Loss, Origin, ReadAt};

use self::anchors::Addresses;
pub(crate) use self::anchors::{Anchor, Source};
use self::beside::Known;
use self::decide::Decided;
use self::pile::{Members, Pile, Tie};
pub(crate) use self::rebuilt_member::{Newer, Worth, are_same, best, rebuilt_members, repeats};
use self::relations::{MOST_DEVICES, Set};
use self::sample::Candidate;
pub(crate) use self::sample::{WINDOW, windows};
pub(crate) use self::start::{begins_something, by_superblock};
pub(crate) use self::survey::{certain_by_source, glance, survey};
#[cfg(test)]
pub(crate) use self::text_stripes::tests::text;
pub(crate) use self::text_stripes::{TextStripes, text_stripes};
use self::twins::Stale;
use crate::document::{DeviceName, Group, Region, Unused};

/// What was worked out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inferred {
    /// Groups whose geometry is decided, without names.
    pub(crate) groups: Vec<Group>,
    /// Devices that are no part of any, and why.
    pub(crate) unused: Vec<Unused>,
    /// Devices of which it is not decided what they are a part of.
    pub(crate) undecided: Vec<Undecided>,
    pub(crate) losses: Vec<Loss>,
    /// The sets of devices that parity ties together, and of which more is not decided.
    tied: Vec<BTreeSet<DeviceName>>,
    /// The devices that newer arrays rebuilt from others.
    pub(crate) rebuilt: BTreeSet<DeviceName>,
    /// How much speaks for what was chosen among others, the last for the same devices.
    judged: Vec<Judged>,
    /// Regions of the members of these groups that a newer array took for its parity.
    pub(crate) overwritten: Vec<Region>,
    /// The columns of stripes that lie on these groups.
    known: Known,
}

/// How much speaks for a group.
#[derive(Clone, Debug)]
struct Judged {
    /// Its members.
    devices: BTreeSet<DeviceName>,
    /// The sum of what does, in nats.
    worth: f64,
    /// Whether most blocks that state their address lie elsewhere: parity that holds may be another array's.
    is_contradicted: bool,
}

/// Devices that belong together in a way that is not decided, or one that nothing is known of.
#[derive(Clone, Debug)]
pub(crate) struct Undecided {
    pub(crate) devices: BTreeSet<DeviceName>,
    /// What is left to choose.
    pub(crate) loss: Loss,
}

/// A device and its name.
pub(crate) type Named = (DeviceName, Arc<dyn ReadAt>);

/// Works out the groups that `devices` are members of.
pub(crate) fn infer(devices: Vec<Named>) -> Inferred {
    infer_once(devices.clone()).without_rebuilt_members(&devices)
}

/// The same, by what all devices hold.
///
/// Copies that another array wrote over in part are no mirror that could be read as one, and each of
/// them is a stranger to the group of the other. So where something stays undecided, it is asked once
/// more with one of them.
pub(crate) fn infer_once(devices: Vec<Named>) -> Inferred {
    let mut inferred = Inferred::default();
    let mut candidates: Vec<Candidate> = devices
        .into_iter()
        .map(|(name, device)| Candidate::new(name, device))
        .collect();
    candidates.sort_by(|a, b| a.name.cmp(&b.name));
    if candidates.len() > MOST_DEVICES {
        let why = format!("only the first {MOST_DEVICES} devices without labels are compared");
        inferred
            .losses
            .push(loss(&candidates, &[0], Cause::Unsupported(why)));
        candidates.truncate(MOST_DEVICES);
    }
    let (mut pile, mut stale) = sorted(Pile::look(candidates).in_line());
    if let Some(moved) = pile.in_line_by_anchors() {
        (pile, stale) = sorted(moved);
    }
    let stale = stale.into_iter().filter_map(|one| unused(&pile, one));
    inferred.unused.extend(stale);
    let before = inferred.clone();
    let mirrors_wait = decide_all(&pile, &mut inferred, true);
    if mirrors_wait && !inferred.undecided.is_empty() {
        // What waited is a stranger to what is decided meanwhile.
        let mut at_once = before.clone();
        decide_all(&pile, &mut at_once, false);
        if at_once.groups.len() > inferred.groups.len() {
            inferred = at_once;
        }
    }
    let open = inferred.open(&pile);
    let lesser = pile.leave_out_lesser_copies(open);
    if lesser.is_empty() {
        return inferred.with_equals(&pile);
    }
    let mut without = before;
    decide_all(&pile, &mut without, true);
    if without.groups.len() <= inferred.groups.len() {
        return inferred.with_equals(&pile);
    }
    let lesser = lesser.into_iter().filter_map(|copy| left_out(&pile, copy));
    without.unused.extend(lesser);
    without
}

/// The pile without what repeats other devices, and the stale ones among these.
fn sorted(mut pile: Pile) -> (Pile, Vec<Stale>) {
    let stale = pile.leave_out_stale();
    pile.fold_mirrors();
    (pile, stale)
}

/// Decides every set of devices that belong together, and says what is left; whether mirrors that may have been
/// made over a group waited until groups were decided, which they do if they are to `wait`.
fn decide_all(pile: &Pile, inferred: &mut Inferred, wait: bool) -> bool {
    let stated = pile.addresses();
    let mut taken = pile.silent.with(inferred.take_near_copies(pile, &stated));
    let (whole, scattered): (Vec<Members>, Vec<Members>) = pile
        .by_relation()
        .into_iter()
        .filter(|set| !devices_of([set]).touches(taken))
        .partition(|set| set.tie == Tie::Parity);
    let tied = taken.with(devices_of(&whole)).with(devices_of(&scattered));
    let rings = inferred.take_rings(pile, tied, &stated);
    taken = taken.with(rings);
    // Devices of a ring that is not decided may lack others, which are among the rest.
    let doubtful = inferred.undecided.iter().any(|one| one.devices.len() > 1);
    let mut waiting = wait.then(Vec::new);
    let mirrors = inferred.take_mirrors(pile, taken.with(tied), &stated, waiting.as_mut());
    taken = taken.with(mirrors);
    let Whole {
        settled,
        mut told,
        mut open,
    } = inferred.take_whole(pile, &whole, &stated);
    taken = taken.with(settled);
    // What ties devices to those of a group in some rows is an array that was made over it.
    let (over, scattered): (Vec<Members>, Vec<Members>) = scattered
        .into_iter()
        .partition(|set| devices_of([set]).touches(settled));
    for set in over {
        told = told.with(inferred.take_over(pile, &set));
    }
    // Where members are missing that parity needs, the rest may be one group: it must make sense
    // in each of its devices.
    if let Some(own) = inferred.take_rest(pile, taken, doubtful, &stated, false) {
        taken = taken.with(own);
    } else {
        let some = inferred.take_scattered(pile, scattered, &stated);
        taken = taken.with(some.settled);
        told = told.with(some.told);
        open.extend(some.open);
        taken = taken.with(devices_of(open.iter().map(|(set, _)| set)));
        // Without what is decided now it may be, and groups beside it may say so.
        let own = inferred.take_rest(pile, taken, doubtful, &stated, true);
        taken = taken.with(own.unwrap_or_default());
        taken = taken.with(inferred.take_without_parity(pile, taken, doubtful, &stated, &mut open));
    }
    for (set, decided) in open {
        let decided = inferred.or_beside(pile, &set, &stated, decided);
        if decided.is_err() && set.tie == Tie::Parity {
            let devices = set.devices.iter().filter_map(|at| pile.candidates.get(*at));
            let names = devices.map(|one| one.name.clone());
            inferred.tied.push(names.collect());
        }
        inferred.take(pile, &set.devices, decided);
    }
    let waiting = waiting.unwrap_or_default();
    let any_waited = !waiting.is_empty();
    for (device, mirror) in waiting {
        if !inferred.is_member(pile, device) {
            inferred.groups.push(mirror);
        }
        taken = taken.with([device].into_iter().collect());
    }
    for device in pile
        .others(taken.with(told))
        .filter(|device| pile.has_contents(*device))
    {
        let why = "it holds data, and nothing in it says what of, or ties it to another device; if it belongs to a group, state the geometry by hand";
        inferred.take(pile, &[device], Err(why.to_owned()));
    }
    any_waited
}

/// A set and what was decided of it; groups beside it may say more.
type Open = (Members, Result<Group, String>);

/// What is left of the sets that parity ties together.
#[derive(Default)]
struct Whole {
    /// The devices of those of which it is known what these are a part of; of sets that are tied all over, of
    /// those that are open, too.
    settled: Set,
    /// The devices of which more may be found out, and which are named in a loss already.
    told: Set,
    /// The sets that are not decided.
    open: Vec<Open>,
}

/// All devices of some sets.
fn devices_of<'a>(sets: impl IntoIterator<Item = &'a Members>) -> Set {
    let devices = sets.into_iter().flat_map(|set| &set.devices);
    devices.copied().collect()
}

impl Inferred {
    /// Takes the sets that parity ties together and that are decided.
    ///
    /// What ties members of a group to other devices is another array on the same disks: those others
    /// may be a group of the older one, of which members are missing that parity needs. So may a part
    /// of a set that is not decided.
    fn take_whole(&mut self, pile: &Pile, whole: &[Members], stated: &Addresses) -> Whole {
        let ties: Vec<_> = whole
            .iter()
            .map(|set| (set, self.decide_whole(pile, set, stated)))
            .collect();
        let ties = ties.into_iter();
        let (decided, undecided): (Vec<_>, Vec<_>) = ties.partition(|(_, decided)| decided.is_ok());
        let mut groups = devices_of(decided.iter().map(|(set, _)| *set));
        for (set, decided) in decided {
            self.take(pile, &set.devices, decided);
        }
        for (set, _) in &undecided {
            for part in pile.within(set) {
                let own = devices_of([&part]);
                if !own.touches(groups)
                    && let Ok(group) = self.decide(pile, &part, stated)
                {
                    groups = groups.with(own);
                    self.groups.push(group);
                }
            }
        }
        let mut all = Whole {
            settled: groups,
            ..Whole::default()
        };
        // Of two that share devices and are both open, one is of a newer array.
        for (set, decided) in undecided {
            let own = devices_of([set]);
            if own.touches(all.settled) {
                all.told = all.told.with(self.take_over(pile, set));
            } else {
                all.settled = all.settled.with(own);
                all.open.push((set.clone(), decided));
            }
        }
        all
    }

    /// Takes all devices with contents that are not `taken` as one group, if they are one by themselves or
    /// by groups `beside` them, and gives them: not where other devices may be of it that are `doubtful`.
    fn take_rest(
        &mut self,
        pile: &Pile,
        taken: Set,
        doubtful: bool,
        stated: &Addresses,
        beside: bool,
    ) -> Option<Set> {
        let rest = pile.remains(taken);
        (rest.devices.len() >= 2 && !doubtful).then_some(())?;
        let mut decided = self.decide(pile, &rest, stated);
        if beside {
            decided = self.or_beside(pile, &rest, stated, decided);
        }
        let group = decided.ok()?;
        self.groups.push(group);
        Some(devices_of([&rest]))
    }

    /// Takes the sets that parity ties together in some rows and that are decided, those first that are tied
    /// in most.
    fn take_scattered(
        &mut self,
        pile: &Pile,
        scattered: Vec<Members>,
        stated: &Addresses,
    ) -> Whole {
        let decided = scattered.into_iter().map(|set| {
            let decided = self.decide(pile, &set, stated);
            (set, decided)
        });
        let (decided, undecided): (Vec<Open>, Vec<Open>) =
            decided.partition(|(_, decided)| decided.is_ok());
        let mut all = Whole::default();
        for (set, decided) in decided {
            let own = devices_of([&set]);
            if own.touches(all.settled) {
                all.told = all.told.with(self.take_over(pile, &set));
            } else {
                all.settled = all.settled.with(own);
                self.take(pile, &set.devices, decided);
            }
        }
        for (set, decided) in undecided {
            let open = devices_of(all.open.iter().map(|(set, _)| set));
            if devices_of([&set]).touches(all.settled.with(open)) {
                all.told = all.told.with(self.take_over(pile, &set));
            } else {
                all.open.push((set, decided));
            }
        }
        all
    }

    /// Says why nothing is made of a set of which some are members of a group, and gives its devices.
    fn take_over(&mut self, pile: &Pile, set: &Members) -> Set {
        let why = format!(
            "{}, but some of them also to others, with which they make a group: one of the two arrays was made over the other, and too little of this one is left",
            set.together
        );
        self.take(pile, &set.devices, Err(why));
        devices_of([set])
    }

    /// Decides a set that parity ties together, which may be the parity of an array that was created over
    /// the one that is wanted.
    fn decide_whole(
        &mut self,
        pile: &Pile,
        set: &Members,
        stated: &Addresses,
    ) -> Result<Group, String> {
        let decided = pile.decided(set, stated);
        let Some(older) = pile.older(set, stated, &decided) else {
            return decided.map(|decided| self.noted(decided));
        };
        self.overwritten.extend(older.overwritten);
        Ok(older.group)
    }

    /// Decides the geometry of a set.
    fn decide(&mut self, pile: &Pile, set: &Members, stated: &Addresses) -> Result<Group, String> {
        let decided = pile.decided(set, stated);
        decided.map(|decided| self.noted(decided))
    }

    /// Keeps how much speaks for a group, and gives it.
    fn noted(&mut self, decided: Decided) -> Group {
        self.judged.push(Judged {
            devices: decided.group.devices(),
            worth: decided.worth,
            is_contradicted: decided.is_contradicted,
        });
        decided.group
    }

    /// What was decided of a set, or else what the groups beside it decide.
    fn or_beside(
        &mut self,
        pile: &Pile,
        set: &Members,
        stated: &Addresses,
        decided: Result<Group, String>,
    ) -> Result<Group, String> {
        decided.or_else(|why| {
            let (groups, known) = (&self.groups, &mut self.known);
            let in_stripes = pile.decide_in_stripes(set, stated, groups, known);
            let beside = || pile.decide_beside(set, stated, groups);
            in_stripes.or_else(beside).ok_or(why)
        })
    }

    /// Takes the groups of copies that lie side by side and go around, and gives their devices.
    fn take_near_copies(&mut self, pile: &Pile, stated: &Addresses) -> Set {
        let (candidates, rows) = (&pile.candidates, &pile.rows);
        let mut own = Set::default();
        let rings = pile.rings(Set::default());
        for (devices, group) in near_copies::groups(candidates, rows, &stated.anchors, &rings) {
            own = own.with(devices.into_iter().collect());
            self.groups.push(group);
        }
        own
    }

    /// Takes the rings of devices that are not `taken`, and gives their devices.
    fn take_rings(&mut self, pile: &Pile, taken: Set, stated: &Addresses) -> Set {
        let mut own = Set::default();
        for ring in pile.rings(taken) {
            own = own.with(ring.devices.iter().copied().collect());
            let mut others = pile.others(taken.with(own));
            let strangers = others.any(|device| pile.has_contents(device));
            let (candidates, rows) = (&pile.candidates, &pile.rows);
            let decided = rings::decide(&ring, strangers, candidates, rows, &stated.anchors);
            let decided = decided.map_err(|why| format!(
                "each of these devices holds what another one holds further down, as in RAID-10 with far or offset copies, but {why}; state the geometry by hand"
            ));
            self.take(pile, &ring.devices, decided);
        }
        own
    }

    /// Takes the mirrors among the devices that are not `taken`, and gives their devices: what
    /// begins on a device and ends there is no part of a larger group, nor is what lies there in one
    /// piece and goes on elsewhere. Those that may have been made over another group go
    /// to those that are `waiting`, if any are to.
    fn take_mirrors(
        &mut self,
        pile: &Pile,
        taken: Set,
        stated: &Addresses,
        mut waiting: Option<&mut Vec<(usize, Group)>>,
    ) -> Set {
        let mut own = Set::default();
        for device in pile.others(taken) {
            let class = pile.mirror_of(device);
            if let Some(mirror) = mirrors::mirror(&class, &pile.candidates, &stated.anchors) {
                if mirror.is_over_another
                    && let Some(waiting) = &mut waiting
                {
                    waiting.push((device, mirror.group));
                    continue;
                }
                own = own.with([device].into_iter().collect());
                self.groups.push(mirror.group);
            } else if let Some(piece) = mirrors::in_one_piece(device, &stated.anchors)
                && piece.goes_on
            {
                own = own.with([device].into_iter().collect());
                let why = format!(
                    "{}, and goes on on another device, as after one another",
                    piece.why
                );
                self.take(pile, &[device], Err(why));
            }
        }
        own
    }

    /// Takes the sets of devices that are not `taken` and that parity does not tie together, and
    /// gives their devices; what groups beside them may decide goes to `open`.
    ///
    /// Without parity nothing says that a set is whole: there may be no other device that could be
    /// part of it.
    fn take_without_parity(
        &mut self,
        pile: &Pile,
        taken: Set,
        doubtful: bool,
        stated: &Addresses,
        open: &mut Vec<Open>,
    ) -> Set {
        let (carriers, texts) = pile.without_parity(taken, &stated.anchors);
        let carried = devices_of(&carriers);
        let strangers = |set: &Members, explained: Set| {
            let mut others = pile.others(explained.with(devices_of([set])));
            doubtful || others.any(|device| pile.has_contents(device))
        };
        let decide = |set: &Members, explained: Set| match pile.decided(set, stated) {
            Ok(decided) if !decided.is_whole && strangers(set, explained) => Err(format!(
                "{}, and as {} they would make sense, but other devices hold data too that nothing explains: without parity nothing says that none of them is a member",
                set.together,
                decided.group.geometry.level.name(),
            )),
            decided => decided.map(|decided| decided.group),
        };
        let mut explained = taken;
        for set in &carriers {
            let whole = decide(set, taken.with(carried));
            let ways = if whole.is_err() {
                pile.parts(set, stated)
            } else {
                Vec::new()
            };
            let decided = ways.iter().find_map(|parts| {
                let each = parts.iter().map(|part| decide(part, taken.with(carried)));
                let each: Vec<_> = each.collect();
                let any = each.iter().any(Result::is_ok);
                any.then(|| parts.iter().zip(each).collect::<Vec<_>>())
            });
            if decided.is_none() && whole.is_err() && !strangers(set, taken) {
                open.push((set.clone(), whole));
                continue;
            }
            for (set, decided) in decided.unwrap_or_else(|| vec![(set, whole)]) {
                if decided.is_ok() {
                    explained = explained.with(set.devices.iter().copied().collect());
                }
                self.take(pile, &set.devices, decided);
            }
        }
        let told = carried.with(devices_of(&texts));
        if let Some(set) = texts {
            let decided = decide(&set, explained);
            if decided.is_err() && !strangers(&set, explained) {
                open.push((set, decided));
            } else {
                self.take(pile, &set.devices, decided);
            }
        }
        told
    }

    /// With a mirror of devices that are equal, if nothing else is left that is not decided: one of several pairs may
    /// be half of a RAID-10.
    fn with_equals(mut self, pile: &Pile) -> Self {
        let [one] = self.undecided.as_slice() else {
            return self;
        };
        let names = |class: &[usize]| -> BTreeSet<DeviceName> {
            let members = class
                .iter()
                .filter_map(|device| pile.candidates.get(*device));
            members.map(|candidate| candidate.name.clone()).collect()
        };
        let mut classes = (0..pile.candidates.len()).map(|device| pile.mirror_of(device));
        let class = classes.find(|class| class.len() > 1 && names(class) == one.devices);
        let class = class.filter(|class| pile.is_varied(class));
        if let Some(mirror) = class.and_then(|class| mirrors::of_equals(&class, &pile.candidates)) {
            self.groups.push(mirror);
            self.undecided.clear();
        }
        self
    }

    /// The devices of which it is not decided what they are a part of.
    fn open(&self, pile: &Pile) -> Set {
        let is_open = |device: &usize| {
            let name = pile
                .candidates
                .get(*device)
                .map(|candidate| &candidate.name);
            name.is_some_and(|name| self.undecided.iter().any(|one| one.devices.contains(name)))
        };
        (0..pile.candidates.len()).filter(is_open).collect()
    }

    /// Whether a device is a member of a group that is decided.
    fn is_member(&self, pile: &Pile, device: usize) -> bool {
        let name = pile.candidates.get(device).map(|one| &one.name);
        let mut members = self.groups.iter().flat_map(|group| &group.members);
        name.is_some() && members.any(|member| member.device.as_ref() == name)
    }

    /// Takes what was decided of some devices, with those that mirror them.
    fn take(&mut self, pile: &Pile, devices: &[usize], decided: Result<Group, String>) {
        match decided {
            Ok(group) => self.groups.push(group),
            Err(why) => {
                let all = devices.iter().flat_map(|device| pile.mirror_of(*device));
                let all: Vec<usize> = all.collect();
                let members = all.iter().filter_map(|device| pile.candidates.get(*device));
                self.undecided.push(Undecided {
                    devices: members.map(|candidate| candidate.name.clone()).collect(),
                    loss: loss(&pile.candidates, &all, Cause::Unsupported(why)),
                });
            }
        }
    }
}

/// The statement of a device that is a copy of another one in part.
fn left_out(pile: &Pile, (device, of): (usize, usize)) -> Option<Unused> {
    let name = |device: usize| pile.candidates.get(device).map(|c| c.name.clone());
    let of = name(of)?;
    Some(Unused {
        device: name(device)?,
        copy_of: Some(of.clone()),
        why: format!(
            "a copy of {of}, from which it differs in part: another array wrote over both, or one of them is older; {of} is read"
        ),
    })
}

/// The statement of a stale device.
fn unused(pile: &Pile, stale: Stale) -> Option<Unused> {
    let name = |device: usize| pile.candidates.get(device).map(|c| c.name.clone());
    let of = name(stale.of)?;
    Some(Unused {
        device: name(stale.device)?,
        copy_of: Some(of.clone()),
        why: format!(
            "a copy of {of}, older or equal: of the rows looked at they are equal in {}, and in {} only {of} agrees with the rest of its group",
            stale.equal, stale.differ
        ),
    })
}

fn loss(candidates: &[Candidate], devices: &[usize], cause: Cause) -> Loss {
    let name = |index: &usize| candidates.get(*index).map(|c| c.name.to_string());
    let names: Vec<String> = devices.iter().filter_map(name).collect();
    Loss {
        what: format!("a group without labels on {}", names.join(", ")),
        origin: Origin::new(names.first().cloned().unwrap_or_default(), ByteOffset::ZERO),
        cause,
    }
}
