//! Network namespaces that the host side makes or visits. It is back in its own before it does anything else.

use std::os::fd::OwnedFd;

use nix::fcntl::OFlag;

use super::Kind;
use crate::sys::netlink::Route;
use crate::sys::{self, Result};

/// Our own one.
pub(super) fn own() -> Result<OwnedFd> {
    sys::fs::open_host("/proc/self/ns/net", OFlag::O_RDONLY)
}

/// A new one, its loopback up. Its descriptor is all that keeps it.
pub(super) fn new() -> Result<OwnedFd> {
    let enter = || {
        sys::process::unshare(Kind::Network.flag()).map_err(|e| {
            let hint = super::hint(e.errno);
            e.about(hint)
        })
    };
    visit(&own()?, enter, || sys::net::loopback_up().and_then(|()| own()))
}

/// A conversation with another namespace's network stack: it belongs to the namespace in which its socket was made.
pub(super) fn open_in(namespace: &OwnedFd, home: &OwnedFd) -> Result<Route> {
    let enter = || sys::process::setns(namespace, Kind::Network.flag()).map_err(|e| e.about("network"));
    visit(home, enter, Route::open)
}

/// Brings the loopback device of a process's network namespace up, as `create` does in a new one.
pub fn loopback_of(pid: i32) -> Result<()> {
    let namespace = sys::fs::open_host(&format!("/proc/{pid}/ns/net"), OFlag::O_RDONLY)?;
    let there = open_in(&namespace, &own()?)?;
    let (index, _) = there.find("lo")?;
    there.set_up(index).map_err(|e| e.at("lo"))
}

fn visit<T>(home: &OwnedFd, enter: impl FnOnce() -> Result<()>, there: impl FnOnce() -> Result<T>) -> Result<T> {
    enter()?;
    let done = there();
    sys::process::setns(home, Kind::Network.flag()).map_err(|e| e.about("back to our own network namespace"))?;
    done
}
