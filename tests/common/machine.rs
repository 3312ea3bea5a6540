//! The oracle "nothing left": what a container with a given id has left on this machine. It looks only for what carries
//! the id (or lies in the bundle's own directory), so tests do not see each other.
//!
//! Not looked at yet: BPF programs (they carry no id).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{cgroups, children, patience, wait_until};

/// How one container's traces are recognised.
pub struct Marks {
    /// The container's id: in RT_TEST_ID, in cgroup names, in the keyring's name.
    pub id: String,
    /// The bundle's temporary directory.
    pub base: PathBuf,
    /// What `--root` got.
    pub state: PathBuf,
}

/// What is still there when it has had its time to go.
fn stays(limit: Duration, mut look: impl FnMut() -> Vec<String>) -> Vec<String> {
    let mut left = Vec::new();
    wait_until(limit, || {
        left = look();
        left.is_empty().then_some(())
    });
    left
}

/// The machine as it was before the test.
pub struct Machine {
    mounts: BTreeSet<String>,
    devices: BTreeSet<String>,
}

impl Machine {
    /// The machine as it is.
    pub fn now() -> Self {
        Self { mounts: mounts(), devices: network_devices() }
    }

    /// Everything left by the container, one line each. What the kernel frees in its own time (dying processes,
    /// unreferenced keyrings) gets a moment.
    pub fn leaks(&self, marks: &Marks) -> Vec<String> {
        // Who was killed needs a moment to go; a keyring is freed by a worker of the kernel, which a busy machine lets wait for long.
        let mut leaks = stays(patience() / 2, || {
            processes(&marks.id).into_iter().map(|pid| format!("process {pid}: {}", describe(pid))).collect()
        });
        leaks.extend(stays(patience() * 2, || keys(&marks.id).into_iter().map(|line| format!("key {line}")).collect()));
        leaks.extend(cgroups::named(&marks.id).iter().map(|path| format!("cgroup {}", path.display())));
        leaks.extend(self.new_mounts(marks).iter().map(|line| format!("mount {line}")));
        leaks.extend(entries(&marks.state).iter().map(|path| format!("state {}", path.display())));
        leaks.extend(network_devices().difference(&self.devices).map(|name| format!("network device {name}")));
        leaks.extend(temporary_files(marks).iter().map(|path| format!("temporary file {}", path.display())));
        leaks
    }

    /// Mounts of this mount namespace that are new and have to do with the bundle.
    fn new_mounts(&self, marks: &Marks) -> Vec<String> {
        new_mounts(self, &mount_table(), marks)
    }

    /// Takes the leaks away, so that a failed test does not spoil the machine. Only what carries the id is touched.
    pub fn clean(&self, marks: &Marks) {
        for pid in processes(&marks.id) {
            // It may have died meanwhile.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        wait_until(Duration::from_secs(3), || processes(&marks.id).is_empty().then_some(()));
        for line in self.new_mounts(marks).iter().rev() {
            if let Some(target) = line.split(' ').nth(4) {
                let _ = umount2(target, MntFlags::MNT_DETACH);
            }
        }
        for directory in cgroups::named(&marks.id) {
            let _ = fs::remove_dir(directory);
        }
    }
}

/// The live processes of a container: by the id in their environment, or in their cgroup's name.
pub fn processes(id: &str) -> Vec<i32> {
    let mark = format!("RT_TEST_ID={id}");
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| !is_zombie(*pid) && (in_environment(*pid, &mark) || in_cgroup(*pid, id))).collect()
}

fn in_environment(pid: i32, mark: &str) -> bool {
    let bytes = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    bytes.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
}

fn in_cgroup(pid: i32, id: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|table| {
        table.lines().any(|line| line.split('/').any(|part| part == id || part.starts_with(&format!("{id}."))))
    })
}

/// A dead process that nobody has waited for yet. Whose fault that is can't be seen from here.
fn is_zombie(pid: i32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return true };
    stat.rsplit(')').next().is_some_and(|rest| matches!(rest.trim_start().chars().next(), Some('Z' | 'X')))
}

fn describe(pid: i32) -> String {
    let read = |name: &str| {
        let bytes = fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\0', " ").trim().to_owned()
    };
    let state = read("stat").rsplit(')').next().unwrap_or_default().trim_start().chars().next().unwrap_or('?');
    format!("`{}` state {state}, waits in {}, system call {}", read("cmdline"), read("wchan"), read("syscall"))
}

/// Where the processes of a container hang.
pub fn stuck(id: &str) -> String {
    let lines: Vec<String> = processes(id).into_iter().map(|pid| format!("  {pid} {}", describe(pid))).collect();
    format!("its processes:\n{}", lines.join("\n"))
}

/// The lines of a mount table that were not there before and name the bundle's directory or id.
pub fn new_mounts(before: &Machine, table: &str, marks: &Marks) -> Vec<String> {
    let base = marks.base.to_string_lossy();
    let ours = |line: &&str| line.contains(&*base) || line.contains(&marks.id);
    table.lines().filter(ours).filter(|line| !before.mounts.contains(*line)).map(str::to_owned).collect()
}

fn mount_table() -> String {
    fs::read_to_string("/proc/self/mountinfo").expect("mountinfo")
}

fn mounts() -> BTreeSet<String> {
    mount_table().lines().map(str::to_owned).collect()
}

fn network_devices() -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir("/sys/class/net") else { return BTreeSet::new() };
    entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn keys(id: &str) -> Vec<String> {
    let table = fs::read_to_string("/proc/keys").unwrap_or_default();
    table.lines().filter(|line| line.contains(id)).map(str::to_owned).collect()
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let Ok(list) = fs::read_dir(directory) else { return Vec::new() };
    list.flatten().map(|entry| entry.path()).collect()
}

/// New files in the usual places that carry the id, apart from the bundle itself.
fn temporary_files(marks: &Marks) -> Vec<PathBuf> {
    let places = ["/tmp", "/run", "/var/tmp", "/dev/shm"].iter().map(PathBuf::from);
    let all = places.flat_map(|place| entries(&place));
    all.filter(|path| *path != marks.base && path.to_string_lossy().contains(&marks.id)).collect()
}
