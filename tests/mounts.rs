//! Mounts in odd places and with rare options, seen from inside: what `rootfs.rs` (the usual) and `rootfs_paths.rs`
//! (hostile paths) leave out.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

use common::caller::own_mounts;
use common::{Bundle, Value, cgroups, json, texts};
use nix::mount::{MsFlags, mount};

/// The last mount at `target` (the one that is seen).
fn mount_at<'a>(seen: &'a Value, target: &str) -> &'a Value {
    let all = seen["mounts"].as_array().expect("a mount table");
    all.iter().rev().find(|mount| mount["target"] == target).unwrap_or_else(|| panic!("nothing is mounted at {target}"))
}

/// The options of that mount.
fn options_at(seen: &Value, target: &str) -> Vec<String> {
    texts(&mount_at(seen, target)["options"])
}

/// Holds a mount's options against words that must be there and words that must not.
#[track_caller]
fn check(seen: &Value, target: &str, present: &str, absent: &str) {
    let options = options_at(seen, target);
    for word in present.split_whitespace() {
        assert!(options.iter().any(|o| o == word), "{target} has no {word}: {options:?}");
    }
    for word in absent.split_whitespace() {
        assert!(!options.iter().any(|o| o == word), "{target} has {word}: {options:?}");
    }
}

/// A bundle, and what makes its `outside/sub` a tmpfs with `flags` before the runtime starts.
fn with_sub_mount(name: &str, flags: MsFlags) -> (Bundle, impl FnMut() -> std::io::Result<()> + Send + Sync + 'static) {
    let bundle = Bundle::new(name);
    let outside = bundle.directory("outside");
    let mut begin = own_mounts(MsFlags::MS_PRIVATE);
    let prepare = move || {
        begin()?;
        // Both are mounts of their own, so that flags can be cleared on the upper one too.
        for place in [outside.clone(), outside.join("sub")] {
            fs::create_dir_all(&place)?;
            mount(Some("tmpfs"), &place, Some("tmpfs"), flags, None::<&str>)?;
        }
        fs::write(outside.join("sub/file"), "below\n")
    };
    (bundle, prepare)
}

#[test]
fn recursive_attributes_are_set_on_the_whole_tree() {
    // option, words below, words that must be gone below
    let table: [(&str, &str, &str); 9] = [
        ("rro", "ro", "rw"),
        ("rnosuid", "nosuid rw", "ro"),
        ("rnodev", "nodev", ""),
        ("rnoexec", "noexec", ""),
        ("rnodiratime", "nodiratime", ""),
        ("rnoatime", "noatime", "relatime"),
        ("rrelatime", "relatime", "noatime"),
        ("rstrictatime", "rw", "relatime noatime"),
        ("rnosymfollow", "nosymfollow", ""),
    ];
    let (mut bundle, prepare) = with_sub_mount("tree-set", MsFlags::empty());
    let source = bundle.text("outside");
    for (option, _, _) in table {
        bundle.mount(&format!("/mnt/{option}"), "bind", &source, &["rbind", option]);
    }
    bundle.args(["/probe", "fingerprint", "--stat", "/mnt/rro/sub/file", "--stat", "/mnt/rnosuid/sub/file"]);
    let seen = bundle.run_command().before_exec(prepare).run().ok().json();
    for (option, present, absent) in table {
        for below in ["", "/sub"] {
            check(&seen, &format!("/mnt/{option}{below}"), present, absent);
        }
    }
    assert_eq!(seen["stat"]["/mnt/rro/sub/file"]["write"], "EROFS");
    assert_eq!(seen["stat"]["/mnt/rnosuid/sub/file"]["write"], "ok");
}

#[test]
fn recursive_attributes_are_cleared_on_the_whole_tree() {
    let all =
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_NODIRATIME | MsFlags::MS_NOATIME;
    let table: [(&str, &str, &str); 9] = [
        ("rsuid", "nodev noexec", "nosuid"),
        ("rdev", "nosuid noexec", "nodev"),
        ("rexec", "nosuid nodev", "noexec"),
        ("rdiratime", "nosuid", "nodiratime"),
        ("ratime", "relatime", "noatime"),
        ("rnorelatime", "nosuid", "noatime"),
        ("rnostrictatime", "nosuid", "noatime"),
        ("rsymfollow", "nosuid noatime", "nosymfollow"),
        ("rrw", "rw nosuid", "ro"),
    ];
    let (mut bundle, prepare) = with_sub_mount("tree-clear", all);
    let source = bundle.text("outside");
    for (option, _, _) in table {
        bundle.mount(&format!("/mnt/{option}"), "bind", &source, &["rbind", option]);
    }
    bundle.args(["/probe", "fingerprint"]);
    let seen = bundle.run_command().before_exec(prepare).run().ok().json();
    for (option, present, absent) in table {
        for below in ["", "/sub"] {
            check(&seen, &format!("/mnt/{option}{below}"), present, absent);
        }
    }
}

