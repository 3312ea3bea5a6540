//! Classic BPF as the kernel runs it for seccomp: what a filter says to a call, without a kernel. Refuses every program
//! that the kernel would refuse. For tests, and for `rt seccomp test`; never part of starting a container.

use crate::sys::seccomp::Instruction;

/// The kernel's `struct seccomp_data`: one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Data {
    /// The number of the call.
    pub nr: u32,
    /// AUDIT_ARCH_*.
    pub arch: u32,
    /// Where it was made.
    pub instruction_pointer: u64,
    /// Its arguments.
    pub args: [u64; 6],
}

const WORDS: usize = 16;

impl Data {
    /// The 32-bit words as a filter of this machine loads them.
    fn words(&self) -> [u32; WORDS] {
        let mut words = [0; WORDS];
        (words[0], words[1]) = (self.nr, self.arch);
        let wide = std::iter::once(&self.instruction_pointer).chain(&self.args);
        for (pair, value) in words[2..].chunks_exact_mut(2).zip(wide) {
            let (low, high) = if cfg!(target_endian = "big") { (1, 0) } else { (0, 1) };
            (pair[low], pair[high]) = (*value as u32, (*value >> 32) as u32);
        }
        words
    }
}

/// Why a program is none, and which instruction says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// No instruction, or more than the kernel takes.
    Length(usize),
    /// An instruction that seccomp does not have.
    Unknown(usize),
    /// A load that is unaligned or outside `seccomp_data`.
    Load(usize),
    /// A jump out of the program.
    Jump(usize),
    /// A shift by 32 or more, or a division by zero.
    Operand(usize),
    /// A scratch cell that does not exist or may not have been written.
    Memory(usize),
    /// The last instruction does not return.
    NoReturn,
}

impl std::error::Error for Malformed {}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Malformed::Length(length) => write!(f, "a program of {length} instructions"),
            Malformed::Unknown(at) => write!(f, "instruction {at} is not one of seccomp's"),
            Malformed::Load(at) => write!(f, "instruction {at} loads what is not there"),
            Malformed::Jump(at) => write!(f, "instruction {at} jumps out of the program"),
            Malformed::Operand(at) => write!(f, "instruction {at} has an impossible operand"),
            Malformed::Memory(at) => {
                write!(f, "instruction {at} uses a scratch cell that is not there or never written")
            }
            Malformed::NoReturn => f.write_str("the last instruction does not return"),
        }
    }
}

/// What the program says to the call.
pub fn interpret(program: &[Instruction], data: &Data) -> Result<u32, Malformed> {
    Ok(Interpreter::new(program)?.run(data))
}

// Instruction codes, by class; `| X` takes the operand from the index register.
const LD_ABS: u16 = 0x20;
const LD_LEN: u16 = 0x80;
const LDX_LEN: u16 = 0x81;
const LD_IMM: u16 = 0x00;
const LDX_IMM: u16 = 0x01;
const LD_MEM: u16 = 0x60;
const LDX_MEM: u16 = 0x61;
const ST: u16 = 0x02;
const STX: u16 = 0x03;
const NEG: u16 = 0x84;
const JA: u16 = 0x05;
const RET_K: u16 = 0x06;
const RET_A: u16 = 0x16;
const TAX: u16 = 0x07;
const TXA: u16 = 0x87;
const X: u16 = 0x08;
const CLASS: u16 = 0x07;
const ALU: u16 = 0x04;
const JMP: u16 = 0x05;
const CELLS: u32 = 16;

/// A program that was checked and can be run.
#[derive(Clone, Copy, Debug)]
pub struct Interpreter<'a> {
    program: &'a [Instruction],
}

impl<'a> Interpreter<'a> {
    /// Checks the program as the kernel does before it takes one.
    pub fn new(program: &'a [Instruction]) -> Result<Self, Malformed> {
        if program.is_empty() || program.len() > super::MAX_INSTRUCTIONS {
            return Err(Malformed::Length(program.len()));
        }
        for (at, instruction) in program.iter().enumerate() {
            check(at, instruction, program.len())?;
        }
        check_cells(program)?;
        match program[program.len() - 1].code {
            RET_K | RET_A => Ok(Self { program }),
            _ => Err(Malformed::NoReturn),
        }
    }

    /// What the program says to the call.
    pub fn run(&self, data: &Data) -> u32 {
        self.run_words(&data.words())
    }

