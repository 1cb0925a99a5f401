//! `report`: write the report.

mod wanted;

use std::path::Path;

use anyhow::Result;
use case::Case;
use mail::Address;
use report::{Facts, NoticeOptions};
use serde_json::json;

use crate::args::Report;
use crate::output::{Output, shown};
use crate::usage::Usage;

/// Lines about what would bring more.
const MOST_WANTED: usize = 5;

/// Runs the command.
pub(crate) fn run(args: &Report) -> Result<Output> {
    let case = Case::open(&args.case)?;
    let from = args.notices_from.as_deref().map(|text| {
        Address::parse(text)
            .ok_or_else(|| Usage::error(format!("{text:?} is not an address like local@domain")))
    });
    let notices = NoticeOptions {
        template: args.template.clone(),
        from: from.transpose()?,
    };
    write(&case, args.out.as_deref(), args.notices.then_some(&notices))
}

/// Writes the report of `case` to `out`, or into the case, with `notices` also a mail to each owner.
pub(crate) fn write(
    case: &Case,
    out: Option<&Path>,
    notices: Option<&NoticeOptions>,
) -> Result<Output> {
    let inside = case.path().join(case::REPORT);
    let directory = out.unwrap_or(&inside);
    let mut facts = Facts::gather(case)?;
    // A report needs no disks, and is written without them too.
    let not_tried = match wanted::wanted(case, &facts) {
        Ok(wanted) => {
            facts.wanted = wanted;
            None
        }
        Err(error) => Some(format!("{error:#}")),
    };
    let paths = report::write(&facts, case, directory)?;
    let totals = &facts.totals;
    let mut text = format!(
        "{} messages of {} accounts found: {} whole, {} damaged, {} lost\nreport: {}\n",
        totals.found,
        totals.accounts,
        totals.whole,
        totals.damaged,
        totals.lost,
        paths.html.display()
    );
    if let Some(why) = &not_tried {
        text.push_str(&format!(
            "what would bring more was not tried: {}\n",
            shown(why)
        ));
    }
    for wanted in facts.wanted.iter().flatten().take(MOST_WANTED) {
        text.push_str(&format!(
            "would bring more: {}\n",
            shown(&wanted.describe())
        ));
    }
    let mut json = json!({"totals": totals, "html": paths.html, "wanted": facts.wanted});
    if let Some(options) = notices {
        let notices = report::notices(&facts, directory, options)?;
        text.push_str(&format!(
            "notices: {} in {}\n",
            notices.written,
            directory.join("notices").display()
        ));
        for account in &notices.left_out {
            text.push_str(&format!(
                "no notice for {}: mail cannot be sent to such a name\n",
                shown(account)
            ));
        }
        json["notices"] = json!({"written": notices.written, "left_out": notices.left_out});
    }
    Ok(Output::new(json, text))
}
