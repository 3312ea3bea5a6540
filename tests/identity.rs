//! Who the process is and what it has inherited: user, groups, umask, capabilities, limits, directory, program,
//! environment, keyring, signals, descriptors, sysctl. And that the runtime's own program stays out of reach.

mod common;

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, symlink};

use common::caller::{careless, deaf, odd, with_ambient_net_raw, with_umask, without_ptrace};
use common::{Bundle, Canary, Runtime, config, json, texts};
use serde_json::Value;

fn fds(seen: &Value) -> Vec<i64> {
    seen["fds"].as_array().expect("descriptors").iter().map(|fd| fd["fd"].as_i64().expect("a number")).collect()
}

fn sorted(mut list: Vec<String>) -> Vec<String> {
    list.sort();
    list
}

#[test]
fn user_group_and_additional_groups_are_exact() {
    let mut bundle = Bundle::new("user");
    bundle.set("/process/user", json!({"uid": 1000, "gid": 1001, "additionalGids": [5, 6, 100_000]}));
    let seen = bundle.fingerprint(&[]);
    assert_eq!(seen["uid"], json!({"real": 1000, "effective": 1000, "saved": 1000}));
    assert_eq!(seen["gid"], json!({"real": 1001, "effective": 1001, "saved": 1001}));
    assert_eq!(seen["groups"], json!([5, 6, 100_000]));
}

#[test]
fn the_groups_of_the_caller_do_not_come_along() {
    let mut bundle = Bundle::new("groups");
    bundle.args(["/probe", "fingerprint"]);
    let dirty = || nix::unistd::setgroups(&[1234.into(), 5678.into()]).map_err(Into::into);
    let seen = bundle.run_command().before_exec(dirty).run().ok().json();
    assert_eq!(seen["groups"], json!([]));
}

#[test]
fn ids_beyond_31_bits_are_what_they_are() {
    let mut bundle = Bundle::new("bigid");
    bundle.set("/process/user", json!({"uid": 2_147_483_648_u32, "gid": 4_294_967_294_u32}));
    let seen = bundle.fingerprint(&[]);
    assert_eq!(seen["uid"]["effective"], 2_147_483_648_u32);
    assert_eq!(seen["gid"]["effective"], 4_294_967_294_u32);
}

#[test]
fn the_umask_is_0022_unless_the_config_says_otherwise() {
    let mut bundle = Bundle::new("umask");
    bundle.args(["/probe", "fingerprint"]);
    let seen = bundle.run_command().before_exec(with_umask(0o077)).run().ok().json();
    assert_eq!(seen["umask"], "0022");
    bundle.set("/process/user/umask", json!(0o027));
    assert_eq!(bundle.fingerprint(&[])["umask"], "0027");
    bundle.set("/process/user/umask", json!(0));
    assert_eq!(bundle.fingerprint(&[])["umask"], "0000");
}

#[test]
fn the_caller_s_umask_does_not_reach_what_the_runtime_makes() {
    let mut bundle = Bundle::new("umask-made");
    bundle.set("/linux/devices", json!([{"path": "/dev/own", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666}]));
    bundle.mount("/new/dir", "tmpfs", "tmpfs", &[]).set("/process/cwd", json!("/made/here"));
    let words = ["/dev/own", "/dev/null", "/new", "/made"].iter().flat_map(|path| ["--stat", path]);
    bundle.set("/process/args", json!(["/probe", "fingerprint"].into_iter().chain(words).collect::<Vec<_>>()));
    let seen = bundle.run_command().before_exec(with_umask(0o077)).run().ok().json();
    assert_eq!([&seen["stat"]["/dev/own"]["mode"], &seen["stat"]["/dev/null"]["mode"]], ["0666", "0666"]);
    assert_eq!([&seen["stat"]["/new"]["mode"], &seen["stat"]["/made"]["mode"]], ["0755", "0755"]);
}

