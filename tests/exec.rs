//! `exec` from inside: what comes later has all that the container's first process has, no more and no less; and from
//! outside: exit codes, descriptors, pid files, terminals, who may not come in, what is left.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use common::agent::{Agent, Answer};
use common::caller::{careless, deaf, dies_with_parent, odd, owns_terminal, with_ambient_net_raw, with_umask};
use common::terminal::{ConsoleSocket, Terminal};
use common::{Bundle, Canary, Output, Running, Runtime, json, namespace_of, patience, texts, wait_until};
use nix::sys::signal::Signal;
use serde_json::Value;

/// Runs init's own fingerprint into /tmp/init, then stays.
const INIT: &str = "/probe fingerprint --out /tmp/init; echo > /tmp/ready; exec /probe sleep";

/// Starts the container, and waits until its init has written down what it is.
fn started(bundle: &mut Bundle) -> Value {
    bundle.set("/process/args", json!(["/bin/sh", "-c", INIT]));
    bundle.create().ok();
    bundle.start().ok();
    let ready = bundle.path("rootfs/tmp/ready");
    wait_until(patience(), || fs::metadata(&ready).is_ok().then_some(())).expect("init has said what it is");
    serde_json::from_slice(&fs::read(bundle.path("rootfs/tmp/init")).expect("init wrote it")).expect("JSON")
}

fn exec(bundle: &Bundle, words: &[&str]) -> Runtime {
    let all: Vec<&str> = ["exec"].into_iter().chain(words.iter().copied()).collect();
    bundle.rt(&all)
}

/// `exec FLAGS ID /probe fingerprint`.
fn fingerprint(bundle: &Bundle, flags: &[&str]) -> Value {
    let words: Vec<&str> = flags.iter().copied().chain([bundle.id.as_str(), "/probe", "fingerprint"]).collect();
    exec(bundle, &words).run().ok().json()
}

fn in_container<'a>(bundle: &'a Bundle, command: &[&'a str]) -> Runtime {
    let words: Vec<&str> = std::iter::once(bundle.id.as_str()).chain(command.iter().copied()).collect();
    exec(bundle, &words)
}

fn end(bundle: &Bundle) {
    bundle.kill("KILL").ok();
    bundle.wait_status("stopped");
    bundle.delete().ok();
}

#[test]
fn cpu_affinity_is_as_asked_before_and_after_the_cgroup() {
    let all: Vec<usize> = (0..std::thread::available_parallelism().map_or(1, usize::from)).collect();
    let last = all.len() - 1;
    let mut bundle = Bundle::new("exec-cpus");
    bundle.set("/process/execCPUAffinity", json!({"initial": "0", "final": last.to_string()}));
    assert_eq!(started(&mut bundle)["affinity"], json!(all), "it is not about the first process");
    assert_eq!(fingerprint(&bundle, &[])["affinity"], json!([last]));
    // A process file of its own; what it does not speak of is the container's.
    let file = |affinity: Value| {
        let mut process = bundle.config["process"].clone();
        process["args"] = json!(["/probe", "fingerprint"]);
        process["execCPUAffinity"] = affinity;
        let path = bundle.write("process.json", &process.to_string());
        let words = ["--process", path.to_str().expect("text"), &bundle.id];
        exec(&bundle, &words).before_exec(odd).run()
    };
    assert_eq!(file(json!({"final": "0"})).ok().json()["affinity"], json!([0]));
    assert_eq!(file(json!({})).ok().json()["affinity"], json!(all), "the caller's is CPU 0");
    file(json!({"final": "8000"})).fails(&["/process/execCPUAffinity/final: sched_setaffinity 8000"]);
    file(json!({"initial": "8000"})).fails(&["/process/execCPUAffinity/initial: sched_setaffinity 8000"]);
    file(json!({"final": "9000"})).fails(&["/process/execCPUAffinity/final: expected numbers below 8192"]);
    end(&bundle);
}

#[test]
fn an_initial_cpu_affinity_alone_is_left_to_the_kernel() {
    let mut bundle = Bundle::new("exec-cpus-kernel");
    let last = std::thread::available_parallelism().map_or(0, |n| n.get() - 1);
    bundle.set("/process/execCPUAffinity", json!({"initial": last.to_string()}));
    started(&mut bundle);
    let seen = fingerprint(&bundle, &[])["affinity"].clone();
    // A cpuset that is entered may give back all its CPUs (v1), or keep what was asked for (v2).
    assert!(seen.as_array().is_some_and(|cpus| cpus.contains(&json!(last))), "{seen}");
    end(&bundle);
}

