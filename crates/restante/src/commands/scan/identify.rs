//! Putting the hashes of units together to those of the evidence.

use anyhow::{Result, anyhow};
use case::{Case, CaseFile, EvidenceRecord};
use evidence::image::Image;
use scan::{RunningSha256, UnitHash, units, whole_hash};

use crate::session::scanned_unit;
use crate::usage::Usage;

/// What the evidence is now known to be.
pub(super) struct Identified {
    /// `case.json` as it is now.
    pub(super) file: CaseFile,
    /// Whether anything in it is new.
    pub(super) changed: bool,
    /// Units that nobody has scanned yet.
    pub(super) left: u64,
}

/// What the units of one disk add up to.
#[derive(Default)]
struct Sum {
    /// The hashes of the units, as long as each had one.
    hashes: Option<Vec<UnitHash>>,
    unread: u64,
    sha256: Option<RunningSha256>,
    left: u64,
}

/// Puts the hashes of the units together and writes them to `case.json`. Who works beside
/// others, `among_others`, may find units that are not scanned yet.
pub(super) fn identify(
    case: &Case,
    mut file: CaseFile,
    disks: &[(String, Image)],
    among_others: bool,
) -> Result<Identified> {
    let (mut changed, mut left) = (false, 0_u64);
    for (name, disk) in disks {
        let Some(record) = file.evidence.get_mut(name) else {
            continue;
        };
        let sum = Sum::of(case, name, disk)?;
        left = left.saturating_add(sum.left);
        if sum.left > 0 {
            if among_others {
                continue;
            }
            return Err(anyhow!("a unit of {name} was not scanned"));
        }
        let before = record.clone();
        sum.note(name, disk, record)?;
        changed |= *record != before;
    }
    if changed {
        case.write_file(&file)?;
    }
    Ok(Identified {
        file,
        changed,
        left,
    })
}

impl Sum {
    fn of(case: &Case, name: &str, disk: &Image) -> Result<Self> {
        let mut sum = Self {
            hashes: Some(Vec::new()),
            ..Self::default()
        };
        for unit in units(disk) {
            let Some(record) = scanned_unit(case, name, unit)? else {
                sum.left = sum.left.saturating_add(1);
                continue;
            };
            sum.hashes = sum.hashes.zip(record.blake3).map(|(mut hashes, hash)| {
                hashes.push(hash);
                hashes
            });
            sum.unread = sum.unread.saturating_add(record.unread);
            sum.sha256 = record.sha256();
        }
        Ok(sum)
    }

    /// Notes in the `record` of `disk` what it is.
    fn note(self, name: &str, disk: &Image, record: &mut EvidenceRecord) -> Result<()> {
        record.unread = self.unread;
        if let Some(state) = self.sha256 {
            record.sha256 = Some(state.finish());
        }
        let Some(hashes) = self.hashes else {
            // Some units were scanned without hashing: what is known of the whole stays.
            return Ok(());
        };
        let hash = whole_hash(disk, &hashes).map(|hash| hash.to_hex().to_string());
        if record.blake3.is_some() && record.blake3 != hash {
            return Err(Usage::error(format!(
                "{} reads otherwise than when it was scanned as {name}: it was changed, or its \
                 medium fails. Put it back, or take it as it is now with `restante scan CASE --again \
                 {name}`",
                record.path.display()
            )));
        }
        record.blake3 = hash;
        Ok(())
    }
}
