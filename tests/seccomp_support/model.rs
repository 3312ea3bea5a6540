//! A second oracle: reads the section's JSON by itself and answers by walking the rules, without IR or BPF.
//! Also turns the section into the list of rules that runc gives to libseccomp.

use std::collections::BTreeMap;

use rt::seccomp::{Arch, Data, Syscall};
use serde_json::Value;

pub const KILL_PROCESS: u32 = 0x8000_0000;
pub const ENOSYS: u32 = 0x0005_0000 | 38;
const OPERATORS: [&str; 7] = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"];

/// A condition in libseccomp's terms: operator from 1 to 7.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    pub arg: u32,
    pub op: usize,
    pub a: u64,
    pub b: u64,
}

/// A rule for one name.
#[derive(Clone, Debug)]
pub struct Entry {
    pub name: String,
    pub action: u32,
    pub when: Vec<Condition>,
}

/// The section as read here.
pub struct Reading {
    pub default: u32,
    pub arches: Vec<String>,
    /// Without those equal to the default, with repeated arguments split.
    pub entries: Vec<Entry>,
    /// Everything named, also by dropped rules.
    pub named: Vec<String>,
}

/// The SECCOMP_RET_* value of an action and its errno.
fn action(name: &Value, errno: &Value) -> u32 {
    let number = errno.as_u64().unwrap_or(1) as u32;
    match name.as_str().expect("an action") {
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => 0,
        "SCMP_ACT_KILL_PROCESS" => KILL_PROCESS,
        "SCMP_ACT_TRAP" => 0x3_0000,
        "SCMP_ACT_ERRNO" => 0x5_0000 | number,
        "SCMP_ACT_NOTIFY" => 0x7fc0_0000,
        "SCMP_ACT_TRACE" => 0x7ff0_0000 | number,
        "SCMP_ACT_LOG" => 0x7ffc_0000,
        "SCMP_ACT_ALLOW" => 0x7fff_0000,
        other => panic!("{other}"),
    }
}

fn condition(arg: &Value) -> Condition {
    let op = arg["op"].as_str().expect("an operator").trim_start_matches("SCMP_CMP_");
    Condition {
        arg: arg["index"].as_u64().expect("an index") as u32,
        op: OPERATORS.iter().position(|name| *name == op).expect("a known operator") + 1,
        a: arg["value"].as_u64().expect("a value"),
        b: arg["valueTwo"].as_u64().unwrap_or(0),
    }
}

impl Condition {
    fn holds(&self, data: &Data, wide: bool) -> bool {
        let cut = |value: u64| if wide { value } else { value & 0xffff_ffff };
        let (arg, a, b) = (cut(data.args[self.arg as usize]), cut(self.a), cut(self.b));
        match self.op {
            1 => arg != a,
            2 => arg < a,
            3 => arg <= a,
            4 => arg == a,
            5 => arg >= a,
            6 => arg > a,
            _ => arg & a == b & a,
        }
    }
}

impl Reading {
    pub fn of(section: &Value) -> Reading {
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let default = action(&section["defaultAction"], &section["defaultErrnoRet"]);
        let (mut entries, mut named) = (Vec::new(), Vec::new());
        for entry in list(&section["syscalls"]) {
            let action = action(&entry["action"], &entry["errnoRet"]);
            let when: Vec<_> = list(&entry["args"]).iter().map(condition).collect();
            let repeats = (0..6).any(|index| when.iter().filter(|c| c.arg == index).count() > 1);
            for name in list(&entry["names"]).iter().map(text) {
                named.push(name.clone());
                if action == default {
                    continue;
                }
                if repeats {
                    let single = |c: &Condition| Entry { name: name.clone(), action, when: vec![c.clone()] };
                    entries.extend(when.iter().map(single));
                } else {
                    entries.push(Entry { name, action, when: when.clone() });
                }
            }
        }
        Reading { default, arches: list(&section["architectures"]).iter().map(text).collect(), entries, named }
    }

    /// The constants of its conditions: what arguments should be near.
    pub fn constants(&self) -> Vec<u64> {
        self.entries.iter().flat_map(|entry| &entry.when).flat_map(|c| [c.a, c.b, c.a & c.b]).collect()
    }

