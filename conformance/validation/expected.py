"""Reads expected.md: which programs of the suite are expected to fail, where, and why. That table is the only place
that holds expectations; this module must never name a program itself."""

import fnmatch
import os
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line of the table. `kind` is fails, must fail, either or passes within; `number` is the exact count of lines
    that are not ok, where one is given, or the number of attempts."""

    program: str
    kind: str
    number: int | None
    reason: str


def mounted_v1(controller):
    """Is the cgroup v1 hierarchy of this controller mounted?"""
    with open("/proc/self/mountinfo") as mounts:
        for line in mounts:
            filesystem, _, options = line.split(" - ")[1].split()
            if filesystem == "cgroup" and controller in options.split(","):
                return True
    return False


def has_capability(number):
    """Is the capability in the bounding set?"""
    with open("/proc/self/status") as status:
        bounding = re.search(r"^CapBnd:\s*(\w+)", status.read(), re.M).group(1)
    return bool(int(bounding, 16) >> number & 1)


def apparmor():
    """Does AppArmor run?"""
    try:
        with open("/sys/module/apparmor/parameters/enabled") as enabled:
            return enabled.read().strip() == "Y"
    except OSError:
        return False


def kernel_at_least(major, minor):
    """Is the running kernel this version or newer?"""
    version = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return (int(version[1]), int(version[2])) >= (major, minor)


# The words of the table's "when" column.
CONDITIONS = {
    "always": lambda: True,
    "no CAP_SYS_RESOURCE": lambda: not has_capability(24),
    "AppArmor": apparmor,
    "no v1 cgroups": lambda: not mounted_v1("memory"),
    "no v1 hugetlb": lambda: not mounted_v1("hugetlb"),
    "no v1 net_cls": lambda: not mounted_v1("net_cls"),
    "no v1 blkio weights": lambda: not os.path.exists("/sys/fs/cgroup/blkio/blkio.leaf_weight"),
    "no kernel memory limit": lambda: kernel_at_least(5, 16),
}

EXPECTATION = re.compile(r"(fails|must fail|either|passes within)(?:,? (\d+) (?:not ok|runs))?$")


def parse_row(cells):
    """One table line, or None when its condition does not hold on this machine."""
    program, when, expectation, reason = cells
    if when not in CONDITIONS:
        raise SystemExit(f"expected.md: {program}: unknown condition {when!r}")
    matched = EXPECTATION.match(expectation)
    if not matched:
        raise SystemExit(f"expected.md: {program}: unknown expectation {expectation!r}")
    if not CONDITIONS[when]():
        return None
    return Row(program.strip("`"), matched[1], int(matched[2]) if matched[2] else None, reason)


class Table:
    """The rows that hold on this machine."""

    def __init__(self, path):
        self.rows = []
        with open(path) as text:
            for line in text:
                cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
                if line.startswith("| `") and len(cells) == 4:
                    row = parse_row(cells)
                    if row:
                        self.rows.append(row)

    def find(self, program):
        """The first row for this program, or None: it is expected to pass."""
        for row in self.rows:
            if fnmatch.fnmatchcase(program, row.program):
                return row
        return None

    def attempts(self, program):
        """How often the program may be run until it passes."""
        row = self.find(program)
        return row.number if row and row.kind == "passes within" else 1

    def check_names(self, programs):
        """A row for a program that the suite does not have is a mistake in the table."""
        for row in self.rows:
            if not fnmatch.filter(programs, row.program):
                raise SystemExit(f"expected.md: the suite has no program {row.program!r}")
