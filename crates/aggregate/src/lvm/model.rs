//! A volume group as its metadata text describes it.
//!
//! Field names in comments are those of the text (`lib/format_text/import_vsn1.c` reads them).

use super::Id;
use super::metadata::is_name_byte;
use super::text::{Section, Value};

/// Sectors of 512 bytes are the unit of sizes in the text.
const SECTOR: u64 = evidence::SECTOR_BYTES;
/// More areas than any segment can have.
const MOST_AREAS: u64 = 4096;

/// A volume group.
#[derive(Clone, Debug, PartialEq)]
pub struct VolumeGroup {
    /// Its name.
    pub name: String,
    /// Its UUID.
    pub id: Id,
    /// `seqno`: which change of the group this text is.
    pub seqno: u64,
    /// `extent_size`, in bytes; not 0.
    pub extent_bytes: u64,
    /// Its physical volumes.
    pub physical_volumes: Vec<PhysicalVolume>,
    /// Its logical volumes, also those that are only parts of others.
    pub logical_volumes: Vec<LogicalVolume>,
    /// `description`: what LVM was about to do.
    pub description: String,
    /// `creation_time` of the text, in seconds since 1970; 0 if it does not say.
    pub created: u64,
}

/// A physical volume of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhysicalVolume {
    /// Its name in the text: `pv0`.
    pub name: String,
    /// Its UUID.
    pub id: Id,
    /// `dev_size` in bytes; 0 if the text does not say.
    pub bytes: u64,
    /// `pe_start`: where its extents begin, in bytes.
    pub pe_start: u64,
    /// `pe_count`: how many extents it has.
    pub pe_count: u64,
    /// `device`: what it was called last.
    pub device_hint: String,
}

/// A logical volume.
#[derive(Clone, Debug, PartialEq)]
pub struct LogicalVolume {
    /// Its name.
    pub name: String,
    /// Its UUID.
    pub id: Id,
    /// `status`.
    pub status: Vec<String>,
    /// Its segments, by their first extent.
    pub segments: Vec<Segment>,
}

impl LogicalVolume {
    /// Whether it is a volume in its own right.
    pub fn is_visible(&self) -> bool {
        self.has_status("VISIBLE")
    }

    /// Whether `status` has `flag`.
    pub fn has_status(&self, flag: &str) -> bool {
        self.status.iter().any(|s| s == flag)
    }
}

/// A segment of a logical volume.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// `start_extent`.
    pub start_extent: u64,
    /// `extent_count`.
    pub extent_count: u64,
    /// `type`, without the flags that may follow it behind a plus sign.
    pub kind_name: String,
    /// What the type says.
    pub kind: SegmentKind,
}

/// The types of segments.
#[derive(Clone, Debug, PartialEq)]
pub enum SegmentKind {
    /// `striped` and `linear`: one area is linear.
    Striped {
        /// `stripe_size` in bytes; 0 where there is one area.
        stripe_bytes: u64,
        /// `stripes`.
        areas: Vec<AreaOf>,
    },
    /// `mirror`.
    Mirror {
        /// `mirrors`.
        areas: Vec<AreaOf>,
        /// `mirror_log`: the volume that says which regions are in sync.
        log: Option<String>,
        /// `extents_moved`: how far a move has come; only moves have it.
        moved: Option<u64>,
    },
    /// `raid0` to `raid10` with their layouts.
    Raid {
        /// `stripe_size` in bytes; 0 for `raid1`.
        stripe_bytes: u64,
        /// `raids` or `raid0_lvs`.
        images: Vec<RaidImage>,
        /// `data_copies`, which only `raid10` has.
        data_copies: u64,
        /// `reshape_count`: extents of each image kept free for a reshape.
        reshape_count: u64,
        /// `data_offset` in bytes: where data begins on each image.
        data_offset: u64,
    },
    /// `snapshot`: ties a store of changed blocks to its origin. It has no bytes of its own.
    Snapshot {
        /// `origin`.
        origin: String,
        /// `cow_store` or `merging_store`.
        store: String,
        /// Whether the store is being merged into its origin.
        merging: bool,
    },
    /// `cache`.
    Cache {
        /// `origin`.
        origin: String,
        /// `cache_pool`.
        pool: String,
        /// `cache_mode`, if this segment states it.
        mode: String,
    },
    /// `cache-pool`.
    CachePool {
        /// `cache_mode`.
        mode: String,
    },
    /// `thin-pool`: chunks that its thin volumes are given when they are written.
    ThinPool {
        /// `metadata`.
        metadata: String,
        /// `pool`: the volume with the data.
        data: String,
    },
    /// `thin`.
    Thin {
        /// `thin_pool`.
        pool: String,
        /// `device_id`.
        device_id: u64,
        /// `origin`: the volume of the same pool that it is a snapshot of.
        origin: Option<String>,
        /// `external_origin`: the volume outside of the pool that it is a snapshot of.
        external_origin: Option<String>,
    },
    /// `zero`.
    Zero,
    /// `error`.
    Error,
    /// Any other: `vdo`, `writecache`, `integrity` …
    Other,
}

