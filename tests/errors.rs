//! Broken bundles: each must be refused with a text that names the place in config.json, the kernel's call where there
//! was one, and what the kernel said; with nothing started and nothing left behind.
//!
//! One row is one test. A row edits the default bundle and lists what stderr must hold.
// The rows are closures that end in a call of the builder; what it gives back is of no use there.
#![allow(dropping_references)]

mod common;

use std::fs;
use std::os::unix::fs::symlink;

use common::{Bundle, json, kernel};

/// Creates the bundle, which must fail, say these words in one line, start nothing and leave nothing.
#[track_caller]
fn refused(bundle: &Bundle, words: &[&str]) {
    let output = bundle.create().fails(words);
    assert_eq!(output.stdout, "", "stdout belongs to the container");
    assert!(output.stderr.lines().count() <= 1, "one line: {}", output.stderr);
    let leaks = bundle.leaks();
    assert!(leaks.is_empty(), "left behind:\n  {}\nafter {}", leaks.join("\n  "), output.stderr);
    assert_eq!(bundle.status(), "gone");
}

/// `name: edit, words;` becomes a test that edits the default bundle and expects it to be refused with the words.
macro_rules! broken {
    ($($name:ident: |$bundle:ident| $edit:expr, $words:expr;)*) => {$(
        #[test]
        fn $name() {
            let mut bundle = Bundle::new("err");
            bundle.args(["/bin/true"]);
            let $bundle = &mut bundle;
            let _ = $edit;
            refused(&bundle, &$words);
        }
    )*};
}

