"""The metrics API is verified by certificate, and the certificate is renewed in time."""

import base64
from datetime import UTC, datetime, timedelta

import pytest

from loft.embedded.addons import metrics
from loft.pki import authority

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CA = authority.new_authority("ca", NOW)


def serving(ca=CA, days=365):
    pair = authority.issue(
        ca, common_name=metrics.SERVING_NAME, dns=(metrics.SERVING_NAME,), usage="server", now=NOW, days=days
    )
    return metrics.serving_secret(pair)


def test_the_api_server_verifies_metrics_server():
    (service,) = [item for item in metrics.manifests(CA.cert) if item["kind"] == "APIService"]
    assert base64.b64decode(service["spec"]["caBundle"]) == CA.cert
    assert "insecureSkipTLSVerify" not in service["spec"]


def test_a_fresh_certificate_stays():
    assert metrics.is_good(serving(), CA.cert, NOW + timedelta(days=100))


@pytest.mark.parametrize(
    ("secret", "later"),
    [
        (None, 0),
        ({"data": {}}, 0),
        ({"data": {"tls.crt": "bm90IGEgY2VydA==", "tls.key": "eA=="}}, 0),
        (serving(authority.new_authority("other", NOW)), 0),
        (serving(), 300),
        (serving(days=10), 11),
    ],
    ids=["none", "empty", "no certificate", "another authority", "last third", "over"],
)
def test_what_is_missing_foreign_or_old_is_made_anew(secret, later):
    assert not metrics.is_good(secret, CA.cert, NOW + timedelta(days=later))
