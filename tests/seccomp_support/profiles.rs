//! The profiles that docker and podman ship, expanded for a machine as those engines do it. Their file format is the
//! OCI section plus conditions on architecture, capabilities and kernel.

use serde_json::{Value, json};

/// What docker leaves a container without options.
pub const DOCKER_CAPS: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// What podman leaves it.
pub const PODMAN_CAPS: [&str; 11] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// Those that open further calls in the profiles.
pub const MORE_CAPS: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_BPF",
    "CAP_DAC_READ_SEARCH",
    "CAP_PERFMON",
    "CAP_SYSLOG",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_CHROOT",
    "CAP_SYS_MODULE",
    "CAP_SYS_NICE",
    "CAP_SYS_PACCT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_TIME",
];

const DOCKER: &str = include_str!("../data/seccomp/docker.json");
const PODMAN: &str = include_str!("../data/seccomp/podman.json");

/// docker's default profile for amd64: three architectures.
pub fn docker(caps: &[&str]) -> Value {
    expanded(DOCKER, "amd64", "SCMP_ARCH_X86_64", caps)
}

/// podman's.
pub fn podman(caps: &[&str]) -> Value {
    expanded(PODMAN, "amd64", "SCMP_ARCH_X86_64", caps)
}

/// docker's, as another machine would get it; `go` is that machine's name in Go.
pub fn docker_for(go: &str, scmp: &str) -> Value {
    expanded(DOCKER, go, scmp, &DOCKER_CAPS)
}

fn expanded(file: &str, go: &str, scmp: &str, caps: &[&str]) -> Value {
    let file: Value = serde_json::from_str(file).expect("the shipped profile");
    let mut section = json!({"defaultAction": file["defaultAction"], "architectures": architectures(&file, scmp)});
    if let Some(errno) = file.get("defaultErrnoRet").filter(|v| !v.is_null()) {
        section["defaultErrnoRet"] = errno.clone();
    }
    let entries = file["syscalls"].as_array().expect("syscalls").iter();
    section["syscalls"] = entries.filter(|entry| applies(entry, go, caps)).map(oci_entry).collect();
    section
}

fn architectures(file: &Value, scmp: &str) -> Value {
    let maps = file["archMap"].as_array().expect("archMap");
    let Some(map) = maps.iter().find(|map| map["architecture"] == scmp) else { return json!([scmp]) };
    let subs = map["subArchitectures"].as_array().into_iter().flatten().cloned();
    std::iter::once(json!(scmp)).chain(subs).collect()
}

/// All inclusions and no exclusion hold; every kernel we know is newer than the ones named.
fn applies(entry: &Value, go: &str, caps: &[&str]) -> bool {
    let list = |kind: &str, key: &str| -> Vec<String> {
        let texts = entry[kind][key].as_array().into_iter().flatten();
        texts.map(|text| text.as_str().expect("a text").to_owned()).collect()
    };
    let has_cap = |cap: &String| caps.contains(&cap.as_str());
    let arches = list("includes", "arches");
    (arches.is_empty() || arches.iter().any(|arch| arch == go))
        && list("includes", "caps").iter().all(has_cap)
        && !list("excludes", "arches").iter().any(|arch| arch == go)
        && !list("excludes", "caps").iter().any(has_cap)
}

fn oci_entry(entry: &Value) -> Value {
    let mut oci = json!({"names": entry["names"], "action": entry["action"]});
    for key in ["errnoRet", "args"] {
        if let Some(value) = entry.get(key).filter(|v| !v.is_null()) {
            oci[key] = value.clone();
        }
    }
    oci
}
