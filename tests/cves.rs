//! Published holes of container runtimes, as far as no other test file has them already. conformance/cves.md lists all of
//! them, each with the tests that hold it; the first test here holds that list against the tree.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Bundle, Canary, Runtime, Value, children, json, patience, texts, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

/// Every row of the table names tests, and every test that it names exists.
#[test]
fn every_row_of_the_table_has_tests_that_exist() {
    let table = fs::read_to_string("conformance/cves.md").expect("the table");
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| line.starts_with("| T") && !line.starts_with("| T |"))
        .map(|l| l.split('|').map(str::trim).collect())
        .collect();
    let numbers: BTreeSet<String> = rows.iter().map(|row| row[1].to_owned()).collect();
    assert_eq!(numbers, (1..=44).map(|n| format!("T{n:02}")).collect(), "one row each");
    let mut missing = Vec::new();
    for row in &rows {
        let names: Vec<&str> = row[5].split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "{}: no test", row[1]);
        missing.extend(names.iter().filter(|name| !exists(name)).map(|name| format!("{}: {name}", row[1])));
    }
    assert!(missing.is_empty(), "no such tests:\n  {}", missing.join("\n  "));
}

/// `file::test` below tests/, `src/…/file.rs::test`, or `steps::attack` of conformance/faults.
fn exists(name: &str) -> bool {
    let Some((file, test)) = name.rsplit_once("::") else { return false };
    let path = match file {
        "steps" => PathBuf::from("conformance/faults/src/step.rs"),
        _ if file.contains('/') => PathBuf::from(file),
        _ => PathBuf::from(format!("tests/{file}.rs")),
    };
    let text = fs::read_to_string(path).unwrap_or_default();
    let wanted = if file == "steps" { format!("\"{test}\"") } else { format!("fn {test}()") };
    text.contains(&wanted)
}

/// What is below a directory, with everything but access times.
fn listing(root: &Path) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        let meta = fs::symlink_metadata(&path).expect("it is there");
        let (mode, mtime) = (meta.mode(), (meta.mtime(), meta.mtime_nsec()));
        seen.insert(format!("{} {mode:o} {} {mtime:?} {}", path.display(), meta.ino(), meta.size()));
        if meta.is_dir() {
            todo.extend(fs::read_dir(&path).expect("a directory").flatten().map(|entry| entry.path()));
        }
    }
    seen
}

#[test]
fn nothing_is_written_into_a_root_that_has_everything() {
    let mut bundle = Bundle::new("nothing-written");
    bundle.args(["/bin/true"]);
    bundle.run().ok();
    let before = listing(&bundle.rootfs());
    bundle.run().ok();
    let after = listing(&bundle.rootfs());
    assert_eq!(before.symmetric_difference(&after).collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
fn a_root_that_changed_between_two_runs_is_looked_at_anew() {
    let mut bundle = Bundle::new("respawn");
    let canary = Canary::plant(&bundle.path("canary"));
    bundle.mount("/mnt/target", "tmpfs", "tmpfs", &[]).args(["/bin/true"]);
    bundle.run().ok();
    fs::remove_dir(bundle.path("rootfs/mnt/target")).expect("the target that the first run has made");
    symlink(canary.root(), bundle.path("rootfs/mnt/target")).expect("a link");
    bundle.run();
    canary.untouched();
}

/// CVE-2021-30465 and its kin, with a racing neighbour: a volume's directory and a link change places all the time.
#[test]
#[expect(clippy::disallowed_methods, reason = "the neighbour is a thread")]
fn a_target_that_changes_places_with_a_link_all_the_time_leads_nowhere_else() {
    let mut bundle = Bundle::new("race");
    let canary = Canary::plant(&bundle.path("canary"));
    let (dir, link) = (bundle.directory("rootfs/vol/a").join("."), bundle.path("rootfs/vol/link"));
    let dir = dir.parent().expect("vol/a").to_owned();
    symlink(canary.root(), &link).expect("a link");
    for n in 0..5 {
        bundle.mount(&format!("/vol/a/sub/{n}"), "tmpfs", "tmpfs", &[]);
    }
    bundle.set("/linux/maskedPaths/-", json!("/vol/a/secret")).set("/linux/readonlyPaths/-", json!("/vol/a/sub"));
    bundle.args(["/bin/true"]);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let exchange = nix::fcntl::RenameFlags::RENAME_EXCHANGE;
            while !stop.load(Ordering::Relaxed) {
                let _ = nix::fcntl::renameat2(nix::fcntl::AT_FDCWD, &dir, nix::fcntl::AT_FDCWD, &link, exchange);
            }
        });
        for _ in 0..60 {
            // It may fail: what was there is there no more. It may not lead out, nor leave anything.
            bundle.run();
        }
        stop.store(true, Ordering::Relaxed);
    });
    // The names have changed places, which is no change of what they mean.
    let changed: Vec<String> = canary.changes().into_iter().filter(|line| !line.starts_with("\"\"")).collect();
    assert!(changed.is_empty(), "{changed:?}");
}

