//! The readers, and what must hold of what they accept.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rt::cgroups::Below;
use rt::cli::{ContainerId, User};
use rt::facts::Facts;
use rt::plan::{self, Options};
use rt::rootfs::options;
use rt::seccomp::{self, Data, Interpreter};
use rt::talk::{HostSays, InitSays, Message};
use rt::{cli, spec, state};
use serde_json::{Value, json};

use crate::random::{self, PIECES, Random};

/// What inputs are made from.
pub struct Corpus {
    configs: Vec<Value>,
    filters: Vec<Value>,
    facts: Vec<Facts>,
}

impl Corpus {
    /// Reads it from the tests' directories.
    pub fn read() -> Corpus {
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut configs = read(&top.join("tests/plans"));
        configs.extend(read(&top.join("tests/data/spec")));
        let facts = read(&top.join("tests/plans/facts"));
        Corpus {
            configs,
            filters: read(&top.join("tests/data/seccomp")),
            facts: facts.into_iter().map(|value| serde_json::from_value(value).expect("facts")).collect(),
        }
    }
}

fn read(directory: &Path) -> Vec<Value> {
    let files = fs::read_dir(directory).expect("a directory of the corpus").flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|end| end == "json")).collect();
    files.sort();
    files.iter().map(|path| serde_json::from_slice(&fs::read(path).expect("a file")).expect("JSON")).collect()
}

