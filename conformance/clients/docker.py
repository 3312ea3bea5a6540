"""dockerd with its own containerd, and the docker command of the same package."""

import json
import os
import signal

import client
import pages
import program

CONF = "/etc/docker/daemon.json"
DOCKER = "/usr/bin/docker"
BIN = "/usr/local/bin"


class Docker(client.Client):
    """dockerd starts with the page's file alone; then the peers are added, and it is told to read it again."""

    name = "docker"

    def start(self, runtimes, image):
        client.write(CONF, pages.file_of("docker.md", CONF))
        driver = "systemd" if client.systemd() else "cgroupfs"
        # Checkpoints are an experiment of docker's.
        self.argv = ["dockerd", "--experimental", "--exec-opt", f"native.cgroupdriver={driver}", "--data-root", "/var/lib/docker"]
        self.tries = 3  # it gives its containerd fifteen seconds to come up, which a busy machine may not have
        self.begin()
        program.until(self.answers, "dockerd answers", limit=90)
        self.default = program.run([DOCKER, "info", "-f", "{{.DefaultRuntime}}"]).out.strip()
        self.peers = {self.known_as(name): {"path": path} for name, path in client.RUNTIMES.items() if name in runtimes}
        self.make_default("rt")
        program.run([DOCKER, "load", "-q", "-i", image])

    def known_as(self, runtime):
        """`runc` is dockerd's name for the first program in the PATH that is called so, which BuildKit's link makes rt."""
        return "stock-runc" if runtime == "runc" else runtime

    def begin(self):
        """Starts dockerd; BuildKit finds its runtime in this PATH."""
        self.tries -= 1
        self.dockerd = self.daemon(self.argv, env=dict(os.environ, PATH=f"{BIN}:/usr/sbin:/usr/bin:/sbin:/bin"))

    def answers(self):
        """Is dockerd there?"""
        if self.dockerd.poll() is not None:
            if not self.tries:
                with open(f"{self.scratch}/docker-dockerd.log") as log:
                    raise SystemExit(f"dockerd ended: {program.last_words(log.read())}")
            self.begin()
        return program.run([DOCKER, "version"], status="any").status == 0

    def make_default(self, runtime):
        """Changes the default runtime, and the program that BuildKit takes for runc."""
        conf = json.loads(pages.file_of("docker.md", CONF))
        conf["runtimes"].update(self.peers)
        conf["default-runtime"] = self.known_as(runtime)
        client.write(CONF, json.dumps(conf))
        self.dockerd.send_signal(signal.SIGHUP)
        program.until(lambda: program.run([DOCKER, "info", "-f", "{{.DefaultRuntime}}"]).out.strip() == self.known_as(runtime),
                      f"dockerd takes {runtime} as default")
        link = f"{BIN}/runc"
        os.symlink(client.RUNTIMES[runtime], f"{link}.new")
        os.rename(f"{link}.new", link)

    def command(self, runtime):
        return [DOCKER]

    def run_options(self, runtime):
        return ["--runtime", self.known_as(runtime)]
