//! What proves a message, and the grade that follows.
//!
//! A grade is never a guess from how the text looks. Metadata first: the file system's extents
//! with all their blocks, the sizes in the file's name, the checksum of its compression.

use evidence::{GapCause, Gaps};
use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};

use crate::codec::Codec;
use crate::header::field;
use crate::store::Known;
use crate::structure::{LEAST_BLOCK, Structure};

/// How far a message is proven. Only `Proven` and `Complete` are handed over as whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// A part of a message without its beginning.
    Fragment,
    /// Known holes or contradictions.
    Damaged,
    /// Its structure closes and nothing contradicts it.
    Complete,
    /// Every byte is accounted for by a proof.
    Proven,
}

impl Grade {
    /// Whether the message may be handed over as whole.
    pub const fn is_whole(self) -> bool {
        matches!(self, Self::Proven | Self::Complete)
    }

    /// The word for it in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fragment => "fragment",
            Self::Damaged => "damaged",
            Self::Complete => "complete",
            Self::Proven => "proven",
        }
    }
}

/// A fact that speaks for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Proof {
    /// The file system maps every byte, all blocks could be read, and the length is the inode's.
    Extents,
    /// The length is the one that the store says: in the file's name, `S=`, or in its record.
    Size,
    /// The length with CR LF line ends is the one that the store says, `W=` in a file's name.
    VirtualSize,
    /// The SHA-1 of its bytes is the one that the store says.
    Sha1,
    /// The checksum of the compressed file holds.
    Checksum,
    /// The body hash in one of its signatures verifies (DKIM, RFC 6376; ARC, RFC 8617).
    BodyHash,
    /// Its header is one, every part of it is ended and decodes, and behind its end the block is
    /// zeros.
    Structure,
}

impl Proof {
    /// In words.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Extents => "its file system maps every byte of it",
            Self::Size => "its length is the one that its store says",
            Self::VirtualSize => "its length with CR LF line ends is the one that its store says",
            Self::Checksum => "the checksum of its compression holds",
            Self::Sha1 => "its digest is the one that its store recorded",
            Self::BodyHash => "the body hash of a signature verifies",
            Self::Structure => "its header, its borders and its end fit, and nothing else would",
        }
    }
}

/// A range of a message that is not its own bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hole {
    /// Where it begins, in bytes of the stored file.
    pub start: u64,
    /// How long it is, in bytes.
    pub bytes: u64,
    /// Why.
    pub why: HoleCause,
}

/// Why a range of a message is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HoleCause {
    /// It could not be read.
    Gap(GapCause),
    /// It was read, and nothing says whether it is what was stored.
    Suspect,
    /// The file system never wrote it: the machine stopped before the mail reached the disk.
    NeverWritten,
    /// The compressed file breaks off or contradicts itself here; nothing after it decodes.
    DoesNotDecode,
    /// The message was deleted, and another file that was deleted since had this block.
    WrittenOver,
    /// A file system that was made over this one has it.
    Replaced,
    /// It reads as zeros, sectors long, which mail does not hold.
    Wiped,
    /// It reads as bytes that look random, sectors long, which mail does not hold.
    Noise,
}

impl HoleCause {
    /// The cause in words that a report can show.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Gap(gap) => gap.describe(),
            Self::Suspect => {
                "the disks of the RAID group contradict each other here: this part may be something else"
            }
            Self::NeverWritten => {
                "this part was never written: the server stopped before it reached the disk, or the file was copied sparse"
            }
            Self::DoesNotDecode => "the compressed file is damaged from here on",
            Self::WrittenOver => {
                "the message was deleted, and this part of the disk was given to another file since"
            }
            Self::Replaced => "a newer file system has this part of the disk now",
            Self::Wiped => "this part reads as nothing but zeros: the disk was wiped here",
            Self::Noise => {
                "this part reads as bytes that no text has: something else was written over the disk here"
            }
        }
    }
}

/// What is known of a message's bytes when it is judged.
pub(crate) struct Facts<'a> {
    /// Holes found so far.
    pub(crate) holes: Vec<Hole>,
    /// How the file was stored.
    pub(crate) codec: Codec,
    /// The message.
    pub(crate) content: &'a [u8],
    /// What its store says of it.
    pub(crate) known: &'a Known,
    /// The structure of a message whose blocks may have been given to others; `None` if they
    /// cannot.
    pub(crate) doubtful: Option<Doubtful>,
}

