//! `inspect`: what is at a place, for a person's eyes.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use aggregate::document::{DeviceName, Group};
use anyhow::Result;
use case::{Case, MESSAGES};
use evidence::{ByteOffset, ReadAt, ReadAtExt, SECTOR_BYTES};
use mail::{Message, Record};
use scan::{BLOCK_BYTES, Class, Find, Run, ScanOptions, Unit, scan_unit};
use serde_json::{Value, json};

use super::sync::{content, views};
use crate::args::Inspect;
use crate::output::{Output, shown, table};
use crate::session::Session;
use crate::usage::Usage;

/// No more than this is shown at once.
const MOST_BYTES: usize = 1 << 20;
/// Blocks before and after those shown whose classes are said.
const NEIGHBOURS: u64 = 4;
/// How long a structure is at most that gives blocks their class, in bytes.
const LONGEST_METADATA: u64 = 64 << 10;

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
    place(&case, device, offset, args.length)
}

fn place(case: &Case, name: &str, offset: &str, length: Option<usize>) -> Result<Output> {
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
    let to_border = BLOCK_BYTES - (at % BLOCK_BYTES as u64) as usize;
    let length = length.unwrap_or(to_border).min(MOST_BYTES).min(there);
    let (bytes, gaps) = device.read_vec(ByteOffset::new(at), length)?;
    let around = Around::look(&device, at, length)?;
    let mut text = format!("{name} at byte {at} of {}\n", device.len());
    around.describe(&mut text);
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
        "class": around.class.map(Class::name),
        "blocks": around.runs.iter().map(run_json).collect::<Vec<_>>(),
        "gaps": gaps.iter().collect::<Vec<_>>(),
        "finds": around.finds.iter().map(find_json).collect::<Vec<_>>(),
        "hex": bytes.iter().map(|b| format!("{b:02x}")).collect::<String>(),
    });
    Ok(Output::new(json, text))
}

/// What a scan says of a place and its neighbours. It is scanned now, and not looked up: the
/// catalogue knows disks only, and every device is shown alike.
struct Around {
    /// The class of the block that the place lies in.
    class: Option<Class>,
    /// The classes of that block and its neighbours.
    runs: Vec<Run>,
    /// What begins in the bytes that are shown, or reaches into them.
    finds: Vec<Find>,
}

impl Around {
    fn look(device: &dyn ReadAt, at: u64, length: usize) -> Result<Self> {
        let block = BLOCK_BYTES as u64;
        let first = at / block * block;
        let end = at.saturating_add(length as u64);
        // A structure that reaches to here may begin this far before.
        let from = first.saturating_sub(LONGEST_METADATA);
        let neighbours = NEIGHBOURS * block;
        let to = end.div_ceil(block) * block + neighbours;
        let range = Unit {
            start: ByteOffset::new(from),
            bytes: to.min(device.len()) - from,
        };
        let options = ScanOptions {
            hash: false,
            ..ScanOptions::default()
        };
        let result = scan_unit(device, range, &detect::all()?, &options, None, &|_| ())?;
        let shown = first.saturating_sub(neighbours)..to;
        let runs: Vec<Run> = result
            .runs
            .iter()
            .filter_map(|run| clipped(run, &shown))
            .collect();
        let class = clipped_class(&runs, at);
        let mut finds = result.finds;
        finds.retain(|find| {
            let start = find.offset.get();
            let reaches = start.saturating_add(find.bytes.unwrap_or(1).max(1));
            start < end && reaches > at
        });
        Ok(Self { class, runs, finds })
    }

    fn describe(&self, text: &mut String) {
        let class = self.class.map_or("unread", Class::name);
        let _ = writeln!(text, "class: {class}");
        let blocks: Vec<String> = self
            .runs
            .iter()
            .map(|run| {
                let count = run.bytes.div_ceil(BLOCK_BYTES as u64);
                let times = if count > 1 {
                    format!(" ×{count}")
                } else {
                    String::new()
                };
                format!("{} {}{times}", run.start, run.class.name())
            })
            .collect();
        let _ = writeln!(text, "blocks around: {}", blocks.join(", "));
        for find in &self.finds {
            let _ = writeln!(text, "found: {}", described(find));
        }
    }
}

/// The part of a run that lies in `range`.
fn clipped(run: &Run, range: &std::ops::Range<u64>) -> Option<Run> {
    let start = run.start.get().max(range.start);
    let end = run.start.get().saturating_add(run.bytes).min(range.end);
    (start < end).then(|| Run {
        start: ByteOffset::new(start),
        bytes: end - start,
        class: run.class,
    })
}

