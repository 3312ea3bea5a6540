//! Holds the source against the table of layers in ARCHITECTURE.md: who may know whom, and who may do what.
//!
//! It reads text, not types, which is enough: paths of our own modules begin with `crate::`, and unit tests (which may
//! look further) stand at the end of a file.
#![allow(clippy::disallowed_methods)] // a test may ask whether a file is there

use std::fs;
use std::path::{Path, PathBuf};

/// The modules of each layer. A module may name those of the layers below it; within the layer only where `allowed` says.
const GROUND: &[&str] = &["sys"];
const VOCABULARY: &[&str] = &["error", "facts", "log", "step", "talk"];
const SUBJECTS: &[&str] =
    &["cgroups", "criu", "hooks", "identity", "intelrdt", "namespaces", "rootfs", "seccomp", "spec", "state", "tty"];
const PLAN: &[&str] = &["plan", "timings"];
const SIDES: &[&str] = &["host", "init"];
const EDGE: &[&str] = &["cli", "commands", "main"];

/// One source file, without comments and without its unit tests.
struct Source {
    path: PathBuf,
    module: String,
    first_line: String,
    code: String,
}

impl Source {
    fn new(path: PathBuf, text: &str) -> Self {
        let module = path.iter().next().and_then(|first| first.to_str()).unwrap().trim_end_matches(".rs").to_owned();
        let first_line = text.lines().next().unwrap_or_default().to_owned();
        Self { path, module, first_line, code: code(text) }
    }

    /// Whether the file, or a directory above it, is called so.
    fn is(&self, name: &str) -> bool {
        self.path.iter().any(|part| part == name) || self.path.ends_with(format!("{name}.rs"))
    }

    fn has_word(&self, word: &str) -> bool {
        self.code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|found| found == word)
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    walk(&root, &mut files);
    files.sort();
    let read = |path: &PathBuf| {
        let inside = path.strip_prefix(&root).unwrap().to_owned();
        Source::new(inside, &fs::read_to_string(path).unwrap())
    };
    files.iter().map(read).filter(|source| !source.is("tests")).collect()
}

