//! Runs the ops of the namespaces. Paths used here are the host's: init has not moved into its root yet.

use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::{OFlag, ResolveFlag};

use super::idmaps::map_ids;
use super::netdevices::{Moved, move_device};
use super::{Birth, HostOp, InitOp, Kind, network};
use crate::sys::{self, Call, Errno, Error, Result};

/// Namespaces that the host side opened, to be joined; devices that it moved into one; and which kinds turned out to be the
/// runtime's own namespaces after all.
#[derive(Default)]
pub struct Opened(Vec<(Kind, OwnedFd)>, Vec<Moved>, Vec<Kind>);

impl Opened {
    /// Runs one host op; `pid` is init's, once it is born.
    pub fn apply(&mut self, op: &HostOp, pid: Option<i32>) -> Result<()> {
        match op {
            HostOp::Open { kind, path } => {
                let file = sys::fs::open_host(path, OFlag::O_RDONLY)?;
                check_kind(&file, *kind).map_err(|e| e.at(path))?;
                if is_own(&file, *kind)? {
                    self.2.push(*kind);
                }
                self.0.push((*kind, file));
                Ok(())
            }
            HostOp::MapIds { uids, gids, through_tools } => {
                let pid = pid.ok_or_else(|| Error::new(Call::Write, Errno::ESRCH).about("uid_map"))?;
                map_ids(pid, uids, gids, *through_tools)
            }
            HostOp::NewNetwork => {
                self.0.push((Kind::Network, network::new()?));
                Ok(())
            }
            HostOp::NetDevice { name, inside, namespace } => {
                let born = || format!("/proc/{}/ns/net", pid.unwrap_or(0));
                let path = namespace.clone().unwrap_or_else(born);
                let file = sys::fs::open_host(&path, OFlag::O_RDONLY)?;
                check_kind(&file, Kind::Network).map_err(|e| e.at(&path))?;
                move_device(name, inside, &file, &mut self.1)
            }
        }
    }

    /// The namespace of this kind, if one was opened.
    pub fn find(&self, kind: &str) -> Option<&OwnedFd> {
        self.0.iter().find(|(k, _)| k.file() == kind).map(|(_, file)| file)
    }

    /// The network namespace that was made, for init.
    pub fn made(&mut self) -> Option<OwnedFd> {
        self.0.pop().map(|(_, file)| file)
    }

    /// Takes over the network namespace that the host made.
    pub fn receive(&mut self, network: OwnedFd) {
        self.0.push((Kind::Network, network));
    }

    /// All descriptors, to be closed with their neighbours.
    pub fn give_up(&mut self) -> impl Iterator<Item = OwnedFd> {
        self.0.drain(..).map(|(_, file)| file)
    }

    /// Brings the devices back that were moved into a container which does not come to be.
    pub fn give_back(&mut self) {
        self.1.drain(..).rev().for_each(Moved::bring_back);
    }

    /// Runs one op of init.
    pub fn apply_inside(&self, op: &InitOp) -> Result<()> {
        match op {
            InitOp::Join { kind } => self.join(*kind),
            // Its descriptor has been heard by now: see `receive`.
            InitOp::EnterNetwork => self.join(Kind::Network),
            InitOp::BecomeRoot => {
                sys::cred::set_gid(0)?;
                sys::cred::set_uid(0)
            }
            InitOp::NewCgroup => sys::process::unshare(Kind::Cgroup.flag()),
            InitOp::NewTime { offsets } => new_time(offsets),
            InitOp::Hostname(name) => sys::cred::set_hostname(name),
            InitOp::Domainname(name) => sys::cred::set_domainname(name),
            InitOp::Loopback => sys::net::loopback_up(),
            InitOp::Sysctl { key, .. } if self.2.contains(&owner(key)) => {
                let note = format!("{key} would change the caller's own {} namespace", owner(key).name());
                Err(Error::new(Call::Write, Errno::EPERM).about(note))
            }
            InitOp::Sysctl { key, value } => sysctl(key, value),
        }
    }

    /// All joins of a birth, in order: what the midwife does.
    pub fn join_all(&self, birth: &Birth) -> Result<()> {
        birth.join.iter().try_for_each(|kind| self.join(*kind))
    }

    fn join(&self, kind: Kind) -> Result<()> {
        let found = self.0.iter().find(|(k, _)| *k == kind);
        let (_, file) = found.ok_or_else(|| Error::new(Call::Setns, Errno::EBADF).about(kind.name()))?;
        sys::process::setns(file, kind.flag()).map_err(|e| e.about(kind.name()))
    }
}

/// The kernel says what a namespace file is; any other file is refused too.
fn check_kind(file: impl AsFd, kind: Kind) -> Result<()> {
    match sys::process::namespace_kind(file) {
        Ok(flag) if flag == kind.flag() => Ok(()),
        Ok(flag) => {
            let is = Kind::ALL.iter().find(|(k, _)| k.flag() == flag).map_or("other", |(_, name)| name);
            Err(Error::new(Call::Setns, Errno::EINVAL).about(format!("is a {is} namespace, not {}", kind.name())))
        }
        Err(_) => Err(Error::new(Call::Setns, Errno::EINVAL).about("is not a namespace")),
    }
}

/// Whether a namespace is the one that we are in.
fn is_own(file: impl AsFd, kind: Kind) -> Result<bool> {
    let own = sys::fs::open_host(&format!("/proc/self/ns/{}", kind.file()), OFlag::O_RDONLY)?;
    let (one, other) = (sys::fs::stat(file)?, sys::fs::stat(own)?);
    Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}

/// The kind of namespace that a sysctl belongs to. The config's check lets no others through.
fn owner(key: &str) -> Kind {
    match key {
        "kernel/domainname" => Kind::Uts,
        _ if key.starts_with("net/") => Kind::Network,
        _ if key.starts_with("user/") => Kind::User,
        _ => Kind::Ipc,
    }
}

/// The clocks of a time namespace can be set until somebody is in it; `time_for_children` lets us in without a fork.
fn new_time(offsets: &[String]) -> Result<()> {
    sys::process::unshare(Kind::Time.flag())?;
    for line in offsets {
        let write = || sys::fs::write(sys::fs::cwd(), "/proc/self/timens_offsets", line);
        match write() {
            // Hidden from everybody, our files in /proc belong to the host's root: not to us, who are root in here only.
            Err(e) if e.errno == Errno::EACCES => {
                sys::cred::dumpable(true)?;
                write().and(sys::cred::dumpable(false))?;
            }
            other => other?,
        }
    }
    let made = sys::fs::open_host("/proc/self/ns/time_for_children", OFlag::O_RDONLY)?;
    sys::process::setns(&made, Kind::Time.flag())
}

/// Through the host's procfs, before any mount of the container can be in the way (CVE-2025-52881); the kernel takes the
/// value for the namespaces of the writer. No component may be a link or another mount.
fn sysctl(key: &str, value: &str) -> Result<()> {
    const PROC_SUPER_MAGIC: i64 = 0x9fa0;
    let tree = sys::fs::open_host("/proc/sys", OFlag::O_PATH | OFlag::O_DIRECTORY)?;
    if sys::fs::filesystem(&tree)? != PROC_SUPER_MAGIC {
        return Err(Error::new(Call::Open, Errno::EXDEV).about("/proc/sys is not on procfs"));
    }
    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_XDEV;
    let file = sys::fs::open(&tree, key, OFlag::O_WRONLY, 0, resolve)?;
    sys::fs::write_fd(&file, value.as_bytes()).map_err(|e| e.about(format!("{key} = {value}")))
}
