//! Mail in awkward places, and files that are taken for mail.

use super::body::Kind;
use super::canvas::{Extent, Gap, cut, order};
use super::decoy::Decoy;
use super::dkim::Signature;
use super::message::{Message, Wish, message};
use super::scene::{BETWEEN, Fate, Flip, Scene, small};
use crate::random::Random;

/// An awkward place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Case {
    /// Nothing awkward.
    Plain,
    /// The last byte is a block's, and binary follows.
    EdgeBinary,
    /// The last byte is a block's, and mail follows.
    EdgeMail,
    /// The rest of the last block holds what an older message had there.
    Slack,
    /// NULs in the body.
    Nul,
    /// It begins at a sector, not at a block.
    Sector,
    /// It begins anywhere, in a binary file that holds several.
    Container,
    /// Its first block is written over: there is no message, only a fragment.
    HeadLost,
    /// A bit of the first header field is turned.
    HeaderBit,
    /// A bit of a signed body is turned.
    BodyBit,
    /// Two pieces, binary between them.
    TwoBinary,
    /// Two pieces, mail between them.
    TwoMail,
    /// Two messages, block by block in turn.
    Interleaved,
    /// Two to four pieces in another order.
    Shuffled,
}

impl Case {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Plain,
        Self::EdgeBinary,
        Self::EdgeMail,
        Self::Slack,
        Self::Nul,
        Self::Sector,
        Self::Container,
        Self::HeadLost,
        Self::HeaderBit,
        Self::BodyBit,
        Self::TwoBinary,
        Self::TwoMail,
        Self::Interleaved,
        Self::Shuffled,
    ];

    /// A short name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::EdgeBinary => "edge-binary",
            Self::EdgeMail => "edge-mail",
            Self::Slack => "slack",
            Self::Nul => "nul",
            Self::Sector => "sector",
            Self::Container => "container",
            Self::HeadLost => "head-lost",
            Self::HeaderBit => "header-bit",
            Self::BodyBit => "body-bit",
            Self::TwoBinary => "two-binary",
            Self::TwoMail => "two-mail",
            Self::Interleaved => "interleaved",
            Self::Shuffled => "shuffled",
        }
    }

    /// How many messages one placement makes.
    const fn at_once(self) -> usize {
        match self {
            Self::Container => 4,
            Self::Interleaved => 2,
            _ => 1,
        }
    }
}

/// What is put down next.
#[derive(Clone, Copy)]
enum Task {
    Mail(Case),
    Decoy(Decoy),
}

/// A volume with `count` messages of each case that `wanted` names, and as many decoys in all.
pub fn scene(
    seed: u64,
    block: usize,
    count: usize,
    phase: usize,
    wanted: &dyn Fn(&str) -> bool,
) -> Scene {
    let mut scene = Scene::new("awkward", block, phase % block);
    let mut random = Random::of_case(seed, 7);
    let mut tasks = Vec::new();
    for case in Case::ALL.into_iter().filter(|case| wanted(case.name())) {
        let times = count.div_ceil(case.at_once());
        tasks.extend(std::iter::repeat_n(Task::Mail(case), times));
    }
    let decoys = (count * Case::ALL.len()).div_ceil(Decoy::ALL.len());
    for decoy in Decoy::ALL.into_iter().filter(|one| wanted(one.name())) {
        tasks.extend(std::iter::repeat_n(Task::Decoy(decoy), decoys));
    }
    random.shuffle(&mut tasks);
    for task in tasks {
        for _ in 0..random.below(2) {
            scene.canvas.background(&mut random);
        }
        match task {
            Task::Mail(case) => lay(&mut scene, &mut random, case),
            Task::Decoy(decoy) => lay_decoy(&mut scene, &mut random, decoy),
        }
    }
    scene.canvas.background(&mut random);
    scene
}

fn lay_decoy(scene: &mut Scene, random: &mut Random, decoy: Decoy) {
    let bytes = decoy.make(random);
    let extent = scene.canvas.file(&bytes);
    scene.decoys.push(super::scene::TrueDecoy {
        cell: decoy.name().to_owned(),
        extent,
    });
}

