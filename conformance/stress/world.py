"""Where the containers are: their bundle, the runtime's answers, and what is left of them on the machine."""

import contextlib
import json
import os
import random
import shutil
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

FACTOR = float(os.environ.get("RT_TEST_TIMEOUT_FACTOR", "1"))
# Whoever needs longer than this hangs, on a machine where 64 others want the same two processors.
PATIENCE = 60 * FACTOR
CGROUPS = "/sys/fs/cgroup"


class Wrong(Exception):
    """Something that must not be."""


def check(holds, why):
    """Complains unless it holds."""
    if not holds:
        raise Wrong(why)


def eventually(what, limit=10.0):
    """Waits until `what()` is empty (the kernel takes its time to end processes) and gives what is left of it."""
    end = time.monotonic() + limit * FACTOR
    while (left := what()) and time.monotonic() < end:
        time.sleep(0.05)
    return left


class Answer:
    """What a command came to."""

    def __init__(self, words, code, seconds, out, err):
        self.words, self.code, self.seconds, self.out, self.err = words, code, seconds, out, err

    @property
    def ok(self):
        """Whether it said that all went well."""
        return self.code == 0

    def __str__(self):
        return f"{' '.join(self.words)}: {self.code}: {self.err.strip()[-300:]}"


class World:
    """A bundle directory, a state directory, and names that nobody else has."""

    def __init__(self, runtime, bomb):
        self.runtime, self.name = runtime, f"rts{os.getpid()}"
        self.base = tempfile.mkdtemp(prefix=f"{self.name}-", dir="/run")
        self.state = f"{self.base}/state"
        self.rootfs = f"{self.base}/rootfs"
        for directory in ("bin", "dev", "proc", "sys", "tmp"):
            os.makedirs(f"{self.rootfs}/{directory}")
        shutil.copy("/bin/busybox", f"{self.rootfs}/bin/busybox")
        for link in ("sh", "sleep", "true", "usleep"):
            os.symlink("busybox", f"{self.rootfs}/bin/{link}")
        shutil.copy(bomb, f"{self.rootfs}/bin/bomb")
        os.mkdir(f"{self.base}/outputs")

    def bundle(self, name, args, change=lambda config: None):
        """A bundle that runs these words on the common root; gives its directory."""
        directory = f"{self.base}/{name}"
        shutil.rmtree(directory, ignore_errors=True)
        os.mkdir(directory)
        subprocess.run([self.runtime, "spec", "--bundle", directory], check=True)
        with open(f"{directory}/config.json") as file:
            config = json.load(file)
        config["process"].update(terminal=False, args=args)
        config["root"] = {"path": self.rootfs, "readonly": True}
        config["linux"].setdefault("resources", {})["pids"] = {"limit": 64}
        change(config)
        with open(f"{directory}/config.json", "w") as file:
            json.dump(config, file)
        return directory

    def id(self, name):
        """A container's id: the world's name is in it, so that what it leaves can be found."""
        return f"{self.name}-{name}"

    def rt(self, *words):
        """Runs the runtime. Its output goes to files: a pipe would wait for whoever it leaves behind."""
        with contextlib.ExitStack() as stack:
            out = stack.enter_context(tempfile.TemporaryFile(dir=f"{self.base}/outputs"))
            err = stack.enter_context(tempfile.TemporaryFile(dir=f"{self.base}/outputs"))
            begun = time.monotonic()
            command = [self.runtime, "--root", self.state, *words]
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd="/")
            try:
                code = process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise Wrong(f"{' '.join(words)} hangs") from None
            seconds = time.monotonic() - begun
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode(errors="replace"))
        answer = Answer(words, code, seconds, *texts)
        check("panicked" not in answer.err, f"a panic: {answer}")
        return answer

    def must(self, *words):
        """Runs the runtime, which has to succeed."""
        answer = self.rt(*words)
        check(answer.ok, str(answer))
        return answer

    def running(self, name, bundle):
        """Creates and starts a container; gives its id."""
        container = self.id(name)
        self.must("create", "--bundle", bundle, container)
        self.must("start", container)
        return container

    def status(self, container):
        """What `state` says of a container, as a whole document."""
        return json.loads(self.must("state", container).out)

    def together(self, *commands):
        """Runs commands that race, in a random order; gives their answers in the order that they were named in."""
        order = random.sample(range(len(commands)), len(commands))
        with ThreadPoolExecutor(len(commands)) as pool:
            futures = {at: pool.submit(self.rt, *commands[at]) for at in order}
            return [futures[at].result() for at in range(len(commands))]

    def side_by_side(self, commands, jobs=64):
        """Runs many commands, so many at a time."""
        with ThreadPoolExecutor(jobs) as pool:
            return list(pool.map(lambda words: self.rt(*words), commands))

    def cgroups(self, name=None):
        """The cgroups of our containers, in every hierarchy."""
        name = name or f"{self.name}-"
        found = []
        for top, directories, _ in os.walk(CGROUPS):
            found += [f"{top}/{directory}" for directory in directories if name in directory]
            # Nobody's containers are deeper than that.
            if top.count("/") > 7:
                directories.clear()
        return found

    def processes(self, name=None):
        """Processes in cgroups of our containers."""
        found = set()
        for cgroup in self.cgroups(name):
            for top, _, _ in os.walk(cgroup):
                with contextlib.suppress(OSError), open(f"{top}/cgroup.procs") as file:
                    found.update(file.read().split())
        return found

    def nothing_left(self, of, but=("beat",)):
        """Complains about what is there of our containers, the bystander apart."""
        left = eventually(lambda: self.left(but))
        check(not left, f"{of}: left: {left[:5]}")

    def left(self, but=()):
        """All that is there of our containers, apart from those in `but`."""
        def ours(text):
            return self.name in text and not any(name in text for name in but)
        left = [f"cgroup {path}" for path in self.cgroups() if ours(path)]
        with contextlib.suppress(FileNotFoundError):
            left += [f"state {name}" for name in os.listdir(self.state) if ours(name)]
        for table in ("/proc/self/mountinfo", "/proc/1/mountinfo", "/proc/keys"):
            with open(table) as file:
                left += [f"{table}: {line.strip()}" for line in file if ours(line)]
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/cgroup") as file:
                if ours(file.read()):
                    left.append(f"process {pid}")
        for directory in ("/tmp", "/run", "/dev/shm"):
            left += [f"file {directory}/{name}" for name in os.listdir(directory)
                     if ours(name) and f"{directory}/{name}" != self.base]
        return left

    def close(self):
        """Takes away what is ours."""
        for name in os.listdir(self.state) if os.path.isdir(self.state) else ():
            self.rt("delete", "--force", name)
        shutil.rmtree(self.base)
