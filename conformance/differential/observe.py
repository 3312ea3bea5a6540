"""Runs one case under one runtime and says what came of each command, with everything taken out that differs from run to
run: pids, times, directories. Never judges."""

import ctypes
import json
import os
import re
import shlex
import shutil
import subprocess
import time
from dataclasses import dataclass, field

PR_SET_CHILD_SUBREAPER = 36
TIMEOUT = 30
PID = "7777777"

# What stands around a message: runc says which part of it failed, rt which field of the config asked for it. And Go names a flag with
# one dash.
FRAMES = [
    re.compile(r"^(?:runc (?:create|run) failed|exec failed|unable to start container process|error during container init): "),
    re.compile(r"^(?:invalid config\.json: )?/(?:process|root|mounts|hooks|linux|hostname|ociVersion)[\w/.~]*: "),
]


@dataclass
class Observed:
    """What one command answered. `values` has the channels: exit, stdout, stderr, log, and files that were asked for."""

    command: str
    values: dict = field(default_factory=dict)


def has_v1():
    """Are there cgroup v1 hierarchies with controllers?"""
    with open("/proc/self/mountinfo") as mounts:
        return any(" - cgroup " in line and "memory" in line for line in mounts)


def rootfs(path):
    """A root file system of busybox, with two files that can't be executed."""
    for name in ("bin", "etc", "dev", "proc", "sys", "tmp", "root"):
        os.makedirs(f"{path}/{name}")
    os.chmod(f"{path}/tmp", 0o1777)
    shutil.copy("/bin/busybox", f"{path}/bin/busybox")
    for applet in ("sh", "true", "false", "sleep", "cat", "id", "env", "stat", "grep", "ls", "pwd", "kill", "mount", "sort", "tty"):
        os.symlink("busybox", f"{path}/bin/{applet}")
    with open(f"{path}/etc/passwd", "w") as passwd:
        passwd.write("root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/tmp:/bin/sh\n")
    with open(f"{path}/bin/no-loader", "w") as script:
        script.write("#!/bin/not-there\n")
    os.chmod(f"{path}/bin/no-loader", 0o755)


def place(document, pointer, value):
    """Sets (or, with None, removes) the value at an RFC 6901 pointer."""
    *way, last = pointer.strip("/").split("/")
    for token in way:
        document = document[int(token)] if isinstance(document, list) else document.setdefault(token, {})
    if isinstance(document, list):
        document.append(value) if last == "-" else document.__setitem__(int(last), value)
    elif value is None:
        document.pop(last, None)
    else:
        document[last] = value


