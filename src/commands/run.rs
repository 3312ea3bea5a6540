//! `rt run`: create, start, and (in the foreground) stay until the workload ends.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::{Result, anyhow, bail};
use serde_json::{Value, json};

use super::bundle::{self, Planned};
use super::{create, delete, foreground, notify};
use crate::cli::{ContainerId, Global, Run, Workload};
use crate::hooks::{self, Point};
use crate::host::{self, Host};
use crate::log::Log;
use crate::spec::template;
use crate::sys;
use crate::timings::Watch;

/// Runs; the value is the exit code.
pub fn run(global: &Global, args: &Run, log: &Log) -> Result<u8> {
    let mut watch = Watch::new(args.create.timings.is_some());
    let (directory, id, raw) = read(args)?;
    let options = create::options(global, &args.create, &id, &directory)?;
    let planned = bundle::plan(raw, &bundle::facts(global, None)?, &options, log)?;
    if planned.plan.exec.args.is_empty() {
        bail!("/process: a container without a process can be created, not run");
    }
    check_terminal(args, create::terminal(&planned), options.console_socket.is_some())?;
    let signals = if args.detach { None } else { Some(foreground::Signals::block()?) };
    if !args.detach && !args.no_subreaper {
        sys::process::become_subreaper()?;
    }
    let mut made = create::make(global, &planned, false, &mut watch, log)?;
    let begun = create::finish(&args.create, &made).and_then(|()| {
        let begin = |made: &mut Host<'_>, watch: &mut Watch| {
            let proxy = notify::Proxy::open(made.record())?;
            made.start(watch)?;
            Ok(proxy)
        };
        begin(&mut made, &mut watch).inspect_err(|_| create::forget_pid(&args.create))
    });
    let proxy = match begun {
        Ok(proxy) => proxy,
        Err(e) => {
            made.undo();
            create::poststop(&planned, global, log);
            return Err(e);
        }
    };
    create::report(args.create.timings, &watch, &planned.plan);
    // It runs: from here on other verbs must get at it, whatever its hooks do.
    made.let_go();
    after_start(&planned, &made, global, log)?;
    let Some(signals) = signals else {
        return proxy.map_or(Ok(()), |proxy| proxy.until_ready(made.pidfd()?, made.pid())).map(|()| 0);
    };
    let terminal = made.terminal.take();
    let ended = foreground::serve(&signals, made.pidfd()?, terminal, proxy.as_ref()).or_else(|e| {
        // Nobody is left who would see it end.
        made.undo();
        delete::remove_ended(&made, log).and(Err(e))
    })?;
    if !args.keep {
        delete::remove_ended(&made, log)?;
    }
    // With the process all is closed that it holds; nothing of it needs to be closed before.
    std::mem::forget(made);
    Ok(ended.code() as u8)
}

/// poststart hooks: one that fails stops the container.
fn after_start(planned: &Planned, made: &Host<'_>, global: &Global, log: &Log) -> Result<()> {
    let hooks = hooks::lower(&planned.spec, Point::Poststart, bundle::strict(global));
    let Some(store) = made.store().filter(|_| !hooks.is_empty()) else { return Ok(()) };
    host::run_poststart(&hooks, store, made.record()).map_err(|trouble| {
        delete::clean_up(store, made.record(), log);
        trouble.into()
    })
}

fn check_terminal(args: &Run, terminal: bool, socket: bool) -> Result<()> {
    if terminal && args.detach && !socket {
        bail!("/process/terminal: cannot allocate tty if runc will detach without setting console socket");
    }
    if socket && !args.detach {
        bail!("cannot use console socket if runc will not detach or allocate tty");
    }
    Ok(())
}

/// The bundle's directory, the id, and the config's bytes.
fn read(args: &Run) -> Result<(PathBuf, ContainerId, Vec<u8>)> {
    let name =
        |id: Option<ContainerId>| id.unwrap_or_else(|| ContainerId::unique(SystemTime::now(), std::process::id()));
    match args.workload().map_err(|e| anyhow!(e))? {
        Workload::Bundle { dir, id } => {
            let directory = bundle::absolute(&dir)?;
            let raw = bundle::read(&directory, &args.create.plan)?;
            Ok((directory, name(id), raw))
        }
        Workload::Rootfs { dir, id, command } => {
            let directory = bundle::absolute(&dir)?;
            let words = command.iter().map(|w| w.to_string_lossy().into_owned()).collect();
            let raw = config_for(&directory.to_string_lossy(), words)?;
            Ok((directory, name(id), raw))
        }
    }
}

/// The config that `rt spec` would write, for this root and this command.
fn config_for(rootfs: &str, args: Vec<String>) -> Result<Vec<u8>> {
    let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    let text = template::template((uid != 0).then_some((uid, gid)));
    let mut config: Value = serde_json::from_str(&text)?;
    config["root"] = json!({ "path": rootfs, "readonly": false });
    config["process"]["args"] = json!(args);
    config["process"]["terminal"] = json!(std::io::IsTerminal::is_terminal(&std::io::stdin().as_fd()));
    Ok(serde_json::to_vec(&config)?)
}
