//! `probe fingerprint [--out FILE] [--stat PATH]… [--sysctl KEY]… [--enter DIR]`: one JSON object with everything that
//! a process can have inherited. What cannot be known (no /proc in this container) is `null`.

use std::fs;

use serde_json::{Map, Value, json};

use crate::{Outcome, kernel, paths};

const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

const RLIMITS: [&str; 16] = [
    "RLIMIT_CPU",
    "RLIMIT_FSIZE",
    "RLIMIT_DATA",
    "RLIMIT_STACK",
    "RLIMIT_CORE",
    "RLIMIT_RSS",
    "RLIMIT_NPROC",
    "RLIMIT_NOFILE",
    "RLIMIT_MEMLOCK",
    "RLIMIT_AS",
    "RLIMIT_LOCKS",
    "RLIMIT_SIGPENDING",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
];

const NAMESPACES: [&str; 8] = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];

/// Prints (or writes) the fingerprint.
pub fn print(words: &[&str]) -> Outcome {
    let mut out = None;
    let (mut stats, mut sysctls) = (Map::new(), Map::new());
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let value = *words.next().ok_or(format!("{word} needs a value"))?;
        match *word {
            "--out" => out = Some(value),
            "--stat" => _ = stats.insert(value.to_owned(), paths::look(value)),
            "--sysctl" => _ = sysctls.insert(value.to_owned(), sysctl(value)),
            other => return Err(format!("no such option: {other}")),
        }
    }
    let mut all = process();
    all.extend(credentials());
    all.extend(scheduling());
    all.extend(surroundings());
    all.insert("stat".into(), stats.into());
    all.insert("sysctl".into(), sysctls.into());
    let text = Value::Object(all).to_string();
    match out {
        Some(file) => fs::write(file, text).map_err(|e| format!("write {file}: {e}"))?,
        None => println!("{text}"),
    }
    Ok(0)
}

/// Numbers, arguments, environment, descriptors, signals.
fn process() -> Map<String, Value> {
    // SAFETY: these calls take nothing and cannot fail.
    let (pid, ppid, sid, pgid) = unsafe { (libc::getpid(), libc::getppid(), libc::getsid(0), libc::getpgrp()) };
    let argv: Vec<String> = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect();
    object(json!({
        "pid": pid, "ppid": ppid, "sid": sid, "pgid": pgid,
        "argv": argv,
        "env": environment(),
        "cwd": kernel::getcwd().unwrap_or_else(|errno| errno),
        "fds": descriptors(),
        "signals": signals(),
        "umask": format!("{:04o}", kernel::umask()),
        "tty": terminal(),
        "keyring": kernel::session_keyring().unwrap_or_else(|errno| errno),
        "parent_death_signal": kernel::prctl_int(libc::PR_GET_PDEATHSIG),
        "subreaper": kernel::prctl_int(libc::PR_GET_CHILD_SUBREAPER),
        "dumpable": kernel::prctl(libc::PR_GET_DUMPABLE, 0),
        "exe": link("/proc/self/exe"),
    }))
}

/// `NAME=value` as they stand in memory, duplicates and order included.
pub fn environment() -> Vec<String> {
    std::env::vars_os().map(|(k, v)| format!("{}={}", k.to_string_lossy(), v.to_string_lossy())).collect()
}

/// Ids, groups, capabilities, no_new_privs, seccomp.
fn credentials() -> Map<String, Value> {
    let ids = |triple: [u32; 3]| json!({"real": triple[0], "effective": triple[1], "saved": triple[2]});
    let (mut uid, mut gid) = ([0u32; 3], [0u32; 3]);
    let mut groups = [0 as libc::gid_t; 1024];
    // SAFETY: each pointer is to one id; getgroups gets the true length of its array.
    let count = unsafe {
        libc::getresuid(&raw mut uid[0], &raw mut uid[1], &raw mut uid[2]);
        libc::getresgid(&raw mut gid[0], &raw mut gid[1], &raw mut gid[2]);
        libc::getgroups(groups.len() as i32, groups.as_mut_ptr())
    };
    object(json!({
        "uid": ids(uid), "gid": ids(gid),
        "groups": groups.get(..count.max(0) as usize),
        "caps": capabilities(),
        "securebits": kernel::prctl(libc::PR_GET_SECUREBITS, 0),
        "no_new_privs": kernel::prctl(libc::PR_GET_NO_NEW_PRIVS, 0) == 1,
        "seccomp": kernel::prctl(libc::PR_GET_SECCOMP, 0),
        "seccomp_filters": status_field("Seccomp_filters").and_then(|text| text.parse::<u32>().ok()),
    }))
}