    /// The same for `seccomp_data` as 16 words: a filter for a machine of the other endianness can be run, too.
    pub fn run_words(&self, data: &[u32; WORDS]) -> u32 {
        let (mut a, mut x, mut cells, mut at) = (0u32, 0u32, [0u32; CELLS as usize], 0);
        loop {
            let Instruction { code, jt, jf, k } = self.program[at];
            at += 1;
            let operand = if code & X != 0 { x } else { k };
            match code {
                LD_ABS => a = data[k as usize / 4],
                RET_K => return k,
                RET_A => return a,
                JA => at += k as usize,
                LD_IMM => a = k,
                LDX_IMM => x = k,
                LD_LEN => a = size_of::<Data>() as u32,
                LDX_LEN => x = size_of::<Data>() as u32,
                LD_MEM => a = cells[k as usize],
                LDX_MEM => x = cells[k as usize],
                ST => cells[k as usize] = a,
                STX => cells[k as usize] = x,
                TAX => x = a,
                TXA => a = x,
                NEG => a = a.wrapping_neg(),
                _ if code & CLASS == JMP => at += usize::from(if compare(code, a, operand) { jt } else { jf }),
                _ => match alu(code, a, operand) {
                    Some(result) => a = result,
                    // A division by an index register of zero ends the program with 0, which is KILL_THREAD.
                    None => return 0,
                },
            }
        }
    }
}

fn compare(code: u16, a: u32, operand: u32) -> bool {
    match code & 0xf0 {
        0x10 => a == operand,
        0x20 => a > operand,
        0x30 => a >= operand,
        _ => a & operand != 0,
    }
}

fn alu(code: u16, a: u32, operand: u32) -> Option<u32> {
    Some(match code & 0xf0 {
        0x00 => a.wrapping_add(operand),
        0x10 => a.wrapping_sub(operand),
        0x20 => a.wrapping_mul(operand),
        0x30 => return a.checked_div(operand),
        0x40 => a | operand,
        0x50 => a & operand,
        // A shift by the index register uses its low five bits.
        0x60 => a.wrapping_shl(operand),
        0x70 => a.wrapping_shr(operand),
        _ => a ^ operand,
    })
}

/// Whether the instruction is one of seccomp's and its operands make sense.
fn check(at: usize, instruction: &Instruction, len: usize) -> Result<(), Malformed> {
    let Instruction { code, jt, jf, k } = *instruction;
    let left = len - at - 1;
    match code {
        LD_ABS if k % 4 != 0 || k as usize >= size_of::<Data>() => Err(Malformed::Load(at)),
        LD_MEM | LDX_MEM | ST | STX if k >= CELLS => Err(Malformed::Memory(at)),
        LD_ABS | LD_LEN | LDX_LEN | LD_IMM | LDX_IMM | LD_MEM | LDX_MEM | ST | STX | NEG | RET_K | RET_A | TAX
        | TXA => Ok(()),
        JA if k as usize >= left => Err(Malformed::Jump(at)),
        JA => Ok(()),
        _ if code & !(0xf0 | X) == JMP && matches!(code & 0xf0, 0x10..=0x40) => {
            let inside = usize::from(jt) < left && usize::from(jf) < left;
            inside.then_some(()).ok_or(Malformed::Jump(at))
        }
        // Operations 0 to 7 and xor; 8 is NEG, 9 is a remainder, which seccomp lacks.
        _ if code & !(0xf0 | X) == ALU && matches!(code & 0xf0, 0x00..=0x70 | 0xa0) => {
            let bad =
                code & X == 0 && ((code & 0xf0 == 0x30 && k == 0) || (matches!(code & 0xf0, 0x60 | 0x70) && k > 31));
            (!bad).then_some(()).ok_or(Malformed::Operand(at))
        }
        _ => Err(Malformed::Unknown(at)),
    }
}

