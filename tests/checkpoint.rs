//! `checkpoint` and `restore` with a real CRIU: a counting process goes on where it was, with what it had.
//!
//! CRIU is `$RT_CRIU`, or the one in PATH if it is new enough, or what conformance/criu/fetch has unpacked.

mod common;

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use common::caller::owns_terminal;
use common::saved::{Saved, counting, finish, round_trip};
use common::terminal::{ConsoleSocket, Terminal};
use common::{Bundle, Runtime, cgroups, json, patience, wait_until};
use nix::fcntl::{Flock, FlockArg};
use serde_json::Value;

#[test]
fn a_counting_process_goes_on() {
    need_criu!();
    let mut bundle = counting("criu", &[]);
    bundle.set("/linux/resources", json!({"memory": {"limit": 200 << 20}, "pids": {"limit": 77}}));
    bundle.begin();
    let output = bundle.checkpoint(&["--work-path", &bundle.text("work/deep")]).ok();
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("", ""));
    assert_eq!(bundle.status(), "gone", "saved, and ended");
    bundle.nothing_left();
    assert!(fs::metadata(bundle.path("images/inventory.img")).is_ok());
    assert!(fs::metadata(bundle.path("work/deep/dump.log")).is_ok());
    assert_eq!(fs::metadata(bundle.path("images")).unwrap().permissions().mode() & 0o077, 0, "memory is in there");
    let before = bundle.counted();
    let pid_file = bundle.text("pid-of-restored");
    let flags = ["--detach", "--pid-file", &pid_file, "-no-subreaper", "--work-path", &bundle.text("work/deep")];
    let output = bundle.restore(&flags).ok();
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("", ""));
    bundle.counts_past(before);
    assert_eq!(bundle.begun(), 1);
    let pid = bundle.pid();
    assert_eq!(fs::read_to_string(&pid_file).unwrap(), pid.to_string());
    let table = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let elsewhere = table
        .lines()
        .filter(|l| !l.ends_with(&format!("/{}", bundle.id)) && !l.contains("misc") && !l.contains("rdma"));
    assert_eq!(elsewhere.collect::<Vec<_>>(), Vec::<&str>::new(), "in its own cgroups, all of them");
    let directory = cgroups::named(&bundle.id).into_iter().find(|d| fs::metadata(d.join("pids.max")).is_ok()).unwrap();
    assert_eq!(cgroups::value(&directory.join("pids.max")), "77", "and under its limits");
    // Everything else works on it as on any other.
    let seen = bundle.rt(&["exec", &bundle.id, "/probe", "fingerprint"]).run().ok().json();
    assert_eq!(seen["hostname"], "rt-test");
    bundle.rt(&["pause", &bundle.id]).run().ok();
    assert_eq!(bundle.status(), "paused");
    bundle.rt(&["resume", &bundle.id]).run().ok();
    bundle.kill("KILL").ok();
    bundle.wait_status("stopped");
    bundle.delete().ok();
    bundle.nothing_left();
}

#[test]
fn in_the_foreground_it_ends_as_the_process_ends() {
    need_criu!();
    let bundle = counting("criufg", &[]);
    bundle.begin();
    bundle.checkpoint(&[]).ok();
    let before = bundle.counted();
    let running = bundle.restore_command(&[]).spawn();
    bundle.counts_past(before);
    // It counts as soon as CRIU lets it, before the runtime that waits for CRIU has written so.
    bundle.wait_status("running");
    bundle.stop(7);
    running.wait().exits(7);
    assert_eq!(bundle.status(), "gone");
    bundle.nothing_left();
}

#[test]
fn it_may_run_on() {
    need_criu!();
    let bundle = counting("criuon", &[]);
    bundle.begin();
    let pid = bundle.pid();
    // podman gives it twice.
    bundle.checkpoint(&["--leave-running", "--leave-running"]).ok();
    assert_eq!((bundle.status().as_str(), bundle.pid()), ("running", pid));
    bundle.counts_past(bundle.counted());
    assert!(fs::metadata(bundle.path("images/inventory.img")).is_ok());
    finish(&bundle);
}

