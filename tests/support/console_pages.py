"""Every page of the console, for tests that go through all of them."""

from __future__ import annotations

from collections.abc import Iterable


def pages_of(endpoint: str, job: str = "none", experiment: str = "none") -> list[str]:
    """Paths, of an endpoint whose model has its name, of a job and of an experiment; those of what is not there too."""
    return [
        *("/", "/login", "/deploy", "/deploy?allow_pickle=ask", "/models", f"/models/{endpoint}"),
        *(f"/models/{endpoint}/versions/1", f"/deployments/{endpoint}/1", "/jobs", f"/jobs/{job}", "/jobs/none"),
        *(f"/endpoints/{endpoint}", f"/endpoints/{endpoint}?logs=follow", "/endpoints/nowhere"),
        *(f"/endpoints/{endpoint}/monitoring?rows=newest", f"/endpoints/{endpoint}/shadow"),
        *(f"/endpoints/{endpoint}/canary", f"/endpoints/{endpoint}/experiments"),
        *(f"/endpoints/{endpoint}/experiments/{experiment}", "/alerts", f"/endpoints/{endpoint}/alert-rules"),
    ]


def left_out(routes: Iterable[str], paths: Iterable[str]) -> list[str]:
    """Routes such as `/models/{model}` that none of these paths is of."""
    shapes = [path.partition("?")[0].split("/") for path in paths]
    return [route for route in routes if not any(_fits(route.split("/"), shape) for shape in shapes)]


def _fits(route: list[str], path: list[str]) -> bool:
    return len(route) == len(path) and all(a == b or a.startswith("{") for a, b in zip(route, path, strict=True))
