//! The plan: everything `create`, `start` and `run` will do, in order, each step with the config field that asked for it.
//!
//! [`lower`] is pure. What it gives is what is executed, and what `rt explain` prints: there is no other list.

pub mod check;
mod explain;
mod lower;

use std::fmt;

use serde::Serialize;

use crate::namespaces::Kind;
use crate::step::Step;
use crate::{cgroups, criu, hooks, identity, intelrdt, namespaces, rootfs, seccomp, tty};

pub use explain::{json, text};
pub use lower::exec::{Digest, Entry, digest, lower as lower_exec, read_digest};
pub use lower::restore::{Criu, outside, restore};
pub use lower::{LISTENER, Lowered, lower};

/// Choices of the caller that change the plan; all that is not in the config.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The container's id.
    pub id: String,
    /// Absolute path of the bundle.
    pub bundle: String,
    /// `--no-pivot`.
    pub no_pivot: bool,
    /// `--no-new-keyring`.
    pub no_new_keyring: bool,
    /// `--console-socket`.
    pub console_socket: Option<String>,
    /// How many descriptors from 3 upwards the workload gets.
    pub preserve_fds: u32,
    /// How many of them are LISTEN_FDS: the environment says so.
    pub listen_fds: u32,
    /// LISTEN_FDNAMES, where the caller gave them names.
    pub listen_names: Option<String>,
    /// `--strict`.
    pub strict: bool,
    /// The caller's umask: what an unset one means when strict.
    pub umask: u32,
    /// `--cgroup-manager disabled`.
    pub no_cgroups: bool,
    /// NOTIFY_SOCKET: the directory of ours in which the workload will find a socket to report to.
    pub notify: Option<String>,
    /// `--systemd-cgroup`.
    pub systemd: bool,
}

/// A step of the host side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostOp {
    /// Takes the id and writes the record, before anything else is done.
    Reserve,
    /// Makes the directory for the socket that the workload reports to.
    Notify,
    /// Cgroups and limits.
    Cgroup(cgroups::Op),
    /// Intel RDT.
    Rdt(intelrdt::Op),
    /// Namespaces to be joined, id maps.
    Namespace(namespaces::HostOp),
    /// Mount sources.
    Rootfs(rootfs::HostOp),
    /// The console socket.
    Terminal(tty::HostOp),
    /// Compiles the seccomp profile.
    Seccomp(seccomp::Profile),
    /// Runs on from a sealed copy of `rt`: processes that can look into ours will be about.
    Seal,
    /// Sees that something listens for the filter's notifications.
    Listener {
        /// The UNIX socket.
        path: String,
    },
    /// Makes the sealed stub through which the workload is executed.
    Stub {
        /// The descriptor over which it tells of a failed execve, if the seccomp filter lets it.
        channel: Option<u32>,
    },
    /// oom_score_adj.
    Identity(identity::HostOp),
    /// prestart, createRuntime.
    Hook(hooks::Hook),
    /// For `exec`: opens the way into the namespaces and cgroups of a running init.
    Approach {
        /// Which cgroups below its own are asked for.
        below: Vec<cgroups::Below>,
    },
}

/// A step of init.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum InitOp {
    /// Enters its cgroups.
    JoinCgroups,
    /// Namespaces.
    Namespace(namespaces::InitOp),
    /// Mounts, devices, masks, pivot.
    Rootfs(rootfs::InitOp),
    /// The terminal.
    Terminal(tty::InitOp),
    /// Credentials, limits, executable.
    Identity(identity::InitOp),
    /// createContainer, startContainer.
    Hook(hooks::Hook),
    /// Closes every descriptor that the workload was not promised.
    CloseFds {
        /// The first one.
        from: u32,
    },
    /// Loads the filter that was compiled before the birth.
    LoadSeccomp,
    /// Its listener goes to the host, and from there to the agent.
    HandListener {
        /// Who takes it there.
        by: seccomp::Courier,
    },
}

