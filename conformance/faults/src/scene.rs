//! The verbs under test: what is there before, which words are run, and what must hold afterwards.

use std::time::Duration;

use serde_json::Value;

use crate::bundle::Bundles;
use crate::calls::is_foundation;
use crate::oracle::{self, Before};
use crate::sys;
use crate::trace::{End, Run, Tracer};

/// A verb in a situation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Create,
    Run,
    Start,
    Exec,
    Kill,
    Delete,
    ForceDelete,
    Pause,
    Resume,
    Update,
    State,
    List,
    Ps,
}

/// All of them, with the words of the command line.
pub const VERBS: [(&str, Verb); 13] = [
    ("create", Verb::Create),
    ("run", Verb::Run),
    ("start", Verb::Start),
    ("exec", Verb::Exec),
    ("kill", Verb::Kill),
    ("delete", Verb::Delete),
    ("delete-force", Verb::ForceDelete),
    ("pause", Verb::Pause),
    ("resume", Verb::Resume),
    ("update", Verb::Update),
    ("state", Verb::State),
    ("list", Verb::List),
    ("ps", Verb::Ps),
];

/// What stands when a verb begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stands {
    Nothing,
    Created,
    Running,
    Paused,
    Stopped,
}

/// The runtime, and what it is tried on.
pub struct Scene {
    pub tracer: Tracer,
    runtime: Vec<String>,
    bundles: Bundles,
    before: Before,
    stands: Stands,
    golden: Option<Value>,
    /// Where the plan says that the host's mount may take the place of a new one.
    or_hosts: Vec<String>,
}

impl Scene {
    pub fn new(tracer: Tracer, runtime: &str, bundles: Bundles) -> Scene {
        let before = Before::look(&bundles.base, &bundles.id);
        let root = bundles.base.join("state").display().to_string();
        let runtime = vec![runtime.to_owned(), "--root".into(), root];
        let mut scene =
            Scene { tracer, runtime, bundles, before, stands: Stands::Nothing, golden: None, or_hosts: Vec::new() };
        let plan = scene.tracer.plain("explain", &scene.command(&["explain", "--json", &scene.bundles.path("tell")]));
        // Runtimes that explain nothing get no allowance.
        let plan: Value = serde_json::from_str(&plan.output()).unwrap_or_default();
        let steps = plan["build"].as_array().into_iter().flatten().map(|step| &step["op"]["rootfs"]["mount"]);
        let named = steps.filter(|mount| mount["what"]["filesystem"]["or_hosts"].is_string());
        scene.or_hosts = named.filter_map(|mount| Some(mount["target"].as_str()?.to_owned())).collect();
        scene
    }

    /// The worker's own directory.
    pub fn base(&self) -> &std::path::Path {
        &self.bundles.base
    }

    /// The words of a command line, after those that are always the same.
    pub fn command(&self, words: &[&str]) -> Vec<String> {
        self.runtime.iter().cloned().chain(words.iter().map(|word| (*word).to_owned())).collect()
    }

    /// Runs a helping command, which must succeed.
    fn must(&mut self, name: &str, words: &[&str]) -> Result<Run, String> {
        let run = self.tracer.plain(name, &self.command(words));
        if run.success() { Ok(run) } else { Err(format!("{}: {}: {}", words[0], said(run.end), run.stderr.trim())) }
    }

    /// The container's id.
    pub fn id(&self) -> &str {
        &self.bundles.id
    }

    /// The words of the verb.
    pub fn words(&self, verb: Verb) -> Vec<String> {
        let id = self.id().to_owned();
        let (tell, pid) = (self.bundles.path("tell"), self.bundles.path("pid"));
        match verb {
            Verb::Create => self.command(&["create", "--bundle", &tell, "--pid-file", &pid, &id]),
            Verb::Run => self.command(&["run", "--bundle", &tell, &id]),
            Verb::Start => self.command(&["start", &id]),
            Verb::Exec => self.command(&["exec", &id, "/probe", "fingerprint"]),
            Verb::Kill => self.command(&["kill", &id, "KILL"]),
            Verb::Delete => self.command(&["delete", &id]),
            Verb::ForceDelete => self.command(&["delete", "--force", &id]),
            Verb::Pause => self.command(&["pause", &id]),
            Verb::Resume => self.command(&["resume", &id]),
            Verb::Update => self.command(&["update", "--pids-limit", "50", &id]),
            Verb::State => self.command(&["state", &id]),
            Verb::List => self.command(&["list", "--format", "json"]),
            Verb::Ps => self.command(&["ps", "--format", "json", &id]),
        }
    }

