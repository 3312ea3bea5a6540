"""The command lines. Data only: each case has a bundle of its own, and lines that are given to both runtimes, each with
`--root` before it. Lines that begin with `!` help and compare nothing, except `!sh`, of which output and status count."""

from dataclasses import dataclass, field

CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# What `runc spec` writes, less the terminal; the process waits.
CONFIG = {
    "ociVersion": "1.0.2",
    "process": {
        "terminal": False, "user": {"uid": 0, "gid": 0}, "args": ["/bin/sleep", "1000"], "env": [PATH, "TERM=xterm"], "cwd": "/",
        "capabilities": {"bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES},
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 1024}], "noNewPrivileges": True,
    },
    "root": {"path": "rootfs"},
    "hostname": "differential",
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
         "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]},
    ],
    "linux": {
        "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")],
        "resources": {"devices": [{"allow": False, "access": "rwm"}]},
        "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
        "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
    },
}


@dataclass(frozen=True)
class Case:
    """A scenario. `config` has changes by pointer (None removes), `raw` stands in for the whole file ("none": there is no file), `view`
    says how stdout is looked at (see compare.viewed)."""

    name: str
    lines: list
    config: dict = field(default_factory=dict)
    env: dict = field(default_factory=dict)
    raw: str = ""
    stdin: str = ""
    view: str = ""
    # Whether the answer depends on the host's cgroups: expected.md has that of hosts with v1 hierarchies.
    v1: bool = False


VERBS = ["create", "run", "start", "exec", "kill", "delete", "state", "list", "ps", "events", "pause", "resume", "update", "spec", "features", "checkpoint", "restore"]
RUN = "run --bundle {b} {id}"
CREATE = "create --bundle {b} {id}"
UP = ["!quiet " + CREATE, "!quiet start {id}"]
LOG = "--log {b}/log --log-format json "
INSIDE = ["id; pwd; umask; tty", "env | sort", "grep -E 'Cap|Seccomp:|NoNewPrivs|SigBlk|SigIgn|Groups|Umask|NSpid' /proc/self/status",
          "cat /proc/self/limits", "cat /proc/self/cgroup", "cat /proc/self/oom_score_adj", "ls -l /proc/self/fd | grep -c [0-9]",
          "stat -c '%n %A %u %g %t:%T' /dev/* /dev/pts/ptmx", "grep -c . /proc/1/mountinfo", "cat /proc/self/uid_map"]


def args(*words):
    """The change of the config that executes these words."""
    return {"/process/args": list(words)}


def mount(**entry):
    """The change that adds a mount."""
    return {"/mounts/-": entry}


def refused(name, config, raw=""):
    """A config that can't be run: what stderr, the log and the exit code say of `create`, and that nothing is left."""
    return Case(name, [LOG + CREATE, "state {id}"], config, raw=raw)


