//! The six kinds of hooks: when, where, with what, and what happens when one fails. The hook is the probe, which writes
//! down what it sees.

mod common;

use std::fs;
use std::path::Path;

use common::{Bundle, json, namespace_of, own_namespace, texts};
use serde_json::Value;

const KINDS: [&str; 6] = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// Adds a hook that records itself in the bundle's `hooks` file (for startContainer: in the container's /tmp/hooks).
fn add(bundle: &mut Bundle, kind: &str, more: &[&str]) {
    let inside = kind == "startContainer";
    let program = if inside { "/probe".into() } else { bundle.text("rootfs/probe") };
    let file = if inside { "/tmp/hooks".into() } else { bundle.text("hooks") };
    let mut args = vec!["probe", "hook", &file, "--name", kind];
    args.extend(more);
    let env = [format!("RT_TEST_ID={}", bundle.id), format!("KIND={kind}")];
    let hook = json!({"path": program, "args": args, "env": env});
    let list = format!("/hooks/{kind}");
    if bundle.config.pointer(&list).is_none() {
        bundle.set(&list, json!([]));
    }
    bundle.set(&format!("{list}/-"), hook);
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// What the hooks outside have recorded.
fn recorded(bundle: &Bundle) -> Vec<Value> {
    lines(&bundle.path("hooks"))
}

fn names(records: &[Value]) -> Vec<&str> {
    records.iter().map(|record| record["name"].as_str().expect("a name")).collect()
}

fn one<'a>(records: &'a [Value], name: &str) -> &'a Value {
    records.iter().find(|record| record["name"] == name).unwrap_or_else(|| panic!("no {name} in {:?}", names(records)))
}

fn with_all(name: &str) -> Bundle {
    let mut bundle = Bundle::new(name);
    for kind in KINDS {
        add(&mut bundle, kind, &[]);
    }
    bundle
}

#[test]
fn each_kind_runs_at_its_time_and_in_order() {
    let mut bundle = with_all("order");
    bundle.args(["/bin/sh", "-c", "echo '{\"name\":\"process\"}' >> /tmp/hooks"]);
    bundle.create().ok();
    assert_eq!(names(&recorded(&bundle)), ["prestart", "createRuntime", "createContainer"]);
    assert!(fs::metadata(bundle.path("rootfs/tmp/hooks")).is_err(), "nothing of start yet");
    bundle.start().ok();
    assert_eq!(names(&recorded(&bundle)).last(), Some(&"poststart"), "before start came back");
    bundle.wait_status("stopped");
    let inside = lines(&bundle.path("rootfs/tmp/hooks"));
    assert_eq!(names(&inside), ["startContainer", "process"]);
    bundle.delete().ok();
    let all = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"];
    assert_eq!(names(&recorded(&bundle)), all);
}

#[test]
fn several_hooks_of_a_kind_run_in_the_order_of_the_list() {
    let mut bundle = Bundle::new("several");
    for kind in ["createRuntime", "prestart", "createRuntime", "createRuntime"] {
        add(&mut bundle, kind, &[]);
    }
    for (index, name) in ["first", "second", "third"].iter().enumerate() {
        bundle.set(&format!("/hooks/createRuntime/{index}/args/4"), json!(name));
    }
    bundle.args(["/bin/true"]);
    bundle.run().ok();
    assert_eq!(names(&recorded(&bundle)), ["prestart", "first", "second", "third"]);
}

#[test]
fn the_state_on_stdin_is_the_container_s() {
    let mut bundle = with_all("state");
    bundle.set("/annotations", json!({"org.example.key": "value"})).args(["/bin/true"]);
    bundle.create().ok();
    let pid = bundle.pid();
    bundle.start().ok();
    bundle.wait_status("stopped");
    bundle.delete().ok();
    let mut all = recorded(&bundle);
    all.extend(lines(&bundle.path("rootfs/tmp/hooks")));
    // (kind, status, pid as seen in the hook's pid namespace)
    let rows = [
        ("prestart", "created", json!(pid)),
        ("createRuntime", "created", json!(pid)),
        ("createContainer", "created", json!(1)),
        ("startContainer", "created", json!(1)),
        ("poststart", "running", json!(pid)),
        ("poststop", "stopped", json!(0)),
    ];
    for (kind, status, expected) in rows {
        let state = &one(&all, kind)["state"];
        assert_eq!(state["id"], json!(bundle.id), "{kind}: {state}");
        assert_eq!(state["status"], status, "{kind}");
        assert_eq!(state.get("pid").cloned().unwrap_or(json!(0)), expected, "{kind}");
        assert_eq!(state["annotations"], json!({"org.example.key": "value"}), "{kind}");
        assert!(state["ociVersion"].as_str().is_some_and(|version| version.starts_with("1.")), "{kind}");
        assert!(state["bundle"].as_str().is_some_and(|path| path.starts_with('/')), "{kind}");
    }
}

