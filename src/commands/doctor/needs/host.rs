//! What the steps of the host side need.

use nix::fcntl::OFlag;
use nix::unistd::AccessFlags;

use super::super::line::{Line, look};
use super::super::{cgroups, kernel, may, read, rights, security};
use super::{Needs, SUBJECT};
use crate::cgroups::{FileValue, Op};
use crate::hooks::Hook;
use crate::plan::HostOp;
use crate::seccomp::{self, Profile};
use crate::step::Step;
use crate::sys::seccomp::{Flags, known_flags, knows_action};
use crate::sys::{self, Errno};
use crate::{identity, namespaces, rootfs};

/// CAP_SYS_RESOURCE.
pub(super) const SYS_RESOURCE: u8 = 24;

impl Needs<'_> {
    pub(super) fn of_host(&self, name: &str, step: &Step<HostOp>) -> Vec<Line> {
        match &step.op {
            HostOp::Cgroup(op) => self.cgroup(name, op),
            HostOp::Namespace(op) => self.namespace(name, op),
            HostOp::Rootfs(op) => vec![source(name, op)],
            HostOp::Seccomp(profile) => filter(name, profile),
            HostOp::Listener { path } => vec![listener(name, path)],
            HostOp::Stub { .. } => vec![security::stub()],
            HostOp::Identity(identity::HostOp::OomScore(score)) => {
                vec![self.oom_score(name, *score, step.tolerate.contains(&Errno::EACCES))]
            }
            HostOp::Hook(hook) => vec![program(name, hook)],
            _ => Vec::new(),
        }
    }

    fn cgroup(&self, name: &str, op: &Op) -> Vec<Line> {
        let Some(place) = self.placement.trees.get(op.tree()) else { return Vec::new() };
        let files: Vec<&FileValue> = match op {
            Op::Create { .. } => {
                let trees = &self.host.facts.cgroups;
                let v1 = trees.v1.iter().map(|tree| (&tree.mountpoint, &tree.own));
                let all = v1.chain(trees.v2.iter().map(|tree| (&tree.mountpoint, &tree.own)));
                let own = all.filter(|(mount, _)| **mount == place.mountpoint).map(|(_, own)| own.as_str()).next();
                return vec![cgroups::writable(self.host, &place.mountpoint, own.unwrap_or("/"), true)];
            }
            Op::Devices { .. } if place.version == crate::cgroups::Version::V2 => {
                return vec![cgroups::device_filter(true)];
            }
            Op::Write { write, .. } => vec![write],
            Op::FirstOf { choices, .. } => choices.iter().collect(),
            Op::Together { writes, .. } => writes.iter().collect(),
            _ => return Vec::new(),
        };
        let there = |file: &&FileValue| cgroups::has_file(place.version, &place.mountpoint, &file.file);
        let one_will_do = matches!(op, Op::FirstOf { .. });
        let unseen = files.iter().any(|file| there(file).is_none());
        let lost: Vec<&str> =
            files.iter().filter(|file| there(file) == Some(false)).map(|file| file.file.as_str()).collect();
        let all: Vec<&str> = files.iter().map(|file| file.file.as_str()).collect();
        let look = look(SUBJECT, name, format!("{} in {}", all.join(", "), place.mountpoint));
        if unseen {
            let remedy = "look again when something runs in a cgroup";
            return vec![look.note("no cgroup in which it could be seen", remedy)];
        }
        if lost.is_empty() || one_will_do && lost.len() < files.len() {
            return vec![look.ok("there")];
        }
        vec![look.fail(format!("no {}", lost.join(", ")), missing_limit(&lost))]
    }

    fn namespace(&self, name: &str, op: &namespaces::HostOp) -> Vec<Line> {
        match op {
            namespaces::HostOp::Open { kind, path } => {
                let look = look(SUBJECT, name, format!("open(2) of {path}, NS_GET_NSTYPE"));
                let opened = sys::fs::open_host(path, OFlag::O_RDONLY).and_then(|fd| sys::process::namespace_kind(&fd));
                let remedy = "start what holds that namespace, or correct the path";
                vec![match opened {
                    Ok(flag) if flag == kind.flag() => look.ok("there"),
                    Ok(_) => look.fail(format!("no {} namespace", kind.name()), "correct the path or the type"),
                    Err(error) => look.fail(error.to_string(), remedy),
                }]
            }
            namespaces::HostOp::MapIds { through_tools: true, .. } => {
                let tools = ["newuidmap", "newgidmap"].map(|tool| rights::mapper(self.host, tool, true));
                let tables = ["/etc/subuid", "/etc/subgid"].map(|table| rights::range(self.host, table, true));
                tools.into_iter().chain(tables).collect()
            }
            namespaces::HostOp::NetDevice { name: device, .. } => {
                let path = format!("/sys/class/net/{device}");
                let look = look(SUBJECT, name, path.as_str());
                vec![match may(&path, AccessFlags::F_OK) {
                    Ok(()) => look.ok("there"),
                    Err(_) => look.fail("no such device here", format!("ip link add {device} type …, or take it out")),
                }]
            }
            namespaces::HostOp::MapIds { .. } | namespaces::HostOp::NewNetwork => Vec::new(),
        }
    }

    fn oom_score(&self, name: &str, score: i32, tolerated: bool) -> Line {
        let look = look(SUBJECT, name, "/proc/self/oom_score_adj, CAP_SYS_RESOURCE");
        let own: i32 = read("/proc/self/oom_score_adj").and_then(|text| text.parse().ok()).unwrap_or(0);
        if score >= own || self.host.has(SYS_RESOURCE) {
            return look.ok(format!("{score} can be set"));
        }
        let remedy = format!("start rt with CAP_SYS_RESOURCE, or make the value {own} or more");
        look.lacks(!tolerated, format!("{score} is below our own {own}, and we lack CAP_SYS_RESOURCE"), remedy)
    }
}