CASES = [
    Case("version", ["--version", "-v"], view="nothing"),
    *(Case(f"help-{verb}", [f"{verb} --help"], view="flags") for verb in VERBS),
    Case("help", ["--help"], view="flags"),
    Case("usage", ["frobnicate", "--no-such-flag state {id}", "state", "state a b", "state --nope {id}", "create --bundle", "kill", "exec", "exec {id}", "--debug=maybe list", "start", "delete", "ps", "update --memory lots {id}",
                   "--log-format xml state {id}", "list --format xml", "events --interval x {id}"], view="nothing"),
    Case("usage-log", ["--log {b}/log --log-format json state", "--log {b}/log --log-format json create --bundle"], view="nothing"),
    Case("unknown", ["state {id}", "start {id}", "kill {id}", "kill --all {id} 9", "delete {id}", "delete --force {id}", "delete -f {id}", "exec {id} true",
                     "ps {id}", "pause {id}", "resume {id}", "update --pids-limit 5 {id}", "events --stats {id}", "list", "list --format json", "list -q"]),
    Case("unknown-log", [LOG + "state {id}", LOG + "delete {id}", LOG + "kill {id} 9", LOG + "delete --force {id}"]),
    Case("bad-id", ["create --bundle {b} ../x", "create --bundle {b} a/b", "state a%b", "state ''"]),
    Case("lifecycle", ["create --bundle {b} --pid-file {b}/pid {id}", "!sh cat {b}/pid", "state {id}", "ps --format json {id}", "create --bundle {b} {id}",
                       "start {id}", "start {id}", "state {id}", "list", "list --format json", "list --quiet", "delete {id}", "kill {id} 0", "kill {id} NOPE",
                       "kill {id} 99", "kill {id} SIGKILL", "!until stopped", "state {id}", "kill {id} 9", "kill --all {id} 9", "start {id}", "exec {id} true",
                       "ps --format json {id}", "pause {id}", "resume {id}", "update --pids-limit 5 {id}", "events --stats {id}", "list --format json",
                       "delete {id}", "delete {id}", "delete --force {id}", "state {id}"]),
    Case("delete-created", [CREATE, "delete {id}", "state {id}"]),
    Case("delete-force-running", [*UP, "delete --force {id}", "state {id}"]),
    Case("pause", [*UP, "pause {id}", "state {id}", "pause {id}", "exec {id} true", "delete {id}", "kill {id} KILL", "resume {id}", "!until stopped", "delete {id}"]),
    Case("resume", [*UP, "resume {id}", "pause {id}", "resume {id}", "state {id}", "exec {id} true"]),
    Case("run-codes", ["run --bundle {b} {id}", "state {id}"], args("/bin/sh", "-c", "echo out; echo err >&2; exit 7")),
    Case("run-signal", [RUN], {**args("/bin/sh", "-c", "kill -9 $$"), "/linux/namespaces": [{"type": "mount"}], "/hostname": None}),
    Case("run-detached", ["run -d --bundle {b} --pid-file {b}/pid {id}", "!sh cat {b}/pid", "state {id}"]),
    Case("run-keep", ["run --keep --bundle {b} {id}", "state {id}", "delete {id}"], args("/bin/true")),
    Case("run-go-flags", ["run -bundle {b} -no-subreaper -keep=false -detach=false -no-new-keyring=true {id}"], args("/bin/true")),
    Case("run-stdin", [RUN], args("/bin/cat"), stdin="from the caller"),
    Case("run-not-found", [LOG + RUN, "run --bundle {b} {id}"], args("nothing-here")),
    Case("run-no-file", [LOG + RUN], args("/nothing/here")),
    Case("run-no-permission", [LOG + RUN], args("/etc/passwd")),
    Case("run-directory", [LOG + RUN], args("/etc")),
    Case("run-no-loader", [LOG + RUN], args("/bin/no-loader")),
    Case("run-no-directory", [LOG + RUN], args("/etc/passwd/x")),
    Case("run-terminal-detached", ["run -d --bundle {b} {id}", "create --bundle {b} {id}"], {"/process/terminal": True}),
    Case("run-console-socket", ["run --console-socket {b}/s --bundle {b} {id}", "run -d --console-socket {b}/s --bundle {b} {id}"], args("/bin/true")),
    Case("exec", [*UP, "exec {id} sh -c 'exit 9'", "exec {id} sh -c 'kill -TERM $$'", "exec {id} nothing-here", "exec {id} /nothing/here", "exec {id} /etc/passwd",
                  "exec {id} /etc", "exec {id} /bin/no-loader", "exec --cwd /nowhere {id} pwd", "exec --cwd /tmp {id} pwd", "exec --cwd tmp {id} pwd",
                  "exec --user 1000:1000 {id} id", "exec -u 1000 -g 5 -g 6 {id} id", "exec -u app {id} id", "exec -e A=1 --env B=2 {id} sh -c 'echo $A $B'",
                  "exec -e A {id} env", "exec --tty {id} true", "exec -d --tty {id} true", "exec --console-socket {b}/s {id} true", "exec -d --pid-file {b}/pid {id} true",
                  "exec {id} sh -c 'echo -x; echo --help'", "exec --cap CAP_SYS_ADMIN {id} grep CapEff /proc/self/status", "exec --cap NOPE {id} true",
                  "exec --preserve-fds=99 {id} true", "exec --process {b}/none {id}", "exec --ignore-paused {id} true", "exec --cgroup / {id} true",
                  "exec --cgroup /nowhere {id} true", "exec --no-new-privs {id} grep NoNewPrivs /proc/self/status", "exec {id} --", "exec -- {id} echo x",
                  "exec --apparmor '' --process-label '' {id} true"]),
    Case("exec-process", [*UP, "!sh printf %s '{\"args\":[\"/bin/env\"],\"cwd\":\"/\",\"env\":[\"A=b\"],\"user\":{\"uid\":0,\"gid\":0}}' > {b}/p", "exec --process {b}/p {id}",
                          "exec -p {b}/p --env C=d {id}", "exec -p {b}/p {id} /bin/echo other",
                          "!sh printf %s '{\"args\":[],\"cwd\":\"/\"}' > {b}/p", "exec -p {b}/p {id}", "!sh echo nonsense > {b}/p", "exec -p {b}/p {id}"]),
    Case("exec-log", [*UP, LOG + "exec {id} nothing-here", LOG + "exec {id} true"]),
    Case("exec-inside", [*UP, *(f"exec {{id}} sh -c {script!r}" for script in INSIDE if "'" not in script)],
         {"/process/oomScoreAdj": 100, "/process/user/additionalGids": [7, 8],
          "/linux/seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_ERRNO"}]}}),
    *(Case(f"inside-{number}", [RUN], {**args("/bin/sh", "-c", script), "/process/oomScoreAdj": 100, "/process/user/additionalGids": [7, 8],
                                       "/linux/seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_ERRNO"}]}})
      for number, script in enumerate(INSIDE, 1)),
    Case("inside-mounts", [RUN], args("/bin/mount"), view="lines", v1=True),
    Case("inside-user", [RUN], {**args("/bin/sh", "-c", "id; pwd; echo $HOME"), "/process/user/uid": 1000, "/process/user/gid": 1000, "/process/cwd": "/made/here"}),
    Case("inside-userns", [RUN], {**args("/bin/sh", "-c", "cat /proc/self/uid_map /proc/self/gid_map; stat -c '%u %g' /proc"), "/linux/namespaces/-": {"type": "user"},
                                  "/linux/uidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}],
                                  "/linux/gidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}], "/linux/resources": {}}),
    Case("listen", [RUN], args("/bin/sh", "-c", "env | grep LISTEN | sort"), env={"LISTEN_FDS": "0", "LISTEN_FDNAMES": "a"}),
    Case("update", [*UP, "update --resources - {id}", "!sh cat /sys/fs/cgroup/pids/{id}/pids.max /sys/fs/cgroup/pids/*/{id}/pids.max 2>/dev/null", "update --pids-limit 77 {id}",
                    "update --memory 33554432 --memory-swap 33554432 {id}", "update --memory 32M {id}", "update --cpu-quota 25000 --cpu-period 50000 {id}", "update --cpu-share 10 {id}",
                    "update --cpuset-cpus 4095 {id}", "update {id}", "update --resources {b}/none {id}", "update --pids-limit=-1 {id}", "update --blkio-weight 10 {id}",
                    "update --l3-cache-schema L3:0=f {id}", "update --kernel-memory 1 {id}", "update --cpu-burst 0 {id}", "update --cpu-idle 0 {id}"],
         {"/linux/resources/pids": {"limit": 40}},
         stdin='{"memory":{"limit":0,"reservation":0,"kernel":0},"cpu":{"shares":0,"quota":25000,"period":100000},"pids":{"limit":50},"blockIO":{"weight":0}}', v1=True),
    Case("checkpoint", ["checkpoint {id}", "checkpoint", "checkpoint --manage-cgroups-mode odd {id}", "checkpoint --empty-ns pid {id}",
                        "checkpoint --page-server nowhere {id}", "restore --lsm-mount-context", "restore --bundle {b}/none {id}",
                        "!quiet " + CREATE, "checkpoint --image-path {b}/images {id}"]),
    Case("ps", [*UP, "ps {id} -o pid,comm", "ps {id} -o user,pid,args", "ps --format json {id}", "ps --format nope {id}", "ps {id} -o nope"], view="words"),
    Case("events", [*UP, "events --stats {id}", "events --interval 0s {id}"], view="shape", v1=True),
    Case("features", ["features"]),
    Case("spec", ["spec --bundle {b}", "!sh cat {b}/config.json", "spec --bundle {b}", "spec --bundle {b}/none"], raw="none"),
    Case("spec-rootless", ["spec --rootless --bundle {b}", "!sh cat {b}/config.json"], raw="none"),
    Case("no-bundle", ["create --bundle {b}/none {id}", "run --bundle {b}/none {id}"]),
    Case("pid-file", ["create --bundle {b} --pid-file {b}/none/pid {id}", "state {id}"]),
    Case("log-file", ["--log {b}/none/log state {id}", "--log {b}/log state {id}", "--log {b}/log --log-format text state {id}"]),
    refused("no-config", {}, raw="none"),
    refused("no-json", {}, raw="{\"ociVersion\": "),
    refused("empty-config", {}, raw="{}"),
    refused("no-rootfs", {"/root/path": "nowhere"}),
    refused("no-root", {"/root": None}),
    refused("no-args", {"/process/args": []}),
    refused("relative-cwd", {"/process/cwd": "tmp"}),
    refused("wrong-type", {"/process/args": "sh"}),
    refused("bad-mount-source", mount(destination="/mnt", type="bind", source="{b}/nowhere", options=["bind"])),
    refused("bad-mount-type", mount(destination="/mnt", type="nonsense", source="none", options=[])),
    refused("bad-mount-option", mount(destination="/mnt", type="tmpfs", source="tmpfs", options=["nonsense=1"])),
    refused("mount-over-proc", mount(destination="/proc/1", type="tmpfs", source="tmpfs", options=[])),
    refused("bad-namespace", {"/linux/namespaces/-": {"type": "nonsense"}}),
    refused("twice-a-namespace", {"/linux/namespaces/-": {"type": "pid"}}),
    refused("bad-namespace-path", {"/linux/namespaces/1": {"type": "network", "path": "/nowhere/net"}}),
    refused("wrong-namespace-path", {"/linux/namespaces/1": {"type": "network", "path": "/proc/self/ns/uts"}}),
    refused("hostname-without-uts", {"/linux/namespaces": [{"type": "mount"}, {"type": "pid"}]}),
    refused("mappings-without-userns", {"/linux/uidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}]}),
    refused("bad-rlimit", {"/process/rlimits": [{"type": "RLIMIT_NONSENSE", "soft": 1, "hard": 1}]}),
    refused("rlimit-beyond", {"/process/rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1 << 40, "hard": 1 << 40}]}),
    refused("bad-sysctl", {"/linux/sysctl": {"kernel.panic": "1"}}),
    refused("bad-seccomp-action", {"/linux/seccomp": {"defaultAction": "SCMP_ACT_NONSENSE"}}),
    refused("hook-fails", {"/hooks": {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", "echo out; echo why >&2; exit 3"]}]}}),
    refused("hook-missing", {"/hooks": {"prestart": [{"path": "/nowhere/hook"}]}}),
    refused("hook-relative", {"/hooks": {"poststop": [{"path": "hook"}]}}),
    refused("bad-device", {"/linux/devices": [{"path": "/dev/x", "type": "q"}]}),
    refused("bad-propagation", {"/linux/rootfsPropagation": "nonsense"}),
    refused("bad-version", {"/ociVersion": "nonsense"}),
    Case("memory-too-low", [LOG + CREATE, "state {id}"], {"/linux/resources/memory": {"limit": 4096}}, v1=True),
    Case("bad-cpus", [LOG + CREATE, "state {id}"], {"/linux/resources/cpu": {"cpus": "4095"}}, v1=True),
    Case("unknown-capability", [LOG + RUN], {**args("/bin/true"), "/process/capabilities/bounding": ["CAP_NONSENSE"], "/process/capabilities/effective": [],
                                              "/process/capabilities/permitted": []}),
    Case("poststart-fails", [CREATE, "start {id}", "state {id}"], {"/hooks": {"poststart": [{"path": "/bin/false"}]}}),
    Case("start-container-fails", [CREATE, "start {id}", "!ended", "state {id}"], {"/hooks": {"startContainer": [{"path": "/bin/false"}]}}),
    Case("poststop-fails", [*UP, "kill {id} 9", "!until stopped", "delete {id}", "state {id}"], {"/hooks": {"poststop": [{"path": "/bin/false"}]}}),
]
