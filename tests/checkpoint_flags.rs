//! The flags of `checkpoint` and `restore` that are CRIU's own options: each shown by what a real CRIU does with it, and
//! all of them by the request that CRIU gets, for the kernel of a test machine doesn't have everything.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use common::caller::handed;
use common::saved::{Saved, counting, criu, finish};
use common::{Bundle, Output, cgroups, children, json, patience, wait_until};

/// A helper of CRIU's in this bundle's name; ended when it goes.
struct Daemon(Child);

impl Daemon {
    fn new(bundle: &Bundle, words: &[&str]) -> Self {
        let mut command = Command::new(criu().expect("looked for before"));
        command.args(words).env("RT_TEST_ID", &bundle.id).stdin(Stdio::null());
        let log = fs::File::create(bundle.path(&format!("{}.out", words[0]))).expect("a file");
        command.stdout(log.try_clone().expect("a copy")).stderr(log);
        Self(children::spawn(&mut command).expect("criu starts"))
    }

    /// Waits for its end.
    fn ends(&mut self) {
        let ended = wait_until(patience(), || self.0.try_wait().expect("our own child"));
        assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        children::release(&self.0);
    }
}

/// A port that nobody has just now.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port()
}

/// Waits until a file is there.
#[track_caller]
fn appears(path: &Path) {
    let there = wait_until(patience(), || fs::metadata(path).ok());
    assert!(there.is_some(), "{} never came", path.display());
}

/// Whether somebody listens on a port of this machine; nobody is disturbed by the look.
fn is_listened_on(port: u16) -> bool {
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default()
        + &fs::read_to_string("/proc/net/tcp6").unwrap_or_default();
    table.lines().any(|line| line.contains(&format!(":{port:04X} ")) && line.split_whitespace().nth(3) == Some("0A"))
}

#[test]
fn pages_go_to_a_page_server() {
    need_criu!();
    let bundle = counting("criups", &["memory"]);
    let elsewhere = bundle.directory("elsewhere-pages");
    bundle.begin();
    let port = free_port();
    let words = ["page-server", "--images-dir", elsewhere.to_str().expect("text"), "--port", &port.to_string()];
    let mut server = Daemon::new(&bundle, &words);
    wait_until(patience(), || is_listened_on(port).then_some(())).expect("a page server");
    bundle.checkpoint(&["--page-server", &format!("127.0.0.1:{port}")]).ok();
    server.ends();
    let size = |at: &Path| -> u64 {
        let pages = fs::read_dir(at)
            .expect("images")
            .flatten()
            .filter(|e| e.file_name().to_string_lossy().starts_with("pages-"));
        pages.map(|entry| entry.metadata().expect("a file").len()).sum()
    };
    assert!(size(&elsewhere) >= 8 << 20, "the memory is there");
    assert_eq!(size(&bundle.path("images")), 0, "and not here");
    for entry in fs::read_dir(&elsewhere).expect("the pages").flatten() {
        fs::copy(entry.path(), bundle.path("images").join(entry.file_name())).expect("a copy");
    }
    let before = bundle.counted();
    bundle.restore(&["--detach"]).ok();
    bundle.counts_past(before + 50);
    finish(&bundle);
}

