//! Whose carved messages are: a table of what their headers and the names that are left say, each
//! with the right answer.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by failing"
)]

use std::sync::Arc;

use evidence::ReadAt;
use evidence::view::Memory;
use filesystem::Standing;
use mail::account::{AccountRules, Accounts, Owner};
use mail::carved::{Candidate, Carved, Mailboxes, Names, Stored, attribute};
use mail::record::{FileNote, FolderRecord, Repair};
use mail::{Address, Message, Proof, Record};

const SERVER: &str = "imap.lindenhof.example";

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

/// A message that `server` delivered to `to`.
fn delivered(to: &str, server: &str, number: u32) -> String {
    format!(
        "Return-Path: <shop@vendor.example>\nDelivered-To: {to}\nReceived: from mx.example by {server};\n\
         \tMon, 1 Jan 2024 00:00:{number:02} +0000\nFrom: shop@vendor.example\nSubject: box {number}\n\
         Date: Mon, 1 Jan 2024 00:00:00 +0000\n\nThe shelf holds box {number}.\n"
    )
}

fn written_by(from: &str) -> String {
    format!(
        "From: {from}\nTo: shop@vendor.example\nDate: Mon, 1 Jan 2024 00:00:00 +0000\n\nMy order.\n"
    )
}

fn candidate(text: &str, proof: Option<Proof>, repairs: Vec<Repair>) -> Candidate {
    let view: Arc<dyn ReadAt> = Arc::new(Memory::new(text.as_bytes().to_vec()));
    let carved = Carved {
        pieces: vec![(0, text.len() as u64)],
        proof,
        repairs,
        ..Carved::default()
    };
    Candidate::read(&view, "disk:a#blocks", &carved).unwrap()
}

fn attributed(texts: &[String], names: &Names, known: &[&str]) -> Vec<Message> {
    let candidates = texts
        .iter()
        .map(|text| candidate(text, Some(Proof::Structure), Vec::new()));
    let mut accounts = Accounts::new(&AccountRules::default());
    for known in known {
        accounts.add(address(known));
    }
    attribute(candidates.collect(), names, &accounts).messages
}

fn owners(texts: &[String], known: &[&str]) -> Vec<Option<String>> {
    let messages = attributed(texts, &Names::default(), known);
    let owner = |message: Message| message.owner.map(|owner| owner.account.to_string());
    messages.into_iter().map(owner).collect()
}

/// Enough mail of the server of these mailboxes to know it by.
fn usual() -> Vec<String> {
    (0..4)
        .map(|number| delivered("ada@lindenhof.example", SERVER, number))
        .collect()
}

#[test]
fn mail_goes_to_whom_the_server_of_these_mailboxes_delivered_it_and_to_nobody_else() {
    let ada = Some("ada@lindenhof.example");
    for (what, text, wanted) in [
        (
            "her own",
            delivered("ada@lindenhof.example", SERVER, 9),
            ada,
        ),
        (
            "another account here",
            delivered("bo@lindenhof.example", SERVER, 9),
            Some("bo@lindenhof.example"),
        ),
        (
            "kept from an older server",
            delivered("ada@old.example", "mx.old.example", 9),
            None,
        ),
        (
            "an account here, as another server says",
            delivered("bo@lindenhof.example", "mx.old.example", 9),
            None,
        ),
        ("that she wrote", written_by("ada@lindenhof.example"), ada),
        (
            "that a stranger wrote",
            written_by("eve@elsewhere.example"),
            None,
        ),
        (
            "that says nothing",
            "Subject: x\nDate: Mon, 1 Jan 2024 00:00:00 +0000\n\nx\n".to_owned(),
            None,
        ),
        (
            "forwarded inside a message",
            format!(
                "{}\n{}",
                written_by("eve@elsewhere.example"),
                delivered("ada@lindenhof.example", SERVER, 9)
            ),
            None,
        ),
    ] {
        let mut texts = usual();
        texts.push(text);
        assert_eq!(
            owners(&texts, &[]).pop().unwrap().as_deref(),
            wanted,
            "{what}"
        );
    }
}

