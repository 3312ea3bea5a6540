//! The network namespace we are in: bring `lo` up. Contract: netdevice(7).

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::{Call, During, Error, Result};
use std::os::fd::AsRawFd;

/// Brings the loopback device of our network namespace up.
pub fn loopback_up() -> Result<()> {
    let socket = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).during(Call::Socket)?;
    // SAFETY: ifreq is plain data; all-zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads one ifreq, alive across the call, with the flags member of the union set.
    match unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) } {
        0 => Ok(()),
        _ => Err(Error::last(Call::Ioctl).about("SIOCSIFFLAGS lo")),
    }
}
