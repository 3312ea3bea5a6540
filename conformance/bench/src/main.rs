//! `rt-bench`: times container runtimes side by side on one bundle, and counts what they do. The first `--runtime` is
//! the one that is compared with the others. See README.md for what the figures mean.

mod budget;
mod clock;
mod contest;
mod count;
mod more;
mod report;
mod sleepers;
mod space;
mod stats;
mod sys;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use nix::mount::{MntFlags, umount2};

use clock::{Clock, Outcome, wait_for_orphan};
use contest::{Bundle, Bundles, Contestant};
use count::{Counts, Scope};
use space::Spaces;
use stats::Series;

/// The operations on one container, in this order.
pub const OPERATIONS: [&str; 7] = ["create", "start", "state", "exec", "kill", "delete", "delete -f"];
/// Runs of one command in a row, of which the first doesn't count: it would get a wait of the command before it.
const BURST: usize = 12;

/// The command line.
struct Options {
    runtimes: Vec<String>,
    tools: PathBuf,
    isolated: usize,
    back_to_back: usize,
    operations: usize,
    json: Option<PathBuf>,
    budget: Option<PathBuf>,
    population: usize,
}

const USAGE: &str = "usage: rt-bench --tools DIR --runtime [NAME=]PATH... [--isolated N] [--back-to-back N] \
                     [--operations N] [--population N] [--json FILE] | --budget FILE";

impl Options {
    fn parse(words: impl Iterator<Item = String>) -> Result<Options, Box<dyn Error>> {
        let mut options = Options {
            runtimes: Vec::new(),
            tools: PathBuf::new(),
            isolated: 40,
            back_to_back: 96,
            operations: 25,
            json: None,
            budget: None,
            population: 0,
        };
        let mut words = words;
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value\n{USAGE}"));
            match word.as_str() {
                "--runtime" => options.runtimes.push(value()?),
                "--tools" => options.tools = value()?.into(),
                "--isolated" => options.isolated = value()?.parse()?,
                "--back-to-back" => options.back_to_back = value()?.parse()?,
                "--operations" => options.operations = value()?.parse()?,
                "--json" => options.json = Some(value()?.into()),
                "--population" => options.population = value()?.parse()?,
                "--budget" => options.budget = Some(value()?.into()),
                _ => return Err(format!("{word}: unknown\n{USAGE}").into()),
            }
        }
        match options.runtimes.is_empty() || options.tools.as_os_str().is_empty() {
            true => Err(USAGE.into()),
            false => Ok(options),
        }
    }
}

/// Everything a measurement needs.
struct Bench {
    contestants: Vec<Contestant>,
    bundles: Bundles,
    spaces: Spaces,
    clock: Clock,
    ids: usize,
}

impl Bench {
    fn id(&mut self) -> String {
        self.ids += 1;
        format!("bench-{}-{}", std::process::id(), self.ids)
    }

    /// Times one `run` after this much idle time.
    fn sample(&mut self, who: usize, what: usize, idle: u64, series: &mut Series) -> Result<(), Box<dyn Error>> {
        let id = self.id();
        let contestant = &self.contestants[who];
        let words = contestant.run(&self.bundles.ending[what], &id);
        self.spaces.enter(contestant.hidden)?;
        sleep(Duration::from_millis(idle));
        match self.clock.time(&words)? {
            Outcome::Took(us) => series.quiet.push(us),
            Outcome::Noisy(us) => series.noisy.push(us),
            Outcome::Failed => {
                series.failed += 1;
                if contestant.is_runtime() {
                    // Whatever it left; there may be nothing.
                    let _ = self.clock.run(&contestant.words(&["delete", "--force", &id]));
                }
            }
        }
        Ok(())
    }

    /// `run` of each bundle by each contestant in turn, with idle time before each: what a person or a kubelet sees.
    fn isolated(&mut self, samples: usize) -> Result<Vec<Vec<Series>>, Box<dyn Error>> {
        let mut table = self.empty_table();
        for _ in 0..samples * 2 {
            for (what, row) in table.iter_mut().enumerate() {
                for (who, series) in row.iter_mut().enumerate().filter(|(_, series)| series.quiet.len() < samples) {
                    self.sample(who, what, 40, series)?;
                }
            }
        }
        Ok(table)
    }

