//! Every point of a verb's run times every deed, in a random order that the seed decides, as long as there is time.

use std::time::{Duration, Instant};

use crate::calls::ERRNOS;
use crate::oracle;
use crate::scene::{Scene, VERBS, Verb};
use crate::trace::{Deed, Point};

/// What is swept.
pub struct Sweep {
    pub verbs: Vec<String>,
    /// Names of errnos, and `KILL`.
    pub deeds: Vec<String>,
    pub seconds: Option<u64>,
    pub seed: u64,
    pub slice: (usize, usize),
    /// Only this point.
    pub only: Option<Point>,
}

/// Counts of a verb's trials.
#[derive(Default)]
pub struct Tally {
    pub passed: usize,
    pub failed: usize,
    pub missed: usize,
    pub all: usize,
}

impl Tally {
    /// Adds another's counts.
    pub fn add(&mut self, other: &Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.missed += other.missed;
        self.all += other.all;
    }
}

impl Sweep {
    /// Sweeps, prints failures and one line for each verb.
    pub fn run(&self, scene: &mut Scene) -> Tally {
        let mut total = Tally::default();
        let share = self.seconds.map(|seconds| Duration::from_secs(seconds) / self.verbs.len() as u32);
        for name in &self.verbs {
            let begun = Instant::now();
            let verb = VERBS.iter().find(|(word, _)| word == name).expect("a verb").1;
            let tally = self.verb(scene, name, verb, share.map(|share| begun + share));
            println!(
                "{name}: {} of {} trials, {} failed, {} not reached, {} s",
                tally.passed + tally.failed + tally.missed,
                tally.all,
                tally.failed,
                tally.missed,
                begun.elapsed().as_secs(),
            );
            total.add(&tally);
        }
        total
    }

    fn verb(&self, scene: &mut Scene, name: &str, verb: Verb, until: Option<Instant>) -> Tally {
        let mut tally = Tally::default();
        let calls = match scene.golden(verb) {
            Ok(calls) => calls,
            Err(e) => {
                println!("FAILED {name}: {e}");
                scene.clean();
                return Tally { failed: 1, all: 1, ..tally };
            }
        };
        let trials = self.trials(&calls.into_iter().collect::<Vec<_>>(), &self.deeds);
        tally.all = trials.len();
        for (point, deed) in trials {
            if until.is_some_and(|until| Instant::now() > until) {
                break;
            }
            match trial(scene, verb, &point, &deed) {
                Ok(true) => tally.passed += 1,
                Ok(false) => tally.missed += 1,
                Err(why) => {
                    tally.failed += 1;
                    println!("FAILED {name} {}#{} {deed} {why}", point.role, point.call);
                }
            }
        }
        if let Err(e) = scene.scrub() {
            tally.failed += 1;
            println!("FAILED {name}: at the end: {e}");
            scene.clean();
        }
        tally
    }

    /// This worker's share of all points times all deeds, shuffled.
    pub fn trials(&self, calls: &[(String, u32)], deeds: &[String]) -> Vec<(Point, String)> {
        let mut trials = Vec::new();
        for (role, count) in calls {
            for call in 1..=*count {
                let point = Point { role: role.clone(), call };
                if self.only.as_ref().is_none_or(|only| *only == point) {
                    trials.extend(deeds.iter().map(|deed| (point.clone(), deed.clone())));
                }
            }
        }
        shuffle(&mut trials, self.seed);
        let (index, of) = self.slice;
        trials.into_iter().skip(index).step_by(of).collect()
    }
}

/// One trial. Ok(false): the run didn't come to the point.
fn trial(scene: &mut Scene, verb: Verb, point: &Point, deed: &str) -> Result<bool, String> {
    if let Err(e) = scene.set(verb) {
        scene.clean();
        scene.set(verb).map_err(|again| format!("set up: {e}; again: {again}"))?;
    }
    let words = scene.words(verb);
    let action = match ERRNOS.iter().find(|(name, _)| *name == deed) {
        Some((_, errno)) => Deed::Fail(*errno),
        None => Deed::Kill,
    };
    let killed = matches!(action, Deed::Kill);
    let run = scene.tracer.at("traced", &words, point, action);
    let problems = scene.judge(verb, &run, killed);
    let call = run.fired.clone().unwrap_or_else(|| "not reached".into());
    if problems.is_empty() {
        return Ok(run.fired.is_some());
    }
    scene.clean();
    let said = run.stderr.trim().lines().last().unwrap_or_default().to_owned();
    Err(format!("{call}: {} [it said: {said:.200}]", problems.join("; ")))
}

/// Fisher and Yates, with splitmix64.
fn shuffle<T>(list: &mut [T], seed: u64) {
    let mut state = seed;
    for at in (1..list.len()).rev() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        list.swap(at, ((mixed ^ (mixed >> 31)) % (at as u64 + 1)) as usize);
    }
}

/// The oracles must go red on what is planted, or their green means nothing.
pub fn selftest() -> Vec<&'static str> {
    use serde_json::{Value, json};
    let (one, other) = (json!({"caps": [], "uid": 0}), json!({"caps": ["CAP_SYS_ADMIN"], "uid": 0}));
    let mut red = Vec::new();
    if oracle::difference(&one, &one) != Vec::<String>::new() || oracle::difference(&one, &other).len() != 1 {
        red.push("a planted capability is not seen");
    }
    let mount = |target: &str, options: &[&str]| json!({"target": target, "options": options});
    let with = |below: &[Value]| json!({"uid": 0, "mounts": below});
    let (made, hosts) = (with(&[mount("/sys", &["ro", "nosuid"])]), |flags: &[&str]| {
        with(&[mount("/sys", &["ro", "nosuid"]), mount("/sys/fs", flags)])
    });
    let may = |target: &str| target.starts_with("/sys");
    if !oracle::other_mounts_only(&made, &hosts(&["ro", "nosuid", "nodev"]), &may) {
        red.push("a mount that the plan has is not accepted");
    }
    let elsewhere = with(&[mount("/sys", &["ro", "nosuid"]), mount("/mnt", &["ro", "nosuid"])]);
    if [hosts(&["nosuid"]), elsewhere, one].iter().any(|got| oracle::other_mounts_only(&made, got, &may)) {
        red.push("a planted mount is not seen");
    }
    red
}
