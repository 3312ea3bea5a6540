//! The host side of `exec`: one more process for a running container.
//!
//! ```text
//! rt                    midwife                              the process
//! opens everything
//!   ── clone3, into the container's cgroup2 ─►  closes what is the host's
//!   (or has it taken there by systemd)          (waits for that)
//!                       joins the v1 cgroups
//!                       setns(init's pidfd, all that differ)
//!                         ── clone3(CLONE_PARENT) ──────────►  build, enter, become, as init did
//!   ◄── pid, pidfd ──   ends
//!   ◄────────────────────────── Ready ──────────────────────
//!   oom score
//!   ── Start ───────────────────────────────────────────────►  execve
//! ```
//! The process is the child of `rt`, and after it of whoever adopts its orphans. The container's lock is shared, and held
//! until the birth: what is slow inside the container must keep nobody from killing it.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use super::after::{Whose, Word, await_exec};
use super::birth::deliver;
use super::{BeInit, Prepared, Trouble, explain, tolerate};
use crate::cgroups::{Cgroup, Join};
use crate::intelrdt::Rdt;
use crate::namespaces::Entrance;
use crate::plan::{HostOp, InitOp, Plan};
use crate::seccomp::Program;
use crate::state::{Event, Header, Record, Status};
use crate::step::Stage;
use crate::sys::process::{Birth, Born};
use crate::sys::{self, Call, Errno, Error};
use crate::talk::{self, Failure, HostEnd, HostSays, InitSays};
use crate::timings::Watch;
use crate::{identity, seccomp, tty};

/// A process in a container, ready or running.
pub struct Entered<'a> {
    plan: &'a Plan,
    header: Header,
    status: Status,
    init: i32,
    channel: HostEnd,
    pid: i32,
    pidfd: OwnedFd,
    /// The master of a terminal that we are to serve.
    pub terminal: Option<OwnedFd>,
}

/// Opens what is needed, gives birth inside, and comes back when the process is ready to be started. `cgroup` is the
/// container's own, if it has one.
pub fn enter<'a>(
    plan: &'a Plan,
    record: Record,
    cgroup: Option<Cgroup>,
    program: Option<Program>,
    be_init: BeInit<'_>,
    watch: &mut Watch,
) -> Result<Entered<'a>, Trouble> {
    let ignored = sys::process::ignored_signals()?;
    let mut prepared = Prepared { program, ignored, ..Prepared::default() };
    let mut entrance = None;
    for (index, step) in plan.prepare.iter().enumerate() {
        let done = watch.step(Stage::Prepare, index, || match &step.op {
            HostOp::Approach { below } => {
                let init = record.alive()?.ok_or_else(not_running)?;
                let pid = record.init().map_or(0, |i| i.pid);
                prepared.join = cgroup.as_ref().map(|c| c.join_running(pid, below)).transpose()?;
                entrance = Some(Entrance::open(pid, init)?);
                Ok(())
            }
            HostOp::Terminal(op) => tty::connect(op).map(|fd| prepared.console = Some(fd)),
            HostOp::Listener { path } => seccomp::look_for(path),
            HostOp::Stub { channel } => identity::sealed_stub(*channel).map(|fd| prepared.stub = Some(fd)),
            HostOp::Seal => sys::process::assert_sealed(),
            HostOp::Identity(op) => identity::apply_host(op, std::process::id() as i32),
            // Compiled with the plan.
            HostOp::Seccomp(_) => Ok(()),
            _ => Err(Error::new(Call::Clone, Errno::ESRCH)),
        });
        tolerate(step, done).map_err(|e| Trouble::of(Stage::Prepare, step, e))?;
    }
    drop(cgroup);
    let entrance = entrance.ok_or_else(not_running)?;
    let mut entered = birth(plan, record, prepared, entrance, be_init, watch)?;
    // Ready first: what the process itself has to say about a failure is better than that its /proc entry is gone.
    match entered.await_ready(watch).and_then(|()| entered.adopt(watch)) {
        Ok(()) => Ok(entered),
        Err(trouble) => {
            entered.undo();
            Err(trouble)
        }
    }
}

fn not_running() -> Error {
    Error::other(Call::PidfdOpen, "container not running")
}

