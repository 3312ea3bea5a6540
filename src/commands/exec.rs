//! `rt exec`: one more process in a running container, with everything that its first process has.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use oci_spec::runtime::{Capability, LinuxCapabilities, LinuxCapabilitiesBuilder, Process, Spec};
use serde::Deserialize;
use serde_json::json;

use super::{bundle, create, foreground, is_frozen, missing, store, unfit};
use crate::cgroups::{Below, Cgroup};
use crate::cli::{Exec, Global};
use crate::error::ConfigError;
use crate::facts::Facts;
use crate::host::{self, Prepared, exec::Entered};
use crate::identity::labels;
use crate::init;
use crate::intelrdt;
use crate::log::Log;
use crate::plan::{self, Entry, HostOp, Lowered, Options, Plan};
use crate::spec;
use crate::state::{Header, Record, Status};
use crate::sys::{self, Call, During};
use crate::talk::InitEnd;
use crate::timings::Watch;

/// Executes; the value is the exit code.
pub fn exec(global: &Global, args: &Exec, log: &Log) -> Result<u8> {
    let mut watch = Watch::new(args.timings.is_some());
    sys::cred::umask(0o022);
    // A caller that ignores SIGCHLD would have the kernel reap our children before we can.
    sys::process::default_signal(libc::SIGCHLD)?;
    let mut record = store(global, false).and_then(|s| s.share(&args.id)).map_err(missing)?;
    let cgroup = host::open_cgroup(&record)?;
    may_enter(&record, cgroup.as_ref(), args.ignore_paused)?;
    let digest =
        plan::read_digest(&record.header.digest).context("the container's record has no digest of its config")?;
    let process = process(args, &digest.spec, log)?;
    check_terminal(args, process.terminal() == Some(true))?;
    let below = args.cgroup.iter().map(|text| Below::parse(text)).collect::<Result<Vec<_>, _>>();
    let below = below.map_err(|e| anyhow!("--cgroup: {e}"))?;
    let entry = Entry { process: &process, below: &below, options: options(args, &record) };
    let facts = facts()?;
    check_labels(args, &facts)?;
    let Lowered { plan, program, warnings, .. } = plan::lower_exec(digest, &entry, &facts)?;
    warnings.iter().for_each(|w| log.warn(w));
    if plan.prepare.iter().any(|s| s.op == HostOp::Seal) {
        sys::process::run_sealed()?;
    }
    if args.ignore_paused {
        // Who comes into a paused container waits there until it runs again; the lock must not.
        record.let_go();
    }
    let signals = if args.detach { None } else { Some(foreground::Signals::block()?) };
    let timed = watch.on();
    let be_init = move |plan: &Plan, prepared: Prepared, channel: InitEnd, header: &Header| {
        init::run(plan, create::baggage(plan, prepared, timed), channel, header)
    };
    let mut entered = host::exec::enter(&plan, record, cgroup, program, &be_init, &mut watch)?;
    let begun = begin(args, &mut entered, &mut watch);
    create::report(args.timings, &watch, &plan);
    if let Err(e) = begun {
        entered.undo();
        return Err(e);
    }
    match signals {
        None => Ok(0),
        Some(signals) => {
            let terminal = entered.terminal.take();
            Ok(foreground::serve(&signals, entered.pidfd(), terminal, None)?.code() as u8)
        }
    }
}

/// Says who it is, then lets it go. In that order: it may be short-lived.
fn begin(args: &Exec, entered: &mut Entered<'_>, watch: &mut Watch) -> Result<()> {
    let (socket, file) = (args.pidfd_socket.as_deref(), args.pid_file.as_deref());
    create::announce(socket, file, entered.pid(), entered.pidfd())?;
    Ok(entered.start(watch)?)
}

fn may_enter(record: &Record, cgroup: Option<&Cgroup>, ignore_paused: bool) -> Result<()> {
    match record.status()? {
        Status::Running | Status::Created if ignore_paused || !is_frozen(cgroup)? => Ok(()),
        Status::Running | Status::Created | Status::Paused => {
            bail!("cannot exec in a paused container (use --ignore-paused to override)")
        }
        Status::Stopped => bail!("cannot exec in a stopped container: container not running"),
        Status::Creating => bail!("cannot exec in a container that is still being created"),
    }
}

