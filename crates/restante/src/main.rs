//! The command line: arguments, progress, exit codes.
//!
//! Each command is a module of [`commands`] that reads and writes the case and gives an
//! [`output::Output`]; only this crate prints and exits.

mod account_rules;
mod args;
mod commands;
mod output;
mod progress;
mod session;
mod unlock;
mod usage;

use std::process::ExitCode;

use clap::Parser;
use serde_json::json;

use args::Arguments;
use usage::exit_code;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let common = arguments.common.clone();
    if let Some(threads) = common.threads {
        // The pool can be built once only; before that nothing has used it.
        let _ = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build_global();
    }
    if let Some(path) = &common.events
        && let Err(error) = progress::send_events(path)
    {
        output::complain(&common, &error);
        return ExitCode::FAILURE;
    }
    if let Err(error) = unlock::take(common.unlock.as_deref()) {
        output::complain(&common, &error);
        return exit_code(&error);
    }
    let command = arguments.command.name();
    progress::event(
        "run",
        json!({"command": command, "version": env!("CARGO_PKG_VERSION")}),
    );
    let outcome = commands::run(arguments);
    let done = outcome.as_ref().is_ok_and(|output| !output.failed);
    progress::event("exit", json!({"command": command, "done": done}));
    match outcome {
        Ok(output) => {
            let code = output.exit_code();
            match output.print(&common) {
                Ok(()) => code,
                // A reader that has seen enough, such as `head`, is no failure.
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => code,
                Err(error) => {
                    output::complain(&common, &anyhow::Error::from(error));
                    ExitCode::FAILURE
                }
            }
        }
        Err(error) => {
            output::complain(&common, &error);
            exit_code(&error)
        }
    }
}
