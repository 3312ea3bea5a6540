//! The container's file systems, seen from inside: mounts with every kind of option, propagation, binds, the default
//! file systems, the root itself. Devices, masks and hostile paths are in `rootfs_paths.rs`.

mod common;

use std::fs;
use std::path::PathBuf;

use common::caller::own_mounts;
use common::{Bundle, cgroups, json, texts};
use nix::mount::{MsFlags, mount};
use serde_json::Value;

/// The last mount at `target` (the one that is seen).
fn mount_at<'a>(seen: &'a Value, target: &str) -> &'a Value {
    let all = seen["mounts"].as_array().expect("a mount table");
    let found = all.iter().rev().find(|mount| mount["target"] == target);
    found.unwrap_or_else(|| panic!("nothing is mounted at {target}: {:?}", targets(seen)))
}

fn targets(seen: &Value) -> Vec<String> {
    let all = seen["mounts"].as_array().expect("a mount table");
    all.iter().map(|mount| mount["target"].as_str().expect("a target").to_owned()).collect()
}

fn has(mount: &Value, place: &str, word: &str) -> bool {
    mount[place].as_array().expect("options").iter().any(|option| option == word)
}

/// A mount namespace of its own for the runtime, with a tmpfs at `target` that has a file `below`.
fn own_mounts_with(flag: MsFlags, target: PathBuf) -> impl FnMut() -> std::io::Result<()> + Send + Sync + 'static {
    let mut begin = own_mounts(flag);
    move || {
        begin()?;
        mount(Some("tmpfs"), &target, Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
        fs::write(target.join("below"), "below\n")
    }
}

#[test]
fn the_default_file_systems_are_mounted_as_asked() {
    let mut bundle = Bundle::new("default");
    let seen = bundle.fingerprint(&[]);
    let expected = [
        ("/proc", "proc", "nosuid nodev noexec"),
        ("/dev", "tmpfs", "nosuid"),
        ("/dev/pts", "devpts", "nosuid noexec"),
        ("/dev/shm", "tmpfs", "nosuid nodev noexec"),
        ("/dev/mqueue", "mqueue", "nosuid nodev noexec"),
        ("/sys", "sysfs", "ro nosuid nodev noexec"),
    ];
    for (target, kind, options) in expected {
        let mount = mount_at(&seen, target);
        assert_eq!(mount["fstype"], kind, "{target}");
        for option in options.split(' ') {
            assert!(has(mount, "options", option), "{target} has no {option}: {mount}");
        }
    }
    let dev = mount_at(&seen, "/dev");
    assert!(has(dev, "super", "mode=755") && has(dev, "super", "size=65536k"), "{dev}");
    assert!(!has(dev, "options", "relatime") && !has(dev, "options", "noatime"), "strictatime: {dev}");
    let pts = mount_at(&seen, "/dev/pts");
    assert!(has(pts, "super", "gid=5") && has(pts, "super", "mode=620") && has(pts, "super", "ptmxmode=666"), "{pts}");
}

#[test]
fn the_mount_table_holds_what_was_asked_for_and_nothing_else() {
    let mut bundle = Bundle::new("table");
    bundle.remove("/mounts/6"); // what a cgroup mount looks like depends on the host
    bundle.set("/linux/maskedPaths", json!(["/proc/keys", "/proc/timer_list", "/sys/firmware", "/nowhere"]));
    bundle.set("/linux/readonlyPaths", json!(["/proc/sys", "/nowhere"]));
    let seen = bundle.fingerprint(&[]);
    let mut found = targets(&seen);
    found.sort();
    let mut expected = vec!["/", "/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys"];
    expected.extend(["/proc/keys", "/proc/timer_list", "/sys/firmware", "/proc/sys"]);
    expected.retain(|path| *path != "/sys/firmware" || fs::metadata("/sys/firmware").is_ok());
    expected.retain(|path| *path != "/proc/timer_list" || fs::metadata("/proc/timer_list").is_ok());
    expected.sort();
    assert_eq!(found, expected);
    let ids: Vec<String> =
        texts(&seen["mounts"].as_array().expect("mounts").iter().map(|m| m["parent"].clone()).collect());
    let known: Vec<String> =
        texts(&seen["mounts"].as_array().expect("mounts").iter().map(|m| m["id"].clone()).collect());
    let strangers: Vec<&String> = ids.iter().filter(|id| !known.contains(id)).collect();
    assert_eq!(strangers.len(), 1, "only the root has a parent outside: nothing of the old root is left");
}

