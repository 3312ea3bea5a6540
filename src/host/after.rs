//! What the host side does with a container that exists: start it, run its later hooks, end it, remove its cgroups.

use std::ops::Deref;
use std::os::fd::{AsFd, OwnedFd};

use super::{Trouble, explain};
use crate::cgroups::{self, Cgroup, Placement};
use crate::facts::Facts;
use crate::hooks::Hook;
use crate::identity;
use crate::intelrdt::{self, Rdt};
use crate::plan::{HostOp, LISTENER, Plan};
use crate::seccomp;
use crate::state::{Event, Header, Raw, Record, START_SOCKET, Status, Store};
use crate::step::{Origin, Stage, Step};
use crate::sys::{self, Call, Errno, Error};
use crate::talk::{HostEnd, HostSays, InitSays};
use crate::timings::Watch;

/// Lets a created container's init go on, and waits for its execve. The caller holds the lock and has noted the start; the
/// lock is given up here, for hooks come next: what hangs must keep nobody from ending it.
pub fn start_created(
    record: &mut Record,
    plan: &impl Deref<Target = Plan>,
    watch: &mut Watch,
) -> Result<Word, Trouble> {
    let socket = match sys::sock::connect(record.directory()?, START_SOCKET) {
        Err(e) if e.errno == Errno::ECONNREFUSED => return Ok(Word::Unheard),
        other => other?,
    };
    record.let_go();
    let channel = HostEnd::over(socket);
    match channel.say(&HostSays::Start) {
        Err(e) if e.errno == Errno::EPIPE => return Ok(Word::Unheard),
        other => other?,
    }
    let pid = record.init().map_or(0, |i| i.pid);
    await_exec(plan, &channel, Whose { header: &record.header, status: Status::Created, init: pid, pid }, watch)
}

/// Whether init has heard the word to start, and gone on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Word {
    /// It has.
    Heard,
    /// It ended before, though a moment ago it was there.
    Unheard,
}

/// Whose execve is waited for: what an agent is told of it.
#[derive(Clone, Copy)]
pub(super) struct Whose<'a> {
    /// The container.
    pub(super) header: &'a Header,
    /// Its status.
    pub(super) status: Status,
    /// The pid of its init.
    pub(super) init: i32,
    /// The pid of the process itself.
    pub(super) pid: i32,
}

/// From the word to start until the workload runs. Who has no plan at hand makes it when it is asked for.
pub(super) fn await_exec(
    plan: &impl Deref<Target = Plan>,
    channel: &HostEnd,
    whose: Whose<'_>,
    watch: &mut Watch,
) -> Result<Word, Trouble> {
    loop {
        let heard = match channel.hear_answer() {
            Err(e) if e.errno == Errno::ECONNRESET => return Ok(Word::Unheard),
            other => other?,
        };
        match heard {
            Some(InitSays::Starting { stamps }) => watch.start_stamps(plan, &stamps),
            Some(InitSays::Listener(fd)) => hand_over(plan, whose, fd)?,
            Some(InitSays::Failed(failure)) => return Err(explain(plan, failure)),
            Some(_) => return Err(Error::new(Call::Recv, Errno::EPROTO).into()),
            None => return Ok(Word::Heard),
        }
    }
}

/// Gives a filter's listener to the agent that the config names.
fn hand_over(plan: &Plan, whose: Whose<'_>, listener: OwnedFd) -> Result<(), Trouble> {
    let asked = plan.prepare.iter().find_map(|s| match &s.op {
        HostOp::Seccomp(profile) => profile.listener.as_ref(),
        _ => None,
    });
    let Some(asked) = asked else { return Err(Error::new(Call::Recv, Errno::EPROTO).into()) };
    let Whose { header, status, init, pid } = whose;
    let state = header.for_hooks(status, init);
    seccomp::deliver(asked, &header.oci_version, pid, &state, listener).map_err(|error| Trouble {
        stage: Stage::Start,
        origin: Some(Origin::Config(LISTENER.into())),
        step: String::new(),
        error,
    })
}

/// Runs the poststart hooks of a container, as long as it is there; the first failure ends them.
pub fn run_poststart(hooks: &[Step<Hook>], store: &Store, record: &Record) -> Result<(), Trouble> {
    let state = record.header.for_hooks(Status::Running, record.init().map_or(0, |init| init.pid));
    let there = || store.still_has(record);
    hooks.iter().try_for_each(|step| {
        let done = crate::hooks::run_while(&step.op, &state, &record.header.bundle, Some(&there));
        done.map_err(|e| Trouble::of(Stage::Hooks, step, e))
    })
}

/// Runs the poststop hooks: all of them, whatever the others did.
pub fn run_poststop(hooks: &[Step<Hook>], header: &Header) -> Vec<Trouble> {
    let state = header.for_hooks(Status::Stopped, 0);
    let run = |step: &Step<Hook>| {
        let done = crate::hooks::run(&step.op, &state, &header.bundle);
        done.err().map(|e| Trouble::of(Stage::Hooks, step, e))
    };
    hooks.iter().filter_map(run).collect()
}

/// Ends everything that lives in a container: through its cgroup, if there is one, and its init in any case. A frozen one
/// is thawed, for a signal reaches nobody in the freezer of cgroup v1.
pub fn kill_everything(record: &Record, cgroup: Option<&Cgroup>, signal: i32) -> sys::Result<()> {
    if let Some(cgroup) = cgroup {
        cgroup.kill_all(signal)?;
    }
    match record.alive()? {
        Some(pidfd) => match sys::process::signal(&pidfd, signal) {
            Err(e) if e.errno != Errno::ESRCH => Err(e),
            _ => Ok(()),
        },
        None => Ok(()),
    }
}

