"""Laws of the pure core: they hold for every input, so they are tested with random ones."""

from __future__ import annotations

import copy
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from loft.core import quantity
from loft.core.backoff import Backoff
from loft.core.diff import apply_merge_patch, covers, merge_patch, same
from loft.core.resource import PODS, object_key, split_key
from loft.core.selector import Requirement, Selector, escape_field, parse_fields, parse_labels
from loft.core.workqueue import WorkQueue

pytestmark = pytest.mark.law

KEYS = st.sampled_from(["a", "b", "c", "data", "labels", "limits", "finalizers", "name"])
SCALARS = st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "1", "1000m", "x"]) | st.floats(-1, 1)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4))
OBJECTS = st.dictionaries(KEYS, JSON, max_size=5)


@given(OBJECTS, OBJECTS)
def test_a_merge_patch_turns_old_into_new(old: dict[str, Any], new: dict[str, Any]) -> None:
    before = copy.deepcopy((old, new))
    patch = merge_patch(old, new)
    assert same(apply_merge_patch(old, patch), new)
    assert same(list(before), [old, new]), "inputs are not changed"
    assert (patch == {}) == same(old, new)


@given(OBJECTS)
def test_an_object_covers_itself_and_all_its_parts(obj: dict[str, Any]) -> None:
    assert covers(obj, obj)
    for key in obj:
        assert covers(obj, {key: obj[key]})


@given(OBJECTS, OBJECTS)
def test_what_is_added_to_an_object_does_not_uncover_it(obj: dict[str, Any], more: dict[str, Any]) -> None:
    assert covers(more | obj, obj)


@given(OBJECTS, KEYS, st.integers(10, 20))
def test_a_changed_scalar_is_never_covered(obj: dict[str, Any], key: str, value: int) -> None:
    assert not covers(obj | {key: value}, obj | {key: value + 100})


NAMES = st.text(min_size=1, max_size=40)


@given(NAMES, NAMES)
def test_a_name_reaches_its_own_path_or_none(namespace: str, name: str) -> None:
    try:
        path = PODS.path(namespace, name)
    except (ValueError, UnicodeEncodeError):
        return
    assert urlsplit(path).path == path, "no query, no fragment"
    assert path.isascii() and path.isprintable() and " " not in path
    parts = path.split("/")
    assert parts[:4] == ["", "api", "v1", "namespaces"] and parts[5] == "pods" and len(parts) == 7
    assert (unquote(parts[4]), unquote(parts[6])) == (namespace, name)
    assert split_key(object_key({"metadata": {"namespace": namespace, "name": name}})) == (namespace, name)


QUANTITIES = st.integers(-quantity.VALUE_MAX, quantity.VALUE_MAX)


@given(QUANTITIES, st.booleans())
def test_a_quantity_survives_printing(value: int, binary: bool) -> None:
    assert quantity.parse(quantity.render(value, binary=binary)) == value


@given(st.text("0123456789.+-eEkKMGTPimnu ", max_size=12))
def test_any_text_is_a_quantity_or_refused(text: str) -> None:
    try:
        value = quantity.parse(text)
    except ValueError:
        return
    assert abs(value) <= quantity.VALUE_MAX
    assert quantity.equal(text, quantity.render(value))


LABEL_KEYS = st.sampled_from(["app", "tier", "loft.sh/space", "in", "notin"])
LABEL_VALUES = st.sampled_from(["", "web", "a-b", "7", "in"])
TERMS = st.one_of(
    st.builds(
        Requirement,
        LABEL_KEYS,
        st.sampled_from(["In", "NotIn"]),
        st.lists(LABEL_VALUES, min_size=1, max_size=3, unique=True).map(tuple),
    ),
    st.builds(Requirement, LABEL_KEYS, st.sampled_from(["Exists", "DoesNotExist"])),
    st.builds(Requirement, LABEL_KEYS, st.sampled_from(["Gt", "Lt"]), st.just(("5",))),
)


@given(st.lists(TERMS, max_size=4), st.dictionaries(LABEL_KEYS, LABEL_VALUES))
def test_a_printed_label_selector_means_the_same(terms: list[Requirement], labels: dict[str, str]) -> None:
    selector = Selector(tuple(terms))
    assert parse_labels(str(selector)).matches(labels) == selector.matches(labels)


@given(st.text(max_size=60))
def test_any_text_is_a_selector_or_refused(text: str) -> None:
    try:
        selector = parse_labels(text)
    except ValueError:
        return
    assert parse_labels(str(selector)) == parse_labels(str(parse_labels(str(selector))))


@given(st.text(max_size=20))
def test_any_value_can_be_asked_for_by_a_field_selector(value: str) -> None:
    (term,) = parse_fields(f"metadata.name={escape_field(value)}")
    assert term.value == value


@given(st.integers(0, 10**9), st.floats(0, 1, exclude_max=True))
def test_delays_stay_within_their_bounds(failures: int, random: float) -> None:
    policy = Backoff()
    delay_s = policy.delay_s(failures, random)
    assert 0.0 <= delay_s <= policy.cap_s
    assert failures == 0 or delay_s >= policy.base_s * (1 - policy.jitter)


class Queue(RuleBasedStateMachine):
    """The work queue beside a model that only counts: what was asked for, what is in work, what is due when."""

    @initialize()
    def begin(self) -> None:
        self.queue = WorkQueue()
        self.now = 0.0
        self.wanted: set[str] = set()
        self.working: set[str] = set()
        self.dates: dict[str, float] = {}

    @rule(key=st.sampled_from("abcd"))
    def add(self, key: str) -> None:
        self.queue.add(key)
        self.wanted.add(key)

    @rule(key=st.sampled_from("abcd"), delay_s=st.integers(0, 5))
    def add_after(self, key: str, delay_s: int) -> None:
        self.queue.add_after(key, self.now, float(delay_s))
        if delay_s == 0:
            self.wanted.add(key)
            self.dates.pop(key, None)
        else:
            self.dates[key] = min(self.dates.get(key, float("inf")), self.now + delay_s)

    @rule(seconds=st.integers(0, 4))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds
        due = {key for key, when in self.dates.items() if when <= self.now}
        self.wanted |= due
        self.dates = {key: when for key, when in self.dates.items() if key not in due}
        assert self.queue.advance(self.now) == min(self.dates.values(), default=None)

    @rule()
    def get(self) -> None:
        key = self.queue.get()
        if key is None:
            assert not self.wanted - self.working, "a key that is wanted and free is handed out"
            return
        assert key in self.wanted, "nothing is handed out that nobody asked for since"
        assert key not in self.working, "no key is worked on twice at a time"
        self.wanted.remove(key)
        self.working.add(key)

    @precondition(lambda self: self.working)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.working)))
        self.queue.done(key)
        self.working.remove(key)

    @invariant()
    def idle_means_nothing_is_left(self) -> None:
        assert self.queue.idle == (not self.wanted and not self.working)
        assert len(self.queue) == len(self.wanted - self.working)


TestQueue = Queue.TestCase
TestQueue.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
