//! The tables and the JSON. Must not measure.

use std::fs;

use serde_json::{Value, json};

use crate::OPERATIONS;
use crate::contest::{Bundles, Contestant};
use crate::count::Counts;
use crate::stats::{Series, milliseconds, ratio, settle};

/// Who is measured, on what.
pub fn conditions(contestants: &[Contestant], pressure: bool) {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_string();
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    println!("Linux {}, {processors} processors, load {}", read("/proc/sys/kernel/osrelease"), read("/proc/loadavg"));
    match pressure {
        true => println!(
            "a sample is noisy, and not counted, when other work held the processors for half of it (PSI); where fewer\n\
             than a quarter were quiet, all count, and the table is marked as busy"
        ),
        false => println!("this kernel has no /proc/pressure/cpu: samples of a busy machine are not told apart"),
    }
    for contestant in contestants {
        println!("  {:8} {:>9} bytes  {}", contestant.name, contestant.bytes(), contestant.version);
    }
    if contestants.iter().all(Contestant::is_runtime) {
        println!("  no floor: it is written for cgroup v1");
    }
}

/// System calls, processes and memory of one `run`.
pub fn counts(contestants: &[Contestant], bundles: &Bundles, table: &[Vec<Option<Counts>>]) {
    println!("\nrun, counted (with the workload's own system calls; memory is the peak resident size in KiB)");
    println!("{:18}{:>8}{:>7}{:>7}{:>9}{:>10}{:>10}", "", "calls", "execs", "forks", "threads", "runtime", "init");
    for (bundle, row) in bundles.ending.iter().zip(table) {
        for (contestant, counts) in contestants.iter().zip(row) {
            let head = format!("{} {}", contestant.name, bundle.name);
            match counts {
                Some(c) => println!(
                    "{head:18}{:>8}{:>7}{:>7}{:>9}{:>10}{:>10}",
                    c.calls, c.execs, c.forks, c.threads, c.host_kib, c.init_kib
                ),
                None => println!("{head:18} failed under the tracer"),
            }
        }
    }
}

/// Times of `run`, with the first contestant's share of each of the others' time.
pub fn runs(title: &str, contestants: &[Contestant], bundles: &Bundles, table: &mut [Vec<Series>]) {
    let busy = settle(table.iter_mut().flatten());
    println!("\n{title}{} (ms; on the right {}'s time as a share of this one's)", note(busy), contestants[0].name);
    println!(
        "{:18}{:>5}{:>7}{:>8}{:>9}{:>9}{:>9} |{:>7}{:>7}{:>7}",
        "", "n", "noisy", "failed", "min", "p25", "median", "min", "p25", "median"
    );
    for (bundle, row) in bundles.ending.iter().zip(&*table) {
        for (contestant, series) in contestants.iter().zip(row) {
            let head = format!("{} {}", contestant.name, bundle.name);
            let [min, p25, median] = [series.min(), series.p25(), series.median()];
            println!(
                "{head:18}{:>5}{:>7}{:>8}{:>9}{:>9}{:>9} |{:>7}{:>7}{:>7}",
                series.counted.len(),
                series.noisy.len(),
                series.failed,
                milliseconds(min),
                milliseconds(p25),
                milliseconds(median),
                ratio(row[0].min(), min),
                ratio(row[0].p25(), p25),
                ratio(row[0].median(), median),
            );
        }
    }
}

/// The words that warn of a busy machine.
fn note(busy: bool) -> &'static str {
    if busy { " - BUSY MACHINE, noisy samples counted" } else { "" }
}

/// Times of the single operations.
pub fn operations(contestants: &[Contestant], table: &mut [Vec<Series>]) {
    let title = "single operations, 20 ms idle before each";
    let series = table.iter_mut().map(std::mem::take).collect();
    let mut all = Columns { title: title.into(), names: OPERATIONS.map(String::from).to_vec(), table: series };
    columns(contestants, &mut all);
    table.iter_mut().zip(all.table).for_each(|(row, series)| *row = series);
}