// The document.
broken! {
    version_that_is_none: |b| b.set("/ociVersion", json!("invalid")), ["/ociVersion", "invalid"];
    version_of_another_age: |b| b.set("/ociVersion", json!("2.0.0")), ["/ociVersion", "2.0.0"];
    version_missing: |b| b.remove("/ociVersion"), ["/ociVersion"];
    args_of_the_wrong_type: |b| b.set("/process/args", json!("sh")), ["/process/args", "sh"];
    args_empty: |b| b.set("/process/args", json!([])), ["/process/args"];
    limit_of_the_wrong_type: |b| b.set("/linux/resources/memory/limit", json!("lots")),
        ["/linux/resources/memory/limit", "expected", "lots"];
    mount_of_the_wrong_type: |b| b.set("/mounts/2", json!("x")), ["/mounts/2"];
    cwd_missing: |b| b.remove("/process/cwd"), ["/process/cwd"];
    cwd_relative: |b| b.set("/process/cwd", json!("etc")), ["/process/cwd", "absolute"];
    environment_without_a_name: |b| b.set("/process/env/-", json!("=x")), ["/process/env/3"];
    text_with_a_zero_byte: |b| b.set("/process/args/0", json!("/bin/tr\0ue")), ["/process/args/0"];
    rlimit_unknown: |b| b.set("/process/rlimits/0/type", json!("RLIMIT_HOPE")), ["/process/rlimits/0", "RLIMIT_HOPE"];
    rlimit_twice: |b| b.set("/process/rlimits/-", json!({"type": "RLIMIT_NOFILE", "soft": 1, "hard": 1})),
        ["/process/rlimits/1", "RLIMIT_NOFILE"];
    rlimit_soft_above_hard: |b| b.set("/process/rlimits/0/soft", json!(4096)), ["/process/rlimits/0"];
    namespace_unknown: |b| b.set("/linux/namespaces/-", json!({"type": "dream"})), ["/linux/namespaces/6", "dream"];
    namespace_twice: |b| b.set("/linux/namespaces/-", json!({"type": "ipc"})), ["/linux/namespaces/6", "/linux/namespaces/2"];
    namespace_path_relative: |b| b.join("ipc", "proc/1/ns/ipc"), ["/linux/namespaces/5", "absolute"];
    hostname_without_uts: |b| b.without_namespace("uts"), ["/hostname", "uts"];
    domainname_without_uts: |b| b.without_namespace("uts").remove("/hostname").set("/domainname", json!("d")),
        ["/domainname", "uts"];
    mappings_without_user_namespace: |b| b.set("/linux/uidMappings", json!([{"containerID": 0, "hostID": 1, "size": 1}])),
        ["/linux/uidMappings", "user"];
    mapping_of_nothing: |b| {
        b.set("/linux/namespaces/-", json!({"type": "user"}));
        for map in ["/linux/uidMappings", "/linux/gidMappings"] {
            b.set(map, json!([{"containerID": 0, "hostID": 100_000, "size": 0}]));
        }
    }, ["/linux/uidMappings/0"];
    mapping_that_overlaps: |b| {
        b.set("/linux/namespaces/-", json!({"type": "user"}));
        for map in ["/linux/uidMappings", "/linux/gidMappings"] {
            b.set(map, json!([{"containerID": 0, "hostID": 100_000, "size": 10}, {"containerID": 5, "hostID": 300_000, "size": 10}]));
        }
    }, ["/linux/uidMappings/1"];
    user_that_is_not_mapped: |b| {
        b.set("/linux/namespaces/-", json!({"type": "user"})).set("/process/user/uid", json!(5000));
        for map in ["/linux/uidMappings", "/linux/gidMappings"] {
            b.set(map, json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]));
        }
    }, ["/process/user/uid", "5000"];
    user_namespace_without_mappings: |b| b.set("/linux/namespaces/-", json!({"type": "user"})), ["/linux/uidMappings"];
    time_offsets_without_time_namespace: |b| b.set("/linux/timeOffsets", json!({"boottime": {"secs": 1}})),
        ["/linux/timeOffsets", "time"];
    time_offset_of_an_unknown_clock: |b| {
        b.set("/linux/namespaces/-", json!({"type": "time"})).set("/linux/timeOffsets", json!({"realtime": {"secs": 1}}));
    }, ["/linux/timeOffsets/realtime"];
    propagation_unknown: |b| b.set("/linux/rootfsPropagation", json!("everywhere")),
        ["/linux/rootfsPropagation", "everywhere"];
    masked_path_relative: |b| b.set("/linux/maskedPaths", json!(["/proc/keys", "etc/x"])), ["/linux/maskedPaths/1", "absolute"];
    readonly_path_relative: |b| b.set("/linux/readonlyPaths", json!(["etc/x"])), ["/linux/readonlyPaths/0", "absolute"];
    device_type_unknown: |b| b.set("/linux/devices", json!([{"path": "/dev/x", "type": "z"}])), ["/linux/devices/0/type"];
    device_path_relative: |b| b.set("/linux/devices", json!([{"path": "dev/x", "type": "c", "major": 1, "minor": 3}])),
        ["/linux/devices/0/path", "absolute"];
    device_without_a_number: |b| b.set("/linux/devices", json!([{"path": "/dev/x", "type": "c"}])), ["/linux/devices/0"];
    hook_path_relative: |b| b.set("/hooks/prestart", json!([{"path": "bin/true"}])), ["/hooks/prestart/0/path", "absolute"];
    hook_timeout_zero: |b| b.set("/hooks/poststop", json!([{"path": "/bin/true", "timeout": 0}])),
        ["/hooks/poststop/0/timeout"];
    root_missing: |b| b.remove("/root"), ["/root"];
    seccomp_action_unknown: |b| b.set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_SHRUG"})),
        ["/linux/seccomp/defaultAction", "SCMP_ACT_SHRUG"];
    seccomp_rule_without_names: |b| {
        let rule = json!({"names": [], "action": "SCMP_ACT_ERRNO"});
        b.set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}));
    }, ["/linux/seccomp/syscalls/0/names"];
    seccomp_errno_without_an_errno_action: |b| {
        b.set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 5}));
    }, ["/linux/seccomp/defaultErrnoRet"];
    seccomp_argument_out_of_range: |b| {
        let rule = json!({"names": ["acct"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]});
        b.set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}));
    }, ["/linux/seccomp/syscalls/0/args/0/index"];
    seccomp_flag_unknown: |b| {
        b.set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_MAGIC"]}));
    }, ["/linux/seccomp/flags/0"];
    sysctl_of_the_host: |b| b.set("/linux/sysctl", json!({"vm.swappiness": "1"})), ["/linux/sysctl/vm.swappiness"];
    sysctl_of_a_namespace_that_is_not_ours: |b| {
        b.without_namespace("network").set("/linux/sysctl", json!({"net.core.somaxconn": "1"}));
    }, ["/linux/sysctl/net.core.somaxconn", "network"];
    sysctl_that_is_the_hostname: |b| b.set("/linux/sysctl", json!({"kernel.hostname": "x"})), ["/linux/sysctl/kernel.hostname"];
    sysctl_that_climbs: |b| b.set("/linux/sysctl", json!({"kernel/../vm/swappiness": "1"})), ["/linux/sysctl"];
    swap_without_a_limit: |b| b.set("/linux/resources", json!({"memory": {"swap": 1_048_576}})),
        ["/linux/resources/memory/swap"];
    swap_below_the_limit: |b| {
        b.set("/linux/resources", json!({"memory": {"limit": 268_435_456, "swap": 134_217_728}}));
    }, ["/linux/resources/memory/swap"];
}

