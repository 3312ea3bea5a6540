//! Runs a command under a tracer that knows each of its system calls by a *point*: which process (by birth: `h` is the
//! first, `h.1` its first child, `h.1.2` that one's second), and the how many-th call of that process. Points are the
//! same from run to run. At one point something is done: the call fails, the process is killed, or an attacker acts.
//!
//! A process is let go when it becomes the payload (or a hook): that is not the runtime any more.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::ptrace::{self, Options};
use nix::unistd::Pid;

use crate::calls::{Names, cannot_fail, does_it_anyway};
use crate::sys::{self, Heard, Patience, Stop};

/// A place in a run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    /// The process.
    pub role: String,
    /// Its how many-th call, from 1.
    pub call: u32,
}

/// What is done at the point.
pub enum Deed<'a> {
    /// The call isn't made and comes to this errno.
    Fail(i32),
    /// The process is killed.
    Kill,
    /// Somebody else does something.
    Act(&'a mut dyn FnMut()),
}

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Not in time; it was killed.
    Hung,
}

/// What a run came to.
pub struct Run {
    /// The command's end.
    pub end: End,
    /// The call at the point, if the run came there.
    pub fired: Option<String>,
    /// How many calls each process made.
    pub calls: BTreeMap<String, u32>,
    /// What it printed.
    pub stdout: PathBuf,
    /// What it complained about.
    pub stderr: String,
}

impl Run {
    /// Whether it said that all went well.
    pub fn success(&self) -> bool {
        self.end == End::Code(0)
    }

    /// What was printed.
    pub fn output(&self) -> String {
        fs::read_to_string(&self.stdout).unwrap_or_default()
    }
}

#[derive(Default)]
struct Task {
    role: String,
    calls: u32,
    births: u32,
    answer: Option<i32>,
}

/// Runs commands, traced or not, one at a time.
pub struct Tracer {
    tasks: HashMap<i32, Task>,
    early: HashSet<i32>,
    payload: (u64, u64),
    outputs: PathBuf,
    names: Names,
    quiet: bool,
    fired: Option<String>,
    ended: BTreeMap<String, u32>,
}