/// A table of times: one column for each thing that is timed, one row for each runtime.
pub struct Columns {
    /// What it is about.
    pub title: String,
    /// What is timed.
    pub names: Vec<String>,
    /// By contestant, then by name; a contestant that can't be asked has an empty row.
    pub table: Vec<Vec<Series>>,
}

/// Prints such a table, with the first contestant's share of each time below it.
pub fn columns(contestants: &[Contestant], all: &mut Columns) {
    let busy = note(settle(all.table.iter_mut().flatten()));
    println!("\n{}{busy} (ms, min/median; below it {}'s share)", all.title, contestants[0].name);
    print!("{:10}", "");
    all.names.iter().for_each(|name| print!("{name:>14}"));
    println!();
    for (contestant, row) in contestants.iter().zip(&all.table).filter(|(_, row)| !row.is_empty()) {
        print!("{:10}", contestant.name);
        for series in row {
            let text = match series.failed > 0 && series.counted.is_empty() {
                true => "fails".to_string(),
                false => format!("{}/{}", milliseconds(series.min()), milliseconds(series.median())),
            };
            print!("{text:>14}");
        }
        print!("\n{:10}", "");
        for (ours, theirs) in all.table[0].iter().zip(row) {
            let shares = [ratio(ours.min(), theirs.min()), ratio(ours.median(), theirs.median())];
            print!("{:>14}", shares.join("/"));
        }
        println!();
    }
}

/// How many runs a second several workers get done.
pub fn rates(contestants: &[Contestant], rates: &[f64]) {
    println!(
        "\nrun by {} workers at once (runs a second, the best of three; how many times theirs ours are)",
        crate::more::WORKERS
    );
    for (contestant, rate) in contestants.iter().zip(rates) {
        println!("{:18}{rate:>9.1}{:>9}", contestant.name, ratio(Some(rates[0]), Some(*rate)));
    }
}

/// Adds those to the figures for programs.
pub fn with_more(
    json: String,
    contestants: &[Contestant],
    tables: &[Columns],
    rates: &[f64],
) -> Result<String, serde_json::Error> {
    let mut all: Value = serde_json::from_str(&json)?;
    for (who, contestant) in contestants.iter().enumerate() {
        let figures = &mut all[&contestant.name];
        figures["runs_per_second"] = json!(rates[who]);
        for table in tables {
            for (name, series) in table.names.iter().zip(&table.table[who]) {
                figures["more"][&table.title][name] = series_json(series);
            }
        }
    }
    Ok(format!("{all:#}\n"))
}

fn series_json(series: &Series) -> Value {
    json!({
        "samples": series.counted.len(), "noisy": series.noisy.len(), "failed": series.failed,
        "min_us": series.min(), "p25_us": series.p25(), "median_us": series.median(),
    })
}

/// Everything, for programs to read: contestant → measurement → figures.
pub fn json(
    contestants: &[Contestant],
    bundles: &Bundles,
    counts: &[Vec<Option<Counts>>],
    isolated: &[Vec<Series>],
    back_to_back: &[Vec<Series>],
    operations: &[Vec<Series>],
) -> String {
    let mut all = serde_json::Map::new();
    for (who, contestant) in contestants.iter().enumerate() {
        let mut run = serde_json::Map::new();
        for (what, bundle) in bundles.ending.iter().enumerate() {
            let counted = counts[what][who].map(|c| {
                json!({
                    "calls": c.calls, "execs": c.execs, "forks": c.forks, "threads": c.threads,
                    "runtime_peak_kib": c.host_kib, "init_peak_kib": c.init_kib,
                })
            });
            let figures = json!({
                "counts": counted,
                "isolated": series_json(&isolated[what][who]),
                "back_to_back": series_json(&back_to_back[what][who]),
            });
            run.insert(bundle.name.into(), figures);
        }
        let single = OPERATIONS.iter().zip(&operations[who]).filter(|_| contestant.is_runtime());
        let single: serde_json::Map<String, Value> =
            single.map(|(name, series)| (name.to_string(), series_json(series))).collect();
        let figures =
            json!({ "version": contestant.version, "bytes": contestant.bytes(), "run": run, "operations": single });
        all.insert(contestant.name.clone(), figures);
    }
    format!("{:#}\n", Value::Object(all))
}
