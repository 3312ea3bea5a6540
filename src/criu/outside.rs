//! What of a container is not its own, so that CRIU neither saves nor makes it: bind mounts, cgroups shown inside, masks,
//! joined namespaces, stdio. Pure.

use serde::Serialize;

/// A namespace that the container has joined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Joined {
    /// Its name in /proc/PID/ns.
    pub kind: &'static str,
    /// The file that the config names.
    pub path: String,
}

impl Joined {
    /// The name under which CRIU is handed the namespace; for those kinds that it takes so.
    pub fn key(&self) -> Option<&'static str> {
        match self.kind {
            "net" => Some("extRootNetNS"),
            "pid" => Some("extRootPidNS"),
            _ => None,
        }
    }
}

/// What of a container comes from outside, as its plan says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Outside {
    /// Mounts: the path in the container, and the source on the host.
    pub mounts: Vec<(String, String)>,
    /// Paths that are covered: by the host's /dev/null, where they are files.
    pub masked: Vec<String>,
    /// Joined namespaces.
    pub joined: Vec<Joined>,
    /// Whose work what is in its network namespace is.
    pub network: Network,
}

/// Whose work what is in a container's network namespace is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// The namespace is not the container's own.
    #[default]
    Others,
    /// The container's.
    Own,
    /// That of hooks, who make it anew. CRIU could not: half of it is outside.
    Hooks,
}

/// A mount as the kernel lists it.
struct Mounted<'a> {
    id: i32,
    root: &'a str,
    target: String,
}

/// The lines of a mountinfo.
fn table(mountinfo: &str) -> impl Iterator<Item = Mounted<'_>> {
    mountinfo.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let id = fields.next()?.parse().ok()?;
        let root = fields.nth(2)?;
        Some(Mounted { id, root, target: plain(fields.next()?) })
    })
}

