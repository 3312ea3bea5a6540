//! `rt-faults`: fails or kills a container runtime at each system call of its verbs, and holds what it leaves, says and
//! lets run against oracles. See README.md for what the figures mean.

mod bundle;
mod calls;
mod oracle;
mod scene;
mod step;
mod sweep;
mod sys;
mod trace;
mod watch;

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use bundle::Bundles;
use scene::{Scene, VERBS};
use sweep::Sweep;
use trace::{Point, Tracer};

const USAGE: &str = "usage: rt-faults --runtime PATH --probe PATH [--verbs A,B] [--deeds EIO,…,KILL] [--rich | --steps] \
                     [--seconds N] [--seed N] [--jobs N] [--only ROLE#N]";

/// The command line.
struct Options {
    runtime: String,
    probe: PathBuf,
    rich: bool,
    steps: bool,
    hidden: bool,
    jobs: usize,
    sweep: Sweep,
    slice: bool,
}

impl Options {
    fn parse(words: impl Iterator<Item = String>) -> Result<Options, Box<dyn Error>> {
        let all = calls::ERRNOS.iter().map(|(name, _)| (*name).to_owned());
        let sweep = Sweep {
            verbs: VERBS.iter().map(|(name, _)| (*name).to_owned()).collect(),
            deeds: all.chain(["KILL".to_owned()]).collect(),
            seconds: None,
            seed: 1,
            slice: (0, 1),
            only: None,
        };
        let (runtime, probe) = (String::new(), PathBuf::new());
        let mut options =
            Options { runtime, probe, rich: false, steps: false, hidden: false, jobs: 2, sweep, slice: false };
        let mut words = words;
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value\n{USAGE}"));
            let list = |text: String| text.split(',').map(str::to_owned).collect();
            match word.as_str() {
                "--runtime" => options.runtime = value()?,
                "--probe" => options.probe = fs::canonicalize(value()?)?,
                "--verbs" => options.sweep.verbs = list(value()?),
                "--deeds" => options.sweep.deeds = list(value()?),
                "--rich" => options.rich = true,
                "--steps" => options.steps = true,
                "--hidden" => options.hidden = true,
                "--seconds" => options.sweep.seconds = Some(value()?.parse()?),
                "--seed" => options.sweep.seed = value()?.parse()?,
                "--jobs" => options.jobs = value()?.parse()?,
                "--only" => options.sweep.only = Some(point(&value()?)?),
                "--slice" => {
                    options.sweep.slice = (value()?.parse()?, options.jobs);
                    options.slice = true;
                }
                _ => return Err(format!("{word}: unknown\n{USAGE}").into()),
            }
        }
        let verbs = options.sweep.verbs.iter();
        if let Some(unknown) = verbs.clone().find(|name| !VERBS.iter().any(|(word, _)| word == name)) {
            return Err(format!("{unknown}: no such verb").into());
        }
        match options.runtime.is_empty() || options.probe.as_os_str().is_empty() {
            true => Err(USAGE.into()),
            false => Ok(options),
        }
    }
}

fn point(text: &str) -> Result<Point, Box<dyn Error>> {
    let (role, call) = text.split_once('#').ok_or("a point is ROLE#N, as h.1#23")?;
    Ok(Point { role: role.to_owned(), call: call.parse()? })
}

/// Starts the workers, passes on what they print, adds up.
fn lead(words: &[String], jobs: usize) -> Result<(usize, usize), Box<dyn Error>> {
    let red = sweep::selftest();
    red.iter().for_each(|what| println!("FAILED selftest: {what}"));
    let mut workers = Vec::new();
    for index in 0..jobs {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(words).args(["--jobs", &jobs.to_string(), "--slice", &index.to_string()]);
        workers.push(command.stdout(Stdio::piped()).spawn()?);
    }
    let (mut passed, mut failed) = (0, red.len());
    let mut readers = Vec::new();
    for worker in &mut workers {
        let output = worker.stdout.take().ok_or("no output")?;
        readers.push(std::thread::spawn(move || {
            let mut sum = None;
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                match line.strip_prefix("sum ").and_then(|rest| rest.split_once(' ')) {
                    Some((p, f)) => sum = Some((p.parse().unwrap_or(0), f.parse().unwrap_or(1))),
                    None => println!("{line}"),
                }
            }
            sum
        }));
    }
    for reader in readers {
        let (p, f): (usize, usize) = reader.join().map_err(|_| "a reader died")?.unwrap_or((0, 1));
        passed += p;
        failed += f;
    }
    for mut worker in workers {
        worker.wait()?;
    }
    Ok((passed, failed))
}

/// One worker: its own directory, mounts, network devices, processor, id. What others do on the machine is not seen.
fn work(options: &Options) -> Result<(), Box<dyn Error>> {
    let (index, _) = options.sweep.slice;
    let id = format!("rtf-{}-{index}", std::process::id());
    let base = PathBuf::from(format!("/run/{id}"));
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    fs::create_dir(&base)?;
    if options.hidden {
        hide_controllers(&base)?;
    }
    let bundles = Bundles::make(&base, &id, &options.probe, options.rich)?;
    sys::stay_on(index % std::thread::available_parallelism()?.get());
    let tracer = Tracer::new(&bundles.probe, &base.join("output"))?;
    let mut scene = Scene::new(tracer, &options.runtime, bundles);
    let tally = match options.steps {
        true => step::run(&options.sweep, &mut scene)?,
        false => options.sweep.run(&mut scene),
    };
    println!("sum {} {}", tally.passed, tally.failed);
    fs::remove_dir_all(&base)?;
    Ok(())
}

/// crun refuses a host that has both cgroup v1 hierarchies and controllers on cgroup2.
fn hide_controllers(base: &Path) -> Result<(), Box<dyn Error>> {
    let gate = "/sys/fs/cgroup/unified/cgroup.controllers";
    let empty = base.join("empty");
    fs::write(&empty, "")?;
    mount(Some(&empty), gate, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    Ok(())
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let outcome = Options::parse(words.iter().cloned()).and_then(|options| match options.slice {
        true => work(&options).map(|()| None),
        false => lead(&words, options.jobs).map(Some),
    });
    match outcome {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some((passed, failed))) => {
            println!("{passed} passed, {failed} failed");
            if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("rt-faults: {error}");
            ExitCode::from(2)
        }
    }
}
