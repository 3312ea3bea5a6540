//! `linux.sysctl`: only keys that belong to a namespace the container has; any other would change the host.
//!
//! Keys are written with dots or with slashes, as sysctl(8) takes them: the first separator decides which.

use oci_spec::runtime::{Linux, LinuxNamespaceType};

use super::namespaces::listed;
use super::pointer::escape;
use super::remarks::Remarks;
use super::schema::quoted;
use crate::error::Rule;

/// Looks at all sysctls.
pub fn validate(linux: &Linux, remarks: &mut Remarks) {
    for key in linux.sysctl().iter().flat_map(|all| all.keys()) {
        if let Err((rule, why)) = check(key, linux) {
            remarks.fault(rule, format!("/linux/sysctl/{}", escape(key)), why);
        }
    }
}

fn check(key: &str, linux: &Linux) -> Result<(), (Rule, String)> {
    let malformed = || (Rule::InvalidValue, format!("expected a name like net.ipv4.ip_forward, got {}", quoted(key)));
    let path = path(key).ok_or_else(malformed)?;
    if path == "kernel/hostname" {
        let message = "expected to be left out; the property hostname sets it";
        return Err((Rule::InvalidValue, message.to_owned()));
    }
    match namespace(&path) {
        None => Err((Rule::HostSysctl, "belongs to no namespace, so it would change the host".to_owned())),
        Some((kind, name)) if listed(Some(linux), kind).is_none() => {
            let message = format!("needs {name} namespace in /linux/namespaces, otherwise it would change the host");
            Err((Rule::SysctlNamespace, message))
        }
        Some(_) => Ok(()),
    }
}

/// The path below /proc/sys that a key means, if it is well formed.
pub fn path(key: &str) -> Option<String> {
    let separator = key.find(['.', '/']).map(|at| key.as_bytes()[at])?;
    let path: String = match separator {
        b'/' => key.to_owned(),
        // A slash among dots stands for a dot in a name: net.ipv4.conf.eth0/100.forwarding.
        _ => key.chars().map(|c| [c, '/', '.'][usize::from(c == '.') + 2 * usize::from(c == '/')]).collect(),
    };
    let fine = |part: &str| {
        !matches!(part, "" | "." | "..") && part.bytes().all(|byte| byte.is_ascii_graphic() && !b"=+\\".contains(&byte))
    };
    path.split('/').all(fine).then_some(path)
}

/// The kind of namespace that a sysctl belongs to, and its name with an article.
fn namespace(path: &str) -> Option<(LinuxNamespaceType, &'static str)> {
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| path.starts_with(prefix));
    let plain = path.strip_prefix("kernel/").is_some_and(|name| !name.contains('/'));
    if (plain && (path == "kernel/sem" || starts(&["kernel/msg", "kernel/shm"]))) || starts(&["fs/mqueue/"]) {
        Some((LinuxNamespaceType::Ipc, "an ipc"))
    } else if starts(&["net/"]) {
        Some((LinuxNamespaceType::Network, "a network"))
    } else if path == "kernel/domainname" {
        Some((LinuxNamespaceType::Uts, "a uts"))
    } else if starts(&["user/"]) {
        Some((LinuxNamespaceType::User, "a user"))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_and_slashes() {
        assert_eq!(path("net.ipv4.ip_forward").as_deref(), Some("net/ipv4/ip_forward"));
        assert_eq!(path("net/ipv4/ip_forward").as_deref(), Some("net/ipv4/ip_forward"));
        assert_eq!(path("net.ipv4.conf.eth0/100.forwarding").as_deref(), Some("net/ipv4/conf/eth0.100/forwarding"));
        assert_eq!(path("net/ipv4/conf/eth0.100/forwarding").as_deref(), Some("net/ipv4/conf/eth0.100/forwarding"));
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let hostile = [
            "",
            "kernel",
            ".",
            "/",
            "net..ipv4",
            "net.",
            ".net",
            "/net/ipv4",
            "net//ipv4",
            "net/ipv4/",
            "net/../kernel/panic",
            "net./../kernel",
            "net/./ipv4",
            "net.ipv4.a\nb",
            "net.ipv4.a b",
            "net.ipv4.a=b",
            "net.ipv4.a+b",
            "net.ipv4.é",
            "net.//.kernel.panic",
        ];
        for key in hostile {
            assert_eq!(path(key), None, "{key:?}");
        }
    }

    #[test]
    fn only_namespaced_keys() {
        for (key, wanted) in [
            ("kernel/shmmax", Some(LinuxNamespaceType::Ipc)),
            ("kernel/shm_rmid_forced", Some(LinuxNamespaceType::Ipc)),
            ("kernel/msgmnb", Some(LinuxNamespaceType::Ipc)),
            ("kernel/sem", Some(LinuxNamespaceType::Ipc)),
            ("fs/mqueue/msg_max", Some(LinuxNamespaceType::Ipc)),
            ("net/core/somaxconn", Some(LinuxNamespaceType::Network)),
            ("kernel/domainname", Some(LinuxNamespaceType::Uts)),
            ("user/max_user_namespaces", Some(LinuxNamespaceType::User)),
            ("kernel/semaphore", None),
            ("kernel/shm/../panic", None),
            ("kernel/core_pattern", None),
            ("vm/swappiness", None),
            ("network/x", None),
            ("fs/mqueue", None),
        ] {
            assert_eq!(namespace(key).map(|found| found.0), wanted, "{key}");
        }
    }
}
