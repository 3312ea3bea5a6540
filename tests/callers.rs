//! The contract of each program that drives a runtime: the command lines that it was seen to send, word for word, with its
//! environment, its descriptors and its working directory; and of the answers what it reads. Only `--root` is ours, so
//! that tests don't meet.

mod common;

use std::fs;
use std::path::PathBuf;

use common::caller::{careless, dies_with_parent};
use common::cgroups::{v1, v2, value};
use common::saved::{self, Saved, counting};
use common::terminal::ConsoleSocket;
use common::{Bundle, Output, Runtime, Value, json, namespace_of, patience, texts, wait_until};

/// A program that calls the runtime.
struct Caller {
    environment: &'static [(&'static str, &'static str)],
    /// One past the last descriptor that it leaks.
    leaks: i32,
    /// Whether its working directory is the bundle.
    in_bundle: bool,
}

const PATH: (&str, &str) = ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
const XDG: (&str, &str) = ("XDG_RUNTIME_DIR", "/run/user/0");

/// podman calls this one for what has to do with the container's stdio.
const CONMON: Caller = Caller {
    environment: &[XDG, PATH, ("_OCI_SYNCPIPE", "3"), ("_OCI_STARTPIPE", "4"), ("_OCI_ATTACHPIPE", "5")],
    leaks: 8,
    in_bundle: false,
};
const PODMAN: Caller = Caller { environment: &[XDG], leaks: 3, in_bundle: false };
const PODMAN_START: Caller = Caller { environment: &[XDG, PATH], leaks: 3, in_bundle: false };
const BUILDAH: Caller =
    Caller { environment: &[XDG, PATH, ("_CONTAINERS_USERNS_CONFIGURED", "")], leaks: 16, in_bundle: true };
/// ctr, the CRI and dockerd are behind it.
const SHIM: Caller = Caller {
    environment: &[PATH, ("TTRPC_ADDRESS", "/run/containerd/containerd.sock.ttrpc"), ("MAX_SHIM_VERSION", "2")],
    leaks: 4,
    in_bundle: true,
};
const DOCKERD: Caller = Caller { environment: &[PATH], leaks: 3, in_bundle: false };
const BUILDKIT: Caller = Caller { environment: &[PATH, ("OTEL_SERVICE_NAME", "dockerd")], leaks: 3, in_bundle: false };

impl Caller {
    /// A command line of the caller's; `{b}` is the bundle, `{id}` the container.
    fn calls(&self, bundle: &Bundle, line: &str) -> Runtime {
        let line = line.replace("{b}", bundle.text("").trim_end_matches('/')).replace("{id}", &bundle.id);
        let words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
        let runtime = bundle.rt(&words).before_exec(dies_with_parent);
        let runtime = self.environment.iter().fold(runtime, |runtime, (name, value)| runtime.env(name, value));
        let runtime =
            if self.leaks > 3 { runtime.before_exec(careless("/etc/hostname", 3..self.leaks)) } else { runtime };
        if self.in_bundle { runtime.current_dir(bundle.base()) } else { runtime }
    }

    /// One that must work, and say nothing: its output is the container's.
    fn does(&self, bundle: &Bundle, line: &str) {
        let output = self.calls(bundle, line).run().ok();
        assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("", ""), "{line}");
    }
}

/// Atoi on the raw text, as go-runc and BuildKit do.
fn pid_in(bundle: &Bundle, file: &str) -> i64 {
    let text = fs::read_to_string(bundle.path(file)).expect("a pid file");
    assert!(text.bytes().all(|b| b.is_ascii_digit()), "{text:?}");
    text.parse().expect("a number")
}

/// podman: one document in the whole file.
fn one_object(bundle: &Bundle, file: &str) -> String {
    let text = fs::read(bundle.path(file)).expect("a log");
    let object: Value = serde_json::from_slice(&text).expect("one JSON document");
    assert_eq!(object["level"], "error");
    rfc3339(&object);
    object["msg"].as_str().expect("a message").to_owned()
}

/// containerd: a stream of objects, of which the last error counts.
fn last_error(bundle: &Bundle, file: &str) -> String {
    let text = fs::read(bundle.path(file)).expect("a log");
    let stream = serde_json::Deserializer::from_slice(&text).into_iter::<Value>();
    let entries: Vec<Value> = stream.collect::<Result<_, _>>().expect("a stream of JSON objects");
    entries.iter().for_each(rfc3339);
    let last = entries.iter().rev().find(|entry| entry["level"] == "error").expect("an error");
    last["msg"].as_str().expect("a message").to_owned()
}