#[test]
fn each_kind_runs_in_its_namespaces() {
    let mut bundle = with_all("namespaces");
    bundle.args(["/bin/true"]);
    bundle.create().ok();
    let pid = bundle.pid();
    let container: Vec<(&str, u64)> = ["mnt", "net", "ipc", "uts"].map(|kind| (kind, namespace_of(pid, kind))).into();
    bundle.start().ok();
    bundle.wait_status("stopped");
    bundle.delete().ok();
    let outside = recorded(&bundle);
    let inside = lines(&bundle.path("rootfs/tmp/hooks"));
    for (kind, inode) in container {
        for name in ["prestart", "createRuntime", "poststart", "poststop"] {
            assert_eq!(one(&outside, name)["ns"][kind], json!(own_namespace(kind)), "{name} {kind}");
        }
        assert_eq!(one(&outside, "createContainer")["ns"][kind], json!(inode), "createContainer {kind}");
        assert_eq!(one(&inside, "startContainer")["ns"][kind], json!(inode), "startContainer {kind}");
    }
    let host_root = one(&outside, "prestart")["root"].clone();
    assert_eq!(one(&outside, "createContainer")["root"], host_root, "before pivot");
    assert_ne!(one(&inside, "startContainer")["root"], host_root, "after pivot");
}

#[test]
fn a_create_container_hook_may_mount_into_the_container() {
    let mut bundle = Bundle::new("mounts");
    bundle.write("outside/file", "by the hook\n");
    bundle.directory("rootfs/mnt/late");
    let command = format!("mount --bind {} {}", bundle.text("outside"), bundle.text("rootfs/mnt/late"));
    let env = [format!("RT_TEST_ID={}", bundle.id), "PATH=/usr/bin:/bin".into()];
    bundle.set("/hooks/createContainer", json!([{"path": "/bin/sh", "args": ["sh", "-c", command], "env": env}]));
    let seen = bundle.fingerprint(&["--stat", "/mnt/late/file"]);
    assert_eq!(seen["stat"]["/mnt/late/file"]["first"], "by the hook\n");
}

#[test]
fn a_hook_gets_its_own_args_and_env_and_three_descriptors() {
    let mut bundle = with_all("env");
    bundle.set("/process/env/-", json!("LD_PRELOAD=/evil.so")).args(["/bin/true"]);
    bundle.create_command().env("SECRET", "1").run().ok();
    bundle.start().ok();
    bundle.wait_status("stopped");
    bundle.delete().ok();
    let mut all = recorded(&bundle);
    all.extend(lines(&bundle.path("rootfs/tmp/hooks")));
    for kind in KINDS {
        let record = one(&all, kind);
        let expected = [format!("RT_TEST_ID={}", bundle.id), format!("KIND={kind}")];
        let mut env = texts(&record["env"]);
        env.sort_by_key(|line| line.starts_with("KIND=")); // the order has no meaning
        assert_eq!(env, expected, "{kind}");
        assert_eq!(texts(&record["argv"])[..2], ["probe", "hook"], "{kind}: args[0] is as given");
        let fds: Vec<&Value> = record["fds"].as_array().expect("descriptors").iter().map(|fd| &fd["fd"]).collect();
        assert_eq!(fds, [0, 1, 2], "{kind}: {}", record["fds"]);
        assert_eq!(record["signals"], json!({"ignored": [], "blocked": [], "caught": []}), "{kind}");
    }
}

#[test]
fn a_hook_without_env_has_the_runtime_s_and_a_start_container_hook_the_container_s() {
    let mut bundle = Bundle::new("noenv");
    add(&mut bundle, "createRuntime", &[]);
    add(&mut bundle, "createContainer", &[]);
    add(&mut bundle, "startContainer", &[]);
    for kind in ["createRuntime", "createContainer", "startContainer"] {
        bundle.remove(&format!("/hooks/{kind}/0/env"));
    }
    bundle.set("/process/env/-", json!("OF_THE_CONTAINER=1")).args(["/bin/true"]);
    bundle.run_command().env("OF_THE_RUNTIME", "1").run().ok();
    let outside = recorded(&bundle);
    for kind in ["createRuntime", "createContainer"] {
        let env = texts(&one(&outside, kind)["env"]);
        assert!(env.contains(&"OF_THE_RUNTIME=1".into()), "{kind}: {env:?}");
        assert!(!env.contains(&"OF_THE_CONTAINER=1".into()), "{kind}: the image decides over LD_PRELOAD: {env:?}");
    }
    let inside = lines(&bundle.path("rootfs/tmp/hooks"));
    let env = texts(&one(&inside, "startContainer")["env"]);
    assert!(env.contains(&"OF_THE_CONTAINER=1".into()) && !env.contains(&"OF_THE_RUNTIME=1".into()), "{env:?}");
}

#[test]
fn a_hook_that_does_not_read_its_stdin_is_fine() {
    let mut bundle = Bundle::new("unread");
    bundle.set("/hooks/createRuntime", json!([{"path": "/bin/true"}]));
    bundle.set("/hooks/poststop", json!([{"path": "/bin/true", "args": ["true"]}]));
    bundle.set("/annotations", json!({"org.example.long": "x".repeat(200_000)})).args(["/bin/true"]);
    bundle.run().ok();
}

