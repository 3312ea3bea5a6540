//! Who is timed, with which words, on which bundles.

use std::error::Error;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

/// One runtime, or the floor.
pub struct Contestant {
    /// The word in the tables' first column.
    pub name: String,
    /// Its binary.
    pub path: String,
    /// The first line of its --version.
    pub version: String,
    /// Where it keeps its state.
    root: String,
    /// crun runs where cgroup2's controllers are hidden.
    pub hidden: bool,
    /// The cgroup v1 hierarchies, for the floor only: it is no runtime and can only `run`.
    hierarchies: Option<Vec<String>>,
}

impl Contestant {
    /// A runtime; `given` is PATH or NAME=PATH.
    pub fn runtime(given: &str, state: &Path) -> Result<Contestant, Box<dyn Error>> {
        let (name, path) = match given.split_once('=') {
            Some((name, path)) => (name.to_string(), path),
            None => (given.rsplit('/').next().unwrap_or(given).to_string(), given),
        };
        let path = find(path).ok_or(format!("{path}: no such runtime"))?;
        let answer = Command::new(&path).arg("--version").output()?;
        let version = String::from_utf8_lossy(&answer.stdout).lines().next().unwrap_or("version unknown").to_string();
        let hidden = version.starts_with("crun");
        let root = state.join(&name).display().to_string();
        Ok(Contestant { name, path, version, root, hidden, hierarchies: None })
    }

    /// The hard-coded program; None on a machine without cgroup v1, for which it is not written.
    pub fn floor(path: &Path) -> Option<Contestant> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let v1 = mounts.lines().filter(|line| line.contains(" - cgroup "));
        let hierarchies: Vec<String> = v1.filter_map(|line| line.split(' ').nth(4)).map(String::from).collect();
        (!hierarchies.is_empty()).then(|| Contestant {
            name: "floor".into(),
            path: path.display().to_string(),
            version: "the least kernel work, hard-coded".into(),
            root: String::new(),
            hidden: false,
            hierarchies: Some(hierarchies),
        })
    }

    /// Is it a runtime, with all its operations?
    pub fn is_runtime(&self) -> bool {
        self.hierarchies.is_none()
    }

    /// The size of its file.
    pub fn bytes(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |file| file.len())
    }

    /// The words of one `run` of a bundle.
    pub fn run(&self, bundle: &Bundle, id: &str) -> Vec<String> {
        match &self.hierarchies {
            Some(hierarchies) => {
                let mut words = vec![self.path.clone(), bundle.rootfs.display().to_string(), bundle.command.clone()];
                words.extend(hierarchies.iter().cloned());
                words
            }
            None => self.words(&["run", "--bundle", &bundle.dir.display().to_string(), id]),
        }
    }

    /// The words of any other operation.
    pub fn words(&self, operation: &[&str]) -> Vec<String> {
        let head = [self.path.as_str(), "--root", &self.root];
        head.iter().chain(operation).map(|word| word.to_string()).collect()
    }
}

/// An absolute path for a name in PATH or a relative path.
fn find(name: &str) -> Option<String> {
    let candidates: Vec<PathBuf> = match name.contains('/') {
        true => vec![PathBuf::from(name)],
        false => std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join(name)).collect(),
    };
    let found = candidates.iter().find(|path| fs::metadata(path).is_ok_and(|file| file.is_file()))?;
    Some(std::path::absolute(found).ok()?.display().to_string())
}

/// A bundle with the default configuration and one of three workloads.
pub struct Bundle {
    /// The word for the tables.
    pub name: &'static str,
    /// The folder with config.json.
    pub dir: PathBuf,
    rootfs: PathBuf,
    command: String,
}

/// The bundles: what is run, and one whose workload waits for a signal.
pub struct Bundles {
    /// A program of two system calls, and busybox's `true`.
    pub ending: [Bundle; 2],
    /// For the single operations.
    pub waiting: Bundle,
    /// The smallest workload, under docker's default seccomp profile.
    pub filtered: Bundle,
}

impl Bundles {
    /// Makes them in `work`, with the configuration that `author spec` writes.
    pub fn prepare(work: &Path, tools: &Path, author: &str) -> Result<Bundles, Box<dyn Error>> {
        let rootfs = work.join("rootfs");
        for dir in ["bin", "dev", "proc", "sys", "tmp"] {
            fs::create_dir_all(rootfs.join(dir))?;
        }
        fs::copy(tools.join("payload"), rootfs.join("bin/payload"))?;
        fs::copy(tools.join("busybox"), rootfs.join("bin/busybox"))?;
        symlink("busybox", rootfs.join("bin/true"))?;
        let spec = default_spec(work, author)?;
        let bundle = |name, words: &[&str]| write_bundle(work, &rootfs, &spec, name, words);
        Ok(Bundles {
            ending: [bundle("tiny", &["/bin/payload"])?, bundle("busybox", &["/bin/true"])?],
            waiting: bundle("waiting", &["/bin/payload", "wait"])?,
            filtered: {
                let mut spec = spec.clone();
                spec["linux"]["seccomp"] = resolved(serde_json::from_slice(&fs::read(tools.join("docker.json"))?)?);
                write_bundle(work, &rootfs, &spec, "filtered", &["/bin/payload"])?
            },
        })
    }
}

/// Docker's profile as docker gives it to a runtime, for a container with few capabilities on x86_64: the conditions of
/// its rules are decided by then.
fn resolved(profile: Value) -> Value {
    let holds = |value: &Value, word: &str| value.as_array().is_some_and(|list| list.iter().any(|one| one == word));
    let applies = |rule: &&Value| {
        let (with, without) = (&rule["includes"], &rule["excludes"]);
        let wrong = with["arches"].is_array() && !holds(&with["arches"], "amd64") || with["caps"].is_array();
        !wrong && !holds(&without["arches"], "amd64")
    };
    let rules = profile["syscalls"].as_array().into_iter().flatten().filter(applies);
    let plain = rules.map(|rule| {
        let wanted = ["names", "action", "errnoRet", "args"].into_iter().filter(|name| !rule[name].is_null());
        wanted.map(|name| (name.to_string(), rule[name].clone())).collect::<serde_json::Map<_, _>>().into()
    });
    json!({
        "defaultAction": profile["defaultAction"], "defaultErrnoRet": profile["defaultErrnoRet"],
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": plain.collect::<Vec<Value>>(),
    })
}

/// What `spec` of this runtime writes.
fn default_spec(work: &Path, author: &str) -> Result<Value, Box<dyn Error>> {
    let dir = work.join("spec");
    fs::create_dir(&dir)?;
    let answer = Command::new(author).arg("spec").current_dir(&dir).output()?;
    if !answer.status.success() {
        return Err(format!("{author} spec: {}", String::from_utf8_lossy(&answer.stderr).trim()).into());
    }
    Ok(serde_json::from_slice(&fs::read(dir.join("config.json"))?)?)
}

fn write_bundle(
    work: &Path,
    rootfs: &Path,
    spec: &Value,
    name: &'static str,
    words: &[&str],
) -> Result<Bundle, Box<dyn Error>> {
    let dir = work.join(name);
    fs::create_dir(&dir)?;
    let mut spec = spec.clone();
    spec["process"]["terminal"] = json!(false);
    spec["process"]["args"] = json!(words);
    spec["root"]["path"] = json!(rootfs);
    fs::write(dir.join("config.json"), serde_json::to_vec_pretty(&spec)?)?;
    Ok(Bundle { name, dir, rootfs: rootfs.to_path_buf(), command: words[0].to_string() })
}
