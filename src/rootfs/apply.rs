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
                let source = match shared {
                    true => sys::mount::clone_tree(sys::fs::cwd(), path, *tree)?,
                    false => sys::mount::clone_tree_with(sys::fs::cwd(), path, *tree, RECEIVE_ONLY)?,
                };
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

    /// Gives up all that is open, to be closed together.
    pub fn give_up(self) -> impl Iterator<Item = OwnedFd> {
        self.root.into_iter().chain(self.slots.into_iter().flatten())
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
    sys::mount::clone_tree_with(&directory, "", true, RECEIVE_ONLY).map_err(|e| e.about(path))
}

/// Mounts made on the host later still arrive, ours never go out.
const RECEIVE_ONLY: Attributes = Attributes { set: 0, clear: 0, propagation: libc::MS_SLAVE };

/// The container's root while init builds it.
pub struct Rootfs {
    sources: Sources,
    root: Option<Root>,
    /// Whether the root is attached on top of `/`.
    on_top: bool,
    pub(super) null: Option<OwnedFd>,
    pub(super) empty: Option<OwnedFd>,
    /// The directory in which the last device or link was made, and its path: the next is mostly its neighbour.
    parent: Option<(String, OwnedFd)>,
    /// The mounts that are still to become read-only, with their paths.
    unfinished: Vec<(String, OwnedFd)>,
    /// What has done its work; closed together.
    spent: Vec<OwnedFd>,
}

/// How many descriptors may wait to be closed.
const SPENT: usize = 64;

impl Rootfs {
    /// Takes over what the host side opened.
    pub fn new(sources: Sources) -> Self {
        Self {
            sources,
            root: None,
            on_top: false,
            null: None,
            empty: None,
            parent: None,
            unfinished: Vec::new(),
            spent: Vec::new(),
        }
    }

    /// Gives up all that is open, to be closed together.
    pub fn give_up(self) -> impl Iterator<Item = OwnedFd> {
        let Rootfs { sources, root, null, empty, parent, unfinished: _, spent, on_top: _ } = self;
        let one_by_one = [root.map(OwnedFd::from), null, empty, parent.map(|(_, fd)| fd)];
        sources.give_up().chain(one_by_one.into_iter().flatten()).chain(spent)
    }

    /// The root, once it is attached.
    pub fn root(&self) -> Result<&Root> {
        self.root.as_ref().ok_or_else(|| Error::new(Call::Open, Errno::EBADF).about("rootfs"))
    }

    /// Takes descriptors that are not needed any more, to close them with others: for a list that may be long.
    pub(super) fn spend(&mut self, fds: impl IntoIterator<Item = OwnedFd>) {
        self.spent.extend(fds);
        if self.spent.len() >= SPENT {
            sys::fs::close_all(self.spent.drain(..));
        }
    }

    /// Keeps a mount that becomes read-only when all in it has been made.
    pub(super) fn keep(&mut self, path: &str, mount: OwnedFd) {
        self.unfinished.push((path.to_owned(), mount));
    }

    /// Makes what was mounted at `path` read-only, whatever is there by now.
    fn finish(&mut self, path: &str) -> Result<()> {
        let at = self.unfinished.iter().position(|(kept, _)| kept == path);
        let (_, mount) =
            self.unfinished.remove(at.ok_or_else(|| Error::new(Call::MountSetattr, Errno::EBADF).about(path))?);
        let done = masks::readonly_mount(&mount).map_err(|e| e.about(path));
        self.spend([mount]);
        done
    }

    /// The source in a slot; each is used once.
    pub(super) fn take(&mut self, slot: usize) -> Result<OwnedFd> {
        let source = self.sources.slots.get_mut(slot).and_then(Option::take);
        source.ok_or_else(|| Error::new(Call::OpenTree, Errno::EBADF).about(format!("source #{slot}")))
    }

    /// The directory that holds the last component of `path`, and that component.
    pub(super) fn parent_of<'p>(&mut self, path: &'p str) -> Result<(&OwnedFd, &'p str)> {
        let (directory, name) = Root::split(path)?;
        if self.parent.as_ref().is_none_or(|(known, _)| known != directory) {
            self.parent = Some((directory.to_owned(), self.root()?.make_dir(directory)?));
        }
        match &self.parent {
            Some((_, parent)) => Ok((parent, name)),
            None => Err(Error::new(Call::Open, Errno::ENOENT).about(path)),
        }
    }

    /// Runs one op.
    pub fn apply(&mut self, op: &InitOp) -> Result<()> {
        if !matches!(op, InitOp::Device(_) | InitOp::Link { .. }) {
            // It may put something else there.
            let parent = self.parent.take().map(|(_, fd)| fd);
            self.spent.extend(parent);
        }
        match op {
            InitOp::Open(op) => self.sources.apply(op),
            InitOp::Isolate { propagation } => sys::mount::propagate_all(*propagation),
            InitOp::AttachRoot { path } => self.attach_root(path.as_deref()),
            InitOp::Mount(mount) => mounts::mount(self, mount),
            InitOp::MountPoint { path, source } => mounts::place(self.root()?, path, source.as_deref()),
            InitOp::Device(device) => devices::make(self, device),
            InitOp::Link { path, target, replace } => devices::link(self, path, target, *replace),
            InitOp::Mask { path, label } => masks::mask(self, path, label.as_deref()),
            InitOp::ReadonlyPath { path } => masks::readonly(self, path),
            InitOp::ReadonlyMount { path } => self.finish(path),
            InitOp::ReadonlyRoot => masks::readonly_mount(self.root()?),
            InitOp::Exchange => pivot::exchange(self.root()?).map(|namespace| self.spend([namespace])),
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
            self.spent.push(place);
        }
        self.root = Some(if path.is_some() { Root::new(tree) } else { Root::detached(tree) });
        Ok(())
    }
}
