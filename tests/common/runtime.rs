//! The runtime under test: one invocation, what it answered. Output goes to files, not to pipes, so that a leaked
//! process shows up as a leak and not as a test that waits for the end of its output.

use std::fs::{self, File};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::{Bundle, children, machine, patience, wait_until};

/// The verbs, to name an invocation by.
const VERBS: [&str; 21] = [
    "create",
    "start",
    "run",
    "exec",
    "state",
    "kill",
    "pause",
    "resume",
    "delete",
    "list",
    "ps",
    "update",
    "checkpoint",
    "restore",
    "events",
    "wait",
    "spec",
    "features",
    "explain",
    "doctor",
    "--version",
];

static COUNT: AtomicU32 = AtomicU32::new(0);

/// One invocation of the runtime, before it starts.
pub struct Runtime {
    command: Command,
    label: String,
    id: String,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Runtime {
    /// The program under test.
    pub fn program() -> PathBuf {
        std::env::var_os("RT_BIN").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_rt")), PathBuf::from)
    }

    /// The probe program.
    pub fn probe() -> PathBuf {
        let beside = || Path::new(env!("CARGO_BIN_EXE_rt")).parent().expect("a directory").join("examples/probe");
        let probe = std::env::var_os("RT_PROBE").map_or_else(beside, PathBuf::from);
        assert!(fs::metadata(&probe).is_ok(), "{} is missing: cargo build --example probe", probe.display());
        probe
    }

    /// The runtime with this bundle's state root and these words.
    pub fn new(bundle: &Bundle, words: &[&str]) -> Self {
        Self::with_program(&Self::program(), bundle, words)
    }

    /// Another program with this bundle's state root: a copy of the runtime.
    pub fn with_program(program: &Path, bundle: &Bundle, words: &[&str]) -> Self {
        Self::prepare(Command::new(program), bundle, words)
    }

    /// The runtime under a shell, in whose script it is `"$@"`.
    pub fn in_shell(script: &str, bundle: &Bundle, words: &[&str]) -> Self {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", script, "sh"]).arg(Self::program());
        let mut runtime = Self::prepare(shell, bundle, words);
        runtime.command.env("PATH", "/usr/bin:/bin");
        runtime
    }

    fn prepare(mut command: Command, bundle: &Bundle, words: &[&str]) -> Self {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let file = |kind: &str| bundle.path(&format!("output-{number}.{kind}"));
        command.arg("--root").arg(bundle.state_root()).args(words);
        // Callers give next to nothing: podman's kill and delete come without PATH.
        command.env_clear().env("RT_TEST_ID", &bundle.id).stdin(Stdio::null()).current_dir("/");
        let label = words.iter().find(|word| VERBS.contains(word)).copied().unwrap_or("the runtime").to_owned();
        Self { command, label, id: bundle.id.clone(), stdout: file("out"), stderr: file("err") }
    }

    /// Adds a word.
    pub fn arg(mut self, word: &str) -> Self {
        self.command.arg(word);
        self
    }

    /// Adds a variable to the runtime's environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets the runtime's current directory.
    pub fn current_dir(mut self, directory: &Path) -> Self {
        self.command.current_dir(directory);
        self
    }

    /// Gives the runtime a stdin.
    pub fn stdin(mut self, from: impl Into<Stdio>) -> Self {
        self.command.stdin(from);
        self
    }

    /// Runs `act` in the child just before the runtime's execve: to make a dirty caller. One thread, so any call goes.
    pub fn before_exec(mut self, act: impl FnMut() -> std::io::Result<()> + Send + Sync + 'static) -> Self {
        // SAFETY: `act` runs in a forked child of a process with threads; the tests pass system calls only.
        unsafe { self.command.pre_exec(act) };
        self
    }

    /// Starts it.
    pub fn spawn(self) -> Running {
        let (out, err) = (File::create(&self.stdout), File::create(&self.stderr));
        let (out, err) = (out.expect("an output file"), err.expect("an output file"));
        self.spawn_with(out, err)
    }

    /// Starts it with other outputs: a terminal.
    pub fn spawn_with(mut self, out: impl Into<Stdio>, err: impl Into<Stdio>) -> Running {
        self.command.stdout(out).stderr(err);
        let child =
            children::spawn(&mut self.command).unwrap_or_else(|e| panic!("{:?}: {e}", self.command.get_program()));
        Running { child, label: self.label, id: self.id, stdout: self.stdout, stderr: self.stderr }
    }

    /// Runs it to the end; one that does not end is killed and fails the test with where it hung.
    pub fn run(self) -> Output {
        self.spawn().wait()
    }

    /// Runs it to the end, whatever happens.
    pub fn try_run(self) -> Option<Output> {
        self.spawn().wait_or_kill().ok()
    }
}

/// A started invocation.
pub struct Running {
    child: Child,
    label: String,
    id: String,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Running {
    /// The runtime's own pid.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Sends the runtime a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).expect("the runtime is there");
    }

