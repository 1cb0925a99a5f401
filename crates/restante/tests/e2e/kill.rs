//! A run that is killed goes on where it was.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
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

/// Makes a target that is not root's, whose group new things inherit.
fn target_of_somebody(path: &Path) {
    fs::create_dir(path).unwrap();
    chown(path, Some(1234), Some(1235)).expect("only root may test owners");
    fs::set_permissions(path, fs::Permissions::from_mode(0o2770)).unwrap();
}

/// The calls that make, give away, and name things; a kill falls before one of them is carried out.
const CALLS: [&str; 7] = [
    "mkdirat",
    "fchown",
    "fchmod",
    "renameat2",
    "linkat",
    "renameat",
    "unlinkat",
];

#[test]
fn twenty_kills_while_mail_is_handed_back_change_neither_mail_nor_owners_nor_subscriptions() {
    let incident = Incident::new("drill");
    succeed(&mut incident.recover("case", "elsewhere", &[]));
    let (quiet, mail) = (incident.path("undisturbed"), incident.path("mail"));
    let sync = |command: &mut Command, name: &str| {
        command
            .arg("sync")
            .arg(incident.path("case"))
            .arg("--to")
            .arg(incident.target(name))
            .args(["--threads", "1"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("strace places the kills; scripts/setup.sh installs what tests need")
            .success()
    };
    target_of_somebody(&quiet);
    assert!(sync(&mut crate::common::restante(), "undisturbed"));
    let (wanted, wanted_owners) = (tree(&quiet), owners(&quiet));
    let subscriptions = wanted.keys().filter(|path| path.ends_with("subscriptions"));
    assert!(subscriptions.count() > 2);
    assert!(wanted_owners.values().all(|owner| *owner == (1234, 1235)));

    let mut killed = 0;
    for call in CALLS {
        target_of_somebody(&mail);
        // Each run goes on where the one before it was killed.
        for when in [1, 2, 1, 5] {
            let mut traced = Command::new("strace");
            traced
                .args(["-f", "-qq", "-o", "/dev/null", "-e"])
                .arg(format!("inject={call}:signal=SIGKILL:when={when}"))
                .arg(env!("CARGO_BIN_EXE_restante"));
            killed += usize::from(!sync(&mut traced, "mail"));
        }
        assert!(sync(&mut crate::common::restante(), "mail"));
        assert_eq!(wanted, tree(&mail), "{call}");
        assert_eq!(wanted_owners, owners(&mail), "{call}");
        // The next kills begin anew.
        fs::remove_dir_all(&mail).unwrap();
        fs::remove_dir_all(incident.path("case/ledger")).unwrap();
    }
    assert!(killed >= 20, "only {killed} runs were killed");
}
