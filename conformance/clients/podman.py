"""podman, with the page's configuration and what this machine needs besides."""

import client
import pages
import program

CONF = "/etc/containers/containers.conf.d/rt.conf"
# No machine needs this but those where root lacks CAP_SYS_RESOURCE, or that have no systemd.
HERE = """
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
log_driver = "k8s-file"
[engine]
cgroup_manager = "{manager}"
events_logger = "file"
# 4.3 has this name for it.
runtime_supports_nocgroup = ["crun", "rt"]
"""


class Podman(client.Client):
    """No daemon: each command is one."""

    name = "podman"

    def start(self, runtimes, image):
        client.write(CONF, pages.file_of("podman.md", CONF))
        client.write("/etc/containers/containers.conf",
                     HERE.format(manager="systemd" if client.systemd() else "cgroupfs"))
        # aardvark-dns of old doesn't start without a place for its complaints.
        self.daemon(["busybox", "syslogd", "-n", "-O", f"{self.scratch}/syslog"])
        program.run(["podman", "load", "-q", "-i", image])

    def stop(self):
        program.run(["podman", "rm", "-f", "-a", "-t", "0"], status="any")
        super().stop()

    def command(self, runtime):
        # rt comes from the page; the peers are given by name.
        return ["podman"] if runtime == "rt" else ["podman", "--runtime", runtime]