#[test]
fn a_message_in_a_file_of_others_is_whose_they_are_if_they_agree() {
    let silent = || "Subject: x\nDate: Mon, 1 Jan 2024 00:00:00 +0000\n\nx\n".to_owned();
    let to = |to: &str, number| delivered(to, SERVER, number);
    let (ada, bo) = ("ada@lindenhof.example", "bo@lindenhof.example");
    let kept = |number| delivered("ada@old.example", "mx.old.example", number);
    for (what, file, wanted) in [
        (
            "all hers",
            vec![to(ada, 5), to(ada, 6), to(ada, 7)],
            Some(ada),
        ),
        (
            "two accounts'",
            vec![to(ada, 5), to(ada, 6), to(bo, 7), to(bo, 8)],
            None,
        ),
        ("kept from elsewhere", vec![kept(5), kept(6), kept(7)], None),
        ("nobody's", vec![], None),
    ] {
        let carved = |text: &String, file: Option<u64>| {
            let view: Arc<dyn ReadAt> = Arc::new(Memory::new(text.as_bytes().to_vec()));
            let carved = Carved {
                pieces: vec![(0, text.len() as u64)],
                proof: Some(Proof::Structure),
                stored: file.map(|file| Stored {
                    folder: Some("Orders".to_owned()),
                    file,
                    ..Stored::default()
                }),
                ..Carved::default()
            };
            Candidate::read(&view, "disk:a#blocks", &carved).unwrap()
        };
        let usual = usual();
        let all = usual.iter().map(|text| carved(text, None));
        let file = file.iter().map(|text| carved(text, Some(7)));
        let last = std::iter::once(carved(&silent(), Some(7)));
        let accounts = Accounts::new(&AccountRules::default());
        let all: Vec<Candidate> = all.chain(file).chain(last).collect();
        let last = attribute(all, &Names::default(), &accounts)
            .messages
            .pop()
            .unwrap();
        let owner = last.owner.map(|owner| owner.account.to_string());
        assert_eq!(owner.as_deref(), wanted, "{what}");
        assert_eq!(last.folder, "Orders");
    }
}

#[test]
fn lengths_beside_a_message_that_are_not_its_own_make_it_damaged() {
    let text = delivered("ada@lindenhof.example", SERVER, 1);
    let length = text.len() as u64;
    for (size, is_whole) in [(length, true), (length + 1, false)] {
        let view: Arc<dyn ReadAt> = Arc::new(Memory::new(text.as_bytes().to_vec()));
        let mut stored = Stored::default();
        stored.known.size = Some(size);
        let carved = Carved {
            pieces: vec![(0, length)],
            proof: Some(Proof::Size),
            stored: Some(stored),
            ..Carved::default()
        };
        let candidate = Candidate::read(&view, "disk:a#blocks", &carved).unwrap();
        assert_eq!(candidate.is_whole(), is_whole);
    }
}

#[test]
fn without_a_server_that_stands_out_only_known_accounts_get_mail() {
    let texts: Vec<String> = (0..4)
        .map(|n| {
            delivered(
                &format!("u{n}@lindenhof.example"),
                &format!("mx{n}.example"),
                n,
            )
        })
        .collect();
    assert_eq!(owners(&texts, &[]), [None, None, None, None]);
    let known = owners(&texts, &["u2@lindenhof.example"]);
    assert_eq!(known[2].as_deref(), Some("u2@lindenhof.example"));
    assert_eq!(known.iter().flatten().count(), 1);
}

fn note(account: &str, path: &str) -> FileNote {
    FileNote {
        device: "disk:a".to_owned(),
        path: path.to_owned(),
        owner: Some(Owner {
            account: address(account),
            evidence: "its path".to_owned(),
        }),
        folder: "Archive".to_owned(),
        delivered: None,
        bytes: None,
        is_encrypted: false,
        standing: Standing::Deleted,
        why: "it was deleted".to_owned(),
        needs: None,
    }
}

