//! The conditions on arguments of one call, as code. The `seccompiler` crate compiles each rule; we take its
//! comparisons, drop the rest (its prologue, number check, entry jumps), and put them where we want them with our own
//! jumps, so that rules can have different actions and none of its per-filter limits (one action, three
//! architectures, no NOTIFY) apply.

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use super::assemble::{Assembler, Compare, Target};
use super::compile::CompileError;
use super::profile::{Action, Condition, Test};

/// Rules of one call, tried in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    /// Conditions, all of which must hold, and what then happens.
    pub(super) rules: Vec<(Vec<Condition>, Action)>,
    /// Whether whole arguments are compared or their low halves.
    pub(super) wide: bool,
}

/// What stands before the first comparison in seccompiler's program for one call with one rule: load of the
/// architecture, its check, the return for another one; load of the number, its check; two jumps.
const PROLOGUE: usize = 7;
/// What stands after the last: match, mismatch of the chain, mismatch of the filter.
const EPILOGUE: usize = 3;
const MATCH: u32 = 1;
const MISMATCH: u32 = 2;

impl Chain {
    /// Writes the chain; where no rule matches it goes on at `otherwise`.
    pub(super) fn write(&self, asm: &mut Assembler, otherwise: Target) -> Result<Target, CompileError> {
        self.rules.iter().rev().try_fold(otherwise, |next, (conditions, action)| {
            let code = comparisons(conditions, self.wide)?;
            relocate(asm, &code, Target::Return(action.ret()), next)
        })
    }
}

/// seccompiler's code for the conditions: falls out of its end if all hold, jumps one beyond it if one does not.
fn comparisons(conditions: &[Condition], wide: bool) -> Result<BpfProgram, CompileError> {
    let foreign = |e: BackendError| CompileError::Conditions(e.to_string());
    let conditions = conditions.iter().map(|c| condition(c, wide)).collect::<Result<Vec<_>, _>>().map_err(foreign)?;
    let rule = SeccompRule::new(conditions).map_err(foreign)?;
    // The architecture only decides about the prologue, which is dropped, and the actions only mark the returns.
    let (matched, not) = (SeccompAction::Trace(MATCH), SeccompAction::Trace(MISMATCH));
    let filter = SeccompFilter::new(BTreeMap::from([(0, vec![rule])]), not, matched, TargetArch::x86_64);
    let mut program = BpfProgram::try_from(filter.map_err(foreign)?).map_err(foreign)?;
    let expected = [MATCH, MISMATCH, MISMATCH].map(|mark| u32::from(SeccompAction::Trace(mark)));
    let end = program.len().saturating_sub(EPILOGUE);
    if end <= PROLOGUE || !program[end..].iter().map(|i| i.k).eq(expected) {
        return Err(CompileError::Conditions("unexpected code from seccompiler".into()));
    }
    program.truncate(end);
    program.drain(..PROLOGUE);
    Ok(program)
}

fn condition(condition: &Condition, wide: bool) -> Result<SeccompCondition, BackendError> {
    let (op, value) = match condition.test {
        Test::Ne(value) => (SeccompCmpOp::Ne, value),
        Test::Lt(value) => (SeccompCmpOp::Lt, value),
        Test::Le(value) => (SeccompCmpOp::Le, value),
        Test::Eq(value) => (SeccompCmpOp::Eq, value),
        Test::Ge(value) => (SeccompCmpOp::Ge, value),
        Test::Gt(value) => (SeccompCmpOp::Gt, value),
        Test::MaskedEq { mask, value } => (SeccompCmpOp::MaskedEq(mask), value),
    };
    let len = if wide { SeccompCmpArgLen::Qword } else { SeccompCmpArgLen::Dword };
    SeccompCondition::new(condition.arg, len, op, value)
}

