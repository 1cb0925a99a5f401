//! How much speaks for each hypothesis: the algebra, the anchors and the contents together.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rayon::prelude::{IntoParallelIterator, IntoParallelRefMutIterator, ParallelIterator};

use super::algebra::{self, Agreement};
use super::anchored::{ONE_IN, distinct};
use super::anchors::{Addresses, Anchor, Source};
use super::contents::Contents;
use super::hypothesis::{Claims, Hypothesis, Map, Part};
use super::rebuilt::{Rebuilt, rebuilds};
use super::relations::Set;
use super::sample::{Candidate, Row, fronts};
use super::written_over::front;

/// What an anchor at its place is worth, and one that lies elsewhere, in nats. Journal copies
/// name homes that blocks have left since, so one anchor alone says less than its odds.
pub(super) const ANCHOR_HIT: f64 = 4.0;
pub(super) const ANCHOR_MISS: f64 = 1.0;

/// Anchors of one file system that agree on where it begins; fewer agree by chance.
pub(super) const LEAST_CLUSTER: u32 = 3;

/// The same for a further piece of the file system, and what such a piece costs, in nats.
const LEAST_PIECE: u32 = 6;
const PIECE_COST: f64 = 10.0;

/// So many that lie elsewhere may say that a file system is no group's own.
const LEAST_CONTRADICTING: u32 = 16;

/// What a row is worth that contradicts the parity.
const ROW_WRONG: f64 = 2.0;

/// So many rows in which nothing is related contradict as much: a stale member makes many.
const UNRELATED_FOR_ONE: u32 = 16;

/// Answers of which it is looked at what they rebuild.
const MOST_REBUILT: usize = 96;

/// Those that are so near to the best, in nats, are looked at again, in more places; and how many.
const CLOSE: f64 = 64.0;
const MOST_CLOSE: usize = 16;

/// Neighbouring blocks say much the same: their sum counts by half.
const CONTENTS_DAMPING: f64 = 0.5;

/// How the anchors of all file systems judge a hypothesis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hits {
    /// Anchors that agree with others of their file system on where that begins.
    pub(super) hits: u32,
    /// Those that do not.
    pub(super) misses: u32,
    /// Pieces of file systems, but for the first of each.
    pieces: u32,
    /// Those that parity shows, of missing data in the same row beside zeros, and in how many rows.
    ghosts: u32,
    ghost_rows: u32,
}

impl Hits {
    /// Whether they are many, and say that the file systems do not lie on this group alone.
    pub(super) const fn contradict(self) -> bool {
        self.misses >= LEAST_CONTRADICTING && !self.agree_in_part()
    }

    /// Whether they are many, and most say so.
    pub(super) const fn are_against(self) -> bool {
        self.misses >= LEAST_CONTRADICTING && self.misses > self.hits
    }

    /// Whether so many agree that it is not by chance, whatever the others say.
    pub(super) const fn agree_in_part(self) -> bool {
        self.hits > 0 && self.hits.saturating_mul(4) >= self.misses
    }
}

/// What speaks for an answer, in nats.
#[derive(Clone, Copy, Debug)]
pub(super) struct Evidence {
    /// Blocks that state their address, and files that end where their inodes say.
    pub(super) addresses: f64,
    contents: f64,
    rows: f64,
}

impl Evidence {
    /// In how much two differ.
    pub(super) fn differ(self, other: Self) -> f64 {
        (self.addresses - other.addresses).abs()
            + (self.contents - other.contents).abs()
            + (self.rows - other.rows).abs()
    }
}

/// What answers are measured by.
struct Measures<'a> {
    candidates: &'a [Candidate],
    rows: &'a [Row],
    addresses: &'a Addresses,
    stated: &'a [Stated<'a>],
    contents: &'a Contents<'a>,
}