/// A config's label may be left out where nothing could enforce it, for engines write it everywhere. Who asks for one by a flag
/// means it.
fn check_labels(args: &Exec, facts: &Facts) -> Result<()> {
    let asked = |label: &Option<String>| label.as_deref().is_some_and(|l| !l.is_empty() && l != "unconfined");
    if asked(&args.apparmor) && !facts.apparmor {
        bail!("--apparmor: AppArmor is not enabled on this host");
    }
    if asked(&args.process_label) && !facts.selinux {
        bail!("--process-label: SELinux is not enabled on this host");
    }
    Ok(())
}

/// Who we are; of this host's cgroups the container's record knows all that matters here.
fn facts() -> Result<Facts> {
    Ok(Facts {
        euid: nix::unistd::geteuid().as_raw(),
        in_userns: host::in_user_namespace()?,
        capabilities: sys::cred::bounding()?,
        resctrl: intelrdt::probe()?,
        selinux: labels::selinux(),
        apparmor: labels::apparmor(),
        ..Facts::default()
    })
}

fn options(args: &Exec, record: &Record) -> Options {
    Options {
        id: record.header.id.clone(),
        bundle: record.header.bundle.clone(),
        console_socket: args.console_socket.as_ref().map(|p| p.to_string_lossy().into_owned()),
        preserve_fds: args.preserve_fds.saturating_add(bundle::own_listen_fds()),
        listen_fds: bundle::listen_fds(),
        listen_names: bundle::listen_names(),
        ..Options::default()
    }
}

fn check_terminal(args: &Exec, terminal: bool) -> Result<()> {
    let socket = args.console_socket.is_some();
    if terminal && args.detach && !socket {
        bail!("cannot allocate tty if runc will detach without setting console socket");
    }
    if socket && !(terminal && args.detach) {
        bail!("cannot use console socket if runc will not detach or allocate tty");
    }
    Ok(())
}

/// The process: from the file or the config, and then as the flags say.
fn process(args: &Exec, spec: &Spec, log: &Log) -> Result<Process> {
    let own = spec.process().clone();
    let mut process = match &args.process {
        Some(file) => {
            let (mut process, warnings) = read(file)?;
            warnings.iter().for_each(|w| log.warn(format!("{}: {w}", file.display())));
            if let Some(own) = &own {
                inherit(&mut process, own);
            }
            process
        }
        None => {
            // A container without a process of its own has nothing to go by; the crate's default would be a shell's.
            let mut process = match own {
                Some(own) => own,
                None => Process::deserialize(&json!({ "user": { "uid": 0, "gid": 0 }, "cwd": "/" }))?,
            };
            process.set_args(None);
            // Whether there is a terminal is for the caller to say: theirs is not the first process'.
            process.set_terminal(Some(args.tty));
            process.set_console_size(None);
            process
        }
    };
    override_by(args, &mut process, log)?;
    match process.args().as_deref() {
        None | Some([]) => bail!("process args cannot be empty"),
        Some(_) => Ok(process),
    }
}

/// The file of `--process`. The caller may remove it as soon as we are back; `/dev/fd/N` will do as well.
fn read(file: &Path) -> Result<(Process, Vec<ConfigError>)> {
    let name = || format!("--process {}", file.display());
    let bytes = std::fs::read(file).during(Call::Read).with_context(name)?;
    spec::read_process(&bytes, false).map_err(|e| unfit(&name(), &e))
}

/// What the file does not speak of is as it is for the container's first process: a process that comes later is not to have
/// more room than it (CVE-2022-29162 and its kin).
fn inherit(process: &mut Process, own: &Process) {
    macro_rules! unless_given {
        ($($get:ident $set:ident,)*) => {
            $(if process.$get().is_none() {
                process.$set(own.$get().clone());
            })*
        };
    }
    unless_given! {
        capabilities set_capabilities,
        rlimits set_rlimits,
        apparmor_profile set_apparmor_profile,
        selinux_label set_selinux_label,
        scheduler set_scheduler,
        io_priority set_io_priority,
        exec_cpu_affinity set_exec_cpu_affinity,
    }
    if process.rlimits().as_ref().is_some_and(Vec::is_empty) {
        process.set_rlimits(own.rlimits().clone());
    }
    if process.no_new_privileges().is_none() {
        process.set_no_new_privileges(own.no_new_privileges());
    }
    if process.oom_score_adj().is_none() {
        process.set_oom_score_adj(own.oom_score_adj());
    }
    if process.user().umask().is_none() {
        let mut user = process.user().clone();
        user.set_umask(own.user().umask());
        process.set_user(user);
    }
}