/// What must be equal in two processes of one container.
const SHARED: [&str; 29] = [
    "uid",
    "gid",
    "groups",
    "caps",
    "securebits",
    "no_new_privs",
    "seccomp",
    "seccomp_filters",
    "umask",
    "cwd",
    "keyring",
    "signals",
    "parent_death_signal",
    "scheduler",
    "nice",
    "ioprio",
    "affinity",
    "timerslack",
    "coredump_filter",
    "personality",
    "oom_score_adj",
    "rlimits",
    "ns",
    "cgroup",
    "hostname",
    "uid_map",
    "gid_map",
    "root",
    "net",
];

#[track_caller]
fn same(init: &Value, later: &Value) {
    for key in SHARED {
        assert_eq!(init[key], later[key], "{key}");
    }
    let names = |seen: &Value| texts(&seen["env"]).into_iter().filter(|e| !e.starts_with("PWD=")).collect::<Vec<_>>();
    for entry in names(later) {
        // The shell that init runs first adds some.
        assert!(names(init).contains(&entry), "{entry} is not in init's environment");
    }
    let mounts = |seen: &Value| seen["mounts"].as_array().expect("mounts").len();
    assert_eq!(mounts(init), mounts(later), "mounts");
}

/// A container with something of everything.
fn rich(name: &str) -> Bundle {
    let mut bundle = Bundle::new(name);
    bundle
        .set("/process/user", json!({"uid": 1000, "gid": 1001, "additionalGids": [5, 6], "umask": 0o027}))
        .set("/process/cwd", json!("/home/app"))
        .set("/process/oomScoreAdj", json!(500))
        .set(
            "/process/rlimits",
            json!([{"type": "RLIMIT_NOFILE", "soft": 99, "hard": 333},
                                        {"type": "RLIMIT_CORE", "soft": 0, "hard": 4096}]),
        )
        .set(
            "/linux/seccomp",
            json!({"defaultAction": "SCMP_ACT_ALLOW",
             "syscalls": [{"names": ["acct"], "action": "SCMP_ACT_ERRNO"}]}),
        )
        .set("/linux/personality", json!({"domain": "LINUX"}));
    bundle
}

#[test]
fn who_comes_later_has_what_the_first_process_has() {
    let mut bundle = rich("exec-same");
    let init = started(&mut bundle);
    let later = fingerprint(&bundle, &[]);
    same(&init, &later);
    assert_eq!([&later["seccomp"], &later["seccomp_filters"]], [2, 1]);
    assert_eq!(later["oom_score_adj"], 500);
    assert_eq!(later["rlimits"]["RLIMIT_NOFILE"], json!([99, 333]));
    assert_eq!(later["ppid"], 0, "its parent is outside");
    assert_eq!(later["sid"], later["pid"], "it has a session of its own");
    end(&bundle);
}

#[test]
fn in_a_user_namespace_too() {
    let mut bundle = rich("exec-userns");
    bundle.set("/linux/namespaces/-", json!({"type": "user"}));
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    bundle.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    fs::set_permissions(bundle.path("rootfs/tmp"), std::os::unix::fs::PermissionsExt::from_mode(0o1777)).unwrap();
    let init = started(&mut bundle);
    let later = fingerprint(&bundle, &[]);
    same(&init, &later);
    assert_eq!(later["uid_map"], json!([[0, 100_000, 65536]]));
    assert_eq!(fingerprint(&bundle, &["--user", "0:0"])["uid"]["effective"], 0);
    // An id that the namespace does not map can't be had.
    let words = ["--user", "70000", &bundle.id, "/bin/true"];
    exec(&bundle, &words).run().fails(&["setresuid 70000: invalid argument"]);
    end(&bundle);
}

