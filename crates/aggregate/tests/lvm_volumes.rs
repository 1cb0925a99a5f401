//! Volumes of real LVM sets against what was written to them, and metadata against `pvck`.
//!
//! The sets are made by `scripts/make-lvm-fixtures.py` with a real kernel. Every sector of a
//! volume carries its own number, so each test knows what each sector must hold.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod kernel;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use aggregate::document::{Aggregate, DeviceName, VersionState};
use aggregate::{Disk, build, discover, lvm};
use evidence::view::Memory;
use evidence::{ByteOffset, GapCause, ReadAt, ReadAtExt};

/// A set of fixtures/lvm, unpacked in memory.
struct Set {
    files: BTreeMap<String, Vec<u8>>,
}

impl Set {
    fn open(name: &str) -> Self {
        let files = kernel::files("lvm", name);
        Self { files }
    }

    fn disks(&self) -> Vec<Disk> {
        self.files
            .iter()
            .filter_map(|(name, bytes)| {
                let name = name.strip_suffix(".img")?;
                Some(disk(name, bytes.clone()))
            })
            .collect()
    }

    fn disks_without(&self, missing: &[&str]) -> Vec<Disk> {
        let mut disks = self.disks();
        disks.retain(|(name, _)| !missing.contains(&name.as_str()));
        disks
    }

    /// The set with one disk changed.
    fn disks_with(&self, changed: &str, change: impl Fn(&mut Vec<u8>)) -> Vec<Disk> {
        let mut disks = self.disks();
        for (name, bytes) in &mut disks {
            if name == changed {
                let mut new = self.files[&format!("{name}.img")].clone();
                change(&mut new);
                *bytes = Arc::new(Memory::new(new));
            }
        }
        disks
    }

    fn text(&self, name: &str) -> String {
        String::from_utf8(self.files[name].clone()).unwrap()
    }

    /// The volumes with their length and the tag in their sectors.
    fn truth(&self) -> Vec<(DeviceName, u64, String)> {
        let truth: serde_json::Value = serde_json::from_slice(&self.files["truth.json"]).unwrap();
        let volumes = truth["volumes"].as_object().unwrap();
        volumes
            .iter()
            .map(|(name, volume)| {
                let bytes = volume["bytes"].as_u64().unwrap();
                let tag = volume["tag"].as_str().unwrap().to_owned();
                (DeviceName(name.clone()), bytes, tag)
            })
            .collect()
    }
}

fn disk(name: &str, bytes: Vec<u8>) -> Disk {
    (name.to_owned(), Arc::new(Memory::new(bytes)))
}

fn look(disks: &[Disk]) -> Aggregate {
    discover(disks, &|_, _| None)
}

fn sector(tag: &str, number: u64) -> Vec<u8> {
    format!("{tag:<18}{number:>13}\n").repeat(16).into_bytes()
}

/// Reads a volume in pieces that are no multiple of anything, and compares each sector; the
/// ranges of sectors that lie in gaps are returned, with the cause.
fn check_sectors(device: &dyn ReadAt, tag: &str) -> Vec<(Range<u64>, GapCause)> {
    let mut bytes = Vec::new();
    let mut holes = BTreeMap::new();
    while (bytes.len() as u64) < device.len() {
        let at = bytes.len() as u64;
        let length = 77_777.min(device.len() - at) as usize;
        let (part, gaps) = device.read_vec(ByteOffset::new(at), length).unwrap();
        for gap in gaps.iter() {
            let from = (at + gap.range.start as u64) / 512;
            let to = (at + gap.range.end as u64).div_ceil(512);
            holes.extend((from..to).map(|sector| (sector, gap.cause)));
        }
        bytes.extend(part);
    }
    for (number, found) in (0..).zip(bytes.chunks(512)) {
        if !holes.contains_key(&number) {
            assert!(
                found == sector(tag, number),
                "sector {number} of {tag} holds {:?}",
                String::from_utf8_lossy(&found[..32])
            );
        }
    }
    let mut ranges: Vec<(Range<u64>, GapCause)> = Vec::new();
    for (sector, cause) in holes {
        match ranges.last_mut() {
            Some((last, same)) if last.end == sector && *same == cause => last.end += 1,
            _ => ranges.push((sector..sector + 1, cause)),
        }
    }
    ranges
}

