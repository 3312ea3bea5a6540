//! Pseudo terminals: the peer by descriptor, controlling terminal, sizes, raw mode.
//! Contracts: ioctl_tty(2), termios(3).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::sys::termios::{self, SetArg, Termios};

use super::{Call, During, Error, Result};

/// Rows and columns of a terminal.
pub type Size = libc::winsize;

fn ioctl(fd: BorrowedFd<'_>, request: libc::c_ulong, argument: libc::c_ulong) -> Result<i32> {
    // SAFETY: used only with requests that take a number, or a pointer that the caller in this file made from live data.
    match unsafe { libc::ioctl(fd.as_raw_fd(), request, argument) } {
        n if n < 0 => Err(Error::last(Call::Ioctl)),
        n => Ok(n),
    }
}

/// Unlocks a fresh pty master and opens its peer without any path (TIOCGPTPEER).
pub fn peer(master: impl AsFd) -> Result<OwnedFd> {
    let unlocked: libc::c_int = 0;
    ioctl(master.as_fd(), libc::TIOCSPTLCK, &raw const unlocked as libc::c_ulong).map_err(|e| e.about("TIOCSPTLCK"))?;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    let raw = ioctl(master.as_fd(), libc::TIOCGPTPEER, flags as libc::c_ulong).map_err(|e| e.about("TIOCGPTPEER"))?;
    // SAFETY: TIOCGPTPEER returns a fresh descriptor, close-on-exec as asked; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// The number of a pty master's peer: `/dev/pts/N`.
pub fn number(master: impl AsFd) -> Result<u32> {
    let mut n: libc::c_uint = 0;
    ioctl(master.as_fd(), libc::TIOCGPTN, &raw mut n as libc::c_ulong)?;
    Ok(n)
}

/// Makes it the controlling terminal of our session.
pub fn control(terminal: impl AsFd) -> Result<()> {
    ioctl(terminal.as_fd(), libc::TIOCSCTTY, 0).map(drop).map_err(|e| e.about("TIOCSCTTY"))
}

/// The size of a terminal.
pub fn size(terminal: impl AsFd) -> Result<Size> {
    let mut size = Size { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    ioctl(terminal.as_fd(), libc::TIOCGWINSZ, &raw mut size as libc::c_ulong)?;
    Ok(size)
}

/// Sets the size of a terminal; its foreground group gets SIGWINCH.
pub fn set_size(terminal: impl AsFd, size: Size) -> Result<()> {
    ioctl(terminal.as_fd(), libc::TIOCSWINSZ, &raw const size as libc::c_ulong).map(drop)
}

/// Puts the caller's terminal into raw mode; gives what it was.
pub fn raw(terminal: impl AsFd) -> Result<Termios> {
    let before = termios::tcgetattr(terminal.as_fd()).during(Call::Ioctl)?;
    let mut now = before.clone();
    termios::cfmakeraw(&mut now);
    termios::tcsetattr(terminal.as_fd(), SetArg::TCSANOW, &now).during(Call::Ioctl)?;
    Ok(before)
}

/// Puts the caller's terminal back.
pub fn restore(terminal: impl AsFd, settings: &Termios) -> Result<()> {
    termios::tcsetattr(terminal.as_fd(), SetArg::TCSADRAIN, settings).during(Call::Ioctl)
}