/// Writes seccompiler's instructions through our assembler: the same comparisons, our jumps.
fn relocate(
    asm: &mut Assembler,
    code: &[seccompiler::sock_filter],
    matched: Target,
    not: Target,
) -> Result<Target, CompileError> {
    // The place of each instruction, then of what lies behind the last.
    let mut places = vec![matched; code.len() + 2];
    places[code.len() + 1] = not;
    for (index, instruction) in code.iter().enumerate().rev() {
        let place = |skip: u32| places.get(index + 1 + skip as usize).copied().ok_or_else(unknown);
        places[index] = match (instruction.code, Compare::of_code(instruction.code)) {
            (_, Some(compare)) => {
                let (yes, no) = (place(instruction.jt.into())?, place(instruction.jf.into())?);
                asm.branch(compare, instruction.k, yes, no)
            }
            (0x20, _) => asm.load(half(instruction.k), place(0)?),
            (0x54, _) => asm.and(instruction.k, place(0)?),
            (0x05, _) => place(instruction.k)?,
            _ => return Err(unknown()),
        };
    }
    Ok(places[0])
}

/// seccompiler takes every machine for little-endian; on the others the halves of an argument stand the other way round.
fn half(offset: u32) -> u32 {
    if cfg!(target_endian = "big") { offset ^ 4 } else { offset }
}

fn unknown() -> CompileError {
    CompileError::Conditions("unknown code from seccompiler".into())
}

#[cfg(test)]
mod tests {
    use super::super::interpret::{Data, interpret};
    use super::*;

    const ALLOW: u32 = 0x7fff_0000;

    fn holds(test: Test, wide: bool, arg: u64) -> bool {
        let mut asm = Assembler::new();
        let rules = vec![(vec![Condition { arg: 3, test }], Action::Allow)];
        let entry = Chain { rules, wide }.write(&mut asm, Target::Return(0)).unwrap();
        let program = asm.finish(entry);
        interpret(&program, &Data { args: [!arg, !arg, !arg, arg, !arg, !arg], ..Data::default() }).unwrap() == ALLOW
    }

    /// Both halves around every boundary of both halves: what CVE-2019-9893 got wrong.
    fn edges() -> Vec<u64> {
        let halves = [0, 1, 2, 7, 8, 0x7fff_ffff, 0x8000_0000, 0x8000_0001, 0xffff_fffe, 0xffff_ffff_u64];
        halves.iter().flat_map(|high| halves.map(|low| high << 32 | low)).collect()
    }

    #[test]
    fn every_operator_compares_all_64_bits() {
        for value in edges() {
            for arg in edges() {
                assert_eq!(holds(Test::Ne(value), true, arg), arg != value, "{arg:#x} != {value:#x}");
                assert_eq!(holds(Test::Lt(value), true, arg), arg < value, "{arg:#x} < {value:#x}");
                assert_eq!(holds(Test::Le(value), true, arg), arg <= value, "{arg:#x} <= {value:#x}");
                assert_eq!(holds(Test::Eq(value), true, arg), arg == value, "{arg:#x} == {value:#x}");
                assert_eq!(holds(Test::Ge(value), true, arg), arg >= value, "{arg:#x} >= {value:#x}");
                assert_eq!(holds(Test::Gt(value), true, arg), arg > value, "{arg:#x} > {value:#x}");
                let mask = 0xf000_0001_8000_0003;
                let masked = holds(Test::MaskedEq { mask, value }, true, arg);
                assert_eq!(masked, arg & mask == value & mask, "{arg:#x} & {mask:#x} == {value:#x}");
            }
        }
    }

    #[test]
    fn narrow_abis_compare_the_low_half() {
        assert!(holds(Test::Eq(5), false, 0xdead_0000_0005));
        assert!(!holds(Test::Gt(5), false, 0xdead_0000_0005));
        assert!(holds(Test::Eq(u64::MAX), false, 0xffff_ffff));
    }

    #[test]
    fn rules_are_tried_in_order_with_their_own_actions() {
        let when = |arg, value| vec![Condition { arg, test: Test::Eq(value) }];
        let both = [when(0, 1), when(1, 2)].concat();
        let rules = vec![(both, Action::Errno(22)), (when(0, 1), Action::Notify), (when(1, 2), Action::Trace(9))];
        let mut asm = Assembler::new();
        let entry = Chain { rules, wide: true }.write(&mut asm, Target::Return(ALLOW)).unwrap();
        let program = asm.finish(entry);
        let run = |a, b| interpret(&program, &Data { args: [a, b, 0, 0, 0, 0], ..Data::default() }).unwrap();
        assert_eq!([run(1, 2), run(1, 3), run(3, 2), run(3, 3)], [0x0005_0016, 0x7fc0_0000, 0x7ff0_0009, ALLOW]);
    }
}