/// Every volume of the set is whole and right.
fn check_all(set: &Set, disks: &[Disk]) -> Aggregate {
    let aggregate = look(disks);
    let devices = build(&aggregate, disks).unwrap();
    for (name, bytes, tag) in set.truth() {
        let device = devices
            .get(&name)
            .unwrap_or_else(|| panic!("{name} is not there: {:#?}", aggregate.losses));
        assert_eq!(device.len(), bytes, "{name}");
        assert_eq!(check_sectors(&device, &tag), [], "{name}");
    }
    aggregate
}

#[test]
fn every_volume_of_healthy_sets_is_read_whole() {
    for name in [
        "linear", "namesake", "striped", "mirror", "raid", "ring", "moved", "special",
    ] {
        let set = Set::open(name);
        let aggregate = check_all(&set, &set.disks());
        if name != "special" {
            assert_eq!(aggregate.losses, [], "{name}");
        }
    }
}

#[test]
fn arrays_in_partitions_and_on_arrays_are_read_whole() {
    for name in ["gpt-md", "mbr-nested"] {
        let set = Set::open(name);
        let aggregate = check_all(&set, &set.disks());
        assert_eq!(aggregate.losses, [], "{name}");
    }
}

#[test]
fn nested_arrays_with_a_missing_disk_are_read_whole() {
    let set = Set::open("mbr-nested");
    for missing in ["a", "b", "c"] {
        let disks = set.disks_without(&[missing]);
        let aggregate = look(&disks);
        let devices = build(&aggregate, &disks).unwrap();
        let device = devices.get(&DeviceName::volume("nest/deep")).unwrap();
        assert_eq!(check_sectors(&device, "nest/deep"), [], "without {missing}");
    }
}

#[test]
fn the_order_of_the_disks_does_not_matter() {
    for name in ["raid", "mbr-nested", "gpt-md", "moved"] {
        let set = Set::open(name);
        let mut disks = set.disks();
        let first = look(&disks);
        disks.reverse();
        assert_eq!(look(&disks), first);
        disks.rotate_left(1);
        assert_eq!(look(&disks), first);
        let json = serde_json::to_string(&first).unwrap();
        assert_eq!(serde_json::from_str::<Aggregate>(&json).unwrap(), first);
    }
}

#[test]
fn raid_volumes_are_rebuilt_as_far_as_their_redundancy_goes() {
    let set = Set::open("raid");
    let redundancy = |name: &str| match name.trim_start_matches("volume:raids/").get(..2) {
        Some("r0") => 0,
        Some("r6") => 2,
        _ => 1,
    };
    for missing in [
        &["a"][..],
        &["c"],
        &["e"],
        &["a", "b"],
        &["b", "e"],
        &["c", "d"],
    ] {
        let disks = set.disks_without(missing);
        let aggregate = look(&disks);
        let devices = build(&aggregate, &disks).unwrap();
        for (name, _, tag) in set.truth() {
            let device = devices.get(&name).unwrap();
            let holes = check_sectors(&device, &tag);
            if redundancy(&name.0) >= missing.len() {
                assert_eq!(holes, [], "{name} without {missing:?}");
            }
        }
        assert_eq!(aggregate.losses.len(), missing.len());
    }
}

#[test]
fn what_lay_on_a_missing_disk_is_a_gap_and_the_rest_is_right() {
    let set = Set::open("linear");
    let disks = set.disks_without(&["b"]);
    let aggregate = look(&disks);
    let devices = build(&aggregate, &disks).unwrap();
    let device = devices.get(&DeviceName::volume("alpha/root")).unwrap();
    let holes = check_sectors(&device, "alpha/root");
    assert_eq!(holes, [(4096..12288, GapCause::MemberMissing)]);
    assert_eq!(aggregate.losses.len(), 1);
}

#[test]
fn mirrors_are_read_from_any_copy() {
    let set = Set::open("mirror");
    for missing in [
        &["a"][..],
        &["b"],
        &["c"],
        &["a", "b"],
        &["a", "c"],
        &["b", "c"],
    ] {
        let disks = set.disks_without(missing);
        let aggregate = look(&disks);
        let devices = build(&aggregate, &disks).unwrap();
        for (name, _, tag) in set.truth() {
            let holes = check_sectors(&devices.get(&name).unwrap(), &tag);
            // Three copies of the last; of the others two, and the log of `logged` on c.
            let sure = tag == "copies/one" || (missing.len() == 1 && (missing != ["c"]));
            if sure && !(tag == "copies/logged" && missing.contains(&"c")) {
                assert_eq!(holes, [], "{name} without {missing:?}");
            }
        }
    }
}

