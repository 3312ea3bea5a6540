//! /linux/seccomp → [`Profile`]. Pure: no system calls, no files; complaints carry the pointer of what they are about.

use oci_spec::runtime::{
    Arch as OciArch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSeccompOperator,
    LinuxSyscall,
};

use super::arch::Arch;
use super::profile::{Action, Condition, Listener, Profile, Rule, Section, Test};
use super::syscalls::Syscall;
use crate::error::ConfigError;
use crate::sys::seccomp::Flags;

const POINTER: &str = "/linux/seccomp";
const EPERM: u16 = 1;
/// MAX_ERRNO of linux/err.h: the kernel would silently make it of anything above.
const MAX_ERRNO: u32 = 4095;

/// Understands the section. None if there were complaints.
pub fn lower(section: &LinuxSeccomp, complaints: &mut Vec<ConfigError>) -> Option<Profile> {
    let before = complaints.len();
    let errno_pointer = format!("{POINTER}/defaultErrnoRet");
    let default = action(section.default_action(), section.default_errno_ret(), &errno_pointer, complaints);
    let mut profile = Profile {
        default,
        sections: Vec::new(),
        rules: Vec::new(),
        flags: Flags::default(),
        listener: None,
        warnings: Vec::new(),
    };
    let entries = section.syscalls().as_deref().unwrap_or_default();
    let mut named = Vec::with_capacity(512);
    for (index, entry) in entries.iter().enumerate() {
        add_entry(&mut profile, &mut named, index, entry, complaints);
    }
    profile.sections = sections(section.architectures().as_deref().unwrap_or_default(), default, &named);
    let notifies = default == Action::Notify || profile.rules.iter().any(|rule| rule.action == Action::Notify);
    profile.listener = listener(section, notifies, complaints);
    profile.flags = flags(section.flags().as_deref(), notifies, &mut profile.warnings);
    (complaints.len() == before).then_some(profile)
}

/// One element of `syscalls`: a rule per name, or several if an argument is named twice.
fn add_entry(
    profile: &mut Profile,
    named: &mut Vec<Syscall>,
    index: usize,
    entry: &LinuxSyscall,
    complaints: &mut Vec<ConfigError>,
) {
    let pointer = format!("{POINTER}/syscalls/{index}");
    if entry.names().is_empty() {
        complaints.push(ConfigError::at(format!("{pointer}/names"), "expected at least one name, got none"));
    }
    let action = action(entry.action(), entry.errno_ret(), &format!("{pointer}/errnoRet"), complaints);
    let conditions = conditions(entry.args().as_deref().unwrap_or_default(), &pointer, complaints);
    let repeats = conditions.iter().enumerate().any(|(i, c)| conditions[..i].iter().any(|d| d.arg == c.arg));
    for (place, name) in entry.names().iter().enumerate() {
        let Some(syscall) = Syscall::named(name) else {
            profile.warnings.push(format!("{pointer}/names/{place}: unknown system call {name:?} skipped"));
            continue;
        };
        named.push(syscall);
        if action == profile.default {
            continue;
        }
        let rule = |when| Rule { syscall, action, when, entry: index as u32 };
        if repeats {
            profile.rules.extend(conditions.iter().map(|condition| rule(vec![*condition])));
        } else {
            profile.rules.push(rule(conditions.clone()));
        }
    }
}

/// The action with its number: EPERM unless the config says otherwise.
fn action(action: LinuxSeccompAction, errno: Option<u32>, pointer: &str, complaints: &mut Vec<ConfigError>) -> Action {
    use LinuxSeccompAction::*;
    let mut number = |max: u32| match errno {
        None => EPERM,
        Some(errno) if errno <= max => errno as u16,
        Some(errno) => {
            complaints.push(ConfigError::at(pointer, format!("expected at most {max}, got {errno}")));
            EPERM
        }
    };
    let action = match action {
        ScmpActErrno => return Action::Errno(number(MAX_ERRNO)),
        ScmpActTrace => return Action::Trace(number(u32::from(u16::MAX))),
        ScmpActKill | ScmpActKillThread => Action::KillThread,
        ScmpActKillProcess => Action::KillProcess,
        ScmpActTrap => Action::Trap,
        ScmpActAllow => Action::Allow,
        ScmpActLog => Action::Log,
        ScmpActNotify => Action::Notify,
    };
    if let Some(errno) = errno {
        let message = format!("only SCMP_ACT_ERRNO and SCMP_ACT_TRACE return a number, got {errno}");
        complaints.push(ConfigError::at(pointer, message));
    }
    action
}

