//! Flags and variables that callers seldom need, each with what can be seen of it.

mod common;

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;

use common::caller::careless;
use common::terminal::receive_descriptor;
use common::{Bundle, Runtime, Value, json, own_namespace, texts};

fn sleeping(name: &str) -> Bundle {
    let mut bundle = Bundle::new(name);
    bundle.args(["/probe", "sleep"]).create().ok();
    bundle.start().ok();
    bundle
}

fn end(bundle: &Bundle) {
    bundle.kill("KILL").ok();
    bundle.wait_status("stopped");
    bundle.delete().ok();
}

/// The pid that a pidfd stands for, which came over the socket.
fn received(listener: &UnixListener) -> i64 {
    let (pidfd, _) = receive_descriptor(listener);
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).expect("fdinfo");
    let pid = info.lines().find_map(|line| line.strip_prefix("Pid:")).expect("it is a pidfd");
    pid.trim().parse().expect("a number")
}

#[test]
fn a_pidfd_of_the_new_process_comes_over_the_socket() {
    let mut bundle = Bundle::new("pidfd");
    bundle.args(["/probe", "sleep"]);
    let (path, listener) =
        (bundle.text("pidfd.sock"), UnixListener::bind(bundle.path("pidfd.sock")).expect("a socket"));
    drop(bundle.create_command());
    let words = ["create", "--bundle", &bundle.text(""), "--pidfd-socket", &path, &bundle.id];
    bundle.rt(&words).run().ok();
    assert_eq!(received(&listener), bundle.pid());
    bundle.start().ok();
    let pid_file = bundle.text("exec.pid");
    let words = ["exec", "-d", "--pidfd-socket", &path, "--pid-file", &pid_file, &bundle.id, "/probe", "sleep"];
    bundle.rt(&words).run().ok();
    let pid: i64 = fs::read_to_string(&pid_file).expect("a pid file").parse().expect("digits");
    assert_eq!(received(&listener), pid);
    end(&bundle);
}

#[test]
fn a_pidfd_socket_that_nobody_listens_on_leaves_no_container() {
    let mut bundle = Bundle::new("pidfd-none");
    bundle.args(["/probe", "sleep"]).save();
    let words = ["create", "--bundle", &bundle.text(""), "--pidfd-socket", &bundle.text("no.sock"), &bundle.id];
    bundle.rt(&words).run().exits(1).fails(&["no.sock: no such file or directory"]);
    assert_eq!(bundle.status(), "gone");
    bundle.nothing_left();
}

#[test]
fn descriptors_that_were_promised_must_be_there() {
    let mut bundle = Bundle::new("fds-missing");
    bundle.args(["/bin/true"]).save();
    for words in [["create", "--preserve-fds", "3"], ["run", "--preserve-fds=3", "--keep"]] {
        let directory = bundle.text("");
        let words = [&words[..], &["--bundle", &directory, &bundle.id]].concat();
        let runtime = bundle.rt(&words).before_exec(careless("/etc/hostname", 3..5));
        runtime.run().exits(1).fails(&["--preserve-fds 3: descriptor 5 is not open"]);
        assert_eq!(bundle.status(), "gone");
    }
    bundle.nothing_left();
    let bundle = sleeping("fds-missing-exec");
    bundle
        .rt(&["exec", "--preserve-fds", "1", &bundle.id, "/bin/true"])
        .run()
        .exits(255)
        .fails(&["descriptor 3 is not open"]);
    end(&bundle);
}

#[test]
fn sockets_for_activation_are_for_exec_too() {
    let bundle = sleeping("listen-exec");
    let words = ["exec", &bundle.id, "/probe", "fingerprint"];
    let runtime = bundle.rt(&words).env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", "web");
    let seen = runtime.before_exec(careless("/etc/hostname", 3..9)).run().ok().json();
    let fds: Vec<&Value> = seen["fds"].as_array().expect("descriptors").iter().map(|fd| &fd["fd"]).collect();
    assert_eq!(fds, [0, 1, 2, 3]);
    let (env, pid) = (texts(&seen["env"]), format!("LISTEN_PID={}", seen["pid"]));
    for line in ["LISTEN_FDS=1", "LISTEN_FDNAMES=web", &pid] {
        assert!(env.contains(&line.to_owned()), "{line} is not in {env:?}");
    }
    end(&bundle);
}

/// Sockets that systemd has passed to the runtime come first, and descriptors that are to be kept behind them. podman's are
/// for the container's init, and it counts them among those.
#[test]
fn descriptors_that_are_kept_come_behind_the_sockets_for_activation() {
    let mut bundle = Bundle::new("listen-keep");
    bundle.args(["/probe", "fingerprint"]).save();
    let base = bundle.text("");
    let run = |script: &str, kept: &str| {
        let words = ["run", "--preserve-fds", kept, "--bundle", &base, &bundle.id];
        Runtime::in_shell(script, &bundle, &words).before_exec(careless("/etc/hostname", 3..7)).run()
    };
    for (pid, kept, want) in [("$$", "2", 5), ("$$", "0", 3), ("1", "2", 4), ("1", "0", 3), ("", "2", 4)] {
        let script = format!("LISTEN_FDS=1 LISTEN_PID={pid} exec \"$@\"");
        let seen = run(&script, kept).ok().json();
        let fds: Vec<u64> =
            seen["fds"].as_array().expect("descriptors").iter().filter_map(|fd| fd["fd"].as_u64()).collect();
        assert_eq!(fds, (0..=want).collect::<Vec<u64>>(), "LISTEN_PID={pid} --preserve-fds {kept}");
        assert!(texts(&seen["env"]).contains(&"LISTEN_FDS=1".to_owned()));
    }
    let missing = run("LISTEN_FDS=2 LISTEN_PID=$$ exec \"$@\"", "3");
    missing.exits(1).fails(&["--preserve-fds 3: descriptor 7 is not open"]);
    bundle.nothing_left();
}

