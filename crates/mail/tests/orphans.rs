//! Mail whose directories lost their parents, and mail that was deleted, on a file system as it is
//! when it was put together again.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by failing"
)]

#[path = "common/tree.rs"]
mod tree;

use evidence::ByteOffset;
use filesystem::{Extent, FileKind, Place as At, Standing};
use mail::account::AccountRules;
use mail::attribution::{Place, attribute};
use mail::claims::Claims;
use mail::content::{examine, examine_among, examine_listed, examine_loose};
use mail::store::find;
use mail::{Grade, Record};
use tree::{BLOCK, Maker, Tree};

impl Maker {
    /// The folder at `path` with messages delivered to `to`.
    fn folder(&mut self, path: &str, to: &[&str]) {
        for (number, to) in to.iter().enumerate() {
            let seconds = 1_400_000_000 + self.bytes.len() + number;
            self.file(
                &format!("{path}/cur/{seconds}.M{number}P1.mx:2,S"),
                delivered(to, number).as_bytes(),
            );
        }
        self.directory(&format!("{path}/new"));
    }
}

fn delivered(to: &str, number: usize) -> String {
    format!(
        "Return-Path: <x@y.example>\nDelivered-To: {to}\nReceived: from a by b for <{to}>; Mon, 1 Jan 2024 \
         00:00:00 +0000\nFrom: x@y.example\nSubject: {number}\n\nwords\n"
    )
}

const ADA: &str = "ada@lindenhof.example";
const BOB: &str = "bob@lindenhof.example";

/// The folders as path, owner or doubt, and name.
fn placed(tree: &Tree) -> Vec<(String, String, String)> {
    let mut places = [Place {
        device: "volume:v",
        fs: tree,
        stores: find(tree, &AccountRules::default()),
    }];
    attribute(&mut places, &AccountRules::default());
    let folders = places[0].stores.folders.iter();
    folders
        .map(|folder| {
            let owner = folder.owner.as_ref().map(|owner| owner.account.to_string());
            let owner = owner.or_else(|| folder.doubt.as_ref().map(|why| format!("? {why}")));
            (
                folder.path.to_string(),
                owner.unwrap_or_default(),
                folder.name.clone(),
            )
        })
        .collect()
}

#[test]
fn folders_without_a_path_go_to_whom_their_mail_was_delivered() {
    let mut tree = Maker::new();
    tree.folder("/v/lindenhof.example/ada/Maildir", &[ADA]);
    tree.folder("/v/lindenhof.example/bob/Maildir", &[BOB]);
    // A mailbox with its folders, of which the drafts say nothing.
    tree.folder("/#orphans/#100", &[ADA; 4]);
    tree.directory("/#orphans/#100/.Drafts/cur");
    tree.file("/#orphans/#100/subscriptions", b"Drafts\n");
    // One of its folders alone, one with mail of both, and one with mail of neither.
    tree.folder("/#orphans/#200/.Archive", &[BOB; 3]);
    tree.folder("/#orphans/#300", &[ADA, BOB, ADA, BOB]);
    tree.folder("/#orphans/#400", &["info@elsewhere.example"; 5]);
    let placed = placed(&tree.done());
    let find = |path: &str| {
        let mut all = placed.iter();
        let (_, owner, name) = all.find(|(at, ..)| at == path).unwrap();
        (owner.as_str(), name.as_str())
    };
    assert_eq!(find("/#orphans/#100"), (ADA, "INBOX"));
    assert_eq!(find("/#orphans/#100/.Drafts"), (ADA, "Drafts"));
    assert_eq!(find("/#orphans/#200/.Archive"), (BOB, "Archive"));
    let (doubt, name) = find("/#orphans/#300");
    assert!(
        doubt.starts_with('?') && doubt.contains(ADA) && doubt.contains(BOB),
        "{doubt}"
    );
    assert_eq!(name, "Recovered");
    assert_eq!(find("/#orphans/#400"), ("", "Recovered"));
}

