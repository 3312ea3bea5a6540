//! Which cgroup trees this host has, from /proc/self/mountinfo and /proc/self/cgroup. The parsers are pure.

use nix::fcntl::OFlag;

use crate::facts::{CgroupTrees, Delegated, Hierarchy, Systemd, Unified};
use crate::sys::{self, Errno, fs};

/// One line of mountinfo that is a cgroup mount.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    /// Which part of the file system is mounted.
    root: String,
    mountpoint: String,
    v2: bool,
    /// The superblock's options; on v1 they name the controllers.
    options: Vec<String>,
}

/// Reads the trees of the host that we run on.
pub fn trees() -> sys::Result<CgroupTrees> {
    let mountinfo = read("/proc/self/mountinfo")?;
    let own = fs::read_piece("/proc/self/cgroup")?;
    let mut trees = parse(&mountinfo, &own);
    if let Some(v2) = &mut trees.v2 {
        let file = format!("{}/cgroup.controllers", v2.mountpoint.trim_end_matches('/'));
        match fs::read_piece(&file) {
            Ok(text) => v2.controllers = words(&text),
            // Another mount lies on top of it, as inside a container that got the host's /sys.
            Err(e) if e.errno == Errno::ENOENT => trees.v2 = None,
            Err(e) => return Err(e),
        }
    }
    Ok(trees)
}

/// Where a caller without root's rights may make cgroups: a directory that it may write to, and whose processes it may move.
///
/// v2: beside our own cgroup, which has us in it and so can't pass controllers on; or else below it.
///
/// Trees that other mounts lie on top of are no trees: that is common inside containers, where only such callers look here.
pub fn delegated(trees: &mut CgroupTrees) -> sys::Result<Vec<Delegated>> {
    let mut found = Vec::new();
    trees.v1.retain(|v1| fs::is_there(&format!("{}/cgroup.procs", v1.mountpoint)));
    if let Some(v2) = &trees.v2 {
        let own = v2.own.trim_matches('/');
        let beside = own.rsplit_once('/').map_or("", |(parent, _)| parent);
        if let Some(directory) = [beside, own].into_iter().find(|d| may_make(&v2.mountpoint, d)) {
            let file = format!("{}/{directory}/cgroup.controllers", v2.mountpoint.trim_end_matches('/'));
            let (mountpoint, directory) = (v2.mountpoint.clone(), directory.to_owned());
            found.push(Delegated { mountpoint, directory, controllers: words(&read(&file)?) });
        }
    }
    for v1 in &trees.v1 {
        let directory = v1.own.trim_matches('/').to_owned();
        if may_make(&v1.mountpoint, &directory) {
            found.push(Delegated { mountpoint: v1.mountpoint.clone(), directory, controllers: Vec::new() });
        }
    }
    Ok(found)
}

fn may_make(mountpoint: &str, directory: &str) -> bool {
    let directory = format!("{}/{directory}", mountpoint.trim_end_matches('/'));
    fs::may_write(&directory) && fs::may_write(&format!("{directory}/cgroup.procs"))
}

/// The systemd that would make cgroups for this caller, if one runs (sd_booted(3)).
pub fn systemd(euid: u32, in_userns: bool, trees: &CgroupTrees) -> Option<Systemd> {
    fs::open_host("/run/systemd/system", OFlag::O_PATH | OFlag::O_DIRECTORY).ok()?;
    // A container with a user namespace and a systemd of its own has its own host's instance in that namespace.
    let namespace = |pid: &str| fs::readlink(fs::cwd(), &format!("/proc/{pid}/ns/user")).ok();
    let user = euid != 0 || in_userns && (namespace("1").is_none() || namespace("1") != namespace("self"));
    let v2 = trees.v2.as_ref()?;
    let cgroup =
        if user { of_user(&v2.own, outer(euid)) } else { of_host(&read("/proc/1/cgroup").unwrap_or_default()) };
    Some(Systemd { user, cgroup })
}

