//! The command line: arguments, progress, exit codes.
//!
//! Each command is a module of [`commands`] that reads and writes the case and gives an
//! [`output::Output`]; only this crate prints and exits.

mod args;
mod commands;
mod output;
mod progress;
mod session;
mod usage;

use std::process::ExitCode;

use clap::Parser;

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
    match commands::run(arguments) {
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
