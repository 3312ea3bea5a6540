//! `netDevices`: devices of the runtime's network namespace move into the container's, with their name there, their
//! permanent global addresses, and up. The kernel keeps MTU, hardware address and the rest by itself.
//!
//! They are never moved back when a container ends: then a physical device returns by itself and a virtual one ends with
//! its namespace. But while a container is being made they are: what fails must leave the host as it was.

use std::os::fd::OwnedFd;

use super::network::{open_in, own};
use crate::sys::netlink::{Address, Route};
use crate::sys::{Call, Errno, Error, Result};

/// A device that was moved, and what it takes to bring it back.
pub(super) struct Moved {
    there: Route,
    index: u32,
    home: OwnedFd,
    name: String,
    addresses: Vec<Address>,
    up: bool,
}

/// Moves the device `name` of our namespace into `namespace`, where it is called `inside`.
pub(super) fn move_device(name: &str, inside: &str, namespace: &OwnedFd, moved: &mut Vec<Moved>) -> Result<()> {
    let home = own()?;
    let here = Route::open()?;
    let there = open_in(namespace, &home)?;
    let (index, up) = here.find(name)?;
    let addresses = here.addresses(index)?;
    let template = inside.contains('%');
    let before = if template { there.indexes()? } else { vacant(&there, inside)? };
    here.move_to(index, namespace, inside).map_err(|e| e.at(name))?;
    let arrived = if template { newcomer(&there, &before) } else { there.find(inside).map(|(index, _)| index) };
    let index = arrived?;
    // From here on it can be brought back.
    moved.push(Moved { there, index, home, name: name.to_owned(), addresses, up });
    let Some(Moved { there, addresses, .. }) = moved.last() else { return Ok(()) };
    addresses.iter().try_for_each(|a| there.add_address(index, a)).map_err(|e| e.at(inside))?;
    there.set_up(index).map_err(|e| e.at(inside))
}

/// The kernel moves first and renames then: a name that is taken must be found before.
fn vacant(there: &Route, inside: &str) -> Result<Vec<u32>> {
    match there.find(inside) {
        Err(e) if e.errno == Errno::ENODEV => Ok(Vec::new()),
        Err(e) => Err(e),
        Ok(_) => {
            let note = format!("{inside} (the container's network namespace has a device of this name)");
            Err(Error::new(Call::Netlink, Errno::EEXIST).about(note))
        }
    }
}

/// Which device was not there before: its name is the kernel's choice.
fn newcomer(there: &Route, before: &[u32]) -> Result<u32> {
    let new = there.indexes()?.into_iter().find(|index| !before.contains(index));
    new.ok_or_else(|| Error::new(Call::Netlink, Errno::ENODEV).about("it did not arrive"))
}

impl Moved {
    /// Brings it back as it was. What fails here is not reported: another failure is, the one that brought us here.
    pub(super) fn bring_back(self) {
        let back = self.there.move_to(self.index, &self.home, &self.name).and_then(|()| {
            let here = Route::open()?;
            let (index, _) = here.find(&self.name)?;
            self.addresses.iter().try_for_each(|a| here.add_address(index, a))?;
            if self.up { here.set_up(index) } else { Ok(()) }
        });
        let _ = back;
    }
}
