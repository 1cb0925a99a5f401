//! `report`: write the report.

use std::path::Path;

use anyhow::Result;
use case::Case;
use report::Facts;
use serde_json::json;

use crate::args::Report;
use crate::output::Output;

/// Runs the command.
pub(crate) fn run(args: &Report) -> Result<Output> {
    let case = Case::open(&args.case)?;
    write(&case, args.out.as_deref())
}

/// Writes the report of `case` to `out`, or into the case.
pub(crate) fn write(case: &Case, out: Option<&Path>) -> Result<Output> {
    let inside = case.path().join(case::REPORT);
    let facts = Facts::gather(case)?;
    let paths = report::write(&facts, case, out.unwrap_or(&inside))?;
    let totals = &facts.totals;
    let text = format!(
        "{} messages of {} accounts found: {} whole, {} damaged, {} lost\nreport: {}\n",
        totals.found,
        totals.accounts,
        totals.whole,
        totals.damaged,
        totals.lost,
        paths.html.display()
    );
    Ok(Output::new(
        json!({"totals": totals, "html": paths.html}),
        text,
    ))
}
