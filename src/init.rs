//! Init's side: build, enter, become, wait, start, execve. A copy of the host's process, in new namespaces.
//!
//! Here nobody prints, unwinds, starts threads or exits by itself: a failure goes to the host as numbers and the
//! function returns. After the workload's execve nothing of this is left.

mod listener;

use std::ffi::CString;
use std::mem::discriminant;
use std::os::fd::OwnedFd;
use std::time::Instant;

use nix::fcntl::{OFlag, ResolveFlag};
use nix::sys::stat::SFlag;

use crate::hooks::Hook;
use crate::identity::Executable;
use crate::namespaces::Opened;
use crate::plan::{HostOp, InitOp, Plan};
use crate::rootfs::{Rootfs, Sources};
use crate::state::{Header, Status};
use crate::step::{Stage, Step};
use crate::sys::{self, Call, Errno, Error, Result};
use crate::talk::{Failure, HostSays, InitEnd, InitSays};
use crate::{identity, namespaces, tty};

/// Everything that init brought from the host side.
pub struct Baggage {
    /// The way into its cgroups.
    pub join: Option<crate::cgroups::Join>,
    /// Namespaces to be joined.
    pub namespaces: Opened,
    /// Its root.
    pub rootfs: Rootfs,
    /// The socket that wants the terminal's master.
    pub console: Option<OwnedFd>,
    /// The stub.
    pub stub: Option<OwnedFd>,
    /// What the program gets as its descriptors from 3 up.
    pub handed: Vec<OwnedFd>,
    /// The filter, and its flags.
    pub filter: Option<(crate::seccomp::Program, crate::sys::seccomp::Flags)>,
    /// The socket on which it waits for `start`.
    pub start: Option<OwnedFd>,
    /// The signals that it ignores, by inheritance.
    pub ignored: sys::process::SignalMask,
    /// Whether to measure each step.
    pub timed: bool,
}

struct Init<'a> {
    plan: &'a Plan,
    header: &'a Header,
    baggage: Baggage,
    executable: Executable,
    terminal: Option<OwnedFd>,
    stamps: Vec<u32>,
}

/// Why init ends before an execve.
enum End {
    /// A step failed; the host is to be told.
    Failed(Failure),
    /// The host is gone, or says that it is over.
    Alone,
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        End::Failed(Failure { stage: Stage::Exec, step: u16::MAX, error })
    }
}

/// Runs init. Returns only if there was no execve; the value is its exit code.
pub fn run(plan: &Plan, baggage: Baggage, channel: InitEnd, header: &Header) -> i32 {
    let executable = Executable::born_to_ignore(baggage.ignored);
    let mut init = Init { plan, header, baggage, executable, terminal: None, stamps: Vec::new() };
    match init.live(&channel) {
        Ok(starter) => {
            // Where the word to start came from is where a failure of the start is told.
            let channel = starter.unwrap_or(channel);
            let end = init.start(channel);
            i32::from(matches!(end, End::Failed(_)))
        }
        Err(End::Failed(failure)) => {
            let _ = channel.say(&InitSays::Failed(failure));
            1
        }
        Err(End::Alone) => 1,
    }
}