#[test]
fn a_paused_container_can_be_saved() {
    need_criu!();
    let bundle = counting("criupause", &[]);
    bundle.begin();
    bundle.rt(&["pause", &bundle.id]).run().ok();
    bundle.checkpoint(&["--leave-running"]).ok();
    assert_eq!(bundle.status(), "paused", "as it was");
    fs::rename(bundle.path("images"), bundle.path("others")).unwrap();
    bundle.checkpoint(&[]).ok();
    assert_eq!(bundle.status(), "gone");
    let before = bundle.counted();
    bundle.restore(&["--detach"]).ok();
    assert_eq!(bundle.status(), "running");
    bundle.counts_past(before);
    assert_eq!(bundle.begun(), 1);
    finish(&bundle);
}

#[test]
fn memory_can_be_saved_ahead() {
    need_criu!();
    let bundle = counting("criupre", &[]);
    bundle.begin();
    let pre = bundle.text("pre");
    let words = ["checkpoint", "--pre-dump", "--image-path", &pre, "--work-path", &pre, &bundle.id];
    let output = bundle.verb(&words).run();
    if output.stderr.contains("Tracking memory is not available") {
        assert_eq!(bundle.status(), "running");
        finish(&bundle);
        skip!("this kernel has no soft-dirty bits (CONFIG_MEM_SOFT_DIRTY), so no memory can be saved ahead");
    }
    output.ok();
    assert_eq!(bundle.status(), "running");
    bundle.counts_past(bundle.counted());
    bundle.checkpoint(&["--parent-path", "../pre"]).ok();
    let parent = fs::read_link(bundle.path("images/parent")).expect("what has not changed is in the parent");
    assert_eq!(parent, PathBuf::from("../pre"));
    let before = bundle.counted();
    bundle.restore(&["--detach"]).ok();
    bundle.counts_past(before);
    assert_eq!(bundle.begun(), 1);
    finish(&bundle);
}

#[test]
fn a_parent_is_relative_and_there() {
    need_criu!();
    let bundle = counting("criuparent", &[]);
    bundle.begin();
    bundle.checkpoint(&["--parent-path", "/tmp"]).fails(&["--parent-path /tmp: must be relative"]);
    bundle.checkpoint(&["--parent-path", "../nowhere"]).fails(&["--parent-path", "no such file or directory"]);
    assert_eq!(bundle.status(), "running");
    finish(&bundle);
}

#[test]
fn connections_are_kept_on_demand() {
    need_criu!();
    let bundle = counting("criutcp", &["tcp"]);
    bundle.begin();
    bundle.checkpoint(&[]).fails(&["criu failed: type DUMP", "tcp-established", "dump.log"]);
    assert_eq!(bundle.status(), "running", "a failed checkpoint leaves the container as it was");
    bundle.counts_past(bundle.counted());
    bundle.checkpoint(&["--tcp-established"]).ok();
    let before = bundle.counted();
    bundle.restore(&["--detach", "--tcp-established"]).ok();
    bundle.counts_past(before);
    assert_eq!(bundle.begun(), 1);
    finish(&bundle);
}

#[test]
fn locks_are_kept_on_demand() {
    need_criu!();
    let bundle = counting("criulock", &["lock", "/tmp/locked"]);
    bundle.begin();
    bundle.checkpoint(&[]).fails(&["criu failed: type DUMP", "lock", "dump.log"]);
    bundle.counts_past(bundle.counted());
    bundle.checkpoint(&["--file-locks"]).ok();
    let lock = || {
        let file = fs::File::open(bundle.path("rootfs/tmp/locked")).unwrap();
        Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno)
    };
    drop(lock().expect("nobody has it any more"));
    let before = bundle.counted();
    bundle.restore(&["--detach", "--file-locks"]).ok();
    bundle.counts_past(before);
    assert_eq!(lock().map(drop), Err(nix::errno::Errno::EWOULDBLOCK), "the restored process has it");
    finish(&bundle);
}

