//! [`Profile`] → [`Program`]. For each architecture the verdicts form a step function over all 2³² call numbers; a
//! balanced tree of comparisons finds the step, so that neither order nor number of rules costs much. Calls whose
//! arguments matter go on to their chain. Pure; runs on the host side, before the child exists.

use super::arch::{Arch, X32_BIT};
use super::assemble::{Assembler, Compare, Target};
use super::chain::Chain;
use super::profile::{Action, Condition, Profile, Section, Test};
use crate::sys::seccomp::Instruction;

/// BPF_MAXINSNS: the kernel takes no longer program.
pub const MAX_INSTRUCTIONS: usize = 4096;

const ENOSYS: Action = Action::Errno(38);
/// What happens to a call of an ABI that the profile does not list.
const FOREIGN: Action = Action::KillProcess;
const NR_OFFSET: u32 = 0;
const ARCH_OFFSET: u32 = 4;
/// Up to so many single numbers are compared one after the other before the tree splits once more.
const IN_A_ROW: usize = 3;

/// A filter, ready to be installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    instructions: Vec<Instruction>,
}

impl Program {
    /// What `sys::seccomp::install` takes.
    pub fn instructions(&self) -> &[Instruction] {
        &self.instructions
    }
}

/// Why there is no program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompileError {
    /// More instructions than the kernel takes.
    TooLong(usize),
    /// The condition compiler said no.
    Conditions(String),
}

impl std::error::Error for CompileError {}

impl std::fmt::Display for CompileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CompileError::TooLong(length) => write!(
                f,
                "the seccomp profile needs {length} instructions, the kernel takes {MAX_INSTRUCTIONS}; \
                 list fewer architectures or fewer argument conditions"
            ),
            CompileError::Conditions(what) => write!(f, "the seccomp profile's argument conditions: {what}"),
        }
    }
}

/// Compiles the profile.
pub fn compile(profile: &Profile) -> Result<Program, CompileError> {
    let mut compiler = Compiler { profile, asm: Assembler::new(), chains: Vec::new() };
    // Written from the end: the last listed architecture first, so that the native one ends up next to the dispatch.
    let mut entries = Vec::with_capacity(profile.sections.len());
    for section in profile.sections.iter().rev() {
        let audit = section.arch.audit();
        // x86_64 and x32 are one architecture to the kernel: whichever is listed first brings in both.
        if profile.sections.iter().find(|other| other.arch.audit() == audit) == Some(section) {
            entries.push((audit, compiler.architecture(audit)?));
        }
    }
    let mut next = Target::Return(FOREIGN.ret());
    for (audit, entry) in entries {
        next = compiler.asm.branch(Compare::Eq, audit, entry, next);
    }
    let entry = compiler.asm.load(ARCH_OFFSET, next);
    let instructions = compiler.asm.finish(entry);
    match instructions.len() {
        length if length > MAX_INSTRUCTIONS => Err(CompileError::TooLong(length)),
        _ => Ok(Program { instructions }),
    }
}

/// What happens to a call number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Always(Action),
    /// Look at the arguments: an index into `Compiler::chains`.
    Chain(usize),
}

/// One way of one rule to one number.
#[derive(Clone, Copy)]
struct Entry {
    number: u32,
    /// Place of the rule in the profile.
    order: u32,
    /// The condition on the first argument that a carrier adds.
    carried: Option<Condition>,
}

/// A step function: each verdict holds from its number to the next one's.
#[derive(Default)]
struct Steps(Vec<(u32, Verdict)>);

impl Steps {
    fn from(&mut self, number: u32, verdict: Verdict) {
        match self.0.last_mut() {
            Some(last) if last.1 == verdict => {}
            Some(last) if last.0 == number => last.1 = verdict,
            _ => self.0.push((number, verdict)),
        }
    }
}

struct Compiler<'a> {
    profile: &'a Profile,
    asm: Assembler,
    /// Chains and where they stand. The same chain serves several calls and architectures.
    chains: Vec<(Chain, Target)>,
}