/// Hypotheses that claim the same, in several notations, with what speaks for them.
pub(super) struct Answer {
    pub(super) notations: Vec<Hypothesis>,
    pub(super) agreement: Agreement,
    /// Where that begins: what lies before was written over by another array. And the rows there that contradict
    /// the parity.
    pub(super) front: u64,
    pub(super) wrong_before: u32,
    /// Rows that contradict the parity, but for those that contradict every answer's: another
    /// array has written there since.
    worse_rows: u32,
    pub(super) anchors: Hits,
    pub(super) contents: f64,
    /// Where each file system begins by most of its anchors.
    begins: Vec<(Source, i64)>,
    /// Half of the anchors that agree lie before this place of their devices.
    pub(super) middle: Option<u64>,
    /// How much what it rebuilds of missing members makes sense, in nats: beside what lies there; and
    /// where files end and blocks state their place.
    pub(super) rebuilt: f64,
    pub(super) mended: f64,
}

impl Answer {
    /// What speaks for it, by kind.
    pub(super) fn evidence(&self) -> Evidence {
        // That one place of parity seems to show missing data happens; that many of a row do, does not.
        let shown = self.anchors.ghosts.saturating_sub(self.anchors.ghost_rows);
        let anchors = f64::from(self.anchors.hits.saturating_add(shown)) * ANCHOR_HIT
            - f64::from(self.anchors.misses) * ANCHOR_MISS
            - f64::from(self.anchors.pieces) * PIECE_COST;
        Evidence {
            addresses: anchors + self.mended,
            contents: self.contents_worth(),
            rows: f64::from(self.worse_rows) * -ROW_WRONG,
        }
    }

    /// The sum of what speaks for it, in nats.
    pub(super) fn total(&self) -> f64 {
        let Evidence {
            addresses,
            contents,
            rows,
        } = self.evidence();
        addresses + contents + rows
    }

    /// What the contents are worth, in nats.
    pub(super) fn contents_worth(&self) -> f64 {
        (self.contents + self.rebuilt) * CONTENTS_DAMPING
    }

    /// What is worth that what it rebuilds makes sense, in nats.
    pub(super) fn rebuilt_worth(&self) -> f64 {
        self.rebuilt * CONTENTS_DAMPING + self.mended
    }

    /// Whether parity holds behind what was written over the starts of the devices: then it is judged by
    /// the rows behind that.
    fn holds_behind_starts(
        &mut self,
        rows: &[Row],
        telling: &BTreeMap<Set, Vec<&Row>>,
        fronts: &[u64],
    ) -> bool {
        let Some(first) = self
            .notations
            .first()
            .filter(|_| self.agreement.is_often_right())
        else {
            return false;
        };
        let set: Set = first.devices().collect();
        let (Some(front), Some(telling)) = (front(first, rows), telling.get(&set)) else {
            return false;
        };
        let behind = telling.iter().filter(|row| row.at >= front);
        let behind: Vec<&Row> = behind.copied().collect();
        let all = self.agreement.wrong;
        self.agreement = algebra::agreement(first, &behind, fronts);
        self.wrong_before = all.saturating_sub(self.agreement.wrong);
        self.front = front;
        self.agreement.holds()
    }

    /// Whether it rebuilds anything that could be looked at.
    fn is_open(&self, candidates: &[Candidate]) -> bool {
        let first = self.notations.first();
        first.is_some_and(|hypothesis| rebuilds(hypothesis, candidates))
    }

    /// Looks at what it rebuilds of the members that are missing; and then at more of it, if it `is_close`
    /// to the best.
    fn look_at_rebuilt(&mut self, by: &Measures<'_>, is_close: bool) {
        let first = self.notations.first();
        if let Some((first, rebuilt)) =
            first.and_then(|h| Some((h, Rebuilt::new(h, by.candidates)?)))
        {
            let Judged { places, pieces, .. } = hits(first, by.stated);
            let beside = rebuilt.stated_beside(&places, &pieces, by.addresses);
            let all = if is_close {
                rebuilt.stated(by.rows, &pieces, by.addresses)
            } else {
                0.0
            };
            self.mended = rebuilt.ends(&self.begins, &by.addresses.ends) + beside.max(all);
            self.rebuilt = rebuilt.texts(by.rows, by.contents, is_close);
        }
    }

