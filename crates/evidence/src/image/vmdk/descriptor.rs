//! The descriptor: a text that lists the extents.
//!
//! VMware, "Virtual Disk Format 5.0", chapter "The Descriptor".

/// The first line of a descriptor.
pub(super) const FIRST_LINE: &[u8] = b"# Disk DescriptorFile";
/// A descriptor that is longer is none.
pub(super) const MAX_BYTES: u64 = 1 << 20;

/// What kind an extent is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The bytes as they are, from a sector of the file on.
    Flat { first_sector: u64 },
    /// Grains, with tables.
    Sparse,
    /// No file: zeros.
    Zero,
    /// Another kind, by its name.
    Other(String),
}

/// A stretch of the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    /// How long it is.
    pub(super) sectors: u64,
    pub(super) kind: Kind,
    /// The file that holds it; empty without one.
    pub(super) file: String,
}

/// What is used of a descriptor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Descriptor {
    pub(super) create_type: String,
    /// The parent, if the disk has one.
    pub(super) parent: Option<String>,
    pub(super) extents: Vec<Extent>,
}

impl Descriptor {
    /// Reads the text; `None` if it is no descriptor or a line with an extent cannot be read.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        text.starts_with(FIRST_LINE).then_some(())?;
        // An embedded one is filled up with zeros.
        let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
        let text = String::from_utf8_lossy(text);
        let mut descriptor = Self::default();
        let (mut has_parent, mut hint) = (false, String::new());
        for line in text.lines().map(str::trim) {
            if ["RW ", "RDONLY ", "NOACCESS "]
                .iter()
                .any(|word| line.starts_with(word))
            {
                descriptor.extents.push(extent(line)?);
            } else if let Some((key, value)) = line.split_once('=') {
                let value = value.trim().trim_matches('"');
                match key.trim().to_ascii_lowercase().as_str() {
                    "createtype" => descriptor.create_type = value.to_owned(),
                    "parentcid" => has_parent = !value.eq_ignore_ascii_case("ffffffff"),
                    "parentfilenamehint" => hint = value.to_owned(),
                    _ => {}
                }
            }
        }
        descriptor.parent = has_parent.then_some(hint);
        Some(descriptor)
    }
}

/// `ACCESS SECTORS KIND ["FILE" [SECTOR]]`.
fn extent(line: &str) -> Option<Extent> {
    let (front, rest) = line.split_once('"').unwrap_or((line, ""));
    let mut words = front.split_whitespace().skip(1);
    let sectors = words.next()?.parse().ok()?;
    let kind = words.next()?;
    let (file, rest) = rest.rsplit_once('"').unwrap_or_default();
    let first = rest.split_whitespace().next();
    Some(Extent {
        sectors,
        kind: match kind {
            "FLAT" | "VMFS" => Kind::Flat {
                first_sector: first.map_or(Some(0), |first| first.parse().ok())?,
            },
            "SPARSE" => Kind::Sparse,
            "ZERO" => Kind::Zero,
            other => Kind::Other(other.to_owned()),
        },
        file: file.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_and_parents_are_read() {
        let text = b"# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n\
            createType=\"twoGbMaxExtentFlat\"\n\n# Extent description\n\
            RW 4192256 FLAT \"disk one-f001.vmdk\" 0\nRW 8 ZERO\nRW 16 SPARSE \"b.vmdk\"\n\0\0junk";
        let descriptor = Descriptor::parse(text).unwrap();
        assert_eq!(descriptor.create_type, "twoGbMaxExtentFlat");
        assert_eq!(descriptor.parent, None);
        assert_eq!(descriptor.extents[0].file, "disk one-f001.vmdk");
        assert_eq!(descriptor.extents[0].kind, Kind::Flat { first_sector: 0 });
        assert_eq!(descriptor.extents[1].kind, Kind::Zero);
        assert_eq!(descriptor.extents[2].kind, Kind::Sparse);
        let child =
            b"# Disk DescriptorFile\nparentCID=12345678\nparentFileNameHint=\"base.vmdk\"\n";
        assert_eq!(
            Descriptor::parse(child).unwrap().parent.as_deref(),
            Some("base.vmdk")
        );
        assert_eq!(
            Descriptor::parse(b"# Disk DescriptorFile\nRW many FLAT \"x\" 0"),
            None
        );
    }
}
