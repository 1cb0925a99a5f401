//! A case made by hand: a mail host's RAID-5 group with one disk gone, a snapshot volume, and a
//! few accounts with every kind of find.

#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "helpers of tests, of which not every test uses all"
)]

use std::path::Path;

use aggregate::document::{
    Aggregate, Area, BadBlocks, DeviceName, Encrypted, EncryptionKind, Epoch, FilesystemStatement,
    Group, Member, Region, Segment, SegmentMap, Unused, VERSION, Volume,
};
use case::log::Effort;
use case::{Case, EvidenceRecord};
use evidence::{ByteOffset, Cause, GapCause, Loss, Origin};
use filesystem::Timestamp;
use mail::account::{Address, Owner};
use mail::broken::{BrokenPart, PartKind};
use mail::codec::Codec;
use mail::maildir::Flags;
use mail::proof::{Hole, HoleCause, Proof};
use mail::record::{FileNote, FileOrigin, FolderRecord, Summary};
use mail::{Grade, Message, MessageId, Record};
use restore::plan::destination;
use restore::{Entry, Ledger, Outcome, Place, Target};
use scan::catalogue::{SEGMENT_EXTENSION, segment_name};
use scan::{Class, Find, Run, UnitResult};
use serde_json::json;

/// Bytes of the disks that look alike.
const CELL_BYTES: u64 = 1 << 20;

/// The device of the production mail.
pub(crate) const MAIL: &str = "volume:aggr0/mail1";
/// The device of the snapshots.
pub(crate) const SNAPSHOT: &str = "volume:aggr0/snap1";

/// An empty case in `dir`.
pub(crate) fn empty(dir: &Path) -> Case {
    Case::open_or_create(&dir.join("case")).unwrap()
}

/// The owner of mail in the store of `account`.
pub(crate) fn owner(account: &str) -> Option<Owner> {
    let account = Address::parse(account)?;
    Some(Owner {
        evidence: format!(
            "path /srv/vmail/{}/{}/Maildir fits {{domain}}/{{local}}/Maildir",
            account.domain(),
            account.local()
        ),
        account,
    })
}

/// The directory of a folder.
pub(crate) fn folder_path(account: &str, folder: &str) -> String {
    let (local, domain) = account.rsplit_once('@').unwrap_or((account, "lost+found"));
    match folder {
        "INBOX" => format!("/srv/vmail/{domain}/{local}/Maildir"),
        other => format!("/srv/vmail/{domain}/{local}/Maildir/.{other}"),
    }
}

/// A whole message number `n`, delivered `seconds` after 1970.
pub(crate) fn message(account: &str, folder: &str, n: u64, seconds: i64) -> Message {
    let content = format!("Subject: {n}\n\n{account} {folder} {n}\n");
    let bytes = 1800 + n * 37 % 90_000;
    Message {
        id: MessageId::of(content.as_bytes()),
        normalised: None,
        bytes,
        virtual_bytes: bytes + 40,
        grade: Grade::Proven,
        proofs: vec![Proof::Extents, Proof::Size],
        contradictions: Vec::new(),
        holes: Vec::new(),
        broken_parts: Vec::new(),
        turned: Vec::new(),
        doubt: None,
        // The first two of each folder came on two ways.
        likeness: (n % 10 < 2).then(|| MessageId::of(format!("{account} {}", n / 10).as_bytes())),
        owner: owner(account),
        folder: folder.to_owned(),
        uid: None,
        flags: Flags::new("S"),
        keywords: Vec::new(),
        delivered: Timestamp {
            seconds,
            nanoseconds: 0,
        },
        standing: filesystem::Standing::InUse,
        layer: mail::Layer::Present,
        origin: FileOrigin {
            device: MAIL.to_owned(),
            path: format!(
                "{}/cur/{seconds}.M{n}P42.mx1,S={bytes},W={}:2,S",
                folder_path(account, folder),
                bytes + 40
            ),
            inode: 100 + n,
            offset: 0,
            stored_bytes: bytes,
            codec: Codec::Plain,
            pieces: Vec::new(),
            cuts: Vec::new(),
            repairs: Vec::new(),
        },
        summary: Summary {
            from: "Grete Sommer <grete@quarry.example>".to_owned(),
            subject: format!("Minutes of meeting {n}"),
            date: Some(seconds - 20),
        },
    }
}

