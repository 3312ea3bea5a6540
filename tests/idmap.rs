//! Mounts that show other owners than their file system holds: `idmap`, `ridmap`, `uidMappings`, `gidMappings`.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use common::caller::own_mounts;
use common::{Bundle, Value, json};
use nix::mount::{MsFlags, mount};

/// Whether the file system of the temporary directory has id-mapped mounts: asked of the runtime, for one that has not
/// must say so.
fn supported() -> bool {
    let mut bundle = Bundle::new("ask");
    let source = bundle.text("rootfs/mnt");
    add(&mut bundle, "bind", &source, &["bind", "idmap"], Some((1000, 5000, 10)));
    bundle.args(["/bin/true"]);
    let output = bundle.run();
    if output.success() {
        return true;
    }
    assert!(output.stderr.contains("has no id-mapped mounts in this kernel"), "{}", output.stderr);
    common::skipped("the file system of the temporary directory has no id-mapped mounts");
    false
}

/// Adds a mount at /mnt/mapped, with the same map for users and groups: (in the file system, seen, how many).
fn add(bundle: &mut Bundle, kind: &str, source: &str, options: &[&str], map: Option<(u32, u32, u32)>) {
    let mut mount = json!({"destination": "/mnt/mapped", "type": kind, "source": source, "options": options});
    if let Some((from, to, count)) = map {
        let map = json!([{"containerID": from, "hostID": to, "size": count}]);
        mount["uidMappings"] = map.clone();
        mount["gidMappings"] = map;
    }
    bundle.set("/mounts/-", mount);
}

/// A bundle with `outside/file` of user and group 1003.
fn bundle_with_file(name: &str) -> (Bundle, String) {
    let bundle = Bundle::new(name);
    let file = bundle.write("outside/file", "owned\n");
    chown(&file, Some(1003), Some(1003)).expect("chown");
    fs::set_permissions(file, fs::Permissions::from_mode(0o666)).expect("chmod");
    let source = bundle.text("outside");
    (bundle, source)
}

fn in_user_namespace(bundle: &mut Bundle) {
    // The rootfs is not the container root's: nothing can be made in it.
    bundle.directory("rootfs/mnt/mapped");
    bundle.directory("rootfs/mnt/plain");
    bundle.set("/linux/namespaces/-", json!({"type": "user"}));
    for map in ["/linux/uidMappings", "/linux/gidMappings"] {
        bundle.set(map, json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]));
    }
}

fn owner(seen: &Value, path: &str) -> [u64; 2] {
    let look = &seen["stat"][path];
    ["uid", "gid"].map(|key| look[key].as_u64().unwrap_or_else(|| panic!("{path}: {look}")))
}

#[test]
fn a_bind_with_maps_shows_other_owners_with_and_without_the_option() {
    if !supported() {
        return;
    }
    for options in [&["bind", "idmap"][..], &["bind"], &["rbind", "ridmap", "ro", "nosuid"]] {
        let (mut bundle, source) = bundle_with_file("own");
        add(&mut bundle, "bind", &source, options, Some((1000, 5000, 10)));
        let seen = bundle.fingerprint(&["--stat", "/mnt/mapped/file"]);
        assert_eq!(owner(&seen, "/mnt/mapped/file"), [5003, 5003], "{options:?}");
        let read_only = options.contains(&"ro");
        assert_eq!(seen["stat"]["/mnt/mapped/file"]["write"], if read_only { "EROFS" } else { "ok" });
        let meta = fs::metadata(bundle.path("outside/file")).expect("the file");
        assert_eq!((meta.uid(), meta.gid()), (1003, 1003), "on the host nothing changed");
    }
}

#[test]
fn an_id_without_a_map_is_nobody() {
    if !supported() {
        return;
    }
    let (mut bundle, source) = bundle_with_file("nobody");
    add(&mut bundle, "bind", &source, &["bind", "idmap"], Some((0, 5000, 3)));
    let seen = bundle.fingerprint(&["--stat", "/mnt/mapped/file"]);
    assert_eq!(owner(&seen, "/mnt/mapped/file"), [65534, 65534]);
}

#[test]
fn without_maps_the_container_s_own_are_taken() {
    if !supported() {
        return;
    }
    let (mut bundle, source) = bundle_with_file("container");
    in_user_namespace(&mut bundle);
    chown(bundle.path("outside"), Some(0), Some(0)).expect("chown");
    add(&mut bundle, "bind", &source, &["bind", "idmap"], None);
    bundle.mount("/mnt/plain", "bind", &source, &["bind"]);
    bundle.args([
        "/bin/sh",
        "-c",
        "echo x > /mnt/mapped/made && exec /probe fingerprint --stat /mnt/mapped/file --stat /mnt/plain/file",
    ]);
    let seen = bundle.run().ok().json();
    assert_eq!(owner(&seen, "/mnt/mapped/file"), [1003, 1003], "as in the file system");
    assert_eq!(owner(&seen, "/mnt/plain/file"), [65534, 65534], "without the option an unknown user");
    let made = fs::metadata(bundle.path("outside/made")).expect("made from inside");
    assert_eq!((made.uid(), made.gid()), (0, 0), "the container's root writes as root of the file system");
}

