//! The bundles that are swept: what `rt spec` writes with a payload that tells what it got (`tell`) or one that waits
//! (`wait`), plain or with everything that takes more steps (`rich`: user namespace, filter, hooks, limits, id-mapped mount).

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// The directories of one worker.
pub struct Bundles {
    /// The worker's own directory.
    pub base: PathBuf,
    /// The container's id, always the same: an id must be free again after every trial.
    pub id: String,
    /// The probe, as payload and hook: a process that executes it is not the runtime any more.
    pub probe: PathBuf,
}

impl Bundles {
    /// Makes them.
    pub fn make(base: &Path, id: &str, probe: &Path, rich: bool) -> io::Result<Bundles> {
        let rootfs = base.join("rootfs");
        for directory in ["dev", "proc", "sys", "tmp", "etc", "vol"] {
            fs::create_dir_all(rootfs.join(directory))?;
        }
        fs::write(rootfs.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
        for directory in ["state", "output", "volume", "canary", "hostile"] {
            fs::create_dir_all(base.join(directory))?;
        }
        fs::copy(probe, rootfs.join("probe"))?;
        fs::set_permissions(base, fs::Permissions::from_mode(0o755))?;
        let bundles = Bundles { base: base.to_owned(), id: id.to_owned(), probe: rootfs.join("probe") };
        bundles.write("tell", &["/probe", "fingerprint"], rich)?;
        bundles.write("wait", &["/probe", "sleep"], rich)?;
        Ok(bundles)
    }

    fn write(&self, name: &str, args: &[&str], rich: bool) -> io::Result<()> {
        let mut config: Value = serde_json::from_str(include_str!("../../../src/spec/template.json"))?;
        // What all runtimes know, the older ones of the comparison included.
        config["ociVersion"] = json!("1.0.2");
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(args);
        config["root"] = json!({"path": self.base.join("rootfs"), "readonly": true});
        config["linux"]["cgroupsPath"] = json!(format!("/{}", self.id));
        config["linux"]["resources"] = json!({
            "devices": [{"allow": false, "access": "rwm"}], "pids": {"limit": 64}, "memory": {"limit": 256 << 20},
        });
        if rich {
            self.enrich(&mut config);
        }
        fs::create_dir_all(self.base.join(name))?;
        fs::write(self.base.join(name).join("config.json"), config.to_string())
    }

    fn enrich(&self, config: &mut Value) {
        let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
        let linux = &mut config["linux"];
        linux["uidMappings"] = map.clone();
        linux["gidMappings"] = map.clone();
        push(&mut linux["namespaces"], json!({"type": "user"}));
        linux["sysctl"] = json!({"net.ipv4.ip_unprivileged_port_start": "80"});
        linux["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{"names": ["ptrace", "kexec_load"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
        });
        push(
            &mut config["mounts"],
            json!({"destination": "/vol", "type": "bind", "source": self.base.join("volume"),
                   "options": ["bind", "ro", "nosuid"], "uidMappings": map, "gidMappings": map}),
        );
        let hook = json!([{"path": self.base.join("rootfs/probe"), "args": ["probe", "exit", "0"]}]);
        let inside = json!([{"path": "/probe", "args": ["probe", "exit", "0"]}]);
        config["hooks"] = json!({"createRuntime": hook, "createContainer": hook, "startContainer": inside,
                                 "poststart": hook, "poststop": hook});
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000, "additionalGids": [5, 6], "umask": 63});
        config["process"]["oomScoreAdj"] = json!(100);
        config["process"]["capabilities"]["ambient"] = json!(["CAP_NET_BIND_SERVICE"]);
        config["process"]["capabilities"]["inheritable"] = json!(["CAP_NET_BIND_SERVICE"]);
    }

    /// The directory of one of the two.
    pub fn path(&self, name: &str) -> String {
        self.base.join(name).display().to_string()
    }
}

fn push(list: &mut Value, entry: Value) {
    list.as_array_mut().expect("a list of the template").push(entry);
}
