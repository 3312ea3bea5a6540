//! The last program before the workload: a hundred bytes in a sealed file, so that `/proc/self/exe` never is `rt` when
//! the kernel opens what the image chose as executable, interpreter or loader (CVE-2019-5736).
//!
//! init execs the stub with `argv = [path, args…]`; the stub does `execve(path, args, env)`. If that fails it sends the
//! errno over the channel, whose descriptor it has made close-on-exec before (or else goes no further), and exits 126. Where a seccomp filter does
//! not let it do so, a quiet form of it just executes and exits.

use std::os::fd::OwnedFd;

use crate::step::Stage;
use crate::sys::{self, Call, Errno, Error, Result};
use crate::talk::{Failure, InitSays, Message};

/// The machine code, with the places where the descriptor and the message go.
struct Code {
    machine: u16,
    bytes: &'static [u8],
    /// Offsets of the channel's number, 4 bytes each.
    channel: &'static [usize],
    /// Offset of the first 8 bytes of the message; the errno is put over its last two.
    message: usize,
    /// The quiet form: from here …
    begin: usize,
    /// … to here, and from there …
    executed: usize,
    /// … to the exit.
    exit: usize,
    /// Where the code ends and literals begin.
    end: usize,
}

// mov edi, CHANNEL; mov esi, F_SETFD; mov edx, FD_CLOEXEC; mov eax, SYS_fcntl; syscall; test eax, eax; jnz failed
// mov rcx, [rsp]; mov rdi, [rsp+8]; lea rsi, [rsp+16]; lea rdx, [rsp+rcx*8+16]; mov eax, SYS_execve; syscall
// failed: neg eax; sub rsp, 16; mov r8, MESSAGE; mov [rsp], r8; mov [rsp+6], eax
// mov edi, CHANNEL; mov rsi, rsp; mov edx, 10; mov eax, SYS_write; syscall
// mov edi, 126; mov eax, SYS_exit_group; syscall
#[cfg(target_arch = "x86_64")]
const CODE: Code = Code {
    machine: 62,
    bytes: &[
        0xbf, 0, 0, 0, 0, 0xbe, 2, 0, 0, 0, 0xba, 1, 0, 0, 0, 0xb8, 72, 0, 0, 0, 0x0f, 0x05, 0x85, 0xc0, 0x75,
        0x1a, //
        0x48, 0x8b, 0x0c, 0x24, 0x48, 0x8b, 0x7c, 0x24, 8, 0x48, 0x8d, 0x74, 0x24, 16, 0x48, 0x8d, 0x54, 0xcc,
        16, //
        0xb8, 59, 0, 0, 0, 0x0f, 0x05, //
        0xf7, 0xd8, 0x48, 0x83, 0xec, 16, 0x49, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0x4c, 0x89, 0x04, 0x24, //
        0x89, 0x44, 0x24, 6, 0xbf, 0, 0, 0, 0, 0x48, 0x89, 0xe6, 0xba, 10, 0, 0, 0, 0xb8, 1, 0, 0, 0, 0x0f,
        0x05, //
        0xbf, 126, 0, 0, 0, 0xb8, 231, 0, 0, 0, 0x0f, 0x05,
    ],
    channel: &[1, 0x4d],
    message: 0x3c,
    begin: 0x1a,
    executed: 0x34,
    exit: 0x60,
    end: 0x6c,
};

// ldr w0, channel; mov x1, F_SETFD; mov x2, FD_CLOEXEC; mov x8, SYS_fcntl; svc 0; cbnz w0, failed
// ldr x3, [sp]; ldr x0, [sp, 8]; add x1, sp, 16; add x2, x1, x3, lsl 3; mov x8, SYS_execve; svc 0
// failed: neg w4, w0; ldr x5, message; sub sp, sp, 16; str x5, [sp]; stur w4, [sp, 6]
// ldr w0, channel; mov x1, sp; mov x2, 10; mov x8, SYS_write; svc 0
// mov x0, 126; mov x8, SYS_exit_group; svc 0; channel: .word; message: .quad
#[cfg(target_arch = "aarch64")]
const CODE: Code = Code {
    machine: 183,
    bytes: &[
        0x20, 0x03, 0x00, 0x18, 0x41, 0x00, 0x80, 0xd2, 0x22, 0x00, 0x80, 0xd2, 0x28, 0x03, 0x80, 0xd2, //
        0x01, 0x00, 0x00, 0xd4, 0xe0, 0x00, 0x00, 0x35, //
        0xe3, 0x03, 0x40, 0xf9, 0xe0, 0x07, 0x40, 0xf9, 0xe1, 0x43, 0x00, 0x91, //
        0x22, 0x0c, 0x03, 0x8b, 0xa8, 0x1b, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4, 0xe4, 0x03, 0x00, 0x4b, //
        0xa5, 0x01, 0x00, 0x58, 0xff, 0x43, 0x00, 0xd1, 0xe5, 0x03, 0x00, 0xf9, 0xe4, 0x63, 0x00, 0xb8, //
        0x00, 0x01, 0x00, 0x18, 0xe1, 0x03, 0x00, 0x91, 0x42, 0x01, 0x80, 0xd2, 0x08, 0x08, 0x80, 0xd2, //
        0x01, 0x00, 0x00, 0xd4, 0xc0, 0x0f, 0x80, 0xd2, 0xc8, 0x0b, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4, //
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ],
    channel: &[0x64],
    message: 0x68,
    begin: 0x18,
    executed: 0x30,
    exit: 0x58,
    end: 0x64,
};

