//! The container's root: mounts, devices, links, masks, and the move into it.
//!
//! `lower` turns config.json into the ops below; `apply` runs them by descriptor. Nothing is ever mounted in the
//! caller's mount namespace, and no op after [`InitOp::AttachRoot`] names a host path.

mod apply;
mod copyup;
mod devices;
mod idmap;
pub mod lower;
mod masks;
mod mounts;
pub mod options;
pub mod paths;
mod pivot;

use std::fmt;

use serde::Serialize;

use crate::sys::mount::Attributes;
pub use apply::{Rootfs, Sources};

/// Where the workload finds the directory of the socket that it reports to.
pub const NOTIFY_DIR: &str = "/run/notify";

/// Why it finds one.
pub const NOTIFY: &str = "NOTIFY_SOCKET: the caller hears what the workload says of itself";

/// What the host side does before the birth.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostOp {
    /// Clones the tree of mounts at the rootfs directory.
    OpenRoot {
        /// Absolute host path.
        path: String,
    },
    /// Clones a bind source.
    OpenSource {
        /// Which mount it is for.
        slot: usize,
        /// Absolute host path.
        path: String,
        /// With everything mounted below it.
        tree: bool,
        /// Stays in the host's peer group (`rootfsPropagation` is shared), else it only receives.
        shared: bool,
    },
    /// Makes a filesystem that the container could not make itself: one whose ids are mapped.
    MakeSource {
        /// Which mount it is for.
        slot: usize,
        /// Its type.
        kind: String,
        /// Its source, as shown in mountinfo.
        source: String,
        /// Flags of the superblock and data options, in order.
        options: Vec<String>,
    },
    /// Makes a source show other ids than its filesystem holds.
    MapSource {
        /// Which mount it is for.
        slot: usize,
        /// The ids.
        mapping: Mapping,
        /// Also for everything mounted below it.
        tree: bool,
        /// The host path, or the filesystem's type: for people.
        what: String,
    },
}

/// Which ids a mount shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mapping {
    /// By maps in the form of uid_map and gid_map: in the filesystem, on the host, how many.
    Own {
        /// One range a line.
        uids: String,
        /// One range a line.
        gids: String,
    },
    /// By the maps of a user namespace that exists.
    Namespace {
        /// Host path of its file.
        path: String,
    },
}

/// What init does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum InitOp {
    /// Does what the host side has no rights for, or what must be done in init's own mounts: opens the root or a source.
    Open(HostOp),
    /// Cuts our copy of the host's mounts off from the host.
    Isolate {
        /// `MS_SLAVE` or `MS_PRIVATE`.
        propagation: u64,
    },
    /// Puts the root tree on top of the directory it was cloned from, where it can be pivoted to and where hooks look for
    /// it; on top of `/` where the container's root may not go there.
    AttachRoot {
        /// Absolute host path. `None`: the tree stays detached, for want of a mount namespace or until it takes the place of `/`.
        path: Option<String>,
    },
    /// One entry of `mounts`.
    Mount(Mount),
    /// The place for a mount that somebody else will make.
    MountPoint {
        /// Absolute path in the container.
        path: String,
        /// Host path of its source, if it has one: a file wants a file under it.
        source: Option<String>,
    },
    /// A device node.
    Device(Device),
    /// A symbolic link.
    Link {
        /// Where, in the container.
        path: String,
        /// What it says.
        target: &'static str,
        /// Takes the place of a file of the image.
        replace: bool,
    },
    /// Covers a path: `/dev/null` over a file, an empty read-only tmpfs over a directory.
    Mask {
        /// In the container.
        path: String,
        /// The SELinux context of the empty tmpfs.
        label: Option<String>,
    },
    /// Makes a tree read-only.
    ReadonlyPath {
        /// In the container.
        path: String,
    },
    /// Makes a mount read-only in which more had to be made first.
    ReadonlyMount {
        /// In the container.
        path: String,
    },
    /// Makes the root mount read-only.
    ReadonlyRoot,
    /// Takes `/` away and puts the root tree in its place; where it can't be taken away, a pivot.
    Exchange,
    /// pivot_root, and lets go of the old root.
    Pivot,
    /// Instead of a pivot (`--no-pivot`): covers the host's proc and sysfs, then chroot.
    Chroot {
        /// Whether there are mounts of the host to be covered.
        cover: bool,
    },
    /// The propagation of the container's `/`.
    Propagation {
        /// `MS_*`.
        flag: u64,
        /// For everything below, too.
        tree: bool,
    },
}