/// The same with a hole.
pub(crate) fn damaged(
    account: &str,
    folder: &str,
    n: u64,
    seconds: i64,
    why: HoleCause,
) -> Message {
    Message {
        grade: Grade::Damaged,
        proofs: Vec::new(),
        holes: vec![Hole {
            start: 4096,
            bytes: 65536,
            why,
        }],
        broken_parts: vec![BrokenPart {
            what: PartKind::Attachment,
            name: Some("Angebot 7.pdf".to_owned()),
            media: Some("application/pdf".to_owned()),
            start: 4000,
            bytes: 20_480,
            missing: 4096,
            doubtful: 512,
            ends_early: true,
        }],
        ..message(account, folder, n, seconds)
    }
}

/// A note about the file that [`message`] would have.
pub(crate) fn note(account: &str, folder: &str, n: u64, seconds: i64, why: &str) -> FileNote {
    FileNote {
        device: MAIL.to_owned(),
        path: message(account, folder, n, seconds).origin.path,
        owner: owner(account),
        folder: folder.to_owned(),
        delivered: None,
        bytes: None,
        standing: filesystem::Standing::InUse,
        is_encrypted: false,
        why: why.to_owned(),
        needs: None,
    }
}

/// A folder, and what its index lists besides.
pub(crate) fn folder(account: &str, name: &str, present: u64, gone: &[&str]) -> Record {
    Record::Folder(FolderRecord {
        device: MAIL.to_owned(),
        path: folder_path(account, name),
        owner: owner(account),
        folder: name.to_owned(),
        mailbox: None,
        present,
        listed: Some(present + gone.len() as u64),
        listed_but_gone: gone.iter().map(|name| (*name).to_owned()).collect(),
        doubt: None,
    })
}

fn boxed(message: Message) -> Record {
    Record::Message(Box::new(message))
}

/// The first second of a month.
fn month(year: i64, month: i64) -> i64 {
    let days = (year - 1970) * 365 + (year - 1969) / 4 + (month - 1) * 30 + 1;
    days * 86_400 + 30_000
}

/// Fills a case with an incident, step by step as `restante` would.
pub(crate) fn incident(dir: &Path) -> Case {
    let case = empty(dir);
    disks(&case);
    case.write_json("aggregate.json", &aggregate()).unwrap();
    case.log(
        "assemble",
        json!({}),
        json!({"disks": 5}),
        json!({"groups": 1, "volumes": 2}),
        None,
    )
    .unwrap();
    let records = records();
    for (number, part) in records.chunks(700).enumerate() {
        case.write_segment("messages", &format!("volume_aggr0_mail1-{number:06}"), part)
            .unwrap();
    }
    case.log(
        "rebuild",
        json!({"threads": 8, "default_domain": null}),
        json!({"filesystems": ["volume:aggr0/mail1", "volume:aggr0/snap1"]}),
        json!({"messages": records.len(), "losses": 2}),
        Some(Effort {
            milliseconds: 2_500,
            bytes: 1_000_000_000,
        }),
    )
    .unwrap();
    hand_over(&case, &records);
    case.log(
        "sync",
        json!({"to": "maildir:/srv/live"}),
        json!({"accounts": 6}),
        json!({"added": 2000}),
        None,
    )
    .unwrap();
    case
}