impl Compiler<'_> {
    /// The code for everything with this AUDIT_ARCH_*, from the load of the call number on.
    fn architecture(&mut self, audit: u32) -> Result<Target, CompileError> {
        let foreign = Verdict::Always(FOREIGN);
        let listed = |arch| self.profile.sections.iter().find(|section| section.arch == arch).copied();
        let mut steps = Steps(Vec::with_capacity(512));
        if audit == Arch::X86_64.audit() {
            let (x86_64, x32) = (listed(Arch::X86_64), listed(Arch::X32));
            match x86_64 {
                Some(section) => self.section(section, 0..=X32_BIT - 1, &mut steps)?,
                None => steps.from(0, foreign),
            }
            match x32 {
                Some(section) => self.section(section, X32_BIT..=u32::MAX, &mut steps)?,
                None => {
                    steps.from(X32_BIT, foreign);
                    // -1 is not an ABI: a tracer puts it there to skip a call.
                    steps.from(u32::MAX, Verdict::Always(self.profile.default));
                }
            }
        } else if let Some(section) = self.profile.sections.iter().find(|section| section.arch.audit() == audit) {
            self.section(*section, 0..=u32::MAX, &mut steps)?;
        }
        let targets: Vec<_> = steps.0.iter().map(|(number, verdict)| (*number, self.target(*verdict))).collect();
        let tree = self.tree(&targets, u32::MAX);
        Ok(self.asm.load(NR_OFFSET, tree))
    }

    fn target(&self, verdict: Verdict) -> Target {
        match verdict {
            Verdict::Always(action) => Target::Return(action.ret()),
            Verdict::Chain(index) => self.chains[index].1,
        }
    }

    /// The verdicts of one architecture on the numbers of `space`.
    fn section(
        &mut self,
        section: Section,
        space: std::ops::RangeInclusive<u32>,
        steps: &mut Steps,
    ) -> Result<(), CompileError> {
        let entries = entries(self.profile, section.arch);
        let default = Verdict::Always(self.profile.default);
        let newer = Verdict::Always(if section.newest.is_some() { ENOSYS } else { self.profile.default });
        let newest = section.newest.unwrap_or(u32::MAX);
        // Numbers without a rule from `start` on: the default up to the newest, ENOSYS after.
        let gap = |steps: &mut Steps, start: u32, end: u32| {
            if start <= newest {
                steps.from(start, default);
            }
            if end > newest {
                steps.from(start.max(newest + 1), newer);
            }
        };
        let mut next = Some(*space.start());
        if matches!(section.arch, Arch::S390 | Arch::S390x) && section.newest.is_some() {
            steps.from(0, newer);
            next = Some(1);
        }
        for group in entries.chunk_by(|a, b| a.number == b.number) {
            let number = group[0].number;
            if let Some(start) = next.filter(|start| *start < number) {
                gap(steps, start, number - 1);
            }
            steps.from(number, self.verdict(group, section.arch)?);
            next = number.checked_add(1);
        }
        if let Some(start) = next {
            gap(steps, start, *space.end());
        }
        Ok(())
    }

    /// The verdict of the rules for one number: the first without conditions, or else a chain of all.
    fn verdict(&mut self, group: &[Entry], arch: Arch) -> Result<Verdict, CompileError> {
        let rule = |entry: &Entry| &self.profile.rules[entry.order as usize];
        let unconditional = |entry: &&Entry| entry.carried.is_none() && rule(entry).when.is_empty();
        if let Some(entry) = group.iter().find(unconditional) {
            return Ok(Verdict::Always(rule(entry).action));
        }
        let conditions = |entry: &Entry| {
            let own =
                rule(entry).when.iter().copied().filter(|c| entry.carried.is_none_or(|carried| carried.arg != c.arg));
            (entry.carried.into_iter().chain(own).collect(), rule(entry).action)
        };
        let chain = Chain { rules: group.iter().map(conditions).collect(), wide: arch.wide() };
        if let Some(known) = self.chains.iter().position(|(other, _)| *other == chain) {
            return Ok(Verdict::Chain(known));
        }
        let code = chain.write(&mut self.asm, Target::Return(self.profile.default.ret()))?;
        self.chains.push((chain, code));
        Ok(Verdict::Chain(self.chains.len() - 1))
    }

    /// The code that finds the step of the number in the accumulator; `last` ends the last step.
    fn tree(&mut self, steps: &[(u32, Target)], last: u32) -> Target {
        if let Some(code) = self.row(steps, last) {
            return code;
        }
        let (low, high) = steps.split_at(steps.len() / 2);
        let start = high[0].0;
        let above = self.tree(high, last);
        let below = self.tree(low, start - 1);
        self.asm.branch(Compare::Ge, start, above, below)
    }

    /// The code for a few single numbers that stand out of one verdict, if that is what the steps are.
    fn row(&mut self, steps: &[(u32, Target)], last: u32) -> Option<Target> {
        let end = |index: usize| steps.get(index + 1).map_or(last, |next| next.0 - 1);
        let wide = |index: &usize| steps[*index].0 != end(*index);
        let rest = steps[(0..steps.len()).find(wide).unwrap_or(steps.len() - 1)].1;
        let apart = || (0..steps.len()).filter(|index| steps[*index].1 != rest);
        if apart().count() > IN_A_ROW || apart().any(|index| wide(&index)) {
            return None;
        }
        Some(apart().rev().fold(rest, |next, index| self.asm.branch(Compare::Eq, steps[index].0, steps[index].1, next)))
    }
}