fn birth<'a>(
    plan: &'a Plan,
    record: Record,
    prepared: Prepared,
    entrance: Entrance,
    be_init: BeInit<'_>,
    watch: &mut Watch,
) -> Result<Entered<'a>, Trouble> {
    let (channel, theirs) = talk::pair()?;
    let (ours, mouth) = sys::sock::pair()?;
    let born = watch.step(Stage::Birth, 0, || {
        sys::cred::dumpable(false)?;
        let (born, outside) = clone_into(prepared.join.as_ref())?;
        match born {
            Born::Child => {
                // Whoever is taken in waits for it; nobody to say so is nobody to be born for.
                drop(ours);
                if outside && !is_told(&mouth) {
                    sys::process::exit_now(1);
                }
                // From here on nothing of the parent's frames is used or dropped: this process ends here.
                let code = midwife(plan, &record, prepared, entrance, mouth, theirs, be_init);
                sys::process::exit_now(code)
            }
            Born::Parent { pid, pidfd: midwife } => {
                drop(mouth);
                let inside = if outside { bring(prepared.join.as_ref(), pid, &ours) } else { Ok(()) };
                match inside {
                    Ok(()) => deliver(ours, &midwife),
                    Err(e) => {
                        drop(ours);
                        sys::process::wait(&midwife)?;
                        Err(e)
                    }
                }
            }
        }
    });
    let blame = |error| Trouble { stage: Stage::Birth, origin: None, step: plan.birth.to_string(), error };
    match born.map_err(blame)? {
        Born::Parent { pid, pidfd } => {
            let started = record.events.contains(&Event::Started);
            let status = if started { Status::Running } else { Status::Created };
            let init = record.init().map_or(0, |i| i.pid);
            // With the rest of the record goes the lock.
            Ok(Entered { plan, header: record.header, status, init, channel, pid, pidfd, terminal: None })
        }
        Born::Child => Err(Error::new(Call::Clone, Errno::EPROTO).into()),
    }
}

/// The midwife is born where the container's processes are, in the v2 tree: from outside, for inside its cgroup namespace
/// nobody may come from outside of it (nsdelegate). True: it is not there yet, and systemd is to take it there.
fn clone_into(join: Option<&Join>) -> sys::Result<(Born, bool)> {
    let born = |cgroup: Option<RawFd>| sys::process::clone3(Birth { cgroup, ..Birth::default() });
    let Some(join) = join else { return Ok((born(None)?, false)) };
    let into = join.into_fd().map(|fd| fd.as_raw_fd());
    let mut result = born(into);
    if let (Err(e), Some(instead)) = (&result, join.instead_fd())
        && matches!(e.errno, Errno::EBUSY | Errno::EOPNOTSUPP | Errno::EACCES)
    {
        result = born(Some(instead.as_raw_fd()));
    }
    match result {
        Err(e) if e.errno == Errno::EACCES && into.is_some() && join.can_bring() => Ok((born(None)?, true)),
        Err(e) if e.errno == Errno::EACCES && into.is_some() => Err(e.about(OUTSIDE)),
        Err(e) if into.is_some() => Err(e.about("into the container's cgroup")),
        result => Ok((result?, false)),
    }
}

const OUTSIDE: &str = "into the container's cgroup (a user can't, from another session than the container's; in it: \
                       systemd-run --user --scope rt exec …)";

/// Has the midwife taken into the container's cgroup, and tells it.
fn bring(join: Option<&Join>, midwife: i32, ours: &OwnedFd) -> sys::Result<()> {
    join.map_or(Ok(()), |join| join.bring(midwife))?;
    sys::sock::send(ours, &[1], &[])
}

/// Waits for that.
fn is_told(mouth: &OwnedFd) -> bool {
    matches!(sys::sock::receive(mouth, &mut [0; 1]), Ok((1, _)))
}

/// Goes in, gives birth to our parent's child, tells it, and ends. The child goes on in here and comes back with an exit
/// code only if there was no execve.
fn midwife(
    plan: &Plan,
    record: &Record,
    mut prepared: Prepared,
    entrance: Entrance,
    mouth: OwnedFd,
    channel: talk::InitEnd,
    be_init: BeInit<'_>,
) -> i32 {
    let born = go_in(plan, &mut prepared, entrance, &mouth, &channel);
    match born {
        Ok(Born::Child) => {
            drop(mouth);
            be_init(plan, prepared, channel, &record.header)
        }
        Ok(Born::Parent { pid, pidfd }) => {
            // If nobody listens any more the child hears that too, and ends.
            let _ = sys::sock::send(&mouth, &pid.to_le_bytes(), &[pidfd.as_raw_fd()]);
            0
        }
        Err(error) => {
            let failure = InitSays::Failed(Failure { stage: Stage::Birth, step: 0, error });
            let _ = talk::InitEnd::over(mouth).say(&failure);
            1
        }
    }
}

