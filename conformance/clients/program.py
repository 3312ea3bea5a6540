"""Runs programs for scenarios: with a time limit, with a terminal, with words about what went wrong."""

import fcntl
import os
import pty
import select
import shlex
import signal
import struct
import subprocess
import termios
import time

# A virtual machine without hardware support is slower; nothing here is a measure of speed.
PATIENCE = float(os.environ.get("RT_TEST_TIMEOUT_FACTOR", "1"))
LIMIT = 60 * PATIENCE


class Failure(Exception):
    """What a user would complain about."""


class Skip(Exception):
    """Why a scenario can't be had here, with any runtime."""


def last_words(*texts):
    """The last line that says something."""
    lines = [line.strip() for text in texts for line in text.splitlines() if line.strip()]
    return lines[-1][-400:] if lines else "no output"


class Outcome:
    """What a program answered."""

    def __init__(self, argv, status, out, err):
        self.argv, self.status, self.out, self.err = argv, status, out, err

    def expect(self, status):
        """Complains unless it ended so; None takes anything but 0."""
        fits = self.status != 0 if status is None else self.status == status
        if not fits:
            wanted = "a failure" if status is None else f"{status}"
            raise Failure(f"status {self.status}, wanted {wanted}: {shlex.join(self.argv)[-300:]}: "
                          f"{last_words(self.out, self.err)}")
        return self


def run(argv, status=0, stdin="", env=None, cwd=None, limit=None, pass_fds=()):
    """Runs a program to its end. `status` as for Outcome.expect; "any" asks for none."""
    child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                             errors="replace", env=env, cwd=cwd, start_new_session=True, pass_fds=pass_fds)
    try:
        out, err = child.communicate(stdin, timeout=limit or LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        out, err = child.communicate()
        raise Failure(f"no end after {limit or LIMIT:.0f} s: {shlex.join(argv)[-300:]}: {last_words(out, err)}") from None
    outcome = Outcome(argv, child.returncode, out, err)
    return outcome if status == "any" else outcome.expect(status)


def until(condition, what, limit=30):
    """Waits for a condition, and complains when it doesn't come true. Returns what it said last."""
    deadline = time.monotonic() + limit * PATIENCE
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise Failure(f"never happened: {what}")
        time.sleep(0.1)


class Terminal:
    """A program on a terminal of its own, as a person would use it."""

    def __init__(self, argv, rows=24, columns=80):
        self.argv, self.text = argv, ""
        self.master, slave = pty.openpty()
        self.resize(rows, columns, tell=False)
        # setsid(1) and not a function between fork and exec: with one Python forks for real, and gRPC's threads hold that up.
        self.child = subprocess.Popen(["setsid", "--ctty", *argv], stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)

    def resize(self, rows, columns, tell=True):
        """Changes the window's size."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        if tell:
            self.child.send_signal(signal.SIGWINCH)

    def shows(self, rows, columns, line=""):
        """Whether its program tells of this size when a line is typed. The size is changed each time: a client listens for
        changes only some time after the container's first words, and a change before is lost."""
        self.resize(rows + 1, columns)
        self.resize(rows, columns)
        self.type(line)
        return self.read() and f"{rows} {columns}" in self.text

    def type(self, text):
        """Types a line."""
        os.write(self.master, text.encode() + b"\n")

    def read(self):
        """Takes what is there, waiting a moment for it; False at the end."""
        ready, _, _ = select.select([self.master], [], [], 0.2)
        if ready:
            try:
                data = os.read(self.master, 65536)
            except OSError:  # the other side is gone
                return False
            self.text += data.decode(errors="replace")
        return True

    def wait_for(self, words, limit=30):
        """Reads until the words appear."""
        deadline = time.monotonic() + limit * PATIENCE
        while words not in self.text:
            if not self.read() or time.monotonic() > deadline:
                raise Failure(f"{words!r} never appeared on the terminal, but {self.text[-300:]!r}")

    def wait(self, status=0):
        """Waits for the end of the program."""
        deadline = time.monotonic() + 30 * PATIENCE
        while self.read() and self.child.poll() is None and time.monotonic() < deadline:
            pass
        try:
            outcome = Outcome(self.argv, self.child.wait(timeout=10 * PATIENCE), self.text, "")
            if status != "any":
                outcome.expect(status)
        except subprocess.TimeoutExpired:
            raise Failure(f"it never ended: {self.text[-300:]!r}") from None
        finally:
            self.close()

    def close(self):
        """Ends what still runs."""
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()
        if self.master is not None:
            os.close(self.master)
            self.master = None