    /// Where in the data of the group that begins at `offset` of its members the file system `source` begins
    /// by its blocks, or else by its files, if it does not begin before that.
    pub(super) fn start_behind(&self, offset: u64, source: Source) -> Option<u64> {
        let own = |(of, _): &&(Source, i64)| *of == source;
        let of_files = |(of, _): &&(Source, i64)| of.is_of(source);
        let begin = self.begins.iter().find(own);
        let (_, begin) = begin.or_else(|| self.begins.iter().find(of_files))?;
        self.behind(offset, *begin)
    }

    /// The same for each file system whose blocks state their place.
    pub(super) fn starts_behind(&self, offset: u64) -> impl Iterator<Item = u64> {
        let stated = self
            .begins
            .iter()
            .filter(|(source, _)| source.is_direct() && !matches!(source, Source::Files(_)));
        stated.filter_map(move |(_, begin)| self.behind(offset, *begin))
    }

    /// How far behind the start of the group that begins at `offset` of its members a place lies that is
    /// counted from the hypothesis' first row.
    fn behind(&self, offset: u64, place: i64) -> Option<u64> {
        let hypothesis = self.hypothesis()?;
        let rows = i64::try_from(offset)
            .ok()?
            .checked_sub_unsigned(hypothesis.row_0)?;
        let width = i64::try_from(hypothesis.shape.width()).ok()?;
        let before = rows.checked_mul(width)?;
        u64::try_from(place.checked_sub(before)?).ok()
    }

    /// The hypothesis in the plainest notation.
    pub(super) fn hypothesis(&self) -> Option<&Hypothesis> {
        self.notations.first()
    }

    /// The answer for a person, with what speaks for it.
    pub(super) fn describe(&self, name: &dyn Fn(usize) -> String) -> String {
        let what = self
            .hypothesis()
            .map(|hypothesis| hypothesis.describe(name));
        let what = what.unwrap_or_default();
        format!(
            "{what} (anchors {} of {}, parity in {} of {} rows, contents {:+.0}, rebuilt {:+.0}, files and addresses in it {:+.0})",
            self.anchors.hits,
            self.anchors.hits.saturating_add(self.anchors.misses),
            self.agreement.right,
            self.agreement.right.saturating_add(self.agreement.wrong),
            self.contents,
            self.rebuilt,
            self.mended,
        )
    }
}

#[cfg(test)]
impl Answer {
    /// One for which so many anchors speak, and so many against, and the contents so much.
    pub(super) fn weighed(hypothesis: Hypothesis, hits: u32, misses: u32, contents: f64) -> Self {
        Self {
            agreement: Agreement::default(),
            front: 0,
            wrong_before: 0,
            worse_rows: 0,
            anchors: Hits {
                hits,
                misses,
                ..Hits::default()
            },
            contents,
            begins: Vec::new(),
            middle: None,
            rebuilt: 0.0,
            mended: 0.0,
            notations: vec![hypothesis],
        }
    }
}

