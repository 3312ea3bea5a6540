//! libseccomp in a process of its own: the test binary is static and must not link it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{Seek as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use rt::seccomp::{Arch, Data, Interpreter};
use rt::sys::seccomp::Instruction;

use super::model::{Entry, Reading};

/// The architectures that libseccomp 2.5.4 (Debian 12) can compile for, in its spelling and the spec's.
/// It lacks LOONGARCH64, M68K, SH and SHEB: those are compared with the model alone.
pub const ARCHES: [(&str, &str); 19] = [
    ("x86", "SCMP_ARCH_X86"),
    ("x86_64", "SCMP_ARCH_X86_64"),
    ("x32", "SCMP_ARCH_X32"),
    ("arm", "SCMP_ARCH_ARM"),
    ("aarch64", "SCMP_ARCH_AARCH64"),
    ("mips", "SCMP_ARCH_MIPS"),
    ("mips64", "SCMP_ARCH_MIPS64"),
    ("mips64n32", "SCMP_ARCH_MIPS64N32"),
    ("mipsel", "SCMP_ARCH_MIPSEL"),
    ("mipsel64", "SCMP_ARCH_MIPSEL64"),
    ("mipsel64n32", "SCMP_ARCH_MIPSEL64N32"),
    ("parisc", "SCMP_ARCH_PARISC"),
    ("parisc64", "SCMP_ARCH_PARISC64"),
    ("ppc", "SCMP_ARCH_PPC"),
    ("ppc64", "SCMP_ARCH_PPC64"),
    ("ppc64le", "SCMP_ARCH_PPC64LE"),
    ("s390", "SCMP_ARCH_S390"),
    ("s390x", "SCMP_ARCH_S390X"),
    ("riscv64", "SCMP_ARCH_RISCV64"),
];

/// libseccomp's spelling of one of the spec's architectures.
pub fn spelled(scmp: &str) -> &'static str {
    ARCHES.iter().find(|(_, name)| *name == scmp).unwrap_or_else(|| panic!("libseccomp lacks {scmp}")).0
}

/// The compiled helper (RT_SECCOMP_ORACLE: one from elsewhere). Without gcc or libseccomp this is a failure, with the remedy.
fn helper() -> &'static PathBuf {
    static HELPER: OnceLock<PathBuf> = OnceLock::new();
    HELPER.get_or_init(|| {
        if let Some(there) = std::env::var_os("RT_SECCOMP_ORACLE") {
            return there.into();
        }
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/seccomp_support/oracle.c");
        // Under a name of our own first: several test binaries may do this at once.
        let binary = PathBuf::from(concat!(env!("CARGO_TARGET_TMPDIR"), "/seccomp-oracle"));
        let draft = binary.with_extension(std::process::id().to_string());
        let gcc = Command::new("gcc").args(["-O1", "-Wall", "-o"]).arg(&draft).args([source, "-lseccomp"]).output();
        let remedy = "the oracle needs gcc and libseccomp: apt-get install -y gcc libc6-dev libseccomp-dev";
        let output = gcc.unwrap_or_else(|e| panic!("gcc: {e}; {remedy}"));
        assert!(output.status.success(), "{}\n{remedy}", String::from_utf8_lossy(&output.stderr));
        std::fs::rename(&draft, &binary).expect("the oracle gets its name");
        binary
    })
}

/// Runs the helper on these commands. None: it ran out of time.
fn ask(commands: &str) -> Option<(Vec<u8>, String)> {
    let mut stdin = tempfile::tempfile().expect("a temporary file");
    stdin.write_all(commands.as_bytes()).and_then(|()| stdin.rewind()).expect("the commands are written");
    let output = Command::new(helper()).stdin(Stdio::from(stdin)).output().expect("the oracle runs");
    let errors = String::from_utf8(output.stderr).expect("text");
    if matches!(output.status.signal(), Some(libc::SIGKILL | libc::SIGXCPU)) {
        return None;
    }
    assert!(output.status.success(), "the oracle failed: {errors}");
    Some((output.stdout, errors))
}

/// The number that libseccomp knows for each of the questions (its name of the ABI, name of the call).
/// Negative: it has none, or only a stand-in.
pub fn resolve(questions: &[(&str, &str)]) -> Vec<i64> {
    let commands = questions.iter().fold(String::new(), |mut text, (arch, name)| {
        writeln!(text, "resolve {arch} {name}").expect("a string");
        text
    });
    let (answer, _) = ask(&commands).expect("an answer in time");
    let answer = String::from_utf8(answer).expect("text");
    answer.lines().map(|line| line.parse().expect("a number")).collect()
}

/// What libseccomp compiles of a profile, and the names it did not know.
pub struct Filter {
    program: Vec<Instruction>,
    /// It was made for big-endian machines.
    swapped: bool,
    /// All that it may answer.
    actions: BTreeSet<u32>,
    /// Names without a number in this libseccomp.
    pub unknown: BTreeSet<String>,
}

/// How the oracle is set up.
#[derive(Clone, Copy)]
pub struct Options {
    /// What it does with calls of unlisted ABIs; none: what it does by itself.
    pub foreign: Option<u32>,
    /// Binary tree (as runc asks for) or list.
    pub tree: bool,
    /// For another machine: without the native architecture, and in the byte order of those listed.
    pub elsewhere: bool,
}