#[test]
fn mount_options_are_in_force() {
    // options, words that the mount must have, words that it must not have
    let table: [(&[&str], &str, &str); 22] = [
        (&[], "rw", "ro nosuid nodev noexec"),
        (&["defaults"], "rw", "ro nosuid nodev noexec"),
        (&["ro"], "ro", "rw"),
        (&["nosuid", "nodev", "noexec"], "nosuid nodev noexec rw", "ro"),
        (&["ro", "rw"], "rw", "ro"),
        (&["rw", "ro"], "ro", "rw"),
        (&["nosuid", "suid"], "rw", "nosuid"),
        (&["nodev", "dev"], "rw", "nodev"),
        (&["noexec", "exec"], "rw", "noexec"),
        (&["suid", "nosuid"], "nosuid", ""),
        (&["noatime"], "noatime", "relatime nodiratime"),
        (&["nodiratime"], "nodiratime", "noatime"),
        (&["relatime"], "relatime", "noatime"),
        (&["strictatime"], "rw", "relatime noatime"),
        (&["noatime", "atime"], "rw", "noatime"),
        (&["nodiratime", "diratime"], "rw", "nodiratime"),
        (&["noatime", "relatime"], "relatime", "noatime"),
        (&["nosymfollow"], "nosymfollow", ""),
        (&["nosymfollow", "symfollow"], "rw", "nosymfollow"),
        (&["silent", "loud"], "rw", "ro"),
        (&["iversion", "noiversion"], "rw", "ro"),
        (&["mand", "nomand"], "rw", "ro"),
    ];
    let mut bundle = Bundle::new("options");
    for (index, (options, _, _)) in table.iter().enumerate() {
        bundle.mount(&format!("/mnt/{index}"), "tmpfs", "tmpfs", options);
    }
    let seen = bundle.fingerprint(&[]);
    for (index, (options, present, absent)) in table.iter().enumerate() {
        let mount = mount_at(&seen, &format!("/mnt/{index}"));
        assert_eq!(mount["fstype"], "tmpfs");
        for word in present.split(' ').filter(|word| !word.is_empty()) {
            assert!(has(mount, "options", word), "{options:?}: {word} is missing in {mount}");
        }
        for word in absent.split(' ').filter(|word| !word.is_empty()) {
            assert!(!has(mount, "options", word), "{options:?}: {word} is there in {mount}");
        }
    }
}

#[test]
fn superblock_options_and_data_are_in_force() {
    let table: [(&[&str], &str, &str); 7] = [
        (&["sync"], "sync", ""),
        (&["sync", "async"], "rw", "sync"),
        (&["dirsync"], "dirsync", ""),
        (&["lazytime"], "lazytime", ""),
        (&["lazytime", "nolazytime"], "rw", "lazytime"),
        (&["size=1m", "mode=0701"], "size=1024k mode=701", ""),
        (&["mode=1777", "nr_inodes=99", "uid=7", "gid=8"], "nr_inodes=99 uid=7 gid=8", ""),
    ];
    let mut bundle = Bundle::new("superblock");
    for (index, (options, _, _)) in table.iter().enumerate() {
        bundle.mount(&format!("/mnt/{index}"), "tmpfs", "tmpfs", options);
    }
    let seen = bundle.fingerprint(&["--stat", "/mnt/6"]);
    for (index, (options, present, absent)) in table.iter().enumerate() {
        let mount = mount_at(&seen, &format!("/mnt/{index}"));
        for word in present.split(' ').filter(|word| !word.is_empty()) {
            assert!(has(mount, "super", word), "{options:?}: {word} is missing in {mount}");
        }
        for word in absent.split(' ').filter(|word| !word.is_empty()) {
            assert!(!has(mount, "super", word), "{options:?}: {word} is there in {mount}");
        }
    }
    let directory = &seen["stat"]["/mnt/6"];
    assert_eq!([&directory["uid"], &directory["gid"]], [7, 8]);
    assert_eq!(directory["mode"], "1777");
}

