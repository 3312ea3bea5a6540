//! Labels of security modules. Where AppArmor runs (the test VM), profiles are loaded and looked at from inside; where a
//! module is off, what is asked of it is a warning, and an error under `--strict`.

mod common;

use std::fs;
use std::process::Command;

use common::{Bundle, json};

fn apparmor() -> bool {
    fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|answer| answer.starts_with('Y'))
}

fn selinux() -> bool {
    fs::metadata("/sys/fs/selinux/enforce").is_ok()
}

/// An AppArmor profile that lives as long as this.
struct Profile {
    name: String,
    text: String,
}

impl Profile {
    /// Loads a profile that allows everything but what `rules` deny.
    fn load(bundle: &Bundle, rules: &str) -> Self {
        let name = bundle.id.clone();
        let text = format!(
            "profile {name} flags=(attach_disconnected,mediate_deleted) {{\n  file,\n  capability,\n  network,\n  mount,\n  \
             umount,\n  pivot_root,\n  signal,\n  ptrace,\n  unix,\n  dbus,\n  userns,\n{rules}\n}}\n"
        );
        let profile = Self { name, text };
        profile.parser("--replace");
        profile
    }

    fn parser(&self, what: &str) {
        let file = std::env::temp_dir().join(format!("{}.apparmor", self.name));
        fs::write(&file, &self.text).expect("the profile's file");
        let output = Command::new("apparmor_parser").args(["--skip-cache", what]).arg(&file).output();
        fs::remove_file(&file).expect("the profile's file");
        let output = output.expect("apparmor_parser");
        assert!(output.status.success(), "apparmor_parser: {}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.parser("--remove");
        }
    }
}

#[test]
fn a_profile_is_in_force_from_the_first_instruction() {
    if !apparmor() {
        skip!("no AppArmor in this kernel");
    }
    let mut bundle = Bundle::new("apparmor");
    let profile = Profile::load(&bundle, "  deny /etc/secret r,\n  deny /tmp/** w,");
    bundle.write("rootfs/etc/secret", "secret\n");
    bundle.set("/process/apparmorProfile", json!(profile.name));
    let paths = ["/proc/self/attr/apparmor/current", "/etc/secret", "/etc/passwd", "/tmp", "/mnt"];
    let options: Vec<&str> = paths.iter().flat_map(|path| ["--stat", path]).collect();
    for new_privileges in [true, false] {
        bundle.set("/process/noNewPrivileges", json!(!new_privileges));
        let seen = bundle.fingerprint(&options);
        assert_eq!(seen["stat"][paths[0]]["first"], format!("{} (enforce)\n", profile.name));
        assert_eq!(seen["stat"]["/etc/secret"]["read"], "EACCES");
        assert_eq!(seen["stat"]["/etc/passwd"]["read"], "ok");
        assert_eq!(seen["stat"]["/tmp"]["write"], "EACCES");
        assert_eq!(seen["stat"]["/mnt"]["write"], "ok");
    }
}

#[test]
fn a_profile_holds_for_an_ordinary_user_in_a_user_namespace_too() {
    if !apparmor() {
        skip!("no AppArmor in this kernel");
    }
    let mut bundle = Bundle::new("userns");
    let profile = Profile::load(&bundle, "  deny /etc/passwd r,");
    bundle.set("/process/apparmorProfile", json!(profile.name));
    bundle.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    bundle.set("/linux/namespaces/-", json!({"type": "user"}));
    for map in ["/linux/uidMappings", "/linux/gidMappings"] {
        bundle.set(map, json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]));
    }
    let seen = bundle.fingerprint(&["--stat", "/proc/self/attr/apparmor/current", "--stat", "/etc/passwd"]);
    let current = &seen["stat"]["/proc/self/attr/apparmor/current"]["first"];
    assert_eq!(*current, format!("{} (enforce)\n", profile.name));
    assert_eq!(seen["stat"]["/etc/passwd"]["read"], "EACCES");
}