#[test]
fn a_socket_of_the_host_stays_connected_on_demand() {
    need_criu!();
    let mut bundle = Bundle::new("criuunix");
    // CRIU finds the other end among the sockets of the container's network namespace.
    bundle.without_namespace("network");
    let there = bundle.directory("there");
    let socket = UnixDatagram::bind(there.join("socket")).unwrap();
    socket.set_nonblocking(true).unwrap();
    // What the socket is called is what its maker has called it: inside it must be the same.
    let path = bundle.text("there");
    bundle.args(["/probe", "count", "/tmp", "datagram", &bundle.text("there/socket")]);
    bundle.mount(&path, "bind", &path, &["bind", "rw"]);
    bundle.begin();
    bundle.checkpoint(&[]).fails(&["criu failed: type DUMP", "dump.log"]);
    bundle.counts_past(bundle.counted());
    bundle.checkpoint(&["--ext-unix-sk"]).ok();
    let last = drain(&socket);
    assert!(last > 0);
    bundle.restore(&["--detach", "--ext-unix-sk"]).ok();
    let heard = wait_until(patience(), || Some(drain(&socket)).filter(|n| *n > last));
    assert!(heard.is_some(), "nothing comes after {last}");
    finish(&bundle);
}

/// The largest number that has come.
fn drain(socket: &UnixDatagram) -> u64 {
    let mut buffer = [0; 64];
    let mut last = 0;
    while let Ok(length) = socket.recv(&mut buffer) {
        last = String::from_utf8_lossy(&buffer[..length]).parse().unwrap();
    }
    last
}

#[test]
fn a_job_of_a_shell_goes_on_in_another_terminal() {
    need_criu!();
    let bundle = counting("criujob", &["say"]);
    let (mut terminal, slave) = Terminal::open(24, 80);
    let mut running = on_terminal(bundle.run_command(), slave);
    for flags in [&["--shell-job"][..], &[]] {
        terminal.wait_for(&format!("at {}", bundle.counted() + 10));
        bundle.checkpoint(flags).ok();
        running.wait();
        let before = bundle.counted();
        let (next, slave) = Terminal::open(24, 80);
        terminal = next;
        running = on_terminal(bundle.restore_command(flags), slave);
        terminal.wait_for(&format!("at {}", before + 5));
        fs::rename(bundle.path("images"), bundle.path(&format!("images-{before}"))).unwrap();
    }
    bundle.stop(3);
    running.wait().exits(3);
    assert_eq!(bundle.begun(), 1);
    bundle.nothing_left();
}

/// Starts it as a shell would, with this terminal.
fn on_terminal(command: Runtime, slave: std::os::fd::OwnedFd) -> common::Running {
    let another = || slave.try_clone().unwrap();
    command.stdin(another()).before_exec(owns_terminal).spawn_with(another(), another())
}

#[test]
fn pipes_lead_to_whoever_restores() {
    need_criu!();
    let bundle = counting("criupipe", &["say"]);
    let (mut first, writer) = std::io::pipe().unwrap();
    let null = || fs::File::open("/dev/null").unwrap();
    bundle.save();
    let running = bundle.run_command().stdin(null()).spawn_with(writer, fs::File::create(bundle.path("err")).unwrap());
    bundle.counts_past(10);
    bundle.checkpoint(&[]).ok();
    running.wait();
    let mut text = String::new();
    first.read_to_string(&mut text).unwrap();
    assert!(text.contains("at 10\n"), "{text}");
    let before = bundle.counted();
    let (mut second, writer) = std::io::pipe().unwrap();
    let command = bundle.restore_command(&[]).stdin(null());
    let running = command.spawn_with(writer, fs::File::create(bundle.path("err")).unwrap());
    bundle.counts_past(before + 10);
    bundle.stop(0);
    running.wait().exits(0);
    let mut text = String::new();
    second.read_to_string(&mut text).unwrap();
    assert!(text.contains(&format!("at {}\n", before + 3)), "after {before}: {text}");
}