#[test]
fn a_file_and_a_directory_are_bound() {
    let mut bundle = Bundle::new("bind");
    bundle.write("outside/file", "from outside\n");
    let (file, directory) = (bundle.text("outside/file"), bundle.text("outside"));
    bundle.mount("/mnt/new/file", "bind", &file, &["bind"]);
    bundle.mount("/mnt/dir", "bind", &directory, &["rbind", "ro"]);
    bundle.mount("/etc/sub", "none", &directory, &["bind", "nosuid", "nodev", "noexec"]);
    let stats = ["--stat", "/mnt/new/file", "--stat", "/mnt/dir", "--stat", "/mnt/dir/file", "--stat", "/etc/sub/file"];
    let seen = bundle.fingerprint(&stats);
    assert_eq!(seen["stat"]["/mnt/new/file"]["first"], "from outside\n");
    assert_eq!(seen["stat"]["/mnt/new/file"]["write"], "ok");
    assert_eq!(seen["stat"]["/mnt/dir"]["write"], "EROFS");
    assert_eq!(seen["stat"]["/mnt/dir/file"]["first"], "from outside\n");
    assert_eq!(seen["stat"]["/mnt/dir/file"]["write"], "EROFS");
    assert_eq!(seen["stat"]["/etc/sub/file"]["write"], "ok");
    let bound = mount_at(&seen, "/etc/sub");
    for word in ["nosuid", "nodev", "noexec", "rw"] {
        assert!(has(bound, "options", word), "{bound}");
    }
}

#[test]
fn data_on_a_bind_is_ignored_with_a_warning() {
    // A bind has no superblock of its own that could use it; engines and the validation suite send it all the same.
    let mut bundle = Bundle::new("bind-data");
    let source = bundle.text("");
    bundle.mount("/mnt/x", "bind", &source, &["bind", "size=5"]).args(["/bin/true"]);
    let output = bundle.run().ok();
    assert!(output.stderr.contains("/mounts/7/options/1") && output.stderr.contains("size=5"), "{}", output.stderr);
}

#[test]
fn a_bind_without_a_type_is_a_bind() {
    let mut bundle = Bundle::new("typeless");
    bundle.write("outside/file", "from outside\n");
    let source = bundle.text("outside");
    bundle.set("/mounts/-", json!({"destination": "/mnt/a", "source": source, "options": ["rbind"]}));
    bundle.set("/mounts/-", json!({"destination": "/mnt/b", "type": "bind", "source": source}));
    let seen = bundle.fingerprint(&["--stat", "/mnt/a/file", "--stat", "/mnt/b/file"]);
    assert_eq!(seen["stat"]["/mnt/a/file"]["first"], "from outside\n");
    assert_eq!(seen["stat"]["/mnt/b/file"]["first"], "from outside\n");
}

#[test]
fn a_relative_bind_source_is_relative_to_the_bundle() {
    let mut bundle = Bundle::new("relative");
    bundle.write("beside/file", "beside the config\n");
    bundle.mount("/mnt/dir", "bind", "beside", &["bind"]);
    let seen = bundle.fingerprint(&["--stat", "/mnt/dir/file"]);
    assert_eq!(seen["stat"]["/mnt/dir/file"]["first"], "beside the config\n");
}

