"""Runs one program of the validation suite against one runtime and clears up after it. Must only ever touch what that
program made: its containers, cgroups and processes are known by the ids the program passed to the runtime."""

import ctypes
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import time
from dataclasses import asdict, dataclass

# Seconds; the slowest program needs about 20. An emulated machine is slower by a factor.
TIMEOUT = 180 * float(os.environ.get("RT_TEST_TIMEOUT_FACTOR", "1"))
PR_SET_CHILD_SUBREAPER = 36
# What the configurations of the cgroup programs name in linux.cgroupsPath.
SUITE_CGROUPS = ("cgrouptest", "testdir")
CRUN_GATE = "/sys/fs/cgroup/unified/cgroup.controllers"


@dataclass
class Runtime:
    """A runtime to test: the words of the table's head, its binary, and where it keeps its state."""

    name: str
    path: str
    root: str
    version: str
    hide_unified: bool  # crun refuses hosts whose cgroup2 side has controllers while others are on v1

    @staticmethod
    def probe(path, scratch):
        """Finds the binary and asks for its version."""
        found = shutil.which(path)
        if not found:
            raise SystemExit(f"{path}: no such runtime")
        found = os.path.abspath(found)
        name = os.path.basename(found)
        answer = subprocess.run([found, "--version"], capture_output=True, text=True)
        version = answer.stdout.split("\n")[0] or "version unknown"
        return Runtime(name, found, f"{scratch}/root-{name}", version, version.startswith("crun") and hybrid())


@dataclass
class Result:
    """What one program printed and left behind."""

    ok: int = 0
    not_ok: int = 0
    skip: int = 0
    status: int = 0
    timed_out: bool = False
    soft_fail: bool = False
    attempts: int = 1
    seconds: float = 0.0
    left_containers: int = 0
    left_cgroups: int = 0
    left_processes: int = 0

    @property
    def passed(self):
        """Clean: exit 0, no `not ok`, and no error block that stands in for one."""
        return not (self.not_ok or self.status or self.timed_out or self.soft_fail)

    def cell(self):
        """The table cell: ok/not ok/skip, with the reason why that is no pass."""
        text = f"{self.ok}/{self.not_ok}/{self.skip}"
        if self.timed_out:
            text += " time-out"
        elif self.status:
            text += f" rc={self.status}"
        elif self.soft_fail:
            text += " soft"
        if self.attempts > 1:
            text += f" run {self.attempts}"
        return text + ("" if self.passed else " x")


def hybrid():
    """Does cgroup2 have controllers beside v1 hierarchies?"""
    try:
        with open(CRUN_GATE) as controllers:
            return bool(controllers.read().strip())
    except OSError:
        return False


def count(output, status):
    """Counts TAP lines. TODO lines don't count, as TAP says. An error block in a program without any TAP line is a
    failure that the program tells in no other way."""
    result = Result(status=status)
    error_block = False
    for line in output.splitlines():
        if re.match(r"(not )?ok\b", line):
            if re.search(r"# TODO\b", line):
                continue
            if re.search(r"# SKIP\b", line, re.I):
                result.skip += 1
            elif line.startswith("not"):
                result.not_ok += 1
            else:
                result.ok += 1
        elif line.startswith("# details "):
            details = json.loads(line[len("# details "):])
            error_block |= isinstance(details, dict) and bool(details.get("error"))
    lines = result.ok + result.not_ok + result.skip
    result.soft_fail = error_block and lines == 0 and status == 0
    return result


def write_wrapper(runtime, scratch, calls):
    """The command the suite gets as its runtime: the real one with its own state directory. It notes every container
    id, which is how the clear-up knows what is ours."""
    path = f"{scratch}/runtime"
    with open(path, "w") as script:
        script.write("#!/bin/sh\n")
        script.write(f'case "$1" in create) for id; do :; done; echo "$id" >>"{calls}";; esac\n')
        script.write(f'exec "{runtime.path}" --root "{runtime.root}" "$@"\n')
    os.chmod(path, stat.S_IRWXU)
    return path


def container_ids(calls):
    """The ids the program made up. All are UUIDs; anything else (a test calls `create` with no id) is not one."""
    if not os.path.exists(calls):
        return []
    with open(calls) as lines:
        return sorted({line.strip() for line in lines if re.fullmatch(r"[0-9a-f-]{36}", line.strip())})