/// A path without the kernel's escapes.
fn plain(path: &str) -> String {
    let mut out = Vec::new();
    let mut rest = path.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let octal =
            after.get(..3).and_then(|d| std::str::from_utf8(d).ok()).and_then(|d| u8::from_str_radix(d, 8).ok());
        match (first, octal) {
            (b'\\', Some(byte)) => {
                out.push(byte);
                rest = &after[3..];
            }
            _ => {
                out.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

impl Outside {
    /// For saving: where each mount from outside is, and what it is to be called. `resolve` says where a path of the config leads
    /// to inside, for the image may have links on the way.
    pub fn to_save(&self, mountinfo: &str, resolve: &dyn Fn(&str) -> Option<String>) -> Vec<(String, String)> {
        let table: Vec<Mounted<'_>> = table(mountinfo).collect();
        let mut found = Vec::new();
        for (target, _) in &self.mounts {
            let there = resolve(target).unwrap_or_else(|| target.clone());
            found.extend(table.iter().filter(|m| m.target == there).take(1).map(|_| (there.clone(), target.clone())));
            // With everything below came mounts that the config does not name.
            let below = |path: &str| path.strip_prefix(&there).filter(|rest| rest.starts_with('/')).map(str::to_owned);
            for mount in &table {
                if let Some(rest) = below(&mount.target)
                    && !self.is_named(&format!("{target}{rest}"))
                {
                    found.push((mount.target.clone(), format!("{target}{rest}")));
                }
            }
        }
        for path in &self.masked {
            let there = resolve(path).unwrap_or_else(|| path.clone());
            // Directories are covered by a tmpfs, which CRIU makes again by itself.
            let file = |m: &&Mounted<'_>| m.target == there && m.root.ends_with("/null");
            found.extend(table.iter().find(file).map(|_| (there.clone(), path.clone())));
        }
        found
    }

    fn is_named(&self, target: &str) -> bool {
        self.mounts.iter().any(|(t, _)| t == target) || self.masked.iter().any(|t| t == target)
    }

    /// For bringing back: what each is called, and where on the host its source is. `mountinfo` is the host's: a source may
    /// have mounts below it.
    pub fn to_bring_back(&self, mountinfo: &str) -> Vec<(String, String)> {
        let mut all = self.mounts.clone();
        let table: Vec<Mounted<'_>> = table(mountinfo).collect();
        for (target, source) in &self.mounts {
            let source = source.trim_end_matches('/');
            for mount in &table {
                if let Some(rest) = mount.target.strip_prefix(source).filter(|rest| rest.starts_with('/'))
                    && !self.is_named(&format!("{target}{rest}"))
                {
                    all.push((format!("{target}{rest}"), mount.target.clone()));
                }
            }
        }
        all.extend(self.masked.iter().map(|path| (path.clone(), "/dev/null".to_owned())));
        all
    }
}

/// One of a process's first three descriptors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stdio {
    /// What it leads to: `pipe:[4711]`, `/dev/null`.
    pub link: String,
    /// The mount that the file is on.
    pub mount: i32,
    /// Its inode.
    pub inode: u64,
    /// Whether it is a regular file, one of the memory devices, or a terminal.
    pub file: bool,
    /// The numbers of a terminal: its own, and those of the file system it is on.
    pub terminal: Option<(u64, u64)>,
}

/// Whether CRIU has to be told of a name when it saves; of pipes it knows by itself.
pub fn is_named(name: &str) -> bool {
    name.starts_with("file[") || name.starts_with("tty[")
}

/// Whether a descriptor's name is one that CRIU was told to take from outside.
pub fn is_outside(name: &str) -> bool {
    name.starts_with("pipe:") || is_named(name)
}

impl Stdio {
    /// The names under which CRIU takes it from outside: a pipe, or a file on a mount that the container does not have. The last
    /// one is what it asks for when it brings the container back.
    pub fn keys(&self, mountinfo: &str) -> Vec<String> {
        if self.link.starts_with("pipe:") {
            return vec![self.link.clone()];
        }
        let own = table(mountinfo).any(|mount| mount.id == self.mount);
        if own || !self.file {
            return Vec::new();
        }
        let file = format!("file[{:x}:{:x}]", self.mount, self.inode);
        let terminal = self.terminal.map(|(device, on)| format!("tty[{device:x}:{on:x}]"));
        std::iter::once(file).chain(terminal).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
600 500 0:30 / / rw - overlay overlay rw
601 600 0:31 / /proc rw - proc proc rw
602 601 0:5 /null /proc/kcore rw - devtmpfs devtmpfs rw
603 601 0:40 / /proc/acpi ro - tmpfs tmpfs rw
604 600 8:1 /data /var/li\\040b rw - ext4 /dev/sda1 rw
605 604 8:2 / /var/li\\040b/deep rw - ext4 /dev/sda2 rw
";

    fn outside() -> Outside {
        Outside {
            mounts: vec![("/lib".into(), "/srv/data".into()), ("/gone".into(), "/x".into())],
            masked: ["/proc/kcore", "/proc/acpi", "/proc/keys"].map(str::to_owned).to_vec(),
            joined: Vec::new(),
            network: Network::Own,
        }
    }

    #[test]
    fn what_is_saved_is_what_is_there() {
        let resolve = |path: &str| (path == "/lib").then(|| "/var/li b".to_owned());
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(
            outside().to_save(TABLE, &resolve),
            [pair("/var/li b", "/lib"), pair("/var/li b/deep", "/lib/deep"), pair("/proc/kcore", "/proc/kcore")]
        );
    }

    #[test]
    fn what_is_brought_back_has_a_source() {
        let host =
            "30 1 8:2 / /srv/data/deep rw - ext4 /dev/sda2 rw\n31 1 8:3 / /srv/database rw - ext4 /dev/sda3 rw\n";
        let back = outside().to_bring_back(host);
        assert!(back.contains(&("/lib/deep".into(), "/srv/data/deep".into())), "{back:?}");
        assert!(back.contains(&("/proc/keys".into(), "/dev/null".into())), "{back:?}");
        assert_eq!(back.len(), 6, "{back:?}");
    }

    #[test]
    fn stdio_from_outside_has_a_name() {
        let file = |mount| Stdio { link: "/var/log/x".into(), mount, inode: 255, file: true, terminal: None };
        assert_eq!(file(77).keys(TABLE), ["file[4d:ff]"]);
        assert!(file(604).keys(TABLE).is_empty(), "its own");
        let terminal = Stdio { terminal: Some((0x8800, 0x1a)), ..file(77) };
        assert_eq!(terminal.keys(TABLE), ["file[4d:ff]", "tty[8800:1a]"]);
        let pipe = Stdio { link: "pipe:[12]".into(), ..Stdio::default() };
        assert_eq!(pipe.keys(TABLE), ["pipe:[12]"]);
        assert!(Stdio { link: "socket:[12]".into(), ..Stdio::default() }.keys(TABLE).is_empty());
    }
}
