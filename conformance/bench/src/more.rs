//! Tables that ask one question each: what a filter adds, what many mounts, threads and containers of the host add, and
//! how many runs several workers get done.

use std::error::Error;
use std::fs;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::Bench;
use crate::clock::Outcome;
use crate::report::Columns;
use crate::sleepers::Sleepers;
use crate::stats::Series;

/// Workers that run containers at the same time.
pub const WORKERS: usize = 8;
/// Runs of each worker in one round.
const RUNS: usize = 8;
/// Mounts that the host has more than usual.
const MOUNTS: usize = 1000;

/// Threads that the host has more than usual: those of a busy one.
const THREADS: usize = 5000;
/// How often it is few, and then many.
const TURNS: usize = 3;

/// All tables but the last.
pub fn questions(bench: &mut Bench, samples: usize, population: usize) -> Result<Vec<Columns>, Box<dyn Error>> {
    let half = samples.div_ceil(2);
    let mut tables = vec![filter(bench, samples)?, mounts(bench, half)?, threads(bench, half)?];
    if population > 0 {
        tables.push(crowd(bench, population, half)?);
    }
    Ok(tables)
}

fn empty(bench: &Bench, names: &[&str], title: &str, floor: bool) -> Columns {
    let row = |asked: bool| if asked { names.iter().map(|_| Series::default()).collect() } else { Vec::new() };
    let table = bench.contestants.iter().map(|c| row(floor || c.is_runtime())).collect();
    Columns { title: title.into(), names: names.iter().map(|name| (*name).to_string()).collect(), table }
}

/// Times these words once, after this much idle time.
fn time(bench: &Bench, words: &[String], idle: u64, series: &mut Series) -> Result<(), Box<dyn Error>> {
    sleep(Duration::from_millis(idle));
    match bench.clock.time(words)? {
        Outcome::Took(us) => series.quiet.push(us),
        Outcome::Noisy(us) => series.noisy.push(us),
        Outcome::Failed => series.failed += 1,
    }
    Ok(())
}

/// `run` without and with docker's seccomp profile.
fn filter(bench: &mut Bench, samples: usize) -> Result<Columns, Box<dyn Error>> {
    let mut all = empty(bench, &["no filter", "docker's"], "run with a seccomp profile, 40 ms idle before each", false);
    for _ in 0..samples {
        for who in 0..bench.contestants.len() {
            for (what, series) in all.table[who].iter_mut().enumerate() {
                let id = bench.id();
                let bundle = if what == 0 { &bench.bundles.ending[0] } else { &bench.bundles.filtered };
                let words = bench.contestants[who].run(bundle, &id);
                bench.spaces.enter(bench.contestants[who].hidden)?;
                time(bench, &words, 40, series)?;
            }
        }
    }
    Ok(all)
}

/// `run` on a host with few mounts, and with a thousand more. Each in a copy of the mount namespace that it runs in.
fn mounts(bench: &mut Bench, samples: usize) -> Result<Columns, Box<dyn Error>> {
    let title = format!("run on a host with {MOUNTS} more mounts, 40 ms idle before each");
    let mut all = empty(bench, &["as it is", "more mounts"], &title, true);
    for (who, row) in all.table.iter_mut().enumerate() {
        bench.spaces.enter(bench.contestants[who].hidden)?;
        let plain = fs::File::open("/proc/self/ns/mnt")?;
        unshare(CloneFlags::CLONE_NEWNS)?;
        for _ in 0..MOUNTS {
            mount(Some("bench"), "/mnt", Some("tmpfs"), MsFlags::empty(), Some("size=4k"))?;
        }
        let crowded = fs::File::open("/proc/self/ns/mnt")?;
        for _ in 0..samples {
            for (space, series) in [&plain, &crowded].into_iter().zip(row.iter_mut()) {
                setns(space, CloneFlags::CLONE_NEWNS)?;
                let id = bench.id();
                let words = bench.contestants[who].run(&bench.bundles.ending[0], &id);
                time(bench, &words, 40, series)?;
            }
        }
        setns(&plain, CloneFlags::CLONE_NEWNS)?;
    }
    Ok(all)
}

