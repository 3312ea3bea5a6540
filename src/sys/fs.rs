//! Files by descriptor: resolve inside a root, read, write once, make, stat.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag};
use nix::sys::stat::{FileStat, Mode, SFlag};

use super::{Call, During, Errno, Error, Result};

/// How often a racing rename may make the kernel say EAGAIN before we give up.
const EAGAIN_TRIES: usize = 128;

/// Opens `path` below `dir` with openat2(2). Close-on-exec is always added. Lookups that raced with a rename are retried.
pub fn open(dir: impl AsFd, path: &str, flags: OFlag, mode: u32, resolve: ResolveFlag) -> Result<OwnedFd> {
    let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).mode(Mode::from_bits_truncate(mode)).resolve(resolve);
    for _ in 0..EAGAIN_TRIES {
        match nix::fcntl::openat2(dir.as_fd(), path, how) {
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            other => return other.map_err(|errno| Error::new(Call::Open, errno).about(path)),
        }
    }
    Err(Error::new(Call::Open, Errno::EAGAIN).about(path))
}

/// Opens a path of the host: config is trusted, so links are followed.
pub fn open_host(path: &str, flags: OFlag) -> Result<OwnedFd> {
    open(cwd(), path, flags, 0, ResolveFlag::empty())
}

/// Opens `path` as the container sees it: `root` is `/`, links are resolved inside, magic links are refused.
pub fn open_in_root(root: impl AsFd, path: &str, flags: OFlag) -> Result<OwnedFd> {
    let path = if path.is_empty() { "." } else { path };
    open(root, path, flags, 0, ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS)
}

/// The current directory as a descriptor argument.
pub fn cwd() -> BorrowedFd<'static> {
    // SAFETY: AT_FDCWD is not a descriptor that can be closed; the kernel documents it as valid for every *at call.
    unsafe { BorrowedFd::borrow_raw(libc::AT_FDCWD) }
}

/// Takes descriptor `number`, which our caller left open for us (`--preserve-fds`, LISTEN_FDS), as a borrowed one.
pub fn inherited(number: i32) -> Option<BorrowedFd<'static>> {
    // SAFETY: fcntl(F_GETFD) on any number is harmless; it only asks whether it is open.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return None;
    }
    // SAFETY: the descriptor was open at start, was given to us by our caller, and no owner inside `rt` exists for it.
    Some(unsafe { BorrowedFd::borrow_raw(number) })
}

/// Reads a small file whole; more than `limit` bytes is EFBIG.
pub fn read(dir: impl AsFd, path: &str, limit: usize) -> Result<Vec<u8>> {
    let file = open(dir, path, OFlag::O_RDONLY | OFlag::O_NONBLOCK, 0, ResolveFlag::empty())?;
    read_fd(&file, limit).map_err(|e| e.about(path))
}

/// Reads a small host file as text.
pub fn read_host(path: &str) -> Result<String> {
    read(cwd(), path, 1 << 20).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// As [`read_host`], of a file that the kernel writes in one piece (/proc/PID/status and stat, /proc/PID/cgroup, a sysctl,
/// a cgroup file of one value): what does not fill the buffer is all. Of tables, like mountinfo, that is not true.
pub fn read_piece(path: &str) -> Result<String> {
    let file = open_host(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK)?;
    let bytes = read_until(&file, 1 << 20, &mut [0; CHUNK], |n| n < CHUNK).map_err(|e| e.about(path))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads a regular file in `dir`, of which a short read is the end; more than `limit` bytes is EFBIG.
pub fn read_regular(dir: impl AsFd, path: &str, limit: usize) -> Result<Vec<u8>> {
    let file = open(dir, path, OFlag::O_RDONLY | OFlag::O_NONBLOCK, 0, ResolveFlag::empty())?;
    read_regular_fd(&file, limit).map_err(|e| e.about(path))
}

/// The same, of one that is open.
pub fn read_regular_fd(file: impl AsFd, limit: usize) -> Result<Vec<u8>> {
    const RECORD: usize = 3 * CHUNK; // most are read at once
    read_until(file, limit, &mut [0; RECORD], |n| n < RECORD)
}

/// Reads from a descriptor to its end; more than `limit` bytes is EFBIG.
pub fn read_fd(file: impl AsFd, limit: usize) -> Result<Vec<u8>> {
    read_until(file, limit, &mut [0; CHUNK], |_| false)
}

/// How much is read at once.
const CHUNK: usize = 4096;

/// Reads a chunk at a time until a read gives nothing, or so few bytes that they are the `last`.
fn read_until(file: impl AsFd, limit: usize, chunk: &mut [u8], last: impl Fn(usize) -> bool) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let n = match nix::unistd::read(file.as_fd(), chunk) {
            Err(Errno::EINTR) => continue,
            other => other.during(Call::Read)?,
        };
        bytes.extend_from_slice(&chunk[..n]);
        if bytes.len() > limit {
            return Err(Error::new(Call::Read, Errno::EFBIG));
        }
        if n == 0 || last(n) {
            return Ok(bytes);
        }
    }
}

