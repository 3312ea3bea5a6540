//! From a bundle on disk to a plan: what `create`, `run` and `explain` begin with.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};
use nix::fcntl::OFlag;
use oci_spec::runtime::{LinuxNamespaceType, Spec};

use crate::cgroups::Placement;
use crate::cli::{CgroupManager, Global, PlanFlags};
use crate::facts::Facts;
use crate::hooks::{self, Point};
use crate::host;
use crate::log::{Log, rfc3339};
use crate::plan::{self, Options, Plan};
use crate::seccomp::Program;
use crate::spec::{self, Config, file};
use crate::state::{Ahead, Header, Record, boot_id};
use crate::sys;

/// A plan with all that its execution and its record need.
#[derive(Debug)]
pub struct Planned {
    /// The steps.
    pub plan: Plan,
    /// Where its cgroups will be.
    pub placement: Placement,
    /// The compiled filter.
    pub program: Option<Program>,
    /// The record's beginning.
    pub header: Header,
    /// The bytes of the config.
    pub raw: Vec<u8>,
    /// Hooks after the start.
    pub spec: Spec,
}

/// Whether the letter of the specification counts.
pub fn strict(global: &Global) -> bool {
    global.strict || std::env::var_os("RT_STRICT").is_some_and(|v| v == "1")
}

/// The absolute path of a directory, links resolved: what callers see as `bundle`.
pub fn absolute(dir: &Path) -> Result<PathBuf> {
    let fd = sys::fs::open_host(&dir.to_string_lossy(), OFlag::O_PATH | OFlag::O_DIRECTORY)
        .with_context(|| format!("bundle {}", dir.display()))?;
    Ok(PathBuf::from(sys::fs::path_of(&fd)?))
}

/// Reads the bytes of a bundle's config.
pub fn read(bundle: &Path, flags: &PlanFlags) -> Result<Vec<u8>> {
    let file = flags.config.clone().unwrap_or_else(|| bundle.join("config.json"));
    Ok(file::read_file(sys::fs::cwd(), &file)?)
}

/// Parses, validates and lowers.
pub fn plan(raw: Vec<u8>, facts: &Facts, options: &Options, log: &Log) -> Result<Planned> {
    let Config { spec, warnings, unknown, raw } = spec::read_config(raw, options.strict)?;
    warnings.iter().for_each(|w| log.warn(w));
    unknown.iter().for_each(|pointer| log.debug(format!("{pointer}: not a property of the specification, ignored")));
    let lowered = plan::lower(&spec, facts, options)?;
    lowered.warnings.iter().for_each(|w| log.warn(w));
    for broken in plan::check::check(&lowered.plan) {
        log.error(format!("bug in the order of the plan: {broken}"));
    }
    let header = Header {
        id: options.id.clone(),
        bundle: options.bundle.clone(),
        rootfs: root_of(&lowered.plan),
        created: rfc3339(SystemTime::now()),
        owner: facts.euid,
        boot: boot_id()?.to_owned(),
        oci_version: spec.version().clone(),
        annotations: spec.annotations().clone().unwrap_or_default().into_iter().collect(),
        digest: plan::digest(&spec, options),
        ahead: Some(ahead(&spec)),
        ..Header::default()
    };
    Ok(Planned { plan: lowered.plan, placement: lowered.placement, program: lowered.program, header, raw, spec })
}

/// What verbs that come later will ask.
pub fn ahead(spec: &Spec) -> Ahead {
    let namespaces = spec.linux().as_ref().and_then(|l| l.namespaces().as_ref());
    let any = |point| !hooks::listed(spec, point).is_empty();
    Ahead {
        process: spec.process().is_some(),
        own_pids: namespaces
            .is_some_and(|all| all.iter().any(|n| n.typ() == LinuxNamespaceType::Pid && n.path().is_none())),
        poststart: any(Point::Poststart),
        poststop: any(Point::Poststop),
    }
}

/// The same of a container that exists; the config is read if its record has no answer.
pub fn ahead_of(record: &Record) -> Result<Ahead> {
    match record.header.ahead {
        Some(ahead) => Ok(ahead),
        None => Ok(ahead(&spec::read_config(record.config.clone(), false)?.spec)),
    }
}

fn root_of(plan: &Plan) -> String {
    use crate::rootfs::{HostOp, InitOp};
    let by_host = plan.prepare.iter().find_map(|s| match &s.op {
        plan::HostOp::Rootfs(HostOp::OpenRoot { path }) => Some(path.clone()),
        _ => None,
    });
    let by_init = || {
        plan.build.iter().find_map(|s| match &s.op {
            plan::InitOp::Rootfs(InitOp::Open(HostOp::OpenRoot { path })) => Some(path.clone()),
            _ => None,
        })
    };
    by_host.or_else(by_init).unwrap_or_default()
}

/// The options that come from flags that `create`, `run` and `explain` share.
pub fn options(global: &Global, flags: &PlanFlags, id: &str, bundle: &Path) -> Options {
    let strict = strict(global);
    Options {
        id: id.to_owned(),
        bundle: bundle.to_string_lossy().into_owned(),
        no_pivot: flags.no_pivot,
        no_new_keyring: flags.no_new_keyring,
        console_socket: None,
        preserve_fds: flags.preserve_fds.saturating_add(own_listen_fds()),
        listen_fds: listen_fds(),
        listen_names: listen_names(),
        strict,
        umask: if strict { sys::cred::current_umask() } else { 0 },
        no_cgroups: global.cgroups() == CgroupManager::Disabled,
        notify: None,
        systemd: global.cgroups() == CgroupManager::Systemd,
    }
}

/// How many sockets our caller passes for activation (sd_listen_fds(3)).
pub fn listen_fds() -> u32 {
    std::env::var("LISTEN_FDS").ok().and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// How many of them are for us by name, as from systemd. podman names the container's init, and counts them in
/// `--preserve-fds` too.
pub fn own_listen_fds() -> u32 {
    let own = std::env::var("LISTEN_PID").is_ok_and(|pid| pid == std::process::id().to_string());
    if own { listen_fds() } else { 0 }
}

/// What our caller calls them.
pub fn listen_names() -> Option<String> {
    std::env::var("LISTEN_FDNAMES").ok()
}

/// What this host is, or what a file says that it is.
pub fn facts(global: &Global, file: Option<&Path>) -> Result<Facts> {
    match file {
        Some(file) => {
            let text = sys::fs::read_host(&file.to_string_lossy())?;
            serde_json::from_str(&text).with_context(|| format!("facts {}", file.display()))
        }
        None => {
            let facts = host::facts(global.rootless.asked())?;
            // Looked for only by those who mean to ask it.
            let systemd = global.cgroups() == CgroupManager::Systemd;
            Ok(if systemd { host::with_systemd(facts) } else { facts })
        }
    }
}
