//! Compares mail that was handed over with what lay on a volume.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use super::scene::{Fate, Scene, TrueMessage};
use super::tree::Handed;

/// The cell of files that are from no message and no decoy.
pub const ELSEWHERE: &str = "elsewhere";

/// A shorter line says nothing about where it is from.
const LEAST_LINE: usize = 24;

/// How a file that was handed over as whole stands to the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A message, byte for byte.
    Exact(usize),
    /// A message with a turned bit in its body, which its signature contradicts.
    Unrepaired(usize),
    /// A message without its end: so many bytes of it.
    Start(usize, usize),
    /// A message and so many bytes that are not its.
    More(usize, usize),
    /// Bytes from within a message: an attached one, or the end.
    Within(usize),
    /// More or less of a message, the first so many bytes right.
    Mixed(usize, usize),
    /// A decoy, or from one.
    Decoy(usize),
    /// Neither.
    Nothing,
}

impl Verdict {
    /// Whether it is a message as it was stored.
    pub const fn is_exact(self) -> bool {
        matches!(self, Self::Exact(_))
    }

    /// Whether it is something false that was handed over as whole.
    pub const fn is_false(self) -> bool {
        !matches!(self, Self::Exact(_) | Self::Unrepaired(_))
    }

    /// The message that it is, or that most of it is from.
    pub const fn message(self) -> Option<usize> {
        match self {
            Self::Exact(number)
            | Self::Unrepaired(number)
            | Self::Start(number, _)
            | Self::More(number, _)
            | Self::Within(number)
            | Self::Mixed(number, _) => Some(number),
            Self::Decoy(_) | Self::Nothing => None,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(_) => f.write_str("exact"),
            Self::Unrepaired(_) => f.write_str("with its turned bit"),
            Self::Start(_, length) => write!(f, "the first {length} bytes only"),
            Self::More(_, length) => write!(f, "{length} bytes too many at the end"),
            Self::Within(_) => f.write_str("from within a message"),
            Self::Mixed(_, length) => write!(f, "right for {length} bytes only"),
            Self::Decoy(_) => f.write_str("a decoy"),
            Self::Nothing => f.write_str("from nowhere"),
        }
    }
}

/// What is known of a scene, prepared for comparing many files with it.
pub struct Judge<'a> {
    scene: &'a Scene,
    exact: HashMap<blake3::Hash, Verdict>,
    lines: HashMap<u64, Source>,
}

/// What a line stands in and nothing else does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Message(usize),
    Decoy(usize),
    /// In more things than one.
    Several,
}

impl<'a> Judge<'a> {
    /// Prepares to judge what was found on `scene`.
    pub fn new(scene: &'a Scene) -> Self {
        let mut judge = Self {
            scene,
            exact: HashMap::new(),
            lines: HashMap::new(),
        };
        for (number, message) in scene.messages.iter().enumerate() {
            let stored = || blake3::hash(&scene.stored(message));
            match message.fate {
                Fate::Whole | Fate::HeadLost(_) => {}
                // Nothing can prove what stood there, so what stands there now is right too.
                Fate::HeaderBit(_) => {
                    judge.exact.insert(stored(), Verdict::Exact(number));
                }
                Fate::BodyBit(_) => {
                    judge.exact.insert(stored(), Verdict::Unrepaired(number));
                }
            }
            let hash = blake3::hash(&message.message.bytes);
            judge.exact.insert(hash, Verdict::Exact(number));
            judge.learn(&message.message.bytes, Source::Message(number));
        }
        for (number, decoy) in scene.decoys.iter().enumerate() {
            let place = decoy.extent.at..decoy.extent.at + decoy.extent.length;
            judge.learn(&scene.canvas.bytes[place], Source::Decoy(number));
        }
        judge
    }

    fn learn(&mut self, bytes: &[u8], source: Source) {
        for line in long_lines(bytes) {
            let known = self.lines.entry(line).or_insert(source);
            if *known != source {
                *known = Source::Several;
            }
        }
    }

    /// What `bytes`, handed over as whole, are.
    pub fn verdict(&self, bytes: &[u8]) -> Verdict {
        if let Some(verdict) = self.exact.get(&blake3::hash(bytes)) {
            return *verdict;
        }
        match self.origin(bytes) {
            Some(Source::Message(number)) => {
                Self::compare(number, &self.scene.messages[number], bytes)
            }
            Some(Source::Decoy(number)) => Verdict::Decoy(number),
            _ => Verdict::Nothing,
        }
    }

    /// The message that most of `bytes` are from.
    pub fn nearest(&self, bytes: &[u8]) -> Option<usize> {
        match self.origin(bytes) {
            Some(Source::Message(number)) => Some(number),
            _ => None,
        }
    }

    fn origin(&self, bytes: &[u8]) -> Option<Source> {
        let mut votes: BTreeMap<(bool, usize), usize> = BTreeMap::new();
        for line in long_lines(bytes) {
            match self.lines.get(&line) {
                Some(Source::Message(number)) => *votes.entry((false, *number)).or_default() += 1,
                Some(Source::Decoy(number)) => *votes.entry((true, *number)).or_default() += 1,
                _ => {}
            }
        }
        let ((decoy, number), _) = votes.into_iter().max_by_key(|(_, count)| *count)?;
        Some(if decoy {
            Source::Decoy(number)
        } else {
            Source::Message(number)
        })
    }