#[test]
fn a_release_agent_cannot_be_set_from_inside() {
    let mut bundle = Bundle::new("release-agent");
    let script =
        "for f in /sys/fs/cgroup/*/release_agent /sys/fs/cgroup/*/notify_on_release /sys/fs/cgroup/cgroup.procs; do
            [ -e $f ] && echo 1 > $f && echo \"written: $f\"; done; echo end";
    bundle.args(["/bin/sh", "-c", script]);
    let output = bundle.run();
    assert_eq!(output.stdout, "end\n", "{}", output.stderr);
}

#[test]
fn nothing_of_an_image_or_of_the_host_is_loaded_as_a_library() {
    let mut bundle = Bundle::new("static");
    for name in ["etc/ld.so.preload", "etc/nsswitch.conf", "etc/localtime", "lib/libnss_files.so.2"] {
        bundle.write(&format!("rootfs/{name}"), "/probe\n");
    }
    bundle.args(["/bin/true"]).save();
    let (trace, base, id) = (bundle.text("trace"), bundle.text(""), bundle.id.clone());
    let script = format!("exec strace -f -qq -o {trace} -e trace=open,openat,openat2,execve,execveat \"$@\"");
    Runtime::in_shell(&script, &bundle, &["run", "--bundle", &base, &id]).run().ok();
    let text = fs::read_to_string(trace).expect("the trace");
    let bad = ["ld.so", "nsswitch", "libnss", ".so\"", ".so.", "localtime", "/locale/", "gconv"];
    let loaded: Vec<&str> = text.lines().filter(|line| bad.iter().any(|name| line.contains(name))).collect();
    assert!(text.contains("execveat(") && loaded.is_empty(), "{loaded:?}");
}

#[test]
fn an_annotation_sets_no_property_of_a_systemd_unit() {
    let mut bundle = Bundle::new("annotation");
    let planted = bundle.text("planted");
    let command = format!("[('/bin/touch', ['/bin/touch', '{planted}'], false)]");
    bundle.set(
        "/annotations",
        json!({"org.systemd.property.ExecStartPost": command, "org.systemd.property.User": "'root'"}),
    );
    bundle.args(["/bin/true"]);
    bundle.run();
    assert!(fs::symlink_metadata(planted).is_err());
}

#[test]
fn the_written_config_masks_what_tells_of_the_host() {
    let directory = tempfile::tempdir().expect("a directory");
    let done = std::process::Command::new(Runtime::program()).arg("spec").current_dir(directory.path()).status();
    assert!(done.is_ok_and(|status| status.success()));
    let config: Value = serde_json::from_slice(&fs::read(directory.path().join("config.json")).unwrap()).unwrap();
    let (masked, readonly) = (texts(&config["linux"]["maskedPaths"]), texts(&config["linux"]["readonlyPaths"]));
    for path in [
        "/proc/acpi",
        "/proc/asound",
        "/proc/interrupts",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/proc/sched_debug",
        "/proc/scsi",
        "/sys/firmware",
        "/sys/devices/virtual/powercap",
    ] {
        assert!(masked.iter().any(|m| m == path), "{path} is not masked");
    }
    for path in ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"] {
        assert!(readonly.iter().any(|r| r == path), "{path} is not read-only");
    }
}

#[test]
fn a_created_container_listens_on_no_abstract_socket() {
    let mut bundle = Bundle::new("abstract");
    bundle.without_namespace("network").args(["/bin/true"]);
    bundle.create().ok();
    let pid = bundle.pid();
    let links = fs::read_dir(format!("/proc/{pid}/fd")).expect("its descriptors").flatten();
    let links: Vec<String> = links.filter_map(|e| Some(fs::read_link(e.path()).ok()?.display().to_string())).collect();
    let table = fs::read_to_string(format!("/proc/{pid}/net/unix")).expect("the table of sockets");
    let ours = |line: &&str| line.split_whitespace().nth(6).is_some_and(|i| links.contains(&format!("socket:[{i}]")));
    let ours: Vec<&str> = table.lines().filter(ours).collect();
    assert!(!ours.is_empty(), "it waits on a socket: {links:?}");
    assert!(ours.iter().all(|line| !line.contains('@')), "{ours:?}");
    bundle.delete().ok();
}