/// The name that Dovecot gives to a message.
fn name(text: &str, unique: &str) -> String {
    let lines = text.matches('\n').count();
    format!(
        "/srv/ada/Maildir/.Archive/cur/1388534400.{unique}.mx,S={},W={}:2,S",
        text.len(),
        text.len() + lines
    )
}

#[test]
fn the_one_name_with_both_lengths_gives_account_folder_and_flags() {
    let text = written_by("eve@elsewhere.example");
    let mut names = Names::default();
    names.add(note("ada@lindenhof.example", &name(&text, "M1P1")));
    let message = attributed(std::slice::from_ref(&text), &names, &[]).remove(0);
    assert_eq!(
        message.owner.unwrap().account,
        address("ada@lindenhof.example")
    );
    assert_eq!(
        (message.folder.as_str(), message.standing),
        ("Archive", Standing::Deleted)
    );
    assert!(
        message
            .proofs
            .starts_with(&[Proof::Size, Proof::VirtualSize])
    );

    // Two messages of these lengths, or two names: either may be it.
    let twin = text.replace("My order", "No order");
    let twins = attributed(&[text.clone(), twin], &names, &[]);
    assert!(twins.iter().all(|message| message.owner.is_none()));
    names.add(note("bo@lindenhof.example", &name(&text, "M2P2")));
    let message = attributed(&[text], &names, &[]).remove(0);
    assert_eq!(message.owner, None);
}

/// A folder of a mailbox that is nobody's.
fn folder_of(mailbox: &str) -> FolderRecord {
    FolderRecord {
        device: "disk:a".to_owned(),
        path: format!("{mailbox}/.Archive"),
        owner: None,
        folder: "Archive".to_owned(),
        mailbox: Some(mailbox.to_owned()),
        present: 5,
        listed: None,
        listed_but_gone: Vec::new(),
        doubt: None,
    }
}

/// The directories above a mailbox lost their names: the messages that lengths join with its names tell whose it
/// is, and so whose a message is that says nothing itself.
#[test]
fn messages_that_are_joined_with_names_tell_whose_their_mailbox_is() {
    let ada = "ada@lindenhof.example";
    let mut texts: Vec<String> = (0..4)
        .map(|n| delivered(ada, SERVER, n) + &"more\n".repeat(n as usize))
        .collect();
    texts.push(written_by("eve@elsewhere.example"));
    let mut names = Names::default();
    let in_mailbox = |text: &String, number: usize| {
        let path = name(text, &format!("M{number}P1")).replace("/srv/ada", "/#orphans/#12/ada");
        FileNote {
            owner: None,
            ..note(ada, &path)
        }
    };
    for (number, text) in texts.iter().enumerate() {
        names.add(in_mailbox(text, number));
    }
    let undecided = attributed(&texts, &names, &[]);
    assert_eq!(
        undecided[4].owner, None,
        "no folder says which mailbox it is of"
    );
    let mailbox = "/#orphans/#12/ada/Maildir";
    let folder = folder_of(mailbox);
    names.add_folder(&folder);
    for message in attributed(&texts, &names, &[]) {
        assert_eq!(message.owner.unwrap().account, address(ada));
        assert_eq!(message.folder, "Archive");
    }
    let candidates = texts
        .iter()
        .map(|text| candidate(text, Some(Proof::Structure), Vec::new()));
    let accounts = Accounts::new(&AccountRules::default());
    let found = attribute(candidates.collect(), &names, &accounts).mailboxes;
    let mailboxes: Mailboxes = found.into_iter().collect();
    let Record::Folder(settled) = mailboxes.settled(Record::Folder(folder)) else {
        unreachable!("a folder stays one");
    };
    assert_eq!(settled.owner.unwrap().account, address(ada));
    let other = in_mailbox(&texts[0], 9);
    let other = FileNote {
        path: other.path.replace("#12", "#13"),
        ..other
    };
    assert_eq!(
        mailboxes.settled(Record::Lost(other.clone())),
        Record::Lost(other)
    );

    // One that was delivered to somebody else speaks against it: four of five are too few.
    texts[1] = delivered("bo@lindenhof.example", SERVER, 1) + "more\n";
    let mut names = Names::default();
    names.add_folder(&folder_of(mailbox));
    for (number, text) in texts.iter().enumerate() {
        names.add(in_mailbox(text, number));
    }
    assert_eq!(attributed(&texts, &names, &[])[4].owner, None);
}

