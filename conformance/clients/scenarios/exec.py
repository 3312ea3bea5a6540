"""One more process in a container that runs, and terminals."""

import program
from scenario import IMAGE, has, has_not, same, scenario


@scenario("podman", "docker")
def exec_gives_output_and_status(c):
    name = c.start()
    same(c.exec(name, "echo in; exit 6", status=6), "in")


@scenario("podman", "docker")
def exec_of_what_is_not_there_fails(c):
    # docker of old says 126.
    c.cli("exec", c.start(), "no-such-program", status=127 if c.client.name == "podman" else None)


@scenario("podman", "docker")
def exec_of_what_is_no_program_is_126(c):
    c.cli("exec", c.start(), "/etc/not-a-program", status=126)


@scenario("podman", "docker")
def exec_in_a_stopped_one_is_an_error(c):
    name = c.start(script="true")
    c.cli("wait", name)
    c.exec(name, "true", status=None)


@scenario("podman", "docker")
def exec_takes_standard_input(c):
    same(c.exec(c.start(), "cat", "-i", stdin="words\n"), "words")


@scenario("podman", "docker")
def exec_as_another_user(c):
    name = c.start()
    same(c.exec(name, "id -u; id -g; id -G", "--user", "alice"), "1000\n1000\n1000 50")
    same(c.exec(name, "id -u; id -g", "--user", "7:8"), "7\n8")


@scenario("podman", "docker")
def exec_with_environment_and_directory(c):
    same(c.exec(c.start("-e", "A=1"), "echo $A $B; pwd", "-e", "B=2", "-w", "/data"), "1 2\n/data")


@scenario("podman", "docker")
def exec_in_a_directory_that_is_not_there_fails(c):
    c.exec(c.start(), "true", "-w", "/no/such", status=None)


@scenario("podman", "docker")
def exec_detached_goes_on_alone(c):
    name = c.start()
    c.exec(name, "sleep 0.3; echo done >/tmp/done", "-d")
    program.until(lambda: c.exec(name, "cat /tmp/done", status="any") == "done", "the process has done its work")


@scenario("podman", "docker")
def exec_has_the_containers_limits_and_rights(c):
    name = c.start("--cap-drop", "all", "--security-opt", "no-new-privileges", "--pids-limit", "50")
    mine = c.exec(name, "grep -E '^(Cap|NoNew|Seccomp:)' /proc/self/status; cat /proc/self/cgroup")
    has(mine, "NoNewPrivs:\t1")
    has(mine, "CapBnd:\t0000000000000000")
    has(mine, "Seccomp:\t2")
    same(c.exec(name, "cat /proc/self/cgroup"), c.exec(name, "cat /proc/1/cgroup"), "its cgroup")


@scenario("podman", "docker")
def exec_privileged_has_more(c):
    name = c.start("--cap-drop", "all")
    same(c.exec(name, "grep CapEff /proc/self/status").split()[1], "0" * 16)
    try:
        more = c.exec(name, "grep CapEff /proc/self/status", "--privileged").split()[1]
    except program.Failure as failure:
        lacks_resource(failure)
        raise
    if int(more, 16) < 1 << 21:
        raise program.Failure(f"only {more}")


def lacks_resource(failure):
    """A manager that asks for all capabilities asks for one that root doesn't have everywhere."""
    with open("/proc/self/status") as status:
        bounding = int(next(line for line in status if line.startswith("CapBnd")).split()[1], 16)
    if not bounding >> 24 & 1:
        raise program.Skip("root has no CAP_SYS_RESOURCE here") from failure


@scenario("podman", "docker")
def many_execs_at_once(c):
    from concurrent.futures import ThreadPoolExecutor
    name = c.start()
    with ThreadPoolExecutor(6) as pool:
        same(list(pool.map(lambda i: c.exec(name, f"echo {i}"), range(12))), [str(i) for i in range(12)])


@scenario("podman", "docker")
def a_container_that_ends_takes_its_execs_along(c):
    name = c.start(script="trap 'exit 0' USR1; while :; do sleep 0.1; done")
    child = program.subprocess.Popen(c.client.command(c.runtime) + ["exec", name, "sleep", "1000"],
                                     stdout=program.subprocess.DEVNULL, stderr=program.subprocess.DEVNULL)
    program.until(lambda: "sleep 1000" in c.cli("top", name), "the exec runs")
    c.cli("kill", "-s", "USR1", name)
    child.wait(timeout=30 * program.PATIENCE)
    c.wait_status(name, "exited")


@scenario("podman", "docker")
def a_terminal_is_one(c):
    _, words = c.options(["-it"])
    terminal = c.terminal("run", "--rm", *words, IMAGE, "sh", "-c", "tty; test -t 0 && test -t 1 && test -t 2 && echo all; exit 3")
    terminal.wait_for("all")
    has(terminal.text, "/dev/")
    terminal.wait(3)


@scenario("podman", "docker")
def a_terminal_has_a_size_and_follows_it(c):
    _, words = c.options(["-it"])
    terminal = c.terminal("run", "--rm", *words, IMAGE, "sh", "-c",
                          "trap 'stty size' WINCH; echo ready; while :; do read x && stty size; done")
    terminal.wait_for("ready")
    program.until(lambda: terminal.shows(33, 111), "the size of the window")
    c.cli("kill", words[1])


@scenario("podman", "docker")
def ctrl_c_reaches_the_program(c):
    _, words = c.options(["-it"])
    terminal = c.terminal("run", "--rm", *words, IMAGE, "sh", "-c", "trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.1; done")
    terminal.wait_for("ready")
    program.os.write(terminal.master, b"\x03")
    terminal.wait_for("caught")
    terminal.wait(5)


@scenario("podman", "docker")
def exec_it_is_a_session_of_its_own(c):
    name = c.start()
    terminal = c.terminal("exec", "-it", name, "sh")
    terminal.type("stty size; tty; echo $((40 + 2)); exit 9")
    terminal.wait_for("42")
    has(terminal.text, "/dev/pts/")
    terminal.wait(9)


@scenario("podman", "docker")
def exec_it_follows_the_window(c):
    terminal = c.terminal("exec", "-it", c.start(), "sh")
    terminal.resize(44, 122)
    program.until(lambda: terminal.type("stty size") or terminal.read() and "44 122" in terminal.text, "the size of the window")
    terminal.type("exit")
    terminal.wait()


@scenario("podman", "docker")
def detaching_leaves_it_running(c):
    name, words = c.options(["-it"])
    terminal = c.terminal("run", *words, IMAGE, "sh")
    terminal.type("echo $((1 + 1))2")
    terminal.wait_for("22")
    for key in b"\x10", b"\x11":
        program.os.write(terminal.master, key)
        terminal.read()
    terminal.wait()
    same(c.inspect(name, ".State.Status"), "running", "status")


@scenario("podman", "docker")
def a_detached_terminal_has_logs(c):
    name = c.start("-t", script="tty >/dev/null && echo on a terminal; exit 2")
    same(c.cli("wait", name), "2", "status")
    has(c.cli("logs", name), "on a terminal")


@scenario("podman", "docker")
def the_console_of_the_container_is_the_terminal(c):
    _, words = c.options(["-it"])
    terminal = c.terminal("run", "--rm", *words, IMAGE, "sh", "-c", "echo by the console >/dev/console; ls /dev/pts")
    terminal.wait_for("by the console")
    terminal.wait()