#[test]
fn the_maps_of_a_joined_user_namespace_are_taken() {
    if !supported() {
        return;
    }
    let mut first = Bundle::new("first");
    in_user_namespace(&mut first);
    first.args(["/probe", "sleep"]);
    first.create().ok();
    let (mut second, source) = bundle_with_file("second");
    second.directory("rootfs/mnt/mapped");
    second.join("user", &format!("/proc/{}/ns/user", first.pid()));
    add(&mut second, "bind", &source, &["bind", "idmap"], None);
    let seen = second.fingerprint(&["--stat", "/mnt/mapped/file"]);
    assert_eq!(owner(&seen, "/mnt/mapped/file"), [1003, 1003]);
    first.rt(&["delete", "--force", &first.id]).run().ok();
}

#[test]
fn a_mount_in_a_user_namespace_may_have_its_own_maps() {
    if !supported() {
        return;
    }
    let (mut bundle, source) = bundle_with_file("both");
    in_user_namespace(&mut bundle);
    add(&mut bundle, "bind", &source, &["bind", "idmap"], Some((1003, 100_007, 1)));
    let seen = bundle.fingerprint(&["--stat", "/mnt/mapped/file"]);
    assert_eq!(owner(&seen, "/mnt/mapped/file"), [7, 7]);
}

