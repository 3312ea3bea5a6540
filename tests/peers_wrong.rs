//! What runc 1.5, crun 1.29 or youki 0.7 get wrong, one test a row: each says who, and holds that `rt` is right. The rows
//! were found by running all three or by reading their source; nothing here runs them.
//!
//! Rows that other files of this directory hold in more depth are held here once more in short, so that the list is whole.
// The rows are closures that end in a call of the builder; what it gives back is of no use there.
#![allow(dropping_references)]

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;

use common::caller::with_umask;
use common::{Bundle, cgroups, json, kernel, machine, patience, texts, wait_until};
use serde_json::Value;

/// `name: who, edit, words;` becomes a test: the edited default bundle is refused with the words, and nothing is left.
macro_rules! accepted_by_peers {
    ($($name:ident: $who:literal, $edit:expr, $words:expr;)*) => {$(
        #[test]
        #[doc = $who]
        fn $name() {
            let mut bundle = Bundle::new("peer");
            bundle.args(["/bin/true"]);
            let edit: fn(&mut Bundle) = $edit;
            edit(&mut bundle);
            bundle.create().fails(&$words);
            bundle.nothing_left();
        }
    )*};
}

// What the specification says must be an error.
accepted_by_peers! {
    a_version_that_is_none_is_refused: "runc, crun", |b| drop(b.set("/ociVersion", json!("invalid"))), ["/ociVersion", "invalid"];
    a_version_2_is_refused: "runc, crun", |b| drop(b.set("/ociVersion", json!("2.0.0"))), ["/ociVersion", "2.0.0"];
    a_version_that_only_begins_like_one_is_refused: "youki", |b| drop(b.set("/ociVersion", json!("1.x"))), ["/ociVersion", "1.x"];
    a_rlimit_given_twice_is_refused: "runc, crun, youki",
        |b| drop(b.set("/process/rlimits/-", json!({"type": "RLIMIT_NOFILE", "soft": 1, "hard": 1}))), ["/process/rlimits/1/type"];
    a_relative_masked_path_is_refused: "runc, crun, youki",
        |b| drop(b.set("/linux/maskedPaths", json!(["proc/keys"]))), ["/linux/maskedPaths/0", "absolute"];
    a_relative_read_only_path_is_refused: "runc, crun, youki",
        |b| drop(b.set("/linux/readonlyPaths", json!(["proc/sys"]))), ["/linux/readonlyPaths/0", "absolute"];
    a_relative_cwd_is_refused: "crun", |b| drop(b.set("/process/cwd", json!("tmp"))), ["/process/cwd", "absolute"];
    an_unknown_propagation_is_refused: "crun",
        |b| drop(b.set("/linux/rootfsPropagation", json!("sideways"))), ["/linux/rootfsPropagation", "sideways"];
    a_value_of_the_wrong_type_is_refused_at_its_place: "crun drops it, runc and youki don't say where",
        |b| drop(b.set("/process/args", json!("sh"))), ["/process/args", "expected an array"];
    a_namespace_listed_twice_is_refused: "youki",
        |b| drop(b.set("/linux/namespaces/-", json!({"type": "ipc"}))), ["/linux/namespaces/6", "listed already"];
    a_hook_timeout_of_zero_is_refused: "runc and youki time out at once, crun waits for ever",
        |b| drop(b.set("/hooks/createRuntime", json!([{"path": "/bin/true", "timeout": 0}]))), ["/hooks/createRuntime/0/timeout"];
    an_errno_for_an_action_without_one_is_refused: "runc, youki",
        |b| drop(b.set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 5}))),
        ["/linux/seccomp/defaultErrnoRet"];
    data_on_a_bind_mount_is_refused: "crun, youki",
        |b| drop(b.mount("/mnt/x", "bind", "/etc", &["bind", "frobnicate"])), ["/mounts/7/options/1", "frobnicate"];
}

/// runc and crun take the last of two members; engines that look at the config may have seen the first.
#[test]
fn a_member_given_twice_is_refused() {
    let mut bundle = Bundle::new("peer-twice");
    bundle.args(["/bin/true"]).save();
    let text = bundle.config.to_string().replacen('{', "{\"hostname\": \"other\",", 1);
    bundle.write("config.json", &text);
    bundle.rt(&["run", "--bundle", &bundle.text(""), &bundle.id]).run().fails(&["/hostname", "given twice"]);
}