#[test]
fn pages_come_when_they_are_needed() {
    need_criu!();
    if fs::metadata("/dev/userfaultfd").is_err() {
        skip!("this kernel has no userfaultfd (CONFIG_USERFAULTFD)");
    }
    let bundle = counting("criulazy", &["memory"]);
    bundle.begin();
    let before = bundle.counted();
    let port = free_port();
    let (mut ready, writer) = std::io::pipe().expect("a pipe");
    let (images, server) = (bundle.images(), format!("127.0.0.1:{port}"));
    let words = [
        "checkpoint",
        "--lazy-pages",
        "--page-server",
        &server,
        "--status-fd",
        "5",
        "--image-path",
        &images,
        "--work-path",
        &bundle.text("work"),
        &bundle.id,
    ];
    let saving = bundle.verb(&words).before_exec(handed(&writer, 5)).spawn();
    drop(writer);
    // The caller is told when the pages can be asked for, and not before.
    let mut said = [9];
    if ready.read_exact(&mut said).is_err() {
        panic!("nobody says that it is ready: {}", saving.wait().stderr);
    }
    assert_eq!(said, [0]);
    assert!(is_listened_on(port));
    assert!(fs::metadata(bundle.path("images/inventory.img")).is_ok());
    let pages = fs::metadata(bundle.path("images/pages-1.img")).map_or(0, |file| file.len());
    assert!(pages < 8 << 20, "the memory is not in the images: {pages}");
    assert_eq!(bundle.counted(), before.max(bundle.counted()), "it stands still");
    let words = [
        "lazy-pages",
        "--page-server",
        "--address",
        "127.0.0.1",
        "--port",
        &port.to_string(),
        "-D",
        &images,
        "-W",
        &images,
    ];
    let mut pager = Daemon::new(&bundle, &words);
    appears(&bundle.path("images/lazy-pages.socket"));
    // The one that is saved ends when its last page is gone: the other must have another name and other cgroups.
    let mut other = bundle.beside("criulazy2");
    other.config = bundle.config.clone();
    let cgroup = format!("/{}", other.id);
    other.set("/root/path", json!(bundle.text("rootfs"))).set("/linux/cgroupsPath", json!(cgroup));
    other.save();
    let before = bundle.counted();
    let words =
        ["restore", "--lazy-pages", "--detach", "--bundle", &other.text(""), "--image-path", &images, &other.id];
    let back = other.verb(&words).run();
    let saved = saving.wait();
    // CRIU 4.2.1 on Linux 6.18, without any runtime: its page server fails at the first page.
    if !saved.success() && saved.stderr.contains("page-pipe: splice") {
        back.fails(&["criu failed: type RESTORE"]);
        assert_eq!(other.status(), "gone");
        assert_eq!(bundle.status(), "running", "what could not be handed over runs on");
        bundle.counts_past(before);
        finish(&bundle);
        skip!("this CRIU can't serve pages on this kernel (page-pipe: splice)");
    }
    back.ok();
    saved.ok();
    pager.ends();
    assert_eq!(bundle.status(), "gone", "saved, and ended");
    // Through all pages once.
    bundle.counts_past(before + 2100);
    assert_eq!(bundle.begun(), 1);
    finish(&other);
}

#[test]
fn a_restore_may_take_the_pages_out_of_the_images() {
    need_criu!();
    let bundle = counting("criudedup", &["memory"]);
    for (flags, taken) in [(&[][..], false), (&["--auto-dedup"], true)] {
        match taken {
            false => bundle.begin(),
            true => fs::rename(bundle.path("images"), bundle.path("first")).expect("other images"),
        }
        bundle.checkpoint(flags).ok();
        let blocks = || fs::metadata(bundle.path("images/pages-1.img")).expect("the pages").blocks();
        let (all, before) = (blocks(), bundle.counted());
        bundle.restore(&[&["--detach"], flags].concat()).ok();
        bundle.counts_past(before);
        assert_eq!(blocks() < all / 2, taken, "{flags:?}: {} of {all}", blocks());
    }
    finish(&bundle);
}

#[test]
fn a_file_whose_name_is_gone_is_linked_on_demand() {
    need_criu!();
    let bundle = counting("criulink", &["unlinked", "/tmp/kept"]);
    bundle.begin();
    bundle.checkpoint(&[]).fails(&["criu failed: type DUMP", "link-remap", "dump.log"]);
    bundle.counts_past(bundle.counted());
    bundle.checkpoint(&["--link-remap"]).ok();
    let before = bundle.counted();
    bundle.restore(&["--detach", "--link-remap"]).ok();
    bundle.counts_past(before);
    // It writes where it wrote.
    let last = || {
        let text = fs::read_to_string(bundle.path("rootfs/tmp/kept.other")).unwrap_or_default();
        text.lines().last().and_then(|line| line.parse::<u64>().ok()).unwrap_or(0)
    };
    assert!(wait_until(patience(), || (last() > before + 5).then_some(())).is_some(), "{} after {before}", last());
    finish(&bundle);
}