#[test]
fn a_read_only_tree_becomes_writable_with_rrw_and_only_at_the_top_with_rw() {
    let mut bundle = Bundle::new("rrw");
    let outside = bundle.directory("outside");
    let mut begin = own_mounts(MsFlags::MS_PRIVATE);
    let prepare = move || {
        begin()?;
        let none = None::<&str>;
        for place in [outside.clone(), outside.join("sub")] {
            fs::create_dir_all(&place)?;
            mount(Some("tmpfs"), &place, Some("tmpfs"), MsFlags::empty(), none)?;
        }
        let read_only = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
        mount(none, &outside.join("sub"), none, read_only, none)?;
        Ok(mount(none, &outside, none, read_only, none)?)
    };
    let source = bundle.text("outside");
    for option in ["rrw", "rw", "bind"] {
        bundle.mount(&format!("/mnt/{option}"), "bind", &source, &["rbind", option]);
    }
    bundle.set("/mounts/9/options", json!(["rbind"]));
    bundle.args(["/probe", "fingerprint"]);
    let seen = bundle.run_command().before_exec(prepare).run().ok().json();
    for (target, word) in
        [("rrw", "rw"), ("rrw/sub", "rw"), ("rw", "rw"), ("rw/sub", "ro"), ("bind", "ro"), ("bind/sub", "ro")]
    {
        check(&seen, &format!("/mnt/{target}"), word, "");
    }
}

#[test]
fn nosymfollow_is_kept_by_the_kernel() {
    let mut bundle = Bundle::new("nosymfollow");
    bundle.write("outside/file", "reached\n");
    symlink("file", bundle.path("outside/link")).expect("a link");
    let source = bundle.text("outside");
    bundle.mount("/mnt/free", "bind", &source, &["bind"]);
    bundle.mount("/mnt/kept", "bind", &source, &["bind", "nosymfollow"]);
    let seen = bundle.fingerprint(&["--stat", "/mnt/free/link", "--stat", "/mnt/kept/link"]);
    assert_eq!(seen["stat"]["/mnt/free/link"]["first"], "reached\n");
    assert_eq!(seen["stat"]["/mnt/kept/link"]["read"], "ELOOP");
}

#[test]
fn iversion_goes_through_mount_2_with_everything_else_kept() {
    let mut bundle = Bundle::new("iversion");
    let covered = bundle.directory("rootfs/mnt/covered");
    fs::set_permissions(&covered, fs::Permissions::from_mode(0o2711)).expect("chmod");
    bundle.write("rootfs/mnt/covered/file", "from the image\n");
    let options = ["iversion", "nosuid", "noexec", "nosymfollow", "lazytime", "sync", "size=1m", "tmpcopyup", "ro"];
    bundle.mount("/mnt/covered", "tmpfs", "tmpfs", &options);
    bundle.save();
    let plan = bundle.rt(&["explain", &bundle.text("")]).run().ok().stdout;
    assert!(plan.contains("by mount(2)"), "{plan}");
    let seen = bundle.fingerprint(&["--stat", "/mnt/covered", "--stat", "/mnt/covered/file"]);
    check(&seen, "/mnt/covered", "nosuid noexec nosymfollow ro", "nodev");
    let superblock = texts(&mount_at(&seen, "/mnt/covered")["super"]);
    for word in ["lazytime", "sync", "size=1024k"] {
        assert!(superblock.iter().any(|o| o == word), "{word}: {superblock:?}");
    }
    assert_eq!(seen["stat"]["/mnt/covered"]["mode"], "2711");
    assert_eq!(seen["stat"]["/mnt/covered/file"]["first"], "from the image\n");
    assert_eq!(seen["stat"]["/mnt/covered"]["write"], "EROFS");
}