/// A device node of the image that is another device (youki takes whatever is there).
#[test]
fn a_device_that_is_something_else_already_is_refused() {
    let mut bundle = Bundle::new("peer-device");
    bundle.write("rootfs/opt/mine", "a plain file\n");
    bundle
        .set("/linux/devices", json!([{"path": "/opt/mine", "type": "c", "major": 1, "minor": 3}]))
        .args(["/bin/true"]);
    bundle.create().fails(&["/linux/devices/0"]);
    bundle.nothing_left();
}

/// youki makes devices below /dev only.
#[test]
fn a_device_may_be_anywhere() {
    let mut bundle = Bundle::new("peer-anywhere");
    bundle.set(
        "/linux/devices",
        json!([{"path": "/opt/own/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600}]),
    );
    let seen = bundle.fingerprint(&["--stat", "/opt/own/null"]);
    assert_eq!(seen["stat"]["/opt/own/null"]["rdev"], json!([1, 3]));
}

/// runc and youki read the bundle's config once more at exec; youki at delete too.
#[test]
fn changes_of_the_config_after_create_have_no_effect() {
    let mut bundle = Bundle::new("peer-changed");
    bundle.args(["/bin/sh", "-c", "echo as created > /tmp/seen"]);
    bundle.create().ok();
    bundle.set("/process/args", json!(["/bin/sh", "-c", "echo changed > /tmp/seen"])).save();
    bundle.start().ok();
    bundle.wait_status("stopped");
    assert_eq!(fs::read_to_string(bundle.path("rootfs/tmp/seen")).expect("written"), "as created\n");
    bundle.delete().ok();
}

/// runc and youki refuse to create it. crun's start says that it failed and gives 0; so do we, for the suite, but strictly
/// it is an error without an effect.
#[test]
fn without_a_process_create_works_and_start_is_an_error() {
    let mut bundle = Bundle::new("peer-process");
    bundle.remove("/process");
    bundle.create().ok();
    bundle.rt(&["--strict", "start", &bundle.id]).run().fails(&["/process"]);
    assert_eq!(bundle.status(), "created");
    bundle.delete().ok();
}

/// youki sets no name in a namespace that it joins by path.
#[test]
fn the_hostname_is_set_in_a_joined_uts_namespace() {
    let mut bundle = Bundle::new("peer-uts");
    bundle.args(["/probe", "sleep"]);
    bundle.create().ok();
    let mut other = bundle.beside("peer-uts-joins");
    other.join("uts", &format!("/proc/{}/ns/uts", bundle.pid()));
    assert_eq!(other.fingerprint(&[])["hostname"], "rt-beside");
    bundle.rt(&["delete", "--force", &bundle.id]).run().ok();
}

fn mount_at<'a>(seen: &'a Value, target: &str) -> &'a Value {
    let mounts = seen["mounts"].as_array().expect("mounts");
    mounts.iter().rfind(|mount| mount["target"] == target).unwrap_or_else(|| panic!("no mount at {target}"))
}

/// crun keeps a `ro,rw` bind read-only.
#[test]
fn the_last_of_two_opposite_options_counts() {
    let mut bundle = Bundle::new("peer-last");
    let outside = bundle.directory("outside");
    let source = outside.to_str().expect("text");
    bundle.mount("/mnt/rw", "bind", source, &["bind", "ro", "rw"]);
    bundle.mount("/mnt/ro", "bind", source, &["bind", "rw", "ro"]);
    let seen = bundle.fingerprint(&["--stat", "/mnt/rw", "--stat", "/mnt/ro"]);
    assert_ne!(seen["stat"]["/mnt/rw"]["write"], "EROFS");
    assert_eq!(seen["stat"]["/mnt/ro"]["write"], "EROFS");
}

/// crun and youki say EINVAL to all of these.
#[test]
fn the_rarer_mount_options_are_taken() {
    for option in ["iversion", "noiversion", "lazytime", "nolazytime", "loud", "silent", "symfollow", "rsymfollow"] {
        let mut bundle = Bundle::new("peer-options");
        bundle.mount("/mnt/x", "tmpfs", "tmpfs", &[option]).args(["/bin/true"]);
        bundle.run().ok();
    }
}

/// crun and youki say EINVAL.
#[test]
fn nosymfollow_keeps_links_from_being_followed() {
    let mut bundle = Bundle::new("peer-nosymfollow");
    let outside = bundle.directory("outside");
    std::os::unix::fs::symlink("/etc/passwd", outside.join("link")).expect("a link");
    bundle.mount("/mnt/x", "bind", outside.to_str().expect("text"), &["bind", "nosymfollow"]);
    bundle.args(["/probe", "read", "/mnt/x/link"]);
    let output = bundle.run().exits(1);
    assert!(output.stdout.contains("ELOOP"), "{output:?}");
}

/// youki drops the propagation that a mount asks for.
#[test]
fn a_mount_has_the_propagation_it_asked_for() {
    let mut bundle = Bundle::new("peer-propagation");
    let outside = bundle.directory("outside");
    bundle.mount("/mnt/x", "bind", outside.to_str().expect("text"), &["bind", "unbindable"]);
    let seen = bundle.fingerprint(&[]);
    assert_eq!(texts(&mount_at(&seen, "/mnt/x")["optional"]), ["unbindable"]);
}

/// youki has no tmpcopyup.
#[test]
fn tmpcopyup_keeps_what_was_there() {
    let mut bundle = Bundle::new("peer-copyup");
    bundle.write("rootfs/srv/file", "from the image\n");
    bundle.mount("/srv", "tmpfs", "tmpfs", &["tmpcopyup"]);
    let seen = bundle.fingerprint(&["--stat", "/srv/file"]);
    assert_eq!(seen["stat"]["/srv/file"]["first"], "from the image\n");
}

/// runc and crun warn of nothing and take 0022; youki leaves whatever the caller had. Ours is documented, and the letter
/// of the specification can be had.
#[test]
fn the_umask_is_never_an_accident() {
    let bundle = Bundle::new("peer-umask");
    let umask = |strict: &str| {
        let run = bundle.run_command().env("RT_STRICT", strict).before_exec(with_umask(0o077));
        run.run().ok().json()["umask"].clone()
    };
    assert_eq!([umask("0"), umask("1")], ["0022", "0077"]);
}

/// crun and youki refuse to create it; the specification wants a warning.
#[test]
fn an_unknown_capability_is_a_warning() {
    let mut bundle = Bundle::new("peer-capability");
    bundle.set("/process/capabilities/bounding/-", json!("CAP_FLY")).args(["/bin/true"]).save();
    let log = bundle.text("log");
    let output = bundle.rt(&["--log", &log, "run", "--bundle", &bundle.text(""), &bundle.id]).run().ok();
    let said = fs::read_to_string(&log).unwrap_or_default() + &output.stderr;
    assert!(said.contains("CAP_FLY"), "{said}");
}

/// youki can't load a filter for a container that has no CAP_SYS_ADMIN and may gain privileges; runc loads it too early.
#[test]
fn a_filter_is_loaded_last_with_and_without_new_privileges() {
    for privileges in [true, false] {
        let mut bundle = Bundle::new("peer-seccomp");
        let rule = json!({"names": ["getcwd", "setresuid", "chdir"], "action": "SCMP_ACT_ERRNO"});
        bundle.set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}));
        bundle.set("/process/noNewPrivileges", json!(privileges));
        bundle.set("/process/args", json!(["/probe", "syscall", libc::SYS_getcwd.to_string()]));
        assert_eq!(bundle.run().ok().stdout, "EPERM\n");
    }
}