fn rfc3339(entry: &Value) {
    let time = entry["time"].as_str().expect("a time").as_bytes();
    let form = b"0000-00-00T00:00:00";
    let fits = |(at, want): (usize, &u8)| if *want == b'0' { time[at].is_ascii_digit() } else { time[at] == *want };
    assert!(time.len() >= 20 && form.iter().enumerate().all(fits) && time.ends_with(b"Z"), "{entry}");
}

/// The exit code that podman and docker make of a message, each with its own search.
fn exit_codes(message: &str) -> (i32, i32) {
    let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
    let lower = message.to_lowercase();
    let podman = match () {
        () if lower.contains("permission denied") || lower.contains("operation not permitted") => 126,
        () if lower.contains("executable file not found in") || lower.contains("no such file or directory") => 127,
        () => 125,
    };
    let docker = match () {
        () if has(&["executable file not found", "no such file or directory", "system cannot find the file"]) => 127,
        () if has(&["permission denied", "is a directory"]) => 126,
        () => 125,
    };
    (podman, docker)
}

fn parent_of(pid: i64) -> i64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok()).expect("a parent")
}

/// The descriptors of a process, and that none is the caller's.
fn clean_descriptors(pid: i64) {
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).expect("it lives").flatten() {
        let link = fs::read_link(entry.path()).unwrap_or_default();
        assert!(!link.ends_with("hostname"), "descriptor {:?} of the caller's has come in", entry.file_name());
    }
}

/// The file of limits that `dockerd` and the CRI send, with zeros for what is not meant.
fn limits(pids: i64) -> Value {
    json!({
        "devices": [{"allow": false, "access": "rwm"}],
        "memory": {"limit": 0, "reservation": 0, "kernel": 0},
        "cpu": {"shares": 0, "quota": 25000, "period": 100_000}, "pids": {"limit": pids}, "blockIO": {"weight": 0}
    })
}

fn pids_max(bundle: &Bundle) -> String {
    let dir = v1("pids").or_else(|| v2("pids")).expect("a hierarchy that counts pids");
    value(&dir.join(&bundle.id).join("pids.max"))
}

fn sleeping(name: &str) -> Bundle {
    let mut bundle = Bundle::new(name);
    bundle.args(["/probe", "sleep"]).set("/linux/resources", json!({"pids": {"limit": 50}}));
    bundle
}

/// A process as an engine writes it for `exec --process`.
fn process_file(bundle: &Bundle, name: &str, args: &[&str]) -> PathBuf {
    let process = json!({"terminal": false, "user": {"uid": 0, "gid": 0}, "args": args, "env": [common::config::PATH, "A=b"], "cwd": "/"});
    bundle.write(name, &process.to_string())
}

fn gone(bundle: &Bundle) {
    assert_eq!(bundle.status(), "gone");
    bundle.nothing_left();
}

#[test]
fn podman_and_conmon_run_a_container_from_create_to_delete() {
    let bundle = sleeping("podman");
    // `create_command` writes the config and sees to it that a failed test is cleaned up.
    drop(bundle.create_command());
    CONMON.does(
        &bundle,
        "--log-format=json --log {b}/oci-log create --bundle {b} --pid-file {b}/pidfile --no-new-keyring --preserve-fds 0 {id}",
    );
    let pid = pid_in(&bundle, "pidfile");
    assert_eq!(parent_of(pid), i64::from(std::process::id()), "conmon is a subreaper and waits for init itself");
    assert_eq!(fs::metadata(bundle.path("oci-log")).map_or(0, |log| log.len()), 0, "success says nothing");
    // conmon puts an eventfd on the memory cgroup that it finds there, at once.
    let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("it lives");
    assert!(cgroups.contains(&bundle.id), "{cgroups}");
    PODMAN_START.does(&bundle, "start {id}");
    clean_descriptors(pid);
    let state = PODMAN_START.calls(&bundle, "state {id}").run().ok().json();
    assert_eq!((&state["status"], &state["pid"], &state["id"]), (&json!("running"), &json!(pid), &json!(bundle.id)));
    PODMAN.does(&bundle, "pause {id}");
    assert_eq!(bundle.status(), "paused");
    PODMAN.does(&bundle, "resume {id}");
    PODMAN.calls(&bundle, "resume {id}").run().fails(&["container not paused"]);
    bundle.write("resources.json", &limits(33).to_string());
    PODMAN_START.does(&bundle, "update --resources={b}/resources.json {id}");
    assert_eq!(pids_max(&bundle), "33");
    PODMAN.does(&bundle, "kill {id} 15");
    PODMAN.does(&bundle, "kill --all {id} 9");
    bundle.wait_status("stopped");
    PODMAN.calls(&bundle, "kill {id} 15").run().exits(1).fails(&["container not running"]);
    PODMAN.does(&bundle, "delete --force {id}");
    PODMAN.does(&bundle, "delete --force {id}");
    PODMAN_START.calls(&bundle, "state {id}").run().exits(1).fails(&["does not exist"]);
    gone(&bundle);
}