#[test]
fn connections_come_back_closed_on_demand() {
    need_criu!();
    let bundle = counting("criuclose", &["tcp-until-closed", "/tmp/closed"]);
    bundle.begin();
    bundle.checkpoint(&["--tcp-established"]).ok();
    assert!(fs::metadata(bundle.path("rootfs/tmp/closed")).is_err());
    bundle.restore(&["--detach"]).fails(&["criu failed: type RESTORE", "Connected TCP socket"]);
    let before = bundle.counted();
    bundle.restore(&["--detach", "--tcp-close"]).ok();
    bundle.counts_past(before);
    appears(&bundle.path("rootfs/tmp/closed"));
    finish(&bundle);
}

#[test]
fn connections_that_nobody_has_accepted_are_left_out_on_demand() {
    need_criu!();
    let mut bundle = counting("criuflight", &["waiting", "/tmp/port"]);
    bundle.without_namespace("network");
    bundle.begin();
    let port: u16 = fs::read_to_string(bundle.path("rootfs/tmp/port")).expect("a port").parse().expect("a number");
    let ours = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    bundle.checkpoint(&[]).fails(&["criu failed: type DUMP", "n-flight connection", "dump.log"]);
    bundle.counts_past(bundle.counted());
    bundle.checkpoint(&["--tcp-skip-in-flight"]).ok();
    drop(ours);
    let before = bundle.counted();
    bundle.restore(&["--detach", "--tcp-skip-in-flight"]).ok();
    bundle.counts_past(before);
    TcpStream::connect(("127.0.0.1", port)).expect("it listens again");
    finish(&bundle);
}

/// The tree that counts processes.
fn pids() -> PathBuf {
    cgroups::v1("pids").or_else(|| cgroups::v2("pids")).expect("a hierarchy that counts pids")
}

/// The pids limit of a cgroup of the container's, by its path below it, and the cgroup that init is in.
fn limits_and_place(bundle: &Bundle, below: &str) -> (String, String) {
    let table = fs::read_to_string(format!("/proc/{}/cgroup", bundle.pid())).expect("it lives");
    let line =
        table.lines().find(|line| line.contains(":pids:") || cgroups::v1("pids").is_none() && line.starts_with("0::"));
    let place = line.and_then(|line| line.rsplit(&bundle.id).next()).unwrap_or_default().to_owned();
    (cgroups::value(&pids().join(&bundle.id).join(below).join("pids.max")), place)
}

#[test]
fn cgroups_below_the_container_s_come_back_unless_they_are_to_be_ignored() {
    need_criu!();
    for (mode, place) in [("soft", "/below"), ("full", "/below"), ("ignore", "")] {
        let mut bundle = counting("criubelow", &[]);
        bundle.set("/linux/resources", json!({"pids": {"limit": 77}}));
        bundle.begin();
        let dir = pids().join(&bundle.id);
        // As somebody in the container would who may.
        fs::create_dir(dir.join("below")).expect("a cgroup");
        fs::write(dir.join("below/cgroup.procs"), bundle.pid().to_string()).expect("init moves");
        if cgroups::v1("pids").is_none() {
            fs::write(dir.join("cgroup.subtree_control"), "+pids").expect("the controller");
        }
        fs::write(dir.join("below/pids.max"), "55").expect("a limit");
        assert_eq!(limits_and_place(&bundle, "below"), ("55".to_owned(), "/below".to_owned()));
        bundle.checkpoint(&["--manage-cgroups-mode", mode]).ok();
        let before = bundle.counted();
        bundle.restore(&["--detach", "--manage-cgroups-mode", mode]).ok();
        bundle.counts_past(before);
        assert_eq!(limits_and_place(&bundle, ""), ("77".to_owned(), place.to_owned()), "{mode}");
        if place == "/below" {
            assert_eq!(limits_and_place(&bundle, "below").0, "55", "{mode}");
        }
        finish(&bundle);
    }
}