/// crun and youki answer EPERM, at which C libraries give up.
#[test]
fn a_call_newer_than_the_profile_does_not_exist() {
    let mut bundle = Bundle::new("peer-newer");
    let allowed = json!({"names": ["write", "exit_group", "execve", "execveat", "brk", "mmap", "munmap", "mprotect",
        "arch_prctl", "set_tid_address", "set_robust_list", "rseq", "prlimit64", "readlink", "readlinkat", "getrandom",
        "rt_sigaction", "rt_sigprocmask", "sigaltstack", "newfstatat", "fstat", "poll", "sched_getaffinity", "read",
        "openat", "close", "gettid", "tgkill", "getpid", "fcntl", "uname"], "action": "SCMP_ACT_ALLOW"});
    bundle.set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [allowed]}));
    bundle.set("/process/args", json!(["/probe", "syscall", "1000", libc::SYS_acct.to_string()]));
    assert_eq!(bundle.run().ok().stdout, "ENOSYS\nEPERM\n");
}

/// runc has no SCMP_ARCH_PARISC, M68K or SH.
#[test]
fn every_architecture_of_the_specification_is_known() {
    let mut bundle = Bundle::new("peer-arches");
    let all = rt::spec::schema::words(rt::spec::properties::CONFIG, "/linux/seccomp/architectures/*");
    assert_eq!(all.len(), 23);
    let rule = json!({"names": ["acct"], "action": "SCMP_ACT_ERRNO"});
    bundle.set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": all, "syscalls": [rule]}));
    bundle.set("/process/args", json!(["/probe", "syscall", libc::SYS_acct.to_string()]));
    assert_eq!(bundle.run().ok().stdout, "EPERM\n");
}

