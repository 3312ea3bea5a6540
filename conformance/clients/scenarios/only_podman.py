"""What podman alone has: pods, kube play, sdnotify, health checks by hand, containers without cgroups."""

import os
import socket

import program
from scenario import IMAGE, SLEEP, has, same, scenario

KUBE = """apiVersion: v1
kind: Pod
metadata:
  name: {name}
spec:
  containers:
  - name: web
    image: {image}
    command: ["sh", "-c", "httpd -f -p 80 -h /www"]
    resources:
      limits:
        memory: 64Mi
  - name: other
    image: {image}
    command: ["sh", "-c", "{sleep}"]
    securityContext:
      runAsUser: 1000
      readOnlyRootFilesystem: true
      capabilities:
        drop: ["ALL"]
"""


COUNTING = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done"


def pod(c, *options):
    """A pod of one's own."""
    c.cli("pod", "create", "--name", c.name, *options)
    c.afterwards(lambda: c.cli("pod", "rm", "-f", "-t", "0", c.name, status="any"))
    return c.name


@scenario("podman")
def a_pod_shares_its_network(c):
    c.start("--pod", pod(c), script="httpd -f -p 80 -h /www")
    program.until(lambda: c.run("wget -q -O - http://127.0.0.1/", "--pod", c.name, status="any") == "hello", "an answer")


@scenario("podman")
def a_pod_with_infra_stops_and_starts(c):
    name = c.start("--pod", pod(c))
    c.cli("pod", "stop", "-t", "2", c.name)
    c.wait_status(name, "exited")
    c.cli("pod", "start", c.name)
    c.wait_status(name, "running")
    c.cli("pod", "pause", c.name)
    c.wait_status(name, "paused")
    c.cli("pod", "unpause", c.name)
    c.cli("pod", "kill", c.name)
    c.wait_status(name, "exited")


@scenario("podman")
def a_pod_can_share_processes(c):
    pod(c, "--share", "net,ipc,uts,pid")
    c.start("--pod", c.name, script="sleep 1212 & wait")
    program.until(lambda: "sleep 1212" in c.run("ps", "--pod", c.name), "the other's processes")


@scenario("podman")
def a_pod_has_a_cgroup(c):
    name = c.start("--pod", pod(c))
    with open(f"/proc/{c.inspect(name, '.State.Pid')}/cgroup") as file:
        has(file.read(), c.cli("pod", "inspect", "--format", "{{.ID}}", c.name))


@scenario("podman")
def a_pod_without_infra(c):
    name = c.start("--pod", pod(c, "--infra=false"))
    has(c.cli("pod", "ps", "--format", "{{.Name}} {{.NumberOfContainers}}"), f"{c.name} 1")
    c.wait_status(name, "running")


@scenario("podman")
def kube_play_up_and_down(c):
    file = c.file("pod.yaml", KUBE.format(name=c.name, image=IMAGE, sleep=SLEEP))
    c.afterwards(lambda: c.cli("pod", "rm", "-f", "-t", "0", c.name, status="any"))
    c.cli("kube", "play", file)
    same(c.exec(f"{c.name}-other", "id -u; touch /x 2>/dev/null || echo no; grep CapEff /proc/self/status"), f"1000\nno\nCapEff:\t{'0' * 16}")
    program.until(lambda: c.exec(f"{c.name}-other", "wget -q -O - http://127.0.0.1/", status="any") == "hello", "an answer")
    c.cli("kube", "down", file)
    same(c.cli("pod", "ps", "-q", "--filter", f"name={c.name}"), "", "what is left")


@scenario("podman")
def kube_generate_gives_a_pod(c):
    c.start("--pod", pod(c))
    has(c.cli("kube", "generate", c.name) if "generate" in c.cli("kube", "--help") else c.cli("generate", "kube", c.name), "kind: Pod")


@scenario("podman")
def a_healthcheck_by_hand(c):
    name = c.start("--health-cmd", "test -e /tmp/fine", "--health-interval", "disable", "--health-retries", "1")
    c.cli("healthcheck", "run", name, status=1)
    c.exec(name, "touch /tmp/fine")
    c.cli("healthcheck", "run", name)


def notified(c, *options, script):
    """Starts a container with a notification socket; returns its name and what was said until READY."""
    path = f"{c.dir}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(path)
        heard.settimeout(30 * program.PATIENCE)
        name, words = c.options(options)
        c.cli("run", "-d", *words, IMAGE, "sh", "-c", script, env=dict(os.environ, NOTIFY_SOCKET=path))
        said = ""
        try:
            while "READY=1" not in said:
                said += heard.recv(4096).decode() + "\n"
        except TimeoutError:
            raise program.Failure(f"READY=1 never came, only {said!r}") from None
    return name, said


@scenario("podman")
def readiness_is_told_by_conmon(c):
    _, said = notified(c, "--sdnotify", "conmon", script=SLEEP)
    has(said, "MAINPID=")


@scenario("podman")
def readiness_is_told_by_the_container(c):
    # busybox has no program that speaks to such a socket; that it is there and named is what the runtime adds.
    name = c.fresh()
    path = f"{c.dir}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(path)
        c.afterwards(c.remove, name)
        child = program.subprocess.Popen(
            c.client.command(c.runtime) + ["run", "--rm", "--name", name, "--sdnotify", "container", IMAGE, "sh", "-c",
                                           "test -S $NOTIFY_SOCKET && echo there"],
            env=dict(os.environ, NOTIFY_SOCKET=path), stdout=program.subprocess.PIPE, text=True)
        try:
            same(child.communicate(timeout=30 * program.PATIENCE)[0].strip(), "there")
        finally:
            child.kill()


