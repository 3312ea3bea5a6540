//! Files: where the state of containers goes, and whether the host's own filesystems are as they are expected.

use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::AccessFlags;

use super::line::{Line, look};
use super::{Host, may, read};
use crate::sys;

const SUBJECT: &str = "files";

/// The magic numbers of statfs(2).
const PROC: i64 = 0x9fa0;
const TMPFS: i64 = 0x0102_1994;

/// What every container needs.
pub fn needed(host: &Host) -> Vec<Line> {
    vec![state_root(host), proc()]
}

/// What some need.
pub fn wished() -> Vec<Line> {
    vec![covered("/proc", "proc"), covered("/sys", "sysfs"), devices()]
}

/// The directory of --root, or what is there of the way to it.
fn state_root(host: &Host) -> Line {
    let look = look(SUBJECT, format!("state in {}", host.state), "faccessat(2), statvfs(2), statfs(2)");
    let mut dir = host.state.as_str();
    while may(dir, AccessFlags::F_OK).is_err() && dir.len() > 1 {
        dir = dir.rsplit_once('/').map_or(".", |(parent, _)| if parent.is_empty() { "/" } else { parent });
    }
    let remedy = "give another directory by --root, on a filesystem that is writable; for users: set XDG_RUNTIME_DIR";
    if let Err(error) = may(dir, AccessFlags::W_OK | AccessFlags::X_OK) {
        return look.fail(error.to_string(), remedy);
    }
    if statvfs(dir).is_ok_and(|flags| flags.flags().contains(FsFlags::ST_RDONLY)) {
        return look.fail(format!("{dir} is read-only"), remedy);
    }
    let magic = sys::fs::open_host(dir, nix::fcntl::OFlag::O_PATH).and_then(sys::fs::filesystem);
    let below = if dir == host.state { String::new() } else { format!(", to be made in {dir}") };
    match magic {
        Ok(TMPFS) => look.ok(format!("writable, a tmpfs{below}")),
        _ => look.note(
            format!("writable, but no tmpfs{below}"),
            "what is left there at a reboot is known to be stale and can be deleted; a tmpfs forgets it by itself",
        ),
    }
}

fn proc() -> Line {
    let look = look(SUBJECT, "/proc", "statfs(2)");
    let magic = sys::fs::open_host("/proc", nix::fcntl::OFlag::O_PATH).and_then(sys::fs::filesystem);
    if magic == Ok(PROC) { look.ok("a procfs") } else { look.fail("no procfs", "mount -t proc proc /proc") }
}

/// A container in a user namespace gets a new one only if nothing covers a part of the host's: the kernel calls what is
/// covered a secret.
fn covered(place: &str, kind: &str) -> Line {
    let look = look(SUBJECT, format!("{kind} uncovered"), "/proc/self/mountinfo");
    let table = read("/proc/self/mountinfo").unwrap_or_default();
    let parts: Vec<&str> = (table.lines().filter_map(|line| line.split(' ').nth(4)))
        .filter(|path| path.strip_prefix(place).is_some_and(|rest| rest.starts_with('/')))
        .filter(|path| {
            !path.starts_with("/sys/fs/") && !path.starts_with("/sys/kernel/") && *path != "/proc/sys/fs/binfmt_misc"
        })
        .collect();
    if parts.is_empty() {
        return look.ok("nothing is mounted over a part of it");
    }
    let remedy = format!(
        "containers with a user namespace can't mount a new {kind}: unmask it in the outer container, or bind {place} instead"
    );
    look.note(format!("covered at {}", parts.join(" ")), remedy)
}

fn devices() -> Line {
    let names = ["null", "zero", "full", "random", "urandom", "tty", "ptmx"];
    let look = look(SUBJECT, "/dev", names.join(" "));
    let lost: Vec<&str> =
        names.into_iter().filter(|name| may(&format!("/dev/{name}"), AccessFlags::F_OK).is_err()).collect();
    if lost.is_empty() {
        return look.ok("all there");
    }
    look.note(
        format!("without {}", lost.join(" ")),
        "mount -t devtmpfs devtmpfs /dev: where a container can't make nodes, those of the host are bound",
    )
}