/// youki knows neither the property nor `--no-new-keyring`.
#[test]
fn the_session_keyring_is_new_unless_it_is_to_be_kept() {
    if fs::metadata("/proc/keys").is_err() {
        skip!("this kernel has no keyrings");
    }
    let mut bundle = Bundle::new("peer-keyring");
    let keyring = bundle.fingerprint(&[])["keyring"].clone();
    assert!(keyring.to_string().contains(&bundle.id), "{keyring}");
}

/// What the hook got on its stdin.
fn states(bundle: &Bundle) -> Vec<Value> {
    let text = fs::read_to_string(bundle.path("hooks")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["state"].clone()).collect()
}

fn add_hook(bundle: &mut Bundle, kind: &str, more: &[&str]) {
    let file = bundle.text("hooks");
    let args: Vec<&str> = ["probe", "hook", &file].into_iter().chain(more.iter().copied()).collect();
    let hook = json!({"path": bundle.text("rootfs/probe"), "args": args, "env": [format!("RT_TEST_ID={}", bundle.id)]});
    let list = format!("/hooks/{kind}");
    if bundle.config.pointer(&list).is_none() {
        bundle.set(&list, json!([]));
    }
    bundle.set(&format!("{list}/-"), hook);
}

/// crun gives hooks the version "1.0", pid 0 inside, and a status that the specification doesn't have.
#[test]
fn hooks_get_a_state_that_the_specification_knows() {
    let mut bundle = Bundle::new("peer-state");
    for kind in ["createRuntime", "createContainer", "poststart", "poststop"] {
        add_hook(&mut bundle, kind, &[]);
    }
    bundle.set("/ociVersion", json!("1.1.0")).args(["/bin/true"]);
    bundle.run().ok();
    let states = states(&bundle);
    let statuses: Vec<&Value> = states.iter().map(|state| &state["status"]).collect();
    assert_eq!(statuses, ["created", "created", "running", "stopped"]);
    assert!(states.iter().all(|state| state["ociVersion"].as_str().is_some_and(|v| v.split('.').count() == 3)));
    assert_eq!(states[1]["pid"], 1, "as seen inside");
}

/// youki lets the container run on.
#[test]
fn a_failing_poststart_hook_stops_the_container() {
    let mut bundle = Bundle::new("peer-poststart");
    add_hook(&mut bundle, "poststart", &["--exit", "1"]);
    bundle.args(["/probe", "sleep"]);
    bundle.create().ok();
    bundle.start().fails(&["/hooks/poststart/0"]);
    assert!(matches!(bundle.status().as_str(), "stopped" | "gone"));
    bundle.rt(&["delete", "--force", &bundle.id]).run().ok();
}

/// runc and youki stop at the first that fails; youki's delete fails as well.
#[test]
fn after_a_failing_poststop_hook_the_others_run() {
    let mut bundle = Bundle::new("peer-poststop");
    add_hook(&mut bundle, "poststop", &["--exit", "1"]);
    add_hook(&mut bundle, "poststop", &[]);
    bundle.args(["/bin/true"]);
    bundle.create().ok();
    bundle.delete().ok();
    assert_eq!(states(&bundle).len(), 2);
    bundle.nothing_left();
}

