//! `tmpcopyup`: fills a detached tmpfs with what its target holds. By descriptor on both sides; links are copied as links.

use std::os::fd::OwnedFd;

use nix::fcntl::{OFlag, ResolveFlag};
use nix::sys::stat::{FileStat, SFlag};

use crate::sys::{self, Result};

/// Copies everything below `from` into `to`: names, contents, modes, owners.
pub(super) fn copy(from: &OwnedFd, to: &OwnedFd) -> Result<()> {
    for name in sys::fs::names(from)? {
        let stat = sys::fs::stat_at(from, &name)?;
        let mode = stat.st_mode & 0o7777;
        match sys::fs::kind(&stat) {
            SFlag::S_IFDIR => {
                sys::fs::mkdir(to, &name, 0o700)?;
                let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
                let made = open(to, &name, flags)?;
                copy(&open(from, &name, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW)?, &made)?;
                own(&made, &stat)?;
            }
            SFlag::S_IFREG => own(&copy_file(from, to, &name)?, &stat)?,
            SFlag::S_IFLNK => {
                sys::fs::symlink(&sys::fs::readlink(from, &name)?, to, &name)?;
                own_unopened(to, &name, &stat)?;
            }
            // Devices, fifos and sockets are made, never opened.
            kind => {
                sys::fs::mknod(to, &name, kind, mode, stat.st_rdev)?;
                own_unopened(to, &name, &stat)?;
            }
        }
    }
    Ok(())
}

/// Owner, then mode: a change of owner takes the set-id bits away.
fn own(made: &OwnedFd, stat: &FileStat) -> Result<()> {
    sys::fs::chown(made, stat.st_uid, stat.st_gid)?;
    sys::fs::fchmod(made, stat.st_mode & 0o7777)
}

fn own_unopened(to: &OwnedFd, name: &str, stat: &FileStat) -> Result<()> {
    sys::fs::chown(open(to, name, OFlag::O_PATH | OFlag::O_NOFOLLOW)?, stat.st_uid, stat.st_gid)
}

fn open(dir: &OwnedFd, name: &str, flags: OFlag) -> Result<OwnedFd> {
    sys::fs::open(dir, name, flags, 0, ResolveFlag::RESOLVE_BENEATH)
}

fn copy_file(from: &OwnedFd, to: &OwnedFd, name: &str) -> Result<OwnedFd> {
    let source = open(from, name, OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK)?;
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
    let copy = sys::fs::open(to, name, flags, 0o600, ResolveFlag::RESOLVE_BENEATH)?;
    let (mut source, mut copy) = (std::fs::File::from(source), std::fs::File::from(copy));
    std::io::copy(&mut source, &mut copy).map_err(|e| {
        let errno = sys::Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO));
        sys::Error::new(sys::Call::Write, errno).about(name)
    })?;
    Ok(copy.into())
}
