//! What only some containers and some commands ask for: CRIU, Intel RDT, programs for other machines.

use std::process::{Command, Stdio};

use super::super::checkpoint;
use super::line::{Line, look};
use super::{Host, read};
use crate::cli::Global;

const SUBJECT: &str = "extras";

/// All of it.
pub fn lines(global: &Global, host: &Host) -> Vec<Line> {
    vec![criu(global), rdt(host), other_machines()]
}

/// CRIU as the verbs that need it find it, and which one that is.
fn criu(global: &Global) -> Line {
    let look = look(SUBJECT, "criu", "--criu, RT_CRIU, PATH, criu --version");
    let remedy = "only checkpoint and restore need it: apt-get install criu, from Debian trixie on, or name it with --criu PATH or RT_CRIU";
    let (name, path) = checkpoint::criu_name(global);
    let path = match crate::identity::lookup::look_up(&name, &path) {
        Ok(path) => path,
        Err(why) => return look.note(format!("not there: {why}"), remedy),
    };
    let asked = Command::new(&path).arg("--version").stdin(Stdio::null()).output();
    let text = asked.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    match text.lines().find_map(|line| line.strip_prefix("Version:")) {
        Some(version) => look.ok(format!("{path}, version {}", version.trim())),
        None => look.note(format!("{path} does not tell its version"), remedy),
    }
}

/// Where resctrl is mounted.
pub fn rdt(host: &Host) -> Line {
    let look = look(SUBJECT, "Intel RDT", "/sys/fs/resctrl, /proc/self/mountinfo, /proc/filesystems");
    if let Some(mount) = &host.facts.resctrl {
        return look.ok(format!("resctrl is mounted at {mount}"));
    }
    if read("/proc/filesystems").is_some_and(|list| list.contains("resctrl")) {
        return look.note("resctrl is not mounted", "mount -t resctrl resctrl /sys/fs/resctrl");
    }
    look.note("not in this kernel, or not on this processor", "only linux.intelRdt needs it: leave it out")
}

/// Whether the kernel runs programs of other architectures.
fn other_machines() -> Line {
    const DIR: &str = "/proc/sys/fs/binfmt_misc";
    let look = look(SUBJECT, "programs of other machines", DIR);
    if read(&format!("{DIR}/status")).is_none() {
        return look.note(
            "binfmt_misc is not mounted",
            format!("only images of other machines need it: mount -t binfmt_misc binfmt_misc {DIR}"),
        );
    }
    let names = std::fs::read_dir(DIR)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| name != "register" && name != "status").collect();
    names.sort();
    if names.is_empty() {
        return look
            .note("nothing is registered", "only images of other machines need it: apt-get install qemu-user-static");
    }
    look.ok(names.join(" "))
}