/// The different answers among `hypotheses` that the parity does not contradict, the best first.
pub(super) fn answers(
    hypotheses: Vec<Hypothesis>,
    devices: &[usize],
    candidates: &[Candidate],
    rows: &[Row],
    addresses: &Addresses,
    contents: &Contents<'_>,
) -> Vec<Answer> {
    let mut different: Vec<Vec<Hypothesis>> = Vec::new();
    let mut known: HashMap<Claims, usize> = HashMap::new();
    for hypothesis in hypotheses {
        let number = *known.entry(hypothesis.claims()).or_insert(different.len());
        match different.get_mut(number) {
            Some(notations) => notations.push(hypothesis),
            None => different.push(vec![hypothesis]),
        }
    }
    let set_of = |hypothesis: &Hypothesis| hypothesis.devices().collect::<Set>();
    let sets: BTreeSet<Set> = different.iter().flatten().map(set_of).collect();
    let sets = sets
        .into_iter()
        .map(|set| (set, algebra::telling(rows, set)));
    let telling: BTreeMap<Set, Vec<&Row>> = sets.collect();
    let fronts = fronts(rows);
    let answer = |notations: Vec<Hypothesis>| {
        let first = notations.first()?;
        let rows = telling.get(&set_of(first))?;
        Some(Answer {
            agreement: algebra::agreement(first, rows, &fronts),
            front: 0,
            wrong_before: 0,
            worse_rows: 0,
            anchors: Hits::default(),
            contents: 0.0,
            begins: Vec::new(),
            middle: None,
            rebuilt: 0.0,
            mended: 0.0,
            notations,
        })
    };
    let answers: Vec<Option<Answer>> = different.into_par_iter().map(answer).collect();
    let mut answers: Vec<Answer> = answers.into_iter().flatten().collect();
    let ranks: [fn(&Agreement) -> bool; 3] = [
        |agreement| agreement.holds(),
        |agreement| !agreement.contradicts() || agreement.holds_where_related(),
        // Much was written over since; what is no geometry of these rows agrees with none.
        |agreement| agreement.holds_mostly(),
    ];
    let is_met = |rank: &fn(&Agreement) -> bool| answers.iter().any(|it| rank(&it.agreement));
    match ranks.into_iter().find(is_met) {
        Some(rank) => answers.retain(|answer| rank(&answer.agreement)),
        None => answers.retain_mut(|answer| answer.holds_behind_starts(rows, &telling, &fronts)),
    }
    let stated = stated(&addresses.anchors, devices);
    let fewest = answers.iter().map(|one| worse_rows(&one.agreement)).min();
    answers.par_iter_mut().for_each(|answer| {
        let worse = worse_rows(&answer.agreement);
        answer.worse_rows = worse.saturating_sub(fewest.unwrap_or(0));
        answer.notations.sort_by_key(plainness);
        answer.notations.dedup();
        if let Some(hypothesis) = answer.notations.first() {
            let judged = hits(hypothesis, &stated);
            (answer.anchors, answer.begins) = (judged.hits, judged.begins());
            answer.middle = judged.middle();
            answer.contents = contents.score(hypothesis);
        }
    });
    answers.sort_by(|a, b| b.total().total_cmp(&a.total()));
    let by = Measures {
        candidates,
        rows,
        addresses,
        stated: &stated,
        contents,
    };
    look_at_rebuilt(&mut answers, &by);
    answers.sort_by(|a, b| b.total().total_cmp(&a.total()));
    let best = answers.first().map_or(0.0, Answer::total);
    let close = answers.iter().take(MOST_CLOSE);
    let close = close.take_while(|answer| best - answer.total() < CLOSE);
    // One alone is looked at too: what it rebuilds may have to speak for it.
    let close = close.count();
    let (close, others) = answers.split_at_mut(close);
    let gains = close.par_iter_mut().map(|answer| {
        let before = answer.mended;
        answer.look_at_rebuilt(&by, true);
        answer.mended - before
    });
    let most = gains.reduce(|| 0.0, f64::max);
    let others = others.iter_mut().filter(|it| it.is_open(candidates));
    others.for_each(|answer| answer.mended += most);
    answers.sort_by(|a, b| b.total().total_cmp(&a.total()));
    answers
}

/// How much the rows contradict a geometry, in rows that do so with what is related in them.
fn worse_rows(agreement: &Agreement) -> u32 {
    agreement
        .misrelated()
        .saturating_add(agreement.unrelated / UNRELATED_FOR_ONE)
}

/// Looks at what the best answers rebuild. Those that are not looked at are taken to rebuild as
/// much sense as any: what was not compared must not decide.
fn look_at_rebuilt(answers: &mut [Answer], by: &Measures<'_>) {
    let (near, far) = answers.split_at_mut(MOST_REBUILT.min(answers.len()));
    near.par_iter_mut().for_each(|answer| {
        answer.look_at_rebuilt(by, false);
    });
    let most = |of: fn(&Answer) -> f64| near.iter().map(of).fold(0.0, f64::max);
    let (rebuilt, mended) = (most(|answer| answer.rebuilt), most(|answer| answer.mended));
    for answer in far.iter_mut().filter(|it| it.is_open(by.candidates)) {
        (answer.rebuilt, answer.mended) = (rebuilt, mended);
    }
}