fn disks(case: &Case) {
    let list = "ada@lindenhof.example\ndora@lindenhof.example\n";
    let list = mail::account::AccountList::parse(list, None).unwrap();
    case.write_json(case::ACCOUNTS, &list).unwrap();
    let mut file = case.file().unwrap();
    file.accounts.list = Some("its digest".to_owned());
    for (number, name) in ["disk-a", "disk-b", "disk-c", "disk-d", "disk-e"]
        .iter()
        .enumerate()
    {
        let bytes = if number == 4 { 160 << 20 } else { 512 << 20 };
        let unread = if number == 1 { 3 << 20 } else { 0 };
        file.evidence.insert(
            (*name).to_owned(),
            EvidenceRecord {
                path: format!("/evidence/2014-06/{name}.img").into(),
                format: "raw".to_owned(),
                bytes,
                not_rescued: unread,
                not_rescued_digest: None,
                modified_ns: None,
                mapfile: (number == 1).then(|| format!("/evidence/2014-06/{name}.map").into()),
                warnings: if number == 1 {
                    vec!["its mapfile says that 3 MiB were not rescued".to_owned()]
                } else {
                    Vec::new()
                },
                blake3: Some(MessageId::of(name.as_bytes()).to_string()),
                sha256: None,
                unread,
                container: None,
            },
        );
        units(case, name, bytes, number);
    }
    case.write_file(&file).unwrap();
    let output = json!({"bytes": 2_315_255_808_u64, "finds": 9});
    case.log(
        "scan",
        json!({"sha256": false}),
        json!({"images": 5}),
        output,
        None,
    )
    .unwrap();
}

fn units(case: &Case, name: &str, bytes: u64, number: usize) {
    for unit in scan::units_of(bytes) {
        let start = unit.start.get();
        let cells = (start..unit.end()).step_by(CELL_BYTES as usize);
        let runs = cells.map(|start| Run {
            start: ByteOffset::new(start),
            bytes: CELL_BYTES.min(unit.end() - start),
            class: match (number, start / CELL_BYTES) {
                (1, 201..=203) => Class::Unread,
                (4, 20..) => Class::Zero,
                (_, 0) => Class::Binary,
                (_, 440..) => Class::Zero,
                (_, at) if at * 7 % 31 < 18 => Class::Text,
                _ => Class::Compressed,
            },
        });
        let mut result = UnitResult {
            hash: Some([0; 32]),
            sha256: None,
            unread: 0,
            runs: runs.collect(),
            finds: Vec::new(),
        };
        let find = |offset, what: &'static str| Find {
            offset: ByteOffset::new(offset),
            what: what.into(),
            bytes: None,
            number: None,
            owner: None,
            part_of: None,
        };
        if start == 0 {
            result.finds.push(find(4096, "md-superblock"));
            if number == 0 {
                result.finds.push(find(1_049_088, "lvm-label"));
            }
        }
        let segment = scan::catalogue::Segment::new(name, unit, result)
            .encode()
            .unwrap();
        case.write_file_of(
            "catalogue",
            &segment_name(name, unit),
            SEGMENT_EXTENSION,
            &segment,
        )
        .unwrap();
    }
}

fn aggregate() -> Aggregate {
    let member = |role, device: Option<&str>| Member {
        role,
        device: device.map(DeviceName::disk),
        data_offset: 1 << 20,
        data_size: 511 << 20,
        left_out: None,
        bad_blocks: Vec::new(),
    };
    let geometry = json!({"level": "raid5", "layout": "left-symmetric", "chunk_bytes": 65536,
        "members": 5, "bytes": 2044_u64 << 20});
    let mut members: Vec<Member> = ["disk-c", "disk-a", "disk-d", "disk-b"]
        .iter()
        .zip(0..)
        .map(|(disk, role)| member(role, Some(disk)))
        .collect();
    members.push(member(4, None));
    members[3].bad_blocks.push(BadBlocks {
        start: 4096,
        bytes: 512,
    });
    let volume = |name: &str, start: u64, bytes: u64| Volume {
        device: DeviceName::volume(name),
        uuid: Some("8ZkDkA-1".to_owned()),
        bytes,
        hidden: false,
        snapshot_of: None,
        segments: vec![Segment {
            start: 0,
            bytes,
            map: SegmentMap::Linear(Area {
                device: Some(DeviceName::group("md0")),
                offset: start,
            }),
        }],
        evidence: vec!["LVM metadata 12 of aggr0".to_owned()],
    };
    let region = |disk: &str, start, bytes, epoch| Region {
        device: DeviceName::disk(disk),
        start,
        bytes,
        epoch,
        pieces: None,
        group: Some("md0".to_owned()),
        evidence: "the rows disagree".to_owned(),
    };
    let filesystem = |name: &str, kind: &str, bytes| FilesystemStatement {
        device: DeviceName::volume(name),
        kind: kind.to_owned(),
        uuid: "5d0a41c2-7d5b-4e0f-9a63-0a5f6c2b9d11".to_owned(),
        label: "mail".to_owned(),
        bytes,
        notes: vec![
            "its journal holds 14 transactions that were not written back; they are laid over it"
                .to_owned(),
        ],
    };
    Aggregate {
        version: VERSION,
        groups: vec![Group {
            name: "md0".to_owned(),
            geometry: serde_json::from_value(geometry).unwrap(),
            members,
            evidence: vec![
                "md 1.2 superblocks on disk-a, disk-b, disk-c, disk-d agree, events 4711"
                    .to_owned(),
            ],
            confidence: 1.0,
            over: Vec::new(),
        }],
        volumes: vec![
            volume("aggr0/mail1", 1 << 20, 1500 << 20),
            volume("aggr0/snap1", 1501 << 20, 500 << 20),
        ],
        epochs: vec![
            region("disk-a", 0, 20 << 20, Epoch::Zeroed),
            region("disk-a", 60 << 20, 131_072, Epoch::Unknown),
            region("disk-c", 60 << 20, 131_072, Epoch::New),
        ],
        volume_groups: Vec::new(),
        filesystems: vec![
            filesystem("aggr0/mail1", "ext4", 1500 << 20),
            filesystem("aggr0/snap1", "xfs", 500 << 20),
        ],
        encrypted: vec![
            encrypted("aggr0/keys", EncryptionKind::Luks2, None),
            encrypted("aggr0/safe", EncryptionKind::Luks1, Some("luks:5d0a41c2")),
        ],
        unused: vec![Unused {
            device: DeviceName::disk("disk-e"),
            copy_of: None,
            why: "a spare of md0: it was never written to".to_owned(),
        }],
        undecided: Vec::new(),
        losses: Vec::new(),
    }
}