#[test]
fn an_untidy_caller_leaves_no_trace_in_it() {
    let mut bundle = Bundle::new("exec-dirty");
    let init = started(&mut bundle);
    let words = [bundle.id.as_str(), "/probe", "fingerprint"];
    let mut umask = with_umask(0o077);
    let dirty = move || {
        umask()?;
        with_ambient_net_raw()?;
        deaf()?;
        dies_with_parent()?;
        nix::unistd::setgroups(&[1234.into()])?;
        odd()?;
        careless("/etc", 3..60)()
    };
    let later = exec(&bundle, &words).env("SECRET", "x").before_exec(dirty).run().ok().json();
    same(&init, &later);
    let fds: Vec<&Value> = later["fds"].as_array().expect("descriptors").iter().map(|fd| &fd["fd"]).collect();
    assert_eq!(fds, [0, 1, 2]);
    assert!(!texts(&later["env"]).iter().any(|e| e.starts_with("SECRET")));
    end(&bundle);
}

#[test]
fn joined_and_missing_namespaces_are_init_s() {
    let mut first = Bundle::new("exec-first");
    started(&mut first);
    let mut second = Bundle::new("exec-second");
    for (kind, file) in [("ipc", "ipc"), ("network", "net"), ("pid", "pid")] {
        second.join(kind, &format!("/proc/{}/ns/{file}", first.pid()));
    }
    second.without_namespace("uts").remove("/hostname");
    let init = started(&mut second);
    let later = fingerprint(&second, &[]);
    same(&init, &later);
    assert_eq!(later["ns"]["net"], namespace_of(first.pid(), "net"));
    assert_eq!(later["ns"]["pid"], namespace_of(first.pid(), "pid"));
    assert_eq!(later["ns"]["uts"], common::own_namespace("uts"));
    end(&second);
    end(&first);
}

#[test]
fn the_bundle_is_not_read_again() {
    let mut bundle = rich("exec-edited");
    let init = started(&mut bundle);
    bundle.set("/process/user", json!({"uid": 0, "gid": 0})).remove("/linux/seccomp");
    bundle.save();
    same(&init, &fingerprint(&bundle, &[]));
    end(&bundle);
}

#[test]
fn flags_say_otherwise() {
    let mut bundle = Bundle::new("exec-flags");
    bundle.set("/process/noNewPrivileges", json!(false));
    started(&mut bundle);
    let words = ["--cwd", "/tmp", "-e", "A=1", "--env=B=x=y", "--user", "1000:7", "-g", "8", "--additional-gids=9"];
    let seen = fingerprint(&bundle, &words);
    assert_eq!(seen["cwd"], "/tmp");
    assert_eq!(seen["uid"]["real"], 1000);
    assert_eq!(seen["gid"]["saved"], 7);
    assert_eq!(seen["groups"], json!([8, 9]));
    assert_eq!(seen["no_new_privs"], false);
    let env = texts(&seen["env"]);
    assert!(env.contains(&"A=1".into()) && env.contains(&"B=x=y".into()) && env.contains(&"TERM=xterm".into()));
    assert!(env.contains(&"HOME=/home/app".into()), "{env:?}");
    assert_eq!(fingerprint(&bundle, &["--user", "1000"])["gid"]["real"], 0, "the group is the config's");
    assert_eq!(fingerprint(&bundle, &["--no-new-privs"])["no_new_privs"], true);
    end(&bundle);
}

#[test]
fn an_added_capability_is_not_handed_on() {
    let mut bundle = Bundle::new("exec-cap");
    bundle.set("/process/noNewPrivileges", json!(false));
    started(&mut bundle);
    let seen = fingerprint(&bundle, &["--cap", "CAP_NET_RAW", "--cap=sys_chroot"]);
    for set in ["bounding", "effective", "permitted"] {
        let names = texts(&seen["caps"][set]);
        assert!(names.contains(&"CAP_NET_RAW".into()) && names.contains(&"CAP_SYS_CHROOT".into()), "{set}: {names:?}");
        assert!(names.contains(&"CAP_KILL".into()), "{set}: those of the config stay");
    }
    assert_eq!([&seen["caps"]["inheritable"], &seen["caps"]["ambient"]], [&json!([]), &json!([])]);
    let odd = exec(&bundle, &["--cap", "CAP_NOPE", &bundle.id, "/bin/true"]).run().ok();
    assert!(odd.stderr.contains("left out CAP_NOPE"), "as in a config: {}", odd.stderr);
    end(&bundle);
}