#[test]
fn the_five_capability_sets_are_exact() {
    let mut bundle = Bundle::new("caps");
    let set = |names: &[&str]| names.iter().map(|name| format!("CAP_{name}")).collect::<Vec<_>>();
    bundle.set(
        "/process/capabilities",
        json!({
            "bounding": set(&["CHOWN", "KILL", "NET_RAW", "SETUID"]), "permitted": set(&["CHOWN", "KILL", "NET_RAW"]),
            "effective": set(&["CHOWN", "KILL", "NET_RAW"]), "inheritable": set(&["NET_RAW"]), "ambient": set(&["NET_RAW"]),
        }),
    );
    bundle.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    let seen = bundle.fingerprint(&[]);
    // A program that is not root keeps over execve only what is ambient.
    assert_eq!(sorted(texts(&seen["caps"]["bounding"])), ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW", "CAP_SETUID"]);
    for name in ["effective", "permitted", "inheritable", "ambient"] {
        assert_eq!(texts(&seen["caps"][name]), ["CAP_NET_RAW"], "{name}");
    }
}

#[test]
fn root_has_the_permitted_capabilities_and_no_others() {
    let mut bundle = Bundle::new("caps-root");
    let seen = bundle.fingerprint(&[]);
    for name in ["bounding", "effective", "permitted"] {
        assert_eq!(sorted(texts(&seen["caps"][name])), config::CAPABILITIES, "{name}");
    }
    assert_eq!([&seen["caps"]["inheritable"], &seen["caps"]["ambient"]], [&json!([]), &json!([])]);
    assert_eq!(seen["securebits"], 0);
}

#[test]
fn capabilities_that_are_absent_or_empty_are_none() {
    for empty in [None, Some(json!({})), Some(json!({"bounding": [], "effective": [], "permitted": []}))] {
        let mut bundle = Bundle::new("caps-none");
        match empty {
            None => bundle.remove("/process/capabilities"),
            Some(sets) => bundle.set("/process/capabilities", sets),
        };
        let seen = bundle.fingerprint(&[]);
        for name in ["bounding", "effective", "permitted", "inheritable", "ambient"] {
            assert_eq!(seen["caps"][name], json!([]), "{name}");
        }
    }
}

#[test]
fn the_inheritable_and_ambient_sets_of_the_caller_do_not_come_along() {
    let mut bundle = Bundle::new("caps-caller");
    bundle.args(["/probe", "fingerprint"]);
    let seen = bundle.run_command().before_exec(with_ambient_net_raw).run().ok().json();
    assert_eq!([&seen["caps"]["inheritable"], &seen["caps"]["ambient"]], [&json!([]), &json!([])]);
}

#[test]
fn an_unknown_capability_is_a_warning() {
    let mut bundle = Bundle::new("caps-unknown");
    bundle.grant(&["CAP_FLY"]).args(["/probe", "fingerprint"]).save();
    let log = bundle.text("log");
    let words = ["--log", &log, "run", "--bundle", &bundle.text(""), &bundle.id];
    let output = bundle.rt(&words).run().ok();
    assert_eq!(sorted(texts(&output.json()["caps"]["effective"])), config::CAPABILITIES);
    let said = fs::read_to_string(log).unwrap_or_default() + &output.stderr;
    assert!(said.contains("CAP_FLY"), "nobody was told: {said}");
}

#[test]
fn an_unknown_capability_is_an_error_if_the_caller_is_strict() {
    let mut bundle = Bundle::new("caps-strict");
    bundle.grant(&["CAP_FLY"]).args(["/bin/true"]);
    bundle.run_command().env("RT_STRICT", "1").run().fails(&["CAP_FLY", "/process/capabilities/"]);
    bundle.nothing_left();
}

#[test]
fn a_capability_that_we_do_not_have_ourselves_is_left_out_with_a_warning() {
    let mut bundle = Bundle::new("caps-ungrantable");
    bundle.grant(&["CAP_SYS_PTRACE", "CAP_NET_RAW"]).args(["/probe", "fingerprint"]).save();
    let log = bundle.text("log");
    let words = ["--log", &log, "run", "--bundle", &bundle.text(""), &bundle.id];
    let output = bundle.rt(&words).before_exec(without_ptrace).run().ok();
    let effective = texts(&output.json()["caps"]["effective"]);
    assert!(
        effective.contains(&"CAP_NET_RAW".into()) && !effective.contains(&"CAP_SYS_PTRACE".into()),
        "{effective:?}"
    );
    let said = fs::read_to_string(log).unwrap_or_default() + &output.stderr;
    assert!(said.contains("CAP_SYS_PTRACE"), "nobody was told: {said}");
}

#[test]
fn an_ambient_capability_that_cannot_be_is_left_out_with_a_warning() {
    let mut bundle = Bundle::new("caps-ambient");
    bundle.set("/process/capabilities/ambient", json!(["CAP_KILL"])); // it is not inheritable
    bundle.args(["/probe", "fingerprint"]).save();
    let log = bundle.text("log");
    let words = ["--log", &log, "run", "--bundle", &bundle.text(""), &bundle.id];
    let output = bundle.rt(&words).run().ok();
    assert_eq!(output.json()["caps"]["ambient"], json!([]));
    let said = fs::read_to_string(log).unwrap_or_default() + &output.stderr;
    assert!(said.contains("CAP_KILL"), "nobody was told: {said}");
}

#[test]
fn rlimits_are_exact() {
    let mut bundle = Bundle::new("rlimits");
    let own = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_CPU).expect("a limit");
    bundle.set(
        "/process/rlimits",
        json!([
            {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 4096},
            {"type": "RLIMIT_AS", "soft": 1_073_741_824_u64, "hard": 2_147_483_648_u64},
            {"type": "RLIMIT_MEMLOCK", "soft": 4096, "hard": 8192}, {"type": "RLIMIT_STACK", "soft": 4_194_304, "hard": 8_388_608}
        ]),
    );
    let seen = &bundle.fingerprint(&[])["rlimits"];
    assert_eq!(seen["RLIMIT_NOFILE"], json!([100, 200]));
    assert_eq!(seen["RLIMIT_CORE"], json!([0, 4096]));
    assert_eq!(seen["RLIMIT_AS"], json!([1_073_741_824_u64, 2_147_483_648_u64]));
    assert_eq!(seen["RLIMIT_MEMLOCK"], json!([4096, 8192]));
    assert_eq!(seen["RLIMIT_STACK"], json!([4_194_304, 8_388_608]));
    assert_eq!(seen["RLIMIT_CPU"], json!([own.0, own.1]), "what is not listed is inherited");
}

