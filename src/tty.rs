//! The container's terminal: a pty of its own devpts, its peer as stdin, stdout, stderr and /dev/console.
//!
//! Nothing is opened by a name that the image could have put there: the peer comes from the master itself (CVE-2025-52565).

use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::fcntl::{OFlag, ResolveFlag};
use serde::Serialize;

use crate::sys::tty::Size;
use crate::sys::{self, Call, Errno, Error, Result};

/// What the host side does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostOp {
    /// Connects to the socket that wants the master.
    Connect {
        /// Host path.
        path: String,
    },
}

/// What init does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InitOp {
    /// Rows and columns, if the config says them.
    pub size: Option<(u16, u16)>,
    /// Who the peer shall belong to.
    pub uid: u32,
    /// Whether the console socket gets the master, else the host side of `run` does.
    pub to_socket: bool,
    /// Whether it becomes the container's /dev/console: not that of a process that came later.
    pub console: bool,
}

impl fmt::Display for HostOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HostOp::Connect { path } = self;
        write!(f, "connect console socket {path}")
    }
}

impl fmt::Display for InitOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("terminal from the container's devpts, as stdio")?;
        if self.console {
            f.write_str(" and /dev/console")?;
        }
        if let Some((rows, columns)) = self.size {
            write!(f, ", {rows} rows {columns} columns")?;
        }
        if self.to_socket { f.write_str(", master to the console socket") } else { Ok(()) }
    }
}

/// Connects; the descriptor is inherited by init.
pub fn connect(op: &HostOp) -> Result<OwnedFd> {
    let HostOp::Connect { path } = op;
    sys::sock::connect_host(path)
}

/// The device number of the master of all ptys, 5:2.
const PTMX: u64 = nix::sys::stat::makedev(5, 2);
const DEVPTS_SUPER_MAGIC: i64 = 0x1cd1;

/// Makes the terminal below `root`. The master goes to the console socket, or is returned for the host.
/// `console` is where /dev/console shall be, if it is wanted: found (or made) by the caller as a file inside the root.
pub fn make(
    op: &InitOp,
    root: &impl std::os::fd::AsFd,
    console: Option<&OwnedFd>,
    socket: Option<&OwnedFd>,
) -> Result<Option<OwnedFd>> {
    let resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY;
    let master = sys::fs::open(root, "/dev/pts/ptmx", flags, 0, resolve)?;
    let stat = sys::fs::stat(&master)?;
    if stat.st_rdev != PTMX || sys::fs::filesystem(&master)? != DEVPTS_SUPER_MAGIC {
        return Err(Error::new(Call::Open, Errno::ENODEV).about("/dev/pts/ptmx is not the master of a devpts"));
    }
    let peer = sys::tty::peer(&master)?;
    if op.uid != 0 {
        sys::fs::chown(&peer, op.uid, sys::fs::stat(&peer)?.st_gid)?;
    }
    if let Some((rows, columns)) = op.size {
        sys::tty::set_size(&master, Size { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })?;
    }
    if let Some(console) = console {
        let bind = sys::mount::clone_tree(&peer, "", false)?;
        sys::mount::attach(&bind, console).map_err(|e| e.at("/dev/console"))?;
    }
    let name = format!("/dev/pts/{}", sys::tty::number(&master)?);
    for number in 0..3 {
        sys::fs::place_at(&peer, number)?;
    }
    sys::tty::control(&peer)?;
    match (op.to_socket, socket) {
        (true, Some(socket)) => {
            sys::sock::send(socket, name.as_bytes(), &[master.as_raw_fd()])?;
            Ok(None)
        }
        (true, None) => Err(Error::new(Call::Send, Errno::ENOTCONN).about("console socket")),
        (false, _) => Ok(Some(master)),
    }
}