/// A message whose blocks may hold something else now.
pub(crate) enum Doubtful {
    /// Its file was deleted.
    Deleted(Structure),
    /// A newer file system was made over its own, or a newer array over its own that no label states; or no
    /// directory lists its file any more.
    Replaced(Structure),
}

/// The outcome of judging a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The grade.
    pub grade: Grade,
    /// What speaks for it, strongest first.
    pub proofs: Vec<Proof>,
    /// What speaks against it, in words.
    pub contradictions: Vec<String>,
    /// The holes in it.
    pub holes: Vec<Hole>,
}

/// Judges a message that the file system led to.
///
/// A file whose every byte was read is what was stored, and so proven. It is damaged all the
/// same if what was stored is not the message: shorter than its name says, which a delivery that
/// was cut off leaves behind; or as long as its name says, with another `W=`, which a part that was
/// written over leaves. Longer than the name says means that somebody edited the file after
/// delivery; that is noted and speaks against nothing.
///
/// A message that was deleted has to prove itself: see [`judge_deleted`]; one over whose file
/// system another one was made, or whose file has lost its name, must not contradict itself: see
/// [`judge_replaced`].
pub(crate) fn judge(mut facts: Facts<'_>) -> Verdict {
    let doubtful = facts.doubtful.take();
    let verifies = facts.codec.verifies();
    let verdict = judge_in_use(facts);
    match doubtful {
        Some(Doubtful::Deleted(structure)) => judge_deleted(verdict, structure, verifies),
        Some(Doubtful::Replaced(structure)) => judge_replaced(verdict, structure),
        None => verdict,
    }
}

/// Judges a message over whose file system or array another one was made, or whose file has lost its name.
///
/// What the newer one has of its files is known, and a hole; where it had its own structures, or
/// files that it deleted, is not. So what speaks against the message counts: another `W=` at the
/// same length, no header, an end that does not close. Both lengths speak for all bytes, and so
/// does a checksum.
fn judge_replaced(mut verdict: Verdict, structure: Structure) -> Verdict {
    let has = |proof| verdict.proofs.contains(&proof);
    let checked = has(Proof::Checksum) || has(Proof::Sha1);
    let sizes = has(Proof::Size) && has(Proof::VirtualSize);
    if !checked && verdict.grade.is_whole() {
        if !structure.has_header {
            let why = "it does not begin as a message does: its blocks hold something else now";
            verdict.contradictions.push(why.to_owned());
        } else if !sizes {
            verdict.contradictions.extend(structure.contradictions);
        }
        if !verdict.contradictions.is_empty() {
            verdict.grade = Grade::Damaged;
            verdict.proofs.clear();
        }
    }
    verdict
}

/// Judges a message whose file was deleted.
///
/// Its blocks were free to be given to others. That its map is whole proves nothing, nor does its
/// length, which is the inode's. It is whole only if nothing of it is lost, nothing in it
/// contradicts that it is one message, and either both lengths in its name are right (`W=` counts
/// the lines, so it speaks of the bytes) or its structure had to close and does. A checksum over
/// all bytes proves it; otherwise it is no better than complete.
fn judge_deleted(mut verdict: Verdict, structure: Structure, verifies: bool) -> Verdict {
    verdict.contradictions.extend(structure.contradictions);
    let has = |proof| verdict.proofs.contains(&proof);
    let sizes = has(Proof::Size) && has(Proof::VirtualSize);
    let checked = (verifies && has(Proof::Checksum)) || has(Proof::Sha1);
    if verdict.holes.is_empty() && !(checked || sizes || structure.closes) {
        verdict.contradictions.push(
            "it was deleted, and nothing proves that all of its blocks still hold it".to_owned(),
        );
    }
    verdict.proofs.retain(|proof| *proof != Proof::Extents);
    let sound = verdict.grade.is_whole() && verdict.contradictions.is_empty();
    if sound && structure.closes {
        verdict.proofs.push(Proof::Structure);
    }
    verdict.grade = match (sound, checked) {
        (true, true) => Grade::Proven,
        (true, false) => Grade::Complete,
        (false, _) => Grade::Damaged,
    };
    if !sound {
        verdict.proofs.clear();
    }
    verdict
}

