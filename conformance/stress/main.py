"""The command line; the bystander; who adopts what loses its parent."""

import argparse
import ctypes
import os
import shutil
import subprocess
import sys
import threading
import time

from scenarios import SCENARIOS
from soak import soak
from world import FACTOR, World, Wrong, check

PR_SET_CHILD_SUBREAPER = 36
# Says every tenth of a second that it lives.
BEAT = 'while :; do read now rest </proc/uptime; echo $now >>"$0"; sleep 0.1; done'


class Bystander:
    """A container that has nothing to do with any of this, and must not notice it. Beside it beats the same loop outside of
    any container: what both miss is the machine's."""

    def __init__(self, world):
        self.world, self.id, directory = world, world.id("beat"), f"{world.base}/beats"
        os.mkdir(directory)
        mount = {"destination": "/tmp", "type": "bind", "source": directory, "options": ["rbind", "rw"]}
        bundle = world.bundle("beat", ["sh", "-c", BEAT, "/tmp/inside"], lambda config: config["mounts"].append(mount))
        self.files = [f"{directory}/inside", f"{directory}/outside"]
        self.outside = subprocess.Popen([f"{world.rootfs}/bin/busybox", "sh", "-c", BEAT, self.files[1]])
        world.running("beat", bundle)
        self.state = world.status(self.id)
        time.sleep(1)

    def gaps(self):
        """The longest silence inside and outside, in seconds, up to now."""
        longest = []
        for path in self.files:
            with open(path) as file:
                beats = [float(line) for line in file]
            with open("/proc/uptime") as file:
                beats.append(float(file.read().split()[0]))
            longest.append(max(after - before for before, after in zip(beats, beats[1:])))
        return longest

    def judge(self):
        """Complains if it was touched."""
        check(self.world.status(self.id) == self.state, f"the bystander's state was {self.state}, is {self.world.status(self.id)}")
        inside, outside = self.gaps()
        check(inside < 1.0 * FACTOR + 3 * outside, f"the bystander was silent for {inside:.2f} s, the one outside for {outside:.2f} s")
        return f"longest silence {inside:.2f} s, outside of any container {outside:.2f} s"

    def close(self):
        """Ends both."""
        self.world.must("delete", "--force", self.id)
        self.outside.kill()
        self.outside.wait()


def slowness(bystander):
    """How many times slower the machine is than one that has nothing else to do."""
    return lambda: 1.0 + 10 * max(0.0, bystander.gaps()[1] - 0.2)


def work(words):
    """Runs the scenarios and prints how each went."""
    world = World(words.runtime, words.bomb)
    bystander = Bystander(world)
    world.slow = slowness(bystander)
    scenarios = {**SCENARIOS, "soak": soak}
    wanted = words.only.split(",") if words.only else scenarios
    passed = failed = 0

    def one(name, what):
        nonlocal passed, failed
        begun = time.monotonic()
        try:
            said = what()
            world.nothing_left(name)
            passed += 1
            print(f"{name}: {said} ({time.monotonic() - begun:.0f} s)", flush=True)
        except Exception as why:  # whatever it is, the next scenario may tell more
            failed += 1
            print(f"FAILED {name}: {why if isinstance(why, Wrong) else repr(why)}", flush=True)
            for container in os.listdir(world.state):
                if container != bystander.id:
                    world.rt("delete", "--force", container)

    for name in wanted:
        one(name, lambda: scenarios[name](world, words))
    one("bystander", bystander.judge)
    bystander.close()
    try:
        world.nothing_left("in the end", but=())
    except Wrong as why:
        failed += 1
        print(f"FAILED {why}")
    world.close()
    print(f"{passed} passed, {failed} failed, 0 skipped", flush=True)
    return 0 if failed == 0 and passed > 1 else 1


def selftest(words):
    """The oracles must go red on what is planted."""
    world = World(words.runtime, words.bomb)
    planted = f"/sys/fs/cgroup/{next(n for n in ('unified', 'pids', '.') if os.path.isdir(f'/sys/fs/cgroup/{n}'))}/{world.id('planted')}"
    os.mkdir(planted)
    sleeper = subprocess.Popen(["sleep", "100"])
    try:
        with open(f"{planted}/cgroup.procs", "w") as file:
            file.write(str(sleeper.pid))
        seen = world.left()
        kinds = {line.split()[0] for line in seen}
        return None if {"cgroup", "process"} <= kinds else f"a planted cgroup with a process is not seen: {seen}"
    finally:
        sleeper.kill()
        sleeper.wait()
        os.rmdir(planted)
        shutil.rmtree(world.base)


def main():
    """Forks: this process adopts and waits for orphans, the other one works."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runtime", required=True)
    parser.add_argument("--bomb", required=True)
    parser.add_argument("--only")
    parser.add_argument("--quick", action="store_true")
    for name in ("many", "rounds", "hard", "soak"):
        parser.add_argument(f"--{name}", type=int)
    words = parser.parse_args()
    usual = dict(many=200, rounds=5, hard=1, soak=200) if words.quick else dict(many=1000, rounds=50, hard=10, soak=10000)
    for name, number in usual.items():
        setattr(words, name, getattr(words, name) or number)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    worker = os.fork()
    if worker == 0:
        red = selftest(words)
        if red:
            print(f"FAILED selftest: {red}\n0 passed, 1 failed, 0 skipped", flush=True)
        os._exit(1 if red else work(words))
    while True:
        pid, status = os.wait()
        if pid == worker:
            sys.exit(os.waitstatus_to_exitcode(status))


main()