#[test]
fn a_mailbox_that_seems_to_lie_in_another_one_is_not_that_accounts() {
    let mut tree = Maker::new();
    let ada = "/v/lindenhof.example/ada/Maildir";
    tree.folder(ada, &[ADA; 4]);
    tree.folder("/v/lindenhof.example/bob/Maildir", &[BOB]);
    // It has lost its own `cur`; of its folders only one says whose it is.
    tree.folder(&format!("{ada}/#24/.Sent"), &[BOB; 4]);
    tree.directory(&format!("{ada}/#24/.Drafts/cur"));
    // A folder of ada's that lost its name.
    tree.folder(&format!("{ada}/#25"), &[ADA]);
    let placed = placed(&tree.done());
    let find = |path: &str| {
        let mut all = placed.iter();
        let path = format!("{ada}/{path}");
        let (_, owner, name) = all.find(|(at, ..)| *at == path).unwrap();
        (owner.as_str(), name.as_str())
    };
    assert_eq!(find("#24/.Sent"), (BOB, "Sent"));
    assert_eq!(find("#24/.Drafts"), (BOB, "Drafts"));
    assert_eq!(find("#25"), (ADA, "#25"));
}

#[test]
fn what_a_folder_holds_is_not_also_in_an_older_state_of_its_directory() {
    let mut tree = Maker::new();
    let name = "1400000000.M1P1.mx";
    let path = format!("/v/lindenhof.example/ada/Maildir/.Sent/cur/{name}:2,S");
    let moved = tree.file(&path, delivered(ADA, 1).as_bytes());
    tree.file(
        "/#orphans/#77/1400000001.M2P1.mx",
        delivered(ADA, 2).as_bytes(),
    );
    let stale = tree.directory("/#orphans/#77");
    tree.name(stale, name, moved);
    let gone = tree.directory("/#orphans/#78");
    tree.name(gone, name, moved);
    let tree = tree.done();
    let stores = find(&tree, &AccountRules::default());
    let listed = |path: &str| {
        let mut folders = stores.folders.iter();
        let folder = folders.find(|folder| folder.path.to_string() == path)?;
        let files = folder.list(&tree, "volume:v").files;
        Some(files.iter().map(|file| file.path.to_string()).collect())
    };
    assert_eq!(
        listed("/v/lindenhof.example/ada/Maildir/.Sent"),
        Some(vec![path])
    );
    let kept: Vec<String> = vec!["/#orphans/#77/1400000001.M2P1.mx".to_owned()];
    assert_eq!(listed("/#orphans/#77"), Some(kept));
    assert_eq!(listed("/#orphans/#78"), None::<Vec<String>>);
}

#[test]
fn stores_whose_paths_name_nobody_go_to_whom_their_mail_was_delivered() {
    let mbox = |to: &[&str]| {
        let messages = to.iter().enumerate().map(|(number, to)| {
            let postmark = "From x@y.example Mon Jan  1 00:00:00 2024";
            format!("{postmark}\n{}\n", delivered(to, number))
        });
        messages.collect::<String>().into_bytes()
    };
    let mut tree = Maker::new();
    tree.folder("/v/lindenhof.example/ada/Maildir", &[ADA]);
    tree.folder("/v/lindenhof.example/bob/Maildir", &[BOB]);
    for number in 0..4 {
        let path = format!("/opt/zimbra/store/0/12/msg/0/25{number}-3.msg");
        tree.file(&path, delivered(ADA, number).as_bytes());
    }
    // Files side by side are each somebody's.
    tree.file("/var/mail/ada", &mbox(&[ADA; 3]));
    tree.file("/var/mail/robert", &mbox(&[BOB; 3]));
    tree.file("/#orphans/#500", &mbox(&[BOB; 4]));
    tree.file("/#orphans/#501", &mbox(&[ADA, BOB, ADA, BOB]));
    // A folder of MH, and what looks like one and is a spool of news.
    tree.file(
        "/v/lindenhof.example/ada/Mail/lists/1",
        delivered(ADA, 1).as_bytes(),
    );
    tree.file(
        "/v/lindenhof.example/ada/Mail/lists/.mh_sequences",
        b"unseen: 2\n",
    );
    tree.file(
        "/news/comp/misc/1",
        b"Path: a!b\nFrom: x@y.example\nNewsgroups: comp.misc\n\nx\n",
    );
    let placed = placed(&tree.done());
    let find = |path: &str| {
        let mut all = placed.iter();
        let found = all.find(|(at, ..)| at == path);
        found.map(|(_, owner, name)| (owner.as_str(), name.as_str()))
    };
    assert_eq!(find("/opt/zimbra/store/0/12"), Some((ADA, "Recovered")));
    assert_eq!(find("/var/mail/ada"), Some((ADA, "INBOX")));
    assert_eq!(find("/var/mail/robert"), Some((BOB, "INBOX")));
    assert_eq!(find("/#orphans/#500"), Some((BOB, "Recovered")));
    let (doubt, _) = find("/#orphans/#501").unwrap();
    assert!(doubt.starts_with('?'), "{doubt}");
    assert_eq!(
        find("/v/lindenhof.example/ada/Mail/lists"),
        Some((ADA, "lists"))
    );
    assert_eq!(find("/news/comp/misc"), None);
}

