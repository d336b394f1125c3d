"""Compares a JUnit report with the lists beside this file. usage: compare.py REPORT

passing.txt names the tests that must pass; excluded.txt those among them that wait for parts that
are not there yet, each with its reason. Prints what differs and `N passed, N failed`.
"""
import os
import sys
import xml.etree.ElementTree

here = os.path.dirname(os.path.abspath(__file__))


def names(file):
    lines = (line.split("#")[0].strip() for line in open(os.path.join(here, file)))
    return {line for line in lines if line}


excluded = names("excluded.txt")
expected = names("passing.txt") - excluded
outcome = {}
for case in xml.etree.ElementTree.parse(sys.argv[1]).iter("testcase"):
    name = "%s.%s" % (case.get("classname"), case.get("name"))
    bad = [x for x in case if x.tag in ("failure", "error", "skipped")]
    # A second try replaces the first.
    outcome[name] = bad[0].get("message", "").replace("\n", " ")[:300] if bad else None

missed = sorted(name for name in expected if outcome.get(name, "did not run") is not None)
for name in missed:
    print("not ok: %s: %s" % (name, outcome.get(name, "did not run")))
for name in sorted(excluded):
    if name in outcome and outcome[name] is None:
        print("note: %s passes: take it off excluded.txt" % name)
print("%d passed, %d failed" % (len(expected) - len(missed), len(missed)))
sys.exit(bool(missed))