/// Where a stripe or mirror copy begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AreaOf {
    /// The name of a physical or a logical volume.
    pub on: String,
    /// The first extent on it.
    pub extent: u64,
}

/// An image of a RAID segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaidImage {
    /// The logical volume with its label; `raid0` has none.
    pub meta: Option<String>,
    /// The logical volume with its data.
    pub data: String,
}

impl VolumeGroup {
    /// The volume group of a parsed text; the error says what cannot be true.
    pub fn from_text(root: &Section) -> Result<Self, String> {
        let (name, vg) = root
            .sections()
            .find(|(_, section)| section.get("seqno").is_some())
            .ok_or("there is no section with a seqno")?;
        let extent_bytes = number(vg, "extent_size")?
            .checked_mul(SECTOR)
            .filter(|bytes| *bytes > 0)
            .ok_or("extent_size cannot be")?;
        let this = Self {
            name: valid_name(name)?,
            id: id(vg)?,
            seqno: number(vg, "seqno")?,
            extent_bytes,
            physical_volumes: each(vg, "physical_volumes", PhysicalVolume::from_text)?,
            logical_volumes: each(vg, "logical_volumes", LogicalVolume::from_text)?,
            description: printable(root.text("description").unwrap_or_default()),
            created: root.number("creation_time").unwrap_or(0),
        };
        this.check_references()?;
        Ok(this)
    }

    /// The physical volume `name`.
    pub fn physical_volume(&self, name: &str) -> Option<&PhysicalVolume> {
        self.physical_volumes.iter().find(|pv| pv.name == name)
    }

    /// The logical volume `name`.
    pub fn logical_volume(&self, name: &str) -> Option<&LogicalVolume> {
        self.logical_volumes.iter().find(|lv| lv.name == name)
    }

    /// Every name that a segment uses must be there: a text put together of two would fail here.
    fn check_references(&self) -> Result<(), String> {
        let pvs: std::collections::BTreeSet<&str> = self
            .physical_volumes
            .iter()
            .map(|pv| pv.name.as_str())
            .collect();
        let lvs: std::collections::BTreeSet<&str> = self
            .logical_volumes
            .iter()
            .map(|lv| lv.name.as_str())
            .collect();
        if pvs.len() != self.physical_volumes.len() || lvs.len() != self.logical_volumes.len() {
            return Err("a name comes twice".to_owned());
        }
        for lv in &self.logical_volumes {
            for segment in &lv.segments {
                for name in segment.kind.uses() {
                    if !pvs.contains(name) && !lvs.contains(name) {
                        return Err(format!(
                            "volume {} uses {name}, which is not there",
                            lv.name
                        ));
                    }
                }
            }
        }
        Ok(())
    }
}

impl PhysicalVolume {
    fn from_text(name: &str, section: &Section) -> Result<Self, String> {
        Ok(Self {
            name: valid_name(name)?,
            id: id(section)?,
            bytes: section
                .number("dev_size")
                .unwrap_or(0)
                .checked_mul(SECTOR)
                .ok_or("dev_size is too large")?,
            pe_start: number(section, "pe_start")?
                .checked_mul(SECTOR)
                .ok_or("pe_start is too large")?,
            pe_count: number(section, "pe_count")?,
            device_hint: printable(section.text("device").unwrap_or_default()),
        })
    }
}

impl LogicalVolume {
    fn from_text(name: &str, section: &Section) -> Result<Self, String> {
        let mut segments = section
            .sections()
            .map(|(_, segment)| Segment::from_text(segment))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|why| format!("logical volume {}: {why}", printable(name)))?;
        segments.sort_by_key(|segment| segment.start_extent);
        if section.number("segment_count") != Some(segments.len() as u64) {
            return Err(format!(
                "{} has not the segments it counts",
                printable(name)
            ));
        }
        let mut end = 0_u64;
        for segment in &segments {
            if segment.start_extent != end {
                return Err(format!(
                    "{} has a gap between its segments",
                    printable(name)
                ));
            }
            end = end
                .checked_add(segment.extent_count)
                .ok_or("a volume of more extents than can be")?;
        }
        Ok(Self {
            name: valid_name(name)?,
            id: id(section)?,
            status: strings(section, "status"),
            segments,
        })
    }
}

