//! Control files → unit properties. Pure.
//!
//! The container's own cgroup is a directory below its unit's, and has every limit. The unit gets the same limits as far
//! as systemd has words for them: `systemctl show` tells the truth then, weights and protections count among the
//! neighbours, and no reload of systemd lifts anything. So this reads what `v2.rs` has lowered, and there is one table
//! for the fields of the config and for `unified` alike.

use super::super::op::{FileValue, Op};
use super::bus::Value;
use crate::step::Step;

/// No limit, as systemd has it.
const INFINITY: u64 = u64::MAX;
/// systemd counts a quota in whole percents of a second.
const PERCENT: u64 = 10_000;
/// The kernel's default period, in microseconds.
const PERIOD: u64 = 100_000;
/// More CPUs or memory nodes than any kernel knows.
const MOST_BITS: usize = 65_536;

/// A property with its value, ready for the bus.
pub type Property = (String, Value);

/// The properties that say the same as these steps, as steps. `cpu_max` is what the container's file says now: an update
/// may be about one half of it.
pub fn mirror(tree: usize, steps: &[Step<Op>], cpu_max: &str) -> Vec<Step<Op>> {
    let mut all: Vec<Step<Op>> = Vec::new();
    for step in steps {
        for (name, value) in of_op(&step.op, cpu_max) {
            // The last word counts, as it does for the files.
            all.retain(|other| !matches!(&other.op, Op::Property { name: n, .. } if *n == name));
            all.push(Step { origin: step.origin.clone(), tolerate: &[], op: Op::Property { tree, name, value } });
        }
    }
    all
}

fn of_op(op: &Op, cpu_max: &str) -> Vec<Property> {
    match op {
        Op::Write { write, .. } => of_file(write, cpu_max),
        // io.bfq.weight or io.weight: systemd writes both, from the latter's scale.
        Op::FirstOf { choices, .. } => choices.last().map(|write| of_file(write, cpu_max)).unwrap_or_default(),
        Op::Together { writes, .. } => writes.iter().flat_map(|write| of_file(write, cpu_max)).collect(),
        Op::Period { period, .. } => {
            let quota = cpu_max.split_whitespace().next().unwrap_or("max");
            bandwidth(&format!("{quota} {period}"), cpu_max)
        }
        _ => Vec::new(),
    }
}

/// What systemd has no word for, or not this value, is the file's alone.
fn of_file(write: &FileValue, cpu_max: &str) -> Vec<Property> {
    let text = write.value.trim();
    let number = |name: &str| amount(text).map(|n| (name.to_owned(), Value::U64(n)));
    let one = match write.file.as_str() {
        "memory.max" => number("MemoryMax"),
        "memory.high" => number("MemoryHigh"),
        "memory.low" => number("MemoryLow"),
        "memory.min" => number("MemoryMin"),
        "memory.swap.max" => number("MemorySwapMax"),
        "memory.zswap.max" => number("MemoryZSwapMax"),
        // systemd knows no unit without any process; the file says it.
        "pids.max" => {
            number("TasksMax").map(|(name, value)| (name, if value == Value::U64(0) { Value::U64(1) } else { value }))
        }
        "cpu.weight" => number("CPUWeight"),
        // 0 is systemd's number for idle.
        "cpu.idle" if text == "1" => Some(("CPUWeight".to_owned(), Value::U64(0))),
        "io.weight" => {
            let weight = text.strip_prefix("default ").unwrap_or(text);
            weight.parse().ok().map(|n| ("IOWeight".to_owned(), Value::U64(n)))
        }
        "cpuset.cpus" => Some(("AllowedCPUs".to_owned(), mask(text))),
        "cpuset.mems" => Some(("AllowedMemoryNodes".to_owned(), mask(text))),
        "cpu.max" => return bandwidth(text, cpu_max),
        _ => None,
    };
    one.into_iter().collect()
}

fn amount(text: &str) -> Option<u64> {
    if text == "max" { Some(INFINITY) } else { text.parse().ok() }
}

/// `QUOTA`, or `QUOTA PERIOD`.
fn bandwidth(text: &str, now: &str) -> Vec<Property> {
    let mut words = text.split_whitespace();
    let quota = words.next().and_then(amount);
    let asked = words.next().and_then(|w| w.parse::<u64>().ok());
    let period = asked.or_else(|| now.split_whitespace().nth(1)?.parse().ok()).filter(|n| *n > 0);
    let Some(quota) = quota else { return Vec::new() };
    let each_second = match quota {
        INFINITY => INFINITY,
        // Rounded up: the file is exact, the unit must not be narrower.
        n => {
            let exact = u128::from(n) * 1_000_000 / u128::from(period.unwrap_or(PERIOD));
            u64::try_from(exact).unwrap_or(INFINITY - PERCENT).div_ceil(PERCENT).saturating_mul(PERCENT)
        }
    };
    let quota = ("CPUQuotaPerSecUSec".to_owned(), Value::U64(each_second));
    let period = asked.map(|n| ("CPUQuotaPeriodUSec".to_owned(), Value::U64(n)));
    [Some(quota), period].into_iter().flatten().collect()
}

