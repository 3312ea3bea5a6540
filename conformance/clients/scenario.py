"""What a scenario is: a function that does what a user does and looks at what a user sees, for certain clients.

    @scenario("podman", "docker")
    def exit_status_is_the_commands(c):
        c.run("exit 7", status=7)

`c` is a Case: one scenario, one client, one runtime. What it makes has names of its own, and goes when it ends."""

import itertools
import os
import shutil
import threading

import program
from program import Failure, Skip

IMAGE = "localhost/bb:1"
SLEEP = "trap 'exit 0' TERM; while :; do sleep 0.1; done"
V2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")

SCENARIOS = []


class Scenario:
    """A row of the table, for one client."""

    def __init__(self, function, client, exclusive, slow, network):
        self.function, self.client, self.exclusive, self.slow, self.network = function, client, exclusive, slow, network
        self.name = function.__name__.replace("_", "-")

    @property
    def row(self):
        """What the table calls it."""
        return f"{self.client} {self.name}"


def scenario(*clients, exclusive=False, slow=False, network=False):
    """Registers a function as a scenario of these clients. `exclusive`: nothing else may run meanwhile; `slow`: not
    part of the quick run; `network`: it is about what the manager does unasked, a network; the others do without, for
    making one takes longer than all the rest of a container."""

    def register(function):
        SCENARIOS.extend(Scenario(function, client, exclusive, slow, network) for client in clients)
        return function

    return register


def same(actual, wanted, what="it"):
    """Complains unless both are equal."""
    if actual != wanted:
        raise Failure(f"{what} is {str(actual)[-300:]!r}, not {wanted!r}")


def has(text, part):
    """Complains unless the text has the part in it."""
    if part not in text:
        raise Failure(f"no {part!r} in {text[-300:]!r}")


def has_not(text, part):
    """Complains if it has."""
    if part in text:
        raise Failure(f"{part!r} in {text[-300:]!r}")


class Case:
    """One scenario with one client and one runtime."""

    numbers = itertools.count(1)
    lock = threading.Lock()

    def __init__(self, client, runtime, scratch, network=False):
        with Case.lock:
            number = next(Case.numbers)
        self.client, self.runtime, self.network = client, runtime, network
        self.name = f"c{number}"  # of nothing else in this world
        self.dir = f"{scratch}/{self.name}"
        os.mkdir(self.dir, 0o755)
        self.endings = []
        self.counter = itertools.count()

    def fresh(self):
        """A new name."""
        return f"{self.name}-{next(self.counter)}"

    def afterwards(self, function, *args):
        """To be done at the end, last first, whatever happens."""
        self.endings.append((function, args))

    def close(self):
        """Does all that; complaints come too late."""
        for function, args in reversed(self.endings):
            try:
                function(*args)
            except (Failure, OSError):
                pass  # the next scenario has other names; the world takes along what is left
        shutil.rmtree(self.dir, ignore_errors=True)

    def file(self, name, text):
        """A file on the host; returns its path."""
        path = f"{self.dir}/{name}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(text)
        return path

    # What follows is the command line of podman and docker.

    def cli(self, *args, **how):
        """Calls the client; returns its standard output."""
        return self.outcome(*args, **how).out.strip()

    def outcome(self, *args, **how):
        """Calls the client; returns all it answered."""
        return program.run(self.client.command(self.runtime) + list(args), **how)

    def options(self, options):
        """The words between `run` or `create` and the image."""
        name = self.fresh()
        self.afterwards(self.remove, name)
        asked = self.network or any(word in ("--network", "--pod", "-p") for word in options)
        without = [] if asked else ["--network", "none"]
        return name, ["--name", name, *self.client.run_options(self.runtime), *without, *options]

    def remove(self, name):
        """Removes a container, if it is there."""
        self.cli("rm", "-f", name, status="any")

    def run(self, script, *options, **how):
        """Runs a shell script in a new container to its end; returns its output."""
        return self.argv(["sh", "-c", script], *options, **how)

    def argv(self, argv, *options, **how):
        """The same with a command of any kind."""
        _, words = self.options(options)
        return self.cli("run", "--rm", *words, IMAGE, *argv, **how)

    def start(self, *options, script=SLEEP):
        """Starts a container that stays; returns its name."""
        name, words = self.options(options)
        self.cli("run", "-d", *words, IMAGE, "sh", "-c", script)
        return name

    def create(self, *options, script=SLEEP):
        """Creates one and doesn't start it."""
        name, words = self.options(options)
        self.cli("create", *words, IMAGE, "sh", "-c", script)
        return name

    def exec(self, name, script, *options, **how):
        """Runs a shell script in a container that runs."""
        return self.cli("exec", *options, name, "sh", "-c", script, **how)

    def inspect(self, name, template):
        """One value of what the client knows about a container."""
        return self.cli("inspect", "--format", "{{" + template + "}}", name)

    def wait_logs(self, name, words):
        """Waits until a container has said something."""
        program.until(lambda: words in (lambda o: o.out + o.err)(self.outcome("logs", name)), f"{words!r} in the logs")

    def wait_status(self, name, status):
        """Waits for a container's state."""
        program.until(lambda: self.inspect(name, ".State.Status") == status, f"{name} is {status}")

    def terminal(self, *args):
        """Calls the client on a terminal."""
        terminal = program.Terminal(self.client.command(self.runtime) + list(args))
        self.afterwards(terminal.close)
        return terminal
