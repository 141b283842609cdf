"""Keys of replicas."""

from tidegate.wire.replicas.replica_key import replica_key


def test_a_replicas_key_depends_on_node_key_and_name_and_never_changes() -> None:
    key = replica_key("node", "churn-1")
    # printf 'tidegate replica key\0churn-1' | openssl dgst -sha256 -hmac node
    assert key == "808f3891ab7abbe4676bce8cc283e996a292c2e8183b3a44957a33da372772fb"
    assert len({key, replica_key("node", "churn-2"), replica_key("another", "churn-1")}) == 3
