"""Tests of the runner itself, run before every use: a runner that takes a failure for a pass is worse than none."""

import io
import json
import tarfile
import tempfile
import unittest
from contextlib import redirect_stdout

import image
import main
import messages
import pages
import program
import scenario
import soak


def judged(**verdicts):
    """The failures of a table with one scenario: `rt` first, then peers."""
    row = scenario.Scenario(judged, "podman", False, False, False)
    results = {(row, runtime): main.Result(verdict) for runtime, verdict in verdicts.items()}
    with redirect_stdout(io.StringIO()) as said:
        failed = main.print_verdicts([row], list(verdicts), results)
    return failed, said.getvalue().splitlines()[-1]


class Judging(unittest.TestCase):
    def test_what_rt_fails_is_a_failure_whatever_peers_do(self):
        self.assertEqual(judged(rt="FAIL", crun="FAIL"), (1, "0 passed, 1 failed, 0 skipped"))

    def test_what_a_peer_fails_is_none(self):
        self.assertEqual(judged(rt="ok", crun="FAIL"), (0, "1 passed, 0 failed, 0 skipped"))

    def test_nothing_is_impossible_that_a_peer_can_do(self):
        self.assertEqual(judged(rt="-", crun="-", runc="ok")[0], 1)
        self.assertEqual(judged(rt="-", crun="-"), (0, "0 passed, 0 failed, 1 skipped"))


class Running(unittest.TestCase):
    def test_a_wrong_status_is_a_failure(self):
        with self.assertRaises(program.Failure):
            program.run(["false"])
        with self.assertRaises(program.Failure):
            program.run(["true"], status=None)

    def test_a_program_that_does_not_end_is_a_failure(self):
        with self.assertRaises(program.Failure):
            program.run(["sleep", "100"], limit=0.2)

    def test_a_condition_that_never_comes_true_is_a_failure(self):
        with self.assertRaises(program.Failure):
            program.until(lambda: False, "it", limit=0)


class Making(unittest.TestCase):
    def test_the_image_names_its_blobs(self):
        with tempfile.NamedTemporaryFile() as file:
            image.make(file.name, "localhost/x:1")
            with tarfile.open(file.name) as tar:
                index = json.load(tar.extractfile("index.json"))
                digest = index["manifests"][0]["digest"].replace(":", "/")
                manifest = json.load(tar.extractfile(f"blobs/{digest}"))
                self.assertIn("blobs/" + manifest["layers"][0]["digest"].replace(":", "/"), tar.getnames())

    def test_the_pages_show_their_files(self):
        self.assertIn("/usr/local/bin/rt", pages.file_of("docker.md", "/etc/docker/daemon.json"))
        for version in 2, 3:
            self.assertIn("BinaryName", pages.file_of("containerd.md", "/etc/containerd/config.toml", f"version = {version}"))

    def test_a_leak_is_seen(self):
        before = {"processes": set(), "mounts": {"/"}, "cgroups": set(), "states": set()}
        after = dict(before, mounts={"/", "/left"}, processes={"7 sleep 1", "8 /usr/bin/containerd-shim-runc-v2"})
        self.assertEqual(soak.difference(before, after), {"mounts": ["/left"], "processes": ["7 sleep 1"]})

    def test_messages_are_made_of_the_table(self):
        request = messages.classes()["ExecSyncRequest"](container_id="x", cmd=["a"], timeout=2)
        self.assertEqual(request.SerializeToString(), b"\x0a\x01x\x12\x01a\x18\x02")


if __name__ == "__main__":
    unittest.main()
