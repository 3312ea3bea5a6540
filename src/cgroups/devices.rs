//! Device rules: `resources.devices` plus what every container may use, reduced to a default and the rules after it.
//!
//! The list is ordered and the last word on each of read, write and mknod counts. Without any rule nothing but the
//! default devices is allowed. v2 runs the rules as they stand (`ebpf.rs`); the v1 list knows only exceptions from its
//! default, so what it cannot say is refused here rather than half done.

use std::fmt;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};
use serde::Serialize;

use crate::error::ConfigError;

/// What may be done with a device: bits as in the kernel's `bpf_cgroup_dev_ctx`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access(u8);

impl Access {
    /// Make a device node.
    pub const MKNOD: Access = Access(1);
    /// Open for reading.
    pub const READ: Access = Access(2);
    /// Open for writing.
    pub const WRITE: Access = Access(4);
    /// All three.
    pub const ALL: Access = Access(7);

    /// `rwm` in any order; nothing else.
    pub(super) fn parse(text: &str) -> Option<Access> {
        text.bytes().try_fold(Access(0), |all, letter| {
            let one = match letter {
                b'm' => Self::MKNOD,
                b'r' => Self::READ,
                b'w' => Self::WRITE,
                _ => return None,
            };
            Some(Access(all.0 | one.0))
        })
    }

    /// The bits.
    pub fn bits(self) -> u8 {
        self.0
    }

    fn without(self, other: Access) -> Access {
        Access(self.0 & !other.0)
    }

    fn contains(self, other: Access) -> bool {
        other.without(self).0 == 0
    }

    fn meets(self, other: Access) -> bool {
        self.0 & other.0 != 0
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (one, letter) in [(Self::READ, "r"), (Self::WRITE, "w"), (Self::MKNOD, "m")] {
            if self.meets(one) {
                f.write_str(letter)?;
            }
        }
        Ok(())
    }
}

/// Block or character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `b`
    Block,
    /// `c`
    Char,
}

/// One rule about one kind of device; no number means any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Allow or deny.
    pub allow: bool,
    /// Which kind.
    pub kind: Kind,
    /// Which major number.
    pub major: Option<u32>,
    /// Which minor number.
    pub minor: Option<u32>,
    /// To do what.
    pub access: Access,
}

impl Rule {
    const fn allow(kind: Kind, major: Option<u32>, minor: Option<u32>, access: Access) -> Self {
        Rule { allow: true, kind, major, minor, access }
    }

    /// Whether every device of `other` is one of `self`.
    fn covers(&self, other: &Rule) -> bool {
        let wide = |mine: Option<u32>, other: Option<u32>| mine.is_none() || mine == other;
        self.kind == other.kind && wide(self.major, other.major) && wide(self.minor, other.minor)
    }

    /// Whether some device is both of `self` and of `other`.
    fn overlaps(&self, other: &Rule) -> bool {
        let meet = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
        self.kind == other.kind && meet(self.major, other.major) && meet(self.minor, other.minor)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |n: Option<u32>| n.map_or("*".to_owned(), |n| n.to_string());
        let kind = if self.kind == Kind::Char { 'c' } else { 'b' };
        write!(f, "{kind} {}:{} {}", number(self.major), number(self.minor), self.access)
    }
}

/// A default for all devices, and the rules that follow it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRules {
    /// What goes for a device that no rule speaks of.
    pub default_allow: bool,
    /// In order; on v1 these are exceptions from the default, without overlaps that its list cannot express.
    pub rules: Vec<Rule>,
}

impl fmt::Display for DeviceRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.default_allow { "devices: allow all" } else { "devices: deny all" })?;
        for rule in &self.rules {
            write!(f, ", {} {rule}", if rule.allow { "allow" } else { "deny" })?;
        }
        Ok(())
    }
}

impl Serialize for DeviceRules {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let word = |allow: bool| if allow { "allow" } else { "deny" };
        let all = format!("{} a *:* rwm", word(self.default_allow));
        let rules = self.rules.iter().map(|rule| format!("{} {rule}", word(rule.allow)));
        serializer.collect_seq(std::iter::once(all).chain(rules))
    }
}

