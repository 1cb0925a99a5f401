//! One module a command.

mod accounts;
mod assemble;
mod carve;
mod drill;
mod export;
mod inspect;
mod rebuild;
mod recover;
mod report;
mod scan;
mod sync;
mod verify;

use anyhow::Result;

use crate::args::{Arguments, Command};
use crate::output::Output;

/// Runs a command.
pub(crate) fn run(arguments: Arguments) -> Result<Output> {
    let common = &arguments.common;
    match arguments.command {
        Command::Recover(args) => recover::run(&args, common),
        Command::Scan(args) => scan::run(&args, common),
        Command::Assemble(args) => assemble::run(&args, common),
        Command::Rebuild(args) => rebuild::run(&args, common),
        Command::Carve(args) => carve::run(&args, common),
        Command::Accounts(args) => accounts::run(&args),
        Command::Sync(args) => sync::run(&args, common),
        Command::Report(args) => report::run(&args),
        Command::Verify(args) => verify::run(&args, common),
        Command::Inspect(args) => inspect::run(&args),
        Command::Export(args) => export::run(&args, common),
        Command::Drill(args) => drill::run(&args, common),
    }
}
