//! `recover`: the main job, all steps in their order.

use std::collections::BTreeSet;

use anyhow::Result;
use case::Case;
use serde_json::json;

use super::{assemble, carve, rebuild, report, scan, sync};
use crate::account_rules::Said;
use crate::args::{Common, Recover};
use crate::output::Output;
use crate::progress;
use crate::session;
use crate::unlock;
use crate::usage::Usage;

/// Runs the command.
pub(crate) fn run(args: &Recover, common: &Common) -> Result<Output> {
    let said = Said::check(&args.accounts, &args.case)?;
    let images = scan::open_images(&args.images, &args.raw)?;
    if images.is_empty() && !args.case.join("case.json").exists() {
        return Err(Usage::error(
            "no image was named; write `restante recover CASE IMAGE... --to TARGET` with raw \
             images or block devices",
        ));
    }
    // A target that cannot be used is better known before hours of scanning than after, and
    // before anything is made.
    let target = sync::checked_target(&args.to, &args.handing_back.server, &args.case)?;
    let case = Case::open_or_create(&args.case)?;
    let scanned = scan::scan(&case, images, args.hashes, None, common)?;
    let assembled = if needs_assembly(&case)? {
        progress::step(common, "assemble", || assemble::assemble(&case, common))?
    } else {
        Output::new(
            json!("kept as it is"),
            "aggregate.json is kept as it is\n".to_owned(),
        )
    };
    let rebuilt = rebuild::rebuild(&case, &said, common)?;
    let carved = carve::carve(&case, &carve::Asked::default(), common)?;
    let everybody = BTreeSet::new();
    let synced = sync::sync(
        &case,
        &target,
        &everybody,
        false,
        &args.handing_back,
        common,
    )?;
    let report = progress::step(common, "report", || report::write(&case, None, None))?;
    let nothing = rebuilt.json["folders"] == 0 && !carve::found_mail(&carved.json);
    let mut text = [
        ("evidence", &scanned),
        ("aggregate", &assembled),
        ("messages", &rebuilt),
        ("carved", &carved),
        ("restored", &synced),
        ("report", &report),
    ]
    .map(|(title, output)| format!("{title}\n{}", indented(&output.text)))
    .join("\n");
    let locked = session::locked(&case)?;
    if nothing {
        text.push_str(
            "\nNo mail was found. See above what was lost or not recognised; the recovery \
             guide, docs/recovery-guide.md, says what to try next.\n",
        );
    }
    if !locked.is_empty() {
        text.push_str(&format!(
            "\nEncrypted, and not read: {}. What mail is in there is not known; the lines of \
             `unused` above and the report say what would open it.\n",
            locked.join(", ")
        ));
    }
    Ok(Output {
        // What is locked may be all that there is: then everything was done that can be.
        failed: synced.failed || nothing && locked.is_empty(),
        json: json!({
            "scan": scanned.json,
            "assemble": assembled.json,
            "rebuild": rebuilt.json,
            "carve": carved.json,
            "sync": synced.json,
            "report": report.json,
        }),
        text,
    })
}

/// Whether the aggregate is to be worked out: it is not there, or evidence came since. What a
/// person edited is kept.
fn needs_assembly(case: &Case) -> Result<bool> {
    if !case.path().join("aggregate.json").exists() {
        return Ok(true);
    }
    if assemble::edited(case)? {
        return Ok(false);
    }
    // A key may open now what was locked before.
    if !unlock::keys().is_empty() && !session::locked(case)?.is_empty() {
        return Ok(true);
    }
    let log = case.verified_log()?;
    let last = log.iter().rev().find(|line| line.step == "assemble");
    let evidence = assemble::evidence_digest(case)?;
    Ok(last.is_none_or(|line| line.input != evidence))
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}
