//! The rules of SECURITY.md, held against what the kernel is really asked for: bundles of all kinds, and those of tests/plans that
//! can run here, are run under strace, and each process's calls are looked through. No race is needed to see that a rule was broken.

mod common;

use std::fs;

use common::{Bundle, Runtime, Value, json};

/// The calls of one process, in order, as strace prints them, with what they came to.
struct Trace(Vec<String>);

impl Trace {
    /// The calls of this name that did not fail.
    fn calls<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a String> {
        let wanted = format!("{name}(");
        self.0.iter().filter(move |line| line.starts_with(&wanted) && !line.contains(" = -1 "))
    }

    fn position(&self, text: &str) -> Option<usize> {
        self.0.iter().position(|line| line.contains(text))
    }

    /// What comes before the workload's own program.
    fn until_workload(mut self) -> Self {
        let last = self.0.iter().rposition(|line| line.starts_with("execveat("));
        self.0.truncate(last.map_or(self.0.len(), |at| at + 1));
        self
    }
}

/// One bundle's run: the command, init, and the others (midwives).
struct Seen {
    name: String,
    host: Trace,
    init: Trace,
}

fn trace(name: &str, bundle: &mut Bundle) -> Option<Seen> {
    bundle.config["linux"]["cgroupsPath"] = format!("/{}", bundle.id).into();
    bundle.args(["/probe", "exit", "0"]).save();
    bundle.directory("traces");
    let (prefix, base, id) = (bundle.text("traces/t"), bundle.text(""), bundle.id.clone());
    let script = format!("exec strace -ff -v -s 256 -qq -e signal=none -o {prefix} \"$@\"");
    let done = Runtime::in_shell(&script, bundle, &["run", "--bundle", &base, &id]).run();
    let files = fs::read_dir(bundle.path("traces")).expect("traces").flatten().map(|entry| entry.path());
    let texts: Vec<String> = files.map(|path| fs::read_to_string(path).expect("a trace")).collect();
    let lines = |text: &String| Trace(text.lines().map(str::to_owned).collect());
    let host = texts.iter().find(|text| text.starts_with("execve(")).map(lines)?;
    let init = texts.iter().find(|text| !text.starts_with("execve(") && text.contains("execveat("))?;
    done.success().then(|| Seen { name: name.to_owned(), host, init: lines(init).until_workload() })
}

/// A name, and what makes the default bundle another one.
type Variant = (&'static str, fn(&mut Bundle));

/// Bundles that take other steps than the default one.
const VARIANTS: [Variant; 8] = [
    ("default", |_| {}),
    ("read-only root", |bundle| _ = bundle.set("/root/readonly", json!(true))),
    ("user namespace", |bundle| {
        let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
        bundle.set("/linux/namespaces/-", json!({"type": "user"})).set("/linux/uidMappings", map.clone());
        let source = bundle.directory("volume").display().to_string();
        bundle.set("/linux/gidMappings", map).mount("/mnt", "bind", &source, &["bind", "ro", "idmap"]);
    }),
    ("filter", |bundle| {
        bundle.set(
            "/linux/seccomp",
            json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{"names": ["ptrace"], "action": "SCMP_ACT_ERRNO"}]}),
        );
    }),
    ("user", |bundle| {
        bundle.set("/process/user", json!({"uid": 1000, "gid": 1000, "additionalGids": [5], "umask": 63}));
        bundle.set("/process/cwd", json!("/home/app/new")).set("/process/oomScoreAdj", json!(50));
    }),
    ("sysctl and devices", |bundle| {
        bundle.set("/linux/sysctl", json!({"net.ipv4.ip_forward": "0", "kernel.domainname": "x"}));
        bundle.set("/linux/devices", json!([{"path": "/dev/x", "type": "c", "major": 1, "minor": 3}]));
        bundle.set("/linux/resources", json!({"pids": {"limit": 20}, "devices": [{"allow": false, "access": "rwm"}]}));
    }),
    ("mounts", |bundle| {
        let file = bundle.write("volume/file", "x").display().to_string();
        bundle.mount("/mnt/file", "bind", &file, &["bind", "rw"]).mount("/mnt/a/b", "tmpfs", "tmpfs", &["tmpcopyup"]);
        bundle.set("/linux/rootfsPropagation", json!("rslave"));
    }),
    ("few namespaces", |bundle| _ = bundle.remove("/hostname").namespaces(&["mount", "pid"])),
];

