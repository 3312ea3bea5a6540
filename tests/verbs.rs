//! pause, resume, update, ps, events and wait, on real containers.

mod common;

use std::fs;

use common::cgroups::{v1, v2};
use common::{Bundle, Output, Running, json, patience, wait_until};

/// A container that sleeps.
fn sleeping(name: &str) -> Bundle {
    let mut bundle = Bundle::new(name);
    start(&mut bundle);
    bundle
}

fn start(bundle: &mut Bundle) {
    bundle.args(["/probe", "sleep"]);
    bundle.create().ok();
    bundle.start().ok();
}

fn end(bundle: &Bundle) {
    bundle.kill("KILL").ok();
    bundle.wait_status("stopped");
    bundle.delete().ok();
}

fn verb(bundle: &Bundle, words: &[&str]) -> Output {
    bundle.rt(words).arg(&bundle.id).run()
}

/// A control file of the container: where the controller is v1, or where it is v2.
fn file(bundle: &Bundle, controller: &str, old: &str, new: &str) -> String {
    let at = v1(controller).map(|dir| dir.join(&bundle.id).join(old));
    let at = at.or_else(|| v2(controller).map(|dir| dir.join(&bundle.id).join(new)));
    common::cgroups::value(&at.expect("a hierarchy with the controller"))
}

#[test]
fn a_paused_container_stands_still_until_it_is_resumed() {
    let mut bundle = Bundle::new("pause");
    bundle.args(["/bin/sh", "-c", "while :; do echo x >> /tmp/ticks; sleep 0.01; done"]);
    bundle.create().ok();
    bundle.start().ok();
    let ticks = || fs::metadata(bundle.path("rootfs/tmp/ticks")).map_or(0, |meta| meta.len());
    wait_until(patience(), || (ticks() > 4).then_some(())).expect("it ticks");
    verb(&bundle, &["pause"]).ok();
    assert_eq!(bundle.status(), "paused");
    let before = ticks();
    std::thread::sleep(std::time::Duration::from_millis(150));
    assert_eq!(ticks(), before, "it went on");
    verb(&bundle, &["pause"]).fails(&["paused already"]);
    verb(&bundle, &["resume"]).ok();
    assert_eq!(bundle.status(), "running");
    wait_until(patience(), || (ticks() > before).then_some(())).expect("it ticks again");
    verb(&bundle, &["resume"]).fails(&["container not paused"]);
    end(&bundle);
}

#[test]
fn what_is_not_there_or_has_ended_can_be_neither_paused_nor_updated() {
    let mut bundle = Bundle::new("pause-none");
    for words in [&["pause"][..], &["resume"], &["update"], &["ps"], &["events", "--stats"], &["wait"]] {
        verb(&bundle, words).fails(&["container does not exist"]);
    }
    bundle.args(["/bin/true"]).create().ok();
    bundle.start().ok();
    bundle.wait_status("stopped");
    verb(&bundle, &["pause"]).fails(&["container not running"]);
    verb(&bundle, &["resume"]).fails(&["container not paused"]);
    verb(&bundle, &["update", "--pids-limit", "9"]).fails(&["container not running"]);
    verb(&bundle, &["events", "--stats"]).fails(&["container not running"]);
    bundle.delete().ok();
}

#[test]
fn a_paused_container_can_be_killed_and_deleted() {
    let bundle = sleeping("pause-kill");
    verb(&bundle, &["pause"]).ok();
    end(&bundle);
    let bundle = sleeping("pause-delete");
    verb(&bundle, &["pause"]).ok();
    bundle.rt(&["delete", "--force", &bundle.id]).run().ok();
}

