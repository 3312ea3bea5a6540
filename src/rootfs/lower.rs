//! config.json → the steps that build the root. Pure: no system calls, no files.

mod idmap;
mod way_in;

use oci_spec::runtime::{LinuxDevice, LinuxDeviceType, Mount as SpecMount, Spec};

use super::options::{self, Options};
use super::{Device, Hierarchy, HostOp, InitOp, Mapping, Mount, What};
use crate::error::ConfigError;
use crate::step::Step;
use crate::sys::Errno;
use crate::sys::mount::{Attributes, FSCONFIG_VALUE_MAX};

/// The container's cgroups as its own mounts show them.
#[derive(Clone, Debug, Default)]
pub struct CgroupView {
    /// v1 hierarchies.
    pub v1: Vec<Hierarchy>,
    /// The container's cgroup2 directory on the host.
    pub v2: Option<String>,
}

/// What the lowering of the root needs to know beside the spec.
pub struct Input<'a> {
    /// The config.
    pub spec: &'a Spec,
    /// Absolute path of the bundle.
    pub bundle: &'a str,
    /// Whether the container has a mount namespace that is not the caller's.
    pub mount_namespace: bool,
    /// Whether init has a copy of the host's mounts of its own, with the host's rights in it: then it finds bind sources.
    pub copied_mounts: bool,
    /// Whether mounts can be made in a tree that is attached nowhere (Linux 6.15), and no hook will look for it below the
    /// bundle.
    pub unseen: bool,
    /// Whether device nodes can't be made (a user namespace is in play).
    pub user_namespace: bool,
    /// Whether the container has an IPC namespace that is made for it.
    pub new_ipc: bool,
    /// Whether group 5 (tty) means something in the container.
    pub tty_group: bool,
    /// `--no-pivot`.
    pub no_pivot: bool,
    /// The container's cgroups.
    pub cgroups: CgroupView,
    /// Whether SELinux runs.
    pub selinux: bool,
    /// `--strict`: a label that nothing here could enforce is an error.
    pub strict: bool,
    /// The host's directory in which the workload finds a socket to report to.
    pub notify: Option<&'a str>,
}

/// The steps, by stage.
#[derive(Default)]
pub struct Lowered {
    /// Host, before the birth.
    pub prepare: Vec<Step<HostOp>>,
    /// Init, before the hooks.
    pub build: Vec<Step<InitOp>>,
    /// Init, after the createContainer hooks.
    pub enter: Vec<Step<InitOp>>,
    /// How many source slots there are.
    pub slots: usize,
    /// What is done differently from what the config says, without being an error.
    pub warnings: Vec<String>,
    /// What makes mounts read-only when all in them has been made.
    later: Vec<Step<InitOp>>,
    /// The SELinux context of every filesystem that is made for the container.
    label: Option<String>,
}

const DEVICES: &[(&str, u64, u64)] = &[
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

const LINKS: &[(&str, &str)] = &[
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
];

/// Files below /proc that may be covered: what lxcfs serves, and two that container tools replace (CVE-2019-16884).
const PROC_FILES: &[&str] = &[
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/sys/crypto/fips_enabled",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/uptime",
];

/// Whether a mount at this container path may cover a file of procfs.
pub fn may_cover_proc(path: &str) -> bool {
    PROC_FILES.contains(&path)
}

/// Lowers root, mounts, devices, masks and the way in.
pub fn lower(input: &Input<'_>, complaints: &mut Vec<ConfigError>) -> Lowered {
    let mut out = Lowered::default();
    let linux = input.spec.linux().as_ref();
    let propagation = linux.and_then(|l| l.rootfs_propagation().as_deref()).and_then(options::propagation);
    let shared = propagation.is_some_and(|(flag, _)| flag == libc::MS_SHARED);
    out.label = lower_label(input, &mut out.warnings, complaints);
    let mut dev_is_bound = false;
    for (index, mount) in input.spec.mounts().iter().flatten().enumerate() {
        let pointer = format!("/mounts/{index}");
        let filled = is_filled(input, mount, index);
        if let Some(mount) = lower_mount(input, mount, &pointer, shared, filled, &mut out, complaints) {
            dev_is_bound |= mount.target == "/dev" && matches!(mount.what, What::Bind { .. } | What::BindCopy { .. });
            out.build.push(Step::asked(pointer, InitOp::Mount(mount)));
        }
    }
    lower_notify(input, shared, &mut out);
    // Who binds a /dev brings its own devices and links.
    if !dev_is_bound {
        lower_devices(input, &mut out, complaints);
    }
    let unseen = way_in::stays_unseen(input, shared, &out.build);
    way_in::begin(input, propagation, unseen, &mut out);
    lower_masks(input, &mut out);
    way_in::end(input, propagation, unseen, &mut out);
    out
}

/// `mountLabel`, where there is SELinux to look at it.
fn lower_label(input: &Input<'_>, warnings: &mut Vec<String>, complaints: &mut Vec<ConfigError>) -> Option<String> {
    let label = input.spec.linux().as_ref()?.mount_label().as_ref().filter(|l| !l.is_empty())?;
    if input.selinux {
        return Some(label.clone());
    }
    let message = "SELinux is not enabled on this host";
    match input.strict {
        true => complaints.push(ConfigError::at("/linux/mountLabel", message)),
        false => warnings.push(format!("/linux/mountLabel: left out {label}: {message}")),
    }
    None
}

/// A path of the config made absolute by `base`.
fn absolute(base: &str, path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("{}/{path}", base.trim_end_matches('/')) }
}

