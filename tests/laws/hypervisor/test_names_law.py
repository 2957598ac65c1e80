"""Names of host objects are injective, valid and stable, over a million pairs."""

from __future__ import annotations

import random
import re

import pytest

from loft.hypervisor.core.names import Names, annotation_key, label_key

pytestmark = pytest.mark.law

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
PIECES = ("a", "x", "b", "-x", "x-", "-x-", "--", "0", "ab", "x-x", "web", "y" * 30, "z" * 57)
"""Small and nasty: every way to make two pairs look alike."""


def word(random_: random.Random) -> str:
    text = "".join(random_.choice(PIECES) for _ in range(random_.randint(1, 5)))[:63].strip("-")
    return text or "a"


def test_a_million_pairs_get_a_million_valid_names() -> None:
    random_ = random.Random(20260101)
    clusters = [Names(name, "space") for name in ("dev", "x", "a-x-b", "v" * 53)]
    words = sorted({word(random_) for _ in range(4000)})
    seen: dict[str, tuple[str, str, str]] = {}
    for count in range(1_000_000):
        names = clusters[count % len(clusters)]
        pair = (names.virtual_cluster, words[int(random_.random() * len(words))], words[count % len(words)])
        host = names.host(pair[1], pair[2])
        if seen.setdefault(host, pair) != pair or len(host) > 63 or not LABEL.fullmatch(host):
            raise AssertionError(f"{pair} and {seen[host]} are both {host}, or it is no valid name")
    assert len(seen) > 800_000


def test_label_keys_are_injective_and_never_a_mark_of_ours() -> None:
    random_ = random.Random(7)
    seen: dict[str, str] = {}
    for _ in range(100_000):
        key = word(random_) if random_.random() < 0.5 else f"{word(random_)}.io/{word(random_)}"
        for translate in (label_key, annotation_key):
            host = translate(key)
            assert seen.setdefault(host, key) == key
            prefix, name = host.split("/")
            assert len(name) <= 63 and re.fullmatch(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?", name)
            assert prefix in ("label.vcluster.loft.sh", "annotation.vcluster.loft.sh")


def test_names_of_cluster_scoped_objects_are_injective_over_host_namespaces_too() -> None:
    random_ = random.Random(3)
    words = sorted({word(random_) for _ in range(60)})
    seen: dict[str, tuple[str, str, str]] = {}
    for namespace in words[:30]:
        for cluster in words[:30]:
            for name in words:
                host = Names(cluster, namespace).cluster(name)
                assert seen.setdefault(host, (namespace, cluster, name)) == (namespace, cluster, name)
                assert len(host) <= 63