#[test]
fn limits_change_and_what_is_not_named_stays() {
    let mut bundle = Bundle::new("update");
    bundle
        .set("/linux/resources", json!({"pids": {"limit": 50}, "memory": {"limit": 64 << 20}, "cpu": {"shares": 512}}));
    start(&mut bundle);
    verb(&bundle, &["update", "--memory", "32m", "--pids-limit=77"]).ok();
    assert_eq!(file(&bundle, "memory", "memory.limit_in_bytes", "memory.max"), (32 << 20).to_string());
    assert_eq!(file(&bundle, "pids", "pids.max", "pids.max"), "77");
    let shares = file(&bundle, "cpu", "cpu.shares", "cpu.weight");
    assert_eq!(shares, if v1("cpu").is_some() { "512" } else { "59" });
    verb(&bundle, &["update", "--cpu-period", "50000", "--cpu-quota", "25000"]).ok();
    verb(&bundle, &["update", "--cpu-quota=-1", "--pids-limit", "-1"]).ok();
    assert_eq!(file(&bundle, "cpu", "cpu.cfs_period_us", "cpu.max").split(' ').next_back(), Some("50000"));
    assert_eq!(file(&bundle, "pids", "pids.max", "pids.max"), "max");
    end(&bundle);
}

#[test]
fn each_flag_of_update_changes_its_file() {
    let mut bundle = Bundle::new("update-flags");
    start(&mut bundle);
    let mib = |n: u64| (n << 20).to_string();
    // The flag; the controller; file and value on cgroup v1, then on v2. Without a name: that version has no such limit.
    for (flag, value, controller, old, want_old, new, want_new) in [
        ("--cpu-period", "50000", "cpu", "cpu.cfs_period_us", "50000", "cpu.max", "max 50000"),
        ("--cpu-quota", "20000", "cpu", "cpu.cfs_quota_us", "20000", "cpu.max", "20000 50000"),
        ("--cpu-burst", "1000", "cpu", "cpu.cfs_burst_us", "1000", "cpu.max.burst", "1000"),
        ("--cpu-share", "512", "cpu", "cpu.shares", "512", "cpu.weight", "59"),
        ("--cpu-idle", "1", "cpu", "cpu.idle", "1", "cpu.idle", "1"),
        ("--cpuset-cpus", "0", "cpuset", "cpuset.cpus", "0", "cpuset.cpus", "0"),
        ("--cpuset-mems", "0", "cpuset", "cpuset.mems", "0", "cpuset.mems", "0"),
        ("--memory", "64m", "memory", "memory.limit_in_bytes", &mib(64), "memory.max", &mib(64)),
        ("--memory-reservation", "32m", "memory", "memory.soft_limit_in_bytes", &mib(32), "memory.low", &mib(32)),
        ("--memory-swap", "96m", "memory", "memory.memsw.limit_in_bytes", &mib(96), "memory.swap.max", &mib(32)),
        ("--kernel-memory-tcp", "8m", "memory", "memory.kmem.tcp.limit_in_bytes", &mib(8), "", ""),
        ("--pids-limit", "44", "pids", "pids.max", "44", "pids.max", "44"),
    ] {
        if v1(controller).is_none() && new.is_empty() {
            continue;
        }
        let want = if v1(controller).is_some() { want_old } else { want_new };
        // A machine with one node has nothing else to begin with.
        assert!(flag == "--cpuset-mems" || file(&bundle, controller, old, new) != want, "{flag} would change nothing");
        verb(&bundle, &["update", flag, value]).ok();
        assert_eq!(file(&bundle, controller, old, new), want, "{flag} {value}");
    }
    verb(&bundle, &["update", "--cpuset-mems", "4095"]).fails(&["cpuset.mems = 4095"]);
    // Where the kernel has no such file, that is said, and what else was asked for is as it was.
    for (flag, value, words) in [
        ("--blkio-weight", "300", "weight"),
        ("--cpu-rt-period", "900000", "cpu.rt_period_us"),
        ("--cpu-rt-runtime", "10000", "cpu.rt_runtime_us"),
    ] {
        let output = verb(&bundle, &["update", flag, value]);
        let said = output.stderr.contains(words) || output.stderr.contains("realtime");
        assert!(output.success() || said, "{flag}: {}", output.stderr);
    }
    // Accepted, and without meaning for years.
    verb(&bundle, &["update", "--kernel-memory", "8m"]).ok();
    assert_eq!(file(&bundle, "pids", "pids.max", "pids.max"), "44");
    end(&bundle);
}