@scenario("podman")
def without_a_cgroup(c):
    if c.runtime == "runc":
        raise program.Skip("runc has no way without cgroups")
    same(c.run("echo yes", "--cgroups", "disabled"), "yes")


@scenario("podman")
def descriptors_are_passed_on(c):
    reading, writing = os.pipe()
    os.write(writing, b"through a pipe\n")
    os.close(writing)
    _, words = c.options(["--preserve-fds", "1"])
    try:
        # It has to be number 3.
        text = program.run(["sh", "-c", f'exec "$@" 3<&{reading}', "sh", *c.client.command(c.runtime), "run", "--rm", *words, IMAGE,
                            "cat", "/proc/self/fd/3"], pass_fds=(reading,)).out
    finally:
        os.close(reading)
    same(text, "through a pipe\n")


@scenario("podman")
def hooks_of_the_host_run(c):
    c.file("hooks.d/h.json", '{"version":"1.0.0","hook":{"path":"/bin/sh","args":["sh","-c","cat >%s/state"]},'
                             '"when":{"always":true},"stages":["createRuntime","poststop"]}' % c.dir)
    name, words = c.options([])
    program.run(c.client.command(c.runtime) + ["--hooks-dir", f"{c.dir}/hooks.d", "run", "--rm", *words, IMAGE, "true"])
    with open(f"{c.dir}/state") as file:
        has(file.read(), '"status"')


@scenario("podman")
def a_failing_hook_is_an_error(c):
    c.file("hooks.d/h.json", '{"version":"1.0.0","hook":{"path":"/bin/false"},"when":{"always":true},"stages":["createRuntime"]}')
    _, words = c.options([])
    program.run(c.client.command(c.runtime) + ["--hooks-dir", f"{c.dir}/hooks.d", "run", "--rm", *words, IMAGE, "true"], status=None)


@scenario("podman")
def what_systemd_needs_is_mounted(c):
    text = c.run("mount; echo $container", "--systemd", "always")
    for part in (" on /run type tmpfs", " on /tmp type tmpfs", "/sys/fs/cgroup/systemd" if not os.path.exists("/sys/fs/cgroup/cgroup.controllers") else "/sys/fs/cgroup"):
        has(text, part)


@scenario("podman")
def init_prepares_and_start_goes_on(c):
    name = c.create(script="echo hi")
    c.cli("init", name)
    same(c.inspect(name, ".State.Status") in ("initialized", "created"), True, "initialized")
    same(c.cli("start", "-a", name), "hi")


@scenario("podman")
def an_unknown_runtime_flag_is_an_error(c):
    program.run(["podman", "--runtime", c.runtime, "--runtime-flag", "no-such-flag", "run", "--rm", *c.options([])[1], IMAGE, "true"], status=None)


@scenario("podman")
def the_page_makes_rt_the_default(c):
    if c.runtime != "rt":
        raise program.Skip("rt's page")
    same(c.cli("info", "--format", "{{.Host.OCIRuntime.Name}}"), "rt")
    has(c.cli("info", "--format", "{{.Host.OCIRuntime.Version}}"), "rt version")
    same(c.inspect(c.start(), ".OCIRuntime"), "rt")


@scenario("podman")
def checkpoint_and_restore(c):
    name = c.start("--security-opt", "seccomp=unconfined", script=COUNTING)
    c.wait_logs(name, "3\n")
    checkpointed(c.outcome("container", "checkpoint", name, status="any"))
    c.wait_status(name, "exited")
    before = c.cli("logs", name).count("\n")
    c.cli("container", "restore", name)
    c.wait_status(name, "running")
    program.until(lambda: c.cli("logs", name).count("\n") > before + 3, "it counts on")


def checkpointed(outcome):
    """What a checkpoint said; where CRIU is missing or doesn't know the kernel, nobody can make one."""
    words = outcome.err.lower()
    if outcome.status and ("criu" in words or "does not support checkpoint" in words):
        raise program.Skip(f"no checkpoint: {program.last_words(outcome.err)[-80:]}")
    outcome.expect(0)


@scenario("podman", slow=True)
def an_ordinary_user(c):
    """podman in the hands of `nobody`: storage and state of their own, ids from /etc/subuid."""
    for file in ("/etc/subuid", "/etc/subgid"):
        with open(file, "r+") as ids:
            if "nobody:" not in ids.read():
                ids.write("nobody:4000000:65536\n")
    home = f"{c.dir}/home"
    for directory in (home, f"{home}/run"):
        os.mkdir(directory, 0o700)
        os.chown(directory, 65534, 65534)
    env = {"HOME": home, "XDG_RUNTIME_DIR": f"{home}/run", "PATH": os.environ["PATH"], "TMPDIR": home}
    words = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", *c.client.command(c.runtime),
             "--cgroup-manager", "cgroupfs", "--storage-driver", "vfs"]
    podman = lambda *rest, **how: program.run([*words, *rest], env=env, cwd=home, **how).out.strip()
    podman("load", "-q", "-i", f"{c.client.scratch}/image.tar")
    same(podman("run", "--rm", "--network", "none", IMAGE, "sh", "-c", "id -u; cat /proc/self/uid_map").split(),
         ["0", "0", "65534", "1", "1", "4000000", "65536"])
    podman("run", "-d", "--name", c.name, "--network", "none", IMAGE, "sh", "-c", f"echo up; {SLEEP}")
    same(podman("exec", "--user", "7", c.name, "id", "-u"), "7")
    program.until(lambda: podman("logs", c.name) == "up", "its words in the logs")
    podman("run", "--rm", "--network", "none", "--userns", "keep-id", IMAGE, "true")
    podman("stop", "-t", "5", c.name)
    podman("rm", c.name)
    podman("run", "--rm", "--network", "none", IMAGE, "sh", "-c", "exit 7", status=7)