fn conditions(args: &[LinuxSeccompArg], pointer: &str, complaints: &mut Vec<ConfigError>) -> Vec<Condition> {
    let condition = |(index, arg): (usize, &LinuxSeccompArg)| {
        if arg.index() > 5 {
            let message = format!("expected an argument index from 0 to 5, got {}", arg.index());
            complaints.push(ConfigError::at(format!("{pointer}/args/{index}/index"), message));
            return None;
        }
        Some(Condition { arg: arg.index() as u8, test: test(arg) })
    };
    args.iter().enumerate().filter_map(condition).collect()
}

fn test(arg: &LinuxSeccompArg) -> Test {
    use LinuxSeccompOperator::*;
    match arg.op() {
        ScmpCmpNe => Test::Ne(arg.value()),
        ScmpCmpLt => Test::Lt(arg.value()),
        ScmpCmpLe => Test::Le(arg.value()),
        ScmpCmpEq => Test::Eq(arg.value()),
        ScmpCmpGe => Test::Ge(arg.value()),
        ScmpCmpGt => Test::Gt(arg.value()),
        // Here, and only here, `value` is the mask and `valueTwo` what is compared.
        ScmpCmpMaskedEq => Test::MaskedEq { mask: arg.value(), value: arg.value_two().unwrap_or(0) },
    }
}

/// The native architecture and the listed ones, each once, with the newest call that the profile names there.
fn sections(listed: &[OciArch], default: Action, named: &[Syscall]) -> Vec<Section> {
    let mut arches = vec![Arch::NATIVE];
    for listed in listed {
        let arch = arch(*listed);
        if !arches.contains(&arch) {
            arches.push(arch);
        }
    }
    let newest = |arch| if default.permits() { None } else { newest(arch, named) };
    arches.into_iter().map(|arch| Section { arch, newest: newest(arch) }).collect()
}

/// The highest number named. ARM's private calls do not count: they stand far above all the others.
fn newest(arch: Arch, named: &[Syscall]) -> Option<u32> {
    let ways = named.iter().flat_map(|s| [s.number(arch), s.carrier(arch).map(|carrier| carrier.number)]);
    ways.flatten().filter(|number| arch != Arch::Arm || *number < 0x000f_0000).max()
}

fn arch(arch: OciArch) -> Arch {
    match arch {
        OciArch::ScmpArchNative => Arch::NATIVE,
        OciArch::ScmpArchX86 => Arch::X86,
        OciArch::ScmpArchX86_64 => Arch::X86_64,
        OciArch::ScmpArchX32 => Arch::X32,
        OciArch::ScmpArchArm => Arch::Arm,
        OciArch::ScmpArchAarch64 => Arch::Aarch64,
        OciArch::ScmpArchMips => Arch::Mips,
        OciArch::ScmpArchMips64 => Arch::Mips64,
        OciArch::ScmpArchMips64n32 => Arch::Mips64N32,
        OciArch::ScmpArchMipsel => Arch::Mipsel,
        OciArch::ScmpArchMipsel64 => Arch::Mipsel64,
        OciArch::ScmpArchMipsel64n32 => Arch::Mipsel64N32,
        OciArch::ScmpArchPpc => Arch::Ppc,
        OciArch::ScmpArchPpc64 => Arch::Ppc64,
        OciArch::ScmpArchPpc64le => Arch::Ppc64le,
        OciArch::ScmpArchS390 => Arch::S390,
        OciArch::ScmpArchS390x => Arch::S390x,
        OciArch::ScmpArchParisc => Arch::Parisc,
        OciArch::ScmpArchParisc64 => Arch::Parisc64,
        OciArch::ScmpArchRiscv64 => Arch::Riscv64,
        OciArch::ScmpArchLoongarch64 => Arch::Loongarch64,
        OciArch::ScmpArchM68k => Arch::M68k,
        OciArch::ScmpArchSh => Arch::Sh,
        OciArch::ScmpArchSheb => Arch::Sheb,
    }
}

