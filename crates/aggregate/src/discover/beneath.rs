//! Groups beneath those that labels state, and beneath file systems, physical volumes and partition tables.
//!
//! A label says what an array was made to be, not what lies on its disks. Where a new array was
//! begun over an old one, or the old one was created again with its disks in another order, the
//! labels hold in every checksum, and often in every parity, while the contents are still the old
//! array's. So labelled disks are looked at once more without their labels. What comes out is
//! compared with the labels by where each chunk goes on: the same group may be told with another
//! start, and then it is no second one.
//!
//! A group that lies on members of several groups by label is believed only if it has parity over all of
//! them, and several members of one: a volume that is striped over them, or an array of arrays, looks
//! otherwise, and their labels are right.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use evidence::{ByteOffset, Gaps, OutOfRange, ReadAt, ReadAtExt};

use super::Discovery;
use super::ground::Ground;
use crate::coverage::with_all_above;
use crate::devices::Devices;
use crate::document::{DeviceName, FilesystemStatement, Group, Member, Region};
use crate::infer::{self, Inferred, Named, Newer, Worth};
use crate::raid::Level;

/// Chunks of a found group whose successors are compared, and of a stated one that may be them.
const COMPARED: u64 = 512;
const KNOWN: u64 = 8192;
/// So many must be comparable for an answer.
const LEAST_COMPARED: usize = 16;
/// A group may be longer by this part of its length than is known, where its end is not.
const END_UNKNOWN: u64 = 8;

/// The groups that were found on devices that others are on.
#[derive(Default)]
struct Beneath {
    /// Those that no label states.
    unstated: Vec<Group>,
    /// Those that one does.
    stated: Vec<Group>,
    /// What the former are worth.
    worth: Worth,
    /// The devices that newer arrays rebuilt from others.
    rebuilt: BTreeSet<DeviceName>,
    /// Regions of their members that a newer array took for its parity.
    overwritten: Vec<Region>,
}