/// All variants, and the bundles of tests/plans that this host can run.
fn all() -> Vec<Seen> {
    let mut seen = Vec::new();
    for (name, change) in VARIANTS {
        let mut bundle = Bundle::new("lint");
        change(&mut bundle);
        seen.push(trace(name, &mut bundle).unwrap_or_else(|| panic!("{name} does not run")));
    }
    let files = fs::read_dir("tests/plans").expect("the bundles").flatten().map(|entry| entry.path());
    for path in files.filter(|path| path.extension().is_some_and(|end| end == "json")) {
        let config: Value = serde_json::from_slice(&fs::read(&path).expect("a bundle")).expect("JSON");
        let mut bundle = Bundle::new("lint");
        for (member, value) in config.as_object().expect("an object") {
            if !matches!(member.as_str(), "root" | "hooks") {
                bundle.config[member] = value.clone();
            }
        }
        bundle.config["process"]["terminal"] = false.into();
        seen.extend(trace(&path.file_stem().unwrap_or_default().to_string_lossy(), &mut bundle));
    }
    seen
}

/// L1, L12: what makes a descriptor makes it close-on-exec; what makes a file makes a new one.
fn descriptors(trace: &Trace, found: &mut Vec<String>) {
    const MAKERS: [&str; 11] = [
        "open",
        "openat",
        "openat2",
        "socket",
        "socketpair",
        "accept4",
        "memfd_create",
        "fsopen",
        "fsmount",
        "open_tree",
        "dup3",
    ];
    for maker in MAKERS {
        for call in trace.calls(maker).filter(|call| !call.contains("CLOEXEC") && !call.contains("/dev/null")) {
            found.push(format!("L1 {call}"));
        }
        for call in trace.calls(maker).filter(|call| call.contains("O_CREAT") || call.contains("O_TRUNC")) {
            if !(call.contains("O_EXCL") && call.contains("O_NOFOLLOW")) {
                found.push(format!("L12 {call}"));
            }
        }
    }
    found.extend(trace.calls("accept").chain(trace.calls("dup")).map(|call| format!("L1 {call}")));
}

/// L2, L6, L7: mounts are objects that are put in place by descriptor, with their attributes on before.
fn mounts(trace: &Trace, found: &mut Vec<String>) {
    let propagation = ["MS_SLAVE", "MS_PRIVATE", "MS_SHARED", "MS_UNBINDABLE"];
    let strange = trace.calls("mount").filter(|call| !propagation.iter().any(|flag| call.contains(flag)));
    found.extend(strange.map(|call| format!("L2 {call}")));
    let unmounts: Vec<&String> = trace.calls("umount2").collect();
    if unmounts.len() > 1 || unmounts.iter().any(|call| !call.contains("MNT_DETACH")) {
        found.push(format!("L2 {unmounts:?}"));
    }
    let by_name = trace.calls("move_mount").filter(|call| !call.contains("MOVE_MOUNT_F_EMPTY_PATH"));
    found.extend(by_name.map(|call| format!("L6 {call}")));
    let by_name = trace.calls("move_mount").filter(|call| !call.contains("MOVE_MOUNT_T_EMPTY_PATH"));
    let elsewhere = by_name.filter(|call| !onto_our_own(trace, call));
    found.extend(elsewhere.map(|call| format!("L6 {call}")));
}

/// Whether a mount is put onto one name in the root of a filesystem that we have just made, where nobody can have put a link.
fn onto_our_own(trace: &Trace, call: &str) -> bool {
    let words: Vec<&str> = call.split(['(', ',', ')']).map(str::trim).collect();
    let (Some(directory), Some(name)) = (words.get(3), words.get(4)) else { return false };
    if (*directory, *name) == ("AT_FDCWD", "\".\"") {
        return true; // where we are, which nothing is looked up for
    }
    let before = trace.0.iter().take_while(|line| *line != call);
    let made = before.filter(|line| line.ends_with(&format!(" = {directory}"))).last();
    !name.contains('/') && !call.contains("T_SYMLINKS") && made.is_some_and(|line| line.starts_with("fsmount("))
}