    /// What was printed so far.
    pub fn stdout(&self) -> String {
        read(&self.stdout)
    }

    /// Waits until the output has a line that begins with `text`, and gives that line.
    #[track_caller]
    pub fn wait_for(&self, text: &str) -> String {
        let find = || self.stdout().lines().find(|line| line.starts_with(text)).map(str::to_owned);
        let found = wait_until(patience(), || {
            let ended = self.has_ended();
            find().map(Some).or_else(|| ended.then_some(None))
        });
        found.flatten().unwrap_or_else(|| {
            let (out, err) = (shortened(&self.stdout()), shortened(&read(&self.stderr)));
            panic!("{}: no line `{text}`\nstdout: {out}\nstderr: {err}\n{}", self.label, machine::stuck(&self.id))
        })
    }

    /// Whether the runtime has ended; leaves its exit status to `wait`.
    fn has_ended(&self) -> bool {
        use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        !matches!(waitid(Id::Pid(Pid::from_raw(self.pid())), flags), Ok(WaitStatus::StillAlive))
    }

    /// Waits for the end.
    pub fn wait(self) -> Output {
        let id = self.id.clone();
        self.wait_or_kill().unwrap_or_else(|why| panic!("{id}: {why}"))
    }

    fn wait_or_kill(mut self) -> Result<Output, String> {
        let ended = wait_until(patience(), || self.child.try_wait().expect("our own child"));
        let Some(status) = ended else {
            let where_it_hangs = machine::stuck(&self.id);
            self.child.kill().expect("our own child");
            self.child.wait().expect("our own child");
            let (out, err) = (shortened(&read(&self.stdout)), shortened(&read(&self.stderr)));
            return Err(format!("`{}` did not end\n{where_it_hangs}\nstdout: {out}\nstderr: {err}", self.label));
        };
        children::release(&self.child);
        Ok(Output { status, label: self.label, stdout: read(&self.stdout), stderr: read(&self.stderr) })
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// As much of an output as a failure needs to show.
fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(1500).collect();
    if short.len() < text.len() {
        short.push_str(" …");
    }
    short
}

/// What an invocation answered.
#[derive(Debug)]
pub struct Output {
    status: ExitStatus,
    label: String,
    /// What it, and the container with it, printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl Output {
    /// Whether it exited with 0.
    pub fn success(&self) -> bool {
        self.status.success()
    }

    /// The exit code; none if a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Asserts success.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.exits(0)
    }

    /// Asserts an exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        let Self { status, label, stderr, .. } = &self;
        let stdout = shortened(&self.stdout);
        assert_eq!(
            status.code(),
            Some(code),
            "`{label}` (signal {:?})\nstdout: {stdout}\nstderr: {stderr}",
            status.signal()
        );
        self
    }

    /// Asserts failure, and that stderr holds each of these texts.
    #[track_caller]
    pub fn fails(self, texts: &[&str]) -> Self {
        let Self { label, stderr, .. } = &self;
        assert!(!self.success(), "`{label}` succeeded\nstdout: {}\nstderr: {stderr}", self.stdout);
        for text in texts {
            assert!(stderr.contains(text), "`{label}` does not say `{text}`; it says:\n{stderr}");
        }
        self
    }

    /// Asserts that stdout is one JSON document, and gives it.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| {
            panic!("`{}` printed no JSON ({e}):\n{}\nstderr: {}", self.label, self.stdout, self.stderr)
        })
    }
}