/// One mount to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mount {
    /// Absolute path in the container.
    pub target: String,
    /// What is mounted.
    pub what: What,
    /// Its own attributes.
    #[serde(serialize_with = "own_words")]
    pub own: Attributes,
    /// The attributes of the whole tree.
    #[serde(serialize_with = "tree_words")]
    pub tree: Attributes,
    /// Propagation changes after it is attached, in order: flag, whole tree.
    pub propagation: Vec<(u64, bool)>,
    /// Whether it is writable until [`InitOp::ReadonlyMount`], for what is still to be made in it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unfinished: bool,
}

/// What a mount mounts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// A bind of a source that the host side opened.
    Bind {
        /// Its slot.
        slot: usize,
    },
    /// A bind of a source that init finds in its copy of the host's mounts.
    BindCopy {
        /// Absolute host path.
        path: String,
        /// With everything mounted below it.
        tree: bool,
    },
    /// A filesystem.
    Filesystem {
        /// Its type.
        kind: String,
        /// Its source, as shown in mountinfo.
        source: String,
        /// Flags of the superblock and data options, in order.
        options: Vec<String>,
        /// Whether its target must be a plain directory (proc, sysfs).
        plain: bool,
        /// Whether mount(2) must be used, and its extra flags (`iversion`, a value longer than fsconfig takes).
        classic: Option<u64>,
        /// A tmpfs that starts with a copy of what it covers.
        copy_up: bool,
        /// The SELinux context that its root gets, where the filesystem takes none when it is mounted.
        relabel: Option<String>,
        /// The host's mount that takes its place where the kernel may have a reason to make no new one (EPERM).
        #[serde(skip_serializing_if = "Option::is_none")]
        or_hosts: Option<&'static str>,
    },
    /// A filesystem that the host side made.
    Made {
        /// Its slot.
        slot: usize,
        /// Its type.
        kind: String,
        /// Starts with a copy of what it covers.
        copy_up: bool,
        /// Takes the mode of the directory it covers.
        keep_mode: bool,
    },
    /// The container's own cgroups.
    Cgroups {
        /// One entry a hierarchy: directory name, links to it, the container's cgroup on the host.
        hierarchies: Vec<Hierarchy>,
        /// The SELinux context of the tmpfs that holds them.
        label: Option<String>,
    },
    /// The container's own cgroup2 directory.
    Cgroup2 {
        /// On the host.
        directory: String,
    },
    /// Nothing new: other attributes for what is mounted there.
    Change,
}

/// A cgroup v1 hierarchy in the container's view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hierarchy {
    /// `cpu,cpuacct`.
    pub name: String,
    /// `cpu`, `cpuacct`: empty when it would be the name itself.
    pub links: Vec<String>,
    /// The container's cgroup on the host.
    pub directory: String,
}

/// A device node to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Device {
    /// Absolute path in the container.
    pub path: String,
    /// `c`, `b` or `p`.
    pub kind: char,
    /// Major number.
    pub major: u64,
    /// Minor number.
    pub minor: u64,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bound from the host instead of made: the slot of its source (user namespaces can't mknod).
    pub bind: Option<usize>,
}

fn own_words<S: serde::Serializer>(attributes: &Attributes, s: S) -> Result<S::Ok, S::Error> {
    s.collect_seq(options::words(*attributes, false))
}

fn tree_words<S: serde::Serializer>(attributes: &Attributes, s: S) -> Result<S::Ok, S::Error> {
    s.collect_seq(options::words(*attributes, true))
}

