//! `export`: a device as a sparse image, or as commands; papers for the chain of custody.

mod custody;
mod trace;

use std::fs::{self, File};
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use case::Case;
use evidence::{ByteOffset, ReadAt};
use serde_json::json;

use crate::args::{Common, Export};
use crate::output::{Output, bytes};
use crate::progress;
use crate::session::Session;
use crate::usage::Usage;

/// Bytes read and written at once.
const PIECE: usize = 4 << 20;
/// Zeros of this length and alignment are left out of the file.
const SPARSE: usize = 64 << 10;

/// Runs the command.
pub(crate) fn run(args: &Export, common: &Common) -> Result<Output> {
    let case = Case::open_to_read(&args.case)?;
    if args.bodyfile || args.dfxml || args.manifest {
        return custody::run(args, &case, common);
    }
    let session = Session::open(&case)?;
    if args.mdadm {
        let text = aggregate::export::mdadm_commands(&session.aggregate);
        return Ok(Output::new(json!({ "commands": text }), text));
    }
    let Some(name) = &args.device else {
        return Err(Usage::error(
            "name the device to export, such as volume:aggr0/mail; `restante assemble` lists them",
        ));
    };
    let (name, device) = session.device(name)?;
    if args.dmsetup {
        let text = aggregate::export::dmsetup_table(&session.aggregate, &name);
        return Ok(Output::new(json!({ "commands": text }), text));
    }
    let Some(out) = &args.out else {
        return Err(Usage::error("say where to: -o FILE, --dmsetup or --mdadm"));
    };
    let map = with_suffix(out, ".map");
    for path in [out, &map] {
        if path.exists() {
            return Err(Usage::error(format!(
                "{} is there already; name a new file",
                path.display()
            )));
        }
    }
    // The image gets its name last: without its map, its holes would read as zeros.
    let part = with_suffix(out, ".part");
    let bar = progress::bar(common, "export", device.len(), progress::Unit::Bytes);
    let (gaps, suspect) = write_sparse(device.as_ref(), &part, &bar)?;
    bar.finish_and_clear();
    let missing: u64 = gaps.iter().map(|gap| gap.end - gap.start).sum();
    let mut text = format!(
        "{} of {name} written to {}\n",
        bytes(device.len()),
        out.display()
    );
    if !gaps.is_empty() {
        write_map(&map, &gaps, device.len()).with_context(|| map.display().to_string())?;
        text.push_str(&format!(
            "{missing} bytes in {} places could not be had; {} lists them\n",
            gaps.len(),
            map.display()
        ));
    }
    if suspect > 0 {
        text.push_str(&format!(
            "{suspect} bytes may be something else: the members of a RAID group contradict each other \
             there\n"
        ));
    }
    fs::rename(&part, out).with_context(|| out.display().to_string())?;
    let map = Some(map).filter(|_| !gaps.is_empty());
    Ok(Output::new(
        json!({"device": name, "file": out, "bytes": device.len(), "missing": missing, "suspect": suspect, "map": map}),
        text,
    ))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Writes `device` to a new file, leaving out zeros, and gives the ranges that could not be read,
/// and how many bytes are suspect.
fn write_sparse(
    device: &dyn ReadAt,
    out: &Path,
    bar: &indicatif::ProgressBar,
) -> Result<(Vec<Range<u64>>, u64)> {
    let what = || out.display().to_string();
    let file = File::create(out).with_context(what)?;
    file.set_len(device.len()).with_context(what)?;
    let mut gaps: Vec<Range<u64>> = Vec::new();
    let mut suspect = 0;
    let mut buf = vec![0; PIECE];
    let mut at = 0_u64;
    while at < device.len() {
        let length = usize::try_from(device.len() - at)
            .unwrap_or(PIECE)
            .min(PIECE);
        let piece = buf.get_mut(..length).unwrap_or_default();
        let read = device.read_at(ByteOffset::new(at), piece)?;
        let ranges = read.suspects().into_iter();
        suspect += ranges.map(|range| range.len() as u64).sum::<u64>();
        for gap in read.iter() {
            let range = at + gap.range.start as u64..at + gap.range.end as u64;
            match gaps.last_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                _ => gaps.push(range),
            }
        }
        for (index, part) in piece.chunks(SPARSE).enumerate() {
            if part.iter().any(|byte| *byte != 0) {
                file.write_all_at(part, at + (index * SPARSE) as u64)
                    .with_context(what)?;
            }
        }
        at += length as u64;
        bar.inc(length as u64);
    }
    file.sync_all().with_context(what)?;
    Ok((gaps, suspect))
}

/// Writes the gaps as a ddrescue mapfile, which `restante` reads beside the image again.
fn write_map(path: &Path, gaps: &[Range<u64>], length: u64) -> Result<()> {
    let mut text = String::from("# Mapfile in the form of GNU ddrescue, written by restante\n");
    text.push_str("0x0     +               1\n");
    let mut from = 0;
    for gap in gaps {
        if gap.start > from {
            text.push_str(&format!("{from:#010x}  {:#010x}  +\n", gap.start - from));
        }
        let size = gap.end - gap.start;
        text.push_str(&format!("{:#010x}  {size:#010x}  -\n", gap.start));
        from = gap.end;
    }
    if from < length {
        text.push_str(&format!("{from:#010x}  {:#010x}  +\n", length - from));
    }
    let mut file = File::options().write(true).create_new(true).open(path)?;
    file.write_all(text.as_bytes())?;
    Ok(file.sync_all()?)
}
