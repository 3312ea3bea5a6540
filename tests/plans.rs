//! Golden plans: `rt explain` of every `tests/plans/NAME.json` must print `tests/plans/NAME.FACTS.plan`, for each
//! FACTS that has such a file. The host is not asked: what it is stands in `tests/plans/facts/FACTS.json`. Where systemd
//! runs by those facts it is asked to make the cgroups, too.
//!
//! `RT_BLESS=1 cargo test --test plans` writes the files anew; the difference is then read like any other change. A
//! config that is new gets the plan of the `hybrid` host; another one is asked for by an empty file.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The directory of the configs and plans.
fn directory() -> PathBuf {
    let root = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    root.join("tests/plans")
}

/// The names of the files here that end like this, without that end.
fn names(directory: &Path, end: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).expect("the directory of the plans").flatten();
    entries.filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(end)?.to_owned())).collect()
}

/// What `rt explain` prints for a config on a host, with the bundle's path taken out.
fn explain(config: &Path, facts: &Path) -> String {
    let bundle = tempfile::tempdir().expect("a directory");
    fs::create_dir(bundle.path().join("rootfs")).expect("a directory");
    fs::copy(config, bundle.path().join("config.json")).expect("the config");
    let program = std::env::var_os("RT_BIN").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_rt")), PathBuf::from);
    let systemd = fs::read_to_string(facts).expect("the facts").contains("\"systemd\":");
    let global = systemd.then_some("--systemd-cgroup");
    let output =
        Command::new(program).args(global).arg("explain").arg("--facts").arg(facts).arg(bundle.path()).output();
    let output = output.expect("the program runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(bundle.path().to_str().expect("text"), "BUNDLE");
    assert!(output.status.success(), "{}: {}", config.display(), text(&output.stderr));
    // Warnings are part of what the user sees.
    text(&output.stderr) + &text(&output.stdout)
}

/// The first line that differs, with its number.
fn difference(expected: &str, found: &str) -> String {
    let number = expected.lines().zip(found.lines()).take_while(|(one, other)| one == other).count();
    let line = |text: &str| text.lines().nth(number).unwrap_or("(the end)").to_owned();
    format!("line {}:\n    expected: {}\n    found:    {}", number + 1, line(expected), line(found))
}

#[test]
fn every_plan_is_as_it_was() {
    let directory = directory();
    let bless = std::env::var_os("RT_BLESS").is_some();
    let mut goldens = names(&directory, ".plan");
    let configs = names(&directory, ".json");
    if bless {
        let without =
            configs.iter().filter(|name| !goldens.iter().any(|golden| golden.starts_with(&format!("{name}."))));
        goldens.extend(without.map(|name| format!("{name}.hybrid")).collect::<Vec<_>>());
    }
    let mut wrong = Vec::new();
    let mut covered = BTreeSet::new();
    for golden in &goldens {
        let (name, facts) = golden.rsplit_once('.').expect("NAME.FACTS.plan");
        covered.insert(name.to_owned());
        let facts = directory.join("facts").join(format!("{facts}.json"));
        let found = explain(&directory.join(format!("{name}.json")), &facts);
        let file = directory.join(format!("{golden}.plan"));
        if bless {
            fs::write(&file, &found).expect("the golden file");
        }
        let expected = fs::read_to_string(&file).expect("the golden file");
        if expected != found {
            wrong.push(format!("{golden}.plan, {}", difference(&expected, &found)));
        }
    }
    assert!(wrong.is_empty(), "plans have changed (RT_BLESS=1 writes them anew):\n  {}", wrong.join("\n  "));
    assert_eq!(covered, configs, "every config has a plan, every plan its config");
}

#[test]
fn a_plan_does_not_depend_on_when_it_is_made() {
    let directory = directory();
    for golden in names(&directory, ".plan") {
        let (name, facts) = golden.rsplit_once('.').expect("NAME.FACTS.plan");
        let facts = directory.join("facts").join(format!("{facts}.json"));
        let config = directory.join(format!("{name}.json"));
        assert_eq!(explain(&config, &facts), explain(&config, &facts), "{name}");
    }
}
