"""The pages of models and versions, and the form that deploys one."""

from __future__ import annotations

from urllib.parse import quote

import httpx
import pytest
from sqlalchemy import select

from console.test_endpoint import MARKUP, OTHER, buttons_of, form
from support.console import route_all_to
from support.control import ME, SIGNATURE, add_version
from tidegate.core.engines.placement import PlacementRequest
from tidegate.services.reading.lookup import endpoint_or_raise
from tidegate.store.fleet.fleet import set_placement
from tidegate.store.tables import VersionRow
from tidegate.wire import rest
from tidegate.wiring import Container


def test_models_and_versions_are_shown_with_where_they_run(browser: httpx.Client, container: Container) -> None:
    add_version(container, "shown", "1")
    add_version(container, "shown", "2", label="v2.0")
    container.endpoints.deploy("shown-here", rest.DeployRequest("shown", "1"), ME)
    assert 'href="/models/shown"' in browser.get("/models").text
    page = browser.get("/models/shown").text
    assert 'href="/models/shown/versions/2#deploy"' in page
    assert 'href="/endpoints/shown-here"' in page
    version = browser.get("/models/shown/versions/v2.0").text
    assert "shown version 2" in version
    assert "accuracy 0.9 on" in version
    assert "tidegate deploy shown:2 --endpoint shown-here" in version
    for path in ("/models/none", "/models/shown/versions/9", f"/models/{quote(MARKUP)}"):
        answer = browser.get(path)
        assert answer.status_code in (404, 422), path
        assert "<script>alert" not in answer.text


