//! One module a command.

mod accounts;
mod assemble;
mod carve;
mod drill;
mod export;
mod inspect;
mod manual;
mod rebuild;
mod recover;
mod report;
mod scan;
mod sync;
mod verify;

use std::path::Path;

use anyhow::Result;
use case::Case;

use crate::args::{Arguments, Command};
use crate::output::Output;
use crate::progress;
use crate::session::not_identified;

/// Runs a command.
pub(crate) fn run(arguments: Arguments) -> Result<Output> {
    let common = &arguments.common;
    match arguments.command {
        Command::Recover(args) => noted(recover::run(&args, common)?, &args.case),
        Command::Scan(args) => noted(scan::run(&args, common)?, &args.case),
        Command::Assemble(args) => {
            let output = progress::step(common, "assemble", || assemble::run(&args, common))?;
            noted(output, &args.case)
        }
        Command::Rebuild(args) => noted(rebuild::run(&args, common)?, &args.case),
        Command::Carve(args) => noted(carve::run(&args, common)?, &args.case),
        Command::Accounts(args) => accounts::run(&args),
        Command::Sync(args) => noted(sync::run(&args, common)?, &args.case),
        Command::Report(args) => noted(report::run(&args)?, &args.case),
        Command::Verify(args) => verify::run(&args, common),
        Command::Inspect(args) => inspect::run(&args),
        Command::Export(args) => export::run(&args, common),
        Command::Drill(args) => drill::run(&args, common),
        Command::Completions(args) => Ok(manual::completions(args.shell)),
        Command::Man(args) => manual::pages(&args.dir),
    }
}

/// Says beside what a command did with evidence if that is not identified yet.
fn noted(mut output: Output, case: &Path) -> Result<Output> {
    if let Some(note) = not_identified(&Case::open_to_read(case)?)? {
        output.text.push_str(&note);
        if let Some(json) = output.json.as_object_mut() {
            json.insert("not_identified".to_owned(), note.trim_end().into());
        }
    }
    Ok(output)
}
