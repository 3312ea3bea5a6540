//! What a cgroup tree needs beyond `fs`: opens that never leave it, names that may be any bytes, and its event files.
//!
//! No policy: what a file means is known in `crate::cgroups`.

use std::ffi::{CStr, CString};
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};

use nix::dir::{Dir, Type};
use nix::fcntl::{OFlag, ResolveFlag, openat};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, fstatfs};
use nix::sys::uio::pread;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::{Call, During, Errno, Error, Result, fs};

/// Opens the directory at the absolute `path`, only to name things below it.
pub fn open_mount(path: &str) -> Result<OwnedFd> {
    fs::open_host(path, OFlag::O_PATH | OFlag::O_DIRECTORY)
}

/// Opens the directory `path` below `dir`, only to name things below it or to hand it to `clone3` or `bpf`.
pub fn open_dir(dir: BorrowedFd<'_>, path: &str) -> Result<OwnedFd> {
    below(dir, path, OFlag::O_PATH | OFlag::O_DIRECTORY)
}

/// Opens the control file `path` below `dir` for writing.
pub fn open_to_write(dir: BorrowedFd<'_>, path: &str) -> Result<OwnedFd> {
    below(dir, path, OFlag::O_WRONLY)
}

/// Opens the control file `path` below `dir` only to name it.
pub fn open_to_name(dir: BorrowedFd<'_>, path: &str) -> Result<OwnedFd> {
    below(dir, path, OFlag::O_PATH)
}

/// Opens the control file `path` below `dir` for reading.
pub fn open_to_read(dir: BorrowedFd<'_>, path: &str) -> Result<OwnedFd> {
    below(dir, path, OFlag::O_RDONLY)
}

/// A cgroup tree is one file system without links: anything else on the way was put there by somebody.
fn below(dir: BorrowedFd<'_>, path: &str, flags: OFlag) -> Result<OwnedFd> {
    let inside = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_XDEV;
    fs::open(dir, path, flags, 0, inside)
}

/// Reads a file of few values: the kernel writes it in one piece, and one read that does not fill the buffer is all of it.
/// Not for lists (`cgroup.procs`).
pub fn read_values(file: BorrowedFd<'_>) -> Result<String> {
    let mut bytes = [0; 4096];
    match pread(file, &mut bytes, 0) {
        Ok(n) if n < bytes.len() => Ok(String::from_utf8_lossy(&bytes[..n]).into_owned()),
        Ok(_) | Err(Errno::EINTR) => read_again(file),
        Err(errno) => Err(Error::new(Call::Read, errno)),
    }
}

/// Reads the whole file, from its start whatever was read of it before.
pub fn read_again(file: BorrowedFd<'_>) -> Result<String> {
    let mut bytes = vec![0; 4096];
    let mut len = 0;
    loop {
        if len == bytes.len() {
            bytes.resize(len * 2, 0);
        }
        match pread(file, &mut bytes[len..], len as i64) {
            Ok(0) => break,
            Ok(n) => len += n,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::new(Call::Read, errno)),
        }
    }
    bytes.truncate(len);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Opens the directory `name` in `dir`; what it holds can be listed. `..` is allowed, links are not.
pub fn open_child(dir: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(dir, name, flags, Mode::empty()).during(Call::Open).map_err(|e| e.about(name.to_string_lossy()))
}

/// Removes the empty directory `name` in `dir`.
pub fn remove_child(dir: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    unlinkat(dir, name, UnlinkatFlags::RemoveDir).during(Call::Rmdir).map_err(|e| e.about(name.to_string_lossy()))
}

/// Removes the empty directory `path` below `dir`.
pub fn remove_dir(dir: BorrowedFd<'_>, path: &str) -> Result<()> {
    unlinkat(dir, path, UnlinkatFlags::RemoveDir).during(Call::Rmdir).map_err(|e| e.about(path))
}

/// The names of the directories in `dir`.
pub fn list_dirs(dir: BorrowedFd<'_>) -> Result<Vec<CString>> {
    let mut entries = Dir::from_fd(open_child(dir, c".")?).during(Call::Getdents)?;
    let mut names = Vec::new();
    for entry in entries.iter() {
        let entry = entry.during(Call::Getdents)?;
        let name = entry.file_name();
        if entry.file_type() == Some(Type::Directory) && name != c"." && name != c".." {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// The version of the cgroup file system that `dir` belongs to, if it is one.
pub fn version(dir: BorrowedFd<'_>) -> Result<Option<u8>> {
    let kind = fstatfs(dir).during(Call::Stat)?.filesystem_type();
    Ok(match kind {
        CGROUP_SUPER_MAGIC => Some(1),
        CGROUP2_SUPER_MAGIC => Some(2),
        _ => None,
    })
}

/// Waits until the kernel reports a change of `file` (`POLLPRI`, as cgroup.events does) since it was last read, or
/// until `milliseconds` have passed.
pub fn wait_for_change(file: BorrowedFd<'_>, milliseconds: u16) -> Result<()> {
    let mut fds = [PollFd::new(file, PollFlags::POLLPRI)];
    match poll(&mut fds, PollTimeout::from(milliseconds)) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(Error::new(Call::Poll, errno)),
    }
}

/// eventfd(2): a descriptor that becomes readable when a v1 hierarchy has something to tell; reading never waits.
pub fn event() -> Result<OwnedFd> {
    // SAFETY: numbers only; the descriptor is fresh, close-on-exec and ours alone.
    let raw = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if raw < 0 {
        return Err(Error::last(Call::Eventfd));
    }
    // SAFETY: as above.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}