def test_versions_have_pages(browser: httpx.Client, container: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegate.console.pages.models.VERSIONS", 2)
    for number in ("1", "2", "3"):
        add_version(container, "many", number)
    first = browser.get("/models/many").text
    assert [number for number in "123" if f'href="/models/many/versions/{number}"' in first] == ["2", "3"]
    assert 'href="/models/many?skip=2"' in first
    second = browser.get("/models/many?skip=2").text
    assert [number for number in "123" if f'href="/models/many/versions/{number}"' in second] == ["1"]
    assert "No version is registered." in browser.get("/models/many?skip=999999").text


def test_one_button_deploys_a_version(browser: httpx.Client, container: Container) -> None:
    add_version(container, "clicked", "1")
    path = "/models/clicked/versions/1"
    filled = form(browser.get(path), f"{path}/deploy")
    assert filled["endpoint"] == "clicked"
    answer = browser.post(f"{path}/deploy", data=filled | {"replicas": "2"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/deployments/clicked/1")
    found = container.endpoints.get("clicked")
    assert (found.target, found.variants[0].replicas.desired) == ({"1": 100.0}, 2)
    page = browser.get("/deployments/clicked/1").text
    assert "Nothing answers at this endpoint yet" in page
    assert "curl -sS" in page
    asked = browser.post("/deployments/clicked/1")
    assert asked.status_code >= 400, "no gateway of this platform runs"
    assert 'class="note bad"' in asked.text
    assert "Something else was asked for since" in browser.get("/deployments/clicked/7").text
    assert browser.get("/deployments/none/1").status_code == 404


def test_replicas_may_follow_the_load_from_the_start(browser: httpx.Client, container: Container) -> None:
    add_version(container, "led", "1")
    path = "/models/led/versions/1"
    filled = form(browser.get(path), f"{path}/deploy") | {"least": "2", "most": "6", "metric": "rps", "amount": "50"}
    assert browser.post(f"{path}/deploy", data=filled).status_code == 303
    scaling = container.endpoints.get("led").scaling
    assert scaling is not None
    assert (scaling.min, scaling.max, scaling.metric, scaling.target) == (2, 6, "rps", 50.0)
    refused = browser.post(f"{path}/deploy", data=filled | {"most": "100000", "etag": ""})
    assert refused.status_code == 422
    assert "is being deployed, but its replicas do not follow the load" in refused.text
    assert "tidegate scale led --min 2 --max 100000 --target rps=50" in refused.text


def test_an_endpoint_may_sleep_and_its_engine_may_count(browser: httpx.Client, container: Container) -> None:
    add_version(container, "drowsy", "1")
    path = "/models/drowsy/versions/1"
    filled = form(browser.get(path), f"{path}/deploy") | {"least": "0", "most": "3", "idle": "5m", "amount": "4"}
    assert browser.post(f"{path}/deploy", data=filled).status_code == 303
    scaling = container.endpoints.get("drowsy").scaling
    assert scaling is not None
    assert (scaling.min, scaling.max, scaling.idle_s, scaling.autoscaler) == (0, 3, 300.0, "tidegate")
    by_engine = browser.post(f"{path}/deploy", data=filled | {"autoscaler": "engine", "etag": ""})
    assert by_engine.status_code == 422
    assert "replicas on local are counted by autoscaler tidegate" in by_engine.text
    line = "tidegate scale drowsy --min 0 --max 3 --target concurrency=4 --idle 5m --autoscaler engine"
    assert line in by_engine.text


def test_what_is_kept_free_is_shown_as_a_command_and_beside_what_is_kept_now(
    browser: httpx.Client, container: Container
) -> None:
    add_version(container, "kept", "1")
    container.endpoints.deploy("kept", rest.DeployRequest("kept", "1"), ME)
    with container.store.transaction() as tx:
        set_placement(endpoint_or_raise(tx, "kept"), PlacementRequest("kubernetes", 2.0, 1 << 30, 0.5, 256 << 20))
    path = "/models/kept/versions/1"
    shown = browser.get(path)
    assert "a pod starts where a node has that much left" in shown.text
    amounts = {"cpus": "2", "memory_mib": "1024", "cpu_request": "0.25", "memory_request_mib": "512", "replicas": "x"}
    page = browser.post(f"{path}/deploy", data=form(shown, f"{path}/deploy") | amounts).text
    line = "tidegate deploy kept:1 --replicas x --cpus 2 --memory 1024m --cpu-request 0.25 --memory-request 512m"
    assert line in page
    assert '<th scope="row">CPUs kept free</th><td>0.5</td><td>0.25</td>' in page
    assert '<th scope="row">Memory kept free</th><td>256 MiB</td><td>512 MiB</td>' in page
    assert '<th scope="row">Memory</th>' not in page, "it stays as it is"
    told = browser.get("/endpoints/kept").text
    assert "pods on Kubernetes, each with at most 2 CPU, 1024 MiB and 0.5 CPU, 256 MiB kept free" in told


def test_what_differs_from_what_runs_is_told_before(browser: httpx.Client, container: Container) -> None:
    add_version(container, "differs", "1")
    add_version(container, "differs", "2", label="v2.0", signature=OTHER)
    container.endpoints.deploy("differs", rest.DeployRequest("differs", "1"), ME)
    page = browser.get("/models/differs/versions/2").text
    assert "What changes at differs" in page
    assert "<td>v1</td><td>v2 v2.0</td>" in page
    assert "if they would notice, you are asked first" in page
    assert "runs just this already" in browser.get("/models/differs/versions/1").text


def test_a_changed_signature_is_accepted_in_so_many_words(browser: httpx.Client, container: Container) -> None:
    for number, signature in (("1", SIGNATURE), ("2", OTHER)):
        add_version(container, "other-way", number, signature=signature)
    container.endpoints.deploy("other-way", rest.DeployRequest("other-way", "1"), ME)
    route_all_to(container, "other-way", "1")
    path = "/models/other-way/versions/2"
    filled = form(browser.get(path), f"{path}/deploy")
    answer = browser.post(f"{path}/deploy", data=filled)
    assert answer.status_code == 409
    assert "Clients of other-way would notice" in answer.text
    assert " name=" not in buttons_of(answer, "deploy-form")[0], "Enter in a field of the form accepts nothing"
    assert container.endpoints.get("other-way").target == {"1": 100.0}
    again = form(answer, f"{path}/deploy")
    assert browser.post(f"{path}/deploy", data=again | {"accept": "yes"}).status_code == 303
    assert container.endpoints.get("other-way").target == {"2": 100.0}


def test_whoever_comes_second_is_told(browser: httpx.Client, container: Container) -> None:
    for number in ("1", "2"):
        add_version(container, "raced", number)
    container.endpoints.deploy("raced", rest.DeployRequest("raced", "1"), ME)
    path = "/models/raced/versions/2"
    filled = form(browser.get(path), f"{path}/deploy")
    container.endpoints.scale("raced", rest.ScaleRequest(3), ME)
    answer = browser.post(f"{path}/deploy", data=filled)
    assert (answer.status_code, "Somebody else changed raced" in answer.text) == (412, True)
    assert browser.post(f"{path}/deploy", data=form(answer, f"{path}/deploy")).status_code == 303


def test_another_endpoint_may_be_named_than_the_one_that_was_compared_with(
    browser: httpx.Client, container: Container
) -> None:
    for number in ("1", "2"):
        add_version(container, "renamed", number)
    for name in ("renamed-a", "renamed-b"):
        container.endpoints.deploy(name, rest.DeployRequest("renamed", "1"), ME)
    container.endpoints.scale("renamed-b", rest.ScaleRequest(2), ME)
    path = "/models/renamed/versions/2"
    filled = form(browser.get(path), f"{path}/deploy")
    assert filled["etag_of"] == "renamed-a"
    for name in ("renamed-b", "renamed-new"):
        assert browser.post(f"{path}/deploy", data=filled | {"endpoint": name}).status_code == 303
        assert container.endpoints.get(name).target == {"2": 100.0}
    assert container.endpoints.get("renamed-a").target == {"1": 100.0}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"replicas": "many"}, "is no number of replicas"),
        ({"replicas": "0"}, "replicas"),
        ({"cpus": "nan"}, "is no number (CPUs)"),
        ({"least": "3", "most": "2"}, "at least 3 replicas and at most 2"),
        ({"replicas": "2", "most": "4"}, "not both"),
        ({"most": "4", "amount": "nan"}, "is no number (target)"),
        ({"memory_mib": "lots"}, "is no number (memory)"),
        ({"cpu_request": "some"}, "is no number (CPUs kept free)"),
        ({"memory_request_mib": "-"}, "is no number (memory kept free)"),
        ({"backend": "docker", "cpu_request": "1"}, "add backend &#39;kubernetes&#39;"),
        ({"backend": "kubernetes", "cpus": "1", "cpu_request": "2"}, "no replica may use what is kept free for it"),
        ({"least": "0", "most": "2", "idle": "soon"}, "is no span of time"),
        ({"endpoint": "Not A Name"}, "Not A Name"),
        ({"endpoint": MARKUP}, "endpoint"),
        ({"backend": "moon"}, "moon"),
    ],
)
def test_what_cannot_be_deployed_is_said_and_keeps_what_was_filled_in(
    browser: httpx.Client, container: Container, values: dict[str, str], says: str
) -> None:
    name = f"refused-{'-'.join(values)}-{len(says)}".replace("_", "-")
    add_version(container, name, "1")
    path = f"/models/{name}/versions/1"
    answer = browser.post(f"{path}/deploy", data=form(browser.get(path), f"{path}/deploy") | values)
    assert 400 <= answer.status_code < 500
    assert 'class="note bad"' in answer.text
    assert says in answer.text
    assert "<script>alert" not in answer.text
    assert name not in [one.name for one in container.endpoints.shown.page(1000, None)[0]]


