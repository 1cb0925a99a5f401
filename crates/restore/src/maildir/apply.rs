//! Writing what was planned.

use std::collections::BTreeSet;
use std::path::Path;

use bytes::Bytes;
use mail::Message;
use mail::maildir::Keywords;

use super::place::Directory;
use super::subscriptions;
use crate::plan::{Add, FolderPlan, Plan};
use crate::{Entry, Ledger, Outcome, Place, RestoreError, Warning};

/// So many messages are written before their folder is synced and the ledger learns of them.
const BATCH: usize = 256;

/// What was written, and what could not be.
#[derive(Debug, Default)]
pub struct Applied {
    /// How many messages were added.
    pub added: u64,
    /// How many bytes they have.
    pub bytes: u64,
    /// What could not be added, a message or a whole folder, and why.
    pub failed: Vec<RestoreError>,
    /// What the administrator should know though no mail is missing.
    pub warnings: Vec<Warning>,
    /// Keywords for which the folder has no letter left.
    pub keywords_left_out: u64,
}

/// Carries out `plan` in the Maildir at `path`; `content` gives the bytes of a message.
///
/// A message is written in `tmp`, synced, and moved to its place, where it never replaces
/// anything. The ledger learns of it after its folder is synced: a run that is killed in
/// between finds the file by its name. What fails is in the result, and the rest is done.
pub fn apply(
    plan: &Plan<'_>,
    place: &Place,
    path: &Path,
    ledger: &mut Ledger,
    content: &dyn Fn(&Message) -> Result<Bytes, RestoreError>,
) -> Applied {
    let mut applied = Applied::default();
    // Nothing is added of which the ledger could not learn: it would come back when deleted.
    if let Err(error) = ledger.append(plan.notes.clone()) {
        applied.failed.push(error);
        return applied;
    }
    let subscribe = match place {
        Place::Account(_) => to_subscribe(plan, ledger),
        Place::Unattributed => BTreeSet::new(),
    };
    let maildir = if !plan.folders.is_empty() {
        Directory::open_maildir(path).map(Some)
    } else if !subscribe.is_empty() {
        Directory::find_maildir(path)
    } else {
        Ok(None)
    };
    let maildir = match maildir {
        Ok(Some(maildir)) => maildir,
        Ok(None) => return applied,
        Err(error) => {
            applied.failed.push(error);
            return applied;
        }
    };
    for (name, folder) in &plan.folders {
        match Folder::open(&maildir, name, &folder.keywords) {
            Ok(directory) => add_messages(name, folder, &directory, ledger, content, &mut applied),
            Err(error) => applied.failed.push(error),
        }
    }
    match subscriptions::subscribe(&maildir, &subscribe, ledger) {
        Ok(None) => {}
        Ok(Some(warning)) => applied.warnings.push(warning),
        Err(error) => applied.warnings.push(Warning::NotSubscribed(error)),
    }
    if let Some(gid) = maildir.group_not_given() {
        let path = path.to_owned();
        applied.warnings.push(Warning::GroupNotGiven { path, gid });
    }
    applied
}

/// The folders that mail was or will be restored into and that were never subscribed: after that
/// they are the user's to unsubscribe. A run that was killed leaves some to the next one.
fn to_subscribe(plan: &Plan<'_>, ledger: &Ledger) -> BTreeSet<String> {
    plan.folders
        .keys()
        .map(String::as_str)
        .chain(ledger.restored().map(|(folder, _)| folder))
        .filter(|folder| !ledger.was_subscribed(folder))
        .map(str::to_owned)
        .collect()
}

/// A folder that messages are added to.
struct Folder {
    cur: Directory,
    tmp: Directory,
    keywords: Keywords,
}

impl Folder {
    /// Opens the folder `name` of `maildir`, the Maildir itself if the name is empty, and makes
    /// what is not there.
    fn open(maildir: &Directory, name: &str, keywords: &[String]) -> Result<Self, RestoreError> {
        let below;
        let top = if name.is_empty() {
            maildir
        } else {
            below = maildir.open_or_make(name.as_bytes())?;
            if !below.has(b"maildirfolder") {
                below.write_new(b"maildirfolder", b"")?;
            }
            &below
        };
        // Nothing is put in `new`, but a folder without it is none.
        top.open_or_make(b"new")?;
        Ok(Self {
            cur: top.open_or_make(b"cur")?,
            tmp: top.open_or_make(b"tmp")?,
            keywords: keyword_letters(top, keywords)?,
        })
    }
}

