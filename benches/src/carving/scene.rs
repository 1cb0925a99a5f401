//! An image with mail in it, and the truth about it.

use std::io;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::canvas::{Canvas, Extent, Gap};
use super::message::{Message, Wish, message};
use crate::random::Random;

/// The cell of messages that only lie between others. They count like all.
pub const BETWEEN: &str = "between";

/// One bit that was turned on the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flip {
    /// The offset in the message.
    pub at: usize,
    /// The number of the bit, 0 the lowest.
    pub bit: u32,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Every byte is there.
    Whole,
    /// Its first bytes, so many, are written over.
    HeadLost(usize),
    /// A bit of its first header field is turned. What the image has counts as exact.
    HeaderBit(Flip),
    /// A bit of a signed body is turned: the signature says which.
    BodyBit(Flip),
}

impl Fate {
    /// Whether it can be had as it was.
    pub const fn survives(self) -> bool {
        !matches!(self, Self::HeadLost(_))
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::HeadLost(_) => "head-lost",
            Self::HeaderBit(_) => "header-bit",
            Self::BodyBit(_) => "body-bit",
        }
    }
}

/// A message that was stored.
#[derive(Clone, Debug)]
pub struct TrueMessage {
    /// The case that it stands for.
    pub cell: String,
    /// The message as it was stored.
    pub message: Message,
    /// Its bytes on the image, in the message's order.
    pub extents: Vec<Extent>,
    /// What became of it.
    pub fate: Fate,
}

/// A file that is no mail.
#[derive(Clone, Debug)]
pub struct TrueDecoy {
    /// What it is.
    pub cell: String,
    /// Where it lies.
    pub extent: Extent,
}

/// An image and what is on it.
pub struct Scene {
    /// A short name, which is its file's.
    pub name: String,
    /// The image.
    pub canvas: Canvas,
    /// The mail on it.
    pub messages: Vec<TrueMessage>,
    /// What looks like mail.
    pub decoys: Vec<TrueDecoy>,
}

impl Scene {
    /// An image without anything.
    pub fn new(name: impl Into<String>, block: usize, phase: usize) -> Self {
        Self {
            name: name.into(),
            canvas: Canvas::new(block, phase),
            messages: Vec::new(),
            decoys: Vec::new(),
        }
    }

    /// Enters a message that was put down.
    pub fn enter(&mut self, cell: &str, message: Message, extents: Vec<Extent>, fate: Fate) {
        self.messages.push(TrueMessage {
            cell: cell.to_owned(),
            message,
            extents,
            fate,
        });
    }

    /// Puts a message down in one piece from a block's start on.
    pub fn put(&mut self, cell: &str, message: Message) {
        let extent = self.canvas.file(&message.bytes);
        self.enter(cell, message, vec![extent], Fate::Whole);
    }

    /// Puts a message down in `pieces`, in the order of the numbers in `order`, with a gap of
    /// `gap` after each but the last.
    pub fn scatter(
        &mut self,
        random: &mut Random,
        cell: &str,
        message: Message,
        pieces: &[Extent],
        order: &[usize],
        gap: Gap,
    ) {
        let mut extents = pieces.to_vec();
        for (place, &number) in order.iter().enumerate() {
            if place > 0 {
                self.gap(random, gap);
            }
            let piece = pieces[number];
            let bytes = &message.bytes[piece.at..piece.at + piece.length];
            extents[number] = self.canvas.file(bytes);
        }
        self.enter(cell, message, extents, Fate::Whole);
    }

    /// Puts down what lies between two pieces.
    pub fn gap(&mut self, random: &mut Random, gap: Gap) {
        // Most gaps are short, but there are long ones.
        let most = *random.pick(&[2, 8, 8, 32, 64]);
        let blocks = random.within(1..=most);
        match gap {
            Gap::Zero => self.canvas.zeros(blocks),
            Gap::Binary => self.canvas.binary(random, blocks),
            Gap::Mail => {
                for _ in 0..random.within(1..=3) {
                    let other = small(random);
                    self.put(BETWEEN, other);
                }
            }
        }
    }

    /// The bytes of a message as the image has them.
    pub fn stored(&self, message: &TrueMessage) -> Vec<u8> {
        let pieces = message.extents.iter();
        pieces
            .map(|piece| &self.canvas.bytes[piece.at..piece.at + piece.length])
            .collect::<Vec<_>>()
            .concat()
    }

    /// Writes the image as `NAME.img` into `folder`.
    pub fn write_image(&self, folder: &Path) -> io::Result<std::path::PathBuf> {
        let path = folder.join(format!("{}.img", self.name));
        std::fs::write(&path, &self.canvas.bytes)?;
        Ok(path)
    }

    /// The truth as a document: an object with `image`, `block`, `phase`, `messages`, `decoys`.
    pub fn document(&self) -> Value {
        let messages: Vec<Value> = self
            .messages
            .iter()
            .map(|one| self.message_document(one))
            .collect();
        let decoys: Vec<Value> = self
            .decoys
            .iter()
            .map(|decoy| {
                json!({"cell": decoy.cell, "at": decoy.extent.at, "length": decoy.extent.length})
            })
            .collect();
        json!({
            "image": format!("{}.img", self.name),
            "length": self.canvas.bytes.len(),
            "block": self.canvas.block,
            "phase": self.canvas.phase,
            "messages": messages,
            "decoys": decoys,
        })
    }

    fn message_document(&self, one: &TrueMessage) -> Value {
        let extents: Vec<Value> = one
            .extents
            .iter()
            .map(|extent| json!([extent.at, extent.length]))
            .collect();
        let mut document = json!({
            "cell": one.cell,
            "kind": one.message.kind.name(),
            "signature": one.message.signature.name(),
            "account": one.message.account,
            "length": one.message.bytes.len(),
            "body": one.message.body,
            "sha256": hex(&Sha256::digest(&one.message.bytes)),
            "blake3": blake3::hash(&one.message.bytes).to_hex().as_str(),
            "extents": extents,
            "fate": one.fate.name(),
            "survives": one.fate.survives(),
        });
        match one.fate {
            Fate::Whole => {}
            Fate::HeadLost(bytes) => document["head_lost"] = json!(bytes),
            Fate::HeaderBit(flip) | Fate::BodyBit(flip) => {
                document["flip"] = json!({"at": flip.at, "bit": flip.bit});
                let stored = self.stored(one);
                document["stored_blake3"] = json!(blake3::hash(&stored).to_hex().as_str());
            }
        }
        document
    }
}

/// A message of usual length.
pub(super) fn small(random: &mut Random) -> Message {
    let wish = Wish {
        most: 16_000,
        ..Wish::any(random)
    };
    message(random, &wish)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes the images of `scenes` and `truth.json`, which has them under `scenes`, into `folder`.
pub fn write(seed: u64, scenes: &[Scene], folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut documents = Vec::new();
    for scene in scenes {
        scene.write_image(folder)?;
        documents.push(scene.document());
    }
    let truth = json!({"seed": seed, "scenes": documents});
    let text = serde_json::to_string_pretty(&truth)?;
    std::fs::write(folder.join("truth.json"), text)
}