#[test]
fn without_a_profile_the_workload_is_as_confined_as_its_caller() {
    if !apparmor() {
        skip!("no AppArmor in this kernel");
    }
    for profile in [None, Some("unconfined")] {
        let mut bundle = Bundle::new("unconfined");
        if let Some(profile) = profile {
            bundle.set("/process/apparmorProfile", json!(profile));
        }
        let seen = bundle.fingerprint(&["--stat", "/proc/self/attr/apparmor/current"]);
        assert_eq!(seen["stat"]["/proc/self/attr/apparmor/current"]["first"], "unconfined\n");
    }
}

#[test]
fn hooks_are_not_confined_by_the_container_s_profile() {
    if !apparmor() {
        skip!("no AppArmor in this kernel");
    }
    let mut bundle = Bundle::new("hooks");
    let profile = Profile::load(&bundle, "");
    bundle.set("/process/apparmorProfile", json!(profile.name));
    let command = "/bin/cat /proc/self/attr/current > /tmp/hook";
    let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", command]}]);
    bundle.set("/hooks/startContainer", hook);
    bundle.args(["/bin/cat", "/tmp/hook", "/proc/self/attr/current"]);
    let output = bundle.run().ok();
    assert_eq!(output.stdout, format!("unconfined\n{} (enforce)\n", profile.name));
}

#[test]
fn a_profile_that_is_not_loaded_is_an_error() {
    if !apparmor() {
        skip!("no AppArmor in this kernel");
    }
    let mut bundle = Bundle::new("unknown");
    bundle.set("/process/apparmorProfile", json!("rtt-no-such-profile")).args(["/bin/true"]);
    bundle.run().fails(&["/process/apparmorProfile", "AppArmor profile rtt-no-such-profile is not loaded"]);
    bundle.nothing_left();
}

#[test]
fn an_image_cannot_lead_the_label_astray() {
    // Whatever the image has at /proc, and a volume that pretends to be one: the label goes through the host's procfs.
    if !apparmor() {
        skip!("no AppArmor in this kernel");
    }
    let mut bundle = Bundle::new("astray");
    let profile = Profile::load(&bundle, "");
    bundle.write("rootfs/proc/self/attr/apparmor/exec", "");
    bundle.write("rootfs/proc/thread-self/attr/apparmor/exec", "");
    bundle.write("rootfs/proc/thread-self/attr/exec", "");
    bundle.set("/process/apparmorProfile", json!(profile.name)).remove("/mounts/0");
    bundle.remove("/linux/maskedPaths").remove("/linux/readonlyPaths");
    bundle.args(["/probe", "sleep"]);
    bundle.create().ok();
    bundle.start().ok();
    let pid = bundle.pid();
    let current = fs::read_to_string(format!("/proc/{pid}/attr/apparmor/current")).expect("its label");
    assert_eq!(current, format!("{} (enforce)\n", profile.name));
    let fake = fs::read_to_string(bundle.path("rootfs/proc/thread-self/attr/apparmor/exec")).expect("the image's file");
    assert_eq!(fake, "");
    bundle.rt(&["delete", "--force", &bundle.id]).run().ok();
}

#[test]
fn a_process_that_comes_later_has_the_profile_too() {
    if !apparmor() {
        skip!("no AppArmor in this kernel");
    }
    let mut bundle = Bundle::new("exec");
    let profile = Profile::load(&bundle, "  deny /etc/passwd r,");
    bundle.set("/process/apparmorProfile", json!(profile.name)).args(["/probe", "sleep"]);
    bundle.create().ok();
    bundle.start().ok();
    let words = ["exec", &bundle.id, "/bin/cat", "/proc/self/attr/apparmor/current"];
    assert_eq!(bundle.rt(&words).run().ok().stdout, format!("{} (enforce)\n", profile.name));
    bundle.rt(&["exec", &bundle.id, "/bin/cat", "/etc/passwd"]).run().fails(&["ermission denied"]);
    // A file of its own that says nothing of profiles, and one that asks for another.
    let mut process = json!({"cwd": "/", "user": {"uid": 1000, "gid": 1000}, "env": ["PATH=/bin"],
                             "args": ["cat", "/proc/self/attr/apparmor/current"]});
    let file = bundle.write("process.json", &process.to_string()).to_string_lossy().into_owned();
    let words = ["exec", "--process", &file, &bundle.id];
    assert_eq!(bundle.rt(&words).run().ok().stdout, format!("{} (enforce)\n", profile.name));
    process["apparmorProfile"] = json!("rtt-no-such-profile");
    bundle.write("process.json", &process.to_string());
    bundle.rt(&words).run().fails(&["AppArmor profile rtt-no-such-profile is not loaded"]);
    bundle.rt(&["delete", "--force", &bundle.id]).run().ok();
}

