//! Maildirs as users and other programs leave them.

use super::*;
use crate::maildir::Live;
use crate::maildir::tests::message;
use crate::{MaildirTarget, Target, plan};
use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::PathBuf;

/// A target, a case's ledgers, and one account.
struct Scene {
    dir: tempfile::TempDir,
    target: MaildirTarget,
    place: Place,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let text = format!("maildir:{}/mail/{{local}}", dir.path().display());
        let Target::Maildir(target) = Target::parse(&text).unwrap() else {
            panic!("{text}");
        };
        fs::create_dir(dir.path().join("mail")).unwrap();
        let place = Place::Account(mail::Address::parse("ada@lindenhof.example").unwrap());
        Self { dir, target, place }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.target.path_of(&self.place).join(name)
    }

    fn ledger(&self) -> Ledger {
        let ledgers = self.dir.path().join("ledger");
        Ledger::open(&ledgers, &self.target.id(), &self.place).unwrap()
    }

    /// Messages with one byte each, which is their content.
    fn messages(names: &[(&str, &str)]) -> Vec<Message> {
        names
            .iter()
            .map(|(content, folder)| message(content.as_bytes(), folder))
            .collect()
    }

    fn run(&self, messages: &[Message]) -> Applied {
        self.run_while(messages, &|_| ())
    }

    /// The same, while `meanwhile` happens before each message is read.
    fn run_while(&self, messages: &[Message], meanwhile: &dyn Fn(&Message)) -> Applied {
        let live = Live::read(&self.path(""), &HashSet::new()).unwrap();
        let mut ledger = self.ledger();
        let plan = plan::plan(&self.place, messages, &live, &ledger);
        let path = self.target.path_of(&self.place);
        apply(&plan, &self.place, &path, &mut ledger, &|message| {
            meanwhile(message);
            b"abcdef"
                .iter()
                .map(|byte| Bytes::copy_from_slice(&[*byte]))
                .find(|bytes| mail::MessageId::of(bytes) == message.id)
                .ok_or_else(|| RestoreError::Changed {
                    id: message.id.to_string(),
                    why: "it is none of these".to_owned(),
                })
        })
    }

    fn subscriptions(&self) -> String {
        fs::read_to_string(self.path("subscriptions")).unwrap_or_default()
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.path(folder))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn clean(applied: &Applied) {
    assert!(applied.failed.is_empty(), "{:?}", applied.failed);
    assert!(applied.warnings.is_empty(), "{:?}", applied.warnings);
}

#[test]
fn what_a_user_plants_under_our_names_is_unlinked_and_not_written_through() {
    let scene = Scene::new();
    let mail = Scene::messages(&[("a", "INBOX"), ("b", "INBOX")]);
    let tmp = scene.path(".restored_emails/tmp");
    fs::create_dir_all(&tmp).unwrap();
    let prey = scene.dir.path().join("prey");
    fs::write(&prey, "precious").unwrap();
    let name = |message| plan::destination(&scene.place, message).1;
    fs::hard_link(&prey, tmp.join(name(&mail[0]))).unwrap();
    fs::hard_link(&prey, scene.path("subscriptions.restante")).unwrap();
    let mut fifo = std::process::Command::new("mkfifo");
    assert!(
        fifo.arg(tmp.join(name(&mail[1])))
            .status()
            .unwrap()
            .success()
    );
    let applied = scene.run(&mail);
    clean(&applied);
    assert_eq!(applied.added, 2);
    assert_eq!(fs::read(&prey).unwrap(), b"precious");
    assert_eq!(fs::metadata(&prey).unwrap().nlink(), 1);
    assert!(scene.names(".restored_emails/tmp").is_empty());
    assert_eq!(scene.subscriptions(), "V\t2\n\nrestored_emails\n");
}

