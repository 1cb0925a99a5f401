//! Progress on standard error: how far, how fast, how long still.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::args::Common;

/// What is counted.
#[derive(Clone, Copy)]
pub(crate) enum Unit {
    /// Bytes read or written.
    Bytes,
    /// Messages or files.
    Items,
}

/// A line of progress for `total` things. It is drawn only if standard error is a terminal.
pub(crate) fn bar(common: &Common, what: &str, total: u64, unit: Unit) -> ProgressBar {
    let target = if common.quiet {
        ProgressDrawTarget::hidden()
    } else {
        ProgressDrawTarget::stderr()
    };
    let template = match unit {
        Unit::Bytes => {
            "{msg:<10} {bar:30} {binary_bytes:>11} of {binary_total_bytes:<11} {binary_bytes_per_sec}, {eta} left"
        }
        Unit::Items => {
            "{msg:<10} {bar:30} {human_pos:>11} of {human_len:<11} {per_sec}, {eta} left"
        }
    };
    let bar = ProgressBar::with_draw_target(Some(total), target).with_message(what.to_owned());
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