// What the kernel refuses.
broken! {
    rootfs_absent: |b| b.set("/root/path", json!("nowhere")), ["/root/path", "nowhere", "no such file or directory"];
    rootfs_that_is_a_file: |b| {
        b.write("file", "x");
        b.set("/root/path", json!("file"));
    }, ["/root/path", "not a directory"];
    rootfs_that_is_a_loop: |b| {
        symlink("loop", b.path("loop")).expect("a link");
        b.set("/root/path", json!("loop"));
    }, ["/root/path", "too many levels of symbolic links"];
    bind_source_missing: |b| b.mount("/mnt/x", "bind", "/nowhere/at/all", &["bind"]),
        ["/mounts/7", "open_tree", "/nowhere/at/all", "no such file or directory"];
    bind_of_a_file_on_a_directory: |b| {
        let source = b.write("file", "x");
        b.mount("/etc/sub", "bind", source.to_str().expect("text"), &["bind"]);
    }, ["/mounts/7", "not a directory"];
    bind_of_a_directory_on_a_file: |b| {
        let source = b.text("");
        b.mount("/etc/passwd", "bind", &source, &["bind"]);
    }, ["/mounts/7", "not a directory"];
    filesystem_unknown: |b| b.mount("/mnt/x", "nosuchfs", "none", &[]), ["/mounts/7", "nosuchfs", "no such device"];
    mount_option_of_no_meaning: |b| b.mount("/mnt/x", "tmpfs", "tmpfs", &["frobnicate=1"]), ["/mounts/7", "frobnicate"];
    mount_option_with_a_bad_value: |b| b.mount("/mnt/x", "tmpfs", "tmpfs", &["size=banana"]), ["/mounts/7", "size"];
    mount_target_below_a_file: |b| b.mount("/etc/passwd/x", "tmpfs", "tmpfs", &[]), ["/mounts/7", "not a directory"];
    mount_target_in_a_loop: |b| {
        symlink("b", b.path("rootfs/mnt/a")).expect("a link");
        symlink("a", b.path("rootfs/mnt/b")).expect("a link");
        b.mount("/mnt/a/x", "tmpfs", "tmpfs", &[]);
    }, ["/mounts/7", "too many levels of symbolic links"];
    mount_target_too_long: |b| b.mount(&format!("/mnt/{}", "x".repeat(300)), "tmpfs", "tmpfs", &[]), ["/mounts/7", "file name too long"];
    proc_that_is_a_link: |b| {
        fs::remove_dir(b.path("rootfs/proc")).expect("empty");
        symlink("tmp", b.path("rootfs/proc")).expect("a link");
    }, ["/mounts/0"];
    cgroup_mount_of_a_bad_option: |b| b.mount("/mnt/x", "cgroup2", "cgroup2", &["frobnicate"]), ["/mounts/7"];
    idmap_without_mappings: |b| {
        let source = b.text("");
        b.mount("/mnt/x", "bind", &source, &["bind", "idmap"]);
    }, ["/mounts/7"];
    device_that_is_something_else: |b| {
        b.remove("/mounts/1").remove("/mounts/1").remove("/mounts/1").remove("/mounts/1");
        b.write("rootfs/dev/mine", "a file");
        b.set("/linux/devices", json!([{"path": "/dev/mine", "type": "c", "major": 1, "minor": 3}]));
    }, ["/linux/devices/0", "/dev/mine"];
    device_below_a_file: |b| b.set("/linux/devices", json!([{"path": "/etc/passwd/x", "type": "c", "major": 1, "minor": 3}])),
        ["/linux/devices/0", "not a directory"];
    cwd_that_is_a_file: |b| b.set("/process/cwd", json!("/etc/passwd")), ["/process/cwd", "not a directory"];
    cwd_through_a_descriptor: |b| b.set("/process/cwd", json!("/proc/self/fd/5")), ["/process/cwd"];
    masked_path_in_a_loop: |b| {
        symlink("b", b.path("rootfs/mnt/a")).expect("a link");
        symlink("a", b.path("rootfs/mnt/b")).expect("a link");
        b.set("/linux/maskedPaths", json!(["/mnt/a"]));
    }, ["/linux/maskedPaths/0", "too many levels of symbolic links"];
    namespace_path_missing: |b| b.join("network", "/run/netns/no-such-thing"),
        ["/linux/namespaces/5", "/run/netns/no-such-thing", "no such file or directory"];
    namespace_path_of_no_namespace: |b| b.join("network", "/etc/passwd"), ["/linux/namespaces/5", "/etc/passwd"];
    namespace_path_of_another_type: |b| b.join("network", "/proc/self/ns/ipc"), ["/linux/namespaces/5"];
    cpuset_that_does_not_exist: |b| b.set("/linux/resources", json!({"cpu": {"cpus": "4000"}})),
        ["/linux/resources/cpu/cpus", "cpuset.cpus"];
    cpu_quota_too_small: |b| b.set("/linux/resources", json!({"cpu": {"quota": 1, "period": 100_000}})),
        ["/linux/resources/cpu", "invalid argument"];
    sysctl_with_a_bad_value: |b| b.set("/linux/sysctl", json!({"kernel.msgmax": "banana"})), ["/linux/sysctl/kernel.msgmax", "invalid argument"];
    sysctl_that_does_not_exist: |b| b.set("/linux/sysctl", json!({"net.ipv4.no_such_key": "1"})),
        ["/linux/sysctl/net.ipv4.no_such_key", "no such file or directory"];
    rlimit_beyond_the_kernel_s: |b| b.set("/process/rlimits", json!([{"type": "RLIMIT_NOFILE", "soft": 4_000_000_000_u64, "hard": 4_000_000_000_u64}])),
        ["/process/rlimits/0", "operation not permitted"];
}