/// The point and the deed, while a run lasts.
type Order<'a, 'b> = Option<(&'a Point, &'a mut Deed<'b>)>;

impl Tracer {
    /// `payload`: the program at whose execution a process is let go. `outputs`: where stdout and stderr go.
    pub fn new(payload: &Path, outputs: &Path) -> std::io::Result<Tracer> {
        let file = fs::metadata(payload)?;
        sys::adopt_orphans();
        sys::keep_time();
        Ok(Tracer {
            tasks: HashMap::new(),
            early: HashSet::new(),
            payload: (file.dev(), file.ino()),
            outputs: outputs.to_owned(),
            names: Names::read(),
            quiet: true,
            fired: None,
            ended: BTreeMap::new(),
        })
    }

    /// Runs a command without looking.
    pub fn plain(&mut self, name: &str, words: &[String]) -> Run {
        self.start(name, words, None, false)
    }

    /// Counts a command's calls.
    pub fn count(&mut self, name: &str, words: &[String]) -> Run {
        self.start(name, words, None, true)
    }

    /// Runs a command and does the deed at the point.
    pub fn at(&mut self, name: &str, words: &[String], point: &Point, mut deed: Deed<'_>) -> Run {
        self.start(name, words, Some((point, &mut deed)), true)
    }

    fn start(&mut self, name: &str, words: &[String], order: Order<'_, '_>, traced: bool) -> Run {
        let (stdout, stderr) = (self.outputs.join(format!("{name}.out")), self.outputs.join(format!("{name}.err")));
        // New files: a container that lives on may write to the old.
        let _ = fs::remove_file(&stdout);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").current_dir("/");
        command.stdin(Stdio::null());
        command.stdout(File::create(&stdout).expect("an output file"));
        command.stderr(File::create(&stderr).expect("an output file"));
        if traced {
            // SAFETY: the closure runs between fork and exec, where only async-signal-safe calls are allowed; it makes a
            // single system call and allocates nothing.
            unsafe { command.pre_exec(|| Ok(ptrace::traceme()?)) };
        }
        let main = command.spawn().unwrap_or_else(|e| panic!("{}: {e}", words[0])).id() as i32;
        (self.quiet, self.fired) = (!traced, None);
        self.ended.clear();
        if traced {
            self.tasks.insert(main, Task { role: "h".into(), ..Task::default() });
        }
        let end = self.follow(Some(main), order, sys::patience());
        let stands = if end.is_none() { sys::where_they_stand() } else { String::new() };
        let end = end.unwrap_or_else(|| self.end_it(main));
        self.quiet = true;
        for task in self.tasks.values() {
            self.ended.insert(task.role.clone(), task.calls);
        }
        let stderr = String::from_utf8_lossy(&fs::read(stderr).unwrap_or_default()).into_owned() + &stands;
        Run { end, fired: self.fired.take(), calls: std::mem::take(&mut self.ended), stdout, stderr }
    }

    /// What didn't end in time.
    fn end_it(&mut self, main: i32) -> End {
        // SAFETY: kill takes numbers; the process is our child and not yet waited for.
        unsafe { libc::kill(main, libc::SIGKILL) };
        self.follow(Some(main), None, Duration::from_secs(5));
        End::Hung
    }

    /// Waits until no child and no tracee is left; false when the time is over before.
    pub fn all_gone(&mut self, limit: Duration) -> bool {
        self.follow(None, None, limit).is_some()
    }

    /// Handles what happens until this process has ended (or, without one, until there is none).
    fn follow(&mut self, main: Option<i32>, mut order: Order<'_, '_>, limit: Duration) -> Option<End> {
        let mut patience = Patience::of(limit);
        loop {
            match sys::wait(&mut patience) {
                Heard::Late => return None,
                Heard::Nobody => return Some(End::Code(0)),
                Heard::Stop(pid, Stop::Ended(status)) => {
                    if let Some(task) = self.tasks.remove(&pid) {
                        self.ended.insert(task.role, task.calls);
                    }
                    if Some(pid) == main {
                        let code = libc::WIFEXITED(status);
                        let end = || End::Signal(libc::WTERMSIG(status));
                        return Some(if code { End::Code(libc::WEXITSTATUS(status)) } else { end() });
                    }
                }
                Heard::Stop(pid, stop) => self.handle(pid, &stop, &mut order),
            }
        }
    }

    fn handle(&mut self, pid: i32, stop: &Stop, order: &mut Order<'_, '_>) {
        if !self.tasks.contains_key(&pid) && !self.known_thread(pid) {
            // Its first stop came before the news of its birth; it waits for that.
            self.early.insert(pid);
            return;
        }
        let signal = match stop {
            Stop::Call => {
                self.call(pid, order);
                0
            }
            Stop::Event(event) => {
                if !self.event(pid, *event) {
                    return;
                }
                0
            }
            // A command's first stop follows its execve.
            Stop::Signal(libc::SIGTRAP) => {
                let _ = ptrace::setoptions(Pid::from_raw(pid), options());
                0
            }
            // A new tracee begins with this stop, which is no signal for it.
            Stop::Signal(libc::SIGSTOP) | Stop::Ended(_) => 0,
            // The kernel doesn't end a traced init for what abort(3) does last, an instruction that isn't allowed.
            Stop::Signal(libc::SIGSEGV) if self.tasks.get(&pid).is_some_and(|task| task.role != "h") => libc::SIGKILL,
            Stop::Signal(signal) => *signal,
        };
        sys::resume(pid, !self.quiet || self.answers(pid), signal);
    }

    fn answers(&self, pid: i32) -> bool {
        self.tasks.get(&pid).is_some_and(|task| task.answer.is_some())
    }

    /// A thread counts for its process.
    fn known_thread(&self, pid: i32) -> bool {
        group(pid).is_some_and(|group| group != pid && self.tasks.contains_key(&group))
    }

    fn call(&mut self, pid: i32, order: &mut Order<'_, '_>) {
        let Some(number) = sys::entered_call(pid) else {
            if let Some(errno) = self.tasks.get_mut(&pid).and_then(|task| task.answer.take()) {
                sys::answer_call(pid, errno);
            }
            return;
        };
        let leader = if self.tasks.contains_key(&pid) { pid } else { group(pid).unwrap_or(pid) };
        let Some(task) = self.tasks.get_mut(&leader) else { return };
        task.calls += 1;
        let Some((point, deed)) = order else { return };
        if self.fired.is_some() || task.calls != point.call || task.role != point.role {
            return;
        }
        match deed {
            Deed::Fail(_) if cannot_fail(number) => {}
            Deed::Fail(errno) => {
                if !does_it_anyway(number) {
                    sys::drop_call(pid);
                }
                task.answer = Some(*errno);
            }
            // SAFETY: kill takes numbers; a stopped tracee's number is its own.
            Deed::Kill => _ = unsafe { libc::kill(leader, libc::SIGKILL) },
            Deed::Act(act) => act(),
        }
        self.fired = Some(self.names.of(number));
        self.quiet = true;
    }

    /// A birth or an exec; false: it is not ours any more.
    fn event(&mut self, pid: i32, event: i32) -> bool {
        match event {
            libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE => {
                let born = ptrace::getevent(Pid::from_raw(pid)).unwrap_or_default() as i32;
                self.born(pid, born);
                true
            }
            libc::PTRACE_EVENT_EXEC if self.is_payload(pid) => {
                if let Some(task) = self.tasks.remove(&pid) {
                    self.ended.insert(task.role, task.calls);
                }
                sys::detach(pid);
                false
            }
            _ => true,
        }
    }

    fn born(&mut self, parent: i32, child: i32) {
        if group(child) == Some(child) {
            let leader = if self.tasks.contains_key(&parent) { parent } else { group(parent).unwrap_or(parent) };
            let Some(task) = self.tasks.get_mut(&leader) else { return };
            task.births += 1;
            let role = format!("{}.{}", task.role, task.births);
            self.tasks.insert(child, Task { role, ..Task::default() });
        }
        if self.early.remove(&child) {
            sys::resume(child, !self.quiet, 0);
        }
    }

    fn is_payload(&self, pid: i32) -> bool {
        fs::metadata(format!("/proc/{pid}/exe")).is_ok_and(|file| (file.dev(), file.ino()) == self.payload)
    }
}

fn options() -> Options {
    let births = Options::PTRACE_O_TRACEFORK | Options::PTRACE_O_TRACEVFORK | Options::PTRACE_O_TRACECLONE;
    births | Options::PTRACE_O_TRACEEXEC | Options::PTRACE_O_TRACESYSGOOD
}

/// The process that a task belongs to.
fn group(task: i32) -> Option<i32> {
    let text = fs::read_to_string(format!("/proc/{task}/status")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("Tgid:"))?.trim().parse().ok()
}