    /// `run` in bursts of the same command, no idle time: what a batch of jobs sees.
    fn back_to_back(&mut self, samples: usize) -> Result<Vec<Vec<Series>>, Box<dyn Error>> {
        let mut table = self.empty_table();
        for _ in 0..(samples * 2).div_ceil(BURST) {
            for (what, row) in table.iter_mut().enumerate() {
                for (who, series) in row.iter_mut().enumerate().filter(|(_, series)| series.quiet.len() < samples) {
                    self.sample(who, what, 0, &mut Series::default())?;
                    for _ in 0..BURST {
                        self.sample(who, what, 0, series)?;
                    }
                }
            }
        }
        Ok(table)
    }

    /// One series for each bundle and contestant.
    fn empty_table(&self) -> Vec<Vec<Series>> {
        let row = || self.contestants.iter().map(|_| Series::default()).collect();
        self.bundles.ending.iter().map(|_| row()).collect()
    }

    /// The single operations on a container that waits: for each runtime, one series an operation.
    fn operations(&mut self, samples: usize) -> Result<Vec<Vec<Series>>, Box<dyn Error>> {
        let row = || OPERATIONS.iter().map(|_| Series::default()).collect();
        let mut table: Vec<Vec<Series>> = self.contestants.iter().map(|_| row()).collect();
        for _ in 0..samples {
            for (who, row) in table.iter_mut().enumerate() {
                if self.contestants[who].is_runtime() {
                    self.lifecycle(who, row)?;
                }
            }
        }
        Ok(table)
    }

    /// One container's life, every operation timed after 20 ms of idle time.
    fn lifecycle(&mut self, who: usize, row: &mut [Series]) -> Result<(), Box<dyn Error>> {
        let id = self.id();
        let contestant = &self.contestants[who];
        let Bundle { dir, .. } = &self.bundles.waiting;
        let (dir, pid_file) = (dir.display().to_string(), dir.join("pid").display().to_string());
        self.spaces.enter(contestant.hidden)?;
        let mut deleted = false;
        for (operation, series) in OPERATIONS.iter().zip(row) {
            if *operation == "delete -f" {
                // Of one that lives.
                deleted = false;
                let made = self.clock.run(&contestant.words(&["create", "--bundle", &dir, &id]));
                if made.and_then(|()| self.clock.run(&contestant.words(&["start", &id]))).is_err() {
                    series.failed += 1;
                    continue;
                }
            }
            let words = contestant.words(&match *operation {
                "delete -f" => vec!["delete", "--force", &id],
                "create" => vec!["create", "--bundle", &dir, "--pid-file", &pid_file, &id],
                "exec" => vec!["exec", &id, "/bin/payload"],
                "kill" => vec!["kill", &id, "KILL"],
                other => vec![other, &id],
            });
            sleep(Duration::from_millis(20));
            let outcome = self.clock.time(&words)?;
            deleted = operation.starts_with("delete") && !matches!(outcome, Outcome::Failed);
            match outcome {
                Outcome::Took(us) => series.quiet.push(us),
                Outcome::Noisy(us) => series.noisy.push(us),
                Outcome::Failed => series.failed += 1,
            }
            if *operation == "kill" {
                // `delete` is for a container whose process has ended, not for one that is still ending.
                if let Ok(pid) = fs::read_to_string(&pid_file).unwrap_or_default().parse() {
                    wait_for_orphan(pid);
                }
            }
        }
        if !deleted {
            // Whatever it left; there may be nothing.
            let _ = self.clock.run(&contestant.words(&["delete", "--force", &id]));
        }
        Ok(())
    }

    /// What one `run` of each bundle does: the median of three traced runs, by number of calls.
    fn counts(&mut self) -> Result<Vec<Vec<Option<Counts>>>, Box<dyn Error>> {
        let mut table = Vec::new();
        for what in 0..self.bundles.ending.len() {
            let mut row = Vec::new();
            for who in 0..self.contestants.len() {
                let mut runs = Vec::new();
                for _ in 0..3 {
                    let id = self.id();
                    self.spaces.enter(self.contestants[who].hidden)?;
                    runs.extend(count::count(
                        &self.contestants[who].run(&self.bundles.ending[what], &id),
                        Scope::Family,
                    )?);
                }
                runs.sort_by_key(|counts| counts.calls);
                row.push(runs.get(runs.len() / 2).copied());
            }
            table.push(row);
        }
        Ok(table)
    }