#[test]
fn tmpcopyup_keeps_modes_owners_and_links_and_may_be_read_only() {
    let mut bundle = Bundle::new("copyup");
    let top = bundle.directory("rootfs/etc/sub/deep");
    fs::set_permissions(&top, fs::Permissions::from_mode(0o2751)).expect("chmod");
    chown(&top, Some(3), Some(4)).expect("chown");
    let file = bundle.write("rootfs/etc/sub/deep/file", "from the image\n");
    chown(&file, Some(7), Some(8)).expect("chown");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o4640)).expect("chmod");
    symlink("/nowhere/at/all", bundle.path("rootfs/etc/sub/link")).expect("a link");
    bundle.mount("/etc/sub", "tmpfs", "tmpfs", &["tmpcopyup", "ro", "nosuid", "mode=0700"]);
    let paths = ["/etc/sub", "/etc/sub/deep", "/etc/sub/deep/file", "/etc/sub/link"];
    let options: Vec<&str> = paths.iter().flat_map(|path| ["--stat", path]).collect();
    let seen = bundle.fingerprint(&options);
    let look = |path: &str| seen["stat"][path].clone();
    assert_eq!([&look(paths[0])["mode"], &look(paths[0])["write"]], ["0700", "EROFS"]);
    assert_eq!([&look(paths[1])["mode"], &look(paths[2])["mode"]], ["2751", "4640"]);
    assert_eq!([&look(paths[1])["uid"], &look(paths[1])["gid"]], [3, 4]);
    assert_eq!([&look(paths[2])["uid"], &look(paths[2])["gid"]], [7, 8]);
    assert_eq!(look(paths[2])["size"], "from the image\n".len());
    assert_eq!(look(paths[3])["link"], "/nowhere/at/all");
    check(&seen, "/etc/sub", "ro nosuid", "");
}

#[test]
fn a_read_only_tmpfs_has_what_is_made_in_it_and_then_is_read_only() {
    // podman's pods have such a /dev.
    let mut bundle = Bundle::new("filled");
    bundle.set("/root/readonly", json!(true));
    bundle.set("/mounts/1/options/-", json!("ro"));
    bundle.directory("source");
    bundle.mount("/etc", "tmpfs", "tmpfs", &["ro", "mode=0700"]);
    bundle.mount("/etc/deep/er", "bind", "source", &["bind"]);
    bundle.mount("/tmp", "tmpfs", "tmpfs", &["ro"]);
    // A bind is one whatever its type says, and was read-only before.
    bundle.directory("source/below");
    bundle.mount("/mnt", "tmpfs", "source", &["bind", "ro"]);
    bundle.mount("/mnt/below", "tmpfs", "tmpfs", &[]);
    let paths = ["/dev", "/dev/null", "/dev/stdin", "/dev/pts/ptmx", "/dev/shm", "/etc", "/etc/deep/er", "/tmp"];
    let options: Vec<&str> = paths.iter().flat_map(|path| ["--stat", path]).collect();
    let seen = bundle.fingerprint(&options);
    let look = |path: &str| seen["stat"][path].clone();
    assert_eq!(look("/dev/null")["rdev"], json!([1, 3]));
    assert_eq!(look("/dev/stdin")["link"], "/proc/self/fd/0");
    assert_eq!(look("/dev/pts/ptmx")["rdev"], json!([5, 2]));
    for (path, write) in
        [("/dev", "EROFS"), ("/dev/shm", "ok"), ("/etc", "EROFS"), ("/etc/deep/er", "ok"), ("/tmp", "EROFS")]
    {
        assert_eq!(look(path)["write"], write, "{path}");
    }
    check(&seen, "/dev", "ro nosuid", "");
    check(&seen, "/etc", "ro", "");
    check(&seen, "/tmp", "ro", "");
    check(&seen, "/mnt", "ro", "");
    bundle.nothing_left();
}

#[test]
fn without_tmpcopyup_a_tmpfs_is_empty() {
    let mut bundle = Bundle::new("nocopyup");
    bundle.write("rootfs/etc/sub/file", "from the image\n");
    bundle.mount("/etc/sub", "tmpfs", "tmpfs", &[]);
    let seen = bundle.fingerprint(&["--stat", "/etc/sub"]);
    assert_eq!(seen["stat"]["/etc/sub"]["entries"], json!([]));
}

#[test]
fn proc_is_covered_by_nothing_but_what_lxcfs_serves() {
    let served = ["cpuinfo", "diskstats", "loadavg", "meminfo", "stat", "swaps", "uptime"];
    let mut bundle = Bundle::new("lxcfs");
    bundle.write("outside/file", "served\n");
    let source = bundle.text("outside/file");
    for name in served {
        bundle.mount(&format!("/proc/{name}"), "bind", &source, &["bind"]);
    }
    let paths: Vec<String> = served.iter().map(|name| format!("/proc/{name}")).collect();
    let options: Vec<&str> = paths.iter().flat_map(|path| ["--stat", path]).collect();
    let seen = bundle.fingerprint(&options);
    for path in &paths {
        assert_eq!(seen["stat"][path]["first"], "served\n", "{path}");
    }
}

