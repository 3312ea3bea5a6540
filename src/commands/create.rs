//! `rt create`: a container up to the word to start.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::bundle::{self, Planned};
use super::{explain, notify, state_directory, store};
use crate::cli::{Create, CreateFlags, Global, Timings};
use crate::hooks::{self, Point};
use crate::host::{self, Host, Order, Prepared, Trouble};
use crate::init::{self, Baggage};
use crate::log::Log;
use crate::plan::{HostOp, InitOp, Options, Plan};
use crate::rootfs::Rootfs;
use crate::state::{Header, NOTIFY_DIR};
use crate::step::Stage;
use crate::sys::{self, Call, During, Errno};
use crate::talk::InitEnd;
use crate::timings::Watch;

/// Creates and leaves.
pub fn create(global: &Global, args: &Create, log: &Log) -> Result<()> {
    let mut watch = Watch::new(args.create.timings.is_some());
    let directory = bundle::absolute(args.create.bundle())?;
    let raw = bundle::read(&directory, &args.create.plan)?;
    let options = options(global, &args.create, &args.id, &directory)?;
    let planned = bundle::plan(raw, &bundle::facts(global, None)?, &options, log)?;
    if terminal(&planned) && options.console_socket.is_none() {
        bail!("/process/terminal: cannot allocate tty if runc will detach without setting console socket");
    }
    let plan = planned.plan.clone();
    let mut made = make(global, &planned, true, &mut watch, log)?;
    let settled = finish(&args.create, &made)
        .and_then(|()| made.settle().inspect_err(|_| forget_pid(&args.create)).map_err(Into::into));
    if settled.is_err() {
        made.undo();
        poststop(&planned, global, log);
    }
    report(args.create.timings, &watch, &plan);
    settled
}

/// The options of `create` and `run`.
pub fn options(global: &Global, flags: &CreateFlags, id: &str, of: &Path) -> sys::Result<Options> {
    let console = flags.console_socket.as_ref().map(|p| p.to_string_lossy().into_owned());
    let directory = notify::wanted().then(|| state_directory(global, id)).transpose()?;
    let notify = directory.map(|dir| format!("{dir}/{NOTIFY_DIR}"));
    Ok(Options { console_socket: console, notify, ..bundle::options(global, &flags.plan, id, of) })
}

/// Whether the workload wants a terminal.
pub fn terminal(planned: &Planned) -> bool {
    planned.spec.process().as_ref().is_some_and(|p| p.terminal() == Some(true))
}

/// Makes the container; on failure nothing is left.
pub fn make<'p>(
    global: &Global,
    planned: &'p Planned,
    wait_for_start: bool,
    watch: &mut Watch,
    log: &Log,
) -> Result<Host<'p>> {
    if planned.plan.prepare.iter().any(|s| s.op == HostOp::Seal) {
        sys::process::run_sealed()?;
    }
    // Descriptors that the workload was promised pass through us; nothing that we run in between gets them.
    if planned.plan.start.iter().any(|s| matches!(s.op, InitOp::CloseFds { from: 4.. })) {
        sys::fs::close_from(3, true)?;
    }
    sys::cred::umask(0o022);
    // A caller that ignores SIGCHLD would have the kernel reap our children before we can.
    sys::process::default_signal(libc::SIGCHLD)?;
    let timed = watch.on();
    let order = Order {
        plan: &planned.plan,
        placement: &planned.placement,
        program: planned.program.clone(),
        header: planned.header.clone(),
        config: planned.raw.clone(),
        wait_for_start,
    };
    let be_init = move |plan: &Plan, prepared: Prepared, channel: InitEnd, header: &Header| {
        init::run(plan, baggage(plan, prepared, timed), channel, header)
    };
    host::create(order, store(global, true)?, &be_init, watch).map_err(|trouble| {
        if !matches!(trouble.stage, Stage::Prepare | Stage::Birth) {
            poststop(planned, global, log);
        }
        said(trouble)
    })
}

/// A container that was there, if only for a moment, has an end, and its hooks run.
pub fn poststop(planned: &Planned, global: &Global, log: &Log) {
    let hooks = hooks::lower(&planned.spec, Point::Poststop, bundle::strict(global));
    host::run_poststop(&hooks, &planned.header).iter().for_each(|e| log.warn(e));
}

/// EEXIST of the reservation in the words that callers know.
fn said(trouble: Trouble) -> anyhow::Error {
    if trouble.origin.is_none() && trouble.error.call == Call::Mkdir && trouble.error.errno == Errno::EEXIST {
        return anyhow::anyhow!("container with given ID already exists");
    }
    trouble.into()
}

/// What init brings along.
pub fn baggage(plan: &Plan, prepared: Prepared, timed: bool) -> Baggage {
    let flags = plan.prepare.iter().find_map(|s| match &s.op {
        HostOp::Seccomp(profile) => Some(profile.flags),
        _ => None,
    });
    Baggage {
        join: prepared.join,
        namespaces: prepared.namespaces,
        rootfs: Rootfs::new(prepared.sources),
        console: prepared.console,
        stub: prepared.stub,
        filter: prepared.program.zip(flags),
        start: prepared.start,
        handed: prepared.handed,
        ignored: prepared.ignored,
        timed,
    }
}

/// What callers wait for: the pid file and the pidfd.
pub fn finish(flags: &CreateFlags, made: &Host<'_>) -> Result<()> {
    announce(flags.pidfd_socket.as_deref(), flags.pid_file.as_deref(), made.pid(), made.pidfd()?)
}

/// The pid file of a container that did not come to be is gone with it.
pub fn forget_pid(flags: &CreateFlags) {
    if let Some(path) = &flags.pid_file {
        // The error that brought us here is the one that counts.
        let _ = std::fs::remove_file(path);
    }
}

/// Says who was born, in the places that the caller named.
pub fn announce(socket: Option<&Path>, file: Option<&Path>, pid: i32, pidfd: &OwnedFd) -> Result<()> {
    if let Some(path) = socket {
        let socket = sys::sock::connect_host(&path.to_string_lossy())?;
        sys::sock::send(&socket, b"pidfd", &[pidfd.as_raw_fd()]).context("--pidfd-socket")?;
    }
    if let Some(path) = file {
        write_pid(path, pid).with_context(|| format!("--pid-file {}", path.display()))?;
    }
    Ok(())
}

/// Digits only, and whole from the moment it is there: callers poll for it and convert what they read.
fn write_pid(path: &Path, pid: i32) -> sys::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let draft = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let written = std::fs::write(&draft, pid.to_string()).during(Call::Write);
    written.and_then(|()| std::fs::rename(&draft, path).during(Call::Rename)).inspect_err(|_| {
        // The draft is ours; that it could not be written or renamed is the error that counts.
        let _ = std::fs::remove_file(&draft);
    })
}

/// Prints where the time went.
pub fn report(timings: Option<Timings>, watch: &Watch, plan: &Plan) {
    match timings {
        Some(Timings::Text) => explain::to_stderr(&watch.text(plan)),
        Some(Timings::Json) => explain::to_stderr(&format!("{}\n", watch.json(plan))),
        None => {}
    }
}