impl fmt::Display for HostOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostOp::OpenRoot { path } => write!(f, "open rootfs {path}"),
            HostOp::OpenSource { slot, path, tree, shared } => {
                let below = if *tree { " and all below" } else { "" };
                let peer = if *shared { ", shared with the host" } else { "" };
                write!(f, "open source #{slot} {path}{below}{peer}")
            }
            HostOp::MakeSource { slot, kind, options, .. } => {
                write!(f, "make source #{slot}, a {kind}")?;
                if options.is_empty() { Ok(()) } else { write!(f, ": {}", options.join(", ")) }
            }
            HostOp::MapSource { slot, mapping, tree, .. } => {
                let below = if *tree { " and of all below" } else { "" };
                match mapping {
                    Mapping::Own { uids, gids } => {
                        let line = |lines: &str| lines.replace('\n', ", ");
                        write!(f, "map ids of source #{slot}{below}: uids {}; gids {}", line(uids), line(gids))
                    }
                    Mapping::Namespace { path } => write!(f, "map ids of source #{slot}{below} as {path} does"),
                }
            }
        }
    }
}

impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = options::words(self.own, false);
        words.extend(options::words(self.tree, true));
        match &self.what {
            What::Bind { slot } => write!(f, "bind source #{slot} at {}", self.target)?,
            What::BindCopy { path, tree } => {
                write!(f, "bind {path}{} at {}", if *tree { " and all below" } else { "" }, self.target)?;
            }
            What::Made { slot, kind, copy_up, .. } => {
                write!(f, "attach source #{slot} ({kind}) at {}", self.target)?;
                if *copy_up {
                    words.push("a copy of what it covers".into());
                }
            }
            What::Filesystem { kind, options, classic, copy_up, relabel, or_hosts, .. } => {
                write!(f, "mount {kind}")?;
                if let Some(path) = or_hosts {
                    write!(f, ", or the host's {path} if none may be made,")?;
                }
                write!(f, " at {}", self.target)?;
                words.extend(options.iter().cloned());
                if *copy_up {
                    words.push("a copy of what it covers".into());
                }
                if classic.is_some() {
                    words.push("by mount(2)".into());
                }
                words.extend(relabel.iter().map(|label| format!("labelled {label}")));
            }
            What::Cgroups { hierarchies, .. } => {
                let names: Vec<_> = hierarchies.iter().map(|h| h.name.as_str()).collect();
                write!(f, "show own cgroups ({}) at {}", names.join(" "), self.target)?;
            }
            What::Cgroup2 { .. } => write!(f, "show own cgroup2 directory at {}", self.target)?,
            What::Change => write!(f, "change mount at {}", self.target)?,
        }
        words.extend(self.propagation.iter().map(|&(flag, tree)| options::propagation_word(flag, tree)));
        words.extend(self.unfinished.then(|| "read-only later".to_owned()));
        if words.is_empty() { Ok(()) } else { write!(f, ": {}", words.join(", ")) }
    }
}

impl fmt::Display for InitOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InitOp::Open(op) => op.fmt(f),
            InitOp::Isolate { propagation } => {
                write!(f, "make all mounts {}", options::propagation_word(*propagation, true))
            }
            InitOp::AttachRoot { path: Some(path) } => {
                write!(f, "attach rootfs at {path}, or at / if that is out of reach")
            }
            InitOp::AttachRoot { path: None } => f.write_str("use rootfs detached"),
            InitOp::Mount(mount) => mount.fmt(f),
            InitOp::MountPoint { path, .. } => write!(f, "make a place for a mount at {path}"),
            InitOp::Device(d) => {
                let how = if d.bind.is_some() { "bind device" } else { "make device" };
                write!(
                    f,
                    "{how} {} {} {}:{} mode {:o} owner {}:{}",
                    d.path, d.kind, d.major, d.minor, d.mode, d.uid, d.gid
                )
            }
            InitOp::Link { path, target, .. } => write!(f, "link {path} -> {target}"),
            InitOp::Mask { path, .. } => write!(f, "mask {path}, if it exists"),
            InitOp::ReadonlyPath { path } => write!(f, "make {path} read-only, if it exists"),
            InitOp::ReadonlyMount { path } => write!(f, "make the mount at {path} read-only"),
            InitOp::ReadonlyRoot => f.write_str("make / read-only"),
            InitOp::Exchange => f.write_str("put rootfs in the place of /, or pivot into it"),
            InitOp::Pivot => f.write_str("pivot into rootfs"),
            InitOp::Chroot { cover: true } => f.write_str("cover the host's proc and sysfs, chroot into rootfs"),
            InitOp::Chroot { cover: false } => f.write_str("chroot into rootfs"),
            InitOp::Propagation { flag, tree } => write!(f, "make / {}", options::propagation_word(*flag, *tree)),
        }
    }
}