#[test]
fn long_texts_cross_whole_or_not_at_all() {
    for length in [65_534, 65_535, 65_536, 65_537, 131_000] {
        let mut bundle = Bundle::new("long");
        let value = format!("LONG={}", "x,\n".repeat(length / 3));
        bundle.set("/process/env/-", json!(value));
        let seen = bundle.fingerprint(&[]);
        assert!(texts(&seen["env"]).contains(&value), "{length} bytes did not arrive");
    }
    let mut bundle = Bundle::new("too-long");
    bundle.set("/process/env/-", json!(format!("LONG={}", "x".repeat(200_000)))).args(["/bin/true"]);
    bundle.run().fails(&[]);
}

#[test]
fn a_zero_byte_ends_no_text_early() {
    for pointer in ["/process/args/0", "/process/cwd", "/process/env/0", "/hostname", "/mounts/0/source", "/root/path"]
    {
        let mut bundle = Bundle::new("zero");
        bundle.args(["/bin/true"]).set(pointer, json!("/bin/true\0/x"));
        bundle.run().fails(&[]);
    }
}

#[test]
fn sysctls_that_would_change_the_host_are_refused() {
    let keys = [
        "vm.swappiness",
        "kernel.core_pattern",
        "kernel/../vm/swappiness",
        "net.ipv4..x",
        "net.ipv4.x.",
        "kernel.msg\n",
    ];
    for key in keys {
        let mut bundle = Bundle::new("sysctl");
        bundle.config["linux"]["sysctl"] = json!({key: "1"});
        bundle.args(["/bin/true"]).run().fails(&["/linux/sysctl"]);
    }
    for (kind, key) in
        [("network", "net.ipv4.ip_unprivileged_port_start"), ("ipc", "kernel.shmmni"), ("uts", "kernel.domainname")]
    {
        // The value of now: a test that fails changes nothing.
        let value = fs::read_to_string(format!("/proc/sys/{}", key.replace('.', "/"))).expect("a sysctl");
        let mut bundle = Bundle::new("sysctl-host");
        bundle.config["linux"]["sysctl"] = json!({key: value.trim()});
        bundle.without_namespace(kind).remove("/hostname").args(["/bin/true"]).run().fails(&["/linux/sysctl"]);
        // The caller's own namespace, given by its path, is the host's as well.
        let short = if kind == "network" { "net" } else { kind };
        bundle.join(kind, &format!("/proc/self/ns/{short}"));
        bundle.run().fails(&["would change the caller's own"]);
    }
}

/// Somebody else has got the pid of a container's init: no verb may take it for init.
#[test]
fn a_stranger_with_the_pid_of_init_gets_no_signal() {
    let mut bundle = Bundle::new("pid-reuse");
    bundle.args(["/probe", "sleep"]);
    bundle.create().ok();
    bundle.start().ok();
    let pid = bundle.pid() as i32;
    bundle.kill("KILL").ok();
    bundle.wait_status("stopped");
    let Some(stranger) = wait_until(patience(), || children::born_as(pid)) else {
        skip!("pid {pid} could not be had again (set_tid needs CAP_CHECKPOINT_RESTORE)");
    };
    assert_eq!(bundle.status(), "stopped");
    let id = bundle.id.clone();
    for words in
        [vec!["kill", &id, "KILL"], vec!["pause", &id], vec!["exec", &id, "/bin/true"], vec!["delete", "--force", &id]]
    {
        bundle.rt(&words).run();
        assert_eq!(waitpid(stranger, Some(WaitPidFlag::WNOHANG)), Ok(WaitStatus::StillAlive), "{words:?}");
    }
    kill(stranger, Signal::SIGKILL).expect("our own child");
    waitpid(stranger, None).expect("our own child");
}

/// Groups that the user namespace doesn't have can't be asked for: an error, not a process with fewer groups.
#[test]
fn without_the_right_over_groups_nobody_leaves_one() {
    let mut bundle = Bundle::new("setgroups");
    // One id, as an ordinary caller has it.
    bundle.config["linux"].as_object_mut().expect("an object").remove("cgroupsPath");
    bundle.namespaces(&["pid", "mount", "user"]);
    let one = |inside: u32| json!([{"containerID": inside, "hostID": 0, "size": 1}]);
    bundle.set("/linux/uidMappings", one(0)).set("/linux/gidMappings", one(0));
    bundle.set("/process/user/additionalGids", json!([4242])).args(["/probe", "fingerprint"]);
    bundle.run().fails(&["additionalGids"]);
}
