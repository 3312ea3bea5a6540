//! Faults that need no tracer: too few descriptors, processes, memory, room, namespaces; no standard descriptors; a kernel, or a
//! filter around us, that doesn't have a call. Each time `rt` gives all that was asked for or says what it lacks, and nothing
//! is left.

mod common;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use common::caller::{closed_standard, without_call};
use common::{Bundle, Output, Runtime, Value, cgroups, json};
use nix::sys::resource::{Resource, setrlimit};

/// A container that says what it got, and what it says when nothing is scarce.
fn bundle(name: &str) -> (Bundle, Value) {
    let mut bundle = Bundle::new(name);
    bundle.set("/linux/resources", json!({"pids": {"limit": 64}, "memory": {"limit": 256 << 20}}));
    bundle.set("/linux/maskedPaths", json!(["/proc/kcore"])).set("/linux/readonlyPaths", json!(["/proc/sys"]));
    let golden = bundle.fingerprint(&[]);
    (bundle, essence(&golden))
}

/// What of a fingerprint is isolation: it must be there whole or not at all.
fn essence(seen: &Value) -> Value {
    let mut mounts = seen["mounts"].as_array().expect("mounts").clone();
    for mount in &mut mounts {
        for name in ["id", "parent", "dev", "optional", "root", "source"] {
            mount[name] = Value::Null;
        }
    }
    let names = ["uid", "gid", "groups", "caps", "no_new_privs", "securebits", "umask", "cwd", "env", "signals"];
    let mut all: serde_json::Map<String, Value> =
        names.iter().map(|name| ((*name).to_owned(), seen[*name].clone())).collect();
    let ours = |name: &str| common::own_namespace(name);
    let spaces = seen["ns"].as_object().expect("namespaces").iter();
    all.extend(spaces.map(|(name, inode)| (name.clone(), json!(inode.as_u64() == Some(ours(name))))));
    all.insert("mounts".into(), mounts.into());
    all.insert("descriptors".into(), seen["fds"].as_array().expect("descriptors").len().into());
    all.into()
}

/// All that was asked for, or a clear error; either way nothing is left at once. Gives whether it succeeded.
#[track_caller]
fn whole_or_refused(bundle: &Bundle, golden: &Value, output: &Output, what: &str) -> bool {
    assert!(!output.stderr.contains("panicked"), "{what}: {}", output.stderr);
    if output.success() {
        assert_eq!(&essence(&output.json()), golden, "{what}: success, but not all that was asked for");
    } else if let Ok(seen) = serde_json::from_str(&output.stdout) {
        // The workload has run to its end, and what is said is that its remains are there: they can be removed later.
        assert_eq!(&essence(&seen), golden, "{what}: it ran without all that was asked for");
        bundle.rt(&["delete", "--force", &bundle.id]).run().ok();
    } else {
        assert!(output.code().is_some(), "{what}: ended by a signal: {}", output.stderr);
        assert!(output.stderr.contains("rt: "), "{what}: refused without a word: {:?}", output.stderr);
    }
    let leaks = bundle.leaks();
    assert!(leaks.is_empty(), "{what}: left behind: {leaks:?}");
    output.success()
}

fn limited(bundle: &Bundle, resource: Resource, limit: u64) -> Runtime {
    bundle.run_command().before_exec(move || Ok(setrlimit(resource, limit, limit)?))
}

#[test]
fn with_too_few_descriptors_it_is_refused() {
    let (mut bundle, _) = bundle("nofile");
    // A limit of the config's own would have to be raised, which is another matter.
    bundle.remove("/process/rlimits");
    let golden = essence(&bundle.fingerprint(&[]));
    let went = |limit: u64| {
        let output = limited(&bundle, Resource::RLIMIT_NOFILE, limit).run();
        whole_or_refused(&bundle, &golden, &output, &format!("{limit} descriptors"))
    };
    let fine: Vec<u64> = (3..=40).chain([64, 128]).filter(|limit| went(*limit)).collect();
    assert!(!fine.contains(&4) && fine.contains(&128), "it worked with {fine:?} descriptors");
}

/// A cgroup for the runtime itself, not for the container.
struct Around(PathBuf);

impl Around {
    /// With this value in the control file of its controller, under v1 or v2; none, where that controller can't be used.
    fn new(controller: &str, file: [&str; 2], name: &str, value: &str) -> Option<Around> {
        let (top, file) = match (cgroups::v1(controller), cgroups::v2(controller)) {
            (Some(top), _) => (top, file[0]),
            (None, Some(top)) => (top, file[1]),
            _ => return None,
        };
        let around = Around(top.join(format!("scarce-{name}-{}", std::process::id())));
        fs::create_dir(&around.0).expect("a cgroup");
        fs::write(around.0.join(file), value).ok().map(|()| around)
    }

    /// The runtime in it.
    fn holds(&self, runtime: Runtime) -> Runtime {
        let list = self.0.join("cgroup.procs");
        runtime.before_exec(move || fs::write(&list, "0"))
    }
}

