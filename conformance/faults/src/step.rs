//! Step mode: an attacker acts once, before each of the runtime's system calls in turn. So every window is tried, and none
//! of it is luck. The attacker owns the image: at the point a directory or file in it changes places with a link that leads
//! to a canary of the host. `run` is stepped through, for it does what create, start and delete do. Nothing of the canary may be opened,
//! changed or mounted in the container.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::scene::Scene;
use crate::sweep::{Sweep, Tally};
use crate::trace::{Deed, End, Point, Run};
use crate::watch::Watch;

/// What changes places with a link, where the link leads, and whether the image's own /dev is used.
struct Attack {
    name: &'static str,
    path: &'static str,
    to: &'static str,
    bare: bool,
}

const fn attack(name: &'static str, path: &'static str, to: &'static str) -> Attack {
    Attack { name, path, to, bare: false }
}

const ATTACKS: [Attack; 10] = [
    attack("target", "vol/a", ""),
    attack("dev", "dev", "dev"),
    attack("proc", "proc", ""),
    attack("mask", "etc/hidden", "secret"),
    attack("readonly", "etc/kept", "sub"),
    attack("cwd", "work", ""),
    attack("device", "devices", ""),
    attack("passwd", "etc/passwd", "secret"),
    Attack { bare: true, ..attack("null", "dev/null", "null") },
    Attack { bare: true, ..attack("bare-dev", "dev", "dev") },
];

/// The directories of the attack.
struct Stage {
    root: PathBuf,
    canary: PathBuf,
    bundle: PathBuf,
    probe: PathBuf,
}

impl Stage {
    fn new(base: &Path, probe: &Path) -> Stage {
        let at = |name: &str| base.join(name);
        Stage { root: at("hostile/root"), canary: at("canary"), bundle: at("hostile"), probe: probe.to_owned() }
    }

    /// The image as it is before the attack, made anew.
    fn set(&self, bare: bool) -> io::Result<()> {
        if self.root.is_dir() {
            fs::remove_dir_all(&self.root)?;
        }
        for directory in ["dev", "proc", "sys", "tmp", "etc/hiding", "etc/kept", "vol/a/b", "work/here", "devices"] {
            fs::create_dir_all(self.root.join(directory))?;
        }
        for file in ["etc/hidden", "etc/passwd", "vol/a/file"] {
            fs::write(self.root.join(file), "the image's\n")?;
        }
        fs::hard_link(&self.probe, self.root.join("probe"))?;
        fs::write(self.bundle.join("config.json"), self.config(bare).to_string())
    }

    fn config(&self, bare: bool) -> Value {
        let text = fs::read_to_string(self.bundle.with_file_name("tell").join("config.json")).unwrap_or_default();
        let mut config: Value = serde_json::from_str(&text).unwrap_or_default();
        config["root"] = json!({"path": self.root, "readonly": false});
        config["process"]["cwd"] = json!("/some/where/new");
        let mounts = config["mounts"].as_array_mut().expect("a list of the template");
        if bare {
            mounts.retain(|mount| !mount["destination"].as_str().is_some_and(|path| path.starts_with("/dev")));
        }
        mounts.push(json!({"destination": "/vol/a/b", "type": "tmpfs", "source": "tmpfs"}));
        mounts.push(json!({"destination": "/vol/a/new/deep", "type": "tmpfs", "source": "tmpfs"}));
        mounts.push(
            json!({"destination": "/vol/a/file", "type": "bind", "source": self.probe, "options": ["bind", "ro"]}),
        );
        config["linux"]["devices"] = json!([{"path": "/devices/x/null", "type": "c", "major": 1, "minor": 3}]);
        for (list, paths) in
            [("maskedPaths", ["/etc/hidden", "/etc/hiding"]), ("readonlyPaths", ["/etc/kept", "/vol/a"])]
        {
            let list = config["linux"][list].as_array_mut().expect("a list of the template");
            list.extend(paths.iter().map(|path| json!(path)));
        }
        config
    }

    fn plant(&self) -> io::Result<()> {
        for directory in ["sub", "dev", "pts"] {
            fs::create_dir_all(self.canary.join(directory))?;
        }
        for file in ["secret", "null", "ptmx", "core", "file", "sub/file", "dev/null", "dev/ptmx", "dev/console"] {
            fs::write(self.canary.join(file), "untouched\n")?;
        }
        Ok(())
    }

    /// The attacker's act.
    fn strike(&self, attack: &Attack) {
        let path = self.root.join(attack.path);
        // What isn't there any more can't be moved away; the link comes all the same.
        let _ = fs::rename(&path, self.root.join("moved"));
        let _ = symlink(self.canary.join(attack.to), &path);
    }
}