    /// One untimed run of each bundle. A contestant that can't do that is out, with its reason; is the first one?
    fn qualify(&mut self) -> Result<bool, Box<dyn Error>> {
        let mut out = Vec::new();
        for who in 0..self.contestants.len() {
            for what in 0..self.bundles.ending.len() {
                let id = self.id();
                let (contestant, bundle) = (&self.contestants[who], &self.bundles.ending[what]);
                self.spaces.enter(contestant.hidden)?;
                if let Err(text) = self.clock.run(&contestant.run(bundle, &id)) {
                    println!("{} is left out, it can't run the {} bundle: {text}", contestant.name, bundle.name);
                    out.push(who);
                    break;
                }
            }
        }
        let first = !out.contains(&0);
        for who in out.into_iter().rev() {
            self.contestants.remove(who);
        }
        Ok(first)
    }
}

/// Prepares, measures, prints. False if the first runtime could not be measured, or failed now and then.
fn bench(options: &Options, work: &Path, state: &Path) -> Result<bool, Box<dyn Error>> {
    let mut contestants = Vec::new();
    for given in &options.runtimes {
        contestants.push(Contestant::runtime(given, state)?);
    }
    // runc's default configuration is the one that everyone means; without runc, the first runtime's own.
    let author =
        contestants.iter().find(|contestant| contestant.version.starts_with("runc")).unwrap_or(&contestants[0]);
    let bundles = Bundles::prepare(work, &options.tools, &author.path)?;
    contestants.extend(Contestant::floor(&options.tools.join("floor")));
    let spaces = Spaces::new(&work.join("no-controllers"), state)?;
    let mut bench = Bench { contestants, bundles, spaces, clock: Clock::new()?, ids: 0 };

    report::conditions(&bench.contestants, bench.clock.sees_pressure());
    if !bench.qualify()? {
        return Ok(false);
    }
    if let Some(file) = &options.budget {
        return budget::check(file, &mut bench);
    }
    let counts = bench.counts()?;
    report::counts(&bench.contestants, &bench.bundles, &counts);
    let mut isolated = bench.isolated(options.isolated)?;
    report::runs("run, isolated: 40 ms idle before each", &bench.contestants, &bench.bundles, &mut isolated);
    let mut back_to_back = bench.back_to_back(options.back_to_back)?;
    report::runs(
        "run, back to back: bursts of the same command",
        &bench.contestants,
        &bench.bundles,
        &mut back_to_back,
    );
    let mut operations = bench.operations(options.operations)?;
    report::operations(&bench.contestants, &mut operations);
    let mut more = more::questions(&mut bench, options.isolated, options.population)?;
    more.iter_mut().for_each(|table| report::columns(&bench.contestants, table));
    let rates = more::parallel(&mut bench)?;
    report::rates(&bench.contestants, &rates);
    if let Some(path) = &options.json {
        let json = report::json(&bench.contestants, &bench.bundles, &counts, &isolated, &back_to_back, &operations);
        let json = report::with_more(json, &bench.contestants, &more, &rates)?;
        fs::write(path, json)?;
        println!("\nwritten: {}", path.display());
    }
    let failed = isolated.iter().chain(&back_to_back).map(|row| row[0].failed).sum::<usize>();
    if failed > 0 {
        println!("\n{} failed {failed} of its runs", bench.contestants[0].name);
    }
    Ok(failed == 0)
}

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    if let (Some(sleepers::ARGUMENT), Some(threads)) = (words.next().as_deref(), words.next()) {
        return if sleepers::sleep(&threads).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let outcome = Options::parse(std::env::args().skip(1)).and_then(|options| {
        // Paths on the command line are relative to where we are; entering a mount namespace changes that.
        let options = Options {
            tools: std::path::absolute(&options.tools)?,
            json: options.json.map(std::path::absolute).transpose()?,
            budget: options.budget.map(std::path::absolute).transpose()?,
            ..options
        };
        let work = PathBuf::from(format!("/var/tmp/rt-bench.{}", std::process::id()));
        let state = PathBuf::from(format!("/run/rt-bench.{}", std::process::id()));
        fs::create_dir(&work)?;
        fs::create_dir(&state)?;
        let outcome = bench(&options, &work, &state);
        clock::forget_output();
        // Only a mount of ours: none, if it did not come so far.
        let _ = umount2(&state, MntFlags::MNT_DETACH);
        fs::remove_dir_all(&state)?;
        fs::remove_dir_all(&work)?;
        outcome
    });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("rt-bench: {error}");
            ExitCode::from(2)
        }
    }
}
