"""What docker alone has: swarm services, live health checks, its two builders."""

import json
import os

import pages
import program
from docker import CONF, DOCKER
from scenario import IMAGE, has, same, scenario
from scenarios.only_podman import COUNTING, checkpointed

DOCKERFILE = f"""FROM {IMAGE}
ENV GREETING=hello
RUN echo $GREETING >/greeting && id -u >/who
USER alice
WORKDIR /home/work
RUN id -un >/tmp/me
USER root
COPY file /copied
RUN cat /copied /greeting /who /tmp/me >/all
CMD ["cat", "/all"]
"""


@scenario("docker")
def the_page_makes_rt_the_default(c):
    if c.runtime != "rt":
        raise program.Skip("rt's page")
    same(c.client.default, "rt")
    name = c.fresh()
    c.afterwards(c.remove, name)
    c.cli("run", "-d", "--name", name, IMAGE, "sleep", "100")
    same(c.inspect(name, ".HostConfig.Runtime"), "rt")


@scenario("docker")
def health_is_watched(c):
    name = c.start("--health-cmd", "test -e /tmp/fine", "--health-interval", "300ms", "--health-retries", "1")
    program.until(lambda: c.inspect(name, ".State.Health.Status") == "unhealthy", "unhealthy")
    c.exec(name, "touch /tmp/fine")
    program.until(lambda: c.inspect(name, ".State.Health.Status") == "healthy", "healthy")


@scenario("docker", network=True)
def stats_of_a_network(c):
    has(c.cli("stats", "--no-stream", "--format", "{{.NetIO}}", c.start()), "B /")


def build(c, kit):
    """Builds the Dockerfile, runs the image."""
    c.file("context/Dockerfile", DOCKERFILE)
    c.file("context/file", "copied\n")
    c.afterwards(lambda: c.cli("rmi", "-f", f"{c.name}:1", status="any"))
    c.client.make_default(c.runtime)
    c.afterwards(c.client.make_default, "rt")
    program.run([DOCKER, "build", "--no-cache", "-t", f"{c.name}:1", f"{c.dir}/context"], env=dict(program.os.environ, DOCKER_BUILDKIT=kit))
    _, words = c.options([])
    same(c.cli("run", "--rm", *words, f"{c.name}:1"), "copied\nhello\n0\nalice")


@scenario("docker", exclusive=True)
def build_as_of_old(c):
    build(c, "0")


@scenario("docker", exclusive=True)
def build_with_buildkit(c):
    build(c, "1")


@scenario("docker", exclusive=True)
def a_build_that_fails_says_why(c):
    c.client.make_default(c.runtime)
    c.afterwards(c.client.make_default, "rt")
    c.file("context/Dockerfile", f"FROM {IMAGE}\nRUN exit 9\n")
    outcome = program.run([DOCKER, "build", "--no-cache", f"{c.dir}/context"], env=dict(program.os.environ, DOCKER_BUILDKIT="1"), status=None)
    has(outcome.err, "exit code: 9")


