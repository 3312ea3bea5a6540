//! Devices, masked and read-only paths, and paths in a hostile image: nothing may lead out of the root.

mod common;

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};

use common::{Bundle, Canary, json, texts};
use serde_json::Value;

const DEFAULT_DEVICES: [(&str, [u32; 2]); 6] = [
    ("/dev/null", [1, 3]),
    ("/dev/zero", [1, 5]),
    ("/dev/full", [1, 7]),
    ("/dev/random", [1, 8]),
    ("/dev/urandom", [1, 9]),
    ("/dev/tty", [5, 0]),
];

/// The probe's look at one path.
fn look<'a>(seen: &'a Value, path: &str) -> &'a Value {
    &seen["stat"][path]
}

#[test]
fn the_default_devices_are_there_and_work() {
    let mut bundle = Bundle::new("devices");
    let mut options = Vec::new();
    for (path, _) in DEFAULT_DEVICES {
        options.extend(["--stat", path]);
    }
    let seen = bundle.fingerprint(&options);
    for (path, rdev) in DEFAULT_DEVICES {
        let device = look(&seen, path);
        assert_eq!([&device["type"], &device["mode"]], ["char", "0666"], "{path}: {device}");
        assert_eq!([&device["uid"], &device["gid"]], [0, 0], "{path}");
        assert_eq!(device["rdev"], json!(rdev), "{path}");
        if path != "/dev/tty" {
            assert_eq!([&device["read"], &device["write"]], ["ok", "ok"], "{path}");
        }
    }
    assert_eq!(look(&seen, "/dev/null")["first"], "");
    assert_eq!(look(&seen, "/dev/zero")["first"], "\0".repeat(64));
    assert_ne!(look(&seen, "/dev/urandom")["first"], "\0".repeat(64));
}

#[test]
fn a_full_device_is_full() {
    let mut bundle = Bundle::new("full");
    bundle.args(["/probe", "write", "/dev/full", "x"]);
    assert_eq!(bundle.run().exits(1).stdout, "ENOSPC\n");
}

#[test]
fn the_default_links_are_there() {
    let mut bundle = Bundle::new("links");
    let links = [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
        ("/dev/ptmx", "pts/ptmx"),
    ];
    let mut options = Vec::new();
    for (path, _) in links {
        options.extend(["--stat", path]);
    }
    let seen = bundle.fingerprint(&options);
    for (path, target) in links {
        let link = look(&seen, path)["link"].as_str().unwrap_or_else(|| panic!("{path} is no link"));
        assert!(link == target || link == format!("/dev/{target}"), "{path} -> {link}");
    }
    assert_eq!(look(&seen, "/dev/ptmx")["read"], "read EAGAIN", "a new pty can be opened");
}

#[test]
fn without_a_terminal_there_is_no_console() {
    let mut bundle = Bundle::new("noconsole");
    let seen = bundle.fingerprint(&["--stat", "/dev/console"]);
    assert_eq!(look(&seen, "/dev/console")["error"], "ENOENT");
}

#[test]
fn dev_holds_nothing_else() {
    let mut bundle = Bundle::new("dev");
    let seen = bundle.fingerprint(&["--stat", "/dev"]);
    let mut expected =
        vec!["fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout"];
    expected.extend(["tty", "urandom", "zero"]);
    let mut found = texts(&look(&seen, "/dev")["entries"]);
    found.retain(|name| name != "core"); // a link to /proc/kcore, where the kernel has one
    assert_eq!(found, expected);
}