    /// Makes what must stand before the verb.
    pub fn set(&mut self, verb: Verb) -> Result<(), String> {
        let wanted = match verb {
            Verb::Create | Verb::Run => Stands::Nothing,
            Verb::Start => Stands::Created,
            Verb::Delete => Stands::Stopped,
            Verb::Resume => Stands::Paused,
            _ => Stands::Running,
        };
        if verb == Verb::Update && self.stands == Stands::Running {
            let id = self.id().to_owned();
            self.must("reset", &["update", "--pids-limit", "64", &id])?;
        }
        if wanted == self.stands && !matches!(verb, Verb::Create | Verb::Run) {
            return Ok(());
        }
        let (id, wait, tell) = (self.id().to_owned(), self.bundles.path("wait"), self.bundles.path("tell"));
        match (wanted, self.stands) {
            (Stands::Paused, Stands::Running) => _ = self.must("pause", &["pause", &id])?,
            (Stands::Running, Stands::Paused) => _ = self.must("resume", &["resume", &id])?,
            _ => {
                self.scrub()?;
                let bundle = if wanted == Stands::Created { &tell } else { &wait };
                if wanted != Stands::Nothing {
                    self.must("create", &["create", "--bundle", bundle, &id])?;
                }
                if !matches!(wanted, Stands::Nothing | Stands::Created) {
                    self.must("start", &["start", &id])?;
                }
                if wanted == Stands::Stopped {
                    self.must("kill", &["kill", &id, "KILL"])?;
                    self.tracer.all_gone(sys::patience());
                }
                if wanted == Stands::Paused {
                    self.must("pause", &["pause", &id])?;
                }
            }
        }
        self.stands = wanted;
        Ok(())
    }

    /// `delete --force`, after which nothing may be left.
    pub fn scrub(&mut self) -> Result<(), String> {
        let id = self.id().to_owned();
        let done = self.must("delete", &["delete", "--force", &id]);
        self.remove_pid_files();
        let left = self.nothing_left();
        self.stands = Stands::Nothing;
        match (done, left.is_empty()) {
            (Ok(_), true) => Ok(()),
            (Err(e), _) => Err(format!("afterwards {e}; left: {left:?}")),
            (Ok(_), false) => Err(format!("left after delete --force: {}", left.join(", "))),
        }
    }

    /// Takes away by force whatever is there.
    pub fn clean(&mut self) {
        self.before.clean();
        self.tracer.all_gone(sys::patience());
        self.before.clean();
        self.stands = Stands::Nothing;
    }

    /// What is left now. The kernel gets a moment for those that it has been told to end.
    pub fn nothing_left(&mut self) -> Vec<String> {
        let mut left = Vec::new();
        if !self.tracer.all_gone(sys::patience() / 4) {
            left.extend(sys::descendants().into_iter().map(|pid| format!("process {pid}")));
        }
        left.extend(self.before.left());
        left
    }

