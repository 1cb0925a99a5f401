//! What a person should know before trusting what is read.

use super::features::{INCOMPAT_RECOVER, RO_COMPAT_METADATA_CSUM, RO_COMPAT_ORPHAN_PRESENT};
use super::volume::Volume;

/// `s_state`: cleanly unmounted.
const STATE_CLEAN: u16 = 0x1;
/// `s_state`: the kernel found errors.
const STATE_ERRORS: u16 = 0x2;
/// Groups whose descriptors are looked at when the file system is opened: 128 TiB of groups of
/// 128 MiB. What lies beyond is reported when it is met.
const GROUPS_CHECKED: u64 = 1 << 20;

/// The notes on a file system, its journal aside.
pub(super) fn of(volume: &Volume) -> Vec<String> {
    let mut notes = Vec::new();
    let sb = &volume.sb;
    let missing = volume.missing_bytes();
    if missing > 0 {
        notes.push(format!(
            "the volume is {missing} bytes shorter than the file system; what lay there is lost"
        ));
    }
    if sb.state & STATE_ERRORS != 0 || sb.error_count > 0 {
        notes.push(format!(
            "the kernel had marked the file system as damaged ({} errors counted)",
            sb.error_count
        ));
    }
    if sb.journal.is_none()
        && sb.state & STATE_CLEAN == 0
        && !sb.features.incompat(INCOMPAT_RECOVER)
    {
        notes.push(
            "the file system was not cleanly unmounted and has no journal: its newest changes \
             may be incomplete"
                .to_owned(),
        );
    }
    if sb.last_orphan != 0 || sb.features.ro_compat(RO_COMPAT_ORPHAN_PRESENT) {
        notes.push(
            "files were deleted or shortened while they were open, and not yet cleaned up"
                .to_owned(),
        );
    }
    if sb.features.ro_compat(RO_COMPAT_METADATA_CSUM) && sb.seed.is_none() {
        notes.push("the metadata checksums are of an unknown kind and were not checked".to_owned());
    }
    match sb.features.unknown_ro_compat() {
        0 => {}
        bits => notes.push(format!(
            "features are on that are not known here and should not matter to a reader \
             (s_feature_ro_compat {bits:#x})"
        )),
    }
    if sb.groups().saturating_mul(sb.inodes_per_group.get()) != sb.inodes {
        notes.push(format!(
            "the superblock counts {} inodes, which does not fit its {} groups",
            sb.inodes,
            sb.groups()
        ));
    }
    notes.extend(descriptors(volume));
    notes
}

/// How the group descriptors are.
fn descriptors(volume: &Volume) -> Option<String> {
    let groups = volume.sb.groups().min(GROUPS_CHECKED);
    let (mut copied, mut lost) = (0_u64, 0_u64);
    for group in 0..groups {
        match volume.group(group) {
            Ok(found) if found.from_copy => copied = copied.saturating_add(1),
            Ok(_) => {}
            Err(_) => lost = lost.saturating_add(1),
        }
    }
    (copied > 0 || lost > 0).then(|| {
        format!(
            "of {groups} block groups looked at, the descriptors of {copied} are damaged and were \
             taken from copies, and those of {lost} are lost with their inodes"
        )
    })
}