#[test]
fn conmon_executes_in_a_container() {
    let bundle = sleeping("podman-exec");
    bundle.create().ok();
    bundle.start().ok();
    process_file(&bundle, "process.json", &["/bin/sh", "-c", "exec /probe sleep"]);
    let line = "--log-format=json --log {b}/exec-log exec --pid-file {b}/exec.pid --process {b}/process.json --detach";
    CONMON.calls(&bundle, &format!("{line} {{id}}")).run().ok();
    let pid = pid_in(&bundle, "exec.pid");
    assert_eq!(parent_of(pid), i64::from(std::process::id()));
    assert_eq!(namespace_of(pid, "pid"), namespace_of(bundle.pid(), "pid"));
    clean_descriptors(pid);
    for (program, code) in [("nothing-here", 127), ("/nothing/here", 127), ("/etc/passwd", 126)] {
        process_file(&bundle, "process.json", &[program]);
        let _ = fs::remove_file(bundle.path("exec-log"));
        CONMON.calls(&bundle, &format!("{line} {{id}}")).run().exits(255);
        let message = one_object(&bundle, "exec-log");
        assert_eq!(exit_codes(&message), (code, code), "{message}");
    }
    PODMAN.does(&bundle, "delete --force {id}");
    gone(&bundle);
}

#[test]
fn conmon_passes_a_terminal_and_sockets_for_activation() {
    let mut bundle = sleeping("podman-tty");
    let socket = ConsoleSocket::new(&bundle);
    bundle.set("/process/terminal", json!(true)).args([
        "/bin/sh",
        "-c",
        "echo $LISTEN_FDS $LISTEN_PID; exec /probe sleep",
    ]);
    drop(bundle.create_command());
    let line = format!(
        "--log-format=json --log {{b}}/oci-log create --bundle {{b}} --pid-file {{b}}/pidfile --preserve-fds 2 --console-socket {} {{id}}",
        socket.path
    );
    CONMON.calls(&bundle, &line).env("LISTEN_FDS", "2").env("LISTEN_PID", "1").run().ok();
    let (mut terminal, _) = socket.receive();
    PODMAN_START.does(&bundle, "start {id}");
    terminal.wait_for("2 1");
    // Whoever opened it, init, is remembered in it, with its keyring.
    drop(terminal);
    PODMAN.does(&bundle, "delete --force {id}");
    gone(&bundle);
}

#[test]
fn podman_reads_one_object_and_makes_an_exit_code_of_it() {
    for (program, podman, docker) in
        [("nothing-here", 127, 127), ("/nothing/here", 127, 127), ("/etc/passwd", 126, 126), ("/etc", 125, 126)]
    {
        let mut bundle = sleeping("podman-fails");
        bundle.args([program]).save();
        let line = "--log-format=json --log {b}/oci-log create --bundle {b} --pid-file {b}/pidfile {id}";
        let output = CONMON.calls(&bundle, line).run().exits(1);
        let message = one_object(&bundle, "oci-log");
        assert_eq!(exit_codes(&message), (podman, docker), "{message}");
        assert!(output.stderr.contains(&message), "conmon reads stderr: {}", output.stderr);
        gone(&bundle);
    }
}