/// Judges a message whose file is in use.
fn judge_in_use(facts: Facts<'_>) -> Verdict {
    let known = facts.known;
    let mut findings = Findings {
        damaged: !facts.holes.is_empty(),
        ..Findings::default()
    };
    if !findings.damaged {
        findings.proofs.push(Proof::Extents);
        if facts.codec.verifies() {
            findings.proofs.push(Proof::Checksum);
        }
    }
    findings.sizes(&facts);
    match known.sha1 {
        Some(sha1) if <[u8; 20]>::from(Sha1::digest(facts.content)) == sha1 => {
            // It speaks for every byte, whatever else is in doubt.
            findings.proofs.push(Proof::Sha1);
            return Verdict {
                grade: Grade::Proven,
                proofs: findings.proofs,
                contradictions: findings.contradictions,
                holes: Vec::new(),
            };
        }
        Some(_) => {
            findings.contradict(true, "its bytes are not those of the SHA-1 in the index");
        }
        None => {}
    }
    findings.damaged |= !known.damage.is_empty() || known.is_fragment;
    findings.contradictions.extend(known.damage.iter().cloned());
    if findings.damaged {
        // Sizes of a message with holes prove nothing.
        findings.proofs.clear();
    }
    Verdict {
        grade: match (known.is_fragment, findings.damaged) {
            (true, _) => Grade::Fragment,
            (false, true) => Grade::Damaged,
            (false, false) => Grade::Proven,
        },
        proofs: findings.proofs,
        contradictions: findings.contradictions,
        holes: facts.holes,
    }
}

/// What was found of a message while it is judged.
#[derive(Default)]
struct Findings {
    proofs: Vec<Proof>,
    contradictions: Vec<String>,
    damaged: bool,
}

impl Findings {
    /// Notes what speaks against the message, and whether it is damage.
    fn contradict(&mut self, is_damage: bool, what: impl Into<String>) {
        self.damaged |= is_damage;
        self.contradictions.push(what.into());
    }

    /// Compares the lengths that the store says with those of the message.
    fn sizes(&mut self, facts: &Facts<'_>) {
        let known = facts.known;
        let (length, lines) = (facts.content.len() as u64, virtual_size(facts.content));
        let recorded = known.is_recorded;
        let said = if recorded { "its store" } else { "its name" };
        match known.size {
            Some(size) if size == length => self.proofs.push(Proof::Size),
            Some(size) => {
                let what = format!("{said} says {size} bytes, it has {length}");
                self.contradict(length < size || recorded, what);
            }
            // Where in its file such a message ends, its store says by its length.
            None if recorded && known.virtual_size.is_some() && facts.codec == Codec::Plain => {
                self.proofs.push(Proof::Size);
            }
            None if facts.codec == Codec::Plain
                && known.virtual_size.is_none()
                && breaks_off(facts.content) =>
            {
                let what = "it breaks off within a line at the end of a block, and no name says how long it is";
                self.contradict(true, what);
            }
            None => {}
        }
        match known.virtual_size {
            Some(size) if size == lines => self.proofs.push(Proof::VirtualSize),
            // The zeros that stand for a hole have no line ends: a difference would mean nothing.
            Some(_) if self.damaged => {}
            Some(size) => {
                let what = format!("{said} says {size} bytes with CR LF line ends, it has {lines}");
                // Who edits a file changes its length.
                let was_edited = known.size.is_none_or(|size| size != length);
                self.contradict(recorded || !was_edited, what);
            }
            None => {}
        }
    }
}

/// Whether a file may be the first blocks of a message, as an inode has it that was put down while the
/// file was written.
fn breaks_off(content: &[u8]) -> bool {
    let ends_a_block = content.len().is_multiple_of(LEAST_BLOCK);
    ends_a_block && content.last().is_some_and(|byte| *byte != b'\n')
}

