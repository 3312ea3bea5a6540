//! The verbs and what callers read from them: status, exit codes, signals, files, texts that are matched.

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;

use common::caller::dies_with_parent;
use common::{Bundle, Runtime, json, machine, patience, texts, wait_until};
use nix::sys::signal::Signal;
use serde_json::Value;

#[test]
fn create_start_stop_delete() {
    let mut bundle = Bundle::new("life");
    bundle.args(["/bin/sh", "-c", "exec /probe trap TERM > /tmp/mark"]);
    let output = bundle.create().ok();
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("", ""), "stdio is the container's");
    assert_eq!(bundle.status(), "created");
    assert!(fs::metadata(bundle.path("rootfs/tmp/mark")).is_err(), "the program has not been started");
    bundle.start().ok();
    assert_eq!(bundle.status(), "running");
    // Before it listens the first process of a pid namespace is deaf.
    let said = || fs::read_to_string(bundle.path("rootfs/tmp/mark")).ok();
    let ready = wait_until(patience(), || said().filter(|text| text.contains("ready")));
    assert!(ready.is_some(), "the program was started");
    bundle.kill("TERM").ok();
    bundle.wait_status("stopped");
    bundle.delete().ok();
    assert_eq!(bundle.status(), "gone");
    bundle.nothing_left();
}

#[test]
fn the_state_document_is_complete() {
    let mut bundle = Bundle::new("state");
    bundle.set("/annotations", json!({"org.example.key": "value"})).args(["/probe", "exit", "0"]);
    bundle.create().ok();
    let state = bundle.state();
    assert_eq!(state["id"], json!(bundle.id));
    assert_eq!(state["status"], "created");
    assert!(state["ociVersion"].as_str().is_some_and(|version| version.starts_with("1.")), "{state}");
    let text = state["bundle"].as_str().expect("a bundle");
    let inode = |path: &std::path::Path| fs::metadata(path).expect("a directory").ino();
    assert_eq!(inode(text.as_ref()), inode(bundle.base()));
    assert!(text.starts_with('/'));
    assert_eq!(state["annotations"], json!({"org.example.key": "value"}));
    let pid = state["pid"].as_i64().expect("a pid");
    assert!(machine::processes(&bundle.id).contains(&(pid as i32)));
    assert_eq!(state["rootfs"].as_str().map(|path| path.ends_with("/rootfs")), Some(true), "{state}");
    let created = state["created"].as_str().expect("a time");
    assert!(created.contains('T') && (created.ends_with('Z') || created.contains('+')), "RFC 3339: {created}");
    assert!(state.get("owner").is_some(), "{state}");
    bundle.start().ok();
    bundle.wait_status("stopped");
    let state = bundle.state();
    assert_eq!(state["pid"].as_i64().unwrap_or(0), 0, "no pid when stopped");
    bundle.delete().ok();
}

#[test]
fn verbs_refuse_what_the_status_does_not_allow() {
    let mut bundle = Bundle::new("order");
    bundle.args(["/probe", "sleep"]);
    bundle.create().ok();
    bundle.start().ok();
    bundle.start().fails(&["cannot start"]);
    assert_eq!(bundle.status(), "running", "without effect");
    bundle.rt(&["delete", &bundle.id]).run().fails(&["running"]);
    assert_eq!(bundle.status(), "running", "without effect");
    bundle.kill("KILL").ok();
    bundle.wait_status("stopped");
    bundle.kill("TERM").fails(&["container not running"]);
    bundle.start().fails(&["stopped"]);
    bundle.delete().ok();
}

#[test]
fn an_id_is_taken_only_once() {
    let mut bundle = Bundle::new("twice");
    bundle.args(["/probe", "sleep"]);
    bundle.create().ok();
    let pid = bundle.pid();
    bundle.create().fails(&["exists"]);
    assert_eq!(bundle.pid(), pid, "the first is untouched");
    assert_eq!(bundle.status(), "created");
    bundle.start().ok();
    bundle.rt(&["delete", "--force", &bundle.id]).run().ok();
    bundle.nothing_left();
}