fn lay(scene: &mut Scene, random: &mut Random, case: Case) {
    let cell = case.name();
    match case {
        Case::Plain => {
            let message = of_blocks(random, scene, 0, None);
            scene.put(cell, message);
        }
        Case::EdgeBinary => lay_to_the_edge(scene, random, cell, Gap::Binary),
        Case::EdgeMail => lay_to_the_edge(scene, random, cell, Gap::Mail),
        Case::Slack => lay_over_older(scene, random, cell),
        Case::Nul => lay_with_nuls(scene, random, cell),
        Case::Sector => lay_at_a_sector(scene, random, cell),
        Case::Container => lay_in_a_container(scene, random, cell, case.at_once()),
        Case::HeadLost => lay_without_head(scene, random, cell),
        Case::HeaderBit | Case::BodyBit => lay_with_turned_bit(scene, random, case),
        Case::TwoBinary => lay_in_pieces(scene, random, cell, 2, Gap::Binary, true),
        Case::TwoMail => lay_in_pieces(scene, random, cell, 2, Gap::Mail, true),
        Case::Interleaved => lay_in_turn(scene, random, cell),
        Case::Shuffled => {
            let count = random.within(2..=4);
            let gap = *random.pick(&Gap::ALL);
            lay_in_pieces(scene, random, cell, count, gap, false);
        }
    }
}

/// A message with more than `blocks` whole blocks; one in two is signed if that is left open.
fn of_blocks(random: &mut Random, scene: &Scene, blocks: usize, signed: Option<bool>) -> Message {
    let least = blocks * scene.canvas.block + 1;
    let wish = Wish {
        signed: signed.unwrap_or_else(|| random.percent(50)),
        least,
        most: least + 40_000,
        kind: None,
    };
    message(random, &wish)
}

fn lay_to_the_edge(scene: &mut Scene, random: &mut Random, cell: &str, next: Gap) {
    let block = scene.canvas.block;
    let mut message = of_blocks(random, scene, 0, None);
    let mut missing = block - message.bytes.len() % block;
    if missing < 40 {
        missing += block;
    }
    widen_head(&mut message, missing);
    scene.put(cell, message);
    scene.gap(random, next);
}

/// Adds `length` bytes, no less than 40, to the head as a field of a filter's report.
fn widen_head(message: &mut Message, length: usize) {
    let end: &[u8] = if message.bytes[..message.body].ends_with(b"\r\n") {
        b"\r\n"
    } else {
        b"\n"
    };
    let mut field = b"X-Filter-Report: ".to_vec();
    let mut words = b"seen once, weighed twice, let through; ".iter().cycle();
    let mut column = field.len();
    while field.len() + end.len() < length {
        let left = length - end.len() - field.len();
        if column >= 70 && left > end.len() + 8 {
            field.extend_from_slice(end);
            field.push(b' ');
            column = 1;
        }
        field.push(*words.next().unwrap_or(&b'.'));
        column += 1;
    }
    // A space at the end of a line would be an odd one.
    if let Some(last) = field.last_mut() {
        *last = b'.';
    }
    field.extend_from_slice(end);
    let place = message.body - end.len();
    message.bytes.splice(place..place, field);
    message.body += length;
}

fn lay_over_older(scene: &mut Scene, random: &mut Random, cell: &str) {
    let block = scene.canvas.block;
    let message = of_blocks(random, scene, 0, None);
    let used = message.bytes.len() % block;
    scene.canvas.align();
    let extent = scene.canvas.append(&message.bytes);
    if used > 0 {
        // The block belonged to a message that had more blocks than one.
        let older = of_blocks(random, scene, 2, None).bytes;
        let place = random.within(1..=older.len() / block - 1) * block;
        scene.canvas.append(&older[place + used..place + block]);
    }
    scene.enter(cell, message, vec![extent], Fate::Whole);
}

fn lay_with_nuls(scene: &mut Scene, random: &mut Random, cell: &str) {
    let wish = Wish {
        signed: false,
        least: 0,
        most: 30_000,
        kind: Some(*random.pick(&[Kind::Text, Kind::Text, Kind::Html, Kind::QuotedPrintable])),
    };
    let mut message = message(random, &wish);
    for _ in 0..random.within(1..=3) {
        let body = message.bytes.len() - message.body;
        let place = message.body + body / 10 + random.below(body * 8 / 10);
        let nuls = vec![0; random.within(1..=3)];
        message.bytes.splice(place..place, nuls);
    }
    // What was hashed had no NUL in it.
    if message.signature != Signature::None {
        message.signature = Signature::Broken;
    }
    scene.put(cell, message);
}

fn lay_at_a_sector(scene: &mut Scene, random: &mut Random, cell: &str) {
    let message = of_blocks(random, scene, 0, None);
    scene.canvas.align();
    let sectors = scene.canvas.block / 512;
    let before = 512 * random.within(1..=sectors - 1);
    let filling = if random.percent(50) {
        vec![0; before]
    } else {
        random.bytes(before)
    };
    scene.canvas.append(&filling);
    let extent = scene.canvas.append(&message.bytes);
    scene.canvas.align();
    scene.enter(cell, message, vec![extent], Fate::Whole);
}

