//! What /proc says of one process.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::sys::{self, Call, Errno, Error, Result};

/// One process.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// Its id on the host.
    pub pid: i32,
    /// Its parent's.
    pub parent: i32,
    /// Fields of /proc/PID/stat, from the third (state) on.
    stat: Vec<String>,
    /// The name of its program.
    pub name: String,
    /// Its arguments; empty for a zombie.
    pub arguments: String,
    status: BTreeMap<String, String>,
    /// The v2 cgroup, or all of them.
    pub cgroup: String,
}

impl Process {
    /// Reads a process. ENOENT or ESRCH: there is none (any more).
    pub fn read(pid: i32) -> Result<Self> {
        let mut process = Self::stat(pid)?;
        let read = |name: &str| sys::fs::read_host(&format!("/proc/{pid}/{name}"));
        process.arguments = read("cmdline")?.trim_end_matches('\0').replace(['\0', '\n'], " ");
        let pair = |line: &str| line.split_once(':').map(|(k, v)| (k.to_owned(), v.trim().to_owned()));
        process.status = read("status")?.lines().filter_map(pair).collect();
        process.cgroup = read("cgroup")?.lines().collect::<Vec<_>>().join(";");
        Ok(process)
    }

    /// Only what its `stat` says.
    fn stat(pid: i32) -> Result<Self> {
        let text = sys::fs::read_host(&format!("/proc/{pid}/stat"))?;
        // The name may hold anything, brackets and newlines too.
        let (name, rest) = text
            .split_once('(')
            .and_then(|(_, rest)| rest.rsplit_once(')'))
            .ok_or_else(|| Error::new(Call::Read, Errno::EBADMSG).about(format!("/proc/{pid}/stat")))?;
        let stat: Vec<String> = rest.split_whitespace().map(str::to_owned).collect();
        let parent = stat.get(1).and_then(|f| f.parse().ok()).unwrap_or(0);
        Ok(Self { pid, parent, name: name.replace('\n', "?"), stat, ..Self::default() })
    }

    /// A field of its `stat`, by the number that proc(5) gives it.
    pub fn field(&self, number: usize) -> i64 {
        self.stat.get(number - 3).and_then(|f| f.parse().ok()).unwrap_or(0)
    }

    /// Its state: one letter.
    pub fn state(&self) -> &str {
        self.stat.first().map_or("?", String::as_str)
    }

    /// A field of its `status`; empty if there is none.
    pub fn status(&self, name: &str) -> &str {
        self.status.get(name).map_or("", String::as_str)
    }

    /// The second of four ids: the effective one.
    pub fn id(&self, name: &str) -> u32 {
        self.status(name).split_whitespace().nth(1).and_then(|f| f.parse().ok()).unwrap_or(u32::MAX)
    }
}

/// All processes that we can see, with what their `stat` says.
pub fn all() -> Result<Vec<Process>> {
    let proc = sys::fs::open_host("/proc", nix::fcntl::OFlag::O_RDONLY)?;
    let pids = sys::fs::names(&proc)?.into_iter().filter_map(|name| name.parse::<i32>().ok());
    Ok(pids.filter_map(|pid| Process::stat(pid).ok()).collect())
}

/// What columns need to know of the host.
pub struct Host {
    /// Seconds since the epoch, and since boot.
    pub now: f64,
    /// Seconds since boot.
    pub uptime: f64,
    /// Clock ticks of a second in /proc.
    pub ticks: f64,
    /// KiB of memory.
    pub memory: f64,
    users: BTreeMap<u32, String>,
    groups: BTreeMap<u32, String>,
}

impl Host {
    /// The host as it is.
    pub fn now() -> Result<Self> {
        let number = |text: &str| text.split_whitespace().next().and_then(|f| f.parse::<f64>().ok());
        let meminfo = sys::fs::read_host("/proc/meminfo")?;
        let memory = meminfo.lines().find_map(|l| l.strip_prefix("MemTotal:")).and_then(number);
        Ok(Self {
            now: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64()),
            uptime: number(&sys::fs::read_host("/proc/uptime")?).unwrap_or(0.0),
            // The kernel's USER_HZ, a constant of its interface.
            ticks: 100.0,
            memory: memory.unwrap_or(1.0),
            users: names("/etc/passwd"),
            groups: names("/etc/group"),
        })
    }

    /// The host's name of a uid, or the number.
    pub fn user(&self, uid: u32) -> String {
        self.users.get(&uid).cloned().unwrap_or_else(|| uid.to_string())
    }

    /// The host's name of a gid, or the number.
    pub fn group(&self, gid: u32) -> String {
        self.groups.get(&gid).cloned().unwrap_or_else(|| gid.to_string())
    }
}

fn names(file: &str) -> BTreeMap<u32, String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let entry = |line: &str| {
        let mut fields = line.split(':');
        Some((fields.next()?.to_owned(), fields.nth(1)?.parse::<u32>().ok()?))
    };
    // The first name of an id counts.
    text.lines().rev().filter_map(entry).map(|(name, id)| (id, name)).collect()
}
