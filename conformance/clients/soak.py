"""Many short containers, and `rt` killed at every point: what is there before has to be what is there afterwards."""

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import client
import kills
import program
from program import Failure
from scenario import IMAGE

JOBS = 8
# Where the callers let rt keep its state.
STATES = ("/run/rt", "/run/runc", "/run/containerd/runc", "/run/docker/runtime-runc", "/run/containerd/io.containerd.runtime.v2.task")


def processes():
    """Everything that runs in this world, by pid, with its command; kernel threads of a whole machine left out."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline") as file:
                words = file.read().replace("\0", " ").strip()
        except OSError:
            continue
        if words:
            found[int(pid)] = words
    return found


def tree(top, depth=None):
    """Directories below, as a set."""
    return {path for path, _, _ in os.walk(top) if depth is None or path.count("/") <= top.count("/") + depth}


def census():
    """What could leak, each as a set."""
    with open("/proc/self/mountinfo") as mounts:
        mounted = {line.split()[4] for line in mounts}
    return {"processes": {f"{pid} {words}" for pid, words in processes().items()}, "mounts": mounted,
            "cgroups": tree("/sys/fs/cgroup"), "states": set().union(*(tree(state, 2) for state in STATES))}


def memory(part):
    """Resident memory in KiB of the programs whose command has this part."""
    total = 0
    for pid, words in processes().items():
        if part in words:
            try:
                with open(f"/proc/{pid}/status") as status:
                    total += sum(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
            except OSError:
                pass
    return total


# Parents that belong to the manager, and the storage podman mounts once.
LASTING = ("/default", "/docker", "/libpod_parent", "/k8s.io", "/containers/storage/overlay")
# What comes and goes by itself; `sleep` where the shell of a container that lasts waits (that one is counted).
FLEETING = ("sleep 0.1", "aardvark-dns", "strace", "systemd", "(sd-", "podman", "containerd-shim", "dockerd", "containerd ")


def difference(before, after):
    """{kind: what is new}, without programs that are the manager's own."""
    new = {kind: after[kind] - before[kind] for kind in after}
    new["processes"] = {p for p in new["processes"] if not any(name in p for name in FLEETING)}
    for kind in ("mounts", "cgroups"):
        new[kind] = {path for path in new[kind] if not path.endswith(LASTING)}
    return {kind: sorted(things) for kind, things in new.items() if things}


def settled(before, limit=30):
    """Waits until nothing is new; complains about what is."""
    deadline = time.monotonic() + limit * program.PATIENCE
    while True:
        new = difference(before, census())
        if not new or time.monotonic() > deadline:
            return new
        time.sleep(0.2)


def counts(found):
    """For people."""
    return ", ".join(f"{len(things)} {kind}" for kind, things in found.items())


def many(name, number, one, watched):
    """Runs `one(i)` often, and compares before and after."""
    one("warm-up")
    before, memory_before = census(), memory(watched)
    started = time.monotonic()
    with ThreadPoolExecutor(JOBS) as pool:
        wrong = [answer for answer in pool.map(one, range(number)) if answer]
    seconds = time.monotonic() - started
    new = settled(before)
    after, memory_after = census(), memory(watched)
    print(f"{name}: {number} in {seconds:.0f} s, {JOBS} at a time\n  before: {counts(before)}; {watched.strip()} {memory_before} KiB\n"
          f"  after:  {counts(after)}; {watched.strip()} {memory_after} KiB")
    for answer in wrong[:3]:
        print(f"  wrong: {answer}")
    for kind, things in new.items():
        print(f"  new {kind}: {things[:5]}")
    return not wrong and not new


def container(argv, log=None):
    """Runs one container to its end; returns a complaint or None. What it says comes by the caller, or is in a `log`."""
    try:
        answer = program.run(argv, limit=300).out
        if log:
            with open(log) as file:
                answer += file.read()
            os.unlink(log)
    except (Failure, OSError) as failure:
        return str(failure)
    return None if answer == "hi\n" else f"it said {answer!r}"


def by_ctr(number):
    """One under containerd. ctr closes its end of the pipes when the container has ended, though it may not have read all yet (with
    runc as well), so its shim writes into a file."""
    log = f"/tmp/soak-{number}"
    return container(["ctr", "run", "--rm", "--log-uri", f"file://{log}", "--runc-binary", client.RT, IMAGE, f"soak-{number}", "echo", "hi"], log)


def soaks(managers):
    """(name, how it went) of the soaks."""
    runs = {
        "containerd": (500, by_ctr, "containerd "),
        "podman": (200, lambda i: container(["podman", "run", "--rm", IMAGE, "echo", "hi"]), "conmon"),
        "docker": (100, lambda i: container(["/usr/bin/docker", "run", "--rm", "--runtime", "rt", IMAGE, "echo", "hi"]), "dockerd"),
    }
    for name, (number, one, watched) in runs.items():
        if name in managers:
            yield f"soak {name}", many(f"soak {name}", number, one, watched)
    if "cri" in managers:
        yield "soak probes", probes(managers["cri"])


def probes(manager):
    """A pod lives long and is probed often: its shim's memory must not grow with it."""
    from scenario import Case
    from scenarios.kubelet import Pod
    case = Case(manager, "rt", "/mnt")
    try:
        pod = Pod(case)
        running = pod.start()
        shim = f"-id {pod.id}"
        probe = lambda i: None if pod.exec(running, "echo hi") == "hi" else "no answer"
        # The first hundred fill the shim's pools; what counts is that the next three hundred need no more.
        with ThreadPoolExecutor(JOBS) as pool:
            list(pool.map(probe, range(100)))
        grown = memory(shim)
        fine = many("soak probes", 300, probe, shim)
        more = memory(shim) - grown
        print(f"  the shim has grown by {more} KiB meanwhile")
        return fine and more < 8192
    finally:
        case.close()


def main(managers, scratch, soaking, victim):
    """The soaks and the kills, as asked; the exit status tells."""
    outcomes = list(soaks(managers)) if soaking else []
    outcomes += kills.kills(managers, scratch, victim) if victim else []
    failed = [name for name, fine in outcomes if not fine]
    for name in failed:
        print(f"failed: {name}")
    sys.stdout.flush()
    print(f"\n{len(outcomes) - len(failed)} passed, {len(failed)} failed, 0 skipped")
    return 1 if failed else 0