#[test]
fn bind_is_shallow_rbind_is_deep_and_only_rro_reaches_down() {
    let mut bundle = Bundle::new("deep");
    bundle.directory("outside/sub");
    let source = bundle.text("outside");
    bundle.mount("/mnt/bind", "bind", &source, &["bind"]);
    bundle.mount("/mnt/rbind", "bind", &source, &["rbind"]);
    bundle.mount("/mnt/ro", "bind", &source, &["rbind", "ro"]);
    bundle.mount("/mnt/rro", "bind", &source, &["rbind", "rro"]);
    bundle.mount("/mnt/flags", "bind", &source, &["rbind", "rnosuid", "rnodev", "rnoexec", "rnoatime"]);
    let mut words = vec!["/probe", "fingerprint"];
    for path in ["/mnt/bind/sub", "/mnt/rbind/sub", "/mnt/ro/sub", "/mnt/ro", "/mnt/rro/sub", "/mnt/rro"] {
        words.extend(["--stat", path]);
    }
    bundle.set("/process/args", json!(words));
    let prepare = own_mounts_with(MsFlags::MS_PRIVATE, bundle.path("outside/sub"));
    let seen = bundle.run_command().before_exec(prepare).run().ok().json();
    assert_eq!(seen["stat"]["/mnt/bind/sub"]["entries"], json!([]), "a plain bind leaves sub-mounts out");
    assert_eq!(seen["stat"]["/mnt/rbind/sub"]["entries"], json!(["below"]));
    assert_eq!(seen["stat"]["/mnt/rbind/sub"]["write"], "ok");
    assert_eq!(seen["stat"]["/mnt/ro"]["write"], "EROFS");
    assert_eq!(seen["stat"]["/mnt/ro/sub"]["write"], "ok", "`ro` is for the top mount only");
    assert_eq!(seen["stat"]["/mnt/rro"]["write"], "EROFS");
    assert_eq!(seen["stat"]["/mnt/rro/sub"]["write"], "EROFS");
    let deep = mount_at(&seen, "/mnt/flags/sub");
    for word in ["nosuid", "nodev", "noexec", "noatime"] {
        assert!(has(deep, "options", word), "{word}: {deep}");
    }
}

#[test]
fn a_bind_keeps_the_flags_it_was_not_asked_to_change() {
    let mut bundle = Bundle::new("keep");
    bundle.directory("outside");
    let source = bundle.text("outside");
    bundle.mount("/mnt/dir", "bind", &source, &["bind", "ro"]);
    let target = bundle.path("outside");
    bundle.args(["/probe", "fingerprint"]);
    let mut begin = own_mounts(MsFlags::MS_PRIVATE);
    let prepare = move || {
        begin()?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("tmpfs"), &target, Some("tmpfs"), flags, None::<&str>)?;
        Ok(())
    };
    let seen = bundle.run_command().before_exec(prepare).run().ok().json();
    let bound = mount_at(&seen, "/mnt/dir");
    for word in ["ro", "nosuid", "nodev", "noexec"] {
        assert!(has(bound, "options", word), "{word}: {bound}");
    }
}

#[test]
fn a_later_remount_changes_an_earlier_mount() {
    let mut bundle = Bundle::new("remount");
    let source = bundle.text("outside");
    bundle.write("outside/file", "x");
    bundle.mount("/mnt/tmpfs", "tmpfs", "tmpfs", &["nosuid"]);
    bundle.mount("/mnt/bind", "bind", &source, &["bind"]);
    bundle.mount("/mnt/tmpfs", "tmpfs", "tmpfs", &["remount", "ro", "nosuid"]);
    bundle.mount("/mnt/bind", "bind", &source, &["remount", "bind", "ro", "noexec"]);
    let seen = bundle.fingerprint(&["--stat", "/mnt/tmpfs", "--stat", "/mnt/bind/file"]);
    assert_eq!(seen["stat"]["/mnt/tmpfs"]["write"], "EROFS");
    assert_eq!(seen["stat"]["/mnt/bind/file"]["write"], "EROFS");
    assert!(has(mount_at(&seen, "/mnt/bind"), "options", "noexec"));
    assert_eq!(targets(&seen).iter().filter(|target| *target == "/mnt/bind").count(), 1, "no second mount");
}