#[test]
fn proc_cannot_be_covered_by_detours() {
    // (destination, type, options); the source is a directory of the host
    let table: [(&str, &str, &[&str]); 8] = [
        ("/proc", "bind", &["rbind"]),
        ("/proc", "tmpfs", &[]),
        ("/proc/../proc", "tmpfs", &[]),
        ("/way", "bind", &["bind"]),
        ("/way/self", "tmpfs", &[]),
        ("/proc/self/attr", "bind", &["bind"]),
        ("/proc/acpi", "tmpfs", &[]),
        ("//proc//sys/./kernel", "tmpfs", &[]),
    ];
    for (destination, kind, options) in table {
        let mut bundle = Bundle::new("detour");
        bundle.directory("outside");
        symlink("/proc", bundle.path("rootfs/way")).expect("a link");
        let source = if kind == "bind" { bundle.text("outside") } else { "tmpfs".into() };
        bundle.mount(destination, kind, &source, options).args(["/bin/true"]);
        bundle.run().fails(&["/mounts/7"]);
        bundle.nothing_left();
    }
}

#[test]
fn a_whole_procfs_may_be_bound_at_proc_and_a_part_may_not() {
    let mut bundle = Bundle::new("bindproc");
    bundle.remove("/mounts/0").without_namespace("pid");
    bundle.set("/mounts/-", json!({"destination": "/proc", "type": "bind", "source": "/proc", "options": ["bind"]}));
    // /proc first, as callers have it
    let list = bundle.config["mounts"].as_array_mut().expect("mounts");
    list.rotate_right(1);
    let seen = bundle.fingerprint(&[]);
    assert_eq!(mount_at(&seen, "/proc")["fstype"], "proc");
    let mut bundle = Bundle::new("bindpart");
    bundle.set("/mounts/0", json!({"destination": "/proc", "type": "bind", "source": "/proc/1", "options": ["bind"]}));
    bundle.run().fails(&["/mounts/0", "takes a procfs only"]);
    bundle.nothing_left();
}

#[test]
fn proc_and_sysfs_want_ordinary_directories() {
    for (index, name) in [(0, "proc"), (5, "sys")] {
        let mut bundle = Bundle::new("plain");
        fs::remove_dir(bundle.path(&format!("rootfs/{name}"))).expect("the directory of the image");
        bundle.directory("rootfs/elsewhere");
        symlink("elsewhere", bundle.path(&format!("rootfs/{name}"))).expect("a link");
        bundle.args(["/bin/true"]);
        assert_eq!(bundle.config["mounts"][index]["destination"], format!("/{name}"));
        bundle.run().fails(&[&format!("/mounts/{index}"), "must be mounted on ordinary directory"]);
        bundle.nothing_left();
    }
}

#[test]
fn a_missing_source_is_named_and_nothing_is_made() {
    let mut bundle = Bundle::new("missing");
    let source = bundle.text("not/there");
    bundle.mount("/mnt/new", "bind", &source, &["bind"]);
    bundle.run().fails(&["/mounts/7", &source, "no such file or directory"]);
    assert!(fs::metadata(bundle.path("rootfs/mnt/new")).is_err(), "sources come before targets");
    bundle.nothing_left();
}

#[test]
fn a_wrong_option_is_told_in_the_kernel_s_words() {
    for (options, words) in [
        (&["size=lots"][..], &["size=lots", "kernel:", "Bad value for 'size'"][..]),
        (&["sise=1m"], &["sise=1m", "kernel:", "Unknown parameter 'sise'"]),
        (&["mode=9"], &["mode=9", "kernel:"]),
    ] {
        let mut bundle = Bundle::new("wrong");
        bundle.mount("/mnt/new", "tmpfs", "tmpfs", options);
        let mut all = vec!["/mounts/7", "fsconfig"];
        all.extend(words);
        bundle.run().fails(&all);
        bundle.nothing_left();
    }
    let mut bundle = Bundle::new("nofs");
    bundle.mount("/mnt/new", "nosuchfs", "none", &[]);
    bundle.run().fails(&["/mounts/7", "nosuchfs", "no such device"]);
    bundle.nothing_left();
}

#[test]
fn a_file_is_bound_over_a_file_of_the_image_and_a_directory_is_not() {
    let mut bundle = Bundle::new("overfile");
    bundle.write("outside/file", "outside\n");
    let source = bundle.text("outside/file");
    bundle.mount("/etc/passwd", "bind", &source, &["bind", "ro"]);
    let seen = bundle.fingerprint(&["--stat", "/etc/passwd"]);
    assert_eq!(seen["stat"]["/etc/passwd"]["first"], "outside\n");
    assert_eq!(seen["stat"]["/etc/passwd"]["write"], "EROFS");
    for (source, target) in [("outside/file", "/etc/sub"), ("outside", "/etc/passwd")] {
        let mut bundle = Bundle::new("mismatch");
        bundle.write("outside/file", "outside\n");
        let source = bundle.text(source);
        bundle.mount(target, "bind", &source, &["bind"]);
        bundle.run().fails(&["/mounts/7", target]);
        bundle.nothing_left();
    }
}

