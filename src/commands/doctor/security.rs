//! Security: seccomp's actions and flags, the security modules, the stub that keeps our own program out of reach, and
//! what confines ourselves.

use super::line::{Line, look};
use super::{Host, read};
use crate::identity;
use crate::sys::seccomp::{Flags, known_flags};

const SUBJECT: &str = "security";

const ACTIONS_FILE: &str = "/proc/sys/kernel/seccomp/actions_avail";

/// The actions of the specification, as the kernel's file names them.
const ACTIONS: [&str; 8] = ["kill_process", "kill_thread", "trap", "errno", "user_notif", "trace", "log", "allow"];

/// All of it.
pub fn lines(host: &Host) -> Vec<Line> {
    let apparmor = module("AppArmor", host.facts.apparmor, "/sys/module/apparmor/parameters/enabled", "apparmor");
    let selinux = module("SELinux", host.facts.selinux, "/sys/fs/selinux", "selinux");
    vec![seccomp_actions(), seccomp_flags(), modules(), apparmor, selinux, stub(), confined()]
}

fn seccomp_actions() -> Line {
    let look = look(SUBJECT, "seccomp actions", ACTIONS_FILE);
    let Some(known) = read(ACTIONS_FILE) else {
        return look
            .note("no filters in this kernel", "boot a kernel with CONFIG_SECCOMP_FILTER, or leave linux.seccomp out");
    };
    let lost: Vec<&str> =
        ACTIONS.into_iter().filter(|name| !known.split_whitespace().any(|word| word == *name)).collect();
    if lost.is_empty() {
        return look.ok(known);
    }
    look.note(
        format!("without {}", lost.join(" ")),
        "profiles that use them need a newer kernel (user_notif: Linux 5.0)",
    )
}

fn seccomp_flags() -> Line {
    let look = look(SUBJECT, "seccomp flags", "seccomp(2) with each flag and no program");
    let all = Flags::TSYNC
        | Flags::LOG
        | Flags::SPEC_ALLOW
        | Flags::NEW_LISTENER
        | Flags::TSYNC_ESRCH
        | Flags::WAIT_KILLABLE_RECV;
    let known = known_flags(all);
    let names = |asked| Flags { asked, wished: 0 }.names().join(" ");
    match all & !known {
        0 => look.ok(names(known)),
        lost => look.note(
            format!("without {}", names(lost)),
            "profiles that ask for them need a newer kernel (WAIT_KILLABLE_RECV: Linux 5.19)",
        ),
    }
}

fn modules() -> Line {
    let look = look(SUBJECT, "security modules", "/sys/kernel/security/lsm");
    match read("/sys/kernel/security/lsm").filter(|list| !list.is_empty()) {
        Some(list) => look.ok(list),
        None => look.note("not told", "to see the list: mount -t securityfs securityfs /sys/kernel/security"),
    }
}

fn module(name: &str, runs: bool, probed: &str, word: &str) -> Line {
    let look = look(SUBJECT, name, probed);
    if runs {
        return look.ok("runs");
    }
    look.note(
        "does not run: its labels in configs are not put on",
        format!("only if they are wanted: boot with {word} in lsm=, and a policy"),
    )
}

/// Made as `create` makes it.
pub fn stub() -> Line {
    let look = look(SUBJECT, "sealed stub", "memfd_create(2), sealed and executable");
    match identity::sealed_stub(None) {
        Ok(_) => look.ok("can be made"),
        Err(error) => look.fail(error.to_string(), "sysctl -w vm.memfd_noexec=0, if it is 2"),
    }
}

fn confined() -> Line {
    let look = look(SUBJECT, "our own confinement", "/proc/self/status");
    let status = read("/proc/self/status").unwrap_or_default();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map_or("", str::trim);
    let mut found = Vec::new();
    if field("Seccomp:") == "2" {
        found.push("a seccomp filter");
    }
    if field("NoNewPrivs:") == "1" {
        found.push("no_new_privs");
    }
    if found.is_empty() {
        return look.ok("none");
    }
    look.note(found.join(" and "), "containers can do no more than we can: start rt from outside if that is too little")
}
