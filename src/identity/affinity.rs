//! Sets of CPUs and memory nodes: `0-3,7` → a mask, and CPU affinity set from one.
//!
//! `execCPUAffinity` is about processes that join a container: whoever executes one sets `initial` before it enters the
//! container's cgroup and `last` afterwards. Init itself starts from all CPUs that its cpuset leaves it.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::sys::{self, Errno, Result};

/// CPUs: the largest number that any kernel is built for (NR_CPUS of x86_64 with MAXSMP) is below this.
pub const MOST_CPUS: usize = 8192;
/// Memory nodes: MAX_NUMNODES of every 64-bit kernel; a mask with more is refused by it.
pub const MOST_NODES: usize = 1024;

/// A set of numbers; bit n of the words is number n.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mask(Vec<u64>);

impl Mask {
    /// Reads a list like `0-3,7`: numbers below `limit`, ranges that rise. Empty: the empty set.
    pub fn parse(list: &str, limit: usize) -> std::result::Result<Mask, String> {
        let mut mask = Mask::default();
        for part in list.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (Some(first), Some(last)) = (number(first), number(last)) else {
                return Err(format!("expected a list like 0-3,7, got {list:?}"));
            };
            if first > last {
                return Err(format!("expected a list like 0-3,7 with rising ranges, got {list:?}"));
            }
            if last >= limit {
                return Err(format!("expected numbers below {limit}, got {last}"));
            }
            (first..=last).for_each(|n| mask.add(n));
        }
        Ok(mask)
    }

    /// Every number below `limit`.
    pub fn all(limit: usize) -> Mask {
        Mask(vec![!0; limit.div_ceil(64)])
    }

    fn add(&mut self, n: usize) {
        if self.0.len() <= n / 64 {
            self.0.resize(n / 64 + 1, 0);
        }
        self.0[n / 64] |= 1 << (n % 64);
    }

    /// Bit n of the words is number n.
    pub fn words(&self) -> &[u64] {
        &self.0
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    fn has(&self, n: usize) -> bool {
        self.0.get(n / 64).is_some_and(|word| word >> (n % 64) & 1 == 1)
    }
}

fn number(text: &str) -> Option<usize> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

impl fmt::Display for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut n, mut between) = (0, "");
        while n < self.0.len() * 64 {
            let first = n;
            while self.has(n) {
                n += 1;
            }
            match n - first {
                0 => n += 1,
                1 => write!(f, "{between}{first}")?,
                _ => write!(f, "{between}{first}-{}", n - 1)?,
            }
            if n > first && self.has(first) {
                between = ",";
            }
        }
        Ok(())
    }
}

impl Serialize for Mask {
    fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// What `execCPUAffinity` asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ExecAffinity {
    /// Before the process enters the container's cgroup.
    pub initial: Option<Mask>,
    /// Afterwards.
    pub last: Option<Mask>,
}

/// Lets a process (0: us) run on these CPUs, as far as its cpuset has them.
pub fn set(pid: i32, cpus: &Mask) -> Result<()> {
    sys::sched::set_affinity(pid, cpus.words()).map_err(|e| match e.errno {
        Errno::EINVAL => e.about(format!("{cpus}: none of these CPUs is there and in the cpuset")),
        _ => e.about(cpus.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_masks_are_the_same_thing() {
        for (list, words, text) in [
            ("0", vec![1], "0"),
            ("0-3,7", vec![0x8f], "0-3,7"),
            ("7, 0-3,1", vec![0x8f], "0-3,7"),
            ("63-64", vec![1 << 63, 1], "63-64"),
            ("0,2,4", vec![0x15], "0,2,4"),
            ("", vec![], ""),
        ] {
            let mask = Mask::parse(list, 1024).unwrap();
            assert_eq!(mask.words(), words, "{list}");
            assert_eq!(mask.to_string(), text);
        }
        assert_eq!(Mask::all(128).to_string(), "0-127");
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for bad in ["a", "3-1", "-1", "1-", "0-3-5", "1024", "0-4096"] {
            assert!(Mask::parse(bad, 1024).is_err(), "{bad}");
        }
    }

    #[test]
    fn affinity_is_set_and_a_cpu_that_is_not_there_is_explained() {
        let e = set(0, &Mask::parse("8000", MOST_CPUS).unwrap()).unwrap_err();
        assert_eq!(
            e.to_string(),
            "sched_setaffinity 8000: none of these CPUs is there and in the cpuset: invalid argument"
        );
        set(0, &Mask::all(MOST_CPUS)).unwrap();
    }
}