#[test]
fn a_process_file_counts_and_what_it_leaves_out_is_the_container_s() {
    let mut bundle = rich("exec-file");
    let init = started(&mut bundle);
    let process = json!({
        "user": {"uid": 0, "gid": 0}, "cwd": "/", "args": ["/probe", "fingerprint"], "env": ["ONLY=this"],
    });
    let file = bundle.write("process.json", &process.to_string());
    let run = |flags: &[&str]| {
        let words: Vec<&str> = ["--process", file.to_str().unwrap()].iter().chain(flags).copied().collect();
        exec(&bundle, &words).arg(&bundle.id).run().ok().json()
    };
    let seen = run(&[]);
    assert_eq!(seen["uid"]["real"], 0);
    assert_eq!(seen["groups"], json!([]));
    assert_eq!(texts(&seen["env"]), ["ONLY=this", "HOME=/root"]);
    for key in ["rlimits", "no_new_privs", "oom_score_adj", "umask", "seccomp"] {
        assert_eq!(seen[key], init[key], "{key}");
    }
    assert_eq!(seen["caps"]["bounding"], init["caps"]["bounding"]);
    // The flags count more.
    assert_eq!(run(&["--cwd", "/tmp", "--user", "7"])["cwd"], "/tmp");
    // The file may be gone as soon as rt is back; and one that is not fit says why.
    let file = bundle.write("broken.json", r#"{"user": {"uid": 0, "gid": 0}, "cwd": "tmp", "args": []}"#);
    let words = ["--process", file.to_str().unwrap(), &bundle.id];
    exec(&bundle, &words).run().exits(255).fails(&["/cwd: ", "/args: "]);
    end(&bundle);
}

#[test]
fn the_exit_code_is_the_process_s() {
    let mut bundle = Bundle::new("exec-code");
    started(&mut bundle);
    let code = |command: &[&str]| in_container(&bundle, command).run();
    code(&["/probe", "exit", "7"]).exits(7);
    code(&["/bin/true"]).exits(0);
    code(&["/probe", "signal-self", "9"]).exits(128 + 9);
    code(&["/bin/sh", "-c", "exit 255"]).exits(255);
    // What can't be run is 255, in the words that callers look for.
    code(&["nope"]).exits(255).fails(&["exec: \"nope\": executable file not found in $PATH"]);
    code(&["/nope"]).exits(255).fails(&["exec: \"/nope\": stat /nope: no such file or directory"]);
    code(&["/etc/passwd"]).exits(255).fails(&["exec: \"/etc/passwd\": permission denied"]);
    let words = ["--cwd", "/nowhere", &bundle.id, "/bin/true"];
    exec(&bundle, &words).run().exits(255).fails(&["/process/cwd: chdir /nowhere: no such file or directory"]);
    exec(&bundle, &[&bundle.id]).run().exits(255).fails(&["process args cannot be empty"]);
    for user in ["root", "01", "-1", "4294967295", "1:", ":1", ""] {
        let words = [format!("--user={user}"), bundle.id.clone(), "/bin/true".to_owned()];
        let output = exec(&bundle, &words.each_ref().map(String::as_str)).run();
        // An empty value is none, as for every flag.
        assert_eq!(output.success(), user.is_empty(), "{user:?}");
    }
    assert!(fs::metadata(bundle.path("rootfs/nowhere")).is_err(), "no directory is made for it");
    end(&bundle);
}

#[test]
fn one_json_object_says_why_it_failed() {
    let mut bundle = Bundle::new("exec-log");
    started(&mut bundle);
    let log = bundle.text("log.json");
    let words = ["--log", &log, "--log-format", "json", "exec", "--detach", &bundle.id, "nope"];
    bundle.rt(&words).run().exits(255);
    let entry: Value = serde_json::from_str(&fs::read_to_string(&log).expect("a log")).expect("exactly one object");
    assert_eq!(entry["level"], "error");
    assert!(entry["msg"].as_str().is_some_and(|m| m.contains("executable file not found in $PATH")), "{entry}");
    end(&bundle);
}

#[test]
fn who_may_not_come_in() {
    let mut bundle = Bundle::new("exec-states");
    let refused = |bundle: &Bundle, text: &str| {
        in_container(bundle, &["/bin/true"]).run().exits(255).fails(&[text]);
    };
    refused(&bundle, "container does not exist");
    started(&mut bundle);
    bundle.rt(&["pause", &bundle.id]).run().ok();
    refused(&bundle, "cannot exec in a paused container");
    // One that insists waits until the container runs again.
    let waiting = exec(&bundle, &["--ignore-paused", &bundle.id, "/probe", "exit", "5"]).spawn();
    std::thread::sleep(std::time::Duration::from_millis(100));
    bundle.rt(&["resume", &bundle.id]).run().ok();
    waiting.wait().exits(5);
    bundle.kill("KILL").ok();
    bundle.wait_status("stopped");
    refused(&bundle, "cannot exec in a stopped container");
    bundle.delete().ok();
}

#[test]
fn a_created_container_can_be_entered() {
    let mut bundle = Bundle::new("exec-created");
    bundle.args(["/bin/true"]).create().ok();
    in_container(&bundle, &["/probe", "exit", "4"]).run().exits(4);
    assert_eq!(bundle.status(), "created");
    bundle.start().ok();
    bundle.wait_status("stopped");
    bundle.delete().ok();
}

#[test]
fn without_a_mount_namespace_its_root_is_init_s_all_the_same() {
    let mut bundle = Bundle::new("exec-nomount");
    bundle.without_namespace("mount").set("/mounts", json!([])).remove("/linux/maskedPaths");
    bundle.remove("/linux/readonlyPaths");
    bundle.set("/process/args", json!(["/probe", "sleep"]));
    bundle.create().ok();
    bundle.start().ok();
    bundle.write("rootfs/tmp/mine", "of the container\n");
    let output = in_container(&bundle, &["/bin/cat", "/tmp/mine"]).run().ok();
    assert_eq!(output.stdout, "of the container\n");
    end(&bundle);
}

#[test]
fn twenty_at_once() {
    let mut bundle = Bundle::new("exec-many");
    started(&mut bundle);
    let codes: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    let all: Vec<Running> = codes.iter().map(|n| in_container(&bundle, &["/probe", "exit", n]).spawn()).collect();
    let ended: Vec<Option<i32>> = all.into_iter().map(|running| running.wait().code()).collect();
    assert_eq!(ended, (0..20).map(Some).collect::<Vec<_>>());
    end(&bundle);
}

#[test]
fn signals_reach_it_and_its_end_is_the_caller_s() {
    let mut bundle = Bundle::new("exec-signal");
    started(&mut bundle);
    let running =
        in_container(&bundle, &["/bin/sh", "-c", "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done"]);
    let running = running.spawn();
    running.wait_for("ready");
    running.signal(Signal::SIGTERM);
    running.wait().exits(9);
    // Killed from inside.
    let running = in_container(&bundle, &["/bin/sh", "-c", "echo $$; exec /probe sleep"]).spawn();
    let pid =
        wait_until(patience(), || running.stdout().lines().next()?.parse::<u32>().ok()).expect("its pid in there");
    in_container(&bundle, &["/bin/sh", "-c", &format!("kill -9 {pid}")]).run().ok();
    running.wait().exits(137);
    end(&bundle);
}

#[test]
fn detached_it_is_a_child_of_who_adopts_it_and_the_pid_file_is_whole() {
    let mut bundle = Bundle::new("exec-detach");
    started(&mut bundle);
    let (pid_file, id) = (bundle.text("exec.pid"), bundle.id.clone());
    let words = ["--process", &bundle.text("process.json"), "--detach", "--pid-file", &pid_file, &id];
    let process = json!({"user": {"uid": 0, "gid": 0}, "cwd": "/", "args": ["/probe", "sleep"], "env": []});
    bundle.write("process.json", &process.to_string());
    exec(&bundle, &words).before_exec(dies_with_parent).run().ok();
    let text = fs::read_to_string(&pid_file).expect("a pid file");
    let pid: i64 = text.parse().expect("digits only");
    assert_eq!(namespace_of(pid, "pid"), namespace_of(bundle.pid(), "pid"));
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    assert!(!status.contains(&format!("PPid:\t{}\n", bundle.pid())), "init is not its parent");
    end(&bundle);
}

#[test]
fn it_gets_the_descriptors_that_it_was_promised() {
    let mut bundle = Bundle::new("exec-fds");
    started(&mut bundle);
    let words = ["--preserve-fds", "2", &bundle.id, "/probe", "fingerprint"];
    let seen = exec(&bundle, &words).before_exec(careless("/etc/hostname", 3..20)).run().ok().json();
    let fds: Vec<&Value> = seen["fds"].as_array().expect("descriptors").iter().map(|fd| &fd["fd"]).collect();
    assert_eq!(fds, [0, 1, 2, 3, 4]);
    assert!(seen["fds"][4]["link"].as_str().is_some_and(|link| link.ends_with("hostname")), "{}", seen["fds"]);
    end(&bundle);
}

#[test]
fn a_directory_of_the_host_is_no_way_out() {
    let mut bundle = Bundle::new("exec-escape");
    let canary = Canary::plant(&bundle.path("canary"));
    started(&mut bundle);
    let host = canary.root().to_str().expect("text").to_owned();
    for number in [3, 4, 7, 10, 15, 20, 40, 63] {
        for path in [format!("/proc/self/fd/{number}"), format!("/proc/thread-self/fd/{number}/..")] {
            fs::remove_file(bundle.path("rootfs/link")).ok();
            symlink(&path, bundle.path("rootfs/link")).expect("a link");
            for cwd in [path.as_str(), "/link"] {
                let words = ["--cwd", cwd, &bundle.id, "/bin/cat", "secret"];
                exec(&bundle, &words).before_exec(careless("/etc", 3..64)).run().exits(255);
            }
        }
    }
    let words = [&bundle.id, "/proc/self/fd/7/hostname"];
    exec(&bundle, &words).before_exec(careless("/etc", 3..64)).run().exits(255).fails(&["exec: "]);
    drop(host);
    canary.untouched();
    end(&bundle);
}

#[test]
fn its_terminal_is_of_the_container_s_devpts() {
    let mut bundle = Bundle::new("exec-tty");
    started(&mut bundle);
    let socket = ConsoleSocket::new(&bundle);
    let out = "/tmp/seen";
    let words =
        ["--tty", "--detach", "--console-socket", &socket.path, &bundle.id, "/probe", "fingerprint", "--out", out];
    exec(&bundle, &words).run().ok();
    let (_master, name) = socket.receive();
    assert_eq!(name, "/dev/pts/0");
    let file = bundle.path("rootfs/tmp/seen");
    let read = || serde_json::from_slice::<Value>(&fs::read(&file).ok()?).ok();
    let seen = wait_until(patience(), read).expect("it was written");
    assert_eq!(seen["tty"]["isatty"], json!([true, true, true]));
    assert_eq!(seen["tty"]["controlling"], true);
    assert_eq!(seen["tty"]["name"], "/dev/pts/0");
    assert!(seen["mounts"].as_array().unwrap().iter().all(|m| m["target"] != "/dev/console"), "that one is init's");
    end(&bundle);
}

#[test]
fn in_the_foreground_the_terminal_is_served() {
    let mut bundle = Bundle::new("exec-tty-fg");
    started(&mut bundle);
    let (mut terminal, slave) = Terminal::open(31, 97);
    let clone = || slave.try_clone().expect("a descriptor");
    let runtime = exec(&bundle, &["-t", &bundle.id, "/probe", "tty-size"]).stdin(clone()).before_exec(owns_terminal);
    let running = runtime.spawn_with(clone(), clone());
    terminal.wait_for("size 31 97");
    terminal.resize(52, 140);
    terminal.wait_for("size 52 140");
    terminal.type_line("quit");
    running.wait().ok();
    end(&bundle);
}

#[test]
fn terminals_that_nobody_would_hold_are_refused() {
    let mut bundle = Bundle::new("exec-tty-no");
    started(&mut bundle);
    let run = |words: &[&str]| -> Output { exec(&bundle, words).arg(&bundle.id).arg("/bin/true").run() };
    run(&["--tty", "--detach"]).exits(255).fails(&["cannot allocate tty if runc will detach"]);
    run(&["--console-socket", "/nowhere"]).exits(255).fails(&["cannot use console socket"]);
    let words = ["--tty", "--detach", "--console-socket", "/nowhere"];
    run(&words).exits(255).fails(&["console socket", "connect /nowhere: no such file or directory"]);
    end(&bundle);
}

#[test]
fn it_is_in_the_container_s_cgroup_or_in_one_below_it() {
    let mut bundle = Bundle::new("exec-cgroup");
    bundle.without_namespace("cgroup");
    let init = started(&mut bundle);
    let below: Vec<_> = common::cgroups::named(&bundle.id).into_iter().map(|dir| dir.join("below")).collect();
    for dir in &below {
        fs::create_dir(dir).expect("a cgroup");
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if let Ok(value) = fs::read_to_string(dir.parent().unwrap().join(file)) {
                fs::write(dir.join(file), value).ok();
            }
        }
    }
    let seen = fingerprint(&bundle, &["--cgroup", "below"]);
    for (own, first) in seen["cgroup"].as_array().unwrap().iter().zip(init["cgroup"].as_array().unwrap()) {
        let (own, first) = (own["path"].as_str().unwrap(), first["path"].as_str().unwrap());
        let wanted = if first.contains(&bundle.id) { format!("{first}/below") } else { first.to_owned() };
        assert_eq!(own, wanted);
    }
    let refused = |path: &str| exec(&bundle, &["--cgroup", path, &bundle.id, "/bin/true"]).run();
    refused("../other").exits(255).fails(&["does not name a cgroup below the container's own"]);
    refused("missing").exits(255).fails(&["missing", "no such file or directory"]);
    refused("nosuch:below").exits(255).fails(&["the container has no cgroup with nosuch"]);
    for dir in &below {
        fs::remove_dir(dir).expect("an empty cgroup");
    }
    end(&bundle);
}