def command(runtime, program, scratch):
    """The program in a mount namespace of its own: some containers have none, and mount straight into the caller's."""
    prepare = ""
    if runtime.hide_unified:
        empty = f"{scratch}/no-controllers"
        open(empty, "w").close()
        prepare = f'mount --bind "{empty}" {CRUN_GATE} && '
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", prepare + 'exec "$0"', program]


def wait_for(child):
    """Waits for the program and for every orphan that comes to us. Returns its exit status, or None after TIMEOUT."""
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        pid, wait_status = os.waitpid(-1, os.WNOHANG)
        if pid == child.pid:
            child.returncode = os.waitstatus_to_exitcode(wait_status)
            return child.returncode
        if pid == 0:
            time.sleep(0.005)
    os.killpg(child.pid, signal.SIGKILL)
    return None


def kill_orphans():
    """Kills what the program left running (all of it is our child by now) and says how many those were."""
    killed = set()
    while True:
        with open(f"/proc/self/task/{os.getpid()}/children") as children:
            alive = {int(pid) for pid in children.read().split()}
        if not alive:
            return len(killed)
        for pid in alive:
            state = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0]
            if state != "Z":
                killed.add(pid)
                os.kill(pid, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return len(killed)


def delete_containers(runtime, ids):
    """Deletes the containers this program created and did not delete."""
    deleted = 0
    for container in ids:
        call = [runtime.path, "--root", runtime.root]
        known = subprocess.run(call + ["state", container], capture_output=True)
        if known.returncode == 0:
            deleted += 1
            subprocess.run(call + ["delete", "--force", container], capture_output=True, timeout=30)
    return deleted


def cgroup_mounts():
    """Mount points of all cgroup file systems."""
    with open("/proc/self/mountinfo") as mounts:
        return [line.split()[4] for line in mounts if line.split(" - ")[1].startswith("cgroup")]


def needs_the_cgroup(program):
    """These use the one fixed cgroup path, so only one of them may run at a time."""
    return program.startswith("linux_cgroups") or program in ("delete_resources", "delete_only_create_resources")


def cgroups_of(program, ids):
    """Cgroup directories named after these containers, or by the program's configurations; the deepest first."""
    names = tuple(ids) + (SUITE_CGROUPS if needs_the_cgroup(program) else ())
    found = []
    for top in cgroup_mounts():
        for path, _, _ in os.walk(top, topdown=False):
            parts = os.path.relpath(path, top).split("/")
            if any(name in part for part in parts for name in names):
                found.append(path)
    return found


def remove_cgroups(left):
    """Removes the empty cgroups a program left, and says how many they were; a busy one stays."""
    for path in left:
        for _ in range(20):
            try:
                os.rmdir(path)
                break
            except FileNotFoundError:
                break
            except OSError:
                time.sleep(0.05)
    return len(left)


def run(runtime, program, suite, scratch, environment, log):
    """Runs one program; to be called in a process of its own, which adopts the program's orphans."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    os.chmod(scratch, 0o755)  # a container with a user namespace must be able to walk to its bundle
    os.makedirs(f"{scratch}/tmp")
    calls = f"{scratch}/ids"
    before = set(cgroups_of(program, []))
    env = dict(os.environ, TMPDIR=f"{scratch}/tmp", RUNTIME=write_wrapper(runtime, scratch, calls), **environment)
    started = time.monotonic()
    with open(log, "w+") as output:
        child = subprocess.Popen(
            command(runtime, f"{suite}/bin/{program}", scratch), cwd=suite, env=env, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        status = wait_for(child)
        seconds = time.monotonic() - started
        output.seek(0)
        result = count(output.read(), status or 0)
    result.timed_out = status is None
    result.seconds = round(seconds, 1)
    ids = container_ids(calls)
    result.left_containers = delete_containers(runtime, ids)
    result.left_processes = kill_orphans()
    result.left_cgroups = remove_cgroups([path for path in cgroups_of(program, ids) if path not in before])
    shutil.rmtree(scratch, ignore_errors=True)
    return result


def to_json(result):
    """A result as text, for the pipe between the process that ran it and the one that counts."""
    return json.dumps(asdict(result))


def from_json(text):
    """The other end of `to_json`."""
    return Result(**json.loads(text))
