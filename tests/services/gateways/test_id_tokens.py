"""Which ID tokens gateways get: those for pools that they are sent to."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidegate.errors import InvalidArgument
from tidegate.services.gateways.id_tokens import GatewayIdTokens
from tidegate.services.gateways.snapshots import Snapshots
from tidegate.store.database.engine import open_store, store_url
from tidegate.store.fleet import fleet as rows
from tidegate.wire.gateways.identity import IdToken
from tidegate.wire.gateways.snapshot import RoutedEndpoint, Shadow, Snapshot, Target, Variant, encode_snapshot
from tidegate.wire.signature import Signature

SHAPE = Signature("matrix", (), ())


def test_a_gateway_gets_tokens_for_the_audiences_of_its_snapshot_and_no_other(tmp_path: Path) -> None:
    store = open_store(store_url(tmp_path, None))
    store.migrate("here")
    asked: list[str] = []

    def make(audience: str) -> IdToken:
        asked.append(audience)
        return IdToken("signed", 1.0)

    tokens = GatewayIdTokens(Snapshots(store, "here"), make)
    with pytest.raises(InvalidArgument, match=r"no target in the routing snapshot has audience 'https://a.example'"):
        tokens.get("https://a.example")
    live, listening = (
        Variant(name, name, 100.0, "m", "d", SHAPE, [1], (Target(f"r-{name}", "https://t.example", audience=audience),))
        for name, audience in (("1", "https://a.example"), ("2", "https://b.example"))
    )
    endpoint = RoutedEndpoint("churn", "s", (live,), shadow=Shadow(listening, 10.0))
    with store.transaction() as tx:
        rows.save_snapshot(tx, 1, encode_snapshot(Snapshot(1, (endpoint,))).decode(), 0.0)
    assert [tokens.get(f"https://{name}.example").token for name in "ab"] == ["signed"] * 2
    with pytest.raises(InvalidArgument):
        tokens.get("")
    assert asked == ["https://a.example", "https://b.example"]