/// What lies beside the images names groups and files: none outside of the container's cgroup is touched.
#[test]
fn saved_groups_lead_nowhere_but_into_the_container_s_cgroup() {
    need_criu!();
    let Some(v2) = cgroups::hierarchies().into_iter().find(|hierarchy| hierarchy.unified) else {
        skip!("no cgroup v2 on this host");
    };
    let bundle = counting("criuout", &[]);
    bundle.begin();
    bundle.checkpoint(&[]).ok();
    let name = format!("canary-{}", std::process::id());
    let canary = v2.mount.join(&name);
    fs::create_dir(&canary).expect("a cgroup beside the container's");
    let own = json!([0, 0]);
    let limit = |file: &str| json!([{"file": file, "value": "5", "owner": own}]);
    let out = format!("../{name}");
    let saved = bundle.path("images/cgroups.json");
    for (path, limits) in [(&*out, limit("cgroup.max.depth")), ("", limit(&format!("{out}/cgroup.max.depth")))] {
        let groups = json!([{"path": path, "controllers": [], "inhabited": false, "limits": limits}]);
        fs::write(&saved, groups.to_string()).expect("beside the images");
        bundle.restore(&["--detach", "--manage-cgroups-mode", "full"]).fails(&[&out, "invalid cross-device link"]);
        assert_eq!(cgroups::value(&canary.join("cgroup.max.depth")), "max", "{path:?}");
        assert_eq!(bundle.status(), "gone");
        bundle.nothing_left();
    }
    fs::remove_dir(&canary).expect("nobody is in it");
    fs::remove_file(saved).expect("it is ours");
    bundle.restore(&["--detach"]).ok();
    finish(&bundle);
}

/// Containers that make groups of their own pass memory on too, to groups that pass it on again, and have nobody in those.
#[test]
fn groups_below_groups_come_back_with_their_controllers_limits_and_owners() {
    need_criu!();
    if cgroups::v2("memory").is_none() {
        skip!("memory is on cgroup v1 here, where CRIU brings groups back by itself");
    }
    for mode in ["soft", "full", "ignore"] {
        let mut bundle = counting("criunested", &[]);
        bundle.set("/linux/resources", json!({"pids": {"limit": 77}, "memory": {"limit": 268_435_456}}));
        bundle.begin();
        let own = pids().join(&bundle.id);
        for group in ["middle", "middle/deep", "empty"] {
            fs::create_dir(own.join(group)).expect("a cgroup");
        }
        fs::write(own.join("middle/deep/cgroup.procs"), bundle.pid().to_string()).expect("init moves");
        for group in ["", "middle", "empty"] {
            fs::write(own.join(group).join("cgroup.subtree_control"), "+memory +pids +cpu").expect("controllers");
        }
        let limits = [
            ("middle/pids.max", "44"),
            ("middle/memory.high", "134217728"),
            ("middle/deep/memory.max", "67108864"),
            ("middle/deep/cpu.max", "90000 100000"),
            ("middle/deep/cpu.idle", "1"),
        ];
        for (file, value) in limits {
            fs::write(own.join(file), value).unwrap_or_else(|e| panic!("{file}: {e}"));
        }
        let owned = own.join("middle/deep/memory.max");
        std::os::unix::fs::chown(&owned, Some(7), Some(8)).expect("another owner");
        bundle.checkpoint(&["--manage-cgroups-mode", mode]).ok();
        let before = bundle.counted();
        bundle.restore(&["--detach", "--manage-cgroups-mode", mode]).ok();
        bundle.counts_past(before);
        assert_eq!(cgroups::value(&own.join("pids.max")), "77");
        if mode == "ignore" {
            assert!(fs::metadata(own.join("middle")).is_err(), "made in vain");
        } else {
            assert_eq!(limits_and_place(&bundle, "middle"), ("44".to_owned(), "/middle/deep".to_owned()), "{mode}");
            for (file, value) in limits {
                assert_eq!(cgroups::value(&own.join(file)), value, "{mode}: {file}");
            }
            for group in ["", "middle"] {
                let on = cgroups::value(&own.join(group).join("cgroup.subtree_control"));
                assert_eq!(on, "cpu memory pids", "{mode}: {group:?}");
            }
            let owner = fs::metadata(&owned).expect("the file");
            assert_eq!((owner.uid(), owner.gid()), (7, 8), "{mode}");
            // CRIU has left it, and nobody was in the other one.
            assert_eq!(cgroups::value(&own.join("cgroup.procs")), "", "{mode}");
            assert!(fs::metadata(own.join("empty")).is_err(), "{mode}");
        }
        finish(&bundle);
    }
}

