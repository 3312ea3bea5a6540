"""From run to rm: what becomes of a container, and what it says."""

import os
import time

import program
from scenario import IMAGE, SLEEP, has, has_not, same, scenario


@scenario("podman", "docker", network=True)
def runs_to_completion(c):
    same(c.run("echo hello"), "hello")


@scenario("podman", "docker")
def exit_status_is_the_commands(c):
    c.run("exit 7", status=7)


@scenario("podman", "docker")
def a_command_that_is_not_there_is_127(c):
    outcome = c.outcome("run", "--rm", *c.options([])[1], IMAGE, "no-such-program", status=127)
    has(outcome.err, "no-such-program")


@scenario("podman", "docker")
def a_path_that_is_not_there_is_127(c):
    c.argv(["/no/such/program"], status=127)


@scenario("podman", "docker")
def a_file_that_is_no_program_is_126(c):
    c.argv(["/etc/not-a-program"], status=126)


@scenario("podman", "docker")
def a_directory_as_command_is_refused(c):
    # docker of old knows no number for it: 125.
    c.argv(["/etc"], status=126 if c.client.name == "podman" else None)


@scenario("podman", "docker")
def a_user_that_may_not_run_it_is_126(c):
    path = c.file("secret", "#!/bin/sh\n")
    os.chmod(path, 0o700)
    # Without the capability, for newer managers leave it to who is not root too, and then the kernel lets it be executed.
    c.argv(["/secret"], "-v", f"{path}:/secret", "--user", "1000", "--cap-drop", "DAC_OVERRIDE", status=126)


@scenario("podman", "docker")
def an_option_that_is_not_there_is_125(c):
    c.run("true", "--no-such-option", status=125)


@scenario("podman", "docker")
def nothing_remains_of_a_container_that_failed(c):
    c.argv(["no-such-program"], "--label", f"try={c.name}", status=127)
    same(c.cli("ps", "-aq", "--filter", f"label=try={c.name}"), "", "what is left")


@scenario("podman", "docker")
def standard_input_reaches_it(c):
    same(c.run("cat", "-i", stdin="words\n"), "words")


@scenario("podman", "docker")
def output_and_errors_come_apart(c):
    outcome = c.outcome("run", "--rm", *c.options([])[1], IMAGE, "sh", "-c", "echo out; echo err >&2")
    same((outcome.out, outcome.err), ("out\n", "err\n"))


@scenario("podman", "docker")
def detached_has_logs_and_a_status(c):
    name = c.start(script="echo first; echo second >&2; exit 3")
    same(c.cli("wait", name), "3", "status")
    outcome = c.outcome("logs", name)
    same((outcome.out, outcome.err), ("first\n", "second\n"), "logs")


@scenario("podman", "docker")
def logs_follow_to_the_end(c):
    name = c.start(script="for i in 1 2 3 4 5; do echo $i; sleep 0.2; done")
    same(c.cli("logs", "-f", name), "1\n2\n3\n4\n5", "logs")


@scenario("podman", "docker")
def much_output_is_whole(c):
    same(len(c.run("i=0; while [ $i -lt 2000 ]; do echo 0123456789012345678901234567890123456789; i=$((i+1)); done").split()), 2000)


@scenario("podman", "docker")
def create_then_start_then_wait(c):
    name = c.create(script="exit 5")
    same(c.inspect(name, ".State.Status"), "created", "status")
    c.cli("start", name)
    same(c.cli("wait", name), "5", "exit status")


@scenario("podman", "docker")
def start_attached_gives_output_and_status(c):
    name = c.create(script="echo attached; exit 4")
    same(c.cli("start", "-a", name, status=4), "attached")


@scenario("podman", "docker")
def a_stopped_container_starts_again(c):
    name = c.start(script="echo x >>/tmp/count; wc -l </tmp/count")
    c.cli("wait", name)
    same(c.cli("start", "-a", name), "2", "runs")


