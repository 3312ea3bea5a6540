//! Device rules → an eBPF program (`BPF_PROG_TYPE_CGROUP_DEVICE`), written by hand: a few instructions per rule.
//!
//! The kernel asks about one device and one or more kinds of access at once (opening for reading and writing is one
//! question). The program goes through the rules from the last to the first and keeps the accesses that no rule has
//! spoken of yet: a denial of one of them is the answer; when all are allowed, that is the answer.

use super::devices::{DeviceRules, Kind, Rule};

const LOAD_WORD: u8 = 0x61; // BPF_LDX | BPF_MEM | BPF_W
const MOVE: u8 = 0xb7; // BPF_ALU64 | BPF_MOV | BPF_K
const COPY: u8 = 0xbf; // BPF_ALU64 | BPF_MOV | BPF_X
const AND: u8 = 0x57; // BPF_ALU64 | BPF_AND | BPF_K
const SHIFT_RIGHT: u8 = 0x77; // BPF_ALU64 | BPF_RSH | BPF_K
const JUMP: u8 = 0x05; // BPF_JMP | BPF_JA
const JUMP_NOT_EQUAL: u8 = 0x55; // BPF_JMP | BPF_JNE | BPF_K
const JUMP_ANY_BIT: u8 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
const EXIT: u8 = 0x95; // BPF_JMP | BPF_EXIT

const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const PENDING: u8 = 2;
const TYPE: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

/// `struct bpf_cgroup_dev_ctx`: access in the high and type in the low half of the first word, then major and minor.
const CONTEXT_ACCESS_AND_TYPE: i16 = 0;
const CONTEXT_MAJOR: i16 = 4;
const CONTEXT_MINOR: i16 = 8;

fn instruction(code: u8, to: u8, from: u8, offset: i16, number: i32) -> u64 {
    let [offset_low, offset_high] = offset.to_ne_bytes();
    let [a, b, c, d] = number.to_ne_bytes();
    // Two four-bit fields, in the order of the machine's bit fields.
    let registers = if cfg!(target_endian = "little") { to | (from << 4) } else { (to << 4) | from };
    u64::from_ne_bytes([code, registers, offset_low, offset_high, a, b, c, d])
}

fn answer(allow: bool) -> [u64; 2] {
    [instruction(MOVE, RESULT, 0, 0, i32::from(allow)), instruction(EXIT, 0, 0, 0, 0)]
}

/// The program that enforces `all`.
pub(super) fn program(all: &DeviceRules) -> Vec<u64> {
    let mut program = vec![
        instruction(LOAD_WORD, PENDING, CONTEXT, CONTEXT_ACCESS_AND_TYPE, 0),
        instruction(COPY, TYPE, PENDING, 0, 0),
        instruction(AND, TYPE, 0, 0, 0xffff),
        instruction(SHIFT_RIGHT, PENDING, 0, 0, 16),
        instruction(LOAD_WORD, MAJOR, CONTEXT, CONTEXT_MAJOR, 0),
        instruction(LOAD_WORD, MINOR, CONTEXT, CONTEXT_MINOR, 0),
    ];
    for rule in all.rules.iter().rev() {
        program.extend(one(rule));
    }
    program.extend(answer(all.default_allow));
    program
}

/// One rule: jump over it when it is about another device, answer if it can, go on otherwise.
fn one(rule: &Rule) -> Vec<u64> {
    let access = i32::from(rule.access.bits());
    let mut verdict = Vec::new();
    if rule.allow {
        verdict.push(instruction(AND, PENDING, 0, 0, !access));
        verdict.push(instruction(JUMP_NOT_EQUAL, PENDING, 0, 2, 0));
    } else {
        verdict.push(instruction(JUMP_ANY_BIT, PENDING, 0, 1, access));
        verdict.push(instruction(JUMP, 0, 0, 2, 0));
    }
    verdict.extend(answer(rule.allow));

    let kind = match rule.kind {
        Kind::Block => 1, // BPF_DEVCG_DEV_BLOCK
        Kind::Char => 2,  // BPF_DEVCG_DEV_CHAR
    };
    let mut tests = vec![(TYPE, kind)];
    tests.extend(rule.major.map(|n| (MAJOR, n as i32)));
    tests.extend(rule.minor.map(|n| (MINOR, n as i32)));
    let count = tests.len();
    let skip = |i: usize| (count - i - 1 + verdict.len()) as i16;
    let mut code: Vec<u64> = tests
        .iter()
        .enumerate()
        .map(|(i, &(register, number))| instruction(JUMP_NOT_EQUAL, register, 0, skip(i), number))
        .collect();
    code.extend(verdict);
    code
}