/// Without `flags` SPEC_ALLOW, if the kernel has it: the mitigation costs much and guards what containers do not need
/// guarded (runc, crun). An empty list is a list: no flag.
fn flags(listed: Option<&[LinuxSeccompFilterFlag]>, notifies: bool, warnings: &mut Vec<String>) -> Flags {
    use LinuxSeccompFilterFlag::*;
    let Some(listed) = listed else {
        let asked = if notifies { Flags::NEW_LISTENER } else { 0 };
        return Flags { asked, wished: Flags::SPEC_ALLOW };
    };
    let mut asked = if notifies { Flags::NEW_LISTENER } else { 0 };
    for (index, flag) in listed.iter().enumerate() {
        match flag {
            SeccompFilterFlagLog => asked |= Flags::LOG,
            SeccompFilterFlagSpecAllow => asked |= Flags::SPEC_ALLOW,
            // Together with a listener the kernel insists on the unambiguous answer.
            SeccompFilterFlagTsync if notifies => asked |= Flags::TSYNC | Flags::TSYNC_ESRCH,
            SeccompFilterFlagTsync => asked |= Flags::TSYNC,
            SeccompFilterFlagWaitKillableRecv if notifies => asked |= Flags::WAIT_KILLABLE_RECV,
            // The kernel refuses it without a listener, and without one it has nothing to say.
            SeccompFilterFlagWaitKillableRecv => warnings.push(format!(
                "{POINTER}/flags/{index}: SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV has no effect without SCMP_ACT_NOTIFY"
            )),
        }
    }
    Flags { asked, wished: 0 }
}

