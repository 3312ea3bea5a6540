//! `rt start`: lets a created container's workload run.

use std::cell::LazyCell;

use anyhow::{Result, bail};

use super::bundle;
use super::{create, delete, missing, notify, store};
use crate::cli::{Global, Start};
use crate::hooks::{self, Point};
use crate::host::{self, Word};
use crate::log::Log;
use crate::plan::{self, Plan};
use crate::spec;
use crate::state::{Event, Record, Status};
use crate::timings::Watch;

/// What callers read when init has ended: before they asked, or before it heard of it.
const STOPPED: &str = "cannot start a container that has stopped";

/// "If `process` was not set, start must generate an error." The error is always said. Under --strict that is all, as the
/// specification has it for errors; else the container has run its course, as under crun and as the validation suite has it.
fn no_process(record: &Record, strict: bool, log: &Log) -> Result<()> {
    let error = "/process: missing: a container without a process can't be started";
    if strict {
        bail!(error);
    }
    log.error(error);
    host::kill_everything(record, host::open_cgroup(record)?.as_ref(), libc::SIGKILL)?;
    if let Some(init) = record.alive()? {
        host::wait_gone(&init, delete::PATIENCE)?;
    }
    Ok(())
}

/// Starts.
pub fn start(global: &Global, args: &Start, log: &Log) -> Result<()> {
    let mut watch = Watch::new(args.timings.is_some());
    let store = store(global, false).map_err(missing)?;
    let mut record = store.lock(&args.id).map_err(missing)?;
    match record.status()? {
        Status::Created => {}
        Status::Stopped => bail!(STOPPED),
        Status::Creating => bail!("cannot start a container that is still being created"),
        Status::Running | Status::Paused => bail!("cannot start an already running container"),
    }
    let ahead = bundle::ahead_of(&record)?;
    if !ahead.process {
        return no_process(&record, bundle::strict(global), log);
    }
    let config = record.config.clone();
    let spec = LazyCell::new(move || spec::read_config(config, false).map(|c| c.spec).unwrap_or_default());
    // The words for a failed step, the timings and the seccomp agent are in the plan: mostly nobody asks.
    let options = bundle::options(global, &crate::cli::PlanFlags::default(), &args.id, record.header.bundle.as_ref());
    let options = plan::Options { no_cgroups: true, ..options };
    let plan = LazyCell::new(|| match bundle::facts(global, None).map(|facts| plan::lower(&spec, &facts, &options)) {
        Ok(Ok(lowered)) => lowered.plan,
        // It could be lowered when it was created; without it the words are fewer.
        _ => Plan::default(),
    });
    let strict = bundle::strict(global);
    let proxy = notify::Proxy::open(&record)?;
    record.note(Event::Started)?;
    let started = host::start_created(&mut record, &plan, &mut watch);
    if args.timings.is_some() {
        create::report(args.timings, &watch, &plan);
    }
    if matches!(started, Ok(Word::Unheard)) {
        bail!(STOPPED);
    }
    let started = started.and_then(|_| match ahead.poststart {
        false => Ok(()),
        true => host::run_poststart(&hooks::lower(&spec, Point::Poststart, strict), &store, &record),
    });
    if let Err(trouble) = started {
        // "Generate an error, stop the container, and continue the lifecycle at step 12": it is gone afterwards.
        record.let_go();
        delete::clean_up(&store, &record, log);
        return Err(trouble.into());
    }
    match (proxy, record.alive()?) {
        (Some(proxy), Some(init)) => proxy.until_ready(&init, record.init().map_or(0, |i| i.pid)),
        _ => Ok(()),
    }
}