/// One open, one write, as kernel control files want it.
pub fn write(dir: impl AsFd, path: &str, text: &str) -> Result<()> {
    let file = open(dir, path, OFlag::O_WRONLY | OFlag::O_NOFOLLOW, 0, ResolveFlag::empty())?;
    write_fd(&file, text.as_bytes()).map_err(|e| e.about(format!("{path} = {text}")))
}

/// One write(2); a short write is EIO, since control files take a value whole or not at all.
pub fn write_fd(file: impl AsFd, bytes: &[u8]) -> Result<()> {
    loop {
        match nix::unistd::write(file.as_fd(), bytes) {
            Ok(n) if n == bytes.len() => return Ok(()),
            Ok(_) => return Err(Error::new(Call::Write, Errno::EIO)),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::new(Call::Write, errno)),
        }
    }
}

/// All of it, to a file that may be written in parts: the next part tells why one was short.
pub fn write_all(file: impl AsFd, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        match nix::unistd::write(file.as_fd(), bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::new(Call::Write, errno)),
        }
    }
    Ok(())
}

/// Makes a directory of exactly this mode (the umask of `rt` is 0 while it makes things).
pub fn mkdir(dir: impl AsFd, name: &str, mode: u32) -> Result<()> {
    nix::sys::stat::mkdirat(dir.as_fd(), name, Mode::from_bits_truncate(mode))
        .map_err(|errno| Error::new(Call::Mkdir, errno).about(name))
}

/// Makes a node: a device, a fifo, or (never opened, so never followed) an empty file.
pub fn mknod(dir: impl AsFd, name: &str, kind: SFlag, mode: u32, device: u64) -> Result<()> {
    nix::sys::stat::mknodat(dir.as_fd(), name, kind, Mode::from_bits_truncate(mode), device)
        .map_err(|errno| Error::new(Call::Mknod, errno).about(name))
}

/// Makes a symbolic link.
pub fn symlink(target: &str, dir: impl AsFd, name: &str) -> Result<()> {
    nix::unistd::symlinkat(target, dir.as_fd(), name).map_err(|errno| Error::new(Call::Symlink, errno).about(name))
}

/// The text of a symbolic link; `name` may be empty for an O_PATH descriptor of the link itself.
pub fn readlink(dir: impl AsFd, name: &str) -> Result<String> {
    nix::fcntl::readlinkat(dir.as_fd(), name)
        .map(|text| text.to_string_lossy().into_owned())
        .map_err(|errno| Error::new(Call::Readlink, errno).about(name))
}

/// fstat(2).
pub fn stat(fd: impl AsFd) -> Result<FileStat> {
    nix::sys::stat::fstat(fd.as_fd()).during(Call::Fstat)
}

/// stat of one component, not followed.
pub fn stat_at(dir: impl AsFd, name: &str) -> Result<FileStat> {
    nix::sys::stat::fstatat(dir.as_fd(), name, AtFlags::AT_SYMLINK_NOFOLLOW)
        .map_err(|errno| Error::new(Call::Stat, errno).about(name))
}