fn add_messages(
    name: &str,
    plan: &FolderPlan<'_>,
    folder: &Folder,
    ledger: &mut Ledger,
    content: &dyn Fn(&Message) -> Result<Bytes, RestoreError>,
    applied: &mut Applied,
) {
    for batch in plan.adds.chunks(BATCH) {
        let mut entries = Vec::new();
        let mut stop = false;
        for add in batch {
            match folder.add(add, content) {
                Ok(added) => {
                    applied.added += 1;
                    applied.bytes += added.bytes;
                    applied.keywords_left_out += added.keywords_left_out;
                    let id = add.message.id.as_str();
                    entries.push(Entry::now(name, &add.name, id, Outcome::Restored));
                }
                Err(error) => {
                    stop = error.is_of_storage();
                    applied.failed.push(error);
                }
            }
            if stop {
                break;
            }
        }
        // Names that are not on the disk yet are nothing that the ledger may promise.
        let noted = folder
            .cur
            .sync()
            .and_then(|()| folder.tmp.sync())
            .and_then(|()| ledger.append(entries));
        if let Err(error) = noted {
            applied.failed.push(error);
            stop = true;
        }
        if stop {
            return;
        }
    }
}

/// A message that was added.
struct Added {
    bytes: u64,
    keywords_left_out: u64,
}

impl Folder {
    /// Writes one message in `tmp` and moves it to its place.
    fn add(
        &self,
        add: &Add<'_>,
        content: &dyn Fn(&Message) -> Result<Bytes, RestoreError>,
    ) -> Result<Added, RestoreError> {
        let bytes = content(add.message)?;
        let mut file = format!("{}:2,{}", add.name, add.message.flags.letters());
        let mut keywords_left_out = 0;
        for keyword in &add.message.keywords {
            match self.keywords.letter(keyword) {
                Some(letter) => file.push(letter),
                None => keywords_left_out += 1,
            }
        }
        let temporary = add.name.as_bytes();
        self.tmp
            .write(temporary, &bytes, Some(add.message.delivered))?;
        if let Err(error) = self.tmp.move_new(temporary, &self.cur, file.as_bytes()) {
            self.tmp.remove_own(temporary)?;
            return Err(error);
        }
        Ok(Added {
            bytes: bytes.len() as u64,
            keywords_left_out,
        })
    }
}

/// The letters of the folder's keywords: those its file names, or a new file with `wanted`.
///
/// A file that is there belongs to the server and is not changed.
fn keyword_letters(top: &Directory, wanted: &[String]) -> Result<Keywords, RestoreError> {
    const FILE: &[u8] = b"dovecot-keywords";
    if let Some(text) = top.read(FILE)? {
        return Ok(Keywords::parse(&text));
    }
    let text: String = wanted
        .iter()
        .enumerate()
        .map(|(number, name)| format!("{number} {name}\n"))
        .collect();
    if !text.is_empty() && !top.write_new(FILE, text.as_bytes())? {
        // The server wrote its own meanwhile, whose letters hold.
        return Ok(Keywords::parse(&top.read(FILE)?.unwrap_or_default()));
    }
    Ok(Keywords::parse(text.as_bytes()))
}

#[cfg(test)]
mod tests {
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
            let Target::Maildir(target) = Target::parse(&text).unwrap();
            fs::create_dir(dir.path().join("mail")).unwrap();
            let place = Place::Account(mail::Address::parse("ada@lindenhof.example").unwrap());
            Self { dir, target, place }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.target.path_of(&self.place).join(name)
        }

        fn ledger(&self) -> Ledger {
            let ledgers = self.dir.path().join("ledger");
            Ledger::open(&ledgers, &self.target, &self.place).unwrap()
        }

        /// Messages with one byte each, which is their content.
        fn messages(names: &[(&str, &str)]) -> Vec<Message> {
            names
                .iter()
                .map(|(content, folder)| message(content.as_bytes(), folder))
                .collect()
        }

        fn run(&self, messages: &[Message]) -> Applied {
            let live = Live::read(&self.path(""), &HashSet::new()).unwrap();
            let mut ledger = self.ledger();
            let plan = plan::plan(&self.place, messages, &live, &ledger);
            let path = self.target.path_of(&self.place);
            apply(&plan, &self.place, &path, &mut ledger, &|message| {
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
}
