//! Progress: a line on standard error for people, events for programs.
//!
//! The line is drawn only on a terminal, says how far, how fast and how long still, and is gone
//! when the work is done. Events are lines of JSON in the file that `--events` names; what they
//! hold is in `docs/operation.md`. A thread of its own looks at the counter of each step once a
//! second, so the threads that work pay nothing for it.

use std::fs::File;
use std::io::{self, Write};
use std::ops::Deref;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use crate::args::Common;

/// How often a step that goes on is reported at most, and looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// Where events go; nowhere if nobody asked for them.
static EVENTS: OnceLock<Mutex<Box<dyn Write + Send>>> = OnceLock::new();

/// What is counted.
#[derive(Clone, Copy)]
pub(crate) enum Unit {
    /// Bytes read or written.
    Bytes,
    /// Messages or files.
    Items,
    /// Nothing: it is only known that the work goes on.
    None,
}

impl Unit {
    /// The word for it in events.
    const fn name(self) -> Option<&'static str> {
        match self {
            Self::Bytes => Some("bytes"),
            Self::Items => Some("items"),
            Self::None => None,
        }
    }
}

/// Sends events to `path` from now on: at the end of a file, or to standard error for `-`.
pub(crate) fn send_events(path: &Path) -> Result<()> {
    let to: Box<dyn Write + Send> = if path.as_os_str() == "-" {
        Box::new(io::stderr())
    } else {
        let file = File::options().append(true).create(true).open(path);
        Box::new(file.with_context(|| format!("events cannot be written to {}", path.display()))?)
    };
    let _ = EVENTS.set(Mutex::new(to));
    Ok(())
}

/// Writes one event, if anybody wants them. `facts` are put after the time and the name.
pub(crate) fn event(name: &str, facts: Value) {
    let Some(events) = EVENTS.get() else {
        return;
    };
    let time = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs());
    let mut event = json!({"time": time, "event": name});
    if let (Some(event), Value::Object(facts)) = (event.as_object_mut(), facts) {
        event.extend(facts);
    }
    let mut to = events.lock().unwrap_or_else(PoisonError::into_inner);
    // One write a line, so that lines of several runs that append to one file stay whole. Who
    // reads events and goes away must not end a recovery.
    let _ = to.write_all(format!("{event}\n").as_bytes());
    let _ = to.flush();
}

/// A step under way; it ends when this is dropped, at the latest.
pub(crate) struct Progress {
    bar: ProgressBar,
    /// Ends the thread that reports it.
    watch: Mutex<Option<(Sender<()>, JoinHandle<()>)>>,
}

impl Deref for Progress {
    type Target = ProgressBar;

    fn deref(&self) -> &ProgressBar {
        &self.bar
    }
}

impl Progress {
    /// Ends the step: its line is gone, and its last event is written.
    pub(crate) fn finish_and_clear(&self) {
        if !self.bar.is_finished() {
            self.bar.finish_and_clear();
        }
        let watch = self
            .watch
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some((stop, thread)) = watch {
            drop(stop);
            let _ = thread.join();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish_and_clear();
    }
}

/// A step of `total` things, or of an unknown number for zero.
pub(crate) fn bar(common: &Common, what: &str, total: u64, unit: Unit) -> Progress {
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
        Unit::None => "{msg:<10} {spinner} {elapsed}",
    };
    let bar = ProgressBar::with_draw_target(Some(total), target).with_message(what.to_owned());
    let bar = match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    };
    if matches!(unit, Unit::None) && !bar.is_hidden() {
        bar.enable_steady_tick(INTERVAL);
    }
    let watch = Mutex::new(EVENTS.get().map(|_| watch(&bar, what, unit)));
    Progress { bar, watch }
}

/// Does `work`, of which it is not known how much there is, as a step.
pub(crate) fn step<T>(common: &Common, what: &str, work: impl FnOnce() -> T) -> T {
    let _step = bar(common, what, 0, Unit::None);
    work()
}

/// Reports a step from its start to its end: at most once in an interval, and only what is new.
fn watch(bar: &ProgressBar, what: &str, unit: Unit) -> (Sender<()>, JoinHandle<()>) {
    let (stop, stopped) = channel::<()>();
    let (counter, watched, what) = (bar.clone(), bar.clone(), what.to_owned());
    let facts = move |done: u64| {
        let counted = unit.name().map(|_| done);
        let total = watched.length().filter(|total| *total > 0);
        json!({
            "step": what,
            "done": counted,
            "total": counted.and(total),
            "unit": unit.name(),
        })
    };
    event("start", facts(0));
    let thread = thread::spawn(move || {
        let mut reported = 0;
        while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
            let done = counter.position();
            if done != reported {
                event("progress", facts(done));
                reported = done;
            }
        }
        event("end", facts(counter.position()));
    });
    (stop, thread)
}
