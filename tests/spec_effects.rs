//! Effects of single properties that belong to no larger subject, seen from inside the container.

mod common;

use common::{Bundle, json, texts};

/// From linux/personality.h.
const PER_LINUX32: u64 = 8;

#[test]
fn the_personality_is_the_config_s() {
    let mut bundle = Bundle::new("personality");
    assert_eq!(bundle.fingerprint(&[])["personality"], 0);
    bundle.set("/linux/personality", json!({"domain": "LINUX32"}));
    assert_eq!(bundle.fingerprint(&[])["personality"], PER_LINUX32);
    bundle.set("/linux/personality", json!({"domain": "LINUX"}));
    assert_eq!(bundle.fingerprint(&[])["personality"], 0);
}

/// Without one of the others the kernel keeps access times as `relatime` does; to take one away leaves that.
#[test]
fn access_times_are_relative_unless_another_way_is_asked_for() {
    let rows = [
        ("norelatime", "relatime"),
        ("nostrictatime", "relatime"),
        ("strictatime nostrictatime", "relatime"),
        ("noatime", "noatime"),
        ("noatime atime", "relatime"),
        ("nodiratime", "nodiratime"),
    ];
    let mut bundle = Bundle::new("atime");
    for (index, (options, _)) in rows.iter().enumerate() {
        let options: Vec<&str> = options.split(' ').collect();
        bundle.mount(&format!("/mnt/{index}"), "tmpfs", "tmpfs", &options);
    }
    let seen = bundle.fingerprint(&[]);
    for (index, (options, word)) in rows.iter().enumerate() {
        let target = format!("/mnt/{index}");
        let mounts = seen["mounts"].as_array().expect("mounts");
        let mount = mounts.iter().find(|mount| mount["target"] == target.as_str()).expect("the mount");
        assert!(texts(&mount["options"]).contains(&(*word).to_owned()), "{options}: {mount}");
    }
}
