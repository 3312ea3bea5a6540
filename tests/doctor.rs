//! `rt doctor`: each verdict is held against what the test reads from the kernel in another way, and made worse in
//! namespaces of the test's own. What it says a bundle lacks, the bundle fails for.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::{Bundle, Output, Runtime, Value, json};

/// The lines that a doctor printed.
struct Lines(Vec<Value>);

impl Lines {
    fn of(stdout: &[u8]) -> Self {
        Self(serde_json::from_slice(stdout).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(stdout))))
    }

    #[track_caller]
    fn named(&self, name: &str) -> &Value {
        let found = self.0.iter().find(|line| line["name"] == name);
        found.unwrap_or_else(|| panic!("no line {name:?} in {:#?}", self.0))
    }

    #[track_caller]
    fn verdict(&self, name: &str) -> &str {
        self.named(name)["verdict"].as_str().unwrap()
    }

    #[track_caller]
    fn found(&self, name: &str) -> &str {
        self.named(name)["found"].as_str().unwrap()
    }

    /// Asserts that something is amiss, and that the remedy has this text.
    #[track_caller]
    fn amiss(&self, name: &str, verdict: &str, remedy: &str) {
        let line = self.named(name);
        assert_eq!(line["verdict"], verdict, "{line}");
        assert!(line["remedy"].as_str().unwrap_or_default().contains(remedy), "{line}");
    }
}

/// The doctor, under a shell in whose script it is `"$@"`; the exit code goes by the lines.
#[track_caller]
fn under(script: &str, global: &[&str]) -> Lines {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", script, "sh"]).arg(Runtime::program()).args(global).args(["doctor", "--json"]);
    let output = shell.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").output();
    let output = output.expect("a shell");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let lines = Lines::of(&output.stdout);
    let failed = lines.0.iter().any(|line| line["verdict"] == "fail");
    assert_eq!(output.status.code(), Some(i32::from(failed)));
    lines
}

fn doctor() -> Lines {
    under("exec \"$@\"", &[])
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim_end().to_owned()
}

#[test]
fn every_line_that_is_not_ok_has_a_remedy() {
    let lines = doctor();
    assert!(lines.0.len() > 40);
    for line in &lines.0 {
        let text = |name: &str| line[name].as_str().unwrap_or_default();
        assert!(!text("subject").is_empty() && !text("name").is_empty() && !text("probed").is_empty(), "{line}");
        assert!(!text("found").is_empty(), "{line}");
        assert_eq!(text("verdict") == "ok", text("remedy").is_empty(), "{line}");
    }
    let output = Command::new(Runtime::program()).arg("doctor").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for line in &lines.0 {
        let wanted = format!("{}: {} [{}]", line["name"], line["found"], line["probed"]).replace('"', "");
        // What a probe counts may have changed meanwhile; the names don't.
        assert!(text.contains(&wanted) || text.contains(line["name"].as_str().unwrap()), "{wanted}\n{text}");
    }
    assert!(text.ends_with("missing\n"), "{text}");
}

#[test]
fn kernel_and_seccomp_are_what_proc_says() {
    let lines = doctor();
    assert_eq!(lines.found("version"), format!("Linux {}", read("/proc/sys/kernel/osrelease")));
    assert_eq!(lines.verdict("seccomp actions"), "ok");
    assert_eq!(lines.found("seccomp actions"), read("/proc/sys/kernel/seccomp/actions_avail"));
    let symbols = read("/proc/kallsyms");
    for (name, symbol) in [("clone3", "sys_clone3"), ("openat2", "sys_openat2"), ("mount_setattr", "sys_mount_setattr")]
    {
        let known = symbols.lines().any(|line| line.ends_with(symbol));
        assert_eq!(lines.verdict(name) == "ok", known || symbols.is_empty(), "{name}");
    }
}