/// What kind of file a mode tells of.
pub fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

/// Changes the owner of a descriptor's file, also of an O_PATH one.
pub fn chown(fd: impl AsFd, uid: u32, gid: u32) -> Result<()> {
    nix::unistd::fchownat(fd.as_fd(), "", Some(uid.into()), Some(gid.into()), AtFlags::AT_EMPTY_PATH)
        .during(Call::Chown)
}

/// Changes the mode of a directory that a descriptor, also an O_PATH one, refers to.
pub fn chmod(dir: impl AsFd, mode: u32) -> Result<()> {
    let again = open(dir, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY, 0, ResolveFlag::empty())?;
    fchmod(&again, mode)
}

/// fchmod(2), of a file that is open for more than its path.
pub fn fchmod(file: impl AsFd, mode: u32) -> Result<()> {
    nix::sys::stat::fchmod(file, Mode::from_bits_truncate(mode)).during(Call::Chmod)
}

/// Sets an extended attribute of the directory that a descriptor, also an O_PATH one, refers to.
pub fn set_attribute(dir: impl AsFd, name: &str, value: &str) -> Result<()> {
    let again = open(dir, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY, 0, ResolveFlag::empty())?;
    let attribute = c_string(name, Call::Setxattr)?;
    // SAFETY: `attribute` is NUL-terminated; the value's pointer and length are those of a live string.
    let done = unsafe { libc::fsetxattr(again.as_raw_fd(), attribute.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    if done == 0 { Ok(()) } else { Err(Error::last(Call::Setxattr).about(format!("{name} = {value}"))) }
}

/// Removes one name, never following it.
pub fn unlink(dir: impl AsFd, name: &str, directory: bool) -> Result<()> {
    let flag = if directory { nix::unistd::UnlinkatFlags::RemoveDir } else { nix::unistd::UnlinkatFlags::NoRemoveDir };
    nix::unistd::unlinkat(dir.as_fd(), name, flag).map_err(|errno| Error::new(Call::Unlink, errno).about(name))
}

/// Renames within one directory.
pub fn rename(dir: impl AsFd, from: &str, to: &str) -> Result<()> {
    nix::fcntl::renameat(dir.as_fd(), from, dir.as_fd(), to).map_err(|errno| Error::new(Call::Rename, errno).about(to))
}

/// The names in a directory, without `.` and `..`, in no particular order.
pub fn names(dir: impl AsFd) -> Result<Vec<String>> {
    let again = open(dir, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY, 0, ResolveFlag::empty())?;
    let mut stream = nix::dir::Dir::from_fd(again).during(Call::Getdents)?;
    let mut names = Vec::new();
    for entry in stream.iter() {
        let entry = entry.during(Call::Getdents)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name != "." && name != ".." {
            names.push(name);
        }
    }
    Ok(names)
}

/// The magic number of a descriptor's filesystem.
pub fn filesystem(fd: impl AsFd) -> Result<i64> {
    nix::sys::statfs::fstatfs(fd.as_fd()).map(|s| s.filesystem_type().0).during(Call::Stat)
}

/// getcwd(2) as the kernel answers it: outside our root it starts with `(unreachable)`.
pub fn raw_cwd() -> Result<String> {
    let mut buffer = [0u8; libc::PATH_MAX as usize];
    // SAFETY: the buffer is writable for the length given; the kernel writes at most that and ends with a NUL.
    let n = unsafe { libc::syscall(libc::SYS_getcwd, buffer.as_mut_ptr(), buffer.len()) };
    if n < 0 {
        return Err(Error::last(Call::Getcwd));
    }
    let text = CStr::from_bytes_until_nul(&buffer).map_err(|_| Error::new(Call::Getcwd, Errno::ERANGE))?;
    Ok(text.to_string_lossy().into_owned())
}

/// A C string; an embedded NUL is EINVAL of `call`.
pub fn c_string(text: &str, call: Call) -> Result<CString> {
    CString::new(text).map_err(|_| Error::new(call, Errno::EINVAL).about("embedded NUL"))
}

/// Sets or clears close-on-exec.
pub fn set_cloexec(fd: impl AsFd, on: bool) -> Result<()> {
    let flag = if on { nix::fcntl::FdFlag::FD_CLOEXEC } else { nix::fcntl::FdFlag::empty() };
    nix::fcntl::fcntl(fd.as_fd(), nix::fcntl::FcntlArg::F_SETFD(flag)).map(drop).during(Call::Fcntl)
}

/// A close-on-exec duplicate with the lowest free number ≥ `from`.
pub fn duplicate_from(fd: impl AsFd, from: i32) -> Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC takes a number and gives a new descriptor that nobody else owns yet.
    let new = unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_DUPFD_CLOEXEC, from) };
    if new < 0 {
        return Err(Error::last(Call::Fcntl));
    }
    // SAFETY: as above: fresh and ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(new) })
}