#[test]
fn huge_page_size_unknown() {
    if kernel::huge_page_size().is_none() {
        skip!("this kernel has no huge pages");
    }
    let mut bundle = Bundle::new("err");
    bundle.set("/linux/resources", json!({"hugepageLimits": [{"pageSize": "3MB", "limit": 1}]}));
    refused(&bundle, &["/linux/resources/hugepageLimits/0", "3MB"]);
}

// What cannot be executed: callers match these texts, and they must come from create, not from start.
broken! {
    program_not_in_path: |b| b.args(["no-such-program"]),
        ["exec: \"no-such-program\": executable file not found in $PATH"];
    program_missing: |b| b.args(["/x"]), ["exec: \"/x\": stat /x: no such file or directory"];
    program_not_executable: |b| b.args(["/etc/passwd"]), ["exec: \"/etc/passwd\": permission denied"];
    program_that_is_a_directory: |b| b.args(["/etc"]), ["exec: \"/etc\"", "directory"];
    program_below_a_file: |b| b.args(["/etc/passwd/x"]), ["exec: \"/etc/passwd/x\"", "not a directory"];
    program_behind_a_loop: |b| {
        symlink("loop", b.path("rootfs/bin/loop")).expect("a link");
        b.args(["/bin/loop"]);
    }, ["exec: \"/bin/loop\"", "too many levels of symbolic links"];
    program_behind_a_dangling_link: |b| {
        symlink("/nowhere", b.path("rootfs/bin/dangling")).expect("a link");
        b.args(["/bin/dangling"]);
    }, ["exec: \"/bin/dangling\"", "no such file or directory"];
    program_not_for_this_user: |b| {
        let path = b.script("rootfs/bin/private", "#!/bin/sh\n");
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("chmod");
        b.set("/process/user", json!({"uid": 1000, "gid": 1000})).args(["/bin/private"]);
    }, ["exec: \"/bin/private\": permission denied"];
}