@scenario("docker", exclusive=True, slow=True)
def a_service_of_a_swarm(c):
    c.client.make_default(c.runtime)
    c.afterwards(c.client.make_default, "rt")
    c.cli("swarm", "init", "--advertise-addr", "127.0.0.1")
    c.afterwards(c.cli, "swarm", "leave", "--force")
    name = c.fresh()
    replicas = lambda: c.cli("service", "ls", "--filter", f"name={name}", "--format", "{{.Replicas}}")
    c.cli("service", "create", "-d", "--name", name, "--no-resolve-image", "--replicas", "1", "--update-delay", "0s", "--env", "V=1",
          "--stop-grace-period", "1s", "--limit-memory", "64m", IMAGE, "sleep", "1000")
    program.until(lambda: replicas() == "1/1", "one replica", limit=60)
    c.cli("service", "scale", "-d", f"{name}=5")
    program.until(lambda: replicas() == "5/5", "five replicas", limit=60)
    ids = c.cli("ps", "-q", "--filter", f"label=com.docker.swarm.service.name={name}").split()
    same({c.inspect(i, ".HostConfig.Runtime") for i in ids}, {c.client.known_as(c.runtime)}, "runtime of its containers")
    c.cli("service", "update", "-d", "--no-resolve-image", "--env-add", "V=2", "--update-parallelism", "2", name)
    program.until(lambda: c.cli("service", "inspect", "--format", "{{.UpdateStatus.State}}", name) == "completed", "the update is done", limit=120)
    for i in c.cli("ps", "-q", "--filter", f"label=com.docker.swarm.service.name={name}").split():
        has(c.inspect(i, ".Config.Env"), "V=2")
    c.cli("service", "rm", name)
    program.until(lambda: not c.cli("ps", "-aq", "--filter", f"label=com.docker.swarm.service.name={name}"), "all are gone", limit=60)


@scenario("docker", slow=True)
def checkpoint_and_restore(c):
    name = c.start("--security-opt", "seccomp=unconfined", script=COUNTING)
    c.wait_logs(name, "3\n")
    checkpointed(c.outcome("checkpoint", "create", name, "one", status="any"))
    c.wait_status(name, "exited")
    before = c.cli("logs", name).count("\n")
    restored = c.outcome("start", "--checkpoint", "one", name, status="any")
    if "/proc/0/ns/net" in restored.err:
        raise program.Skip("this docker wants the network of what it hasn't restored yet")
    same(restored.status, 0, f"what start said, {restored.err[-200:]!r}, and its status")
    program.until(lambda: c.cli("logs", name).count("\n") > before + 3, "it counts on")


@scenario("docker", exclusive=True, slow=True)
def all_ids_remapped(c):
    """A second dockerd, whose containers all have the subordinate ids of `daemon`."""
    for file in ("/etc/subuid", "/etc/subgid"):
        with open(file, "r+") as ids:
            if "daemon:" not in ids.read():
                ids.write("daemon:3000000:65536\n")
    conf = json.loads(pages.file_of("docker.md", CONF))
    conf["runtimes"].update(c.client.peers)
    conf["default-runtime"] = c.client.known_as(c.runtime)
    socket = f"unix://{c.dir}/socket"
    daemon = c.client.daemon(
        ["dockerd", "--config-file", c.file("daemon.json", json.dumps(conf)), "--userns-remap", "daemon:daemon", "--bridge", "none",
         "--iptables=false", "--data-root", f"{c.dir}/data", "--exec-root", f"{c.dir}/exec", "--pidfile", f"{c.dir}/pid", "--host", socket])
    docker = lambda *words, **how: program.run([DOCKER, "--host", socket, *words], **how).out.strip()
    try:
        program.until(lambda: program.run([DOCKER, "--host", socket, "version"], status="any").status == 0, "the second dockerd answers", limit=90)
        docker("load", "-q", "-i", f"{c.client.scratch}/image.tar")
        same(docker("run", "--rm", "--network", "none", IMAGE, "sh", "-c", "id -u; cat /proc/self/uid_map").split(), ["0", "0", "3000000", "65536"])
        docker("run", "-d", "--name", c.name, "--network", "none", "-v", f"{c.name}:/volume", IMAGE, "sleep", "1000")
        same(docker("exec", "--user", "7", c.name, "sh", "-c", "id -u"), "7")
        same(docker("exec", c.name, "sh", "-c", "touch /volume/x && stat -c %u /volume/x"), "0")
        same(os.stat(f"/proc/{docker('inspect', '-f', '{{.State.Pid}}', c.name)}").st_uid, 3000000, "user outside")
        same(docker("run", "--rm", "--network", "none", "--userns", "host", IMAGE, "cat", "/proc/self/uid_map").split()[1], "0")
        docker("rm", "-f", c.name)
    finally:
        c.client.end(daemon)