#[test]
fn mounts_are_made_in_the_order_of_the_list() {
    let mut bundle = Bundle::new("order");
    bundle.write("one/file", "one\n");
    bundle.write("two/file", "two\n");
    let (one, two) = (bundle.text("one"), bundle.text("two"));
    bundle.mount("/mnt/dir", "bind", &one, &["bind"]);
    bundle.mount("/mnt/dir", "bind", &two, &["bind"]);
    bundle.mount("/mnt/deep", "tmpfs", "tmpfs", &[]);
    bundle.mount("/mnt/deep/er", "tmpfs", "tmpfs", &["mode=0711"]);
    bundle.mount("/mnt/deep/er/file", "bind", &bundle.text("one/file"), &["bind"]);
    let seen =
        bundle.fingerprint(&["--stat", "/mnt/dir/file", "--stat", "/mnt/deep/er", "--stat", "/mnt/deep/er/file"]);
    assert_eq!(seen["stat"]["/mnt/dir/file"]["first"], "two\n");
    assert_eq!(seen["stat"]["/mnt/deep/er"]["mode"], "0711");
    assert_eq!(seen["stat"]["/mnt/deep/er/file"]["first"], "one\n");
}

#[test]
fn each_mount_has_the_propagation_it_asked_for() {
    let mut bundle = Bundle::new("propagation");
    bundle.directory("outside/sub");
    let source = bundle.text("outside");
    for kind in ["shared", "slave", "private", "unbindable", "rshared", "rslave", "rprivate", "runbindable"] {
        let bind = if kind.starts_with('r') { "rbind" } else { "bind" };
        bundle.mount(&format!("/mnt/{kind}"), "bind", &source, &[bind, kind]);
    }
    bundle.args(["/probe", "fingerprint"]);
    let prepare = own_mounts_with(MsFlags::MS_SHARED, bundle.path("outside/sub"));
    let seen = bundle.run_command().before_exec(prepare).run().ok().json();
    let words = |target: &str| texts(&mount_at(&seen, target)["optional"]).join(" ");
    assert!(words("/mnt/shared").contains("shared:"), "{}", words("/mnt/shared"));
    assert!(words("/mnt/slave").starts_with("master:"), "{}", words("/mnt/slave"));
    assert_eq!(words("/mnt/private"), "");
    assert_eq!(words("/mnt/unbindable"), "unbindable");
    for below in ["", "/sub"] {
        assert!(words(&format!("/mnt/rshared{below}")).contains("shared:"), "rshared{below}");
        assert!(words(&format!("/mnt/rslave{below}")).starts_with("master:"), "rslave{below}");
        assert_eq!(words(&format!("/mnt/rprivate{below}")), "");
        assert_eq!(words(&format!("/mnt/runbindable{below}")), "unbindable");
    }
}

#[test]
fn the_root_has_the_propagation_it_asked_for() {
    for kind in ["shared", "slave", "private", "unbindable", "rshared", "rslave", "rprivate", "runbindable"] {
        let mut bundle = Bundle::new("rootprop");
        bundle.set("/linux/rootfsPropagation", json!(kind)).args(["/probe", "fingerprint"]);
        let seen = bundle.run_command().before_exec(own_mounts(MsFlags::MS_SHARED)).run().ok().json();
        let words = texts(&mount_at(&seen, "/")["optional"]).join(" ");
        match kind.trim_start_matches('r') {
            "shared" | "hared" => assert!(words.contains("shared:"), "{kind}: {words}"),
            "unbindable" => assert_eq!(words, "unbindable"),
            "private" => assert_eq!(words, ""),
            _ => assert!(!words.contains("shared:"), "{kind}: {words}"),
        }
    }
}