#[test]
fn folders_of_a_killed_run_are_subscribed_by_the_next_and_only_once() {
    let scene = Scene::new();
    let mail = Scene::messages(&[("a", "INBOX"), ("b", "Sent")]);
    clean(&scene.run(&mail));
    let all = scene.subscriptions();
    // As a run leaves it that is killed with the lock in its hands.
    fs::remove_file(scene.path("subscriptions")).unwrap();
    let text = fs::read_dir(scene.dir.path().join("ledger")).unwrap();
    let ledger = text.last().unwrap().unwrap().path();
    let ledger = ledger.join("lindenhof.example/ada.jsonl");
    let lines = fs::read_to_string(&ledger).unwrap();
    let kept: Vec<&str> = lines
        .lines()
        .filter(|l| !l.contains("subscribed"))
        .collect();
    fs::write(&ledger, kept.join("\n") + "\n").unwrap();
    fs::write(scene.path("subscriptions.restante"), &all).unwrap();
    fs::hard_link(
        scene.path("subscriptions.restante"),
        scene.path("subscriptions.lock"),
    )
    .unwrap();
    let applied = scene.run(&mail);
    clean(&applied);
    assert_eq!(applied.added, 0);
    assert_eq!(scene.subscriptions(), all);
    assert!(!scene.path("subscriptions.lock").exists());
    assert!(!scene.path("subscriptions.restante").exists());
    // What the user unsubscribes stays so, also when more mail comes.
    fs::write(scene.path("subscriptions"), "V\t2\n\n").unwrap();
    let more = Scene::messages(&[("a", "INBOX"), ("b", "Sent"), ("c", "Sent")]);
    assert_eq!(scene.run(&more).added, 1);
    assert_eq!(scene.subscriptions(), "V\t2\n\n");
    // What the user deleted is not made again for the sake of a subscription.
    fs::remove_dir_all(scene.path("")).unwrap();
    clean(&scene.run(&more));
    assert!(!scene.path("").exists());
}

#[test]
fn the_lock_of_the_server_is_reported_and_the_next_run_subscribes() {
    let scene = Scene::new();
    let mail = Scene::messages(&[("a", "INBOX")]);
    fs::create_dir_all(scene.path("")).unwrap();
    fs::write(scene.path("subscriptions.lock"), "").unwrap();
    let applied = scene.run(&mail);
    assert_eq!((applied.added, applied.failed.len()), (1, 0));
    let warning = applied.warnings[0].to_string();
    assert!(warning.contains("the server holds the lock"), "{warning}");
    assert!(!scene.path("subscriptions.restante").exists());
    assert_eq!(fs::read(scene.path("subscriptions.lock")).unwrap(), b"");
    fs::remove_file(scene.path("subscriptions.lock")).unwrap();
    clean(&scene.run(&mail));
    assert_eq!(scene.subscriptions(), "V\t2\n\nrestored_emails\n");
}

#[test]
fn subscriptions_that_are_too_long_are_left_as_they_are() {
    let scene = Scene::new();
    fs::create_dir_all(scene.path("")).unwrap();
    let long = vec![b'x'; 17 << 20];
    fs::write(scene.path("subscriptions"), &long).unwrap();
    let applied = scene.run(&Scene::messages(&[("a", "INBOX")]));
    assert_eq!((applied.added, applied.failed.len()), (1, 0));
    assert!(matches!(
        applied.warnings[..],
        [Warning::NotSubscribed(RestoreError::NotReadable { .. })]
    ));
    assert!(fs::read(scene.path("subscriptions")).unwrap() == long);
}

