"""`rt` is killed in the middle, by SIGKILL, at one system call after another: the caller's own retry or clean-up has to succeed,
and nothing may remain. strace counts the calls, so each death is at a known point and can be had again.

Callers give up in two places: podman and docker never repeat a `delete` that died before it did anything, and docker
forgets a container whose `start` died. With any runtime what is left is then a person's to find and to remove: `list`
still has to show it, and `delete --force` has to take all of it away. Such deaths are counted apart."""

import os
import re
import stat

import client
import program
from docker import DOCKER
from program import Failure
from scenario import IMAGE, SLEEP

POINTS = int(os.environ.get("RT_CLIENTS_POINTS", "12"))  # deaths per verb and caller, evenly over its system calls
# -D: strace is nobody's parent, and rt stays the child of who called it.
WRAPPER = """#!/bin/sh
for word; do
    case $word in create|start|exec|delete|run) verb=$word; break ;; esac
done
if mv "{orders}/$verb" "{orders}/done" 2>/dev/null; then
    exec strace -D -qqq -o {orders}/calls -e trace=all $(cat {orders}/done) {rt} "$@"
fi
exec {rt} "$@"
"""


class Victim:
    """A wrapper that is told, once, at which call to die."""

    def __init__(self, path, orders, runtime):
        self.path, self.orders, self.runtime = path, orders, runtime
        os.makedirs(orders, exist_ok=True)
        client.write(path, WRAPPER.format(orders=orders, rt=runtime))
        os.chmod(path, stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)

    def order(self, verb, call=None):
        """The next `verb` dies at its `call`th system call; without a number they are only counted."""
        text = f"-e inject=all:signal=KILL:when={call}" if call else "-f"
        client.write(f"{self.orders}/new", text)
        os.rename(f"{self.orders}/new", f"{self.orders}/{verb}")

    def carried_out(self):
        """Was it?"""
        return os.path.exists(f"{self.orders}/done")

    def reset(self):
        """Forgets orders."""
        for name in os.listdir(self.orders):
            os.remove(f"{self.orders}/{name}")

    def calls(self):
        """How many system calls were counted, of the first process."""
        with open(f"{self.orders}/calls") as file:
            lines = [line for line in file if re.match(r"(\d+ +)?\w+\(", line)]
        first = lines[0].split()[0] if lines and lines[0][0].isdigit() else ""
        return sum(line.startswith(first) for line in lines)


class Caller:
    """How a client is made to call a verb, how it cleans up, and where it has the runtime keep its state."""

    def __init__(self, name, run, execute, remove, gone, root):
        self.name, self.run, self.execute, self.remove, self.gone, self.root = name, run, execute, remove, gone, root


def callers(managers, victim):
    """Those among the clients that there are. Each function takes a container's name."""
    quiet = lambda *argv: program.run(list(argv), status="any", limit=120)
    if "podman" in managers:
        podman = ["podman", "--runtime", victim]
        yield Caller("podman",
                     lambda n: program.run([*podman, "run", "-d", "--network", "none", "--name", n, IMAGE, "sh", "-c", SLEEP]),
                     lambda n: program.run([*podman, "exec", n, "echo", "hi"]),
                     lambda n: program.run([*podman, "rm", "-f", "-t", "0", n]),
                     lambda n: quiet("podman", "container", "exists", n).status == 1,
                     None)
    if "docker" in managers:
        yield Caller("docker",
                     lambda n: program.run([DOCKER, "run", "-d", "--network", "none", "--runtime", "victim", "--name", n, IMAGE, "sh", "-c", SLEEP]),
                     lambda n: program.run([DOCKER, "exec", n, "echo", "hi"]),
                     lambda n: program.run([DOCKER, "rm", "-f", n]),
                     lambda n: quiet(DOCKER, "inspect", n).status == 1,
                     "/run/docker/runtime-runc/moby")
    if "containerd" in managers:
        def remove(n):
            quiet("ctr", "task", "kill", "-s", "SIGKILL", n)
            quiet("ctr", "task", "rm", "-f", n)
            program.run(["ctr", "container", "rm", n])
        yield Caller("containerd",
                     lambda n: program.run(["ctr", "run", "-d", "--runc-binary", victim, IMAGE, n, "sh", "-c", SLEEP]),
                     lambda n: program.run(["ctr", "task", "exec", "--exec-id", f"{n}-exec{os.urandom(3).hex()}", n, "echo", "hi"]),
                     remove,
                     lambda n: n not in quiet("ctr", "container", "ls", "-q").out.split(),
                     "/run/containerd/runc/default")


