"""buildah: each RUN is a container that buildah itself waits for."""

import os

import program
from scenario import IMAGE, has, same, scenario
from scenarios.only_docker import DOCKERFILE


def working(c):
    """A working container."""
    name = c.cli("from", "--pull-never", IMAGE)
    c.afterwards(lambda: c.cli("rm", name, status="any"))
    return name


def run(c, name, *words, **how):
    """buildah run."""
    return c.cli("run", *c.client.run_options(c.runtime), *words[:-1], name, "--", "sh", "-c", words[-1], **how)


def bud(c, dockerfile, *options, **how):
    """Builds; returns all that was said."""
    c.file("context/Dockerfile", dockerfile)
    c.file("context/file", "copied\n")
    c.afterwards(lambda: c.cli("rmi", "-f", f"localhost/{c.name}:1", status="any"))
    outcome = c.outcome("bud", *c.client.run_options(c.runtime), "--pull-never", "--no-cache", "-t", f"localhost/{c.name}:1", *options, f"{c.dir}/context", **how)
    return outcome.out + outcome.err


@scenario("buildah")
def run_gives_output_and_status(c):
    name = working(c)
    same(run(c, name, "echo hi; exit 3", status=3), "hi")


@scenario("buildah")
def run_changes_the_image(c):
    name = working(c)
    run(c, name, "echo x >/x")
    same(run(c, name, "cat /x"), "x")
    c.cli("commit", name, f"localhost/{c.name}:1")
    c.afterwards(lambda: c.cli("rmi", "-f", f"localhost/{c.name}:1", status="any"))
    same(program.run(["podman", "run", "--rm", "--network", "none", f"localhost/{c.name}:1", "cat", "/x"]).out, "x\n")


@scenario("buildah")
def run_as_a_user_with_a_volume(c):
    c.file("v/in", "x")
    same(run(c, working(c), "--user", "alice", "-v", f"{c.dir}/v:/v", "id -u; cat /v/in"), "1000\nx")


@scenario("buildah")
def run_without_capabilities(c):
    has(run(c, working(c), "--cap-drop", "CAP_CHOWN", "chown 7 /tmp 2>&1 || echo no"), "no")


@scenario("buildah")
def run_on_a_terminal(c):
    name = working(c)
    terminal = c.terminal("run", *c.client.run_options(c.runtime), "-t", name, "--", "sh", "-c", "test -t 0 && echo is one; exit 4")
    terminal.wait_for("is one")
    terminal.wait(4)


@scenario("buildah")
def run_of_what_is_not_there_fails(c):
    c.cli("run", *c.client.run_options(c.runtime), working(c), "--", "no-such-program", status=None)


@scenario("buildah")
def bud_of_a_dockerfile(c):
    bud(c, DOCKERFILE)
    same(program.run(["podman", "run", "--rm", "--network", "none", f"localhost/{c.name}:1"]).out, "copied\nhello\n0\nalice\n")


@scenario("buildah")
def bud_in_layers(c):
    bud(c, DOCKERFILE, "--layers")
    same(program.run(["podman", "run", "--rm", "--network", "none", f"localhost/{c.name}:1"]).out, "copied\nhello\n0\nalice\n")


@scenario("buildah")
def bud_that_fails_says_why(c):
    has(bud(c, f"FROM {IMAGE}\nRUN exit 9\n", status=None), "9")


@scenario("buildah")
def bud_with_mounts_and_limits(c):
    bud(c, f"FROM {IMAGE}\nRUN --mount=type=tmpfs,target=/t mount | grep ' /t ' && ulimit -n >/n\n", "--ulimit", "nofile=333:444")
    same(program.run(["podman", "run", "--rm", "--network", "none", f"localhost/{c.name}:1", "cat", "/n"]).out, "333\n")


@scenario("buildah")
def nothing_remains_of_a_build(c):
    before = len(os.listdir("/proc"))
    bud(c, DOCKERFILE)
    same([line for line in open("/proc/self/mountinfo") if f"/{c.name}/" in line], [], "mounts")
    same(before > 0, True)


@scenario("podman")
def podman_build(c):
    c.file("context/Dockerfile", DOCKERFILE)
    c.file("context/file", "copied\n")
    c.afterwards(lambda: c.cli("rmi", "-f", f"localhost/{c.name}:1", status="any"))
    c.cli("build", "--pull-never" if "--pull-never" in c.cli("build", "--help") else "--pull=never", "--no-cache", "-t", f"localhost/{c.name}:1", f"{c.dir}/context")
    _, words = c.options([])
    same(c.cli("run", "--rm", *words, f"localhost/{c.name}:1"), "copied\nhello\n0\nalice")