#[test]
fn a_relative_source_is_the_bundle_s_wherever_the_caller_is() {
    let mut bundle = Bundle::new("relative");
    bundle.write("beside/file", "beside the config\n");
    bundle.write("elsewhere/beside/file", "the wrong one\n");
    bundle.mount("/mnt/dir", "bind", "./beside/../beside", &["bind"]);
    bundle.args(["/probe", "fingerprint", "--stat", "/mnt/dir/file"]);
    let seen = bundle.run_command().current_dir(&bundle.path("elsewhere")).run().ok().json();
    assert_eq!(seen["stat"]["/mnt/dir/file"]["first"], "beside the config\n");
}

#[test]
fn a_dev_that_is_a_link_in_the_image_gets_its_devices_inside() {
    for target in ["/elsewhere", "../../../../elsewhere"] {
        let mut bundle = Bundle::new("devlink");
        fs::remove_dir(bundle.path("rootfs/dev")).expect("the directory of the image");
        bundle.directory("rootfs/elsewhere");
        symlink(target, bundle.path("rootfs/dev")).expect("a link");
        let seen = bundle.fingerprint(&["--stat", "/dev/null", "--stat", "/elsewhere/null", "--stat", "/dev/ptmx"]);
        assert_eq!(seen["stat"]["/dev/null"]["rdev"], json!([1, 3]));
        assert_eq!(seen["stat"]["/elsewhere/null"]["rdev"], json!([1, 3]));
        assert_eq!(mount_at(&seen, "/elsewhere")["fstype"], "tmpfs");
    }
}

#[test]
fn a_dev_bound_from_the_host_is_left_as_it_is() {
    let mut bundle = Bundle::new("hostdev");
    bundle.write("hostdev/marker", "the host's\n");
    for _ in 0..4 {
        bundle.remove("/mounts/1"); // /dev and what lies on it
    }
    let source = bundle.text("hostdev");
    bundle.mount("/dev", "bind", &source, &["rbind", "nosuid"]);
    let seen = bundle.fingerprint(&["--stat", "/dev", "--stat", "/dev/marker"]);
    assert_eq!(seen["stat"]["/dev"]["entries"], json!(["marker"]), "no devices, no links");
    assert_eq!(seen["stat"]["/dev/marker"]["first"], "the host's\n");
    assert_eq!(fs::read_dir(bundle.path("hostdev")).expect("the host's").count(), 1);
}

#[test]
fn without_pivot_the_host_s_proc_and_sysfs_are_out_of_reach() {
    // The kernel lets a nested user namespace mount a proc only where a whole one is visible. The container's is masked;
    // the host's must not be there any more.
    let script = "/bin/busybox unshare -Urmpf /probe mount-proc /mnt; /bin/busybox unshare -Urmpf /bin/busybox mount -t sysfs sysfs /mnt 2>&1";
    for options in [&[][..], &["--no-pivot"]] {
        let mut bundle = Bundle::new("reveal");
        bundle.set("/linux/maskedPaths", json!(["/proc/keys", "/sys/kernel"])).args(["/bin/sh", "-c", script]);
        // An ordinary user may map itself.
        bundle.set("/process/user", json!({"uid": 1000, "gid": 1000})).save();
        let text = bundle.text("");
        let mut words = vec!["run"];
        words.extend(options);
        words.extend(["--bundle", &text, &bundle.id]);
        let output = bundle.rt(&words).run();
        assert!(output.stdout.starts_with("EPERM\n"), "{options:?}: {output:?}");
        assert!(output.stdout.contains("ermission denied") || output.stdout.contains("not permitted"), "{output:?}");
    }
}

#[test]
fn without_pivot_there_is_no_way_up() {
    // A second chroot is the classic way out of one: the old root must lie under ours, not above.
    let mut bundle = Bundle::new("wayup");
    bundle.grant(&["CAP_SYS_CHROOT"]);
    let up = "../".repeat(30);
    let script = format!(
        "/bin/busybox mkdir -p /jail/bin && /bin/busybox cp /bin/busybox /jail/bin/busybox && \
                          cd / && /bin/busybox chroot /jail /bin/busybox ls {up} ; /bin/busybox ls /{up}"
    );
    bundle.args(["/bin/sh", "-c", &script]).save();
    let output = bundle.rt(&["run", "--no-pivot", "--bundle", &bundle.text(""), &bundle.id]).run().ok();
    assert!(output.stdout.contains("probe"), "{output:?}");
    assert!(!output.stdout.contains("lost+found") && !output.stdout.contains("work\n"), "{output:?}");
}

#[test]
fn a_mask_on_a_link_to_nowhere_is_an_error() {
    for (path, named) in [("/etc/dangling", "/etc/dangling"), ("/etc/dangling/below", "/etc/dangling")] {
        for list in ["/linux/maskedPaths", "/linux/readonlyPaths"] {
            let mut bundle = Bundle::new("dangling");
            symlink("/nowhere/yet", bundle.path("rootfs/etc/dangling")).expect("a link");
            bundle.set(list, json!([path]));
            bundle.run().fails(&[&format!("{list}/0"), path, &format!("{named} is a link to nowhere")]);
            bundle.nothing_left();
        }
    }
}

