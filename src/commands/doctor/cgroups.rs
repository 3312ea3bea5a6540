//! Cgroups: which trees there are, where each controller is, what we may do there, and whether systemd can be asked.

use nix::unistd::AccessFlags;

use super::line::{Line, look};
use super::{Host, may, read};
use crate::cgroups::Version;
use crate::facts::{CgroupTrees, Unified};
use crate::sys;

const SUBJECT: &str = "cgroups";

/// Controllers by their names on v1 and v2, and which limits are lost without them.
const CONTROLLERS: [(&str, &str, &str); 7] = [
    ("cpu", "cpu", "CPU shares and quotas"),
    ("cpuset", "cpuset", "the choice of CPUs and memory nodes"),
    ("memory", "memory", "limits of memory"),
    ("pids", "pids", "limits of the number of processes"),
    ("blkio", "io", "limits and weights of block devices"),
    ("hugetlb", "hugetlb", "limits of huge pages"),
    ("rdma", "rdma", "limits of RDMA devices"),
];

/// All of it.
pub fn lines(host: &Host) -> Vec<Line> {
    let trees = &host.facts.cgroups;
    let mut lines = vec![mode(trees)];
    lines.extend(CONTROLLERS.iter().map(|(v1, v2, what)| controller(trees, v1, v2, what)));
    lines.extend(places(trees).into_iter().map(|(place, own)| writable(host, &place, &own, false)));
    if let Some(tree) = trees.v2.as_ref().filter(|_| !host.root()) {
        lines.push(delegated(tree));
    }
    if trees.v1.is_empty() && trees.v2.is_some() {
        lines.push(device_filter(host.root()));
    }
    lines.push(systemd(host));
    lines
}

/// v1, v2, or both.
pub fn mode(trees: &CgroupTrees) -> Line {
    let look = look(SUBJECT, "mode", "/proc/self/mountinfo, /proc/self/cgroup");
    let kinds = match (trees.v1.is_empty(), &trees.v2) {
        (true, None) => {
            let remedy = "mount -t cgroup2 cgroup2 /sys/fs/cgroup; or run containers without limits: rt --cgroup-manager disabled";
            return look.fail("no tree is mounted", remedy);
        }
        (true, Some(tree)) => format!("v2 at {}", tree.mountpoint),
        (false, None) => format!("v1, {} hierarchies", trees.v1.len()),
        (false, Some(tree)) => format!("hybrid: v1, {} hierarchies; v2 at {}", trees.v1.len(), tree.mountpoint),
    };
    look.ok(kinds)
}

fn controller(trees: &CgroupTrees, v1: &str, v2: &str, what: &str) -> Line {
    let look = look(SUBJECT, v2, "cgroup.controllers, /proc/self/mountinfo, /proc/cgroups");
    if let Some(tree) = trees.v2.as_ref().filter(|tree| tree.controllers.iter().any(|name| name == v2)) {
        return look.ok(format!("v2, in {}", tree.mountpoint));
    }
    if let Some(tree) = trees.v1.iter().find(|tree| tree.controllers.iter().any(|name| name == v1)) {
        return look.ok(format!("v1, at {}", tree.mountpoint));
    }
    let table = read("/proc/cgroups").unwrap_or_default();
    let row =
        table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).find(|row| row.first() == Some(&v1));
    match row.as_deref() {
        None => look.note(format!("not in this kernel: no {what}"), format!("boot a kernel with the {v2} controller")),
        Some([_, _, _, "0"]) => look.note(
            format!("switched off: no {what}"),
            format!("take cgroup_disable={v1} off the kernel's command line (or add cgroup_enable={v1}), and boot"),
        ),
        Some([_, "0", ..]) => look.note(
            format!("in this kernel, but in no tree that is mounted: no {what}"),
            format!("mkdir /sys/fs/cgroup/{v1} && mount -t cgroup -o {v1} {v1} /sys/fs/cgroup/{v1}"),
        ),
        Some(_) => {
            look.note(format!("in a tree that is not mounted here: no {what}"), "show the tree to this mount namespace")
        }
    }
}

/// Where containers of a caller without a wish would be: the mount points, and our own cgroups in them.
fn places(trees: &CgroupTrees) -> Vec<(String, String)> {
    let v1 = trees.v1.iter().map(|tree| (tree.mountpoint.clone(), tree.own.clone()));
    v1.chain(trees.v2.iter().map(|tree| (tree.mountpoint.clone(), tree.own.clone()))).collect()
}

