"""Makes the one image all managers load, from the static busybox of the machine and nothing else: no registry is asked.

The archive is an OCI layout (podman, containerd) and carries what `docker load` of old looks for as well."""

import hashlib
import io
import json
import os
import subprocess
import tarfile

BUSYBOX = "/bin/busybox"
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PASSWD = "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000:alice:/home:/bin/sh\n"
GROUP = "root:x:0:\nalice:x:1000:\nstaff:x:50:alice\n"
FILES = {
    "etc/passwd": (0o644, PASSWD),
    "etc/group": (0o644, GROUP),
    "etc/not-a-program": (0o644, "words\n"),
    "data/of-the-image": (0o644, "here\n"),
    "www/index.html": (0o644, "hello\n"),
}
DIRECTORIES = {"etc": 0o755, "bin": 0o755, "root": 0o700, "home": 0o755, "tmp": 0o1777, "data": 0o777, "www": 0o755,
               "proc": 0o755, "sys": 0o755, "dev": 0o755}


def applets():
    """What this busybox can be called."""
    return subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split()


def layer():
    """The root filesystem as an uncompressed tar."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, mode in DIRECTORIES.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            tar.addfile(entry)
        for name, (mode, text) in FILES.items():
            entry = tarfile.TarInfo(name)
            entry.mode, entry.size = mode, len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
        tar.add(BUSYBOX, "bin/busybox")
        for applet in applets():
            entry = tarfile.TarInfo(f"bin/{applet}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            if applet != "busybox":
                tar.addfile(entry)
    return buffer.getvalue()


class Layout:
    """An archive under construction: blobs named by their digest."""

    def __init__(self, path):
        self.tar = tarfile.open(path, "w")

    def add(self, name, data):
        entry = tarfile.TarInfo(name)
        entry.size = len(data)
        self.tar.addfile(entry, io.BytesIO(data))

    def blob(self, data, kind):
        """Adds a blob and returns its descriptor."""
        digest = hashlib.sha256(data).hexdigest()
        self.add(f"blobs/sha256/{digest}", data)
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(data)}


def make(path, name, command=("sh",)):
    """Writes the archive of image `name`."""
    root = layer()
    config = {
        "architecture": "amd64", "os": "linux", "created": "2024-01-01T00:00:00Z",
        "config": {"Env": [PATH], "Cmd": list(command)},
        "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "busybox"}],
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(root).hexdigest()}"]},
    }
    layout = Layout(path)
    layout.add("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
    root_blob = layout.blob(root, "layer.v1.tar")
    config_blob = layout.blob(json.dumps(config).encode(), "config.v1+json")
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": config_blob, "layers": [root_blob]}
    reference = layout.blob(json.dumps(manifest).encode(), "manifest.v1+json")
    reference["annotations"] = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}
    layout.add("index.json", json.dumps({"schemaVersion": 2, "manifests": [reference]}).encode())
    where = lambda blob: "blobs/sha256/" + blob["digest"].split(":")[1]
    layout.add("manifest.json", json.dumps(
        [{"Config": where(config_blob), "RepoTags": [name], "Layers": [where(root_blob)]}]).encode())
    layout.tar.close()
    return path
