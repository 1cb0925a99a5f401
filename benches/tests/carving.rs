//! The volumes that judge carving, and the judge: the truth must be what lies on the image, the
//! mail what others read as mail, and what is false must be called so.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by failing"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use benches::carving::canvas::Extent;
use benches::carving::restante::Restante;
use benches::carving::scene::{self, Fate, Scene};
use benches::carving::score::{Verdict, score};
use benches::carving::tree::{self, Handed};
use benches::carving::{awkward, grid, volume};
use mail_parser::MessageParser;

/// The grid, and the awkward volume as the last; made once for all tests.
static SCENES: LazyLock<Vec<Scene>> = LazyLock::new(|| {
    let mut scenes = grid::scenes(1, 2, 0, &|_| true);
    scenes.push(awkward::scene(1, 4096, 4, 512, &|_| true));
    scenes
});

fn awkward() -> &'static Scene {
    SCENES.last().unwrap()
}

#[test]
fn every_message_lies_where_the_truth_says() {
    for scene in SCENES.iter() {
        for message in &scene.messages {
            let mut stored = scene.stored(message);
            match message.fate {
                Fate::Whole => {}
                Fate::HeadLost(bytes) => {
                    assert_ne!(stored[..bytes], message.message.bytes[..bytes]);
                    stored[..bytes].copy_from_slice(&message.message.bytes[..bytes]);
                }
                Fate::HeaderBit(flip) | Fate::BodyBit(flip) => stored[flip.at] ^= 1 << flip.bit,
            }
            assert_eq!(stored, message.message.bytes, "{}", message.cell);
        }
    }
}

#[test]
fn no_two_files_share_a_byte() {
    for scene in SCENES.iter() {
        let intact = scene
            .messages
            .iter()
            .filter(|message| message.fate.survives());
        let files = intact
            .flat_map(|message| message.extents.clone())
            .chain(scene.decoys.iter().map(|decoy| decoy.extent));
        let mut places: Vec<_> = files.map(|file| (file.at, file.at + file.length)).collect();
        places.sort_unstable();
        assert!(places.windows(2).all(|pair| pair[0].1 <= pair[1].0));
    }
}

#[test]
fn every_cell_has_as_many_messages_as_asked_for_in_as_many_pieces() {
    let (_, grid) = SCENES.split_last().unwrap();
    assert_eq!(grid.len(), 2);
    for scene in grid {
        let block = scene.canvas.block;
        for cell in grid::Cell::all(block) {
            let name = cell.name();
            let messages = scene.messages.iter().filter(|one| one.cell == name);
            let messages: Vec<_> = messages.collect();
            assert_eq!(messages.len(), 2, "{name}");
            for message in messages {
                assert_eq!(message.extents.len(), cell.pieces, "{name}");
                assert!(message.extents.iter().all(|piece| piece.at % block == 0));
                let in_order = message.extents.is_sorted_by_key(|piece| piece.at);
                assert_eq!(in_order, cell.in_order, "{name}");
            }
        }
    }
}

#[test]
fn a_mail_parser_finds_the_parts_and_no_message_twice() {
    let mut seen = BTreeSet::new();
    for scene in SCENES.iter() {
        for message in &scene.messages {
            let bytes = &message.message.bytes;
            assert!(seen.insert(blake3::hash(bytes).to_hex()));
            let parsed = MessageParser::default().parse(bytes).unwrap();
            assert!(parsed.from().is_some() && parsed.date().is_some());
            assert!(parsed.message_id().is_some());
            let body = parsed.parts[0].raw_body_offset() as usize;
            assert_eq!(body, message.message.body, "{}", message.cell);
            let parts = parsed.parts.len();
            match message.message.kind.name() {
                "mixed" | "nested" | "forward" => assert!(parts > 2),
                "alternative" => assert_eq!(parts, 3),
                _ => assert_eq!(parts, 1),
            }
        }
    }
}

#[test]
fn pieces_lie_far_apart_too() {
    let scene = volume::scene(1, 24);
    let far = |ending: &str| {
        let all = scene.messages.iter();
        all.filter(|one| one.cell.ends_with(ending)).count()
    };
    assert!(far("-far") > 0 && far("-shuffled") > 0);
    for message in &scene.messages {
        let bytes = scene.stored(message);
        assert!(bytes == message.message.bytes, "{}", message.cell);
        let pieces = message.extents.windows(2);
        let joined = |pair: &&[Extent]| pair[0].at + pair[0].length == pair[1].at;
        assert_eq!(pieces.filter(joined).count(), 0, "{}", message.cell);
    }
}

#[test]
fn the_blocks_of_a_volume_begin_at_its_phase() {
    let scene = awkward();
    let plain = scene.messages.iter().filter(|one| one.cell == "plain");
    assert!(plain.clone().count() == 4);
    assert!(
        plain
            .flat_map(|one| &one.extents)
            .all(|piece| piece.at % 4096 == 512)
    );
    let sector = scene.messages.iter().filter(|one| one.cell == "sector");
    assert!(
        sector
            .flat_map(|one| &one.extents)
            .all(|piece| { piece.at % 512 == 0 && piece.at % 4096 != 512 })
    );
    for edge in scene
        .messages
        .iter()
        .filter(|one| one.cell.starts_with("edge"))
    {
        assert_eq!(edge.message.bytes.len() % 4096, 0);
    }
}

#[test]
fn what_is_written_holds_what_the_truth_says_by_code_of_others() {
    let folder = tempfile::tempdir().unwrap();
    scene::write(1, &SCENES, folder.path()).unwrap();
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../scripts/check_carving_truth.py"
    );
    let mut python = Command::new("python3");
    let checked = python.arg(script).arg(folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{said}");
    let counts = String::from_utf8_lossy(&checked.stdout);
    assert!(
        ["broken", "none", "start", "whole"]
            .iter()
            .all(|name| counts.contains(name))
    );
}