/// Name, type, mode, owner, times, inode and content of everything in the canary.
fn look(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut seen = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        if meta.is_dir() {
            todo.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
        }
        let content = if meta.is_file() { fs::read(&path).unwrap_or_default() } else { Vec::new() };
        let times = (meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec());
        let line = format!("{:o} {} {} {} {times:?} {content:?}", meta.mode(), meta.uid(), meta.gid(), meta.ino());
        seen.insert(path, line);
    }
    seen
}

/// Every attack before every call of `run`.
pub fn run(sweep: &Sweep, scene: &mut Scene) -> io::Result<Tally> {
    let stage = Stage::new(scene.base(), &scene.base().join("rootfs/probe"));
    fs::create_dir_all(&stage.bundle)?;
    stage.plant()?;
    let mut before = look(&stage.canary);
    let mut watch = Watch::over(&stage.canary)?;
    // A watch that sees nothing would find everything in order.
    Command::new("/bin/cat").arg(stage.canary.join("sub/file")).stdout(Stdio::null()).status()?;
    if !watch.touched()?.contains(&stage.canary.join("sub/file")) {
        println!("FAILED selftest: a canary that was read is not seen");
        return Ok(Tally { failed: 1, ..Tally::default() });
    }
    let words = scene.command(&["run", "--bundle", &stage.bundle.display().to_string(), scene.id()]);
    let mut total = Tally::default();
    let share = sweep.seconds.map(|seconds| Duration::from_secs(seconds) / ATTACKS.len() as u32);
    for attack in &ATTACKS {
        let until = share.map(|share| Instant::now() + share);
        let mut tally = Tally::default();
        stage.set(attack.bare)?;
        let clean = scene.tracer.count("traced", &words);
        if !clean.success() {
            println!("FAILED {}: without an attack: {}", attack.name, clean.stderr.trim());
            total.failed += 1;
            scene.clean();
            continue;
        }
        let trials = sweep.trials(&clean.calls.into_iter().collect::<Vec<_>>(), &["STEP".to_owned()]);
        tally.all = trials.len();
        for (point, _) in trials {
            if until.is_some_and(|until| Instant::now() > until) {
                break;
            }
            stage.set(attack.bare)?;
            let run = strike(scene, &words, &stage, attack, &point);
            let mut problems = judge(scene, &run);
            problems.extend(watch.touched()?.iter().map(|path| format!("CANARY {path:?} was opened")));
            let now = look(&stage.canary);
            problems.extend(
                now.iter().filter(|(path, line)| before.get(*path) != Some(line)).map(|(p, _)| format!("CANARY {p:?}")),
            );
            problems
                .extend(before.keys().filter(|path| !now.contains_key(*path)).map(|p| format!("CANARY {p:?} is gone")));
            match (problems.is_empty(), run.fired.is_some()) {
                (true, true) => tally.passed += 1,
                (true, false) => tally.missed += 1,
                _ => {
                    let call = run.fired.unwrap_or_default();
                    println!(
                        "FAILED step {} {}#{} {call}: {}",
                        attack.name,
                        point.role,
                        point.call,
                        problems.join("; ")
                    );
                    tally.failed += 1;
                    scene.clean();
                    if now != before {
                        fs::remove_dir_all(&stage.canary)?;
                        stage.plant()?;
                        before = look(&stage.canary);
                        watch = Watch::over(&stage.canary)?;
                    }
                }
            }
        }
        println!(
            "step {}: {} of {} points, {} not reached",
            attack.name,
            tally.passed + tally.failed + tally.missed,
            tally.all,
            tally.missed
        );
        total.add(&tally);
    }
    Ok(total)
}

fn strike(scene: &mut Scene, words: &[String], stage: &Stage, attack: &Attack, point: &Point) -> Run {
    let mut act = || stage.strike(attack);
    scene.tracer.at("traced", words, point, Deed::Act(&mut act))
}

/// It may refuse or succeed; it may not hang, leave anything, or show the canary to the container.
fn judge(scene: &mut Scene, run: &Run) -> Vec<String> {
    let mut problems = Vec::new();
    if run.end == End::Hung || run.stderr.contains("panicked at") {
        problems.push(format!("it hangs or panics: {:.200}", run.stderr));
    }
    let left = scene.nothing_left();
    problems.extend(left.iter().map(|what| format!("left: {what}")));
    if run.success() {
        let told: Value = serde_json::from_str(&run.output()).unwrap_or_default();
        let mounts = told["mounts"].as_array().cloned().unwrap_or_default();
        let shown = mounts.iter().filter(|mount| {
            mount["root"].as_str().is_some_and(|root| root.contains("/canary") && !root.contains("/hostile/"))
        });
        problems.extend(shown.map(|mount| format!("mounted inside: {mount}")));
        if told["cwd"].as_str().is_none_or(|cwd| !cwd.starts_with('/')) {
            problems.push(format!("its current directory is {}", told["cwd"]));
        }
    } else if run.stderr.trim().is_empty() {
        problems.push("it refuses without a word".into());
    }
    problems
}
