//! The budget: what one of each operation may cost, and whether it keeps to that. Only what can be counted: a time depends
//! on the machine and its other work, and is never held against anything.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sys::signal::{SigSet, Signal};
use serde_json::json;

use crate::Bench;
use crate::count::{Counts, Scope, count};

/// What was found, by the name that the budget has for it.
type Found = BTreeMap<&'static str, u64>;

/// One line of the file: `[section]`, `name = limit`.
struct Line {
    section: String,
    name: String,
    limit: u64,
}

/// The file is TOML of its simplest kind: tables of whole numbers.
fn read(path: &Path) -> Result<Vec<Line>, Box<dyn Error>> {
    let text = fs::read_to_string(path)?;
    let mut section = String::new();
    let mut lines = Vec::new();
    for line in text.lines().map(|line| line.split('#').next().unwrap_or_default().trim()) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.to_string();
        } else if let Some((name, value)) = line.split_once('=') {
            let limit = value.trim().replace('_', "").parse().map_err(|_| format!("{line}: no whole number"))?;
            lines.push(Line { section: section.clone(), name: name.trim().to_string(), limit });
        } else if !line.is_empty() {
            return Err(format!("{}: {line}: neither a [section] nor a name = number", path.display()).into());
        }
    }
    Ok(lines)
}

/// Measures the first contestant and holds it against the file. Closes with how many lines are kept to.
pub fn check(path: &Path, bench: &mut Bench) -> Result<bool, Box<dyn Error>> {
    let lines = read(path)?;
    let mut found = operations(bench)?;
    found.insert("run", run(bench)?);
    found.insert("binary", Found::from([("bytes", bench.contestants[0].bytes())]));
    let limit = lines.iter().find(|line| line.name == "limit_kib").map_or(256, |line| line.limit);
    found.insert("memory", Found::from([("limit_kib", smallest_limit(bench, limit)?)]));
    let [mut passed, mut failed, mut skipped] = [0; 3];
    println!("\n{:24}{:>12}{:>12}", "", "found", "budget");
    for line in &lines {
        let name = format!("{} {}", line.section, line.name);
        match found.get(line.section.as_str()).and_then(|all| all.get(line.name.as_str())) {
            Some(value) if *value > line.limit => {
                println!("{name:24}{value:>12}{:>12}  OVER", line.limit);
                failed += 1;
            }
            Some(value) => {
                println!("{name:24}{value:>12}{:>12}", line.limit);
                passed += 1;
            }
            None => {
                println!("{name:24}{:>12}{:>12}  SKIPPED: it could not be counted here", "-", line.limit);
                skipped += 1;
            }
        }
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    Ok(failed == 0)
}

fn of(counts: Counts) -> Found {
    Found::from([
        ("calls", counts.calls as u64),
        ("execs", counts.execs as u64),
        ("forks", counts.forks as u64),
        ("threads", counts.threads as u64),
        ("messages", counts.messages as u64),
        ("runtime_kib", counts.host_kib as u64),
        ("init_kib", counts.init_kib as u64),
    ])
}

/// The whole of a `run`, with its grace periods.
fn run(bench: &mut Bench) -> Result<Found, Box<dyn Error>> {
    let words = |bench: &mut Bench| {
        let id = bench.id();
        bench.contestants[0].run(&bench.bundles.ending[0], &id)
    };
    let traced = words(bench);
    let mut found = of(count(&traced, Scope::Family)?.ok_or("run failed under the tracer")?);
    let mut seen = Vec::new();
    for _ in 0..3 {
        let watched = words(bench);
        seen.extend(grace_periods(&watched));
    }
    add_grace(&mut found, &seen);
    Ok(found)
}

fn add_grace(found: &mut Found, seen: &[(u64, u64)]) {
    if let (Some(normal), Some(expedited)) = (seen.iter().map(|s| s.0).max(), seen.iter().map(|s| s.1).max()) {
        found.insert("normal_grace_periods", normal);
        found.insert("expedited_grace_periods", expedited);
    }
}

/// The life of two containers, one under the tracer and one under perf; and what the waiting init takes.
fn operations(bench: &mut Bench) -> Result<BTreeMap<&'static str, Found>, Box<dyn Error>> {
    let mut all = BTreeMap::new();
    let dir = bench.bundles.waiting.dir.display().to_string();
    let pid_file = bench.bundles.waiting.dir.join("pid").display().to_string();
    let (traced, watched) = (bench.id(), bench.id());
    for name in ["create", "start", "state", "exec", "kill", "delete"] {
        let words = |id: &str| {
            bench.contestants[0].words(&match name {
                "create" => vec!["create", "--bundle", &dir, "--pid-file", &pid_file, id],
                "exec" => vec!["exec", id, "/bin/payload"],
                "kill" => vec!["kill", id, "KILL"],
                "delete" => vec!["delete", "--force", id],
                other => vec![other, id],
            })
        };
        let scope = if name == "exec" { Scope::Family } else { Scope::Alone };
        let mut found = of(count(&words(&traced), scope)?.ok_or(format!("{name} failed under the tracer"))?);
        if name == "create" {
            all.insert("waiting", waiting(&fs::read_to_string(&pid_file)?)?);
        }
        add_grace(&mut found, &grace_periods(&words(&watched)).into_iter().collect::<Vec<_>>());
        all.insert(name, found);
    }
    // The second one, if nobody could watch.
    let _ = bench.clock.run(&bench.contestants[0].words(&["delete", "--force", &watched]));
    Ok(all)
}