def attempt(function, name):
    """Does it; the complaint, or None."""
    try:
        function(name)
    except Failure as failure:
        return str(failure)
    return None


def death(caller, victim, verb, call, name):
    """rt dies in `verb` at `call`. Returns what went wrong afterwards, or None, and whether the caller had given up."""
    import soak
    victim.reset()
    before = soak.census()
    if verb in ("create", "start"):
        victim.order(verb, call)
        attempt(caller.run, name)
    else:
        caller.run(name)
    if verb == "exec":
        victim.order(verb, call)
        attempt(caller.execute, name)
        if complaint := attempt(caller.execute, name):
            return f"the next exec: {complaint}", False
    if verb == "delete":
        victim.order(verb, call)
        attempt(caller.remove, name)
    if not victim.carried_out():
        return f"{verb} was never called", False
    if not caller.gone(name):
        # Two tries are a caller's right: one that finds the ruins, and one after those have been cleared.
        complaint = attempt(caller.remove, name) and attempt(caller.remove, name)
        if complaint and not caller.gone(name):
            return f"removing it: {complaint}", False
    abandoned = bool(soak.settled(before, limit=3)) and verb in ("start", "delete")
    if abandoned:
        sweep(caller, victim)
    if new := soak.settled(before):
        return f"left behind: {new}", abandoned
    return complaint_of_a_second(caller, name), abandoned


def sweep(caller, victim):
    """What a person does whose manager has forgotten containers: the runtime still knows them."""
    rt = [victim.runtime] + (["--root", caller.root] if caller.root else [])
    for known in program.run([*rt, "list", "-q"]).out.split():
        program.run([*rt, "delete", "--force", known])


def complaint_of_a_second(caller, name):
    """The name has to be free again."""
    return attempt(caller.run, f"{name}-again") or attempt(caller.remove, f"{name}-again")


def number_of_calls(caller, victim, verb, name):
    """How many system calls the verb makes when nobody kills it."""
    victim.reset()
    victim.order(verb)
    caller.run(name)
    if verb == "exec":
        caller.execute(name)
    caller.remove(name)
    program.until(victim.carried_out, f"{caller.name} calls {verb}")
    return victim.calls()


def kills(managers, scratch, runtime):
    """(name, how it went) for every caller and verb."""
    victim = Victim("/usr/local/bin/victim", f"{scratch}/orders", client.RUNTIMES[runtime])
    if "docker" in managers:
        managers["docker"].peers["victim"] = {"path": victim.path}
        managers["docker"].make_default("rt")
    for caller in callers(managers, victim.path):
        for verb in ("create", "start", "exec", "delete"):
            yield f"kill {caller.name} {verb}", deaths(caller, victim, verb)


def deaths(caller, victim, verb):
    """All deaths of one verb."""
    name = f"kill-{caller.name}-{verb}"
    try:
        total = number_of_calls(caller, victim, verb, name)
    except Failure as failure:
        print(f"{name}: {failure}")
        return False
    points = sorted({1 + i * (total - 1) // max(POINTS - 1, 1) for i in range(POINTS)})
    wrong, given_up = {}, []
    for point in points:
        complaint, abandoned = death(caller, victim, verb, point, f"{name}-{point}")
        if complaint:
            wrong[point] = complaint
        elif abandoned:
            given_up.append(str(point))
    by_hand = f", {len(given_up)} of them by hand (at {', '.join(given_up)}: the caller gives up)" if given_up else ""
    print(f"{name}: killed at calls {', '.join(map(str, points))} of {total}: {len(points) - len(wrong)} clean{by_hand}, {len(wrong)} not",
          flush=True)
    for point, complaint in wrong.items():
        print(f"  at call {point}: {complaint}")
    return not wrong
