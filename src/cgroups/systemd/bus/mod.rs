//! A blocking D-Bus client, for the five things that we ask of systemd.
//!
//! Own code, because nothing that exists fits: `zbus` brings an executor with threads (we have one thread, and fork) and
//! sixty crates for a binary that has room for none; `rustbus` has had no release for years and does not know how to
//! authenticate from inside a user namespace, where the uid that we see is not the one that the bus sees. What is
//! needed of D-Bus is a few hundred lines: one kind of authentication, calls, answers, one signal.
//!
//! Must never: wait without an end, start a thread, or trust a length.

mod address;
mod message;
mod value;
mod wire;

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

pub use address::{Environment, Instance, Place, places};
pub use message::{Kind, LARGEST, Message, Parsed, parse};
pub use value::Value;

use crate::sys::stream::{self, Address};
use crate::sys::{Call, Errno, Error, Result};

const BUS: &str = "org.freedesktop.DBus";
const BUS_PATH: &str = "/org/freedesktop/DBus";
/// How many messages may come that are not for us before that is an error.
const STRANGERS: usize = 10_000;

/// Why a call came to nothing.
#[derive(Debug)]
pub enum Refusal {
    /// The other side says no: the error's name, and its words.
    Said(String, String),
    /// There was no answer.
    Failed(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Refusal::Failed(error)
    }
}

/// A method to call.
#[derive(Clone, Copy, Debug)]
pub struct Method<'a> {
    /// Whose: `org.freedesktop.systemd1`.
    pub destination: &'a str,
    /// The object.
    pub path: &'a str,
    /// The interface.
    pub interface: &'a str,
    /// The method.
    pub member: &'a str,
}

/// A connection.
#[derive(Debug)]
pub struct Bus {
    socket: OwnedFd,
    /// What people call the place.
    place: String,
    /// Whether there is a bus between us and systemd.
    bus: bool,
    serial: u32,
    read: Vec<u8>,
    /// Signals that came while we waited for something else.
    signals: Vec<Message>,
}

impl Bus {
    /// Connects to the first place where somebody listens, says who we are, and has it confirmed.
    pub fn connect(places: &[Place], patience: Duration) -> Result<Bus> {
        let end = Instant::now() + patience;
        let mut refused = Vec::new();
        for place in places {
            let name = name(&place.address);
            match stream::connect(&place.address, end) {
                Ok(socket) => {
                    let mut bus =
                        Bus { socket, place: name, bus: place.bus, serial: 0, read: Vec::new(), signals: Vec::new() };
                    return bus.greet(end).map(|()| bus).map_err(|e| say(e, patience));
                }
                // Somebody is there, and does not answer: the next place would be no better.
                Err(e) if e.errno == Errno::ETIMEDOUT => return Err(say(e.at(&name), patience)),
                Err(e) => refused.push(format!("{name}: {}", crate::sys::words(e.errno))),
            }
        }
        Err(Error::other(Call::Connect, format!("nobody listens there ({})", refused.join("; "))))
    }

    /// Whether signals have to be asked for at a bus.
    pub fn is_bus(&self) -> bool {
        self.bus
    }

    /// EXTERNAL without an identity of our own choosing: the other side takes the one that the kernel vouches for. Inside
    /// a user namespace we don't even know it. All in one: systemd's own socket forgets what comes right after a BEGIN
    /// that comes alone, until more comes.
    fn greet(&mut self, end: Instant) -> Result<()> {
        let said = b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n";
        stream::send_all(&self.socket, said, end).map_err(|e| e.at(&self.place))?;
        loop {
            let line = self.line(end)?;
            match line.split(' ').next() {
                Some("DATA") => {}
                Some("OK") => break,
                _ => {
                    let note = format!("{}: does not let us in: {line}", self.place);
                    return Err(Error::other(Call::Connect, note));
                }
            }
        }
        if self.bus {
            let hello = Method { destination: BUS, path: BUS_PATH, interface: BUS, member: "Hello" };
            self.call(hello, Vec::new(), end).map_err(|refusal| self.failure(refusal))?;
        }
        Ok(())
    }

