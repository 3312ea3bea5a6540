//! Writes the id maps of a new user namespace: by ourselves, or through the setuid tools that check what we may map.
//!
//! Must never leave the caller guessing which package, file or line is missing.

use std::process::Command;

use nix::fcntl::OFlag;

use super::{IdRange, lines};
use crate::sys::{self, Call, Errno, Error, Result};

/// Maps the ids of the process `pid`, which waits for it.
pub(super) fn map_ids(pid: i32, uids: &[IdRange], gids: &[IdRange], through_tools: bool) -> Result<()> {
    if through_tools {
        run_tool(&GROUPS, pid, gids)?;
        return run_tool(&USERS, pid, uids);
    }
    let process = sys::fs::open_host(&format!("/proc/{pid}"), OFlag::O_PATH | OFlag::O_DIRECTORY)?;
    let write = |file: &str, ranges| sys::fs::write(&process, file, &lines(ranges)).map_err(|e| explain(e, ranges));
    match write("gid_map", gids) {
        // Without the right over groups the kernel wants a promise first: nobody leaves a group that denies (CVE-2014-8989).
        Err(e) if e.errno == Errno::EPERM => {
            sys::fs::write(&process, "setgroups", "deny")?;
            write("gid_map", gids)?;
        }
        other => other?,
    }
    write("uid_map", uids)
}

/// What the kernel's EPERM means here.
fn explain(error: Error, ranges: &[IdRange]) -> Error {
    match error.errno {
        Errno::EPERM => {
            let asked = lines(ranges).replace('\n', ", ");
            error.about(format!("{asked}: only ids of our own can be mapped (inside, outside, how many)"))
        }
        Errno::EINVAL => error.about("ranges overlap, or are too many"),
        _ => error,
    }
}

/// One of the two tools, newuidmap(1) and newgidmap(1).
struct Tool {
    name: &'static str,
    file: &'static str,
    option: &'static str,
    own: fn() -> u32,
}

const USERS: Tool =
    Tool { name: "newuidmap", file: "/etc/subuid", option: "--add-subuids", own: || nix::unistd::geteuid().as_raw() };
const GROUPS: Tool =
    Tool { name: "newgidmap", file: "/etc/subgid", option: "--add-subgids", own: || nix::unistd::getegid().as_raw() };

fn run_tool(tool: &Tool, pid: i32, ranges: &[IdRange]) -> Result<()> {
    let mut command = Command::new(tool.name);
    command.arg(pid.to_string());
    for range in ranges {
        command.args([range.inside, range.outside, range.count].map(|n| n.to_string()));
    }
    let output = command.output().map_err(|e| {
        let errno = Errno::from_raw(e.raw_os_error().unwrap_or(libc::ENOENT));
        Error::new(Call::Execve, errno)
            .about(format!("{}, which maps more than one's own id (Debian: package uidmap)", tool.name))
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::other(Call::Write, refused(tool, ranges, said.trim())))
}

/// The tool's words, and the remedy where we know it.
fn refused(tool: &Tool, ranges: &[IdRange], said: &str) -> String {
    let uid = nix::unistd::geteuid().as_raw();
    let name = user_name(uid);
    let user = name.clone().unwrap_or_else(|| uid.to_string());
    let granted = granted(&sys::fs::read_host(tool.file).unwrap_or_default(), &user, uid);
    let own = (tool.own)();
    let allowed = |r: &&IdRange| {
        let last = u64::from(r.outside) + u64::from(r.count);
        r.count == 1 && r.outside == own
            || granted.iter().any(|&(first, count)| u64::from(r.outside) >= first && last <= first + count)
    };
    let remedy = match ranges.iter().find(|r| !allowed(r)) {
        Some(r) => {
            let last = u64::from(r.outside) + u64::from(r.count) - 1;
            format!(
                "{} has no line that gives {user} the ids {}-{last}; as root: usermod {} {}-{last} {user}",
                tool.file, r.outside, tool.option, r.outside
            )
        }
        None if name.is_none() => format!("/etc/passwd has no entry for uid {uid}"),
        None => format!("is {} setuid root, and may it be here (no_new_privs, nosuid)?", tool.name),
    };
    // The tool's words begin with its name.
    format!("{}: {} ({remedy})", tool.name, said.trim_start_matches(tool.name).trim_start_matches(": "))
}

/// The ranges that /etc/subuid or /etc/subgid give to a user, by name or number.
fn granted(text: &str, user: &str, uid: u32) -> Vec<(u64, u64)> {
    let range = |line: &str| {
        let mut fields = line.trim().split(':');
        let who = fields.next()?;
        let (first, count) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        (who == user || who == uid.to_string()).then_some((first, count))
    };
    text.lines().filter_map(range).collect()
}

/// From /etc/passwd itself: a static program can't ask the other places.
fn user_name(uid: u32) -> Option<String> {
    let text = sys::fs::read_host("/etc/passwd").ok()?;
    let line = text.lines().find(|l| l.split(':').nth(2) == Some(uid.to_string().as_str()))?;
    line.split(':').next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_granted_by_name_and_by_number() {
        let text = "other:1:2\nme:100000:65536\n1000:5:6\nme:x:1\n\nme:7\n";
        assert_eq!(granted(text, "me", 1000), [(100_000, 65_536), (5, 6)]);
        assert_eq!(granted("", "me", 1000), []);
    }

    #[test]
    fn a_missing_line_is_named_with_the_command_that_adds_it() {
        let tool = Tool { file: "/nonexistent", own: || 1000, ..USERS };
        let range = |inside, outside, count| IdRange { inside, outside, count };
        let text = refused(&tool, &[range(0, 1000, 1), range(1, 100_000, 10)], "newuidmap: uid range not allowed");
        assert!(text.starts_with("newuidmap: uid range not allowed (/nonexistent has no line that gives "), "{text}");
        assert!(text.contains("the ids 100000-100009; as root: usermod --add-subuids 100000-100009 "), "{text}");
        let text = refused(&tool, &[range(0, 1000, 1)], "newuidmap: write to uid_map failed");
        assert!(text.contains("setuid root"), "{text}");
    }
}