fn go_in(
    plan: &Plan,
    prepared: &mut Prepared,
    entrance: Entrance,
    mouth: &OwnedFd,
    channel: &talk::InitEnd,
) -> sys::Result<Born> {
    let join = prepared.join.take();
    let mut kept: Vec<RawFd> = vec![mouth.as_raw_fd(), std::os::fd::AsFd::as_fd(channel).as_raw_fd()];
    kept.extend(entrance.descriptors());
    kept.extend(join.iter().flat_map(Join::descriptors));
    kept.extend(prepared.console.iter().chain(&prepared.stub).map(AsRawFd::as_raw_fd));
    sys::fs::close_all_but(promised(plan), &kept)?;
    if let Some(join) = join {
        join.join_self()?;
        // Of its descriptors some are closed already.
        std::mem::forget(join);
    }
    entrance.enter()?;
    sys::process::clone3(Birth { for_parent: true, ..Birth::default() })
}

/// The first descriptor that the process was not promised.
fn promised(plan: &Plan) -> u32 {
    let from = plan.start.iter().find_map(|s| match s.op {
        InitOp::CloseFds { from } => Some(from),
        _ => None,
    });
    from.unwrap_or(3)
}

impl Entered<'_> {
    /// Its pid as we see it.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Its pidfd.
    pub fn pidfd(&self) -> &OwnedFd {
        &self.pidfd
    }

    fn adopt(&mut self, watch: &mut Watch) -> Result<(), Trouble> {
        for (index, step) in self.plan.adopt.iter().enumerate() {
            let done = watch.step(Stage::Adopt, index, || match &step.op {
                HostOp::Identity(op) => identity::apply_host(op, self.pid),
                // Nothing is made for a process that comes later.
                HostOp::Rdt(op) => Rdt::default().apply(op, self.pid, &mut |_| Ok(())),
                _ => Err(Error::new(Call::Clone, Errno::EEXIST)),
            });
            tolerate(step, done).map_err(|e| Trouble::of(Stage::Adopt, step, e))?;
        }
        Ok(())
    }

    fn await_ready(&mut self, watch: &mut Watch) -> Result<(), Trouble> {
        match self.channel.hear()? {
            Some(InitSays::Ready { terminal, stamps }) => {
                self.terminal = terminal;
                watch.init_stamps(self.plan, &stamps);
                Ok(())
            }
            Some(InitSays::Failed(failure)) => Err(explain(self.plan, failure)),
            Some(_) => Err(Error::new(Call::Recv, Errno::EPROTO).into()),
            None => Err(self.explain_death()),
        }
    }

    /// Lets it execute what it came for; waits for that, or says why it could not.
    pub fn start(&mut self, watch: &mut Watch) -> Result<(), Trouble> {
        match self.channel.say(&HostSays::Start) {
            Err(e) if e.errno == Errno::EPIPE => return Err(self.explain_death()),
            other => other?,
        }
        let whose = Whose { header: &self.header, status: self.status, init: self.init, pid: self.pid };
        match await_exec(&self.plan, &self.channel, whose, watch)? {
            Word::Heard => Ok(()),
            Word::Unheard => Err(self.explain_death()),
        }
    }

    fn explain_death(&self) -> Trouble {
        let how = sys::process::wait(&self.pidfd).map_or_else(|e| e.to_string(), |ended| ended.to_string());
        let why = format!("the process died in the container before it could execute anything: {how}");
        Trouble { stage: Stage::Build, origin: None, step: String::new(), error: Error::other(Call::Wait, why) }
    }

    /// Ends the process: what comes before it ran is an error that leaves nothing. Errors here are not reported, for the
    /// one that brought us here is the one that counts.
    pub fn undo(&mut self) {
        let _ = sys::process::signal(&self.pidfd, libc::SIGKILL);
        let _ = sys::process::wait(&self.pidfd);
    }
}
