//! Our filters against libseccomp's and against a plain reading of the rules: the same verdict for every call.
//!
//! Where `rt` differs from libseccomp on purpose, `expected` says so, and nowhere else:
//! newer calls get ENOSYS (runc adds that to libseccomp's filter), ipc's sub-call is its low half, and unlisted ABIs
//! kill the process (libseccomp is told to do so; that it kills the thread by itself is asserted).
//! Compared with libseccomp 2.5.4: all architectures but LOONGARCH64, M68K, SH, SHEB, which the model covers.

mod seccomp_support;

use rt::seccomp::{Arch, Data, Interpreter, Program, Syscall, compile};
use seccomp_support::model::{ENOSYS, KILL_PROCESS, Model, Reading};
use seccomp_support::oracle::{ARCHES, Filter, Options};
use seccomp_support::profiles::{DOCKER_CAPS, MORE_CAPS, PODMAN_CAPS, docker, docker_for, podman};
use seccomp_support::random::{Alternatives, Calls, Random, profile};
use seccomp_support::{lowered, oracle};
use serde_json::{Value, json};

/// The seed, unless RT_SECCOMP_SEED names another.
const SEED: u64 = 0x5ec_c039;

/// How many calls were compared, and with whom.
#[derive(Default)]
struct Compared {
    libseccomp: u64,
    model: u64,
    profiles: u64,
    /// Profiles for which libseccomp's program is defective by itself.
    defective: u64,
}

fn arches(reading: &Reading) -> Vec<Arch> {
    let listed = reading.arches.iter().map(|name| Arch::from_name(name).expect("a known architecture"));
    let others = listed.filter(|arch| *arch != Arch::NATIVE);
    std::iter::once(Arch::NATIVE).chain(others).collect()
}

fn calls(reading: &Reading, arches: &[Arch]) -> Calls {
    let conditional: Vec<_> = reading.entries.iter().filter(|e| !e.when.is_empty()).map(|e| e.name.clone()).collect();
    Calls::near(arches, &conditional, &reading.constants())
}

/// What libseccomp's verdict becomes in `rt`.
fn expected(model: &Model, arches: &[Arch], libseccomp: &oracle::Ready, data: &Data) -> u32 {
    let section = arches.iter().find(|arch| {
        let x32 = data.arch == Arch::X86_64.audit() && data.nr >= 0x4000_0000;
        arch.audit() == data.arch && (**arch == Arch::X32) == x32
    });
    match section {
        Some(arch) if model.table(*arch).newer(data.nr) => ENOSYS,
        Some(arch) if Syscall::named("ipc").and_then(|ipc| ipc.number(*arch)) == Some(data.nr) => {
            let mut data = *data;
            data.args[0] &= 0xffff;
            libseccomp.verdict(&data)
        }
        _ => libseccomp.verdict(data),
    }
}

/// The section without the names that libseccomp does not know as we do: those are left to the model.
fn without(section: &Value, names: &dyn Fn(&str) -> bool) -> Value {
    let mut section = section.clone();
    for entry in section["syscalls"].as_array_mut().into_iter().flatten() {
        entry["names"].as_array_mut().expect("names").retain(|name| !names(name.as_str().expect("a name")));
    }
    if let Some(entries) = section["syscalls"].as_array_mut() {
        entries.retain(|entry| entry["names"].as_array().is_some_and(|names| !names.is_empty()));
    }
    section
}

struct Differential {
    random: Random,
    compared: Compared,
    /// (libseccomp's ABI name, call): numbers on which libseccomp and the kernel disagree.
    odd: Vec<(&'static str, &'static str)>,
}

impl Differential {
    fn new() -> Self {
        let seed = std::env::var("RT_SECCOMP_SEED").map_or(SEED, |seed| seed.parse().expect("a decimal seed"));
        println!("seed {seed}");
        let odd = disagreements().into_iter().map(|(arch, name, ..)| (arch, name)).collect();
        Self { random: Random::new(seed), compared: Compared::default(), odd }
    }

    /// Compares one section: with the model as it is, and with libseccomp without the names that it lacks.
    /// `elsewhere` means without the native architecture, since libseccomp never mixes byte orders.
    fn section(&mut self, label: &str, section: &Value, elsewhere: bool, count: u64) {
        self.compared.profiles += 1;
        let reading = Reading::of(section);
        let program = compile(&lowered(section)).expect("a program");
        let arches = arches(&reading);
        self.with_model(label, &reading, &program, &arches, count);

        let spelled = |arch: &Arch| oracle::spelled(arch.name());
        let odd =
            |name: &str| self.odd.iter().any(|(abi, odd)| *odd == name && arches.iter().any(|a| spelled(a) == *abi));
        let section = without(section, &odd);
        let reading = Reading::of(&section);
        let options = Options { foreign: Some(KILL_PROCESS), tree: reading.entries.len() > 32, elsewhere };
        let filter = Filter::of(&reading, options);
        if let Some(defect) = filter.defect() {
            self.compared.defective += 1;
            return println!("{label:.40}… not compared with libseccomp: {defect}");
        }
        let section = without(&section, &|name| filter.unknown.contains(name));
        let reading = Reading::of(&section);
        let program = compile(&lowered(&section)).expect("a program");
        self.with_libseccomp(label, &reading, &program, &filter, elsewhere, count);
    }