/// A level whose parity disks are all missing reads as one without them: the plainer counts,
/// and of layouts that are the same by other names the one with more of a name.
fn plainness(hypothesis: &Hypothesis) -> (u32, bool, u64, super::shape::Shape, Vec<Option<usize>>) {
    use crate::raid::Raid5Layout;
    let is_first = matches!(
        hypothesis.shape,
        super::shape::Shape::Raid5(Raid5Layout::ParityFirst, _)
    );
    (
        hypothesis.shape.members(),
        is_first,
        hypothesis.row_0,
        hypothesis.shape,
        hypothesis.roles.clone(),
    )
}

/// Anchors that agree on where in the group's data their file system begins.
struct Cluster {
    begin: i64,
    count: u32,
    /// The positions of the first and the last of them.
    from: i64,
    to: i64,
}

/// The pieces of one file system that lie on a group, by its anchors: a volume may lie on it
/// in several, each with a begin of its own, but they do not lie among each other.
fn pieces(map: &Map<'_>, anchors: &[&Anchor]) -> Vec<Cluster> {
    let mut clusters: HashMap<i64, Cluster> = HashMap::new();
    for anchor in anchors {
        let position = map.position(anchor.device, anchor.at);
        let (Some(position), Some(begin)) = (position, begin(map, anchor)) else {
            continue;
        };
        let cluster = clusters.entry(begin).or_insert(Cluster {
            begin,
            count: 0,
            from: position,
            to: position,
        });
        cluster.count += 1;
        cluster.from = cluster.from.min(position);
        cluster.to = cluster.to.max(position);
    }
    let mut clusters: Vec<Cluster> = clusters.into_values().collect();
    clusters.sort_by_key(|cluster| (std::cmp::Reverse(cluster.count), cluster.begin));
    let mut pieces: Vec<Cluster> = Vec::new();
    // What lies within one row agrees by any geometry.
    let row = map
        .hypothesis
        .shape
        .width()
        .saturating_mul(map.hypothesis.chunk);
    clusters.retain(|cluster| cluster.to.abs_diff(cluster.from) >= row);
    for cluster in clusters {
        let least = if pieces.is_empty() {
            LEAST_CLUSTER
        } else {
            LEAST_PIECE
        };
        let apart = |piece: &Cluster| cluster.to < piece.from || piece.to < cluster.from;
        if cluster.count >= least && pieces.iter().all(apart) {
            pieces.push(cluster);
        }
    }
    pieces
}

/// Where a file system begins by one anchor.
fn begin(map: &Map<'_>, anchor: &Anchor) -> Option<i64> {
    let position = map.position(anchor.device, anchor.at)?;
    position.checked_sub_unsigned(anchor.address)
}

/// The anchors of one file system on some devices.
///
/// Those of one address are alternatives: lengths of files repeat, and journals name homes that
/// blocks have left.
struct Stated<'a>(Source, BTreeMap<u64, Vec<&'a Anchor>>);

/// What each file system states of `devices`.
fn stated<'a>(anchors: &'a [Anchor], devices: &[usize]) -> Vec<Stated<'a>> {
    let sources: BTreeSet<Source> = anchors.iter().map(|anchor| anchor.source).collect();
    let of = |source: Source| {
        let mut by_address: BTreeMap<u64, Vec<&Anchor>> = BTreeMap::new();
        for anchor in distinct(anchors, source, devices) {
            let alternatives = by_address.entry(anchor.address / ONE_IN).or_default();
            alternatives.push(anchor);
        }
        Stated(source, by_address)
    };
    sources.into_iter().map(of).collect()
}

/// How the anchors judge a hypothesis.
struct Judged {
    hits: Hits,
    /// Where each piece of a file system begins, the largest of each first.
    pieces: Vec<(Source, i64)>,
    /// The devices and places of those that agree.
    places: Vec<(usize, u64)>,
}

impl Judged {
    /// Where each file system begins.
    fn begins(&self) -> Vec<(Source, i64)> {
        let mut begins = self.pieces.clone();
        begins.dedup_by_key(|(source, _)| *source);
        begins
    }

    /// Half of those that agree lie before this place of their devices.
    fn middle(&self) -> Option<u64> {
        let mut places: Vec<u64> = self.places.iter().map(|(_, at)| *at).collect();
        places.sort_unstable();
        places.get(places.len() / 2).copied()
    }
}

