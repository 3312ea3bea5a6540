//! What is odd about a config that could run: for `rt check`, never for `create`. Pure; a lint is a warning, and each has
//! a [`Rule`] of its own.

use std::path::{Component, Path};

use oci_spec::runtime::{
    Linux, LinuxNamespaceType, LinuxSeccomp, LinuxSeccompAction, LinuxSyscall, Mount, Process, Spec,
};

use super::pointer::escape;
use super::schema::quoted;
use super::{Report, namespaces};
use crate::error::{ConfigError, Rule};

pub use super::mounts::is_bind;

/// Annotations with which a config reaches past its own fields, and who listens to them; with a dot at the end, all that
/// begin so.
pub const RISKY_ANNOTATIONS: &[(&str, &str)] = &[
    ("bundle", "runc"),
    ("krun.", "crun"),
    ("org.criu.config", "runc, crun and rt"),
    ("org.systemd.property.", "runc, crun and rt"),
    (KEEP_GROUPS, "crun and rt"),
    ("run.oci.", "crun"),
];

/// See `identity`, which the specification's reader doesn't know.
const KEEP_GROUPS: &str = "run.oci.keep_original_groups";

/// Those of them that we heed ourselves, and what they do here.
pub const HEEDED_ANNOTATIONS: &[(&str, &str)] = &[
    ("org.criu.config", "names a config file for CRIU, which can have programs of the host run"),
    ("org.systemd.property.", "sets a property of the container's systemd unit (with --systemd-cgroup)"),
    (KEEP_GROUPS, "gives the process the supplementary groups of whoever calls rt"),
];

/// What belongs to the specifications of the OCI.
const RESERVED: &str = "org.opencontainers.";
/// And what image-spec tells everybody to use.
const RESERVED_FOR_ALL: &str = "org.opencontainers.image.";

/// What ERRNO and TRACE return when no number is given.
const EPERM: u32 = 1;

/// Looks at what [`super::inspect`] has read. `knows_syscall` is the table of those who compile filters.
pub fn lint(report: &Report, knows_syscall: &dyn Fn(&str) -> bool) -> Vec<ConfigError> {
    let mut said = Vec::new();
    unknown(report, &mut said);
    let Some(spec) = &report.spec else { return said };
    match spec.process() {
        Some(process) => environment(process, &mut said),
        // When there is one at fault that has been said.
        None if report.errors.iter().any(|error| error.pointer.starts_with("/process")) => {}
        None => say(&mut said, Rule::NoProcess, "/process", "missing; the container can be created, but never started"),
    }
    hidden(spec.mounts().as_deref().unwrap_or_default(), &mut said);
    sources(spec.mounts().as_deref().unwrap_or_default(), &mut said);
    hooks(spec, &mut said);
    annotations(spec, &mut said);
    if let Some(linux) = spec.linux() {
        propagation(spec, linux, &mut said);
        host_root(linux, &mut said);
        memory(linux, &mut said);
        if let Some(section) = linux.seccomp() {
            seccomp(section, knows_syscall, &mut said);
        }
    }
    said
}

fn say(said: &mut Vec<ConfigError>, rule: Rule, pointer: impl Into<String>, message: impl Into<String>) {
    said.push(ConfigError::at(pointer, message).of(rule));
}

/// Those that are only misspelt have been named already, with what was meant.
fn unknown(report: &Report, said: &mut Vec<ConfigError>) {
    let misspelt = |pointer: &str| {
        report.warnings.iter().any(|warning| warning.rule == Rule::MisspeltProperty && warning.pointer == pointer)
    };
    for pointer in report.unknown.iter().filter(|pointer| !misspelt(pointer)) {
        say(said, Rule::UnknownProperty, pointer, "is no property of the specification; it is ignored");
    }
}