/// Makes `fd` descriptor `number` (0, 1, 2 or a slot that the workload inherits); not close-on-exec.
pub fn place_at(fd: impl AsFd, number: i32) -> Result<()> {
    let raw = fd.as_fd().as_raw_fd();
    if raw == number {
        return set_cloexec(fd, false);
    }
    // SAFETY: dup3 closes whatever `number` was; callers own slots 0-2 and 3..3+preserved at this point, nothing else holds them.
    match unsafe { libc::dup3(raw, number, 0) } {
        n if n < 0 => Err(Error::last(Call::Fcntl)),
        _ => Ok(()),
    }
}

/// close_range(2): closes, or marks close-on-exec, everything from `first` up.
pub fn close_from(first: u32, mark_only: bool) -> Result<()> {
    let flags = if mark_only { libc::CLOSE_RANGE_CLOEXEC } else { 0 };
    // SAFETY: with `mark_only` no descriptor is closed. Without it the caller is about to execve and uses no owned
    // descriptor above `first` again, and the process image (with all its OwnedFd values) is replaced or ended.
    match unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, flags) } {
        0 => Ok(()),
        _ => Err(Error::last(Call::CloseRange)),
    }
}

/// A sealed, executable, anonymous file holding `bytes`: nobody can change it any more.
pub fn sealed_memfd(name: &str, bytes: &[u8]) -> Result<OwnedFd> {
    use nix::sys::memfd::{MFdFlags, memfd_create};
    let base = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    // MFD_EXEC (6.3) says that we mean it; older kernels don't know the flag and need none.
    let file = match memfd_create(name, base | MFdFlags::from_bits_retain(0x10)) {
        Err(Errno::EINVAL) => memfd_create(name, base),
        other => other,
    }
    .during(Call::Memfd)?;
    let mut rest = bytes;
    while !rest.is_empty() {
        let n = nix::unistd::write(&file, rest).during(Call::Write)?;
        rest = &rest[n..];
    }
    let seals = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
    // SAFETY: F_ADD_SEALS on a memfd that we just made and own.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) } {
        0 => Ok(file),
        _ => Err(Error::last(Call::Fcntl)),
    }
}

/// An anonymous file to write to and read back.
pub fn scratch(name: &str) -> Result<OwnedFd> {
    nix::sys::memfd::memfd_create(name, nix::sys::memfd::MFdFlags::MFD_CLOEXEC).during(Call::Memfd)
}

/// flock(2): waits for the exclusive lock on an open file or directory; it goes with the descriptor.
pub fn lock(fd: impl AsFd, wait: bool) -> Result<()> {
    flock(fd, libc::LOCK_EX | if wait { 0 } else { libc::LOCK_NB })
}

/// flock(2): waits for a lock that others may share.
pub fn share(fd: impl AsFd) -> Result<()> {
    flock(fd, libc::LOCK_SH)
}

fn flock(fd: impl AsFd, operation: libc::c_int) -> Result<()> {
    loop {
        // SAFETY: numbers only; the descriptor is borrowed for the call.
        match unsafe { libc::flock(fd.as_fd().as_raw_fd(), operation) } {
            0 => return Ok(()),
            _ if Errno::last() == Errno::EINTR => {}
            _ => return Err(Error::last(Call::Flock)),
        }
    }
}

