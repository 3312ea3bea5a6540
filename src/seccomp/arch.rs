//! The architectures of the OCI spec as seccomp sees them: the kernel's audit number, the column of the syscall table,
//! the width of an argument. Data only; what they mean for a filter is `compile.rs`'s business.

use serde::{Serialize, Serializer};

use super::table;

/// A calling convention that a profile can name (`SCMP_ARCH_…`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)] // the names are the documentation
pub enum Arch {
    X86,
    X86_64,
    X32,
    Arm,
    Aarch64,
    Mips,
    Mips64,
    Mips64N32,
    Mipsel,
    Mipsel64,
    Mipsel64N32,
    Ppc,
    Ppc64,
    Ppc64le,
    S390,
    S390x,
    Parisc,
    Parisc64,
    Riscv64,
    Loongarch64,
    M68k,
    Sh,
    Sheb,
}

/// What we know about one architecture.
struct Facts {
    arch: Arch,
    name: &'static str,
    /// AUDIT_ARCH_*: what the kernel puts into `seccomp_data.arch`.
    audit: u32,
    /// Column of the syscall table.
    column: usize,
    /// What the kernel adds to the table's numbers.
    base: u32,
    /// Whether arguments are 64 bits wide. Narrow ones are compared by their low half, as libseccomp does.
    wide: bool,
}

const WIDE: u32 = 0x8000_0000;
const LITTLE: u32 = 0x4000_0000;
const N32: u32 = 0x2000_0000;
/// Bit 30 of a syscall number says "x32" on an x86_64 kernel.
pub const X32_BIT: u32 = 0x4000_0000;

macro_rules! arches {
    ($($arch:ident $name:literal $audit:expr, $column:ident + $base:expr, $wide:expr;)*) => {
        impl Arch {
            /// Every architecture of the spec.
            pub const ALL: [Arch; 23] = [$(Arch::$arch),*];
            const FACTS: [Facts; 23] = [$(Facts {
                arch: Arch::$arch, name: concat!("SCMP_ARCH_", $name),
                audit: $audit, column: table::$column, base: $base, wide: $wide,
            }),*];
        }
    };
}

// The numbers are the ELF machines of linux/elf-em.h with the width and endianness bits of linux/audit.h.
arches! {
    X86 "X86" 3 | LITTLE, X86 + 0, false;
    X86_64 "X86_64" 62 | WIDE | LITTLE, X86_64 + 0, true;
    X32 "X32" 62 | WIDE | LITTLE, X32 + X32_BIT, false;
    Arm "ARM" 40 | LITTLE, ARM + 0, false;
    Aarch64 "AARCH64" 183 | WIDE | LITTLE, AARCH64 + 0, true;
    Mips "MIPS" 8, MIPS_O32 + 4000, false;
    Mips64 "MIPS64" 8 | WIDE, MIPS_N64 + 5000, true;
    Mips64N32 "MIPS64N32" 8 | WIDE | N32, MIPS_N32 + 6000, false;
    Mipsel "MIPSEL" 8 | LITTLE, MIPS_O32 + 4000, false;
    Mipsel64 "MIPSEL64" 8 | WIDE | LITTLE, MIPS_N64 + 5000, true;
    Mipsel64N32 "MIPSEL64N32" 8 | WIDE | LITTLE | N32, MIPS_N32 + 6000, false;
    Ppc "PPC" 20, PPC + 0, false;
    Ppc64 "PPC64" 21 | WIDE, PPC64 + 0, true;
    Ppc64le "PPC64LE" 21 | WIDE | LITTLE, PPC64 + 0, true;
    S390 "S390" 22, S390 + 0, false;
    S390x "S390X" 22 | WIDE, S390X + 0, true;
    Parisc "PARISC" 15, PARISC + 0, false;
    Parisc64 "PARISC64" 15 | WIDE, PARISC64 + 0, true;
    Riscv64 "RISCV64" 243 | WIDE | LITTLE, RISCV64 + 0, true;
    Loongarch64 "LOONGARCH64" 258 | WIDE | LITTLE, LOONGARCH64 + 0, true;
    M68k "M68K" 4, M68K + 0, false;
    Sh "SH" 42 | LITTLE, SH + 0, false;
    Sheb "SHEB" 42, SH + 0, false;
}

impl Arch {
    /// The architecture that this binary runs on: always part of a filter.
    pub const NATIVE: Arch = {
        if cfg!(all(target_arch = "x86_64", target_pointer_width = "64")) {
            Arch::X86_64
        } else if cfg!(target_arch = "x86") {
            Arch::X86
        } else if cfg!(target_arch = "aarch64") {
            Arch::Aarch64
        } else if cfg!(target_arch = "arm") {
            Arch::Arm
        } else if cfg!(target_arch = "riscv64") {
            Arch::Riscv64
        } else if cfg!(all(target_arch = "powerpc64", target_endian = "little")) {
            Arch::Ppc64le
        } else if cfg!(all(target_arch = "powerpc64", target_endian = "big")) {
            Arch::Ppc64
        } else if cfg!(target_arch = "s390x") {
            Arch::S390x
        } else if cfg!(target_arch = "loongarch64") {
            Arch::Loongarch64
        } else if cfg!(all(target_arch = "mips64", target_endian = "little")) {
            Arch::Mipsel64
        } else if cfg!(all(target_arch = "mips64", target_endian = "big")) {
            Arch::Mips64
        } else {
            panic!("say here which seccomp architecture this target is")
        }
    };

    fn facts(self) -> &'static Facts {
        &Self::FACTS[self as usize]
    }

    /// `SCMP_ARCH_X86_64`.
    pub fn name(self) -> &'static str {
        self.facts().name
    }

    /// The architecture of that name.
    pub fn from_name(name: &str) -> Option<Arch> {
        Self::FACTS.iter().find(|facts| facts.name == name).map(|facts| facts.arch)
    }

    /// What the kernel puts into `seccomp_data.arch`. x32 shares x86_64's.
    pub fn audit(self) -> u32 {
        self.facts().audit
    }

    /// Whether arguments are compared as 64 bits.
    pub fn wide(self) -> bool {
        self.facts().wide
    }

    pub(super) fn column(self) -> usize {
        self.facts().column
    }

    pub(super) fn base(self) -> u32 {
        self.facts().base
    }
}

impl Serialize for Arch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_facts_stand_in_the_order_of_the_enum() {
        for (index, arch) in Arch::ALL.into_iter().enumerate() {
            assert_eq!(arch as usize, index);
            assert_eq!(arch.facts().arch, arch);
            assert_eq!(Arch::from_name(arch.name()), Some(arch));
        }
    }

    #[test]
    fn only_x32_shares_an_audit_number() {
        for a in Arch::ALL {
            for b in Arch::ALL {
                let x32 = matches!((a, b), (Arch::X32, Arch::X86_64) | (Arch::X86_64, Arch::X32));
                assert_eq!(a.audit() == b.audit(), a == b || x32, "{a:?} {b:?}");
            }
        }
    }
}
