//! Programs of the image: looked for as init will, by a child in the container's root, and of the right machine.

use std::os::fd::AsFd;

use nix::fcntl::OFlag;

use super::super::line::{Line, look};
use super::super::read;
use super::{Needs, SUBJECT};
use crate::identity::lookup;
use crate::plan::InitOp;
use crate::rootfs;
use crate::sys::process::{Birth, Born};
use crate::sys::{self, Result};

/// As much of a file as says what machine it is for.
const HEAD: usize = 128;

impl Needs<'_> {
    /// A program that `name` wants, by its own name and the container's PATH.
    pub(super) fn inside(&self, name: &str, wanted: &str, path: &str) -> Line {
        let look = look(SUBJECT, name, format!("{wanted} in {}, by a child with that root", self.root));
        let remedy = "install it in the root file system, or correct the name or PATH";
        match self.look_up(wanted, path) {
            Ok(found) => match self.foreign(&found) {
                None => look.ok(found),
                Some(machine) => {
                    let remedy = "register an interpreter for that machine: apt-get install qemu-user-static; or take another image";
                    look.fail(format!("{found} is for another machine (ELF number {machine})"), remedy)
                }
            },
            Err(error) => match self.brought(wanted, path) {
                Some(mount) => look.note(format!("{error}; the mount at {mount} may bring it"), "nothing, if it does"),
                None => look.fail(error.to_string(), remedy),
            },
        }
    }

    /// Looks in the root file system; the child's words come back over a socket.
    fn look_up(&self, wanted: &str, path: &str) -> Result<String> {
        let root = sys::fs::open_host(&self.root, OFlag::O_PATH | OFlag::O_DIRECTORY)?;
        let (ours, theirs) = sys::sock::pair()?;
        // Who is not root may change its root in a user namespace.
        let namespaces = if self.host.root() { 0 } else { libc::CLONE_NEWUSER as u64 };
        match sys::process::clone3(Birth { namespaces, ..Birth::default() })? {
            Born::Child => {
                let enter = || sys::mount::enter(&root).and_then(|()| sys::mount::chroot_here());
                let found = enter().and_then(|()| lookup::look_up(wanted, path));
                let (text, code) = match found {
                    Ok(text) => (text, 0),
                    Err(error) => (error.to_string(), 1),
                };
                // If nobody hears it, the exit code says enough.
                let _ = sys::sock::send(&theirs, &text.as_bytes()[..text.len().min(4096)], &[]);
                sys::process::exit_now(code)
            }
            Born::Parent { pidfd, .. } => {
                drop(theirs);
                let mut buffer = [0; 4096];
                let (length, _) = sys::sock::receive(&ours, &mut buffer)?;
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                match sys::process::wait(&pidfd)?.code() {
                    0 => Ok(text),
                    _ => Err(sys::Error::other(sys::Call::Execve, text)),
                }
            }
        }
    }

    /// The machine that a program is for, if neither this one nor a registered interpreter runs it.
    fn foreign(&self, found: &str) -> Option<u16> {
        let root = sys::fs::open_host(&self.root, OFlag::O_PATH | OFlag::O_DIRECTORY).ok()?;
        let file = sys::fs::open_in_root(&root, found, OFlag::O_RDONLY | OFlag::O_NONBLOCK).ok()?;
        let head = head(&file)?;
        let (theirs, ours) = (machine(&head)?, machine(&head_of_ourselves()?)?);
        // 64-bit kernels run the 32-bit programs of their kind: i386 under x86-64, arm under aarch64.
        let kin = [(3, 62), (40, 183)].contains(&(theirs, ours));
        (theirs != ours && !kin && !interpreted(&head)).then_some(theirs)
    }

    /// A mount that covers a place where the program would be.
    fn brought(&self, wanted: &str, path: &str) -> Option<String> {
        let places: Vec<String> = match wanted.starts_with('/') {
            true => vec![wanted.to_owned()],
            false => path.split(':').map(|dir| format!("{}/{wanted}", dir.trim_end_matches('/'))).collect(),
        };
        let targets = self.plan.build.iter().filter_map(|step| match &step.op {
            InitOp::Rootfs(rootfs::InitOp::Mount(mount)) => Some(mount.target.as_str()),
            _ => None,
        });
        let covers = |target: &str| {
            places
                .iter()
                .any(|place| place.strip_prefix(target).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
        };
        targets.filter(|target| covers(target)).map(str::to_owned).next()
    }
}

fn head(file: impl AsFd) -> Option<Vec<u8>> {
    let mut bytes = vec![0; HEAD];
    let length = nix::unistd::read(file.as_fd(), &mut bytes).ok()?;
    bytes.truncate(length);
    Some(bytes)
}

fn head_of_ourselves() -> Option<Vec<u8>> {
    head(sys::fs::open_host("/proc/self/exe", OFlag::O_RDONLY).ok()?)
}

/// e_machine of an ELF file; none for scripts.
fn machine(head: &[u8]) -> Option<u16> {
    let bytes: [u8; 2] = head.strip_prefix(b"\x7fELF").and(head.get(18..20))?.try_into().ok()?;
    // EI_DATA: 2 is big-endian.
    Some(if head[5] == 2 { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
}

/// Whether binfmt_misc has an interpreter for it.
fn interpreted(head: &[u8]) -> bool {
    let entries = std::fs::read_dir("/proc/sys/fs/binfmt_misc").into_iter().flatten().flatten();
    entries.filter_map(|entry| read(entry.path().to_str()?)).any(|entry| takes(&entry, head))
}

/// Whether an entry of binfmt_misc is enabled and its magic fits.
fn takes(entry: &str, head: &[u8]) -> bool {
    let field = |name: &str| entry.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let bytes = |text: &str| -> Vec<u8> {
        let digits: Vec<&str> = (0..text.len() / 2).filter_map(|at| text.get(2 * at..2 * at + 2)).collect();
        digits.iter().filter_map(|digits| u8::from_str_radix(digits, 16).ok()).collect()
    };
    let Some(magic) = field("magic ").map(bytes) else { return false };
    let mask = field("mask ").map_or_else(|| vec![0xff; magic.len()], bytes);
    let offset = field("offset ").and_then(|text| text.parse().ok()).unwrap_or(0);
    let Some(part) = head.get(offset..offset + magic.len()) else { return false };
    entry.starts_with("enabled")
        && part.iter().zip(&mask).zip(&magic).all(|((byte, mask), magic)| byte & mask == magic & mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_and_interpreters_are_told_by_their_heads() {
        let mut head = b"\x7fELF\x02\x01\x01\0".to_vec();
        head.resize(64, 0);
        // ET_EXEC for aarch64.
        (head[16], head[18]) = (2, 183);
        assert_eq!(machine(&head), Some(183));
        assert_eq!(machine(b"#!/bin/sh\n"), None);
        let entry = |enabled: &str, machine: &str| {
            format!(
                "{enabled}\ninterpreter /usr/bin/qemu\nflags: OCF\noffset 0\nmagic 7f454c460201010000000000000000000200{machine}00\nmask ffffffffffffff00fffffffffffffffffeffffff\n"
            )
        };
        assert!(takes(&entry("enabled", "b7"), &head));
        assert!(!takes(&entry("disabled", "b7"), &head));
        assert!(!takes(&entry("enabled", "28"), &head));
        assert!(!takes("enabled\n", &head));
    }
}