/// What every container may use, whatever its config says: any node may be made (not opened); the spec's default
/// devices, ptmx and the pseudo-terminals; tun, which is harmless without a network capability.
const ALWAYS: [Rule; 10] = {
    const C: Kind = Kind::Char;
    [
        Rule::allow(C, None, None, Access::MKNOD),
        Rule::allow(Kind::Block, None, None, Access::MKNOD),
        Rule::allow(C, Some(1), Some(3), Access::ALL), // null
        Rule::allow(C, Some(1), Some(5), Access::ALL), // zero
        Rule::allow(C, Some(1), Some(7), Access::ALL), // full
        Rule::allow(C, Some(1), Some(8), Access::ALL), // random
        Rule::allow(C, Some(1), Some(9), Access::ALL), // urandom
        Rule::allow(C, Some(5), Some(0), Access::ALL), // tty
        Rule::allow(C, Some(5), Some(2), Access::ALL), // ptmx
        Rule::allow(C, Some(136), None, Access::ALL),  // pts/*; a container's /dev/console is one of them
    ]
};
const TUN: Rule = Rule::allow(Kind::Char, Some(10), Some(200), Access::ALL);

/// `resources.devices` and the default devices. `pointer` is that of the list.
pub(super) fn lower(asked: &[LinuxDeviceCgroup], pointer: &str, complaints: &mut Vec<ConfigError>) -> DeviceRules {
    let mut all = DeviceRules { default_allow: false, rules: Vec::new() };
    for (i, device) in asked.iter().enumerate() {
        match parse(device) {
            Ok(Parsed::All) => all = DeviceRules { default_allow: device.allow(), rules: Vec::new() },
            Ok(Parsed::Some(rules)) => all.rules.extend(rules),
            Err((field, message)) => complaints.push(ConfigError::at(format!("{pointer}/{i}{field}"), message)),
        }
    }
    for rule in ALWAYS.into_iter().chain([TUN]) {
        // Where everything is allowed a rule is needed only to undo a denial.
        if !all.default_allow || all.rules.iter().any(|r| !r.allow && r.overlaps(&rule)) {
            all.rules.push(rule);
        }
    }
    all
}

enum Parsed {
    /// Every device, every access: a new default, and what stood before it no longer matters.
    All,
    Some(Vec<Rule>),
}

fn parse(device: &LinuxDeviceCgroup) -> Result<Parsed, (&'static str, String)> {
    let number = |n: Option<i64>| match n {
        None | Some(-1) => Ok(None),
        Some(n) => i32::try_from(n).ok().and_then(|n| u32::try_from(n).ok()).map(Some).ok_or(n),
    };
    let no_number = |field, n| (field, format!("expected a device number or -1 for any, got {n}"));
    let major = number(device.major()).map_err(|n| no_number("/major", n))?;
    let minor = number(device.minor()).map_err(|n| no_number("/minor", n))?;
    let access = match device.access().as_deref() {
        None | Some("") => Access::ALL,
        Some(text) => Access::parse(text).ok_or_else(|| ("/access", format!("expected r, w, m, got {text:?}")))?,
    };
    let allow = device.allow();
    let rule = |kind| Rule { allow, kind, major, minor, access };
    match device.typ().unwrap_or(LinuxDeviceType::A) {
        LinuxDeviceType::A if major.is_none() && minor.is_none() && access == Access::ALL => Ok(Parsed::All),
        // The kernel's own "a" would ignore the numbers and the access.
        LinuxDeviceType::A => Ok(Parsed::Some(vec![rule(Kind::Block), rule(Kind::Char)])),
        LinuxDeviceType::B => Ok(Parsed::Some(vec![rule(Kind::Block)])),
        LinuxDeviceType::C | LinuxDeviceType::U => Ok(Parsed::Some(vec![rule(Kind::Char)])),
        LinuxDeviceType::P => Err(("/type", "a fifo is no device that cgroups could control".to_owned())),
    }
}