/// A store of our own: records of a number, a length, flags and a message.
fn lay_in_a_container(scene: &mut Scene, random: &mut Random, cell: &str, count: usize) {
    scene.canvas.align();
    scene.canvas.append(b"BOXSTORE\x02\0\0\0");
    let skipped = random.within(5..=700);
    let index = random.bytes(skipped);
    scene.canvas.append(&index);
    for number in 0..count {
        let message = of_blocks(random, scene, 0, None);
        let mut record = vec![0xFE, 0xED];
        record.extend((number as u64 + 17).to_le_bytes());
        record.extend((message.bytes.len() as u32).to_le_bytes());
        record.extend([0, 0, 0]);
        scene.canvas.append(&record);
        let extent = scene.canvas.append(&message.bytes);
        scene.enter(cell, message, vec![extent], Fate::Whole);
    }
    scene.canvas.append(b"\xFE\xED\xFF\xFF\xFF\xFF\0\0");
    scene.canvas.align();
}

fn lay_without_head(scene: &mut Scene, random: &mut Random, cell: &str) {
    let block = scene.canvas.block;
    let message = of_blocks(random, scene, 2, None);
    let extent = scene.canvas.file(&message.bytes);
    let over = match random.below(4) {
        0 => vec![0; block],
        1 => random.bytes(block),
        2 => super::background::text_file(random, block)[..block].to_vec(),
        _ => {
            // A new message that needs a block only.
            let mut new = small(random);
            while new.bytes.len() > block {
                new = small(random);
            }
            let mut bytes = new.bytes.clone();
            bytes.resize(block, 0);
            let place = Extent {
                at: extent.at,
                length: new.bytes.len(),
            };
            scene.enter(BETWEEN, new, vec![place], Fate::Whole);
            bytes
        }
    };
    scene.canvas.bytes[extent.at..extent.at + block].copy_from_slice(&over);
    scene.enter(cell, message, vec![extent], Fate::HeadLost(block));
}

fn lay_with_turned_bit(scene: &mut Scene, random: &mut Random, case: Case) {
    let in_body = case == Case::BodyBit;
    let message = of_blocks(random, scene, 0, in_body.then_some(true));
    let extent = scene.canvas.file(&message.bytes);
    let at = if in_body {
        place_in_text(random, &message.bytes, message.body)
    } else {
        let line = message.bytes.iter().position(|&byte| byte == b'\n');
        random.below(line.unwrap_or(1))
    };
    let flip = Flip {
        at,
        bit: random.below(8) as u32,
    };
    scene.canvas.bytes[extent.at + at] ^= 1 << flip.bit;
    let fate = if in_body {
        Fate::BodyBit(flip)
    } else {
        Fate::HeaderBit(flip)
    };
    scene.enter(case.name(), message, vec![extent], fate);
}

/// The place of a byte from `start` on that is no white space, which some hashes do not see.
fn place_in_text(random: &mut Random, bytes: &[u8], start: usize) -> usize {
    let places: Vec<usize> = (start..bytes.len())
        .filter(|&at| bytes[at].is_ascii_graphic())
        .collect();
    places
        .get(random.below(places.len()))
        .copied()
        .unwrap_or(start)
}

fn lay_in_pieces(
    scene: &mut Scene,
    random: &mut Random,
    cell: &str,
    count: usize,
    gap: Gap,
    in_order: bool,
) {
    let message = of_blocks(random, scene, count - 1, None);
    let pieces = cut(random, message.bytes.len(), scene.canvas.block, count);
    let order = order(random, count, in_order);
    scene.scatter(random, cell, message, &pieces, &order, gap);
}

fn lay_in_turn(scene: &mut Scene, random: &mut Random, cell: &str) {
    let block = scene.canvas.block;
    let both = [
        of_blocks(random, scene, 1, None),
        of_blocks(random, scene, 1, None),
    ];
    let mut extents = [Vec::new(), Vec::new()];
    let most = both.iter().map(|one| one.bytes.len().div_ceil(block)).max();
    for number in 0..most.unwrap_or(0) {
        for (message, extents) in both.iter().zip(&mut extents) {
            let start = number * block;
            let end = message.bytes.len().min(start + block);
            if start < end {
                extents.push(scene.canvas.file(&message.bytes[start..end]));
            }
        }
    }
    for (message, extents) in both.into_iter().zip(extents) {
        scene.enter(cell, message, extents, Fate::Whole);
    }
}
