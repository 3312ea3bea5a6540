//! The D-Bus client against a real bus (a dbus-daemon of its own, on a private socket), and against ones that lie, stall or
//! are not there. systemd is not needed.
#![allow(clippy::disallowed_methods)] // the other side of a socket is a thread of the test

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rt::cgroups::systemd::Value;
use rt::cgroups::systemd::bus::{
    Bus, Environment, Instance, Kind, Message, Method, Parsed, Place, Refusal, parse, places,
};
use tempfile::TempDir;

#[path = "common/mod.rs"]
mod common;
use common::{patience, wait_until};

const DBUS: &str = "org.freedesktop.DBus";

/// A dbus-daemon that only this test knows.
struct Daemon {
    directory: TempDir,
    child: Child,
}

impl Daemon {
    fn start() -> Option<Daemon> {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("bus");
        let config = format!(
            "<busconfig><type>session</type><listen>unix:path={}</listen><policy context=\"default\">\
             <allow send_destination=\"*\" eavesdrop=\"true\"/><allow eavesdrop=\"true\"/><allow own=\"*\"/></policy>\
             </busconfig>",
            socket.display()
        );
        let file = directory.path().join("config");
        fs::write(&file, config).unwrap();
        let mut command = Command::new("dbus-daemon");
        command.arg("--nofork").arg(format!("--config-file={}", file.display()));
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
        let daemon = Daemon { directory, child };
        wait_until(patience(), || UnixStream::connect(&socket).ok()).expect("dbus-daemon listens");
        Some(daemon)
    }

