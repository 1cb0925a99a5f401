//! `man` and `completions`: what is made from the definitions of the arguments.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_complete::Shell;
use serde_json::json;

use crate::args::Arguments;
use crate::output::Output;

/// The day that stands on the pages: that of this version. Without one, readers of pages take the
/// next word of the title for it.
const DATE: &str = "2026-11-27";

/// The completions for `shell`, to be put where that shell looks for them.
pub(crate) fn completions(shell: Shell) -> Output {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "restante", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    Output::new(
        json!({"shell": shell.to_string(), "script": script}),
        script,
    )
}

/// Writes `restante.1` and a page for each command into `dir`.
pub(crate) fn pages(dir: &Path) -> Result<Output> {
    let failed = || format!("the manual pages cannot be written to {}", dir.display());
    fs::create_dir_all(dir).with_context(failed)?;
    // `help` is no command with a page of its own.
    let mut top = Arguments::command().disable_help_subcommand(true);
    top.build();
    let mut written = Vec::new();
    for command in [&top].into_iter().chain(top.get_subcommands()) {
        let page = clap_mangen::Man::new(command.clone())
            .date(DATE)
            .source(concat!("restante ", env!("CARGO_PKG_VERSION")))
            .manual("restante");
        page.generate_to(dir).with_context(failed)?;
        written.push(dir.join(page.get_filename()));
    }
    written.sort();
    let mut text = String::new();
    for path in &written {
        text.push_str(&format!("{}\n", path.display()));
    }
    Ok(Output::new(json!({"pages": written}), text))
}