fn override_by(args: &Exec, process: &mut Process, log: &Log) -> Result<()> {
    if !args.command.is_empty() {
        process.set_args(Some(args.command.iter().map(text).collect::<Result<_>>()?));
    }
    if args.tty {
        process.set_terminal(Some(true));
    }
    if let Some(cwd) = &args.cwd {
        if !cwd.starts_with('/') {
            bail!("--cwd: expected an absolute path, got {cwd:?}");
        }
        process.set_cwd(PathBuf::from(cwd));
    }
    if let Some(bad) = args.env.iter().find(|entry| entry.find('=').is_none_or(|at| at == 0)) {
        bail!("--env: expected NAME=VALUE, got {bad:?}");
    }
    if !args.env.is_empty() {
        let mut env = process.env().clone().unwrap_or_default();
        env.extend(args.env.iter().cloned());
        process.set_env(Some(env));
    }
    let mut user = process.user().clone();
    if let Some(asked) = args.user {
        user.set_uid(asked.uid);
        user.set_gid(asked.gid.unwrap_or(user.gid()));
    }
    if !args.additional_gids.is_empty() {
        let mut groups = user.additional_gids().clone().unwrap_or_default();
        groups.extend(&args.additional_gids);
        user.set_additional_gids(Some(groups));
    }
    process.set_user(user);
    if args.no_new_privs {
        process.set_no_new_privileges(Some(true));
    }
    if let Some(label) = &args.process_label {
        process.set_selinux_label(Some(label.clone()));
    }
    if let Some(profile) = &args.apparmor {
        process.set_apparmor_profile(Some(profile.clone()));
    }
    if !args.cap.is_empty() {
        let known = |name: &String| {
            let known = capability(name);
            // As for one in a config: callers ask every kernel for all that the newest has.
            known.is_none().then(|| log.warn(format!("--cap: left out {name}: unknown capability")));
            known
        };
        add(process, &args.cap.iter().filter_map(known).collect::<Vec<_>>());
    }
    Ok(())
}

fn text(word: &OsString) -> Result<String> {
    word.clone().into_string().map_err(|word| anyhow!("an argument is not UTF-8: {}", word.to_string_lossy()))
}

/// `CAP_KILL`, `kill`.
fn capability(name: &str) -> Option<Capability> {
    let upper = name.to_ascii_uppercase();
    let full = format!("CAP_{}", upper.strip_prefix("CAP_").unwrap_or(&upper));
    Capability::deserialize(&json!(full)).ok()
}

/// To the sets that the process itself uses, never to those that it hands on through execve (CVE-2022-29162).
fn add(process: &mut Process, caps: &[Capability]) {
    let empty = || LinuxCapabilitiesBuilder::default().build().map(without_any).unwrap_or_default();
    let mut sets = process.capabilities().clone().unwrap_or_else(empty);
    let with = |set: &Option<std::collections::HashSet<Capability>>| {
        Some(set.iter().flatten().chain(caps).copied().collect::<std::collections::HashSet<_>>())
    };
    sets.set_bounding(with(sets.bounding()));
    sets.set_effective(with(sets.effective()));
    sets.set_permitted(with(sets.permitted()));
    process.set_capabilities(Some(sets));
}

/// The crate's default is a set of some; ours is none.
fn without_any(mut sets: LinuxCapabilities) -> LinuxCapabilities {
    for set in [
        LinuxCapabilities::set_bounding,
        LinuxCapabilities::set_effective,
        LinuxCapabilities::set_permitted,
        LinuxCapabilities::set_inheritable,
        LinuxCapabilities::set_ambient,
    ] {
        set(&mut sets, None);
    }
    sets
}