impl Drop for Around {
    fn drop(&mut self) {
        let gone = common::wait_until(common::patience(), || fs::remove_dir(&self.0).ok());
        assert!(gone.is_some() || std::thread::panicking(), "{} is busy", self.0.display());
    }
}

#[test]
fn with_too_few_processes_it_is_refused() {
    let (bundle, golden) = bundle("pids");
    let mut fine = Vec::new();
    for limit in 1..=6 {
        let Some(around) = Around::new("pids", ["pids.max"; 2], "pids", &limit.to_string()) else {
            skip!("no controller pids at hand");
        };
        let output = around.holds(bundle.run_command()).run();
        if whole_or_refused(&bundle, &golden, &output, &format!("{limit} processes")) {
            fine.push(limit);
        }
    }
    // On v2 init is born in the container's cgroup, which is beside the caller's, and counts there.
    let first_counts_elsewhere = cgroups::is_v2();
    assert!(fine.contains(&1) == first_counts_elsewhere && fine.contains(&6), "it worked with {fine:?} processes");
}

/// The kernel kills whoever asks for too much, at any moment: what is left then, `delete --force` removes.
#[test]
fn killed_for_want_of_memory_it_can_be_cleaned_up() {
    let (bundle, golden) = bundle("memory");
    let (id, mut killed) = (bundle.id.clone(), 0);
    for kib in [128, 256, 384, 512, 768, 1024, 1536, 2048, 4096, 8192] {
        let files = ["memory.limit_in_bytes", "memory.max"];
        let Some(around) = Around::new("memory", files, "memory", &format!("{kib}K")) else {
            skip!("no controller memory at hand, or no such limit");
        };
        let output = around.holds(bundle.run_command()).run();
        if output.code().is_none() {
            killed += 1;
            bundle.rt(&["delete", "--force", &id]).run().ok();
            bundle.nothing_left();
        } else {
            whole_or_refused(&bundle, &golden, &output, &format!("{kib} KiB"));
        }
    }
    assert!(killed > 0, "the limit was never reached");
}