#[test]
fn no_new_privileges_is_what_the_config_says() {
    for (value, expected) in [(Some(true), true), (Some(false), false), (None, false)] {
        let mut bundle = Bundle::new("nnp");
        match value {
            Some(value) => bundle.set("/process/noNewPrivileges", json!(value)),
            None => bundle.remove("/process/noNewPrivileges"),
        };
        assert_eq!(bundle.fingerprint(&[])["no_new_privs"], expected, "{value:?}");
    }
}

#[test]
fn the_oom_score_is_set_or_left_alone() {
    let mut bundle = Bundle::new("oom");
    bundle.args(["/probe", "fingerprint"]);
    let dirty = || fs::write("/proc/self/oom_score_adj", "77");
    let seen = bundle.run_command().before_exec(dirty).run().ok().json();
    assert_eq!(seen["oom_score_adj"], 77, "unset means unchanged");
    bundle.set("/process/oomScoreAdj", json!(555));
    let seen = bundle.run_command().before_exec(dirty).run().ok().json();
    assert_eq!(seen["oom_score_adj"], 555);
}

#[test]
fn the_current_directory_is_the_config_s() {
    let mut bundle = Bundle::new("cwd");
    for (cwd, seen_as) in [("/", "/"), ("/etc/sub", "/etc/sub"), ("/proc/sys", "/proc/sys"), ("/etc/../tmp/", "/tmp")] {
        bundle.set("/process/cwd", json!(cwd));
        assert_eq!(bundle.fingerprint(&[])["cwd"], seen_as);
    }
}

#[test]
fn a_missing_current_directory_is_made() {
    let mut bundle = Bundle::new("cwd-made");
    bundle.set("/process/cwd", json!("/srv/app/here")).set("/process/user", json!({"uid": 1000, "gid": 1000}));
    let seen = bundle.fingerprint(&["--stat", "/srv/app/here"]);
    assert_eq!(seen["cwd"], "/srv/app/here");
    assert_eq!(seen["stat"]["/srv/app/here"]["mode"], "0755");
}

#[test]
fn a_current_directory_behind_a_link_of_the_image_is_inside() {
    let mut bundle = Bundle::new("cwd-link");
    symlink("/etc/sub", bundle.path("rootfs/mnt/way")).expect("a link");
    bundle.set("/process/cwd", json!("/mnt/way"));
    assert_eq!(bundle.fingerprint(&[])["cwd"], "/etc/sub");
}