/// The class at `at`.
fn clipped_class(runs: &[Run], at: u64) -> Option<Class> {
    let holds = |run: &&Run| (run.start.get()..run.start.get() + run.bytes).contains(&at);
    runs.iter().find(holds).map(|run| run.class)
}

/// A find in words.
fn described(find: &Find) -> String {
    let mut text = format!("{} at {}", find.what, find.offset);
    let numbers = [
        ("bytes", find.bytes),
        ("number", find.number),
        ("owner", find.owner),
    ];
    for (name, number) in numbers {
        if let Some(number) = number {
            let _ = write!(text, ", {name} {number}");
        }
    }
    if let Some(whole) = &find.part_of {
        let _ = write!(text, ", part of {}", shown(whole));
    }
    text
}

fn find_json(find: &Find) -> Value {
    json!({
        "offset": find.offset,
        "what": find.what,
        "bytes": find.bytes,
        "number": find.number,
        "owner": find.owner,
        "part_of": find.part_of,
    })
}

fn run_json(run: &Run) -> Value {
    json!({ "start": run.start, "bytes": run.bytes, "class": run.class.name() })
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
            (Some(_), true) => Class::of(&piece.bytes).name().to_owned(),
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

/// Sixteen bytes a line, in hexadecimal and as text; bytes that could not be read as `??`. Of
/// lines that are the same the first is shown, and `*` for the others.
fn hex(bytes: &[u8], start: u64, gaps: &evidence::Gaps) -> String {
    let mut text = String::new();
    let mut before: Option<String> = None;
    let last = bytes.len().div_ceil(16).saturating_sub(1);
    for (row, line) in bytes.chunks(16).enumerate() {
        let shown = hex_line(line, row * 16, gaps);
        if before.as_ref() == Some(&shown) && row != last {
            if !text.ends_with("*\n") {
                text.push_str("*\n");
            }
            continue;
        }
        let _ = writeln!(text, "{:012x} {shown}", start + row as u64 * 16);
        before = Some(shown);
    }
    text
}

/// One line of [`hex`], without its place: the bytes of a read from `at` on.
fn hex_line(line: &[u8], at: usize, gaps: &evidence::Gaps) -> String {
    let (mut text, mut plain) = (String::new(), String::new());
    for (index, byte) in (at..).zip(line) {
        if gaps.touch(index..index + 1) {
            text.push_str(" ??");
            plain.push('?');
        } else {
            let _ = write!(text, " {byte:02x}");
            let printable = (0x20..0x7F).contains(byte);
            plain.push(if printable { char::from(*byte) } else { '.' });
        }
    }
    format!("{text}{}  {plain}", "   ".repeat(16 - line.len()))
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
    let alike = near_duplicates(case, first)?;
    let mut text = report::harmless_json(&serde_json::to_string_pretty(&hits)?);
    text.push('\n');
    for message in &alike {
        let place = format!("{}, {}", message.folder, message.origin.path);
        let _ = writeln!(
            text,
            "near-duplicate (same Message-ID and body): {} in {}",
            message.id,
            shown(&place)
        );
    }
    match content(&views(case)?, first) {
        Ok(bytes) => {
            let head = bytes.get(..bytes.len().min(4096)).unwrap_or_default();
            let head = String::from_utf8_lossy(head);
            let head: Vec<&str> = head
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
    let ids: BTreeSet<&str> = alike.iter().map(|message| message.id.as_str()).collect();
    let mut json = json!(hits);
    for hit in json.as_array_mut().into_iter().flatten() {
        hit["near_duplicates"] = json!(ids);
    }
    Ok(Output::new(json, text))
}

/// The other messages of the same account that have the same Message-ID and body.
fn near_duplicates(case: &Case, message: &Message) -> Result<Vec<Message>> {
    let mut alike = Vec::new();
    if message.likeness.is_none() {
        return Ok(alike);
    }
    let account = |message: &Message| message.owner.as_ref().map(|owner| owner.account.clone());
    for record in case.read_segments::<Record>(MESSAGES)? {
        if let Record::Message(other) = record?
            && other.likeness == message.likeness
            && other.normalised() != message.normalised()
            && account(&other) == account(message)
        {
            alike.push(*other);
        }
    }
    Ok(alike)
}
