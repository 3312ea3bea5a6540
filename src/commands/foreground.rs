//! What `rt run` does while the workload runs: passes signals on, serves the terminal, reaps orphans, waits.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::Result;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::notify::Proxy;
use crate::sys::process::Ended;
use crate::sys::{self, Call, During, Errno};

/// Our signals, read from a descriptor: blocked before init is born, so that none is lost.
pub struct Signals(SignalFd);

impl Signals {
    /// Blocks every signal from here on.
    pub fn block() -> sys::Result<Self> {
        sys::process::block_signals()?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        SignalFd::with_flags(&SigSet::all(), flags).during(Call::Sigprocmask).map(Self)
    }
}

/// Our own terminal, raw while the container's is served; put back when this is dropped.
struct RawTerminal(Option<nix::sys::termios::Termios>);

impl RawTerminal {
    fn new() -> Self {
        let stdin = std::io::stdin();
        Self(sys::tty::size(&stdin).ok().and_then(|_| sys::tty::raw(&stdin).ok()))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        if let Some(settings) = &self.0 {
            // A terminal that hung up has nothing to be put back.
            let _ = sys::tty::restore(std::io::stdin(), settings);
        }
    }
}

/// Serves until init has ended.
pub fn serve(signals: &Signals, pidfd: &OwnedFd, terminal: Option<OwnedFd>, notify: Option<&Proxy>) -> Result<Ended> {
    let raw = terminal.as_ref().map(|_| RawTerminal::new());
    if let Some(master) = &terminal {
        resize(master);
    }
    let mut input_open = true;
    let mut master = terminal;
    loop {
        let stdin = std::io::stdin();
        let mut fds =
            vec![PollFd::new(signals.0.as_fd(), PollFlags::POLLIN), PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        if let Some(master) = &master {
            fds.push(PollFd::new(master.as_fd(), PollFlags::POLLIN));
            if input_open {
                fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
            }
        }
        fds.extend(notify.map(|proxy| PollFd::new(proxy.as_fd(), PollFlags::POLLIN)));
        match nix::poll::poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(sys::Error::new(Call::Poll, errno).into()),
        }
        let ready: Vec<bool> = fds.iter().map(|f| f.any() == Some(true)).collect();
        if ready[0] {
            pass_on(signals, pidfd, master.as_ref());
        }
        if ready.get(3) == Some(&true)
            && let Some(master) = &master
        {
            input_open = copy(stdin.as_fd(), master.as_fd());
        }
        if ready.get(2) == Some(&true) && master.as_ref().is_some_and(|m| !copy(m.as_fd(), std::io::stdout().as_fd())) {
            master = None;
        }
        if let (Some(proxy), Some(true)) = (notify, ready.last()) {
            // We stay the service's main process; who we report to may be gone, and the workload goes on.
            let _ = proxy.pass_on(None);
        }
        if ready[1] {
            // What the workload wrote last is still in the terminal, what it said last in the socket.
            while master.as_ref().is_some_and(|m| readable(m) && copy(m.as_fd(), std::io::stdout().as_fd())) {}
            while notify.is_some_and(|proxy| readable(proxy) && proxy.pass_on(None).is_ok()) {}
            drop(raw);
            return Ok(sys::process::wait(pidfd)?);
        }
    }
}

fn readable(fd: impl AsFd) -> bool {
    sys::process::wait_readable(fd, Some(std::time::Duration::ZERO)).unwrap_or(false)
}

/// Every signal but those about ourselves goes to init.
fn pass_on(signals: &Signals, pidfd: &OwnedFd, master: Option<&OwnedFd>) {
    while let Ok(Some(info)) = signals.0.read_signal() {
        match info.ssi_signo as i32 {
            // As a subreaper we get the orphans of a container without a pid namespace of its own.
            libc::SIGCHLD => drop(sys::process::reap_all_but(pidfd)),
            libc::SIGWINCH if master.is_some() => master.into_iter().for_each(resize),
            // About our own writing to our own terminal or pipe.
            libc::SIGPIPE | libc::SIGTTOU | libc::SIGTTIN => {}
            // Init may be gone already; then its end is the answer.
            number => drop(sys::process::signal(pidfd, number)),
        }
    }
}

/// The container's terminal gets the size of ours.
fn resize(master: &OwnedFd) {
    if let Ok(size) = sys::tty::size(std::io::stdin()).or_else(|_| sys::tty::size(std::io::stdout())) {
        let _ = sys::tty::set_size(master, size);
    }
}

/// Copies what is there; false at the end of either side.
fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> bool {
    let mut buffer = [0; 8192];
    let n = match nix::unistd::read(from, &mut buffer) {
        Ok(0) => return false,
        Ok(n) => n,
        Err(Errno::EINTR | Errno::EAGAIN) => return true,
        // A pty master says EIO when nobody has its other side open.
        Err(_) => return false,
    };
    let mut rest = &buffer[..n];
    while !rest.is_empty() {
        match nix::unistd::write(to, rest) {
            Ok(n) => rest = &rest[n..],
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => {
                let mut fds = [PollFd::new(to, PollFlags::POLLOUT)];
                let _ = nix::poll::poll(&mut fds, PollTimeout::NONE);
            }
            Err(_) => return false,
        }
    }
    true
}