impl Segment {
    fn from_text(section: &Section) -> Result<Self, String> {
        let kind_name = section.text("type").unwrap_or("striped");
        let kind_name = kind_name.split('+').next().unwrap_or_default();
        Ok(Self {
            start_extent: number(section, "start_extent")?,
            extent_count: number(section, "extent_count")?,
            kind_name: printable(kind_name),
            kind: SegmentKind::from_text(kind_name, section)?,
        })
    }
}

impl SegmentKind {
    fn from_text(name: &str, section: &Section) -> Result<Self, String> {
        Ok(match name {
            "striped" | "linear" => Self::striped(section)?,
            "mirror" => Self::Mirror {
                areas: areas(section, "mirrors", "mirror_count")?,
                log: section.text("mirror_log").map(str::to_owned),
                moved: section.number("extents_moved"),
            },
            _ if name.starts_with("raid") => Self::raid(section)?,
            "snapshot" => {
                let merging = section.text("merging_store");
                Self::Snapshot {
                    origin: string(section, "origin")?,
                    store: match merging {
                        Some(store) => store.to_owned(),
                        None => string(section, "cow_store")?,
                    },
                    merging: merging.is_some(),
                }
            }
            "cache" => Self::Cache {
                origin: string(section, "origin")?,
                pool: string(section, "cache_pool")?,
                mode: section.text("cache_mode").unwrap_or_default().to_owned(),
            },
            "cache-pool" => Self::CachePool {
                mode: section.text("cache_mode").unwrap_or_default().to_owned(),
            },
            "thin-pool" => Self::ThinPool {
                metadata: string(section, "metadata")?,
                data: string(section, "pool")?,
            },
            "thin" => Self::Thin {
                pool: string(section, "thin_pool")?,
                device_id: number(section, "device_id")?,
                origin: section.text("origin").map(str::to_owned),
                external_origin: section.text("external_origin").map(str::to_owned),
            },
            "zero" => Self::Zero,
            "error" => Self::Error,
            _ => Self::Other,
        })
    }

    fn striped(section: &Section) -> Result<Self, String> {
        let areas = areas(section, "stripes", "stripe_count")?;
        let stripe_bytes = match areas.len() {
            1 => 0,
            _ => number(section, "stripe_size")?
                .checked_mul(SECTOR)
                .filter(|bytes| *bytes > 0)
                .ok_or("stripe_size cannot be")?,
        };
        Ok(Self::Striped {
            stripe_bytes,
            areas,
        })
    }

    fn raid(section: &Section) -> Result<Self, String> {
        let names = match section.get("raid0_lvs") {
            Some(_) => strings(section, "raid0_lvs"),
            None => strings(section, "raids"),
        };
        let mut images = Vec::new();
        let mut names = names.into_iter();
        while let Some(name) = names.next() {
            images.push(if name.contains("_rmeta_") {
                RaidImage {
                    meta: Some(name),
                    data: names.next().ok_or("a RAID label without its image")?,
                }
            } else {
                RaidImage {
                    meta: None,
                    data: name,
                }
            });
        }
        let count = section
            .number("device_count")
            .or_else(|| section.number("stripe_count"));
        if count != Some(images.len() as u64) || images.is_empty() {
            return Err("not the number of RAID images that is stated".to_owned());
        }
        let sectors = |name: &str| {
            let number = section.number(name).unwrap_or(0);
            number.checked_mul(SECTOR).ok_or("too large a number")
        };
        Ok(Self::Raid {
            stripe_bytes: sectors("stripe_size")?,
            images,
            data_copies: section.number("data_copies").unwrap_or(0),
            reshape_count: section.number("reshape_count").unwrap_or(0),
            data_offset: sectors("data_offset")?,
        })
    }

    /// The names of the volumes that a segment of this kind lies on.
    pub fn uses(&self) -> Vec<&str> {
        match self {
            Self::Striped { areas, .. } => areas.iter().map(|a| a.on.as_str()).collect(),
            Self::Mirror { areas, log, .. } => areas
                .iter()
                .map(|a| a.on.as_str())
                .chain(log.as_deref())
                .collect(),
            Self::Raid { images, .. } => images
                .iter()
                .flat_map(|image| {
                    image
                        .meta
                        .as_deref()
                        .into_iter()
                        .chain([image.data.as_str()])
                })
                .collect(),
            Self::Snapshot { origin, store, .. } => vec![origin, store],
            Self::Cache { origin, pool, .. } => vec![origin, pool],
            Self::ThinPool { metadata, data } => vec![metadata, data],
            Self::Thin {
                pool,
                origin,
                external_origin,
                ..
            } => [Some(pool), origin.as_ref(), external_origin.as_ref()]
                .into_iter()
                .flatten()
                .map(String::as_str)
                .collect(),
            Self::CachePool { .. } | Self::Zero | Self::Error | Self::Other => Vec::new(),
        }
    }
}

