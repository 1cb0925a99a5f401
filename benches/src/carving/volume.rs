//! A volume as it is after years of use, without its file system: mail, whole and in pieces,
//! among other files.

use super::canvas::{Gap, cut, order};
use super::decoy::Decoy;
use super::message::{Wish, message};
use super::scene::{Scene, TrueDecoy};
use crate::random::Random;

/// The volume's block in bytes.
const BLOCK: usize = 4096;

/// A volume of about `mib` MiB.
///
/// Its cells are `1`, `2` … for the number of a message's pieces, with `-shuffled` behind where
/// these are out of order.
pub fn scene(seed: u64, mib: usize) -> Scene {
    let mut scene = Scene::new("volume", BLOCK, 0);
    let mut random = Random::of_case(seed, 11);
    while scene.canvas.bytes.len() < mib << 20 {
        match random.below(100) {
            0..45 => lay_mail(&mut scene, &mut random),
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
    scene
}

fn lay_mail(scene: &mut Scene, random: &mut Random) {
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
    let gap = *random.pick(&[Gap::Zero, Gap::Binary, Gap::Mail, Gap::Mail]);
    let cell = format!("{count}{}", if in_order { "" } else { "-shuffled" });
    scene.scatter(random, &cell, message, &pieces, &order, gap);
}
