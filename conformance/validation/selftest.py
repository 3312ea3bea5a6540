"""Tests of the runner itself, run before every use: a runner that takes a failure for a pass is worse than none."""

import os
import unittest

from expected import Row, Table
from main import judge
from program import Result, count


class Counting(unittest.TestCase):
    def test_lines_are_told_apart(self):
        result = count("TAP version 13\nok 1 - a\nnot ok 2 - b\nok 3 # SKIP c\nnot ok 4 # TODO d\n1..4\n", 0)
        self.assertEqual((result.ok, result.not_ok, result.skip), (1, 1, 1))
        self.assertFalse(result.passed)

    def test_no_assertions_and_no_error_is_a_pass(self):
        self.assertTrue(count("TAP version 13\n1..0\n", 0).passed)

    def test_an_error_block_without_a_line_is_a_failure(self):
        self.assertTrue(count('# details {"error":"hooks MUST be called in order"}\n1..0\n', 0).soft_fail)

    def test_an_error_block_beside_a_line_is_an_explanation(self):
        self.assertTrue(count('ok 1 - a\n# details {"error":"as expected"}\n', 0).passed)

    def test_an_exit_status_is_a_failure(self):
        self.assertFalse(count("ok 1 - a\n", 1).passed)


class Judging(unittest.TestCase):
    good, bad = Result(ok=1), Result(ok=1, not_ok=1)

    def verdict(self, result, kind=None, number=None, peers=None):
        row = Row("x", kind, number, "because") if kind else None
        return judge(result, row, peers or {})[0]

    def test_without_a_row(self):
        self.assertEqual(self.verdict(self.good), "passed")
        self.assertEqual(self.verdict(self.bad), "failed")

    def test_an_unexpected_pass_fails(self):
        self.assertEqual(self.verdict(self.good, "fails"), "failed")
        self.assertEqual(self.verdict(self.good, "must fail"), "failed")

    def test_an_expected_failure_is_not_counted(self):
        self.assertEqual(self.verdict(self.bad, "fails"), "skipped")

    def test_a_peer_that_passes_disproves_the_row(self):
        self.assertEqual(self.verdict(self.bad, "fails", peers={"crun": self.good}), "failed")
        self.assertEqual(self.verdict(self.bad, "must fail", peers={"crun": self.good}), "skipped")

    def test_the_number_of_failed_lines_matters(self):
        self.assertEqual(self.verdict(self.bad, "fails", 1), "skipped")
        self.assertEqual(self.verdict(self.bad, "fails", 2), "failed")

    def test_a_race_is_judged_only_where_runs_are_repeated(self):
        self.assertEqual(self.verdict(self.bad, "either"), "skipped")
        self.assertEqual(self.verdict(self.bad, "passes within", 3), "failed")


class TheTable(unittest.TestCase):
    def test_it_can_be_read(self):
        table = Table(os.path.join(os.path.dirname(os.path.abspath(__file__)), "expected.md"))
        self.assertEqual(table.find("hooks").kind, "fails")
        self.assertIsNone(table.find("state"))


if __name__ == "__main__":
    unittest.main()