impl Discovery<'_> {
    /// Works out groups from the contents of disks and partitions that are members of groups or physical
    /// volumes by their labels, or that a file system fills; whether there was one that no label states. It is
    /// done once.
    pub(super) fn infer_beneath(&mut self) -> bool {
        if std::mem::replace(&mut self.inferred_beneath, true) {
            return false;
        }
        let ground = self.ground();
        let is_all_seen = ground.labelled.is_subset(&self.doubted_names());
        if is_all_seen && ground.filled.is_empty() && ground.volumes.is_empty() {
            return false;
        }
        self.infer_on(&ground)
    }

    /// Works out groups on some ground; whether there was one that no label states.
    pub(super) fn infer_on(&mut self, ground: &Ground) -> bool {
        let names = ground.names();
        if names.len() < 2 {
            return false;
        }
        let found = self.inferred_on(&names, ground, infer::infer);
        let found = match ground.cut.is_empty() {
            true => self.without_rebuilt_members(&names, ground, found),
            false => found,
        };
        let mut overwritten = found.overwritten;
        let groups = self.begun(found.unstated, &mut overwritten);
        self.overwritten.retain(|region| region.group.is_some());
        self.overwritten.extend(overwritten);
        let any = !groups.is_empty();
        let members = groups.iter().flat_map(|group| self.with_partitions(group));
        let members: BTreeSet<DeviceName> = members.collect();
        self.undecided
            .retain(|one| !one.devices.is_subset(&members));
        for group in groups {
            self.add_found(group);
        }
        // What fills a member, or a partition of it, was made over the group, and is read all the same.
        self.aggregate.filesystems.extend(
            ground
                .filling
                .iter()
                .filter(|fs| members.contains(&fs.device))
                .cloned(),
        );
        self.aggregate
            .filesystems
            .sort_by(|a, b| a.device.cmp(&b.device));
        self.aggregate
            .filesystems
            .dedup_by(|a, b| a.device == b.device);
        for fs in &mut self.aggregate.filesystems {
            if members.contains(&fs.device) {
                fs.notes.push(
                    "was made over a group of which its device is a member, or lies on one"
                        .to_owned(),
                );
            }
        }
        any
    }

    /// The groups on some devices that have members among those that are labelled, all of one group or of several
    /// that it contradicts, or among those that are filled; or if it has parity, which volumes in stripes have
    /// not, among physical volumes or disks with partitions.
    fn inferred_on(
        &self,
        names: &BTreeSet<DeviceName>,
        ground: &Ground,
        infer: fn(Vec<Named>) -> Inferred,
    ) -> Beneath {
        let devices = ground.devices.iter();
        let devices = devices.filter(|(name, _)| names.contains(name));
        let inferred = infer(devices.cloned().collect());
        let groups = inferred.groups.iter().cloned();
        let (unstated, stated): (Vec<Group>, Vec<Group>) = groups
            .filter(|group| {
                let on: BTreeSet<DeviceName> = &group.devices() & &ground.labelled;
                let mut stated = ground.groups.iter();
                let members = group.devices();
                let is_filled = members.iter().any(|one| ground.filled.contains(one));
                // Each member of a mirror shows the file system that fills it.
                let is_mirror = matches!(group.geometry.level, Level::Raid1 { .. });
                if is_filled && is_mirror && !ground.is_filled_apart(&members) {
                    return false;
                }
                let is_volume = members.iter().any(|one| ground.volumes.contains(one));
                // Without parity, volumes in stripes and copies in arrays on partitions look alike.
                let is_cut = members.iter().any(|one| ground.cut.contains(one));
                if !(ground.cut.is_empty() || is_cut && has_parity(group)) {
                    return false;
                }
                if on.is_empty() {
                    return is_filled || is_cut || is_volume && has_parity(group);
                }
                stated.any(|one| on.is_subset(&one.devices()))
                    || self.is_under_several(group, &on, ground)
            })
            .partition(|group| !ground.states(group));
        Beneath {
            worth: inferred.worth(unstated.iter()),
            rebuilt: inferred.rebuilt,
            overwritten: inferred.overwritten,
            unstated,
            stated,
        }
    }

    /// Whether a group with members `on` several groups that labels state was there before these: its level
    /// has parity over all of them, it has two members at least of one, and no label states an array over
    /// two of them. A volume in stripes, or an array of arrays, has chunks of parity in each group or none, and one
    /// member of each.
    fn is_under_several(&self, group: &Group, on: &BTreeSet<DeviceName>, ground: &Ground) -> bool {
        let stated = ground.groups.iter();
        let stated = stated.filter(|one| self.added_stated.contains(&one.name));
        let shared = stated.map(|one| (DeviceName::group(&one.name), &one.devices() & on));
        let shared: Vec<(DeviceName, BTreeSet<DeviceName>)> =
            shared.filter(|(_, shared)| !shared.is_empty()).collect();
        // Of an array of arrays, too, two members may lie on one of them, if it has copies.
        let is_one_above = self.aggregate.groups.iter().any(|above| {
            let members = above.devices();
            let below = shared.iter().filter(|(name, _)| members.contains(name));
            below.count() > 1
        });
        let shared: Vec<usize> = shared.iter().map(|(_, shared)| shared.len()).collect();
        has_parity(group)
            && !is_one_above
            && shared.iter().sum::<usize>() == on.len()
            && shared.iter().any(|count| *count > 1)
    }

    /// The groups where new arrays may each have rebuilt one of their members from the others, as md does when it
    /// begins a RAID-5: its parity holds then everywhere, and that member has nothing of the older groups,
    /// of which some were `found` nevertheless.
    ///
    /// They are looked for on arrays that contents do not confirm, without one member of each or of some; the answer
    /// with the most members is taken, and with clearly more to say for it than others with as many.
    fn without_rebuilt_members(
        &self,
        names: &BTreeSet<DeviceName>,
        ground: &Ground,
        found: Beneath,
    ) -> Beneath {
        let explained = found.unstated.iter().flat_map(Group::devices);
        let explained: BTreeSet<DeviceName> = explained.chain(found.rebuilt.clone()).collect();
        let may_be_rebuilt = |group: &&Group| {
            let level = &group.geometry.level;
            let devices = group.devices();
            let missing = group.members.iter().filter(|one| one.device.is_none());
            self.added_stated.contains(&group.name)
                && matches!(level, Level::Raid4 { .. } | Level::Raid5 { .. })
                && missing.count() <= 1
                && devices.is_subset(&ground.labelled)
                && !devices.is_subset(&explained)
                && !found.stated.iter().any(|found| is_same(group, found))
        };
        let doubtful = ground.groups.iter().filter(may_be_rebuilt);
        let arrays: Vec<BTreeSet<DeviceName>> = doubtful.map(Group::devices).collect();
        let arrays = Newer::of(&arrays, &ground.devices);
        let mut answers = Vec::new();
        for rebuilt in infer::rebuilt_members(&arrays) {
            let rest = names.difference(&rebuilt).cloned().collect();
            let others = self.inferred_on(&rest, ground, infer::infer_once);
            // What was found already, but for one of its members, tells nothing new; nor does an array of which
            // parity makes the member that is left out as it is.
            let is_new = |group: &Group| !found.unstated.iter().any(|one| is_same(one, group));
            let repeats = |group: &Group| infer::repeats(group, &arrays, &rebuilt);
            let groups = &others.unstated;
            if groups.iter().any(is_new) && !groups.iter().any(repeats) {
                answers.push((others.worth, others));
            }
        }
        answers.push((found.worth, found));
        let same = |one: &Beneath, other: &Beneath| infer::are_same(&one.unstated, &other.unstated);
        infer::best(answers, same).unwrap_or_default()
    }

    /// Says of the groups that labels state on members of `found` that they were begun over it.
    pub(super) fn note_begun_over(&mut self, found: &Group) {
        let on = found.devices();
        let groups = self.aggregate.groups.iter();
        let is_over = |group: &Group| {
            self.added_stated.contains(&group.name)
                && !self.lowered(group, &on).devices().is_disjoint(&on)
        };
        let over: Vec<bool> = groups.map(is_over).collect();
        let stated = self.aggregate.groups.iter_mut().zip(over);
        for (newer, _) in stated.filter(|(_, is_over)| *is_over) {
            newer.evidence.push(format!(
                "what lies on its members makes sense as {} and not in this order: it was begun over that",
                found.name
            ));
            newer.over.push(found.name.clone());
        }
    }

    /// Says of volume groups on members of groups that were worked out that they were begun over these.
    pub(super) fn note_volume_groups_over(&mut self) {
        let groups = self.aggregate.groups.iter();
        let found = groups.filter(|group| !self.added_stated.contains(&group.name));
        let found: Vec<(String, BTreeSet<DeviceName>)> = found
            .map(|group| (group.name.clone(), self.with_partitions(group)))
            .collect();
        for volumes in &mut self.aggregate.volume_groups {
            let devices = volumes
                .physical_volumes
                .iter()
                .filter_map(|pv| pv.device.as_ref());
            let devices: Vec<&DeviceName> = devices.collect();
            let is_over = |(_, members): &&(String, BTreeSet<DeviceName>)| {
                devices.iter().any(|device| members.contains(*device))
            };
            let over = found.iter().filter(is_over);
            let notes: Vec<String> = over
                .map(|(name, _)| format!("it was begun over {name}"))
                .collect();
            volumes.notes.extend(notes);
        }
    }

    /// The groups that were worked out and that labels state as well, but otherwise: what lies on
    /// either has the same identity, and contents say which is right. That is how an array looks
    /// that was created again with its disks in another order.
    pub(super) fn contradicting_labels(&self) -> Vec<Group> {
        let groups = &self.aggregate.groups;
        let mut right: Vec<Group> = Vec::new();
        for stated in groups.iter().filter(|group| !group.over.is_empty()) {
            let of_stated = self.identities(stated);
            let found = groups.iter().filter(|group| {
                stated.over.contains(&group.name)
                    && !self.added_stated.contains(&group.name)
                    && group.devices().is_subset(&stated.devices())
            });
            let found: Vec<&Group> = found.collect();
            let is_same = |found: &&Group| !self.identities(found).is_disjoint(&of_stated);
            if !found.iter().any(is_same) {
                continue;
            }
            for group in found {
                let mut group = group.clone();
                group.evidence.push(format!(
                    "labels on its members state it otherwise, as {}; in that order contents contradict each other",
                    stated.name
                ));
                right.retain(|other| other.name != group.name);
                right.push(group);
            }
        }
        right
    }

    /// What identifies the physical volume on a group, and the file systems on it and above.
    fn identities(&self, group: &Group) -> BTreeSet<String> {
        let device = DeviceName::group(&group.name);
        let volumes = self.lvm.iter().filter(|scanned| scanned.device == device);
        let volumes =
            volumes.filter_map(|scanned| Some(scanned.label.as_ref()?.pv_uuid.to_string()));
        let above = with_all_above(&self.aggregate, [device.clone()].into());
        let filesystems = self.aggregate.filesystems.iter();
        let filesystems = filesystems
            .filter(|fs| above.contains(&fs.device) && !fs.uuid.is_empty() && self.has_room(fs));
        volumes
            .chain(filesystems.map(|fs| fs.uuid.clone()))
            .collect()
    }

    /// Whether a file system may lie on its device as a whole, but for an end that is not known: the first
    /// chunk of a newer array's lies on a member of an older group too.
    pub(super) fn has_room(&self, fs: &FilesystemStatement) -> bool {
        let length = self
            .devices
            .get(&fs.device)
            .map_or(0, |device| device.len());
        fs.bytes <= length.saturating_add(length / END_UNKNOWN)
    }

    /// Drops what looks like a file system and is the first piece of one that lies elsewhere as a whole.
    pub(super) fn drop_first_pieces(&mut self) {
        let whole = self
            .aggregate
            .filesystems
            .iter()
            .filter(|fs| self.has_room(fs));
        let whole: BTreeSet<String> = whole.map(|fs| fs.uuid.clone()).collect();
        let all = std::mem::take(&mut self.aggregate.filesystems);
        let kept = all
            .into_iter()
            .filter(|fs| self.has_room(fs) || fs.uuid.is_empty() || !whole.contains(&fs.uuid));
        self.aggregate.filesystems = kept.collect();
    }

    /// The group that labels state on some of the members of `found`, with those that it lacks by its
    /// labels and that contents name: a newer array may have overwritten the labels of some.
    pub(super) fn completed(&self, found: &Group) -> Option<Group> {
        let stated = self.aggregate.groups.iter();
        let mut stated = stated.filter(|group| self.added_stated.contains(&group.name));
        let mut group = stated.find(|stated| is_same(stated, found))?.clone();
        if !group.devices().is_subset(&found.devices()) {
            return None;
        }
        let of_found = |role: u32| found.members.iter().find(|member| member.role == role);
        let mut added = Vec::new();
        for member in &mut group.members {
            let other = of_found(member.role)?;
            match (&member.device, &other.device) {
                (Some(own), Some(other_name)) => {
                    let same = own == other_name && member.data_offset == other.data_offset;
                    same.then_some(())?;
                }
                (None, Some(name)) => {
                    added.push(format!("{name} as role {}", member.role));
                    *member = other.clone();
                }
                (_, None) => {}
            }
        }
        let why = format!(
            "contents name {} without a label: {}",
            added.join(", "),
            found.evidence.join("; ")
        );
        group.evidence.push(why);
        group.confidence = group.confidence.min(found.confidence);
        (!added.is_empty()).then_some(group)
    }

    /// Whether a group is one that is stated already.
    pub(super) fn is_known(&self, group: &Group) -> bool {
        let stated = self.aggregate.groups.iter();
        stated.into_iter().any(|stated| is_same(stated, group))
    }
}