#[test]
fn an_index_and_the_names_of_messages_tell_a_folder_that_was_copied() {
    let guid = "0123456789abcdef0123456789abcdef";
    let name = "1400000001.M1P1.mx,S=5";
    let list = format!("3 V1 N2 G{guid}\n1 :{name}\n");
    let mut tree = Maker::new();
    tree.folder("/v/lindenhof.example/ada/Maildir", &[ADA]);
    let known = "/v/lindenhof.example/ada/Maildir/.Taxes";
    tree.file(
        &format!("{known}/cur/{name}:2,"),
        b"From: x@y.example\n\nx\n",
    );
    tree.file(&format!("{known}/dovecot-uidlist"), list.as_bytes());
    // The same list, and another state of the same directory without one.
    tree.file("/#orphans/#100/dovecot-uidlist", list.as_bytes());
    tree.directory("/#orphans/#100/cur");
    tree.file(
        &format!("/#orphans/#200/{name}:2,S"),
        b"From: x@y.example\n\nx\n",
    );
    // Its mail says another account than its index.
    tree.folder("/#orphans/#300", &[BOB; 3]);
    tree.file("/#orphans/#300/dovecot-uidlist", list.as_bytes());
    tree.folder("/v/lindenhof.example/bob/Maildir", &[BOB]);
    let placed = placed(&tree.done());
    for (path, owner, name) in &placed {
        match path.as_str() {
            "/#orphans/#100" | "/#orphans/#200" => {
                assert_eq!((owner.as_str(), name.as_str()), (ADA, "Taxes"), "{path}");
            }
            "/#orphans/#300" => assert!(owner.contains(ADA) && owner.contains(BOB), "{owner}"),
            _ => {}
        }
    }
    assert_eq!(placed.len(), 6);
}

#[test]
fn what_the_path_still_names_must_not_contradict_the_mail() {
    let mut tree = Maker::new();
    tree.folder("/#orphans/#100/lindenhof.example/ada/Maildir", &[ADA; 3]);
    tree.folder("/#orphans/#200/clients/lindenhof.example/bob", &[ADA; 3]);
    let placed = placed(&tree.done());
    let owners: Vec<&str> = placed.iter().map(|(_, owner, _)| owner.as_str()).collect();
    assert_eq!(owners[0], ADA);
    assert!(
        owners[1].starts_with('?') && owners[1].contains(BOB),
        "{owners:?}"
    );
}

#[test]
fn a_loose_file_is_a_message_if_it_begins_as_one_and_is_whose_its_header_says() {
    let mut tree = Maker::new();
    tree.folder("/v/lindenhof.example/ada/Maildir", &[ADA]);
    tree.file(
        "/#orphans/#50",
        delivered("ada+x@lindenhof.example", 1).as_bytes(),
    );
    tree.file("/#orphans/#51", delivered(BOB, 2).as_bytes());
    tree.file("/#orphans/#52", b"#!/bin/sh\necho: no\n");
    let tree = tree.done();
    let mut places = [Place {
        device: "volume:v",
        fs: &tree,
        stores: find(&tree, &AccountRules::default()),
    }];
    let known = attribute(&mut places, &AccountRules::default());
    let found: Vec<(String, Option<String>, String)> = places[0]
        .stores
        .loose
        .iter()
        .filter_map(|(path, inode)| {
            let claims = Claims::default();
            match examine_loose(&tree, "volume:v", path, *inode, &claims, &known)? {
                Record::Message(message) => Some((
                    message.origin.path.clone(),
                    message.owner.map(|owner| owner.account.to_string()),
                    message.folder,
                )),
                _ => None,
            }
        })
        .collect();
    let folder = || "Recovered".to_owned();
    assert_eq!(
        found,
        [
            ("/#orphans/#50".to_owned(), Some(ADA.to_owned()), folder()),
            ("/#orphans/#51".to_owned(), None, folder()),
        ]
    );
}