fn handed(bytes: &[u8]) -> Handed {
    Handed {
        account: None,
        damaged: false,
        path: String::new(),
        bytes: bytes.to_vec(),
    }
}

#[test]
fn what_is_not_a_message_is_false() {
    let scene = awkward();
    let judge = benches::carving::score::Judge::new(scene);
    let number = scene
        .messages
        .iter()
        .position(|one| one.cell == "plain")
        .unwrap();
    let other = scene
        .messages
        .iter()
        .rposition(|one| one.cell == "plain")
        .unwrap();
    let bytes = &scene.messages[number].message.bytes;
    let length = bytes.len();
    assert_eq!(judge.verdict(bytes), Verdict::Exact(number));
    assert_eq!(
        judge.verdict(&bytes[..length - 1]),
        Verdict::Start(number, length - 1)
    );
    assert_eq!(
        judge.verdict(&[bytes, &b"\0"[..]].concat()),
        Verdict::More(number, 1)
    );
    assert_eq!(judge.verdict(&bytes[1..]), Verdict::Within(number));
    let mut mixed = bytes.clone();
    let tail = &scene.messages[other].message.bytes;
    mixed.truncate(length - 1);
    mixed.extend(&tail[tail.len() - 40..]);
    let verdict = judge.verdict(&mixed);
    assert!(verdict.is_false() && verdict.message() == Some(number));
    let decoy = scene.decoys[3].extent;
    let text = &scene.canvas.bytes[decoy.at..decoy.at + decoy.length];
    assert_eq!(judge.verdict(text), Verdict::Decoy(3));
    assert_eq!(
        judge.verdict(b"not on this image at all, not a line of it"),
        Verdict::Nothing
    );
}

#[test]
fn a_turned_bit_may_stay_in_a_head_and_not_in_a_signed_body() {
    let scene = awkward();
    for (cell, exact, as_is) in [("header-bit", 4, 0), ("body-bit", 0, 4)] {
        let messages = scene.messages.iter().filter(|one| one.cell == cell);
        let files: Vec<Handed> = messages.map(|one| handed(&scene.stored(one))).collect();
        let tally = score(scene, &files).cells[cell];
        assert_eq!(
            (tally.exact, tally.unrepaired, tally.false_claims),
            (exact, as_is, 0)
        );
    }
}

#[test]
fn mail_counts_once_and_in_its_own_account() {
    let scene = awkward();
    let message = scene
        .messages
        .iter()
        .find(|one| one.cell == "plain")
        .unwrap();
    let mut files = vec![handed(&message.message.bytes); 4];
    files[1].account = Some(message.message.account.clone());
    files[2].account = Some("nobody@elsewhere.example".to_owned());
    files[3].damaged = true;
    let tally = score(scene, &files).cells["plain"];
    assert_eq!((tally.surviving, tally.exact, tally.twice), (4, 1, 2));
    assert_eq!((tally.filed, tally.misfiled, tally.damaged), (1, 1, 1));
}

/// A program that is called as restante is, and hands over what lies beside the image.
const STAND_IN: &str = r#"#!/bin/sh
set -e
case $1 in
scan) test -f "$3"; mkdir "$2"; dirname "$3" >"$2/from" ;;
assemble | rebuild | carve) test -f "$2/from"; echo "$1" >>"$2/steps" ;;
sync)
    test "$(cat "$2/steps")" = "assemble
rebuild
carve"
    test "$3" = --to
    cp -r "$(cat "$2/from")/ready" "${4#maildir:}" ;;
*) echo "no command $1" >&2; exit 2 ;;
esac
"#;

fn lay(folder: &Path, name: &str, bytes: &[u8]) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join(name), bytes).unwrap();
}

#[test]
fn the_program_is_run_as_a_person_would_and_its_tree_is_read() {
    use std::os::unix::fs::PermissionsExt;
    let scene = awkward();
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("stand-in");
    fs::write(&program, STAND_IN).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let image = scene.write_image(folder.path()).unwrap();

    let ready = folder.path().join("ready");
    let message = &scene
        .messages
        .iter()
        .find(|one| one.cell == "nul")
        .unwrap()
        .message;
    let (local, domain) = message.account.split_once('@').unwrap();
    let maildir = ready.join(domain).join(local).join("Maildir");
    lay(&maildir.join(".restored_emails/cur"), "1", &message.bytes);
    lay(
        &maildir.join(".restored_emails.Damaged/new"),
        "2",
        &message.bytes[..700],
    );
    lay(&ready.join("_unattributed/new"), "3", &message.bytes[9..]);
    lay(
        &ready.join("_unattributed/.Damaged/cur"),
        "4",
        &message.bytes[9..],
    );
    // What was in the account before is not ours.
    lay(&maildir.join("cur"), "5", b"From: somebody\n\nelse\n");

    let steps = Restante::at(&program)
        .recover(&image, folder.path())
        .unwrap();
    assert_eq!(steps.len(), 5);
    let tally = score(scene, &tree::read(&Restante::tree(folder.path())).unwrap()).cells["nul"];
    assert_eq!((tally.exact, tally.filed), (1, 1));
    assert_eq!((tally.damaged, tally.false_claims), (2, 1));
}

#[test]
fn a_step_that_fails_is_an_error_with_what_it_said() {
    let scene = awkward();
    let folder = tempfile::tempdir().unwrap();
    let image = scene.write_image(folder.path()).unwrap();
    let error = Restante::at("/bin/false").recover(&image, folder.path());
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("restante scan failed")
    );
}