#[test]
fn events_tell_of_memory_that_was_reclaimed() {
    if v2("memory").is_none() {
        skip!("memory.high is of cgroup v2, which has no memory controller here");
    }
    let mut bundle = Bundle::new("events-high");
    bundle.set("/linux/resources", json!({"unified": {"memory.high": "8388608"}}));
    start(&mut bundle);
    let events = bundle.rt(&["events", "--interval", "1h", &bundle.id]).spawn();
    events.wait_for("{\"data\":{");
    // As many pages of files as are reclaimed without anybody being killed.
    let script = "i=0; while [ $i -lt 64 ]; do cat /probe >> /tmp/much; i=$((i+1)); done";
    let filling = bundle.rt(&["exec", &bundle.id, "/bin/sh", "-c", script]).spawn();
    let found = wait_until(patience(), || {
        events.stdout().lines().find(|line| line.contains("\"type\":\"memory.high\"")).map(str::to_owned)
    });
    let found: serde_json::Value = serde_json::from_str(&found.expect("an event")).expect("JSON");
    assert!(found["data"]["count"].as_u64().is_some_and(|count| count > 0), "{found}");
    bundle.kill("KILL").ok();
    filling.wait();
    events.wait().ok();
    bundle.wait_status("stopped");
    bundle.delete().ok();
}

#[test]
fn what_docker_and_kubernetes_send_is_read_as_they_mean_it() {
    let mut bundle = Bundle::new("update-engines");
    bundle.set("/linux/resources", json!({"pids": {"limit": 50}, "memory": {"limit": 64 << 20}}));
    start(&mut bundle);
    let devices = || v1("devices").map(|dir| common::cgroups::value(&dir.join(&bundle.id).join("devices.list")));
    let before = devices();
    let docker = json!({
        "devices": [{"allow": false, "access": "rwm"}],
        "memory": {"limit": 0, "reservation": 0, "kernel": 0},
        "cpu": {"shares": 0, "quota": 25000, "period": 100_000}, "pids": {"limit": 0}, "blockIO": {"weight": 0}
    });
    let path = bundle.write("docker.json", &docker.to_string());
    verb(&bundle, &["update", "--resources", path.to_str().unwrap()]).ok();
    // containerd: on stdin.
    let stdin = fs::File::open(&path).expect("the file");
    bundle.rt(&["update", "--resources=-", &bundle.id]).stdin(stdin).run().ok();
    assert_eq!(file(&bundle, "pids", "pids.max", "pids.max"), "50");
    assert_eq!(file(&bundle, "memory", "memory.limit_in_bytes", "memory.max"), (64 << 20).to_string());
    assert_eq!(file(&bundle, "cpu", "cpu.cfs_quota_us", "cpu.max").split(' ').next(), Some("25000"));
    assert_eq!(devices(), before, "the device rules are not what was meant");
    // Still usable: the default devices.
    bundle.rt(&["exec", &bundle.id, "/bin/sh", "-c", "echo > /dev/null"]).run().ok();
    end(&bundle);
}

#[test]
fn a_refused_limit_takes_the_others_back() {
    let mut bundle = Bundle::new("update-rollback");
    bundle.set("/linux/resources", json!({"pids": {"limit": 50}, "memory": {"limit": 64 << 20}}));
    start(&mut bundle);
    let record = || fs::read(bundle.state_root().join(&bundle.id).join("record")).expect("the record");
    let before = record();
    let cpus = ["update", "--memory", "48m", "--pids-limit", "33", "--cpuset-cpus", "4095"];
    verb(&bundle, &cpus).fails(&["cpuset.cpus = 4095"]);
    assert_eq!(file(&bundle, "memory", "memory.limit_in_bytes", "memory.max"), (64 << 20).to_string());
    assert_eq!(file(&bundle, "pids", "pids.max", "pids.max"), "50");
    assert_eq!(record(), before, "nothing of it is remembered");
    verb(&bundle, &["update", "--blkio-weight", "9"])
        .fails(&["resources: /blockIO/weight: expected an integer from 10 to 1000, got 9"]);
    verb(&bundle, &["update", "--memory", "lots"]).fails(&["--memory", "expected a number of bytes"]);
    end(&bundle);
}