/// youki fails, and leaves the container where it was.
#[test]
fn delete_force_goes_on_after_a_failing_poststop_hook() {
    let mut bundle = Bundle::new("peer-force");
    add_hook(&mut bundle, "poststop", &["--exit", "1"]);
    bundle.args(["/probe", "sleep"]);
    bundle.create().ok();
    bundle.start().ok();
    bundle.rt(&["delete", "--force", &bundle.id]).run().ok();
    bundle.nothing_left();
}

/// runc and youki make 1 of it, crun nothing at all.
#[test]
fn a_limit_of_no_processes_is_a_limit() {
    let mut bundle = Bundle::new("peer-pids");
    bundle.set("/linux/resources", json!({"pids": {"limit": 0}})).args(["/probe", "fork-sleep", "3"]);
    assert_eq!(bundle.run().ok().stdout, "0 EAGAIN\n");
}

/// youki's default build enforces no device rules on cgroup v2; and its default is to allow.
#[test]
fn devices_that_are_not_allowed_cannot_be_opened() {
    let mut bundle = Bundle::new("peer-rules");
    bundle.set("/linux/resources", json!({"devices": [{"allow": false, "access": "rwm"}]}));
    bundle.grant(&["CAP_MKNOD", "CAP_SYS_RAWIO", "CAP_DAC_OVERRIDE"]).args(["/probe", "mknod", "/dev/mem", "1", "1"]);
    let output = bundle.run().ok();
    assert_eq!(output.stdout.lines().last(), Some("open EPERM"), "{output:?}");
}

/// crun refuses a host whose v1 and v2 trees both have controllers; youki takes `:youki:ID` for a directory's name.
#[test]
fn without_a_path_the_cgroup_has_the_containers_name() {
    let mut bundle = Bundle::new("peer-path");
    bundle.remove("/linux/cgroupsPath").without_namespace("cgroup");
    let seen = bundle.fingerprint(&[]);
    let paths = seen["cgroup"].to_string();
    assert!(paths.contains(&format!("/{}", bundle.id)), "{paths}");
}

/// youki joins whatever cgroup is there: two containers, one set of limits, and delete kills both.
#[test]
fn a_cgroup_that_somebody_lives_in_is_not_taken() {
    let mut bundle = Bundle::new("peer-cgroup");
    bundle.args(["/probe", "sleep"]);
    bundle.create().ok();
    let mut other = bundle.beside("peer-cgroup-other");
    other.set("/linux/cgroupsPath", json!(format!("/{}", bundle.id))).args(["/bin/true"]);
    other.create().fails(&["/linux/cgroupsPath"]);
    assert_eq!(bundle.status(), "created", "and it is left alone");
    bundle.rt(&["delete", "--force", &bundle.id]).run().ok();
}

/// runc and youki can't do without cgroups.
#[test]
fn cgroups_can_be_left_alone() {
    let mut bundle = Bundle::new("peer-nocgroups");
    bundle.args(["/bin/sh", "-c", "exit 4"]).save();
    bundle.rt(&["--cgroup-manager", "disabled", "run", "--bundle", &bundle.text(""), &bundle.id]).run().exits(4);
    bundle.nothing_left();
}

/// crun knows no `user.*`.
#[test]
fn a_sysctl_of_the_user_namespace_is_set() {
    let mut bundle = Bundle::new("peer-sysctl");
    bundle.set("/linux/namespaces/-", json!({"type": "user"}));
    for map in ["/linux/uidMappings", "/linux/gidMappings"] {
        bundle.set(map, json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]));
    }
    bundle.set("/linux/sysctl", json!({"user.max_mnt_namespaces": "17"}));
    let seen = bundle.fingerprint(&["--sysctl", "user.max_mnt_namespaces"]);
    assert_eq!(seen["sysctl"]["user.max_mnt_namespaces"].as_str().map(str::trim), Some("17"), "{}", seen["sysctl"]);
}

/// crun says 1.0.0 whatever the config says.
#[test]
fn the_state_has_the_configs_version() {
    let mut bundle = Bundle::new("peer-version");
    bundle.set("/ociVersion", json!("1.2.0")).args(["/bin/true"]);
    bundle.create().ok();
    assert_eq!(bundle.state()["ociVersion"], "1.2.0");
    bundle.delete().ok();
}

