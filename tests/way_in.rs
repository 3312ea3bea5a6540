//! The way into the root. Where mounts can be made in a tree that is attached nowhere (Linux 6.15) no `pivot_root` is
//! called, which looks at every task of the host. It must lead to the same place.

mod common;

use std::process::{Command, Stdio};
use std::time::Duration;

use common::{Bundle, Runtime, children, json, namespace_of, own_namespace, wait_until};

/// Whether this kernel has detached trees that take mounts.
fn detached_trees() -> bool {
    let newer = rt::sys::probe::kernel() >= (6, 15);
    if !newer {
        common::skipped("before Linux 6.15 there is one way only");
    }
    newer
}

/// A bundle with mounts of all kinds that the way without a pivot takes.
fn furnished(name: &str) -> Bundle {
    let mut bundle = Bundle::new(name);
    bundle.write("volume/below/file", "mine\n");
    let volume = bundle.text("volume");
    bundle.mount("/mnt", "bind", &volume, &["rbind", "ro", "rprivate"]);
    bundle.mount("/mnt/below", "tmpfs", "tmpfs", &["nosuid", "mode=755"]);
    bundle.mount("/srv", "bind", &volume, &["bind", "rslave", "nodev"]);
    bundle.set("/linux/maskedPaths", json!(["/proc/keys", "/sys/firmware"]));
    bundle.set("/linux/readonlyPaths", json!(["/proc/sys", "/proc/bus"])).set("/root/readonly", json!(true));
    let dev = bundle.config["mounts"].as_array_mut().expect("mounts").iter_mut().find(|m| m["destination"] == "/dev");
    dev.expect("a mount at /dev")["options"].as_array_mut().expect("options").push(json!("ro"));
    bundle
}

/// A hook that runs before the way in, does nothing, and so has the root attached where hooks look for it.
fn look_on(bundle: &mut Bundle) {
    bundle.set("/hooks/createContainer", json!([{"path": "/bin/true"}]));
}

/// What the container sees of its mounts, without the numbers that no two containers share.
fn mounts(bundle: &mut Bundle) -> Vec<String> {
    bundle.args(["/bin/busybox", "cat", "/proc/self/mountinfo"]);
    let base = bundle.text("");
    let plain = |line: &str| {
        let fields: Vec<&str> = line.split(' ').skip(3).collect();
        fields.join(" ").replace(&base, "BUNDLE").replace(&bundle.id, "ID")
    };
    let output = bundle.run().ok();
    // A mount that is a slave of the host's has the number of its master's group.
    let without_numbers = |line: String| match line.split_once("master:") {
        Some((before, after)) => format!("{before}master {}", after.split_once(' ').map_or("", |(_, rest)| rest)),
        None => line,
    };
    output.stdout.lines().map(plain).map(without_numbers).collect()
}

/// The calls by which a container's init got there.
fn calls(bundle: &Bundle) -> String {
    bundle.save();
    let script =
        format!("exec strace -f -qq -e signal=none -e trace=pivot_root,umount2 -o {} \"$@\"", bundle.text("calls"));
    let (base, id) = (bundle.text(""), bundle.id.clone());
    Runtime::in_shell(&script, bundle, &["run", "--bundle", &base, &id]).run().ok();
    std::fs::read_to_string(bundle.path("calls")).expect("what strace wrote")
}

#[test]
fn both_ways_lead_to_the_same_place() {
    if !detached_trees() {
        return;
    }
    let mut bundle = furnished("ways");
    let exchanged = mounts(&mut bundle);
    for target in ["/mnt/below", "/srv", "/dev/mqueue", "/sys/fs/cgroup", "/proc/keys", "/proc/bus"] {
        assert!(exchanged.iter().any(|line| line.contains(&format!(" {target} "))), "{target}: {exchanged:#?}");
    }
    look_on(&mut bundle);
    assert_eq!(exchanged, mounts(&mut bundle), "without a pivot, and with one");
    bundle.nothing_left();
}

