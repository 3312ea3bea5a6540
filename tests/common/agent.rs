//! A seccomp agent: the socket at `listenerPath`, what comes over it, and answers to notifications.

use std::fs::File;
use std::io::{IoSliceMut, Read};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use serde_json::Value;

use super::{Bundle, patience};

/// The listening end.
pub struct Agent {
    listener: UnixListener,
    /// For the config.
    pub path: String,
}

/// What an agent decides.
pub enum Answer {
    /// The call is not made and returns this.
    Value(i64),
    /// The call is not made and fails with this.
    Errno(i32),
    /// The call is made.
    Continue,
}

impl Agent {
    /// A socket in the bundle's directory.
    pub fn new(bundle: &Bundle) -> Self {
        let path = bundle.text("agent.sock");
        Self { listener: UnixListener::bind(&path).expect("a socket"), path }
    }

    /// Takes the next connection: the message, and the listener's descriptor. Asserts that it is the only one, and that
    /// the connection is closed then.
    pub fn receive(&self) -> (Value, Notifications) {
        assert!(readable(&self.listener), "nobody has connected to the agent");
        let (mut stream, _) = self.listener.accept().expect("accept");
        let (mut text, mut fds) = first_message(&stream);
        stream.read_to_end(&mut text).expect("the end of the connection");
        assert_eq!(fds.len(), 1, "one descriptor comes");
        let message = serde_json::from_slice(&text).expect("JSON");
        (message, Notifications(File::from(fds.remove(0))))
    }

    /// Whether anybody wants to connect.
    pub fn is_called(&self) -> bool {
        self.listener.set_nonblocking(true).expect("a flag");
        let called = self.listener.accept().is_ok();
        self.listener.set_nonblocking(false).expect("a flag");
        called
    }
}

fn first_message(stream: &UnixStream) -> (Vec<u8>, Vec<OwnedFd>) {
    assert!(readable(stream), "nothing came over the connection");
    let mut bytes = vec![0u8; 65536];
    let mut space = nix::cmsg_space!([i32; 4]);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC);
    let message = message.expect("recvmsg");
    let mut fds = Vec::new();
    for control in message.cmsgs().expect("control data") {
        if let ControlMessageOwned::ScmRights(rights) = control {
            // SAFETY: the kernel has just made these descriptors for us; nobody else owns them.
            fds.extend(rights.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    let length = message.bytes;
    bytes.truncate(length);
    (bytes, fds)
}

fn readable(fd: &impl AsFd) -> bool {
    let mut poll_fd = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    poll(&mut poll_fd, PollTimeout::try_from(patience()).expect("a time-out")).expect("poll") > 0
}

/// The listener of a filter.
pub struct Notifications(File);

impl Notifications {
    /// Answers calls by their number until nobody is under the filter any more; gives the numbers in order.
    pub fn serve(&self, answers: impl Fn(i64) -> Answer) -> Vec<i64> {
        let mut seen = Vec::new();
        while self.wait() {
            // SAFETY: all-zero is what the kernel wants to be given.
            let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
            if self.ioctl(0xc050_2100, &raw mut call as u64) != 0 {
                // Whoever asked has died meanwhile.
                assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::ENOENT), "{seen:?}");
                continue;
            }
            let (val, error, flags) = match answers(call.data.nr.into()) {
                Answer::Value(value) => (value, 0, 0),
                Answer::Errno(errno) => (0, -errno, 0),
                Answer::Continue => (0, 0, 1),
            };
            let mut answer = libc::seccomp_notif_resp { id: call.id, val, error, flags };
            self.ioctl(0xc018_2101, &raw mut answer as u64);
            seen.push(call.data.nr.into());
        }
        seen
    }

    /// Whether a notification waits; false when nobody can send one any more.
    fn wait(&self) -> bool {
        let mut poll_fd = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut poll_fd, PollTimeout::try_from(patience()).expect("a time-out")).expect("poll");
        assert!(ready > 0, "neither a notification nor the end came");
        poll_fd[0].revents().is_some_and(|events| events.contains(PollFlags::POLLIN))
    }

    fn ioctl(&self, request: u64, argument: u64) -> i32 {
        // SAFETY: both requests read and write the struct of their size, to which the argument points.
        unsafe { libc::ioctl(self.0.as_raw_fd(), request as libc::c_ulong, argument) }
    }
}