fn has_parity(group: &Group) -> bool {
    matches!(
        group.geometry.level,
        Level::Raid4 { .. } | Level::Raid5 { .. } | Level::Raid6 { .. }
    )
}

/// Whether `found`, which was worked out, is the group that is `stated`, wherever each begins.
pub(super) fn is_same(stated: &Group, found: &Group) -> bool {
    let has_copies = |group: &Group| {
        let level = &group.geometry.level;
        matches!(level, Level::Raid1 { .. } | Level::Raid10 { .. })
    };
    let (chunk, of) = (stated.geometry.chunk_bytes(), found.geometry.chunk_bytes());
    if has_copies(stated) {
        // Which of equal members stands for which role is not known; a mirror alone has no chunk.
        let part = found.devices().is_subset(&stated.devices());
        return part && (chunk == of || of.is_none());
    }
    if chunk != of {
        return false;
    }
    let compared = Compared::of(&successors(stated, KNOWN), &successors(found, COMPARED));
    match compared {
        Compared { there, .. } if there < LEAST_COMPARED => {
            stated.devices() == found.devices() || is_part(stated, found)
        }
        Compared { there, equal } => equal.saturating_mul(10) >= there.saturating_mul(9),
    }
}

/// Whether `stated` is `found` as far as its members are there, however few: of the same level, and each where
/// the other one has it. No chunk of it may follow another one on these.
fn is_part(stated: &Group, found: &Group) -> bool {
    let is_member = |own: &Member| {
        let same = |other: &Member| {
            (other.role, &other.device, other.data_offset)
                == (own.role, &own.device, own.data_offset)
        };
        found.members.iter().any(same)
    };
    let there = |member: &&Member| member.device.is_some();
    let members: Vec<&Member> = stated.members.iter().filter(there).collect();
    stated.geometry.level == found.geometry.level
        && !members.is_empty()
        && members.into_iter().all(is_member)
}

