//! Runs one command and times it: from just before the fork until the exit is seen. Must stay small: what it does
//! between those two moments is part of every figure.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// A command that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(10);
/// Above this part of the time spent waiting for a processor, a sample says more about the machine than the command.
const NOISE: f64 = 0.5;

/// What became of a command.
pub enum Outcome {
    /// It ended well, after so many microseconds.
    Took(f64),
    /// It ended well, but the machine was busy with other work.
    Noisy(f64),
    /// It failed, or was killed because it hung.
    Failed,
}

/// Runs commands one at a time.
pub struct Clock {
    null: File,
    exits: SignalFd,
    pressure: bool,
}

impl Clock {
    /// Takes SIGCHLD over for this process, and orphans of what it runs.
    pub fn new() -> io::Result<Clock> {
        nix::sys::prctl::set_child_subreaper(true)?;
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGCHLD);
        mask.thread_block()?;
        let exits = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        let null = File::options().read(true).write(true).open("/dev/null")?;
        Ok(Clock { null, exits, pressure: stalled().is_some() })
    }

    /// Does the kernel tell how long tasks waited for a processor?
    pub fn sees_pressure(&self) -> bool {
        self.pressure
    }

    /// Runs it and says how long it took.
    pub fn time(&self, words: &[String]) -> io::Result<Outcome> {
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        command.stdin(self.null.try_clone()?).stdout(self.null.try_clone()?).stderr(self.null.try_clone()?);
        let before = stalled();
        let start = Instant::now();
        let mut child = command.spawn()?;
        let ended = self.wait(&mut child, start)?;
        let took = start.elapsed().as_secs_f64() * 1e6;
        let waited = match (before, stalled()) {
            (Some(before), Some(after)) => after - before,
            _ => 0.0,
        };
        reap_orphans();
        Ok(match ended {
            false => Outcome::Failed,
            true if waited > took * NOISE => Outcome::Noisy(took),
            true => Outcome::Took(took),
        })
    }

    /// Runs it untimed; its error text if it fails.
    pub fn run(&self, words: &[String]) -> Result<(), String> {
        let mut command = Command::new(&words[0]);
        // Not a pipe: what a container inherits would keep it open.
        let text = File::options().read(true).write(true).create(true).truncate(true).open(scratch_output());
        let text = text.map_err(|error| error.to_string())?;
        let errors = text.try_clone().map_err(|error| error.to_string())?;
        command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        let mut child = command.spawn().map_err(|error| format!("{}: {error}", words[0]))?;
        let ended = self.wait(&mut child, Instant::now()).map_err(|error| error.to_string())?;
        reap_orphans();
        if ended {
            return Ok(());
        }
        let text = fs::read_to_string(scratch_output()).unwrap_or_default();
        Err(text.trim().lines().last().unwrap_or("failed without a word").to_string())
    }

    /// Waits for the child's end, kills it after LIMIT. Did it succeed?
    fn wait(&self, child: &mut Child, start: Instant) -> io::Result<bool> {
        loop {
            if let Some(status) = child.try_wait()? {
                while self.exits.read_signal()?.is_some() {}
                return Ok(status.success());
            }
            let left = LIMIT.saturating_sub(start.elapsed());
            if left.is_zero() {
                child.kill()?;
                child.wait()?;
                return Ok(false);
            }
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            poll(&mut [PollFd::new(self.exits.as_fd(), PollFlags::POLLIN)], timeout)?;
            self.exits.read_signal()?;
        }
    }
}

/// Where `run` keeps a command's error text.
fn scratch_output() -> std::path::PathBuf {
    std::env::temp_dir().join(format!("rt-bench-output.{}", std::process::id()))
}

/// Removes that file.
pub fn forget_output() {
    // It exists only if a command was run.
    let _ = fs::remove_file(scratch_output());
}

/// Microseconds that any task of the machine has waited for a processor so far.
fn stalled() -> Option<f64> {
    let text = fs::read_to_string("/proc/pressure/cpu").ok()?;
    text.lines().next()?.split("total=").nth(1)?.trim().parse().ok()
}

/// Containers' first processes become ours when the runtime has ended.
fn reap_orphans() {
    while let Ok(status) = waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
        if status.pid().is_none() {
            return;
        }
    }
}

/// Waits until this orphan of ours has ended, for a while.
pub fn wait_for_orphan(pid: i32) {
    let start = Instant::now();
    // ECHILD ends the loop as well: it has been reaped already.
    while let Ok(WaitStatus::StillAlive) = waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG)) {
        if start.elapsed() > LIMIT {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