#[test]
fn a_deleted_id_can_be_used_again() {
    let mut bundle = Bundle::new("again");
    bundle.args(["/bin/true"]);
    for _ in 0..3 {
        bundle.create().ok();
        bundle.start().ok();
        bundle.wait_status("stopped");
        bundle.delete().ok();
    }
}

#[test]
fn an_unknown_container_does_not_exist() {
    let bundle = Bundle::new("unknown");
    for words in [vec!["state"], vec!["start"], vec!["kill"], vec!["delete"]] {
        let mut words = words;
        words.push("nobody-has-this-id");
        bundle.rt(&words).run().fails(&["does not exist"]);
    }
    bundle.rt(&["delete", "--force", "nobody-has-this-id"]).run().ok();
}

#[test]
fn ids_that_would_leave_the_state_root_are_refused() {
    let bundle = Bundle::new("ids");
    bundle.save();
    for id in ["", ".", "..", "../up", "a/b", "/abs", "a b", "a\nb", "ü", &"x".repeat(2000)] {
        bundle.rt(&["create", "--bundle", &bundle.text(""), id]).run().fails(&[]);
        bundle.rt(&["delete", "--force", id]).run();
    }
    bundle.nothing_left();
}

#[test]
fn ids_of_every_legal_letter_work() {
    let mut bundle = Bundle::new("letters");
    bundle.args(["/bin/true"]).save();
    let id = format!("{}_A.b+c-9", bundle.id);
    bundle.rt(&["run", "--bundle", &bundle.text(""), &id]).run().ok();
}

#[test]
fn the_pid_file_is_digits_and_nothing_else() {
    let mut bundle = Bundle::new("pidfile");
    bundle.args(["/bin/true"]);
    bundle.create().ok();
    let text = fs::read_to_string(bundle.path("pid")).expect("a pid file");
    assert!(text.bytes().all(|byte| byte.is_ascii_digit()), "{text:?}");
    assert_eq!(text, bundle.pid().to_string());
    bundle.start().ok();
    bundle.wait_status("stopped");
    bundle.delete().ok();
}

#[test]
fn run_gives_the_exit_code_of_the_program() {
    let mut bundle = Bundle::new("exit");
    for code in [0, 1, 2, 7, 42, 100, 125, 126, 127, 128, 200, 254, 255] {
        bundle.args(["/probe", "exit", &code.to_string()]);
        bundle.run().exits(code);
    }
}

#[test]
fn run_gives_128_and_the_signal() {
    // The first process of a pid namespace cannot kill itself; so the signals come from outside.
    for (name, number) in [("KILL", 9), ("SEGV", 11), ("ABRT", 6)] {
        let mut bundle = Bundle::new("signal");
        bundle.without_namespace("pid").args(["/probe", "sleep"]);
        let running = bundle.run_until_ready();
        bundle.kill(name).ok();
        running.wait().exits(128 + number);
    }
}

#[test]
fn kill_knows_every_spelling() {
    for spelling in ["TERM", "SIGTERM", "15", "term", "sigterm"] {
        let mut bundle = Bundle::new("spelling");
        bundle.args(["/probe", "trap", "TERM"]);
        let running = bundle.run_until_ready();
        bundle.kill(spelling).ok();
        assert!(running.wait().exits(7).stdout.contains("got 15"), "{spelling}");
    }
    let mut bundle = Bundle::new("spelling");
    bundle.args(["/probe", "trap", "34", "TERM"]);
    let running = bundle.run_until_ready();
    bundle.kill("NOSUCH").fails(&["NOSUCH"]);
    bundle.kill("99").fails(&[]);
    bundle.rt(&["kill", &bundle.id]).run().ok(); // without a signal it is TERM
    running.wait().exits(7);
}

#[test]
fn kill_all_reaches_every_process() {
    let mut bundle = Bundle::new("killall");
    bundle.without_namespace("pid").args(["/bin/sh", "-c", "/probe sleep & /probe sleep & wait"]);
    let running = bundle.run_command().spawn();
    let three = wait_until(patience(), || (machine::processes(&bundle.id).len() >= 4).then_some(()));
    assert!(three.is_some(), "{:?}", machine::processes(&bundle.id));
    bundle.rt(&["kill", "--all", &bundle.id, "KILL"]).run().ok();
    running.wait().exits(137);
}