/// The same rules as exceptions from the default, in the order of the config: all that the v1 list can hold. A later
/// rule may take an exception back, whole; if it would take back only a part, the list cannot say it.
pub(super) fn exceptions(all: &DeviceRules) -> Result<DeviceRules, String> {
    let mut list: Vec<Rule> = Vec::new();
    for rule in &all.rules {
        if rule.allow != all.default_allow {
            if list.iter().any(|e| e.covers(rule) && e.access.contains(rule.access)) {
                continue;
            }
            match list.iter_mut().find(|e| e.covers(rule) && rule.covers(e)) {
                // The kernel merges equal devices too.
                Some(same) => same.access = Access(same.access.0 | rule.access.0),
                None => list.push(*rule),
            }
            continue;
        }
        for exception in list.iter_mut().filter(|e| e.overlaps(rule) && e.access.meets(rule.access)) {
            if !rule.covers(exception) {
                let (this, that) = if rule.allow { ("allow", "deny") } else { ("deny", "allow") };
                return Err(format!(
                    "cgroup v1 cannot {this} {rule} after a wider rule to {that} {exception}; name the devices singly"
                ));
            }
            exception.access = exception.access.without(rule.access);
        }
        list.retain(|e| e.access.0 != 0);
    }
    Ok(DeviceRules { default_allow: all.default_allow, rules: list })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(json: &str) -> Result<DeviceRules, String> {
        let asked: Vec<LinuxDeviceCgroup> = serde_json::from_str(json).unwrap();
        let mut complaints = Vec::new();
        let rules = lower(&asked, "/d", &mut complaints);
        match complaints.first() {
            Some(complaint) => Err(complaint.to_string()),
            None => Ok(rules),
        }
    }

    fn v1(json: &str) -> Result<Vec<String>, String> {
        let list = exceptions(&rules(json)?)?;
        Ok(list.rules.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn no_rules_means_the_default_devices_only() {
        let all = rules("[]").unwrap();
        assert!(!all.default_allow);
        assert_eq!(
            v1("[]").unwrap(),
            [
                "c *:* m",
                "b *:* m",
                "c 1:3 rwm",
                "c 1:5 rwm",
                "c 1:7 rwm",
                "c 1:8 rwm",
                "c 1:9 rwm",
                "c 5:0 rwm",
                "c 5:2 rwm",
                "c 136:* rwm",
                "c 10:200 rwm"
            ]
        );
    }

    #[test]
    fn the_v1_list_keeps_the_order_of_the_config() {
        let list = v1(r#"[{"allow":false,"access":"rwm"},
            {"allow":true,"type":"c","major":10,"minor":229,"access":"rwm"},
            {"allow":true,"type":"b","major":8,"minor":20,"access":"rw"},
            {"allow":true,"type":"b","major":10,"minor":200,"access":"r"}]"#);
        assert_eq!(&list.unwrap()[..3], ["c 10:229 rwm", "b 8:20 rw", "b 10:200 r"]);
    }

    #[test]
    fn a_rule_for_everything_forgets_what_stood_before() {
        let all = rules(r#"[{"allow":true,"type":"b","major":8,"access":"r"},{"allow":true}]"#).unwrap();
        assert_eq!(all, DeviceRules { default_allow: true, rules: Vec::new() });
    }

    #[test]
    fn type_a_with_numbers_is_both_kinds_not_everything() {
        let list = v1(r#"[{"allow":true,"type":"a","major":7,"minor":-1,"access":"r"}]"#).unwrap();
        assert_eq!(&list[..2], ["b 7:* r", "c 7:* r"]);
    }

    #[test]
    fn equal_devices_merge_and_a_denial_takes_back() {
        let list = v1(r#"[{"allow":true,"type":"c","major":7,"minor":1,"access":"r"},
            {"allow":true,"type":"c","major":7,"minor":1,"access":"wm"},
            {"allow":true,"type":"c","major":7,"minor":2,"access":"rw"},
            {"allow":false,"type":"c","major":7,"access":"w"}]"#);
        assert_eq!(&list.unwrap()[..2], ["c 7:1 rm", "c 7:2 r"]);
    }

    #[test]
    fn a_hole_in_a_wider_rule_is_refused_on_v1() {
        let hole = v1(r#"[{"allow":true,"type":"c","major":7,"access":"rwm"},
            {"allow":false,"type":"c","major":7,"minor":1,"access":"w"}]"#);
        assert!(hole.unwrap_err().contains("cannot deny c 7:1 w after a wider rule to allow c 7:* rwm"));
    }

    #[test]
    fn where_all_is_allowed_denials_are_the_exceptions() {
        let list = v1(r#"[{"allow":true,"access":"rwm"},{"allow":false,"type":"b","major":8,"access":"rw"}]"#);
        assert_eq!(list.unwrap(), ["b 8:* rw"]);
    }

    #[test]
    fn nonsense_is_named() {
        for (json, said) in [
            (r#"[{"allow":true,"type":"p"}]"#, "/d/0/type: a fifo"),
            (r#"[{"allow":true,"type":"c","access":"rx"}]"#, "/d/0/access: expected r, w, m"),
            (r#"[{"allow":true},{"allow":true,"type":"c","major":-2}]"#, "/d/1/major: expected a device number"),
            (r#"[{"allow":true,"type":"c","minor":4294967296}]"#, "/d/0/minor: expected a device number"),
        ] {
            let complaint = rules(json).unwrap_err();
            assert!(complaint.starts_with(said), "{complaint}");
        }
    }
}