/// youki kills the first process only; the others live on in nobody's container.
#[test]
fn a_kill_without_a_pid_namespace_reaches_everybody() {
    let mut bundle = Bundle::new("peer-kill");
    bundle.without_namespace("pid").args(["/bin/sh", "-c", "/probe sleep & exec /probe sleep"]);
    let running = bundle.run_until_ready();
    let both = wait_until(patience(), || (machine::processes(&bundle.id).len() >= 3).then_some(()));
    assert!(both.is_some());
    bundle.kill("KILL").ok();
    running.wait().exits(137);
    bundle.nothing_left();
}

/// All three delete (and kill) it, which the specification forbids. So do we, because callers rely on it, unless strict.
#[test]
fn a_created_container_can_be_protected_from_delete() {
    let mut bundle = Bundle::new("peer-delete");
    bundle.args(["/bin/true"]);
    bundle.create().ok();
    bundle.rt(&["--strict", "delete", &bundle.id]).run().fails(&["created"]);
    assert_eq!(bundle.status(), "created");
    bundle.delete().ok();
}

/// None of the three locks: two starts both begin.
#[test]
fn of_two_starts_one_wins() {
    let mut bundle = Bundle::new("peer-lock");
    bundle.args(["/bin/sh", "-c", "echo once >> /tmp/count; exec /probe sleep"]);
    bundle.create().ok();
    let racers: Vec<_> = (0..3).map(|_| bundle.rt(&["start", &bundle.id]).spawn()).collect();
    let won = racers.into_iter().filter_map(|racer| racer.wait().success().then_some(())).count();
    assert_eq!(won, 1);
    bundle.rt(&["delete", "--force", &bundle.id]).run().ok();
}

/// youki leaves its state after a start that failed.
#[test]
fn a_create_that_fails_leaves_nothing() {
    let mut bundle = Bundle::new("peer-left");
    bundle.args(["/nowhere"]);
    bundle.create().fails(&["no such file or directory"]);
    assert_eq!(bundle.status(), "gone");
    bundle.nothing_left();
}

/// youki writes it in pieces, and buildkit reads it as soon as it is there.
#[test]
fn the_pid_file_is_whole_from_the_beginning() {
    let mut bundle = Bundle::new("peer-pidfile");
    bundle.args(["/bin/true"]);
    bundle.write("pid", "of an earlier container");
    let before = fs::metadata(bundle.path("pid")).expect("a file").ino();
    bundle.create().ok();
    let after = fs::metadata(bundle.path("pid")).expect("a file").ino();
    assert_ne!(before, after, "another file was put in its place");
    assert_eq!(fs::read_to_string(bundle.path("pid")).expect("text"), bundle.pid().to_string(), "no newline");
    bundle.delete().ok();
}

/// youki's run returns 9.
#[test]
fn run_returns_128_and_the_signal() {
    let mut bundle = Bundle::new("peer-signal");
    // The first process of a pid namespace can't kill itself.
    bundle.without_namespace("pid").args(["/probe", "signal-self", "9"]);
    bundle.run().exits(137);
}

/// youki's run can wait for ever for a container that has ended already.
#[test]
fn a_short_run_never_loses_its_end() {
    let mut bundle = Bundle::new("peer-short");
    bundle.args(["/bin/true"]);
    for _ in 0..10 {
        bundle.run().ok();
    }
}

/// youki ignores --format and --quiet, and writes the status with a capital.
#[test]
fn list_has_the_forms_that_callers_read() {
    let mut bundle = Bundle::new("peer-list");
    bundle.args(["/bin/true"]);
    bundle.create().ok();
    assert_eq!(bundle.rt(&["list", "-q"]).run().ok().stdout.trim(), bundle.id);
    assert_eq!(bundle.rt(&["list", "-f", "json"]).run().ok().json()[0]["status"], "created");
    bundle.delete().ok();
}

/// crun reads `-no-subreaper`, as go-runc writes it, as a row of letters.
#[test]
fn long_flags_may_have_one_dash() {
    let mut bundle = Bundle::new("peer-dash");
    bundle.args(["/bin/true"]).save();
    bundle.rt(&["run", "-no-subreaper", "-bundle", &bundle.text(""), &bundle.id]).run().ok();
}