#[test]
fn a_current_directory_through_a_descriptor_of_the_caller_is_refused() {
    for cwd in
        ["/proc/self/fd/7", "/proc/self/fd/7/sub", "/proc/thread-self/fd/7", "/proc/self/fd/7/../..", "/proc/1/fd/7"]
    {
        let mut bundle = Bundle::new("cwd-fd");
        bundle.set("/process/cwd", json!(cwd)).args(["/bin/true"]);
        bundle.run_command().before_exec(careless("/etc", 3..20)).run().fails(&["cwd"]);
        bundle.nothing_left();
    }
}

#[test]
fn a_program_behind_a_descriptor_of_the_caller_is_not_run() {
    for number in 3..20 {
        let mut bundle = Bundle::new("exec-fd");
        bundle.set("/process/args", json!([format!("/proc/self/fd/{number}/true")]));
        bundle.run_command().before_exec(careless("/bin", 3..20)).run().fails(&[]);
    }
}

#[test]
fn the_program_is_looked_up_in_the_container_s_path() {
    let mut bundle = Bundle::new("path");
    bundle.script("rootfs/opt/tools/answer", "#!/bin/sh\nexit 42\n");
    bundle.write("rootfs/opt/first/answer", "not executable");
    bundle.directory("rootfs/opt/second/answer");
    bundle.set("/process/env/0", json!("PATH=/nowhere:/opt/first:/opt/second:/opt/tools:/bin")).args(["answer"]);
    bundle.run().exits(42);
}

#[test]
fn the_path_of_the_caller_is_not_used() {
    let mut bundle = Bundle::new("path-caller");
    bundle.script("rootfs/opt/tools/answer", "#!/bin/sh\nexit 42\n");
    bundle.set("/process/env/0", json!("PATH=/bin")).args(["answer"]);
    bundle.run_command().env("PATH", "/opt/tools").run().fails(&["executable file not found in $PATH"]);
}

#[test]
fn a_program_with_a_slash_is_relative_to_the_current_directory() {
    let mut bundle = Bundle::new("relative");
    bundle.script("rootfs/home/app/answer", "#!/bin/sh\nexit 42\n");
    bundle.set("/process/cwd", json!("/home/app")).args(["./answer"]);
    bundle.run().exits(42);
    bundle.set("/process/cwd", json!("/home")).args(["app/answer"]);
    bundle.run().exits(42);
}

#[test]
fn arguments_arrive_as_they_are() {
    let mut bundle = Bundle::new("argv");
    let odd = ["", " ", "a b", "$HOME", "\"", "'", "\n", "-x", "ü", "\u{1f980}", "*"];
    let words: Vec<&str> = ["/probe", "print-env"].iter().chain(&odd).copied().collect();
    bundle.set("/process/args", json!(words));
    bundle.run().ok();
    let mut words = vec!["/bin/busybox", "echo", "-n"];
    words.extend(["a  b", "", "c"]);
    bundle.set("/process/args", json!(words));
    assert_eq!(bundle.run().ok().stdout, "a  b  c");
}

#[test]
fn the_environment_is_the_config_s_and_home() {
    let mut bundle = Bundle::new("env");
    bundle.set("/process/env", json!([config::PATH, "A=1", "EMPTY=", "B=x=y", format!("RT_TEST_ID={}", bundle.id)]));
    bundle.args(["/probe", "fingerprint"]);
    let seen = bundle.run_command().env("SECRET", "1").env("LD_PRELOAD", "x").run().ok().json();
    let id = format!("RT_TEST_ID={}", bundle.id);
    let expected =
        sorted(vec![config::PATH.into(), "A=1".into(), "EMPTY=".into(), "B=x=y".into(), id, "HOME=/root".into()]);
    assert_eq!(sorted(texts(&seen["env"])), expected);
}

#[test]
fn home_comes_from_the_image_s_passwd_unless_it_is_set() {
    for (uid, home) in [(0, "HOME=/root"), (1000, "HOME=/home/app"), (4242, "HOME=/")] {
        let mut bundle = Bundle::new("home");
        bundle.set("/process/user", json!({"uid": uid, "gid": 0}));
        let env = texts(&bundle.fingerprint(&[])["env"]);
        assert!(env.contains(&home.to_owned()), "{uid}: {env:?}");
        bundle.set("/process/env/-", json!("HOME=/elsewhere"));
        let env = texts(&bundle.fingerprint(&[])["env"]);
        let homes: Vec<&String> = env.iter().filter(|line| line.starts_with("HOME=")).collect();
        assert_eq!(homes, ["HOME=/elsewhere"]);
    }
}

