//! Headers of encrypted volumes, as cryptsetup writes them.

#![allow(
    clippy::unwrap_used,
    clippy::allow_attributes,
    dead_code,
    reason = "a test that cannot make its disk has failed, and the helpers are shared"
)]

mod common;

use std::process::Command;

use crate::common::{called, scan_of};

#[test]
fn both_headers_of_a_container_are_found_with_its_uuid() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("container");
    std::fs::write(&path, vec![0; 18 << 20]).unwrap();
    std::fs::write(place.path().join("key"), "linden").unwrap();
    let cryptsetup = |arguments: &[&str]| {
        let output = Command::new("cryptsetup")
            .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
            .args(arguments)
            .arg("container")
            .current_dir(place.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let format = ["luksFormat", "-q", "--key-file", "key", "--pbkdf", "pbkdf2"];
    cryptsetup(&[&format[..], &["--pbkdf-force-iterations", "1000"]].concat());
    let uuid = cryptsetup(&["luksUUID"]).replace('-', "");
    let mut disk = vec![0; 8192];
    disk.extend(std::fs::read(&path).unwrap());
    let found = scan_of(disk).finds;
    let headers: Vec<_> = called(&found, "luks-header")
        .iter()
        .map(|find| (find.offset.get(), find.number, find.part_of.clone()))
        .collect();
    let expected = [(8192, 0), (8192 + 0x4000, 0x4000)];
    let expected = expected.map(|(at, number)| (at, Some(number), Some(uuid.clone())));
    assert_eq!(headers, expected);
}