#[test]
fn what_a_kill_left_half_made_gets_owner_mode_and_contents_after_all() {
    let scene = Scene::new();
    let mut mail = Scene::messages(&[("a", "INBOX")]);
    mail[0].keywords = vec!["invoice".to_owned()];
    let base = scene.target.base();
    fs::set_permissions(base, fs::Permissions::from_mode(0o2770)).unwrap();
    chown(base, Some(1234), Some(1235)).unwrap();
    // Drafts by the names that the real things will have: a directory, and empty files.
    let draft = |name: &str| {
        let digest = blake3::hash(name.as_bytes()).to_hex();
        format!("restante-new.{}", &digest[..16])
    };
    fs::create_dir(base.join(draft("ada"))).unwrap();
    let folder = scene.path(".restored_emails");
    let applied = {
        fs::create_dir_all(&folder).unwrap();
        for path in [scene.path(""), folder.clone()] {
            chown(&path, Some(1234), Some(1235)).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o2770)).unwrap();
        }
        fs::create_dir(folder.join(draft("cur"))).unwrap();
        fs::write(folder.join(draft("dovecot-keywords")), "").unwrap();
        fs::write(folder.join(draft("maildirfolder")), "").unwrap();
        scene.run(&mail)
    };
    clean(&applied);
    assert_eq!((applied.added, applied.keywords_left_out), (1, 0));
    let names = scene.names(".restored_emails");
    assert_eq!(
        names,
        ["cur", "dovecot-keywords", "maildirfolder", "new", "tmp"]
    );
    let file = format!("cur/{}", scene.names(".restored_emails/cur")[0]);
    assert!(file.ends_with(":2,Sa"), "{file}");
    let text = fs::read(folder.join("dovecot-keywords")).unwrap();
    assert_eq!(text, b"0 invoice\n");
    for name in names.iter().map(String::as_str).chain([file.as_str()]) {
        let metadata = fs::metadata(folder.join(name)).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (1234, 1235), "{name}");
        let want = if metadata.is_dir() { 0o2770 } else { 0o660 };
        assert_eq!(metadata.mode() & 0o7777, want, "{name}");
    }
}

#[test]
fn one_folder_that_fails_does_not_stop_the_others() {
    let scene = Scene::new();
    let mail = Scene::messages(&[("a", "INBOX"), ("b", "Sent"), ("x", "Work"), ("c", "Work")]);
    fs::create_dir_all(scene.path("")).unwrap();
    fs::write(scene.path(".restored_emails.Sent"), "in the way").unwrap();
    fs::create_dir(scene.path("subscriptions")).unwrap();
    let applied = scene.run(&mail);
    assert_eq!(applied.added, 2);
    assert_eq!(applied.failed.len(), 2, "{:?}", applied.failed);
    assert_eq!(applied.warnings.len(), 1, "{:?}", applied.warnings);
    assert_eq!(scene.ledger().entries().len(), 2);
    fs::remove_file(scene.path(".restored_emails.Sent")).unwrap();
    fs::remove_dir(scene.path("subscriptions")).unwrap();
    let applied = scene.run(&mail);
    assert_eq!((applied.added, applied.failed.len()), (1, 1));
    assert!(scene.subscriptions().contains("Sent"));
}

#[test]
fn one_message_that_fails_does_not_stop_the_folder() {
    let scene = Scene::new();
    let mail = Scene::messages(&[("a", "INBOX"), ("b", "INBOX"), ("c", "INBOX")]);
    let planted = plan::destination(&scene.place, &mail[1]).1;
    let planted = scene.path(".restored_emails/tmp").join(planted);
    fs::create_dir_all(planted.join("full")).unwrap();
    let applied = scene.run(&mail);
    assert_eq!((applied.added, applied.failed.len()), (2, 1));
    assert_eq!(scene.ledger().entries().len(), 2);
}

#[test]
fn a_folder_that_vanishes_meanwhile_is_said_once_and_the_others_are_done() {
    let scene = Scene::new();
    let mail = Scene::messages(&[("a", "INBOX"), ("b", "Sent"), ("c", "Sent"), ("d", "Work")]);
    let sent = scene.path(".restored_emails.Sent");
    let applied = scene.run_while(&mail, &|message| {
        if message.folder == "Sent" && sent.exists() {
            fs::remove_dir_all(&sent).unwrap();
        }
    });
    assert_eq!((applied.added, applied.failed.len()), (2, 1));
    let error = applied.failed[0].to_string();
    assert!(error.contains(".restored_emails.Sent"), "{error}");
    assert_eq!(scene.ledger().entries().len(), 2);
    assert_eq!(scene.run(&mail).added, 2);
}