/// What was written over in a plain message: sectors that hold nothing but zeros, or what looks random.
///
/// What was wiped can be read, and a file system whose disks were wiped still says that it is
/// there. Mail may hold a NUL, but no sectors of them (RFC 5322, section 4); and control characters
/// only where it says that it has a part that is not text.
pub(crate) fn written_over(content: &[u8]) -> Vec<Hole> {
    let has_binary = declares_binary(content);
    let mut holes: Vec<Hole> = Vec::new();
    let mut start = 0_u64;
    for sector in content.chunks(SECTOR) {
        let bytes = sector.len() as u64;
        let why = if sector.iter().all(|byte| *byte == 0) {
            Some(HoleCause::Wiped)
        } else {
            (!has_binary && is_noise(sector)).then_some(HoleCause::Noise)
        };
        if let Some(why) = why {
            match holes.last_mut() {
                Some(last) if last.why == why && last.start.saturating_add(last.bytes) == start => {
                    last.bytes = last.bytes.saturating_add(bytes);
                }
                _ => holes.push(Hole { start, bytes, why }),
            }
        }
        start = start.saturating_add(bytes);
    }
    holes.retain(|hole| match hole.why {
        // Some send bytes as they are and do not say so: these do not begin just where a block does.
        HoleCause::Noise => {
            let from = usize::try_from(hole.start).unwrap_or(usize::MAX);
            let begin = content.get(from..).unwrap_or_default();
            let has_header = from == 0 && field(content).is_some();
            from.is_multiple_of(LEAST_BLOCK)
                && !has_header
                && is_noise(begin.get(..LEAST_NOISE).unwrap_or_default())
        }
        // The end of a sector may be zeros for many reasons, a whole sector for one.
        _ => hole.bytes >= SECTOR as u64,
    });
    holes
}

/// Whether a sector, or the end of one, looks random: of such bytes one in eleven is a control character
/// that no text has. It must have a third of those. Texts have those that move the paper or shift
/// between alphabets (ISO 2022), and NUL in UTF-16.
fn is_noise(sector: &[u8]) -> bool {
    let is_control = |byte: &&u8| matches!(byte, 1..=7 | 0x0B | 0x10..=0x1A | 0x1C..=0x1F);
    let controls = sector.iter().filter(is_control).count();
    sector.len() >= LEAST_NOISE && controls.saturating_mul(32) >= sector.len()
}

/// Whether a message says that it has a part that is not text (RFC 2045, section 6.2; yEnc).
fn declares_binary(content: &[u8]) -> bool {
    let is_binary = |at: usize| {
        let value = content.get(at.saturating_add(ENCODING.len())..);
        let value = value.unwrap_or_default().trim_ascii_start();
        value
            .get(..6)
            .is_some_and(|value| value.eq_ignore_ascii_case(b"binary"))
    };
    memchr::memmem::find_iter(content, ENCODING).any(is_binary)
        || memchr::memmem::find(content, b"=ybegin ").is_some()
}

/// The end of `Content-Transfer-Encoding:`, in whatever case the rest is.
const ENCODING: &[u8] = b"ncoding:";
/// Fewer bytes at the end of a message say nothing.
const LEAST_NOISE: usize = 64;

/// The least that a disk loses.
const SECTOR: usize = 512;

/// The length of a message with every line ended by CR LF, as IMAP counts it.
pub fn virtual_size(content: &[u8]) -> u64 {
    let mut bare = 0_u64;
    let mut before = 0;
    for byte in content {
        bare = bare.saturating_add(u64::from(*byte == b'\n' && before != b'\r'));
        before = *byte;
    }
    (content.len() as u64).saturating_add(bare)
}

