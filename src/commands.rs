//! The verbs, one file each: from what was asked to what is done, in words for people. With `cli` and `main` the only
//! place that knows of clap, anyhow, stdout and exit codes.

pub mod bundle;
pub mod check;
pub mod checkpoint;
pub mod create;
pub mod delete;
pub mod doctor;
pub mod events;
pub mod exec;
pub mod explain;
pub mod features;
pub mod foreground;
pub mod kill;
pub mod notify;
pub mod pause;
pub mod ps;
pub mod restore;
pub mod run;
pub mod spec;
pub mod start;
pub mod state;
pub mod update;
pub mod version;
pub mod wait;

use std::ffi::OsString;
use std::path::PathBuf;

use crate::cgroups::Cgroup;
use crate::cli::{Global, Request, Usage, Verb};
use crate::error::Complaints;
use crate::host::{self, Trouble};
use crate::log::{Format, Level, Log, Report};
use crate::state::{Record, Status, Store};
use crate::step::Origin;
use crate::sys::{self, Errno};

const SUCCESS: u8 = 0;
const FAILURE: u8 = 1;

/// Opens the log that the global flags name.
pub fn open_log(global: &Global) -> sys::Result<Log> {
    match &global.log {
        Some(path) => Log::file(path, global.log_format, global.level()),
        None => Ok(Log::stderr(global.log_format, global.level())),
    }
}

/// Reads the command line and does what needs no container. What is left to do comes back with its log; an exit code
/// means that all is said and done.
pub fn begin(args: impl IntoIterator<Item = OsString>) -> Result<(Global, Verb, Log), u8> {
    let (global, verb) = match crate::cli::parse(args) {
        Ok(Request::Act(global, verb)) => (*global, verb),
        Ok(Request::Help(text)) => return Err(print(&text)),
        Ok(Request::Version) => return Err(print(&version::text())),
        Err(usage) => return Err(misused(&usage)),
    };
    // Descriptors that our caller leaked are nobody's business here, and the first thing to go.
    sys::fs::close_from(passed_on(&verb).saturating_add(3), false).map_err(|e| log_failure(&e))?;
    // Before we open anything of our own, which would take the place of one that isn't there.
    let promised = promised(&verb);
    let last = promised.saturating_add(bundle::own_listen_fds()).saturating_add(3);
    let missing = (3..last).filter(|_| promised > 0).find(|number| sys::fs::inherited(*number as i32).is_none());
    let log = open_log(&global).map_err(|e| log_failure(&e))?;
    if let Some(number) = missing {
        let message = format!("--preserve-fds {promised}: descriptor {number} is not open: no such file or directory");
        log.failure(&Report::new(message));
        return Err(failed(&verb));
    }
    Ok((global, verb, log))
}

/// How many descriptors from 3 upwards `--preserve-fds` says that there are for the workload.
fn promised(verb: &Verb) -> u32 {
    match verb {
        Verb::Create(args) => args.create.plan.preserve_fds,
        Verb::Run(args) => args.create.plan.preserve_fds,
        Verb::Exec(args) => args.preserve_fds,
        _ => 0,
    }
}

/// How many descriptors from 3 upwards were given to us, for the workload or to write to.
fn passed_on(verb: &Verb) -> u32 {
    match verb {
        Verb::Create(_) | Verb::Run(_) | Verb::Exec(_) => {
            promised(verb).saturating_add(bundle::own_listen_fds()).max(bundle::listen_fds())
        }
        // Those below it go nowhere.
        Verb::Checkpoint(args) => {
            args.status_fd.and_then(|fd| u32::try_from(fd).ok()).map_or(0, |fd| fd.saturating_sub(2))
        }
        _ => 0,
    }
}

/// The exit code of a verb that failed: where any smaller one could be that of the process, the greatest.
fn failed(verb: &Verb) -> u8 {
    if matches!(verb, Verb::Exec(_) | Verb::Wait(_)) { 255 } else { FAILURE }
}

/// Prints a text that was asked for.
fn print(text: &str) -> u8 {
    match say(text) {
        Ok(()) => SUCCESS,
        Err(_) => FAILURE,
    }
}

/// Writes an answer to stdout, all of it: what is still in a buffer when we end is lost without a word.
pub fn say(text: &str) -> std::io::Result<()> {
    use std::io::Write;
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Says what is wrong with the command line: the message in the log, the hint to people only.
fn misused(usage: &Usage) -> u8 {
    let log = match usage.global.as_deref().map(open_log) {
        Some(Ok(log)) => log,
        Some(Err(e)) => return log_failure(&e),
        None => Log::stderr(Format::Text, Level::Error),
    };
    log.failure(&Report::new(usage.message.as_str()).with("hint", usage.hint.as_str()));
    usage.code
}

/// A log that can't be opened is said on stderr: there is nowhere else.
fn log_failure(error: &sys::Error) -> u8 {
    Log::stderr(Format::Text, Level::Error).failure(&Report::new(error.to_string()));
    FAILURE
}

/// Does what was asked for, and says why if it could not be done.
pub fn act(global: &Global, verb: Verb, log: &Log) -> u8 {
    let done = match &verb {
        Verb::Create(args) => create::create(global, args, log).map(|()| 0),
        Verb::Run(args) => run::run(global, args, log),
        Verb::Exec(args) => exec::exec(global, args, log),
        Verb::Start(args) => start::start(global, args, log).map(|()| 0),
        Verb::State(args) => state::state(global, args).map(|()| 0),
        Verb::Kill(args) => kill::kill(global, args).map(|()| 0),
        Verb::Delete(args) => delete::delete(global, args, log).map(|()| 0),
        Verb::Pause(args) => pause::pause(global, args).map(|()| 0),
        Verb::Events(args) => events::events(global, args).map(|()| 0),
        Verb::Wait(args) => wait::wait(global, args),
        Verb::Ps(args) => ps::ps(global, args).map(|()| 0),
        Verb::Checkpoint(args) => checkpoint::checkpoint(global, args, log).map(|()| 0),
        Verb::Restore(args) => restore::restore(global, args, log),
        Verb::Update(args) => update::update(global, args, log).map(|()| 0),
        Verb::Resume(args) => pause::resume(global, args).map(|()| 0),
        Verb::List(args) => state::list(global, args, log).map(|()| 0),
        Verb::Check(args) => check::check(global, args),
        Verb::Doctor(args) => doctor::doctor(global, args),
        Verb::Explain(args) => explain::explain(global, args, log).map(|()| 0),
        Verb::Spec(args) => spec::spec(args, crate::spec::template::template).map(|()| 0),
        Verb::Features(_) => features::features(features::tables(), &mut std::io::stdout()).map(|()| 0),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            log.failure(&report(&error));
            failed(&verb)
        }
    }
}