#[test]
fn extra_devices_have_their_type_number_mode_and_owner() {
    let mut bundle = Bundle::new("extra");
    bundle.set(
        "/linux/devices",
        json!([
            {"path": "/dev/character", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 1000, "gid": 1001},
            {"path": "/dev/unbuffered", "type": "u", "major": 1, "minor": 3, "fileMode": 0o600},
            {"path": "/dev/deep/er/block", "type": "b", "major": 7, "minor": 99, "fileMode": 0o660, "gid": 6},
            {"path": "/dev/pipe", "type": "p", "fileMode": 0o622, "uid": 5},
            {"path": "/mnt/outside-dev", "type": "c", "major": 1, "minor": 7, "fileMode": 0o666},
            {"path": "/dev/plain", "type": "c", "major": 1, "minor": 3}
        ]),
    );
    type Row = (&'static str, &'static str, &'static str, [u32; 2], [u32; 2]);
    let rows: [Row; 5] = [
        ("/dev/character", "char", "0640", [1, 5], [1000, 1001]),
        ("/dev/unbuffered", "char", "0600", [1, 3], [0, 0]),
        ("/dev/deep/er/block", "block", "0660", [7, 99], [0, 6]),
        ("/dev/pipe", "fifo", "0622", [0, 0], [5, 0]),
        ("/mnt/outside-dev", "char", "0666", [1, 7], [0, 0]),
    ];
    let mut options = vec!["--stat", "/dev/plain"];
    for row in &rows {
        options.extend(["--stat", row.0]);
    }
    let seen = bundle.fingerprint(&options);
    for (path, kind, mode, rdev, owner) in rows {
        let device = look(&seen, path);
        assert_eq!([&device["type"], &device["mode"]], [kind, mode], "{path}: {device}");
        assert_eq!(device["rdev"], json!(rdev), "{path}");
        assert_eq!([&device["uid"], &device["gid"]], owner, "{path}");
    }
    assert_eq!(look(&seen, "/dev/plain")["type"], "char");
}

#[test]
fn a_device_that_is_listed_twice_or_is_a_default_one_is_fine() {
    let mut bundle = Bundle::new("same");
    let device = json!({"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666});
    bundle.set("/linux/devices", json!([device, device]));
    let seen = bundle.fingerprint(&["--stat", "/dev/null"]);
    assert_eq!(look(&seen, "/dev/null")["rdev"], json!([1, 3]));
    assert_eq!(look(&seen, "/dev/null")["mode"], "0666");
}

#[test]
fn a_default_device_in_the_image_with_the_right_number_is_kept() {
    let mut bundle = Bundle::new("image-dev");
    bundle.remove("/mounts/1"); // no tmpfs on /dev: the devices go into the image
    bundle.remove("/mounts/1").remove("/mounts/1").remove("/mounts/1");
    let seen = bundle.fingerprint(&["--stat", "/dev/null"]);
    assert_eq!(look(&seen, "/dev/null")["rdev"], json!([1, 3]));
    let made = fs::symlink_metadata(bundle.path("rootfs/dev/null")).expect("made in the image");
    assert!(made.file_type().is_char_device());
    let again = bundle.fingerprint(&["--stat", "/dev/null"]);
    assert_eq!(look(&again, "/dev/null")["write"], "ok");
    assert_eq!(fs::symlink_metadata(bundle.path("rootfs/dev/null")).expect("still there").ino(), made.ino());
}

#[test]
fn a_masked_file_is_empty_and_a_masked_directory_is_bare() {
    let mut bundle = Bundle::new("masked");
    bundle.write("rootfs/etc/secret", "secret\n");
    bundle.write("rootfs/etc/secrets/one", "secret\n");
    symlink("secret", bundle.path("rootfs/etc/way")).expect("a link");
    let masks = ["/etc/secret", "/etc/secrets", "/etc/way", "/etc/nowhere", "/nowhere/at/all", "/proc/keys"];
    bundle.set("/linux/maskedPaths", json!(masks));
    let paths = ["/etc/secret", "/etc/secrets", "/etc/secrets/one", "/etc/way", "/etc/nowhere", "/proc/keys"];
    let options: Vec<&str> = paths.iter().flat_map(|path| ["--stat", path]).collect();
    let seen = bundle.fingerprint(&options);
    for path in ["/etc/secret", "/etc/way", "/proc/keys"] {
        assert_eq!(look(&seen, path)["read"], "ok", "{path}");
        assert_eq!(look(&seen, path)["first"], "", "{path} shows something");
    }
    assert_eq!(look(&seen, "/etc/secret")["rdev"], json!([1, 3]), "it is /dev/null");
    assert_eq!(look(&seen, "/etc/secrets")["entries"], json!([]));
    assert_eq!(look(&seen, "/etc/secrets")["write"], "EROFS");
    assert_eq!(look(&seen, "/etc/secrets/one")["error"], "ENOENT");
    assert_eq!(look(&seen, "/etc/nowhere")["error"], "ENOENT", "a mask makes nothing");
    assert_eq!(fs::read_to_string(bundle.path("rootfs/etc/secret")).expect("the image"), "secret\n");
}

#[test]
fn what_is_written_to_a_masked_file_is_gone() {
    let mut bundle = Bundle::new("masked-write");
    bundle.write("rootfs/etc/secret", "secret\n");
    bundle.set("/linux/maskedPaths", json!(["/etc/secret"])).args(["/probe", "write", "/etc/secret", "overwritten"]);
    bundle.run();
    assert_eq!(fs::read_to_string(bundle.path("rootfs/etc/secret")).expect("the image"), "secret\n");
}

#[test]
fn a_path_that_is_masked_twice_is_masked() {
    let mut bundle = Bundle::new("masked-twice");
    bundle.write("rootfs/etc/secrets/one", "secret\n");
    bundle.set("/linux/maskedPaths", json!(["/etc/secrets", "/etc/secrets", "/proc/keys", "/proc/keys"]));
    let seen = bundle.fingerprint(&["--stat", "/etc/secrets", "--stat", "/proc/keys"]);
    assert_eq!(look(&seen, "/etc/secrets")["entries"], json!([]));
    assert_eq!(look(&seen, "/proc/keys")["first"], "");
}

#[test]
fn masks_work_with_a_read_only_root_and_in_a_user_namespace() {
    let mut bundle = Bundle::new("masked-userns");
    bundle.write("rootfs/etc/secret", "secret\n");
    bundle.write("rootfs/etc/secrets/one", "secret\n");
    bundle.set("/linux/maskedPaths", json!(["/etc/secret", "/etc/secrets"])).set("/root/readonly", json!(true));
    bundle.set("/linux/namespaces/-", json!({"type": "user"}));
    for map in ["/linux/uidMappings", "/linux/gidMappings"] {
        bundle.set(map, json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]));
    }
    let seen = bundle.fingerprint(&["--stat", "/etc/secret", "--stat", "/etc/secrets", "--stat", "/etc/passwd"]);
    assert_eq!(look(&seen, "/etc/secret")["first"], "");
    assert_eq!(look(&seen, "/etc/secrets")["entries"], json!([]));
    assert_ne!(look(&seen, "/etc/passwd")["write"], "ok");
}

#[test]
fn read_only_paths_are_read_only_and_keep_their_content() {
    let mut bundle = Bundle::new("readonly");
    bundle.write("rootfs/etc/fixed", "fixed\n");
    bundle.write("rootfs/etc/tree/below", "below\n");
    bundle.mount("/etc/tree/sub", "tmpfs", "tmpfs", &["nosuid"]);
    bundle.set("/linux/readonlyPaths", json!(["/etc/fixed", "/etc/tree", "/proc/sys", "/nowhere", "/etc/tree"]));
    let paths =
        ["/etc/fixed", "/etc/tree", "/etc/tree/below", "/etc/tree/sub", "/proc/sys/kernel/msgmax", "/etc/passwd"];
    let options: Vec<&str> = paths.iter().flat_map(|path| ["--stat", path]).collect();
    let seen = bundle.fingerprint(&options);
    for path in ["/etc/fixed", "/etc/tree", "/etc/tree/below", "/proc/sys/kernel/msgmax"] {
        assert_eq!(look(&seen, path)["write"], "EROFS", "{path}: {}", look(&seen, path));
    }
    assert_eq!(look(&seen, "/etc/fixed")["first"], "fixed\n");
    assert_eq!(look(&seen, "/etc/tree/below")["first"], "below\n");
    assert_eq!(look(&seen, "/etc/passwd")["write"], "ok", "only what was asked for");
}

#[test]
fn a_read_only_path_keeps_the_flags_of_the_mount_it_lies_on() {
    let mut bundle = Bundle::new("readonly-flags");
    bundle.set("/linux/readonlyPaths", json!(["/proc/sys"]));
    let seen = bundle.fingerprint(&[]);
    let all = seen["mounts"].as_array().expect("mounts");
    let mount = all.iter().find(|mount| mount["target"] == "/proc/sys").expect("a mount of its own");
    for word in ["ro", "nosuid", "nodev", "noexec"] {
        assert!(texts(&mount["options"]).iter().any(|option| option == word), "{word}: {mount}");
    }
}

/// A bundle with a canary on the host and links to it in the image: absolute, relative, beyond the root.
fn hostile(name: &str) -> (Bundle, Canary) {
    let bundle = Bundle::new(name);
    let canary = Canary::plant(&bundle.path("canary"));
    let absolute = bundle.text("canary");
    symlink(&absolute, bundle.path("rootfs/mnt/absolute")).expect("a link");
    symlink("../../canary", bundle.path("rootfs/mnt/relative")).expect("a link");
    symlink(format!("../../../../../../../../../..{absolute}"), bundle.path("rootfs/mnt/beyond")).expect("a link");
    (bundle, canary)
}

/// The links of [`hostile`].
const LINKS: [&str; 3] = ["/mnt/absolute", "/mnt/relative", "/mnt/beyond"];

#[test]
fn a_mount_target_that_is_a_link_is_taken_inside_the_root() {
    for link in LINKS {
        for below in ["", "/sub", "/sub/new/deep"] {
            let (mut bundle, canary) = hostile("link-mount");
            bundle.write("outside/file", "x");
            bundle.mount(&format!("{link}{below}"), "tmpfs", "tmpfs", &["mode=0711"]).args(["/bin/true"]);
            let output = bundle.run();
            assert!(output.success() || !output.stderr.is_empty(), "an error says something");
            canary.untouched();
        }
    }
}

#[test]
fn a_file_target_that_is_a_link_is_taken_inside_the_root() {
    for link in LINKS {
        for below in ["/secret", "/new-file", "/sub/file"] {
            let (mut bundle, canary) = hostile("link-file");
            bundle.write("outside/file", "outside\n");
            let source = bundle.text("outside/file");
            bundle.mount(&format!("{link}{below}"), "bind", &source, &["bind"]).args(["/bin/true"]);
            bundle.run();
            canary.untouched();
        }
    }
}

#[test]
fn a_link_with_a_target_that_does_not_exist_is_a_good_mount_target() {
    // Images have them: /var/run -> /run in a layer that has no /run.
    let mut bundle = Bundle::new("dangling");
    symlink("/nowhere/yet", bundle.path("rootfs/mnt/dangling")).expect("a link");
    bundle.mount("/mnt/dangling/dir", "tmpfs", "tmpfs", &["mode=0711"]);
    let seen = bundle.fingerprint(&["--stat", "/nowhere/yet/dir"]);
    assert_eq!(look(&seen, "/nowhere/yet/dir")["mode"], "0711");
}

#[test]
fn an_absolute_link_in_the_image_is_relative_to_the_root() {
    let mut bundle = Bundle::new("absolute-link");
    bundle.directory("rootfs/real");
    symlink("/real", bundle.path("rootfs/mnt/link")).expect("a link");
    bundle.mount("/mnt/link", "tmpfs", "tmpfs", &["mode=0711"]);
    let seen = bundle.fingerprint(&["--stat", "/real"]);
    assert_eq!(look(&seen, "/real")["mode"], "0711");
}

#[test]
fn a_device_path_that_is_a_link_does_not_lead_out() {
    for link in LINKS {
        let (mut bundle, canary) = hostile("link-device");
        bundle.set(
            "/linux/devices",
            json!([{"path": format!("{link}/null"), "type": "c", "major": 1, "minor": 3, "fileMode": 0o666},
                   {"path": format!("{link}/sub/fresh"), "type": "p"}]),
        );
        bundle.args(["/bin/true"]);
        bundle.run();
        canary.untouched();
    }
}

#[test]
fn dev_proc_and_sys_that_are_links_do_not_lead_out() {
    for name in ["dev", "proc", "sys", "dev/pts", "dev/shm", "dev/mqueue"] {
        let (bundle, canary) = hostile("link-system");
        let mut bundle = bundle;
        let place = bundle.rootfs().join(name);
        if fs::symlink_metadata(&place).is_ok() {
            fs::remove_dir_all(&place).expect("the directory in the image");
        }
        symlink(canary.root(), &place).expect("a link");
        if name.starts_with("dev/") {
            bundle.remove("/mounts/1"); // no tmpfs on /dev, so the links of the image are in the way
        }
        bundle.args(["/bin/true"]);
        let output = bundle.run();
        canary.untouched();
        if matches!(name, "proc" | "sys") {
            output.fails(&[name]);
        }
    }
}

#[test]
fn a_dev_of_the_image_with_links_in_place_of_devices_harms_nobody() {
    for names in [["null", "zero", "full"], ["ptmx", "fd", "stdin"], ["console", "tty", "core"]] {
        let (bundle, canary) = hostile("link-dev");
        let mut bundle = bundle;
        for _ in 0..4 {
            bundle.remove("/mounts/1"); // /dev and what lies on it
        }
        for name in names {
            symlink(canary.root().join("secret"), bundle.rootfs().join("dev").join(name)).expect("a link");
        }
        bundle.args(["/bin/true"]);
        bundle.run();
        canary.untouched();
    }
}

#[test]
fn masks_and_read_only_paths_that_are_links_do_not_lead_out() {
    for link in LINKS {
        let (mut bundle, canary) = hostile("link-mask");
        bundle.set("/linux/maskedPaths", json!([link, format!("{link}/secret")]));
        bundle.set("/linux/readonlyPaths", json!([link, format!("{link}/sub")]));
        bundle.args(["/bin/true"]);
        bundle.run();
        canary.untouched();
    }
}

#[test]
fn a_cwd_that_is_a_link_is_made_inside() {
    for link in LINKS {
        let (mut bundle, canary) = hostile("link-cwd");
        bundle.set("/process/cwd", json!(format!("{link}/sub/fresh"))).args(["/bin/true"]);
        bundle.run();
        canary.untouched();
    }
}

#[test]
fn a_loop_of_links_is_an_error_and_not_a_hang() {
    let mut bundle = Bundle::new("link-loop");
    symlink("b", bundle.path("rootfs/mnt/a")).expect("a link");
    symlink("a", bundle.path("rootfs/mnt/b")).expect("a link");
    bundle.mount("/mnt/a/dir", "tmpfs", "tmpfs", &[]);
    bundle.run().fails(&["too many"]);
    bundle.nothing_left();
}

#[test]
fn a_fifo_as_a_bind_target_is_never_opened() {
    let mut bundle = Bundle::new("fifo");
    nix::unistd::mkfifo(&bundle.path("rootfs/mnt/fifo"), nix::sys::stat::Mode::from_bits_truncate(0o644))
        .expect("a fifo");
    bundle.write("outside/file", "outside\n");
    let source = bundle.text("outside/file");
    bundle.mount("/mnt/fifo", "bind", &source, &["bind"]);
    let seen = bundle.fingerprint(&["--stat", "/mnt/fifo"]);
    assert_eq!(look(&seen, "/mnt/fifo")["first"], "outside\n");
}

#[test]
fn the_links_of_a_bound_directory_do_not_lead_out_either() {
    let (mut bundle, canary) = hostile("link-volume");
    symlink(canary.root(), bundle.directory("volume").join("way")).expect("a link");
    let volume = bundle.text("volume");
    bundle.mount("/mnt/volume", "bind", &volume, &["bind"]);
    bundle.mount("/mnt/volume/way/sub", "tmpfs", "tmpfs", &["mode=0700"]).args(["/bin/true"]);
    bundle.run();
    canary.untouched();
}

#[test]
fn mounting_over_proc_is_refused_but_over_a_harmless_file_of_it_is_not() {
    for (target, allowed) in
        [("/proc/self", false), ("/proc/sys", false), ("/proc/1/attr", false), ("/proc/uptime", true)]
    {
        let mut bundle = Bundle::new("over-proc");
        bundle.write("outside/file", "1.0 1.0\n");
        let source = if allowed { bundle.text("outside/file") } else { bundle.text("outside") };
        bundle.mount(target, "bind", &source, &["bind"]).args(["/bin/true"]);
        let output = bundle.run();
        assert_eq!(output.success(), allowed, "{target}: {}", output.stderr);
    }
}