#[test]
fn namespaces_are_those_that_can_be_made() {
    let lines = doctor();
    for (name, file) in [("pid", "pid"), ("network", "net"), ("mount", "mnt"), ("user", "user"), ("cgroup", "cgroup")] {
        if fs::read_link(format!("/proc/self/ns/{file}")).is_err() {
            assert_ne!(lines.verdict(name), "ok", "{name}");
            continue;
        }
        let limit = read(&format!("/proc/sys/user/max_{file}_namespaces"));
        assert_eq!(lines.found(name), format!("can be made; at most {limit} for each user"));
    }
    // In a user namespace of our own we may set the limits, for all that is in it.
    let limited = |kind: &str| {
        under(
            &format!("unshare -Ur sh -c 'echo 0 > /proc/sys/user/max_{kind}_namespaces && exec \"$@\"' sh \"$@\""),
            &[],
        )
    };
    limited("net").amiss("network", "note", "sysctl -w user.max_net_namespaces=10000 (it is 0)");
    limited("mnt").amiss("mount", "fail", "sysctl -w user.max_mnt_namespaces=10000 (it is 0)");
    limited("user").amiss("user", "fail", "sysctl -w user.max_user_namespaces=10000 (it is 0)");
}

#[test]
fn cgroups_are_where_they_are_mounted() {
    let lines = doctor();
    let all = common::cgroups::hierarchies();
    let mode = lines.found("mode");
    let (v1, v2) = (all.iter().any(|tree| !tree.unified), all.iter().any(|tree| tree.unified));
    let wanted = match (v1, v2) {
        (true, true) => "hybrid",
        (true, false) => "v1",
        _ => "v2",
    };
    assert!(mode.starts_with(wanted), "{mode}");
    for (v1_name, name) in
        [("cpu", "cpu"), ("memory", "memory"), ("pids", "pids"), ("cpuset", "cpuset"), ("blkio", "io")]
    {
        let place = common::cgroups::v2(name).map(|dir| format!("v2, in {}", dir.display()));
        let place = place.or_else(|| common::cgroups::v1(v1_name).map(|dir| format!("v1, at {}", dir.display())));
        match place {
            Some(place) => assert_eq!(lines.found(name), place),
            None => assert_eq!(lines.verdict(name), "note", "{name}"),
        }
    }
    let without = under("unshare -m sh -c 'umount -R /sys/fs/cgroup && exec \"$@\"' sh \"$@\"", &[]);
    without.amiss("mode", "fail", "mount -t cgroup2");
    without.amiss("memory", "note", "");
}

#[test]
fn the_bounding_set_is_that_of_the_status_file() {
    let status = read("/proc/self/status");
    let bounding = status.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap().trim();
    let bounding = u64::from_str_radix(bounding, 16).unwrap();
    let lines = doctor();
    let found = lines.found("bounding set");
    let lost = bounding & (1 << 24) == 0;
    assert_eq!(found.contains("CAP_SYS_RESOURCE"), lost, "{found}");
    assert!(!found.contains("CAP_KILL"), "{found}");
    let without = under("exec setpriv --bounding-set=-mknod,-kill \"$@\"", &[]);
    without.amiss("bounding set", "note", "CapabilityBoundingSet=");
    let found = without.found("bounding set");
    assert!(found.contains("CAP_KILL") && found.contains("CAP_MKNOD: device nodes can't be made"), "{found}");
}

#[test]
fn the_state_needs_a_place_that_can_be_written_to() {
    let lines =
        under("unshare -m sh -c 'mount -t tmpfs -o ro none /mnt && exec \"$@\"' sh \"$@\"", &["--root", "/mnt/a/b"]);
    lines.amiss("state in /mnt/a/b", "fail", "--root");
    let lines = under("unshare -m sh -c 'mount -t tmpfs none /mnt && exec \"$@\"' sh \"$@\"", &["--root", "/mnt/a/b"]);
    assert_eq!(lines.found("state in /mnt/a/b"), "writable, a tmpfs, to be made in /mnt");
    assert_eq!(lines.verdict("state in /mnt/a/b"), "ok");
}

