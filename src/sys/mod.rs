//! The only room with `unsafe`: thin, honest wrappers over system calls.
//!
//! No policy and no logging here. Every wrapper takes and gives owned or borrowed descriptors, marks what it
//! opens close-on-exec, and fails with an [`Error`] that prints as the call that failed.
#![allow(unsafe_code)]

pub mod bpf;
mod call;
pub mod cgroup;
pub mod cred;
mod ended;
pub mod fs;
pub mod mount;
pub mod net;
pub mod netlink;
pub mod probe;
pub mod process;
pub mod sched;
pub mod seccomp;
pub mod sock;
pub mod start;
pub mod stream;
pub mod tty;

pub use call::Call;
pub use nix::errno::Errno;

/// A system call that failed: which one, the kernel's number, and what else was said (a path, the mount API's own message).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The call.
    pub call: Call,
    /// The kernel's answer.
    pub errno: Errno,
    /// What it was about: a path, a file = value, the kernel's own words. May be empty.
    pub note: String,
}

/// What every wrapper in this room returns.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The failure of `call` with `errno`.
    pub fn new(call: Call, errno: Errno) -> Self {
        Self { call, errno, note: String::new() }
    }

    /// The failure of `call` with what `errno` holds now.
    pub fn last(call: Call) -> Self {
        Self::new(call, Errno::last())
    }

    /// A failure of something other than the call itself: the note says it all.
    pub fn other(call: Call, note: impl Into<String>) -> Self {
        Self::new(call, Errno::UnknownErrno).about(note)
    }

    /// The same failure, saying what it was about.
    #[must_use]
    pub fn about(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// The same failure, saying in front where it was, unless it says so already.
    #[must_use]
    pub fn at(mut self, place: &str) -> Self {
        if self.note.is_empty() {
            self.note = place.to_owned();
        } else if !self.note.contains(place) {
            self.note = format!("{place}: {}", self.note);
        }
        self
    }
}

impl std::error::Error for Error {}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // What is not the kernel's has said everything in its note.
        if self.errno == Errno::UnknownErrno {
            return f.write_str(&self.note);
        }
        f.write_str(self.call.name())?;
        if !self.note.is_empty() {
            write!(f, " {}", self.note)?;
        }
        write!(f, ": {}", words(self.errno))
    }
}

/// The C library's words for an errno, in lower case as callers match them ("no such file or directory").
pub fn words(errno: Errno) -> String {
    let mut buffer = [0u8; 128];
    // SAFETY: the XSI strerror_r writes at most the length given, and a NUL, into our buffer.
    let done = unsafe { libc::strerror_r(errno as i32, buffer.as_mut_ptr().cast(), buffer.len()) };
    let text = std::ffi::CStr::from_bytes_until_nul(&buffer).ok().filter(|_| done == 0);
    let text = text.map_or_else(|| errno.desc().to_owned(), |t| t.to_string_lossy().into_owned());
    let mut letters = text.chars();
    match (letters.next(), letters.next()) {
        // "RFS specific error" stays as it is.
        (Some(first), Some(second)) if !second.is_uppercase() => {
            format!("{}{}", first.to_lowercase(), &text[first.len_utf8()..])
        }
        _ => text,
    }
}

/// Names the call on the way out: `nix::…().during(Call::Openat2)?`.
pub trait During<T> {
    /// Turns a bare errno into an [`Error`] of `call`.
    fn during(self, call: Call) -> Result<T>;
}

impl<T> During<T> for nix::Result<T> {
    fn during(self, call: Call) -> Result<T> {
        self.map_err(|errno| Error::new(call, errno))
    }
}

impl<T> During<T> for std::io::Result<T> {
    fn during(self, call: Call) -> Result<T> {
        self.map_err(|e| Error::new(call, Errno::from_raw(e.raw_os_error().unwrap_or(Errno::EIO as i32))))
    }
}