/// `create` may or may not look into the program; the failure must come at the latest with `start`, with these words.
#[track_caller]
fn fails_to_execute(bundle: &Bundle, words: &[&str]) {
    bundle.run().fails(words);
    bundle.nothing_left();
    let output = bundle.create();
    if output.success() {
        bundle.start().fails(words);
        assert_ne!(bundle.status(), "running");
        bundle.rt(&["delete", "--force", &bundle.id]).run().ok();
    } else {
        output.fails(words);
    }
    bundle.nothing_left();
}

#[test]
fn a_script_whose_interpreter_is_missing() {
    let mut bundle = Bundle::new("err-script");
    bundle.script("rootfs/bin/script", "#!/no/such/interpreter -x\nexit 0\n");
    bundle.args(["/bin/script"]);
    fails_to_execute(&bundle, &["/bin/script", "/no/such/interpreter", "no such file or directory"]);
}

#[test]
fn a_program_whose_loader_is_missing() {
    let mut bundle = Bundle::new("err-loader");
    fs::copy("/bin/ls", bundle.path("rootfs/bin/dynamic")).expect("a dynamic program");
    bundle.args(["/bin/dynamic"]);
    fails_to_execute(&bundle, &["/bin/dynamic", "ld-linux", "no such file or directory"]);
}

#[test]
fn a_program_that_is_no_program() {
    let mut bundle = Bundle::new("err-format");
    bundle.script("rootfs/bin/garbage", "\u{1}\u{2}\u{3} nothing that can be run\n");
    bundle.args(["/bin/garbage"]);
    fails_to_execute(&bundle, &["/bin/garbage", "exec format error"]);
}

#[test]
fn arguments_that_are_too_long() {
    let mut bundle = Bundle::new("err-long");
    bundle.set("/process/args", json!(["/bin/true", "x".repeat(200_000)]));
    fails_to_execute(&bundle, &["/process/args/1", "131071"]);
}

#[test]
fn several_complaints_come_at_once() {
    let mut bundle = Bundle::new("err-many");
    bundle.set("/process/cwd", json!("relative")).set("/linux/rootfsPropagation", json!("everywhere"));
    bundle.set("/linux/maskedPaths/0", json!("relative")).set("/process/rlimits/0/type", json!("RLIMIT_HOPE"));
    refused(&bundle, &["/process/cwd", "/linux/rootfsPropagation", "/linux/maskedPaths/0", "/process/rlimits/0"]);
}

#[test]
fn a_config_that_is_missing_or_no_json() {
    let bundle = Bundle::new("err-json");
    let words = ["create", "--bundle", &bundle.text(""), &bundle.id];
    bundle.rt(&words).run().fails(&["config.json", "no such file or directory"]);
    for (content, said) in [
        ("", "config.json"),
        ("{", "config.json"),
        ("[]", "config.json"),
        ("{\"a\": 1, \"a\": 2}", "config.json"),
        ("nul", "1:"),
    ] {
        bundle.write("config.json", content);
        bundle.rt(&words).run().fails(&[said]);
        bundle.nothing_left();
    }
    fs::remove_file(bundle.path("config.json")).expect("the file");
    bundle.directory("config.json");
    bundle.rt(&words).run().fails(&["config.json"]);
    bundle.nothing_left();
}

