//! Syscall names and numbers: one binary search turns a name into a [`Syscall`], after that it is array indexing.
//!
//! The names are kept as one text without pointers, so that a static binary has nothing to relocate at start.
//! Never written by hand: the data is `table.rs`.

use serde::{Serialize, Serializer};

use super::arch::Arch;
use super::table::{COLUMNS, NO, ROWS};

const COUNT: usize = ROWS.len();

const TEXT_LEN: usize = {
    let (mut sum, mut row) = (0, 0);
    while row < COUNT {
        sum += ROWS[row].0.len();
        row += 1;
    }
    sum
};

/// All names, one after the other.
static TEXT: [u8; TEXT_LEN] = {
    let (mut text, mut at, mut row) = ([0; TEXT_LEN], 0, 0);
    while row < COUNT {
        let name = ROWS[row].0.as_bytes();
        let mut i = 0;
        while i < name.len() {
            text[at] = name[i];
            at += 1;
            i += 1;
        }
        row += 1;
    }
    text
};

/// Where each name ends in `TEXT`.
static ENDS: [u16; COUNT] = {
    let (mut ends, mut at, mut row) = ([0; COUNT], 0, 0);
    while row < COUNT {
        at += ROWS[row].0.len();
        ends[row] = at as u16;
        row += 1;
    }
    ends
};

static NUMBERS: [[u16; COLUMNS]; COUNT] = {
    let (mut numbers, mut row) = ([[0; COLUMNS]; COUNT], 0);
    while row < COUNT {
        numbers[row] = ROWS[row].1;
        row += 1;
    }
    numbers
};

/// Where the names with each first letter begin: cuts the search to a few steps.
static FIRST: [u16; 129] = {
    let (mut first, mut letter, mut row) = ([COUNT as u16; 129], 0, 0);
    while letter < 128 {
        while row < COUNT && (ROWS[row].0.as_bytes()[0] as usize) < letter {
            row += 1;
        }
        first[letter] = row as u16;
        letter += 1;
    }
    first
};

/// The calls that 32-bit ABIs and some others also offer through socketcall(2), in the order of linux/net.h: the first
/// is call 1.
const SOCKETCALLS: [&str; 20] = [
    "socket",
    "bind",
    "connect",
    "listen",
    "accept",
    "getsockname",
    "getpeername",
    "socketpair",
    "send",
    "recv",
    "sendto",
    "recvfrom",
    "shutdown",
    "setsockopt",
    "getsockopt",
    "sendmsg",
    "recvmsg",
    "accept4",
    "recvmmsg",
    "sendmmsg",
];

/// The same for ipc(2), with the numbers of linux/ipc.h.
const IPC_CALLS: [(u8, &str); 12] = [
    (1, "semop"),
    (2, "semget"),
    (3, "semctl"),
    (4, "semtimedop"),
    (11, "msgsnd"),
    (12, "msgrcv"),
    (13, "msgget"),
    (14, "msgctl"),
    (21, "shmat"),
    (22, "shmdt"),
    (23, "shmget"),
    (24, "shmctl"),
];

/// The row of a name, for the few that the code itself must know.
const fn row(name: &str) -> usize {
    let mut row = 0;
    while row < COUNT {
        if same(ROWS[row].0, name) {
            return row;
        }
        row += 1;
    }
    panic!("no such syscall")
}

const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut i = 0;
    while i < a.len() && i < b.len() && a[i] == b[i] {
        i += 1;
    }
    i == a.len() && i == b.len()
}

const SOCKETCALL: usize = row("socketcall");
const IPC: usize = row("ipc");
const IPC_MARK: u8 = 0x80;

/// For each row the sub-call number of its carrier, 0 if it has none; ipc's have the mark.
static SUBCALLS: [u8; COUNT] = {
    let (mut subcalls, mut i) = ([0; COUNT], 0);
    while i < SOCKETCALLS.len() {
        subcalls[row(SOCKETCALLS[i])] = i as u8 + 1;
        i += 1;
    }
    i = 0;
    while i < IPC_CALLS.len() {
        subcalls[row(IPC_CALLS[i].1)] = IPC_CALLS[i].0 | IPC_MARK;
        i += 1;
    }
    subcalls
};

/// A system call that some architecture has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Syscall(u16);

/// Another way to a call: the number of its carrier and what the carrier's first argument must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carrier {
    /// socketcall or ipc.
    pub number: u32,
    /// The bits of the first argument that the kernel looks at.
    pub mask: u64,
    /// What they are for this call.
    pub call: u64,
}

impl Syscall {
    /// All of them, by name.
    pub fn all() -> impl Iterator<Item = Syscall> {
        (0..COUNT as u16).map(Syscall)
    }

