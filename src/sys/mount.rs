//! The mount API: detached mounts by descriptor, attributes set before they are attached, and the kernel's own words on failure.
//! Contract of all calls: fsopen(2), fsconfig(2), fsmount(2), open_tree(2), move_mount(2), mount_setattr(2), pivot_root(2).

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use super::fs::c_string;
use super::{Call, During, Errno, Error, Result};

const FSCONFIG_SET_FLAG: u32 = 0;
const FSCONFIG_SET_STRING: u32 = 1;
const FSCONFIG_CMD_CREATE: u32 = 6;

/// The longest value that fsconfig(2) takes; longer ones (overlay's lowerdir) need mount(2).
pub const FSCONFIG_VALUE_MAX: usize = 255;

/// Attributes of one mount as mount_setattr(2) takes them: what to set, what to clear, the propagation (`MS_SLAVE`…, or 0).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// `MOUNT_ATTR_*` bits to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` bits to clear (all of `MOUNT_ATTR__ATIME` before an access-time value is set).
    pub clear: u64,
    /// `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE`, `MS_UNBINDABLE`, or 0 for "as it is".
    pub propagation: u64,
}

impl Attributes {
    fn value(self, userns_fd: u64) -> libc::mount_attr {
        libc::mount_attr { attr_set: self.set, attr_clr: self.clear, propagation: self.propagation, userns_fd }
    }
}

fn owned(call: Call, raw: libc::c_long) -> Result<OwnedFd> {
    match i32::try_from(raw) {
        // SAFETY: the kernel just gave us this descriptor (every caller here asks for close-on-exec); nobody else owns it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(Error::last(call)),
    }
}

/// A filesystem being configured; its descriptor also carries the kernel's messages.
pub struct Filesystem(OwnedFd);

impl From<Filesystem> for OwnedFd {
    fn from(filesystem: Filesystem) -> Self {
        filesystem.0
    }
}

impl Filesystem {
    /// fsopen(2) of a filesystem type.
    pub fn open(kind: &str) -> Result<Self> {
        let name = c_string(kind, Call::Fsopen)?;
        // SAFETY: `name` is a NUL-terminated string that lives across the call.
        let fd = unsafe {
            libc::syscall(libc::SYS_fsopen, name.as_ptr(), 1 /* FSOPEN_CLOEXEC */)
        };
        owned(Call::Fsopen, fd).map(Self).map_err(|e| e.about(kind))
    }

    /// One option: `key` or `key=value`.
    pub fn set(&self, key: &str, value: Option<&str>) -> Result<()> {
        let name = c_string(key, Call::Fsconfig)?;
        let text = value.map(|v| c_string(v, Call::Fsconfig)).transpose()?;
        let command = if text.is_some() { FSCONFIG_SET_STRING } else { FSCONFIG_SET_FLAG };
        self.config(command, Some(&name), text.as_ref()).map_err(|e| {
            let asked = value.map_or_else(|| key.to_owned(), |v| format!("{key}={v}"));
            self.said(e, &asked)
        })
    }

    /// Makes the superblock and a detached mount of it with these `MOUNT_ATTR_*` bits.
    pub fn mount(&self, attributes: u64) -> Result<OwnedFd> {
        self.config(FSCONFIG_CMD_CREATE, None, None).map_err(|e| self.said(e, ""))?;
        // SAFETY: numbers only; the descriptor is borrowed from `self` for the call.
        let fd = unsafe {
            libc::syscall(libc::SYS_fsmount, self.0.as_raw_fd(), 1 /* FSMOUNT_CLOEXEC */, attributes)
        };
        owned(Call::Fsmount, fd).map_err(|e| self.said(e, ""))
    }

    fn config(&self, command: u32, key: Option<&CString>, value: Option<&CString>) -> Result<()> {
        let (key, value) =
            (key.map_or(std::ptr::null(), |k| k.as_ptr()), value.map_or(std::ptr::null(), |v| v.as_ptr()));
        // SAFETY: both pointers are null or NUL-terminated strings that the caller keeps alive across the call.
        match unsafe { libc::syscall(libc::SYS_fsconfig, self.0.as_raw_fd(), command, key, value, 0) } {
            0 => Ok(()),
            _ => Err(Error::last(Call::Fsconfig)),
        }
    }

