//! Namespaces: which are new, which are joined, and what is set inside them (ids, names, clocks, loopback, sysctls).
//!
//! One clone3 makes all new ones. A *midwife*, a short-lived process between host and init, is needed only where the
//! child must be born inside a namespace that the host itself must not enter: see [`Birth::midwife`].

mod apply;
mod enter;
mod idmaps;
pub mod lower;
mod netdevices;
mod network;

use std::fmt;

use serde::Serialize;

pub use apply::Opened;
pub use enter::Entrance;
pub use network::loopback_of;

use crate::sys::Errno;

/// A kind of namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Process ids.
    Pid,
    /// Network devices, addresses, ports.
    Network,
    /// System V IPC and POSIX message queues.
    Ipc,
    /// Host and domain name.
    Uts,
    /// Mounts.
    Mount,
    /// User and group ids, capabilities.
    User,
    /// The view of cgroups.
    Cgroup,
    /// Monotonic and boot-time clocks.
    Time,
}

impl Kind {
    /// All kinds, with the spec's words, in the order of the spec.
    pub const ALL: [(Kind, &'static str); 8] = [
        (Kind::Pid, "pid"),
        (Kind::Network, "network"),
        (Kind::Mount, "mount"),
        (Kind::Ipc, "ipc"),
        (Kind::Uts, "uts"),
        (Kind::User, "user"),
        (Kind::Cgroup, "cgroup"),
        (Kind::Time, "time"),
    ];

    /// The spec's word.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }

    /// Its name in /proc/PID/ns.
    pub fn file(self) -> &'static str {
        match self {
            Kind::Network => "net",
            Kind::Mount => "mnt",
            other => other.name(),
        }
    }

    /// The `CLONE_NEW*` flag.
    pub fn flag(self) -> i32 {
        match self {
            Kind::Pid => libc::CLONE_NEWPID,
            Kind::Network => libc::CLONE_NEWNET,
            Kind::Ipc => libc::CLONE_NEWIPC,
            Kind::Uts => libc::CLONE_NEWUTS,
            Kind::Mount => libc::CLONE_NEWNS,
            Kind::User => libc::CLONE_NEWUSER,
            Kind::Cgroup => libc::CLONE_NEWCGROUP,
            Kind::Time => 0x80, // CLONE_NEWTIME
        }
    }
}

/// How the child comes into the world.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Birth {
    /// Namespaces that clone3 makes.
    pub new: Vec<Kind>,
    /// Namespaces that are joined, in this order: by init itself, or by the midwife.
    pub join: Vec<Kind>,
    /// Whether the joins are done by a midwife that gives birth to init as the host's child: for a joined user or pid
    /// namespace, and where a new user namespace would take away the right to join the others.
    pub midwife: bool,
    /// Whether init must wait until its ids are mapped, its network devices are there and it is in its cgroup.
    pub wait: bool,
    /// Whether init stays visible in /proc until its ids are mapped: a caller without root's rights could not map them.
    pub visible: bool,
    /// Whether systemd puts the child into its cgroup when it is there.
    pub by_systemd: bool,
    /// Whether the child is born in its cgroup2 directory.
    pub into_cgroup: bool,
    /// Whether the midwife goes where a running init is: its cgroups, then all its namespaces at once by its pidfd.
    pub to_init: bool,
}

/// Why the kernel makes no namespace.
pub fn hint(errno: Errno) -> &'static str {
    match errno {
        Errno::ENOSPC | Errno::EUSERS => "a limit of user.max_*_namespaces is reached",
        Errno::EPERM => "without root's rights that needs a user namespace",
        Errno::EINVAL => "this kernel does not have one of these namespaces",
        _ => "",
    }
}