#[test]
fn an_apparmor_profile_without_apparmor_is_a_warning_or_under_strict_an_error() {
    if apparmor() {
        skip!("this kernel has AppArmor");
    }
    let mut bundle = Bundle::new("noapparmor");
    bundle.set("/process/apparmorProfile", json!("acme_secure_profile")).args(["/bin/true"]);
    let output = bundle.run().ok();
    let warning = "/process/apparmorProfile: left out acme_secure_profile: AppArmor is not enabled on this host";
    assert!(output.stderr.contains(warning), "{}", output.stderr);
    let strict = bundle.run_command().env("RT_STRICT", "1").run();
    strict.fails(&["/process/apparmorProfile: AppArmor is not enabled on this host"]);
    bundle.nothing_left();
}

#[test]
fn unconfined_asks_for_nothing() {
    if apparmor() {
        skip!("this kernel has AppArmor");
    }
    let mut bundle = Bundle::new("unconfined");
    bundle.set("/process/apparmorProfile", json!("unconfined")).args(["/bin/true"]);
    assert_eq!(bundle.run().ok().stderr, "");
}

#[test]
fn selinux_labels_without_selinux_are_warnings_or_under_strict_errors() {
    if selinux() {
        skip!("this kernel runs SELinux");
    }
    let mut bundle = Bundle::new("noselinux");
    let label = "system_u:system_r:container_t:s0:c1,c2";
    bundle.set("/process/selinuxLabel", json!(label)).set("/linux/mountLabel", json!(label)).args(["/bin/true"]);
    let output = bundle.run().ok();
    for field in ["/process/selinuxLabel", "/linux/mountLabel"] {
        let warning = format!("{field}: left out {label}: SELinux is not enabled on this host");
        assert!(output.stderr.contains(&warning), "{}", output.stderr);
    }
    let strict = bundle.run_command().env("RT_STRICT", "1").run();
    strict.fails(&["/process/selinuxLabel: SELinux is not", "/linux/mountLabel: SELinux is not"]);
    bundle.nothing_left();
}

#[test]
fn a_label_that_exec_is_asked_for_by_a_flag_is_meant() {
    let mut bundle = Bundle::new("execlabel");
    bundle.args(["/probe", "sleep"]);
    bundle.create().ok();
    bundle.start().ok();
    let exec = |flags: &[&str]| bundle.rt(&[&["exec"], flags, &[bundle.id.as_str(), "/bin/true"]].concat()).run();
    let why = match apparmor() {
        true => "AppArmor profile rtt-no-such-profile is not loaded",
        false => "--apparmor: AppArmor is not enabled on this host",
    };
    exec(&["--apparmor", "rtt-no-such-profile"]).exits(255).fails(&[why]);
    let why = match selinux() {
        true => "SELinux's policy has no context rtt-no-such-context",
        false => "--process-label: SELinux is not enabled on this host",
    };
    exec(&["--process-label", "rtt-no-such-context"]).exits(255).fails(&[why]);
    // These ask for nothing.
    assert_eq!(exec(&["--apparmor", "", "--process-label", ""]).ok().stderr, "");
    if !apparmor() {
        assert_eq!(exec(&["--apparmor", "unconfined"]).ok().stderr, "");
        // A file is as a config: engines write the same one for every host.
        let process =
            json!({"cwd": "/", "user": {"uid": 0, "gid": 0}, "args": ["/bin/true"], "apparmorProfile": "acme"});
        let file = bundle.write("process.json", &process.to_string()).to_string_lossy().into_owned();
        let output = bundle.rt(&["exec", "--process", &file, &bundle.id]).run().ok();
        assert!(output.stderr.contains("left out acme: AppArmor is not enabled on this host"), "{}", output.stderr);
    }
    bundle.rt(&["delete", "--force", &bundle.id]).run().ok();
}
