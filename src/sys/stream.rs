//! Stream sockets that are never waited for longer than the caller says. Contracts: unix(7), connect(2), poll(2).
//! Everything is close-on-exec and non-blocking.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr};

use super::{Call, During, Errno, Error, Result};

/// How often a listener with a full queue is asked again.
const AGAIN: Duration = Duration::from_millis(20);

/// Where a UNIX socket listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// In the file system.
    Path(String),
    /// In the abstract namespace.
    Abstract(String),
}

/// Connects. ETIMEDOUT: it could not be done before `end`.
pub fn connect(address: &Address, end: Instant) -> Result<OwnedFd> {
    let unix = match address {
        Address::Path(path) => UnixAddr::new(path.as_str()),
        Address::Abstract(name) => UnixAddr::new_abstract(name.as_bytes()),
    };
    let unix = unix.during(Call::Connect)?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = nix::sys::socket::socket(AddressFamily::Unix, SockType::Stream, flags, None).during(Call::Socket)?;
    loop {
        match nix::sys::socket::connect(socket.as_raw_fd(), &unix) {
            Ok(()) => return Ok(socket),
            // Its queue is full; there is no event to wait for.
            Err(Errno::EAGAIN) if Instant::now() < end => std::thread::sleep(AGAIN),
            Err(Errno::EAGAIN) => return Err(Error::new(Call::Connect, Errno::ETIMEDOUT)),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::new(Call::Connect, errno)),
        }
    }
}

/// Sends all of `bytes`.
pub fn send_all(socket: impl AsFd, mut bytes: &[u8], end: Instant) -> Result<()> {
    let socket = socket.as_fd();
    while !bytes.is_empty() {
        let parts = [IoSlice::new(bytes)];
        match nix::sys::socket::sendmsg::<()>(socket.as_raw_fd(), &parts, &[], MsgFlags::MSG_NOSIGNAL, None) {
            Ok(sent) => bytes = &bytes[sent..],
            Err(Errno::EAGAIN) => wait(socket, PollFlags::POLLOUT, Call::Send, end)?,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::new(Call::Send, errno)),
        }
    }
    Ok(())
}

/// Appends what has come, waiting for it if nothing has. 0: the other side is gone.
pub fn receive(socket: impl AsFd, into: &mut Vec<u8>, end: Instant) -> Result<usize> {
    let socket = socket.as_fd();
    let mut buffer = [0; 4096];
    loop {
        let mut parts = [IoSliceMut::new(&mut buffer)];
        match nix::sys::socket::recvmsg::<()>(socket.as_raw_fd(), &mut parts, None, MsgFlags::MSG_CMSG_CLOEXEC) {
            Ok(message) => {
                let got = message.bytes;
                into.extend(&buffer[..got]);
                return Ok(got);
            }
            Err(Errno::EAGAIN) => wait(socket, PollFlags::POLLIN, Call::Recv, end)?,
            Err(Errno::EINTR) => {}
            Err(Errno::ECONNRESET) => return Ok(0),
            Err(errno) => return Err(Error::new(Call::Recv, errno)),
        }
    }
}

fn wait(socket: std::os::fd::BorrowedFd<'_>, what: PollFlags, call: Call, end: Instant) -> Result<()> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(Error::new(call, Errno::ETIMEDOUT));
    }
    // At most a minute a turn: the clock is asked again then.
    let milliseconds = left.as_millis().clamp(1, 60_000) as u16;
    match poll(&mut [PollFd::new(socket, what)], PollTimeout::from(milliseconds)) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(Error::new(Call::Poll, errno)),
    }
}
