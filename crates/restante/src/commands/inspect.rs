//! `inspect`: what is at a place, for a person's eyes.

use std::fmt::Write as _;

use aggregate::document::{DeviceName, Group};
use anyhow::Result;
use case::{CATALOGUE, Case, MESSAGES};
use evidence::{ByteOffset, ReadAt, ReadAtExt, SECTOR_BYTES};
use mail::{Message, Record};
use scan::{CatalogueRecord, Class};
use serde_json::{Value, json};

use super::sync::{content, views};
use crate::args::Inspect;
use crate::output::{Output, shown, table};
use crate::session::Session;
use crate::usage::Usage;

/// No more than this is shown at once.
const MOST_BYTES: usize = 1 << 20;

/// Runs the command.
pub(crate) fn run(args: &Inspect) -> Result<Output> {
    let case = Case::open_to_read(&args.case)?;
    let text = args.place.as_str();
    let is_id = (8..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
    if is_id {
        return message(&case, text);
    }
    let Some((device, offset)) = text.rsplit_once(':') else {
        return Err(Usage::error(format!(
            "{text:?} is no place: write DEVICE:OFFSET, such as disk:disk-a:0x1000, or eight or \
             more digits of a message's id"
        )));
    };
    place(&case, device, offset, args.length.min(MOST_BYTES))
}

fn place(case: &Case, name: &str, offset: &str, length: usize) -> Result<Output> {
    let session = Session::open(case)?;
    let (name, device) = session.device(name)?;
    let at = position(&session, &name.0, offset)?;
    if at >= device.len() {
        return Err(Usage::error(format!(
            "{name} has {} bytes: {at} lies past its end",
            device.len()
        )));
    }
    let there = usize::try_from(device.len() - at).unwrap_or(usize::MAX);
    let (bytes, gaps) = device.read_vec(ByteOffset::new(at), length.min(there))?;
    let mut text = format!("{name} at byte {at} of {}\n", device.len());
    let class = if gaps.is_empty() {
        Class::of(&bytes)
    } else {
        Class::Unread
    };
    let _ = writeln!(text, "class: {class:?}");
    for range in gaps.suspects() {
        let from = at + range.start as u64;
        let what = mail::proof::HoleCause::Suspect.describe();
        let _ = writeln!(text, "suspect: {} bytes at {from}: {what}", range.len());
    }
    for gap in gaps.iter() {
        let from = at + gap.range.start as u64;
        let why = gap.cause.describe();
        let _ = writeln!(text, "gap: {} bytes at {from}: {why}", gap.range.len());
    }
    let finds = finds_near(case, &name.0, at, bytes.len() as u64)?;
    for find in &finds {
        let _ = writeln!(text, "found: {} at {}", find.what, find.offset);
    }
    let group = session.aggregate.groups.iter();
    let mut group = group.filter(|group| DeviceName::group(&group.name) == name);
    let row = group.next().and_then(|group| row_of(&session, group, at));
    if let Some((_, lines)) = &row {
        text.push_str(lines);
    }
    text.push_str(&hex(&bytes, at, &gaps));
    let json = json!({
        "device": name,
        "row": row.map(|(json, _)| json),
        "offset": at,
        "class": class,
        "gaps": gaps.iter().collect::<Vec<_>>(),
        "finds": finds,
        "hex": bytes.iter().map(|b| format!("{b:02x}")).collect::<String>(),
    });
    Ok(Output::new(json, text))
}

/// The row of a group that a byte lies in: each member, what it is there, and what parity says.
fn row_of(session: &Session, group: &Group, at: u64) -> Option<(Value, String)> {
    let epochs = &session.aggregate.epochs;
    let view = aggregate::epochs::row_at(group, epochs, &session.devices, at)?;
    let head = ["role", "part", "device", "at", "epoch", "class"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let mut pieces = Vec::new();
    for piece in &view.pieces {
        let class = match (
            &piece.device,
            piece.gaps.is_empty() && !piece.bytes.is_empty(),
        ) {
            (Some(_), true) => format!("{:?}", Class::of(&piece.bytes)).to_lowercase(),
            (Some(_), false) => "unread".to_owned(),
            (None, _) => "missing".to_owned(),
        };
        let device = piece.device.as_ref().map(ToString::to_string);
        let left_out = if piece.left_out { " (left out)" } else { "" };
        rows.push(vec![
            piece.role.to_string(),
            piece.part.clone(),
            format!("{}{left_out}", device.as_deref().unwrap_or("-")),
            piece.offset.to_string(),
            piece.epoch.name().to_owned(),
            class.clone(),
        ]);
        pieces.push(json!({
            "role": piece.role,
            "part": piece.part,
            "device": device,
            "offset": piece.offset,
            "epoch": piece.epoch,
            "class": class,
            "left_out": piece.left_out,
        }));
    }
    let parity = view.parity.describe();
    let text = format!("row {}: {parity}\n{}", view.row, table(&rows));
    let json = json!({ "row": view.row, "parity": view.parity, "pieces": pieces });
    Some((json, text))
}

/// The byte that an offset names: a number, or `s` and a sector, or `b` and a block.
fn position(session: &Session, device: &str, offset: &str) -> Result<u64> {
    let wrong = || {
        Usage::error(format!(
            "{offset:?} is no offset: write bytes (4096 or 0x1000), s8 for a sector, b1 for a block"
        ))
    };
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    };
    let (count, unit) = if let Some(sector) = offset.strip_prefix('s') {
        (number(sector), SECTOR_BYTES)
    } else if let Some(block) = offset.strip_prefix('b') {
        let open = session.filesystems()?;
        let fs = open.iter().find(|(name, _)| name == device);
        let Some((_, fs)) = fs else {
            return Err(Usage::error(format!(
                "{device} has no file system whose blocks could be counted; write bytes or sectors"
            )));
        };
        (number(block), u64::from(fs.info().block_bytes))
    } else {
        (number(offset), 1)
    };
    count
        .and_then(|count| count.checked_mul(unit))
        .ok_or_else(wrong)
}

/// What the scan found on a disk from `at` on.
fn finds_near(case: &Case, device: &str, at: u64, length: u64) -> Result<Vec<scan::Find>> {
    let Some(disk) = device.strip_prefix("disk:") else {
        return Ok(Vec::new());
    };
    let unit = at / scan::UNIT_BYTES * scan::UNIT_BYTES;
    let name = format!("{disk}@{unit:016x}");
    if !case.has_segment(CATALOGUE, &name) {
        return Ok(Vec::new());
    }
    let mut finds = Vec::new();
    for record in case.read_segment::<CatalogueRecord>(CATALOGUE, &name)? {
        if let CatalogueRecord::Find(find) = record?
            && (at..at.saturating_add(length)).contains(&find.offset.get())
        {
            finds.push(find);
        }
    }
    Ok(finds)
}

/// Sixteen bytes a line, in hexadecimal and as text; bytes that could not be read as `??`.
fn hex(bytes: &[u8], start: u64, gaps: &evidence::Gaps) -> String {
    let mut text = String::new();
    for (row, line) in bytes.chunks(16).enumerate() {
        let at = row * 16;
        let _ = write!(text, "{:012x} ", start + at as u64);
        let mut plain = String::new();
        for (column, byte) in line.iter().enumerate() {
            let index = at + column;
            if gaps.touch(index..index + 1) {
                text.push_str(" ??");
                plain.push('?');
            } else {
                let _ = write!(text, " {byte:02x}");
                plain.push(if (0x20..0x7F).contains(byte) {
                    char::from(*byte)
                } else {
                    '.'
                });
            }
        }
        let _ = writeln!(text, "{}  {plain}", "   ".repeat(16 - line.len()));
    }
    text
}

fn message(case: &Case, prefix: &str) -> Result<Output> {
    let prefix = prefix.to_ascii_lowercase();
    let mut hits: Vec<Message> = Vec::new();
    for record in case.read_segments::<Record>(MESSAGES)? {
        if let Record::Message(message) = record?
            && message.id.as_str().starts_with(&prefix)
        {
            hits.push(*message);
        }
    }
    let Some(first) = hits.first() else {
        return Err(Usage::error(format!(
            "no message's id begins with {prefix}; report/messages.csv lists them"
        )));
    };
    if hits.iter().any(|hit| hit.id != first.id) {
        return Err(Usage::error(format!(
            "several messages' ids begin with {prefix}; give more digits"
        )));
    }
    let mut text = serde_json::to_string_pretty(&hits)?;
    text.push('\n');
    match content(&views(case)?, first) {
        Ok(bytes) => {
            let head: Vec<&str> =
                std::str::from_utf8(bytes.get(..bytes.len().min(4096)).unwrap_or_default())
                    .unwrap_or_default()
                    .lines()
                    .take_while(|line| !line.trim().is_empty())
                    .collect();
            text.push_str(&shown(&head.join("\n")));
            text.push('\n');
        }
        Err(error) => {
            let _ = writeln!(text, "{error}");
        }
    }
    Ok(Output::new(json!(hits), text))
}
