//! Runs the ops of identity, in init, inside its root.

mod scheduling;

use std::os::fd::OwnedFd;

use nix::fcntl::OFlag;

use super::{Caps, HostOp, InitOp, Lsm, affinity, labels, lookup};
use crate::sys::cred::CapSets;
use crate::sys::{self, Call, Errno, Error, Result};

/// What was found to be executed, and opened for it.
#[derive(Default)]
pub struct Executable {
    /// The path that execve takes.
    pub path: Option<String>,
    ignored: sys::process::SignalMask,
    labels: Vec<(Lsm, OwnedFd)>,
}

impl Executable {
    /// Nothing found yet, by a process that was born to ignore these signals.
    pub fn born_to_ignore(ignored: sys::process::SignalMask) -> Self {
        Self { ignored, ..Self::default() }
    }
}

/// Runs one host op; `pid` is init's, or ours before it is born.
pub fn apply_host(op: &HostOp, pid: i32) -> Result<()> {
    match op {
        HostOp::OomScore(value) => {
            sys::fs::write(sys::fs::cwd(), &format!("/proc/{pid}/oom_score_adj"), &value.to_string())
        }
        HostOp::Label { lsm, label } => labels::write(&labels::open(*lsm)?, *lsm, label),
        HostOp::Affinity(cpus) => affinity::set(0, cpus),
    }
}

/// Runs one op of init.
pub fn apply(op: &InitOp, executable: &mut Executable) -> Result<()> {
    match op {
        InitOp::Session => sys::process::new_session(),
        InitOp::Keyring(name) => sys::cred::new_session_keyring(name),
        InitOp::Personality(persona) => sys::cred::set_personality(*persona),
        InitOp::OpenLabel(lsm) => {
            executable.labels.push((*lsm, labels::open(*lsm)?));
            Ok(())
        }
        InitOp::Label { lsm, label } => {
            let found = executable.labels.iter().find(|(of, _)| of == lsm);
            let (_, file) = found.ok_or_else(|| Error::new(Call::Write, Errno::EBADF).about(lsm.name()))?;
            labels::write(file, *lsm, label)
        }
        InitOp::Forget => {
            // Without CAP_SETPCAP there are no securebits to have been set.
            let _ = sys::cred::clear_securebits();
            scheduling::forget();
            sys::cred::reset_timer_slack()
        }
        InitOp::MakeCwd(path) => make_cwd(path),
        InitOp::Rlimit { name, resource, soft, hard } => {
            sys::cred::set_rlimit(*resource, *soft, *hard).map_err(|e| e.about(format!("{name} {soft} {hard}")))
        }
        InitOp::Scheduler(scheduler) => scheduling::set_scheduler(scheduler),
        InitOp::IoPriority { class, level } => scheduling::set_io_priority(*class, *level),
        InitOp::MemoryPolicy(policy) => scheduling::set_memory_policy(policy),
        InitOp::AllCpus => affinity::set(0, &affinity::Mask::all(affinity::MOST_CPUS)),
        InitOp::Affinity(cpus) => affinity::set(0, cpus),
        InitOp::Bounding(Caps(keep)) => sys::cred::limit_bounding(*keep, 63),
        InitOp::Groups(groups) => sys::cred::set_groups(groups),
        InitOp::Ids { uid, gid } => {
            sys::cred::set_gid(*gid)?;
            // The kernel takes capabilities from who was root and no longer is.
            let leaves_root = *uid != 0;
            if leaves_root {
                sys::cred::keep_caps(true)?;
            }
            sys::cred::set_uid(*uid)?;
            if leaves_root {
                sys::cred::keep_caps(false)?;
            }
            // A change of ids makes a process dumpable by its new owner again.
            sys::cred::dumpable(false)
        }
        InitOp::Cwd(path) => enter_cwd(path),
        InitOp::Capabilities { permitted, effective, inheritable, ambient, until_exec } => {
            sys::cred::set_caps(CapSets {
                permitted: permitted.0 | until_exec.0,
                effective: effective.0 | until_exec.0,
                inheritable: inheritable.0,
            })?;
            // None is left where none is inheritable: capset(2) has seen to that.
            if inheritable.0 | ambient.0 != 0 { sys::cred::set_ambient(ambient.0) } else { Ok(()) }
        }
        InitOp::LookUp { name, path } => {
            executable.path = Some(lookup::look_up(name, path)?);
            Ok(())
        }
        InitOp::Umask(mask) => {
            sys::cred::umask(*mask);
            Ok(())
        }
        InitOp::NoNewPrivs => sys::cred::no_new_privs(),
        InitOp::Signals => sys::process::reset_signals(executable.ignored),
    }
}

/// Inside the root already, so a link leads where the container's own processes would be led.
fn make_cwd(path: &str) -> Result<()> {
    let mut made = String::new();
    for part in path.split('/').filter(|p| !p.is_empty()) {
        made = format!("{made}/{part}");
        match sys::fs::mkdir(sys::fs::cwd(), &made, 0o755) {
            // Not ours to make on a read-only root: if it is missing, chdir will say so.
            Err(e) if matches!(e.errno, Errno::EEXIST | Errno::EROFS | Errno::EACCES) => {}
            other => other?,
        }
    }
    Ok(())
}

/// By descriptor, never over a magic link, and then the kernel must see it inside our root (CVE-2024-21626).
fn enter_cwd(path: &str) -> Result<()> {
    if path == "/" {
        return sys::mount::change_dir(path); // which is our root, whatever it is
    }
    let resolve = nix::fcntl::ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let dir = sys::fs::open(sys::fs::cwd(), path, OFlag::O_PATH | OFlag::O_DIRECTORY, 0, resolve)
        .map_err(|e| Error::new(Call::Chdir, e.errno).about(path))?;
    sys::mount::enter(&dir).map_err(|e| e.about(path))?;
    let seen = sys::fs::raw_cwd()?;
    if seen.starts_with('/') {
        return Ok(());
    }
    Err(Error::new(Call::Getcwd, Errno::ENOENT).about(format!("{path} is outside of the container's root: {seen}")))
}
