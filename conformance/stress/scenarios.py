"""What is done to the runtime. Each scenario gets the world and the numbers, and complains by raising `Wrong`."""

import contextlib
import json
import os
import signal
import statistics
import threading
import time

from world import FACTOR, check, eventually


def many(world, numbers):
    """Creates side by side, 64 at a time: all there, all gone again."""
    bundle = world.bundle("sleep", ["sleep", "1000"])
    names = [world.id(f"m{number}") for number in range(numbers.many)]
    answers = world.side_by_side([("create", "--bundle", bundle, name) for name in names])
    for answer in answers:
        check(answer.ok, str(answer))
    listed = {one["id"]: one["status"] for one in json.loads(world.must("list", "--format", "json").out)}
    check(all(listed.get(name) == "created" for name in names), "`list` doesn't have them all as created")
    for answer in world.side_by_side([("delete", "--force", name) for name in names]):
        check(answer.ok, str(answer))
    times = sorted(answer.seconds for answer in answers)
    return f"{len(names)} creates, median {statistics.median(times) * 1e3:.0f} ms, 99 % within {times[len(times) * 99 // 100] * 1e3:.0f} ms"


def one_id(world, numbers):
    """Creates of one id: one wins, and whoever asks for its state meanwhile gets a whole document or that there is none."""
    bundle, name, over = world.bundle("sleep", ["sleep", "1000"]), world.id("one"), threading.Event()
    asked, wrong = [], []

    def ask():
        while not over.is_set():
            answer = world.rt("state", name)
            asked.append(answer)
            if answer.ok:
                json.loads(answer.out)
            elif "does not exist" not in answer.err:
                wrong.append(str(answer))

    asker = threading.Thread(target=ask)
    asker.start()
    try:
        answers = world.side_by_side([("create", "--bundle", bundle, name)] * numbers.many)
    finally:
        over.set()
        asker.join()
    check(not wrong, f"while it was made: {wrong[:2]}")
    winners = [answer for answer in answers if answer.ok]
    check(len(winners) == 1, f"{len(winners)} of {len(answers)} won")
    for answer in answers:
        check(answer.ok or "already exists" in answer.err, str(answer))
    check(len(world.processes(name)) == 1, "the winner is not alone in its cgroup")
    world.must("delete", "--force", name)
    return f"1 of {len(answers)} won; {len(asked)} times asked for its state"


def starts(world, numbers):
    """start ∥ start: one wins, and the workload runs once."""
    bundle, name = world.bundle("sleep", ["sleep", "1000"]), world.id("start")
    for _ in range(numbers.rounds):
        world.must("create", "--bundle", bundle, name)
        answers = world.together(*[("start", name)] * 8)
        winners = sum(answer.ok for answer in answers)
        check(winners == 1, f"{winners} of 8 won: {[str(answer) for answer in answers if not answer.ok][:2]}")
        check(world.status(name)["status"] == "running", "it doesn't run")
        world.must("delete", "--force", name)
    return f"{numbers.rounds} rounds of 8"


# Verbs that meet `delete --force`, or one another. What stands before: created or running.
PAIRS = {
    "exec ∥ delete": ("running", [("exec", "ID", "true")] * 3 + [("delete", "--force", "ID")]),
    "pause ∥ delete": ("running", [("pause", "ID"), ("delete", "--force", "ID")]),
    "update ∥ delete": ("running", [("update", "--pids-limit", "20", "ID"), ("delete", "--force", "ID")]),
    "start ∥ delete": ("created", [("start", "ID"), ("delete", "--force", "ID")]),
    "start ∥ kill": ("created", [("start", "ID"), ("kill", "ID", "KILL")]),
    "delete ∥ delete": ("running", [("delete", "--force", "ID")] * 3),
    "kill ∥ delete": ("running", [("kill", "ID", "KILL"), ("delete", "ID"), ("delete", "--force", "ID")]),
    "exec ∥ kill": ("running", [("exec", "ID", "true"), ("exec", "-d", "ID", "sleep", "100"), ("kill", "ID", "KILL")]),
    # Not beside `exec`: one that comes into a container that is being paused rightly waits until it goes on.
    "pause ∥ resume": ("running", [("pause", "ID"), ("resume", "ID"), ("pause", "ID")]),
    "update ∥ exec": ("running", [("update", "--pids-limit", "30", "ID"), ("exec", "ID", "true")]),
    "state ∥ list ∥ ps ∥ delete": ("running", [("state", "ID"), ("list",), ("ps", "ID"), ("delete", "--force", "ID")]),
}