    /// The pid file is the caller's to remove; so is what a runtime that was killed has left of writing it.
    fn remove_pid_files(&self) {
        for entry in std::fs::read_dir(&self.bundles.base).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name == "pid" || name == ".pid" || name.starts_with(".pid.") {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }

    /// An unfaulted run of the verb: what it must print, and how many calls its processes make.
    pub fn golden(&mut self, verb: Verb) -> Result<std::collections::BTreeMap<String, u32>, String> {
        self.golden = None;
        for _ in 0..2 {
            self.set(verb)?;
            let run = self.tracer.count("traced", &self.words(verb));
            if !run.success() {
                return Err(format!("unfaulted: {}: {}", said(run.end), run.stderr));
            }
            let calls = run.calls.clone();
            let problems = self.judge(verb, &run, false);
            if !problems.is_empty() {
                return Err(format!("unfaulted: {}", problems.join("; ")));
            }
            if verb != Verb::Create && verb != Verb::Start {
                self.golden = Some(self.answer(verb, &run)?);
                return Ok(calls);
            }
            if self.golden.is_some() {
                return Ok(calls);
            }
        }
        Err("no golden answer".into())
    }

    /// What a verb, or the payload that it let run, has said.
    fn answer(&self, verb: Verb, run: &Run) -> Result<Value, String> {
        match verb {
            Verb::Run | Verb::Exec => oracle::fingerprint(&run.output()),
            Verb::State | Verb::List => serde_json::from_str(&run.output()).map(stable).map_err(|e| e.to_string()),
            Verb::Ps => {
                serde_json::from_str::<Vec<i32>>(&run.output()).map(|l| l.len().into()).map_err(|e| e.to_string())
            }
            _ => Ok(Value::Null),
        }
    }

    /// What may come out differently though nothing fails open, because the plan says so: who may not make a device binds the
    /// host's in its place; the host's sysfs may take the place of a new one; a nice value that can't be taken back
    /// stays the caller's.
    fn allowed(&self, fired: &str, want: &Value, got: &Value) -> bool {
        let below = |path: &str, top: &str| path.strip_prefix(top).is_some_and(|r| r.is_empty() || r.starts_with('/'));
        match fired {
            "mknodat" => oracle::other_mounts_only(want, got, &|target| target.starts_with("/dev/")),
            "fsopen" | "fsconfig" | "fsmount" => {
                oracle::other_mounts_only(want, got, &|target| self.or_hosts.iter().any(|top| below(target, top)))
            }
            "sched_setattr" => {
                let names = oracle::difference(want, got);
                names.iter().all(|what| what.starts_with("nice: ") || what.starts_with("sched: "))
                    && got["nice"] == sys::nice()
                    && sys::nice() != 0
            }
            _ => false,
        }
    }

    fn compare(&mut self, fired: Option<&str>, got: Result<Value, String>) -> Vec<String> {
        match got {
            Err(e) => vec![format!("it said success, but its answer is none: {e}")],
            Ok(got) => match &self.golden {
                None => {
                    self.golden = Some(got);
                    Vec::new()
                }
                Some(want) if *want != got && !fired.is_some_and(|fired| self.allowed(fired, want, &got)) => {
                    let where_ = oracle::difference(want, &got);
                    vec![format!("FAIL-OPEN: it said success, but: {:.600}", where_.join("; "))]
                }
                Some(_) => Vec::new(),
            },
        }
    }

    /// What is wrong after a run. `killed`: somebody was killed on purpose.
    pub fn judge(&mut self, verb: Verb, run: &Run, killed: bool) -> Vec<String> {
        let mut problems = Vec::new();
        // Before `main` the standard library has no other way.
        let before_main = run.fired.as_deref().is_some_and(is_foundation) && run.stderr.contains("panicked at /rustc/");
        if run.stderr.contains("panicked at") && !before_main {
            problems.push(format!("panic: {:.300}", run.stderr.replace('\n', " ")));
        }
        let dead = killed && run.end == End::Signal(libc::SIGKILL);
        match run.end {
            End::Hung => problems.push("it hangs".into()),
            End::Signal(signal) if !dead && signal != libc::SIGABRT && signal != libc::SIGSEGV => {
                problems.push(format!("ended by signal {signal}"));
            }
            _ => {}
        }
        if run.success() {
            problems.extend(self.after_success(verb, run, killed));
        } else if matches!(run.end, End::Code(_)) {
            problems.extend(self.after_failure(verb, run));
        } else {
            problems.extend(self.after_death(verb));
        }
        problems
    }

    fn after_success(&mut self, verb: Verb, run: &Run, killed: bool) -> Vec<String> {
        let id = self.id().to_owned();
        match verb {
            Verb::Create | Verb::Start => {
                if verb == Verb::Create
                    && let Err(e) = self.must("start", &["start", &id])
                {
                    // An init that was killed a moment after it was ready is nobody's fault.
                    let killed = killed && e.contains("stopped");
                    let said = (!killed).then(|| format!("it said success, but {e}"));
                    return said.into_iter().chain(self.scrub().err()).collect();
                }
                // The payload's output is that of who created it.
                if !self.tracer.all_gone(sys::patience()) {
                    return vec!["the payload doesn't end".into()];
                }
                let told = self.bundles.base.join("output").join(if verb == Verb::Create {
                    "traced.out"
                } else {
                    "create.out"
                });
                let told = std::fs::read_to_string(told).unwrap_or_default();
                let mut problems = self.compare(run.fired.as_deref(), oracle::fingerprint(&told));
                problems.extend(self.scrub().err());
                problems
            }
            Verb::Run => {
                let mut problems = self.compare(run.fired.as_deref(), self.answer(verb, run));
                problems.extend(self.nothing_left().iter().map(|what| format!("left: {what}")));
                problems
            }
            Verb::Delete | Verb::ForceDelete => {
                self.stands = Stands::Nothing;
                self.nothing_left().iter().map(|what| format!("left: {what}")).collect()
            }
            Verb::Kill => {
                self.stands = Stands::Stopped;
                let gone = self.tracer.all_gone(sys::patience());
                if gone { Vec::new() } else { vec!["it said success, but init lives".into()] }
            }
            Verb::Pause => {
                self.stands = Stands::Paused;
                if self.before.frozen() { Vec::new() } else { vec!["it said success, but nothing is frozen".into()] }
            }
            Verb::Resume => {
                self.stands = Stands::Running;
                if self.before.frozen() { vec!["it said success, but it is frozen".into()] } else { Vec::new() }
            }
            Verb::Update => match self.before.control("pids.max") {
                Some(limit) if limit == "50" => Vec::new(),
                other => vec![format!("it said success, but the limit is {other:?}")],
            },
            Verb::Exec | Verb::State | Verb::List | Verb::Ps => {
                // `list` tells of those it can't read, and goes on.
                let warned = verb == Verb::List && run.stderr.contains("warning");
                let mut problems = match self.golden.is_some() && !warned {
                    true => self.compare(run.fired.as_deref(), self.answer(verb, run)),
                    false => Vec::new(),
                };
                problems.extend(self.still_well(verb));
                problems
            }
        }
    }

    /// After a failure nothing may be left of what was to be made, and what was there must be as it was.
    fn after_failure(&mut self, verb: Verb, run: &Run) -> Vec<String> {
        match verb {
            // The workload has run; that its remains couldn't be removed is said, and `delete --force` can do it later.
            Verb::Run if run.output().contains("\"argv\"") => self.scrub().err().into_iter().collect(),
            Verb::Create | Verb::Run => {
                let left = self.nothing_left();
                if left.is_empty() { Vec::new() } else { vec![format!("failed, and left: {}", left.join(", "))] }
            }
            Verb::Start | Verb::Kill | Verb::Delete | Verb::ForceDelete => self.scrub().err().into_iter().collect(),
            Verb::Pause if self.before.frozen() => vec!["pause failed, and the container is frozen".into()],
            Verb::Resume => {
                self.stands = if self.before.frozen() { Stands::Paused } else { Stands::Running };
                Vec::new()
            }
            Verb::Pause | Verb::Update | Verb::Exec | Verb::State | Verb::List | Verb::Ps => self.still_well(verb),
        }
    }

    /// The runtime was killed: what it has begun can be cleaned, and nothing runs that isn't recorded.
    fn after_death(&mut self, verb: Verb) -> Vec<String> {
        match verb {
            Verb::Exec | Verb::State | Verb::List | Verb::Ps | Verb::Update => self.still_well(verb),
            Verb::Create | Verb::Run => {
                let mut problems = self.orphan();
                problems.extend(self.scrub().err());
                problems
            }
            _ => self.scrub().err().into_iter().collect(),
        }
    }

    /// A process that lives on without its creator must be one that the record knows as created.
    fn orphan(&mut self) -> Vec<String> {
        let id = self.id().to_owned();
        let state = self.tracer.plain("state", &self.command(&["state", &id]));
        let known = ["\"created\"", "\"running\"", "\"stopped\""].iter().any(|word| state.output().contains(word));
        if !known && !self.tracer.all_gone(Duration::from_secs(1)) {
            return vec![format!("lives on without its creator: {:?}", sys::descendants())];
        }
        Vec::new()
    }

    /// The container runs, alone and unfrozen.
    fn still_well(&mut self, verb: Verb) -> Vec<String> {
        let end = std::time::Instant::now() + sys::patience();
        loop {
            let inside = self.before.inside();
            if inside.len() == 1 && !self.before.frozen() {
                self.stands = Stands::Running;
                return Vec::new();
            }
            if std::time::Instant::now() > end {
                return vec![format!("after {verb:?} the container holds {inside:?}, frozen {}", self.before.frozen())];
            }
            self.tracer.all_gone(Duration::from_millis(5));
        }
    }
}

/// A state document less the date, the pid, and the owner's name (which is a nicety: a number will do).
fn stable(mut value: Value) -> Value {
    let parts: Vec<&mut Value> = match &mut value {
        Value::Array(list) => list.iter_mut().collect(),
        other => vec![other],
    };
    for part in parts {
        part["created"] = Value::Null;
        part["pid"] = Value::Null;
        part["owner"] = Value::Null;
    }
    value
}

fn said(end: End) -> String {
    match end {
        End::Code(code) => format!("exit status {code}"),
        End::Signal(signal) => format!("signal {signal}"),
        End::Hung => "it hangs".into(),
    }
}
