//! The host side: prepare, birth, adopt, hooks, record, and the way back when something fails.
//!
//! Single-threaded from beginning to end. Whatever is made here is known to the record before it is made, and is taken
//! back in [`Host::undo`] if the container does not come to be.

use std::fmt;
use std::os::fd::OwnedFd;
use std::time::Duration;

mod after;
mod birth;
mod checkpoint;
pub mod exec;
mod restore;

pub use after::{
    Word, facts, in_user_namespace, is_frozen, kill_everything, open_cgroup, release_unit, remove_cgroups, remove_rdt,
    run_poststart, run_poststop, start_created, take_back_rdt, update_rdt, wait_gone, with_systemd,
};

pub use checkpoint::checkpoint;

use crate::cgroups::{Cgroup, Join, Placement};
use crate::intelrdt::{self, Rdt};
use crate::namespaces::Opened;
use crate::plan::{HostOp, InitOp, Plan};
use crate::rootfs::Sources;
use crate::seccomp::Program;
use crate::state::{self, Event, Header, Raw, Record, START_SOCKET, Status, Store};
use crate::step::{Origin, Stage, Step};
use crate::sys::process::Born;
use crate::sys::{self, Call, Errno, Error};
use crate::talk::{self, Failure, HostEnd, HostSays, InitSays};
use crate::timings::Watch;
use crate::{cgroups, identity, seccomp, tty};

/// What init takes over at its birth: descriptors and compiled programs that belong to the plan's steps.
#[derive(Default)]
pub struct Prepared {
    /// The way into the container's cgroups.
    pub join: Option<Join>,
    /// Namespaces to be joined.
    pub namespaces: Opened,
    /// Mount sources.
    pub sources: Sources,
    /// The socket that wants the terminal's master.
    pub console: Option<OwnedFd>,
    /// The stub through which the workload is executed.
    pub stub: Option<OwnedFd>,
    /// The compiled filter.
    pub program: Option<Program>,
    /// The socket on which init waits for `start`; `None`: the word comes over the channel.
    pub start: Option<OwnedFd>,
    /// What the program gets as its descriptors from 3 up: CRIU's, when it brings a container back.
    pub handed: Vec<OwnedFd>,
    /// The signals that we ignore, and init therefore too.
    pub ignored: sys::process::SignalMask,
}

impl Prepared {
    /// Init has its own by now, and its end of the conversation.
    fn give_up(self, end: talk::InitEnd) {
        let Self { join, sources, stub, .. } = self;
        let join = join.into_iter().flat_map(|mut join| join.give_up().collect::<Vec<_>>());
        sys::fs::close_all(join.chain(sources.give_up()).chain(stub).chain([end.give_up()]));
    }
}

/// What went wrong: the step, who asked for it, and the call.
#[derive(Debug)]
pub struct Trouble {
    /// The stage.
    pub stage: Stage,
    /// Who asked for the step that failed, if it was one.
    pub origin: Option<Origin>,
    /// The step in words.
    pub step: String,
    /// The failure itself.
    pub error: Error,
}

impl std::error::Error for Trouble {}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Some(Origin::Config(pointer)) => write!(f, "{pointer}: {}", self.error),
            Some(Origin::Default(_)) => write!(f, "{}: {}", self.step, self.error),
            None => self.error.fmt(f),
        }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self { stage: Stage::Prepare, origin: None, step: String::new(), error }
    }
}

impl Trouble {
    fn of<Op: fmt::Display>(stage: Stage, step: &Step<Op>, error: Error) -> Self {
        Self { stage, origin: Some(step.origin.clone()), step: step.op.to_string(), error }
    }
}

/// What is made: the plan, and what its record shall say.
pub struct Order<'a> {
    /// The steps.
    pub plan: &'a Plan,
    /// Where its cgroups will be.
    pub placement: &'a Placement,
    /// The compiled filter.
    pub program: Option<Program>,
    /// The record's beginning.
    pub header: Header,
    /// config.json as it was parsed.
    pub config: Vec<u8>,
    /// Whether `start` is a command of its own: init then waits on a socket.
    pub wait_for_start: bool,
}

