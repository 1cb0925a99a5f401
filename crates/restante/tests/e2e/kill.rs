//! A run that is killed goes on where it was.

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
    succeed(
        crate::common::restante()
            .arg("verify")
            .arg(incident.path("case"))
            .arg("--to")
            .arg(incident.target("mail")),
    );
}