/// The runtime with a small filesystem of its own for its state; says on stderr what is left in it.
fn in_a_small_state(bundle: &Bundle, options: &str) -> Output {
    bundle.directory("state");
    let words = ["run", "--bundle", &bundle.text(""), &bundle.id];
    let script = r#"mount -t tmpfs -o mode=700,"$SIZE" none "$STATE" || exit 99
        "$@"; code=$?
        for left in "$STATE"/* "$STATE"/.[!.]*; do test -e "$left" && echo "left: $left" >&2; done
        exit $code"#;
    let script = format!("exec unshare --mount --propagation private sh -c '{script}' sh \"$@\"");
    bundle.save();
    let state = bundle.state_root().display().to_string();
    Runtime::in_shell(&script, bundle, &words).env("SIZE", options).env("STATE", &state).run()
}

#[test]
fn with_no_room_for_its_state_it_is_refused() {
    let (bundle, golden) = bundle("room");
    let mut fine = Vec::new();
    // 0 is no limit; the root of the filesystem is the first inode.
    let inodes = (1..=8).map(|number| format!("nr_inodes={number}"));
    for options in inodes.chain((1..=4).map(|pages| format!("size={}k", 4 * pages))) {
        let output = in_a_small_state(&bundle, &options);
        assert!(!output.stderr.contains("left: "), "{options}: {}", output.stderr);
        if whole_or_refused(&bundle, &golden, &output, &options) {
            fine.push(options);
        } else {
            assert!(output.stderr.contains("no space left on device"), "{options}: {}", output.stderr);
        }
    }
    assert!(fine.contains(&"nr_inodes=8".to_owned()), "it worked with {fine:?}");
    assert!(!fine.contains(&"nr_inodes=1".to_owned()), "it worked with {fine:?}");
}

/// A file that may not grow comes with a signal that kills whoever doesn't expect it.
#[test]
fn with_files_that_may_not_grow_it_is_refused() {
    let (mut bundle, _) = bundle("fsize");
    bundle.args(["/probe", "exit", "0"]);
    for limit in [0, 1, 64, 512, 1024, 4096, 65536] {
        let output = limited(&bundle, Resource::RLIMIT_FSIZE, limit).run();
        assert!(output.code().is_some(), "{limit} bytes: ended by a signal");
        // Its own complaint goes to a file as well.
        assert!(
            output.success() || limit < 64 || output.stderr.contains("file too large"),
            "{limit}: {}",
            output.stderr
        );
        assert!(output.success() || limit < 65536, "{limit} bytes: {}", output.stderr);
        bundle.nothing_left();
    }
}

/// In a user namespace that may hold no more of a kind of namespace.
#[test]
fn with_no_namespace_to_be_had_it_is_refused() {
    let (mut bundle, _) = bundle("spaces");
    bundle.args(["/probe", "exit", "0"]).save();
    let words = ["run", "--bundle", &bundle.text(""), &bundle.id];
    let run = |command: &str| {
        let script = format!("exec unshare --user --map-root-user --mount sh -c '{command} && exec \"$@\"' sh \"$@\"");
        Runtime::in_shell(&script, &bundle, &words).run()
    };
    let free = run("true");
    if !free.success() {
        skip!("in a user namespace of ours nothing works: {}", free.stderr);
    }
    let asked = bundle.config["linux"]["namespaces"].as_array().expect("namespaces").clone();
    for kind in asked.iter().map(|space| space["type"].as_str().expect("a type")) {
        let file = match kind {
            "mount" => "mnt",
            "network" => "net",
            other => other,
        };
        let output = run(&format!("echo 0 >/proc/sys/user/max_{file}_namespaces"));
        output.fails(&["no space left on device"]);
        bundle.nothing_left();
    }
}

/// Nothing of the runtime takes the place of a descriptor that the caller has closed.
#[test]
fn without_standard_descriptors_nothing_takes_their_place() {
    let (mut bundle, _) = bundle("stdio");
    let out = bundle.directory("out");
    bundle.mount("/out", "bind", out.to_str().expect("text"), &["rbind", "rw"]);
    bundle.args(["/probe", "fingerprint", "--out", "/out/seen"]);
    for closed in 0..8 {
        let close = closed_standard((0..3).filter(move |fd| closed & (1 << fd) != 0));
        let output = bundle.run_command().before_exec(close).run();
        assert!(output.success(), "closed {closed:03b}: {}", output.stderr);
        let seen: Value = serde_json::from_slice(&fs::read(out.join("seen")).expect("its file")).expect("JSON");
        let open: Vec<i64> =
            seen["fds"].as_array().expect("a list").iter().filter_map(|fd| fd["fd"].as_i64()).collect();
        let left: Vec<i64> = (0..3).filter(|fd| closed & (1 << fd) == 0).collect();
        assert_eq!(open, left, "closed {closed:03b}: {}", seen["fds"]);
        bundle.nothing_left();
    }
}

const NEW: [(&str, i64); 16] = [
    ("clone3", libc::SYS_clone3),
    ("close_range", libc::SYS_close_range),
    ("execveat", libc::SYS_execveat),
    ("faccessat2", libc::SYS_faccessat2),
    ("fsconfig", libc::SYS_fsconfig),
    ("fsmount", libc::SYS_fsmount),
    ("fsopen", libc::SYS_fsopen),
    ("memfd_create", libc::SYS_memfd_create),
    ("mount_setattr", libc::SYS_mount_setattr),
    ("move_mount", libc::SYS_move_mount),
    ("open_tree", libc::SYS_open_tree),
    ("openat2", libc::SYS_openat2),
    ("pidfd_open", libc::SYS_pidfd_open),
    ("pidfd_send_signal", libc::SYS_pidfd_send_signal),
    ("seccomp", libc::SYS_seccomp),
    ("statx", libc::SYS_statx),
];

/// Old kernels say ENOSYS, old filters around us EPERM.
#[test]
fn without_a_new_system_call_it_falls_back_or_names_it() {
    let (bundle, golden) = bundle("enosys");
    let mut told = Vec::new();
    for (name, call) in NEW {
        for errno in [libc::ENOSYS, libc::EPERM] {
            let output = bundle.run_command().before_exec(without_call(call, errno)).run();
            let what = format!("{name} comes to {}", io::Error::from_raw_os_error(errno));
            if whole_or_refused(&bundle, &golden, &output, &what) {
                told.push(format!("{name}: fine"));
            } else {
                // EPERM has many reasons; ENOSYS has one, and who reads of it wants to know the call.
                let named = errno != libc::ENOSYS || output.stderr.contains(name);
                assert!(named, "{what}, but it says: {}", output.stderr);
                told.push(format!("{name}: refused"));
            }
        }
    }
    assert!(
        told.iter().any(|text| text.ends_with("fine")) && told.iter().any(|text| text.ends_with("refused")),
        "{told:?}"
    );
    println!("{}", told.join("\n"));
}

/// What stands between the verbs and a container that runs.
#[test]
fn without_a_new_system_call_a_running_container_is_not_given_up() {
    let mut bundle = Bundle::new("enosys-verbs");
    bundle.args(["/probe", "sleep"]);
    for (name, call) in NEW {
        bundle.create().ok();
        bundle.start().ok();
        let id = bundle.id.clone();
        for words in [vec!["state", &id], vec!["exec", &id, "/probe", "exit", "0"], vec!["delete", "--force", &id]] {
            let output = bundle.rt(&words).before_exec(without_call(call, libc::ENOSYS)).run();
            assert!(
                !output.stderr.contains("panicked") && output.code().is_some(),
                "{name}: {words:?}: {}",
                output.stderr
            );
            assert!(output.success() || output.stderr.contains(name), "{name}: {words:?}: {}", output.stderr);
        }
        bundle.rt(&["delete", "--force", &id]).run().ok();
        bundle.nothing_left();
    }
}

#[test]
fn the_essence_tells_a_missing_mask_from_none() {
    let (_bundle, golden) = bundle("essence");
    let masked = golden["mounts"].as_array().expect("mounts").iter().any(|mount| mount["target"] == "/proc/kcore");
    assert!(masked || fs::metadata(Path::new("/proc/kcore")).is_err(), "{golden}");
}