#[test]
fn the_image_that_was_away_while_a_mirror_was_written_is_not_read() {
    let set = Set::open("stale");
    let disks = set.disks();
    let aggregate = look(&disks);
    let devices = build(&aggregate, &disks).unwrap();
    let device = devices.get(&DeviceName::volume("stale/one")).unwrap();
    assert_eq!(check_sectors(&device, "stale/one"), []);
    let one = aggregate
        .volumes
        .iter()
        .find(|v| v.device.0 == "volume:stale/one");
    let evidence = &one.unwrap().evidence;
    assert!(
        evidence.iter().any(|e| e.contains("is not used")),
        "{evidence:?}"
    );
}

/// The metadata texts of a device as `pvck --dump metadata_search` lists them.
fn pvck_versions(text: &str) -> Vec<(u64, u64, u32, u64)> {
    text.lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let value = |name: &str| {
                let at = words.iter().position(|word| *word == name)?;
                words.get(at + 1).copied()
            };
            if words.first() != Some(&"metadata") {
                return None;
            }
            let crc = u32::from_str_radix(value("crc")?, 16).ok()?;
            let number = |name: &str| value(name)?.parse().ok();
            Some((number("at")?, number("length")?, crc, number("seqno")?))
        })
        .collect()
}

#[test]
fn rings_hold_the_texts_that_pvck_finds() {
    let mut compared = 0;
    for name in [
        "linear",
        "namesake",
        "striped",
        "mirror",
        "raid",
        "stale",
        "ring",
        "moved",
        "special",
        "removed",
        "snapshots",
        "thin",
    ] {
        let set = Set::open(name);
        for (disk, device) in set.disks() {
            let want = pvck_versions(&set.text(&format!("{disk}.search")));
            let device_name = DeviceName::disk(&disk);
            let scanned = lvm::scan(&device, &device_name)
                .or_else(|| lvm::scan_without_label(&device, &device_name))
                .unwrap();
            let mut found: Vec<_> = scanned.areas[0]
                .versions
                .iter()
                .map(|v| (v.offset, v.text.len() as u64, v.crc, v.seqno.unwrap()))
                .collect();
            found.sort_unstable();
            let mut want = want;
            want.sort_unstable();
            assert_eq!(found, want, "{name}/{disk}");
            compared += want.len();
        }
    }
    assert!(compared > 200, "only {compared} texts compared");
}

#[test]
fn labels_and_headers_say_what_pvck_says() {
    for name in ["linear", "ring", "raid"] {
        let set = Set::open(name);
        for (disk, device) in set.disks() {
            let text = set.text(&format!("{disk}.headers"));
            let value = |name: &str| {
                let line = text.lines().find(|line| line.trim().starts_with(name))?;
                line.split_whitespace().nth(1)
            };
            let scanned = lvm::scan(&device, &DeviceName::disk(&disk)).unwrap();
            let label = scanned.label.unwrap();
            let number = |name: &str| value(name).unwrap().parse::<u64>().unwrap();
            assert_eq!(
                lvm::Id::parse(value("pv_header.pv_uuid").unwrap()),
                Some(label.pv_uuid)
            );
            assert_eq!(number("pv_header.device_size"), label.device_size);
            assert_eq!(
                number("pv_header.disk_locn[0].offset"),
                label.data_areas[0].offset
            );
            let headers = text
                .lines()
                .filter(|l| l.contains(" # metadata area"))
                .count();
            assert_eq!(scanned.areas.len(), headers);
            for (number_of_area, area) in (1..).zip(&scanned.areas) {
                let committed = area.committed.unwrap();
                let field = |field: &str| {
                    number(&format!("mda_header_{number_of_area}.raw_locn[0].{field}"))
                };
                assert_eq!(field("offset"), committed.offset);
                assert_eq!(field("size"), committed.size);
                assert!(area.losses.is_empty());
            }
        }
    }
}