/// An error in one line, with its parts for programs.
fn report(error: &anyhow::Error) -> Report {
    let mut report = Report::new(format!("{error:#}"));
    if let Some(trouble) = error.downcast_ref::<Trouble>() {
        report = report.with("stage", trouble.stage.name());
        if let Some(Origin::Config(pointer)) = &trouble.origin {
            report = report.with("pointer", pointer.as_str());
        }
        report = report.with("step", trouble.step.as_str());
        report = kernel_parts(report, &trouble.error);
    } else if let Some(error) = error.downcast_ref::<sys::Error>() {
        report = kernel_parts(report, error);
    } else if let Some(complaints) = error.downcast_ref::<Complaints>()
        && let Some(first) = complaints.0.first()
    {
        report = report.with("pointer", first.pointer.as_str());
    }
    report
}

fn kernel_parts(report: Report, error: &sys::Error) -> Report {
    if error.errno == Errno::UnknownErrno {
        return report;
    }
    report
        .with("call", error.call.name())
        .with("errno", (error.errno as i32).to_string())
        .with("errname", format!("{:?}", error.errno))
}

/// The directory of all containers: `--root`, /run/rt, or for others than the host's root $XDG_RUNTIME_DIR/rt.
pub fn state_root(global: &Global) -> sys::Result<String> {
    let own = if global.root.is_none() { own_runtime_directory()? } else { None };
    Ok(global.root.as_ref().map(|path| path.to_string_lossy().into_owned()).or(own).unwrap_or("/run/rt".to_owned()))
}

/// Opens it; `make`: where it is missing, it is made.
pub fn store(global: &Global, make: bool) -> sys::Result<Store> {
    let own = global.root.is_none() && own_runtime_directory()?.is_some();
    let hint = |e: sys::Error| {
        let refused = matches!(e.errno, Errno::EACCES | Errno::EPERM);
        let homeless = !own && global.root.is_none() && !nix::unistd::geteuid().is_root();
        let note = format!("{} (set XDG_RUNTIME_DIR, or use --root)", e.note);
        if refused && homeless { e.about(note) } else { e }
    };
    Store::open(&state_root(global)?, make, own).map_err(hint)
}

/// Where a caller without the host's root's rights keeps what lasts as long as its session. Root of a user namespace may
/// be either: the user who made it, or root of a container, who has a /run.
fn own_runtime_directory() -> sys::Result<Option<String>> {
    let Some(directory) = std::env::var("XDG_RUNTIME_DIR").ok().filter(|d| !d.is_empty()) else { return Ok(None) };
    let user = !nix::unistd::geteuid().is_root()
        || std::env::var("USER").map_or(true, |name| name != "root") && host::in_user_namespace()?;
    Ok(user.then(|| format!("{directory}/rt")))
}

/// The absolute path of what is kept of one container: for the plan, which has it mounted into the container.
fn state_directory(global: &Global, id: &str) -> sys::Result<String> {
    let root = PathBuf::from(state_root(global)?);
    let root = std::path::absolute(&root).unwrap_or(root);
    Ok(root.join(id).to_string_lossy().into_owned())
}

/// Complaints about a file that is no config.json: each with its pointer in that file.
pub fn unfit(file: &str, complaints: &Complaints) -> anyhow::Error {
    let lines: Vec<String> = complaints.0.iter().map(ToString::to_string).collect();
    anyhow::anyhow!("{file}: {}", lines.join("; "))
}

/// Callers look for these words when a container is not there.
pub fn missing(error: sys::Error) -> anyhow::Error {
    match error.errno {
        Errno::ENOENT => anyhow::anyhow!("container does not exist"),
        _ => error.into(),
    }
}

/// The status, with the cgroup's word on whether a running container is paused.
pub fn status(record: &Record) -> sys::Result<Status> {
    match record.status()? {
        Status::Running if host::is_frozen(record)? => Ok(Status::Paused),
        other => Ok(other),
    }
}

/// Whether a container's cgroup is frozen. One that is gone is not.
pub fn is_frozen(cgroup: Option<&Cgroup>) -> sys::Result<bool> {
    match cgroup.map_or(Ok(false), Cgroup::is_frozen) {
        Err(e) if matches!(e.errno, Errno::ENOENT | Errno::ENODEV) => Ok(false),
        other => other,
    }
}