#[cfg(test)]
mod tests {
    use super::super::devices::Access;
    use super::*;

    /// What the program answers when it is run on this question.
    fn run(program: &[u64], kind: Kind, access: u8, major: u32, minor: u32) -> bool {
        let bytes: Vec<u8> = program.iter().flat_map(|i| i.to_ne_bytes()).collect();
        let kind: u32 = if kind == Kind::Block { 1 } else { 2 };
        let mut context: Vec<u8> = Vec::new();
        for word in [(u32::from(access) << 16) | kind, major, minor] {
            context.extend(word.to_ne_bytes());
        }
        let vm = rbpf::EbpfVmRaw::new(Some(&bytes)).unwrap();
        vm.execute_program(&mut context).unwrap() == 1
    }

    /// What the rules mean, one access at a time: the last rule about it counts.
    fn meaning(all: &DeviceRules, kind: Kind, access: u8, major: u32, minor: u32) -> bool {
        [1, 2, 4].into_iter().filter(|bit| access & bit != 0).all(|bit| {
            let about = |r: &&Rule| {
                r.kind == kind
                    && r.major.is_none_or(|n| n == major)
                    && r.minor.is_none_or(|n| n == minor)
                    && r.access.bits() & bit != 0
            };
            all.rules.iter().rev().find(about).map_or(all.default_allow, |r| r.allow)
        })
    }

    fn access(bits: u64) -> Access {
        let letters = [(1, "m"), (2, "r"), (4, "w")];
        let text: String = letters.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, letter)| *letter).collect();
        Access::parse(&text).unwrap()
    }

    #[test]
    fn a_list_that_never_speaks_answers_with_its_default() {
        for default_allow in [false, true] {
            let program = program(&DeviceRules { default_allow, rules: Vec::new() });
            assert_eq!(run(&program, Kind::Char, 6, 1, 3), default_allow);
        }
    }

    #[test]
    fn denying_one_access_denies_a_question_about_two() {
        let null = |allow, bits| Rule { allow, kind: Kind::Char, major: Some(1), minor: Some(3), access: access(bits) };
        let all = DeviceRules { default_allow: false, rules: vec![null(true, 7), null(false, 4)] };
        let program = program(&all);
        assert!(run(&program, Kind::Char, 2, 1, 3), "reading is still allowed");
        assert!(!run(&program, Kind::Char, 6, 1, 3), "reading and writing is not");
        assert!(!run(&program, Kind::Block, 2, 1, 3), "nor is a block device of that number");
    }

    #[test]
    fn two_rules_together_allow_a_question_about_both() {
        let null = |bits| Rule { allow: true, kind: Kind::Char, major: Some(1), minor: None, access: access(bits) };
        let program = program(&DeviceRules { default_allow: false, rules: vec![null(2), null(4)] });
        assert!(run(&program, Kind::Char, 6, 1, 3));
        assert!(!run(&program, Kind::Char, 7, 1, 3));
    }

    #[test]
    fn random_lists_mean_what_they_say() {
        // A fixed linear congruential sequence: the same lists on every run.
        let mut state = 42u64;
        let mut dice = |sides: u64| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) % sides
        };
        for _ in 0..300 {
            let rules = (0..dice(6))
                .map(|_| Rule {
                    allow: dice(2) == 0,
                    kind: if dice(2) == 0 { Kind::Block } else { Kind::Char },
                    major: (dice(3) != 0).then(|| dice(2) as u32),
                    minor: (dice(3) != 0).then(|| dice(2) as u32),
                    access: access(1 + dice(7)),
                })
                .collect();
            let all = DeviceRules { default_allow: dice(2) == 0, rules };
            let program = program(&all);
            for question in 0..2 * 2 * 2 * 7u32 {
                let kind = if question % 2 == 0 { Kind::Block } else { Kind::Char };
                let (major, minor, access) = (question / 2 % 2, question / 4 % 2, (question / 8) as u8 + 1);
                let expected = meaning(&all, kind, access, major, minor);
                assert_eq!(
                    run(&program, kind, access, major, minor),
                    expected,
                    "{kind:?} {major}:{minor} {access} by {all}"
                );
            }
        }
    }
}
