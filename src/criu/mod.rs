//! Checkpoint and restore, which CRIU does: `criu swrk` on one end of a socket pair, protobuf messages on it.
//!
//! CRIU is a program of the host, started when one of the two verbs is asked for and not looked for otherwise. What is ours:
//! to tell it what of a container comes from outside (mounts, namespaces, cgroups, stdio, the terminal), which the plan knows.
//!
//! **Why the messages are encoded here.** They are three, flat, and their numbers never change; that is 250 lines with tests. Of the
//! libraries, `rust-criu` has no pre-dump, no config file, no `tcp_close`, no LSM profile, starts CRIU by itself (we need it in the
//! container's cgroups and in a mount namespace of its own) and brings the 60 000 lines of `protobuf`; `prost` wants `protoc` at build
//! time or generated code in the tree, and `micropb` a generator too.
//!
//! Must never: be reached by other verbs, or mount anything where the caller could see it.

mod apply;
mod log;
mod outside;
mod rpc;
mod wire;

use std::fmt;

use serde::Serialize;

pub use apply::{
    Directories, Service, explained, failure, read_descriptors, read_groups, read_updates, stdio, write_descriptors,
    write_groups, write_updates,
};
pub use outside::{Joined, Network, Outside, Stdio, is_named, is_outside};
pub use rpc::{Answer, Kind, Request};

/// How the cgroups in the images are brought back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CgroupMode {
    /// Not at all: everything is where CRIU is.
    Ignore,
    /// Values are set only in those that had to be made.
    Soft,
    /// Values are always set.
    Full,
    /// Everything must be there and fit.
    Strict,
}

impl CgroupMode {
    /// CRIU's number for it.
    fn number(self) -> i64 {
        match self {
            CgroupMode::Ignore => 0,
            CgroupMode::Soft => 3,
            CgroupMode::Full => 4,
            CgroupMode::Strict => 5,
        }
    }
}

/// Where pages are sent instead of being written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PageServer {
    /// Its address.
    pub address: String,
    /// Its port.
    pub port: u16,
}

/// What the caller may choose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Choices {
    /// The container goes on after it has been saved.
    pub leave_running: bool,
    /// Unix sockets whose other end is outside.
    pub ext_unix_sk: bool,
    /// Connections that are open.
    pub tcp_established: bool,
    /// Connections come back closed.
    pub tcp_close: bool,
    /// Connections that are being made are left out.
    pub tcp_skip_in_flight: bool,
    /// Sessions and terminals that are the caller's.
    pub shell_job: bool,
    /// File locks.
    pub file_locks: bool,
    /// Pages that the parent has are not kept twice.
    pub auto_dedup: bool,
    /// Deleted files with other names left.
    pub link_remap: bool,
    /// Pages come when they are needed.
    pub lazy_pages: bool,
    /// How cgroups are treated, if the caller says so.
    pub cgroups: Option<CgroupMode>,
    /// `CLONE_NEW*` of namespaces that come back empty.
    pub empty_namespaces: u32,
    /// Where pages are sent.
    pub page_server: Option<PageServer>,
    /// An earlier dump, relative to the images.
    pub parent: Option<String>,
    /// CRIU's config file.
    pub config_file: Option<String>,
    /// The LSM profile that processes get.
    pub lsm_profile: Option<String>,
    /// The SELinux context that mounts get.
    pub lsm_mount_context: Option<String>,
}

impl Choices {
    /// What hooks have made of the network is neither saved nor brought back.
    pub fn without_network(&mut self, outside: &Outside) {
        if outside.network == Network::Hooks {
            self.empty_namespaces |= libc::CLONE_NEWNET as u32;
        }
    }

    /// Whether the network comes back empty.
    pub fn empty_network(&self) -> bool {
        self.empty_namespaces & libc::CLONE_NEWNET as u32 != 0
    }
}

/// How a container is brought back: the part of a plan that is CRIU's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Restore {
    /// The caller's choices.
    pub choices: Choices,
    /// Host path of the root.
    pub root: String,
    /// What comes from outside.
    pub outside: Outside,
    /// Whether the container has cgroups of its own.
    pub cgroups: bool,
    /// The group that must be able to read the images: in a user namespace CRIU has no more rights than its root.
    pub readers: Option<u32>,
}

impl fmt::Display for Restore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "restore by CRIU, {} mounts from outside", self.outside.mounts.len())?;
        self.outside.joined.iter().try_for_each(|joined| write!(f, ", {} namespace {}", joined.kind, joined.path))
    }
}