#[test]
fn a_terminal_comes_over_the_console_socket() {
    need_criu!();
    let mut bundle = Bundle::new("criutty");
    bundle.set("/process/terminal", json!(true)).args(["/probe", "tty-echo"]);
    let socket = ConsoleSocket::new(&bundle);
    bundle.save();
    bundle.rt(&["create", "--bundle", &bundle.text(""), "--console-socket", &socket.path, &bundle.id]).run().ok();
    let (mut terminal, _) = socket.receive();
    bundle.start().ok();
    terminal.wait_for("ready");
    bundle.checkpoint(&[]).ok();
    drop((terminal, socket));
    fs::remove_file(bundle.path("tty.sock")).unwrap();
    bundle.restore(&["--detach"]).fails(&["cannot allocate tty if runc will detach without setting console socket"]);
    let socket = ConsoleSocket::new(&bundle);
    bundle.restore(&["--detach", "--console-socket", &socket.path]).ok();
    let (mut terminal, name) = socket.receive();
    assert!(name.starts_with("/dev/pts/"), "{name}");
    terminal.type_line("hello again");
    terminal.wait_for("heard hello again");
    terminal.type_line("quit");
    bundle.wait_status("stopped");
    bundle.delete().ok();
}

#[test]
fn mounts_from_outside_are_found_again() {
    need_criu!();
    let mut bundle = Bundle::new("criumount");
    bundle.args(["/probe", "count", "/mnt"]);
    bundle.write("data/file", "outside");
    bundle.write("single", "a file");
    bundle.directory("rootfs/somewhere");
    std::os::unix::fs::symlink("somewhere", bundle.path("rootfs/link")).unwrap();
    bundle.mount("/link/data", "bind", &bundle.text("data"), &["rbind", "ro"]);
    bundle.mount("/etc/single", "bind", &bundle.text("single"), &["bind"]);
    bundle.mount("/scratch", "tmpfs", "tmpfs", &["size=1m"]);
    bundle.set("/root/readonly", json!(true));
    bundle.directory("elsewhere");
    bundle.mount("/mnt", "bind", &bundle.text("elsewhere"), &["bind"]);
    bundle.begin();
    let inside = |script: &str| bundle.rt(&["exec", &bundle.id, "/bin/sh", "-c", script]).run();
    let options = |pid: i64| -> Vec<String> {
        let table = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
        let mut lines: Vec<String> =
            table.lines().map(|l| l.split(' ').skip(4).take(2).collect::<Vec<_>>().join(" ")).collect();
        lines.sort();
        lines
    };
    let as_made = options(bundle.pid());
    inside("echo inside > /scratch/file").ok();
    bundle.checkpoint(&[]).ok();
    let before = bundle.counted();
    bundle.write("data/file", "outside, later");
    bundle.restore(&["--detach"]).ok();
    bundle.counts_past(before);
    assert_eq!(options(bundle.pid()), as_made);
    assert_eq!(inside("cat /link/data/file /etc/single").ok().stdout, "outside, latera file");
    assert_eq!(inside("cat /scratch/file").ok().stdout, "inside\n", "what was in memory came back");
    inside("echo x > /link/data/new").fails(&["Read-only file system"]);
    inside("echo x > /new").fails(&["Read-only file system"]);
    inside("echo x > /proc/sys/kernel/hostname").fails(&["Read-only file system"]);
    assert_eq!(inside("cat /proc/keys").ok().stdout, "", "masked");
    finish(&bundle);
}

#[test]
fn mount_points_are_made_in_a_fresh_root() {
    need_criu!();
    let mut bundle = Bundle::new("criufresh");
    bundle.args(["/probe", "count", "/mnt"]);
    bundle.write("single", "a file");
    bundle.mount("/etc/new/single", "bind", &bundle.text("single"), &["bind"]);
    bundle.directory("elsewhere");
    bundle.mount("/mnt", "bind", &bundle.text("elsewhere"), &["bind"]);
    bundle.begin();
    bundle.checkpoint(&[]).ok();
    let before = bundle.counted();
    fs::remove_dir_all(bundle.path("rootfs/etc/new")).unwrap();
    bundle.restore(&["--detach"]).ok();
    bundle.counts_past(before);
    finish(&bundle);
}

