//! What the steps of init need, as far as it can be seen from outside.

use nix::fcntl::OFlag;
use nix::unistd::AccessFlags;

use super::super::line::{Line, look};
use super::super::{may, read};
use super::host::{SYS_RESOURCE, exists, filesystem, program, source};
use super::{Needs, SUBJECT};
use crate::hooks::Point;
use crate::identity::{self, Lsm};
use crate::namespaces;
use crate::plan::InitOp;
use crate::rootfs::{self, What};
use crate::step::Step;
use crate::sys;

/// CAP_SYS_NICE, CAP_MKNOD.
const SYS_NICE: u8 = 23;
const MKNOD: u8 = 27;

/// SCHED_FIFO, SCHED_RR, SCHED_DEADLINE.
const REAL_TIME: [u32; 3] = [1, 2, 6];

impl Needs<'_> {
    pub(super) fn of_init(&self, name: &str, step: &Step<InitOp>) -> Option<Line> {
        match &step.op {
            InitOp::Rootfs(rootfs::InitOp::Open(op)) => Some(source(name, op)),
            InitOp::Rootfs(rootfs::InitOp::Mount(mount)) => match &mount.what {
                What::Filesystem { kind, .. } => Some(filesystem(name, kind)),
                What::BindCopy { path, .. } => Some(exists(name, path, OFlag::O_PATH)),
                _ => None,
            },
            InitOp::Rootfs(rootfs::InitOp::Device(device)) if device.bind.is_none() => Some(self.device()),
            InitOp::Namespace(namespaces::InitOp::Sysctl { key, .. }) => Some(sysctl(name, key)),
            InitOp::Hook(hook) if hook.point == Point::StartContainer => Some(self.inside(name, &hook.path, "")),
            InitOp::Hook(hook) => Some(program(name, hook)),
            InitOp::Identity(op) => self.identity(name, op),
            _ => None,
        }
    }

    fn identity(&self, name: &str, op: &identity::InitOp) -> Option<Line> {
        match op {
            identity::InitOp::Rlimit { name: limit, resource, hard, .. } => {
                Some(self.rlimit(name, limit, *resource, *hard))
            }
            identity::InitOp::Label { lsm: Lsm::AppArmor, label } => Some(profile(name, label)),
            identity::InitOp::Scheduler(wanted) if REAL_TIME.contains(&wanted.policy) => {
                let look = look(SUBJECT, name, "CAP_SYS_NICE");
                let remedy = "start rt with CAP_SYS_NICE, or take another policy";
                Some(if self.host.has(SYS_NICE) { look.ok("there") } else { look.fail("missing", remedy) })
            }
            identity::InitOp::LookUp { name: wanted, path } => Some(self.inside("/process/args/0", wanted, path)),
            _ => None,
        }
    }

    fn device(&self) -> Line {
        let look = look(SUBJECT, "device nodes", "CAP_MKNOD");
        if self.host.has(MKNOD) {
            look.ok("can be made")
        } else {
            look.fail(
                "CAP_MKNOD is missing",
                "start rt with CAP_MKNOD, or give the container a user namespace: then the host's are bound",
            )
        }
    }

    fn rlimit(&self, name: &str, limit: &str, resource: u32, hard: u64) -> Line {
        let look = look(SUBJECT, name, format!("getrlimit(2) of {limit}, CAP_SYS_RESOURCE, fs.nr_open"));
        let most = read("/proc/sys/fs/nr_open").and_then(|text| text.parse::<u64>().ok()).unwrap_or(u64::MAX);
        if limit == "RLIMIT_NOFILE" && hard > most {
            return look.fail(
                format!("{hard} is above fs.nr_open, {most}"),
                format!("sysctl -w fs.nr_open={hard}, or lower the limit"),
            );
        }
        match sys::probe::hard_limit(resource) {
            Ok(own) if hard > own && !self.host.has(SYS_RESOURCE) => {
                let remedy = format!(
                    "start rt with CAP_SYS_RESOURCE, or with a hard limit of {hard} (LimitNOFILE= and its kin in a systemd service), or lower the limit"
                );
                look.fail(format!("{hard} is above our own hard limit, {own}, and we lack CAP_SYS_RESOURCE"), remedy)
            }
            Ok(_) => look.ok("can be set"),
            Err(error) => look.fail(error.to_string(), "take the limit out: this kernel does not have it"),
        }
    }
}

fn sysctl(name: &str, key: &str) -> Line {
    let path = format!("/proc/sys/{key}");
    let look = look(SUBJECT, name, path.as_str());
    match may(&path, AccessFlags::F_OK) {
        Ok(()) => look.ok("there"),
        Err(error) => {
            let module =
                if key.starts_with("net/") { "modprobe what brings it (net.netfilter: nf_conntrack), " } else { "" };
            look.fail(sys::words(error.errno), format!("{module}boot a kernel that has it, or take it out"))
        }
    }
}

/// Whether AppArmor has been told of a profile.
fn profile(name: &str, label: &str) -> Line {
    const FILE: &str = "/sys/kernel/security/apparmor/profiles";
    let look = look(SUBJECT, name, FILE);
    match read(FILE) {
        None => look.note("the list can't be read", "mount -t securityfs securityfs /sys/kernel/security, as root"),
        Some(list)
            if label == "unconfined"
                || list.lines().any(|line| line.rsplit_once(" (").is_some_and(|(p, _)| p == label)) =>
        {
            look.ok("loaded")
        }
        Some(_) => look.fail("not loaded", format!("apparmor_parser -r with the file of {label}")),
    }
}