/// What a created container's init takes while it waits to be started: the least of what is seen in a second, for it has
/// to come to rest first.
fn waiting(pid: &str) -> Result<Found, Box<dyn Error>> {
    let number = |file: &str, name: &str| -> Result<u64, Box<dyn Error>> {
        let text = fs::read_to_string(format!("/proc/{pid}/{file}"))?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)).ok_or(format!("no {name} in {file}"))?;
        Ok(line.split_whitespace().next().unwrap_or_default().parse()?)
    };
    let mut pss = u64::MAX;
    for _ in 0..20 {
        sleep(Duration::from_millis(50));
        pss = pss.min(number("smaps_rollup", "Pss:")?);
    }
    Ok(Found::from([("pss_kib", pss), ("threads", number("status", "Threads:")?)]))
}

/// `limit` if a container with so little memory runs, else the first multiple of it that does.
fn smallest_limit(bench: &mut Bench, limit: u64) -> Result<u64, Box<dyn Error>> {
    let file = bench.bundles.ending[0].dir.join("config.json");
    let before = fs::read(&file)?;
    let mut found = u64::MAX;
    for kib in (1..=8).map(|times| times * limit) {
        let mut config: serde_json::Value = serde_json::from_slice(&before)?;
        config["linux"]["resources"]["memory"] = json!({ "limit": kib * 1024 });
        fs::write(&file, config.to_string())?;
        let id = bench.id();
        if bench.clock.run(&bench.contestants[0].run(&bench.bundles.ending[0], &id)).is_ok() {
            found = kib;
            break;
        }
        // Mostly nothing is left.
        let _ = bench.clock.run(&bench.contestants[0].words(&["delete", "--force", &id]));
    }
    fs::write(&file, before)?;
    Ok(found)
}

/// How often the command's processes went to sleep for a grace period of RCU: a normal one (milliseconds), an expedited
/// one. None where perf can't tell.
fn grace_periods(words: &[String]) -> Option<(u64, u64)> {
    // In our own mount namespace; it may be there already.
    let _ = mount(Some("tracefs"), "/sys/kernel/tracing", Some("tracefs"), MsFlags::empty(), None::<&str>);
    let data = std::env::temp_dir().join(format!("rt-bench-perf.{}", std::process::id()));
    let mut record = Command::new("perf");
    record.args(["record", "--quiet", "-e", "sched:sched_switch", "-g", "-o"]).arg(&data).arg("--").args(words);
    record.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // perf hears of the command's end by the signal that the clock has blocked, and would wait for what it left behind.
    let ends = SigSet::from_iter([Signal::SIGCHLD]);
    ends.thread_unblock().ok()?;
    let done = record.status();
    ends.thread_block().ok()?;
    let done = done.ok()?;
    let told = Command::new("perf").arg("script").arg("-i").arg(&data).stderr(Stdio::null()).output().ok()?;
    // It was made by perf, if at all.
    let _ = fs::remove_file(&data);
    if !done.success() || !told.status.success() {
        return None;
    }
    // One that never slept has not waited either.
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    let sleeps: Vec<&str> = text.split("\n\n").collect();
    let expedited = sleeps.iter().filter(|stack| stack.contains("synchronize_rcu_expedited")).count();
    let any = sleeps.iter().filter(|s| s.contains("synchronize_rcu") || s.contains("__wait_rcu_gp")).count();
    Some(((any - expedited) as u64, expedited as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_tables_of_whole_numbers() {
        let file = std::env::temp_dir().join(format!("rt-bench-budget.{}", std::process::id()));
        fs::write(&file, "# why\n[run]\ncalls = 1_000 # all of them\n\n[binary]\nbytes=3\n").unwrap();
        let lines = read(&file).unwrap();
        let lines: Vec<_> = lines.iter().map(|l| (l.section.as_str(), l.name.as_str(), l.limit)).collect();
        assert_eq!(lines, [("run", "calls", 1000), ("binary", "bytes", 3)]);
        fs::write(&file, "[run]\ncalls = many\n").unwrap();
        assert!(read(&file).is_err());
        fs::remove_file(&file).unwrap();
    }
}