/// What is executed in the end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Exec {
    /// `argv`. Empty: the container can be created, not started.
    pub args: Vec<String>,
    /// The environment.
    pub env: Vec<String>,
    /// Whether HOME is to be taken from the container's /etc/passwd, for this uid.
    pub home_of: Option<u32>,
    /// Whether LISTEN_PID is to be the workload's pid.
    pub listen: bool,
}

/// Everything that will be done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Host, before the birth.
    pub prepare: Vec<Step<HostOp>>,
    /// The birth.
    pub birth: namespaces::Birth,
    /// Host, after the birth, before init may go on.
    pub adopt: Vec<Step<HostOp>>,
    /// Init: into its place, then mounts, devices and links.
    pub build: Vec<Step<InitOp>>,
    /// Host, when init has built: prestart and createRuntime hooks.
    pub hooks: Vec<Step<HostOp>>,
    /// Init: createContainer hooks, sysctls, terminal, masks, pivot.
    pub enter: Vec<Step<InitOp>>,
    /// Init: credentials, then ready.
    #[serde(rename = "become")]
    pub become_: Vec<Step<InitOp>>,
    /// Init, at `start`.
    pub start: Vec<Step<InitOp>>,
    /// execve.
    pub exec: Exec,
    /// What is executed is CRIU, which brings the container back from images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restore: Option<criu::Restore>,
}

impl Plan {
    /// The kinds of namespaces that are made anew, at the birth or beside it.
    pub fn new_namespaces(&self) -> impl Iterator<Item = Kind> {
        let beside = self.adopt.iter().any(|s| s.op == HostOp::Namespace(namespaces::HostOp::NewNetwork));
        self.birth.new.iter().copied().chain(beside.then_some(Kind::Network))
    }
}

impl fmt::Display for HostOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostOp::Reserve => f.write_str("reserve the id, write the record"),
            HostOp::Notify => f.write_str("make the directory of the notify socket"),
            HostOp::Cgroup(op) => op.fmt(f),
            HostOp::Rdt(op) => op.fmt(f),
            HostOp::Namespace(op) => op.fmt(f),
            HostOp::Rootfs(op) => op.fmt(f),
            HostOp::Terminal(op) => op.fmt(f),
            HostOp::Seccomp(profile) => {
                write!(f, "compile seccomp profile: {} rules, default {:?}", profile.rules.len(), profile.default)
            }
            HostOp::Seal => f.write_str("run from a sealed copy of rt"),
            HostOp::Stub { channel: Some(fd) } => {
                write!(f, "seal the stub that executes the workload, failures over descriptor {fd}")
            }
            HostOp::Stub { channel: None } => f.write_str("seal the stub that executes the workload"),
            HostOp::Listener { path } => write!(f, "look for the seccomp agent at {path}"),
            HostOp::Identity(op) => op.fmt(f),
            HostOp::Hook(hook) => hook.fmt(f),
            HostOp::Approach { below } => {
                f.write_str("open the way into init's namespaces and cgroups")?;
                below.iter().try_for_each(|b| write!(f, ", {}/{}", b.controllers.join(","), b.path))
            }
        }
    }
}

impl fmt::Display for InitOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InitOp::JoinCgroups => f.write_str("join own cgroups"),
            InitOp::Namespace(op) => op.fmt(f),
            InitOp::Rootfs(op) => op.fmt(f),
            InitOp::Terminal(op) => op.fmt(f),
            InitOp::Identity(op) => op.fmt(f),
            InitOp::Hook(hook) => hook.fmt(f),
            InitOp::CloseFds { from } => write!(f, "close descriptors from {from} up"),
            InitOp::LoadSeccomp => f.write_str("load seccomp filter"),
            InitOp::HandListener { by } => by.fmt(f),
        }
    }
}

impl fmt::Display for Exec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.args.is_empty() {
            return f.write_str("nothing: no process");
        }
        write!(f, "execve {:?}, {} environment entries", self.args, self.env.len())?;
        if self.home_of.is_some() {
            f.write_str(", HOME from /etc/passwd")?;
        }
        if self.listen { f.write_str(", LISTEN_PID") } else { Ok(()) }
    }
}