    fn permissive(&self) -> bool {
        matches!(self.default & 0xffff_0000, 0x7fff_0000 | 0x7ffc_0000 | 0x7ff0_0000)
    }
}

/// One way to a number.
struct Way {
    entry: usize,
    /// Mask and value of a carrier's first argument.
    carried: Option<(u64, u64)>,
}

/// The rules by number, for one architecture.
pub struct Table {
    arch: Arch,
    ways: BTreeMap<u32, Vec<Way>>,
    pub newest: Option<u32>,
}

/// The whole model of a section.
pub struct Model<'a> {
    reading: &'a Reading,
    tables: Vec<Table>,
}

impl<'a> Model<'a> {
    pub fn of(reading: &'a Reading) -> Self {
        let mut arches = vec![Arch::NATIVE];
        for name in &reading.arches {
            let arch = Arch::from_name(name).expect("a known architecture");
            if !arches.contains(&arch) {
                arches.push(arch);
            }
        }
        Self { reading, tables: arches.into_iter().map(|arch| Table::of(reading, arch)).collect() }
    }

    /// What should happen to the call.
    pub fn verdict(&self, data: &Data) -> u32 {
        let of = |arch: Arch| self.tables.iter().find(|table| table.arch == arch);
        let table = if data.arch == Arch::X86_64.audit() {
            let x32 = data.nr >= 0x4000_0000;
            match of(if x32 { Arch::X32 } else { Arch::X86_64 }) {
                None if data.nr == u32::MAX => return self.reading.default,
                table => table,
            }
        } else {
            self.tables.iter().find(|table| table.arch.audit() == data.arch)
        };
        table.map_or(KILL_PROCESS, |table| table.verdict(self.reading, data))
    }

    /// The table of an architecture that the section lists.
    pub fn table(&self, arch: Arch) -> &Table {
        self.tables.iter().find(|table| table.arch == arch).expect("a listed architecture")
    }
}

impl Table {
    fn of(reading: &Reading, arch: Arch) -> Table {
        let mut ways: BTreeMap<u32, Vec<Way>> = BTreeMap::new();
        for (index, entry) in reading.entries.iter().enumerate() {
            let Some(syscall) = Syscall::named(&entry.name) else { continue };
            if let Some(number) = syscall.number(arch) {
                ways.entry(number).or_default().push(Way { entry: index, carried: None });
            }
            if let Some(carrier) = syscall.carrier(arch) {
                let way = Way { entry: index, carried: Some((carrier.mask, carrier.call)) };
                ways.entry(carrier.number).or_default().push(way);
            }
        }
        let calls = reading.named.iter().filter_map(|name| Syscall::named(name));
        let numbers = calls.flat_map(|s| [s.number(arch), s.carrier(arch).map(|c| c.number)]);
        let newest = numbers.flatten().filter(|n| arch != Arch::Arm || *n < 0xf_0000).max();
        Table { arch, ways, newest: newest.filter(|_| !reading.permissive()) }
    }

    /// Whether the profile is silent about the number because it is newer than all it names.
    pub fn newer(&self, number: u32) -> bool {
        let multiplexed = matches!(self.arch, Arch::S390 | Arch::S390x) && number == 0;
        self.newest.is_some_and(|newest| multiplexed || (number > newest && !self.ways.contains_key(&number)))
    }

    fn verdict(&self, reading: &Reading, data: &Data) -> u32 {
        if self.newer(data.nr) {
            return ENOSYS;
        }
        let ways = self.ways.get(&data.nr).map_or(&[][..], Vec::as_slice);
        let entry = |way: &Way| &reading.entries[way.entry];
        if let Some(way) = ways.iter().find(|way| way.carried.is_none() && entry(way).when.is_empty()) {
            return entry(way).action;
        }
        let matches = |way: &&Way| {
            let first = if self.arch.wide() { data.args[0] } else { data.args[0] & 0xffff_ffff };
            let carried = way.carried.is_none_or(|(mask, call)| first & mask == call);
            let own = |c: &&Condition| way.carried.is_none() || c.arg != 0;
            carried && entry(way).when.iter().filter(own).all(|c| c.holds(data, self.arch.wide()))
        };
        ways.iter().find(matches).map_or(reading.default, |way| entry(way).action)
    }
}