impl Init<'_> {
    /// Up to the word to start. Gives the connection that it came over, if it was not the channel.
    fn live(&mut self, channel: &InitEnd) -> std::result::Result<Option<InitEnd>, End> {
        sys::cred::umask(0);
        if self.plan.birth.wait {
            expect(channel, &HostSays::Go)?;
        }
        if self.plan.birth.visible {
            sys::cred::dumpable(false)?;
        }
        let plan = self.plan;
        self.run_stage(channel, Stage::Build, &plan.build)?;
        // A restore's hooks run when CRIU has the namespaces.
        if !plan.hooks.is_empty() && plan.restore.is_none() {
            channel.say(&InitSays::AtHooks)?;
            expect(channel, &HostSays::HooksDone)?;
        }
        self.run_stage(channel, Stage::Enter, &plan.enter)?;
        self.run_stage(channel, Stage::Become, &plan.become_)?;
        // While it waits it holds no directory, no mount and no namespace of anybody.
        let rootfs = std::mem::replace(&mut self.baggage.rootfs, Rootfs::new(Sources::default()));
        let join = self.baggage.join.iter_mut().flat_map(crate::cgroups::Join::give_up);
        sys::fs::close_all(rootfs.give_up().chain(join).chain(self.baggage.namespaces.give_up()));
        let ready = InitSays::Ready { terminal: self.terminal.take(), stamps: std::mem::take(&mut self.stamps) };
        channel.say(&ready)?;
        drop(ready);
        match self.baggage.start.take() {
            Some(socket) => {
                expect(channel, &HostSays::Stay)?;
                sys::process::shed();
                wait_for_start(&socket).map(Some)
            }
            None => expect(channel, &HostSays::Start).map(|()| None),
        }
    }

    fn run_stage(&mut self, channel: &InitEnd, stage: Stage, steps: &[Step<InitOp>]) -> std::result::Result<(), End> {
        for (index, step) in steps.iter().enumerate() {
            let begun = self.baggage.timed.then(Instant::now);
            if step.op == InitOp::Namespace(namespaces::InitOp::EnterNetwork) {
                self.receive_network(channel)?;
            }
            match self.apply(&step.op) {
                Err(e) if !step.tolerate.contains(&e.errno) => {
                    return Err(End::Failed(Failure { stage, step: index as u16, error: e }));
                }
                _ => {}
            }
            self.stamps.extend(begun.map(|b| b.elapsed().as_micros() as u32));
        }
        Ok(())
    }

    fn apply(&mut self, op: &InitOp) -> Result<()> {
        match op {
            InitOp::JoinCgroups => self.baggage.join.as_ref().map_or(Ok(()), crate::cgroups::Join::join_self),
            InitOp::Namespace(op) => self.baggage.namespaces.apply_inside(op),
            InitOp::Rootfs(op) => self.baggage.rootfs.apply(op),
            InitOp::Terminal(op) => self.make_terminal(op),
            InitOp::Identity(op) => identity::apply(op, &mut self.executable),
            InitOp::Hook(hook) => self.run_hook(hook),
            // These need what only the last moment has: see `go`.
            InitOp::CloseFds { .. } | InitOp::LoadSeccomp | InitOp::HandListener { .. } => Ok(()),
        }
    }

    /// What the host made meanwhile. Its end is ours too.
    fn receive_network(&mut self, channel: &InitEnd) -> std::result::Result<(), End> {
        match channel.hear() {
            Ok(Some(HostSays::Network(network))) => {
                self.baggage.namespaces.receive(network);
                Ok(())
            }
            Ok(Some(_)) => Err(Error::new(Call::Recv, Errno::EPROTO).into()),
            Ok(None) | Err(_) => Err(End::Alone),
        }
    }

    fn make_terminal(&mut self, op: &tty::InitOp) -> Result<()> {
        let socket = self.baggage.console.as_ref();
        self.terminal = if op.console {
            let root = self.baggage.rootfs.root()?;
            tty::make(op, root, Some(&root.make_file("/dev/console")?), socket)?
        } else {
            // We are in the container's root already.
            tty::make(op, &sys::fs::open_host("/", OFlag::O_PATH | OFlag::O_DIRECTORY)?, None, socket)?
        };
        self.baggage.console = None;
        Ok(())
    }

    fn run_hook(&self, hook: &Hook) -> Result<()> {
        // The hook sees the pid that init has in the namespace both are in.
        let state = self.header.for_hooks(Status::Created, std::process::id() as i32);
        let before = sys::cred::umask(0o022);
        let directory = match hook.point {
            crate::hooks::Point::StartContainer => "/",
            _ => self.header.bundle.as_str(),
        };
        let done = crate::hooks::run(hook, &state, directory);
        sys::cred::umask(before);
        done
    }

    /// From the word to start to execve; returns only on failure, which the other side has been told of.
    fn start(&mut self, channel: InitEnd) -> End {
        let plan = self.plan;
        let steps: Vec<_> = plan.start.iter().enumerate().collect();
        let early = steps.iter().take_while(|(_, s)| !matches!(s.op, InitOp::CloseFds { .. })).count();
        if let Err(end) = self.run_stage(&channel, Stage::Start, &plan.start[..early]) {
            if let End::Failed(failure) = &end {
                let _ = channel.say(&InitSays::Failed(failure.clone()));
            }
            return end;
        }
        let exec = self.arguments();
        let (path, args, env) = match exec {
            Ok(exec) => exec,
            Err(e) => return tell(&channel, Stage::Exec, 0, e),
        };
        if self.baggage.timed {
            let _ = channel.say(&InitSays::Starting { stamps: std::mem::take(&mut self.stamps) });
        }
        self.go(channel, early, &path, args, &env)
    }

    /// The last calls: close_range, seccomp, execve.
    fn go(&mut self, channel: InitEnd, close: usize, path: &CString, args: Vec<CString>, env: &[CString]) -> End {
        let from = match self.plan.start.get(close).map(|s| &s.op) {
            Some(InitOp::CloseFds { from }) => *from,
            _ => 3,
        };
        let stub = self.baggage.stub.take();
        let loud = self.plan.prepare.iter().any(|s| matches!(s.op, HostOp::Stub { channel: Some(_) }));
        let handed = std::mem::take(&mut self.baggage.handed);
        let stubs = stub.iter().len();
        let kept: Vec<OwnedFd> = std::iter::once(channel.into_socket()).chain(stub).chain(handed).collect();
        let mut kept = match sys::fs::keep_only(from, kept) {
            Ok(kept) => kept.into_iter(),
            // The channel may be gone with the rest: the exit code is what is left to say it.
            Err(e) => return e.into(),
        };
        let Some(socket) = kept.next() else { return End::Alone };
        let (channel, stub) = (InitEnd::over(socket), kept.by_ref().take(stubs).next());
        for (number, fd) in (3..).zip(kept) {
            if let Err(e) = sys::fs::place_at(fd, number) {
                return tell(&channel, Stage::Start, close, e);
            }
        }
        if let Err(e) = hand_over(&channel, from, loud) {
            return tell(&channel, Stage::Start, close, e);
        }
        if let Some((program, flags)) = &self.baggage.filter
            && let Err((step, e)) = listener::load(&channel, program, *flags, self.courier())
        {
            return tell(&channel, Stage::Start, close + 1 + step, e);
        }
        let error = match stub {
            Some(stub) => {
                let through: Vec<CString> = std::iter::once(path.clone()).chain(args).collect();
                sys::process::execve_fd(&stub, &through, env)
            }
            None => sys::process::execve(path, &args, env),
        };
        tell(&channel, Stage::Exec, 0, error)
    }

    fn courier(&self) -> Option<crate::seccomp::Courier> {
        self.plan.start.iter().find_map(|s| if let InitOp::HandListener { by } = s.op { Some(by) } else { None })
    }

    /// What execve takes.
    fn arguments(&self) -> Result<(CString, Vec<CString>, Vec<CString>)> {
        let exec = &self.plan.exec;
        let path = self.executable.path.as_ref().ok_or_else(|| Error::new(Call::Execve, Errno::ENOENT))?;
        let strings = |list: &[String]| -> Result<Vec<CString>> {
            list.iter().map(|s| sys::fs::c_string(s, Call::Execve)).collect()
        };
        let mut env = strings(&exec.env)?;
        if let Some(uid) = exec.home_of {
            env.push(sys::fs::c_string(&format!("HOME={}", home(uid)?), Call::Execve)?);
        }
        if exec.listen {
            env.push(sys::fs::c_string(&format!("LISTEN_PID={}", std::process::id()), Call::Execve)?);
        }
        Ok((sys::fs::c_string(path, Call::Execve)?, strings(&exec.args)?, env))
    }
}