/// Every way of every rule to a number of this architecture, by number and then in the order of the profile.
fn entries(profile: &Profile, arch: Arch) -> Vec<Entry> {
    let mut entries = Vec::with_capacity(profile.rules.len() + 32);
    for (order, rule) in profile.rules.iter().enumerate() {
        let order = order as u32;
        if let Some(number) = rule.syscall.number(arch) {
            entries.push(Entry { number, order, carried: None });
        }
        if let Some(carrier) = rule.syscall.carrier(arch) {
            let test = match carrier.mask {
                u64::MAX => Test::Eq(carrier.call),
                mask => Test::MaskedEq { mask, value: carrier.call },
            };
            entries.push(Entry { number: carrier.number, order, carried: Some(Condition { arg: 0, test }) });
        }
    }
    entries.sort_unstable_by_key(|entry| (entry.number, entry.order));
    entries
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::interpret::{Data, interpret};
    use super::super::lower::lower;
    use super::*;

    fn compiled(section: Value) -> Program {
        let mut complaints = Vec::new();
        let profile = lower(&serde_json::from_value(section).unwrap(), &mut complaints);
        compile(&profile.unwrap_or_else(|| panic!("{complaints:?}"))).unwrap()
    }

    /// The program as text: absolute jump targets, as a disassembler prints it.
    fn listing(program: &Program) -> Vec<String> {
        let line = |(at, i): (usize, &Instruction)| {
            let to = |skip: u32| at + 1 + skip as usize;
            let compare = |op| format!("{op} {:#x} ? {} : {}", i.k, to(i.jt.into()), to(i.jf.into()));
            match i.code {
                0x20 => format!("load {}", i.k),
                0x54 => format!("and {:#x}", i.k),
                0x05 => format!("go {}", to(i.k)),
                0x06 => format!("return {:#x}", i.k),
                0x15 => compare("=="),
                0x25 => compare(">"),
                0x35 => compare(">="),
                code => panic!("{code:#x}"),
            }
        };
        program.instructions().iter().enumerate().map(line).collect()
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_smallest_program_knows_its_abi_and_the_skipped_call() {
        let program = compiled(json!({"defaultAction": "SCMP_ACT_ALLOW"}));
        let expected = [
            "load 4",
            "== 0xc000003e ? 2 : 5",
            "load 0",
            ">= 0x40000000 ? 4 : 6",
            "== 0xffffffff ? 6 : 5",
            "return 0x80000000",
            "return 0x7fff0000",
        ];
        assert_eq!(listing(&program), expected);
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn a_golden_program_with_every_kind_of_step() {
        let program = compiled(json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [
                {"names": ["read", "write", "open", "fstat"], "action": "SCMP_ACT_ALLOW"},
                {"names": ["close"], "action": "SCMP_ACT_KILL_PROCESS"},
                {"names": ["poll"], "action": "SCMP_ACT_LOG", "args": [{"index": 1, "value": 0x1_0000_0002_u64, "op": "SCMP_CMP_GT"}]},
            ],
        }));
        let expected = [
            "load 4",
            "== 0xc000003e ? 2 : 12",
            "load 0",
            ">= 0x6 ? 7 : 4",
            "== 0x3 ? 12 : 5",
            "== 0x4 ? 18 : 6",
            "return 0x7fff0000",
            ">= 0x8 ? 9 : 8",
            "== 0x6 ? 18 : 13",
            ">= 0x40000000 ? 11 : 10",
            "return 0x50026",
            "== 0xffffffff ? 18 : 12",
            "return 0x80000000",
            "load 28",
            "> 0x1 ? 19 : 15",
            "== 0x1 ? 16 : 18",
            "load 24",
            "> 0x2 ? 19 : 18",
            "return 0x50001",
            "return 0x7ffc0000",
        ];
        assert_eq!(listing(&program), expected);
    }

    #[test]
    fn a_rule_without_conditions_beats_one_with_and_the_first_of_them_wins() {
        let args = json!([{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]);
        let program = compiled(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_TRAP", "args": args},
            {"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5},
            {"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 6},
        ]}));
        let nr = super::super::Syscall::named("read").unwrap().number(Arch::NATIVE).unwrap();
        let data = Data { nr, arch: Arch::NATIVE.audit(), instruction_pointer: 0, args: [1; 6] };
        assert_eq!(interpret(program.instructions(), &data), Ok(Action::Errno(5).ret()));
    }

    #[test]
    fn the_first_matching_condition_wins() {
        let rule = |op: &str, errno: u32| {
            json!({"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno,
                   "args": [{"index": 0, "value": 10, "op": op}]})
        };
        let rules = json!([rule("SCMP_CMP_GE", 20), rule("SCMP_CMP_EQ", 21), rule("SCMP_CMP_LT", 22)]);
        let program = compiled(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}));
        let nr = super::super::Syscall::named("read").unwrap().number(Arch::NATIVE).unwrap();
        let run = |arg| {
            let data = Data { nr, arch: Arch::NATIVE.audit(), instruction_pointer: 0, args: [arg; 6] };
            interpret(program.instructions(), &data).unwrap()
        };
        assert_eq!([run(10), run(11), run(9)], [20, 20, 22].map(|errno| Action::Errno(errno).ret()));
    }

    #[test]
    fn ipc_is_not_walked_around_with_a_version_number() {
        let program = compiled(json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"],
            "syscalls": [{"names": ["shmget"], "action": "SCMP_ACT_ERRNO"}]}));
        let run = |call| {
            let data = Data { nr: 117, arch: Arch::X86.audit(), instruction_pointer: 0, args: [call; 6] };
            interpret(program.instructions(), &data).unwrap()
        };
        let refused = Action::Errno(1).ret();
        assert_eq!([run(23), run(1 << 16 | 23), run(22)], [refused, refused, Action::Allow.ret()]);
    }

    #[test]
    fn s390_call_zero_is_an_unknown_call() {
        let program = compiled(json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_S390X"],
            "syscalls": [{"names": ["exit", "fork"], "action": "SCMP_ACT_ALLOW"}]}));
        let run = |nr| {
            let data = Data { nr, arch: Arch::S390x.audit(), ..Data::default() };
            interpret(program.instructions(), &data).unwrap()
        };
        let (enosys, allow) = (ENOSYS.ret(), Action::Allow.ret());
        assert_eq!([run(0), run(1), run(2), run(3)], [enosys, allow, allow, enosys]);
    }

    #[test]
    fn too_long_a_program_is_refused_by_name() {
        let rule = |value| {
            json!({"names": ["read"], "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": value, "op": "SCMP_CMP_EQ"}]})
        };
        let section = json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": (0..1200).map(rule).collect::<Vec<_>>()});
        let profile = lower(&serde_json::from_value(section).unwrap(), &mut Vec::new()).unwrap();
        assert!(matches!(compile(&profile), Err(CompileError::TooLong(length)) if length > MAX_INSTRUCTIONS));
    }
}
