//! The caller's end of a terminal: the console socket that receives a master, and a pty to run `rt` in.

use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use super::{Bundle, patience, wait_until};

/// The listening end of `--console-socket`.
pub struct ConsoleSocket {
    listener: UnixListener,
    /// What goes behind `--console-socket`.
    pub path: String,
}

impl ConsoleSocket {
    /// A socket in the bundle's directory.
    pub fn new(bundle: &Bundle) -> Self {
        let path: PathBuf = bundle.path("tty.sock");
        let listener = UnixListener::bind(&path).expect("a socket");
        Self { listener, path: path.to_str().expect("text").to_owned() }
    }

    /// Takes the master that the runtime sends, and the name that came with it.
    pub fn receive(&self) -> (Terminal, String) {
        let (master, name) = receive_descriptor(&self.listener);
        (Terminal::new(master), name)
    }
}

/// Takes the one descriptor that comes over a socket, and the text beside it.
pub fn receive_descriptor(listener: &UnixListener) -> (OwnedFd, String) {
    wait_readable(listener);
    let (stream, _) = listener.accept().expect("accept");
    wait_readable(&stream);
    let mut name = [0u8; 4096];
    let mut space = nix::cmsg_space!([i32; 4]);
    let mut parts = [IoSliceMut::new(&mut name)];
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC);
    let message = message.expect("recvmsg");
    let mut fds = Vec::new();
    for control in message.cmsgs().expect("control data") {
        if let ControlMessageOwned::ScmRights(rights) = control {
            fds.extend(rights);
        }
    }
    let length = message.bytes;
    assert_eq!(fds.len(), 1, "one descriptor comes over the socket");
    // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
    let descriptor = unsafe { OwnedFd::from_raw_fd(fds[0]) };
    (descriptor, String::from_utf8_lossy(&name[..length]).into_owned())
}

fn wait_readable(fd: &impl AsFd) {
    let mut poll_fd = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    let limit = PollTimeout::try_from(patience()).expect("a time-out");
    let ready = poll(&mut poll_fd, limit).expect("poll");
    assert!(ready > 0, "nobody has connected to the console socket, or nothing came over it");
}

/// The master of a pty.
pub struct Terminal {
    master: File,
    heard: String,
}

impl Terminal {
    fn new(master: OwnedFd) -> Self {
        fcntl(&master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("fcntl");
        Self { master: File::from(master), heard: String::new() }
    }

    /// A new pty of the host: the master's end, and the slave for a child.
    pub fn open(rows: u16, columns: u16) -> (Self, OwnedFd) {
        let pty = nix::pty::openpty(Some(&size(rows, columns)), None).expect("a pty");
        // SAFETY: the descriptor is open for as long as `pty`; F_SETFD takes a number.
        unsafe { libc::fcntl(pty.master.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) };
        (Self::new(pty.master), pty.slave)
    }

    /// Types a line.
    pub fn type_line(&mut self, text: &str) {
        self.master.write_all(format!("{text}\n").as_bytes()).expect("the terminal takes input");
    }

    /// Types one byte: `\x03`.
    pub fn type_byte(&mut self, byte: u8) {
        self.master.write_all(&[byte]).expect("the terminal takes input");
    }

    /// Changes the window.
    pub fn resize(&self, rows: u16, columns: u16) {
        let size = size(rows, columns);
        // SAFETY: TIOCSWINSZ reads one winsize, which outlives the call.
        let answer = unsafe { libc::ioctl(self.master.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
        assert_eq!(answer, 0, "TIOCSWINSZ");
    }

    /// The terminal's settings: local flags (ECHO, ICANON, ISIG).
    pub fn local_flags(&self) -> nix::sys::termios::LocalFlags {
        nix::sys::termios::tcgetattr(&self.master).expect("tcgetattr").local_flags
    }

    /// Everything printed so far.
    pub fn heard(&mut self) -> &str {
        let mut buffer = [0u8; 4096];
        // An error is EAGAIN (nothing now) or EIO (the other end is closed): either way that is all there is.
        while let Ok(length) = self.master.read(&mut buffer) {
            if length == 0 {
                break;
            }
            self.heard.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
        &self.heard
    }

    /// Waits until `text` was printed.
    pub fn wait_for(&mut self, text: &str) {
        let found = wait_until(patience(), || self.heard().contains(text).then_some(()));
        assert!(found.is_some(), "the terminal never showed `{text}`; it showed:\n{}", self.heard);
    }
}

fn size(rows: u16, columns: u16) -> libc::winsize {
    libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}
