//! `netDevices`: devices move into the container with name and addresses, up; what cannot be says why and leaves the host
//! as it was. The host here is a network namespace made for the test.

mod common;

use std::fs;
use std::process::{Child, Command, Stdio};

use common::caller::in_network;
use common::{Bundle, json};
use serde_json::Value;

/// A network namespace, for as long as a process of its own lives in it. No name, so no mount.
struct Net {
    holder: Child,
}

fn run(words: &[&str]) -> String {
    let output = Command::new(words[0]).args(&words[1..]).output();
    let output = output.unwrap_or_else(|e| panic!("{} (packages iproute2, util-linux): {e}", words[0]));
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

impl Net {
    fn empty() -> Self {
        let holder = Command::new("unshare").args(["--net", "sleep", "100000"]).stdin(Stdio::null()).spawn();
        let net = Self { holder: holder.expect("unshare is missing: apt-get install util-linux") };
        let own = fs::read_link("/proc/self/ns/net").expect("a namespace");
        let moved = || fs::read_link(net.path()).is_ok_and(|other| other != own).then_some(());
        common::wait_until(common::patience(), moved).expect("unshare does not");
        net
    }

    /// With a veth pair, of which `veth0` is to move.
    fn new() -> Self {
        let net = Self::empty();
        net.ip(&["link", "add", "veth0", "type", "veth", "peer", "name", "peer0"]);
        net.ip(&["link", "set", "veth0", "mtu", "1400", "up"]);
        net.ip(&["link", "set", "peer0", "up"]);
        net.ip(&["address", "add", "10.9.8.7/24", "brd", "+", "dev", "veth0"]);
        net.ip(&["address", "add", "10.9.8.8/32", "dev", "veth0", "scope", "link"]);
        net.ip(&["address", "add", "10.9.8.9/24", "dev", "veth0", "valid_lft", "1000", "preferred_lft", "1000"]);
        net.ip(&["address", "add", "fd00:9::7/64", "dev", "veth0", "nodad"]);
        net
    }

    fn ip(&self, words: &[&str]) -> String {
        run(&[&["nsenter", &format!("--net={}", self.path()), "ip"], words].concat())
    }

    fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.holder.id())
    }

    /// What `veth0` is on the host: without it the answer is empty.
    fn veth0(&self) -> String {
        let all = self.ip(&["-oneline", "address", "show", "up"]);
        let mut lines: Vec<&str> = all.lines().filter(|line| line.contains(" veth0 ")).collect();
        lines.sort_unstable();
        lines.iter().filter_map(|line| line.split_whitespace().nth(3)).collect::<Vec<_>>().join(" ")
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        // Our own child: it is there until it is waited for.
        self.holder.kill().and_then(|()| self.holder.wait()).expect("our own child");
    }
}

fn named<'a>(seen: &'a Value, name: &str) -> Option<&'a Value> {
    seen["net"].as_array().expect("devices").iter().find(|device| device["name"] == name)
}

fn addresses_of(seen: &Value, name: &str) -> Vec<String> {
    let all = seen["addresses"].as_array().expect("addresses").iter();
    let own =
        all.filter(|entry| entry[0] == name).map(|entry| format!("{}/{}", entry[1].as_str().unwrap_or(""), entry[2]));
    // Link-local ones are the kernel's, made anew.
    let mut own: Vec<String> = own.filter(|address| !address.starts_with("fe80")).collect();
    own.sort();
    own
}

const KEPT: [&str; 2] = ["10.9.8.7/24", "fd00:9::7/64"];

#[test]
fn a_device_moves_with_its_addresses_and_is_up() {
    for (inside, expected) in [(None, "veth0"), (Some("net7"), "net7"), (Some("net%d"), "net0")] {
        let mut bundle = Bundle::new("netdev");
        let net = Net::new();
        let device = inside.map_or(json!({}), |name| json!({"name": name}));
        bundle.set("/linux/netDevices", json!({"veth0": device})).args(["/probe", "fingerprint"]);
        let seen = bundle.run_command().before_exec(in_network(net.path())).run().ok().json();
        assert_eq!(named(&seen, expected).map(|d| &d["up"]), Some(&json!(true)), "{}", seen["net"]);
        assert_eq!(addresses_of(&seen, expected), KEPT);
        assert_eq!(seen["net"].as_array().map(Vec::len), Some(2), "it and lo: {}", seen["net"]);
    }
}

