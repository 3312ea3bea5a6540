//! Where the specification, its validation suite and what callers rely on disagree: what `rt` does by default, and what
//! it does when the caller is strict. One test a conflict, both ways; `--strict` and `RT_STRICT=1` are the same.

mod common;

use std::fs;

use common::caller::with_umask;
use common::{Bundle, Output, json, texts};
use serde_json::Value;

/// `run` under `--strict`.
fn strict_run(bundle: &Bundle) -> Output {
    bundle.save();
    bundle.rt(&["--strict", "run", "--bundle", &bundle.text(""), &bundle.id]).run()
}

/// `create` under `RT_STRICT=1`.
fn strict_create(bundle: &Bundle) -> Output {
    bundle.create_command().env("RT_STRICT", "1").run()
}

/// Adds a hook that writes down what it sees.
fn add_hook(bundle: &mut Bundle, kind: &str, more: &[&str]) {
    let file = bundle.text("hooks");
    let args: Vec<&str> = ["probe", "hook", &file, "--name", kind].into_iter().chain(more.iter().copied()).collect();
    let hook = json!({"path": bundle.text("rootfs/probe"), "args": args, "env": [format!("RT_TEST_ID={}", bundle.id)]});
    bundle.set(&format!("/hooks/{kind}"), json!([hook]));
}

