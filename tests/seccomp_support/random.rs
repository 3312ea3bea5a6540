//! Random profiles and calls from a seed that the test prints: the same seed, the same test.

use rt::seccomp::{Arch, Data, Syscall};
use serde_json::{Value, json};

/// splitmix64.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

const EDGES: [u64; 10] = [
    0,
    1,
    u64::MAX,
    i64::MAX as u64,
    1 << 63,
    0xffff_ffff,
    0x1_0000_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff_0000_0000,
];

/// Calls near what a profile decides about.
pub struct Calls {
    numbers: Vec<(u32, u32)>,
    conditional: Vec<(u32, u32)>,
    constants: Vec<u64>,
}

impl Calls {
    /// For these architectures; `conditional` are the names whose arguments matter.
    pub fn near(arches: &[Arch], conditional: &[String], constants: &[u64]) -> Calls {
        let ways = |arch: Arch, s: Syscall| {
            let numbers = [s.number(arch), s.carrier(arch).map(|c| c.number)];
            numbers.into_iter().flatten().map(move |number| (arch.audit(), number))
        };
        let of = |names: Vec<Syscall>| -> Vec<(u32, u32)> {
            arches.iter().flat_map(|arch| names.iter().flat_map(|s| ways(*arch, *s)).collect::<Vec<_>>()).collect()
        };
        let named = conditional.iter().filter_map(|name| Syscall::named(name)).collect();
        Calls { numbers: of(Syscall::all().collect()), conditional: of(named), constants: constants.to_vec() }
    }

    pub fn next(&self, random: &mut Random) -> Data {
        let list = if self.conditional.is_empty() || random.chance(55) { &self.numbers } else { &self.conditional };
        let (mut arch, mut nr) = *random.pick(list);
        match random.below(40) {
            0 => nr ^= 0x4000_0000,
            1 => nr = random.next() as u32,
            2 | 3 => nr = nr.wrapping_add(random.below(200) as u32),
            4 => {
                nr = *random.pick(&[
                    u32::MAX,
                    u32::MAX - 1,
                    0x3fff_ffff,
                    0x4000_0000,
                    0x7fff_ffff,
                    0x8000_0000,
                    0xc000_0000,
                ])
            }
            5 => nr = random.below(700) as u32,
            6 => arch = random.pick(&Arch::ALL).audit(),
            7 => arch = random.next() as u32,
            _ => {}
        }
        let args = std::array::from_fn(|_| self.argument(random));
        Data { nr, arch, instruction_pointer: random.next(), args }
    }

    fn argument(&self, random: &mut Random) -> u64 {
        let near = match random.below(10) {
            0 => random.next(),
            1 | 2 => *random.pick(&EDGES),
            // The numbers of sub-calls, some with ipc's version above.
            3 => random.below(25) as u64 | (random.below(2) as u64) << 16,
            _ if self.constants.is_empty() => random.below(64) as u64,
            _ => *random.pick(&self.constants),
        };
        let near = match random.below(6) {
            0 => near.wrapping_add(1),
            1 => near.wrapping_sub(1),
            2 => near | 1 << random.below(64),
            _ => near,
        };
        // Garbage in the upper half.
        if random.chance(15) { near & 0xffff_ffff | random.next() << 32 } else { near }
    }
}

const ACTIONS: [&str; 7] = ["KILL", "KILL_PROCESS", "TRAP", "ERRNO", "TRACE", "LOG", "ALLOW"];
const OPERATORS: [&str; 7] = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"];

fn action(random: &mut Random) -> Value {
    let name = *random.pick(&ACTIONS);
    let mut value = json!({"action": format!("SCMP_ACT_{name}")});
    if matches!(name, "ERRNO" | "TRACE") && random.chance(70) {
        value["errnoRet"] = json!(random.below(200));
    }
    value
}

/// What several conditional rules of one call may look like.
#[derive(Clone, Copy, PartialEq)]
pub enum Alternatives {
    /// Anything.
    Any,
    /// Order comparisons only in rules with one condition; the others are held against the model.
    Apart,
    /// The same, with numbers of 32 bits, for narrow ABIs.
    ApartNarrow,
}

