"""What all clients have in common: daemons that are started and ended, and how a runtime is named."""

import os
import subprocess
import threading

import program

# Where the peers are; what is under test is put where the pages say.
RT = "/usr/local/bin/rt"
RUNTIMES = {"rt": RT, "crun": "/usr/bin/crun", "runc": "/usr/sbin/runc"}


class Client:
    """A manager of containers. Subclasses say how it starts and how it is called."""

    name = ""

    def __init__(self, scratch):
        self.scratch = scratch
        self.daemons = []

    def start(self, runtimes, image):
        """Writes configuration, starts daemons, loads the image."""

    def stop(self):
        """Ends the daemons, the last first."""
        for daemon in reversed(self.daemons.copy()):
            self.end(daemon)

    def end(self, daemon):
        """Ends one."""
        self.daemons.remove(daemon)
        daemon.terminate()
        try:
            daemon.wait(timeout=20 * program.PATIENCE)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()

    def daemon(self, argv, **how):
        """Starts a daemon; its words go to a file of its name."""
        with open(f"{self.scratch}/{self.name}-{os.path.basename(argv[0])}.log", "a") as log:
            daemon = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **how)
        self.daemons.append(daemon)
        return daemon

    def command(self, runtime):
        """The words before a verb."""
        raise NotImplementedError

    def run_options(self, runtime):
        """Further words after `run` and `create`."""
        return []


def write(path, text):
    """A file and the directories above it."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)


def systemd():
    """Is this a machine that systemd runs, and are we asked to use it?"""
    return os.path.isdir("/run/systemd/system") and os.environ.get("RT_CLIENTS_SYSTEMD") == "1"


STARTING = threading.Lock()
