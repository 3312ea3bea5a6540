//! Makes one mount: detached, with all its attributes, then attached to a target that was found by descriptor.

use std::os::fd::OwnedFd;

use nix::fcntl::OFlag;
use nix::sys::stat::SFlag;

use super::lower::may_cover_proc;
use super::paths::Root;
use super::{Hierarchy, Mount, Rootfs, What, copyup, options};
use crate::sys::mount::{Attributes, Filesystem};
use crate::sys::{self, Call, Errno, Error, Result};

/// The magic number of procfs, see statfs(2).
const PROC_SUPER_MAGIC: i64 = 0x9fa0;

/// Descriptors that have done their work; the mount's own is the first.
type Spent = Vec<OwnedFd>;

/// Makes `mount`.
pub(super) fn mount(rootfs: &mut Rootfs, mount: &Mount) -> Result<()> {
    let mut spent = make(rootfs, mount).map_err(|e| e.at(&mount.target))?;
    if mount.unfinished && !spent.is_empty() {
        rootfs.keep(&mount.target, spent.remove(0));
    }
    rootfs.spend(spent);
    Ok(())
}

fn make(rootfs: &mut Rootfs, mount: &Mount) -> Result<Spent> {
    match &mount.what {
        What::Bind { slot } => {
            let source = rootfs.take(*slot)?;
            bind(rootfs.root()?, mount, source)
        }
        What::BindCopy { path, tree } => {
            let source = sys::mount::clone_tree(sys::fs::cwd(), path, *tree)?;
            bind(rootfs.root()?, mount, source)
        }
        What::Made { slot, copy_up, keep_mode, .. } => {
            let tree = rootfs.take(*slot)?;
            made(rootfs.root()?, mount, tree, *copy_up, *keep_mode)
        }
        What::Filesystem { .. } => filesystem(rootfs.root()?, mount),
        What::Cgroups { hierarchies, label } => cgroups(rootfs.root()?, mount, hierarchies, label.as_deref()),
        What::Cgroup2 { directory } => {
            let target = rootfs.root()?.make_dir(&mount.target)?;
            let own = sys::mount::clone_tree(sys::fs::cwd(), directory, false)?;
            finish(rootfs.root()?, own, target, mount)
        }
        What::Change => {
            let there = rootfs.root()?.find(&mount.target)?;
            change(rootfs.root()?, &there, mount)?;
            Ok(vec![there])
        }
    }
}

/// Attributes, attach, propagation: the order in which they can't be seen half done.
fn finish(root: &Root, tree: OwnedFd, target: OwnedFd, mount: &Mount) -> Result<Spent> {
    attributes(&tree, mount)?;
    attach(root, &tree, &target, mount)?;
    Ok(vec![tree, target])
}

/// Attaches a mount that has its attributes. Propagation comes after, for below a shared mount everything first is shared;
/// where nothing can be changed once it is attached there is nobody to share with either.
fn attach(root: &Root, tree: &OwnedFd, target: &OwnedFd, mount: &Mount) -> Result<()> {
    if root.is_detached() {
        propagate(tree, mount)?;
        return sys::mount::attach(tree, target);
    }
    sys::mount::attach(tree, target)?;
    propagate(tree, mount)
}

fn attributes(tree: &OwnedFd, mount: &Mount) -> Result<()> {
    for (attributes, recursive) in [(mount.own, false), (mount.tree, true)] {
        if attributes != Attributes::default() {
            sys::mount::set_attributes(tree, attributes, recursive)?;
        }
    }
    Ok(())
}

fn propagate(tree: &OwnedFd, mount: &Mount) -> Result<()> {
    for &(flag, recursive) in &mount.propagation {
        sys::mount::set_attributes(tree, Attributes { propagation: flag, ..Attributes::default() }, recursive)?;
    }
    Ok(())
}

/// `remount`, or a change of propagation: what is there gets other attributes.
fn change(root: &Root, there: &OwnedFd, mount: &Mount) -> Result<()> {
    if root.is_detached() {
        let why = format!("{}: without a mount namespace a mount can't be changed", mount.target);
        return Err(Error::new(Call::MountSetattr, Errno::EINVAL).about(why));
    }
    attributes(there, mount)?;
    propagate(there, mount)
}

/// A file wants a file under it, anything else a directory.
fn bind(root: &Root, mount: &Mount, source: OwnedFd) -> Result<Spent> {
    let is_dir = |fd: &OwnedFd| Ok::<_, Error>(sys::fs::kind(&sys::fs::stat(fd)?) == SFlag::S_IFDIR);
    let directory = is_dir(&source)?;
    let target = if directory { root.make_dir(&mount.target)? } else { root.make_file(&mount.target)? };
    if directory != is_dir(&target)? {
        // The kernel only says "invalid argument".
        return Err(
            Error::new(Call::MoveMount, Errno::ENOTDIR).about(format!("{}: a directory and a file", mount.target))
        );
    }
    guard_proc(&source, &target, mount)?;
    finish(root, source, target, mount)
}

