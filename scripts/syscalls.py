#!/usr/bin/env python3
"""Writes src/seccomp/table.rs: every syscall name and its number on every ABI of the OCI spec.

The numbers come from the kernel's own syscall.tbl files, from nothing else. Give one or more unpacked kernel sources,
the newest first; an older one only fills in what the newer ones no longer have (s390's 31-bit column is gone since
Linux 6.19). On Debian:

    apt-get download linux-source-7.2 linux-source-6.12      # from sid, and from bookworm-security
    dpkg-deb -x linux-source-7.2_*.deb . && tar -xf usr/src/linux-source-7.2.tar.xz
    dpkg-deb -x linux-source-6.12_*.deb . && tar -xf usr/src/linux-source-6.12.tar.xz
    scripts/syscalls.py linux-source-7.2 linux-source-6.12 > src/seccomp/table.rs && cargo fmt
"""

import pathlib
import re
import sys

# column: (table, the ABI tags of the table that belong to it). The tags are those of each architecture's own Makefile
# (arch/*/kernel/Makefile.syscalls, arch/*/kernel/syscalls/Makefile, scripts/Makefile.asm-headers). mips has one table an
# ABI and its Makefile asks for no tag: n64's has a row that says "common".
COLUMNS = {
    "X86": ("arch/x86/entry/syscalls/syscall_32.tbl", {"i386"}),
    "X86_64": ("arch/x86/entry/syscalls/syscall_64.tbl", {"common", "64"}),
    "X32": ("arch/x86/entry/syscalls/syscall_64.tbl", {"common", "x32"}),
    "ARM": ("arch/arm/tools/syscall.tbl", {"common", "eabi"}),
    "AARCH64": ("arch/arm64/tools/syscall_64.tbl", {"common", "64", "renameat", "rlimit", "memfd_secret"}),
    "RISCV64": ("scripts/syscall.tbl", {"common", "64", "riscv", "rlimit", "memfd_secret"}),
    "LOONGARCH64": ("scripts/syscall.tbl", {"common", "64", "memfd_secret"}),
    "MIPS_O32": ("arch/mips/kernel/syscalls/syscall_o32.tbl", {"common", "o32"}),
    "MIPS_N64": ("arch/mips/kernel/syscalls/syscall_n64.tbl", {"common", "n64"}),
    "MIPS_N32": ("arch/mips/kernel/syscalls/syscall_n32.tbl", {"common", "n32"}),
    "PARISC": ("arch/parisc/kernel/syscalls/syscall.tbl", {"common", "32"}),
    "PARISC64": ("arch/parisc/kernel/syscalls/syscall.tbl", {"common", "64"}),
    "PPC": ("arch/powerpc/kernel/syscalls/syscall.tbl", {"common", "nospu", "32"}),
    "PPC64": ("arch/powerpc/kernel/syscalls/syscall.tbl", {"common", "nospu", "64"}),
    "S390": ("arch/s390/kernel/syscalls/syscall.tbl", {"common", "32"}),
    "S390X": ("arch/s390/kernel/syscalls/syscall.tbl", {"common", "64"}),
    "M68K": ("arch/m68k/kernel/syscalls/syscall.tbl", {"common"}),
    "SH": ("arch/sh/kernel/syscalls/syscall.tbl", {"common"}),
}
ABSENT = 0xFFFF
# ARM's private calls live at 0x0f0000; the table keeps 16 bits and writes them as 0xf000 + n.
ARM_PRIVATE = 0xF000


def version(tree):
    head = (tree / "Makefile").read_text()[:400]
    return ".".join(re.search(rf"^{key} = (\d+)", head, re.M)[1] for key in ("VERSION", "PATCHLEVEL", "SUBLEVEL"))


def rows(path):
    """(number, abi, name) of each line of a syscall.tbl."""
    for line in path.read_text().splitlines():
        words = line.split("#")[0].split()
        if len(words) >= 3 and words[0].isdigit():
            yield int(words[0]), words[1], words[2]


def column(tree, table, abis):
    """{name: number} of one ABI in one kernel, or nothing if this kernel no longer has the ABI."""
    found = list(rows(tree / table))
    # A table without any row of the ABI's own tag has lost the ABI ("32" of s390), not its differences.
    if "s390" in table and "32" in abis and not any(abi == "32" for _, abi, _ in found):
        return {}
    numbers = {}
    for number, abi, name in found:
        if abi in abis and not name.startswith("reserved"):
            assert numbers.setdefault(name, number) == number, f"{table}: {name} has two numbers"
    return numbers


def arm_extras(tree):
    """ARM's private calls, and its second names, from the header that defines them."""
    header = (tree / "arch/arm/include/uapi/asm/unistd.h").read_text()
    private = {n: ARM_PRIVATE + int(k) for n, k in re.findall(r"#define __ARM_NR_(\w+)\s+\(__ARM_NR_BASE\+(\d+)\)", header)}
    aliases = dict(re.findall(r"#define __NR_([a-z]\w+)\s+__NR_([a-z]\w+)", header))
    return private, aliases


def collect(trees):
    columns = {}
    for label, (table, abis) in COLUMNS.items():
        numbers = {}
        for tree in trees:
            for name, number in column(tree, table, abis).items():
                # The newest kernel wins; a number never changes its meaning, and this is where we would notice.
                assert numbers.setdefault(name, number) == number, f"{label}: {name} moved"
        assert numbers, f"{label}: no kernel given has this ABI"
        columns[label] = numbers
    private, aliases = arm_extras(trees[0])
    columns["ARM"].update(private)
    for alias, name in aliases.items():
        columns["ARM"][alias] = columns["ARM"][name]
    return columns


def main():
    trees = [pathlib.Path(arg) for arg in sys.argv[1:]]
    if not trees:
        sys.exit(__doc__)
    columns = collect(trees)
    names = sorted(set().union(*columns.values()))
    versions = " and ".join(f"Linux {version(tree)}" for tree in trees)
    print(f"""//! Syscall names and their numbers on every ABI; written by scripts/syscalls.py, never by hand.
//!
//! Source: the syscall.tbl files of {versions}.
//! The newer wins, the older fills in what was removed.
//! `NO` means that the ABI lacks the call. MIPS numbers are without their base (4000, 5000, 6000), x32 numbers without
//! bit 30, and ARM's private calls at 0x0f0000 are written as 0xf000 + n: see `syscalls.rs`.

/// "This ABI has no such call."
pub(super) const NO: u16 = {ABSENT:#x};

/// How many columns a row has.
pub(super) const COLUMNS: usize = {len(COLUMNS)};
""")
    for index, (label, numbers) in enumerate(columns.items()):
        print(f"/// Column of {COLUMNS[label][0]}, {'+'.join(sorted(COLUMNS[label][1]))}: {len(numbers)} calls.")
        print(f"pub(super) const {label}: usize = {index};")
    print(f"\n/// One row a name, sorted by name. A constant, not a static: `syscalls.rs` keeps it in a form without pointers.\n#[allow(clippy::large_const_arrays)]\npub(super) const ROWS: [(&str, [u16; COLUMNS]); {len(names)}] = [")
    for name in names:
        cells = [f"{columns[label][name]}" if name in columns[label] else "NO" for label in COLUMNS]
        print(f'    ("{name}", [{", ".join(cells)}]),')
    print("];")


main()