/// Every scratch cell must be written on every way before it is read.
fn check_cells(program: &[Instruction]) -> Result<(), Malformed> {
    // Jumps only go forward, so one pass sees all ways to an instruction before the instruction.
    let mut written = vec![u16::MAX; program.len() + 1];
    written[0] = 0;
    for (at, instruction) in program.iter().enumerate() {
        let Instruction { code, jt, jf, k } = *instruction;
        let mut now = written[at];
        match code {
            ST | STX => now |= 1 << k,
            LD_MEM | LDX_MEM if now & 1 << k == 0 => return Err(Malformed::Memory(at)),
            _ => {}
        }
        let next = at + 1;
        match code {
            RET_K | RET_A => {}
            JA => written[next + k as usize] &= now,
            _ if code & CLASS == JMP => {
                written[next + usize::from(jt)] &= now;
                written[next + usize::from(jf)] &= now;
            }
            _ => written[next] &= now,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn stmt(code: u16, k: u32) -> Instruction {
        Instruction { code, jt: 0, jf: 0, k }
    }

    const fn jump(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
        Instruction { code, jt, jf, k }
    }

    fn refused(program: &[Instruction]) -> Malformed {
        Interpreter::new(program).unwrap_err()
    }

    #[test]
    fn loads_see_the_kernels_layout() {
        let data = Data { nr: 1, arch: 2, instruction_pointer: 0x4_0000_0003, args: [5, 6, 7, 8, 9, 0xb_0000_000a] };
        let word = |offset| interpret(&[stmt(LD_ABS, offset), stmt(RET_A, 0)], &data).unwrap();
        assert_eq!([word(0), word(4), word(8), word(12), word(16), word(56), word(60)], [1, 2, 3, 4, 5, 10, 11]);
    }

    #[test]
    fn arithmetic_is_the_kernels() {
        let run =
            |code, k| interpret(&[stmt(LD_IMM, 0x8000_0006), stmt(code, k), stmt(RET_A, 0)], &Data::default()).unwrap();
        assert_eq!(run(0x04, u32::MAX), 0x8000_0005);
        assert_eq!(run(0x14, 7), 0x7fff_ffff);
        assert_eq!(run(0x24, 2), 12);
        assert_eq!(run(0x34, 2), 0x4000_0003);
        assert_eq!(run(0x44, 1), 0x8000_0007);
        assert_eq!(run(0x54, 0xf), 6);
        assert_eq!(run(0x64, 1), 12);
        assert_eq!(run(0x74, 1), 0x4000_0003);
        assert_eq!(run(0xa4, 2), 0x8000_0004);
        assert_eq!(run(NEG, 0), 0x7fff_fffa);
        // Through the index register: a shift by 33 is one by 1, a division by 0 kills.
        let by = |code, k| {
            interpret(&[stmt(LD_IMM, 8), stmt(LDX_IMM, k), stmt(code | X, 0), stmt(RET_A, 0)], &Data::default())
                .unwrap()
        };
        assert_eq!([by(0x64, 33), by(0x34, 0), by(0x34, 4)], [16, 0, 2]);
    }

    #[test]
    fn the_scratch_memory_keeps_what_was_stored() {
        let program = [stmt(LD_IMM, 7), stmt(ST, 15), stmt(LD_IMM, 0), stmt(LDX_MEM, 15), stmt(TXA, 0), stmt(RET_A, 0)];
        assert_eq!(interpret(&program, &Data::default()), Ok(7));
    }

    #[test]
    fn what_the_kernel_refuses_is_refused() {
        let ret = stmt(RET_K, 0);
        assert_eq!(refused(&[]), Malformed::Length(0));
        assert_eq!(refused(&vec![ret; 4097]), Malformed::Length(4097));
        assert_eq!(refused(&[stmt(LD_ABS, 2), ret]), Malformed::Load(0));
        assert_eq!(refused(&[stmt(LD_ABS, 64), ret]), Malformed::Load(0));
        assert_eq!(refused(&[ret, stmt(LD_IMM, 0)]), Malformed::NoReturn);
        assert_eq!(refused(&[stmt(JA, 1), ret]), Malformed::Jump(0));
        assert_eq!(refused(&[stmt(JA, u32::MAX), ret]), Malformed::Jump(0));
        assert_eq!(refused(&[jump(0x15, 0, 0, 1), ret]), Malformed::Jump(0));
        assert_eq!(refused(&[jump(0x15, 0, 255, 0), ret]), Malformed::Jump(0));
        assert_eq!(refused(&[stmt(0x34, 0), ret]), Malformed::Operand(0));
        assert_eq!(refused(&[stmt(0x64, 32), ret]), Malformed::Operand(0));
        assert_eq!(refused(&[stmt(LD_MEM, 0), ret]), Malformed::Memory(0));
        assert_eq!(refused(&[stmt(ST, 16), ret]), Malformed::Memory(0));
        // Written on one way only.
        let program = [jump(0x15, 0, 0, 1), stmt(ST, 3), stmt(LD_MEM, 3), ret];
        assert_eq!(refused(&program), Malformed::Memory(2));
        // Byte and half loads, indirect loads, remainder, unsigned extensions: classic BPF, but not seccomp's.
        for code in [0x30, 0x28, 0x40, 0x94, 0x50, 0x0e, 0x25 | 0x80, 0xffff, 0xb1] {
            assert_eq!(refused(&[stmt(code, 0), ret]), Malformed::Unknown(0), "{code:#x}");
        }
    }
}
