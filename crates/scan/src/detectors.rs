//! All detectors together, so that a window is gone through once for all of them.
//!
//! Bytes that may stand anywhere are looked for by one vectorised searcher (Teddy of the
//! `aho-corasick` crate, where the processor has it). Structures are aligned: of each sector the
//! first twelve bits at each distance that any magic has are looked up in a bitmap of 512 bytes,
//! which stays in the innermost cache, so the cost does not depend on how many there are.

use std::num::NonZeroU64;

use aho_corasick::packed::{self, Searcher};
use aho_corasick::{AhoCorasick, BuildError, Input, MatchKind, Span};
use evidence::Gaps;

use crate::class::names_after_other;
use crate::window::Window;
use crate::{Detector, Family, Find, Place, Trigger};

/// Every structure begins at a multiple of this many bytes.
pub const SECTOR_ALIGN: NonZeroU64 = match NonZeroU64::new(evidence::SECTOR_BYTES) {
    Some(bytes) => bytes,
    None => NonZeroU64::MIN,
};

/// Detectors, ready to go through windows.
pub struct Detectors {
    all: Vec<Box<dyn Detector>>,
    needles: Option<Needles>,
    magics: Vec<MagicsAt>,
    /// Who looks at every multiple of what.
    every: Vec<(NonZeroU64, usize)>,
    /// Who looks at names behind other bytes.
    names: Vec<usize>,
    reach: usize,
}

/// What is looked for at every byte.
struct Needles {
    /// Teddy, which compares several bytes of all needles at once. What the automaton would choose
    /// looks for single bytes first, and base64 and small numbers are full of them.
    vectors: Option<Searcher>,
    /// For processors without such vectors.
    automaton: AhoCorasick,
    /// The needles, and who looks where they are.
    list: Vec<(&'static [u8], usize)>,
}

/// The magics that stand at one distance from the beginning of their structures.
struct MagicsAt {
    at: usize,
    /// Which first twelve bits occur.
    begins: Box<[u64; 64]>,
    list: Vec<Magic>,
}

struct Magic {
    bytes: &'static [u8],
    align: NonZeroU64,
    detector: usize,
}

/// What was found in a window, and which of its blocks are metadata.
#[derive(Default)]
pub(crate) struct Findings {
    pub(crate) finds: Vec<Find>,
    /// From where on, how many bytes, whose.
    pub(crate) metadata: Vec<(u64, u64, Family)>,
}

impl Detectors {
    /// Makes `all` ready.
    ///
    /// # Errors
    ///
    /// Needles that the searcher cannot take: there are far too many.
    pub fn new(all: Vec<Box<dyn Detector>>) -> Result<Self, BuildError> {
        let reach = all.iter().map(|one| one.reach()).max().unwrap_or(0);
        let mut detectors = Self {
            all: Vec::new(),
            needles: None,
            magics: Vec::new(),
            every: Vec::new(),
            names: Vec::new(),
            reach,
        };
        let mut needles: Vec<(&'static [u8], usize)> = Vec::new();
        for (number, one) in all.iter().enumerate() {
            for trigger in one.triggers() {
                match trigger {
                    Trigger::Aligned { align, at, magic } => {
                        detectors.reach = detectors.reach.max(at.saturating_add(magic.len()));
                        detectors.add_magic(at, Magic::new(magic, align, number));
                    }
                    Trigger::Every { align } => detectors.every.push((align, number)),
                    Trigger::Needle(bytes) => {
                        detectors.reach = detectors.reach.max(bytes.len());
                        needles.push((bytes, number));
                    }
                    Trigger::NameAfterOther => detectors.names.push(number),
                }
            }
        }
        detectors.all = all;
        if !needles.is_empty() {
            let bytes = || needles.iter().map(|(bytes, _)| bytes);
            let vectors = packed::Config::new().builder().extend(bytes()).build();
            let automaton = AhoCorasick::builder()
                .match_kind(MatchKind::LeftmostFirst)
                .build(bytes())?;
            detectors.needles = Some(Needles {
                vectors,
                automaton,
                list: needles,
            });
        }
        Ok(detectors)
    }

    /// No detectors: units are hashed and classified only.
    pub const fn none() -> Self {
        Self {
            all: Vec::new(),
            needles: None,
            magics: Vec::new(),
            every: Vec::new(),
            names: Vec::new(),
            reach: 0,
        }
    }

    /// How many bytes after a window must be seen to judge what begins in it.
    pub(crate) const fn reach(&self) -> usize {
        self.reach
    }

    /// Whether anybody asked for names behind other bytes.
    pub(crate) const fn want_names(&self) -> bool {
        !self.names.is_empty()
    }

    fn add_magic(&mut self, at: usize, magic: Magic) {
        let index = match self.magics.iter().position(|group| group.at == at) {
            Some(index) => index,
            None => {
                self.magics.push(MagicsAt {
                    at,
                    begins: Box::new([0; 64]),
                    list: Vec::new(),
                });
                self.magics.len().saturating_sub(1)
            }
        };
        if let (Some(group), [first, second, ..]) = (self.magics.get_mut(index), magic.bytes) {
            let bits = u16::from_le_bytes([*first, *second]) & 0xFFF;
            if let Some(word) = group.begins.get_mut(usize::from(bits >> 6)) {
                *word |= 1 << (bits & 63);
            }
            group.list.push(magic);
        }
    }

    /// Looks at the places of `window` that are multiples of sectors.
    pub(crate) fn at_sectors(&self, window: &Window, findings: &mut Findings) {
        let sector = evidence::SECTOR_BYTES;
        let start = window.start.get();
        let first = start.next_multiple_of(sector).saturating_sub(start);
        let first = usize::try_from(first).unwrap_or(usize::MAX);
        for begin in (first..window.own).step_by(sector as usize) {
            let offset = start.saturating_add(begin as u64);
            for group in &self.magics {
                for magic in group.at(&window.bytes, begin, offset) {
                    self.ask(magic.detector, window, begin, findings);
                }
            }
            for (align, detector) in &self.every {
                if offset.is_multiple_of(align.get()) {
                    self.ask(*detector, window, begin, findings);
                }
            }
        }
    }

    /// Looks for the needles that begin in `window`.
    pub(crate) fn at_needles(&self, window: &Window, findings: &mut Findings) {
        let Some(needles) = &self.needles else {
            return;
        };
        let longest = needles.automaton.max_pattern_len();
        let end = window.own.saturating_add(longest).min(window.bytes.len());
        let mut at = 0_usize;
        while at < window.own {
            let hit = match needles.first(&window.bytes, at..end) {
                Some(hit) if hit < window.own => hit,
                _ => return,
            };
            // The searcher names one needle; others may begin there as well, or lie over it.
            let here = window.bytes.get(hit..end).unwrap_or_default();
            for (needle, owner) in &needles.list {
                if here.starts_with(needle) {
                    self.ask(*owner, window, hit, findings);
                }
            }
            at = hit.saturating_add(1);
        }
    }

    /// Looks at names behind other bytes in a part of `window`.
    pub(crate) fn at_names(
        &self,
        window: &Window,
        part: std::ops::Range<usize>,
        findings: &mut Findings,
    ) {
        let mut places = Vec::new();
        let bytes = window.bytes.get(part.start..).unwrap_or_default();
        names_after_other(window.before(part.start), bytes, part.len(), &mut places);
        for place in places {
            let begin = part.start.saturating_add(place);
            // What a gap ends in is no byte of the disk.
            if window.before(begin).is_none() {
                continue;
            }
            for detector in &self.names {
                self.ask(*detector, window, begin, findings);
            }
        }
    }

    fn ask(&self, detector: usize, window: &Window, begin: usize, findings: &mut Findings) {
        let (Some(detector), Some(offset)) = (
            self.all.get(detector),
            window.start.checked_add(begin as u64),
        ) else {
            return;
        };
        let end = begin
            .saturating_add(detector.reach())
            .min(window.bytes.len());
        let bytes = readable(&window.bytes, begin, end, &window.gaps);
        if bytes.is_empty() {
            return;
        }
        let place = Place {
            offset,
            before: window.before(begin),
            bytes,
        };
        if let Some(found) = detector.examine(&place) {
            if let Some(family) = found.family {
                let covers = found.bytes.unwrap_or(1).max(1);
                findings.metadata.push((offset.get(), covers, family));
            }
            findings.finds.push(found.at(offset));
        }
    }
}

/// The bytes from `begin` on that were read without a gap.
fn readable<'a>(bytes: &'a [u8], begin: usize, end: usize, gaps: &Gaps) -> &'a [u8] {
    let gap = gaps.iter().find(|gap| gap.range.end > begin);
    let end = gap.map_or(end, |gap| end.min(gap.range.start.max(begin)));
    bytes.get(begin..end).unwrap_or_default()
}