/// Whether a group may hold so many bytes in one piece on one of its members, as mirrors and arrays of one disk
/// after the other do, and stripes over disks of different lengths.
pub(super) fn is_in_one_piece(group: &Group, bytes: u64) -> bool {
    let geometry = &group.geometry;
    let Some(chunk) = geometry.chunk_bytes().filter(|chunk| *chunk < bytes) else {
        return true;
    };
    let goes_on =
        |(at, next): (&Place, &Place)| at.0 == next.0 && at.1.checked_add(chunk) == Some(next.1);
    let lengths: BTreeSet<u64> = group.members.iter().map(|one| one.data_size).collect();
    if matches!(geometry.level, Level::Raid0 { .. }) && lengths.len() > 1 {
        return true;
    }
    let next = successors(group, COMPARED);
    let on = next.iter().filter(|(at, next)| goes_on((at, next))).count();
    geometry.row_bytes() == Some(chunk) || on.saturating_mul(2) > next.len()
}

/// How many successors are there in both of two groups, and how many of these are equal.
struct Compared {
    there: usize,
    equal: usize,
}

impl Compared {
    fn of(stated: &BTreeMap<Place, Place>, found: &BTreeMap<Place, Place>) -> Self {
        let both = found.iter().filter_map(|(at, next)| {
            let known = stated.get(at)?;
            Some(known == next)
        });
        let equal: Vec<bool> = both.collect();
        Self {
            there: equal.len(),
            equal: equal.iter().filter(|equal| **equal).count(),
        }
    }
}