/// A random section for these architectures. It asks nothing where the spec leaves the meaning of several conditional
/// rules of one call to the runtime: they have one action, or exclude each other.
pub fn profile(random: &mut Random, architectures: &[&str], alternatives: Alternatives) -> Value {
    let default = action(random);
    let mut section = json!({"defaultAction": default["action"], "architectures": architectures});
    if let Some(errno) = default.get("errnoRet") {
        section["defaultErrnoRet"] = errno.clone();
    }
    // Carriers are only named without arguments: several calls share them. So all rules for a call that has a carrier
    // somewhere have one action, and the others may have any.
    let carried = |s: &Syscall| Arch::ALL.iter().any(|arch| s.carrier(*arch).is_some());
    let carrier = |s: &Syscall| ["socketcall", "ipc"].contains(&s.name());
    let (shared, own): (Vec<_>, Vec<_>) = Syscall::all().filter(|s| !carrier(s)).partition(carried);
    let mut entries = Vec::new();
    for _ in 0..random.below(30) {
        let mut entry = action(random);
        entry["names"] = (0..=random.below(20)).map(|_| json!(random.pick(&own).name())).collect();
        entries.push(entry);
    }
    if random.chance(20) {
        let mut entry = action(random);
        entry["names"] = json!(["socketcall"]);
        entries.push(entry);
    }
    for syscall in &shared {
        if random.chance(40) {
            let mut entry = action(random);
            entry["names"] = json!([syscall.name()]);
            if random.chance(30) {
                entry["args"] = conditions(random, 1, &OPERATORS);
            }
            entries.push(entry);
        }
    }
    // Each call once: conditional rules of one call must not meet those of another round.
    let mut left = own;
    for _ in 0..random.below(25) {
        let place = random.below(left.len());
        conditional(random, left.swap_remove(place).name(), alternatives, &mut entries);
    }
    for _ in 0..entries.len() {
        let (a, b) = (random.below(entries.len()), random.below(entries.len()));
        entries.swap(a, b);
    }
    section["syscalls"] = json!(entries);
    section
}

/// Conditional rules for one call, of one of three kinds.
fn conditional(random: &mut Random, name: &str, alternatives: Alternatives, entries: &mut Vec<Value>) {
    let shared = action(random);
    let operators = |conditions: usize| match alternatives {
        Alternatives::Any => &OPERATORS[..],
        _ if conditions > 1 => &["EQ", "NE", "MASKED_EQ"],
        _ => &OPERATORS,
    };
    let cut = |mut args: Value| {
        let values = args.as_array_mut().expect("a list").iter_mut().flat_map(|arg| arg.as_object_mut()).flatten();
        for (_, value) in values.filter(|_| alternatives == Alternatives::ApartNarrow) {
            *value = value.as_u64().map_or(value.clone(), |number| json!(number & 0xffff_ffff));
        }
        args
    };
    let entry = |action: &Value, args: Value| {
        let mut entry = action.clone();
        entry["names"] = json!([name]);
        entry["args"] = args;
        entry
    };
    match random.below(3) {
        // Alternatives with one action.
        0 => {
            for _ in 0..=random.below(3) {
                let count = 1 + random.below(3);
                entries.push(entry(&shared, cut(conditions(random, count, operators(count)))));
            }
        }
        // Values of one argument with an action each.
        1 => {
            let index = random.below(6);
            for round in 0..=random.below(4) {
                // Different in the low half, too.
                let high = if random.chance(50) { random.next() << 32 } else { 0 };
                let value = high | (random.below(1000) as u64) << 3 | round as u64;
                let arg = json!([{"index": index, "value": value, "op": "SCMP_CMP_EQ"}]);
                entries.push(entry(&action(random), arg));
            }
        }
        // One rule that names an argument twice.
        _ => {
            let mut args = conditions(random, 2, &OPERATORS);
            let first = args[0]["index"].clone();
            let mut again = conditions(random, 1, &OPERATORS)[0].clone();
            again["index"] = first;
            args.as_array_mut().expect("a list").push(again);
            entries.push(entry(&shared, cut(args)));
        }
    }
}

/// Conditions on that many different arguments.
fn conditions(random: &mut Random, count: usize, operators: &[&str]) -> Value {
    let start = random.below(6);
    let one = |i: usize, random: &mut Random| {
        let op = *random.pick(operators);
        let value = match random.below(4) {
            0 => *random.pick(&EDGES),
            1 => random.next(),
            2 => random.below(16) as u64,
            _ => random.below(1 << 20) as u64,
        };
        let mut arg = json!({"index": (start + i) % 6, "value": value, "op": format!("SCMP_CMP_{op}")});
        if op == "MASKED_EQ" {
            // A mask without a low bit is no condition at all to a narrow ABI, and libseccomp then takes the rule for
            // one without conditions.
            arg["value"] = json!(value | 1 << random.below(32));
            arg["valueTwo"] = json!(if random.chance(50) { value } else { random.next() });
        }
        arg
    };
    (0..count).map(|i| one(i, random)).collect()
}