#[test]
fn a_broken_current_text_is_replaced_by_the_newest_intact_one() {
    let set = Set::open("moved");
    let whole = look(&set.disks());
    let newest = whole.volume_groups[0].seqno;
    // Every copy of the current text is broken, on all three disks.
    let broken: Vec<Disk> = ["a", "b", "c"]
        .iter()
        .map(|name| {
            let bytes = &set.files[&format!("{name}.img")];
            let mut bytes = bytes.clone();
            for version in &whole.volume_groups[0].versions {
                if version.state == VersionState::Current {
                    for place in version
                        .places
                        .iter()
                        .filter(|p| p.source == format!("disk:{name}"))
                    {
                        bytes[place.offset.get() as usize + 300] ^= 0x40;
                    }
                }
            }
            disk(name, bytes)
        })
        .collect();
    let aggregate = look(&broken);
    let group = &aggregate.volume_groups[0];
    assert_eq!(group.seqno, newest - 1);
    assert!(
        group.notes.iter().any(|note| note.contains("broken")),
        "{:?}",
        group.notes
    );
    let devices = build(&aggregate, &broken).unwrap();
    let device = devices.get(&DeviceName::volume("moved/other")).unwrap();
    assert_eq!(check_sectors(&device, "moved/other"), []);
    // On one disk only: the other two still have it.
    let one = [
        broken[0].clone(),
        set.disks()[1].clone(),
        set.disks()[2].clone(),
    ];
    assert_eq!(look(&one).volume_groups[0].seqno, newest);
}

#[test]
fn a_volume_on_the_move_is_read_where_its_extents_are() {
    // The ring still holds the texts of the time of the move. Each of them must be readable;
    // the source of a move keeps its bytes.
    let set = Set::open("moved");
    let disks = set.disks();
    let mut scanned: Vec<lvm::Scanned> = disks
        .iter()
        .map(|(name, disk)| lvm::scan(disk, &DeviceName::disk(name)).unwrap())
        .collect();
    let mut moves = 0;
    for wanted in 4..=7 {
        for pv in &mut scanned {
            for area in &mut pv.areas {
                for version in &mut area.versions {
                    version.state = if version.seqno == Some(wanted) {
                        VersionState::Current
                    } else {
                        VersionState::Older
                    };
                }
            }
        }
        let gathered = lvm::gather(&scanned);
        let made = gathered.groups[0].volumes(&|_| None);
        let aggregate = Aggregate {
            version: 1,
            volumes: made.volumes,
            ..Aggregate::default()
        };
        moves += usize::from(
            aggregate
                .volumes
                .iter()
                .any(|v| v.device.0.ends_with("pvmove0")),
        );
        let devices = build(&aggregate, &disks).unwrap();
        let device = devices.get(&DeviceName::volume("moved/done")).unwrap();
        assert_eq!(check_sectors(&device, "moved/done"), [], "text {wanted}");
    }
    assert!(moves > 0);
}

#[test]
fn a_removed_group_is_read_from_its_last_text() {
    let set = Set::open("removed");
    let disks = set.disks();
    let aggregate = look(&disks);
    let names: Vec<_> = aggregate
        .volume_groups
        .iter()
        .map(|g| g.name.as_str())
        .collect();
    assert_eq!(names, ["gone", "under"]);
    for group in &aggregate.volume_groups {
        assert!(
            group.notes.iter().any(|note| note.contains("removed")),
            "{:?}",
            group.notes
        );
        // The last text is written before the removal, without volumes: those of the text
        // before it are listed.
        assert_eq!(group.versions.len(), 3);
    }
}

#[test]
fn groups_of_one_name_are_told_apart() {
    let (one, two) = (Set::open("linear"), Set::open("namesake"));
    let mut disks = one.disks();
    disks.extend(
        two.disks()
            .into_iter()
            .map(|(_, bytes)| ("z".to_owned(), bytes)),
    );
    let aggregate = look(&disks);
    let devices = build(&aggregate, &disks).unwrap();
    let mut lengths = Vec::new();
    for group in &aggregate.volume_groups {
        assert_eq!(group.name, format!("alpha-{}", &group.uuid[..6]));
        let root = devices
            .get(&DeviceName::volume(&format!("{}/root", group.name)))
            .unwrap();
        assert_eq!(check_sectors(&root, "alpha/root"), []);
        lengths.push(root.len() >> 20);
    }
    lengths.sort_unstable();
    assert_eq!(lengths, [1, 6]);
}