fn missing_limit(lost: &[&str]) -> &'static str {
    if lost.iter().any(|file| file.contains("memsw") || file.contains("swap")) {
        "boot with swapaccount=1, or leave /linux/resources/memory/swap out"
    } else {
        "boot a kernel that is built with that limit, or take it out"
    }
}

/// Something of the host that is mounted.
pub(super) fn source(name: &str, op: &rootfs::HostOp) -> Line {
    let (path, flags) = match op {
        rootfs::HostOp::OpenRoot { path } => (path, OFlag::O_PATH | OFlag::O_DIRECTORY),
        rootfs::HostOp::OpenSource { path, .. } => (path, OFlag::O_PATH),
        rootfs::HostOp::MakeSource { kind, .. } => return filesystem(name, kind),
        rootfs::HostOp::MapSource { what, .. } => {
            let look =
                look(SUBJECT, format!("{name}, mapped ids"), format!("MOUNT_ATTR_IDMAP on a detached mount of {what}"));
            return match kernel::map_ids(what) {
                Ok(()) => look.ok("can be mapped"),
                Err(error) => {
                    look.fail(error.to_string(), "put the source on a filesystem that can, or leave the mappings out")
                }
            };
        }
    };
    exists(name, path, flags)
}

/// A path of the host.
pub(super) fn exists(name: &str, path: &str, flags: OFlag) -> Line {
    let look = look(SUBJECT, name, format!("open(2) of {path}"));
    match sys::fs::open_host(path, flags) {
        Ok(_) => look.ok("there"),
        Err(error) => {
            let make = if flags.contains(OFlag::O_DIRECTORY) { "make the directory" } else { "make it" };
            look.fail(sys::words(error.errno), format!("{make}, or correct the path"))
        }
    }
}

/// A type of filesystem.
pub(super) fn filesystem(name: &str, kind: &str) -> Line {
    let look = look(SUBJECT, format!("{name}, a {kind}"), "/proc/filesystems");
    let list = read("/proc/filesystems").unwrap_or_default();
    if list.lines().any(|line| line.split_whitespace().last() == Some(kind)) {
        return look.ok("the kernel has it");
    }
    let release =
        nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default();
    let modules = read(&format!("/lib/modules/{release}/modules.dep")).unwrap_or_default();
    if modules.contains(&format!("/{kind}.ko")) {
        return look
            .note("a module that is not loaded", format!("modprobe {kind}, should the kernel not do so itself"));
    }
    look.fail("the kernel does not have it", format!("boot a kernel with {kind}, or take the mount out"))
}

fn filter(name: &str, profile: &Profile) -> Vec<Line> {
    let used = profile.rules.iter().map(|rule| rule.action).chain([profile.default]);
    let mut lost: Vec<String> =
        used.filter(|action| !knows_action(action.ret() & 0xffff_0000)).map(|action| format!("{action:?}")).collect();
    lost.dedup();
    let asked = profile.flags.asked;
    lost.extend(Flags { asked: asked & !known_flags(asked), wished: 0 }.names());
    let look = look(SUBJECT, name, "seccomp(2): actions and flags of the profile");
    if lost.is_empty() {
        return vec![look.ok("the kernel knows them all")];
    }
    vec![look.fail(
        format!("the kernel does not know {}", lost.join(" ")),
        "boot a newer kernel, or take them out of the profile",
    )]
}

fn listener(name: &str, path: &str) -> Line {
    let look = look(SUBJECT, name, format!("the socket {path}"));
    match seccomp::look_for(path) {
        Ok(()) => look.ok("there"),
        Err(error) => look.fail(error.to_string(), "start the seccomp agent that listens there, or correct the path"),
    }
}

/// A hook that is a program of the host.
pub(super) fn program(name: &str, hook: &Hook) -> Line {
    let look = look(SUBJECT, name, format!("faccessat(2) of {}", hook.path));
    match may(&hook.path, AccessFlags::X_OK) {
        Ok(()) => look.ok("can be run"),
        Err(error) => {
            look.fail(sys::words(error.errno), "install the program, make it executable, or take the hook out")
        }
    }
}
