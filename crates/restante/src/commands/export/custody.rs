//! Papers for the chain of custody: where each message comes from, and what was handed over.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use case::{Case, LEDGER, MESSAGES};
use filesystem::Place;
use mail::{Message, MessageId, Record};
use restore::{Ledger, Outcome, Target};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::trace::{DiskRun, Trace};
use crate::args::{Common, Export, Server};
use crate::commands::sync::{Index, checked_target, content, views_of};
use crate::commands::verify::files_by_name;
use crate::output::{Output, shown};
use crate::progress;
use crate::session::{Session, open_disks};
use crate::usage::Usage;

/// Runs the command for one of the papers.
pub(super) fn run(args: &Export, case: &Case, common: &Common) -> Result<Output> {
    let Some(out) = &args.out else {
        return Err(Usage::error("say where to: -o FILE"));
    };
    if out.exists() {
        return Err(Usage::error(format!(
            "{} is there already; name a new file",
            out.display()
        )));
    }
    let part = super::with_suffix(out, ".part");
    let file = File::create(&part).with_context(|| part.display().to_string())?;
    let mut writer = BufWriter::new(file);
    let (what, count) = if args.bodyfile {
        ("files", bodyfile(case, &mut writer)?)
    } else if args.dfxml {
        ("messages", dfxml(case, &mut writer, common)?)
    } else {
        ("messages", manifest(args, case, &mut writer)?)
    };
    let file = writer.into_inner().map_err(|error| error.into_error())?;
    file.sync_all()?;
    fs::rename(&part, out).with_context(|| out.display().to_string())?;
    Ok(Output::new(
        json!({"file": out, what: count}),
        format!("{count} {what} written to {}\n", out.display()),
    ))
}

fn messages(case: &Case) -> Result<impl Iterator<Item = Result<Message>>> {
    let records = case.read_segments::<Record>(MESSAGES)?;
    Ok(records.filter_map(|record| match record {
        Ok(Record::Message(message)) => Some(Ok(*message)),
        Ok(_) => None,
        Err(error) => Some(Err(error.into())),
    }))
}

/// The files that messages were found in, as a body file of The Sleuth Kit 3.x, which `mactime` makes a
/// timeline of: `MD5|name|inode|mode|UID|GID|size|atime|mtime|ctime|crtime`. What is not known is 0.
fn bodyfile(case: &Case, out: &mut impl Write) -> Result<u64> {
    let mut count = 0;
    for message in messages(case)? {
        let message = message?;
        let origin = &message.origin;
        let path = match origin.path.as_str() {
            "" => format!("message {}", message.id),
            path => path.to_owned(),
        };
        let state = match message.state() {
            state if state.is_empty() => state,
            state => format!(" ({state})"),
        };
        let name = format!("{}{path}{state}", origin.device);
        // The format has no way to write these.
        let name = shown(&name.replace('|', "\\x7c"));
        let (inode, size) = (origin.inode, origin.stored_bytes);
        let time = message.delivered.seconds.max(0);
        writeln!(out, "0|{name}|{inode}|r/rrw-------|0|0|{size}|0|{time}|0|0")?;
        count += 1;
    }
    Ok(count)
}

/// Every message with its hashes and its places, in Digital Forensics XML (Garfinkel 2012): the ranges of
/// the device that its file system is on, and those of the disks that they are read from.
fn dfxml(case: &Case, out: &mut impl Write, common: &Common) -> Result<u64> {
    let trace = Trace::default();
    let disks = open_disks(case)?;
    let disks: Vec<_> = disks.into_iter().map(|disk| trace.watch(disk)).collect();
    let session = Session::with_disks(case, &disks)?;
    let views = views_of(case, &session)?;
    head(case, out)?;
    let bar = progress::bar(common, "dfxml", 0, progress::Unit::Items);
    let mut count = 0;
    for message in messages(case)? {
        let message = message?;
        trace.take();
        let bytes = content(&views, &message);
        let runs = trace.take();
        let sha256 = bytes.ok().map(|bytes| hex(&Sha256::digest(&bytes)));
        fileobject(&message, sha256.as_deref(), &runs, out)?;
        count += 1;
        bar.inc(1);
    }
    bar.finish_and_clear();
    writeln!(out, "</dfxml>")?;
    Ok(count)
}

fn head(case: &Case, out: &mut impl Write) -> Result<()> {
    writeln!(
        out,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <dfxml version=\"1.2.0\" xmlns=\"http://www.forensicswiki.org/wiki/Category:Digital_Forensics_XML\" \
         xmlns:dc=\"http://purl.org/dc/elements/1.1/\" xmlns:restante=\"https://github.com/restante/restante\">\n \
         <metadata><dc:type>Recovered mail</dc:type></metadata>\n \
         <creator><program>restante</program><version>{}</version></creator>",
        env!("CARGO_PKG_VERSION")
    )?;
    writeln!(out, " <source>")?;
    for (name, record) in &case.file()?.evidence {
        let hash = record.blake3.as_deref().unwrap_or_default();
        writeln!(
            out,
            "  <image_filename restante:disk=\"{}\" restante:bytes=\"{}\" restante:blake3=\"{}\">{}\
             </image_filename>",
            xml(name),
            record.bytes,
            xml(hash),
            xml(&record.path.to_string_lossy()),
        )?;
    }
    writeln!(out, " </source>")?;
    Ok(())
}