def pairs(world, numbers):
    """Verbs that race: none hangs, `delete --force` always succeeds, and then nothing is left."""
    bundle = world.bundle("sleep", ["sleep", "1000"])
    for name, (stands, commands) in PAIRS.items():
        for number in range(numbers.rounds):
            container = world.id(f"p{number}")
            world.must("create", "--bundle", bundle, container)
            if stands == "running":
                world.must("start", container)
            ran = [tuple(container if word == "ID" else word for word in command) for command in commands]
            for answer in world.together(*ran):
                if answer.words[0] == "delete" and "--force" in answer.words:
                    check(answer.ok, f"{name}: {answer}")
            world.must("delete", "--force", container)
            world.nothing_left(name)
    return f"{len(PAIRS)} pairs, {numbers.rounds} rounds each"


def create_delete(world, numbers):
    """create ∥ delete --force: whoever comes first, one more delete leaves nothing."""
    bundle, name = world.bundle("sleep", ["sleep", "1000"]), world.id("race")
    created = 0
    for _ in range(numbers.rounds * 2):
        answers = world.together(("create", "--bundle", bundle, name), ("delete", "--force", name))
        check(answers[1].ok, str(answers[1]))
        created += answers[0].ok
        world.must("delete", "--force", name)
        world.nothing_left("create ∥ delete")
    return f"{numbers.rounds * 2} rounds, {created} creates went through"


def swift(world, container, what, limit=2.0):
    """`delete --force` of something that resists."""
    answer = world.must("delete", "--force", container)
    check(answer.seconds < limit * FACTOR * world.slow(), f"{what}: delete took {answer.seconds:.1f} s")
    world.nothing_left(what)
    return answer.seconds


def bombs(world, numbers):
    """delete --force of a fork bomb, in a pid namespace of its own and in the host's."""
    def of(shared):
        def change(config):
            config["linux"]["resources"]["pids"] = {"limit": 512}
            if shared:
                config["linux"]["namespaces"] = [n for n in config["linux"]["namespaces"] if n["type"] != "pid"]
        return change

    worst = 0.0
    for shared in (False, True):
        bundle = world.bundle("bomb", ["bomb"], of(shared))
        for _ in range(numbers.hard):
            container = world.running("bomb", bundle)
            eventually(lambda: len(world.processes(container)) < 400, 30)
            check(len(world.processes(container)) >= 400, "the bomb doesn't go off")
            worst = max(worst, swift(world, container, f"a bomb, pid namespace shared: {shared}"))
    return f"{2 * numbers.hard} of 512 processes, the slowest {worst:.2f} s"


def frozen(world, numbers):
    """kill and delete --force of the frozen, of the stopped, of what somebody else has frozen."""
    bundle, worst = world.bundle("sleep", ["sleep", "1000"]), 0.0
    for _ in range(numbers.hard):
        container = world.running("paused", bundle)
        world.must("pause", container)
        worst = max(worst, swift(world, container, "paused"))

        container = world.running("paused-kill", bundle)
        world.must("pause", container)
        world.must("kill", container, "KILL")
        ended = eventually(lambda: world.status(container)["status"] != "stopped")
        check(not ended, "a frozen container that was killed doesn't end")
        world.must("delete", container)

        container = world.running("stopped", bundle)
        os.kill(world.status(container)["pid"], signal.SIGSTOP)
        worst = max(worst, swift(world, container, "SIGSTOP"))

        container = world.running("strange", bundle)
        for cgroup in world.cgroups(container):
            for file, word in (("freezer.state", "FROZEN"), ("cgroup.freeze", "1")):
                with contextlib.suppress(OSError), open(f"{cgroup}/{file}", "r+") as gate:
                    gate.write(word)
        worst = max(worst, swift(world, container, "frozen by somebody else"))
    return f"{numbers.hard} rounds, the slowest {worst:.2f} s"


def crowds(world, numbers):
    """delete --force of a workload that has made cgroups below its own and moved into them."""
    bundle, worst = world.bundle("sleep", ["sleep", "1000"]), 0.0
    for _ in range(numbers.hard):
        container = world.running("crowd", bundle)
        for cgroup in world.cgroups(container):
            for number in range(50):
                with contextlib.suppress(OSError):
                    os.makedirs(f"{cgroup}/a{number}/b")
        for number in range(10):
            world.must("exec", "-d", container, "sleep", "1000")
        inside = sorted(world.processes(container))
        for number, pid in enumerate(inside):
            for cgroup in world.cgroups(container):
                with contextlib.suppress(OSError), open(f"{cgroup}/a{number}/b/cgroup.procs", "w") as file:
                    file.write(pid)
        worst = max(worst, swift(world, container, "a crowd", 5.0))
    return f"{numbers.hard} of 100 cgroups, the slowest {worst:.2f} s"


SCENARIOS = {"many": many, "one-id": one_id, "starts": starts, "pairs": pairs, "create-delete": create_delete,
             "bombs": bombs, "frozen": frozen, "crowds": crowds}