/// A place for a mount like that of `source`; a directory, if there is none.
pub(super) fn place(root: &Root, path: &str, source: Option<&str>) -> Result<()> {
    let source = source.map(|source| sys::fs::open_host(source, OFlag::O_PATH)).transpose()?;
    let stat = source.map(sys::fs::stat).transpose()?;
    match stat.is_none_or(|stat| sys::fs::kind(&stat) == SFlag::S_IFDIR) {
        true => root.make_dir(path),
        false => root.make_file(path),
    }
    .map(drop)
    .map_err(|e| e.at(path))
}

/// Nothing of procfs may be covered, or its checks (labels, sysctls) would write to what an image put there (CVE-2019-16884).
fn guard_proc(source: &OwnedFd, target: &OwnedFd, mount: &Mount) -> Result<()> {
    let refused = |why: &str| Err(Error::new(Call::MoveMount, Errno::EPERM).about(format!("{} {why}", mount.target)));
    if mount.target == "/proc" {
        let whole = sys::fs::filesystem(source)? == PROC_SUPER_MAGIC && sys::fs::stat(source)?.st_ino == 1;
        return if whole { Ok(()) } else { refused("takes a procfs only") };
    }
    if sys::fs::filesystem(target)? == PROC_SUPER_MAGIC && !may_cover_proc(&mount.target) {
        return refused("is inside /proc");
    }
    Ok(())
}

fn filesystem(root: &Root, mount: &Mount) -> Result<Spent> {
    let What::Filesystem { kind, source, options, plain, classic, copy_up, relabel, or_hosts } = &mount.what else {
        return Ok(Vec::new());
    };
    let target = directory(root, &mount.target, *plain)?;
    if let Some(flags) = classic {
        let made = by_mount_2(root, mount, &target, *flags)?;
        return Ok(vec![made, target]);
    }
    let instead = |e: Error| match or_hosts {
        Some(path) if e.errno == Errno::EPERM => hosts_own(root, mount, &target, path, e),
        _ => Err(told(e, kind)),
    };
    let context = match configured(kind, source, options) {
        Err(e) => return instead(e),
        Ok(context) => context,
    };
    if let Some(mode) = covered_mode(kind, options, &target)? {
        context.set("mode", Some(&mode))?;
    }
    let tree = if *copy_up {
        // Filled while it is still writable and nobody sees it.
        let tree = context.mount(mount.own.set & !options::RDONLY)?;
        copyup::copy(&target, &tree)?;
        sys::mount::set_attributes(&tree, mount.own, false)?;
        tree
    } else {
        match context.mount(mount.own.set) {
            Err(e) => return instead(e),
            Ok(tree) => tree,
        }
    };
    if let Some(label) = relabel {
        sys::fs::set_attribute(&tree, "security.selinux", label)?;
    }
    if mount.tree != Attributes::default() {
        sys::mount::set_attributes(&tree, mount.tree, true)?;
    }
    attach(root, &tree, &target, mount)?;
    Ok(vec![tree, context.into(), target])
}

/// The host's own in place of a new one, where the plan has it so: the kernel's "no" alone is not enough, for with new
/// namespaces and all rights it would be somebody's fault, and the host's would be less isolation than was asked for. What was
/// asked for this mount is for all below it too (CVE-2023-25809).
fn hosts_own(root: &Root, mount: &Mount, target: &OwnedFd, path: &str, refused: Error) -> Result<Spent> {
    let tree = sys::mount::clone_tree(sys::fs::cwd(), path, true).map_err(|_| refused)?;
    let all = Attributes { set: mount.own.set | mount.tree.set, ..mount.tree };
    sys::mount::set_attributes(&tree, all, true)?;
    attach(root, &tree, target, mount)?;
    Ok(vec![tree])
}

/// A refusal that has one reason only.
fn told(refused: Error, kind: &str) -> Error {
    match (kind, refused.errno) {
        ("proc", Errno::EPERM) => refused.about(
            "the procfs that we see is partly covered, so a whole one is denied: is this inside a container with masked paths?",
        ),
        _ => refused,
    }
}

/// A target for a filesystem: not inside the container's procfs, and without links on the way if it must be `plain`.
fn directory(root: &Root, path: &str, plain: bool) -> Result<OwnedFd> {
    let target = if plain { root.make_plain_dir(path)? } else { root.make_dir(path)? };
    if path != "/proc" && sys::fs::filesystem(&target)? == PROC_SUPER_MAGIC {
        return Err(Error::new(Call::MoveMount, Errno::EPERM).about(format!("{path} is inside /proc")));
    }
    Ok(target)
}

/// A filesystem with its options, not yet made.
pub(super) fn configured(kind: &str, source: &str, options: &[String]) -> Result<Filesystem> {
    let context = Filesystem::open(kind)?;
    context.set("source", Some(source))?;
    for option in options {
        match option.split_once('=') {
            Some((key, value)) => context.set(key, Some(value))?,
            None => context.set(option, None)?,
        }
    }
    Ok(context)
}