    fn with_model(&mut self, label: &str, reading: &Reading, program: &Program, arches: &[Arch], count: u64) {
        let (model, calls) = (Model::of(reading), calls(reading, arches));
        let ours = Interpreter::new(program.instructions()).expect("our program");
        for _ in 0..count {
            let data = calls.next(&mut self.random);
            let (got, want) = (ours.run(&data), model.verdict(&data));
            assert_eq!(got, want, "{label}: {data:#x?}: ours {got:#x}, the model's {want:#x}");
        }
        self.compared.model += count;
    }

    fn with_libseccomp(
        &mut self,
        label: &str,
        reading: &Reading,
        program: &Program,
        filter: &Filter,
        elsewhere: bool,
        count: u64,
    ) {
        let mut arches = arches(reading);
        if elsewhere {
            arches.remove(0);
        }
        let (model, calls) = (Model::of(reading), calls(reading, &arches));
        let ours = Interpreter::new(program.instructions()).expect("our program");
        let libseccomp = filter.ready();
        let mut compared = 0;
        while compared < count {
            let data = calls.next(&mut self.random);
            // Ours has the native architecture too.
            if elsewhere && data.arch == Arch::NATIVE.audit() {
                continue;
            }
            let (got, want) = (ours.run(&data), expected(&model, &arches, &libseccomp, &data));
            assert_eq!(got, want, "{label}: {data:#x?}: ours {got:#x}, libseccomp's {want:#x}");
            compared += 1;
        }
        self.compared.libseccomp += compared;
    }

    fn report(&self, what: &str) {
        let Compared { libseccomp, model, profiles, defective } = self.compared;
        println!(
            "{what}: {profiles} profiles, {libseccomp} calls compared with libseccomp, {model} with the model: all equal; \
             {defective} profiles left to the model because libseccomp's own program is defective"
        );
    }
}

#[test]
fn shipped_profiles_answer_like_libseccomp() {
    let mut differential = Differential::new();
    for (label, section) in [
        ("docker", docker(&DOCKER_CAPS)),
        ("docker with more capabilities", docker(&MORE_CAPS)),
        ("docker without capabilities", docker(&[])),
        ("podman", podman(&PODMAN_CAPS)),
        ("podman with more capabilities", podman(&MORE_CAPS)),
    ] {
        differential.section(label, &section, false, 120_000);
    }
    for (go, scmp) in [("arm64", "SCMP_ARCH_AARCH64"), ("s390x", "SCMP_ARCH_S390X"), ("ppc64le", "SCMP_ARCH_PPC64LE")] {
        differential.section(&format!("docker on {go}"), &docker_for(go, scmp), true, 30_000);
    }
    differential.report("shipped profiles");
    assert!(differential.compared.libseccomp >= 600_000);
}

#[test]
fn random_profiles_answer_like_libseccomp() {
    let mut differential = Differential::new();
    let x86 = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"];
    for round in 0..80 {
        let alternatives = if round % 3 == 0 { Alternatives::Apart } else { Alternatives::ApartNarrow };
        let section = profile(&mut differential.random, &x86[..=round % 3], alternatives);
        differential.section(&format!("random {round} {section}"), &section, false, 12_000);
    }
    for (_, scmp) in ARCHES {
        for round in 0..4 {
            let wide = Arch::from_name(scmp).expect("known").wide();
            let alternatives = if wide { Alternatives::Apart } else { Alternatives::ApartNarrow };
            let section = profile(&mut differential.random, &[scmp], alternatives);
            differential.section(
                &format!("random {scmp} {round} {section}"),
                &section,
                scmp != Arch::NATIVE.name(),
                5_000,
            );
        }
    }
    differential.report("random profiles");
    assert!(differential.compared.libseccomp >= 700_000);
    assert!(differential.compared.profiles >= 20);
}

#[test]
fn random_profiles_answer_like_the_model_on_every_architecture() {
    let mut differential = Differential::new();
    let all: Vec<_> = Arch::ALL.iter().map(|arch| arch.name()).collect();
    // Four at a time: a random profile has too many conditions for all of them in one program.
    for round in 0..Arch::ALL.len() {
        let some: Vec<_> = (0..4).map(|i| all[(round + i * 5) % all.len()]).collect();
        let section = profile(&mut differential.random, &some, Alternatives::Any);
        let reading = Reading::of(&section);
        let program = compile(&lowered(&section)).expect("a program");
        differential.with_model(&format!("{round} {section}"), &reading, &program, &arches(&reading), 10_000);
        differential.compared.profiles += 1;
    }
    differential.report("all 23 architectures");
}