/// A directory may be older than its files: the number of an inode was given to another file since.
#[test]
fn a_name_that_another_file_has_now_does_not_say_whose_it_is() {
    let mut tree = Maker::new();
    let folder = "/v/lindenhof.example/ada/Maildir";
    tree.folder("/v/lindenhof.example/bob/Maildir", &[BOB]);
    let file = |tree: &mut Maker, number: usize, to: &str, sizes: &str| {
        let path = format!("{folder}/cur/140000000{number}.M1P1.mx,{sizes}:2,S");
        tree.file(&path, delivered(to, number).as_bytes());
    };
    let length = delivered(BOB, 1).len();
    file(&mut tree, 1, ADA, "S=9,W=10");
    file(&mut tree, 2, BOB, "S=9,W=10");
    file(&mut tree, 3, BOB, "S=9");
    file(&mut tree, 4, BOB, &format!("S={length}"));
    file(&mut tree, 5, "eve@elsewhere.example", "S=9,W=10");
    let tree = tree.done();
    let mut places = [Place {
        device: "volume:v",
        fs: &tree,
        stores: find(&tree, &AccountRules::default()),
    }];
    let local = attribute(&mut places, &AccountRules::default());
    let folders = &places[0].stores.folders;
    let ada = folders.iter().find(|one| one.path.to_string() == folder);
    let files = ada.unwrap().list(&tree, "volume:v").files;
    let owners = files.iter().map(|file| {
        let record = examine_listed(&tree, "volume:v", file, &Claims::default(), &local);
        let Record::Message(message) = record else {
            return None;
        };
        let owner = message.owner.map(|owner| owner.account.to_string());
        Some((message.summary.subject, message.folder, owner?))
    });
    let mut owners: Vec<_> = owners.flatten().collect();
    owners.sort();
    let owned = |number: &str, folder: &str, owner: &str| {
        (number.to_owned(), folder.to_owned(), owner.to_owned())
    };
    let want = [
        owned("1", "INBOX", ADA),
        owned("2", "Recovered", BOB),
        owned("3", "Recovered", BOB),
        owned("4", "INBOX", ADA),
    ];
    assert_eq!(owners, want);
}

/// A maildir with a deleted message of `contents`, whose name states `sizes`; its record.
fn deleted(contents: &[u8], sizes: &str, change: impl Fn(&mut Maker, u64)) -> Record {
    let folder = "/v/lindenhof.example/ada/Maildir";
    let mut tree = Maker::new();
    let path = format!("{folder}/cur/1400000001.M1P1.mx{sizes}:2,S");
    let number = tree.file(&path, contents);
    tree.inodes.get_mut(&number).unwrap().0.standing = Standing::Deleted;
    change(&mut tree, number);
    let mut claims = Claims::default();
    for (inode, pieces) in tree.inodes.values() {
        if inode.standing == Standing::Deleted {
            claims.add(inode, pieces);
        }
    }
    let claims = claims.sorted();
    let tree = tree.done();
    let stores = find(&tree, &AccountRules::default());
    let contents = stores.folders[0].list(&tree, "volume:v");
    let file = contents
        .files
        .iter()
        .find(|file| file.inode.0 == number)
        .unwrap();
    examine_among(&tree, "volume:v", file, &claims)
}