    fn connect(&self) -> Bus {
        Bus::connect(&at(&self.directory.path().join("bus")), patience()).unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn at(socket: &Path) -> Vec<Place> {
    let environment = Environment { system: Some(format!("unix:path={}", socket.display())), ..Environment::default() };
    places(Instance::System, &environment).unwrap()
}

fn end() -> Instant {
    Instant::now() + patience()
}

fn of_bus(member: &str) -> Method<'_> {
    Method { destination: DBUS, path: "/org/freedesktop/DBus", interface: DBUS, member }
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// A server that hears one connection: `act` gets it.
fn server(act: impl FnOnce(UnixStream) + Send + 'static) -> (TempDir, Vec<Place>) {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("bus");
    let listener = UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || act(listener.accept().unwrap().0));
    (directory, at(&socket))
}

/// Lets a client in, as the protocol has it.
fn let_in(stream: &mut UnixStream) {
    let mut said = Vec::new();
    while !said.ends_with(b"BEGIN\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        said.push(byte[0]);
    }
    assert!(said.starts_with(b"\0AUTH EXTERNAL\r\n"));
    stream.write_all(b"DATA\r\nOK 0123456789abcdef0123456789abcdef\r\n").unwrap();
}

/// The next call of the client.
fn hear(stream: &mut UnixStream) -> Message {
    let mut bytes = Vec::new();
    loop {
        if let Parsed::Whole(message, _) = parse(&bytes) {
            return *message;
        }
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        bytes.push(byte[0]);
    }
}

fn answer(stream: &mut UnixStream, call: &Message, body: Vec<Value>) {
    let message = Message { kind: Kind::Answer, serial: 1, answers: Some(call.serial), body, ..Message::default() };
    stream.write_all(&message.bytes()).unwrap();
}

#[test]
fn a_real_bus_answers() {
    let Some(daemon) = Daemon::start() else { skip!("no dbus-daemon here: apt-get install dbus-daemon") };
    let mut bus = daemon.connect();
    let names = bus.call(of_bus("ListNames"), Vec::new(), end()).unwrap();
    let Some(Value::Array(of, names)) = names.body.first() else { panic!("{names:?}") };
    assert_eq!(of, "s");
    assert!(names.contains(&text(DBUS)));
    // Strings, numbers, and what comes back in a dictionary of variants.
    let who = bus.call(of_bus("GetConnectionCredentials"), vec![text(DBUS)], end()).unwrap();
    assert!(format!("{:?}", who.body).contains("ProcessID"), "{who:?}");
}

#[test]
fn a_refusal_has_a_name_and_words() {
    let Some(daemon) = Daemon::start() else { skip!("no dbus-daemon here: apt-get install dbus-daemon") };
    let mut bus = daemon.connect();
    let nobody = Method { destination: "org.example.Nobody", path: "/x", interface: "a.b", member: "C" };
    match bus.call(nobody, Vec::new(), end()) {
        Err(Refusal::Said(name, words)) => {
            assert_eq!(name, "org.freedesktop.DBus.Error.ServiceUnknown");
            assert!(words.contains("org.example.Nobody"), "{words}");
        }
        other => panic!("{other:?}"),
    }
    // And the connection goes on.
    bus.call(of_bus("GetId"), Vec::new(), end()).unwrap();
}

#[test]
fn signals_come_even_between_calls() {
    let Some(daemon) = Daemon::start() else { skip!("no dbus-daemon here: apt-get install dbus-daemon") };
    let (mut one, mut other) = (daemon.connect(), daemon.connect());
    one.listen(DBUS, DBUS, "NameOwnerChanged", end()).unwrap();
    for name in ["org.example.A", "org.example.B"] {
        other.call(of_bus("RequestName"), vec![text(name), Value::U32(0)], end()).unwrap();
    }
    // The signals stand before the answer to this.
    one.call(of_bus("GetId"), Vec::new(), end()).unwrap();
    for name in ["org.example.B", "org.example.A"] {
        let signal =
            one.signal(end(), |m| m.member == "NameOwnerChanged" && m.body.first() == Some(&text(name))).unwrap();
        assert_eq!(signal.sender, DBUS);
    }
}

#[test]
fn a_bus_that_never_answers_is_given_up() {
    let patience = Duration::from_secs(1);
    // It takes the connection, and reads nothing.
    let (_directory, places) = server(|stream| {
        std::thread::sleep(common::patience());
        drop(stream);
    });
    let said = Bus::connect(&places, patience).unwrap_err().to_string();
    assert!(said.starts_with("no answer within 1 s from /"), "{said}");
    // Nobody even takes the connection: the queue is full.
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("bus");
    let listener = UnixListener::bind(&socket).unwrap();
    shortest_queue(&listener);
    let mut waiting = Vec::new();
    let said = wait_until(common::patience(), || match Bus::connect(&at(&socket), patience) {
        Ok(bus) => {
            waiting.push(bus);
            None
        }
        Err(e) => Some(e.to_string()),
    });
    assert!(said.unwrap().starts_with("no answer within 1 s from /"));
}

/// The shortest queue there is.
fn shortest_queue(listener: &UnixListener) {
    nix::sys::socket::listen(listener, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
}

#[test]
fn a_bus_that_stalls_in_the_middle_is_given_up() {
    let (_directory, places) = server(|mut stream| {
        let_in(&mut stream);
        let hello = hear(&mut stream);
        answer(&mut stream, &hello, vec![text(":1.1")]);
        let call = hear(&mut stream);
        // Half of an answer, and silence.
        let message = Message { kind: Kind::Answer, serial: 2, answers: Some(call.serial), ..Message::default() };
        stream.write_all(&message.bytes()[..20]).unwrap();
        std::thread::sleep(common::patience());
    });
    let mut bus = Bus::connect(&places, patience()).unwrap();
    match bus.call(of_bus("GetId"), Vec::new(), Instant::now() + Duration::from_secs(1)) {
        Err(Refusal::Failed(e)) => {
            assert_eq!(e.errno, nix::errno::Errno::ETIMEDOUT);
            assert!(e.note.contains("GetId"), "{e}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn lies_and_ends_are_said() {
    let cases: [(&[u8], &str); 5] = [
        (b"REJECTED EXTERNAL\r\n", "does not let us in: REJECTED EXTERNAL"),
        (b"", "closed the connection"),
        (b"OK 1\r\nthis is no message at all, whatever it is", "what it says is no D-Bus: no byte order"),
        (b"OK 1\r\nl\x02\0\x01\xff\xff\xff\x7f\x01\0\0\0\0\0\0\0", "larger than anything"),
        (&[b'x'; 5000], "a line without an end"),
    ];
    for (said, expected) in cases {
        let (_directory, places) = server(move |mut stream| {
            let mut first = [0; 16];
            stream.read_exact(&mut first).unwrap();
            stream.write_all(said).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            // Until the client has gone.
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let error = Bus::connect(&places, patience()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn where_nobody_listens_every_place_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let (gone, here) = (directory.path().join("gone"), directory.path().join("dead"));
    drop(UnixListener::bind(&here).unwrap());
    let all = [at(&gone), at(&here)].concat();
    let said = Bus::connect(&all, patience()).unwrap_err().to_string();
    assert!(said.contains("gone: no such file or directory"), "{said}");
    assert!(said.contains("dead: connection refused"), "{said}");
}

/// Whatever a bus answers, the client says something and ends; it never waits for ever and never panics.
#[test]
fn random_answers_are_survived() {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let body = vec![text(":1.1"), Value::Array("(sv)".into(), vec![])];
    let good = Message { kind: Kind::Answer, serial: 1, answers: Some(1), body, ..Message::default() }.bytes();
    for _ in 0..200 {
        let mut bytes = good.clone();
        for _ in 0..1 + random() % 3 {
            let at = random() as usize % bytes.len();
            bytes[at] = random() as u8;
        }
        let (_directory, places) = server(move |mut stream| {
            let_in(&mut stream);
            hear(&mut stream);
            stream.write_all(&bytes).unwrap();
            // What asks for more hears that there is none.
        });
        let _ = Bus::connect(&places, patience());
    }
}