#[test]
fn a_joined_network_is_joined_again() {
    need_criu!();
    let pod = {
        let mut pod = Bundle::new("criupod");
        pod.args(["/probe", "sleep"]);
        pod.create().ok();
        pod.start().ok();
        pod
    };
    let mut bundle = counting("criujoin", &[]);
    let pid = pod.pid();
    for (kind, file) in [("network", "net"), ("ipc", "ipc"), ("uts", "uts")] {
        bundle.join(kind, &format!("/proc/{pid}/ns/{file}"));
    }
    bundle.remove("/hostname");
    round_trip(&bundle, &[], &[]);
    for file in ["net", "ipc", "uts"] {
        let of = |pid| common::namespace_of(pid, file);
        assert_eq!(of(bundle.pid()), of(pid), "{file}");
    }
    finish(&bundle);
    finish(&pod);
}

#[test]
fn a_user_namespace_comes_back() {
    need_criu!();
    let mut bundle = counting("criuuser", &[]);
    bundle.set("/linux/namespaces/-", json!({"type": "user"}));
    let map = json!([{"containerID": 0, "hostID": 200_000, "size": 65536}]);
    bundle.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    // Its stdio is opened again with the rights it has inside.
    let null = || fs::OpenOptions::new().read(true).write(true).open("/dev/null").unwrap();
    bundle.create_command().spawn_with(null(), null()).wait().ok();
    bundle.start().ok();
    bundle.counts_past(10);
    bundle.checkpoint(&[]).ok();
    let before = bundle.counted();
    bundle.restore_command(&["--detach"]).spawn_with(null(), fs::File::create(bundle.path("err")).unwrap()).wait().ok();
    bundle.counts_past(before);
    assert_eq!(bundle.begun(), 1);
    let uids = fs::read_to_string(format!("/proc/{}/uid_map", bundle.pid())).unwrap();
    assert_eq!(uids.split_whitespace().collect::<Vec<_>>(), ["0", "200000", "65536"]);
    finish(&bundle);
}

#[test]
fn hooks_run_where_the_namespaces_are() {
    need_criu!();
    let mut bundle = counting("criuhook", &[]);
    let hook = bundle.script("hook", "#!/bin/sh\ncat > \"$1\"\n");
    let entry = |point: &str| json!([{"path": hook, "args": ["hook", bundle.text(point)]}]);
    let hooks = json!({"createRuntime": entry("createRuntime"), "poststop": entry("poststop"), "poststart": entry("poststart")});
    bundle.set("/hooks", hooks);
    bundle.begin();
    bundle.checkpoint(&[]).ok();
    let state = |point: &str| -> Value {
        serde_json::from_str(&fs::read_to_string(bundle.path(point)).unwrap_or("null".into())).unwrap()
    };
    assert_eq!(state("poststop")["status"], "stopped", "it has ended");
    for point in ["createRuntime", "poststart", "poststop"] {
        fs::remove_file(bundle.path(point)).unwrap();
    }
    let before = bundle.counted();
    bundle.restore(&["--detach"]).ok();
    assert_eq!(state("createRuntime")["pid"], json!(bundle.pid()));
    assert_eq!(state("createRuntime")["id"], json!(bundle.id));
    bundle.counts_past(before);
    finish(&bundle);
}

#[test]
fn a_hook_that_fails_undoes_the_restore() {
    need_criu!();
    let mut bundle = counting("criuhookfail", &[]);
    bundle.begin();
    bundle.checkpoint(&[]).ok();
    let before = bundle.counted();
    bundle.set("/hooks/createRuntime", json!([{"path": "/bin/sh", "args": ["sh", "-c", "echo no luck; exit 3"]}]));
    bundle.restore(&["--detach"]).fails(&["/hooks/createRuntime/0", "exit status 3: no luck"]);
    assert_eq!(bundle.status(), "gone");
    bundle.nothing_left();
    assert_eq!(bundle.counted(), before, "nobody counts");
}