def test_an_alias_is_pointed_here(browser: httpx.Client, monkeypatch: pytest.MonkeyPatch, container: Container) -> None:
    pointed = []
    add_version(container, "aliased", "1")
    monkeypatch.setattr(type(container.registry), "set_alias", lambda _self, *given: pointed.append(given))
    path = "/models/aliased/versions/1"
    answer = browser.post(f"{path}/alias", data={"alias": "@champion"})
    assert answer.headers.get("location") == f"{path}?done=alias", answer.text
    assert pointed == [("aliased", "champion", "1")]
    assert browser.post(f"{path}/alias", data={"alias": ""}).status_code == 422


def test_a_version_s_page_says_what_it_was_validated_with(browser: httpx.Client, container: Container) -> None:
    add_version(container, "validated", "1")
    with container.store.transaction() as tx:
        row = tx.scalars(select(VersionRow).where(VersionRow.model == "validated")).one()
        row.validation = {"metric": "accuracy", "score": 0.9, "min_score": 0.8, "rows": 400, "higher_is_better": True}
    earlier = browser.get("/models/validated/versions/1").text
    assert "accuracy 0.9 on 400 rows, at least 0.8 needed" in earlier, "as an earlier release kept it"
    with container.store.transaction() as tx:
        row = tx.scalars(select(VersionRow).where(VersionRow.model == "validated")).one()
        row.validation = row.validation | {"filename": "holdout<1>.csv", "target": "churned"}
    page = browser.get("/models/validated/versions/1").text
    assert "accuracy 0.9 on 400 rows of holdout&lt;1&gt;.csv, column churned, at least 0.8 needed" in page
