//! Rights: who we are, what we may never have, and how users without rights get their ids mapped.

use std::os::unix::fs::MetadataExt;

use super::line::{Line, look};
use super::{Host, find_program, read};
use crate::identity::{Caps, lower::all_capabilities};
use crate::sys::probe;

const SUBJECT: &str = "rights";

/// What a missing capability costs, where more than the container is concerned.
const COSTS: [(&str, &str); 6] = [
    ("CAP_MKNOD", "device nodes can't be made"),
    ("CAP_NET_ADMIN", "networks can't be set up"),
    ("CAP_SETGID", "no other groups"),
    ("CAP_SETUID", "no other users"),
    ("CAP_SYS_ADMIN", "nothing works without a user namespace"),
    ("CAP_SYS_RESOURCE", "no rlimit above our hard ones, no oom_score_adj below ours"),
];

/// All of it.
pub fn lines(host: &Host) -> Vec<Line> {
    let mut lines = vec![who(host), bounding(host)];
    for (tool, table) in [("newuidmap", "/etc/subuid"), ("newgidmap", "/etc/subgid")] {
        lines.push(mapper(host, tool, false));
        lines.push(range(host, table, false));
    }
    lines
}

fn who(host: &Host) -> Line {
    let look = look(SUBJECT, "who we are", "geteuid(2), /proc/self/uid_map");
    let within = if host.facts.in_userns { ", in a user namespace" } else { "" };
    look.ok(format!("uid {}{within}", host.facts.euid))
}

/// What can't be granted to any container, because we can't have it ourselves.
fn bounding(host: &Host) -> Line {
    let look = look(SUBJECT, "bounding set", "PR_CAPBSET_READ of each capability");
    let all: u64 = all_capabilities().map(|(_, number)| 1 << number).sum();
    // Newer capabilities than this kernel's are nobody's.
    let last = read("/proc/sys/kernel/cap_last_cap").and_then(|number| number.parse::<u32>().ok()).unwrap_or(63);
    let lost = Caps(all & u64::MAX >> (63 - last.min(63)) & !host.facts.capabilities).names();
    if lost.is_empty() {
        return look.ok("everything that this kernel has");
    }
    let costs: Vec<String> = (COSTS.iter().filter(|(name, _)| lost.iter().any(|l| l == name)))
        .map(|(name, cost)| format!("{name}: {cost}"))
        .collect();
    let costs = if costs.is_empty() { String::new() } else { format!(" ({})", costs.join("; ")) };
    let remedy = "start rt from a process that has them: CapabilityBoundingSet= of a systemd service, --cap-add of an outer container";
    look.note(format!("without {}{costs}", lost.join(" ")), remedy)
}

/// A tool that maps ids for users without rights: it must be there, and have the rights.
pub fn mapper(host: &Host, tool: &str, needed: bool) -> Line {
    let look = look(SUBJECT, tool, "PATH, its mode and its capabilities");
    let remedy = "only rootless containers need it: apt-get install uidmap (Debian), dnf install shadow-utils (Fedora)";
    let Some(path) = find_program(host, tool) else { return look.lacks(needed, "not there", remedy) };
    let setuid = std::fs::metadata(&path).is_ok_and(|meta| meta.uid() == 0 && meta.mode() & 0o4000 != 0);
    if setuid || probe::has_attribute(&path, "security.capability") {
        return look.ok(path);
    }
    look.lacks(needed, format!("{path} has no right to map ids"), format!("chmod u+s {path}, or install it again"))
}

/// The ids that a user may map.
pub fn range(host: &Host, table: &str, needed: bool) -> Line {
    let (name, uid) = (user_name(host.facts.euid), host.facts.euid.to_string());
    let look = look(SUBJECT, table, format!("the line of {name}"));
    let text = read(table).unwrap_or_default();
    let mut rows = text.lines().map(|line| line.split(':').collect::<Vec<_>>()).filter(|row| row.len() == 3);
    match rows.find(|row| row[0] == name || row[0] == uid) {
        Some(row) => look.ok(format!("{} ids from {} on", row[2], row[1])),
        // Root maps what it likes.
        None if host.root() => look.ok("no line, and root needs none"),
        None => look.lacks(
            needed,
            "no ids but one's own can be mapped",
            format!("as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}"),
        ),
    }
}

fn user_name(uid: u32) -> String {
    let text = read("/etc/passwd").unwrap_or_default();
    let rows = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let row = rows.into_iter().find(|row| row.get(2).is_some_and(|field| *field == uid.to_string()));
    row.and_then(|row| row.first().map(|name| (*name).to_owned())).unwrap_or_else(|| uid.to_string())
}