#[test]
fn a_passwd_that_is_a_trap_harms_nobody() {
    type Trap = fn(&Bundle);
    let traps: [(&str, Trap); 4] = [
        ("fifo", |b| nix::unistd::mkfifo(&b.path("rootfs/etc/passwd"), nix::sys::stat::Mode::S_IRWXU).expect("a fifo")),
        ("directory", |b| drop(b.directory("rootfs/etc/passwd"))),
        ("link", |b| symlink(b.path("canary/secret"), b.path("rootfs/etc/passwd")).expect("a link")),
        ("huge", |b| {
            File::create(b.path("rootfs/etc/passwd")).expect("a file").set_len(1 << 40).expect("a sparse file")
        }),
    ];
    for (name, trap) in traps {
        let mut bundle = Bundle::new("passwd");
        let canary = Canary::plant(&bundle.path("canary"));
        fs::remove_file(bundle.path("rootfs/etc/passwd")).expect("the default one");
        trap(&bundle);
        let seen = bundle.fingerprint(&[]);
        let home = texts(&seen["env"]).into_iter().find(|line| line.starts_with("HOME="));
        assert!(home.is_some(), "{name}");
        canary.untouched();
    }
}

#[test]
fn of_two_values_for_one_variable_the_last_counts() {
    let mut bundle = Bundle::new("env-twice");
    bundle.set("/process/env/-", json!("TWICE=first")).set("/process/env/-", json!("TWICE=second"));
    let env = texts(&bundle.fingerprint(&[])["env"]);
    let found: Vec<&String> = env.iter().filter(|line| line.starts_with("TWICE=")).collect();
    assert_eq!(found, ["TWICE=second"]);
}

#[test]
fn the_session_keyring_is_the_container_s_own() {
    let mut bundle = Bundle::new("keyring");
    let seen = bundle.fingerprint(&[]);
    let text = seen["keyring"].as_str().expect("a description");
    if text == "ENOSYS" {
        skip!("this kernel has no keyrings");
    }
    assert!(text.ends_with(&format!(";_ses.{}", bundle.id)), "{text}");
}

#[test]
fn no_new_keyring_keeps_the_caller_s() {
    let mut bundle = Bundle::new("nokeyring");
    bundle.args(["/probe", "fingerprint"]).save();
    let words = ["run", "--no-new-keyring", "--bundle", &bundle.text(""), &bundle.id];
    let seen = bundle.rt(&words).run().ok().json();
    let text = seen["keyring"].as_str().expect("a description");
    assert!(!text.contains("_ses.rtt"), "{text}");
}

#[test]
fn signals_are_reset_whatever_the_caller_ignores_or_blocks() {
    let mut bundle = Bundle::new("signals");
    bundle.args(["/probe", "fingerprint"]);
    let seen = bundle.run_command().before_exec(deaf).run().ok().json();
    assert_eq!(seen["signals"], json!({"ignored": [], "blocked": [], "caught": []}));
    let clean = bundle.run().ok().json();
    assert_eq!(clean["signals"], json!({"ignored": [], "blocked": [], "caught": []}), "SIGPIPE above all");
}

#[test]
fn a_dirty_caller_and_a_clean_one_give_the_same_process() {
    let mut bundle = Bundle::new("dirty");
    bundle.args(["/probe", "fingerprint"]);
    let clean = bundle.run().ok().json();
    let seen = bundle.run_command().before_exec(odd).run().ok().json();
    let fields =
        ["timerslack", "coredump_filter", "personality", "nice", "affinity", "parent_death_signal", "subreaper"];
    let other: Vec<String> = fields
        .iter()
        .filter(|field| seen[**field] != clean[**field])
        .map(|field| format!("{field}: {} instead of {}", seen[*field], clean[*field]))
        .collect();
    assert!(other.is_empty(), "the caller's come along: {other:?}");
}

#[test]
fn only_the_three_standard_descriptors_reach_the_process() {
    let mut bundle = Bundle::new("fds");
    bundle.args(["/probe", "fingerprint"]);
    let seen = bundle.run_command().before_exec(careless("/etc", 3..64)).run().ok().json();
    assert_eq!(fds(&seen), [0, 1, 2], "{}", seen["fds"]);
    let seen = bundle.run().ok().json();
    assert_eq!(fds(&seen), [0, 1, 2], "{}", seen["fds"]);
}