#[test]
fn no_task_of_the_host_is_looked_at() {
    if !detached_trees() {
        return;
    }
    let mut bundle = furnished("tasks");
    bundle.args(["/bin/true"]);
    let seen = calls(&bundle);
    let asked = |line: &str| line.contains("pivot_root(\"/\", \"/\") ") && line.contains(" = -1 EBUSY ");
    assert!(seen.lines().any(asked), "{seen}");
    assert!(!seen.contains("pivot_root(\".\"") && seen.contains("umount2(\"/\", MNT_DETACH) "), "{seen}");
    look_on(&mut bundle);
    let seen = calls(&bundle);
    assert!(seen.contains("pivot_root(\".\", \".\")") && !seen.contains("umount2(\"/\""), "{seen}");
}

#[test]
fn a_host_s_root_that_cannot_be_taken_away_is_pivoted_from() {
    // In a copy of the mounts that belongs to another user namespace all of them are locked to each other.
    let mut command = Command::new("/usr/bin/unshare");
    command.args(["--user", "--map-root-user", "--mount", "/bin/sleep", "100"]).stdin(Stdio::null());
    let mut holder = children::spawn(&mut command).expect("unshare");
    let pid = i64::from(holder.id());
    let entered = || (namespace_of(pid, "mnt") != own_namespace("mnt")).then_some(());
    let own = wait_until(Duration::from_secs(10), entered);
    let mut bundle = furnished("locked");
    bundle.args(["/bin/busybox", "ls", "/"]).save();
    let traced = format!("strace -f -qq -e signal=none -e trace=pivot_root -o {}", bundle.text("calls"));
    let script = format!("exec nsenter --target {pid} --mount {traced} \"$@\"");
    let (base, id) = (bundle.text(""), bundle.id.clone());
    let output = Runtime::in_shell(&script, &bundle, &["run", "--bundle", &base, &id]).run();
    holder.kill().and_then(|()| holder.wait()).expect("its end");
    children::release(&holder);
    assert!(own.is_some(), "it has mounts of its own");
    let output = output.ok();
    assert!(output.stdout.contains("probe\n") && !output.stdout.contains("lost+found"), "{output:?}");
    let seen = std::fs::read_to_string(bundle.path("calls")).expect("what strace wrote");
    assert!(seen.lines().any(|line| line.contains("pivot_root(\".\", \".\")") && line.ends_with(" = 0")), "{seen}");
    bundle.nothing_left();
}

#[test]
fn a_root_on_a_shared_mount_stays_where_it_is() {
    // Whoever shares that mount would lose its `/` with us. pivot_root(2) refuses, and so no runtime works there.
    let mut bundle = furnished("shared");
    bundle.args(["/bin/true"]).save();
    let script = "\"$@\"; code=$?; grep -q ' / / ' /proc/self/mountinfo || exit 99; exit $code";
    let (base, id) = (bundle.text(""), bundle.id.clone());
    let run = Runtime::in_shell(script, &bundle, &["run", "--bundle", &base, &id]);
    let output = run.before_exec(common::caller::on_a_shared_mount).run();
    assert_eq!(output.code(), Some(1), "the caller's own root is there: {output:?}");
    output.fails(&["pivot_root: invalid argument"]);
    bundle.nothing_left();
}

#[test]
fn the_way_is_part_of_the_plan() {
    let mut bundle = furnished("plan");
    let explained = |bundle: &Bundle| {
        bundle.save();
        bundle.rt(&["explain", &bundle.text("")]).run().ok().stdout
    };
    let plain = explained(&bundle);
    assert_eq!(plain.contains("put rootfs in the place of /"), rt::sys::probe::kernel() >= (6, 15), "{plain}");
    for (pointer, value) in [
        ("/hooks/prestart", json!([{"path": "/bin/true"}])),
        ("/hooks/createRuntime", json!([{"path": "/bin/true"}])),
        (
            "/mounts/-",
            json!({"destination": "/srv", "source": "none", "type": "none", "options": ["remount", "bind", "ro"]}),
        ),
        ("/mounts/-", json!({"destination": "/opt", "type": "bind", "source": "/tmp", "options": ["bind", "shared"]})),
        (
            "/mounts/-",
            json!({"destination": "/opt", "type": "bind", "source": "/tmp", "options": ["bind", "unbindable"]}),
        ),
        ("/linux/rootfsPropagation", json!("shared")),
    ] {
        let before = bundle.config.clone();
        bundle.set(pointer, value);
        let explained = explained(&bundle);
        assert!(explained.contains("pivot into rootfs    <- "), "{pointer}: {explained}");
        assert!(!explained.contains("put rootfs in the place"), "{pointer}: {explained}");
        bundle.config = before;
    }
}