#[test]
fn what_was_updated_is_remembered() {
    let bundle = sleeping("update-record");
    verb(&bundle, &["update", "--pids-limit", "44"]).ok();
    let record = fs::read_to_string(bundle.state_root().join(&bundle.id).join("record")).expect("the record");
    assert!(record.ends_with("{\"updated\":{\"pids\":{\"limit\":44}}}\n"), "{record}");
    assert_eq!(bundle.status(), "running");
    end(&bundle);
}

#[test]
fn device_rules_change_only_when_they_are_named() {
    let mut bundle = Bundle::new("update-devices");
    // /dev/kmsg-like: a device that nobody may open by default.
    bundle.set("/linux/devices", json!([{"path": "/dev/loopctl", "type": "c", "major": 10, "minor": 237}]));
    start(&mut bundle);
    let opens = || bundle.rt(&["exec", &bundle.id, "/bin/sh", "-c", ": < /dev/loopctl"]).run().success();
    assert!(!opens());
    let allow = json!([{"allow": true, "type": "c", "major": 10, "minor": 237, "access": "rw"}]);
    let path = bundle.write("devices.json", &allow.to_string());
    verb(&bundle, &["update", "--devices", path.to_str().unwrap()]).ok();
    let after = opens();
    let null = bundle.rt(&["exec", &bundle.id, "/bin/sh", "-c", "echo > /dev/null"]).run().success();
    verb(&bundle, &["update", "--pids-limit", "88"]).ok();
    let still = opens();
    let none = bundle.write("none.json", "[]");
    verb(&bundle, &["update", "--devices", none.to_str().unwrap()]).ok();
    assert_eq!(bundle.status(), "running", "it is not left standing");
    assert!(null && !opens());
    if fs::metadata("/dev/loop-control").is_err() {
        end(&bundle);
        skip!("this host has no 10:237 to open");
    }
    assert!(after && still);
    end(&bundle);
}

#[test]
fn ps_lists_the_processes_as_json_and_as_a_table() {
    let mut bundle = Bundle::new("ps");
    bundle.args(["/bin/sh", "-c", "/bin/sleep 1000 & echo ready; wait"]);
    bundle.create().ok();
    bundle.start().ok();
    let pids = || verb(&bundle, &["ps", "--format", "json"]).ok().json().as_array().expect("a list").len();
    wait_until(patience(), || (pids() == 2).then_some(())).expect("two processes");
    let list = verb(&bundle, &["ps", "-f", "json"]).ok().stdout;
    assert!(list.starts_with(&format!("[{},", bundle.pid())) && !list.ends_with('\n'), "{list}");
    let table = verb(&bundle, &["ps"]).ok().stdout;
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 3, "{table}");
    assert_eq!(
        lines[0].split_whitespace().collect::<Vec<_>>(),
        ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    );
    assert!(lines[1].contains(&format!(" {} ", bundle.pid())) && lines[1].starts_with("root"), "{table}");
    assert!(lines[2].ends_with("/bin/sleep 1000"), "{table}");
    let with_options = bundle.rt(&["ps", &bundle.id, "-o", "pid,ppid,comm=NAME"]).run().ok().stdout;
    let rows: Vec<Vec<&str>> = with_options.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["PID", "PPID", "NAME"]);
    assert_eq!((rows[2][1].parse().ok(), rows[2][2]), (Some(bundle.pid()), "sleep"));
    bundle.rt(&["ps", &bundle.id, "-o", "nope"]).run().fails(&["unknown column \"nope\""]);
    // What the container calls itself is no control sequence.
    bundle.rt(&["exec", "-d", &bundle.id, "/bin/sleep", "1000", "\u{1b}[2J"]).run();
    assert!(!verb(&bundle, &["ps"]).ok().stdout.contains('\u{1b}'));
    end(&bundle);
}

#[test]
fn of_a_stopped_container_there_are_no_processes() {
    let mut bundle = Bundle::new("ps-stopped");
    bundle.args(["/bin/true"]).create().ok();
    bundle.start().ok();
    bundle.wait_status("stopped");
    assert_eq!(verb(&bundle, &["ps", "--format", "json"]).ok().stdout, "[]");
    assert_eq!(verb(&bundle, &["ps"]).ok().stdout.lines().count(), 1);
    bundle.delete().ok();
}

