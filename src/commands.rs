//! The verbs, one file each: from what was asked to what is done, in words for people. With `cli` and `main` the only
//! place that knows of clap, anyhow, stdout and exit codes.

pub mod bundle;
pub mod check;
pub mod create;
pub mod delete;
pub mod doctor;
pub mod events;
pub mod exec;
pub mod explain;
pub mod features;
pub mod foreground;
pub mod kill;
pub mod pause;
pub mod ps;
pub mod run;
pub mod spec;
pub mod start;
pub mod state;
pub mod update;
pub mod version;
pub mod wait;

use std::ffi::OsString;
use std::process::ExitCode;

use crate::cli::{Global, Request, Usage, Verb};
use crate::error::Complaints;
use crate::host::{self, Trouble};
use crate::log::{Format, Level, Log, Report};
use crate::state::{Record, Status, Store};
use crate::step::Origin;
use crate::sys::{self, Errno};

/// Opens the log that the global flags name.
pub fn open_log(global: &Global) -> sys::Result<Log> {
    match &global.log {
        Some(path) => Log::file(path, global.log_format, global.level()),
        None => Ok(Log::stderr(global.log_format, global.level())),
    }
}

/// Reads the command line and does what needs no container. What is left to do comes back with its log; an exit code
/// means that all is said and done.
pub fn begin(args: impl IntoIterator<Item = OsString>) -> Result<(Global, Verb, Log), ExitCode> {
    let (global, verb) = match crate::cli::parse(args) {
        Ok(Request::Act(global, verb)) => (*global, verb),
        Ok(Request::Help(text)) => return Err(print(&text)),
        Ok(Request::Version) => return Err(print(&version::text())),
        Err(usage) => return Err(misused(&usage)),
    };
    // Descriptors that our caller leaked are nobody's business here, and the first thing to go.
    sys::fs::close_from(3 + passed_on(&verb), false).map_err(|e| log_failure(&e))?;
    let log = open_log(&global).map_err(|e| log_failure(&e))?;
    if global.criu.is_some() {
        log.warn("--criu is accepted for old callers and ignored");
    }
    Ok((global, verb, log))
}

/// How many descriptors from 3 upwards are for the workload.
fn passed_on(verb: &Verb) -> u32 {
    let asked = match verb {
        Verb::Create(args) => args.create.plan.preserve_fds,
        Verb::Run(args) => args.create.plan.preserve_fds,
        Verb::Exec(args) => args.preserve_fds,
        _ => return 0,
    };
    asked.max(bundle::listen_fds())
}

/// Prints a text that was asked for.
fn print(text: &str) -> ExitCode {
    use std::io::Write;
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Says what is wrong with the command line: the message in the log, the hint to people only.
fn misused(usage: &Usage) -> ExitCode {
    let log = match usage.global.as_deref().map(open_log) {
        Some(Ok(log)) => log,
        Some(Err(e)) => return log_failure(&e),
        None => Log::stderr(Format::Text, Level::Error),
    };
    log.failure(&Report::new(usage.message.as_str()).with("hint", usage.hint.as_str()));
    ExitCode::from(usage.code)
}

/// A log that can't be opened is said on stderr: there is nowhere else.
fn log_failure(error: &sys::Error) -> ExitCode {
    Log::stderr(Format::Text, Level::Error).failure(&Report::new(error.to_string()));
    ExitCode::FAILURE
}

/// Does what was asked for, and says why if it could not be done.
pub fn act(global: &Global, verb: Verb, log: &Log) -> ExitCode {
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
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            log.failure(&report(&error));
            // Any smaller code could be that of the process.
            if matches!(verb, Verb::Exec(_) | Verb::Wait(_)) { ExitCode::from(255) } else { ExitCode::FAILURE }
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
pub fn state_root(global: &Global) -> String {
    let asked = global.root.as_ref().map(|path| path.to_string_lossy().into_owned());
    asked.or_else(own_runtime_directory).unwrap_or_else(|| "/run/rt".to_owned())
}

/// Opens it; `make`: where it is missing, it is made.
pub fn store(global: &Global, make: bool) -> sys::Result<Store> {
    let path = state_root(global);
    let own = global.root.is_none() && own_runtime_directory().is_some();
    Store::open(&path, make, own).map_err(|e| {
        let refused = matches!(e.errno, Errno::EACCES | Errno::EPERM);
        let homeless = !own && global.root.is_none() && !nix::unistd::geteuid().is_root();
        let note = format!("{} (set XDG_RUNTIME_DIR, or use --root)", e.note);
        if refused && homeless { e.about(note) } else { e }
    })
}

/// Where a caller without the host's root's rights keeps what lasts as long as its session. Root of a user namespace may
/// be either: the user who made it, or root of a container, who has a /run.
fn own_runtime_directory() -> Option<String> {
    let directory = std::env::var("XDG_RUNTIME_DIR").ok().filter(|d| !d.is_empty())?;
    let not_called_root = || std::env::var("USER").map_or(true, |name| name != "root");
    let user =
        !nix::unistd::geteuid().is_root() || not_called_root() && host::in_user_namespace().is_ok_and(|inside| inside);
    user.then(|| format!("{directory}/rt"))
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
pub fn status(record: &Record) -> Status {
    match record.status() {
        Status::Running if host::open_cgroup(record).is_some_and(|c| c.is_frozen().unwrap_or(false)) => Status::Paused,
        other => other,
    }
}