/// The container's cgroups, if it has any whose trees still are there.
pub fn open_cgroup(record: &Record) -> sys::Result<Option<Cgroup>> {
    match record.cgroup().read::<Placement>() {
        Some(placement) if !placement.is_none() && placement.is_ours() => open(&placement),
        _ => Ok(None),
    }
}

/// Whether the container's cgroup says that it is frozen. One that is gone is not.
pub fn is_frozen(record: &Record) -> sys::Result<bool> {
    let Some(placement) = record.cgroup().read::<Placement>() else { return Ok(false) };
    match open(&placement.freezer())?.map_or(Ok(false), |cgroup| cgroup.is_frozen()) {
        Err(e) if matches!(e.errno, Errno::ENOENT | Errno::ENODEV) => Ok(false),
        other => other,
    }
}

fn open(placement: &Placement) -> sys::Result<Option<Cgroup>> {
    match Cgroup::open(placement) {
        Err(e) if matches!(e.errno, Errno::ENOENT | Errno::ENODEV) => Ok(None),
        other => other.map(Some),
    }
}

/// Removes the container's cgroups.
pub fn remove_cgroups(record: &Record) -> sys::Result<()> {
    match record.cgroup().read::<Placement>() {
        Some(placement) if !placement.is_none() && placement.is_ours() => Cgroup::destroy(&placement),
        _ => Ok(()),
    }
}

/// Ends the unit that systemd has made for the container, if it has. Its cgroups are gone by now.
pub fn release_unit(record: &Record) -> sys::Result<()> {
    match record.cgroup().read::<Placement>().filter(Placement::is_ours).and_then(|p| p.unit) {
        Some(unit) => cgroups::systemd::release(&unit),
        None => Ok(()),
    }
}

/// Removes the resctrl groups that the container's creation made.
pub fn remove_rdt(record: &Record) -> sys::Result<()> {
    match record.rdt().and_then(Raw::read::<Rdt>) {
        Some(rdt) => rdt.remove(),
        None => Ok(()),
    }
}

/// Sets other schemata for a container; what is needed to take that back.
pub fn update_rdt(record: &mut Record, mount: &str, lines: &[String]) -> sys::Result<(Rdt, intelrdt::Changed)> {
    let config: serde_json::Value = serde_json::from_slice(&record.config).unwrap_or_default();
    let asked = config.pointer("/linux/intelRdt").filter(|asked| asked.is_object());
    let named = asked.and_then(|asked| asked.get("closID")?.as_str()).filter(|name| !name.is_empty());
    let dir = intelrdt::group(mount, named, &record.header.id);
    let mut rdt: Rdt = record.rdt().and_then(Raw::read).unwrap_or_default();
    let cgroup = open_cgroup(record)?;
    let threads = || sys::process::threads(&cgroup.as_ref().map_or(Ok(Vec::new()), Cgroup::pids)?);
    let configured = asked.is_some();
    let changed = rdt.update(&dir, configured, lines, &threads, &mut |rdt| note_rdt(record, rdt))?;
    Ok((rdt, changed))
}

/// Takes it back.
pub fn take_back_rdt(record: &mut Record, mut rdt: Rdt, changed: intelrdt::Changed) -> sys::Result<()> {
    rdt.take_back(changed, &mut |rdt| note_rdt(record, rdt))
}

fn note_rdt(record: &mut Record, rdt: &Rdt) -> sys::Result<()> {
    record.note(Event::Rdt(Raw::of(rdt)))
}

/// Waits until a process has ended; false when the time ran out.
pub fn wait_gone(pidfd: impl AsFd, limit: std::time::Duration) -> sys::Result<bool> {
    sys::process::wait_readable(pidfd, Some(limit))
}

/// Whether our user namespace is not the initial one.
pub fn in_user_namespace() -> sys::Result<bool> {
    // A table, but the one that is looked for is a single line.
    let map = sys::fs::read_piece("/proc/self/uid_map")?;
    Ok(map.split_whitespace().ne(["0", "0", "4294967295"]))
}

/// The same facts, with the systemd that would make cgroups for us.
pub fn with_systemd(facts: Facts) -> Facts {
    let systemd = cgroups::probe::systemd(facts.euid, facts.in_userns, &facts.cgroups);
    Facts { systemd, ..facts }
}

/// What this host is. `as_rootless` is the caller's word on whether we have root's rights, if it has one.
pub fn facts(as_rootless: Option<bool>) -> sys::Result<Facts> {
    let mut facts = Facts {
        euid: nix::unistd::geteuid().as_raw(),
        kernel: sys::probe::kernel(),
        in_userns: in_user_namespace()?,
        capabilities: sys::cred::bounding()?,
        cgroups: cgroups::probe::trees()?,
        delegated: Vec::new(),
        as_rootless,
        systemd: None,
        resctrl: intelrdt::probe()?,
        selinux: identity::labels::selinux(),
        apparmor: identity::labels::apparmor(),
    };
    if facts.rootless() {
        facts.delegated = cgroups::probe::delegated(&mut facts.cgroups)?;
    }
    Ok(facts)
}