#[test]
fn a_failing_hook_before_the_start_stops_create_and_leaves_nothing() {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let mut bundle = Bundle::new("fail-create");
        add(&mut bundle, kind, &["--exit", "3", "--say", "the hook's own words"]);
        add(&mut bundle, kind, &[]);
        add(&mut bundle, "poststop", &[]);
        bundle.args(["/bin/true"]);
        bundle.create().fails(&[&format!("/hooks/{kind}/0"), "the hook's own words"]);
        let recorded = recorded(&bundle);
        assert_eq!(names(&recorded), [kind, "poststop"], "the first failure ends the kind; poststop still runs");
        assert_eq!(bundle.status(), "gone");
        bundle.nothing_left();
    }
}

#[test]
fn a_failing_start_container_hook_stops_the_container() {
    let mut bundle = Bundle::new("fail-start");
    add(&mut bundle, "startContainer", &["--exit", "3"]);
    add(&mut bundle, "poststop", &[]);
    bundle.args(["/probe", "write", "/etc/passwd", "started"]);
    bundle.create().ok();
    bundle.start().fails(&["/hooks/startContainer/0"]);
    assert_ne!(bundle.status(), "running");
    assert!(!fs::read_to_string(bundle.path("rootfs/etc/passwd")).expect("the image").contains("started"));
    bundle.rt(&["delete", "--force", &bundle.id]).run().ok();
    assert_eq!(names(&recorded(&bundle)), ["poststop"], "once");
    bundle.nothing_left();
}

#[test]
fn a_failing_poststart_hook_is_an_error_and_stops_the_container() {
    let mut bundle = Bundle::new("fail-poststart");
    add(&mut bundle, "poststart", &["--exit", "3"]);
    add(&mut bundle, "poststart", &[]);
    add(&mut bundle, "poststop", &[]);
    bundle.args(["/probe", "sleep"]);
    bundle.create().ok();
    bundle.start().fails(&["/hooks/poststart/0"]);
    assert!(matches!(bundle.status().as_str(), "stopped" | "gone"), "{}", bundle.status());
    bundle.rt(&["delete", "--force", &bundle.id]).run().ok();
    assert_eq!(names(&recorded(&bundle)), ["poststart", "poststop"]);
    bundle.nothing_left();
}

#[test]
fn a_failing_poststop_hook_is_a_warning_and_the_others_run() {
    let mut bundle = Bundle::new("fail-poststop");
    add(&mut bundle, "poststop", &["--exit", "3"]);
    add(&mut bundle, "poststop", &[]);
    bundle.args(["/bin/true"]);
    bundle.create().ok();
    bundle.start().ok();
    bundle.wait_status("stopped");
    let log = bundle.text("log");
    let output = bundle.rt(&["--log", &log, "delete", &bundle.id]).run().ok();
    let said = fs::read_to_string(log).unwrap_or_default() + &output.stderr;
    assert!(said.contains("/hooks/poststop/0"), "nobody was told: {said}");
    assert_eq!(recorded(&bundle).len(), 2);
    bundle.nothing_left();
}

#[test]
fn a_hook_past_its_timeout_is_killed_with_its_children() {
    let mut bundle = Bundle::new("timeout");
    let env = [format!("RT_TEST_ID={}", bundle.id), "PATH=/bin:/usr/bin".into()];
    let args = ["sh", "-c", "sleep 1000 & sleep 1000"];
    bundle.set("/hooks/createRuntime", json!([{"path": "/bin/sh", "args": args, "env": env, "timeout": 1}]));
    bundle.args(["/bin/true"]);
    bundle.create().fails(&["/hooks/createRuntime/0", "timeout"]);
    bundle.nothing_left();
}

#[test]
fn a_hook_that_cannot_be_run_is_an_error_that_names_it() {
    let rows = [
        ("/nowhere/hook", "no such file or directory"),
        ("/etc/passwd", "permission denied"),
        ("/etc", "permission denied"),
    ];
    for (path, words) in rows {
        let mut bundle = Bundle::new("norun");
        bundle.set("/hooks/createRuntime", json!([{"path": path}])).args(["/bin/true"]);
        bundle.create().fails(&["/hooks/createRuntime/0", path, words]);
        bundle.nothing_left();
    }
}

#[test]
fn a_hook_that_dies_by_a_signal_has_failed() {
    let mut bundle = Bundle::new("signal");
    let env = [format!("RT_TEST_ID={}", bundle.id), "PATH=/bin".into()];
    bundle.set("/hooks/prestart", json!([{"path": "/bin/sh", "args": ["sh", "-c", "kill -9 $$"], "env": env}]));
    bundle.args(["/bin/true"]);
    bundle.create().fails(&["/hooks/prestart/0", "signal"]);
    bundle.nothing_left();
}

#[test]
fn a_foreground_run_runs_all_hooks_once() {
    let mut bundle = with_all("run");
    bundle.args(["/probe", "exit", "5"]);
    bundle.run().exits(5);
    let all = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"];
    assert_eq!(names(&recorded(&bundle)), all);
    assert_eq!(names(&lines(&bundle.path("rootfs/tmp/hooks"))), ["startContainer"]);
}