#[test]
fn a_mask_on_a_loop_of_links_is_an_error() {
    for list in ["/linux/maskedPaths", "/linux/readonlyPaths"] {
        let mut bundle = Bundle::new("loop");
        symlink("b", bundle.path("rootfs/etc/a")).expect("a link");
        symlink("a", bundle.path("rootfs/etc/b")).expect("a link");
        bundle.set(list, json!(["/etc/a"]));
        bundle.run().fails(&[&format!("{list}/0"), "/etc/a", "too many"]);
        bundle.nothing_left();
    }
}

#[test]
fn a_mask_of_something_absent_is_nothing() {
    let mut bundle = Bundle::new("absent");
    bundle.write("rootfs/etc/file", "a file\n");
    bundle.set("/linux/maskedPaths", json!(["/etc/absent", "/absent/deep/er", "/etc/file/below", "/proc/absent"]));
    bundle.set("/linux/readonlyPaths", json!(["/etc/absent", "/absent/deep/er", "/etc/file/below"]));
    let seen = bundle.fingerprint(&["--stat", "/etc/absent", "--stat", "/absent", "--stat", "/etc/file"]);
    assert_eq!(seen["stat"]["/etc/absent"]["error"], "ENOENT");
    assert_eq!(seen["stat"]["/absent"]["error"], "ENOENT");
    assert_eq!(seen["stat"]["/etc/file"]["first"], "a file\n");
}

#[test]
fn what_cannot_be_reached_is_not_left_unmasked() {
    // Inside a user namespace the container's root may not look into a directory of somebody it doesn't know.
    let mut bundle = Bundle::new("unreachable");
    bundle.write("rootfs/etc/closed/secret", "secret\n");
    fs::set_permissions(bundle.path("rootfs/etc/closed"), fs::Permissions::from_mode(0o700)).expect("chmod");
    bundle.set("/linux/maskedPaths", json!(["/etc/closed/secret"]));
    bundle.set("/linux/namespaces/-", json!({"type": "user"}));
    for map in ["/linux/uidMappings", "/linux/gidMappings"] {
        bundle.set(map, json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]));
    }
    bundle.run().fails(&["/linux/maskedPaths/0", "/etc/closed/secret", "permission denied"]);
    bundle.nothing_left();
}

#[test]
fn a_mask_below_a_closed_directory_holds_for_its_owner_too() {
    let mut bundle = Bundle::new("closed");
    bundle.write("rootfs/etc/closed/secret", "secret\n");
    let closed = bundle.path("rootfs/etc/closed");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).expect("chmod");
    chown(&closed, Some(1000), Some(1000)).expect("chown");
    bundle.set("/linux/maskedPaths", json!(["/etc/closed/secret"]));
    bundle.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    let seen = bundle.fingerprint(&["--stat", "/etc/closed/secret"]);
    assert_eq!(seen["stat"]["/etc/closed/secret"]["rdev"], json!([1, 3]));
}

#[test]
fn what_a_hook_mounts_is_inside_and_is_masked() {
    let mut bundle = Bundle::new("hookmask");
    bundle.write("outside/secret", "secret\n");
    bundle.write("outside/plain", "by the hook\n");
    bundle.directory("rootfs/mnt/late");
    bundle.set("/linux/maskedPaths", json!(["/mnt/late/secret"])).set("/linux/readonlyPaths", json!(["/mnt/late"]));
    let command = format!("mount --bind {} {}", bundle.text("outside"), bundle.text("rootfs/mnt/late"));
    let env = [format!("RT_TEST_ID={}", bundle.id), "PATH=/usr/bin:/bin".into()];
    bundle.set("/hooks/createContainer", json!([{"path": "/bin/sh", "args": ["sh", "-c", command], "env": env}]));
    let seen = bundle.fingerprint(&["--stat", "/mnt/late/secret", "--stat", "/mnt/late/plain"]);
    assert_eq!(seen["stat"]["/mnt/late/plain"]["first"], "by the hook\n");
    assert_eq!(seen["stat"]["/mnt/late/plain"]["write"], "EROFS");
    assert_eq!(seen["stat"]["/mnt/late/secret"]["rdev"], json!([1, 3]), "masks come after the hooks");
}