#[test]
fn a_kill_without_an_own_pid_namespace_takes_the_whole_container() {
    let mut bundle = Bundle::new("kill-nopid");
    bundle.without_namespace("pid").args(["/bin/sh", "-c", "/probe sleep & exec /probe sleep"]);
    let running = bundle.run_until_ready();
    let two = wait_until(patience(), || (machine::processes(&bundle.id).len() >= 3).then_some(()));
    assert!(two.is_some(), "{:?}", machine::processes(&bundle.id));
    bundle.kill("KILL").ok();
    running.wait().exits(137);
}

#[test]
fn what_is_left_in_a_shared_pid_namespace_ends_with_the_container() {
    let mut bundle = Bundle::new("orphan");
    bundle.without_namespace("pid").args(["/probe", "orphan"]);
    bundle.run().ok();
    bundle.nothing_left();
    bundle.create().ok();
    bundle.start().ok();
    bundle.wait_status("stopped");
    bundle.rt(&["delete", "--force", &bundle.id]).run().ok();
    bundle.nothing_left();
}

#[test]
fn signals_to_a_foreground_run_reach_the_program() {
    for (signal, name) in
        [(Signal::SIGTERM, "TERM"), (Signal::SIGINT, "INT"), (Signal::SIGHUP, "HUP"), (Signal::SIGUSR1, "USR1")]
    {
        let mut bundle = Bundle::new("forward");
        bundle.args(["/probe", "trap", name]);
        let running = bundle.run_until_ready();
        running.signal(signal);
        let output = running.wait().exits(7);
        assert!(output.stdout.contains(&format!("got {}", signal as i32)), "{}", output.stdout);
    }
}

#[test]
fn a_short_run_never_loses_its_end() {
    // The end of the program may come before the runtime waits for it.
    let mut bundle = Bundle::new("short");
    bundle.args(["/probe", "exit", "3"]);
    for _ in 0..15 {
        bundle.run().exits(3);
    }
}

#[test]
fn run_reads_stdin_and_writes_both_outputs() {
    let mut bundle = Bundle::new("stdio");
    bundle.args(["/bin/sh", "-c", "cat; echo to stderr >&2"]);
    let input = fs::File::open(bundle.write("input", "from stdin\n")).expect("input");
    let output = bundle.run_command().stdin(input).run().ok();
    assert_eq!(output.stdout, "from stdin\n");
    assert_eq!(output.stderr, "to stderr\n");
}

#[test]
fn a_detached_run_comes_back_at_once_and_is_deleted_by_hand() {
    let mut bundle = Bundle::new("detach");
    bundle.args(["/probe", "sleep"]).save();
    let words = ["run", "--detach", "--pid-file", &bundle.text("pid"), "--bundle", &bundle.text(""), &bundle.id];
    let output = bundle.rt(&words).run().ok();
    assert_eq!(output.stderr, "");
    assert_eq!(bundle.status(), "running");
    assert_eq!(fs::read_to_string(bundle.path("pid")).expect("a pid file"), bundle.pid().to_string());
    bundle.rt(&["delete", "--force", &bundle.id]).run().ok();
    bundle.nothing_left();
}

#[test]
fn run_with_keep_leaves_the_container_for_delete() {
    let mut bundle = Bundle::new("keep");
    bundle.args(["/probe", "exit", "5"]).save();
    bundle.rt(&["run", "--keep", "--bundle", &bundle.text(""), &bundle.id]).run().exits(5);
    assert_eq!(bundle.status(), "stopped");
    bundle.delete().ok();
}

#[test]
fn run_takes_a_bundle_s_path_in_place_of_an_id() {
    let mut bundle = Bundle::new("path");
    bundle.args(["/probe", "fingerprint"]).save();
    let seen = bundle.rt(&["run", &bundle.text("")]).run().ok().json();
    assert_eq!(seen["hostname"], "rt-test");
}