#[test]
fn buildah_waits_for_the_process_itself() {
    let mut bundle = sleeping("buildah");
    bundle.remove("/linux/cgroupsPath").remove("/linux/resources");
    drop(bundle.create_command());
    BUILDAH.does(&bundle, "create --bundle {b} --pid-file {b}/pid --no-new-keyring {id}");
    let pid = pid_in(&bundle, "pid");
    assert_eq!(parent_of(pid), i64::from(std::process::id()), "it waits for the pid of the pid file");
    BUILDAH.does(&bundle, "start {id}");
    clean_descriptors(pid);
    // Every 100 ms until that is "stopped".
    assert_eq!(BUILDAH.calls(&bundle, "state {id}").run().ok().json()["status"], "running");
    BUILDAH.does(&bundle, "kill {id}");
    BUILDAH.does(&bundle, "kill {id} SIGKILL");
    bundle.wait_status("stopped");
    BUILDAH.does(&bundle, "delete {id}");
    gone(&bundle);
}

/// What stands before each verb of the shim's.
const LOG: &str = "--log {b}/log.json --log-format json";

/// go-runc's answer to a failed call: what it printed on either of the two.
fn combined(output: &Output) -> String {
    format!("{}{}", output.stdout, output.stderr)
}

#[test]
fn the_shim_of_containerd_runs_a_container_from_create_to_delete() {
    let bundle = sleeping("shim");
    drop(bundle.create_command());
    SHIM.does(&bundle, &format!("{LOG} create --bundle {{b}} --pid-file {{b}}/init.pid --no-new-keyring {{id}}"));
    let pid = pid_in(&bundle, "init.pid");
    assert_eq!(parent_of(pid), i64::from(std::process::id()), "the shim is a subreaper");
    SHIM.does(&bundle, &format!("{LOG} start {{id}}"));
    clean_descriptors(pid);
    let file = process_file(&bundle, "runc-process1", &["/bin/sh", "-c", "exec /probe sleep"]);
    SHIM.calls(
        &bundle,
        &format!("{LOG} exec --process {{b}}/runc-process1 --detach --pid-file {{b}}/probe.pid {{id}}"),
    )
    .run()
    .ok();
    fs::remove_file(file).expect("the shim removes it at once");
    let probe = pid_in(&bundle, "probe.pid");
    assert_eq!(parent_of(probe), i64::from(std::process::id()));
    let pids = SHIM.calls(&bundle, &format!("{LOG} ps --format json {{id}}")).run().ok();
    assert_eq!(serde_json::from_str::<Vec<i64>>(&pids.stdout).expect("a list of numbers"), [pid, probe]);
    bundle.write("resources.json", &limits(44).to_string());
    for (dash, want) in [("--resources -", "44"), ("--resources=-", "44")] {
        let stdin = fs::File::open(bundle.path("resources.json")).expect("the file");
        SHIM.calls(&bundle, &format!("{LOG} update {dash} {{id}}")).stdin(stdin).run().ok();
        assert_eq!(pids_max(&bundle), want);
    }
    SHIM.does(&bundle, &format!("{LOG} pause {{id}}"));
    let refused =
        SHIM.calls(&bundle, &format!("{LOG} exec --process {{b}}/none --detach --pid-file {{b}}/x.pid {{id}}")).run();
    assert!(refused.exits(255).stderr.contains("paused"));
    SHIM.does(&bundle, &format!("{LOG} resume {{id}}"));
    SHIM.does(&bundle, &format!("{LOG} kill {{id}} 15"));
    SHIM.does(&bundle, &format!("{LOG} kill --all {{id}} 9"));
    bundle.wait_status("stopped");
    let late = SHIM.calls(&bundle, &format!("{LOG} kill {{id}} 9")).run().exits(1);
    assert!(combined(&late).contains("container not running"), "{}", combined(&late));
    SHIM.does(&bundle, &format!("{LOG} delete {{id}}"));
    // Always, on the container that is deleted already.
    SHIM.does(&bundle, &format!("{LOG} delete --force {{id}}"));
    let none = SHIM.calls(&bundle, &format!("{LOG} delete {{id}}")).run().exits(1);
    assert!(combined(&none).contains("does not exist"), "{}", combined(&none));
    gone(&bundle);
}

