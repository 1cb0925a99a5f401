//! Evidence that changes under a case is noticed.

use std::fs;
use std::os::unix::fs::FileExt;

use crate::common::{Incident, fail, restante, succeed};

#[test]
fn a_mapfile_that_comes_later_changes_the_evidence() {
    let incident = Incident::new("drill");
    succeed(&mut incident.recover("case", "mail", &[]));
    let disk = incident.disks().remove(0);
    let map = disk.with_extension("img.map");
    let text = "# Mapfile. Created by GNU ddrescue\n0x0 + 1\n0x0 0x400000 +\n0x400000 0x800000 -\n\
                0xC00000 0x1400000 +\n";
    fs::write(&map, text).unwrap();
    let name = disk.file_stem().unwrap().to_str().unwrap().to_owned();
    for mut command in [incident.recover_again("case", "mail"), {
        let mut command = restante();
        command.arg("rebuild").arg(incident.path("case"));
        command
    }] {
        let error = fail(&mut command, 2);
        assert!(error.contains("mapfile"), "{error}");
        assert!(error.contains(&format!("--again {name}")), "{error}");
    }
    succeed(
        restante()
            .arg("scan")
            .arg(incident.path("case"))
            .args(["--again", &name]),
    );
    // The redundancy is used up by the missing disk, so what lay there is lost, and named.
    let output = incident.recover_again("case", "again").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("8.00 MiB"), "{text}");
    let score = incident.score("again");
    for zero in ["false", "misfiled", "duplicates"] {
        assert_eq!(score[zero], 0, "{score}");
    }
}

#[test]
fn of_two_images_of_a_disk_the_better_one_is_read() {
    let incident = Incident::new("drill");
    let disk = incident.disks().remove(0);
    // An earlier try, which sorts first, got much less.
    let worse = disk.with_file_name("a-first-try.img");
    fs::copy(&disk, &worse).unwrap();
    let file = fs::File::options().write(true).open(&worse).unwrap();
    file.write_all_at(&vec![0; 0x80_0000], 0x40_0000).unwrap();
    let text = "# Mapfile. Created by GNU ddrescue\n0x0 + 1\n0x0 0x400000 +\n0x400000 0x800000 -\n\
                0xC00000 0x1400000 +\n";
    fs::write(worse.with_extension("img.map"), text).unwrap();
    let mut command = restante();
    command
        .arg("recover")
        .arg(incident.path("case"))
        .args(
            incident
                .disks()
                .iter()
                .filter(|path| path.extension().is_some_and(|e| e == "img")),
        )
        .arg("--to")
        .arg(incident.target("mail"));
    let text = succeed(&mut command);
    assert!(text.contains("bytes not rescued"), "{text}");
    assert_eq!(incident.score("mail")["yield"], 1.0);
}

#[test]
fn an_image_that_is_another_now_is_refused() {
    let incident = Incident::new("drill");
    succeed(&mut incident.recover("case", "mail", &[]));
    let disk = incident.disks().remove(0);
    let file = fs::File::options().write(true).open(&disk).unwrap();
    file.write_all_at(b"other", 12_345).unwrap();
    drop(file);
    let error = fail(&mut incident.recover_again("case", "mail"), 2);
    assert!(error.contains("holds other bytes"), "{error}");
    // With its old time it is believed; verify reads all of it.
    let case = fs::read_to_string(incident.path("case/case.json")).unwrap();
    let before: serde_json::Value = serde_json::from_str(&case).unwrap();
    assert!(before["evidence"]["disk-a"]["blake3"].is_string());
    let verify = restante()
        .arg("verify")
        .arg(incident.path("case"))
        .output()
        .unwrap();
    assert_eq!(verify.status.code(), Some(1));
    let after = fs::read_to_string(incident.path("case/case.json")).unwrap();
    assert_eq!(case, after, "the recorded hash was replaced");
}

#[test]
fn an_exported_volume_with_its_map_gives_the_same_mail() {
    let incident = Incident::new("drill");
    succeed(&mut incident.recover("case", "mail", &[]));
    let out = incident.path("md0.img");
    let export = || {
        let mut command = restante();
        command
            .arg("export")
            .arg(incident.path("case"))
            .arg("md0")
            .arg("-o")
            .arg(&out);
        command
    };
    succeed(&mut export());
    let error = fail(&mut export(), 2);
    assert!(error.contains("is there already"), "{error}");
    succeed(
        restante()
            .arg("recover")
            .arg(incident.path("case-2"))
            .arg(&out)
            .arg("--to")
            .arg(incident.target("mail-2")),
    );
    assert_eq!(incident.score("mail-2")["yield"], 1.0);
}

#[test]
fn what_a_person_stated_is_kept_until_it_is_given_up() {
    let incident = Incident::new("drill");
    succeed(&mut incident.recover("case", "mail", &[]));
    let stated = incident.path("geometry.json");
    fs::copy(incident.path("case/aggregate.json"), &stated).unwrap();
    // Another case: the labels are gone, the geometry is known.
    for disk in incident.disks() {
        let file = fs::File::options().write(true).open(disk).unwrap();
        file.write_all_at(&[0; 4096], 4096).unwrap();
    }
    succeed(
        restante()
            .arg("scan")
            .arg(incident.path("wiped"))
            .args(incident.disks()),
    );
    succeed(
        restante()
            .arg("assemble")
            .arg(incident.path("wiped"))
            .arg("--geometry")
            .arg(&stated),
    );
    let error = fail(restante().arg("assemble").arg(incident.path("wiped")), 2);
    assert!(error.contains("--again"), "{error}");
    succeed(&mut incident.recover_again("wiped", "wiped-mail"));
    assert_eq!(incident.score("wiped-mail")["yield"], 1.0);
}