fn listener(section: &LinuxSeccomp, notifies: bool, complaints: &mut Vec<ConfigError>) -> Option<Listener> {
    let pointer = format!("{POINTER}/listenerPath");
    let metadata = section.listener_metadata().clone().unwrap_or_default();
    let Some(path) = section.listener_path() else {
        if notifies {
            complaints.push(ConfigError::at(pointer, "SCMP_ACT_NOTIFY needs a listener, got none"));
        } else if !metadata.is_empty() {
            let message = "set without listenerPath";
            complaints.push(ConfigError::at(format!("{POINTER}/listenerMetadata"), message));
        }
        return None;
    };
    let Some(path) = path.to_str() else {
        complaints.push(ConfigError::at(pointer, "expected UTF-8"));
        return None;
    };
    notifies.then(|| Listener { path: path.to_owned(), metadata })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn lowered(section: Value) -> (Option<Profile>, Vec<String>) {
        let mut complaints = Vec::new();
        let profile = lower(&serde_json::from_value(section).unwrap(), &mut complaints);
        (profile, complaints.iter().map(ToString::to_string).collect())
    }

    fn good(section: Value) -> Profile {
        let (profile, complaints) = lowered(section);
        assert_eq!(complaints, Vec::<String>::new());
        profile.unwrap()
    }

    #[test]
    fn all_complaints_at_once_and_each_at_its_place() {
        let (profile, complaints) = lowered(json!({
            "defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1, "listenerMetadata": "x",
            "syscalls": [
                {"names": [], "action": "SCMP_ACT_ERRNO", "errnoRet": 4096},
                {"names": ["read"], "action": "SCMP_ACT_TRACE", "errnoRet": 65536},
                {"names": ["read"], "action": "SCMP_ACT_KILL", "errnoRet": 5,
                 "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]},
            ],
        }));
        assert_eq!(profile, None);
        let number = "only SCMP_ACT_ERRNO and SCMP_ACT_TRACE return a number, got";
        assert_eq!(
            complaints,
            [
                &format!("/linux/seccomp/defaultErrnoRet: {number} 1"),
                "/linux/seccomp/syscalls/0/names: expected at least one name, got none",
                "/linux/seccomp/syscalls/0/errnoRet: expected at most 4095, got 4096",
                "/linux/seccomp/syscalls/1/errnoRet: expected at most 65535, got 65536",
                &format!("/linux/seccomp/syscalls/2/errnoRet: {number} 5"),
                "/linux/seccomp/syscalls/2/args/0/index: expected an argument index from 0 to 5, got 6",
                "/linux/seccomp/listenerMetadata: set without listenerPath",
            ]
        );
    }

    #[test]
    fn notify_needs_a_listener_and_a_listener_comes_with_its_flags() {
        let notify =
            json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]});
        let (_, complaints) = lowered(notify.clone());
        assert_eq!(complaints, ["/linux/seccomp/listenerPath: SCMP_ACT_NOTIFY needs a listener, got none"]);

        let mut with = notify;
        with["listenerPath"] = json!("/run/agent.sock");
        with["listenerMetadata"] = json!("opaque");
        with["flags"] = json!(["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]);
        let profile = good(with);
        assert_eq!(profile.listener, Some(Listener { path: "/run/agent.sock".into(), metadata: "opaque".into() }));
        assert_eq!(profile.flags.names(), ["TSYNC", "NEW_LISTENER", "TSYNC_ESRCH", "WAIT_KILLABLE_RECV"]);
    }

    #[test]
    fn flags_absent_means_spec_allow_and_an_empty_list_means_none() {
        let flags = |value: Value| {
            let mut section = json!({"defaultAction": "SCMP_ACT_ALLOW"});
            if !value.is_null() {
                section["flags"] = value;
            }
            let profile = good(section);
            (profile.flags.names(), profile.warnings.len())
        };
        assert_eq!(flags(Value::Null), (vec!["SPEC_ALLOW?".into()], 0));
        assert_eq!(flags(json!([])), (vec![], 0));
        assert_eq!(flags(json!(["SECCOMP_FILTER_FLAG_LOG"])), (vec!["LOG".into()], 0));
        assert_eq!(flags(json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"])), (vec![], 1));
    }

    #[test]
    fn unknown_names_are_skipped_with_a_warning_and_rules_equal_to_the_default_without() {
        let profile = good(json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [
                {"names": ["read", "frobnicate"], "action": "SCMP_ACT_ALLOW"},
                {"names": ["openat2"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1},
                {"names": ["openat2"], "action": "SCMP_ACT_ERRNO", "errnoRet": 2},
            ],
        }));
        assert_eq!(profile.warnings, ["/linux/seccomp/syscalls/0/names/1: unknown system call \"frobnicate\" skipped"]);
        assert_eq!(profile.rules.iter().map(|rule| rule.entry).collect::<Vec<_>>(), [0, 2]);
        // The dropped rule's name still says how new the profile is.
        assert_eq!(profile.sections, [Section { arch: Arch::NATIVE, newest: Some(437) }]);
    }

    #[test]
    fn a_repeated_index_makes_every_condition_a_rule_of_its_own() {
        let arg = |index: u32, op: &str| json!({"index": index, "value": 1, "op": op});
        let rules = |args: Value| {
            good(json!({"defaultAction": "SCMP_ACT_ERRNO",
                        "syscalls": [{"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": args}]}))
            .rules
        };
        let and = rules(json!([arg(0, "SCMP_CMP_NE"), arg(1, "SCMP_CMP_EQ")]));
        assert_eq!(and.len(), 1);
        assert_eq!(and[0].when.len(), 2);
        let or = rules(json!([arg(0, "SCMP_CMP_NE"), arg(1, "SCMP_CMP_EQ"), arg(0, "SCMP_CMP_GT")]));
        let tests: Vec<_> = or.iter().map(|rule| rule.when.clone()).collect();
        let one = |arg, test| vec![Condition { arg, test }];
        assert_eq!(tests, [one(0, Test::Ne(1)), one(1, Test::Eq(1)), one(0, Test::Gt(1))]);
    }

    #[test]
    fn masked_eq_takes_value_as_the_mask() {
        let profile = good(json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["clone"],
            "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 0x7e02_0000, "op": "SCMP_CMP_MASKED_EQ"}]}]}));
        assert_eq!(profile.rules[0].when[0].test, Test::MaskedEq { mask: 0x7e02_0000, value: 0 });
    }

    #[test]
    fn every_architecture_of_the_spec_is_known_and_the_native_one_comes_first() {
        let names: Vec<_> = Arch::ALL.iter().map(|arch| arch.name()).collect();
        let profile = good(json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": names}));
        assert_eq!(profile.sections.len(), Arch::ALL.len());
        assert_eq!(profile.sections[0].arch, Arch::NATIVE);
        assert!(profile.sections.iter().all(|section| section.newest.is_none()), "ALLOW needs no ENOSYS");
        let native = good(json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_NATIVE"]}));
        assert_eq!(native.sections.len(), 1);
    }

    #[test]
    fn trap_kill_and_notify_defaults_also_say_enosys_to_newer_calls() {
        for (action, newest) in
            [("TRAP", true), ("KILL", true), ("KILL_PROCESS", true), ("LOG", false), ("TRACE", false)]
        {
            let profile = good(json!({"defaultAction": format!("SCMP_ACT_{action}"),
                "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]}));
            assert_eq!(profile.sections[0].newest.is_some(), newest, "{action}");
        }
    }
}