    /// Adds what the kernel wrote into the filesystem's log: "e tmpfs: Unknown parameter 'x'".
    fn said(&self, error: Error, asked: &str) -> Error {
        let mut words = Vec::new();
        let mut line = [0u8; 512];
        while let Ok(n @ 1..) = nix::unistd::read(&self.0, &mut line) {
            let text = String::from_utf8_lossy(&line[..n]);
            words.push(text.trim_end().trim_start_matches(['e', 'w', 'i']).trim_start().to_owned());
        }
        let kernel = if words.is_empty() { String::new() } else { format!("(kernel: {})", words.join("; ")) };
        let gap = if asked.is_empty() || kernel.is_empty() { "" } else { " " };
        error.about(format!("{asked}{gap}{kernel}"))
    }
}

/// A detached copy of the mount at `path` below `dir` (`path` may be empty): with all mounts below it if `recursive`.
pub fn clone_tree(dir: impl AsFd, path: &str, recursive: bool) -> Result<OwnedFd> {
    let (name, flags) = (c_string(path, Call::OpenTree)?, clone_flags(path, recursive));
    // SAFETY: `name` is NUL-terminated and alive; the descriptor is borrowed for the call.
    let fd = unsafe { libc::syscall(libc::SYS_open_tree, dir.as_fd().as_raw_fd(), name.as_ptr(), flags) };
    owned(Call::OpenTree, fd).map_err(|e| e.about(path))
}

fn clone_flags(path: &str, recursive: bool) -> libc::c_uint {
    const OPEN_TREE_CLONE: libc::c_uint = 1;
    let empty = if path.is_empty() { libc::AT_EMPTY_PATH } else { 0 };
    let tree = if recursive { libc::AT_RECURSIVE } else { 0 };
    OPEN_TREE_CLONE | (libc::O_CLOEXEC | empty | tree) as libc::c_uint
}

/// [`clone_tree`], and [`set_attributes`] on all of it: one call where the kernel has open_tree_attr(2) (Linux 6.15).
pub fn clone_tree_with(dir: impl AsFd, path: &str, recursive: bool, attributes: Attributes) -> Result<OwnedFd> {
    const SYS_OPEN_TREE_ATTR: libc::c_long = 467; // on every architecture
    static MISSING: AtomicBool = AtomicBool::new(false);
    let (name, flags) = (c_string(path, Call::OpenTree)?, clone_flags(path, recursive));
    let (value, size) = (attributes.value(0), size_of::<libc::mount_attr>());
    if !MISSING.load(Ordering::Relaxed) {
        let (dir, value) = (dir.as_fd().as_raw_fd(), &raw const value);
        // SAFETY: `name` is NUL-terminated and alive, so is `value`, whose true size is given; the descriptor is borrowed.
        let fd = unsafe { libc::syscall(SYS_OPEN_TREE_ATTR, dir, name.as_ptr(), flags, value, size) };
        if let Ok(tree) = owned(Call::OpenTree, fd) {
            return Ok(tree);
        }
        // An older kernel, or a filter that takes it for one; of any other failure the two calls say which part it was.
        MISSING.store(Errno::last() != Errno::EINTR, Ordering::Relaxed);
    }
    let tree = clone_tree(dir, path, recursive)?;
    set_attributes(&tree, attributes, recursive).map_err(|e| e.about(path))?;
    Ok(tree)
}

/// Attaches the detached mount `from` on top of what `onto` refers to. Both by descriptor: no path is looked up.
pub fn attach(from: impl AsFd, onto: impl AsFd) -> Result<()> {
    const BOTH_EMPTY: libc::c_uint = 0x4 | 0x40; // MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
    // SAFETY: both paths are the static empty string; descriptors are borrowed for the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            from.as_fd().as_raw_fd(),
            c"".as_ptr(),
            onto.as_fd().as_raw_fd(),
            c"".as_ptr(),
            BOTH_EMPTY,
        )
    };
    if done == 0 { Ok(()) } else { Err(Error::last(Call::MoveMount)) }
}

