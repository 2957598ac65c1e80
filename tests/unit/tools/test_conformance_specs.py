"""The book-keeping of a conformance run: nothing is lost, nothing counts twice, and exactly what is asked is run."""

import json
import re

from tools.conformance import report
from tools.conformance.specs import Result, batches, focus, latest, listed, results, table

DNS = "[sig-network] DNS should provide DNS for services [Conformance]"
PODS = "[sig-node] Pods should be updated (v1.2) [NodeConformance] [Conformance]"
TAINTS = "[sig-node] NoExecuteTaintManager [Serial] evicts pods [Conformance]"
OTHER = "[sig-node] Pods should do something else"


def said(spec, state="passed", **more):
    first, _, rest = spec.partition(" ")
    return {"ContainerHierarchyTexts": [first], "LeafNodeText": rest, "LeafNodeType": "It", "State": state} | more


def test_only_conformance_specs_are_listed():
    suites = [
        {"SpecReports": [said(DNS), said(OTHER), said(PODS), {"LeafNodeType": "BeforeSuite", "LeafNodeText": ""}]}
    ]
    assert listed(suites) == [DNS, PODS]


def test_the_focus_selects_these_specs_and_no_others():
    wanted = re.compile(focus([DNS, PODS]))
    assert wanted.search("Kubernetes e2e suite " + DNS)
    assert wanted.search(PODS)
    assert not wanted.search(TAINTS)
    assert not wanted.search(PODS + " again")


def test_a_spec_without_a_result_has_ended():
    failed = said(PODS, "failed", Failure={"Message": "not\nupdated"}, RunTime=2_000_000_000)
    found = results([{"SpecReports": [said(DNS), failed]}], [DNS, PODS, TAINTS])
    assert [result.state for result in found] == ["passed", "failed", "ended"]
    assert found[1].seconds == 2.0
    assert [result.state for result in results([], [DNS])] == ["ended"]


def test_the_last_result_counts_and_half_a_line_does_not():
    lines = [json.dumps({"spec": DNS, "state": state}).encode() for state in ("failed", "passed", "skipped")]
    assert latest([*lines[:2], lines[2][:-3]])[DNS].state == "passed"


def test_serial_specs_run_alone_and_every_spec_once():
    together, alone = batches([DNS, PODS, OTHER, TAINTS], 2)
    assert sorted(spec for batch in together for spec in batch) == sorted([DNS, PODS, OTHER])
    assert max(map(len, together)) <= 2
    assert alone == [[TAINTS]]


def test_what_disturbs_others_runs_last():
    evicts = TAINTS.replace("[Conformance]", "[Disruptive] [Conformance]")
    later = "[sig-scheduling] Preemption [Serial] works [Conformance]"
    assert batches([DNS, evicts, later], 1) == ([[DNS]], [[later], [evicts]])


def test_the_report_names_what_passes_on_the_host_only():
    host = {DNS: Result(spec=DNS, state="passed"), PODS: Result(spec=PODS, state="failed", message="no\nnode|two")}
    virtual = {DNS: Result(spec=DNS, state="failed", message="no address")}
    lines = table([DNS, PODS], host, virtual)
    assert lines[2] == "| network | 1 | 1 | 0 | 1 |"
    assert lines[-1] == "| all | 2 | 1 | 0 | 1 |"
    known = [report.Reason("be updated", "There is one node."), report.Reason("Pods", "Never reached.")]
    page = report.text([DNS, PODS, TAINTS], host, virtual, "v1.36.3", known)
    assert f"- {DNS}: failed, not explained yet. no address\n" in page
    assert f"- {PODS}: There is one node.\n" in page
    assert f"- {PODS}: failed, not explained yet. no node\\|two\n" in report.text([PODS], host, virtual, "v1.36.3")
    assert "- 1 specs were not run yet\n" in page


def test_reasons_can_be_read_and_are_sentences():
    assert all(reason.why.endswith(".") and re.compile(reason.specs) for reason in report.reasons())