/// Priorities, limits and the like.
fn scheduling() -> Map<String, Value> {
    // SAFETY: each of these only asks about this process.
    let (nice, policy, persona, ioprio) = unsafe {
        (
            libc::getpriority(libc::PRIO_PROCESS, 0),
            libc::sched_getscheduler(0),
            libc::personality(0xffff_ffff),
            libc::syscall(libc::SYS_ioprio_get, 1, 0),
        )
    };
    object(json!({
        "nice": nice, "scheduler": policy, "personality": persona, "ioprio": ioprio,
        "affinity": kernel::affinity(), "sched": sched(), "mempolicy": mempolicy(),
        "thp_disable": kernel::prctl(libc::PR_GET_THP_DISABLE, 0),
        "timerslack": kernel::prctl(libc::PR_GET_TIMERSLACK, 0),
        "coredump_filter": text("/proc/self/coredump_filter"),
        "oom_score_adj": text("/proc/self/oom_score_adj").and_then(|text| text.parse::<i32>().ok()),
        "rlimits": rlimits(),
    }))
}

fn sched() -> Value {
    let Some(words) = kernel::scheduler() else { return Value::Null };
    let half = |at: usize| u32::from_ne_bytes(words[at..at + 4].try_into().unwrap_or_default());
    let whole = |at: usize| u64::from_ne_bytes(words[at..at + 8].try_into().unwrap_or_default());
    json!({"policy": half(4), "flags": whole(8), "nice": half(16) as i32, "priority": half(20),
           "runtime": whole(24), "deadline": whole(32), "period": whole(40)})
}

fn mempolicy() -> Value {
    let Some((mode, nodes)) = kernel::memory_policy() else { return Value::Null };
    json!({"mode": mode & 0xfff, "flags": mode & !0xfff, "nodes": nodes})
}

/// Namespaces, mounts, cgroups, names, network, time.
fn surroundings() -> Map<String, Value> {
    let (hostname, domainname) = kernel::uts_names();
    let interfaces: Vec<Value> = kernel::interfaces()
        .into_iter()
        .map(|i| json!({"name": i.name, "up": i.flags & 1 != 0, "loopback": i.flags & 8 != 0}))
        .collect();
    object(json!({
        "ns": namespaces(),
        "mounts": fs::read_to_string("/proc/self/mountinfo").ok().map(|table| mounts(&table)),
        "cgroup": fs::read_to_string("/proc/self/cgroup").ok().map(|table| cgroups(&table)),
        "root": entries("/"),
        "hostname": hostname, "domainname": domainname,
        "net": interfaces,
        "addresses": kernel::addresses(),
        "uid_map": numbers("/proc/self/uid_map"), "gid_map": numbers("/proc/self/gid_map"),
        "setgroups": text("/proc/self/setgroups"),
        "timens_offsets": text("/proc/self/timens_offsets"),
        "clocks": {
            "monotonic": kernel::clock(libc::CLOCK_MONOTONIC), "boottime": kernel::clock(libc::CLOCK_BOOTTIME),
            "realtime": kernel::clock(libc::CLOCK_REALTIME),
        },
    }))
}

/// The open descriptors: number, what they are, flags. The directory that was opened to look is not among them.
pub fn descriptors() -> Vec<Value> {
    let open = |fd| kernel::fd_flags(fd).map(|(own, file)| (fd, own, file));
    (0..4096)
        .filter_map(open)
        .map(|(fd, own, file)| {
            json!({"fd": fd, "link": link(&format!("/proc/self/fd/{fd}")), "cloexec": own & libc::FD_CLOEXEC != 0,
                   "flags": format!("{file:o}")})
        })
        .collect()
}

/// The signals that are ignored, blocked, handled.
pub fn signals() -> Value {
    let (mut ignored, mut caught) = (Vec::new(), Vec::new());
    for signal in 1..=64 {
        if let Some((is_ignored, is_caught)) = kernel::disposition(signal) {
            ignored.extend(is_ignored.then_some(signal));
            caught.extend(is_caught.then_some(signal));
        }
    }
    let mask = kernel::blocked();
    let blocked: Vec<i32> = (1..=64).filter(|signal| mask >> (signal - 1) & 1 == 1).collect();
    json!({"ignored": ignored, "blocked": blocked, "caught": caught})
}