/// The subsections of the section `name`, each read with `read`; a missing section has none.
fn each<T>(
    section: &Section,
    name: &str,
    read: impl Fn(&str, &Section) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    section.section(name).map_or(Ok(Vec::new()), |all| {
        all.sections().map(|(key, one)| read(key, one)).collect()
    })
}

/// The areas of an array of names and extents in turns, which must be as many as `count` says.
fn areas(section: &Section, name: &str, count: &str) -> Result<Vec<AreaOf>, String> {
    let list = section.list(name).unwrap_or_default();
    let areas = list
        .chunks(2)
        .map(|pair| match pair {
            [Value::Text(on), Value::Integer(extent)] => Ok(AreaOf {
                on: on.clone(),
                extent: u64::try_from(*extent).map_err(|_| format!("{name}: below zero"))?,
            }),
            _ => Err(format!("{name} is not names and extents in turns")),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let stated = number(section, count)?;
    if areas.is_empty() || stated != areas.len() as u64 || stated > MOST_AREAS {
        return Err(format!("{name} are not as many as {count} says"));
    }
    Ok(areas)
}

fn number(section: &Section, name: &str) -> Result<u64, String> {
    section
        .number(name)
        .ok_or_else(|| format!("{name} is missing"))
}

fn string(section: &Section, name: &str) -> Result<String, String> {
    section
        .text(name)
        .map(str::to_owned)
        .ok_or_else(|| format!("{name} is missing"))
}

fn strings(section: &Section, name: &str) -> Vec<String> {
    let list = section.list(name).unwrap_or_default().iter();
    list.filter_map(|value| match value {
        Value::Text(text) => Some(text.clone()),
        _ => None,
    })
    .collect()
}

fn id(section: &Section) -> Result<Id, String> {
    section
        .text("id")
        .and_then(Id::parse)
        .ok_or_else(|| "an id is missing or no UUID".to_owned())
}

/// `name` if LVM allows it: device names are made of it, and reports show it.
fn valid_name(name: &str) -> Result<String, String> {
    let valid = !name.is_empty()
        && name.len() < 128
        && !matches!(name, "." | "..")
        && name.bytes().all(is_name_byte);
    valid
        .then(|| name.to_owned())
        .ok_or_else(|| format!("{} is no name", printable(name)))
}

/// `text` without what could speak to a terminal, and not longer than a line or two.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        vg { id = "Gu4eWQ-0DE4-e878-culN-1Zsk-gnft-mkbrkc" seqno = 4 extent_size = 128
          physical_volumes {
            pv0 { id = "65pK9c-FCL9-23L9-uSvz-VP97-dlYd-6myzeU" dev_size = 8192 pe_start = 2048 pe_count = 40 }
          }
          logical_volumes {
            two { id = "MeddO2-6MDB-9fUv-YgfF-o4c3-Er68-EeckRv" status = ["READ", "VISIBLE"] segment_count = 2
              segment1 { start_extent = 3 extent_count = 2 type = "striped" stripe_count = 1 stripes = ["pv0", 9] }
              segment2 { start_extent = 0 extent_count = 3 type = "striped" stripe_count = 1 stripes = ["pv0", 0] }
            }
          } }
        description = "Created *after* \x1b[31mred" creation_time = 17"#;

    fn parse(text: &str) -> Result<VolumeGroup, String> {
        VolumeGroup::from_text(&Section::parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn segments_are_ordered_and_sizes_are_bytes() {
        let vg = parse(TEXT).unwrap();
        assert_eq!((vg.seqno, vg.extent_bytes, vg.created), (4, 65536, 17));
        assert_eq!(vg.physical_volumes[0].pe_start, 1 << 20);
        let lv = vg.logical_volume("two").unwrap();
        assert!(lv.is_visible());
        let starts: Vec<u64> = lv.segments.iter().map(|s| s.start_extent).collect();
        assert_eq!(starts, [0, 3]);
    }

    #[test]
    fn texts_that_contradict_themselves_are_refused() {
        for (from, to, what) in [
            ("start_extent = 3", "start_extent = 4", "gap"),
            ("\"pv0\", 9", "\"pv1\", 9", "not there"),
            ("segment_count = 2", "segment_count = 3", "counts"),
            ("stripe_count = 1", "stripe_count = 2", "stripe_count"),
            ("extent_size = 128", "extent_size = 0", "extent_size"),
            ("two {", "\"../two\" {", "no name"),
            ("extent_count = 2", "extent_count = 9223372036854775807", ""),
        ] {
            let result = parse(&TEXT.replacen(from, to, 1));
            if what.is_empty() {
                continue;
            }
            let error = result.unwrap_err();
            assert!(error.contains(what), "{error}");
        }
    }
}