impl Needles {
    /// Where in `span` of `bytes` the first needle begins.
    fn first(&self, bytes: &[u8], span: std::ops::Range<usize>) -> Option<usize> {
        let hit = match &self.vectors {
            Some(vectors) => vectors.find_in(bytes, Span::from(span)),
            None => self.automaton.find(Input::new(bytes).span(span)),
        };
        hit.map(|hit| hit.start())
    }
}

impl Magic {
    const fn new(bytes: &'static [u8], align: NonZeroU64, detector: usize) -> Self {
        Self {
            bytes,
            align,
            detector,
        }
    }
}

impl MagicsAt {
    /// The magics that stand where a structure that begins at `begin` of `bytes` has them.
    fn at<'a>(
        &'a self,
        bytes: &'a [u8],
        begin: usize,
        offset: u64,
    ) -> impl Iterator<Item = &'a Magic> {
        let rest = bytes
            .get(begin.saturating_add(self.at)..)
            .unwrap_or_default();
        let bits = match rest {
            [first, second, ..] => u16::from_le_bytes([*first, *second]) & 0xFFF,
            _ => 0,
        };
        let word = self.begins.get(usize::from(bits >> 6)).copied();
        let list: &[Magic] = if word.unwrap_or(0) >> (bits & 63) & 1 == 1 {
            &self.list
        } else {
            &[]
        };
        list.iter().filter(move |magic| {
            rest.starts_with(magic.bytes) && offset.is_multiple_of(magic.align.get())
        })
    }
}