fn environment(process: &Process, said: &mut Vec<ConfigError>) {
    let entries = process.env().as_deref().unwrap_or_default();
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    for (index, entry) in entries.iter().enumerate() {
        let later = entries[index + 1..].iter().position(|other| name(other) == name(entry));
        if let Some(distance) = later {
            let message = format!("{} is set again by /process/env/{}", quoted(&name(entry)), index + 1 + distance);
            say(said, Rule::DuplicateVariable, format!("/process/env/{index}"), message);
        }
    }
}

fn options(mount: &Mount) -> impl Iterator<Item = &str> {
    mount.options().iter().flatten().map(String::as_str)
}

/// A path without `.`, `..` and doubled slashes, as far as that can be known from its text.
fn plain(path: &Path) -> Vec<&std::ffi::OsStr> {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => parts.push(name),
            Component::ParentDir => drop(parts.pop()),
            _ => {}
        }
    }
    parts
}

/// A mount at the same place or above covers what was mounted before. What only changes a mount covers nothing.
fn hidden(mounts: &[Mount], said: &mut Vec<ConfigError>) {
    let covers = |mount: &Mount| {
        let remount = options(mount).any(|option| option == "remount");
        !remount && (is_bind(mount) || !matches!(mount.typ().as_deref(), None | Some("none")))
    };
    for (index, mount) in mounts.iter().enumerate().filter(|(_, mount)| covers(mount)) {
        let place = plain(mount.destination());
        let above = |other: &Mount| covers(other) && place.starts_with(&plain(other.destination()));
        if let Some(distance) = mounts[index + 1..].iter().position(above) {
            let destination = quoted(&mount.destination().to_string_lossy());
            let message = format!("{destination} is covered by /mounts/{}, which comes later", index + 1 + distance);
            say(said, Rule::MountHidden, format!("/mounts/{index}/destination"), message);
        }
    }
}

fn sources(mounts: &[Mount], said: &mut Vec<ConfigError>) {
    for (index, mount) in mounts.iter().enumerate().filter(|(_, mount)| is_bind(mount)) {
        if let Some(source) = mount.source().as_ref().filter(|source| !source.is_absolute()) {
            let message = format!("{} is searched in the directory of the bundle", quoted(&source.to_string_lossy()));
            say(said, Rule::RelativeSource, format!("/mounts/{index}/source"), message);
        }
    }
}

fn hooks(spec: &Spec, said: &mut Vec<ConfigError>) {
    let prestart = spec.hooks().as_ref().and_then(|hooks| hooks.prestart().as_ref());
    if prestart.is_some_and(|hooks| !hooks.is_empty()) {
        say(said, Rule::DeprecatedHook, "/hooks/prestart", "is deprecated; createRuntime is called at the same time");
    }
}

fn annotations(spec: &Spec, said: &mut Vec<ConfigError>) {
    let mut keys: Vec<&String> = spec.annotations().iter().flat_map(|all| all.keys()).collect();
    keys.sort();
    for key in keys {
        let pointer = || format!("/annotations/{}", escape(key));
        let listens = |(name, _): &&(&str, &str)| if name.ends_with('.') { key.starts_with(name) } else { key == name };
        if let Some((name, who)) = RISKY_ANNOTATIONS.iter().find(listens) {
            let message = match HEEDED_ANNOTATIONS.iter().find(|(heeded, _)| heeded == name) {
                Some((_, effect)) => (*effect).to_owned(),
                None => format!("changes what {who} would do, on the host too; rt ignores it"),
            };
            say(said, Rule::RiskyAnnotation, pointer(), message);
        }
        if key.starts_with(RESERVED) && !key.starts_with(RESERVED_FOR_ALL) {
            let message = format!("keys that begin with {RESERVED} are reserved for the specifications");
            say(said, Rule::ReservedAnnotation, pointer(), message);
        }
    }
}