#[test]
fn idmap_is_for_one_mount_and_ridmap_for_the_tree() {
    if !supported() {
        return;
    }
    for (option, below) in [("idmap", 1004), ("ridmap", 5004)] {
        let (mut bundle, source) = bundle_with_file("tree");
        let sub = bundle.directory("outside/sub");
        add(&mut bundle, "bind", &source, &["rbind", option], Some((1000, 5000, 10)));
        bundle.args(["/probe", "fingerprint", "--stat", "/mnt/mapped/file", "--stat", "/mnt/mapped/sub/below"]);
        let mut begin = own_mounts(MsFlags::MS_PRIVATE);
        let prepare = move || {
            begin()?;
            mount(Some("tmpfs"), &sub, Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
            fs::write(sub.join("below"), "")?;
            chown(sub.join("below"), Some(1004), Some(1004))
        };
        let output = bundle.run_command().before_exec(prepare).run();
        if output.stderr.contains("has no id-mapped mounts in this kernel") {
            skip!("tmpfs has no id-mapped mounts before 6.3");
        }
        let seen = output.ok().json();
        assert_eq!(owner(&seen, "/mnt/mapped/file"), [5003, 5003], "{option}");
        assert_eq!(owner(&seen, "/mnt/mapped/sub/below"), [below, below], "{option}");
    }
}

#[test]
fn a_file_system_of_its_own_can_be_mapped_too() {
    for user_namespace in [false, true] {
        let mut bundle = Bundle::new("tmpfs");
        bundle.directory("rootfs/mnt/mapped/kept");
        if user_namespace {
            in_user_namespace(&mut bundle);
            add(&mut bundle, "tmpfs", "tmpfs", &["idmap", "mode=0751", "size=1m", "nosuid"], None);
        } else {
            add(&mut bundle, "tmpfs", "tmpfs", &["idmap", "mode=0751", "size=1m", "nosuid"], Some((0, 5000, 10)));
        }
        bundle.args(["/probe", "fingerprint", "--stat", "/mnt/mapped"]);
        let output = bundle.run();
        if output.stderr.contains("tmpfs has no id-mapped mounts in this kernel") {
            skip!("tmpfs has no id-mapped mounts before 6.3");
        }
        let seen = output.ok().json();
        assert_eq!(owner(&seen, "/mnt/mapped"), if user_namespace { [0, 0] } else { [5000, 5000] });
        assert_eq!(seen["stat"]["/mnt/mapped"]["mode"], "0751");
        let table = seen["mounts"].as_array().expect("mounts");
        let made = table.iter().find(|m| m["target"] == "/mnt/mapped").expect("a mount");
        assert_eq!(made["fstype"], "tmpfs");
        assert!(made["options"].as_array().is_some_and(|o| o.contains(&json!("nosuid"))), "{made}");
        assert!(made["super"].as_array().is_some_and(|o| o.contains(&json!("size=1024k"))), "{made}");
    }
}

#[test]
fn a_mapped_tmpfs_keeps_the_mode_and_copies_what_it_covers() {
    let mut bundle = Bundle::new("copyup");
    let covered = bundle.directory("rootfs/mnt/mapped");
    fs::set_permissions(&covered, fs::Permissions::from_mode(0o2750)).expect("chmod");
    bundle.write("rootfs/mnt/mapped/file", "from the image\n");
    add(&mut bundle, "tmpfs", "tmpfs", &["idmap", "tmpcopyup", "ro"], Some((0, 0, 1000)));
    bundle.args(["/probe", "fingerprint", "--stat", "/mnt/mapped", "--stat", "/mnt/mapped/file"]);
    let output = bundle.run();
    if output.stderr.contains("tmpfs has no id-mapped mounts in this kernel") {
        skip!("tmpfs has no id-mapped mounts before 6.3");
    }
    let seen = output.ok().json();
    assert_eq!(seen["stat"]["/mnt/mapped"]["mode"], "2750");
    assert_eq!(seen["stat"]["/mnt/mapped/file"]["first"], "from the image\n");
    assert_eq!(seen["stat"]["/mnt/mapped"]["write"], "EROFS");
}

#[test]
fn the_maps_may_stand_in_the_option_as_crun_has_it() {
    if !supported() {
        return;
    }
    let (mut bundle, source) = bundle_with_file("crun");
    add(&mut bundle, "bind", &source, &["bind", "idmap=uids=0-10-5#1003-2003-1;gids=1000-3000-5"], None);
    let seen = bundle.fingerprint(&["--stat", "/mnt/mapped/file"]);
    assert_eq!(owner(&seen, "/mnt/mapped/file"), [2003, 3003]);
    let (mut bundle, source) = bundle_with_file("crun");
    in_user_namespace(&mut bundle);
    add(&mut bundle, "bind", &source, &["bind", "idmap=uids=@1003-5-1;gids=@1003-6-1"], None);
    let seen = bundle.fingerprint(&["--stat", "/mnt/mapped/file"]);
    assert_eq!(owner(&seen, "/mnt/mapped/file"), [5, 6], "behind an @ the ids are the container's");
}

#[test]
fn without_any_maps_it_is_an_error() {
    for option in ["idmap", "ridmap"] {
        let (mut bundle, source) = bundle_with_file("none");
        add(&mut bundle, "bind", &source, &["bind", option], None);
        bundle.run().fails(&["/mounts/7/options/1", "uidMappings", "user namespace"]);
        bundle.nothing_left();
    }
}

#[test]
fn what_the_kernel_cannot_map_is_named() {
    let mut bundle = Bundle::new("sysfs");
    add(&mut bundle, "bind", "/sys/kernel", &["bind", "idmap"], Some((0, 5000, 10)));
    bundle.run().fails(&[
        "/mounts/7",
        "/sys/kernel (sysfs) has no id-mapped mounts in this kernel",
        "invalid argument",
    ]);
    bundle.nothing_left();
    let mut bundle = Bundle::new("devpts");
    add(&mut bundle, "devpts", "devpts", &["idmap"], Some((0, 5000, 10)));
    bundle.run().fails(&["/mounts/7", "devpts has no id-mapped mounts in this kernel"]);
    bundle.nothing_left();
}

#[test]
fn what_makes_no_sense_to_map_is_refused() {
    for (kind, options, why) in [
        ("proc", &["idmap"][..], "belongs to the container's namespaces"),
        ("mqueue", &["idmap"], "belongs to the container's namespaces"),
        ("cgroup", &["idmap"], "belongs to the container's namespaces"),
        ("tmpfs", &["remount", "idmap"], "only be mapped when it is made"),
        ("tmpfs", &["iversion", "idmap"], "no iversion"),
    ] {
        let mut bundle = Bundle::new("senseless");
        add(&mut bundle, kind, kind, options, Some((0, 5000, 10)));
        bundle.run().fails(&["/mounts/7", why]);
        bundle.nothing_left();
    }
}

#[test]
fn a_map_that_the_kernel_refuses_is_an_error_and_leaves_nothing() {
    let (mut bundle, source) = bundle_with_file("overlap");
    let map = json!([{"containerID": 0, "hostID": 5000, "size": 10}, {"containerID": 5, "hostID": 6000, "size": 10}]);
    bundle.set(
        "/mounts/-",
        json!({"destination": "/mnt/mapped", "type": "bind", "source": source, "options": ["bind", "idmap"],
               "uidMappings": map, "gidMappings": map}),
    );
    bundle.run().fails(&["/mounts/7"]);
    bundle.nothing_left();
}

#[test]
fn the_plan_says_which_ids_are_mapped() {
    let (mut bundle, source) = bundle_with_file("explain");
    add(&mut bundle, "bind", &source, &["bind", "ridmap"], Some((0, 5000, 10)));
    bundle.save();
    let text = bundle.rt(&["explain", &bundle.text("")]).run().ok().stdout;
    assert!(
        text.contains("map ids of source #0 and of all below: uids 0 5000 10; gids 0 5000 10    <- /mounts/7"),
        "{text}"
    );
}
