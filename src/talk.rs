//! The two-ended channel between host and init: few messages, fixed in form, no text but a note of what the kernel said.
//!
//! ```text
//! host                               init
//!   ── Go ─────────────────────────►      only where init must wait for id maps
//!   ── Network (+fd) ──────────────►      only where the host makes the network namespace meanwhile
//!   ◄───────────────────── AtHooks ──     only with prestart or createRuntime hooks
//!   ── HooksDone ──────────────────►
//!   ◄── Ready (+ pty, + timings) ────     or Failed, or the end: init died
//!   ── Stay ───────────────────────►      "created" is on disk; start comes over the socket in the state directory
//!   ── Start ──────────────────────►      `run`: start comes from here
//!   ◄──────────────────── Starting ──     only with --timings
//!   ◄──────────────── Listener (+fd) ──     only with SCMP_ACT_NOTIFY; then the end: the workload runs
//! ```
//! The wrong message does not compile: each end names what it may send and receive.

use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use crate::step::Stage;
use crate::sys::{self, Call, Errno, Error, Result};

/// The longest message. A note is cut to fit.
const LIMIT: usize = 8192;

/// A message that knows its bytes.
pub trait Message: Sized {
    /// As it goes over the socket.
    fn encode(&self) -> Vec<u8>;
    /// From the socket; `None` if it is not of this kind.
    fn decode(bytes: &[u8], fds: Vec<OwnedFd>) -> Option<Self>;
    /// Descriptors that go with it.
    fn fds(&self) -> Vec<RawFd> {
        Vec::new()
    }
}

/// What the host says to init.
#[derive(Debug)]
pub enum HostSays {
    /// Adopted: ids are mapped, go on.
    Go,
    /// The network namespace that init is to enter.
    Network(OwnedFd),
    /// The hooks that run on the host are done.
    HooksDone,
    /// The record says "created": outlive me.
    Stay,
    /// Run the workload.
    Start,
}

impl Message for HostSays {
    fn encode(&self) -> Vec<u8> {
        vec![match self {
            HostSays::Go => 1,
            HostSays::HooksDone => 2,
            HostSays::Stay => 3,
            HostSays::Start => 4,
            HostSays::Network(_) => 5,
        }]
    }

    fn decode(bytes: &[u8], mut fds: Vec<OwnedFd>) -> Option<Self> {
        Some(match bytes {
            [1] => HostSays::Go,
            [2] => HostSays::HooksDone,
            [3] => HostSays::Stay,
            [4] => HostSays::Start,
            [5] => HostSays::Network(fds.pop()?),
            _ => return None,
        })
    }

    fn fds(&self) -> Vec<RawFd> {
        if let HostSays::Network(fd) = self { vec![fd.as_raw_fd()] } else { Vec::new() }
    }
}

/// A step that failed, as numbers: the other side has the same plan and finds the words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The stage.
    pub stage: Stage,
    /// The step's place in the stage's list.
    pub step: u16,
    /// The call, its errno, and the note.
    pub error: Error,
}

/// What init says to the host.
#[derive(Debug)]
pub enum InitSays {
    /// The container is built; hooks that run on the host may run now.
    AtHooks,
    /// Everything up to the start is done.
    Ready {
        /// The master of a terminal that the host is to serve.
        terminal: Option<OwnedFd>,
        /// Microseconds per step, if they were asked for.
        stamps: Vec<u32>,
    },
    /// The last steps are done: execve comes next.
    Starting {
        /// Microseconds per step of the start stage.
        stamps: Vec<u32>,
    },
    /// The filter is loaded: this is its listener.
    Listener(OwnedFd),
    /// A step failed; init is gone after this.
    Failed(Failure),
}

fn stamps_to_bytes(stamps: &[u32]) -> impl Iterator<Item = u8> + '_ {
    stamps.iter().flat_map(|s| s.to_le_bytes())
}