#[test]
fn a_copy_of_a_disk_is_named_and_not_used() {
    let set = Set::open("linear");
    let mut disks = set.disks();
    disks.push(disk("copy-of-a", set.files["a.img"].clone()));
    disks.push(disk("cut", set.files["b.img"][..3 << 20].to_vec()));
    let aggregate = look(&disks);
    let unused: Vec<_> = aggregate
        .unused
        .iter()
        .filter(|u| u.why.contains("copy of"))
        .map(|u| u.device.0.as_str())
        .collect();
    assert_eq!(unused, ["disk:copy-of-a", "disk:cut"]);
    let devices = build(&aggregate, &disks).unwrap();
    let device = devices.get(&DeviceName::volume("alpha/root")).unwrap();
    assert_eq!(check_sectors(&device, "alpha/root"), []);
}

#[test]
fn a_disk_without_its_label_is_put_in_its_place() {
    let set = Set::open("linear");
    let disks = set.disks_with("a", |bytes| bytes[..4096].fill(0));
    let aggregate = check_all(&set, &disks);
    let notes = &aggregate.volume_groups[0].notes;
    assert!(
        notes.iter().any(|note| note.contains("lost its label")),
        "{notes:?}"
    );
}

#[test]
fn snapshots_pools_and_caches_are_read_beside_what_they_lie_on() {
    let set = Set::open("special");
    let disks = set.disks();
    let aggregate = check_all(&set, &disks);
    assert_eq!(aggregate.losses, []);
    let volume = |name: &str| {
        let mut volumes = aggregate.volumes.iter();
        volumes.find(|v| v.device == DeviceName::volume(name))
    };
    let hidden = |name: &str| volume(name).unwrap().hidden;
    assert!(hidden("special/snap#cow") && hidden("special/pool_tdata"));
    assert!(!hidden("special/snap") && !hidden("special/origin"));
    // Nothing was written to the origin since, or to the thin volume at all.
    let devices = build(&aggregate, &disks).unwrap();
    let snapshot = devices.get(&DeviceName::volume("special/snap")).unwrap();
    assert_eq!(check_sectors(&snapshot, "special/origin"), []);
    let thin = devices.get(&DeviceName::volume("special/thin")).unwrap();
    let (bytes, gaps) = thin.read_vec(ByteOffset::ZERO, 2 << 20).unwrap();
    assert!(gaps.is_empty() && bytes.iter().all(|byte| *byte == 0));
    assert!(volume("special/pool").is_none());
}

#[test]
fn file_systems_are_looked_for_on_whole_devices_only() {
    let set = Set::open("raid");
    let asked = std::sync::Mutex::new(Vec::new());
    let aggregate = discover(&set.disks(), &|_, name| {
        asked.lock().unwrap().push(name.to_string());
        None
    });
    let mut asked = asked.into_inner().unwrap();
    asked.sort();
    let visible: Vec<String> = aggregate
        .volumes
        .iter()
        .filter(|v| !v.hidden)
        .map(|v| v.device.to_string())
        .collect();
    assert_eq!(asked, visible);
    assert!(!aggregate.groups.is_empty());
}

#[test]
fn labels_of_raid_images_tell_which_physical_volume_a_disk_is() {
    let set = Set::open("raid");
    let whole = look(&set.disks());
    let names: Vec<String> = set.disks().into_iter().map(|(name, _)| name).collect();
    assert!(names.len() > 3, "{names:?}");
    // All but one lost their label, one of them all that LVM has at its start.
    let disks: Vec<Disk> = (0..)
        .zip(&names)
        .map(|(number, name)| {
            let mut bytes = set.files[&format!("{name}.img")].clone();
            let lost = [0, 4096, 1 << 20];
            bytes[..lost.get(number).copied().unwrap_or(4096)].fill(0);
            disk(name, bytes)
        })
        .collect();
    let found = look(&disks);
    assert_eq!(found.volumes, whole.volumes, "{:#?}", found.volume_groups);
    let notes = found.volume_groups[0].notes.join("; ");
    assert!(
        notes.contains("because of the labels of RAID images on it"),
        "{notes}"
    );
    assert!(
        notes.contains("because of its length and the labels of RAID images on it"),
        "{notes}"
    );
}