#[test]
fn what_covers_proc_is_seen() {
    assert_eq!(doctor().verdict("proc uncovered"), "ok", "or this test runs in a container");
    let lines = under("unshare -m sh -c 'mount --bind /dev/null /proc/uptime && exec \"$@\"' sh \"$@\"", &[]);
    lines.amiss("proc uncovered", "note", "bind /proc instead");
    assert!(lines.found("proc uncovered").contains("/proc/uptime"));
}

#[test]
fn programs_are_looked_for_in_path() {
    let bundle = Bundle::new("doctor-path");
    let bin = bundle.directory("bin");
    let path = |dir: &Path| format!("PATH={} exec \"$@\"", dir.display());
    let none = under(&path(&bin), &[]);
    none.amiss("criu", "note", "apt-get install criu");
    none.amiss("newuidmap", "note", "apt-get install uidmap");
    bundle.script("bin/criu", "#!/bin/sh\n[ \"$1\" = --version ] && echo 'Version: 4.1.1'\n");
    bundle.script("bin/newuidmap", "#!/bin/sh\n");
    let some = under(&path(&bin), &[]);
    assert!(some.found("criu").ends_with("bin/criu, version 4.1.1"), "{}", some.found("criu"));
    some.amiss("newuidmap", "note", "chmod u+s ");
}

#[test]
fn criu_is_looked_for_where_checkpoint_looks_for_it() {
    let bundle = Bundle::new("doctor-criu");
    let says = |version: &str| format!("#!/bin/sh\n[ \"$1\" = --version ] && echo 'Version: {version}'\n");
    let one = bundle.script("one/criu", &says("4.1")).display().to_string();
    let other = bundle.script("other/anything", &says("4.2")).display().to_string();
    let by_variable = format!("RT_CRIU={other} exec \"$@\"");
    for (script, global, want) in [
        (format!("PATH={} exec \"$@\"", bundle.path("one").display()), vec![], format!("{one}, version 4.1")),
        (by_variable.clone(), vec![], format!("{other}, version 4.2")),
        ("exec \"$@\"".to_owned(), vec!["--criu", one.as_str()], format!("{one}, version 4.1")),
        (by_variable.clone(), vec!["--criu", one.as_str()], format!("{one}, version 4.1")),
    ] {
        let lines = under(&script, &global);
        assert_eq!((lines.verdict("criu"), lines.found("criu")), ("ok", want.as_str()), "{script} {global:?}");
    }
    let none = under(&by_variable, &["--criu", "/nowhere/criu"]);
    none.amiss("criu", "note", "--criu PATH or RT_CRIU");
    assert!(none.found("criu").contains("/nowhere/criu"), "{}", none.found("criu"));
}

/// What somebody without rights is told.
#[test]
fn users_are_told_what_they_need() {
    let lines = under(
        "cp \"$1\" /tmp/rt-doctor-$$ && chmod 755 /tmp/rt-doctor-$$ && shift && { \
                       setpriv --reuid=54321 --regid=54321 --clear-groups /tmp/rt-doctor-$$ \"$@\"; code=$?; \
                       rm /tmp/rt-doctor-$$; exit $code; }",
        &["--root", "/nowhere/rt"],
    );
    assert_eq!(lines.found("who we are"), "uid 54321");
    lines.amiss("/etc/subuid", "note", "usermod --add-subuids");
    lines.amiss("state in /nowhere/rt", "fail", "XDG_RUNTIME_DIR");
    assert!(!lines.0.iter().any(|line| line["name"] == "user namespaces of users"));
}

fn examine(bundle: &Bundle) -> (Output, Lines) {
    bundle.save();
    let output = bundle.rt(&["doctor", "--json", &bundle.text("")]).run();
    let lines = Lines::of(output.stdout.as_bytes());
    (output, lines)
}

