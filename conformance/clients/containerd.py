"""containerd, with `ctr` for what it offers itself, and the Kubernetes interface (cri.py) for the rest."""

import os
import re

import client
import pages
import program

CONF = "/etc/containerd/config.toml"
# For the plugin's table of containerd 1.x and 2.x.
PLUGIN = {2: 'plugins."io.containerd.grpc.v1.cri"', 3: "plugins.'io.containerd.cri.v1.runtime'"}
HERE = {
    2: '[{plugin}]\n  sandbox_image = "localhost/pause:1"\n  restrict_oom_score_adj = true\n'
       '[{plugin}.cni]\n  bin_dir = "/usr/lib/cni"\n  conf_dir = "/etc/cni/net.d"\n',
    3: "[{plugin}]\n  restrict_oom_score_adj = true\n"
       "[{plugin}.cni]\n  bin_dir = '/usr/lib/cni'\n  conf_dir = '/etc/cni/net.d'\n"
       "[plugins.'io.containerd.cri.v1.images'.pinned_images]\n  sandbox = 'localhost/pause:1'\n",
}
PEER = """[{plugin}.containerd.runtimes.{name}]
  runtime_type = "io.containerd.runc.v2"
[{plugin}.containerd.runtimes.{name}.options]
  BinaryName = "{path}"
  SystemdCgroup = {systemd}
"""
NETWORK = """{"cniVersion": "0.4.0", "name": "pods", "plugins": [{"type": "bridge", "bridge": "pods0", "isGateway": true,
"ipMasq": true, "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.85.0.0/16"}]]}},
{"type": "portmap", "capabilities": {"portMappings": true}}]}
"""


def major():
    """containerd's major version."""
    return int(re.search(r"containerd \S+ v?(\d+)\.", program.run(["containerd", "--version"]).out).group(1))


class Containerd(client.Client):
    """One daemon for both interfaces."""

    name = "containerd"

    def start(self, runtimes, image):
        version = 3 if major() >= 2 else 2
        systemd = "true" if client.systemd() else "false"
        text = pages.file_of("containerd.md", CONF, f"version = {version}")
        text = text.replace("SystemdCgroup = false", f"SystemdCgroup = {systemd}")
        text += HERE[version].format(plugin=PLUGIN[version])
        for name in runtimes:
            if name != "rt":
                text += PEER.format(plugin=PLUGIN[version], name=name, path=client.RUNTIMES[name], systemd=systemd)
        client.write(CONF, text)
        client.write("/etc/cni/net.d/10-pods.conflist", NETWORK)
        self.containerd = self.daemon(["containerd"])
        program.until(self.answers, "containerd answers", limit=60)
        for namespace in ("default", "k8s.io"):
            program.run(["ctr", "-n", namespace, "image", "import", image])
        program.run(["ctr", "-n", "k8s.io", "image", "import", f"{os.path.dirname(image)}/pause.tar"])

    def answers(self):
        """Is containerd there?"""
        if self.containerd.poll() is not None:
            raise SystemExit(f"containerd ended: {self.scratch}/containerd-containerd.log")
        return program.run(["ctr", "version"], status="any").status == 0

    def command(self, runtime):
        return ["ctr"]

    def run_options(self, runtime):
        return ["--runc-binary", client.RUNTIMES[runtime]]