/// A container being made, or just made.
pub struct Host<'a> {
    plan: &'a Plan,
    store: Option<Store>,
    record: Record,
    cgroup: Option<Cgroup>,
    channel: Option<HostEnd>,
    /// The resctrl groups that were made.
    rdt: Rdt,
    /// What was moved into the container.
    adopted: Opened,
    init: Option<(i32, OwnedFd)>,
    /// Our ends of a restore.
    restore: Option<restore::Ends>,
    /// The master of a terminal that we are to serve.
    pub terminal: Option<OwnedFd>,
}

/// What init does with its life; given by `main`'s side of the program so that host and init don't know each other.
pub type BeInit<'a> = &'a dyn Fn(&Plan, Prepared, talk::InitEnd, &Header) -> i32;

/// Creates a container up to the point where its init is ready. On failure nothing is left.
pub fn create<'a>(order: Order<'a>, store: Store, be_init: BeInit<'_>, watch: &mut Watch) -> Result<Host<'a>, Trouble> {
    let plan = order.plan;
    let mut header = order.header;
    header.cgroup = Raw::of(order.placement);
    let record = watch.step(Stage::Prepare, 0, || store.reserve(header, order.config))?;
    let (rdt, adopted) = (Rdt::default(), Opened::default());
    let mut host = Host {
        plan,
        store: Some(store),
        record,
        cgroup: None,
        rdt,
        adopted,
        channel: None,
        init: None,
        restore: None,
        terminal: None,
    };
    let made = host.make(order.placement, order.program, order.wait_for_start, be_init, watch);
    match made {
        Ok(()) => Ok(host),
        Err(trouble) => {
            host.undo();
            Err(trouble)
        }
    }
}