const BASE: u64 = 0x40_0000;
const HEADERS: u64 = 64 + 56 + 56;

/// The code, speaking over descriptor `channel` or quiet.
fn code(channel: Option<u32>) -> Vec<u8> {
    let Some(channel) = channel else {
        return [&CODE.bytes[CODE.begin..CODE.executed], &CODE.bytes[CODE.exit..CODE.end]].concat();
    };
    let mut code = CODE.bytes.to_vec();
    for &at in CODE.channel {
        code[at..at + 4].copy_from_slice(&channel.to_le_bytes());
    }
    let error = Error::new(Call::Execve, Errno::UnknownErrno);
    let message = InitSays::Failed(Failure { stage: Stage::Exec, step: u16::MAX, error }).encode();
    code[CODE.message..CODE.message + 8].copy_from_slice(&message[..8]);
    code
}

/// The stub as an ELF file: one header, one loadable segment with the code, a stack that is not executable.
fn image(channel: Option<u32>) -> Vec<u8> {
    let code = code(channel);
    let size = HEADERS + code.len() as u64;
    let mut elf = Vec::with_capacity(size as usize);
    elf.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    for half in [2u16, CODE.machine] {
        elf.extend(half.to_le_bytes());
    }
    elf.extend(1u32.to_le_bytes());
    for word in [BASE + HEADERS, 64, 0] {
        elf.extend(u64::to_le_bytes(word)); // entry, program headers, no section headers
    }
    elf.extend(0u32.to_le_bytes());
    for half in [64u16, 56, 2, 0, 0, 0] {
        elf.extend(half.to_le_bytes());
    }
    segment(&mut elf, 1, 5, [0, BASE, BASE, size, size, 0x1000]); // PT_LOAD, read and execute
    segment(&mut elf, 0x6474_e551, 6, [0, 0, 0, 0, 0, 16]); // PT_GNU_STACK, read and write
    elf.extend(code);
    elf
}

fn segment(elf: &mut Vec<u8>, kind: u32, flags: u32, words: [u64; 6]) {
    elf.extend(kind.to_le_bytes());
    elf.extend(flags.to_le_bytes());
    words.iter().for_each(|w| elf.extend(w.to_le_bytes()));
}

/// The stub in a file that nobody can change. `channel`: the descriptor on which it tells of a failed execve.
pub fn sealed_stub(channel: Option<u32>) -> Result<OwnedFd> {
    sys::fs::sealed_memfd("rt-stub", &image(channel))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;
    use std::process::Command;

    fn stub_path(channel: Option<u32>) -> (OwnedFd, String) {
        let stub = sealed_stub(channel).unwrap();
        let path = format!("/proc/{}/fd/{}", std::process::id(), stub.as_raw_fd());
        (stub, path)
    }

    #[test]
    fn the_stub_runs_what_it_is_given() {
        for channel in [None, Some(2)] {
            let (_stub, path) = stub_path(channel);
            let script = format!("A=b exec -a /bin/sh {path} sh -c 'echo $0 $1 $A' zero one");
            let out = Command::new("bash").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&out.stdout), "zero one b\n", "{channel:?}");
        }
    }

    #[test]
    fn a_failed_execve_is_told_over_the_channel_which_nobody_else_gets() {
        let (_stub, path) = stub_path(Some(9));
        let told = tempfile::NamedTempFile::new().unwrap();
        let run = |program: &str| {
            let script = format!("exec -a {program} {path} zero 9>{}", told.path().display());
            Command::new("bash").args(["-c", &script]).output().unwrap()
        };
        assert_eq!(run("/no/such/file").status.code(), Some(126));
        let bytes = std::fs::read(told.path()).unwrap();
        match InitSays::decode(&bytes, Vec::new()) {
            Some(InitSays::Failed(failure)) => {
                assert_eq!((failure.stage, failure.error.errno), (Stage::Exec, Errno::ENOENT));
                assert_eq!(failure.error.call, Call::Execve);
            }
            other => panic!("heard {other:?}"),
        }
        let listing = run("/bin/ls");
        assert!(listing.status.success());
        let script = format!("exec -a /bin/ls {path} ls /proc/self/fd 9>/dev/null");
        let out = Command::new("bash").args(["-c", &script]).output().unwrap();
        assert!(!String::from_utf8_lossy(&out.stdout).lines().any(|l| l == "9"), "the channel leaked");
    }

    #[test]
    fn a_channel_that_cannot_be_closed_is_given_to_nobody() {
        // The descriptor isn't open: fcntl fails, and nothing may be executed.
        let (_stub, path) = stub_path(Some(9));
        let script = format!("exec -a /bin/echo {path} echo executed");
        let out = Command::new("bash").args(["-c", &script]).output().unwrap();
        assert_eq!((out.status.code(), out.stdout.len()), (Some(126), 0));
    }

    #[test]
    fn the_quiet_stub_ends_with_126() {
        let (_stub, path) = stub_path(None);
        let script = format!("exec -a /no/such/file {path} zero");
        assert_eq!(Command::new("bash").args(["-c", &script]).output().unwrap().status.code(), Some(126));
    }

    #[test]
    fn the_stub_cannot_be_changed() {
        let stub = sealed_stub(None).unwrap();
        assert_eq!(nix::unistd::write(&stub, b"x"), Err(nix::errno::Errno::EPERM));
    }
}
