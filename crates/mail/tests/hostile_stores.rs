//! Trees that nobody's mail server made, read as they may be met on a disk.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot set up its store has failed"
)]

mod common;

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use common::{DEVICE, ext4_of};
use mail::account::AccountRules;
use mail::content::examine;
use mail::store::find;
use mail::{Grade, Record};

/// The records of an ext4 image that holds `root`.
fn records(root: &Path) -> Vec<Record> {
    let fs = ext4_of(root, 64);
    let stores = find(fs.as_ref(), &AccountRules::default());
    assert!(stores.losses.is_empty());
    let mut records = Vec::new();
    for folder in &stores.folders {
        let contents = folder.list(fs.as_ref(), DEVICE);
        records.extend(contents.folders.into_iter().map(Record::Folder));
        records.extend(contents.rejected.into_iter().map(Record::Rejected));
        let files = contents.files.iter();
        records.extend(files.map(|file| examine(fs.as_ref(), DEVICE, file)));
    }
    records
}

fn write(root: &Path, path: &str, bytes: &[u8]) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Each message's first line of text, with its account and folder.
fn placed(records: &[Record]) -> Vec<(String, String, String)> {
    let mut placed: Vec<_> = records
        .iter()
        .filter_map(|record| match record {
            Record::Message(message) => Some((
                message.summary.subject.clone(),
                message
                    .owner
                    .as_ref()
                    .map_or_else(|| "nobody".to_owned(), |owner| owner.account.to_string()),
                message.folder.clone(),
            )),
            _ => None,
        })
        .collect();
    placed.sort();
    placed
}

#[test]
fn directories_that_only_look_like_mailboxes_give_nobody_mail() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let mail = |subject: &str| format!("Subject: {subject}\n\nx\n").into_bytes();
    for directory in ["cur", "new", "tmp"] {
        for top in [
            "home/ada/Maildir",
            "home/ada/Maildir/clients/acme.example/bob",
            "home/ada/mail/imap.acme.example/INBOX",
            "vmail/quarry.example/ada/Maildir",
        ] {
            fs::create_dir_all(root.join(top).join(directory)).unwrap();
        }
    }
    write(root, "home/ada/Maildir/cur/1.a:2,", &mail("inbox"));
    write(
        root,
        "home/ada/Maildir/clients/acme.example/bob/cur/1.b:2,",
        &mail("notes"),
    );
    write(
        root,
        "home/ada/mail/imap.acme.example/INBOX/cur/1.c:2,",
        &mail("client"),
    );
    write(root, "etc/rc.d/init/new/script", &mail("script"));
    write(root, "opt/a.example/tool/new", &mail("file"));
    write(
        root,
        "vmail/quarry.example/ada/Maildir/cur/1.d:2,",
        &mail("own"),
    );
    let nobody =
        |subject: &str, folder: &str| (subject.to_owned(), "nobody".to_owned(), folder.to_owned());
    let own = (
        "own".to_owned(),
        "ada@quarry.example".to_owned(),
        "INBOX".to_owned(),
    );
    assert_eq!(
        placed(&records(root)),
        [
            nobody("client", "INBOX"),
            nobody("inbox", "INBOX"),
            nobody("notes", "clients.acme.example.bob"),
            own
        ]
    );
}

#[test]
fn odd_files_are_each_accounted_for() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let top = "vmail/quarry.example/ada/Maildir";
    for directory in ["cur", "new", "tmp"] {
        fs::create_dir_all(root.join(top).join(directory)).unwrap();
    }
    let cur = root.join(top).join("cur");
    let name = std::ffi::OsStr::from_bytes(b"1.\xFF\x1B[2J\n:2,S");
    fs::write(cur.join(name), b"Subject: odd name\n\nx\n").unwrap();
    write(root, &format!("{top}/cur/2.empty:2,"), b"");
    write(root, &format!("{top}/cur/.hidden"), b"x");
    write(root, &format!("{top}/tmp/3.half"), b"x");
    write(
        root,
        &format!("{top}/cur/4.short,S=900:2,"),
        b"Subject: short\n\n",
    );
    fs::create_dir(cur.join("5.directory")).unwrap();
    std::os::unix::fs::symlink("../../other", cur.join("6.link")).unwrap();
    let bomb = {
        let zeros = vec![0; 300 << 20];
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, &zeros).unwrap();
        encoder.finish().unwrap()
    };
    write(root, &format!("{top}/cur/7.bomb:2,"), &bomb);
    let sparse = fs::File::create(cur.join("8.sparse:2,")).unwrap();
    sparse.set_len(10_000).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"Subject: sparse\n\n", 0).unwrap();
    drop(sparse);

    let records = records(root);
    let count = |wanted: fn(&Record) -> bool| records.iter().filter(|r| wanted(r)).count();
    assert_eq!(
        count(|r| matches!(r, Record::Message(m) if m.grade == Grade::Proven)),
        1
    );
    assert_eq!(
        count(|r| matches!(r, Record::Message(m) if m.grade == Grade::Damaged)),
        2
    );
    // The empty file, the hidden one, the one in tmp, the directory, the link, the bomb.
    assert_eq!(count(|r| matches!(r, Record::Rejected(_))), 6);
    assert_eq!(records.len(), 1 + 1 + 2 + 6);
}