/// The beginning of the year 1, in seconds since 1970.
const FIRST_YEAR: i64 = -62_135_596_800;

fn fileobject(
    message: &Message,
    sha256: Option<&str>,
    runs: &[DiskRun],
    out: &mut impl Write,
) -> Result<()> {
    let origin = &message.origin;
    let owner = message
        .owner
        .as_ref()
        .map(|owner| owner.account.to_string());
    writeln!(out, " <fileobject>")?;
    writeln!(out, "  <filename>{}</filename>", xml(&origin.path))?;
    writeln!(out, "  <filesize>{}</filesize>", message.bytes)?;
    writeln!(out, "  <alloc>{}</alloc>", u8::from(!message.is_deleted()))?;
    writeln!(out, "  <inode>{}</inode>", origin.inode)?;
    let delivered = jiff::Timestamp::from_second(message.delivered.seconds);
    // XML Schema has no year 0, and none before it in this form.
    if let Ok(time) = delivered
        && time.as_second() >= FIRST_YEAR
    {
        writeln!(out, "  <mtime>{time}</mtime>")?;
    }
    writeln!(out, "  <byte_runs>")?;
    for piece in &origin.pieces {
        if let Place::At(at) | Place::Compressed { at, .. } = piece.place {
            writeln!(
                out,
                "   <byte_run file_offset=\"{}\" fs_offset=\"{}\" len=\"{}\"/>",
                piece.file_offset,
                at.get(),
                piece.length
            )?;
        }
    }
    writeln!(out, "  </byte_runs>")?;
    writeln!(
        out,
        "  <hashdigest type=\"other\" restante:type=\"blake3\">{}</hashdigest>",
        message.id
    )?;
    if let Some(sha256) = sha256 {
        writeln!(out, "  <hashdigest type=\"sha256\">{sha256}</hashdigest>")?;
    }
    // What is not of DFXML comes last: its schema has no other place for it.
    writeln!(
        out,
        "  <restante:message device=\"{}\" account=\"{}\" folder=\"{}\" grade=\"{}\"/>",
        xml(&origin.device),
        xml(owner.as_deref().unwrap_or("_unattributed")),
        xml(&message.folder),
        message.grade.name()
    )?;
    writeln!(out, "  <restante:byte_runs>")?;
    for run in runs {
        writeln!(
            out,
            "   <restante:byte_run disk=\"{}\" img_offset=\"{}\" len=\"{}\"/>",
            xml(&run.disk),
            run.start,
            run.bytes
        )?;
    }
    writeln!(out, "  </restante:byte_runs>")?;
    writeln!(out, " </fileobject>")?;
    Ok(())
}

/// The restored messages of a Maildir target by SHA-256 or BLAKE3, in the form that `sha256sum -c` and
/// `b3sum -c` check when they run in the target's directory.
fn manifest(args: &Export, case: &Case, out: &mut impl Write) -> Result<u64> {
    let Some(to) = &args.to else {
        return Err(Usage::error(
            "name the target whose mail is to be listed: --to maildir:DIR",
        ));
    };
    let Target::Maildir(target) = checked_target(to, &Server::default(), case.path())? else {
        return Err(Usage::error(
            "a manifest names files, which a server does not show: `restante verify --to` proves what \
             is on a server",
        ));
    };
    let index = Index::open(case, &std::collections::BTreeSet::new())?;
    let mut lines: Vec<String> = Vec::new();
    for place in index.places() {
        let ledger = Ledger::open(&case.path().join(LEDGER), &target.id(), place)?;
        let maildir = target.path_of(place);
        let mut folders: HashMap<&str, HashMap<Vec<u8>, PathBuf>> = HashMap::new();
        for entry in ledger.entries() {
            let files = folders
                .entry(&entry.folder)
                .or_insert_with(|| files_by_name(&maildir.join(&entry.folder)));
            let Some(path) = files.get(entry.name.as_bytes()) else {
                continue;
            };
            let bytes = fs::read(path).with_context(|| path.display().to_string())?;
            // What does not hold what was put there is for `verify` to say, and in no manifest.
            if entry.outcome == Outcome::Restored && MessageId::of(&bytes).as_str() == entry.id {
                let hash = if args.b3 {
                    entry.id.clone()
                } else {
                    hex(&Sha256::digest(&bytes))
                };
                lines.push(line(
                    &hash,
                    path.strip_prefix(target.base()).unwrap_or(path),
                ));
            }
        }
    }
    lines.sort();
    for line in &lines {
        out.write_all(line.as_bytes())?;
    }
    Ok(lines.len() as u64)
}

/// A line as coreutils write it: a name with a backslash or a line end in it is escaped, and marked by a
/// backslash before the line.
fn line(hash: &str, path: &Path) -> String {
    let name = path.to_string_lossy();
    if name.contains(['\\', '\n', '\r']) {
        let name = name
            .replace('\\', "\\\\")
            .replace('\n', "\\n")
            .replace('\r', "\\r");
        format!("\\{hash}  {name}\n")
    } else {
        format!("{hash}  {name}\n")
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Text in XML 1.0, which has no control characters: they become U+FFFD.
fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\u{FFFE}' | '\u{FFFF}' => out.push(char::REPLACEMENT_CHARACTER),
            c if c.is_control() => out.push(char::REPLACEMENT_CHARACTER),
            c => out.push(c),
        }
    }
    out
}