#[test]
fn where_the_container_s_unified_cgroup_takes_nobody_it_goes_to_init_s() {
    let mut bundle = Bundle::new("exec-deeper");
    bundle.without_namespace("cgroup");
    started(&mut bundle);
    let unified = common::cgroups::hierarchies().into_iter().find(|h| h.unified);
    let Some(unified) = unified else { skip!("there is no cgroup2 tree") };
    let own = unified.mount.join(&bundle.id);
    let inner = own.join("inner");
    fs::create_dir(&inner).expect("a cgroup");
    fs::write(inner.join("cgroup.procs"), bundle.pid().to_string()).expect("init moves");
    let available = fs::read_to_string(own.join("cgroup.controllers")).expect("controllers");
    let Some(first) = available.split_whitespace().next() else {
        end(&bundle);
        skip!("the cgroup2 tree of this host has no controllers to pass on")
    };
    fs::write(own.join("cgroup.subtree_control"), format!("+{first}")).expect("processes are below now");
    let seen = fingerprint(&bundle, &[]);
    let entry = seen["cgroup"].as_array().unwrap().iter().find(|c| c["controllers"] == "").cloned();
    assert_eq!(entry.expect("the unified entry")["path"], format!("/{}/inner", bundle.id));
    end(&bundle);
}

