//! How each carved message was put together: kept in the case, for an engineer to read.

use anyhow::Result;
use case::Case;
use mail::MessageId;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::output::{Output, table};
use crate::usage::Usage;

/// The directory of the stories.
const STORIES: &str = "carved";
const SEGMENT: &str = "stories";
/// A border that says less than this, in nats, is shown.
const WEAK: f64 = 2.0;

/// How a message was put together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Story {
    id: MessageId,
    device: String,
    /// Offset and length of each piece, in bytes.
    pieces: Vec<(u64, u64)>,
    /// What shows that it is whole.
    proof: Option<String>,
    /// Why it ends where it ends.
    end: Option<String>,
    /// The borders of blocks at which little speaks for going on, and those between pieces: the
    /// offset in the message, and how much, in nats.
    borders: Vec<(u64, f64)>,
    /// Where in the message a byte was read wrong, as it was read, and as it was stored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    repairs: Vec<(u64, u8, u8)>,
    contradictions: Vec<String>,
}

impl Story {
    pub(super) fn of(id: &MessageId, device: &str, carving: &carve::Carving) -> Self {
        let found = &carving.found;
        let mut ends = Vec::new();
        let mut at = 0_u64;
        for (_, length) in &found.pieces {
            at = at.saturating_add(*length);
            ends.push(at);
        }
        let borders = carving.borders.iter();
        let shown = borders.filter(|(at, nats)| *nats < WEAK || ends.contains(at));
        Self {
            id: id.clone(),
            device: device.to_owned(),
            pieces: found.pieces.clone(),
            proof: found.proof.map(|proof| proof.describe().to_owned()),
            end: carving.end.map(|end| end.describe().to_owned()),
            borders: shown.copied().collect(),
            repairs: found
                .repairs
                .iter()
                .map(|r| (r.at, r.read, r.stored))
                .collect(),
            contradictions: found.contradictions.clone(),
        }
    }

    fn text(&self) -> String {
        let mut rows = vec![
            vec!["message".to_owned(), self.id.to_string()],
            vec!["device".to_owned(), self.device.clone()],
        ];
        for (number, (at, length)) in self.pieces.iter().enumerate() {
            let what = if number == 0 { "pieces" } else { "" };
            rows.push(vec![what.to_owned(), format!("{length} bytes at {at}")]);
        }
        let proof = self
            .proof
            .as_deref()
            .unwrap_or("nothing shows that it is whole");
        rows.push(vec!["proof".to_owned(), proof.to_owned()]);
        let end = self.end.as_deref().unwrap_or("it breaks off");
        rows.push(vec!["end".to_owned(), end.to_owned()]);
        for (at, nats) in &self.borders {
            rows.push(vec![
                "border".to_owned(),
                format!("at {at}: {nats:+.1} nats for going on"),
            ]);
        }
        for (at, read, stored) in &self.repairs {
            let text = format!("at {at}: {read:#04x} was read, {stored:#04x} is what verifies");
            rows.push(vec!["repaired".to_owned(), text]);
        }
        for why in &self.contradictions {
            rows.push(vec!["against it".to_owned(), why.clone()]);
        }
        table(&rows)
    }
}

/// Keeps the stories of all carved messages.
pub(super) fn write(case: &Case, stories: &[Story]) -> Result<()> {
    case.remove_segments(STORIES, "")?;
    Ok(case.write_segment(STORIES, SEGMENT, stories)?)
}

/// Tells the story of the messages whose identity begins with `id`.
pub(super) fn run(case: &Case, id: &str) -> Result<Output> {
    let mut told = Vec::new();
    for story in case.read_segments::<Story>(STORIES)? {
        let story = story?;
        if story.id.as_str().starts_with(id) {
            told.push(story);
        }
    }
    if told.is_empty() {
        return Err(Usage::error(format!(
            "no message that was carved has an identity that begins with {id:?}; a restored file \
             has it in its name, behind `.R`"
        )));
    }
    let text: Vec<String> = told.iter().map(Story::text).collect();
    Ok(Output::new(json!(told), text.join("\n")))
}