#[test]
fn stats_have_the_shape_that_readers_know() {
    let mut bundle = Bundle::new("events-stats");
    bundle.set("/linux/resources", json!({"pids": {"limit": 50}, "memory": {"limit": 64 << 20}}));
    start(&mut bundle);
    let event = verb(&bundle, &["events", "--stats"]).ok().json();
    assert_eq!([&event["type"], &event["id"]], [&json!("stats"), &json!(bundle.id)]);
    let data = &event["data"];
    assert_eq!(data["pids"], json!({"current": 1, "limit": 50}));
    assert_eq!(data["memory"]["usage"]["limit"], 64 << 20);
    assert!(data["memory"]["usage"]["usage"].as_u64() > Some(0), "{data}");
    assert!(data["memory"]["raw"].as_object().is_some_and(|raw| raw.len() > 10), "{data}");
    assert!(data["cpu"]["usage"]["total"].as_u64() > Some(0), "{data}");
    assert!(data["cpuset"]["cpus"].as_array().is_some_and(|cpus| !cpus.is_empty()), "{data}");
    assert!(data["blkio"].is_object() && data["hugetlb"].is_object() && data["intel_rdt"].is_object());
    assert_eq!(data["network_interfaces"], json!([]), "its own network has a loopback only");
    end(&bundle);
}

/// How long processes had to wait for memory, processors and disks (PSI): as the cgroup's files have it.
#[test]
fn stats_tell_of_pressure_on_v2() {
    if !common::cgroups::is_v2() || std::fs::metadata("/proc/pressure").is_err() {
        skip!("no cgroup v2, or a kernel that does not measure pressure");
    }
    let mut bundle = Bundle::new("events-pressure");
    // Whoever is above memory.high is slowed down, and waits for memory.
    bundle.set("/linux/resources", json!({"memory": {"limit": 64 << 20}, "unified": {"memory.high": "6291456"}}));
    start(&mut bundle);
    bundle.rt(&["exec", &bundle.id, "/probe", "alloc", "7"]).run().ok();
    let data = verb(&bundle, &["events", "--stats"]).ok().json()["data"].clone();
    let cgroup = common::cgroups::v2("memory").expect("v2").join(&bundle.id);
    for (resource, file) in [("cpu", "cpu.pressure"), ("memory", "memory.pressure"), ("blkio", "io.pressure")] {
        let text = std::fs::read_to_string(cgroup.join(file)).expect(file);
        for line in text.lines() {
            let kind = line.split(' ').next().unwrap_or_default();
            let total: u64 = line.rsplit('=').next().and_then(|n| n.parse().ok()).expect("total=");
            let psi = &data[resource]["psi"][kind];
            // It goes on counting while we look.
            assert!(psi["total"].as_u64().is_some_and(|n| n <= total), "{resource} {kind}: {psi}, {line}");
            assert!(psi["avg10"].is_number() && psi["avg60"].is_number() && psi["avg300"].is_number(), "{psi}");
        }
    }
    assert!(data["memory"]["psi"]["some"]["total"].as_u64() > Some(0), "nobody waited: {}", data["memory"]["psi"]);
    end(&bundle);
}