#[test]
fn a_process_that_could_look_into_ours_finds_a_sealed_copy_of_the_runtime() {
    let mut bundle = Bundle::new("exec-seal");
    // With a pid namespace of somebody else there are strangers; with CAP_SYS_PTRACE the container's own may look.
    bundle.grant(&["CAP_SYS_PTRACE"]);
    started(&mut bundle);
    let before = fs::metadata(Runtime::program()).expect("the runtime");
    in_container(&bundle, &["/probe", "exit", "3"]).run().exits(3);
    let timed = exec(&bundle, &["--timings", &bundle.id, "/bin/true"]).run().ok().stderr;
    assert!(timed.contains("run from a sealed copy of rt"), "{timed}");
    let after = fs::metadata(Runtime::program()).expect("the runtime");
    assert_eq!(before.len(), after.len());
    end(&bundle);
    let mut bundle = Bundle::new("exec-unsealed");
    started(&mut bundle);
    let timed = exec(&bundle, &["--timings", &bundle.id, "/bin/true"]).run().ok().stderr;
    assert!(!timed.contains("sealed copy of rt"), "nobody there may look: {timed}");
    end(&bundle);
}

#[test]
fn its_filter_has_an_agent_too() {
    let mut bundle = Bundle::new("exec-notify");
    let agent = Agent::new(&bundle);
    let rules = json!([{"names": ["acct"], "action": "SCMP_ACT_NOTIFY"}]);
    bundle.set(
        "/linux/seccomp",
        json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": rules, "listenerPath": agent.path, "listenerMetadata": "m"}),
    );
    bundle.args(["/probe", "sleep"]);
    let created = bundle.create_command().spawn();
    created.wait().ok();
    let starting = bundle.rt(&["start", &bundle.id]).spawn();
    let (message, _first) = agent.receive();
    assert_eq!(message["pid"], bundle.pid());
    starting.wait().ok();
    let acct = libc::SYS_acct.to_string();
    let running = in_container(&bundle, &["/probe", "syscall", &acct]).spawn();
    let (message, calls) = agent.receive();
    assert_eq!(message["state"]["pid"], bundle.pid());
    assert_ne!(message["pid"], bundle.pid());
    assert_eq!(message["state"]["status"], "running");
    calls.serve(|call| if call == libc::SYS_acct { Answer::Value(42) } else { Answer::Continue });
    assert_eq!(running.wait().ok().stdout, "42\n");
    end(&bundle);
}