/// The holes that the gaps of a read leave. What is suspect is a hole too, though it has bytes.
pub(crate) fn holes_of(gaps: &Gaps) -> Vec<Hole> {
    let lost = gaps
        .iter()
        .map(|gap| (gap.range.clone(), HoleCause::Gap(gap.cause)));
    let suspect = gaps.suspects().into_iter();
    lost.chain(suspect.map(|range| (range, HoleCause::Suspect)))
        .map(|(range, why)| Hole {
            start: range.start as u64,
            bytes: range.len() as u64,
            why,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(size: Option<u64>, virtual_size: Option<u64>) -> Known {
        Known {
            size,
            virtual_size,
            ..Known::default()
        }
    }

    fn facts<'a>(content: &'a [u8], known: &'a Known) -> Facts<'a> {
        Facts {
            holes: Vec::new(),
            codec: Codec::Plain,
            content,
            known,
            doubtful: None,
        }
    }

    fn in_use(content: &[u8], size: Option<u64>, virtual_size: Option<u64>) -> Verdict {
        judge(facts(content, &known(size, virtual_size)))
    }

    fn deleted(content: &[u8], size: Option<u64>, virtual_size: Option<u64>) -> Verdict {
        judge(Facts {
            doubtful: Some(Doubtful::Deleted(Structure::of(content))),
            ..facts(content, &known(size, virtual_size))
        })
    }

    #[test]
    fn over_whose_file_system_another_was_made_a_message_must_not_contradict_itself() {
        let text = b"From: ada@tidewater.example\nSubject: boxes\n\nThree of them.\n";
        let (length, lines) = (text.len() as u64, virtual_size(text));
        let replaced = |content: &[u8], size, virtual_size| {
            judge(Facts {
                doubtful: Some(Doubtful::Replaced(Structure::of(content))),
                ..facts(content, &known(size, virtual_size))
            })
        };
        assert_eq!(replaced(text, None, None).grade, Grade::Proven);
        assert_eq!(
            replaced(text, Some(length), Some(lines)).grade,
            Grade::Proven
        );
        // As long as the message, with other lines.
        let other = replaced(text, Some(length), Some(lines + 1));
        assert_eq!(other.grade, Grade::Damaged);
        assert_eq!(other.proofs, []);
        let metadata = [b"XFSB".as_slice(), &[0; 100], b"\n"].concat();
        assert_eq!(
            replaced(&metadata, Some(105), Some(106)).grade,
            Grade::Damaged
        );
    }

    #[test]
    fn a_deleted_message_is_whole_only_if_it_proves_itself() {
        let text = b"From: a@b.example\n\nwords\n";
        let (size, lines) = (text.len() as u64, text.len() as u64 + 3);
        let good = deleted(text, Some(size), Some(lines));
        assert_eq!(good.grade, Grade::Complete);
        assert_eq!(good.proofs, [Proof::Size, Proof::VirtualSize]);
        for (size, lines) in [
            (None, None),
            (Some(size), None),
            (Some(size + 1), Some(lines)),
            (Some(size - 1), Some(lines)),
            (Some(size), Some(lines + 1)),
        ] {
            let verdict = deleted(text, size, lines);
            assert_eq!(verdict.grade, Grade::Damaged, "{size:?} {lines:?}");
            assert!(verdict.proofs.is_empty() && !verdict.contradictions.is_empty());
        }
        let closed =
            b"From: a@b.example\nContent-Type: multipart/mixed; boundary=x\n\n--x\n\nhi\n--x--\n";
        let verdict = deleted(closed, None, None);
        assert_eq!(
            (verdict.grade, verdict.proofs),
            (Grade::Complete, vec![Proof::Structure])
        );
    }

    #[test]
    fn the_checksum_of_its_compression_proves_a_deleted_message() {
        let text = b"From: a@b.example\n\nwords\n";
        let verdict = judge(Facts {
            codec: Codec::Gzip,
            doubtful: Some(Doubtful::Deleted(Structure::of(text))),
            ..facts(text, &Known::default())
        });
        assert_eq!(
            (verdict.grade, verdict.proofs),
            (Grade::Proven, vec![Proof::Checksum])
        );
    }

    #[test]
    fn a_file_that_was_read_whole_is_proven() {
        let verdict = in_use(b"a\nb\r\n\n", Some(6), Some(8));
        assert_eq!(verdict.grade, Grade::Proven);
        assert_eq!(
            verdict.proofs,
            [Proof::Extents, Proof::Size, Proof::VirtualSize]
        );
        assert_eq!(in_use(b"a", None, None).proofs, [Proof::Extents]);
    }

    #[test]
    fn shorter_than_its_name_says_is_damaged_and_longer_is_noted() {
        assert_eq!(in_use(b"abc", Some(9), None).grade, Grade::Damaged);
        let longer = in_use(b"abc", Some(2), Some(2));
        assert_eq!(longer.grade, Grade::Proven);
        assert_eq!(longer.contradictions.len(), 2);
    }

    #[test]
    fn whole_blocks_that_end_within_a_line_are_damaged_if_no_name_says_their_length() {
        let broken = vec![b'x'; 4096];
        assert_eq!(in_use(&broken, None, None).grade, Grade::Damaged);
        assert_eq!(in_use(&broken, Some(4096), None).grade, Grade::Proven);
        let mut ended = broken.clone();
        ended[4095] = b'\n';
        assert_eq!(in_use(&ended, None, None).grade, Grade::Proven);
        assert_eq!(in_use(&broken[1..], None, None).grade, Grade::Proven);
    }

    #[test]
    fn another_count_of_lines_at_the_same_length_is_damage() {
        assert_eq!(in_use(b"a\nc", Some(3), Some(4)).grade, Grade::Proven);
        assert_eq!(in_use(b"a\nc", Some(3), Some(3)).grade, Grade::Damaged);
        assert_eq!(in_use(b"a\nc", None, Some(3)).grade, Grade::Proven);
    }

    #[test]
    fn sectors_that_look_random_are_holes_where_no_part_is_said_to_be_binary() {
        let mut state = 1_u64;
        let mut random = || {
            state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
            (state >> 56) as u8
        };
        let mut content = b"From: a@b.example\n\n".to_vec();
        content.resize(4096, b'x');
        content[1024..2048].fill_with(&mut random);
        content.extend((0..200).map(|_| random()));
        let hole = |start, bytes| Hole {
            start,
            bytes,
            why: HoleCause::Noise,
        };
        assert_eq!(written_over(&content), [hole(1024, 1024), hole(4096, 200)]);
        let declared = b"From: a@b.example\nContent-Transfer-Encoding:  Binary\n\n";
        content[..declared.len()].copy_from_slice(declared);
        assert_eq!(written_over(&content), []);
        // What was sent so begins where its header ends.
        let mut sent = b"From: a@b.example\n\n".to_vec();
        sent.extend((0..4000).map(|_| random()));
        assert_eq!(written_over(&sent), []);
        // Korean of ISO 2022, man pages, UTF-16.
        for text in [
            &b"\x0E0!3*\x0F "[..],
            b"n\x08na\x08a ",
            b"n\0a\0\x0D\0\x0A\0",
        ] {
            assert_eq!(written_over(&text.repeat(200)), []);
        }
    }

    #[test]
    fn sectors_of_zeros_are_holes() {
        let mut content = vec![b'x'; 3000];
        content[1024..2560].fill(0);
        let hole = |start, bytes| Hole {
            start,
            bytes,
            why: HoleCause::Wiped,
        };
        assert_eq!(written_over(&content), [hole(1024, 1536)]);
        content[1024..2560].fill(b'x');
        content[2048..2500].fill(0);
        content[2900..].fill(0);
        assert_eq!(
            written_over(&content),
            [],
            "a few zeros are somebody's bytes"
        );
    }

    #[test]
    fn what_a_store_recorded_is_believed_and_a_digest_of_the_bytes_above_all() {
        let text = b"abc";
        let recorded = Known {
            is_recorded: true,
            ..known(Some(2), Some(3))
        };
        assert_eq!(judge(facts(text, &recorded)).grade, Grade::Damaged);
        let digest = Known {
            sha1: Some(Sha1::digest(text).into()),
            ..Known::default()
        };
        let verdict = judge(facts(text, &digest));
        assert_eq!(
            (verdict.grade, verdict.proofs),
            (Grade::Proven, vec![Proof::Extents, Proof::Sha1])
        );
        assert_eq!(judge(facts(b"abd", &digest)).grade, Grade::Damaged);
    }

    #[test]
    fn a_hole_is_damage_whatever_the_size_says() {
        let known = known(Some(3), Some(3));
        let mut holed = facts(b"abc", &known);
        holed.holes.push(Hole {
            start: 0,
            bytes: 1,
            why: HoleCause::NeverWritten,
        });
        let verdict = judge(holed);
        assert_eq!(verdict.grade, Grade::Damaged);
        assert!(verdict.proofs.is_empty());
    }
}