    fn compare(number: usize, message: &TrueMessage, bytes: &[u8]) -> Verdict {
        let truth = &message.message.bytes;
        let same = bytes.iter().zip(truth).take_while(|(a, b)| a == b).count();
        if same == bytes.len() {
            Verdict::Start(number, same)
        } else if same == truth.len() {
            Verdict::More(number, bytes.len() - same)
        } else if memchr::memmem::find(truth, bytes).is_some() {
            Verdict::Within(number)
        } else {
            Verdict::Mixed(number, same)
        }
    }
}

/// Hashes of the lines that are long enough.
fn long_lines(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes
        .split(|&byte| byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| line.len() >= LEAST_LINE)
        .map(|line| {
            let hash = blake3::hash(line);
            let start = hash.as_bytes().first_chunk::<8>();
            start.map_or(0, |start| u64::from_le_bytes(*start))
        })
}

/// What came back of the messages of a cell, and of the files of a kind of decoy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages that can be had as they were.
    pub surviving: usize,
    /// Messages of which a part is lost, and decoys.
    pub others: usize,
    /// Surviving messages handed over byte for byte.
    pub exact: usize,
    /// Messages with a turned bit that was not turned back.
    pub unrepaired: usize,
    /// Files handed over as damaged that are from these messages or decoys.
    pub damaged: usize,
    /// Files handed over as whole that are none of these, but from them.
    pub false_claims: usize,
    /// Exact messages in another's account.
    pub misfiled: usize,
    /// Exact messages in the account that they belong to.
    pub filed: usize,
    /// Messages handed over more often than once.
    pub twice: usize,
}

impl Tally {
    /// Adds the counts of `other`.
    pub fn add(&mut self, other: &Self) {
        self.surviving += other.surviving;
        self.others += other.others;
        self.exact += other.exact;
        self.unrepaired += other.unrepaired;
        self.damaged += other.damaged;
        self.false_claims += other.false_claims;
        self.misfiled += other.misfiled;
        self.filed += other.filed;
        self.twice += other.twice;
    }
}

/// What came back of a scene.
#[derive(Clone, Debug, Default)]
pub struct Score {
    /// By message of the scene: whether it was handed over byte for byte.
    pub exact: Vec<bool>,
    /// By cell, by kind of decoy, and [`ELSEWHERE`].
    pub cells: BTreeMap<String, Tally>,
    /// A line for each false claim, for each message that is called damaged and is exact, and for
    /// each surviving one that was not handed over exactly.
    pub remarks: Vec<String>,
}

/// Scores what was handed over of `scene`.
pub fn score(scene: &Scene, handed: &[Handed]) -> Score {
    let judge = Judge::new(scene);
    let mut score = Score {
        exact: vec![false; scene.messages.len()],
        ..Score::default()
    };
    for message in &scene.messages {
        let tally = score.cells.entry(message.cell.clone()).or_default();
        if message.fate.survives() {
            tally.surviving += 1;
        } else {
            tally.others += 1;
        }
    }
    for decoy in &scene.decoys {
        score.cells.entry(decoy.cell.clone()).or_default().others += 1;
    }
    for file in handed {
        enter(scene, &judge, file, &mut score);
    }
    for (message, exact) in scene.messages.iter().zip(&score.exact) {
        if message.fate.survives() && !exact {
            let at = message.extents.first().map_or(0, |extent| extent.at);
            let remark = format!(
                "not exact: {} at {at}, {} bytes in {} pieces, {}, signature {}",
                message.cell,
                message.message.bytes.len(),
                message.extents.len(),
                message.message.kind.name(),
                message.message.signature.name()
            );
            score.remarks.push(remark);
        }
    }
    score
}

fn enter(scene: &Scene, judge: &Judge<'_>, file: &Handed, score: &mut Score) {
    let verdict = judge.verdict(&file.bytes);
    let cell = match (verdict, verdict.message()) {
        (Verdict::Decoy(number), _) => &scene.decoys[number].cell,
        (_, Some(number)) => &scene.messages[number].cell,
        _ => ELSEWHERE,
    };
    let tally = score.cells.entry(cell.to_owned()).or_default();
    if file.damaged {
        tally.damaged += 1;
        if verdict.is_exact() {
            let remark = format!("called damaged though exact: {cell}: {}", file.path);
            score.remarks.push(remark);
        }
        return;
    }
    match verdict {
        Verdict::Exact(number) => {
            let twice = std::mem::replace(&mut score.exact[number], true);
            tally.exact += usize::from(!twice);
            tally.twice += usize::from(twice);
            if let Some(account) = &file.account {
                let own = *account == scene.messages[number].message.account;
                tally.filed += usize::from(own);
                tally.misfiled += usize::from(!own);
            }
        }
        Verdict::Unrepaired(_) => tally.unrepaired += 1,
        _ => {
            tally.false_claims += 1;
            score
                .remarks
                .push(format!("false: {cell}, {verdict}: {}", file.path));
        }
    }
}
