//! Who opens, reads or changes anything of a tree, as the kernel tells (fanotify): looking at it afterwards shows what was
//! changed, but not what was read.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags};

/// A watch over a tree.
pub struct Watch(Fanotify);

impl Watch {
    /// Over this directory and all below it, as they are now.
    pub fn over(root: &Path) -> io::Result<Watch> {
        let flags = InitFlags::FAN_CLASS_NOTIF | InitFlags::FAN_CLOEXEC | InitFlags::FAN_NONBLOCK;
        let watch = Fanotify::init(flags, EventFFlags::O_RDONLY | EventFFlags::O_CLOEXEC)?;
        let mut todo = vec![root.to_owned()];
        while let Some(directory) = todo.pop() {
            let mask = MaskFlags::FAN_OPEN | MaskFlags::FAN_ACCESS | MaskFlags::FAN_MODIFY;
            let mask = mask | MaskFlags::FAN_EVENT_ON_CHILD | MaskFlags::FAN_ONDIR;
            watch.mark(MarkFlags::FAN_MARK_ADD, mask, AT_FDCWD, Some(&directory))?;
            for entry in fs::read_dir(&directory)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    todo.push(entry.path());
                }
            }
        }
        Ok(Watch(watch))
    }

    /// What others than we have touched since the last time.
    pub fn touched(&self) -> io::Result<Vec<PathBuf>> {
        let mut touched = Vec::new();
        loop {
            let events = match self.0.read_events() {
                Err(Errno::EAGAIN) => return Ok(touched),
                other => other?,
            };
            for event in events.iter().filter(|event| event.pid() != std::process::id() as i32) {
                // Without a descriptor the queue has overflowed: something was touched, and often.
                let path = event.fd().map(|fd| fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())));
                touched.push(path.transpose()?.unwrap_or_default());
            }
        }
    }
}
