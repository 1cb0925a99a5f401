//! Writes the report of a made-up incident, to look at while working on the templates:
//! `cargo run -p report --example demo -- DIRECTORY`.

#[path = "../tests/common/mod.rs"]
mod common;

use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let directory: PathBuf = std::env::args_os()
        .nth(1)
        .ok_or("name a new directory")?
        .into();
    let case = common::incident(&directory);
    let facts = report::Facts::gather(&case)?;
    report::write(&facts, &case, &case.path().join("report"))?;
    Ok(())
}