/// What is mounted inside never leaves a root that is private or a slave, whatever the mount says.
fn propagation(spec: &Spec, linux: &Linux, said: &mut Vec<ConfigError>) {
    let Some(root) = linux.rootfs_propagation().as_deref() else { return };
    if root.is_empty() || root.trim_start_matches('r') == "shared" {
        return;
    }
    for (index, mount) in spec.mounts().iter().flatten().enumerate() {
        for (at, option) in options(mount).enumerate().filter(|(_, option)| matches!(*option, "shared" | "rshared")) {
            let message = format!("{option} is meant to let mounts out, and /linux/rootfsPropagation is {root}");
            say(said, Rule::PropagationClash, format!("/mounts/{index}/options/{at}"), message);
        }
    }
}

fn host_root(linux: &Linux, said: &mut Vec<ConfigError>) {
    let namespace = namespaces::listed(Some(linux), LinuxNamespaceType::User);
    if namespace.is_none_or(|namespace| namespace.path().is_some()) {
        return;
    }
    for (index, mapping) in linux.uid_mappings().iter().flatten().enumerate() {
        if mapping.container_id() == 0 && mapping.host_id() == 0 && mapping.size() > 0 {
            let message = "root inside is root outside, so the user namespace keeps nothing from it";
            say(said, Rule::HostRootMapped, format!("/linux/uidMappings/{index}/hostID"), message);
        }
    }
}

fn memory(linux: &Linux, said: &mut Vec<ConfigError>) {
    let Some(memory) = linux.resources().as_ref().and_then(|resources| resources.memory().as_ref()) else { return };
    if let (Some(limit), Some(reservation)) = (memory.limit(), memory.reservation())
        && limit > 0
        && reservation > limit
    {
        let message = format!("{reservation} is more than the limit {limit}, so it can never be had");
        say(said, Rule::ReservationAboveLimit, "/linux/resources/memory/reservation", message);
    }
}

fn seccomp(section: &LinuxSeccomp, knows_syscall: &dyn Fn(&str) -> bool, said: &mut Vec<ConfigError>) {
    let default = answer(section.default_action(), section.default_errno_ret());
    for (index, rule) in section.syscalls().iter().flatten().enumerate() {
        let base = format!("/linux/seccomp/syscalls/{index}");
        for (at, name) in rule.names().iter().enumerate().filter(|(_, name)| !name.is_empty() && !knows_syscall(name)) {
            let message = format!("{} is no system call of any architecture; it is skipped", quoted(name));
            say(said, Rule::SeccompUnknownSyscall, format!("{base}/names/{at}"), message);
        }
        if answer(rule.action(), rule.errno_ret()) == default {
            let message = format!("{} is what /linux/seccomp/defaultAction does as well", rule.action());
            say(said, Rule::SeccompSameAsDefault, format!("{base}/action"), message);
        }
        repeated(rule, &base, said);
    }
}

/// An action with the number that it returns: KILL is the old name of KILL_THREAD, and without a number EPERM is meant.
fn answer(action: LinuxSeccompAction, errno: Option<u32>) -> (LinuxSeccompAction, Option<u32>) {
    use LinuxSeccompAction::{ScmpActErrno, ScmpActKill, ScmpActKillThread, ScmpActTrace};
    match action {
        ScmpActKill => (ScmpActKillThread, None),
        ScmpActErrno | ScmpActTrace => (action, Some(errno.unwrap_or(EPERM))),
        other => (other, None),
    }
}

/// As soon as one argument is named twice, every condition of the rule stands for itself: that is what runc made of it.
fn repeated(rule: &LinuxSyscall, base: &str, said: &mut Vec<ConfigError>) {
    let arguments = rule.args().as_deref().unwrap_or_default();
    let twice =
        (1..arguments.len()).find(|&at| arguments[..at].iter().any(|other| other.index() == arguments[at].index()));
    if let Some(at) = twice {
        let message = format!(
            "argument {} has a condition already; all conditions of this rule become alternatives",
            arguments[at].index()
        );
        say(said, Rule::SeccompRepeatedIndex, format!("{base}/args/{at}/index"), message);
    }
}