/// A place: a device, by number of its name, and a byte.
type Place = (u64, u64);

/// Where the first chunks of a group begin on its devices, and where the chunk behind each does;
/// of those that lie on devices that are there.
fn successors(group: &Group, most: u64) -> BTreeMap<Place, Place> {
    let Some(chunk) = group.geometry.chunk_bytes() else {
        return BTreeMap::new();
    };
    let mut signs = Devices::of_disks(&[]);
    for member in &group.members {
        if let Some(name) = &member.device {
            let length = member.data_offset.saturating_add(member.data_size);
            let device = number_of(name);
            signs.insert(name.clone(), Arc::new(Signs { device, length }));
        }
    }
    let Ok(reader) = signs.open_group(group, &[]) else {
        return BTreeMap::new();
    };
    let count = (reader.len().checked_div(chunk)).map_or(0, |chunks| chunks.min(most));
    let places: Vec<Option<Place>> = (0..count)
        .map(|number| {
            let at = ByteOffset::new(number.saturating_mul(chunk));
            let sign = reader.read_whole(at, SIGN_BYTES)?;
            Signs::place(sign.as_slice().try_into().ok()?)
        })
        .collect();
    let pairs = places.iter().zip(places.iter().skip(1));
    pairs
        .filter_map(|(at, next)| Some(((*at)?, (*next)?)))
        .collect()
}