/// Tries one input.
pub type Target = fn(&mut Random<'_>, &Corpus) -> Result<(), String>;

/// All targets.
pub const ALL: [(&str, Target); 18] = [
    ("config", config),
    ("idmaps", idmaps),
    ("place", place),
    ("process", process),
    ("resources", resources),
    ("json", json_bytes),
    ("record", record),
    ("digest", digest),
    ("seccomp", filter),
    ("options", mount_options),
    ("user", user),
    ("id", id),
    ("below", below),
    ("sysctl", sysctl),
    ("talk", talk),
    ("argv", argv),
    ("mountinfo", mountinfo),
    ("stat", stat),
];

fn config(random: &mut Random<'_>, corpus: &Corpus) -> Result<(), String> {
    let from = random.one(&corpus.configs).clone();
    let damaged = random::document(random, &from);
    lowered(random, corpus, &damaged)
}

/// Config → plan: the order's rules hold, the plan can be shown, its digest can be read, and nothing leads upwards.
fn lowered(random: &mut Random<'_>, corpus: &Corpus, config: &Value) -> Result<(), String> {
    let strict = random.below(4) == 0;
    let raw = config.to_string().into_bytes();
    let Ok(read) = spec::read_config(raw.clone(), strict) else { return Ok(()) };
    let again = spec::read_config(raw, strict).map_err(|_| "read once, refused the second time")?;
    if again.spec != read.spec {
        return Err("two readings differ".into());
    }
    let options = Options { id: "fuzz".into(), bundle: "/b".into(), strict, ..Options::default() };
    let Ok(lowered) = plan::lower(&read.spec, random.one(&corpus.facts), &options) else { return Ok(()) };
    let broken = plan::check::check(&lowered.plan);
    if !broken.is_empty() {
        let broken: Vec<String> = broken.iter().map(ToString::to_string).collect();
        return Err(format!("the order's rules: {broken:?} in {config}"));
    }
    let _ = (plan::json(&lowered.plan), plan::text(&lowered.plan));
    plan::read_digest(&plan::digest(&read.spec, &options)).map_err(|e| format!("digest: {e} of {config}"))?;
    let strays = lowered.placement.trees.iter().filter(|place| !inside(&place.path));
    match strays.map(|place| &place.path).next() {
        None => Ok(()),
        Some(path) => Err(format!("the cgroup path {path:?} leaves its tree: {config}")),
    }
}

/// A path that stays where it is put.
fn inside(path: &str) -> bool {
    !path.is_empty() && !path.contains('\0') && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

fn idmaps(random: &mut Random<'_>, corpus: &Corpus) -> Result<(), String> {
    let mut config = corpus.configs[0].clone();
    let map = json!([{"containerID": 0, "hostID": 1000, "size": 10}, {"containerID": 10, "hostID": 5000, "size": 100}]);
    config["linux"]["uidMappings"] = random::document(random, &map);
    config["linux"]["gidMappings"] = random::document(random, &map);
    config["linux"]["namespaces"] = json!([{"type": "user"}, {"type": "mount"}, {"type": "pid"}]);
    lowered(random, corpus, &config)
}

fn place(random: &mut Random<'_>, corpus: &Corpus) -> Result<(), String> {
    let mut config = corpus.configs[0].clone();
    let from = *random.one(&["/a/b", "a", "/docker/0123", "system.slice:rt:x", "/a/../b", "//a//", "user.slice:p:n"]);
    config["linux"]["cgroupsPath"] = json!(random::text(random, from));
    lowered(random, corpus, &config)
}

fn process(random: &mut Random<'_>, corpus: &Corpus) -> Result<(), String> {
    let from = random.one(&corpus.configs)["process"].clone();
    let damaged = random::document(random, &from).to_string();
    let _ = spec::read_process(damaged.as_bytes(), random.below(2) == 0);
    Ok(())
}

fn resources(random: &mut Random<'_>, corpus: &Corpus) -> Result<(), String> {
    let from = random.one(&corpus.configs)["linux"]["resources"].clone();
    let from = if from.is_null() { json!({"memory": {"limit": 1 << 20}, "pids": {"limit": 3}}) } else { from };
    let damaged = random::document(random, &from).to_string();
    let _ = spec::read_resources(damaged.as_bytes(), random.below(2) == 0);
    Ok(())
}

/// Bytes that may be no JSON at all.
fn json_bytes(random: &mut Random<'_>, corpus: &Corpus) -> Result<(), String> {
    let from = random.one(&corpus.configs).to_string();
    let damaged = random::bytes(random, from.as_bytes());
    let _ = spec::inspect(&damaged, random.below(2) == 0);
    Ok(())
}

fn record(random: &mut Random<'_>, _: &Corpus) -> Result<(), String> {
    let header = state::Header { id: "x".into(), config_length: 5, digest_length: 3, ..state::Header::default() };
    let mut bytes = serde_json::to_vec(&header).map_err(|e| e.to_string())?;
    bytes.extend(b"\n{...}\nd\ng\n{\"init\":{\"pid\":7,\"inode\":5,\"start_time\":9}}\n\"created\"\n\"started\"\n");
    let damaged = random::bytes(random, &bytes);
    match state::parse(&damaged) {
        Some((_, config, events)) if config.len() > damaged.len() || events.len() > damaged.len() => {
            Err("a record holds more than its file".into())
        }
        _ => Ok(()),
    }
}

fn digest(random: &mut Random<'_>, corpus: &Corpus) -> Result<(), String> {
    let config = random.one(&corpus.configs).to_string().into_bytes();
    let Ok(read) = spec::read_config(config, false) else { return Ok(()) };
    let damaged = random::bytes(random, &plan::digest(&read.spec, &Options::default()));
    let _ = plan::read_digest(&damaged);
    Ok(())
}

/// A filter that is accepted is a program that the kernel would take, and answers every call.
fn filter(random: &mut Random<'_>, corpus: &Corpus) -> Result<(), String> {
    let from = random.one(&corpus.filters).clone();
    let damaged = random::document(random, &from);
    let Ok(section) = serde_json::from_value(damaged.clone()) else { return Ok(()) };
    let Some(profile) = seccomp::lower(&section, &mut Vec::new()) else { return Ok(()) };
    let Ok(program) = seccomp::compile(&profile) else { return Ok(()) };
    let interpreter = Interpreter::new(program.instructions()).map_err(|e| format!("{e:?}: {damaged}"))?;
    for _ in 0..8 {
        let args = [(); 6].map(|()| random.next() >> random.below(64));
        let strange = random.next() as u32;
        let arch = *random.one(&[0xc000_003e, 0x4000_0003, 0xc000_00b7, strange]);
        interpreter.run(&Data { nr: random.below(600) as u32, arch, instruction_pointer: 0, args });
    }
    Ok(())
}

fn mount_options(random: &mut Random<'_>, _: &Corpus) -> Result<(), String> {
    let known: Vec<&str> = options::names().collect();
    let words: Vec<String> = (0..random.below(6))
        .map(|_| {
            let word = *random.one(&known);
            if random.below(2) == 0 { word.to_owned() } else { random::text(random, word) }
        })
        .collect();
    let _ = options::parse(&words);
    Ok(())
}

/// What is printed is read again as the same, and nothing but 0 is root.
fn user(random: &mut Random<'_>, _: &Corpus) -> Result<(), String> {
    let from = *random.one(&["0", "1", "1:2", "1000:1000", "4294967294", ":1", "1:", "user"]);
    let text = random::text(random, from);
    let Ok(user) = User::from_str(&text) else { return Ok(()) };
    let digits = text.split(':').next().unwrap_or_default();
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) || digits.is_empty() {
        return Err(format!("{text:?} was taken for a user"));
    }
    match User::from_str(&user.to_string()) {
        Ok(again) if again == user => Ok(()),
        _ => Err(format!("{text:?} is printed as {user}, which is another")),
    }
}

fn id(random: &mut Random<'_>, _: &Corpus) -> Result<(), String> {
    let from = *random.one(&["container-1", "a", "a.b_c+d", "0123456789abcdef"]);
    let text = random::text(random, from);
    match ContainerId::from_str(&text) {
        Ok(id) if !inside(&id) || id.contains('/') || id.starts_with(['.', '-']) => Err(format!("{text:?} is an id")),
        _ => Ok(()),
    }
}

fn below(random: &mut Random<'_>, _: &Corpus) -> Result<(), String> {
    let from = *random.one(&["a", "a/b", "cpu:a", "cpu,memory:a/b", "/"]);
    let _ = Below::parse(&random::text(random, from));
    Ok(())
}

fn sysctl(random: &mut Random<'_>, _: &Corpus) -> Result<(), String> {
    let from =
        *random.one(&["net.ipv4.ip_forward", "net/ipv4/conf/eth0.1/rp_filter", "kernel.sem", "fs.mqueue.msg_max"]);
    let key = random::text(random, from);
    match spec::sysctl_path(&key) {
        Some(path) if !inside(&path) => Err(format!("{key:?} is the file {path:?}")),
        _ => Ok(()),
    }
}

/// What is understood is said in the same bytes.
fn talk(random: &mut Random<'_>, _: &Corpus) -> Result<(), String> {
    const HEARD: [&[u8]; 5] = [&[1], &[2, 1, 0, 0, 0], &[3], &[4, 3, 1, 0, 5, 0, 2, 0, 0, 0, b'x'], &[5]];
    let from = *random.one(&HEARD);
    let bytes = random::bytes(random, from);
    if let Some(heard) = HostSays::decode(&bytes, Vec::new())
        && heard.encode() != bytes
    {
        return Err(format!("{bytes:?} is heard as {heard:?}"));
    }
    let _ = InitSays::decode(&bytes, Vec::new());
    Ok(())
}

fn argv(random: &mut Random<'_>, _: &Corpus) -> Result<(), String> {
    const WORDS: [&str; 24] = [
        "rt",
        "--root",
        "/r",
        "create",
        "--bundle",
        "/b",
        "-b",
        "run",
        "exec",
        "-d",
        "--pid-file=/p",
        "c1",
        "kill",
        "KILL",
        "delete",
        "--force",
        "state",
        "update",
        "--memory",
        "1G",
        "list",
        "-f",
        "json",
        "ps",
    ];
    let words: Vec<OsString> = (0..random.below(8))
        .map(|_| {
            let word = if random.below(4) == 0 { *random.one(&PIECES) } else { *random.one(&WORDS) };
            OsString::from(if random.below(4) == 0 { random::text(random, word) } else { word.to_owned() })
        })
        .collect();
    let _ = cli::parse(std::iter::once(OsString::from("rt")).chain(words));
    Ok(())
}

const MOUNTINFO: &str = "\
23 1 8:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
24 23 0:21 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
25 23 0:22 /docker/4f1c /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory
26 23 0:23 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
604 600 8:1 /data /var/li\\040b rw master:3 - ext4 /dev/sda1 rw
";
const CGROUP: &str = "12:cpu,cpuacct:/a\n4:memory:/docker/4f1c/x\n0::/user.slice/b (deleted)\n";

/// The kernel's table of mounts, which holds names that others chose: what is found in it stays in its tree.
fn mountinfo(random: &mut Random<'_>, _: &Corpus) -> Result<(), String> {
    let table = random::text(random, MOUNTINFO);
    let own = random::text(random, CGROUP);
    let trees = rt::cgroups::probe::parse(&table, &own);
    let places = trees.v1.iter().map(|tree| &tree.own).chain(trees.v2.as_ref().map(|tree| &tree.own));
    if let Some(stray) =
        places.into_iter().find(|path| !path.starts_with('/') || path.split('/').any(|part| part == ".."))
    {
        return Err(format!("our own cgroup is {stray:?} by {table:?} and {own:?}"));
    }
    let outside = rt::criu::Outside {
        mounts: vec![("/var/li b".into(), "/srv/data".into())],
        masked: vec!["/proc/kcore".into()],
        joined: Vec::new(),
        network: rt::criu::Network::default(),
    };
    let saved = outside.to_save(&table, &|path| Some(path.to_owned()));
    let back = outside.to_bring_back(&table);
    if saved.len() + back.len() > 2 * (table.lines().count() + 4) {
        return Err(format!("more mounts than the table has: {saved:?} {back:?} of {table:?}"));
    }
    let stdio =
        rt::criu::Stdio { link: random::text(random, "pipe:[4711]"), mount: 604, inode: 5, file: true, terminal: None };
    let _ = stdio.keys(&table);
    Ok(())
}

/// /proc/PID/stat: the name in it is the process's own choice, and must not change what the fields behind it say.
fn stat(random: &mut Random<'_>, _: &Corpus) -> Result<(), String> {
    const REST: &str = "S 1 7 7 0 -1 4194560 96 0 0 0 0 0 0 0 20 0 1 0 123456 2777088 222 18446744073709551615";
    let from = *random.one(&["sleep", "a) S 1 2", "((", ") ", "x\n) R"]);
    let name = random::text(random, from);
    // The kernel's names are short, and it says what follows in one way only.
    let kept = format!("7 ({name}) {REST}\n");
    if rt::state::field(&kept, 22) != Some(123_456) || rt::state::field(&kept, 4) != Some(1) {
        return Err(format!("{kept:?}: started at {:?}", rt::state::field(&kept, 22)));
    }
    let damaged = random::text(random, &kept);
    for number in [3, 4, 22, 23, 52] {
        let _ = rt::state::field(&damaged, number);
    }
    Ok(())
}