/// Closes everything from `first` up but `kept`, which move to `first`, `first + 1`… and stay close-on-exec.
/// Only for a process that is about to execve or to end: whoever else owns a descriptor from `first` up loses it.
pub fn keep_only(first: u32, kept: Vec<OwnedFd>) -> Result<Vec<OwnedFd>> {
    let count = kept.len() as i32;
    let low = first as i32;
    // Out of the way first, so that no target number is the source of a later one.
    let high: Vec<OwnedFd> = kept.iter().map(|fd| duplicate_from(fd, low + count)).collect::<Result<_>>()?;
    // Their old numbers may be among the targets: give them up without closing what moves there.
    kept.into_iter().for_each(std::mem::forget);
    let mut moved = Vec::new();
    for (index, fd) in high.into_iter().enumerate() {
        let target = low + index as i32;
        // SAFETY: dup3 onto a number from `first` up, which the caller gave up; the new descriptor is ours alone.
        let new = unsafe { libc::dup3(fd.as_raw_fd(), target, libc::O_CLOEXEC) };
        if new < 0 {
            return Err(Error::last(Call::Fcntl));
        }
        // Closed by close_range below.
        std::mem::forget(fd);
        // SAFETY: as above.
        moved.push(unsafe { OwnedFd::from_raw_fd(new) });
    }
    close_from(first + count as u32, false)?;
    Ok(moved)
}

/// Closes many descriptors in few calls: those with neighbouring numbers go together.
pub fn close_all(fds: impl IntoIterator<Item = OwnedFd>) {
    let mut numbers: Vec<RawFd> = fds.into_iter().map(IntoRawFd::into_raw_fd).collect();
    numbers.sort_unstable();
    for run in numbers.chunk_by(|a, b| a + 1 == *b) {
        // SAFETY: close_range(2) of exactly the numbers that we owned a moment ago; their owners have given them up.
        if unsafe { libc::syscall(libc::SYS_close_range, run[0], run[run.len() - 1], 0) } != 0 {
            // One by one, then: a lock among them would be held by two.
            // SAFETY: as above, and nothing was closed yet.
            run.iter().for_each(|fd| drop(unsafe { OwnedFd::from_raw_fd(*fd) }));
        }
    }
}

/// Closes every descriptor from `first` up whose number is not in `kept`.
/// Only for a freshly forked process that ends in execve or `exit_now` and drops nothing of its parent's but `kept`.
pub fn close_all_but(first: u32, kept: &[RawFd]) -> Result<()> {
    let mut kept: Vec<u32> = kept.iter().filter_map(|fd| u32::try_from(*fd).ok()).filter(|fd| *fd >= first).collect();
    kept.sort_unstable();
    let mut from = first;
    for until in kept.into_iter().map(Some).chain([None]) {
        let last = until.map_or(u32::MAX, |fd| fd.wrapping_sub(1));
        // SAFETY: numbers only. What is closed belongs to values of the parent's frames, which this process, by the
        // contract above, neither uses nor drops.
        if until != Some(from) && unsafe { libc::syscall(libc::SYS_close_range, from, last, 0) } != 0 {
            return Err(Error::last(Call::CloseRange));
        }
        from = until.map_or(u32::MAX, |fd| fd + 1);
    }
    Ok(())
}

/// Where a descriptor is, as /proc shows it: for people and records, never to decide by.
pub fn path_of(fd: impl AsFd) -> Result<String> {
    readlink(cwd(), &format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()))
}

/// Whether our effective ids let us write there: a hint for planning, never a check before an act.
pub fn may_write(path: &str) -> bool {
    nix::unistd::faccessat(cwd(), path, nix::unistd::AccessFlags::W_OK, nix::fcntl::AtFlags::AT_EACCESS).is_ok()
}

/// Whether there is something at this path that we can get to: a hint for planning, too.
pub fn is_there(path: &str) -> bool {
    nix::unistd::access(path, nix::unistd::AccessFlags::F_OK).is_ok()
}