#[test]
fn nothing_that_the_container_mounts_reaches_a_shared_host() {
    // The oracle compares the host's mount table; here the host is a shared namespace that the container could reach.
    let mut bundle = Bundle::new("host");
    bundle.mount("/mnt/a", "tmpfs", "tmpfs", &[]).args(["/bin/true"]).save();
    let words = ["run", "--bundle", &bundle.text(""), &bundle.id];
    let script = "\"$@\" && exec cat /proc/self/mountinfo";
    let output =
        common::Runtime::in_shell(script, &bundle, &words).before_exec(own_mounts(MsFlags::MS_SHARED)).run().ok();
    let ours: Vec<&str> = output.stdout.lines().filter(|line| line.contains(&bundle.id)).collect();
    assert!(output.stdout.contains(" / / "), "that was no mount table: {}", output.stdout);
    assert!(ours.is_empty(), "{ours:?}");
}

#[test]
fn tmpcopyup_fills_a_tmpfs_with_what_was_there() {
    let mut bundle = Bundle::new("copyup");
    bundle.write("rootfs/etc/sub/file", "from the image\n");
    bundle.script("rootfs/etc/sub/deep/tool", "#!/bin/sh\n");
    std::os::unix::fs::symlink("file", bundle.path("rootfs/etc/sub/link")).expect("a link");
    bundle.mount("/etc/sub", "tmpfs", "tmpfs", &["tmpcopyup", "nosuid"]);
    let paths = ["/etc/sub/file", "/etc/sub/deep/tool", "/etc/sub/link"];
    let seen = bundle.fingerprint(&["--stat", paths[0], "--stat", paths[1], "--stat", paths[2]]);
    assert_eq!(mount_at(&seen, "/etc/sub")["fstype"], "tmpfs");
    assert_eq!(seen["stat"][paths[0]]["first"], "from the image\n");
    assert_eq!(seen["stat"][paths[1]]["mode"], "0755");
    assert_eq!(seen["stat"][paths[2]]["link"], "file");
}

#[test]
fn a_tmpfs_takes_mode_and_owner_of_the_directory_it_covers() {
    use std::os::unix::fs::PermissionsExt;
    let mut bundle = Bundle::new("covers");
    let covered = bundle.directory("rootfs/mnt/covered");
    fs::set_permissions(&covered, fs::Permissions::from_mode(0o2750)).expect("chmod");
    bundle.mount("/mnt/covered", "tmpfs", "tmpfs", &[]);
    let seen = bundle.fingerprint(&["--stat", "/mnt/covered"]);
    assert_eq!(mount_at(&seen, "/mnt/covered")["fstype"], "tmpfs");
    assert_eq!(seen["stat"]["/mnt/covered"]["mode"], "2750");
}

#[test]
fn a_missing_target_is_made_and_an_existing_one_kept() {
    let mut bundle = Bundle::new("targets");
    bundle.write("outside/file", "outside\n");
    let file = bundle.text("outside/file");
    bundle.mount("/new/a/b", "tmpfs", "tmpfs", &[]);
    bundle.mount("/new/c/file", "bind", &file, &["bind"]);
    let seen = bundle.fingerprint(&["--stat", "/new", "--stat", "/new/c/file"]);
    assert_eq!(seen["stat"]["/new"]["mode"], "0755");
    assert_eq!(seen["stat"]["/new/c/file"]["first"], "outside\n");
    assert_eq!(fs::read_to_string(bundle.path("rootfs/new/c/file")).expect("the target"), "", "an empty file");
}

#[test]
fn a_relative_destination_is_taken_from_the_root() {
    let mut bundle = Bundle::new("reldest");
    bundle.mount("mnt/rel", "tmpfs", "tmpfs", &["mode=0711"]);
    let seen = bundle.fingerprint(&["--stat", "/mnt/rel"]);
    assert_eq!(seen["stat"]["/mnt/rel"]["mode"], "0711");
}

