//! A small assembler for classic BPF that writes the program from its end to its beginning, so that every jump target
//! already has its place and no jump is ever patched. Jumps of cBPF only go forward and conditional ones reach 255
//! instructions; where that is not enough it puts a nearer copy of a RET, or a long jump, in between.
//!
//! Only instructions that the kernel can follow when it works out which calls are always allowed (its action bitmap)
//! are offered; anything else would make every call slower.

use crate::sys::seccomp::Instruction;

const LD_W_ABS: u16 = 0x20;
const ALU_AND_K: u16 = 0x54;
const RET_K: u16 = 0x06;
const JA: u16 = 0x05;

/// Comparisons of the accumulator with a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum Compare {
    Eq = 0x15,
    Gt = 0x25,
    Ge = 0x35,
    Set = 0x45,
}

impl Compare {
    pub(super) fn of_code(code: u16) -> Option<Compare> {
        [Compare::Eq, Compare::Gt, Compare::Ge, Compare::Set].into_iter().find(|compare| *compare as u16 == code)
    }
}

/// Where a jump goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// An instruction already written, counted from the end of the program.
    At(usize),
    /// The end of the filter, with this value.
    Return(u32),
}

/// The program so far, last instruction first.
#[derive(Default)]
pub(super) struct Assembler {
    reversed: Vec<Instruction>,
    /// The nearest RET of each value, and the nearest long jump to each place.
    near: Vec<(Target, usize)>,
}

impl Assembler {
    const REACH: usize = u8::MAX as usize;

    pub(super) fn new() -> Self {
        Self { reversed: Vec::with_capacity(1024), near: Vec::with_capacity(16) }
    }

    /// How many instructions there are.
    pub(super) fn len(&self) -> usize {
        self.reversed.len()
    }

    /// `if accumulator <compare> k { yes } else { no }`.
    pub(super) fn branch(&mut self, compare: Compare, k: u32, yes: Target, no: Target) -> Target {
        if yes == no {
            return yes;
        }
        // Bringing `no` near may push one instruction, so `yes` must stay in reach over it.
        let yes = self.bring_near(yes, 1);
        let no = self.bring_near(no, 0);
        let offset = |place: usize| (self.len() - place - 1) as u8;
        self.push(Instruction { code: compare as u16, jt: offset(yes), jf: offset(no), k })
    }

    /// Loads the word at `offset` of `seccomp_data` into the accumulator, then goes on at `next`.
    pub(super) fn load(&mut self, offset: u32, next: Target) -> Target {
        self.before(next);
        self.push(Instruction { code: LD_W_ABS, jt: 0, jf: 0, k: offset })
    }

    /// `accumulator &= mask`, then goes on at `next`.
    pub(super) fn and(&mut self, mask: u32, next: Target) -> Target {
        self.before(next);
        self.push(Instruction { code: ALU_AND_K, jt: 0, jf: 0, k: mask })
    }

    /// The program, with its entry in front.
    pub(super) fn finish(mut self, entry: Target) -> Vec<Instruction> {
        self.before(entry);
        self.reversed.reverse();
        self.reversed
    }

    /// Makes `next` the instruction that the one pushed now falls into.
    fn before(&mut self, next: Target) {
        if next != Target::At(self.len().wrapping_sub(1)) {
            self.connect(next);
        }
    }

    /// A place within reach of the instruction pushed `later` pushes after the next one that is the same as `target`.
    fn bring_near(&mut self, target: Target, later: usize) -> usize {
        let reaches = |place: usize| self.len() + later - place - 1 <= Self::REACH;
        if let Target::At(place) = target
            && reaches(place)
        {
            return place;
        }
        match self.near.iter().find(|(known, _)| *known == target) {
            Some((_, place)) if reaches(*place) => *place,
            _ => self.connect(target),
        }
    }

    /// Pushes an instruction that does nothing but reach `target`, and remembers it.
    fn connect(&mut self, target: Target) -> usize {
        let place = self.len();
        self.push(match target {
            Target::Return(k) => Instruction { code: RET_K, jt: 0, jf: 0, k },
            Target::At(to) => Instruction { code: JA, jt: 0, jf: 0, k: (place - to - 1) as u32 },
        });
        match self.near.iter_mut().find(|(known, _)| *known == target) {
            Some(known) => known.1 = place,
            None => self.near.push((target, place)),
        }
        place
    }

    fn push(&mut self, instruction: Instruction) -> Target {
        self.reversed.push(instruction);
        Target::At(self.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::super::interpret::{Data, interpret};
    use super::*;

    fn run(program: &[Instruction], nr: u32) -> u32 {
        interpret(program, &Data { nr, ..Data::default() }).unwrap()
    }

    #[test]
    fn rets_are_shared_and_a_pointless_branch_costs_nothing() {
        let mut asm = Assembler::new();
        let same = asm.branch(Compare::Eq, 1, Target::Return(7), Target::Return(7));
        let low = asm.branch(Compare::Eq, 2, Target::Return(8), same);
        let entry = asm.load(0, low);
        let program = asm.finish(entry);
        assert_eq!(program.len(), 4);
        assert_eq!([run(&program, 1), run(&program, 2)], [7, 8]);
    }

    #[test]
    fn a_program_may_be_one_return() {
        let program = Assembler::new().finish(Target::Return(5));
        assert_eq!(program, [Instruction { code: RET_K, jt: 0, jf: 0, k: 5 }]);
    }

    #[test]
    fn targets_out_of_reach_get_islands() {
        // A list of 1000 comparisons whose two ways are both at the far end.
        let mut asm = Assembler::new();
        let far = asm.load(0, Target::Return(99));
        let far = asm.branch(Compare::Gt, 5000, Target::Return(98), far);
        let mut next = Target::Return(1);
        for nr in (0..1000).rev() {
            let yes = if nr % 3 == 0 { far } else { Target::Return(2 + nr % 5) };
            next = asm.branch(Compare::Eq, nr, yes, next);
        }
        let entry = asm.load(0, next);
        let program = asm.finish(entry);
        for nr in 0..1000 {
            assert_eq!(run(&program, nr), if nr % 3 == 0 { 99 } else { 2 + nr % 5 });
        }
        assert_eq!(run(&program, 1000), 1);
        assert!(program.len() < 1000 + 60, "{}", program.len());
    }
}