fn walk(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// What the compiler sees of a file outside its tests.
fn code(text: &str) -> String {
    let until_tests = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    until_tests.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The modules that follow `crate::`, each with what follows it: `sys` and `::Errno`; also of `use crate::{a, b::c}`.
fn named(code: &str) -> Vec<(String, String)> {
    let mut names = Vec::new();
    for (before, after) in code.match_indices("crate::").map(|(at, word)| (&code[..at], &code[at + word.len()..])) {
        if before.ends_with('$') {
            continue; // a macro's own
        }
        match after.strip_prefix('{') {
            Some(group) => names.extend(branches(group).iter().map(|branch| name_and_rest(branch))),
            None => names.push(name_and_rest(after)),
        }
    }
    // Types and functions of the crate's root begin otherwise, or don't exist.
    names.retain(|(name, _)| name.starts_with(char::is_lowercase));
    names
}

/// The parts of a `use` group, up to the brace that ends it.
fn branches(group: &str) -> Vec<String> {
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for c in group.chars() {
        match c {
            '}' if depth == 0 => break,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        parts.last_mut().unwrap().push(c);
    }
    parts.iter().map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

fn name_and_rest(path: &str) -> (String, String) {
    let end = path.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(path.len());
    let rest = match path[end..].starts_with("::{") {
        true => path[end..].split_inclusive('}').next(),
        false => path[end..].split([';', ',', '\n', '(', ')', ' ', '<', '>']).next(),
    };
    let rest = rest.unwrap_or_default();
    (path[..end].to_owned(), rest.to_owned())
}

/// What a module may name; none if the table doesn't know the module.
fn allowed(module: &str) -> Option<Vec<&str>> {
    let layers = [GROUND, VOCABULARY, SUBJECTS, PLAN, SIDES, EDGE];
    let layer = layers.iter().position(|layer| layer.contains(&module))?;
    let mut names = layers[..layer].concat();
    match layers[layer] {
        SUBJECTS | SIDES => names.push(module), // neighbours don't know each other
        own => names.extend(own),
    }
    Some(names)
}

/// What is wrong with a file, as lines to print.
fn complaints(source: &Source) -> Vec<String> {
    let mut wrong = neighbours(source);
    wrong.extend(impurities(source));
    if !source.first_line.starts_with("//! ") {
        wrong.push("must open with a //! line that says what it is for".to_owned());
    }
    let applies = source.is("apply") || SIDES.contains(&source.module.as_str());
    if applies && source.has_word("oci_spec") {
        wrong.push("what is applied is the plan: oci_spec isn't asked again".to_owned());
    }
    if source.module != "sys" && source.has_word("unsafe") {
        wrong.push("`unsafe` belongs in sys".to_owned());
    }
    let edge = EDGE.contains(&source.module.as_str());
    for word in ["clap", "anyhow", "println", "eprintln", "print", "eprint"].iter().filter(|_| !edge) {
        if source.has_word(word) {
            wrong.push(format!("`{word}` belongs in cli, commands and main"));
        }
    }
    wrong.iter().map(|complaint| format!("{}: {complaint}", source.path.display())).collect()
}

/// Who is named that must not be known.
fn neighbours(source: &Source) -> Vec<String> {
    let module = source.module.as_str();
    if module == "lib" {
        return Vec::new();
    }
    let Some(allowed) = allowed(module) else {
        return vec![format!("`{module}` is in no layer: give it one here and in ARCHITECTURE.md")];
    };
    let strangers = named(&source.code).into_iter().filter(|(name, _)| !allowed.contains(&name.as_str()));
    strangers.map(|(name, _)| format!("`{module}` must not know `{name}`")).collect()
}

/// What a file that lowers names of the world. Types of `sys` are words (an errno that a step tolerates, flags), not calls.
fn impurities(source: &Source) -> Vec<String> {
    if !source.is("lower") && source.module != "plan" {
        return Vec::new();
    }
    let calls = named(&source.code).into_iter().filter(|(name, rest)| name == "sys" && !is_type(rest));
    let mut wrong: Vec<String> = calls.map(|(_, rest)| format!("crate::sys{rest}")).collect();
    let world = ["std::fs", "std::env", "std::process", "std::net", "std::os::fd", "SystemTime", "nix::"];
    wrong.extend(world.iter().filter(|name| source.code.contains(*name)).map(ToString::to_string));
    wrong.iter().map(|name| format!("lowering is pure, but this names {name}")).collect()
}

/// Whether a path ends in a type, or in a group of types.
fn is_type(path: &str) -> bool {
    match path.split_once('{') {
        Some((_, group)) => branches(group).iter().all(|branch| is_type(branch)),
        None => path.rsplit("::").next().is_some_and(|last| last.starts_with(char::is_uppercase)),
    }
}

#[test]
fn every_file_keeps_to_its_layer() {
    let sources = sources();
    assert!(sources.len() > 10, "found only {} files", sources.len());
    let wrong: Vec<String> = sources.iter().flat_map(complaints).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn no_file_is_too_long_to_read() {
    // A table is looked up, not read.
    let lines = |source: &Source| if source.is("table") { 0 } else { source.code.lines().count() };
    let long: Vec<String> = sources()
        .iter()
        .filter(|s| lines(s) > 500)
        .map(|s| format!("{}: {} lines", s.path.display(), lines(s)))
        .collect();
    assert!(long.is_empty(), "more than 500 lines without tests:\n{}", long.join("\n"));
}

fn sins(path: &str, text: &str) -> Vec<String> {
    complaints(&Source::new(path.into(), &format!("//! For a test.\n{text}")))
}

#[test]
fn sins_are_seen() {
    for (path, text) in [
        ("rootfs/apply.rs", "use crate::cgroups::Limits;"),
        ("rootfs/apply.rs", "use crate::{step::Step, cgroups::{self, Limits}};"),
        ("rootfs/apply.rs", "fn f() { crate::spec::read() }"),
        ("rootfs/apply.rs", "use oci_spec::runtime::Mount;"),
        ("rootfs/lower.rs", "use crate::sys::mount;"),
        ("rootfs/lower.rs", "use std::fs::File;"),
        ("rootfs/lower/mounts.rs", "use crate::sys;"),
        ("rootfs/lower.rs", "use crate::sys::{Errno, mount};"),
        ("rootfs/lower.rs", "fn f() { crate::sys::mount::bind(a, b) }"),
        ("sys/mount.rs", "use crate::error::ConfigError;"),
        ("step.rs", "use crate::plan::Plan;"),
        ("host.rs", "use crate::init::run;"),
        ("init.rs", "use oci_spec::runtime::Spec;"),
        ("hooks.rs", "use anyhow::Result;"),
        ("hooks.rs", "fn f() { eprintln!(\"x\") }"),
        ("hooks.rs", "fn f() { unsafe { g() } }"),
        ("manager.rs", ""),
    ] {
        assert_eq!(sins(path, text).len(), 1, "{path}: {text}: {:?}", sins(path, text));
    }
    let silent = Source::new("hooks.rs".into(), "use std::fs;");
    assert_eq!(complaints(&silent).len(), 1);
}

#[test]
fn virtues_are_not_sins() {
    for (path, text) in [
        ("rootfs/apply.rs", "use crate::{sys::{self, Errno}, step::Step};\nuse crate::rootfs::paths;"),
        ("rootfs/lower.rs", "use crate::sys::Errno; // crate::sys::mount"),
        ("seccomp/lower.rs", "use crate::sys::{Errno, seccomp::Flags};\nfn f() -> Vec<crate::sys::seccomp::Flags> {}"),
        ("rootfs/lower.rs", "#[cfg(test)]\nmod tests {\nuse crate::cgroups::x;\n}"),
        ("commands/run.rs", "use crate::{host, plan, cli};\nuse anyhow::Result;"),
        ("sys/call.rs", "macro_rules! m { () => { $crate::error::x() } }"),
        ("init.rs", "use crate::rootfs::apply;"),
    ] {
        assert_eq!(sins(path, text), Vec::<String>::new(), "{path}: {text}");
    }
}