#[test]
fn run_takes_a_root_file_system_and_a_command() {
    let bundle = Bundle::new("rootfs");
    let id = format!("RT_TEST_ID={}", bundle.id);
    let words = ["run", "--rootfs", &bundle.text("rootfs"), "--", "/probe", "fingerprint", "--stat", "/dev/null"];
    let seen = bundle.rt(&words).run().ok().json();
    assert_eq!(seen["pid"], 1);
    assert_eq!(seen["argv"], json!(["/probe", "fingerprint", "--stat", "/dev/null"]));
    assert_eq!(seen["stat"]["/dev/null"]["rdev"], json!([1, 3]));
    assert!(!texts(&seen["env"]).contains(&id), "the caller's environment stays outside");
}

#[test]
fn the_bundle_is_the_current_directory_by_default() {
    let mut bundle = Bundle::new("cwd");
    bundle.args(["/probe", "exit", "6"]).save();
    bundle.rt(&["run", &bundle.id]).current_dir(bundle.base()).run().exits(6);
}

#[test]
fn flags_are_taken_as_go_takes_them() {
    let mut bundle = Bundle::new("flags");
    bundle.args(["/probe", "exit", "6"]).save();
    let directory = bundle.text("");
    let joined = format!("--bundle={directory}");
    let short = format!("-b={directory}");
    for words in [
        vec!["run", joined.as_str()],
        vec!["run", "-bundle", &directory],
        vec!["run", "-b", &directory],
        vec!["run", &short],
        vec!["--debug=false", "run", "--no-pivot=false", "--bundle", &directory],
        vec!["--rootless=auto", "run", "--bundle", &directory],
    ] {
        let mut words = words;
        words.push(&bundle.id);
        bundle.rt(&words).run().exits(6);
    }
    bundle.rt(&["create", "--bundle"]).run().fails(&["flag needs an argument"]);
    bundle.rt(&["create", "--no-such-flag", "x"]).run().fails(&["no-such-flag"]);
    bundle.rt(&["no-such-verb"]).run().fails(&["no-such-verb"]);
}