/// One line of a uid_map or gid_map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct IdRange {
    /// First id inside.
    pub inside: u32,
    /// First id outside.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// What the host side does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostOp {
    /// Opens a namespace to be joined, and checks its kind.
    Open {
        /// The kind it must be.
        kind: Kind,
        /// Host path.
        path: String,
    },
    /// Maps the ids of the new user namespace.
    MapIds {
        /// uid_map.
        uids: Vec<IdRange>,
        /// gid_map.
        gids: Vec<IdRange>,
        /// Through newuidmap and newgidmap, for callers without the right to map others' ids.
        through_tools: bool,
    },
    /// Makes a network namespace and brings its loopback up, while init is at work: the kernel takes long for it.
    NewNetwork,
    /// Moves a network device into the container.
    NetDevice {
        /// What it is called here.
        name: String,
        /// What it will be called there; `%d` is a number that the kernel finds.
        inside: String,
        /// The network namespace, if it is one that init joins; else the one that it was born into.
        namespace: Option<String>,
    },
}

/// What init does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum InitOp {
    /// Joins a namespace that the host opened.
    Join {
        /// Its kind.
        kind: Kind,
    },
    /// Enters the network namespace that the host made meanwhile.
    EnterNetwork,
    /// Becomes root of the user namespace.
    BecomeRoot,
    /// Leaves the cgroup namespace for a new one, rooted where we are now.
    NewCgroup,
    /// Makes a time namespace, sets its clocks, enters it.
    NewTime {
        /// Lines of /proc/self/timens_offsets.
        offsets: Vec<String>,
    },
    /// sethostname(2).
    Hostname(String),
    /// setdomainname(2).
    Domainname(String),
    /// Brings `lo` up.
    Loopback,
    /// Writes a namespaced sysctl.
    Sysctl {
        /// Below /proc/sys: `net/ipv4/ip_forward`.
        key: String,
        /// Its new value.
        value: String,
    },
}

impl fmt::Display for IdRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.inside, self.outside, self.count)
    }
}

/// Ranges as the kernel and the tools read them.
fn lines(ranges: &[IdRange]) -> String {
    ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

impl fmt::Display for HostOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostOp::Open { kind, path } => write!(f, "open {} namespace {path}", kind.name()),
            HostOp::NewNetwork => f.write_str("new network namespace with its loopback up, while init builds"),
            HostOp::NetDevice { name, inside, .. } => {
                write!(f, "move network device {name} into the container as {inside}, with its addresses, and up")
            }
            HostOp::MapIds { uids, gids, through_tools } => {
                let how = if *through_tools { " by newuidmap and newgidmap" } else { "" };
                write!(
                    f,
                    "map ids{how}: uids {}; gids {}",
                    lines(uids).replace('\n', ", "),
                    lines(gids).replace('\n', ", ")
                )
            }
        }
    }
}

impl fmt::Display for InitOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InitOp::Join { kind } => write!(f, "join {} namespace", kind.name()),
            InitOp::EnterNetwork => f.write_str("enter the new network namespace"),
            InitOp::BecomeRoot => f.write_str("become root of the user namespace"),
            InitOp::NewCgroup => f.write_str("new cgroup namespace"),
            InitOp::NewTime { offsets } if offsets.is_empty() => f.write_str("new time namespace"),
            InitOp::NewTime { offsets } => write!(f, "new time namespace, {}", offsets.join(", ")),
            InitOp::Hostname(name) => write!(f, "hostname {name}"),
            InitOp::Domainname(name) => write!(f, "domainname {name}"),
            InitOp::Loopback => f.write_str("loopback up"),
            InitOp::Sysctl { key, value } => write!(f, "sysctl {key} = {value}"),
        }
    }
}

impl fmt::Display for Birth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |kinds: &[Kind]| kinds.iter().map(|k| k.name()).collect::<Vec<_>>().join(" ");
        f.write_str("clone3")?;
        if !self.new.is_empty() {
            write!(f, ", new {}", names(&self.new))?;
        }
        if self.into_cgroup {
            f.write_str(", into its cgroup")?;
        }
        if self.to_init {
            f.write_str(
                ", by a midwife that entered init's cgroups, and each of its namespaces that differs from ours",
            )?;
        } else if self.midwife {
            write!(f, ", by a midwife that joined {}", names(&self.join))?;
        }
        if self.wait {
            let why = match (self.new.contains(&Kind::User), self.by_systemd) {
                (true, true) => "id maps and its unit",
                (true, false) => "id maps",
                (false, true) => "unit",
                (false, false) => "network devices",
            };
            write!(f, ", init waits for its {why}")?;
        }
        Ok(())
    }
}