/// The inode of each namespace.
pub fn namespaces() -> Map<String, Value> {
    let inode = |name: &str| {
        let link = link(&format!("/proc/self/ns/{name}"))?;
        link.trim_end_matches(']').rsplit('[').next()?.parse::<u64>().ok()
    };
    NAMESPACES.iter().map(|name| ((*name).to_owned(), json!(inode(name)))).collect()
}

fn capabilities() -> Value {
    let names =
        |mask: u64| -> Vec<String> { (0..64).filter(|bit| mask >> bit & 1 == 1).map(capability_name).collect() };
    let by_prctl =
        |question: &dyn Fn(u64) -> i32| (0..64).filter(|bit| question(*bit) == 1).fold(0, |m, bit| m | 1 << bit);
    let bounding: u64 = by_prctl(&|bit| kernel::prctl(libc::PR_CAPBSET_READ, bit));
    let ambient: u64 = by_prctl(&|bit| {
        // SAFETY: PR_CAP_AMBIENT_IS_SET takes two numbers.
        unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_IS_SET, bit, 0, 0) }
    });
    let [effective, permitted, inheritable] = kernel::capget().unwrap_or_default();
    json!({"effective": names(effective), "permitted": names(permitted), "inheritable": names(inheritable),
           "bounding": names(bounding), "ambient": names(ambient)})
}

fn capability_name(bit: u64) -> String {
    CAPABILITIES.get(bit as usize).map_or_else(|| format!("CAP_{bit}"), |name| format!("CAP_{name}"))
}

fn rlimits() -> Map<String, Value> {
    let pair = |number: usize| kernel::rlimit(number as u32).map(|(soft, hard)| json!([soft, hard]));
    RLIMITS.iter().enumerate().map(|(number, name)| ((*name).to_owned(), pair(number).unwrap_or_default())).collect()
}

fn terminal() -> Value {
    json!({
        "isatty": [kernel::isatty(0), kernel::isatty(1), kernel::isatty(2)],
        "size": kernel::window_size(0).map(|(rows, columns)| [rows, columns]),
        "name": link("/proc/self/fd/0"),
        "controlling": fs::File::open("/dev/tty").is_ok(),
        "tty_nr": text("/proc/self/stat").and_then(|stat| {
            stat.rsplit(')').next()?.split_whitespace().nth(4)?.parse::<i64>().ok()
        }),
    })
}

fn mounts(table: &str) -> Vec<Value> {
    table.lines().filter_map(mount).collect()
}

/// One line of mountinfo; its fields are in proc(5).
fn mount(line: &str) -> Option<Value> {
    let (left, right) = line.split_once(" - ")?;
    let left: Vec<&str> = left.split(' ').collect();
    let right: Vec<&str> = right.split(' ').collect();
    let list = |text: &str| -> Vec<String> { text.split(',').map(str::to_owned).collect() };
    Some(json!({
        "id": left.first()?, "parent": left.get(1)?, "dev": left.get(2)?, "root": left.get(3)?, "target": left.get(4)?,
        "options": list(left.get(5)?), "optional": left.get(6..)?,
        "fstype": right.first()?, "source": right.get(1)?, "super": list(right.get(2)?),
    }))
}

fn cgroups(table: &str) -> Vec<Value> {
    table
        .lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (id, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
            Some(json!({"id": id, "controllers": controllers, "path": path}))
        })
        .collect()
}

fn sysctl(key: &str) -> Value {
    let file = format!("/proc/sys/{}", key.replace('.', "/"));
    match fs::read_to_string(file) {
        Ok(text) => json!(text.trim_end()),
        Err(e) => json!({"error": kernel::name_of(e.raw_os_error().unwrap_or(0))}),
    }
}

fn entries(directory: &str) -> Option<Vec<String>> {
    let mut names: Vec<String> =
        fs::read_dir(directory).ok()?.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Some(names)
}

fn status_field(name: &str) -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim().to_owned()))
}

fn numbers(path: &str) -> Option<Vec<Vec<u64>>> {
    let table = fs::read_to_string(path).ok()?;
    Some(table.lines().map(|l| l.split_whitespace().filter_map(|n| n.parse().ok()).collect()).collect())
}

fn text(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim_end().to_owned())
}

fn link(path: &str) -> Option<String> {
    Some(fs::read_link(path).ok()?.to_string_lossy().into_owned())
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