    /// One line of the authentication.
    fn line(&mut self, end: Instant) -> Result<String> {
        loop {
            if let Some(at) = self.read.windows(2).position(|two| two == b"\r\n") {
                let line = String::from_utf8_lossy(&self.read[..at]).into_owned();
                self.read.drain(..at + 2);
                return Ok(line);
            }
            if self.read.len() > 4096 {
                return Err(self.nonsense("a line without an end"));
            }
            self.more(end)?;
        }
    }

    /// Asks the bus for a signal that `sender` sends.
    pub fn listen(
        &mut self,
        sender: &str,
        interface: &str,
        member: &str,
        end: Instant,
    ) -> std::result::Result<(), Refusal> {
        let rule = format!("type='signal',sender='{sender}',interface='{interface}',member='{member}'");
        let add = Method { destination: BUS, path: BUS_PATH, interface: BUS, member: "AddMatch" };
        self.call(add, vec![Value::Text(rule)], end).map(|_| ())
    }

    /// Calls, and waits for the answer.
    pub fn call(
        &mut self,
        method: Method<'_>,
        body: Vec<Value>,
        end: Instant,
    ) -> std::result::Result<Message, Refusal> {
        self.serial += 1;
        let serial = self.serial;
        let message = Message {
            serial,
            destination: method.destination.into(),
            path: method.path.into(),
            interface: method.interface.into(),
            member: method.member.into(),
            body,
            ..Message::default()
        };
        stream::send_all(&self.socket, &message.bytes(), end).map_err(|e| self.about(e, method.member))?;
        for _ in 0..STRANGERS {
            let message = self.next(end).map_err(|e| self.about(e, method.member))?;
            match message.kind {
                Kind::Answer if message.answers == Some(serial) => return Ok(message),
                Kind::Error if message.answers == Some(serial) => {
                    let words = message.body.first().and_then(Value::text).unwrap_or_default().to_owned();
                    return Err(Refusal::Said(message.error, words));
                }
                Kind::Signal if self.signals.len() < STRANGERS => self.signals.push(message),
                // Nobody has anything to ask of us.
                _ => {}
            }
        }
        Err(self.nonsense("messages without an end").into())
    }

    /// Waits for a signal.
    pub fn signal(&mut self, end: Instant, wanted: impl Fn(&Message) -> bool) -> Result<Message> {
        if let Some(at) = self.signals.iter().position(&wanted) {
            return Ok(self.signals.swap_remove(at));
        }
        for _ in 0..STRANGERS {
            let message = self.next(end)?;
            if message.kind == Kind::Signal && wanted(&message) {
                return Ok(message);
            }
        }
        Err(self.nonsense("signals without an end"))
    }

    fn next(&mut self, end: Instant) -> Result<Message> {
        loop {
            match parse(&self.read) {
                Parsed::Whole(message, length) => {
                    self.read.drain(..length);
                    return Ok(*message);
                }
                Parsed::Nonsense(why) => return Err(self.nonsense(why)),
                Parsed::More => self.more(end)?,
            }
        }
    }

    fn more(&mut self, end: Instant) -> Result<()> {
        match stream::receive(&self.socket, &mut self.read, end).map_err(|e| e.at(&self.place))? {
            0 => Err(Error::other(Call::Recv, format!("{}: closed the connection", self.place))),
            _ => Ok(()),
        }
    }

    fn nonsense(&self, why: &str) -> Error {
        Error::other(Call::Recv, format!("{}: what it says is no D-Bus: {why}", self.place))
    }

    fn about(&self, error: Error, member: &str) -> Error {
        error.at(&format!("{} ({member})", self.place))
    }

    /// A refusal as an error, for those who don't care what kind it is.
    pub fn failure(&self, refusal: Refusal) -> Error {
        match refusal {
            Refusal::Failed(error) => error,
            Refusal::Said(name, words) if words.is_empty() => Error::other(Call::Recv, name),
            Refusal::Said(_, words) => Error::other(Call::Recv, words),
        }
    }
}

fn name(address: &Address) -> String {
    match address {
        Address::Path(path) => path.clone(),
        Address::Abstract(name) => format!("@{name}"),
    }
}

/// A time-out in words.
pub fn say(error: Error, patience: Duration) -> Error {
    match error.errno {
        Errno::ETIMEDOUT => {
            Error::other(error.call, format!("no answer within {} s from {}", patience.as_secs(), error.note))
        }
        _ => error,
    }
}