#[test]
fn lengths_do_not_outweigh_a_bit_that_turned() {
    let text = written_by("eve@elsewhere.example");
    let mut names = Names::default();
    names.add(note("ada@lindenhof.example", &name(&text, "M1P1")));
    let graded = |contradictions: &[&str]| {
        let view: Arc<dyn ReadAt> = Arc::new(Memory::new(text.clone().into_bytes()));
        let carved = Carved {
            pieces: vec![(0, text.len() as u64)],
            proof: Some(Proof::Structure),
            contradictions: contradictions.iter().map(|&why| why.to_owned()).collect(),
            ..Carved::default()
        };
        let candidate = Candidate::read(&view, "disk:a#blocks", &carved).unwrap();
        let accounts = Accounts::new(&AccountRules::default());
        let message = attribute(vec![candidate], &names, &accounts)
            .messages
            .remove(0);
        assert!(
            message.owner.is_some(),
            "it is that of the name all the same"
        );
        message.grade.is_whole()
    };
    assert!(graded(&[]));
    assert!(!graded(&["a bit of byte 20 has turned"]));
}

#[test]
fn what_breaks_off_or_lies_in_the_middle_of_something_is_no_file_of_a_name() {
    let text = written_by("eve@elsewhere.example");
    let mut names = Names::default();
    names.add(note("ada@lindenhof.example", &name(&text, "M1P1")));
    let owner = |at: u64, proof| {
        let before = " ".repeat(usize::try_from(at).unwrap());
        let view: Arc<dyn ReadAt> = Arc::new(Memory::new(format!("{before}{text}").into_bytes()));
        let carved = Carved {
            pieces: vec![(at, text.len() as u64)],
            proof,
            ..Carved::default()
        };
        let candidate = Candidate::read(&view, "disk:a#blocks", &carved).unwrap();
        let accounts = Accounts::new(&AccountRules::default());
        attribute(vec![candidate], &names, &accounts)
            .messages
            .remove(0)
            .owner
    };
    assert!(owner(512, Some(Proof::Structure)).is_some());
    assert!(owner(512, None).is_none());
    assert!(owner(513, Some(Proof::Structure)).is_none());
}

#[test]
fn a_name_does_not_outweigh_a_delivery_to_somebody_else() {
    let text = delivered("bo@lindenhof.example", "mx.old.example", 3);
    let mut names = Names::default();
    names.add(note("ada@lindenhof.example", &name(&text, "M1P1")));
    let message = attributed(&[text], &names, &[]).remove(0);
    assert_eq!(message.owner, None);
}

#[test]
fn what_is_not_whole_stays_damaged_and_repairs_are_put_in() {
    let text = written_by("ada@lindenhof.example");
    let damaged = candidate(&text, None, Vec::new());
    assert!(!damaged.is_whole());
    let at = text.find("order").unwrap() as u64;
    let repair = Repair {
        at,
        read: b'o',
        stored: b'O',
    };
    let mended = candidate(&text, Some(Proof::BodyHash), vec![repair]);
    let wanted = candidate(
        &text.replace("order", "Order"),
        Some(Proof::BodyHash),
        Vec::new(),
    );
    assert_eq!(mended.id(), wanted.id());
}