#[test]
fn images_that_are_none_leave_nothing() {
    need_criu!();
    let bundle = counting("criubad", &[]);
    bundle.restore(&["--detach"]).fails(&["images", "no such file or directory"]);
    bundle.nothing_left();
    bundle.directory("images");
    bundle.restore(&["--detach"]).fails(&["criu failed: type RESTORE", "empty-image", "restore.log"]);
    assert_eq!(bundle.status(), "gone");
    bundle.nothing_left();
    bundle.begin();
    bundle.restore(&["--detach"]).fails(&["container with given ID already exists"]);
    bundle.checkpoint(&[]).ok();
    let pages = fs::read_dir(bundle.path("images")).unwrap().flatten().map(|e| e.path());
    let pages = pages.filter(|p| p.to_string_lossy().contains("/core-"));
    pages.for_each(|file| fs::write(file, "not an image").unwrap());
    bundle.restore(&["--detach"]).fails(&["criu failed: type RESTORE", "restore.log"]);
    assert_eq!(bundle.status(), "gone");
    bundle.nothing_left();
}

#[test]
fn only_what_runs_can_be_saved() {
    need_criu!();
    let bundle = counting("criustate", &[]);
    bundle.checkpoint(&[]).fails(&["container does not exist"]);
    bundle.create().ok();
    bundle.checkpoint(&[]).fails(&["container cannot be checkpointed in created state"]);
    bundle.start().ok();
    bundle.kill("KILL").ok();
    bundle.wait_status("stopped");
    bundle.checkpoint(&[]).fails(&["container cannot be checkpointed in stopped state"]);
    assert!(fs::metadata(bundle.images()).is_err(), "nothing was made");
    bundle.delete().ok();
}

#[test]
fn without_criu_that_is_what_is_said() {
    let bundle = counting("criunone", &[]);
    bundle.begin();
    let words = ["--criu", "/nowhere/criu", "checkpoint", "--image-path", &bundle.images(), &bundle.id];
    bundle.rt(&words).run().fails(&["/nowhere/criu", "checkpoint and restore need CRIU"]);
    assert_eq!(bundle.status(), "running");
    let other = counting("criunone2", &[]);
    other.save();
    let words = ["--criu", "/nowhere/criu", "restore", "--detach", "--bundle", &other.text(""), &other.id];
    other.rt(&words).run().fails(&["/nowhere/criu", "checkpoint and restore need CRIU"]);
    finish(&bundle);
}

#[test]
fn callers_find_what_they_probe_for() {
    let bundle = Bundle::new("criuprobe");
    let help = bundle.rt(&["checkpoint", "--help"]).run().ok();
    for flag in ["--image-path", "--work-path", "--leave-running", "--pre-dump", "--lazy-pages", "--page-server"] {
        assert!(help.stdout.contains(flag), "{}", help.stdout);
    }
    bundle.rt(&["restore", "--lsm-mount-context"]).run().fails(&["flag needs an argument"]);
    bundle.rt(&["checkpoint", "--manage-cgroups-mode", "odd", "x"]).run().fails(&["odd"]);
    bundle.rt(&["checkpoint", "--empty-ns", "pid", "x"]).run().fails(&["only network is"]);
    let features = bundle.rt(&["features"]).run().ok().json();
    assert_eq!(features["annotations"]["org.opencontainers.runc.checkpoint.enabled"], "true");
}

#[test]
fn cgroups_come_back_in_every_mode() {
    need_criu!();
    for mode in ["soft", "full", "ignore"] {
        let bundle = counting("criumode", &[]);
        round_trip(&bundle, &["--manage-cgroups-mode", mode], &["--manage-cgroups-mode", mode]);
        let table = fs::read_to_string(format!("/proc/{}/cgroup", bundle.pid())).unwrap();
        assert!(table.lines().any(|l| l.ends_with(&format!("/{}", bundle.id))), "{mode}: {table}");
        finish(&bundle);
    }
    let bundle = counting("criumode", &[]);
    bundle.begin();
    bundle.checkpoint(&[]).ok();
    // Nothing may be there before, says CRIU of this one; the container's own cgroup always is.
    bundle.restore(&["--detach", "--manage-cgroups-mode", "strict"]).fails(&["Abort restore of existing cgroups"]);
    assert_eq!(bundle.status(), "gone");
}