/// Controllers that bear a group with processes may be passed on by init's own. That group is in CRIU's images, and CRIU passes
/// them on again; which is an error where it has not got them itself.
#[test]
fn groups_below_init_s_come_back_with_their_limits() {
    need_criu!();
    if cgroups::v2("pids").is_none() {
        skip!("pids is on cgroup v1 here, where CRIU brings groups back by itself");
    }
    for (mode, place) in [("soft", ""), ("full", ""), ("soft", "/middle"), ("full", "/middle")] {
        let mut bundle = counting("criubelowinit", &[]);
        bundle.set("/linux/resources", json!({"pids": {"limit": 77}}));
        bundle.begin();
        let own = pids().join(&bundle.id);
        let below = format!("{place}/below").trim_start_matches('/').to_owned();
        fs::create_dir_all(own.join(&below)).expect("cgroups");
        if !place.is_empty() {
            fs::write(own.join("middle/cgroup.procs"), bundle.pid().to_string()).expect("init moves");
            fs::write(own.join("middle/cgroup.subtree_control"), "+pids").expect_err("there is none to be passed on");
            fs::write(own.join("cgroup.subtree_control"), "+pids").expect("the controller");
            fs::write(own.join("middle/pids.max"), "66").expect("a limit");
        }
        fs::write(own.join(&below).parent().unwrap().join("cgroup.subtree_control"), "+pids").expect("the controller");
        fs::write(own.join(&below).join("pids.max"), "55").expect("a limit");
        bundle.checkpoint(&["--manage-cgroups-mode", mode]).ok();
        let before = bundle.counted();
        bundle.restore(&["--detach", "--manage-cgroups-mode", mode]).ok();
        bundle.counts_past(before);
        assert_eq!(limits_and_place(&bundle, &below), ("55".to_owned(), place.to_owned()), "{mode} {place}");
        let around = if place.is_empty() { "77" } else { "66" };
        assert_eq!(limits_and_place(&bundle, place.trim_start_matches('/')).0, around, "{mode} {place}");
        finish(&bundle);
    }
}

#[test]
fn the_container_s_own_limits_are_the_config_s_or_in_full_mode_the_image_s() {
    need_criu!();
    for (mode, own) in [("soft", "77"), ("full", "66"), ("ignore", "77")] {
        let mut bundle = counting("criuown", &[]);
        bundle.set("/linux/resources", json!({"pids": {"limit": 77}}));
        bundle.begin();
        // Behind our back: of this one no record knows.
        fs::write(pids().join(&bundle.id).join("pids.max"), "66").expect("a limit");
        bundle.checkpoint(&["--manage-cgroups-mode", mode]).ok();
        bundle.restore(&["--detach", "--manage-cgroups-mode", mode]).ok();
        assert_eq!(limits_and_place(&bundle, ""), (own.to_owned(), String::new()), "{mode}");
        finish(&bundle);
    }
}

