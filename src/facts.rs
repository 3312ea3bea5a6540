//! What this host is: plain data, probed once by the host side, injected by tests. `lower` reads nothing else of the world.

use serde::{Deserialize, Serialize};

/// One mounted cgroup v1 hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hierarchy {
    /// Controllers (or `name=systemd`) as in /proc/self/cgroup: `["cpu", "cpuacct"]`.
    pub controllers: Vec<String>,
    /// Where it is mounted: `/sys/fs/cgroup/cpu,cpuacct`.
    pub mountpoint: String,
    /// The caller's own cgroup in it, as seen from the mount point: `/` or `/user.slice`.
    pub own: String,
}

/// The cgroup2 tree, pure or the unified half of a hybrid host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unified {
    /// Where it is mounted: `/sys/fs/cgroup` or `/sys/fs/cgroup/unified`.
    pub mountpoint: String,
    /// The caller's own cgroup in it, as seen from the mount point.
    pub own: String,
    /// The controllers that can be had below its root (`cgroup.controllers`); few or none on a hybrid host.
    #[serde(default)]
    pub controllers: Vec<String>,
}

/// The cgroup trees of this host. Pure v2: `v1` is empty. Pure v1: `v2` is none. Hybrid: both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupTrees {
    /// v1 hierarchies in mount order.
    pub v1: Vec<Hierarchy>,
    /// The cgroup2 tree.
    pub v2: Option<Unified>,
}

/// A place in a tree where a caller without root's rights may make cgroups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delegated {
    /// Which tree: where it is mounted.
    pub mountpoint: String,
    /// The directory in it, as seen from the mount point: `user.slice/user-1000.slice/user@1000.service/app.slice`.
    pub directory: String,
    /// v2: the controllers that were passed on to it.
    #[serde(default)]
    pub controllers: Vec<String>,
}

/// The systemd that can make cgroups for us.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Systemd {
    /// Whether it is the calling user's own, not the host's.
    pub user: bool,
    /// Its own cgroup, below which its slices are, as seen from the mount point: `/`.
    pub cgroup: String,
}

/// What this host is and who we are on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Our effective uid.
    pub euid: u32,
    /// The kernel's version: `[6, 18]`.
    #[serde(default)]
    pub kernel: (u32, u32),
    /// Whether our user namespace is not the initial one.
    pub in_userns: bool,
    /// Our bounding set: bit n is capability number n. More can't be granted.
    pub capabilities: u64,
    /// The cgroup trees.
    pub cgroups: CgroupTrees,
    /// Where we may make cgroups; looked for only without root's rights.
    #[serde(default)]
    pub delegated: Vec<Delegated>,
    /// `--rootless`, if the caller did not leave it to us.
    #[serde(default)]
    pub as_rootless: Option<bool>,
    /// Where resctrl is mounted, if it is.
    #[serde(default)]
    pub resctrl: Option<String>,
    /// Whether SELinux runs, with a policy.
    #[serde(default)]
    pub selinux: bool,
    /// Whether AppArmor runs.
    #[serde(default)]
    pub apparmor: bool,
    /// Whether systemd runs, and whose.
    #[serde(default)]
    pub systemd: Option<Systemd>,
}

impl Facts {
    /// Whether we must get by without root's rights over the host, in a user namespace of somebody's included.
    pub fn rootless(&self) -> bool {
        self.as_rootless.unwrap_or(self.euid != 0 || self.in_userns)
    }
}