impl Host<'_> {
    fn make(
        &mut self,
        placement: &Placement,
        program: Option<Program>,
        wait_for_start: bool,
        be_init: BeInit<'_>,
        watch: &mut Watch,
    ) -> Result<(), Trouble> {
        let ignored = sys::process::ignored_signals()?;
        let mut prepared = Prepared { program, ignored, ..Prepared::default() };
        self.prepare(placement, &mut prepared, watch)?;
        if wait_for_start {
            prepared.start = Some(sys::sock::listen_private(self.record.directory()?, START_SOCKET)?);
        }
        if let Some(restore) = &self.plan.restore {
            self.restore = Some(restore::Ends::new(restore, &mut prepared)?);
        }
        self.birth(prepared, be_init, watch)?;
        self.adopt(watch)?;
        self.accompany(watch)
    }

    fn prepare(&mut self, placement: &Placement, prepared: &mut Prepared, watch: &mut Watch) -> Result<(), Trouble> {
        if !placement.is_none() {
            self.cgroup = Some(Cgroup::prepare(placement)?);
        }
        for (index, step) in self.plan.prepare.iter().enumerate() {
            let done = watch.step(Stage::Prepare, index, || match &step.op {
                HostOp::Notify => self.record.make_notify_dir(),
                HostOp::Cgroup(op) => self.apply_cgroup(step, op),
                HostOp::Rdt(op) => self.apply_rdt(op, 0),
                HostOp::Namespace(op) => prepared.namespaces.apply(op, None),
                HostOp::Rootfs(op) => prepared.sources.apply(op),
                HostOp::Terminal(op) => tty::connect(op).map(|fd| prepared.console = Some(fd)),
                HostOp::Listener { path } => seccomp::look_for(path),
                HostOp::Stub { channel } => identity::sealed_stub(*channel).map(|fd| prepared.stub = Some(fd)),
                HostOp::Seal => sys::process::assert_sealed(),
                // Done before, each for its reason: the record, and what is compiled with the plan.
                HostOp::Reserve | HostOp::Seccomp(_) => Ok(()),
                HostOp::Identity(_) | HostOp::Hook(_) | HostOp::Approach { .. } => {
                    Err(Error::new(Call::Clone, Errno::ESRCH))
                }
            });
            tolerate(step, done).map_err(|e| Trouble::of(Stage::Prepare, step, e))?;
        }
        // What systemd is to make is not there yet.
        if let Some(cgroup) = self.cgroup.as_ref().filter(|_| placement.unit.is_none()) {
            prepared.join = Some(cgroup.join()?);
            let now = cgroup.placement();
            if now != *placement {
                self.record.note(Event::Cgroup(Raw::of(&now)))?;
            }
        }
        Ok(())
    }

    fn apply_cgroup(&mut self, step: &Step<HostOp>, op: &cgroups::Op) -> sys::Result<()> {
        let step = Step { origin: step.origin.clone(), tolerate: step.tolerate, op: op.clone() };
        match &mut self.cgroup {
            Some(cgroup) => {
                cgroup.apply(&step)?;
                // From here on the unit is this container's, whatever happens to us.
                if matches!(op, cgroups::Op::StartUnit { .. }) {
                    self.record.note(Event::Cgroup(Raw::of(&cgroup.placement())))?;
                }
                Ok(())
            }
            None => Err(Error::new(Call::Write, Errno::ENOENT).about("no cgroup")),
        }
    }

    fn apply_rdt(&mut self, op: &intelrdt::Op, pid: i32) -> sys::Result<()> {
        let Self { rdt, record, .. } = self;
        rdt.apply(op, pid, &mut |rdt| record.note(Event::Rdt(Raw::of(rdt))))
    }

    fn birth(&mut self, prepared: Prepared, be_init: BeInit<'_>, watch: &mut Watch) -> Result<(), Trouble> {
        let (ours, theirs) = talk::pair()?;
        let birth = &self.plan.birth;
        let born = watch.step(Stage::Birth, 0, || {
            sys::cred::dumpable(birth.visible)?;
            birth::give(birth, &prepared)
        });
        match born? {
            Born::Child => {
                // The host's end must be the host's alone, or init would never hear that it is gone; nor may init
                // hold the container's lock, or any directory of the host.
                sys::fs::close_all(self.store.take().map(OwnedFd::from).into_iter().chain(self.record.give_up()));
                drop((ours, self.cgroup.take(), self.restore.take()));
                let code = be_init(self.plan, prepared, theirs, &self.record.header);
                sys::process::exit_now(code)
            }
            Born::Parent { pid, pidfd } => {
                let identity = state::identify(pid, &pidfd);
                self.init = Some((pid, pidfd));
                if let Some(cgroup) = &mut self.cgroup {
                    cgroup.expect(pid);
                }
                self.channel = Some(ours);
                self.record.note(Event::Init(identity?))?;
                prepared.give_up(theirs);
                Ok(())
            }
        }
    }

    fn adopt(&mut self, watch: &mut Watch) -> Result<(), Trouble> {
        let pid = self.pid();
        for (index, step) in self.plan.adopt.iter().enumerate() {
            let done = watch.step(Stage::Adopt, index, || match &step.op {
                HostOp::Namespace(op) => self.adopted.apply(op, Some(pid)),
                HostOp::Rdt(op) => self.apply_rdt(op, pid),
                HostOp::Identity(op) => identity::apply_host(op, pid),
                HostOp::Cgroup(op) => self.apply_cgroup(step, op),
                _ => Err(Error::new(Call::Clone, Errno::EEXIST)),
            });
            tolerate(step, done).map_err(|e| Trouble::of(Stage::Adopt, step, e))?;
        }
        if let Some(network) = self.adopted.made() {
            self.say(HostSays::Network(network))?;
        }
        if self.plan.birth.wait { self.say(HostSays::Go) } else { Ok(()) }
    }

    /// Listens to init until it is ready; runs the hooks when it says so.
    fn accompany(&mut self, watch: &mut Watch) -> Result<(), Trouble> {
        loop {
            match self.hear()? {
                Some(InitSays::AtHooks) => {
                    self.run_hooks(watch)?;
                    self.say(HostSays::HooksDone)?;
                }
                Some(InitSays::Ready { terminal, stamps }) => {
                    self.terminal = terminal;
                    watch.init_stamps(self.plan, &stamps);
                    return Ok(());
                }
                Some(InitSays::Failed(failure)) => return Err(self.explain(failure)),
                Some(InitSays::Starting { .. } | InitSays::Listener(_)) => {
                    return Err(Error::new(Call::Recv, Errno::EPROTO).into());
                }
                None => return Err(self.explain_death()),
            }
        }
    }

    fn run_hooks(&mut self, watch: &mut Watch) -> Result<(), Trouble> {
        // The environment exists: "created", as the spec's own steps have it.
        let state = self.record.header.for_hooks(Status::Created, self.pid());
        for (index, step) in self.plan.hooks.iter().enumerate() {
            if let HostOp::Hook(hook) = &step.op {
                let bundle = &self.record.header.bundle;
                let alive = || self.init_lives();
                watch
                    .step(Stage::Hooks, index, || crate::hooks::run_while(hook, &state, bundle, Some(&alive)))
                    .map_err(|e| Trouble::of(Stage::Hooks, step, e))?;
            }
        }
        Ok(())
    }

    /// Whether init (in a restore: CRIU) is there. Not to be able to tell is no reason to end a hook.
    fn init_lives(&self) -> bool {
        self.pidfd().map_or(true, |init| !matches!(sys::process::wait_readable(init, Some(Duration::ZERO)), Ok(true)))
    }

    /// The record says "created"; from here on init outlives us.
    pub fn settle(&mut self) -> Result<(), Trouble> {
        self.record.note(Event::Created)?;
        self.say(HostSays::Stay)
    }

    /// Lets the workload run; waits for execve, or says why there was none.
    pub fn start(&mut self, watch: &mut Watch) -> Result<(), Trouble> {
        self.record.note_all(vec![Event::Created, Event::Started])?;
        self.say(HostSays::Start)?;
        let channel = self.channel.take().ok_or_else(|| Error::new(Call::Recv, Errno::ENOTCONN))?;
        let (header, pid) = (&self.record.header, self.pid());
        let whose = after::Whose { header, status: Status::Created, init: pid, pid };
        if after::await_exec(&self.plan, &channel, whose, watch)? == Word::Unheard {
            return Err(self.explain_death());
        }
        // The container has come to be: its devices are its own, and its network namespace is not for us to keep.
        self.adopted = Opened::default();
        Ok(())
    }

    /// Gives up the container's lock.
    pub fn let_go(&mut self) {
        self.record.let_go();
    }

    /// Init's pid as we see it.
    pub fn pid(&self) -> i32 {
        self.init.as_ref().map_or(0, |(pid, _)| *pid)
    }

    /// Init's pidfd.
    pub fn pidfd(&self) -> sys::Result<&OwnedFd> {
        self.init.as_ref().map(|(_, fd)| fd).ok_or_else(|| Error::new(Call::PidfdOpen, Errno::ESRCH))
    }

    /// The store that it is in.
    pub fn store(&self) -> Option<&Store> {
        self.store.as_ref()
    }

    /// Its cgroups, open.
    pub fn cgroup(&self) -> Option<&Cgroup> {
        self.cgroup.as_ref()
    }

    /// The record and the cgroups, to be changed.
    pub fn record_and_cgroup(&mut self) -> (&mut Record, Option<&mut Cgroup>) {
        (&mut self.record, self.cgroup.as_mut())
    }

    /// The record.
    pub fn record(&self) -> &Record {
        &self.record
    }

    fn say(&self, message: HostSays) -> Result<(), Trouble> {
        let channel = self.channel.as_ref().ok_or_else(|| Error::new(Call::Send, Errno::ENOTCONN))?;
        match channel.say(&message) {
            // Init is gone: what it said before, or how it died, is the better answer.
            Err(e) if e.errno == Errno::EPIPE => match self.hear()? {
                Some(InitSays::Failed(failure)) => Err(self.explain(failure)),
                _ => Err(self.explain_death()),
            },
            other => Ok(other?),
        }
    }

    fn hear(&self) -> sys::Result<Option<InitSays>> {
        self.channel.as_ref().ok_or_else(|| Error::new(Call::Recv, Errno::ENOTCONN))?.hear()
    }

    /// Finds the words for a failure that crossed as numbers.
    fn explain(&self, failure: Failure) -> Trouble {
        explain(self.plan, failure)
    }

    /// Init is gone without a word: the kernel knows why.
    fn explain_death(&self) -> Trouble {
        let ended = self.pidfd().and_then(sys::process::wait);
        let how = ended.map_or_else(|e| e.to_string(), |ended| ended.to_string());
        let oom = self.cgroup.as_ref().and_then(|c| c.oom_kills().ok()).unwrap_or(0);
        let why = if oom > 0 {
            format!("container init was OOM-killed (memory limit too low?): its cgroup counts {oom}")
        } else {
            format!("container init died: {how}")
        };
        Trouble { stage: Stage::Build, origin: None, step: String::new(), error: Error::other(Call::Wait, why) }
    }

    /// Takes everything back. Errors here are not reported: the one that brought us here is the one that counts, and
    /// the record stays if something could not be removed, so that `delete --force` can try again.
    pub fn undo(&mut self) {
        self.channel = None;
        self.record.shut();
        self.adopted.give_back();
        let born = self.init.take();
        if let Some((_, pidfd)) = &born {
            let _ = sys::process::signal(pidfd, libc::SIGKILL);
            let _ = sys::process::wait(pidfd);
        }
        let clean = match (self.cgroup.take(), born) {
            (Some(cgroup), Some(_)) => cgroup.kill_all(libc::SIGKILL).and_then(|()| cgroup.undo()),
            // Nobody was born who could be in it; to look would take descriptors, and those may be what there are too few of.
            (Some(cgroup), None) => cgroup.undo(),
            (None, _) => Ok(()),
        };
        let clean = clean.and(self.rdt.remove());
        if let (Ok(()), Some(store), Ok(directory)) = (clean, &self.store, self.record.directory()) {
            let _ = store.remove(&self.record.header.id, directory);
        }
    }
}