fn encrypted(name: &str, kind: EncryptionKind, opened: Option<&str>) -> Encrypted {
    Encrypted {
        device: DeviceName::volume(name),
        kind,
        uuid: "5d0a41c2-7d5b-4e0f-9a63-0a5f6c2b9d12".to_owned(),
        label: "keys".to_owned(),
        at: 16 << 20,
        bytes: 40 << 20,
        cipher: "aes-xts-plain64, 512 bits".to_owned(),
        keys: vec!["slot 0: Argon2id of 1024 MiB, 4 passes, 4 lanes".to_owned()],
        needs: "a passphrase or key file of one of its slots".to_owned(),
        opened: opened.map(|name| DeviceName(name.to_owned())),
        notes: vec!["the second header is gone or damaged".to_owned()],
    }
}

fn records() -> Vec<Record> {
    let mut records = Vec::new();
    usual(&mut records);
    ada(&mut records);
    others(&mut records);
    for n in 0..14 {
        let mut stray = message("nobody", "INBOX", 9000 + n, month(2013, 1 + n as i64 % 12));
        stray.owner = None;
        records.push(boxed(stray));
    }
    records.push(Record::Loss(Loss {
        what: "directory block 3 of /srv/vmail/saltmarsh.example".to_owned(),
        origin: Origin::new(MAIL, ByteOffset::new(734_003_200)),
        cause: Cause::Corrupt("its checksum does not hold".to_owned()),
    }));
    records.push(Record::Loss(Loss {
        what: "inode 4711".to_owned(),
        origin: Origin::new(MAIL, ByteOffset::new(734_007_296)),
        cause: Cause::Gap(GapCause::MemberMissing),
    }));
    records
}

/// Accounts with nothing but whole mail.
fn usual(records: &mut Vec<Record>) {
    for (account, years) in [
        ("bela@lindenhof.example", 2011..2015),
        ("info@quarry.example", 2008..2015),
        ("o'neill@quarry.example", 2013..2014),
    ] {
        for year in years {
            for n in 1..=12 {
                for copy in 0..(n * 7 + year) % 9 {
                    let number = year as u64 * 100 + n as u64 * 10 + copy as u64;
                    let at = month(year, n) + copy * 3600;
                    records.push(boxed(message(account, "INBOX", number, at)));
                }
            }
        }
    }
}