#[test]
fn events_tell_of_a_process_killed_for_want_of_memory_and_of_the_end() {
    let mut bundle = Bundle::new("events-oom");
    bundle.set("/linux/resources", json!({"memory": {"limit": 24 << 20, "swap": 24 << 20}, "pids": {"limit": 8}}));
    start(&mut bundle);
    let events = bundle.rt(&["events", "--interval", "100ms", &bundle.id]).spawn();
    events.wait_for("{\"data\":{");
    bundle.rt(&["exec", &bundle.id, "/probe", "alloc", "100"]).run().exits(137);
    let of_type = |kind: &str| {
        let line = events.stdout().lines().find(|l| l.contains(&format!("\"type\":\"{kind}\""))).map(str::to_owned);
        line.map(|l| serde_json::from_str::<serde_json::Value>(&l).expect("JSON"))
    };
    let oom = wait_until(patience(), || of_type("oom")).expect("an oom event");
    assert_eq!(oom["data"]["count"], 1);
    let fork = "for i in 1 2 3 4 5 6 7 8 9; do /bin/sleep 5 & done; true";
    bundle.rt(&["exec", &bundle.id, "/bin/sh", "-c", fork]).run();
    wait_until(patience(), || of_type("pids.max")).expect("an event for the refused fork");
    // Everything above may fit into one interval.
    let stats = || events.stdout().matches("\"type\":\"stats\"").count();
    wait_until(patience(), || (stats() > 1).then_some(())).expect("statistics at every interval");
    bundle.kill("KILL").ok();
    let output = events.wait().ok();
    let last = output.stdout.lines().last().expect("a line").to_owned();
    let last: serde_json::Value = serde_json::from_str(&last).expect("JSON");
    assert_eq!(last["type"], "exit");
    assert_eq!(last["data"]["code"], 137);
    bundle.wait_status("stopped");
    bundle.delete().ok();
}

#[test]
fn wait_exits_as_the_container_did() {
    for (command, code) in [("read x < /tmp/go; exit 7", 7), ("read x < /tmp/go; kill -9 $$", 137)] {
        let mut bundle = Bundle::new("wait");
        let fifo = bundle.path("rootfs/tmp/go");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).expect("a fifo");
        // Without a pid namespace: init of one can't kill itself.
        bundle.without_namespace("pid").args(["/bin/sh", "-c", command]);
        bundle.create().ok();
        bundle.start().ok();
        let waiting = bundle.rt(&["wait", &bundle.id]).spawn();
        std::thread::sleep(std::time::Duration::from_millis(100));
        fs::write(&fifo, "go\n").expect("somebody reads");
        waiting.wait().exits(code);
        verb(&bundle, &["wait"]).exits(255).fails(&["container not running"]);
        bundle.wait_status("stopped");
        bundle.delete().ok();
    }
}

/// The words with which a verb may fail because another one was faster.
const OVERTAKEN: [&str; 6] = [
    "does not exist",
    "container not running",
    "container not paused",
    "paused already",
    "cannot exec in a paused container",
    "cannot exec in a stopped container",
];

/// Waits for them all; each must have succeeded, or say that another was faster. `deleted`: the container was deleted
/// meanwhile, which ends what exec has begun in it, or is about to.
fn settle(running: Vec<(&[&str], Running)>, deleted: bool) {
    for (words, running) in running {
        let output = running.wait();
        let killed = output.code() == Some(137) || output.stderr.contains("killed by signal 9");
        let ended = deleted && words[0] == "exec" && killed;
        let overtaken = ended || OVERTAKEN.iter().any(|text| output.stderr.contains(text));
        assert!(output.success() || overtaken, "{words:?}: {:?} {}", output.code(), output.stderr);
        assert!(!output.stderr.contains("damaged"), "{words:?}: {}", output.stderr);
    }
}

#[test]
fn fifty_verbs_at_once_leave_a_container_that_works() {
    let mut bundle = Bundle::new("verbs-many");
    bundle.set("/linux/resources", json!({"pids": {"limit": 500}}));
    start(&mut bundle);
    let id = bundle.id.as_str();
    let kinds: [&[&str]; 10] = [
        &["state", id],
        &["exec", "--ignore-paused", id, "/bin/true"],
        &["ps", "-f", "json", id],
        &["pause", id],
        &["exec", id, "/bin/true"],
        &["resume", id],
        &["update", "--pids-limit", "400", id],
        &["list"],
        &["kill", id, "0"],
        &["events", "--stats", id],
    ];
    let all = || (0..50).map(|number| kinds[number % kinds.len()]).map(|words| (words, bundle.rt(words).spawn()));
    let (pausing, others): (Vec<_>, Vec<_>) = all().partition(|(words, _)| words[0] == "pause");
    // One that came in just before a pause waits for its end.
    settle(pausing, false);
    wait_until(patience(), || {
        verb(&bundle, &["resume"]);
        (bundle.status() == "running").then_some(())
    })
    .expect("it can be resumed");
    settle(others, false);
    assert_eq!(file(&bundle, "pids", "pids.max", "pids.max"), "400");
    assert_eq!(verb(&bundle, &["ps", "-f", "json"]).ok().json(), json!([bundle.pid()]));
    bundle.rt(&["exec", id, "/probe", "exit", "9"]).run().exits(9);
    // And in the midst of them it is removed: nobody is surprised, and nothing is left, as the bundle's end asserts.
    let mut last: Vec<(&[&str], Running)> = all().take(20).collect();
    let delete: &[&str] = &["delete", "--force", id];
    let deleting: Vec<(&[&str], Running)> = (0..2).map(|_| (delete, bundle.rt(delete).spawn())).collect();
    last.extend(all().take(10));
    for (_, running) in deleting {
        running.wait().ok();
    }
    settle(last, true);
    assert_eq!(bundle.status(), "gone");
    assert!(!fs::exists(bundle.state_root().join(id)).unwrap());
}