/// A failure of init in words: the same plan tells what its numbers mean.
pub fn explain(plan: &Plan, failure: Failure) -> Trouble {
    let steps: &[Step<InitOp>] = match failure.stage {
        Stage::Build => &plan.build,
        Stage::Enter => &plan.enter,
        Stage::Become => &plan.become_,
        Stage::Start => &plan.start,
        _ => &[],
    };
    if failure.stage == Stage::Exec {
        return explain_exec(plan, failure.error);
    }
    match steps.get(usize::from(failure.step)) {
        Some(step) => Trouble::of(failure.stage, step, failure.error),
        None => Trouble { stage: failure.stage, origin: None, step: String::new(), error: failure.error },
    }
}

/// execve itself failed, in runc's words.
fn explain_exec(plan: &Plan, error: Error) -> Trouble {
    let name = plan.exec.args.first().map_or("", String::as_str);
    let error = if error.call == Call::Execve && error.note.is_empty() {
        Error::other(Call::Execve, format!("exec {name}: {}", sys::words(error.errno)))
    } else {
        error
    };
    let origin = Some(Origin::Config("/process/args/0".into()));
    Trouble { stage: Stage::Exec, origin, step: plan.exec.to_string(), error }
}

/// Errors that a step tolerates are answers.
pub fn tolerate<Op>(step: &Step<Op>, done: sys::Result<()>) -> sys::Result<()> {
    match done {
        Err(e) if step.tolerate.contains(&e.errno) => Ok(()),
        other => other,
    }
}
