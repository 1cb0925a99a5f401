//! A volume as it is after years of use, without its file system: mail, whole and in pieces,
//! among other files.

use super::canvas::{Extent, Gap, cut, order};
use super::decoy::Decoy;
use super::message::{Message, Wish, message};
use super::scene::{Fate, Scene, TrueDecoy};
use crate::random::Random;

/// The volume's block in bytes.
const BLOCK: usize = 4096;

/// A message some of whose pieces are still to be put down, far from the others.
struct Begun {
    cell: String,
    message: Message,
    pieces: Vec<Extent>,
    /// The numbers of the pieces that are still to be put down, the next one last.
    left: Vec<usize>,
}

/// A volume of about `mib` MiB.
///
/// Its cells are `1`, `2` … for the number of a message's pieces, with `-shuffled` behind where
/// these are out of order, and `-far` where any other files lie between them.
pub fn scene(seed: u64, mib: usize) -> Scene {
    let mut scene = Scene::new("volume", BLOCK, 0);
    let mut random = Random::of_case(seed, 11);
    let mut begun = Vec::new();
    while scene.canvas.bytes.len() < mib << 20 {
        if !begun.is_empty() && random.percent(12) {
            let next = random.below(begun.len());
            lay_piece(&mut scene, &mut begun, next);
        }
        match random.below(100) {
            0..45 => lay_mail(&mut scene, &mut random, &mut begun),
            45..48 => {
                let decoy = *random.pick(&Decoy::ALL);
                let extent = scene.canvas.file(&decoy.make(&mut random));
                scene.decoys.push(TrueDecoy {
                    cell: decoy.name().to_owned(),
                    extent,
                });
            }
            48..85 => scene.canvas.background(&mut random),
            _ => {
                let blocks = random.within(4..=96);
                scene.canvas.binary(&mut random, blocks);
            }
        }
    }
    while !begun.is_empty() {
        lay_piece(&mut scene, &mut begun, 0);
        scene.canvas.background(&mut random);
    }
    scene
}

/// Puts down the next piece of a message that was begun.
fn lay_piece(scene: &mut Scene, begun: &mut Vec<Begun>, which: usize) {
    let one = &mut begun[which];
    if let Some(number) = one.left.pop() {
        let piece = one.pieces[number];
        let bytes = &one.message.bytes[piece.at..piece.at + piece.length];
        one.pieces[number] = scene.canvas.file(bytes);
    }
    if one.left.is_empty() {
        let done = begun.swap_remove(which);
        scene.enter(&done.cell, done.message, done.pieces, Fate::Whole);
    }
}

fn lay_mail(scene: &mut Scene, random: &mut Random, begun: &mut Vec<Begun>) {
    let count = match random.below(100) {
        0..84 => 1,
        84..93 => 2,
        93..97 => 3,
        _ => random.within(4..=6),
    };
    let in_order = count == 1 || random.percent(60);
    let most = if random.percent(12) { 400_000 } else { 30_000 };
    let wish = Wish {
        signed: random.percent(40),
        least: (count - 1) * BLOCK + 1,
        most,
        kind: None,
    };
    let message = message(random, &wish);
    let pieces = cut(random, message.bytes.len(), BLOCK, count);
    let order = order(random, count, in_order);
    let mut cell = format!("{count}{}", if in_order { "" } else { "-shuffled" });
    if count > 1 && random.percent(35) {
        cell.push_str("-far");
        begun.push(Begun {
            cell,
            message,
            pieces,
            left: order.into_iter().rev().collect(),
        });
        lay_piece(scene, begun, begun.len() - 1);
        scene.canvas.background(random);
        return;
    }
    let gap = *random.pick(&[Gap::Zero, Gap::Binary, Gap::Mail, Gap::Mail]);
    scene.scatter(random, &cell, message, &pieces, &order, gap);
}