/// What the workload was promised stays open over execve; the channel stays open for the stub, which closes it itself.
fn hand_over(channel: &InitEnd, from: u32, loud: bool) -> Result<()> {
    for number in 3..from {
        if let Some(fd) = sys::fs::inherited(number as i32) {
            sys::fs::set_cloexec(fd, false)?;
        }
    }
    if loud { sys::fs::set_cloexec(channel, false) } else { Ok(()) }
}

fn tell(channel: &InitEnd, stage: Stage, step: usize, error: Error) -> End {
    let failure = Failure { stage, step: step as u16, error };
    let _ = channel.say(&InitSays::Failed(failure.clone()));
    End::Failed(failure)
}

/// The other side says success without an answer from us: what fails once (ENOMEM, ENFILE) is not to make that untrue.
fn persist<T>(call: impl Fn() -> Result<T>) -> Result<T> {
    (0..3).find_map(|_| call().ok()).map_or_else(call, Ok)
}

/// Hears the one message that may come now. The end of the host is ours too.
fn expect(channel: &InitEnd, message: &HostSays) -> std::result::Result<(), End> {
    match persist(|| channel.hear()) {
        Ok(Some(heard)) if discriminant(&heard) == discriminant(message) => Ok(()),
        Ok(Some(_)) => Err(Error::new(Call::Recv, Errno::EPROTO).into()),
        Ok(None) | Err(_) => Err(End::Alone),
    }
}

/// Waits for somebody who says Start; whoever connects and says nothing is let go.
fn wait_for_start(socket: &OwnedFd) -> std::result::Result<InitEnd, End> {
    loop {
        let connection = InitEnd::over(persist(|| sys::sock::accept(socket))?);
        if let Ok(Some(HostSays::Start)) = persist(|| connection.hear()) {
            return Ok(connection);
        }
    }
}

/// The home directory of a uid in the container's /etc/passwd, which is attacker data: a regular file, not too large,
/// never waited for. `/` when it does not say; what is there and can't be read is an error.
fn home(uid: u32) -> Result<String> {
    let resolve = ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let read = || -> Result<Vec<u8>> {
        let look = sys::fs::open(sys::fs::cwd(), "/etc/passwd", OFlag::O_PATH, 0, resolve)?;
        if sys::fs::kind(&sys::fs::stat(&look)?) != SFlag::S_IFREG {
            return Ok(Vec::new());
        }
        let file = sys::fs::open(sys::fs::cwd(), "/etc/passwd", flags, 0, resolve)?;
        sys::fs::read_fd(&file, 1 << 20)
    };
    let text = match read() {
        // The image's own doing: no such file, a link to nowhere, not for this user, too large.
        Err(e)
            if matches!(
                e.errno,
                Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EXDEV | Errno::EACCES | Errno::EFBIG
            ) =>
        {
            Vec::new()
        }
        other => other?,
    };
    let text = String::from_utf8_lossy(&text);
    let wanted = uid.to_string();
    let line = text.lines().map(|l| l.split(':').collect::<Vec<_>>()).find(|f| f.get(2) == Some(&wanted.as_str()));
    let found = line.and_then(|l| l.get(5).filter(|h| !h.is_empty()).map(|h| (*h).to_owned()));
    Ok(found.unwrap_or_else(|| "/".to_owned()))
}