/// An account with everything: gaps, damage, losses, copies in a snapshot.
fn ada(records: &mut Vec<Record>) {
    let ada = "ada@lindenhof.example";
    for year in 2009..2015_i64 {
        for n in 1..=12_i64 {
            if (year, n) >= (2014, 7) || (year == 2012 && (3..=6).contains(&n)) {
                continue;
            }
            for copy in 0..3 + (n * 5 + year) % 14 {
                let number = year as u64 * 1000 + n as u64 * 50 + copy as u64;
                let name = ["INBOX", "Sent", "Archive.2012", "Entw&APw-rfe"][copy as usize % 4];
                let whole = message(ada, name, number, month(year, n) + copy * 9000);
                if copy == 2 {
                    let mut again = whole.clone();
                    again.origin.device = SNAPSHOT.to_owned();
                    records.push(boxed(again));
                }
                records.push(boxed(whole));
            }
        }
    }
    let causes = [
        HoleCause::Gap(GapCause::NotRescued),
        HoleCause::Gap(GapCause::MemberMissing),
        HoleCause::NeverWritten,
    ];
    for (n, why) in (0..7).zip(causes.iter().cycle()) {
        records.push(boxed(damaged(
            ada,
            "INBOX",
            70_000 + n,
            month(2012, 5) + n as i64,
            *why,
        )));
        let why = "all of its blocks lie where too many disks are missing";
        let lost = note(
            ada,
            "INBOX",
            80_000 + n,
            month(2012, 4) + n as i64 * 50_000,
            why,
        );
        records.push(Record::Lost(lost));
    }
    let mut odd = damaged(ada, "Sent", 70_100, month(2013, 2), causes[0]);
    odd.summary.subject = "\u{202e}gpj.<script>alert(1)</script>\u{1b}[2J".to_owned();
    odd.summary.from = "=cmd|' /C calc'!A0 <x@y.example>".to_owned();
    odd.contradictions = vec!["its name says 9,000 bytes, it has 7,000".to_owned()];
    records.push(boxed(odd));
    records.push(Record::Rejected(note(
        ada,
        "INBOX",
        1,
        month(2014, 6),
        "in tmp: its delivery was never finished",
    )));
    records.push(folder(
        ada,
        "INBOX",
        300,
        &["1339000000.M5P6.mx1,S=1,W=2", "1339000001.M5P6.mx1,S=1,W=2"],
    ));
    records.push(folder(ada, "Entw&APw-rfe", 80, &[]));
}

/// An account of which most is gone, and one of which only folders are left.
fn others(records: &mut Vec<Record>) {
    let eve = "eve.with.a.rather.long.name@saltmarsh.example";
    for n in 0..40 {
        let at = month(2010, 1) + n as i64 * 2_600_000;
        if n % 3 == 0 {
            records.push(boxed(message(eve, "INBOX", 5000 + n, at)));
        } else {
            records.push(Record::Lost(note(
                eve,
                "INBOX",
                5000 + n,
                at,
                "its inode could not be read",
            )));
        }
    }
    records.push(folder(
        "zoe@saltmarsh.example",
        "INBOX",
        0,
        &["1400000000.M1P1.mx1,S=900,W=930"],
    ));
}

/// Hands over all of some accounts, and a part of another.
fn hand_over(case: &Case, records: &[Record]) {
    let target = Target::parse("maildir:/srv/live").unwrap().id();
    for (account, part) in [
        ("bela@lindenhof.example", 10_000),
        ("ada@lindenhof.example", 400),
        ("info@quarry.example", 10_000),
    ] {
        let place = Place::Account(Address::parse(account).unwrap());
        let mut ledger = Ledger::open(&case.path().join("ledger"), &target, &place).unwrap();
        let entries = records
            .iter()
            .filter_map(|record| match record {
                Record::Message(message) if message.owner == owner(account) => Some(message),
                _ => None,
            })
            .take(part)
            .enumerate()
            .map(|(number, message)| {
                let (folder, name) = destination(&place, message);
                let outcome = if number % 50 == 49 {
                    Outcome::AlreadyLive
                } else {
                    Outcome::Restored
                };
                Entry {
                    time: 1_767_312_245 + number as u64,
                    ..Entry::now(&folder, &name, message.id.as_str(), outcome)
                }
            })
            .collect();
        ledger.append(entries).unwrap();
    }
}
