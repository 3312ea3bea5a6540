//! `bpf(2)` as far as the device filter of a cgroup needs it: load, attach, replace, list, detach.
//!
//! libc has no `bpf_attr`; the leading fields that each command reads are declared here, from `linux/bpf.h`.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::{Call, Error, Result};

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const PROG_QUERY: libc::c_int = 16;

const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 1 << 1;
const REPLACE: u32 = 1 << 2;

/// More filters than anybody attaches to one cgroup (the kernel's own bound is 64).
const MOST_PROGRAMS: usize = 64;

#[repr(C)]
#[derive(Default)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
}

#[repr(C)]
#[derive(Default)]
struct AttachAttr {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
}

#[repr(C)]
#[derive(Default)]
struct QueryAttr {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
}

#[repr(C)]
#[derive(Default)]
struct IdAttr {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

fn bpf<Attr>(command: libc::c_int, attr: &mut Attr) -> Result<libc::c_long> {
    // SAFETY: `attr` is an exclusive borrow of a `repr(C)` struct laid out as bpf(2) reads it for `command`, and its
    // true size is passed, so the kernel neither reads nor writes beyond it. Pointers inside it are kept alive, and
    // large enough, by the callers below, for the length of the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<Attr>()) };
    if result < 0 { Err(Error::last(Call::Bpf)) } else { Ok(result) }
}

fn own(fd: libc::c_long) -> OwnedFd {
    // SAFETY: called only with the answer of a bpf command that returns a new descriptor, which nobody else knows yet.
    // The kernel opens BPF descriptors close-on-exec.
    unsafe { OwnedFd::from_raw_fd(fd as RawFd) }
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd() as u32
}

/// Loads a device filter; `instructions` are eBPF instructions as the kernel stores them (8 bytes each).
///
/// When the verifier refuses, its own words are in the error's note.
pub fn load_device_filter(instructions: &[u64]) -> Result<OwnedFd> {
    load(instructions, &mut []).or_else(|_| {
        // Once more, and let the verifier say why.
        let mut said = vec![0; 16 * 1024];
        load(instructions, &mut said).map_err(|error| {
            let text = String::from_utf8_lossy(&said);
            let text = text.trim_end_matches('\0').trim();
            error.about(format!("(device filter of {} instructions) {text}", instructions.len()).trim_end().to_owned())
        })
    })
}

fn load(instructions: &[u64], said: &mut [u8]) -> Result<OwnedFd> {
    let mut attr = LoadAttr {
        prog_type: PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: instructions.len() as u32,
        insns: instructions.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: u32::from(!said.is_empty()),
        log_size: said.len() as u32,
        log_buf: if said.is_empty() { 0 } else { said.as_mut_ptr() as u64 },
        prog_name: *b"rt_devices\0\0\0\0\0\0",
        ..LoadAttr::default()
    };
    bpf(PROG_LOAD, &mut attr).map(own)
}

/// Attaches `filter` to the cgroup directory `cgroup` beside what is there, or in place of `instead`, in one step.
pub fn attach_device_filter(
    cgroup: BorrowedFd<'_>,
    filter: BorrowedFd<'_>,
    instead: Option<BorrowedFd<'_>>,
) -> Result<()> {
    let mut attr = AttachAttr {
        target_fd: number(cgroup),
        attach_bpf_fd: number(filter),
        attach_type: CGROUP_DEVICE,
        attach_flags: ALLOW_MULTI | if instead.is_some() { REPLACE } else { 0 },
        replace_bpf_fd: instead.map_or(0, number),
    };
    bpf(PROG_ATTACH, &mut attr).map(|_| ())
}

/// Takes `filter` off the cgroup directory `cgroup`.
pub fn detach_device_filter(cgroup: BorrowedFd<'_>, filter: BorrowedFd<'_>) -> Result<()> {
    let mut attr = AttachAttr {
        target_fd: number(cgroup),
        attach_bpf_fd: number(filter),
        attach_type: CGROUP_DEVICE,
        ..AttachAttr::default()
    };
    bpf(PROG_DETACH, &mut attr).map(|_| ())
}

/// The device filters that are attached to the cgroup directory `cgroup` itself.
pub fn device_filters(cgroup: BorrowedFd<'_>) -> Result<Vec<OwnedFd>> {
    let mut ids = [0u32; MOST_PROGRAMS];
    let mut attr = QueryAttr {
        target_fd: number(cgroup),
        attach_type: CGROUP_DEVICE,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: ids.len() as u32,
        ..QueryAttr::default()
    };
    bpf(PROG_QUERY, &mut attr)?;
    let count = (attr.prog_cnt as usize).min(ids.len());
    ids[..count].iter().map(|&id| bpf(PROG_GET_FD_BY_ID, &mut IdAttr { id, ..IdAttr::default() }).map(own)).collect()
}