#[test]
fn containerd_reads_the_last_error_of_a_stream() {
    let mut bundle = sleeping("shim-fails");
    bundle.args(["nothing-here"]).save();
    for _ in 0..2 {
        SHIM.calls(&bundle, &format!("{LOG} create --bundle {{b}} --pid-file {{b}}/init.pid {{id}}")).run().exits(1);
        assert!(last_error(&bundle, "log.json").contains("executable file not found in $PATH"));
    }
    SHIM.does(&bundle, &format!("{LOG} delete --force {{id}}"));
    let output = SHIM.calls(&bundle, &format!("{LOG} kill {{id}} 9")).run().exits(1);
    assert!(combined(&output).contains("does not exist"));
    assert!(last_error(&bundle, "log.json").contains("does not exist"));
    // Also when it asks for everything.
    bundle.args(["/etc/passwd"]).save();
    SHIM.calls(&bundle, &format!("--debug {LOG} create --bundle {{b}} --pid-file {{b}}/init.pid {{id}}"))
        .run()
        .exits(1);
    assert_eq!(exit_codes(&last_error(&bundle, "log.json")), (126, 126));
    gone(&bundle);
}

#[test]
fn the_cri_deletes_a_container_that_was_never_started() {
    let bundle = sleeping("shim-created");
    bundle.create().ok();
    SHIM.does(&bundle, &format!("{LOG} delete {{id}}"));
    gone(&bundle);
}

#[test]
fn docker_asks_for_version_and_features() {
    let bundle = Bundle::new("dockerd");
    let text = DOCKERD.calls(&bundle, "--version").run().ok().stdout;
    let version = text.lines().find(|line| line.contains("version")).expect("a version");
    assert_eq!(version.split_whitespace().nth(1), Some("version"), "{version}");
    assert!(
        version.split_whitespace().nth(2).is_some_and(|v| v.starts_with(|c: char| c.is_ascii_digit())),
        "{version}"
    );
    assert!(
        text.lines().any(|line| line.strip_prefix("commit:").is_some_and(|commit| !commit.trim().is_empty())),
        "{text}"
    );
    let features = DOCKERD.calls(&bundle, "features").run().ok().json();
    assert!(texts(&features["mountOptions"]).contains(&"rro".to_owned()), "recursive read-only mounts");
    assert_eq!(features["linux"]["mountExtensions"]["idmap"]["enabled"], true, "user namespaces of the CRI");
    assert_eq!(features["linux"]["seccomp"]["enabled"], true);
}

#[test]
fn docker_s_config_has_zeros_and_its_network_is_a_prestart_hook() {
    let mut bundle = sleeping("docker");
    let zeros = json!({"blockIO": {"weight": 0}, "memory": {"disableOOMKiller": false}, "cpu": {}, "pids": {"limit": 0}, "devices": [{"allow": false, "access": "rwm"}]});
    bundle.set("/linux/resources", zeros).set("/linux/resources/pids", json!({}));
    let hook = bundle.script("libnetwork-setkey", "#!/bin/sh\ncat > \"$1\"\n");
    let args = json!(["libnetwork-setkey", bundle.text("setkey.json"), &bundle.id]);
    bundle.set("/hooks/prestart", json!([{"path": hook.to_str().expect("text"), "args": args}]));
    drop(bundle.create_command());
    SHIM.does(&bundle, &format!("{LOG} create --bundle {{b}} --pid-file {{b}}/init.pid {{id}}"));
    let seen: Value = serde_json::from_slice(&fs::read(bundle.path("setkey.json")).expect("it has run")).expect("JSON");
    assert_eq!(
        (&seen["pid"], &seen["id"]),
        (&json!(pid_in(&bundle, "init.pid")), &json!(bundle.id)),
        "before create returns"
    );
    SHIM.does(&bundle, &format!("{LOG} start {{id}}"));
    // The limits that `docker update` sends.
    bundle.write("resources.json", &limits(50).to_string());
    let stdin = fs::File::open(bundle.path("resources.json")).expect("the file");
    SHIM.calls(&bundle, &format!("{LOG} update --resources=- {{id}}")).stdin(stdin).run().ok();
    assert_eq!(pids_max(&bundle), "50");
    SHIM.does(&bundle, &format!("{LOG} delete --force {{id}}"));
    gone(&bundle);
}