/// Whether we may make a cgroup there: root at the top, others where they are.
pub fn writable(host: &Host, mountpoint: &str, own: &str, needed: bool) -> Line {
    let dir = if host.root() { mountpoint.to_owned() } else { format!("{mountpoint}{}", own.trim_end_matches('/')) };
    let look = look(SUBJECT, format!("cgroups below {dir}"), "faccessat(2) for writing");
    match may(&dir, AccessFlags::W_OK) {
        Ok(()) => look.ok("can be made"),
        Err(error) if host.root() => look.lacks(needed, error.to_string(), format!("mount -o remount,rw {mountpoint}")),
        Err(error) => look.lacks(needed, error.to_string(), DELEGATE),
    }
}

/// How a user gets cgroups of their own.
const DELEGATE: &str = "as root: mkdir -p /etc/systemd/system/user@.service.d
printf '[Service]\\nDelegate=cpu cpuset io memory pids\\n' > /etc/systemd/system/user@.service.d/delegate.conf
systemctl daemon-reload, then log in again; without limits: rt --cgroup-manager disabled";

/// Which controllers a user was given.
fn delegated(tree: &Unified) -> Line {
    let file = format!("{}{}/cgroup.controllers", tree.mountpoint, tree.own.trim_end_matches('/'));
    let have = read(&file).unwrap_or_default();
    let look = look(SUBJECT, "delegated controllers", file);
    let lost: Vec<&str> = ["cpu", "cpuset", "io", "memory", "pids"]
        .into_iter()
        .filter(|name| !have.split_whitespace().any(|word| word == *name))
        .collect();
    if lost.is_empty() { look.ok(have) } else { look.note(format!("without {}", lost.join(" ")), DELEGATE) }
}

/// On v2 the rules for devices are a program.
pub fn device_filter(needed: bool) -> Line {
    let look = look(SUBJECT, "device filter", "bpf(2) BPF_PROG_LOAD of a program that allows all");
    // r0 = 1; exit
    match sys::bpf::load_device_filter(&[0x1_0000_00b7, 0x95]) {
        Ok(_) => look.ok("can be loaded"),
        Err(error) => look.lacks(
            needed,
            error.to_string(),
            "run rt with CAP_BPF or CAP_SYS_ADMIN, on a kernel with CONFIG_CGROUP_BPF",
        ),
    }
}

/// Whether there is a systemd that makes cgroups for us.
pub fn systemd(host: &Host) -> Line {
    let sockets = if host.root() {
        vec!["/run/systemd/private".to_owned(), "/run/dbus/system_bus_socket".to_owned()]
    } else {
        let runtime = std::env::var("XDG_RUNTIME_DIR").unwrap_or_else(|_| format!("/run/user/{}", host.facts.euid));
        vec![format!("{runtime}/systemd/private"), format!("{runtime}/bus")]
    };
    let look = look(SUBJECT, "systemd", format!("connect(2) to {}", sockets.join(", ")));
    match sockets.iter().find(|socket| sys::sock::connect_host(socket).is_ok()) {
        Some(socket) => look.ok(format!("can be asked over {socket}")),
        None if read("/proc/1/comm").as_deref() == Some("systemd") => look.note(
            "runs, but can't be asked",
            "systemctl start dbus; for users: set XDG_RUNTIME_DIR, loginctl enable-linger",
        ),
        None => look.note("not there: --systemd-cgroup can't work", "use the default, --cgroup-manager cgroupfs"),
    }
}

/// Whether a control file is there: the kernel's configuration and its command line have a say in that. Looked for at the
/// mount point and in the cgroups right below it; `None`: there is no cgroup below, and the root has fewer files than others.
pub fn has_file(version: Version, mountpoint: &str, file: &str) -> Option<bool> {
    let there = |dir: &str| may(&format!("{dir}/{file}"), AccessFlags::F_OK).is_ok();
    if version == Version::V1 && there(mountpoint) {
        return Some(true);
    }
    let entries = std::fs::read_dir(mountpoint).into_iter().flatten().flatten();
    let below: Vec<_> = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).collect();
    (!below.is_empty()).then(|| below.iter().any(|entry| entry.path().to_str().is_some_and(there)))
}