/// A filesystem that the host side made: what depends on its target is done now.
fn made(root: &Root, mount: &Mount, tree: OwnedFd, copy_up: bool, keep_mode: bool) -> Result<Spent> {
    let target = directory(root, &mount.target, false)?;
    if keep_mode {
        sys::fs::chmod(&tree, sys::fs::stat(&target)?.st_mode & 0o7777)?;
    }
    if copy_up {
        copyup::copy(&target, &tree)?;
    }
    finish(root, tree, target, mount)
}

/// What fsconfig(2) can't say. Attributes follow at once, by descriptor.
fn by_mount_2(root: &Root, mount: &Mount, target: &OwnedFd, flags: u64) -> Result<OwnedFd> {
    let What::Filesystem { kind, source, options, copy_up, .. } = &mount.what else { return root.find(&mount.target) };
    let mut data: Vec<String> = options.iter().filter(|o| !is_flag(o)).map(|o| quoted(o)).collect();
    data.extend(covered_mode(kind, options, target)?.map(|mode| format!("mode={mode}")));
    let asked = options.iter().fold(flags, |all, o| all | flag(o));
    let first = if *copy_up { mount.own.set & !options::RDONLY } else { mount.own.set };
    sys::mount::classic(source, target, kind, asked | classic_attributes(first), &data.join(","))?;
    // The descriptor of the target still means what was covered: look again.
    let made = root.find(&mount.target)?;
    if *copy_up {
        copyup::copy(target, &made)?;
        sys::mount::set_attributes(&made, mount.own, false)?;
    }
    if mount.tree != Attributes::default() {
        sys::mount::set_attributes(&made, mount.tree, true)?;
    }
    propagate(&made, mount)?;
    Ok(made)
}

/// A tmpfs keeps the mode of the directory it covers, unless told otherwise.
fn covered_mode(kind: &str, options: &[String], target: &OwnedFd) -> Result<Option<String>> {
    if kind != "tmpfs" || options.iter().any(|o| o.starts_with("mode=")) {
        return Ok(None);
    }
    Ok(Some(format!("{:o}", sys::fs::stat(target)?.st_mode & 0o7777)))
}

/// A context may hold commas, which here part one option from the next.
fn quoted(option: &str) -> String {
    match option.split_once('=') {
        Some(("context", label)) => format!("context=\"{label}\""),
        _ => option.to_owned(),
    }
}

fn flag(option: &str) -> u64 {
    match option {
        "ro" => libc::MS_RDONLY,
        "sync" => libc::MS_SYNCHRONOUS,
        "dirsync" => libc::MS_DIRSYNC,
        "lazytime" => 1 << 25,
        _ => 0,
    }
}

fn is_flag(option: &str) -> bool {
    flag(option) != 0 || matches!(option, "async" | "nolazytime")
}

fn classic_attributes(own: u64) -> u64 {
    let pairs = [
        (options::RDONLY, libc::MS_RDONLY),
        (options::NOSUID, libc::MS_NOSUID),
        (options::NODEV, libc::MS_NODEV),
        (options::NOEXEC, libc::MS_NOEXEC),
        (0x80, libc::MS_NODIRATIME),
        (0x10, libc::MS_NOATIME),
        (0x20, libc::MS_STRICTATIME),
        (0x20_0000, 256), // MS_NOSYMFOLLOW
    ];
    pairs.iter().filter(|(bit, _)| own & bit != 0).fold(0, |all, (_, flag)| all | flag)
}

/// The container's own v1 cgroups: a small tmpfs with the links of co-mounted controllers, and on it one clone of the
/// container's directory per hierarchy. In a cgroup namespace the clone shows as `/`.
fn cgroups(root: &Root, mount: &Mount, hierarchies: &[Hierarchy], label: Option<&str>) -> Result<Spent> {
    let target = root.make_dir(&mount.target)?;
    let context = Filesystem::open("tmpfs")?;
    context.set("source", Some("cgroup"))?;
    context.set("mode", Some("755"))?;
    if let Some(label) = label {
        context.set("context", Some(label))?;
    }
    let top = context.mount(0)?;
    for hierarchy in hierarchies {
        sys::fs::mkdir(&top, &hierarchy.name, 0o755)?;
        for link in &hierarchy.links {
            sys::fs::symlink(&hierarchy.name, &top, link)?;
        }
    }
    // A kernel that mounts in a tree that is attached nowhere changes the top of it only: that is `top`, or nothing is.
    let detached = root.is_detached();
    if !detached {
        attach(root, &top, &target, mount)?;
    }
    let mut spent = Vec::with_capacity(hierarchies.len() + 3);
    for hierarchy in hierarchies {
        let own = sys::mount::clone_tree(sys::fs::cwd(), &hierarchy.directory, false)?;
        if detached {
            propagate(&own, mount)?;
        }
        // Of the directory that we made a moment ago; nobody else has been here.
        sys::mount::attach_at(&own, &top, &hierarchy.name)?;
        if !detached {
            propagate(&own, mount)?;
        }
        spent.push(own);
    }
    // All of them in one call: nobody has seen them yet.
    sys::mount::set_attributes(&top, mount.tree, true)?;
    if detached {
        attach(root, &top, &target, mount)?;
    }
    spent.extend([context.into(), top, target]);
    Ok(spent)
}
