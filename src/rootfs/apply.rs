//! Runs the ops of the root. Both halves keep what they opened here: the host side the sources, init the root.

use std::os::fd::OwnedFd;

use nix::fcntl::OFlag;

use super::paths::Root;
use super::{HostOp, InitOp, devices, idmap, masks, mounts, pivot};
use crate::sys::mount::Attributes;
use crate::sys::{self, Call, Errno, Error, Result};

/// What the host side opened for init.
#[derive(Default)]
pub struct Sources {
    root: Option<OwnedFd>,
    slots: Vec<Option<OwnedFd>>,
    maps: idmap::Maps,
}

impl Sources {
    /// Runs one host op.
    pub fn apply(&mut self, op: &HostOp) -> Result<()> {
        match op {
            HostOp::OpenRoot { path } => self.root = Some(open_root(path)?),
            HostOp::OpenSource { slot, path, tree, shared } => {
                let source = sys::mount::clone_tree(sys::fs::cwd(), path, *tree)?;
                if !shared {
                    receive_only(&source, *tree)?;
                }
                self.put(*slot, source);
            }
            HostOp::MakeSource { slot, kind, source, options } => {
                let tree = mounts::configured(kind, source, options)?.mount(0)?;
                self.put(*slot, tree);
            }
            HostOp::MapSource { slot, mapping, tree, what } => {
                let source = self.slots.get(*slot).and_then(Option::as_ref);
                let source = source.ok_or_else(|| Error::new(Call::MountSetattr, Errno::EBADF).about(what))?;
                self.maps.apply(source, mapping, *tree, what)?;
            }
        }
        Ok(())
    }

    fn put(&mut self, slot: usize, source: OwnedFd) {
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, || None);
        }
        self.slots[slot] = Some(source);
    }
}

/// The rootfs as a detached tree. It must be a directory, and private, for pivot_root wants no shared mounts about it.
fn open_root(path: &str) -> Result<OwnedFd> {
    let directory = sys::fs::open_host(path, OFlag::O_PATH | OFlag::O_DIRECTORY)?;
    let tree = sys::mount::clone_tree(&directory, "", true).map_err(|e| e.about(path))?;
    receive_only(&tree, true)?;
    Ok(tree)
}

/// Mounts made on the host later still arrive, ours never go out.
fn receive_only(tree: &OwnedFd, recursive: bool) -> Result<()> {
    let slave = Attributes { propagation: libc::MS_SLAVE, ..Attributes::default() };
    sys::mount::set_attributes(tree, slave, recursive)
}

/// The container's root while init builds it.
pub struct Rootfs {
    sources: Sources,
    root: Option<Root>,
    /// Whether the root is attached on top of `/`.
    on_top: bool,
    pub(super) null: Option<OwnedFd>,
    pub(super) empty: Option<OwnedFd>,
}

impl Rootfs {
    /// Takes over what the host side opened.
    pub fn new(sources: Sources) -> Self {
        Self { sources, root: None, on_top: false, null: None, empty: None }
    }

    /// The root, once it is attached.
    pub fn root(&self) -> Result<&Root> {
        self.root.as_ref().ok_or_else(|| Error::new(Call::Open, Errno::EBADF).about("rootfs"))
    }

    /// The source in a slot; each is used once.
    pub(super) fn take(&mut self, slot: usize) -> Result<OwnedFd> {
        let source = self.sources.slots.get_mut(slot).and_then(Option::take);
        source.ok_or_else(|| Error::new(Call::OpenTree, Errno::EBADF).about(format!("source #{slot}")))
    }

    /// Runs one op.
    pub fn apply(&mut self, op: &InitOp) -> Result<()> {
        match op {
            InitOp::Open(op) => self.sources.apply(op),
            InitOp::Isolate { propagation } => sys::mount::propagate_all(*propagation),
            InitOp::AttachRoot { path } => self.attach_root(path.as_deref()),
            InitOp::Mount(mount) => mounts::mount(self, mount),
            InitOp::Device(device) => devices::make(self, device),
            InitOp::Link { path, target, replace } => devices::link(self.root()?, path, target, *replace),
            InitOp::Mask { path, label } => masks::mask(self, path, label.as_deref()),
            InitOp::ReadonlyPath { path } => masks::readonly(self.root()?, path),
            InitOp::ReadonlyRoot => masks::readonly_root(self.root()?),
            InitOp::Pivot => pivot::pivot(self.root()?),
            InitOp::Chroot { cover } => pivot::chroot(self.root()?, *cover, self.on_top),
            InitOp::Propagation { flag, tree } => {
                let change = Attributes { propagation: *flag, ..Attributes::default() };
                sys::mount::set_attributes(self.root()?, change, *tree)
            }
        }
    }

    /// Where hooks expect it: they mount below the bundle's rootfs in our mount namespace. The root of a user namespace may
    /// have no way there; `/` it always can reach.
    fn attach_root(&mut self, path: Option<&str>) -> Result<()> {
        let tree = self.sources.root.take().ok_or_else(|| Error::new(Call::OpenTree, Errno::EBADF).about("rootfs"))?;
        if let Some(path) = path {
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
            let place = match sys::fs::open_host(path, flags) {
                // In a mount namespace that we joined there need be no such path.
                Err(e) if matches!(e.errno, Errno::EACCES | Errno::ENOENT | Errno::ENOTDIR) => {
                    self.on_top = true;
                    sys::fs::open_host("/", flags)?
                }
                other => other?,
            };
            sys::mount::attach(&tree, &place)?;
        }
        self.root = Some(if path.is_some() { Root::new(tree) } else { Root::detached(tree) });
        Ok(())
    }
}