/// The host's instance has itself in `init.scope`, below its own cgroup.
fn of_host(table: &str) -> String {
    let own = table.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    let above = own.strip_suffix("/init.scope").unwrap_or("");
    if above.is_empty() || above.contains("..") { "/".to_owned() } else { above.to_owned() }
}

/// A user's instance is `user@UID.service`: mostly we are below it; else it is where systemd puts those.
fn of_user(own: &str, uid: u32) -> String {
    let service = format!("/user@{uid}.service");
    match own.find(&format!("{service}/")) {
        Some(at) => own[..at + service.len()].to_owned(),
        None if own.ends_with(&service) => own.to_owned(),
        None => format!("/user.slice/user-{uid}.slice{service}"),
    }
}

/// What a uid of our user namespace is in the one around it.
fn outer(uid: u32) -> u32 {
    let map = read("/proc/self/uid_map").unwrap_or_default();
    let numbers = |line: &str| line.split_whitespace().map(|n| n.parse::<u32>().ok()).collect::<Option<Vec<_>>>();
    let found = map.lines().filter_map(numbers).find_map(|line| match line[..] {
        [inside, outside, count] if uid >= inside && uid - inside < count => outside.checked_add(uid - inside),
        _ => None,
    });
    found.unwrap_or(uid)
}

/// A host may have ten thousand mounts; it does not have 64 MiB of them.
fn read(path: &str) -> sys::Result<String> {
    fs::read(fs::cwd(), path, 64 << 20).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// The trees that both texts agree on; `controllers` of the v2 tree is left empty (it is in neither).
pub fn parse(mountinfo: &str, own: &str) -> CgroupTrees {
    let mounts: Vec<Mount> = mountinfo.lines().filter_map(mount).collect();
    let mut trees = CgroupTrees::default();
    for line in own.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(names), Some(path)) = (fields.next(), fields.next(), fields.next()) else { continue };
        // A cgroup that was removed under us keeps its name, with this behind it.
        let path = path.strip_suffix(" (deleted)").unwrap_or(path);
        let controllers: Vec<String> = names.split(',').filter(|n| !n.is_empty()).map(str::to_owned).collect();
        let Some((mount, own)) = choose(&mounts, &controllers, path) else { continue };
        let mountpoint = mount.mountpoint.clone();
        if controllers.is_empty() {
            trees.v2 = Some(Unified { mountpoint, own, controllers: Vec::new() });
        } else {
            trees.v1.push(Hierarchy { controllers, mountpoint, own });
        }
    }
    trees
}

/// The mount of the hierarchy with these controllers (none: v2), and our own cgroup as seen from it. One that shows our
/// own cgroup is better than one that shows another part of the tree; the usual place is better than another.
fn choose<'a>(mounts: &'a [Mount], controllers: &[String], path: &str) -> Option<(&'a Mount, String)> {
    mounts
        .iter()
        .filter(|m| m.v2 == controllers.is_empty() && controllers.iter().all(|c| m.options.contains(c)))
        .map(|m| (m, seen_from(&m.root, path)))
        .max_by_key(|(m, own)| {
            // The shortest of equals: the host's own mount rather than a bind mount of it elsewhere.
            let usual = m.mountpoint.starts_with("/sys/fs/cgroup");
            (own.is_some(), usual, std::cmp::Reverse(m.mountpoint.len()))
        })
        .map(|(m, own)| (m, own.unwrap_or_else(|| "/".to_owned())))
}

/// `path` as seen from a mount of `root`: inside a container without a cgroup namespace the root is the container's.
fn seen_from(root: &str, path: &str) -> Option<String> {
    // `/..` is the kernel's way to say that the cgroup lies outside our cgroup namespace.
    if path.split('/').any(|name| name == "..") {
        return None;
    }
    let rest = if root == "/" { path } else { path.strip_prefix(root)? };
    match rest {
        "" => Some("/".to_owned()),
        rest if rest.starts_with('/') => Some(rest.to_owned()),
        _ => None,
    }
}