@scenario("podman", "docker")
def stop_asks_politely(c):
    name = c.start(script="trap 'echo asked; exit 9' TERM; echo ready; while :; do sleep 0.1; done")
    c.wait_logs(name, "ready")
    c.cli("stop", name)
    same(c.inspect(name, ".State.ExitCode"), "9", "status")
    has(c.cli("logs", name), "asked")


@scenario("podman", "docker")
def stop_kills_what_does_not_listen(c):
    name = c.start(script="trap '' TERM; echo ready; while :; do sleep 0.1; done")
    c.wait_logs(name, "ready")
    c.outcome("stop", "-t", "1", name)
    same(c.inspect(name, ".State.ExitCode"), "137", "status")


@scenario("podman", "docker")
def stop_sends_the_signal_of_choice(c):
    name = c.start("--stop-signal", "USR1", script="trap 'exit 11' USR1; echo ready; while :; do sleep 0.1; done")
    c.wait_logs(name, "ready")
    c.cli("stop", name)
    same(c.inspect(name, ".State.ExitCode"), "11", "status")


@scenario("podman", "docker")
def kill_sends_signals(c):
    name = c.start(script="trap 'echo one' USR1; echo ready; while :; do sleep 0.1; done")
    c.wait_logs(name, "ready")
    c.cli("kill", "-s", "USR1", name)
    c.wait_logs(name, "one")
    c.cli("kill", name)
    same(c.cli("wait", name), "137", "status")


@scenario("podman", "docker")
def kill_of_a_stopped_one_is_an_error(c):
    name = c.start(script="true")
    c.cli("wait", name)
    c.cli("kill", name, status=None)


@scenario("podman", "docker", network=True)
def restart_makes_a_new_process(c):
    name = c.start(script=f"echo up; {SLEEP}")
    before = c.inspect(name, ".State.Pid")
    c.cli("restart", "-t", "5", name)
    after = c.inspect(name, ".State.Pid")
    if before == after:
        raise program.Failure("the same process as before")
    program.until(lambda: c.cli("logs", name).count("up") == 2, "it came up twice")


@scenario("podman", "docker")
def a_policy_restarts_what_fails(c):
    name = c.start("--restart", "on-failure:2", script="echo try; exit 1")
    program.until(lambda: c.cli("logs", name).count("try") == 3, "three tries")
    c.wait_status(name, "exited")


@scenario("podman", "docker")
def rm_refuses_a_running_one_unless_forced(c):
    name = c.start()
    c.cli("rm", name, status=None)
    c.cli("rm", "-f", name)
    has_not(c.cli("ps", "-a", "--format", "{{.Names}}"), name)


@scenario("podman", "docker", network=True)
def rm_of_a_created_one(c):
    name = c.create()
    c.cli("rm", name)
    has_not(c.cli("ps", "-a", "--format", "{{.Names}}"), name)


@scenario("podman", "docker", network=True)
def run_rm_leaves_nothing(c):
    name, words = c.options([])
    c.cli("run", "--rm", *words, IMAGE, "true")
    c.cli("inspect", name, status=None)


@scenario("podman", "docker")
def pause_stops_time_and_unpause_goes_on(c):
    name = c.start(script="i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done")
    c.wait_logs(name, "2\n")
    c.cli("pause", name)
    same(c.inspect(name, ".State.Status"), "paused", "status")
    c.exec(name, "true", status=None)
    first = c.cli("logs", name)
    time.sleep(0.5)
    same(c.cli("logs", name), first, "output of a paused container")
    c.cli("unpause", name)
    program.until(lambda: c.cli("logs", name) != first, "it goes on")


@scenario("podman", "docker")
def a_paused_container_can_be_removed_by_force(c):
    name = c.start()
    c.cli("pause", name)
    c.cli("rm", "-f", name)
    has_not(c.cli("ps", "-a", "--format", "{{.Names}}"), name)


@scenario("podman", "docker")
def top_shows_processes(c):
    name = c.start(script="sleep 1000 & wait")
    program.until(lambda: "sleep 1000" in c.cli("top", name), "sleep in top")