/// crun lists neither architectures nor flags, youki says that it has no cgroups at all.
#[test]
fn features_are_complete() {
    let bundle = Bundle::new("peer-features");
    let features = bundle.rt(&["features"]).run().ok().json();
    let linux = &features["linux"];
    assert_eq!(linux["namespaces"].as_array().map(Vec::len), Some(8));
    assert_eq!([&linux["cgroup"]["v1"], &linux["cgroup"]["v2"], &linux["cgroup"]["rdma"]], [true, true, true]);
    assert_eq!(linux["seccomp"]["archs"].as_array().map(Vec::len), Some(23));
    assert_eq!(linux["seccomp"]["knownFlags"].as_array().map(Vec::len), Some(4));
    assert!(features["mountOptions"].as_array().is_some_and(|list| list.len() >= 58));
}

/// None of the three says where in the config a refused mount stands.
#[test]
fn a_refused_mount_is_named_by_its_place() {
    let mut bundle = Bundle::new("peer-mount");
    bundle.mount("/mnt/x", "bind", "/nowhere/at/all", &["bind"]).args(["/bin/true"]);
    bundle.create().fails(&["/mounts/7", "/nowhere/at/all", "no such file or directory"]);
    bundle.nothing_left();
}

/// runc and crun have a log of many lines; podman reads it as one document.
#[test]
fn a_failure_is_one_object_in_the_log() {
    let mut bundle = Bundle::new("peer-log");
    bundle.args(["/nowhere"]).save();
    let log = bundle.text("log");
    let words = ["--log", &log, "--log-format", "json", "create", "--bundle", &bundle.text(""), &bundle.id];
    bundle.rt(&words).run().fails(&[]);
    let document: Value = serde_json::from_slice(&fs::read(&log).expect("a log")).expect("one document");
    assert_eq!(document["level"], "error");
}

/// A started container that sleeps.
fn sleeping(bundle: &mut Bundle) {
    bundle.args(["/probe", "sleep"]);
    bundle.create().ok();
    bundle.start().ok();
}

fn end(bundle: &Bundle) {
    bundle.rt(&["delete", "--force", &bundle.id]).run().ok();
}

/// Each of the three loses some of it: youki the rlimits, the scheduler and the memory policy.
#[test]
fn exec_carries_what_the_container_has() {
    let mut bundle = Bundle::new("peer-exec");
    bundle.set("/process/user", json!({"uid": 1000, "gid": 1001, "additionalGids": [5], "umask": 0o027}));
    bundle.set("/process/rlimits", json!([{"type": "RLIMIT_NOFILE", "soft": 99, "hard": 333}]));
    bundle.set("/process/oomScoreAdj", json!(500));
    bundle.set("/process/ioPriority", json!({"class": "IOPRIO_CLASS_BE", "priority": 6}));
    bundle.set("/process/scheduler", json!({"policy": "SCHED_BATCH", "nice": 3}));
    if kernel::has_memory_policies() {
        bundle.set("/linux/memoryPolicy", json!({"mode": "MPOL_INTERLEAVE", "nodes": "0"}));
    }
    let rule = json!({"names": ["acct"], "action": "SCMP_ACT_ERRNO"});
    bundle.set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}));
    let first = bundle.fingerprint(&[]);
    sleeping(&mut bundle);
    let later = bundle.rt(&["exec", &bundle.id, "/probe", "fingerprint"]).run().ok().json();
    let carried = [
        "uid",
        "gid",
        "groups",
        "caps",
        "no_new_privs",
        "seccomp",
        "seccomp_filters",
        "umask",
        "rlimits",
        "nice",
        "oom_score_adj",
        "ioprio",
        "scheduler",
        "mempolicy",
        "personality",
        "cwd",
    ];
    for name in carried {
        assert_eq!(later[name], first[name], "{name}");
    }
    end(&bundle);
}

/// runc and youki do.
#[test]
fn exec_does_not_read_the_bundle_again() {
    let mut bundle = Bundle::new("peer-exec-edited");
    bundle.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    sleeping(&mut bundle);
    bundle.set("/process/user", json!({"uid": 0, "gid": 0})).save();
    let later = bundle.rt(&["exec", &bundle.id, "/probe", "fingerprint"]).run().ok().json();
    assert_eq!(later["uid"]["real"], 1000);
    end(&bundle);
}

