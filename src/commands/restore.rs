//! `rt restore`: brings a container back from its images, and (in the foreground) stays until it ends, as `run` does.

use anyhow::{Context, Result, bail};

use super::bundle::{self, Planned};
use super::{checkpoint, create, delete, foreground, update};
use crate::cli::{Global, PlanFlags, Restore};
use crate::criu::Choices;
use crate::log::Log;
use crate::plan::{self, Options};
use crate::sys;
use crate::timings::Watch;

/// Restores; the value is the exit code.
pub fn restore(global: &Global, args: &Restore, log: &Log) -> Result<u8> {
    let mut watch = Watch::new(false);
    let planned = planned(global, args, log)?;
    let terminal = create::terminal(&planned);
    if terminal && args.detach && args.console_socket.is_none() {
        bail!("/process/terminal: cannot allocate tty if runc will detach without setting console socket");
    }
    let directories = checkpoint::directories(&args.criu, false)?;
    let signals = if args.detach { None } else { Some(foreground::Signals::block()?) };
    if !args.detach && !args.no_subreaper {
        sys::process::become_subreaper()?;
    }
    let mut made = create::make(global, &planned, false, &mut watch, log)?;
    // Before anybody is in the container: a limit may not fit any more once its memory is there.
    let limited = crate::criu::read_updates(&directories.images).map_err(anyhow::Error::from).and_then(|updates| {
        let (record, cgroup) = made.record_and_cgroup();
        update::again(record, cgroup, updates, log).context("the limits that update had set")
    });
    let back = limited.and_then(|()| Ok(made.bring_back(&directories, &mut watch)?));
    let back = back.and_then(|()| create::announce(None, args.pid_file.as_deref(), made.pid(), made.pidfd()?));
    if let Err(e) = back {
        made.undo();
        create::poststop(&planned, global, log);
        return Err(e);
    }
    let Some(signals) = signals else { return Ok(0) };
    // It runs: from here on other verbs must get at it.
    made.let_go();
    let terminal = made.terminal.take();
    let ended = foreground::serve(&signals, made.pidfd()?, terminal, None)?;
    delete::remove_ended(&made, log)?;
    Ok(ended.code() as u8)
}

/// The plan of `create` for this bundle, turned into one that CRIU carries out.
fn planned(global: &Global, args: &Restore, log: &Log) -> Result<Planned> {
    let directory = bundle::absolute(args.bundle())?;
    let flags = PlanFlags { no_pivot: args.no_pivot, ..PlanFlags::default() };
    let raw = bundle::read(&directory, &flags)?;
    let console = args.console_socket.as_ref().map(|p| p.to_string_lossy().into_owned());
    let options = Options { console_socket: console, ..bundle::options(global, &flags, &args.id, &directory) };
    let mut planned = bundle::plan(raw, &bundle::facts(global, None)?, &options, log)?;
    let choices = Choices {
        lsm_profile: args.lsm_profile.clone(),
        lsm_mount_context: args.lsm_mount_context.clone(),
        ..checkpoint::choices(&args.criu, &planned.header.annotations)?
    };
    planned.plan = plan::restore(planned.plan, checkpoint::find_criu(global)?, choices).map_err(anyhow::Error::msg)?;
    Ok(planned)
}