@scenario("podman", "docker")
def stats_count_memory_and_processes(c):
    name = c.start("--memory", "64m")
    line = c.cli("stats", "--no-stream", "--format", "{{.MemUsage}} {{.PIDs}}", name)
    has(line.replace("67.11MB", "64MiB"), "64MiB")
    if line.split()[-1] in ("0", "--"):
        raise program.Failure(f"no processes in {line!r}")


@scenario("podman", "docker")
def attach_hears_and_speaks(c):
    name = c.start("-it", script="read line; echo got $line; exit 8")
    terminal = c.terminal("attach", name)
    terminal.type("word")
    terminal.wait_for("got word")
    terminal.wait("any" if c.client.name == "podman" else 8)  # podman says 0 when it comes too late to hear


@scenario("podman", "docker")
def copies_in_and_out(c):
    name = c.start()
    c.cli("cp", c.file("in", "words"), f"{name}:/tmp/in")
    same(c.exec(name, "cat /tmp/in"), "words")
    c.exec(name, "echo back >/tmp/out")
    c.cli("cp", f"{name}:/tmp/out", f"{c.dir}/out")
    with open(f"{c.dir}/out") as file:
        same(file.read(), "back\n")


@scenario("podman", "docker")
def diff_and_commit_see_changes(c):
    name = c.start(script="echo new >/data/new; mkdir /x")
    c.cli("wait", name)
    has(c.cli("diff", name), "A /data/new")
    c.cli("commit", name, f"localhost/{c.name}:1")
    c.afterwards(c.cli, "rmi", "-f", f"localhost/{c.name}:1")
    _, words = c.options([])
    same(c.cli("run", "--rm", *words, f"localhost/{c.name}:1", "cat", "/data/new"), "new")


@scenario("podman", "docker")
def export_has_the_files(c):
    name = c.create()
    c.cli("export", "-o", f"{c.dir}/x.tar", name)
    has(program.run(["tar", "-tf", f"{c.dir}/x.tar"]).out, "data/of-the-image")


@scenario("podman", "docker")
def rename_of_a_running_one(c):
    name = c.start()
    c.cli("rename", name, f"{name}-new")
    c.afterwards(c.remove, f"{name}-new")
    same(c.exec(f"{name}-new", "echo here"), "here")


@scenario("podman", "docker")
def the_pid_is_the_first_process(c):
    name = c.start("--hostname", "its-me")
    pid = c.inspect(name, ".State.Pid")
    same(program.run(["nsenter", "-t", pid, "-u", "hostname"]).out.strip(), "its-me", "hostname of that pid")


@scenario("podman", "docker")
def init_reaps_and_passes_signals(c):
    name = c.start("--init", script="trap 'exit 6' TERM; echo ready; while :; do sleep 0.1; done")
    c.wait_logs(name, "ready")
    has(c.exec(name, "cat /proc/1/cmdline").split("\0")[0], "init")
    c.cli("stop", name)
    same(c.inspect(name, ".State.ExitCode"), "6", "status")


@scenario("podman", "docker")
def signals_are_proxied_to_a_foreground_run(c):
    name, words = c.options([])
    child = program.subprocess.Popen(c.client.command(c.runtime) + ["run", *words, IMAGE, "sh", "-c",
                                     "trap 'exit 12' TERM; echo ready; while :; do sleep 0.1; done"],
                                     stdout=program.subprocess.PIPE, stderr=program.subprocess.DEVNULL)
    same(child.stdout.readline(), b"ready\n")
    child.terminate()
    same(child.wait(timeout=30 * program.PATIENCE), 12, "status")


@scenario("podman", "docker", slow=True, network=True)
def twenty_at_once(c):
    from concurrent.futures import ThreadPoolExecutor
    with ThreadPoolExecutor(8) as pool:
        same(list(pool.map(lambda i: c.run(f"echo {i}"), range(20))), [str(i) for i in range(20)])