/// Whether a mount begins empty and more is made in it later: mount points, devices, links. That wants it writable.
fn is_filled(input: &Input<'_>, mount: &SpecMount, index: usize) -> bool {
    let target = clean(&mount.destination().to_string_lossy());
    let inside = format!("{}/", target.trim_end_matches('/'));
    let mounts = input.spec.mounts().iter().flatten().skip(index + 1).map(|m| m.destination());
    let devices = input.spec.linux().iter().flat_map(|l| l.devices().iter().flatten()).map(|d| d.path());
    let mut paths = mounts.chain(devices).map(|path| clean(&path.to_string_lossy()));
    matches!(mount.typ().as_deref(), Some("tmpfs" | "ramfs"))
        && (target == "/dev" || paths.any(|p| p.starts_with(&inside)))
}

fn lower_mount(
    input: &Input<'_>,
    mount: &SpecMount,
    pointer: &str,
    shared: bool,
    filled: bool,
    out: &mut Lowered,
    complaints: &mut Vec<ConfigError>,
) -> Option<Mount> {
    let target = clean(&mount.destination().to_string_lossy());
    let mut options = options::parse(mount.options().as_deref().unwrap_or_default());
    let kind = mount.typ().as_deref().unwrap_or_default();
    let is_bind = options.bind.is_some() || kind == "bind" || kind == "rbind";
    if target == "/proc" && !is_bind && kind != "proc" && !options.remount {
        complaints.push(ConfigError::at(
            format!("{pointer}/destination"),
            format!("only a proc filesystem may be mounted at /proc, got type {kind:?}"),
        ));
        return None;
    }
    let mapped = match idmap::lower(input.spec, mount, &options, pointer) {
        Ok(mapped) => mapped,
        Err(complaint) => {
            complaints.push(complaint);
            return None;
        }
    };
    let source = mount.source().as_ref().map(|s| s.to_string_lossy().into_owned());
    if matches!(kind, "cgroup" | "cgroup2") && !is_bind {
        // The container's own cgroups are shown as they are: there is no filesystem to be configured.
        for option in &options.data {
            complaints
                .push(ConfigError::at(format!("{pointer}/options"), format!("{option:?} means nothing for cgroups")));
        }
    }
    let unfinished = filled && !is_bind && options.own.set & options::RDONLY != 0;
    if unfinished {
        options.own.set &= !options::RDONLY;
        out.later.push(Step::asked(pointer, InitOp::ReadonlyMount { path: target.clone() }));
    }
    let what = if options.remount {
        What::Change
    } else if is_bind {
        let Some(source) = source else {
            complaints.push(ConfigError::at(format!("{pointer}/source"), "required for a bind mount"));
            return None;
        };
        let path = absolute(input.bundle, &source);
        let tree = options.bind.unwrap_or(kind == "rbind");
        if input.copied_mounts && mapped.is_none() && !shared {
            return Some(bind_copy(target, path, tree, options));
        }
        let op = HostOp::OpenSource { slot: 0, path: path.clone(), tree, shared };
        let slot = open_source(out, pointer, op);
        if let Some((mapping, tree)) = &mapped {
            let op = HostOp::MapSource { slot, mapping: mapping.clone(), tree: *tree, what: path };
            out.prepare.push(Step::asked(pointer, op));
        }
        What::Bind { slot }
    } else if matches!(kind, "" | "none") {
        What::Change
    } else {
        lower_filesystem(input, kind, source, &options, out.label.as_deref())
    };
    let what = match mapped {
        Some((mapping, _)) if !matches!(what, What::Bind { .. }) => {
            match made_by_host(kind, what, mapping, pointer, out) {
                Ok(what) => what,
                Err(message) => {
                    complaints.push(ConfigError::at(pointer, message));
                    return None;
                }
            }
        }
        _ => what,
    };
    let tree = if matches!(what, What::Cgroups { .. }) { own_as_tree(options.own, options.tree) } else { options.tree };
    Some(Mount { target, what, own: options.own, tree, propagation: options.propagation, unfinished })
}

