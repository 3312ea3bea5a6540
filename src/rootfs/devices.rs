//! Device nodes and the links beside them, made below a parent that is held by descriptor.

use std::os::fd::OwnedFd;

use nix::sys::stat::{SFlag, makedev};

use super::paths::Root;
use super::{Device, Rootfs};
use crate::sys::{self, Call, Errno, Error, Result};

/// Makes a device node, or binds the host's.
pub(super) fn make(rootfs: &mut Rootfs, device: &Device) -> Result<()> {
    if let Some(slot) = device.bind {
        let source = rootfs.take(slot)?;
        return bind(rootfs.root()?, &source, device);
    }
    let (parent, name) = rootfs.root()?.parent_of(&device.path)?;
    let (kind, number) = identity(device);
    match sys::fs::mknod(&parent, name, kind, device.mode, number) {
        Err(e) if e.errno == Errno::EEXIST => same(&sys::fs::stat_at(&parent, name)?, device)?,
        // Root without CAP_MKNOD, or under the device rules of a container around us: what it has it may pass on.
        Err(e) if e.errno == Errno::EPERM && device.kind != 'p' => {
            let source =
                sys::mount::clone_tree(sys::fs::cwd(), &device.path, false).map_err(|_| e.about(&device.path))?;
            return bind(rootfs.root()?, &source, device);
        }
        other => other.map_err(|e| e.about(&device.path))?,
    }
    if (device.uid, device.gid) != (0, 0) {
        sys::fs::chown(&Root::new(parent).find(name)?, device.uid, device.gid).map_err(|e| e.about(&device.path))?;
    }
    Ok(())
}

fn bind(root: &Root, source: &OwnedFd, device: &Device) -> Result<()> {
    same(&sys::fs::stat(source)?, device)?;
    let target = root.make_file(&device.path)?;
    sys::mount::attach(source, &target).map_err(|e| e.about(&device.path))
}

fn identity(device: &Device) -> (SFlag, u64) {
    match device.kind {
        'b' => (SFlag::S_IFBLK, makedev(device.major, device.minor)),
        'p' => (SFlag::S_IFIFO, 0),
        _ => (SFlag::S_IFCHR, makedev(device.major, device.minor)),
    }
}

/// What is there already must be the device that was asked for.
fn same(stat: &nix::sys::stat::FileStat, device: &Device) -> Result<()> {
    let (kind, number) = identity(device);
    if sys::fs::kind(stat) == kind && (kind == SFlag::S_IFIFO || stat.st_rdev == number) {
        return Ok(());
    }
    Err(Error::new(Call::Mknod, Errno::EEXIST).about(format!("{}: another file is there", device.path)))
}

/// Makes a symbolic link; with `replace` in the place of a file of the image.
pub(super) fn link(root: &Root, path: &str, target: &str, replace: bool) -> Result<()> {
    let (parent, name) = root.parent_of(path)?;
    match sys::fs::symlink(target, &parent, name) {
        Err(e) if e.errno == Errno::EEXIST && replace => {
            sys::fs::unlink(&parent, name, false)?;
            sys::fs::symlink(target, &parent, name)
        }
        other => other,
    }
}