#[test]
fn the_end_of_the_container_is_the_end_of_who_came_later() {
    let mut bundle = Bundle::new("exec-end");
    started(&mut bundle);
    let running = in_container(&bundle, &["/probe", "sleep"]).spawn();
    running.wait_for("ready");
    bundle.rt(&["delete", "--force", &bundle.id]).run().ok();
    running.wait().exits(137);
}

#[test]
fn a_runtime_that_is_killed_leaves_nothing_half_done() {
    let mut bundle = Bundle::new("exec-killed");
    started(&mut bundle);
    let inside = || bundle.rt(&["ps", "-f", "json", &bundle.id]).run().ok().json().as_array().expect("pids").len();
    let before = inside();
    for delay in 0..12 {
        let running = in_container(&bundle, &["/bin/true"]).spawn();
        std::thread::sleep(std::time::Duration::from_millis(delay));
        running.signal(Signal::SIGKILL);
        running.wait();
    }
    // What was born may end by itself; what was not ready must be gone.
    wait_until(patience(), || (inside() == before).then_some(())).expect("nothing is left in the container");
    in_container(&bundle, &["/bin/true"]).run().ok();
    end(&bundle);
}

/// Lets the container's init look for the runtime's program while others come in; what it caught, one line each.
fn hunted(bundle: &mut Bundle) -> (Vec<Value>, (u64, u64)) {
    let copy = bundle.path("rt");
    fs::copy(Runtime::program(), &copy).expect("a copy of the runtime");
    let meta = fs::metadata(&copy).expect("the copy");
    let content = fs::read(&copy).expect("the copy");
    bundle.args(["/probe", "hunt-exe", "/tmp/stop", "/tmp/go"]);
    let running = bundle.run_until_ready();
    for _ in 0..40 {
        let words = ["exec", &bundle.id, "/bin/true"];
        Runtime::with_program(&copy, bundle, &words).run().ok();
    }
    bundle.write("rootfs/tmp/stop", "");
    running.wait_for("stopped");
    bundle.write("rootfs/tmp/go", "");
    running.wait_for("end");
    let caught = running.stdout().lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    running.wait().ok();
    assert!(fs::read(&copy).expect("still there") == content, "the program was changed");
    (caught, (meta.dev(), meta.ino()))
}

#[test]
fn the_runtime_s_own_program_cannot_be_caught_by_those_it_comes_to() {
    let mut plain = Bundle::new("exec-hunter");
    plain.grant(&["CAP_DAC_OVERRIDE", "CAP_SYS_ADMIN"]);
    let (caught, (device, inode)) = hunted(&mut plain);
    assert!(!caught.is_empty(), "the hunter sees the workloads");
    assert!(!caught.iter().any(|c| c["device"] == device && c["inode"] == inode), "caught: {caught:?}");
    let mut tracer = Bundle::new("exec-tracer");
    tracer.grant(&["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_SYS_ADMIN"]);
    let (caught, (device, inode)) = hunted(&mut tracer);
    assert!(!caught.iter().any(|c| c["device"] == device && c["inode"] == inode), "caught: {caught:?}");
}
