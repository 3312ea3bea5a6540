//! Counts what a command does instead of timing it: system calls, programs executed, processes, threads, peak memory. A
//! tracer is used for that, so the times of such a run mean nothing.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::sys::ptrace::{self, Options};
use nix::unistd::Pid;

use crate::sys::{self, Stop};

/// What was seen of one run.
#[derive(Clone, Copy, Default)]
pub struct Counts {
    /// System calls of all its processes, the workload's included.
    pub calls: usize,
    /// Programs executed: the runtime itself, the workload, anything between.
    pub execs: usize,
    /// Processes made.
    pub forks: usize,
    /// Threads made.
    pub threads: usize,
    /// Messages sent over sockets.
    pub messages: usize,
    /// Peak resident memory of the runtime's first process, in KiB.
    pub host_kib: usize,
    /// Peak resident memory of any other process that executes a program, before it does: the container's first one.
    pub init_kib: usize,
}

/// Whose doings count.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Those of the command and of all that come of it.
    Family,
    /// Those of its first process: what it leaves behind goes on.
    Alone,
}

/// Runs the command under a tracer. None if it failed.
pub fn count(words: &[String], scope: Scope) -> io::Result<Option<Counts>> {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // SAFETY: the closure runs between fork and exec, where only async-signal-safe calls are allowed; it makes a single
    // system call and allocates nothing.
    unsafe { command.pre_exec(|| Ok(ptrace::traceme()?)) };
    let child = command.spawn()?;
    let main = Pid::from_raw(child.id() as i32);
    let mut tracer = Tracer {
        main,
        live: HashSet::from([main]),
        counts: Counts { execs: 1, ..Counts::default() },
        entered: HashMap::new(),
    };
    // The first stop is the SIGTRAP that follows exec.
    sys::wait_stop(Some(main))?;
    ptrace::setoptions(main, options(scope))?;
    sys::resume(main, 0)?;
    let status = tracer.follow()?;
    Ok((status == 0).then_some(tracer.counts))
}

fn options(scope: Scope) -> Options {
    let births = Options::PTRACE_O_TRACEFORK | Options::PTRACE_O_TRACEVFORK | Options::PTRACE_O_TRACECLONE;
    let ends = Options::PTRACE_O_TRACEEXEC | Options::PTRACE_O_TRACEEXIT | Options::PTRACE_O_EXITKILL;
    let calls = ends | Options::PTRACE_O_TRACESYSGOOD;
    if scope == Scope::Family { births | calls } else { calls }
}

struct Tracer {
    main: Pid,
    /// Those that are traced and have not ended.
    live: HashSet<Pid>,
    counts: Counts,
    /// Peak memory at the entry of each process's latest execve.
    entered: HashMap<Pid, usize>,
}

impl Tracer {
    /// Handles stops until no tracee that counts is left; the exit status of the first process.
    fn follow(&mut self) -> io::Result<i32> {
        let mut result = -1;
        // What is left behind by a command is our child then, but no tracee, and may well live on.
        while !self.live.is_empty() {
            let Some((pid, stop)) = sys::wait_stop(None)? else { break };
            let signal = match stop {
                Stop::Ended(status) => {
                    self.live.remove(&pid);
                    if pid == self.main {
                        result = status;
                    }
                    continue;
                }
                Stop::Call => self.call(pid),
                Stop::Event(event) => self.event(pid, event),
                // A new tracee begins with this stop, which is no signal for it.
                Stop::Signal(libc::SIGSTOP) => 0,
                Stop::Signal(signal) => signal,
            };
            // ESRCH: it was killed meanwhile, and its end will be reported.
            let _ = sys::resume(pid, signal);
        }
        Ok(result)
    }

    /// A system call begins or ends.
    fn call(&mut self, pid: Pid) -> i32 {
        if let Some(number) = sys::entered_call(pid) {
            self.counts.calls += 1;
            self.counts.messages += usize::from(number == libc::SYS_sendmsg || number == libc::SYS_sendto);
            if number == libc::SYS_execve || number == libc::SYS_execveat {
                self.entered.insert(pid, peak_kib(pid));
            }
        }
        0
    }

    /// A birth, an exec or an exit.
    fn event(&mut self, pid: Pid, event: i32) -> i32 {
        match event {
            libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE => {
                let born = ptrace::getevent(pid).unwrap_or_default() as i32;
                self.live.insert(Pid::from_raw(born));
                match is_thread(born) {
                    true => self.counts.threads += 1,
                    false => self.counts.forks += 1,
                }
            }
            libc::PTRACE_EVENT_EXEC => {
                self.counts.execs += 1;
                let peak = self.entered.get(&pid).copied().unwrap_or_default();
                match pid == self.main {
                    true => self.counts.host_kib = self.counts.host_kib.max(peak),
                    false => self.counts.init_kib = self.counts.init_kib.max(peak),
                }
            }
            libc::PTRACE_EVENT_EXIT if pid == self.main => {
                self.counts.host_kib = self.counts.host_kib.max(peak_kib(pid));
            }
            _ => {}
        }
        0
    }
}

/// The number behind a name in /proc/PID/status.
fn status_number(pid: i32, name: &str) -> Option<usize> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Peak resident memory so far of this process's present program.
fn peak_kib(pid: Pid) -> usize {
    status_number(pid.as_raw(), "VmHWM").unwrap_or_default()
}

/// Is this task a thread of another?
fn is_thread(task: i32) -> bool {
    status_number(task, "Tgid").is_some_and(|group| group != task as usize)
}
