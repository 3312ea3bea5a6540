//! rtnetlink(7), as much of it as moving a device takes: find it, move it, read and add addresses, set it up.
//! Contracts: netlink(7), rtnetlink(7), NETLINK_EXT_ACK.
//!
//! Why not a library: netlink-packet-route, -core and netlink-sys are 57,000 lines and six crates more (zerocopy and
//! its macros among them) for four kinds of messages that have not changed since Linux 2.2; they would be the largest
//! dependency of this program. What comes from the kernel is parsed with checked lengths all the same.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType};

use super::{Call, During, Errno, Error, Result};

const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const DUMP: u16 = 0x300;
const CREATE_ONLY: u16 = 0x400 | 0x200;
/// Set in an answer whose end holds the kernel's own words.
const HAS_WORDS: u16 = 0x200;
const HEADER: usize = 16;
const LINK_HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;

/// An address of a device, as it can be given to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    family: u8,
    prefix: u8,
    scope: u8,
    flags: u32,
    /// IFA_LOCAL, IFA_ADDRESS, IFA_BROADCAST with their bytes.
    attributes: Vec<(u16, Vec<u8>)>,
}

/// A conversation with the network stack of the namespace that we were in when it began.
pub struct Route(OwnedFd);

impl Route {
    /// Begins one.
    pub fn open() -> Result<Route> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = nix::sys::socket::socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)
            .during(Call::Socket)?;
        for option in [libc::NETLINK_CAP_ACK, libc::NETLINK_EXT_ACK] {
            let on: libc::c_int = 1;
            let size = size_of::<libc::c_int>() as libc::socklen_t;
            // SAFETY: both options read one int, alive across the call. Without them the kernel only says less.
            unsafe {
                libc::setsockopt(socket.as_raw_fd(), libc::SOL_NETLINK, option, (&raw const on).cast(), size);
            }
        }
        Ok(Route(socket))
    }

    /// The index of the device with this name, and whether it is up.
    pub fn find(&self, name: &str) -> Result<(u32, bool)> {
        let mut request = Request::new(libc::RTM_GETLINK, 0).link(0, 0, 0);
        request.text(libc::IFLA_IFNAME, name);
        let answers = self.ask(request).map_err(|e| e.at(name))?;
        let link = answers.first().and_then(|body| Some((number(body, 4)?, number(body, 8)?)));
        let (index, flags) = link.ok_or_else(|| Error::new(Call::Netlink, Errno::EBADMSG).about(name))?;
        Ok((index, flags & libc::IFF_UP as u32 != 0))
    }

    /// The indexes of all devices.
    pub fn indexes(&self) -> Result<Vec<u32>> {
        let answers = self.ask(Request::new(libc::RTM_GETLINK, DUMP).link(0, 0, 0))?;
        Ok(answers.iter().filter_map(|body| number(body, 4)).collect())
    }

    /// Moves a device into another network namespace under this name, which may hold `%d`.
    pub fn move_to(&self, index: u32, namespace: impl AsFd, name: &str) -> Result<()> {
        let mut request = Request::new(libc::RTM_NEWLINK, ACK).link(index, 0, 0);
        request.attribute(libc::IFLA_NET_NS_FD, &namespace.as_fd().as_raw_fd().to_ne_bytes());
        request.text(libc::IFLA_IFNAME, name);
        self.ask(request).map(drop)
    }

    /// Sets a device up.
    pub fn set_up(&self, index: u32) -> Result<()> {
        let up = libc::IFF_UP as u32;
        self.ask(Request::new(libc::RTM_NEWLINK, ACK).link(index, up, up)).map(drop)
    }

    /// The addresses of a device that somebody gave it for good and that are good everywhere; the others are the
    /// kernel's, and it makes them anew.
    pub fn addresses(&self, index: u32) -> Result<Vec<Address>> {
        let answers = self.ask(Request::new(libc::RTM_GETADDR, DUMP).address(0, 0, 0, 0))?;
        let of_device = answers.iter().filter(|body| number(body, 4) == Some(index));
        Ok(of_device.filter_map(|body| address(body)).filter(Address::stays).collect())
    }

    /// Gives a device an address.
    pub fn add_address(&self, index: u32, address: &Address) -> Result<()> {
        let Address { family, prefix, scope, flags, attributes } = address;
        let mut request = Request::new(libc::RTM_NEWADDR, ACK | CREATE_ONLY).address(*family, *prefix, *scope, index);
        request.attribute(libc::IFA_FLAGS, &flags.to_ne_bytes());
        attributes.iter().for_each(|(kind, bytes)| request.attribute(*kind, bytes));
        self.ask(request).map(drop)
    }

    /// Sends a request; the bodies of the answers up to the one that ends it.
    fn ask(&self, request: Request) -> Result<Vec<Vec<u8>>> {
        let dump = request.flags & DUMP == DUMP;
        super::sock::send(&self.0, &request.finish(), &[])?;
        let mut answers = Vec::new();
        loop {
            let mut bytes = vec![0; 64 << 10];
            let got = loop {
                match nix::sys::socket::recv(self.0.as_raw_fd(), &mut bytes, MsgFlags::empty()) {
                    Err(Errno::EINTR) => {}
                    other => break other.during(Call::Netlink)?,
                }
            };
            for (kind, flags, body) in messages(&bytes[..got]) {
                match i32::from(kind) {
                    libc::NLMSG_DONE => return Ok(answers),
                    libc::NLMSG_ERROR => return verdict(flags, body).map(|()| answers),
                    libc::NLMSG_NOOP => {}
                    _ => answers.push(body.to_vec()),
                }
            }
            // One question without an acknowledgement has one answer.
            if !dump && !answers.is_empty() {
                return Ok(answers);
            }
        }
    }
}