#[test]
fn a_cgroup_mount_shows_the_container_s_own_cgroup_read_only() {
    let mut bundle = Bundle::new("cgroupfs");
    let first = if cgroups::is_v2() { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/memory" };
    let file = format!("{first}/cgroup.procs");
    let seen = bundle.fingerprint(&["--stat", first, "--stat", &file]);
    let mount = mount_at(&seen, first);
    assert_eq!(mount["fstype"], if cgroups::is_v2() { "cgroup2" } else { "cgroup" });
    for word in ["ro", "nosuid", "nodev", "noexec"] {
        assert!(has(mount, "options", word), "{word}: {mount}");
    }
    assert_eq!(mount["root"], "/", "with a cgroup namespace the mount begins at the container's own cgroup");
    assert_eq!(seen["stat"][&file]["first"].as_str().expect("pids").lines().next(), Some("1"));
    assert_eq!(seen["stat"][&file]["write"], "EROFS");
    assert_eq!(seen["stat"][first]["write"], "EROFS");
}

#[test]
fn a_cgroup_mount_has_every_v1_hierarchy() {
    if cgroups::is_v2() {
        skip!("no cgroup v1 on this host");
    }
    let mut bundle = Bundle::new("cgroupfs-v1");
    let seen = bundle.fingerprint(&["--stat", "/sys/fs/cgroup"]);
    assert_eq!(mount_at(&seen, "/sys/fs/cgroup")["fstype"], "tmpfs");
    let entries = texts(&seen["stat"]["/sys/fs/cgroup"]["entries"]);
    for hierarchy in cgroups::hierarchies().iter().filter(|h| !h.unified) {
        for controller in &hierarchy.controllers {
            let name = controller.strip_prefix("name=").unwrap_or(controller);
            assert!(entries.iter().any(|entry| entry == name), "{name} is not in {entries:?}");
        }
    }
    assert_ne!(seen["stat"]["/sys/fs/cgroup"]["write"], "ok");
}

#[test]
fn a_cgroup_mount_without_a_cgroup_namespace_shows_the_container_s_own_cgroup() {
    let mut bundle = Bundle::new("cgroupfs-host");
    bundle.without_namespace("cgroup");
    let first = if cgroups::is_v2() { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/memory" };
    let seen = bundle.fingerprint(&["--stat", first]);
    let mount = mount_at(&seen, first);
    assert!(has(mount, "options", "ro"), "{mount}");
    let root = mount["root"].as_str().expect("a root");
    assert!(root.contains(&bundle.id) || cgroups::is_v2(), "the whole hierarchy of the host is visible: {mount}");
}

#[test]
fn a_read_only_root_is_read_only_and_the_mounts_on_it_are_not() {
    let mut bundle = Bundle::new("readonly");
    bundle.set("/root/readonly", json!(true));
    bundle.mount("/mnt/rw", "tmpfs", "tmpfs", &[]);
    let seen = bundle.fingerprint(&["--stat", "/", "--stat", "/etc/passwd", "--stat", "/mnt/rw", "--stat", "/dev/shm"]);
    assert!(has(mount_at(&seen, "/"), "options", "ro"));
    assert_eq!(seen["stat"]["/"]["write"], "EROFS");
    assert_eq!(seen["stat"]["/etc/passwd"]["write"], "EROFS");
    assert_eq!(seen["stat"]["/mnt/rw"]["write"], "ok");
    assert_eq!(seen["stat"]["/dev/shm"]["write"], "ok");
}

#[test]
fn the_root_is_the_bundle_s_and_an_absolute_path_will_do() {
    let mut bundle = Bundle::new("absolute");
    let rootfs = bundle.text("rootfs");
    bundle.write("rootfs/marker", "this one\n");
    bundle.set("/root/path", json!(rootfs));
    let seen = bundle.fingerprint(&["--stat", "/marker", "--stat", "/"]);
    assert_eq!(seen["stat"]["/marker"]["first"], "this one\n");
    assert_eq!(seen["stat"]["/"]["write"], "ok");
    assert!(fs::read_dir(bundle.rootfs()).expect("the rootfs").count() > 5);
}

#[test]
fn without_pivot_the_root_is_the_same() {
    let mut bundle = Bundle::new("nopivot");
    bundle.args(["/probe", "fingerprint", "--stat", "/proc/1/root/probe"]).save();
    let words = ["run", "--no-pivot", "--bundle", &bundle.text(""), &bundle.id];
    let seen = bundle.rt(&words).run().ok().json();
    assert!(texts(&seen["root"]).contains(&"probe".to_owned()));
    assert!(!texts(&seen["root"]).contains(&"lost+found".to_owned()));
    assert_eq!(mount_at(&seen, "/proc")["fstype"], "proc");
}

#[test]
fn an_idmapped_bind_shows_other_owners() {
    let mut bundle = Bundle::new("idmap");
    bundle.write("outside/file", "owned\n");
    std::os::unix::fs::chown(bundle.path("outside/file"), Some(1000), Some(1000)).expect("chown");
    let map = json!([{"containerID": 1000, "hostID": 5000, "size": 10}]);
    bundle.set(
        "/mounts/-",
        json!({"destination": "/mnt/mapped", "type": "bind", "source": bundle.text("outside"),
               "options": ["bind", "idmap"], "uidMappings": map, "gidMappings": map}),
    );
    bundle.args(["/probe", "fingerprint", "--stat", "/mnt/mapped/file"]);
    let output = bundle.run();
    if output.stderr.contains("not supported yet") {
        skip!("rt has no idmapped mounts yet");
    }
    if output.stderr.contains("invalid argument") {
        skip!("the file system of the temporary directory has no idmapped mounts");
    }
    let file = &output.ok().json()["stat"]["/mnt/mapped/file"];
    assert_eq!([&file["uid"], &file["gid"]], [5000, 5000]);
}

#[test]
fn a_bind_of_a_single_device_works() {
    let mut bundle = Bundle::new("binddev");
    bundle.mount("/dev/mynull", "bind", "/dev/null", &["bind"]);
    let seen = bundle.fingerprint(&["--stat", "/dev/mynull"]);
    let device = &seen["stat"]["/dev/mynull"];
    assert_eq!([&device["type"], &device["write"]], ["char", "ok"]);
    assert_eq!(device["rdev"], json!([1, 3]));
}

#[test]
fn several_mounts_of_one_source_do_not_disturb_each_other() {
    let mut bundle = Bundle::new("twice");
    bundle.write("outside/file", "x");
    let source = bundle.text("outside");
    bundle.mount("/mnt/ro", "bind", &source, &["bind", "ro"]).mount("/mnt/rw", "bind", &source, &["bind", "rw"]);
    let seen = bundle.fingerprint(&["--stat", "/mnt/ro/file", "--stat", "/mnt/rw/file"]);
    assert_eq!(seen["stat"]["/mnt/ro/file"]["write"], "EROFS");
    assert_eq!(seen["stat"]["/mnt/rw/file"]["write"], "ok");
}

#[test]
fn proc_and_sys_are_the_container_s_own() {
    let mut bundle = Bundle::new("own");
    let seen = bundle.fingerprint(&["--stat", "/proc/1/exe", "--stat", "/sys/class/net"]);
    assert_eq!(seen["stat"]["/proc/1/exe"]["link"], "/probe");
    assert_eq!(
        seen["stat"]["/sys/class/net"]["entries"].as_array().map(|list| list.contains(&json!("eth0"))),
        Some(false)
    );
    assert_eq!(seen["exe"], "/probe");
}