#[test]
fn buildkit_runs_a_step_in_the_foreground() {
    let mut bundle = Bundle::new("buildkit");
    bundle.args(["/bin/sh", "-c", "cat; echo err >&2; exit 42"]);
    drop(bundle.create_command());
    let stdin = fs::File::open(bundle.write("input", "from the build\n")).expect("the file");
    let line = "--log {b}/runc-log.json --log-format json run --bundle {b} --keep {id}";
    let output = BUILDKIT.calls(&bundle, line).stdin(stdin).run().exits(42);
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("from the build\n", "err\n"));
    BUILDKIT.does(&bundle, "--log {b}/runc-log.json --log-format json delete {id}");
    assert_eq!(fs::metadata(bundle.path("runc-log.json")).map_or(0, |log| log.len()), 0);
    // Older ones let `run` remove it.
    bundle.args(["/bin/false"]).save();
    BUILDKIT.calls(&bundle, "--log {b}/runc-log.json --log-format json run --bundle {b} {id}").run().exits(1);
    gone(&bundle);
}

#[test]
fn buildkit_executes_beside_a_step_and_cancels_it() {
    let mut bundle = Bundle::new("buildkit-exec");
    bundle.args(["/bin/sh", "-c", "echo ready; exec /probe sleep"]);
    drop(bundle.create_command());
    let run = BUILDKIT.calls(&bundle, "--log {b}/runc-log.json --log-format json run --bundle {b} --keep {id}").spawn();
    run.wait_for("ready");
    process_file(&bundle, "process.json", &["/bin/sh", "-c", "echo $A; exit 3"]);
    let line = "--log {b}/runc-log.json --log-format json exec --process {b}/process.json --pid-file {b}/exec.pid {id}";
    let output = BUILDKIT.calls(&bundle, line).run().exits(3);
    assert_eq!(output.stdout, "b\n");
    assert!(pid_in(&bundle, "exec.pid") > 1);
    BUILDKIT.does(&bundle, "--log {b}/runc-log.json --log-format json kill {id} 9");
    run.wait().exits(137);
    let end = wait_until(patience(), || (bundle.status() == "stopped").then_some(()));
    assert!(end.is_some(), "--keep keeps it");
    BUILDKIT.does(&bundle, "--log {b}/runc-log.json --log-format json delete {id}");
    gone(&bundle);
}

/// CRIU is found as callers have it found, in their PATH.
fn path_with_criu(bundle: &Bundle) -> String {
    let criu = saved::criu().expect("looked for before");
    bundle.script("bin/criu", &format!("#!/bin/sh\nexec {criu} \"$@\"\n"));
    format!("{}:{}", bundle.text("bin"), PATH.1)
}

/// One that must work and say nothing, with CRIU.
fn does_with_criu(caller: &Caller, bundle: &Bundle, line: &str) {
    let output = caller.calls(bundle, line).env("PATH", &path_with_criu(bundle)).run().ok();
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("", ""), "{line}");
}

/// What was brought back: whose child it is, that it goes on, and that nothing of the caller's came in with it.
fn brought_back(bundle: &Bundle, pid_file: &str, before: u64) {
    let pid = pid_in(bundle, pid_file);
    assert_eq!(parent_of(pid), i64::from(std::process::id()), "the caller is a subreaper and waits for init itself");
    assert_eq!(bundle.state()["status"], "running");
    assert_eq!(bundle.pid(), pid);
    bundle.counts_past(before);
    assert_eq!(bundle.begun(), 1, "it went on, it did not begin again");
    clean_descriptors(pid);
}

#[test]
fn podman_asks_whether_there_is_a_checkpoint() {
    let bundle = Bundle::new("podman-probe");
    PODMAN_START.calls(&bundle, "checkpoint --help").run().ok();
    let output = PODMAN_START.calls(&bundle, "restore --lsm-mount-context").run().exits(1);
    assert!(combined(&output).contains("flag needs an argument"), "{}", combined(&output));
}