#[test]
fn the_config_file_counts_more() {
    need_criu!();
    let mut bundle = counting("criuconf", &["tcp"]);
    bundle.write("criu.conf", "tcp-established\nlog-file other.log\n");
    bundle.set("/annotations", json!({"org.criu.config": bundle.text("criu.conf")}));
    bundle.begin();
    bundle.checkpoint(&[]).ok();
    assert!(fs::metadata(bundle.path("images/other.log")).is_ok());
    let before = bundle.counted();
    bundle.restore(&["--detach"]).ok();
    bundle.counts_past(before);
    finish(&bundle);
}

#[test]
fn an_empty_network_is_one_without_its_devices() {
    need_criu!();
    // Its own loopback it has, as after create.
    let bundle = counting("criuempty", &["tcp"]);
    let flags = ["--empty-ns", "network", "--tcp-established"];
    round_trip(&bundle, &flags, &flags);
    finish(&bundle);
}

#[test]
fn what_update_has_set_comes_back() {
    need_criu!();
    let mut bundle = counting("criulimits", &[]);
    bundle.set("/linux/resources", json!({"pids": {"limit": 77}, "memory": {"limit": 200 << 20}}));
    bundle.begin();
    let limit = |controller: &str, old: &str, new: &str| {
        let at = cgroups::v1(controller).map(|dir| dir.join(&bundle.id).join(old));
        let at = at.or_else(|| cgroups::v2(controller).map(|dir| dir.join(&bundle.id).join(new)));
        cgroups::value(&at.expect("a hierarchy with the controller"))
    };
    let limits = || (limit("pids", "pids.max", "pids.max"), limit("memory", "memory.limit_in_bytes", "memory.max"));
    let is = |pids: &str, memory: u64| (pids.to_owned(), memory.to_string());
    bundle.rt(&["update", "--pids-limit", "66", "--memory", "300M", &bundle.id]).run().ok();
    bundle.rt(&["update", "--pids-limit", "55", &bundle.id]).run().ok();
    assert_eq!(limits(), is("55", 300 << 20));
    bundle.checkpoint(&[]).ok();
    bundle.restore(&["--detach"]).ok();
    assert_eq!(limits(), is("55", 300 << 20), "what was asked for last");
    // Once more, for it is remembered of the new one too; and then of the bundle's alone, from a directory used before.
    bundle.checkpoint(&[]).ok();
    bundle.restore(&["--detach"]).ok();
    assert_eq!(limits(), is("55", 300 << 20));
    finish(&bundle);
    bundle.begin();
    bundle.checkpoint(&[]).ok();
    bundle.restore(&["--detach"]).ok();
    assert_eq!(limits(), is("77", 200 << 20), "another container's updates are not this one's");
    finish(&bundle);
}

#[test]
fn a_limit_that_cannot_be_set_again_leaves_nothing() {
    need_criu!();
    let bundle = counting("criulimit", &[]);
    bundle.begin();
    bundle.rt(&["update", "--pids-limit", "55", &bundle.id]).run().ok();
    bundle.checkpoint(&[]).ok();
    fs::write(bundle.path("images/updates.json"), r#"[{"cpu": {"cpus": "4095"}}]"#).unwrap();
    bundle.restore(&["--detach"]).fails(&["the limits that update had set", "/cpu/cpus"]);
    assert_eq!(bundle.status(), "gone");
    bundle.nothing_left();
    fs::write(bundle.path("images/updates.json"), "nonsense").unwrap();
    bundle.restore(&["--detach"]).fails(&["updates.json beside the images"]);
    bundle.nothing_left();
}