/// How many invocations run side by side.
const SIDE_BY_SIDE: usize = 8;

/// One verb for each container, some at a time; all must succeed. Gives what each printed.
fn each<'a>(bundle: &Bundle, ids: &'a [String], words: impl Fn(&'a str) -> Vec<String>) -> Vec<String> {
    let mut printed = Vec::new();
    for some in ids.chunks(SIDE_BY_SIDE) {
        let running = some.iter().map(|id| words(id)).map(|words| {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            bundle.rt(&words).spawn()
        });
        let running: Vec<Running> = running.collect();
        printed.extend(running.into_iter().map(|running| running.wait().ok().stdout));
    }
    printed
}

#[test]
fn two_hundred_containers_at_once_are_told_apart_and_leave_nothing() {
    let mut bundle = Bundle::new("crowd");
    // Each is in a cgroup of its own name.
    bundle.remove("/linux/cgroupsPath");
    bundle.args(["/probe", "sleep"]);
    bundle.save();
    let dir = bundle.text("");
    let ids: Vec<String> = (0..200).map(|number| format!("{}-{number}", bundle.id)).collect();
    let text = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    // Somebody looks all the time while they come and go, and never sees half a container.
    let looks = || bundle.rt(&["list", "-f", "json"]).spawn();
    let sound = |looking: Running| {
        let output = looking.wait().ok();
        assert_eq!(output.stderr, "");
        output.json().as_array().map_or(0, Vec::len)
    };
    for half in ids.chunks(100) {
        let looking: Vec<Running> = (0..3).map(|_| looks()).collect();
        each(&bundle, half, |id| text(&["create", "--bundle", &dir, id]));
        looking.into_iter().for_each(|looking| assert!(sound(looking) <= ids.len()));
    }
    each(&bundle, &ids, |id| text(&["start", id]));
    let list = bundle.rt(&["list", "-f", "json"]).run().ok().json();
    let list = list.as_array().expect("a list").clone();
    assert_eq!(list.len(), ids.len());
    assert!(list.iter().all(|entry| entry["status"] == "running"), "{list:#?}");
    let pids: std::collections::BTreeSet<i64> = list.iter().filter_map(|entry| entry["pid"].as_i64()).collect();
    assert_eq!(pids.len(), ids.len(), "each has a process of its own");
    // What runs in a container is in that container's cgroup, and in no other.
    let within = each(&bundle, &ids[..50], |id| text(&["exec", id, "/bin/true"]));
    assert!(within.iter().all(String::is_empty));
    for entry in &list {
        let cgroups = fs::read_to_string(format!("/proc/{}/cgroup", entry["pid"])).expect("it runs");
        let own = format!("/{}", entry["id"].as_str().unwrap());
        assert!(cgroups.lines().any(|line| line.ends_with(&own)), "{own}: {cgroups}");
    }
    // Some have ended, the others still run when they are deleted.
    each(&bundle, &ids[..100], |id| text(&["kill", id, "KILL"]));
    each(&bundle, &ids, |id| text(&["delete", "--force", id]));
    assert_eq!(bundle.rt(&["list", "-q"]).run().ok().stdout, "");
}