#[test]
fn list_shows_the_containers_in_every_format() {
    let mut bundle = Bundle::new("list");
    bundle.args(["/probe", "sleep"]);
    assert_eq!(bundle.rt(&["list", "--quiet"]).run().ok().stdout, "");
    let empty = bundle.rt(&["list", "--format", "json"]).run().ok().stdout;
    assert!(matches!(empty.trim(), "[]" | "null"), "{empty}");
    bundle.create().ok();
    assert_eq!(bundle.rt(&["list", "-q"]).run().ok().stdout, format!("{}\n", bundle.id));
    let list = bundle.rt(&["list", "--format", "json"]).run().ok().json();
    assert_eq!(list.as_array().map(Vec::len), Some(1));
    assert_eq!(list[0]["id"], json!(bundle.id));
    assert_eq!(list[0]["status"], "created");
    assert_eq!(list[0]["pid"], json!(bundle.pid()));
    let table = bundle.rt(&["list"]).run().ok().stdout;
    let mut lines = table.lines();
    let header: Vec<&str> = lines.next().expect("a header").split_whitespace().collect();
    assert_eq!(header, ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
    assert!(lines.next().is_some_and(|line| line.starts_with(&bundle.id) && line.contains("created")), "{table}");
    bundle.start().ok();
    bundle.rt(&["delete", "--force", &bundle.id]).run().ok();
    bundle.nothing_left();
}

#[test]
fn a_broken_entry_does_not_spoil_the_list() {
    let mut bundle = Bundle::new("broken");
    bundle.args(["/bin/true"]);
    bundle.create().ok();
    bundle.write("state/stranger", "not one of ours");
    bundle.directory("state/strange-directory");
    assert!(bundle.rt(&["list", "-q"]).run().ok().stdout.contains(&bundle.id));
    fs::remove_file(bundle.path("state/stranger")).expect("planted");
    fs::remove_dir(bundle.path("state/strange-directory")).expect("planted");
    bundle.rt(&["delete", "--force", &bundle.id]).run().ok();
    bundle.nothing_left();
}

#[test]
fn changes_of_the_config_after_create_have_no_effect() {
    let mut bundle = Bundle::new("changed");
    bundle.args(["/probe", "fingerprint", "--out", "/tmp/seen"]);
    bundle.create().ok();
    bundle.set("/hostname", json!("changed")).set("/process/args", json!(["/nowhere"])).save();
    bundle.start().ok();
    bundle.wait_status("stopped");
    let seen: Value =
        serde_json::from_slice(&fs::read(bundle.path("rootfs/tmp/seen")).expect("written")).expect("JSON");
    assert_eq!(seen["hostname"], "rt-test");
    fs::write(bundle.path("config.json"), "not JSON any more").expect("the config");
    bundle.delete().ok();
}

#[test]
fn a_container_without_a_process_is_created_and_cannot_be_started() {
    let mut bundle = Bundle::new("noprocess");
    bundle.remove("/process");
    bundle.create().ok();
    assert_eq!(bundle.status(), "created");
    bundle.rt(&["start", &bundle.id]).env("RT_STRICT", "1").run().fails(&["/process"]);
    assert_eq!(bundle.status(), "created", "an error changes nothing");
    // The validation suite wants the error said, no failure, and a container that has run its course.
    let output = bundle.start().ok();
    assert!(output.stderr.contains("/process"), "{}", output.stderr);
    bundle.wait_status("stopped");
    bundle.delete().ok();
    bundle.nothing_left();
}

#[test]
fn delete_takes_a_created_container_unless_the_caller_is_strict() {
    let mut bundle = Bundle::new("delete-created");
    bundle.args(["/bin/true"]);
    bundle.create().ok();
    bundle.rt(&["delete", &bundle.id]).env("RT_STRICT", "1").run().fails(&["created"]);
    assert_eq!(bundle.status(), "created", "without effect");
    bundle.delete().ok();
    bundle.nothing_left();
}

#[test]
fn delete_force_ends_whatever_there_is() {
    for stage in ["created", "running", "stopped", "killed"] {
        let mut bundle = Bundle::new("force");
        bundle.args(["/probe", "sleep"]);
        bundle.create().ok();
        if stage != "created" {
            bundle.start().ok();
        }
        if stage == "stopped" {
            bundle.kill("KILL").ok();
            bundle.wait_status("stopped");
        }
        if stage == "killed" {
            // Not through the runtime: it may not know.
            let pid = nix::unistd::Pid::from_raw(bundle.pid() as i32);
            nix::sys::signal::kill(pid, Signal::SIGKILL).expect("our container");
        }
        bundle.rt(&["delete", "--force", &bundle.id]).run().ok();
        bundle.nothing_left();
        bundle.rt(&["delete", "--force", &bundle.id]).run().ok();
    }
}

#[test]
fn a_created_container_survives_the_death_of_its_creator() {
    // Callers are killed with their children by a parent-death signal; the container must not inherit it.
    let mut bundle = Bundle::new("pdeathsig");
    bundle.args(["/probe", "fingerprint", "--out", "/tmp/seen"]);
    bundle.create_command().before_exec(dies_with_parent).run().ok();
    assert_eq!(bundle.status(), "created");
    bundle.start().ok();
    bundle.wait_status("stopped");
    let seen: Value =
        serde_json::from_slice(&fs::read(bundle.path("rootfs/tmp/seen")).expect("written")).expect("JSON");
    assert_eq!(seen["parent_death_signal"], 0);
    bundle.delete().ok();
}

#[test]
fn of_several_starts_at_once_exactly_one_wins() {
    for _ in 0..3 {
        let mut bundle = Bundle::new("race-start");
        bundle.args(["/bin/sh", "-c", "echo once >> /tmp/count; exec /probe sleep"]);
        bundle.create().ok();
        let racers: Vec<_> = (0..4).map(|_| bundle.rt(&["start", &bundle.id]).spawn()).collect();
        let winners = racers.into_iter().filter_map(|racer| racer.wait().success().then_some(())).count();
        assert_eq!(winners, 1);
        let written = || fs::read_to_string(bundle.path("rootfs/tmp/count")).ok().filter(|text| !text.is_empty());
        assert_eq!(wait_until(patience(), written).as_deref(), Some("once\n"));
        bundle.rt(&["delete", "--force", &bundle.id]).run().ok();
        bundle.nothing_left();
    }
}

#[test]
fn of_several_creates_with_one_id_exactly_one_wins() {
    for _ in 0..3 {
        let mut bundle = Bundle::new("race-create");
        bundle.args(["/probe", "sleep"]).save();
        let words = ["create", "--bundle", &bundle.text(""), &bundle.id];
        let racers: Vec<_> = (0..4).map(|_| bundle.rt(&words).spawn()).collect();
        let outputs: Vec<_> = racers.into_iter().map(common::Running::wait).collect();
        assert_eq!(outputs.iter().filter(|output| output.success()).count(), 1, "{outputs:?}");
        assert_eq!(bundle.status(), "created");
        bundle.rt(&["delete", "--force", &bundle.id]).run().ok();
        bundle.nothing_left();
    }
}

#[test]
fn a_container_that_is_killed_while_created_can_be_deleted() {
    let mut bundle = Bundle::new("kill-created");
    bundle.args(["/bin/true"]);
    bundle.create().ok();
    bundle.kill("KILL").ok();
    bundle.wait_status("stopped");
    bundle.start().fails(&[]);
    bundle.delete().ok();
    bundle.nothing_left();
}

#[test]
fn a_failure_is_one_object_in_a_json_log_and_one_line_on_stderr() {
    let mut bundle = Bundle::new("log");
    bundle.args(["no-such-program"]).save();
    let log = bundle.text("log.json");
    let words = ["--log", &log, "--log-format", "json", "create", "--bundle", &bundle.text(""), &bundle.id];
    let output = bundle.rt(&words).run().fails(&["executable file not found in $PATH"]);
    assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
    // podman parses the whole file as one document.
    let whole: Value = serde_json::from_slice(&fs::read(&log).expect("a log")).expect("one JSON document");
    assert_eq!(whole["level"], "error");
    assert!(whole["msg"].as_str().is_some_and(|text| text.contains("executable file not found in $PATH")), "{whole}");
    let time = whole["time"].as_str().expect("a time");
    assert!(time.len() >= 20 && time.as_bytes()[10] == b'T', "RFC 3339: {time}");
    bundle.nothing_left();
}

#[test]
fn a_log_is_appended_to_and_empty_logs_are_fine() {
    let mut bundle = Bundle::new("log-append");
    bundle.args(["/bin/true"]).save();
    let log = bundle.text("log.json");
    let good = ["--log", &log, "--log-format", "json", "run", "--bundle", &bundle.text(""), &bundle.id];
    bundle.rt(&good).run().ok();
    assert_eq!(fs::read_to_string(&log).unwrap_or_default(), "", "success says nothing");
    for _ in 0..2 {
        bundle.rt(&["--log", &log, "--log-format", "json", "state", "nobody"]).run().fails(&["does not exist"]);
    }
    let text = fs::read_to_string(&log).expect("a log");
    assert_eq!(text.lines().count(), 2);
    for line in text.lines() {
        let object: Value = serde_json::from_str(line).expect("each line is an object");
        assert_eq!(object["level"], "error");
    }
}

#[test]
fn version_and_features_are_in_the_form_that_callers_parse() {
    let bundle = Bundle::new("version");
    let output = bundle.rt(&["--version"]).run().ok();
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert!(lines[0].contains(" version "), "{}", lines[0]);
    assert!(lines.iter().any(|line| line.starts_with("commit:")), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("spec: 1.")), "{lines:?}");
    let features = bundle.rt(&["features"]).run().ok().json();
    assert!(features["ociVersionMin"].is_string() && features["ociVersionMax"].is_string());
    for (place, word) in [
        ("/hooks", "poststop"),
        ("/mountOptions", "rro"),
        ("/linux/namespaces", "cgroup"),
        ("/linux/capabilities", "CAP_CHOWN"),
    ] {
        let list = texts(features.pointer(place).unwrap_or_else(|| panic!("no {place}")));
        assert!(list.iter().any(|entry| entry == word), "{word} is not in {place}");
    }
    assert_eq!(features["linux"]["seccomp"]["enabled"], true);
}