#[test]
fn a_bundle_that_runs_lacks_nothing() {
    let mut bundle = Bundle::new("doctor-sound");
    bundle.args(["sh", "-c", "true"]);
    bundle.set("/linux/resources", json!({"pids": {"limit": 50}, "memory": {"limit": 64 << 20}}));
    bundle.set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1"}));
    // Some files of a cgroup are to be seen only where there is one besides the root.
    bundle.create().ok();
    let (output, lines) = examine(&bundle);
    output.ok();
    assert!(lines.found("/process/args/0").ends_with("/bin/sh"), "{}", lines.found("/process/args/0"));
    for name in ["/root/path", "/linux/sysctl/net.ipv4.ip_forward", "/linux/resources/pids/limit", "mount", "pid"] {
        assert_eq!(lines.verdict(name), "ok", "{name}");
    }
    // Only what this one needs.
    assert!(!lines.0.iter().any(|line| line["name"] == "criu" || line["name"] == "user"), "{:#?}", lines.0);
    bundle.start().ok();
    bundle.wait_status("stopped");
    bundle.delete().ok();
}

#[test]
fn what_a_bundle_lacks_is_named_with_a_remedy_and_it_does_not_run() {
    type Break = fn(&mut Bundle);
    let broken: [(&str, Break, &str, &str); 9] = [
        ("program", |b| _ = b.args(["/no/such/program"]), "/process/args/0", "install it in the root file system"),
        (
            "interpreter",
            |b| {
                b.script("rootfs/script", "#!/no/such/shell\n");
                b.args(["/script"]);
            },
            "/process/args/0",
            "install it in the root file system",
        ),
        (
            "machine",
            |b| {
                let mut program = fs::read(b.path("rootfs/bin/busybox")).unwrap();
                // EM_VAX: nobody has that.
                program[18..20].copy_from_slice(&75u16.to_le_bytes());
                fs::write(b.path("rootfs/vax"), program).unwrap();
                b.script("rootfs/x", "");
                let mode = fs::metadata(b.path("rootfs/x")).unwrap().permissions();
                fs::set_permissions(b.path("rootfs/vax"), mode).unwrap();
                b.args(["/vax"]);
            },
            "/process/args/0",
            "another image",
        ),
        (
            "hook",
            |b| _ = b.set("/hooks/createRuntime", json!([{"path": "/no/such/hook"}])),
            "/hooks/createRuntime/0",
            "install the program",
        ),
        (
            "filesystem",
            |b| _ = b.mount("/mnt", "nosuchfs", "none", &[]),
            "/mounts/7, a nosuchfs",
            "boot a kernel with nosuchfs",
        ),
        (
            "sysctl",
            |b| _ = b.set("/linux/sysctl", json!({"net.no.such": "1"})),
            "/linux/sysctl/net.no.such",
            "boot a kernel that has it",
        ),
        ("source", |b| _ = b.mount("/mnt", "bind", "/no/such/source", &["bind"]), "/mounts/7", "correct the path"),
        (
            "files",
            |b| {
                let limit = json!([{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 1u64 << 40}]);
                b.set("/process/rlimits", limit);
            },
            "/process/rlimits/0",
            "sysctl -w fs.nr_open=1099511627776",
        ),
        (
            "device",
            |b| _ = b.set("/linux/netDevices", json!({"nosuch0": {}})),
            "/linux/netDevices/nosuch0",
            "ip link add nosuch0",
        ),
    ];
    for (what, change, name, remedy) in broken {
        let mut bundle = Bundle::new(&format!("doctor-{what}"));
        bundle.args(["/bin/true"]);
        change(&mut bundle);
        let (output, lines) = examine(&bundle);
        assert_eq!(output.code(), Some(1), "{what}");
        lines.amiss(name, "fail", remedy);
        assert!(!bundle.run().success(), "{what}: it runs all the same");
    }
}

#[test]
fn a_config_that_is_refused_is_no_matter_of_the_host() {
    let mut bundle = Bundle::new("doctor-refused");
    bundle.set("/process/cwd", json!("relative"));
    let (output, lines) = examine(&bundle);
    assert_eq!(output.code(), Some(1));
    lines.amiss("/process/cwd", "fail", "begin it with /");
    bundle.rt(&["doctor", "/no/such/bundle"]).run().exits(1).fails(&["no such file or directory"]);
}