/// A list like `0-3,7` as bits. One that says more than that is left to the file: no bits, no restriction.
fn mask(list: &str) -> Value {
    Value::bytes(bits(list).unwrap_or_default())
}

fn bits(list: &str) -> Option<Vec<u8>> {
    let mut bytes: Vec<u8> = Vec::new();
    for range in list.split(',').map(str::trim).filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if last >= MOST_BITS || first > last {
            return None;
        }
        bytes.resize(bytes.len().max(last / 8 + 1), 0);
        (first..=last).for_each(|bit| bytes[bit / 8] |= 1 << (bit % 8));
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirrored(writes: &[(&str, &str)], cpu_max: &str) -> Vec<String> {
        let write = |(file, value): &(&str, &str)| {
            Step::asked(format!("/{file}"), Op::Write { tree: 0, write: FileValue::new(*file, value) })
        };
        let steps: Vec<_> = writes.iter().map(write).collect();
        mirror(0, &steps, cpu_max).iter().map(|step| format!("{} {}", step.origin, step.op)).collect()
    }

    #[test]
    fn each_file_has_its_property() {
        for (file, value, property) in [
            ("memory.max", "268435456", "MemoryMax = 268435456"),
            ("memory.max", "max", "MemoryMax = infinity"),
            ("memory.swap.max", "0", "MemorySwapMax = 0"),
            ("memory.low", "5", "MemoryLow = 5"),
            ("memory.min", "6", "MemoryMin = 6"),
            ("memory.high", "7", "MemoryHigh = 7"),
            ("pids.max", "100", "TasksMax = 100"),
            ("pids.max", "0", "TasksMax = 1"),
            ("cpu.weight", "59", "CPUWeight = 59"),
            ("cpu.idle", "1", "CPUWeight = 0"),
            ("io.weight", "default 200", "IOWeight = 200"),
            ("cpuset.cpus", "0-3,9", "AllowedCPUs = 0x020f"),
            ("cpuset.mems", "0", "AllowedMemoryNodes = 0x01"),
            ("cpuset.cpus", "0-7:2/4", "AllowedCPUs = 0x"),
        ] {
            assert_eq!(mirrored(&[(file, value)], ""), [format!("/{file} unit property {property}")]);
        }
        for (file, value) in
            [("cpu.idle", "0"), ("io.max", "8:0 rbps=1"), ("hugetlb.2MB.max", "0"), ("cpu.weight", "idle")]
        {
            assert!(mirrored(&[(file, value)], "").is_empty(), "{file}");
        }
    }

    #[test]
    fn the_last_word_on_a_property_counts() {
        let all = mirrored(&[("memory.max", "5"), ("pids.max", "3"), ("memory.max", "9")], "");
        assert_eq!(all, ["/pids.max unit property TasksMax = 3", "/memory.max unit property MemoryMax = 9"]);
    }

    #[test]
    fn quotas_are_counted_by_the_second_in_whole_percents() {
        let quota = |text: &str, now: &str| {
            bandwidth(text, now).into_iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>()
        };
        assert_eq!(quota("50000 20000", ""), ["CPUQuotaPerSecUSec 2500000", "CPUQuotaPeriodUSec 20000"]);
        assert_eq!(quota("33333", ""), ["CPUQuotaPerSecUSec 340000"]);
        assert_eq!(quota("5000", "max 10000"), ["CPUQuotaPerSecUSec 500000"]);
        assert_eq!(quota("max 5000", ""), ["CPUQuotaPerSecUSec infinity", "CPUQuotaPeriodUSec 5000"]);
        assert_eq!(quota("18446744073709551614 1000", "").len(), 2);
        assert!(quota("nonsense", "").is_empty());
        let period = Step::asked("/p", Op::Period { tree: 0, period: 50_000 });
        let all = mirror(0, &[period], "10000 100000");
        assert_eq!(all[0].op.to_string(), "unit property CPUQuotaPerSecUSec = 200000");
        assert_eq!(all[1].op.to_string(), "unit property CPUQuotaPeriodUSec = 50000");
    }
}