#[test]
fn podman_saves_a_container_and_conmon_brings_it_back() {
    need_criu!();
    let bundle = counting("podman-criu", &["tcp"]);
    bundle.begin();
    let dump = "checkpoint --image-path {b}/checkpoint --work-path {b}";
    // The flag is there twice, so it was seen.
    does_with_criu(
        &PODMAN_START,
        &bundle,
        &format!("{dump} --leave-running --leave-running --tcp-established --file-locks {{id}}"),
    );
    assert_eq!(bundle.status(), "running");
    // podman reads the log's statistics, and packs what is in these places.
    for file in ["checkpoint/inventory.img", "dump.log", "stats-dump"] {
        assert!(fs::metadata(bundle.path(file)).is_ok(), "{file}");
    }
    fs::remove_dir_all(bundle.path("checkpoint")).expect("the first images");
    // Without the flag for connections it is an error, and the container runs on.
    let refused = PODMAN_START.calls(&bundle, &format!("{dump} {{id}}")).env("PATH", &path_with_criu(&bundle)).run();
    refused.exits(1).fails(&["criu failed: type DUMP", "dump.log"]);
    assert_eq!(bundle.status(), "running");
    fs::remove_dir_all(bundle.path("checkpoint")).expect("the second images");
    does_with_criu(&PODMAN_START, &bundle, &format!("{dump} --tcp-established {{id}}"));
    PODMAN_START.calls(&bundle, "state {id}").run().exits(1).fails(&["does not exist"]);
    PODMAN.calls(&bundle, "delete {id}").run().exits(1).fails(&["does not exist"]);
    PODMAN.does(&bundle, "delete --force {id}");
    let before = bundle.counted();
    let restore = "--log-format=json --log {b}/oci-log restore --bundle {b} --pid-file {b}/pidfile --detach --image-path {b}/checkpoint --work-path {b}";
    does_with_criu(&CONMON, &bundle, &format!("{restore} --tcp-established {{id}}"));
    assert_eq!(fs::metadata(bundle.path("oci-log")).map_or(0, |log| log.len()), 0, "success says nothing");
    assert!(fs::metadata(bundle.path("restore.log")).is_ok());
    brought_back(&bundle, "pidfile", before);
    PODMAN.does(&bundle, "kill {id} 9");
    bundle.wait_status("stopped");
    PODMAN.does(&bundle, "delete --force {id}");
    gone(&bundle);
}

#[test]
fn conmon_hears_why_a_container_does_not_come_back() {
    need_criu!();
    let bundle = counting("podman-criu-fails", &[]);
    bundle.save();
    bundle.directory("checkpoint");
    let line = "--log-format=json --log {b}/oci-log restore --bundle {b} --pid-file {b}/pidfile --detach --image-path {b}/checkpoint --work-path {b} --tcp-established --tcp-close --file-locks {id}";
    let output = CONMON.calls(&bundle, line).env("PATH", &path_with_criu(&bundle)).run().exits(1);
    let message = one_object(&bundle, "oci-log");
    assert!(message.contains("criu failed: type RESTORE"), "{message}");
    assert!(output.stderr.contains(&message), "conmon reads stderr: {}", output.stderr);
    assert!(fs::metadata(bundle.path("pidfile")).is_err());
    gone(&bundle);
}

#[test]
fn podman_saves_the_memory_first() {
    need_criu!();
    let bundle = counting("podman-predump", &[]);
    bundle.begin();
    let line = "checkpoint --image-path {b}/pre-checkpoint --work-path {b} --pre-dump {id}";
    let output = PODMAN_START.calls(&bundle, line).env("PATH", &path_with_criu(&bundle)).run();
    assert_eq!(bundle.status(), "running");
    if output.stderr.contains("Tracking memory is not available") {
        saved::finish(&bundle);
        skip!("this kernel has no soft-dirty bits (CONFIG_MEM_SOFT_DIRTY), so no memory can be saved ahead");
    }
    output.ok();
    let line = "checkpoint --image-path {b}/checkpoint --work-path {b} --parent-path ../pre-checkpoint {id}";
    does_with_criu(&PODMAN_START, &bundle, line);
    let before = bundle.counted();
    let line = "restore --bundle {b} --pid-file {b}/pidfile --detach --image-path {b}/checkpoint --work-path {b} {id}";
    does_with_criu(&CONMON, &bundle, line);
    brought_back(&bundle, "pidfile", before);
    saved::finish(&bundle);
}

/// The shim's flags for `restore` are always these.
const SHIM_RESTORE: &str = "--image-path {b}/images --work-path {b}/criu-work --detach --pid-file {b}/init.pid -no-subreaper --bundle {b} {id}";

