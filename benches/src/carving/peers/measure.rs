//! Runs a program on a leash, and says what it cost.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// How often the length of the output is looked at.
const EVERY: Duration = Duration::from_millis(400);

/// What a program may use before it is stopped.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Seconds.
    pub seconds: u64,
    /// Bytes of output.
    pub output: u64,
    /// Bytes of address space.
    pub memory: u64,
}

/// What a run cost.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    /// Seconds by the clock.
    pub wall: f64,
    /// Seconds of the processors, its own and the kernel's for it; `None` if it was stopped.
    pub cpu: Option<f64>,
    /// The most memory that one of its processes had, in MiB; `None` if it was stopped.
    pub peak_mib: Option<f64>,
    /// Why it was stopped, or how it failed.
    pub trouble: Option<String>,
}

/// Runs `command` in `folder`, where it writes below `out`, and waits for its end.
///
/// GNU time, timeout and prlimit have to be there.
pub fn measure(
    command: &[OsString],
    folder: &Path,
    out: &Path,
    limits: &Limits,
) -> io::Result<Measured> {
    let costs = folder.join("costs");
    let said = folder.join("said");
    let begin = Instant::now();
    let mut child = Command::new("time")
        .args(["-q", "-f", "%U %S %M", "-o"])
        .arg(&costs)
        // Should this process be killed, the time still ends.
        .args(["timeout", "--foreground", "-k", "5"])
        .arg(limits.seconds.to_string())
        .args(["prlimit", "--core=0"])
        .arg(format!("--as={}", limits.memory))
        .args(command)
        .current_dir(folder)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(&said)?)
        .spawn()?;
    let group = Pid::from_child(&child);
    let (ended, ends) = channel::<()>();
    let (status, too_long) = thread::scope(|scope| {
        let watch = scope.spawn(move || {
            while ends.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                if length_below(out) > limits.output {
                    // It may have ended meanwhile.
                    let _ = kill_process_group(group, Signal::KILL);
                    return true;
                }
            }
            false
        });
        let status = child.wait();
        drop(ended);
        (status, watch.join().unwrap_or(false))
    });
    let wall = begin.elapsed().as_secs_f64();
    // What it started may go on without it.
    let _ = kill_process_group(group, Signal::KILL);
    let trouble = match status?.code() {
        _ if too_long => Some(format!("stopped at {} MiB of output", limits.output >> 20)),
        Some(0) => None,
        Some(124 | 137) => Some(format!("stopped after {} s", limits.seconds)),
        code => Some(failure(code, &said)),
    };
    let (cpu, peak_mib) = read_costs(&costs).unzip();
    Ok(Measured {
        wall,
        cpu,
        peak_mib,
        trouble,
    })
}

fn failure(code: Option<i32>, said: &Path) -> String {
    let said = fs::read(said).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    let last = said.trim().lines().last().unwrap_or_default().to_owned();
    match code {
        Some(code) => format!("failed with {code}: {last}"),
        None => format!("killed: {last}"),
    }
}

fn read_costs(costs: &Path) -> Option<(f64, f64)> {
    let text = fs::read_to_string(costs).ok()?;
    let mut numbers = text.split_whitespace().map(str::parse::<f64>);
    let user = numbers.next()?.ok()?;
    let system = numbers.next()?.ok()?;
    let kib = numbers.next()?.ok()?;
    Some((user + system, kib / 1024.0))
}

/// The bytes of all files below a directory; what cannot be read counts for nothing.
pub fn length_below(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(data) if data.is_dir() => length_below(&entry.path()),
            Ok(data) => data.len(),
            Err(_) => 0,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        seconds: 20,
        output: 1 << 20,
        memory: 1 << 30,
    };

    fn run(script: &str, limits: &Limits) -> Measured {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        fs::create_dir(&out).unwrap();
        let command = ["sh", "-c", script].map(OsString::from);
        measure(&command, folder.path(), &out, limits).unwrap()
    }

    #[test]
    fn a_program_that_ends_has_its_costs() {
        let measured = run("echo x > out/file", &LIMITS);
        assert_eq!(measured.trouble, None);
        assert!(measured.cpu.is_some() && measured.peak_mib.is_some());
    }

    #[test]
    fn a_program_that_fails_says_how() {
        let measured = run("echo no such image >&2; exit 3", &LIMITS);
        let trouble = measured.trouble.unwrap();
        assert_eq!(trouble, "failed with 3: no such image");
    }

    #[test]
    fn a_program_that_runs_away_is_stopped() {
        let measured = run("yes > out/file", &LIMITS);
        assert!(measured.trouble.unwrap().contains("of output"));
        let short = Limits {
            seconds: 1,
            ..LIMITS
        };
        let measured = run("sleep 300", &short);
        assert_eq!(measured.trouble.unwrap(), "stopped after 1 s");
    }
}