/// `run` beside few threads and beside many that sleep, by turns.
fn threads(bench: &mut Bench, samples: usize) -> Result<Columns, Box<dyn Error>> {
    let title = format!("run on a host with {THREADS} more threads, 40 ms idle before each");
    let mut all = empty(bench, &["as it is", "more threads"], &title, true);
    for (threads, at) in [(0, 0), (THREADS, 1)].repeat(TURNS) {
        let _sleepers = Sleepers::new(threads)?;
        for _ in 0..samples.div_ceil(TURNS) {
            for who in 0..bench.contestants.len() {
                let id = bench.id();
                let words = bench.contestants[who].run(&bench.bundles.ending[0], &id);
                bench.spaces.enter(bench.contestants[who].hidden)?;
                time(bench, &words, 40, &mut all.table[who][at])?;
            }
        }
    }
    Ok(all)
}

/// `create`, `state` and `list` beside few and beside many created containers: by turns, for what a machine does besides
/// changes from minute to minute.
fn crowd(bench: &mut Bench, population: usize, samples: usize) -> Result<Columns, Box<dyn Error>> {
    let many = |verb: &str| format!("{verb} {population}");
    let names =
        ["create 1".to_string(), "state 1".into(), "list 1".into(), many("create"), many("state"), many("list")];
    let title = format!("beside 1 and beside {population} created containers, 20 ms idle before each");
    let mut all = empty(bench, &names.each_ref().map(String::as_str), &title, false);
    let dir = bench.bundles.waiting.dir.display().to_string();
    for who in 0..bench.contestants.len() {
        if !bench.contestants[who].is_runtime() {
            continue;
        }
        bench.spaces.enter(bench.contestants[who].hidden)?;
        let mut ids: Vec<String> = Vec::new();
        for (size, at) in [(1, 0), (population, 3)].repeat(TURNS) {
            for id in ids.drain(size.min(ids.len())..) {
                bench.clock.run(&bench.contestants[who].words(&["delete", "--force", &id]))?;
            }
            while ids.len() < size {
                ids.push(bench.id());
                let id = &ids[ids.len() - 1];
                bench.clock.run(&bench.contestants[who].words(&["create", "--bundle", &dir, id]))?;
            }
            for _ in 0..samples.div_ceil(TURNS) {
                let id = bench.id();
                let contestant = &bench.contestants[who];
                let row = &mut all.table[who];
                time(bench, &contestant.words(&["create", "--bundle", &dir, &id]), 20, &mut row[at])?;
                time(bench, &contestant.words(&["state", &ids[0]]), 20, &mut row[at + 1])?;
                time(bench, &contestant.words(&["list"]), 20, &mut row[at + 2])?;
                bench.clock.run(&contestant.words(&["delete", "--force", &id]))?;
            }
        }
        for id in &ids {
            bench.clock.run(&bench.contestants[who].words(&["delete", "--force", id]))?;
        }
    }
    Ok(all)
}

/// Runs a second of several workers at once, by contestant.
pub fn parallel(bench: &mut Bench) -> Result<Vec<f64>, Box<dyn Error>> {
    let mut best = vec![0.0; bench.contestants.len()];
    for _ in 0..3 {
        for who in 0..bench.contestants.len() {
            let ids: Vec<String> = (0..WORKERS * RUNS).map(|_| bench.id()).collect();
            let contestant = &bench.contestants[who];
            let commands: Vec<_> = ids.iter().map(|id| contestant.run(&bench.bundles.ending[0], id)).collect();
            bench.spaces.enter(bench.contestants[who].hidden)?;
            let begun = Instant::now();
            at_once(&commands)?;
            let rate = (WORKERS * RUNS) as f64 / begun.elapsed().as_secs_f64();
            best[who] = rate.max(best[who]);
        }
    }
    Ok(best)
}

/// Runs all of these commands, WORKERS of them at a time. No threads: who has some can't change its mount namespace. A
/// failure would show in the tables before.
fn at_once(commands: &[Vec<String>]) -> Result<(), Box<dyn Error>> {
    let mut running: Vec<u32> = Vec::new();
    for words in commands {
        while running.len() == WORKERS {
            reap(&mut running)?;
        }
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        running.push(command.spawn()?.id());
    }
    while !running.is_empty() {
        reap(&mut running)?;
    }
    Ok(())
}

/// Waits until any child has ended; orphans are children too.
fn reap(running: &mut Vec<u32>) -> Result<(), Box<dyn Error>> {
    let ended = waitpid(None::<Pid>, None)?.pid();
    running.retain(|pid| ended != Some(Pid::from_raw(*pid as i32)));
    Ok(())
}