#[test]
fn spec_writes_a_config_that_runs() {
    let mut bundle = Bundle::new("spec");
    bundle.rt(&["spec", "--bundle", &bundle.text("")]).run().ok();
    let text = fs::read_to_string(bundle.path("config.json")).expect("a config");
    bundle.config = serde_json::from_str(&text).expect("JSON");
    assert!(bundle.config["ociVersion"].as_str().is_some_and(|version| version.starts_with("1.")));
    bundle.rt(&["spec", "--bundle", &bundle.text("")]).run().fails(&["exists"]);
    let id = format!("RT_TEST_ID={}", bundle.id);
    bundle.set("/process/terminal", json!(false)).set("/process/env/-", json!(id));
    bundle.set("/linux/cgroupsPath", json!(format!("/{}", bundle.id)));
    let seen = bundle.fingerprint(&["--stat", "/proc/kcore", "--stat", "/proc/sys/kernel/msgmax"]);
    assert_eq!(seen["pid"], 1);
    assert_eq!(seen["no_new_privs"], true);
    assert_ne!(seen["stat"]["/proc/sys/kernel/msgmax"]["write"], "ok");
}

#[test]
fn explain_prints_a_plan_and_does_nothing() {
    let mut bundle = Bundle::new("explain");
    bundle.args(["/probe", "write", "/tmp/mark", "x"]).save();
    let output = bundle.rt(&["explain", &bundle.text("")]).run().ok();
    assert!(output.stdout.contains("/mounts/0") && output.stdout.contains("/process/args"), "{}", output.stdout);
    let plan = bundle.rt(&["explain", "--json", &bundle.text("")]).run().ok().json();
    assert!(plan.is_object());
    bundle.nothing_left();
}

