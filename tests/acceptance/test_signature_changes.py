from support.models import Models
from support.platform import Platform

REFUSED = ("deploy", "changing:2"), ("traffic", "changing", "1=90", "2=10"), ("promote", "changing", "2")


def test_a_version_that_clients_cannot_use_as_before_takes_traffic_only_when_that_is_accepted(
    platform: Platform, models: Models
) -> None:
    platform.done("deploy", models.path("logistic.joblib"), "--name", "changing", "--allow-pickle")
    platform.done("register", models.path("columns.joblib"), "--name", "changing", "--allow-pickle")
    row = models.rows[0].tolist()

    for command in REFUSED:
        error = platform.failed(*command)
        assert error["code"] == "signature_changed", error
        assert "where it took rows of 30 numbers without names" in error["error"]
    refused = platform.api("PUT", "/api/v1/endpoints/changing", {"model": "changing", "version": "2"})
    assert (refused.status_code, refused.json()["code"]) == (409, "signature_changed")
    assert platform.predict("changing", row).status_code == 200

    platform.done("promote", "changing", "2", "--accept-signature-change")
    assert platform.predict("changing", models.frame.iloc[:1].to_dict("records")).status_code == 200
    assert platform.predict("changing", row).status_code == 422

    platform.done("rollback", "changing")
    assert platform.predict("changing", row).status_code == 200