/// The directory, not the socket in it: that is made anew by whoever starts the container.
fn lower_notify(input: &Input<'_>, shared: bool, out: &mut Lowered) {
    // Without a mount namespace it would be mounted on the host.
    let Some(path) = input.notify.filter(|_| input.mount_namespace) else { return };
    let options = options::parse(&["bind", "ro", "nosuid", "nodev", "noexec"].map(str::to_owned));
    let (target, path) = (super::NOTIFY_DIR.to_owned(), path.to_owned());
    let mount = if input.copied_mounts && !shared {
        bind_copy(target, path, false, options)
    } else {
        let slot = out.slots;
        out.slots += 1;
        out.prepare.push(Step::default(super::NOTIFY, HostOp::OpenSource { slot, path, tree: false, shared }));
        let Options { own, tree, propagation, .. } = options;
        Mount { target, what: What::Bind { slot }, own, tree, propagation, unfinished: false }
    };
    out.build.push(Step::default(super::NOTIFY, InitOp::Mount(mount)));
}

/// A source that init finds in its own copy of the host's mounts. Since Linux 6.8 mountinfo lists mounts in the order in
/// which they came to be, and readers expect that of the config: so a clone is made when its turn has come.
fn bind_copy(target: String, path: String, tree: bool, options: Options) -> Mount {
    let what = What::BindCopy { path, tree };
    Mount { target, what, own: options.own, tree: options.tree, propagation: options.propagation, unfinished: false }
}

/// The flags of a cgroup v1 view are meant for each hierarchy in it.
fn own_as_tree(own: Attributes, tree: Attributes) -> Attributes {
    Attributes { set: own.set | tree.set, clear: own.clear | tree.clear, propagation: 0 }
}

/// Gives the next slot to a source.
fn open_source(out: &mut Lowered, pointer: &str, op: HostOp) -> usize {
    let number = out.slots;
    out.slots += 1;
    let op = match op {
        HostOp::OpenSource { path, tree, shared, .. } => HostOp::OpenSource { slot: number, path, tree, shared },
        HostOp::MakeSource { kind, source, options, .. } => HostOp::MakeSource { slot: number, kind, source, options },
        other => other,
    };
    out.prepare.push(Step::asked(pointer, op));
    number
}

/// A filesystem with mapped ids: made on the host side, for who maps must have rights over it.
fn made_by_host(kind: &str, what: What, mapping: Mapping, pointer: &str, out: &mut Lowered) -> Result<What, String> {
    let classic = matches!(what, What::Filesystem { classic: Some(_), .. });
    if let Some(message) = idmap::impossible(kind, matches!(what, What::Change), classic) {
        return Err(message);
    }
    let What::Filesystem { kind, source, options, copy_up, .. } = what else { return Ok(what) };
    let keep_mode = kind == "tmpfs" && !options.iter().any(|o| o.starts_with("mode="));
    let slot = open_source(out, pointer, HostOp::MakeSource { slot: 0, kind: kind.clone(), source, options });
    let op = HostOp::MapSource { slot, mapping, tree: false, what: kind.clone() };
    out.prepare.push(Step::asked(pointer, op));
    Ok(What::Made { slot, kind, copy_up, keep_mode })
}

fn lower_filesystem(
    input: &Input<'_>,
    kind: &str,
    source: Option<String>,
    options: &Options,
    label: Option<&str>,
) -> What {
    match (kind, &input.cgroups.v2) {
        ("cgroup", _) if !input.cgroups.v1.is_empty() => {
            return What::Cgroups { hierarchies: input.cgroups.v1.clone(), label: label.map(str::to_owned) };
        }
        ("cgroup" | "cgroup2", Some(directory)) => return What::Cgroup2 { directory: directory.clone() },
        _ => {}
    }
    let mut words: Vec<String> = options.superblock.iter().map(|s| (*s).to_owned()).collect();
    // What is filled first must be writable until then; its mount is read-only in any case.
    if options.own.set & options::RDONLY != 0 && !options.copy_up {
        words.push("ro".into());
    }
    // Group 5 is nobody inside a user namespace that does not map it: devpts would refuse.
    words.extend(options.data.iter().filter(|o| kind != "devpts" || input.tty_group || *o != "gid=5").cloned());
    // The kernel labels the files of proc and sysfs by itself; and who says a context means that one.
    let label = label.filter(|_| !matches!(kind, "proc" | "sysfs") && !words.iter().any(|w| w.starts_with("context=")));
    // A message queue filesystem can't be mounted with a context.
    let (relabel, label) = if kind == "mqueue" { (label, None) } else { (None, label) };
    words.extend(label.map(|l| format!("context={l}")));
    let too_long = words.iter().any(|w| w.split_once('=').is_some_and(|(_, v)| v.len() > FSCONFIG_VALUE_MAX));
    let classic = if options.iversion { Some(libc::MS_I_VERSION) } else { too_long.then_some(0) };
    What::Filesystem {
        kind: kind.to_owned(),
        source: source.unwrap_or_else(|| kind.to_owned()),
        options: words,
        plain: matches!(kind, "proc" | "sysfs"),
        classic,
        copy_up: options.copy_up,
        relabel: relabel.map(str::to_owned),
        or_hosts: hosts_own(input, kind),
    }
}