/// youki parses all flags of update and uses two of them; crun has no --cpu-burst and no --cpu-idle.
#[test]
fn update_does_what_its_flags_say() {
    let mut bundle = Bundle::new("peer-update");
    sleeping(&mut bundle);
    bundle.rt(&["update", "--cpu-share", "512", "--memory", "64m", "--pids-limit", "33", &bundle.id]).run().ok();
    let file = |controller: &str, old: &str, new: &str| {
        let v1 = cgroups::v1(controller).map(|mount| mount.join(&bundle.id).join(old));
        let path = v1.or_else(|| cgroups::v2(controller).map(|mount| mount.join(&bundle.id).join(new)));
        cgroups::value(&path.expect("a hierarchy with the controller"))
    };
    assert!(matches!(file("cpu", "cpu.shares", "cpu.weight").as_str(), "512" | "59"));
    assert_eq!(file("memory", "memory.limit_in_bytes", "memory.max"), (64 << 20).to_string());
    assert_eq!(file("pids", "pids.max", "pids.max"), "33");
    end(&bundle);
}

/// youki doesn't know memory.checkBeforeUpdate.
#[test]
fn a_limit_below_the_usage_is_refused_when_it_is_to_be_checked() {
    let mut bundle = Bundle::new("peer-below");
    bundle.set("/linux/resources", json!({"memory": {"limit": 64 << 20}}));
    sleeping(&mut bundle);
    let asked = json!({"memory": {"limit": 4096, "checkBeforeUpdate": true}, "pids": {"limit": 33}});
    let path = bundle.write("resources.json", &asked.to_string());
    let words = ["update", "--resources", path.to_str().expect("text"), &bundle.id];
    bundle.rt(&words).run().fails(&["memory limit 4096 < usage", "checkBeforeUpdate"]);
    let at = |controller: &str| cgroups::v1(controller).or_else(|| cgroups::v2(controller)).expect("a hierarchy");
    assert_ne!(cgroups::value(&at("pids").join(&bundle.id).join("pids.max")), "33", "nothing of it was done");
    assert_eq!(bundle.status(), "running");
    end(&bundle);
}

/// youki refuses mounts with mappings.
#[test]
fn mounts_may_have_id_maps() {
    let mut bundle = Bundle::new("peer-idmap");
    let source = bundle.directory("outside");
    std::os::unix::fs::chown(&source, Some(1000), Some(1000)).expect("chown");
    let map = json!([{"containerID": 1000, "hostID": 7, "size": 1}]);
    let mount = json!({"destination": "/mnt/x", "type": "bind", "source": source, "options": ["bind", "idmap"],
        "uidMappings": map, "gidMappings": map});
    bundle.set("/mounts/-", mount).args(["/probe", "fingerprint", "--stat", "/mnt/x"]);
    let output = bundle.run();
    if output.stderr.contains("cannot be id-mapped") || output.stderr.contains("invalid argument") {
        skip!("the file system of the temporary directory has no idmapped mounts");
    }
    assert_eq!(output.ok().json()["stat"]["/mnt/x"]["uid"], 7);
}

/// Two of the seven flags can't be written for youki.
#[test]
fn every_flag_of_the_scheduler_is_known() {
    let mut bundle = Bundle::new("peer-scheduler");
    bundle.set("/process/scheduler", json!({"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_RESET_ON_FORK"]}));
    bundle.args(["/bin/true"]);
    bundle.run().ok();
}

/// youki does nothing with process.consoleSize; crun and youki have nothing to say to a cgroup that can't pass its
/// controllers on. The first is in terminal.rs, the second in cgroups.rs; here is that both are there to be found.
#[test]
fn rows_that_need_more_than_a_bundle_are_held_elsewhere() {
    let held = [
        ("terminal.rs", "fn the_window_has_the_size_of_the_config("),
        ("verbs.rs", "fn device_rules_change_only_when_they_are_named("),
        ("netdevices.rs", "fn a_device_moves_with_its_addresses_and_is_up("),
        ("exec.rs", "fn who_comes_later_has_what_the_first_process_has("),
        ("cgroups.rs", "fn a_parent_that_cannot_pass_controllers_on_is_named_with_the_reason("),
        ("limits.rs", "fn unified_values_are_refused_without_v2("),
    ];
    for (file, test) in held {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(file);
        assert!(fs::read_to_string(path).expect("a test file").contains(test), "{file}: {test}");
    }
    assert!(!cgroups::hierarchies().is_empty());
}
