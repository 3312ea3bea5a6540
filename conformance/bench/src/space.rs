//! The mount namespaces the commands run in: one as the machine is, and one for crun, which refuses a host that has both
//! cgroup v1 hierarchies and controllers on cgroup2. Entering one happens before a clock starts.

use std::fs::File;
use std::io;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

const GATE: &str = "/sys/fs/cgroup/unified/cgroup.controllers";

/// The namespaces, and the one we are in.
pub struct Spaces {
    plain: File,
    hidden: Option<File>,
    in_hidden: bool,
}

impl Spaces {
    /// Leaves the machine's mount namespace for good; nothing mounted from here on is seen outside. The state of all
    /// runtimes is on a tmpfs, as /run is on every distribution: ext4 takes the longer to find a free inode the more
    /// were just made and freed, and beside a thousand containers that would be what is measured.
    pub fn new(empty_file: &Path, state: &Path) -> io::Result<Spaces> {
        unshare(CloneFlags::CLONE_NEWNS)?;
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
        mount(Some("tmpfs"), state, Some("tmpfs"), MsFlags::empty(), Some("mode=755"))?;
        let plain = File::open("/proc/self/ns/mnt")?;
        let mut spaces = Spaces { plain, hidden: None, in_hidden: false };
        if std::fs::read_to_string(GATE).is_ok_and(|controllers| !controllers.trim().is_empty()) {
            unshare(CloneFlags::CLONE_NEWNS)?;
            File::create(empty_file)?;
            mount(Some(empty_file), GATE, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
            spaces.hidden = Some(File::open("/proc/self/ns/mnt")?);
            spaces.in_hidden = true;
            spaces.enter(false)?;
        }
        Ok(spaces)
    }

    /// Goes where the next command runs: where cgroup2's controllers are hidden, or not.
    pub fn enter(&mut self, hidden: bool) -> io::Result<()> {
        let target = if hidden { self.hidden.as_ref().unwrap_or(&self.plain) } else { &self.plain };
        if hidden != self.in_hidden {
            setns(target, CloneFlags::CLONE_NEWNS)?;
            self.in_hidden = hidden;
        }
        Ok(())
    }
}
