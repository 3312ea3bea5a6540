"""Containers that come and go in great number: what the machine counts has to be afterwards what it was before."""

import contextlib
import os
import time
from concurrent.futures import ThreadPoolExecutor

from world import check, eventually

JOBS = 4
# Objects of which a container has some, and of which a leak would leave at least one for each.
SLABS = ("mnt_cache", "task_struct", "pid", "cred", "net_namespace", "pid_namespace", "signal_cache", "user_namespace",
         "sock_inode_cache", "nsproxy", "fs_cache", "files_cache", "key_jar", "shmem_inode_cache", "proc_inode_cache")


def slabs():
    """Active objects by cache, as far as the kernel tells."""
    found = {}
    with contextlib.suppress(OSError), open("/proc/slabinfo") as file:
        for line in file:
            words = line.split()
            if words[0] in SLABS:
                found[f"slab {words[0]}"] = int(words[1])
    return found


def total():
    """What is counted for the whole machine; others may be at work on it."""
    counts = slabs()
    with open("/proc/key-users") as file:
        counts["keys of root"] = next((int(line.split()[1]) for line in file if line.split()[0] == "0:"), 0)
    counts["processes"] = sum(name.isdigit() for name in os.listdir("/proc"))
    with open("/proc/cgroups") as file:
        counts |= {f"cgroups of {words[0]}": int(words[2]) for words in map(str.split, file) if not words[0].startswith("#")}
    with open("/proc/sys/fs/file-nr") as file:
        counts["open files"] = int(file.read().split()[0])
    return counts


def own():
    """What is counted for ourselves alone."""
    with open("/proc/self/mountinfo") as file:
        mounts = len(file.readlines())
    return {"descriptors": len(os.listdir("/proc/self/fd")), "mounts": mounts}


def life(world, bundles, number):
    """One container's: every tenth with all verbs, the others a `run`."""
    container = world.id(f"s{number}")
    if number % 10:
        world.must("run", "--bundle", bundles["true"], container)
        return
    world.must("create", "--bundle", bundles["sleep"], container)
    world.must("start", container)
    world.must("exec", container, "true")
    world.must("pause", container)
    world.must("resume", container)
    world.must("update", "--pids-limit", "20", container)
    world.must("kill", container, "KILL")
    world.must("delete", "--force", container)


def soak(world, numbers):
    """So many containers: nothing of them stays, and no count grows with them."""
    bundles = {"true": world.bundle("true", ["true"]), "sleep": world.bundle("sleep", ["sleep", "1000"])}
    with ThreadPoolExecutor(JOBS) as pool:
        # The kernel's caches fill first.
        list(pool.map(lambda number: life(world, bundles, number), range(40)))
        # What the machine counts is freed some time after, and others are at work: least of a few looks.
        before, mine = least(), own()
        begun = time.monotonic()
        list(pool.map(lambda number: life(world, bundles, number), range(numbers.soak)))
        seconds = time.monotonic() - begun
        world.nothing_left("soak")
        check(own() == mine, f"{mine} have become {own()}")
    # A leak of one for every other container would show; less is other people's.
    limit = max(numbers.soak // 2, 300)
    grown = eventually(lambda: {name: f"{before[name]} → {now}" for name, now in total().items()
                                if name in before and now - before[name] > limit}, 60)
    check(not grown, f"grown with {numbers.soak} containers: {grown}")
    after = least()
    told = ", ".join(f"{name} {before[name]} → {after[name]}" for name in before if before[name] != after[name])
    return f"{numbers.soak} in {seconds:.0f} s, {JOBS} at a time; the machine's counts: {told or 'equal'}"


def least():
    """The least of some looks at the machine's counts."""
    looks = []
    for _ in range(4):
        looks.append(total())
        time.sleep(0.5)
    return {name: min(look.get(name, 0) for look in looks) for name in looks[0]}