impl Filter {
    /// Compiles the section's rules as runc hands them to libseccomp, for the architectures listed and, unless the
    /// options forbid it, the native one.
    pub fn of(reading: &Reading, options: Options) -> Filter {
        let mut commands = format!("default {}\n", reading.default);
        if let Some(foreign) = options.foreign {
            writeln!(commands, "badarch {foreign}").expect("a string");
        }
        for (index, scmp) in reading.arches.iter().enumerate() {
            let word = if index == 0 && options.elsewhere { "only" } else { "arch" };
            writeln!(commands, "{word} {}", spelled(scmp)).expect("a string");
        }
        if options.tree && !reading.entries.is_empty() {
            commands.push_str("optimize 2\n");
        }
        reading.entries.iter().for_each(|entry| rule(&mut commands, entry));
        commands.push_str("export\n");
        let (bytes, errors) = ask(&commands).unwrap_or_default();
        let swapped = options.elsewhere && BIG_ENDIAN.contains(&reading.arches[0].as_str());
        let program = bytes.chunks_exact(8).map(|bytes| instruction(bytes, swapped)).collect();
        let unknown = errors.lines().filter_map(|line| line.strip_prefix("unknown ")).map(str::to_owned).collect();
        let actions =
            reading.entries.iter().map(|entry| entry.action).chain([reading.default]).chain(options.foreign).collect();
        Filter { program, swapped, actions, unknown }
    }

    /// How long it is.
    pub fn len(&self) -> usize {
        self.program.len()
    }

    /// Makes it ready to be asked.
    pub fn ready(&self) -> Ready<'_> {
        let interpreter = Interpreter::new(&self.program).expect("libseccomp's program");
        Ready { interpreter, swapped: self.swapped, actions: &self.actions }
    }

    /// Its instructions.
    pub fn program(&self) -> &[Instruction] {
        &self.program
    }

    /// Whether the program can be compared at all; if not, the profile is held against the model only.
    pub fn defect(&self) -> Option<String> {
        if self.program.is_empty() {
            return Some("no program in 5 seconds".into());
        }
        // Where the accumulator came from (offset, how often masked), on every way to each instruction.
        let mut ways = vec![BTreeSet::new(); self.program.len() + 256];
        ways[0].insert((u32::MAX, 0));
        for (at, instruction) in self.program.iter().enumerate() {
            let here = ways[at].clone();
            let go = |ways: &mut Vec<BTreeSet<_>>, skip: u32, state| ways[at + 1 + skip as usize].insert(state);
            let ambiguous = here.len() > 1 && !matches!(instruction.code, LOAD | RETURN | JUMP);
            let foreign = here.contains(&(4, 0)) && is_comparison(instruction) && !is_audit(instruction.k);
            if ambiguous || foreign || here.iter().any(|(_, masked)| *masked > 1) {
                return Some(format!("instruction {at} compares the wrong word: {here:?}"));
            }
            for (offset, masked) in here {
                match instruction.code {
                    LOAD => _ = go(&mut ways, 0, (instruction.k, 0)),
                    MASK => _ = go(&mut ways, 0, (offset, masked + 1)),
                    JUMP => _ = go(&mut ways, instruction.k, (offset, masked)),
                    RETURN => {}
                    _ => {
                        go(&mut ways, instruction.jt.into(), (offset, masked));
                        go(&mut ways, instruction.jf.into(), (offset, masked));
                    }
                }
            }
        }
        None
    }
}

const LOAD: u16 = 0x20;
const MASK: u16 = 0x54;
const JUMP: u16 = 0x05;
const RETURN: u16 = 0x06;

fn is_comparison(instruction: &Instruction) -> bool {
    instruction.code & 7 == 5 && instruction.code != JUMP
}

fn is_audit(k: u32) -> bool {
    Arch::ALL.iter().any(|arch| arch.audit() == k)
}

/// A filter that was checked.
pub struct Ready<'a> {
    interpreter: Interpreter<'a>,
    swapped: bool,
    actions: &'a BTreeSet<u32>,
}

impl Ready<'_> {
    /// What it says to the call.
    pub fn verdict(&self, data: &Data) -> u32 {
        if !self.swapped {
            return self.interpreter.run(data);
        }
        let mut words = [0; 16];
        (words[0], words[1]) = (data.nr, data.arch);
        for (pair, value) in words[4..].chunks_exact_mut(2).zip(data.args) {
            (pair[0], pair[1]) = ((value >> 32) as u32, value as u32);
        }
        // Where both ways of a comparison end at once, libseccomp forgets to swap the bytes of the answer.
        let verdict = self.interpreter.run_words(&words);
        if self.actions.contains(&verdict) { verdict } else { verdict.swap_bytes() }
    }
}

const BIG_ENDIAN: [&str; 9] = [
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_PARISC",
    "SCMP_ARCH_PARISC64",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
];

fn rule(commands: &mut String, entry: &Entry) {
    write!(commands, "rule {} {} {}", entry.action, entry.name, entry.when.len()).expect("a string");
    for condition in &entry.when {
        // libseccomp numbers its operators as the spec lists them, from 1.
        write!(commands, " {} {} {} {}", condition.arg, condition.op, condition.a, condition.b).expect("a string");
    }
    commands.push('\n');
}

fn instruction(bytes: &[u8], big: bool) -> Instruction {
    let code = [bytes[0], bytes[1]];
    let k = [bytes[4], bytes[5], bytes[6], bytes[7]];
    let (code, k) = match big {
        true => (u16::from_be_bytes(code), u32::from_be_bytes(k)),
        false => (u16::from_le_bytes(code), u32::from_le_bytes(k)),
    };
    Instruction { code, jt: bytes[2], jf: bytes[3], k }
}