/// Judges a hypothesis by the anchors.
fn hits(hypothesis: &Hypothesis, stated: &[Stated<'_>]) -> Judged {
    let map = hypothesis.map();
    let edge = hypothesis.row_0 % hypothesis.chunk;
    let mut hits = Hits::default();
    let mut of_all = Vec::new();
    let mut places: Vec<(usize, u64)> = Vec::new();
    let mut ghost_rows = BTreeSet::new();
    for Stated(source, by_address) in stated {
        let fits = |anchor: &&Anchor| anchor.fits(hypothesis.chunk, edge);
        let all = by_address.values().flatten().copied().filter(fits);
        let pieces = pieces(&map, &all.collect::<Vec<_>>());
        of_all.extend(pieces.iter().map(|piece| (*source, piece.begin)));
        hits.pieces += u32::try_from(pieces.len().saturating_sub(1)).unwrap_or(u32::MAX);
        for alternatives in by_address.values() {
            let own: Vec<&Anchor> = alternatives.iter().copied().filter(fits).collect();
            let lies = |anchor: &&Anchor| {
                begin(&map, anchor).is_some_and(|at| pieces.iter().any(|piece| piece.begin == at))
            };
            let is_of_missing =
                |anchor: &&Anchor| !anchor.is_certain() && is_on_missing(&map, anchor, &pieces);
            if let Some(anchor) = own.iter().find(|anchor| lies(anchor)) {
                hits.hits += 1;
                places.push((anchor.device, anchor.at));
            } else if let Some(ghost) = own.iter().find_map(|a| ghost(&map, a, &pieces)) {
                // Data that is there shows its address itself: then somebody changed one of the two.
                if ghost.is_of_missing {
                    hits.ghosts += 1;
                    ghost_rows.insert(ghost.row);
                }
            } else if !own.is_empty() && !own.iter().any(is_of_missing) {
                hits.misses += 1;
            }
        }
    }
    hits.ghost_rows = u32::try_from(ghost_rows.len()).unwrap_or(u32::MAX);
    Judged {
        hits,
        pieces: of_all,
        places,
    }
}

/// How many anchors on `devices` agree that lie from `from` on.
pub(super) fn hits_behind(
    answer: &Answer,
    devices: &[usize],
    addresses: &Addresses,
    from: u64,
) -> usize {
    let stated = stated(&addresses.anchors, devices);
    let judged = answer.hypothesis().map(|first| hits(first, &stated));
    let places = judged.into_iter().flat_map(|judged| judged.places);
    places.filter(|(_, at)| *at >= from).count()
}

/// Whether the address of an anchor lies on a member that is missing. Where another block states
/// the address, what was taken for its home is then something else.
fn is_on_missing(map: &Map<'_>, anchor: &Anchor, pieces: &[Cluster]) -> bool {
    pieces.iter().any(|piece| {
        let position = piece.begin.checked_add_unsigned(anchor.address);
        position.is_some_and(|position| map.is_missing(position))
    })
}

/// What an anchor on parity shows.
struct Ghost {
    row: i64,
    /// Whether the data is on a member that is missing.
    is_of_missing: bool,
}

/// The data of the same row that an anchor on parity shows: where the rest of a row is zeros, parity
/// is a copy.
fn ghost(map: &Map<'_>, anchor: &Anchor, pieces: &[Cluster]) -> Option<Ghost> {
    let place = map.place(anchor.device, anchor.at)?;
    if place.part != Part::P {
        return None;
    }
    let width = i64::try_from(map.hypothesis.shape.width()).ok()?;
    let chunk = i64::try_from(map.hypothesis.chunk).ok()?;
    (0..width).find_map(|number| {
        let chunks = place.row.checked_mul(width)?.checked_add(number)?;
        let position = chunks
            .checked_mul(chunk)?
            .checked_add_unsigned(place.column)?;
        let begin = position.checked_sub_unsigned(anchor.address)?;
        let is_there = pieces.iter().any(|piece| piece.begin == begin);
        is_there.then(|| Ghost {
            row: place.row,
            is_of_missing: map.is_missing(position),
        })
    })
}
