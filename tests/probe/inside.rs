//! What a hostile or curious process does inside a container.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

use serde_json::json;

use crate::actions::{say, wait_for};
use crate::{Outcome, kernel};

/// `hunt-exe STOP GO`: keeps an O_PATH handle on the executable of every other process it can see until the file STOP
/// exists; then, when GO exists, tries to open each for writing. Prints one line of JSON for each executable.
pub fn hunt_exe(words: &[&str]) -> Outcome {
    let [stop, go] = words else { return Err("hunt-exe STOP GO".into()) };
    let mut handles: BTreeMap<(u64, u64), File> = BTreeMap::new();
    let own = std::process::id().to_string();
    say("ready");
    while fs::symlink_metadata(stop).is_err() {
        for entry in fs::read_dir("/proc").map_err(|e| format!("/proc: {e}"))?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name == own || !name.bytes().all(|byte| byte.is_ascii_digit()) {
                continue;
            }
            let opened = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(format!("/proc/{name}/exe"));
            if let Ok(file) = opened
                && let Ok(meta) = file.metadata()
            {
                handles.entry((meta.dev(), meta.ino())).or_insert(file);
            }
        }
    }
    say("stopped");
    wait_for(go);
    for ((device, inode), handle) in &handles {
        let path = format!("/proc/self/fd/{}", handle.as_raw_fd());
        let answer = OpenOptions::new().write(true).open(path);
        let answer = answer.map_or_else(|e| kernel::name_of(e.raw_os_error().unwrap_or(0)), |_| "ok".into());
        say(&json!({"device": device, "inode": inode, "write": answer}).to_string());
    }
    say("end");
    Ok(0)
}

/// `mknod PATH MAJOR MINOR`: makes a character device and opens it; prints the two answers.
pub fn mknod(words: &[&str]) -> Outcome {
    let [path, major, minor] = words else { return Err("mknod PATH MAJOR MINOR".into()) };
    let (major, minor) = (major.parse().unwrap_or(0), minor.parse().unwrap_or(0));
    let name = kernel::c_string(path);
    // SAFETY: `name` is a zero-terminated text that outlives the call.
    let made = unsafe { libc::mknod(name.as_ptr(), libc::S_IFCHR | 0o666, libc::makedev(major, minor)) };
    say(&format!("mknod {}", if made == 0 { "ok".into() } else { kernel::errno() }));
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    say(&format!("open {}", opened.map_or_else(|e| kernel::name_of(e.raw_os_error().unwrap_or(0)), |_| "ok".into())));
    Ok(0)
}

/// `mount-proc DIR`: mounts a new proc; prints `ok` or the errno.
pub fn mount_proc(words: &[&str]) -> Outcome {
    let [target] = words else { return Err("mount-proc DIR".into()) };
    let none: Option<&str> = None;
    let answer = nix::mount::mount(Some("proc"), *target, Some("proc"), nix::mount::MsFlags::empty(), none);
    say(&answer.map_or_else(|e| format!("{e:?}"), |()| "ok".into()));
    Ok(0)
}
