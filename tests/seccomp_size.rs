//! What docker's profile costs: instructions, and whether the kernel can see by itself which calls are always allowed.

mod seccomp_support;

use std::time::Instant;

use rt::seccomp::{Arch, Interpreter, Syscall, compile, lower};
use rt::sys::seccomp::Instruction;
use seccomp_support::lowered;
use seccomp_support::model::{KILL_PROCESS, Model, Reading};
use seccomp_support::oracle::{Filter, Options};
use seccomp_support::profiles::{DOCKER_CAPS, MORE_CAPS, PODMAN_CAPS, docker, podman};

const ALLOW: u32 = 0x7fff_0000;

#[test]
fn dockers_profile_is_small() {
    let section = docker(&DOCKER_CAPS);
    let program = compile(&lowered(&section)).expect("a program");
    let ours = program.instructions().len();
    let theirs = |tree| {
        let options = Options { foreign: Some(KILL_PROCESS), tree, elsewhere: false };
        Filter::of(&Reading::of(&section), options).len()
    };
    let (list, tree) = (theirs(false), theirs(true));
    println!("docker's profile, 3 architectures: rt {ours} instructions, libseccomp {list} (list) or {tree} (tree)");
    assert!(ours <= 450, "{ours} instructions");
    assert!(ours * 100 <= list * 45 && ours * 100 <= tree * 35, "{ours} against {list} and {tree}");
}

/// The time is printed, never asserted: see the benchmarks.
#[test]
fn lowering_and_compiling_once() {
    let section = serde_json::from_value(docker(&DOCKER_CAPS)).expect("a section");
    let mut best = u128::MAX;
    for _ in 0..50 {
        let start = Instant::now();
        let profile = lower(&section, &mut Vec::new()).expect("a profile");
        let lowered = start.elapsed();
        let program = compile(&profile).expect("a program");
        let all = start.elapsed();
        if all.as_nanos() < best {
            best = all.as_nanos();
            println!("lower {lowered:?}, lower and compile {all:?}, {} instructions", program.instructions().len());
        }
    }
}

/// The kernel runs each new filter once for every call number with nothing but number and architecture known, and
/// never asks the filter again about those it can prove allowed. This is what it does, see kernel/seccomp.c.
fn provably_allowed(program: &[Instruction], arch: u32, nr: u32) -> bool {
    let (mut a, mut at) = (0, 0);
    loop {
        let Instruction { code, jt, jf, k } = program[at];
        at += 1;
        let holds = match code {
            0x20 if k == 0 => {
                a = nr;
                continue;
            }
            0x20 if k == 4 => {
                a = arch;
                continue;
            }
            0x06 => return k == ALLOW,
            0x05 => {
                at += k as usize;
                continue;
            }
            0x54 => {
                a &= k;
                continue;
            }
            0x15 => a == k,
            0x25 => a > k,
            0x35 => a >= k,
            0x45 => a & k != 0,
            _ => return false,
        };
        at += usize::from(if holds { jt } else { jf });
    }
}

#[test]
fn the_kernel_can_cache_every_call_that_is_always_allowed() {
    for section in [docker(&DOCKER_CAPS), docker(&MORE_CAPS), podman(&PODMAN_CAPS)] {
        let reading = Reading::of(&section);
        let program = compile(&lowered(&section)).expect("a program");
        let conditional = |name: &str| reading.entries.iter().any(|e| e.name == name && !e.when.is_empty());
        let (model, mut cached) = (Model::of(&reading), 0);
        for arch in [Arch::X86_64, Arch::X86] {
            for syscall in Syscall::all().filter(|s| !conditional(s.name())) {
                let Some(nr) = syscall.number(arch) else { continue };
                // A carrier that the profile does not name itself depends on its first argument.
                let data = rt::seccomp::Data { nr, arch: arch.audit(), ..Default::default() };
                let allowed = model.verdict(&data) == ALLOW;
                assert_eq!(provably_allowed(program.instructions(), arch.audit(), nr), allowed, "{}", syscall.name());
                cached += u32::from(allowed);
            }
        }
        assert!(cached > 600, "{cached}");
    }
}

#[test]
fn a_profile_too_long_for_the_kernel_is_an_error_that_says_so() {
    let all: Vec<_> = Arch::ALL.iter().map(|arch| arch.name()).collect();
    let mut section = docker(&DOCKER_CAPS);
    section["architectures"] = serde_json::json!(all);
    let few = compile(&lowered(&section)).expect("all 23 architectures of docker's profile fit");
    println!("docker's profile, 23 architectures: {} instructions", few.instructions().len());
    Interpreter::new(few.instructions()).expect("a sound program");

    let args = |value: u64| serde_json::json!([{"index": 0, "value": value, "op": "SCMP_CMP_EQ"}]);
    let rule = |value| serde_json::json!({"names": ["ioctl"], "action": "SCMP_ACT_ALLOW", "args": args(value)});
    section["syscalls"] = (0..1100).map(rule).collect();
    section["architectures"] = serde_json::json!([]);
    let error = compile(&lowered(&section)).expect_err("more than 4096 instructions");
    assert!(error.to_string().contains("instructions, the kernel takes 4096"), "{error}");
}