#[test]
fn labels_that_this_host_cannot_give_are_an_error_that_leaves_nothing() {
    need_criu!();
    if fs::metadata("/sys/kernel/security/apparmor").is_ok() || fs::metadata("/sys/fs/selinux/enforce").is_ok() {
        skip!("this kernel has labels");
    }
    let bundle = counting("criulsm", &[]);
    bundle.begin();
    bundle.checkpoint(&[]).ok();
    for profile in ["apparmor:some-profile", "selinux:system_u:system_r:some_t:s0", "nonsense"] {
        bundle.restore(&["--detach", "--lsm-profile", profile]).fails(&["criu"]);
        assert_eq!(bundle.status(), "gone");
        bundle.nothing_left();
    }
    // Mounts have no context here that another one could take the place of.
    let before = bundle.counted();
    bundle.restore(&["--detach", "--lsm-mount-context", "system_u:object_r:container_file_t:s0"]).ok();
    bundle.counts_past(before);
    finish(&bundle);
}

/// The fields of a message: numbers as text, the rest as it is.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let varint = |bytes: &mut &[u8]| {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let (first, rest) = bytes.split_first().expect("a whole number");
            *bytes = rest;
            value |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                break;
            }
        }
        value
    };
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let value = varint(&mut bytes);
        match key & 7 {
            0 => found.push((key >> 3, value.to_string().into_bytes())),
            2 => {
                let (content, rest) = bytes.split_at(value as usize);
                found.push((key >> 3, content.to_vec()));
                bytes = rest;
            }
            other => panic!("a field of kind {other}"),
        }
    }
    found
}

/// What a CRIU is asked that writes the request down and does nothing.
struct Asked {
    kind: String,
    options: BTreeMap<u64, Vec<Vec<u8>>>,
}

impl Asked {
    fn read(bundle: &Bundle) -> Self {
        let bytes = fs::read(bundle.path("request")).expect("a request");
        let request = fields(&bytes);
        let kind = String::from_utf8(request[0].1.clone()).expect("a number");
        let mut options: BTreeMap<u64, Vec<Vec<u8>>> = BTreeMap::new();
        for (field, value) in fields(&request[1].1) {
            options.entry(field).or_default().push(value);
        }
        fs::remove_file(bundle.path("request")).expect("the request");
        Self { kind, options }
    }

    /// A field's value as text.
    fn text(&self, field: u64) -> Option<String> {
        self.options.get(&field).map(|values| String::from_utf8_lossy(&values[0]).into_owned())
    }
}

/// The stand-in. It ends without an answer.
fn stand_in(bundle: &Bundle) -> String {
    let script = format!("#!/bin/sh\nexec dd bs=65536 count=1 of={} status=none <&3\n", bundle.text("request"));
    bundle.script("stand-in", &script).to_str().expect("text").to_owned()
}

fn refused(output: Output) {
    output.fails(&["criu ended without an answer"]);
}

