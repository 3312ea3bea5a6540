"""containerd by its own command: what the shim asks of a runtime, one verb after another."""

import json
import os

import program
from scenario import IMAGE, SLEEP, V2, has, same, scenario


def ctr_run(c, argv, *options, **how):
    """ctr run: to the end, or detached with -d."""
    name = c.fresh()
    c.afterwards(remove, c, name)
    return name, c.cli("run", *c.client.run_options(c.runtime), *options, IMAGE, name, *argv, **how)


def remove(c, name):
    """Kills and removes."""
    c.cli("task", "kill", "-s", "SIGKILL", name, status="any")
    program.until(lambda: c.cli("task", "rm", "-f", name, status="any") is not None, "removed")
    c.cli("container", "rm", name, status="any")


def start(c, *options, script=SLEEP):
    """A container that stays."""
    return ctr_run(c, ["sh", "-c", script], "-d", *options)[0]


def execute(c, name, script, *options, **how):
    """ctr task exec."""
    return c.cli("task", "exec", "--exec-id", c.fresh(), *options, name, "sh", "-c", script, **how)


def task(c, name):
    """(pid, status) of a task."""
    for line in c.cli("task", "ls").splitlines():
        words = line.split()
        if words[0] == name:
            return words[1], words[2]
    return None, None


@scenario("containerd")
def runs_to_completion(c):
    same(ctr_run(c, ["echo", "hello"], "--rm")[1], "hello")


@scenario("containerd")
def exit_status_is_the_commands(c):
    ctr_run(c, ["sh", "-c", "exit 7"], "--rm", status=7)


@scenario("containerd")
def a_command_that_is_not_there_is_an_error(c):
    name = c.fresh()
    c.afterwards(remove, c, name)
    outcome = c.outcome("run", *c.client.run_options(c.runtime), "--rm", IMAGE, name, "no-such-program", status=None)
    has(outcome.err, "no-such-program")
    same(task(c, name), (None, None), "task that remains")


@scenario("containerd")
def standard_input_reaches_it(c):
    same(ctr_run(c, ["head", "-n", "1"], "--rm", stdin="words\n")[1], "words")  # ctr of old passes no end on


@scenario("containerd")
def a_terminal_is_one(c):
    name = c.fresh()
    c.afterwards(remove, c, name)
    terminal = c.terminal("run", *c.client.run_options(c.runtime), "--rm", "-t", IMAGE, name, "sh", "-c", "tty; exit 3")
    terminal.wait_for("/dev/")
    terminal.wait(3)


@scenario("containerd")
def a_terminal_follows_the_window(c):
    name = c.fresh()
    c.afterwards(remove, c, name)
    terminal = c.terminal("run", *c.client.run_options(c.runtime), "--rm", "-t", IMAGE, name, "sh")
    terminal.type("echo re''ady")
    terminal.wait_for("ready")
    program.until(lambda: terminal.shows(35, 99, "stty size"), "the size of the window")
    terminal.type("exit 2")
    terminal.wait(2)


@scenario("containerd")
def detached_runs_and_is_killed(c):
    name = start(c)
    same(task(c, name)[1], "RUNNING")
    c.cli("task", "kill", "-s", "SIGKILL", name)
    program.until(lambda: task(c, name)[1] == "STOPPED", "it has stopped")
    c.cli("task", "rm", name, status="any")
    c.cli("container", "rm", name)


@scenario("containerd")
def kill_sends_signals(c):
    name = start(c, script="trap 'echo x >/got' USR1; echo x >/ready; while :; do sleep 0.1; done")
    program.until(lambda: execute(c, name, "cat /ready", status="any") == "x", "ready")
    c.cli("task", "kill", "-s", "SIGUSR1", name)
    program.until(lambda: execute(c, name, "cat /got", status="any") == "x", "the signal")


@scenario("containerd")
def kill_all_reaches_every_process(c):
    name = start(c, script="(trap 'echo x >/got' USR1; while :; do sleep 0.1; done) & trap '' USR1; echo x >/ready; while :; do sleep 0.1; done")
    program.until(lambda: execute(c, name, "cat /ready", status="any") == "x", "ready")
    c.cli("task", "kill", "-a", "-s", "SIGUSR1", name, status="any")
    program.until(lambda: execute(c, name, "cat /got", status="any") == "x", "the signal")


@scenario("containerd")
def exec_gives_output_and_status(c):
    name = start(c)
    same(execute(c, name, "echo in; exit 6", status=6), "in")


@scenario("containerd")
def exec_of_what_is_not_there_is_an_error(c):
    name = start(c)
    c.cli("task", "exec", "--exec-id", c.fresh(), name, "no-such-program", status=None)
    same(execute(c, name, "echo fine"), "fine")


@scenario("containerd")
def exec_as_another_user_in_a_directory(c):
    same(execute(c, start(c), "id -u; pwd", "--user", "1000", "--cwd", "/data"), "1000\n/data")


@scenario("containerd")
def exec_on_a_terminal(c):
    name = start(c)
    terminal = c.terminal("task", "exec", "-t", "--exec-id", c.fresh(), name, "sh", "-c", "tty; exit 4")
    terminal.wait_for("/dev/pts/")
    terminal.wait(4)


@scenario("containerd")
def pause_and_resume(c):
    name = start(c)
    c.cli("task", "pause", name)
    same(task(c, name)[1], "PAUSED")
    c.cli("task", "resume", name)
    same(task(c, name)[1], "RUNNING")
    same(execute(c, name, "echo fine"), "fine")