fn recorded(bundle: &Bundle) -> Vec<Value> {
    let text = fs::read_to_string(bundle.path("hooks")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// What goes into a log at the level of warnings.
fn warnings(bundle: &Bundle, output: &Output) -> String {
    fs::read_to_string(bundle.path("log")).unwrap_or_default() + &output.stderr
}

fn logged_run(bundle: &Bundle) -> Output {
    bundle.save();
    let log = bundle.text("log");
    bundle.rt(&["--log", &log, "run", "--bundle", &bundle.text(""), &bundle.id]).run()
}

#[test]
fn a_created_container_is_deleted_unless_strict() {
    for strict in [&["--strict", "delete"][..], &["delete"]] {
        let mut bundle = Bundle::new("strict-delete");
        bundle.args(["/bin/true"]);
        bundle.create().ok();
        let words: Vec<&str> = strict.iter().copied().chain([bundle.id.as_str()]).collect();
        let output = bundle.rt(&words).run();
        if strict.len() == 2 {
            output.fails(&["created"]);
            assert_eq!(bundle.status(), "created", "an error has no effect");
            bundle.rt(&["--strict", "delete", "--force", &bundle.id]).run().ok();
        } else {
            output.ok();
        }
        assert_eq!(bundle.status(), "gone");
    }
}

#[test]
fn an_unknown_capability_is_a_warning_and_strictly_an_error() {
    let mut bundle = Bundle::new("strict-capability");
    bundle.set("/process/capabilities/bounding/-", json!("CAP_FLY")).args(["/bin/true"]);
    let output = logged_run(&bundle).ok();
    assert!(warnings(&bundle, &output).contains("CAP_FLY"), "{output:?}");
    strict_run(&bundle).fails(&["/process/capabilities/bounding/3", "CAP_FLY"]);
    bundle.nothing_left();
}

/// The old text of the specification had a warning here, and the suite still asks for it.
#[test]
fn a_failing_poststart_hook_is_an_error_either_way() {
    for strict in ["0", "1"] {
        let mut bundle = Bundle::new("strict-poststart");
        add_hook(&mut bundle, "poststart", &["--exit", "3"]);
        bundle.args(["/probe", "sleep"]);
        bundle.create().ok();
        bundle.rt(&["start", &bundle.id]).env("RT_STRICT", strict).run().fails(&["/hooks/poststart/0"]);
        assert!(matches!(bundle.status().as_str(), "stopped" | "gone"), "{}", bundle.status());
        bundle.rt(&["delete", "--force", &bundle.id]).run().ok();
    }
}

#[test]
fn hooks_before_the_start_see_a_created_container_either_way() {
    for strict in ["0", "1"] {
        let mut bundle = Bundle::new("strict-status");
        for kind in ["prestart", "createRuntime"] {
            add_hook(&mut bundle, kind, &[]);
        }
        bundle.args(["/bin/true"]);
        bundle.create_command().env("RT_STRICT", strict).run().ok();
        let seen: Vec<Value> = recorded(&bundle).iter().map(|record| record["state"]["status"].clone()).collect();
        assert_eq!(seen, ["created", "created"]);
        bundle.delete().ok();
    }
}

#[test]
fn an_unset_umask_is_0022_and_strictly_the_caller_s() {
    let bundle = Bundle::new("strict-umask");
    let umask = |strict: &str| {
        let run = bundle.run_command().env("RT_STRICT", strict).before_exec(with_umask(0o027));
        run.run().ok().json()["umask"].clone()
    };
    assert_eq!(umask("0"), "0022");
    assert_eq!(umask("1"), "0027");
}

#[test]
fn a_relative_masked_path_is_an_error_either_way() {
    for name in ["maskedPaths", "readonlyPaths"] {
        let mut bundle = Bundle::new("strict-masked");
        bundle.set(&format!("/linux/{name}"), json!(["proc/keys"])).args(["/bin/true"]);
        bundle.run().fails(&[&format!("/linux/{name}/0"), "absolute"]);
        strict_run(&bundle).fails(&[&format!("/linux/{name}/0"), "absolute"]);
    }
}

/// The suite wants it to have run its course after the error, the specification wants the error to have no effect.
#[test]
fn a_container_without_a_process_ends_at_start_and_strictly_stays() {
    for (strict, status) in [("0", "stopped"), ("1", "created")] {
        let mut bundle = Bundle::new("strict-process");
        bundle.remove("/process");
        bundle.create_command().env("RT_STRICT", strict).run().ok();
        assert_eq!(bundle.status(), "created");
        let output = bundle.rt(&["start", &bundle.id]).env("RT_STRICT", strict).run();
        assert!(output.stderr.contains("/process"), "it is said either way: {output:?}");
        assert_eq!(output.success(), strict == "0");
        assert_eq!(bundle.status(), status);
        bundle.delete().ok();
    }
}

#[test]
fn a_pids_limit_of_zero_is_a_limit_but_podman_s_is_none() {
    let mut bundle = Bundle::new("strict-pids");
    bundle.set("/linux/resources", json!({"pids": {"limit": 0}})).args(["/probe", "fork-sleep", "3"]);
    // Joining a cgroup is not forking: the container starts, and can fork nothing.
    assert_eq!(bundle.run().ok().stdout, "0 EAGAIN\n");
    assert_eq!(strict_run(&bundle).ok().stdout, "0 EAGAIN\n");
    // podman --pids-limit -1 sends 0, and means that there is no limit.
    bundle.set("/annotations", json!({"io.container.manager": "libpod"}));
    assert_eq!(bundle.run().ok().stdout, "3 done\n");
    assert_eq!(strict_run(&bundle).ok().stdout, "0 EAGAIN\n");
}

#[test]
fn a_hook_without_env_has_the_runtime_s_and_strictly_none() {
    for (strict, inherits) in [("0", true), ("1", false)] {
        let mut bundle = Bundle::new("strict-env");
        add_hook(&mut bundle, "createRuntime", &[]);
        bundle.remove("/hooks/createRuntime/0/env").args(["/bin/true"]);
        bundle.run_command().env("RT_STRICT", strict).env("OF_THE_RUNTIME", "1").run().ok();
        let env = texts(&recorded(&bundle)[0]["env"]);
        assert_eq!(env.contains(&"OF_THE_RUNTIME=1".into()), inherits, "{env:?}");
        assert!(inherits || env.is_empty(), "{env:?}");
    }
}

#[test]
fn data_on_a_bind_mount_is_an_error_either_way() {
    let mut bundle = Bundle::new("strict-data");
    let outside = bundle.directory("outside");
    bundle.mount("/mnt/x", "bind", outside.to_str().expect("text"), &["bind", "context=\"x\""]).args(["/bin/true"]);
    bundle.run().fails(&["/mounts/7/options/1"]);
    strict_run(&bundle).fails(&["/mounts/7/options/1"]);
}

/// What the suite leaves on a bind mount when it makes one of a tmpfs.
#[test]
fn what_a_tmpfs_left_on_a_bind_mount_is_a_warning_and_strictly_an_error() {
    let mut bundle = Bundle::new("strict-left");
    let outside = bundle.directory("outside");
    bundle.mount("/mnt/x", "bind", outside.to_str().expect("text"), &["bind", "size=64k"]).args(["/bin/true"]);
    let output = logged_run(&bundle).ok();
    assert!(warnings(&bundle, &output).contains("/mounts/7/options/1"), "{output:?}");
    strict_run(&bundle).fails(&["/mounts/7/options/1"]);
}

/// Go programs write null for an empty list; the specification knows no null.
#[test]
fn a_null_is_absent_and_strictly_an_error() {
    let mut bundle = Bundle::new("strict-null");
    bundle.set("/hooks", Value::Null).args(["/bin/true"]);
    bundle.run().ok();
    strict_create(&bundle).fails(&["/hooks", "null"]);
    bundle.nothing_left();
}

#[test]
fn flags_of_a_personality_are_a_warning_and_strictly_an_error() {
    let mut bundle = Bundle::new("strict-personality");
    bundle.set("/linux/personality", json!({"domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"]})).args(["/bin/true"]);
    let output = logged_run(&bundle).ok();
    assert!(warnings(&bundle, &output).contains("/linux/personality/flags"), "{output:?}");
    strict_create(&bundle).fails(&["/linux/personality/flags"]);
}

/// The recursive words are docker's and podman's; the specification has the four others.
#[test]
fn a_recursive_propagation_of_the_root_is_taken_and_strictly_an_error() {
    let mut bundle = Bundle::new("strict-propagation");
    bundle.set("/linux/rootfsPropagation", json!("rslave")).args(["/bin/true"]);
    bundle.run().ok();
    strict_create(&bundle).fails(&["/linux/rootfsPropagation", "rslave"]);
    bundle.set("/linux/rootfsPropagation", json!("slave"));
    strict_run(&bundle).ok();
}

/// Engines send labels to hosts without the module; the specification says nothing, and a label that nothing enforces is
/// no protection.
#[test]
fn a_label_that_nothing_enforces_is_a_warning_and_strictly_an_error() {
    if fs::metadata("/sys/kernel/security/apparmor").is_ok() || fs::metadata("/sys/fs/selinux/enforce").is_ok() {
        skip!("this host has AppArmor or SELinux");
    }
    let rows = [
        ("/process/apparmorProfile", "a-profile"),
        ("/process/selinuxLabel", "u:r:t:s0"),
        ("/linux/mountLabel", "u:object_r:t:s0"),
    ];
    for (pointer, label) in rows {
        let mut bundle = Bundle::new("strict-label");
        bundle.set(pointer, json!(label)).args(["/bin/true"]);
        let output = logged_run(&bundle).ok();
        assert!(warnings(&bundle, &output).contains(pointer), "{output:?}");
        strict_create(&bundle).fails(&[pointer]);
        bundle.nothing_left();
    }
}