fn grade(record: &Record) -> Option<Grade> {
    match record {
        Record::Message(message) => {
            assert_eq!(message.standing, Standing::Deleted);
            assert_eq!(message.state(), "deleted, and recovered");
            Some(message.grade)
        }
        Record::Rejected(note) => {
            assert!(note.why.starts_with("it was deleted"), "{}", note.why);
            None
        }
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn a_deleted_message_comes_back_if_its_blocks_prove_to_be_its_own() {
    let mut text = delivered(ADA, 1);
    text.push_str(&"some words of a letter\n".repeat(400));
    let lines = text.matches('\n').count();
    let sizes = format!(",S={},W={}", text.len(), text.len() + lines);
    let nothing = |_: &mut Maker, _| {};
    let good = deleted(text.as_bytes(), &sizes, nothing);
    assert_eq!(grade(&good), Some(Grade::Complete));
    // Without the lengths nothing says that the middle is its own; in one block its end says so.
    assert_eq!(grade(&deleted(text.as_bytes(), "", nothing)), None);
    let short = delivered(ADA, 1);
    let one_block = deleted(short.as_bytes(), "", nothing);
    assert_eq!(grade(&one_block), Some(Grade::Complete));
    // A block of somebody else's, in the middle, at the end, at the beginning.
    let over = |at: usize, bytes: &'static [u8]| {
        move |tree: &mut Maker, _: u64| tree.bytes[at..at + bytes.len()].copy_from_slice(bytes)
    };
    for (at, bytes) in [
        (4096, &b"Return-Path: <eve@y.example>\n"[..]),
        (4096, b"\n\n\n\n\n\n"),
        (BLOCK * 3 - 10, b"elsewhere"),
        (0, b"QUJDREVGR0hJSktM\nQUJD"),
    ] {
        let record = deleted(text.as_bytes(), &sizes, over(at, bytes));
        assert_eq!(grade(&record), None, "{at} {bytes:?}");
    }
}

#[test]
fn blocks_that_another_deleted_file_had_later_are_holes() {
    let mut text = delivered(ADA, 1);
    text.push_str(&"some words of a letter\n".repeat(400));
    let lines = text.matches('\n').count();
    let sizes = format!(",S={},W={}", text.len(), text.len() + lines);
    let record = deleted(text.as_bytes(), &sizes, |tree, number| {
        let later = tree.file("/spool/x", b"x");
        let first = tree.inodes[&number].1[0];
        let (inode, pieces) = tree.inodes.get_mut(&later).unwrap();
        inode.standing = Standing::Deleted;
        inode.size = 4096;
        let At::At(at) = first.place else { return };
        *pieces = vec![Extent {
            file_offset: 0,
            length: 4096,
            place: At::At(ByteOffset::new(at.get() + 4096)),
        }];
    });
    let Record::Message(message) = record else {
        unreachable!("{record:?}")
    };
    assert_eq!(message.grade, Grade::Damaged);
    assert_eq!(
        (message.holes[0].start, message.holes[0].bytes),
        (4096, 4096)
    );
    assert_eq!(message.holes.len(), 1);
    // What is left was delivered to somebody else: it is given to nobody.
    let others = text.replace(ADA, BOB);
    let record = deleted(others.as_bytes(), &sizes, |tree, number| {
        let first = tree.inodes[&number].1[0];
        let pieces = &mut tree.inodes.get_mut(&number).unwrap().1;
        let rest = first.length - 4096;
        let (mut head, mut tail) = (first, first);
        (head.length, tail.file_offset, tail.length) = (4096, 4096, rest);
        tail.place = At::Lost;
        *pieces = vec![head, tail];
    });
    assert_eq!(grade(&record), None);
}

#[test]
fn the_folders_of_an_account_that_was_removed_are_known_by_their_deleted_mail() {
    let mut tree = Maker::new();
    tree.folder("/v/lindenhof.example/bob/Maildir", &[BOB]);
    tree.folder("/#orphans/#100", &[ADA; 4]);
    for (inode, _) in tree.inodes.values_mut() {
        if inode.kind == FileKind::Regular && inode.number.0 > 7 {
            inode.standing = Standing::Deleted;
        }
    }
    let placed = placed(&tree.done());
    let (_, owner, _) = placed
        .iter()
        .find(|(path, ..)| path == "/#orphans/#100")
        .unwrap();
    assert_eq!(owner, ADA);
}

#[test]
fn a_name_whose_inode_is_gone_is_known_and_lost_with_what_the_name_states() {
    let folder = "/v/lindenhof.example/ada/Maildir";
    let mut tree = Maker::new();
    let number = tree.file(&format!("{folder}/cur/1400000001.M1P1.mx,S=77:2,"), b"x");
    let list = b"3 V1 N3\n1 :1400000001.M1P1.mx,S=77\n2 :1400000009.M2P1.mx,S=88\n";
    tree.file(&format!("{folder}/dovecot-uidlist"), list);
    tree.inodes.remove(&number);
    let cur = tree.directory(&format!("{folder}/cur"));
    let whole = tree.done();
    let stores = find(&whole, &AccountRules::default());
    let contents = stores.folders[0].list(&whole, "volume:v");
    assert_eq!(
        contents.folders[0].listed_but_gone,
        ["1400000009.M2P1.mx,S=88"]
    );
    let Record::Lost(note) = examine(&whole, "volume:v", &contents.files[0]) else {
        unreachable!()
    };
    assert_eq!(note.delivered.map(|time| time.seconds), Some(1_400_000_001));
    assert_eq!((note.bytes, note.folder.as_str()), (Some(77), "INBOX"));
    // With the directory gone, what the list names was lost and not deleted.
    let mut broken = whole;
    broken.inodes.remove(&cur);
    let stores = find(&broken, &AccountRules::default());
    let contents = stores.folders[0].list(&broken, "volume:v");
    assert!(contents.folders[0].listed_but_gone.is_empty());
    let times: Vec<_> = contents
        .lost
        .iter()
        .filter_map(|note| note.delivered)
        .collect();
    let times: Vec<i64> = times.iter().map(|time| time.seconds).collect();
    assert_eq!(times, [1_400_000_001, 1_400_000_009]);
}
