//! Messages in so many pieces, with this or that between them.

use super::BLOCKS;
use super::canvas::{Gap, cut, order};
use super::message::{Wish, message};
use super::scene::Scene;
use crate::random::Random;

/// One way in which messages lie on a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// In how many pieces they are.
    pub pieces: usize,
    /// What lies between these, or after a single one.
    pub gap: Gap,
    /// Whether a signature proves their bodies.
    pub signed: bool,
    /// The volume's block in bytes.
    pub block: usize,
    /// Whether the pieces follow each other in the message's order.
    pub in_order: bool,
}

impl Cell {
    /// All cells of volumes with `block`.
    pub fn all(block: usize) -> Vec<Self> {
        let mut cells = Vec::new();
        for in_order in [true, false] {
            for pieces in [1, 2, 3, 5] {
                for gap in Gap::ALL {
                    for signed in [true, false] {
                        cells.push(Self {
                            pieces,
                            gap,
                            signed,
                            block,
                            in_order,
                        });
                    }
                }
            }
        }
        cells.retain(|cell| cell.in_order || cell.pieces > 1);
        cells
    }

    /// A short name, such as `2-mail-signed-4k` or `3-zero-unsigned-1k-shuffled`.
    pub fn name(&self) -> String {
        format!(
            "{}-{}-{}-{}k{}",
            self.pieces,
            self.gap.name(),
            if self.signed { "signed" } else { "unsigned" },
            self.block / 1024,
            if self.in_order { "" } else { "-shuffled" }
        )
    }
}

/// The volumes of the grid, one a block size, with `count` messages in each cell that `wanted`
/// names.
pub fn scenes(seed: u64, count: usize, phase: usize, wanted: &dyn Fn(&str) -> bool) -> Vec<Scene> {
    BLOCKS
        .iter()
        .map(|&block| scene(seed, block, count, phase, wanted))
        .filter(|scene| !scene.messages.is_empty())
        .collect()
}

fn scene(
    seed: u64,
    block: usize,
    count: usize,
    phase: usize,
    wanted: &dyn Fn(&str) -> bool,
) -> Scene {
    let mut scene = Scene::new(format!("grid-{}k", block / 1024), block, phase % block);
    let mut random = Random::of_case(seed, block as u64);
    let mut tasks: Vec<Cell> = Cell::all(block)
        .into_iter()
        .filter(|cell| wanted(&cell.name()))
        .flat_map(|cell| std::iter::repeat_n(cell, count))
        .collect();
    random.shuffle(&mut tasks);
    for cell in tasks {
        for _ in 0..random.below(3) {
            scene.canvas.background(&mut random);
        }
        lay(&mut scene, &mut random, &cell);
    }
    scene.canvas.background(&mut random);
    scene
}

fn lay(scene: &mut Scene, random: &mut Random, cell: &Cell) {
    // More than so many blocks less one are at least as many blocks as pieces.
    let least = (cell.pieces - 1) * cell.block + 1;
    let wish = Wish {
        signed: cell.signed,
        least,
        most: least + 24 * cell.block,
        kind: None,
    };
    let message = message(random, &wish);
    let pieces = cut(random, message.bytes.len(), cell.block, cell.pieces);
    let order = order(random, cell.pieces, cell.in_order);
    scene.scatter(random, &cell.name(), message, &pieces, &order, cell.gap);
    if cell.pieces == 1 {
        scene.gap(random, cell.gap);
    }
}