fn stamps_from_bytes(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks_exact(4).map(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect()
}

impl Message for InitSays {
    fn encode(&self) -> Vec<u8> {
        match self {
            InitSays::AtHooks => vec![1],
            InitSays::Ready { stamps, .. } => std::iter::once(2).chain(stamps_to_bytes(stamps)).collect(),
            InitSays::Starting { stamps } => std::iter::once(3).chain(stamps_to_bytes(stamps)).collect(),
            InitSays::Listener(_) => vec![5],
            InitSays::Failed(failure) => {
                let mut bytes = vec![4, failure.stage as u8];
                bytes.extend(failure.step.to_le_bytes());
                bytes.extend((failure.error.call as u16).to_le_bytes());
                bytes.extend((failure.error.errno as i32).to_le_bytes());
                let mut note = failure.error.note.as_str();
                while bytes.len() + note.len() > LIMIT {
                    note = &note[..note.floor_char_boundary(note.len() - 1)];
                }
                bytes.extend(note.as_bytes());
                bytes
            }
        }
    }

    fn decode(bytes: &[u8], mut fds: Vec<OwnedFd>) -> Option<Self> {
        Some(match bytes {
            [1] => InitSays::AtHooks,
            [2, rest @ ..] => InitSays::Ready { terminal: fds.pop(), stamps: stamps_from_bytes(rest) },
            [3, rest @ ..] => InitSays::Starting { stamps: stamps_from_bytes(rest) },
            [5] => InitSays::Listener(fds.pop()?),
            [4, stage, s0, s1, c0, c1, e0, e1, e2, e3, note @ ..] => InitSays::Failed(Failure {
                stage: Stage::from_number(*stage)?,
                step: u16::from_le_bytes([*s0, *s1]),
                error: Error::new(
                    Call::from_number(u16::from_le_bytes([*c0, *c1]))?,
                    Errno::from_raw(i32::from_le_bytes([*e0, *e1, *e2, *e3])),
                )
                .about(String::from_utf8_lossy(note)),
            }),
            _ => return None,
        })
    }

    fn fds(&self) -> Vec<RawFd> {
        match self {
            InitSays::Ready { terminal: Some(fd), .. } | InitSays::Listener(fd) => vec![fd.as_raw_fd()],
            _ => Vec::new(),
        }
    }
}

/// One end of a conversation.
pub struct Channel<Hears, Says> {
    socket: OwnedFd,
    kinds: PhantomData<(Hears, Says)>,
}

/// The host's end.
pub type HostEnd = Channel<InitSays, HostSays>;
/// Init's end.
pub type InitEnd = Channel<HostSays, InitSays>;

/// Both ends, before the birth. Init's comes first: on the host it goes with what was opened for init just before.
pub fn pair() -> Result<(HostEnd, InitEnd)> {
    let (init, host) = sys::sock::pair()?;
    Ok((Channel::over(host), Channel::over(init)))
}

impl<Hears: Message, Says: Message> Channel<Hears, Says> {
    /// Speaks over a connected SOCK_SEQPACKET socket.
    pub fn over(socket: OwnedFd) -> Self {
        Self { socket, kinds: PhantomData }
    }

    /// The socket, to close it with others.
    pub fn give_up(self) -> OwnedFd {
        self.socket
    }

    /// Says one thing.
    pub fn say(&self, message: &Says) -> Result<()> {
        sys::sock::send(&self.socket, &message.encode(), &message.fds())
    }

    /// Hears one thing; `None`: the other side is gone.
    pub fn hear(&self) -> Result<Option<Hears>> {
        let mut bytes = [0; LIMIT];
        let (n, fds) = sys::sock::receive(&self.socket, &mut bytes)?;
        Self::understand(&bytes[..n], fds)
    }

    /// The same after a word that must have been heard: ECONNRESET if the other side ended without.
    pub fn hear_answer(&self) -> Result<Option<Hears>> {
        let mut bytes = [0; LIMIT];
        let (n, fds) = sys::sock::receive_answer(&self.socket, &mut bytes)?;
        Self::understand(&bytes[..n], fds)
    }

    fn understand(bytes: &[u8], fds: Vec<OwnedFd>) -> Result<Option<Hears>> {
        if bytes.is_empty() {
            return Ok(None);
        }
        Hears::decode(bytes, fds).map(Some).ok_or_else(|| Error::new(Call::Recv, Errno::EBADMSG))
    }

    /// The socket, to be moved to another descriptor number.
    pub fn into_socket(self) -> OwnedFd {
        self.socket
    }
}

impl<Hears, Says> AsFd for Channel<Hears, Says> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_crosses_with_everything_it_knows() {
        let (host, init) = pair().unwrap();
        let error = Error::new(Call::MoveMount, Errno::ENOTDIR).about("/proc \"x\"\n");
        let failure = Failure { stage: Stage::Build, step: 513, error };
        init.say(&InitSays::Failed(failure.clone())).unwrap();
        match host.hear().unwrap() {
            Some(InitSays::Failed(heard)) => assert_eq!(heard, failure),
            other => panic!("heard {other:?}"),
        }
    }

    #[test]
    fn a_long_note_is_cut_at_a_character() {
        let (host, init) = pair().unwrap();
        let error = Error::new(Call::Open, Errno::ENOENT).about("é".repeat(LIMIT));
        init.say(&InitSays::Failed(Failure { stage: Stage::Exec, step: 0, error })).unwrap();
        match host.hear().unwrap() {
            Some(InitSays::Failed(heard)) => {
                assert!(heard.error.note.len() > LIMIT - 32);
                assert!(heard.error.note.chars().all(|c| c == 'é'));
            }
            other => panic!("heard {other:?}"),
        }
    }

    #[test]
    fn the_end_is_an_answer_and_nonsense_is_an_error() {
        let (host, init) = pair().unwrap();
        sys::sock::send(&init, &[9, 9], &[]).unwrap();
        assert_eq!(host.hear().unwrap_err().errno, Errno::EBADMSG);
        drop(init);
        assert!(host.hear().unwrap().is_none());
    }

    #[test]
    fn the_last_words_of_one_who_did_not_listen_are_heard() {
        let (host, init) = pair().unwrap();
        let failure = Failure { stage: Stage::Build, step: 7, error: Error::new(Call::Open, Errno::ENOENT) };
        init.say(&InitSays::Failed(failure.clone())).unwrap();
        host.say(&HostSays::Go).unwrap();
        drop(init);
        assert!(matches!(host.hear().unwrap(), Some(InitSays::Failed(heard)) if heard == failure));
        assert!(host.hear().unwrap().is_none());
    }

    #[test]
    fn stamps_and_a_terminal_arrive() {
        let (host, init) = pair().unwrap();
        let terminal = sys::fs::open_host("/dev/null", nix::fcntl::OFlag::O_RDWR).unwrap();
        init.say(&InitSays::Ready { terminal: Some(terminal), stamps: vec![1, 70_000, u32::MAX] }).unwrap();
        match host.hear().unwrap() {
            Some(InitSays::Ready { terminal: Some(_), stamps }) => assert_eq!(stamps, [1, 70_000, u32::MAX]),
            other => panic!("heard {other:?}"),
        }
    }
}