#[test]
fn the_shim_saves_what_it_has_paused_and_brings_it_back() {
    need_criu!();
    let bundle = counting("shim-criu", &[]);
    bundle.begin();
    let all = "--tcp-established --ext-unix-sk --shell-job --file-locks --manage-cgroups-mode soft";
    // `ctr tasks checkpoint`: it goes on.
    SHIM.does(&bundle, &format!("{LOG} pause {{id}}"));
    let dump = format!("{LOG} checkpoint --image-path {{b}}/images --work-path {{b}}/criu-work");
    does_with_criu(&SHIM, &bundle, &format!("{dump} {all} --leave-running {{id}}"));
    assert_eq!(bundle.status(), "paused");
    SHIM.does(&bundle, &format!("{LOG} resume {{id}}"));
    bundle.counts_past(bundle.counted());
    fs::rename(bundle.path("images"), bundle.path("first-images")).expect("the first images");
    // `docker checkpoint create`: it ends.
    SHIM.does(&bundle, &format!("{LOG} pause {{id}}"));
    does_with_criu(&SHIM, &bundle, &format!("{dump} {all} {{id}}"));
    let late = SHIM.calls(&bundle, &format!("{LOG} delete {{id}}")).run().exits(1);
    assert!(combined(&late).contains("does not exist"), "{}", combined(&late));
    SHIM.does(&bundle, &format!("{LOG} delete --force {{id}}"));
    let before = bundle.counted();
    // One dash, as the shim writes it.
    let back = format!("{LOG} restore {SHIM_RESTORE}");
    does_with_criu(&SHIM, &bundle, &back);
    assert!(fs::metadata(bundle.path("criu-work/restore.log")).is_ok());
    brought_back(&bundle, "init.pid", before);
    SHIM.does(&bundle, &format!("{LOG} kill {{id}} 9"));
    bundle.wait_status("stopped");
    SHIM.does(&bundle, &format!("{LOG} delete {{id}}"));
    gone(&bundle);
}

#[test]
fn docker_s_prestart_hook_makes_the_network_of_what_is_brought_back() {
    need_criu!();
    if fs::metadata("/usr/sbin/ip").is_err() {
        skip!("no ip (iproute2) to make a network with");
    }
    let mut bundle = counting("docker-criu", &[]);
    let script = "#!/bin/sh\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\nset -e\nstate=$(cat)\nprintf %s \"$state\" > \"$1\"\n\
                  pid=$(printf %s \"$state\" | sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/')\n\
                  ip link add name eth0 netns \"$pid\" type veth peer name \"rv$pid\" netns \"$2\"\n";
    let hook = bundle.script("libnetwork-setkey", script);
    // The other end is not in the host's namespace, where other tests look for what is left.
    let bridge = sleeping("docker-bridge");
    bridge.create().ok();
    let args = json!(["libnetwork-setkey", bundle.text("setkey.json"), bridge.pid().to_string()]);
    bundle.set("/hooks/prestart", json!([{"path": hook.to_str().expect("text"), "args": args}]));
    bundle.begin();
    let devices = || fs::read_to_string(format!("/proc/{}/net/dev", bundle.pid())).expect("a network");
    assert!(devices().contains("eth0:"), "{}", devices());
    SHIM.does(&bundle, &format!("{LOG} pause {{id}}"));
    let dump = format!("{LOG} checkpoint --image-path {{b}}/images --work-path {{b}}/criu-work {{id}}");
    does_with_criu(&SHIM, &bundle, &dump);
    SHIM.does(&bundle, &format!("{LOG} delete --force {{id}}"));
    let before = bundle.counted();
    fs::remove_file(bundle.path("setkey.json")).expect("create ran the hook");
    does_with_criu(&SHIM, &bundle, &format!("{LOG} restore {SHIM_RESTORE}"));
    let seen: Value = serde_json::from_slice(&fs::read(bundle.path("setkey.json")).expect("it has run")).expect("JSON");
    assert_eq!((&seen["pid"], &seen["id"]), (&json!(pid_in(&bundle, "init.pid")), &json!(bundle.id)));
    assert_eq!(devices().matches("eth0:").count(), 1, "{}", devices());
    brought_back(&bundle, "init.pid", before);
    SHIM.does(&bundle, &format!("{LOG} delete --force {{id}}"));
    gone(&bundle);
    bridge.delete().ok();
}