#[test]
fn the_caller_s_groups_are_kept_when_the_annotation_asks_for_it() {
    let with_groups = || Ok(nix::unistd::setgroups(&[4321.into(), 4322.into()])?);
    let mut bundle = Bundle::new("keep-groups");
    bundle.args(["/probe", "fingerprint"]);
    let seen = bundle.run_command().before_exec(with_groups).run().ok().json();
    assert_eq!(seen["groups"], json!([]), "none without it");
    bundle.set("/annotations", json!({"run.oci.keep_original_groups": "1"}));
    let seen = bundle.run_command().before_exec(with_groups).run().ok().json();
    assert_eq!(seen["groups"], json!([4321, 4322]));
    bundle.args(["/probe", "sleep"]).create().ok();
    bundle.start().ok();
    let seen = bundle.rt(&["exec", &bundle.id, "/probe", "fingerprint"]).before_exec(with_groups).run().ok().json();
    assert_eq!(seen["groups"], json!([4321, 4322]), "and for who comes later");
    end(&bundle);
}

#[test]
fn signal_0_asks_whether_there_is_somebody() {
    let bundle = sleeping("kill-0");
    bundle.kill("0").ok();
    assert_eq!(bundle.status(), "running");
    bundle.kill("KILL").ok();
    bundle.wait_status("stopped");
    bundle.kill("0").exits(1).fails(&["container not running"]);
    bundle.delete().ok();
}

#[test]
fn a_capability_that_is_unknown_here_is_left_out_of_exec_as_of_a_config() {
    let bundle = sleeping("exec-cap");
    let words = ["exec", "--cap", "CAP_OF_TOMORROW", "--cap", "SYS_TIME", &bundle.id, "/probe", "fingerprint"];
    let output = bundle.rt(&words).run().ok();
    assert!(output.stderr.contains("left out CAP_OF_TOMORROW"), "{}", output.stderr);
    let effective = output.json()["caps"]["effective"].to_string();
    assert!(effective.contains("SYS_TIME"), "{effective}");
    end(&bundle);
}

#[test]
fn values_that_exec_cannot_use_are_its_failure_and_not_the_command_line_s() {
    let bundle = Bundle::new("exec-user");
    bundle.rt(&["exec", "--user", "nobody", &bundle.id, "true"]).run().exits(255).fails(&["--user"]);
    bundle.rt(&["exec", "--nonsense", &bundle.id, "true"]).run().exits(1);
    bundle.rt(&["exec"]).run().exits(1);
}

#[test]
fn files_that_are_missing_are_named_in_the_words_that_callers_look_for() {
    let bundle = sleeping("missing-files");
    let none = bundle.text("none");
    for words in [
        ["update", "--resources", &none, &bundle.id],
        ["exec", "--process", &none, &bundle.id],
        ["exec", "-d", "--pid-file", &format!("{none}/pid")],
    ] {
        let words = if words.contains(&"-d") {
            [&words[..], &[bundle.id.as_str(), "/bin/true"]].concat()
        } else {
            words.to_vec()
        };
        bundle.rt(&words).run().fails(&["none", "no such file or directory"]);
    }
    end(&bundle);
}

#[test]
fn a_flag_of_old_callers_is_accepted() {
    let mut bundle = Bundle::new("criu-flag");
    bundle.args(["/bin/true"]).save();
    let log = bundle.text("log.json");
    let words = [
        "--criu",
        "/usr/sbin/criu",
        "--log",
        &log,
        "--log-format",
        "json",
        "run",
        "--bundle",
        &bundle.text(""),
        &bundle.id,
    ];
    bundle.rt(&words).run().ok();
    assert_eq!(fs::read_to_string(&log).unwrap_or_default(), "", "success says nothing");
}

#[test]
fn without_a_subreaper_orphans_are_not_adopted() {
    let mut bundle = Bundle::new("no-subreaper");
    bundle.without_namespace("pid").args(["/probe", "fingerprint"]).save();
    for flags in [&["-no-subreaper"][..], &["--no-subreaper=false"]] {
        let directory = bundle.text("");
        let words = [&["run"], flags, &["--bundle", &directory, &bundle.id]].concat();
        let seen = bundle.rt(&words).run().ok().json();
        assert_eq!(seen["ns"]["pid"], own_namespace("pid"));
    }
}

#[test]
fn a_cgroup_that_was_killed_once_can_be_used_again() {
    let mut bundle = Bundle::new("cgroup-killed");
    let trees = common::cgroups::hierarchies();
    let Some(tree) = trees.iter().find(|tree| tree.unified) else { skip!("no cgroup2 tree is mounted") };
    let leftover = tree.mount.join(&bundle.id);
    fs::create_dir(&leftover).expect("a cgroup");
    if fs::write(leftover.join("cgroup.kill"), "1").is_err() {
        fs::remove_dir(&leftover).expect("it is empty");
        skip!("this kernel has no cgroup.kill");
    }
    bundle.args(["/probe", "exit", "3"]).run().exits(3);
    bundle.nothing_left();
}