#[test]
fn a_created_container_holds_no_descriptor_of_the_caller_and_no_directory() {
    let mut bundle = Bundle::new("fds-created");
    bundle.args(["/bin/true"]);
    bundle.create_command().before_exec(careless("/etc", 3..64)).run().ok();
    let list = fs::read_dir(format!("/proc/{}/fd", bundle.pid())).expect("descriptors");
    let mut strange = Vec::new();
    for entry in list.flatten() {
        let target = fs::read_link(entry.path()).unwrap_or_default();
        let is_directory = fs::metadata(entry.path()).is_ok_and(|meta| meta.is_dir());
        if is_directory || target.starts_with("/etc") {
            strange.push(target);
        }
    }
    assert!(strange.is_empty(), "{strange:?}");
    bundle.start().ok();
    bundle.wait_status("stopped");
    bundle.delete().ok();
}

#[test]
fn preserved_descriptors_arrive_and_no_others() {
    let mut bundle = Bundle::new("preserve");
    bundle.args(["/probe", "fingerprint"]).save();
    let words = ["run", "--preserve-fds", "2", "--bundle", &bundle.text(""), &bundle.id];
    let seen = bundle.rt(&words).before_exec(careless("/etc/hostname", 3..10)).run().ok().json();
    assert_eq!(fds(&seen), [0, 1, 2, 3, 4], "{}", seen["fds"]);
    assert!(seen["fds"][3]["link"].as_str().is_some_and(|link| link.ends_with("hostname")), "{}", seen["fds"]);
}

#[test]
fn preserved_descriptors_arrive_through_create_and_start_too() {
    let mut bundle = Bundle::new("preserve-create");
    bundle.args(["/probe", "fingerprint", "--out", "/tmp/seen"]).save();
    let words = ["create", "--preserve-fds", "1", "--bundle", &bundle.text(""), &bundle.id];
    bundle.rt(&words).before_exec(careless("/etc/hostname", 3..10)).run().ok();
    bundle.start().ok();
    bundle.wait_status("stopped");
    let seen: Value =
        serde_json::from_slice(&fs::read(bundle.path("rootfs/tmp/seen")).expect("written")).expect("JSON");
    assert_eq!(fds(&seen), [0, 1, 2, 3], "{}", seen["fds"]);
    bundle.delete().ok();
}

#[test]
fn sockets_for_activation_arrive_with_their_variables() {
    let mut bundle = Bundle::new("listen");
    bundle.args(["/probe", "fingerprint"]).save();
    let script = "export LISTEN_FDS=2 LISTEN_PID=$$ LISTEN_FDNAMES=a:b; exec \"$@\"";
    let words = ["run", "--bundle", &bundle.text(""), &bundle.id];
    let runtime = Runtime::in_shell(script, &bundle, &words).before_exec(careless("/etc/hostname", 3..10));
    let seen = runtime.run().ok().json();
    assert_eq!(fds(&seen), [0, 1, 2, 3, 4], "{}", seen["fds"]);
    let env = texts(&seen["env"]);
    for line in ["LISTEN_FDS=2", "LISTEN_PID=1", "LISTEN_FDNAMES=a:b"] {
        assert!(env.contains(&line.to_owned()), "{line} is not in {env:?}");
    }
}

#[test]
fn stdio_belongs_to_whom_it_belonged_before() {
    let mut bundle = Bundle::new("stdio");
    let file = bundle.write("input", "input\n");
    std::os::unix::fs::chown(&file, Some(77), Some(78)).expect("chown");
    bundle.set("/process/user", json!({"uid": 1000, "gid": 1000})).args(["/bin/true"]);
    let null = fs::metadata("/dev/null").expect("null");
    bundle.run_command().stdin(File::open(&file).expect("input")).run().ok();
    let meta = fs::metadata(&file).expect("input");
    assert_eq!((meta.uid(), meta.gid()), (77, 78));
    let after = fs::metadata("/dev/null").expect("null");
    assert_eq!((null.uid(), null.gid(), null.mode()), (after.uid(), after.gid(), after.mode()));
}