fn mount(line: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let mut kind = after.split(' ');
    let v2 = match kind.next()? {
        "cgroup" => false,
        "cgroup2" => true,
        _ => return None,
    };
    let options = kind.nth(1)?.split(',').map(str::to_owned).collect();
    let mut fields = before.split(' ').skip(3);
    Some(Mount { root: unescape(fields.next()?), mountpoint: unescape(fields.next()?), v2, options })
}

/// mountinfo writes blank, tab, newline and backslash as `\` and three octal digits.
fn unescape(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        plain.push_str(&rest[..at]);
        match rest.get(at + 1..at + 4).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if byte.is_ascii() => {
                plain.push(char::from(byte));
                rest = &rest[at + 4..];
            }
            _ => {
                plain.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
23 1 254:0 / / rw,relatime - ext4 /dev/vda rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime master:1 shared:9 - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
50 23 0:32 / /a\\040b rw,relatime - cgroup cgroup rw,memory
";
    const OWN: &str = "9:name=systemd:/\n8:pids:/\n4:memory:/mine/x:y\n1:cpu,cpuacct:/\n0::/user.slice\n";

    #[test]
    fn a_hybrid_host() {
        let trees = parse(HYBRID, OWN);
        let v1: Vec<(&str, &str)> = trees.v1.iter().map(|h| (h.mountpoint.as_str(), h.own.as_str())).collect();
        assert_eq!(
            v1,
            [
                ("/sys/fs/cgroup/systemd", "/"),
                ("/sys/fs/cgroup/memory", "/mine/x:y"),
                ("/sys/fs/cgroup/cpu,cpuacct", "/")
            ],
            "pids is not mounted; memory is mounted twice"
        );
        assert_eq!(trees.v1[2].controllers, ["cpu", "cpuacct"]);
        assert_eq!(trees.v2.unwrap().own, "/user.slice");
    }

    #[test]
    fn a_unified_host() {
        let trees = parse(
            "26 20 0:23 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
            "0::/user.slice/gone.scope (deleted)\n",
        );
        assert!(trees.v1.is_empty());
        assert_eq!(trees.v2.as_ref().unwrap().mountpoint, "/sys/fs/cgroup");
        assert_eq!(trees.v2.unwrap().own, "/user.slice/gone.scope");
    }

    #[test]
    fn inside_a_container_without_a_cgroup_namespace() {
        let mountinfo = "700 600 0:32 /docker/4f1c /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
        let own = |path: &str| parse(mountinfo, &format!("4:memory:{path}\n")).v1[0].own.clone();
        assert_eq!(own("/docker/4f1c"), "/");
        assert_eq!(own("/docker/4f1c/inner"), "/inner");
        assert_eq!(own("/docker/4f1c/../../x"), "/", "outside our cgroup namespace");
        assert_eq!(own("/docker/4f1cb"), "/", "another cgroup: the mount does not show ours");
    }

    #[test]
    fn where_systemd_has_its_slices() {
        assert_eq!(of_host("0::/init.scope\n"), "/");
        assert_eq!(of_host("1:name=systemd:/x\n0::/machine.slice/box/init.scope\n"), "/machine.slice/box");
        assert_eq!(of_host("0::/../../init.scope\n"), "/");
        let manager = "/user.slice/user-7.slice/user@7.service";
        assert_eq!(of_user(&format!("{manager}/app.slice/x.scope"), 7), manager);
        assert_eq!(of_user(manager, 7), manager);
        assert_eq!(of_user("/user.slice/user-7.slice/session-1.scope", 7), manager);
        assert_eq!(of_user("/other/user@7.service/a", 7), "/other/user@7.service");
    }

    #[test]
    fn escapes_and_nonsense() {
        assert_eq!(unescape(r"/a\040b\134c\9"), r"/a b\c\9");
        assert_eq!(parse("nonsense\n1 2 3 - cgroup\n", "nonsense\n1:x\n"), CgroupTrees::default());
    }

    #[test]
    fn this_host_has_at_least_one_tree() {
        let trees = trees().unwrap();
        assert!(trees.v2.is_some() || !trees.v1.is_empty());
    }
}
