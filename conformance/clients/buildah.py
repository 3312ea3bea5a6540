"""buildah: builds images; each RUN of a Dockerfile is a container."""

import client
import program


class Buildah(client.Client):
    """No daemon, and no configuration but the flag: see docs/callers/podman.md."""

    name = "buildah"

    def start(self, runtimes, image):
        program.run(["podman", "load", "-q", "-i", image])  # both keep images in one place

    def command(self, runtime):
        return ["buildah"]

    def run_options(self, runtime):
        return ["--runtime", client.RUNTIMES[runtime]]
