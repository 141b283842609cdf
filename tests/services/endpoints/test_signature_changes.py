from collections.abc import Iterator
from pathlib import Path

import pytest

from support.control import ME, SIGNATURE, add_version, container_at
from tidegate.errors import SignatureChanged
from tidegate.store.endpoints.endpoints import get_endpoint
from tidegate.wire.rest import DeployRequest, Endpoint, RollbackRequest, TrafficRequest
from tidegate.wire.signature import Signature, TensorSpec
from tidegate.wiring import Container

THREE = Signature("matrix", (TensorSpec("input", "FP64", (-1, 3)),), SIGNATURE.outputs)
WITH_SCORES = Signature("matrix", SIGNATURE.inputs, (*SIGNATURE.outputs, TensorSpec("scores", "FP64", (-1, 2))))
SAID = r"version 3 of 'churn' is not used as version 1 is, which is live: input 'input' has shape \[-1, 3\] and had"


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Container]:
    """Versions 1 and 2 take two features, 3 takes three; 4 answers more than they do. Version 1 is live."""
    container = container_at(tmp_path / "data")
    for number, signature in (("1", SIGNATURE), ("2", SIGNATURE), ("3", THREE), ("4", WITH_SCORES)):
        add_version(container, "churn", number, signature=signature)
    _deploy(container, "1")
    _now_live(container, {"1": 100.0})
    yield container
    container.close()


def _deploy(platform: Container, version: str, *, accept: bool = False) -> Endpoint:
    return platform.endpoints.deploy("churn", DeployRequest("churn", version, accept_signature_change=accept), ME)


def _split(
    platform: Container, traffic: dict[str, float], action: str = "traffic", *, accept: bool = False
) -> Endpoint:
    return platform.endpoints.set_traffic("churn", TrafficRequest(traffic, action, accept), ME)


def _now_live(platform: Container, routed: dict[str, float]) -> None:
    """As the reconcile loop writes it."""
    with platform.store.transaction() as tx:
        row = get_endpoint(tx, "churn")
        assert row is not None
        row.routed = routed


def test_a_version_that_takes_other_inputs_is_refused_with_what_changed(platform: Container) -> None:
    with pytest.raises(SignatureChanged, match=SAID) as refusal:
        _deploy(platform, "3")
    assert "--accept-signature-change (REST: accept_signature_change)" in refusal.value.message
    assert refusal.value.body()["code"] == "signature_changed"
    assert refusal.value.http_status == 409
    assert refusal.value.details["changes"] == ["input 'input' has shape [-1, 3] and had [-1, 2]"]
    for action, traffic in (("traffic", {"1": 90.0, "3": 10.0}), ("promote", {"3": 100.0})):
        with pytest.raises(SignatureChanged, match=SAID):
            _split(platform, traffic, action)
    assert [entry.action for entry in platform.endpoints.history("churn")] == ["deploy"]


def test_it_is_deployed_when_that_is_accepted_and_history_says_so(platform: Container) -> None:
    assert _deploy(platform, "3", accept=True).target == {"3": 100.0}
    assert "input 'input' has shape [-1, 3]" in platform.endpoints.history("churn")[0].note
    assert _deploy(platform, "3").target == {"3": 100.0}, "asked again while what was accepted is on its way"


def test_a_split_that_was_accepted_is_not_asked_about_until_it_grows(platform: Container) -> None:
    _split(platform, {"1": 90, "3": 10}, accept=True)
    _now_live(platform, {"1": 90.0, "3": 10.0})
    assert _split(platform, {"1": 95, "3": 5}).target == {"1": 95.0, "3": 5.0}
    assert _split(platform, {"1": 100}).target == {"1": 100.0}
    _split(platform, {"1": 90, "3": 10}, accept=True)
    with pytest.raises(SignatureChanged):
        _split(platform, {"3": 100}, "promote")
    assert _split(platform, {"3": 100}, "promote", accept=True).target == {"3": 100.0}


def test_versions_that_clients_use_alike_are_not_asked_about(platform: Container) -> None:
    assert _deploy(platform, "2").target == {"2": 100.0}
    assert platform.endpoints.history("churn")[0].note == ""
    assert _deploy(platform, "4").target == {"4": 100.0}
    assert platform.endpoints.history("churn")[0].note == "output 'scores' is new (version 4)"


def test_a_rollback_never_asks(platform: Container) -> None:
    _deploy(platform, "3", accept=True)
    _now_live(platform, {"3": 100.0})
    assert platform.endpoints.rollback("churn", RollbackRequest(), ME).target == {"1": 100.0}
    _now_live(platform, {"1": 100.0})
    assert platform.endpoints.rollback("churn", RollbackRequest(), ME).target == {"3": 100.0}


def test_where_nothing_is_live_yet_nobody_is_asked(platform: Container) -> None:
    _now_live(platform, {})
    assert _deploy(platform, "3").target == {"3": 100.0}