/// L3, L4, L5: after the pivot nothing is opened under /proc by its name; no name of the image is given whole.
fn paths(seen: &Seen, found: &mut Vec<String>) {
    let Some(pivot) = seen.init.position("pivot_root(") else { return };
    let later = seen.init.0[pivot..].iter().filter(|call| call.contains("\"/proc/") && !call.starts_with("exec"));
    found.extend(later.map(|call| format!("L4 {call}")));
    let whole = seen
        .init
        .0
        .iter()
        .filter(|call| call.contains("/rootfs/") && !call.starts_with("read(") && !call.contains("writev("));
    found.extend(whole.filter(|call| !call.starts_with("open_tree(")).map(|call| format!("L3 {call}")));
}

/// L8: owners and modes are changed by descriptor.
fn owners(trace: &Trace, found: &mut Vec<String>) {
    for call in ["chmod", "chown", "lchown"] {
        found.extend(trace.calls(call).map(|call| format!("L8 {call}")));
    }
}

/// L9, L10, L11: groups, then ids; at the end close, filter, execute.
fn end(init: &Trace, found: &mut Vec<String>) {
    let (groups, ids) = (init.position("setgroups("), init.0.iter().rposition(|call| call.starts_with("setresuid(")));
    if let Some(ids) = ids
        && groups.is_none_or(|groups| groups > ids)
    {
        found.push(format!("L9 setgroups at {groups:?}, setresuid at {ids}"));
    }
    let Some(close) = init.0.iter().rposition(|call| call.starts_with("close_range(")) else {
        found.push("L10 nothing closes what is left".into());
        return;
    };
    let allowed =
        ["fcntl(", "brk(", "seccomp(", "prctl(", "sendmsg(", "sendto(", "write(", "execveat(", "munmap(", "close("];
    let others = init.0[close + 1..].iter().filter(|call| !allowed.iter().any(|name| call.starts_with(name)));
    found.extend(others.map(|call| format!("L10 {call}")));
    if let Some(filter) = init.0.iter().rposition(|call| call.starts_with("seccomp(")) {
        let said = ["sendmsg(", "sendto(", "write(", "execveat("];
        let others = init.0[filter + 1..].iter().filter(|call| !said.iter().any(|name| call.starts_with(name)));
        found.extend(others.map(|call| format!("L11 {call}")));
    }
}

#[test]
fn every_bundle_keeps_the_rules() {
    let mut broken = Vec::new();
    for seen in all() {
        let mut found = Vec::new();
        for trace in [&seen.host, &seen.init] {
            descriptors(trace, &mut found);
            mounts(trace, &mut found);
            owners(trace, &mut found);
        }
        paths(&seen, &mut found);
        end(&seen.init, &mut found);
        broken.extend(found.into_iter().map(|line| format!("{}: {line:.300}", seen.name)));
    }
    assert!(broken.is_empty(), "{} findings:\n  {}", broken.len(), broken.join("\n  "));
}

/// The linter sees what it is there for.
#[test]
fn planted_breaches_are_seen() {
    let trace = |lines: &[&str]| Trace(lines.iter().map(|line| (*line).to_owned()).collect());
    let bad = trace(&[
        "openat(AT_FDCWD, \"/x\", O_RDONLY) = 3",
        "openat(AT_FDCWD, \"/x\", O_WRONLY|O_CREAT|O_CLOEXEC, 0600) = 3",
        "mount(\"a\", \"/b\", NULL, MS_BIND, NULL) = 0",
        "move_mount(3, \"\", AT_FDCWD, \"/x\", MOVE_MOUNT_F_EMPTY_PATH) = 0",
        "chown(\"/x\", 0, 0) = 0",
    ]);
    let mut found = Vec::new();
    descriptors(&bad, &mut found);
    mounts(&bad, &mut found);
    owners(&bad, &mut found);
    end(&trace(&["setresuid(1, 1, 1) = 0", "setgroups(0, []) = 0"]), &mut found);
    end(
        &trace(&["close_range(5, 4294967295, 0) = 0", "seccomp(1, 0, 0) = 0", "openat(3, \"x\", O_CLOEXEC) = 4"]),
        &mut found,
    );
    let init = trace(&["pivot_root(\".\", \".\") = 0", "openat2(AT_FDCWD, \"/proc/self/attr/exec\", {}, 24) = 3"]);
    paths(&Seen { name: String::new(), host: trace(&[]), init }, &mut found);
    let rules: Vec<&str> = found.iter().filter_map(|line| line.split(' ').next()).collect();
    for rule in ["L1", "L12", "L2", "L6", "L8", "L9", "L10", "L11", "L4"] {
        assert!(rules.contains(&rule), "{rule} is not seen: {found:?}");
    }
}