@scenario("containerd")
def ps_lists_processes(c):
    name = start(c, script="sleep 1000 & wait")
    program.until(lambda: len(c.cli("task", "ps", name).splitlines()) == 3, "two processes")
    has(c.cli("task", "ps", name), task(c, name)[0])


@scenario("containerd")
def metrics_are_there(c):
    name = start(c, "--memory-limit", str(64 << 20))
    has(c.cli("task", "metrics", name), "memory")


@scenario("containerd")
def limits_are_set(c):
    name = start(c, "--memory-limit", str(64 << 20), "--cpus", "0.5")
    files = "/sys/fs/cgroup/memory.max" if V2 else "/sys/fs/cgroup/memory/memory.limit_in_bytes"
    with open(f"/proc/{task(c, name)[0]}/cgroup") as file:
        has(file.read(), f"/default/{name}")
    mounted = c.fresh()
    c.afterwards(remove, c, mounted)
    same(c.cli("run", *c.client.run_options(c.runtime), "--rm", "--memory-limit", str(64 << 20), "--mount", "type=cgroup,src=cgroup,dst=/sys/fs/cgroup,options=ro",
               IMAGE, mounted, "cat", files), str(64 << 20))


@scenario("containerd")
def mounts_and_read_only(c):
    c.file("v/in", "x")
    same(ctr_run(c, ["sh", "-c", "cat /v/in; touch /y 2>/dev/null || echo no"], "--rm", "--read-only", "--mount",
                 f"type=bind,src={c.dir}/v,dst=/v,options=rbind:ro")[1], "xno")


@scenario("containerd")
def environment_and_directory(c):
    same(ctr_run(c, ["sh", "-c", "echo $A; pwd"], "--rm", "--env", "A=b", "--cwd", "/data")[1], "b\n/data")


@scenario("containerd")
def seccomp_by_default(c):
    same(ctr_run(c, ["grep", "Seccomp:", "/proc/self/status"], "--rm", "--seccomp")[1].split()[1], "2")


@scenario("containerd")
def a_user_namespace_maps_ids(c):
    first = str(100000 + 65536 * int(c.name[1:]))  # ctr makes a snapshot with these ids, and can't make it twice
    same(ctr_run(c, ["cat", "/proc/self/uid_map"], "--rm", "--uidmap", f"0:{first}:65536", "--gidmap", f"0:{first}:65536",
                 "--snapshotter", "native")[1].split(), ["0", first, "65536"])


@scenario("containerd")
def the_hosts_network(c):
    same(ctr_run(c, ["readlink", "/proc/self/ns/net"], "--rm", "--net-host")[1], os.readlink("/proc/self/ns/net"))


@scenario("containerd")
def a_device_is_given(c):
    if not os.path.exists("/dev/fuse"):
        raise program.Skip("no /dev/fuse")
    same(ctr_run(c, ["sh", "-c", ": </dev/fuse && echo open"], "--rm", "--device", "/dev/fuse")[1], "open")


@scenario("containerd")
def its_own_root_of_state(c):
    name, _ = ctr_run(c, ["sh", "-c", SLEEP], "-d", "--runc-root", f"{c.dir}/state")
    has("".join(os.listdir(f"{c.dir}/state/default")), name)


@scenario("containerd")
def a_root_filesystem_without_an_image(c):
    program.run(["sh", "-c", f"mkdir {c.dir}/root && cp -a /bin/busybox {c.dir}/root/"])
    name = c.fresh()
    c.afterwards(remove, c, name)
    same(c.cli("run", *c.client.run_options(c.runtime), "--rm", "--rootfs", f"{c.dir}/root", name, "/busybox", "echo", "bare"), "bare")


@scenario("containerd")
def nothing_remains(c):
    name, _ = ctr_run(c, ["true"], "--rm")
    same([line for line in open("/proc/self/mountinfo") if name in line], [], "mounts")
    same(os.path.exists(f"/run/containerd/runc/default/{name}"), False, "state")
    same(os.path.exists(f"/run/containerd/io.containerd.runtime.v2.task/default/{name}"), False, "bundle")


@scenario("containerd")
def a_shim_that_was_killed_leaves_what_can_be_removed(c):
    name = start(c)
    pid = int(task(c, name)[0])
    shim = int(open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[1])
    os.kill(shim, 9)
    program.until(lambda: not os.path.exists(f"/proc/{pid}"), "containerd has cleaned up what the shim left")
    program.until(lambda: c.outcome("container", "rm", name, status="any").status == 0, "the container can be removed")


@scenario("containerd")
def checkpoint_and_restore(c):
    from scenarios.only_podman import checkpointed
    name = start(c, script="i=0; while :; do i=$((i+1)); echo $i >/count; sleep 0.1; done")
    program.until(lambda: execute(c, name, "cat /count", status="any"), "it counts")
    reference = f"localhost/{c.name}/checkpoint:1"
    checkpointed(c.outcome("container", "checkpoint", "--rw", "--task", "--image", name, reference, status="any"))
    c.afterwards(lambda: c.cli("image", "rm", reference, status="any"))
    count = int(execute(c, name, "cat /count"))
    remove(c, name)
    c.cli("container", "restore", "--rw", "--live", name, reference)
    program.until(lambda: int(execute(c, name, "cat /count") or 0) > count, "it counts on")


@scenario("containerd")
def a_spec_is_kept(c):
    name = start(c, "--label", "a=b")
    info = json.loads(c.cli("container", "info", name))
    same(info["Labels"]["a"], "b")
