//! Members that dropped out while their group was written on.

use super::*;

/// Text of lines of one length, as an attachment has them.
fn text(bytes: usize) -> Vec<u8> {
    let letters = noise(3, bytes).into_iter().enumerate();
    let letters = letters.map(|(at, byte)| match at % 77 {
        76 => b'\n',
        _ => b'a' + byte % 26,
    });
    letters.collect()
}

/// With one more missing no relation is left in the rows that were written since.
#[test]
fn a_member_that_lags_behind_is_known_by_what_the_others_make_of_it() {
    let mut content = CONTENT.clone();
    let from = content.len() / 2;
    content[from..from + (10 << 20)].copy_from_slice(&text(10 << 20));
    let mut disks = lay_out(&content, "6-ls", 6, 64 << 10, 1 << 20);
    let before = lay_out(&CONTENT, "6-ls", 6, 64 << 10, 1 << 20);
    disks[4].clone_from(&before[4]);
    let disks = shuffled(disks, &[1], "disk");
    let aggregate = discover(&disks, &|_, _| None);
    let found = found(&aggregate, &disks, &content);
    assert!(found, "{:#?}", aggregate.losses);
    let members = &aggregate.groups[0].members;
    let left_out = members.iter().filter(|member| member.left_out.is_some());
    let left_out: Vec<&DeviceName> = left_out.flat_map(|member| &member.device).collect();
    // The fifth of six, by the names that `shuffled` gives.
    assert_eq!(left_out, [&DeviceName::disk("disk-0")]);
}

/// A disk of its own that lies beside a group that lacks a member is not that one, however old.
#[test]
fn a_stranger_is_no_member_that_lags_behind() {
    let disks = lay_out(&CONTENT, "5-ls", 4, 64 << 10, 1 << 20);
    let mut stranger = vec![0; disks[0].len()];
    stranger[9 << 20..10 << 20].copy_from_slice(&text(1 << 20));
    let mut disks = shuffled(disks, &[1], "disk");
    disks.push(disk("stranger", stranger));
    let aggregate = discover(&disks, &|_, _| None);
    let members = aggregate.groups.iter().flat_map(|group| &group.members);
    let devices: Vec<&DeviceName> = members.flat_map(|member| &member.device).collect();
    let stranger = DeviceName::disk("stranger");
    assert!(!devices.contains(&&stranger), "{:#?}", aggregate.groups);
}