#[test]
fn a_create_runtime_hook_that_enters_the_container_s_mounts_finds_its_root_there() {
    // What nvidia-container-cli does: into the mount namespace of the pid it is told, then to the bundle's rootfs.
    let mut bundle = Bundle::new("enter");
    bundle.write("outside/driver", "by the hook\n");
    bundle.directory("rootfs/mnt/late");
    let command = format!(
        "pid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/') && nsenter -t $pid -m mount --bind {} {}",
        bundle.text("outside"),
        bundle.text("rootfs/mnt/late")
    );
    let env = [format!("RT_TEST_ID={}", bundle.id), "PATH=/usr/bin:/bin".into()];
    for kind in ["prestart", "createRuntime"] {
        bundle.set("/hooks", json!({kind: [{"path": "/bin/sh", "args": ["sh", "-c", command], "env": env}]}));
        let seen = bundle.fingerprint(&["--stat", "/mnt/late/driver"]);
        assert_eq!(seen["stat"]["/mnt/late/driver"]["first"], "by the hook\n", "{kind}");
    }
    assert!(
        fs::read_dir(bundle.path("rootfs/mnt/late")).expect("the image").next().is_none(),
        "the host has none of it"
    );
}

#[test]
fn a_rootfs_out_of_the_container_root_s_reach_is_fine() {
    // A bundle below a directory that only the host's root may enter.
    let mut bundle = Bundle::new("reach");
    let hidden = bundle.directory("hidden");
    fs::rename(bundle.rootfs(), hidden.join("rootfs")).expect("a move");
    fs::set_permissions(&hidden, fs::Permissions::from_mode(0o700)).expect("chmod");
    bundle.set("/root/path", json!("hidden/rootfs")).set("/linux/namespaces/-", json!({"type": "user"}));
    for map in ["/linux/uidMappings", "/linux/gidMappings"] {
        bundle.set(map, json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]));
    }
    let seen = bundle.fingerprint(&[]);
    assert!(texts(&seen["root"]).contains(&"probe".to_owned()));
    fs::rename(hidden.join("rootfs"), bundle.rootfs()).expect("back");
}

#[test]
fn without_a_mount_namespace_nothing_stays_on_the_host() {
    let mut bundle = Bundle::new("nomountns");
    bundle.without_namespace("mount");
    bundle.remove("/linux/maskedPaths").remove("/linux/readonlyPaths");
    bundle.write("outside/file", "outside\n");
    let source = bundle.text("outside");
    bundle.mount("/mnt/dir", "bind", &source, &["bind", "ro"]);
    bundle.mount("/mnt/tmp", "tmpfs", "tmpfs", &["mode=0711"]);
    bundle.args(["/probe", "fingerprint", "--stat", "/mnt/dir/file", "--stat", "/mnt/tmp", "--stat", "/dev/null"]);
    // The host is a mount namespace of its own, to be looked at afterwards.
    bundle.save();
    let words = ["run", "--bundle", &bundle.text(""), &bundle.id];
    let script = "grep -c . /proc/self/mountinfo && \"$@\" && grep -c . /proc/self/mountinfo";
    let output =
        common::Runtime::in_shell(script, &bundle, &words).before_exec(own_mounts(MsFlags::MS_PRIVATE)).run().ok();
    let lines: Vec<&str> = output.stdout.lines().collect();
    let [before, seen, after] = lines[..] else { panic!("{output:?}") };
    assert_eq!(before, after, "mounts on the host");
    let seen: Value = serde_json::from_str(seen).expect("a fingerprint");
    assert_eq!(seen["stat"]["/mnt/dir/file"]["first"], "outside\n");
    assert_eq!(seen["stat"]["/mnt/dir/file"]["write"], "EROFS");
    assert_eq!(seen["stat"]["/mnt/tmp"]["mode"], "0711");
    assert_eq!(seen["stat"]["/dev/null"]["rdev"], json!([1, 3]));
    bundle.nothing_left();
}

#[test]
fn cgroup_mounts_are_writable_or_not_as_asked_with_and_without_a_namespace() {
    if cgroups::is_v2() {
        skip!("a table of cgroup v1 mounts");
    }
    for namespace in [true, false] {
        for (option, write) in [("ro", "EROFS"), ("rw", "ok")] {
            let mut bundle = Bundle::new("cgroup");
            if !namespace {
                bundle.without_namespace("cgroup");
            }
            bundle.set("/mounts/6/options", json!(["nosuid", "noexec", "nodev", option]));
            assert_eq!(bundle.config["mounts"][6]["type"], "cgroup");
            let seen = bundle.fingerprint(&["--stat", "/sys/fs/cgroup/pids"]);
            let mount = mount_at(&seen, "/sys/fs/cgroup/pids");
            assert_eq!(mount["fstype"], "cgroup");
            assert_eq!(seen["stat"]["/sys/fs/cgroup/pids"]["write"], write, "{option}: {mount}");
            let root = mount["root"].as_str().expect("a root");
            assert!(if namespace { root == "/" } else { root.contains(&bundle.id) }, "{mount}");
        }
    }
}