#[test]
fn a_bundle_that_is_missing_or_no_directory() {
    let bundle = Bundle::new("err-bundle");
    bundle
        .rt(&["create", "--bundle", &bundle.text("nowhere"), &bundle.id])
        .run()
        .fails(&["nowhere", "no such file or directory"]);
    bundle.write("file", "x");
    bundle.rt(&["create", "--bundle", &bundle.text("file"), &bundle.id]).run().fails(&["not a directory"]);
    bundle.nothing_left();
}

#[test]
fn a_config_of_enormous_size_is_refused_at_once() {
    let bundle = Bundle::new("err-size");
    let file = fs::File::create(bundle.path("config.json")).expect("a file");
    file.set_len(1 << 30).expect("a sparse file");
    bundle.rt(&["create", "--bundle", &bundle.text(""), &bundle.id]).run().fails(&["config.json"]);
    fs::write(bundle.path("config.json"), "[".repeat(1_000_000)).expect("a file");
    bundle.rt(&["create", "--bundle", &bundle.text(""), &bundle.id]).run().fails(&["config.json"]);
    bundle.nothing_left();
}

#[test]
fn a_config_that_is_a_fifo_does_not_hang() {
    let bundle = Bundle::new("err-fifo");
    nix::unistd::mkfifo(&bundle.path("config.json"), nix::sys::stat::Mode::S_IRWXU).expect("a fifo");
    bundle.rt(&["create", "--bundle", &bundle.text(""), &bundle.id]).run().fails(&["config.json"]);
    bundle.nothing_left();
}

#[test]
fn each_namespace_path_of_another_type_is_refused() {
    let kinds = [
        ("pid", "pid"),
        ("network", "net"),
        ("ipc", "ipc"),
        ("uts", "uts"),
        ("cgroup", "cgroup"),
        ("mount", "mnt"),
        ("user", "user"),
        ("time", "time"),
    ];
    let own = std::process::id();
    for (kind, _) in kinds {
        for (_, file) in kinds.iter().filter(|(other, _)| *other != kind).take(2) {
            let mut bundle = Bundle::new("err-type");
            bundle.join(kind, &format!("/proc/{own}/ns/{file}")).args(["/bin/true"]);
            let index = bundle.config["linux"]["namespaces"].as_array().expect("a list").len() - 1;
            refused(&bundle, &[&format!("/linux/namespaces/{index}")]);
        }
    }
}

#[test]
fn a_late_failure_undoes_everything_that_came_before() {
    // All subjects are busy before the program is found missing: mounts, devices, cgroups, ids, hooks.
    let mut bundle = Bundle::new("err-late");
    bundle.set(
        "/linux/resources",
        json!({"pids": {"limit": 50}, "memory": {"limit": 268_435_456}, "cpu": {"shares": 512}}),
    );
    bundle.set("/linux/namespaces/-", json!({"type": "user"}));
    for map in ["/linux/uidMappings", "/linux/gidMappings"] {
        bundle.set(map, json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]));
    }
    let hook = json!([{"path": "/bin/true"}]);
    for kind in ["prestart", "createRuntime", "createContainer", "poststop"] {
        bundle.set(&format!("/hooks/{kind}"), hook.clone());
    }
    for index in 0..20 {
        // Made beforehand: the container's root may not write to a rootfs that is not its own.
        bundle.directory(&format!("rootfs/mnt/{index}"));
        bundle.mount(&format!("/mnt/{index}"), "tmpfs", "tmpfs", &[]);
    }
    bundle.args(["no-such-program"]);
    refused(&bundle, &["executable file not found in $PATH"]);
}