#[test]
fn timings_cover_both_processes() {
    let mut bundle = Bundle::new("timings");
    bundle.args(["/bin/true"]).save();
    let words = ["run", "--timings=json", "--bundle", &bundle.text(""), &bundle.id];
    let output = bundle.rt(&words).run().ok();
    let text = format!("{}{}", output.stdout, output.stderr);
    let document: Value = serde_json::from_str(text.trim()).expect("one JSON document");
    let all = document.to_string();
    for word in ["prepare", "birth", "build", "become"] {
        assert!(all.contains(word), "{word} is not in {all}");
    }
}

#[test]
fn a_state_root_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let mut bundle = Bundle::new("private");
    bundle.args(["/bin/true"]);
    fs::remove_dir(bundle.state_root()).expect("empty");
    let open = || {
        nix::sys::stat::umask(nix::sys::stat::Mode::empty());
        Ok(())
    };
    bundle.create_command().before_exec(open).run().ok();
    let mut todo = vec![bundle.state_root()];
    while let Some(path) = todo.pop() {
        let meta = fs::symlink_metadata(&path).expect("a path of the state root");
        let mode = meta.permissions().mode() & 0o7777;
        assert_eq!(mode & 0o066, 0, "{} has mode {mode:o}", path.display());
        if meta.is_dir() {
            todo.extend(fs::read_dir(&path).expect("readable").flatten().map(|entry| entry.path()));
        }
    }
    bundle.rt(&["delete", "--force", &bundle.id]).run().ok();
    bundle.nothing_left();
}

#[test]
fn nobody_needs_a_path_variable() {
    // podman's kill, pause, delete come with next to no environment; here with none at all.
    let mut bundle = Bundle::new("noenv");
    bundle.args(["/probe", "exit", "4"]).save();
    let words = ["run", "--bundle", &bundle.text(""), &bundle.id];
    Runtime::in_shell("unset PATH RT_TEST_ID; exec \"$@\"", &bundle, &words).run().exits(4);
}