#[test]
fn a_cgroup2_mount_on_a_hybrid_host_shows_the_unified_half() {
    let Some(hierarchy) = cgroups::hierarchies().into_iter().find(|h| h.unified) else {
        skip!("no cgroup2 on this host");
    };
    if cgroups::is_v2() {
        skip!("a hybrid host is meant");
    }
    let mut bundle = Bundle::new("cgroup2");
    bundle.set(
        "/mounts/6",
        json!({"destination": "/sys/fs/cgroup", "type": "cgroup2", "source": "cgroup", "options": ["ro", "nosuid"]}),
    );
    let seen = bundle.fingerprint(&["--stat", "/sys/fs/cgroup/cgroup.procs"]);
    let mount = mount_at(&seen, "/sys/fs/cgroup");
    assert_eq!([&mount["fstype"], &mount["root"]], ["cgroup2", "/"], "{mount} of {hierarchy:?}");
    check(&seen, "/sys/fs/cgroup", "ro nosuid", "");
    assert_eq!(seen["stat"]["/sys/fs/cgroup/cgroup.procs"]["first"], "1\n");
}

#[test]
fn an_overlay_with_more_layers_than_fsconfig_takes_is_mounted() {
    let mut bundle = Bundle::new("overlay");
    let mut layers = Vec::new();
    for number in 0..12 {
        bundle.write(&format!("layers/{number}/file-{number}"), "layer\n");
        layers.push(bundle.text(&format!("layers/{number}")));
    }
    // An overlay as an upper layer must lie on something that can be one; a tmpfs can.
    let upper = bundle.directory("upper");
    let (up, work) = (bundle.text("upper/up"), bundle.text("upper/work"));
    let lower = format!("lowerdir={}", layers.join(":"));
    assert!(lower.len() > 256);
    bundle.mount(
        "/mnt/over",
        "overlay",
        "overlay",
        &["nosuid", &lower, &format!("upperdir={up}"), &format!("workdir={work}")],
    );
    bundle.args(["/probe", "fingerprint", "--stat", "/mnt/over", "--stat", "/mnt/over/file-11"]);
    let mut begin = own_mounts(MsFlags::MS_PRIVATE);
    let prepare = move || {
        begin()?;
        mount(Some("tmpfs"), &upper, Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
        fs::create_dir(upper.join("up"))?;
        fs::create_dir(upper.join("work"))
    };
    let seen = bundle.run_command().before_exec(prepare).run().ok().json();
    assert_eq!(mount_at(&seen, "/mnt/over")["fstype"], "overlay");
    check(&seen, "/mnt/over", "nosuid rw", "nodev");
    let entries = texts(&seen["stat"]["/mnt/over"]["entries"]);
    assert_eq!(entries.len(), 12, "{entries:?}");
    assert_eq!(seen["stat"]["/mnt/over/file-11"]["first"], "layer\n");
    assert_eq!(seen["stat"]["/mnt/over"]["write"], "ok");
}

#[test]
fn a_change_of_propagation_without_a_type_is_for_what_is_there() {
    let mut bundle = Bundle::new("change");
    bundle.mount("/mnt/tmp", "tmpfs", "tmpfs", &[]);
    bundle
        .set("/mounts/-", json!({"destination": "/mnt/tmp", "type": "none", "source": "none", "options": ["shared"]}));
    let seen = bundle.fingerprint(&[]);
    let found = texts(&mount_at(&seen, "/mnt/tmp")["optional"]).join(" ");
    assert!(found.starts_with("shared:"), "{found}");
    let count = seen["mounts"].as_array().expect("mounts").iter().filter(|m| m["target"] == "/mnt/tmp").count();
    assert_eq!(count, 1);
}

#[test]
fn a_remount_of_nothing_is_an_error() {
    let mut bundle = Bundle::new("remount");
    bundle.mount("/mnt/absent", "tmpfs", "tmpfs", &["remount", "ro"]);
    bundle.run().fails(&["/mounts/7", "/mnt/absent", "no such file or directory"]);
    bundle.nothing_left();
    let mut bundle = Bundle::new("remount");
    bundle.mount("/etc/sub", "tmpfs", "tmpfs", &["remount", "ro"]);
    bundle.run().fails(&["/mounts/7", "/etc/sub"]);
    bundle.nothing_left();
}

#[test]
fn the_owner_of_a_bound_file_is_not_changed() {
    let mut bundle = Bundle::new("owner");
    let file = bundle.write("outside/file", "x");
    chown(&file, Some(12), Some(13)).expect("chown");
    let source = bundle.text("outside/file");
    bundle.mount("/mnt/file", "bind", &source, &["bind"]);
    bundle.fingerprint(&[]);
    let meta = fs::metadata(file).expect("the file");
    assert_eq!((meta.uid(), meta.gid()), (12, 13));
}