    /// The call of that name.
    pub fn named(name: &str) -> Option<Syscall> {
        let letter = usize::from(*name.as_bytes().first()?);
        let (mut low, mut high) = (*FIRST.get(letter)?, *FIRST.get(letter + 1)?);
        while low < high {
            let middle = (low + high) / 2;
            match bytes(middle).cmp(name.as_bytes()) {
                std::cmp::Ordering::Equal => return Some(Syscall(middle)),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        str::from_utf8(bytes(self.0)).unwrap_or("?")
    }

    /// Its number there, as the kernel shows it to filters; none if that ABI lacks it.
    pub fn number(self, arch: Arch) -> Option<u32> {
        match NUMBERS[usize::from(self.0)][arch.column()] {
            NO => None,
            private @ 0xf000.. => Some(0x000f_0000 | u32::from(private & 0xfff)),
            number => Some(u32::from(number) + arch.base()),
        }
    }

    /// The carrier through which that ABI also offers it: a filter that forgets it can be walked around.
    pub fn carrier(self, arch: Arch) -> Option<Carrier> {
        let call = SUBCALLS[usize::from(self.0)];
        // The kernel takes ipc's upper half for a version number and looks at the lower one only.
        let (row, mask) = match call {
            0 => return None,
            IPC_MARK.. => (IPC, 0xffff),
            _ => (SOCKETCALL, u64::MAX),
        };
        let number = Syscall(row as u16).number(arch)?;
        Some(Carrier { number, mask, call: u64::from(call & !IPC_MARK) })
    }
}

fn bytes(row: u16) -> &'static [u8] {
    let start = if row == 0 { 0 } else { ENDS[usize::from(row) - 1] };
    &TEXT[usize::from(start)..usize::from(ENDS[usize::from(row)])]
}

impl Serialize for Syscall {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(name: &str, arch: Arch) -> Option<u32> {
        Syscall::named(name).unwrap().number(arch)
    }

    #[test]
    fn every_name_is_found_and_nothing_else() {
        for syscall in Syscall::all() {
            assert_eq!(Syscall::named(syscall.name()), Some(syscall));
            assert_eq!(Syscall::named(&format!("{}~", syscall.name())), None);
        }
        for name in ["", "rea", "read ", "READ", "zzz", "\u{e9}", "~"] {
            assert_eq!(Syscall::named(name), None, "{name:?}");
        }
    }

    #[test]
    fn numbers_are_those_of_the_kernel() {
        assert_eq!(number("read", Arch::X86_64), Some(0));
        assert_eq!(number("read", Arch::X32), Some(0x4000_0000));
        assert_eq!(number("rt_sigaction", Arch::X32), Some(0x4000_0200));
        assert_eq!(number("read", Arch::Mipsel), Some(4003));
        assert_eq!(number("read", Arch::Mips64), Some(5000));
        assert_eq!(number("read", Arch::Mips64N32), Some(6000));
        assert_eq!(number("openat2", Arch::Aarch64), Some(437));
        assert_eq!(number("open", Arch::Aarch64), None);
        assert_eq!(number("set_tls", Arch::Arm), Some(0x000f_0005));
        assert_eq!(number("set_tls", Arch::X86), None);
        assert_eq!(number("s390_pci_mmio_read", Arch::S390x), Some(353));
    }

    #[test]
    fn the_native_numbers_are_those_of_libc() {
        let ours = |name| number(name, Arch::NATIVE).map(i64::from);
        assert_eq!(ours("openat"), Some(libc::SYS_openat));
        assert_eq!(ours("seccomp"), Some(libc::SYS_seccomp));
        assert_eq!(ours("clone3"), Some(libc::SYS_clone3));
        assert_eq!(ours("mount_setattr"), Some(libc::SYS_mount_setattr));
    }

    #[test]
    fn carriers_exist_where_the_abi_has_them() {
        let socket = Syscall::named("socket").unwrap();
        assert_eq!(socket.carrier(Arch::X86), Some(Carrier { number: 102, mask: u64::MAX, call: 1 }));
        assert_eq!(socket.carrier(Arch::X86_64), None);
        assert_eq!(socket.carrier(Arch::Arm), None);
        let shmctl = Syscall::named("shmctl").unwrap();
        assert_eq!(shmctl.carrier(Arch::S390x), Some(Carrier { number: 117, mask: 0xffff, call: 24 }));
        assert_eq!(Syscall::named("read").unwrap().carrier(Arch::X86), None);
    }

    #[test]
    fn no_abi_gives_one_number_to_two_calls_but_arms_second_name() {
        for arch in Arch::ALL {
            let mut numbers: Vec<_> = Syscall::all().filter_map(|s| s.number(arch).map(|n| (n, s.name()))).collect();
            numbers.sort_unstable();
            for pair in numbers.windows(2) {
                let alias = arch == Arch::Arm && pair[0].1 == "arm_sync_file_range";
                assert!(pair[0].0 != pair[1].0 || alias, "{arch:?} {pair:?}");
            }
        }
    }
}