/// Where the kernel may have a reason to make no new sysfs or message queues: in a user namespace that doesn't own the network or
/// IPC namespace, or where the sysfs that we see is partly covered. The host's own show no more than we could see before.
fn hosts_own(input: &Input<'_>, kind: &str) -> Option<&'static str> {
    match kind {
        "sysfs" if input.user_namespace => Some("/sys"),
        "mqueue" if input.user_namespace && !input.new_ipc => Some("/dev/mqueue"),
        _ => None,
    }
}

fn lower_devices(input: &Input<'_>, out: &mut Lowered, complaints: &mut Vec<ConfigError>) {
    let asked: Vec<_> = input.spec.linux().as_ref().and_then(|l| l.devices().as_ref()).into_iter().flatten().collect();
    let add = |origin: Option<String>, mut device: Device, out: &mut Lowered| {
        let why = "the spec's default devices";
        if input.user_namespace && device.kind != 'p' {
            let pointer = origin.clone().unwrap_or_else(|| "/linux/namespaces".into());
            let source = HostOp::OpenSource { slot: 0, path: device.path.clone(), tree: false, shared: false };
            device.bind = Some(open_source(out, &pointer, source));
        }
        let op = InitOp::Device(device);
        out.build.push(match origin {
            Some(pointer) => Step::asked(pointer, op),
            None => Step::default(why, op),
        });
    };
    for &(path, major, minor) in DEVICES {
        if !asked.iter().any(|d| clean(&d.path().to_string_lossy()) == path) {
            let path = path.to_owned();
            add(None, Device { path, kind: 'c', major, minor, mode: 0o666, uid: 0, gid: 0, bind: None }, out);
        }
    }
    for (index, device) in asked.iter().enumerate() {
        let pointer = format!("/linux/devices/{index}");
        match lower_device(device) {
            Ok(device) => add(Some(pointer), device, out),
            Err(message) => complaints.push(ConfigError::at(pointer, message)),
        }
    }
    for &(path, target) in LINKS {
        out.build.push(link(path, target, false));
    }
    out.build.push(link("/dev/ptmx", "pts/ptmx", true));
}

fn link(path: &str, target: &'static str, replace: bool) -> Step<InitOp> {
    let op = InitOp::Link { path: path.to_owned(), target, replace };
    // What the image already has at this name stays.
    Step::default("the spec's default links", op).tolerating(&[Errno::EEXIST])
}

fn lower_device(device: &LinuxDevice) -> Result<Device, String> {
    let kind = match device.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => 'c',
        LinuxDeviceType::B => 'b',
        LinuxDeviceType::P => 'p',
        LinuxDeviceType::A => return Err("type a is for device rules, a node is c, b, u or p".into()),
    };
    // A fifo has no numbers; some configs give it some all the same.
    let number = |n: i64| if kind == 'p' { Ok(0) } else { u64::try_from(n).map_err(|_| format!("device number {n}")) };
    Ok(Device {
        path: clean(&device.path().to_string_lossy()),
        kind,
        major: number(device.major())?,
        minor: number(device.minor())?,
        mode: device.file_mode().unwrap_or(0o666) & 0o7777,
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
        bind: None,
    })
}

fn lower_masks(input: &Input<'_>, out: &mut Lowered) {
    let Some(linux) = input.spec.linux() else { return };
    // Masks after everything that mounts or makes; a read-only root last, for all of them still write.
    for (index, path) in linux.masked_paths().iter().flatten().enumerate() {
        out.enter.push(Step::asked(
            format!("/linux/maskedPaths/{index}"),
            InitOp::Mask { path: clean(path), label: out.label.clone() },
        ));
    }
    for (index, path) in linux.readonly_paths().iter().flatten().enumerate() {
        let op = InitOp::ReadonlyPath { path: clean(path) };
        out.enter.push(Step::asked(format!("/linux/readonlyPaths/{index}"), op));
    }
}

/// An absolute path without `.`, `..` above the root and double slashes. Only what the config says; links are `apply`'s.
pub fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clean_paths_stay_below_the_root() {
        for (dirty, want) in [("/", "/"), ("proc", "/proc"), ("//a/./b/../c/", "/a/c"), ("/../../etc", "/etc")] {
            assert_eq!(clean(dirty), want);
        }
    }
}