class World:
    """One case under one runtime: a directory with the bundle and the state, the same one for both runtimes."""

    def __init__(self, name, runtime, case, config, scratch):
        self.name, self.runtime, self.case = name, runtime, case
        self.dir = f"{scratch}/{case.name}"
        self.id = f"rtd-{case.name}"
        self.pids = set()
        self.log_size = 0
        self.calls = 0
        os.makedirs(self.dir)
        rootfs(f"{self.dir}/rootfs")
        config = json.loads(json.dumps(config))
        for pointer, value in case.config.items():
            place(config, pointer, json.loads(self.fill(json.dumps(value))))
        if not case.raw:
            with open(f"{self.dir}/config.json", "w") as out:
                json.dump(config, out)
        elif case.raw != "none":
            with open(f"{self.dir}/config.json", "w") as out:
                out.write(case.raw)

    def fill(self, text):
        """Fills in the placeholders {b} (the bundle) and {id}."""
        return text.replace("{b}", self.dir).replace("{id}", self.id)

    def play(self):
        """All commands of the case; what was made is removed afterwards."""
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        try:
            return [seen for line in self.case.lines if (seen := self.step(line))]
        finally:
            self.reap()
            self.call(["delete", "--force", self.id])
            self.reap()
            shutil.rmtree(self.dir, ignore_errors=True)

    def step(self, line):
        """One line: a command of the runtime, or a helper (`!until STATUS`, `!ended`, `!sh SCRIPT`, `!quiet COMMAND`)."""
        self.reap()
        word, _, rest = line.partition(" ")
        if word == "!until":
            return self.until(rest)
        if word == "!ended":
            return self.ended()
        if word == "!quiet":
            done = self.call(shlex.split(self.fill(rest)))
            if done.returncode:
                raise RuntimeError(f"{self.case.name}: {self.name}: {rest}: {done.stderr}")
            return self.note_pids()
        if word == "!sh":
            done = subprocess.run(["sh", "-c", self.fill(rest)], capture_output=True, text=True, timeout=TIMEOUT, cwd=self.dir)
            return Observed(line, {"exit": done.returncode, "stdout": self.clean(done.stdout)})
        done = self.call(shlex.split(self.fill(line)))
        if re.search(r"\b(create|run)\b", line):
            self.note_pids()
        values = {"exit": done.returncode, "stdout": self.clean(done.stdout), "stderr": self.clean(message(done.stderr))}
        if (log := self.new_log()) is not None:
            values["log"] = "what stderr says" if log and log == values["stderr"] else log
        return Observed(line, values)

    def call(self, words):
        """One invocation, as a caller with next to no environment makes it."""
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **{k: self.fill(v) for k, v in self.case.env.items()}}
        stdin = self.fill(self.case.stdin).encode() if self.case.stdin else b""
        # Files, not pipes: a container that goes on keeps them open. New ones each time: what it says later is not the next command's.
        self.calls += 1
        names = [f"{self.dir}/.{what}{self.calls}" for what in ("out", "err")]
        with open(names[0], "wb") as out, open(names[1], "wb") as err:
            command = [self.runtime, "--root", f"{self.dir}/state", *words]
            child = subprocess.run(command, input=stdin, stdout=out, stderr=err, timeout=TIMEOUT, cwd=self.dir, env=env)
        child.stdout, child.stderr = (open(name, errors="replace").read() for name in names)
        return child

    def ended(self):
        """Waits until the container's processes that we know of are gone: `start` does not wait for how its hooks end."""
        for _ in range(1000):
            self.reap()
            if not any(os.path.exists(f"/proc/{pid}") for pid in self.pids):
                return
            time.sleep(0.01)
        raise TimeoutError(f"{self.case.name}: {self.name}: {self.pids} live on")

    def until(self, status):
        """Waits until the container has this status."""
        for _ in range(1000):
            self.reap()
            done = self.call(["state", self.id])
            if done.returncode == 0 and json.loads(done.stdout)["status"] == status:
                return None
            time.sleep(0.01)
        raise TimeoutError(f"{self.case.name}: {self.name} never became {status}")

    @staticmethod
    def reap():
        """Nobody in a pid namespace can go before we have waited for those whom we have adopted from it."""
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass

    def note_pids(self):
        """Remembers the container's pid, to recognise it in what is printed."""
        done = self.call(["state", self.id])
        if done.returncode == 0:
            self.pids.add(json.loads(done.stdout)["pid"])
        self.pids.discard(0)

    def new_log(self):
        """What was added to {b}/log, as `message` has it. Of JSON the three keys that callers read must be there."""
        try:
            with open(f"{self.dir}/log") as file:
                file.seek(self.log_size)
                text = file.read()
                self.log_size = file.tell()
        except FileNotFoundError:
            return None
        lines = []
        for line in text.splitlines():
            if line.startswith("{"):
                entry = json.loads(line)
                assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", entry["time"]), entry
                line = f"time=\"\" level={entry['level']} msg={json.dumps(entry['msg'])}"
            if "nsexec-" not in line:  # runc's helper process: it races with its parent, which may end before these lines are written
                lines.append(message(line))
        return self.clean("".join(lines))

    def clean(self, text):
        """Without what differs from run to run."""
        text = text.replace(self.dir, "{b}").replace(self.id, "{id}").replace("\r\n", "\n").replace(self.runtime, "PROGRAM")
        text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", "TIME", text)
        text = re.sub("CREATED +(?=.*\n.*TIME)", "CREATED  ", text)  # as wide as a time is, which is shorter when it ends in zeros
        text = re.sub(r"(pid |write |usage: |counts |/self/fd/)\d+", r"\1N", text)
        text = re.sub(r'"([\w.]+\.(?:version|commit))": "[^"]*"', r'"\1": "VERSION"', text)
        text = re.sub(r"(size|nr_inodes)=\d{6,}", r"\1=N", text)
        # What is in a hierarchy is below the cgroup that we are in ourselves.
        text = re.sub(rf"/sys/fs/cgroup/\w+({'|'.join(OWN_CGROUPS)})?/", "/sys/fs/cgroup/*/", text)
        for pid in self.pids:
            text = re.sub(rf"(?<![\w.]){pid}(?![\w.])", PID, text)
        return text


OWN_CGROUPS = sorted({re.escape(line.split(":", 2)[2].strip()) for line in open("/proc/self/cgroup")} - {"/"})


def message(text):
    """The messages on stderr or in a text log without what stands around them: both say `level=error msg="…"` in a log; for
    people runc prints the same, or the bare message beside a log, and rt prints `rt: …` with a hint below."""
    lines = []
    for line in text.splitlines():
        framed = re.match(r'time="[^"]*" level=(\w+) msg=("(?:[^"\\]|\\.)*"|\S+)', line)
        if framed:
            said = json.loads(framed[2]) if framed[2].startswith('"') else framed[2]
            line = said if framed[1] in ("error", "fatal") else f"{framed[1]}: {said}"
        elif line.startswith("  hint: "):
            continue
        lines.append(unframed(line.removeprefix("rt: ")))
    return "\n".join(lines) + ("\n" if lines else "")


def unframed(line):
    """A message without its frames."""
    line = re.sub(r"^/\S*/runc: ", "", line)
    while (shorter := next((found.re.sub("", line, count=1) for frame in FRAMES if (found := frame.match(line))), line)) != line:
        line = shorter
    return re.sub(r"(flag (?:needs an argument: |provided but not defined: )?|for )-(?=[a-z])", r"\1--", line)