#[test]
fn a_disk_that_fills_up_meanwhile_is_said_once_a_folder_and_leaves_nothing_half_written() {
    let scene = Scene::new();
    let mail = Scene::messages(&[
        ("a", "INBOX"),
        ("b", "INBOX"),
        ("c", "INBOX"),
        ("d", "Work"),
    ]);
    let mail_dir = scene.target.base().to_owned();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
        .arg(&mail_dir)
        .status();
    assert!(
        mounted.unwrap().success(),
        "this test mounts a tmpfs: run it as root"
    );
    let filler = mail_dir.join("filler");
    let applied = scene.run_while(&mail, &|message| {
        if message.id == mail[1].id {
            let _ = fs::write(&filler, vec![0; 1 << 20]);
        }
    });
    let errors: Vec<String> = applied.failed.iter().map(ToString::to_string).collect();
    let written = scene.names(".restored_emails/cur").len();
    let left = scene.names(".restored_emails/tmp").len();
    let noted = scene.ledger().entries().len();
    fs::remove_file(&filler).unwrap();
    let rest = scene.run(&mail);
    let all = scene.names(".restored_emails/cur").len();
    let unmounted = std::process::Command::new("umount").arg(&mail_dir).status();
    assert!(unmounted.unwrap().success());
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(
        errors.iter().all(|e| e.contains("No space left")),
        "{errors:?}"
    );
    assert_eq!((written as u64, left), (applied.added, 0));
    assert_eq!((noted, applied.added + rest.added), (written, 4));
    assert_eq!((all, rest.failed.len()), (3, 0));
}

/// Runs as user 1234 with the group 1236 only, in a thread of its own.
fn as_user(scene: &Scene, mail: &[Message]) -> Applied {
    std::thread::scope(|scope| {
        let run = scope.spawn(|| {
            use rustix::thread as ids;
            let (uid, gid) = (
                rustix::fs::Uid::from_raw(1234),
                rustix::fs::Gid::from_raw(1236),
            );
            ids::set_thread_groups(&[]).unwrap();
            ids::set_thread_res_gid(gid, gid, gid).unwrap();
            ids::set_thread_res_uid(uid, uid, uid).unwrap();
            scene.run(mail)
        });
        run.join().unwrap()
    })
}

#[test]
fn without_root_a_group_that_cannot_be_given_is_reported_and_no_other_gets_in() {
    let scene = Scene::new();
    let mail = Scene::messages(&[("a", "INBOX")]);
    let base = scene.target.base();
    fs::set_permissions(scene.dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(base, fs::Permissions::from_mode(0o770)).unwrap();
    chown(base, Some(1234), Some(1235)).unwrap();
    let applied = as_user(&scene, &mail);
    assert_eq!((applied.added, applied.failed.len()), (1, 0), "{applied:?}");
    let warning = applied.warnings[0].to_string();
    assert!(warning.contains("group 1235"), "{warning}");
    let mode = fs::metadata(scene.path("")).unwrap().mode();
    assert_eq!(mode & 0o7777, 0o700);
}

#[test]
fn without_root_a_mailbox_of_somebody_else_gets_nothing() {
    let scene = Scene::new();
    let mail = Scene::messages(&[("a", "INBOX")]);
    let base = scene.target.base();
    fs::set_permissions(scene.dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(base, fs::Permissions::from_mode(0o777)).unwrap();
    chown(base, Some(1240), Some(1235)).unwrap();
    let applied = as_user(&scene, &mail);
    assert_eq!((applied.added, applied.failed.len()), (0, 1));
    let error = applied.failed[0].to_string();
    assert!(error.contains("as root, or as user 1240"), "{error}");
    assert!(fs::read_dir(base).unwrap().next().is_none());
}