/// A number for a name, the same in every group.
fn number_of(name: &DeviceName) -> u64 {
    hash_of(&name.0)
}

fn hash_of(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// Bytes of a sign: the device, the place, and their hash, by which what parity would make of
/// several is told from one.
const SIGN_BYTES: usize = 24;
/// Signs stand at multiples of this many bytes, as chunks do.
const SIGN_ALIGN: u64 = evidence::SECTOR_BYTES;

/// A device that has at each sector a sign that says where that is.
struct Signs {
    device: u64,
    length: u64,
}

impl Signs {
    fn sign(device: u64, at: u64) -> [u8; SIGN_BYTES] {
        let words = [device, at, hash_of(&(device, at))];
        let mut sign = [0; SIGN_BYTES];
        for (to, word) in sign.as_chunks_mut().0.iter_mut().zip(words) {
            *to = word.to_le_bytes();
        }
        sign
    }

    /// The place that a sign names.
    fn place(sign: &[u8; SIGN_BYTES]) -> Option<Place> {
        let word = |at: usize| {
            let bytes = sign.get(at..)?.first_chunk()?;
            Some(u64::from_le_bytes(*bytes))
        };
        let (device, at) = (word(0)?, word(8)?);
        (*sign == Self::sign(device, at)).then_some((device, at))
    }
}

impl ReadAt for Signs {
    fn len(&self) -> u64 {
        self.length
    }

    fn read_at(&self, at: ByteOffset, buf: &mut [u8]) -> Result<Gaps, OutOfRange> {
        self.check_range(at, buf.len())?;
        for (number, byte) in (0..).zip(buf.iter_mut()) {
            let at: u64 = at.get().saturating_add(number);
            let inside = at % SIGN_ALIGN;
            let sign = Self::sign(self.device, at.saturating_sub(inside));
            let inside = usize::try_from(inside).ok();
            *byte = inside.and_then(|i| sign.get(i)).copied().unwrap_or(0);
        }
        Ok(Gaps::none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raid::{Geometry, ParityDelay, Raid5Layout};

    /// A RAID-5 of five, of which the members with these roles are there.
    fn group(layout: Raid5Layout, there: &[u32]) -> Group {
        let level = Level::Raid5 {
            layout,
            chunk_bytes: 65536,
            members: 5,
            delay: ParityDelay::NONE,
        };
        let member = |role: u32| Member {
            role,
            device: there
                .contains(&role)
                .then(|| DeviceName::disk(&role.to_string())),
            data_offset: 0,
            data_size: 64 << 20,
            left_out: None,
            bad_blocks: Vec::new(),
        };
        Group {
            name: "mail".to_owned(),
            geometry: Geometry::filling(level, 64 << 20).unwrap(),
            members: (0..5).map(member).collect(),
            evidence: Vec::new(),
            confidence: 1.0,
            over: Vec::new(),
        }
    }

    #[test]
    fn labels_on_members_of_which_none_follows_another_state_the_group_that_is_found() {
        let found = group(Raid5Layout::LeftSymmetric, &[0, 1, 3, 4]);
        assert!(is_same(&group(Raid5Layout::LeftSymmetric, &[0, 3]), &found));
        assert!(is_same(&group(Raid5Layout::LeftSymmetric, &[3]), &found));
        assert!(!is_same(&group(Raid5Layout::LeftAsymmetric, &[3]), &found));
        let mut other = group(Raid5Layout::LeftSymmetric, &[0, 3]);
        other.members[3].role = 2;
        other.members[2].role = 3;
        assert!(!is_same(&other, &found));
    }
}