/// A message being written.
struct Request {
    flags: u16,
    bytes: Vec<u8>,
}

impl Request {
    fn new(kind: u16, flags: u16) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(REQUEST | flags).to_ne_bytes());
        Self { flags, bytes }
    }

    /// `struct ifinfomsg`.
    fn link(mut self, index: u32, flags: u32, change: u32) -> Self {
        self.bytes.extend([0; 4]);
        [index, flags, change].iter().for_each(|n| self.bytes.extend(n.to_ne_bytes()));
        self
    }

    /// `struct ifaddrmsg`.
    fn address(mut self, family: u8, prefix: u8, scope: u8, index: u32) -> Self {
        self.bytes.extend([family, prefix, 0, scope]);
        self.bytes.extend(index.to_ne_bytes());
        self
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.bytes.extend((4 + value.len() as u16).to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn text(&mut self, kind: u16, value: &str) {
        self.attribute(kind, &[value.as_bytes(), &[0]].concat());
    }

    fn finish(mut self) -> Vec<u8> {
        let length = self.bytes.len() as u32;
        self.bytes[..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes
    }
}

/// Type, flags and body of each message.
fn messages(mut bytes: &[u8]) -> Vec<(u16, u16, &[u8])> {
    let mut found = Vec::new();
    while let (Some(length), Some(kind), Some(flags)) = (number(bytes, 0), half(bytes, 4), half(bytes, 6)) {
        let length = length as usize;
        let Some(body) = bytes.get(HEADER..length) else { break };
        found.push((kind, flags, body));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// Type and value of each attribute.
fn attributes(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    while let (Some(length), Some(kind)) = (half(bytes, 0), half(bytes, 2)) {
        let length = usize::from(length);
        let Some(value) = bytes.get(4..length) else { break };
        found.push((kind & 0x3fff, value));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// An NLMSG_ERROR: zero, or an errno with, if it has any, the kernel's own words.
fn verdict(flags: u16, body: &[u8]) -> Result<()> {
    const WORDS: u16 = 1;
    let code = number(body, 0).unwrap_or(u32::MAX) as i32;
    if code == 0 {
        return Ok(());
    }
    let error = Error::new(Call::Netlink, Errno::from_raw(code.wrapping_neg()));
    let rest = if flags & HAS_WORDS != 0 { body.get(4 + HEADER..).unwrap_or_default() } else { &[] };
    match attributes(rest).iter().find(|(kind, _)| *kind == WORDS) {
        Some((_, words)) => Err(error.about(String::from_utf8_lossy(words).trim_end_matches('\0'))),
        None => Err(error),
    }
}

/// A `struct ifaddrmsg` with its attributes.
fn address(body: &[u8]) -> Option<Address> {
    let [family, prefix, flags, scope, ..] = *body else { return None };
    let mut address = Address { family, prefix, scope, flags: flags.into(), attributes: Vec::new() };
    for (kind, value) in attributes(body.get(ADDRESS_HEADER..)?) {
        match kind {
            libc::IFA_LOCAL | libc::IFA_ADDRESS | libc::IFA_BROADCAST => {
                address.attributes.push((kind, value.to_vec()))
            }
            libc::IFA_FLAGS => address.flags = number(value, 0)?,
            _ => {}
        }
    }
    Some(address)
}

impl Address {
    fn stays(&self) -> bool {
        self.flags & libc::IFA_F_PERMANENT != 0 && self.scope == libc::RT_SCOPE_UNIVERSE
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

const _: () = assert!(HEADER == size_of::<libc::nlmsghdr>());
const _: () = assert!(LINK_HEADER == 4 + 3 * size_of::<u32>());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_found_with_its_address() {
        let route = Route::open().unwrap();
        let (index, _) = route.find("lo").unwrap();
        assert!(route.indexes().unwrap().contains(&index));
        // 127.0.0.1 is good on this host only: scope host.
        assert_eq!(route.addresses(index).unwrap(), []);
    }

    #[test]
    fn a_device_that_is_not_there_is_named() {
        let e = Route::open().unwrap().find("no-such-dev").unwrap_err();
        assert_eq!((e.errno, e.to_string().contains("no-such-dev")), (Errno::ENODEV, true), "{e}");
    }

    #[test]
    fn the_kernel_s_own_words_are_kept() {
        let mut request = Request::new(libc::NLMSG_ERROR as u16, 0);
        request.bytes.extend((-libc::EINVAL).to_ne_bytes());
        request.bytes.extend([0; HEADER]);
        request.text(1, "The interface netns is immutable");
        let bytes = request.finish();
        let (_, _, body) = messages(&bytes)[0];
        let e = verdict(HAS_WORDS, body).unwrap_err();
        assert_eq!(e.to_string(), "netlink The interface netns is immutable: invalid argument");
        assert_eq!(verdict(0, &0u32.to_ne_bytes()), Ok(()));
    }

    #[test]
    fn nonsense_is_no_message() {
        for bytes in [&[][..], &[1], &[0xff; 64], &[0; 64], &[17, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]] {
            for (_, flags, body) in messages(bytes) {
                assert!(verdict(flags, body).is_err());
                address(body);
            }
            attributes(bytes);
        }
    }

    #[test]
    fn an_address_is_read_as_it_is_written() {
        let written = Address {
            family: 2,
            prefix: 24,
            scope: 0,
            flags: libc::IFA_F_PERMANENT,
            attributes: vec![(libc::IFA_LOCAL, vec![10, 1, 2, 3]), (libc::IFA_ADDRESS, vec![10, 1, 2, 3])],
        };
        let mut request = Request::new(0, 0).address(2, 24, 0, 7);
        request.attribute(libc::IFA_FLAGS, &written.flags.to_ne_bytes());
        written.attributes.iter().for_each(|(kind, value)| request.attribute(*kind, value));
        let bytes = request.finish();
        let (_, _, body) = messages(&bytes)[0];
        let read = address(body).unwrap();
        assert_eq!(read, written);
        assert!(read.stays() && !Address { scope: 254, ..read }.stays());
    }
}