/// Attaches the detached mount `from` at `name` in `dir`; a link of that name is not followed.
pub fn attach_at(from: impl AsFd, dir: impl AsFd, name: &str) -> Result<()> {
    const FROM_EMPTY: libc::c_uint = 0x4; // MOVE_MOUNT_F_EMPTY_PATH
    let path = c_string(name, Call::MoveMount)?;
    let (from, dir) = (from.as_fd().as_raw_fd(), dir.as_fd().as_raw_fd());
    // SAFETY: the first path is the static empty string, the second is NUL-terminated and alive; descriptors are borrowed.
    let done = unsafe { libc::syscall(libc::SYS_move_mount, from, c"".as_ptr(), dir, path.as_ptr(), FROM_EMPTY) };
    if done == 0 { Ok(()) } else { Err(Error::last(Call::MoveMount).about(name)) }
}

/// mount_setattr(2) on the mount of a descriptor, or on its whole tree.
pub fn set_attributes(mount: impl AsFd, attributes: Attributes, recursive: bool) -> Result<()> {
    set(mount.as_fd(), attributes, recursive, 0)
}

/// Maps the ids of a detached mount through a user namespace (`MOUNT_ATTR_IDMAP`).
pub fn set_idmap(mount: impl AsFd, user_namespace: impl AsFd, recursive: bool) -> Result<()> {
    const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;
    let attributes = Attributes { set: MOUNT_ATTR_IDMAP, ..Attributes::default() };
    set(mount.as_fd(), attributes, recursive, user_namespace.as_fd().as_raw_fd() as u64)
}

fn set(mount: BorrowedFd<'_>, attributes: Attributes, recursive: bool, userns_fd: u64) -> Result<()> {
    let value = attributes.value(userns_fd);
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is the static empty string; `value` is alive and its true size is given.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const value,
            size_of::<libc::mount_attr>(),
        )
    };
    if done == 0 { Ok(()) } else { Err(Error::last(Call::MountSetattr)) }
}

/// mount(2) onto what a descriptor refers to: for what the new API cannot say (`iversion`, values over 255 bytes).
pub fn classic(source: &str, onto: impl AsFd, kind: &str, flags: libc::c_ulong, data: &str) -> Result<()> {
    let target = format!("/proc/self/fd/{}", onto.as_fd().as_raw_fd());
    let flags = nix::mount::MsFlags::from_bits_retain(flags);
    nix::mount::mount(Some(source), target.as_str(), Some(kind), flags, Some(data))
        .map_err(|errno| Error::new(Call::Mount, errno).about(format!("{kind} {data}")))
}

/// Changes the propagation of everything in this mount namespace.
pub fn propagate_all(flag: libc::c_ulong) -> Result<()> {
    let flags = nix::mount::MsFlags::from_bits_retain(flag | libc::MS_REC);
    nix::mount::mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)
        .map_err(|errno| Error::new(Call::Mount, errno).about("propagation of /"))
}

/// pivot_root(".", "."): the current directory becomes `/`, the old root lies on top of it.
pub fn pivot_here() -> Result<()> {
    nix::unistd::pivot_root(".", ".").during(Call::PivotRoot)
}

/// Whether pivot_root(2) has nothing against a move of `/` but that it would be moved onto itself (EBUSY): neither it nor
/// the mount below it is shared, so what is done to it is done in this mount namespace only, and it isn't locked (EINVAL).
/// Changes nothing.
pub fn root_is_movable() -> bool {
    nix::unistd::pivot_root("/", "/") == Err(Errno::EBUSY)
}

/// Takes away what is mounted at `path`, now or when it is no longer busy.
pub fn detach(path: &str) -> Result<()> {
    nix::mount::umount2(path, nix::mount::MntFlags::MNT_DETACH)
        .map_err(|errno| Error::new(Call::Umount, errno).about(path))
}

/// chroot(".").
pub fn chroot_here() -> Result<()> {
    nix::unistd::chroot(".").during(Call::Chroot)
}

/// fchdir(2).
pub fn enter(dir: impl AsFd) -> Result<()> {
    nix::unistd::fchdir(dir.as_fd()).during(Call::Chdir)
}

/// chdir(2) to a path.
pub fn change_dir(path: &str) -> Result<()> {
    nix::unistd::chdir(path).map_err(|errno| Error::new(Call::Chdir, errno).about(path))
}

/// Whether an error means "this kernel does not have the call".
pub fn missing(error: &Error) -> bool {
    error.errno == Errno::ENOSYS
}
