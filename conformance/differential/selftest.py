"""Tests of the comparison itself, run before every use: one that overlooks a difference is worse than none."""

import os
import tempfile
import unittest

import cases
from compare import Difference, Table, differences, flags, judge, row, viewed
from observe import Observed, message, place

CASE = cases.Case("x", ["state {id}"])


def found(ours, theirs, case=CASE):
    """The differences between two answers to one command."""
    return differences(case, [Observed("state", ours)], [Observed("state", theirs)])


def table(*lines):
    """A table with these lines."""
    with tempfile.NamedTemporaryFile("w", suffix=".md") as file:
        file.write("# x\n\n" + "\n".join(lines) + "\n")
        file.flush()
        return Table(file.name)


class Looking(unittest.TestCase):
    def test_frames_are_taken_off_and_words_stay(self):
        framed = 'time="2026-01-01T00:00:00Z" level=error msg="runc run failed: unable to start container process: exec: \\"x\\": not found"'
        self.assertEqual(message(framed), 'exec: "x": not found\n')
        self.assertEqual(message('rt: /process/args/0: exec: "x": not found\n  hint: none\n'), 'exec: "x": not found\n')
        self.assertEqual(message("flag needs an argument: -bundle"), "flag needs an argument: --bundle\n")
        self.assertEqual(message('time="" level=warning msg=odd'), "warning: odd\n")
        self.assertEqual(message("rt: exit status 3"), "exit status 3\n")

    def test_flags_of_a_help_text(self):
        self.assertEqual(flags("  -b, --bundle value  as in --config-x\n  --help"), ["--bundle", "--config-x"])

    def test_a_config_is_changed_by_pointer(self):
        config = {"a": {"b": [1]}, "c": 1}
        place(config, "/a/b/-", 2)
        place(config, "/c", None)
        place(config, "/d/e", 3)
        self.assertEqual(config, {"a": {"b": [1, 2]}, "d": {"e": 3}})

    def test_numbers_of_statistics_are_not_compared_but_their_names_are(self):
        self.assertEqual(viewed('{"a":[{"b":1},{"b":2}]}', "shape"), viewed('{"a":[{"b":7}]}', "shape"))
        self.assertNotEqual(viewed('{"a":1}', "shape"), viewed('{"b":1}', "shape"))


class Comparing(unittest.TestCase):
    same = {"exit": 0, "stdout": '{"a": 1, "b": [1, 2]}', "stderr": ""}

    def test_the_same_is_the_same(self):
        self.assertEqual(found(self.same, dict(self.same)), [])

    def test_every_channel_counts(self):
        other = {"exit": 1, "stdout": "text", "stderr": "no", "log": "error"}
        self.assertEqual([d.what for d in found(self.same, other)], ["exit", "log", "stderr", "stdout"])

    def test_documents_differ_by_pointer(self):
        other = {**self.same, "stdout": '{"b": [2, 3], "a": 2}'}
        self.assertEqual([(d.what, d.ours, d.theirs) for d in found(self.same, other)],
                         [("stdout /a", "1", "2"), ("stdout /b", "[1]", "[3]")])


class Judging(unittest.TestCase):
    difference = Difference("x", 1, "exit", "0", "1")

    def test_a_difference_must_be_listed_as_it_is(self):
        listed = table(row(self.difference, "because"))
        self.assertEqual(judge("x", [self.difference], listed), [])
        self.assertEqual(len(judge("x", [Difference("x", 1, "exit", "2", "1")], listed)), 1)
        self.assertEqual(len(judge("x", [self.difference, Difference("x", 1, "log", "", "y")], listed)), 1)

    def test_a_row_must_still_hold(self):
        self.assertEqual(len(judge("x", [], table(row(self.difference, "because")))), 1)

    def test_a_row_needs_a_reason(self):
        with self.assertRaises(SystemExit):
            table(row(self.difference, "?"))


class TheTable(unittest.TestCase):
    def test_it_can_be_read(self):
        self.assertTrue(Table(os.path.join(os.path.dirname(os.path.abspath(__file__)), "expected.md")).rows)

    def test_names_are_unique(self):
        names = [case.name for case in cases.CASES]
        self.assertEqual(len(names), len(set(names)))


if __name__ == "__main__":
    unittest.main()