#[test]
fn every_flag_is_in_the_request() {
    let bundle = counting("criuasked", &[]);
    bundle.begin();
    bundle.directory("images/parent");
    bundle.directory("images2/parent");
    let criu = stand_in(&bundle);
    let ask = |verb: &str, flags: &[&str]| {
        let (base, images) = (bundle.text(""), bundle.text("images2"));
        let own: &[&str] = if verb == "restore" { &["--detach", "--bundle", &base] } else { &[] };
        let words = [&["--criu", &criu, verb, "--image-path", &images], own, flags, &[bundle.id.as_str()]].concat();
        refused(bundle.rt(&words).env("PATH", "/usr/bin:/bin").run());
        Asked::read(&bundle)
    };
    for (flags, field, want) in [
        (&["--leave-running"][..], 3, "1"),
        (&["--parent-path", "parent"], 14, "parent"),
        (&["--parent-path", "parent"], 15, "1"),
        (&["--pre-dump"], 15, "1"),
        (&["--page-server", "192.0.2.1:4711"], 11, "\n\t192.0.2.1\u{10}\u{fffd}$"),
        (&["--status-fd", "1"], 12, "1"),
    ] {
        assert_eq!(ask("checkpoint", flags).text(field).as_deref(), Some(want), "{flags:?}");
    }
    assert_eq!(ask("checkpoint", &["--pre-dump"]).kind, "4");
    for verb in ["checkpoint", "restore"] {
        if verb == "restore" {
            assert_eq!(bundle.status(), "running");
            finish(&bundle);
        }
        let plain = ask(verb, &[]);
        assert_eq!(plain.kind, if verb == "restore" { "2" } else { "1" });
        for (flags, field, want) in [
            (&["--ext-unix-sk"][..], 4, "1"),
            (&["--tcp-established"], 5, "1"),
            (&["--shell-job"], 7, "1"),
            (&["--file-locks"], 8, "1"),
            (&["--auto-dedup"], 16, "1"),
            (&["--link-remap"], 18, "1"),
            (&["--manage-cgroups-mode", "ignore"], 34, "0"),
            (&["--manage-cgroups-mode", "full"], 34, "4"),
            (&["--manage-cgroups-mode=strict"], 34, "5"),
            (&["--empty-ns", "network"], 38, "1073741824"),
            (&["--tcp-skip-in-flight"], 46, "1"),
            (&["--lazy-pages"], 48, "1"),
            (&["--tcp-close"], 52, "1"),
        ] {
            assert_ne!(plain.text(field).as_deref(), Some(want), "{verb}: {field} without {flags:?}");
            assert_eq!(ask(verb, flags).text(field).as_deref(), Some(want), "{verb} {flags:?}");
        }
        // Nothing but the default is soft.
        assert_eq!(plain.text(34).as_deref(), Some("3"), "{verb}");
        assert_eq!(ask(verb, &["--manage-cgroups-mode", "soft"]).text(34).as_deref(), Some("3"), "{verb}");
    }
    for (flags, field, want) in [
        (["--lsm-profile", "apparmor:some"], 53, "apparmor:some"),
        (["--lsm-mount-context", "system_u:object_r:x_t:s0"], 63, "system_u:object_r:x_t:s0"),
    ] {
        assert_eq!(ask("restore", &flags).text(field).as_deref(), Some(want), "{flags:?}");
    }
    assert_eq!(bundle.status(), "gone");
}

#[test]
fn the_config_file_is_the_annotation_s_or_one_of_the_host() {
    let files = |names: &str| {
        format!(
            "unshare -m sh -c 'mount -t tmpfs none /etc && mkdir /etc/criu && for f in {names}; do echo > /etc/criu/$f; done; exec \"$@\"' sh \"$@\""
        )
    };
    for (annotation, names, want) in [
        (None, "", None),
        (None, "runc.conf", Some("/etc/criu/runc.conf")),
        (None, "runc.conf rt.conf", Some("/etc/criu/rt.conf")),
        (Some("/some/where.conf"), "rt.conf", Some("/some/where.conf")),
        (Some(""), "rt.conf", None),
    ] {
        let mut bundle = counting("criuconfs", &[]);
        if let Some(file) = annotation {
            bundle.set("/annotations", json!({"org.criu.config": file}));
        }
        bundle.begin();
        let (criu, images) = (stand_in(&bundle), bundle.images());
        let words = ["--criu", &criu, "checkpoint", "--image-path", &images, &bundle.id];
        refused(common::Runtime::in_shell(&files(names), &bundle, &words).run());
        assert_eq!(Asked::read(&bundle).text(51).as_deref(), want, "{annotation:?} {names}");
        finish(&bundle);
    }
}
