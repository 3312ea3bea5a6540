//! Unix sockets: a sequenced-packet pair, a listener in a directory held by descriptor, descriptors in messages.
//! Contracts: socketpair(2), unix(7), cmsg(3). Everything is close-on-exec; nothing is ever bound to an abstract name.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr,
};

use super::{Call, During, Errno, Error, Result};

/// A connected pair of SOCK_SEQPACKET sockets: messages keep their borders, the end of the other side is an empty read.
pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
    nix::sys::socket::socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .during(Call::Socketpair)
}

/// The address of `name` in a directory held by descriptor: works for directories deeper than sun_path is long.
fn address(dir: impl AsFd, name: &str) -> Result<UnixAddr> {
    let path = format!("/proc/self/fd/{}/{name}", dir.as_fd().as_raw_fd());
    UnixAddr::new(path.as_str()).during(Call::Socket)
}

fn socket(kind: SockType) -> Result<OwnedFd> {
    nix::sys::socket::socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None).during(Call::Socket)
}

/// Listens at `name` in `dir`; nobody but our own user may connect.
pub fn listen_private(dir: impl AsFd, name: &str) -> Result<OwnedFd> {
    let socket = socket(SockType::SeqPacket)?;
    // The mode of the socket file is what the umask leaves of 0777.
    let before = super::cred::umask(0o177);
    let bound = nix::sys::socket::bind(socket.as_raw_fd(), &address(dir, name)?);
    super::cred::umask(before);
    bound.during(Call::Bind)?;
    nix::sys::socket::listen(&socket, Backlog::new(8).unwrap_or(Backlog::MAXCONN)).during(Call::Listen)?;
    Ok(socket)
}

/// Takes one connection.
pub fn accept(listener: impl AsFd) -> Result<OwnedFd> {
    loop {
        match nix::sys::socket::accept4(listener.as_fd().as_raw_fd(), SockFlag::SOCK_CLOEXEC) {
            // SAFETY: accept4 just gave us this close-on-exec descriptor; nobody else owns it.
            Ok(raw) => return Ok(unsafe { OwnedFd::from_raw_fd(raw) }),
            Err(Errno::EINTR | Errno::ECONNABORTED) => {}
            Err(errno) => return Err(Error::new(Call::Accept, errno)),
        }
    }
}

/// Connects to `name` in `dir` (SOCK_SEQPACKET).
pub fn connect(dir: impl AsFd, name: &str) -> Result<OwnedFd> {
    let socket = socket(SockType::SeqPacket)?;
    nix::sys::socket::connect(socket.as_raw_fd(), &address(dir, name)?)
        .map_err(|errno| Error::new(Call::Connect, errno).about(name))?;
    Ok(socket)
}

/// Connects to a stream socket of the host by path: console, pidfd and seccomp receivers.
pub fn connect_host(path: &str) -> Result<OwnedFd> {
    let socket = socket(SockType::Stream)?;
    let address = UnixAddr::new(path).map_err(|errno| Error::new(Call::Connect, errno).about(path))?;
    nix::sys::socket::connect(socket.as_raw_fd(), &address)
        .map_err(|errno| Error::new(Call::Connect, errno).about(path))?;
    Ok(socket)
}

/// A datagram socket at `name` in `dir`, to which everybody who finds it may send. One that is there already makes way.
pub fn open_to_all(dir: impl AsFd, name: &str) -> Result<OwnedFd> {
    match super::fs::unlink(&dir, name, false) {
        Err(e) if e.errno != Errno::ENOENT => return Err(e),
        _ => {}
    }
    let socket = socket(SockType::Datagram)?;
    let before = super::cred::umask(0);
    let bound = nix::sys::socket::bind(socket.as_raw_fd(), &address(&dir, name)?);
    super::cred::umask(before);
    bound.during(Call::Bind)?;
    Ok(socket)
}

/// Connects to the datagram socket that NOTIFY_SOCKET names: a path, or after `@` an abstract name.
pub fn connect_notify(to: &str) -> Result<OwnedFd> {
    let socket = socket(SockType::Datagram)?;
    let address = match to.strip_prefix('@') {
        Some(name) => UnixAddr::new_abstract(name.as_bytes()),
        None => UnixAddr::new(to),
    };
    let address = address.map_err(|errno| Error::new(Call::Connect, errno).about(to))?;
    nix::sys::socket::connect(socket.as_raw_fd(), &address)
        .map_err(|errno| Error::new(Call::Connect, errno).about(to))?;
    Ok(socket)
}

/// Sends one message, with descriptors beside it.
pub fn send(socket: impl AsFd, bytes: &[u8], fds: &[RawFd]) -> Result<()> {
    let rights = [ControlMessage::ScmRights(fds)];
    let control = if fds.is_empty() { &rights[..0] } else { &rights[..] };
    loop {
        let sent = nix::sys::socket::sendmsg::<()>(
            socket.as_fd().as_raw_fd(),
            &[IoSlice::new(bytes)],
            control,
            MsgFlags::MSG_NOSIGNAL,
            None,
        );
        match sent {
            Ok(n) if n == bytes.len() => return Ok(()),
            Ok(_) => return Err(Error::new(Call::Send, Errno::EMSGSIZE)),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::new(Call::Send, errno)),
        }
    }
}

/// Receives one message into `buffer`: how many bytes (0: the other side is gone), and descriptors that came with it.
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> Result<(usize, Vec<OwnedFd>)> {
    match receive_answer(&socket, buffer) {
        // What the peer said before, or its end, comes next.
        Err(e) if e.errno == Errno::ECONNRESET => receive_answer(socket, buffer),
        other => other,
    }
}

/// The same, when it matters whether the peer has read what we said: ECONNRESET says, once, that it ended without.
pub fn receive_answer(socket: impl AsFd, buffer: &mut [u8]) -> Result<(usize, Vec<OwnedFd>)> {
    let mut control = nix::cmsg_space!([RawFd; 4]);
    loop {
        let mut parts = [IoSliceMut::new(buffer)];
        let got = nix::sys::socket::recvmsg::<()>(
            socket.as_fd().as_raw_fd(),
            &mut parts,
            Some(&mut control),
            MsgFlags::MSG_CMSG_CLOEXEC,
        );
        match got {
            Ok(message) => {
                let mut fds = Vec::new();
                for part in message.cmsgs().map_err(|errno| Error::new(Call::Recv, errno))? {
                    if let ControlMessageOwned::ScmRights(raw) = part {
                        // SAFETY: the kernel installed these for this message, close-on-exec; each is taken exactly once.
                        fds.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
                    }
                }
                return Ok((message.bytes, fds));
            }
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::new(Call::Recv, errno)),
        }
    }
}