/// libseccomp's ABI, the name, the kernel's number, libseccomp's.
fn disagreements() -> Vec<(&'static str, &'static str, Option<u32>, i64)> {
    let questions: Vec<_> = ARCHES.iter().flat_map(|(arch, _)| Syscall::all().map(|s| (*arch, s.name()))).collect();
    let answers = oracle::resolve(&questions);
    assert_eq!(answers.len(), questions.len());
    let ours = |arch: &str, name: &str| {
        let scmp = ARCHES.iter().find(|a| a.0 == arch).expect("listed").1;
        Syscall::named(name).and_then(|s| s.number(Arch::from_name(scmp).expect("known")))
    };
    let answers =
        questions.into_iter().zip(answers).map(|((arch, name), theirs)| (arch, name, ours(arch, name), theirs));
    answers.filter(|(_, _, ours, theirs)| ours.map_or(*theirs >= 0, |ours| i64::from(ours) != *theirs)).collect()
}

#[test]
fn numbers_are_those_of_libseccomp() {
    let (lacking, wrong): (Vec<_>, Vec<_>) = disagreements().into_iter().partition(|(.., theirs)| *theirs < 0);
    let compared = ARCHES.len() * Syscall::all().count();
    println!("{compared} numbers compared; {} that this libseccomp lacks", lacking.len());
    // The kernel has this one for 32 bits only.
    let known = ["parisc64 _llseek"];
    assert_eq!(wrong.iter().map(|(arch, name, ..)| format!("{arch} {name}")).collect::<Vec<_>>(), known);
    assert!(lacking.len() < 1000, "{lacking:?}");
}

#[test]
fn what_libseccomp_does_by_itself_with_other_abis() {
    let reading = Reading::of(&json!({"defaultAction": "SCMP_ACT_ALLOW"}));
    let filter = Filter::of(&reading, Options { foreign: None, tree: false, elsewhere: false });
    let foreign = Data { arch: Arch::Aarch64.audit(), ..Data::default() };
    assert_eq!(filter.ready().verdict(&foreign), 0, "libseccomp kills the thread; rt kills the process");
}

/// Several rules for one call that look at the same argument: the rules, read plainly.
#[test]
fn alternatives_that_share_an_argument() {
    const ERRNO: u32 = 0x5_0001;
    const ALLOW: u32 = 0x7fff_0000;
    let rule = |name: &str, args: &[(u32, &str, u64)]| {
        let args: Vec<_> = args.iter().map(|(index, op, value)| arg(*index, op, *value)).collect();
        json!({"names": [name], "action": "SCMP_ACT_ALLOW", "args": args})
    };
    let check = |what: &str, arches: &[&str], rules: Value, arch: Arch, name: &str, args: [u64; 6], want: u32| {
        let section = json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": arches, "syscalls": rules});
        let nr = Syscall::named(name).and_then(|s| s.number(arch)).expect("a number");
        let data = Data { nr, arch: arch.audit(), instruction_pointer: 0, args };
        let program = compile(&lowered(&section)).expect("a program");
        assert_eq!(Interpreter::new(program.instructions()).expect("ours").run(&data), want, "{what}");
    };
    let rules = json!([rule("mq_notify", &[(0, "LE", 0xf_6e79)]), rule("mq_notify", &[(0, "LT", u64::MAX)]),]);
    check("both halves count", &[], rules, Arch::X86_64, "mq_notify", [u64::from(u32::MAX), 0, 0, 0, 0, 0], ALLOW);
    let rules = json!([
        rule("munlockall", &[(2, "GT", 872_543), (3, "LE", u64::MAX)]),
        rule("munlockall", &[(2, "GE", 3), (3, "EQ", u64::MAX)]),
    ]);
    check("each rule by itself", &[], rules, Arch::X86_64, "munlockall", [0, 0, 872_543, 5, 0, 0], ERRNO);
    let rules = json!([rule("preadv", &[(5, "NE", 1 << 32)]), rule("preadv", &[(4, "NE", 9), (5, "EQ", 0)]),]);
    check("equal low halves", &["SCMP_ARCH_X86"], rules, Arch::X86, "preadv", [0; 6], ALLOW);
    let rules = json!([rule("sigprocmask", &[(0, "EQ", 10)]), rule("sigprocmask", &[(0, "EQ", 232_064)]),
        {"names": ["send"], "action": "SCMP_ACT_KILL"}]);
    let arches = ["SCMP_ARCH_X86", "SCMP_ARCH_X32"];
    check("two architectures", &arches, rules, Arch::X86, "sigprocmask", [10, 0, 0, 0, 0, 0], ALLOW);
}

fn arg(index: u32, op: &str, value: u64) -> Value {
    json!({"index": index, "op": format!("SCMP_CMP_{op}"), "value": value})
}
