//! A run that is killed goes on where it was.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread::sleep;
use std::time::Instant;

use crate::common::{Incident, succeed, tree};

#[test]
fn ten_kills_at_random_moments_change_nothing() {
    let incident = Incident::new("drill");
    let begun = Instant::now();
    succeed(&mut incident.recover("undisturbed-case", "undisturbed", &[]));
    let whole = begun.elapsed();
    let wanted = tree(&incident.path("undisturbed"));

    // A fixed seed: the moments are spread over the run, but where exactly they fall the machine
    // decides, so each run of this test tries others.
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut killed = 0;
    for _ in 0..10 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let share = (state >> 40) as f64 / (1_u64 << 24) as f64;
        let mut child = incident
            .recover("case", "mail", &["--threads", "2"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        sleep(whole.mul_f64(share * 0.9));
        child.kill().unwrap();
        let status = child.wait().unwrap();
        killed += usize::from(!status.success());
    }
    assert!(killed > 0, "every run ended before its kill");
    succeed(&mut incident.recover("case", "mail", &[]));
    assert_eq!(wanted, tree(&incident.path("mail")));
    let owners = |name| owners(&incident.path(name));
    assert_eq!(owners("undisturbed"), owners("mail"));
    succeed(
        crate::common::restante()
            .arg("verify")
            .arg(incident.path("case"))
            .arg("--to")
            .arg(incident.target("mail")),
    );
}

/// Owner and group of everything below `root`.
fn owners(root: &Path) -> BTreeMap<PathBuf, (u32, u32)> {
    tree(root)
        .into_keys()
        .map(|name| {
            let metadata = root.join(&name).symlink_metadata().unwrap();
            (name, (metadata.uid(), metadata.gid()))
        })
        .collect()
}

#[test]
fn twenty_kills_while_mail_is_handed_back_change_neither_mail_nor_owners_nor_subscriptions() {
    let incident = Incident::new("drill");
    succeed(&mut incident.recover("case", "elsewhere", &[]));
    let target = |name: &str| {
        let path = incident.path(name);
        fs::create_dir(&path).unwrap();
        chown(&path, Some(1234), Some(1235)).expect("only root may test owners");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o2770)).unwrap();
        path
    };
    let (quiet, killed) = (target("undisturbed"), target("mail"));
    let sync = |name: &str| {
        let mut command = crate::common::restante();
        command
            .arg("sync")
            .arg(incident.path("case"))
            .arg("--to")
            .arg(incident.target(name));
        command
    };
    let begun = Instant::now();
    succeed(&mut sync("undisturbed"));
    let whole = begun.elapsed();
    let (wanted, wanted_owners) = (tree(&quiet), owners(&quiet));
    let subscriptions = wanted.keys().filter(|path| path.ends_with("subscriptions"));
    assert!(subscriptions.count() > 2);
    assert!(wanted_owners.values().all(|owner| *owner == (1234, 1235)));

    let mut ended = 0;
    for round in 1..=20_u32 {
        let mut child = sync("mail")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Later and later: each run goes on where the one before was killed.
        sleep(whole.mul_f64(f64::from(round) / 24.0));
        child.kill().unwrap();
        if child.wait().unwrap().success() {
            // All is there: the next kills need work to fall into.
            ended += 1;
            fs::remove_dir_all(&killed).unwrap();
            fs::remove_dir_all(incident.path("case/ledger")).unwrap();
            target("mail");
        }
    }
    assert!(ended < 20, "every run ended before its kill");
    succeed(&mut sync("mail"));
    assert_eq!(wanted, tree(&killed));
    assert_eq!(wanted_owners, owners(&killed));
}