#[test]
fn a_device_is_there_for_sysctls_and_hooks_and_in_a_user_namespace() {
    let mut bundle = Bundle::new("netdev-sysctl");
    let net = Net::new();
    bundle.set("/linux/netDevices", json!({"veth0": {"name": "net7"}}));
    bundle.set("/linux/sysctl", json!({"net.ipv4.conf.net7.rp_filter": "2"}));
    bundle.set("/linux/namespaces/-", json!({"type": "user"}));
    for map in ["/linux/uidMappings", "/linux/gidMappings"] {
        bundle.set(map, json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]));
    }
    std::os::unix::fs::chown(bundle.rootfs(), Some(100_000), Some(100_000)).expect("chown");
    bundle.args(["/probe", "fingerprint", "--sysctl", "net.ipv4.conf.net7.rp_filter"]);
    let seen = bundle.run_command().before_exec(in_network(net.path())).run().ok().json();
    assert_eq!(seen["sysctl"]["net.ipv4.conf.net7.rp_filter"], "2");
    assert_eq!(addresses_of(&seen, "net7"), KEPT);
}

#[test]
fn a_device_moves_into_a_namespace_that_is_joined() {
    let mut bundle = Bundle::new("netdev-join");
    let net = Net::new();
    let other = Net::empty();
    bundle.join("network", &other.path()).set("/linux/netDevices", json!({"veth0": {"name": "net7"}}));
    bundle.args(["/probe", "fingerprint"]);
    let seen = bundle.run_command().before_exec(in_network(net.path())).run().ok().json();
    assert_eq!(addresses_of(&seen, "net7"), KEPT);
    assert_eq!(net.veth0(), "");
    assert!(other.ip(&["link", "show", "net7"]).contains("mtu 1400"), "the namespace is not the container's alone");
}

#[test]
fn a_device_that_is_not_there_or_cannot_move_is_named() {
    let mut bundle = Bundle::new("netdev-none");
    let net = Net::new();
    bundle.args(["/bin/true"]);
    for (name, words) in [("nosuch0", "nosuch0"), ("lo", "lo")] {
        bundle.set("/linux/netDevices", json!({name: {"name": "net7"}}));
        let pointer = format!("/linux/netDevices/{name}: netlink");
        bundle.run_command().before_exec(in_network(net.path())).run().fails(&[&pointer, words]);
        bundle.nothing_left();
    }
}

#[test]
fn a_name_that_is_taken_is_an_error_and_every_device_comes_back() {
    let mut bundle = Bundle::new("netdev-taken");
    let net = Net::new();
    let before = net.veth0();
    assert!(before.contains("10.9.8.7/24") && before.contains("fd00:9::7/64"), "{before}");
    // `lo` is what every network namespace has. It comes first by name, so the other has moved already.
    net.ip(&["link", "add", "zeta0", "type", "veth", "peer", "name", "zeta1"]);
    bundle.set("/linux/netDevices", json!({"veth0": {}, "zeta0": {"name": "lo"}})).args(["/bin/true"]);
    let output = bundle.run_command().before_exec(in_network(net.path())).run();
    output.fails(&["/linux/netDevices/zeta0: netlink", "has a device of this name", "file exists"]);
    // All but the two that are not kept: they were not permanent or not global.
    assert_eq!(net.veth0().split(' ').filter(|a| !a.starts_with("fe80")).collect::<Vec<_>>(), KEPT);
    assert!(net.ip(&["link", "show", "zeta0"]).contains("zeta0"));
    bundle.nothing_left();
}

#[test]
fn a_later_failure_brings_the_device_back_too() {
    let mut bundle = Bundle::new("netdev-later");
    let net = Net::new();
    bundle.set("/linux/netDevices", json!({"veth0": {"name": "net7"}})).args(["/no/such/program"]);
    bundle.run_command().before_exec(in_network(net.path())).run().fails(&["/no/such/program"]);
    assert!(net.veth0().contains("10.9.8.7/24"), "{}", net.ip(&["address"]));
    bundle.nothing_left();
}