#[test]
fn sysctls_are_set() {
    let mut bundle = Bundle::new("sysctl");
    bundle.set(
        "/linux/sysctl",
        json!({"kernel.msgmax": "65000", "kernel.sem": "250 32000 32 129", "net.core.somaxconn": "321",
               "net/ipv4/ip_forward": "1", "kernel.shmmni": "4097", "fs.mqueue.msg_max": "11"}),
    );
    let keys = [
        "kernel.msgmax",
        "kernel.sem",
        "net.core.somaxconn",
        "net.ipv4.ip_forward",
        "kernel.shmmni",
        "fs.mqueue.msg_max",
    ];
    let options: Vec<&str> = keys.iter().flat_map(|key| ["--sysctl", key]).collect();
    let seen = &bundle.fingerprint(&options)["sysctl"];
    assert_eq!(seen["kernel.msgmax"], "65000");
    assert_eq!(seen["kernel.sem"], "250\t32000\t32\t129");
    assert_eq!(seen["net.core.somaxconn"], "321");
    assert_eq!(seen["net.ipv4.ip_forward"], "1");
    assert_eq!(seen["kernel.shmmni"], "4097");
    assert_eq!(seen["fs.mqueue.msg_max"], "11");
    assert_ne!(fs::read_to_string("/proc/sys/kernel/msgmax").expect("the host's").trim(), "65000");
}

/// A copy of the runtime that the container may try to reach, with its identity.
fn copied_runtime(bundle: &Bundle) -> (std::path::PathBuf, (u64, u64, i64), Vec<u8>) {
    let copy = bundle.path("rt-copy");
    fs::copy(Runtime::program(), &copy).expect("a copy");
    let meta = fs::metadata(&copy).expect("a copy");
    let content = fs::read(&copy).expect("a copy");
    (copy, (meta.dev(), meta.ino(), meta.mtime_nsec()), content)
}

#[test]
fn the_runtime_s_own_program_survives_an_entry_point_that_is_proc_self_exe() {
    for script in [false, true] {
        let mut bundle = Bundle::new("exe");
        let (copy, identity, content) = copied_runtime(&bundle);
        if script {
            bundle.script("rootfs/entry", "#!/proc/self/exe\n");
        }
        bundle.args([if script { "/entry" } else { "/proc/self/exe" }]).save();
        let words = ["run", "--bundle", &bundle.text(""), &bundle.id];
        Runtime::with_program(&copy, &bundle, &words).run();
        let meta = fs::metadata(&copy).expect("still there");
        assert_eq!((meta.dev(), meta.ino(), meta.mtime_nsec()), identity);
        assert!(fs::read(&copy).expect("still there") == content, "the program was changed");
    }
}

#[test]
fn the_runtime_s_own_program_cannot_be_written_through_a_shared_pid_namespace() {
    let mut hunter = Bundle::new("hunter");
    hunter.grant(&["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_SYS_ADMIN"]);
    hunter.args(["/probe", "hunt-exe", "/tmp/stop", "/tmp/go"]);
    let running = hunter.run_until_ready();
    let pid = hunter.pid();
    let mut victim = Bundle::new("victim");
    let (copy, identity, content) = copied_runtime(&victim);
    victim.join("pid", &format!("/proc/{pid}/ns/pid")).args(["/bin/true"]).save();
    for _ in 0..20 {
        let words = ["run", "--bundle", &victim.text(""), &victim.id];
        Runtime::with_program(&copy, &victim, &words).run().ok();
    }
    let words = ["create", "--bundle", &victim.text(""), &victim.id];
    Runtime::with_program(&copy, &victim, &words).run().ok();
    std::thread::sleep(std::time::Duration::from_millis(50)); // a created container sits still: the hunter sees it
    Runtime::with_program(&copy, &victim, &["delete", "--force", &victim.id]).run().ok();
    hunter.write("rootfs/tmp/stop", "");
    running.wait_for("stopped");
    hunter.write("rootfs/tmp/go", "");
    running.wait_for("end");
    let caught: Vec<Value> = running.stdout().lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let own: Vec<&Value> = caught.iter().filter(|c| c["device"] == identity.0 && c["inode"] == identity.1).collect();
    assert!(own.iter().all(|caught| caught["write"] != "ok"), "opened for writing: {own:?}");
    assert!(fs::read(&copy).expect("still there") == content, "the program was changed");
    running.wait().ok();
}
