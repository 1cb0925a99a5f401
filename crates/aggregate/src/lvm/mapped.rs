//! Statements of the volumes that lie in chunks on others: snapshots and thin volumes.

use evidence::Cause;

use super::model::{LogicalVolume, SegmentKind};
use super::volumes::Maker;
use super::{Store, ThinDevice};
use crate::document::{self, Area, SegmentMap, Volume};

impl Maker<'_> {
    /// A snapshot as a volume: saved chunks over the origin.
    pub(super) fn snapshot(
        &mut self,
        lv: &LogicalVolume,
        origin: &str,
        store: &str,
        merging: bool,
    ) {
        let extents = lv.segments.iter().map(|segment| segment.extent_count);
        let bytes = self.group.bytes(extents.fold(0, u64::saturating_add));
        let whole = |device| Area {
            device: Some(device),
            offset: 0,
        };
        let mut volume = Volume {
            device: self.group.device(store),
            bytes,
            hidden: false,
            snapshot_of: Some(self.group.device(origin)),
            segments: vec![document::Segment {
                start: 0,
                bytes,
                map: SegmentMap::Snapshot {
                    origin: whole(self.group.device(origin)),
                    store: whole(self.group.store(store)),
                },
            }],
            ..self.empty(lv)
        };
        let stores = self.group.text.logical_volume(store);
        volume.uuid = stores.map(|store| store.id.to_string());
        let read = self.open_linear(store).map(|device| Store::read(&device));
        let wrong = match read {
            Some(None) => Some("its store has no sound header"),
            Some(Some(read)) => read.incomplete,
            None => None,
        };
        if let Some(why) = wrong {
            volume.evidence.push(why.to_owned());
            let what = format!("a part of the snapshot {}", volume.device);
            self.lose(what, Cause::Corrupt(why.to_owned()));
        }
        if merging {
            let note = "it was being merged into its origin, which by itself is a mixture of both";
            volume.evidence.push(note.to_owned());
        }
        self.made.volumes.push(volume);
    }

    /// A thin volume: chunks of its pool.
    pub(super) fn thin(
        &mut self,
        lv: &LogicalVolume,
        pool: &str,
        device_id: u64,
        origin: Option<&str>,
    ) -> SegmentMap {
        let pools = self.group.text.logical_volume(pool).into_iter();
        let parts = pools
            .flat_map(|pool| &pool.segments)
            .find_map(|segment| match &segment.kind {
                SegmentKind::ThinPool { metadata, data } => Some((metadata, data)),
                _ => None,
            });
        let Some((metadata, data)) = parts else {
            return self.unsupported(lv, "thin", "its pool is no thin pool");
        };
        let read = self.open_linear(metadata);
        let wrong = match read.map(|device| ThinDevice::read(&device, device_id)) {
            Some(Err(why)) => Some(why),
            Some(Ok(read)) if read.has_losses => Some("blocks of the pool's metadata are broken"),
            _ => None,
        };
        if let Some(why) = wrong {
            let what = format!("a part of the thin volume {}", self.group.device(&lv.name));
            self.lose(what, Cause::Corrupt(why.to_owned()));
        }
        let whole = |name: &str| Area {
            device: Some(self.group.device(name)),
            offset: 0,
        };
        SegmentMap::Thin {
            metadata: whole(metadata),
            data: whole(data),
            device_id,
            origin: origin.map(whole),
        }
    }
}
