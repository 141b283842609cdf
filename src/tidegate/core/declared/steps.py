"""Steps of a canary in Argo's words, `setWeight`, `pause` and `analysis`, as one kind of value. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tidegate.core.declared.fields import check_known
from tidegate.core.declared.kinds import ITEMS_MAX, Listed, Number, Span, Text, wrong
from tidegate.core.numbers import number_text, plain_number
from tidegate.errors import InvalidArgument

WORDS = ("setWeight", "pause", "analysis")
EXAMPLE = "[{setWeight: 5}, {pause: {duration: 10m}}, {setWeight: 100}]"
EVERY_S = 600.0
WEIGHTS = (1.0, 5.0, 25.0, 50.0, 100.0)


def default_steps() -> dict[str, Any]:
    """Of a canary whose document does not say."""
    return {"weights": [*WEIGHTS], "every_s": EVERY_S, "guardrails": []}


@dataclass(frozen=True)
class Steps:
    """`weights` in percent, the last 100, each for `every_s` and on evidence; guardrails that are not as by default."""

    def read(self, raw: Any, path: str) -> dict[str, Any]:
        if not isinstance(raw, list) or not raw or len(raw) > ITEMS_MAX:
            raise wrong(path, raw, f"a list of steps, such as {EXAMPLE}")
        weights: list[float] = []
        pauses: dict[float, str] = {}
        guardrails: list[str] | None = None
        for place, step in enumerate(raw):
            word, value, at = _word(step, f"{path}[{place}]")
            if word == "setWeight":
                weights.append(Number(0, 100).read(value, at))
            elif word == "pause":
                pauses.setdefault(_duration(value, at), at)
            elif guardrails is not None:
                raise InvalidArgument(f"{at} is the second analysis: give all guardrails in one", field=at)
            else:
                guardrails = _guardrails(value, at)
        if len(pauses) > 1:
            other = [*pauses.values()][1]
            raise InvalidArgument(
                f"{other} takes another time than the pause before: all steps take as long", field=other
            )
        if not weights:
            raise InvalidArgument(f"{path} has no setWeight: give for example {EXAMPLE}", field=path)
        every_s = next(iter(pauses), EVERY_S)
        full = weights if weights[-1] == 100 else [*weights, 100.0]
        return {"weights": full, "every_s": every_s, "guardrails": guardrails or []}

    def written(self, value: Any) -> list[dict[str, Any]]:
        pause = {"pause": {"duration": Span().written(value["every_s"])}}
        found: list[dict[str, Any]] = []
        if value["guardrails"]:
            found.append({"analysis": {"guardrails": [*value["guardrails"]]}})
        for weight in value["weights"]:
            found += [{"setWeight": plain_number(weight)}] + ([pause] if weight < 100 else [])
        return found

    def worded(self, value: Any) -> str:
        steps = ", ".join(number_text(weight) for weight in value["weights"])
        text = f"{steps} %, each for {Span().worded(value['every_s'])}"
        return text + (f", with {', '.join(value['guardrails'])}" if value["guardrails"] else "")

    def schema(self) -> dict[str, Any]:
        inner = {
            "setWeight": Number(0, 100).schema(),
            "pause": _object({"duration": Span().schema()}, ["duration"]),
            "analysis": _object({"guardrails": Listed(Text()).schema()}, []),
        }
        return {"type": "array", "minItems": 1, "items": {"anyOf": [_object({w: inner[w]}, [w]) for w in WORDS]}}


def _object(properties: Mapping[str, Any], required: list[str]) -> dict[str, Any]:
    more = {"required": required} if required else {}
    return {"type": "object", "additionalProperties": False, "properties": dict(properties), **more}


def _word(step: Any, path: str) -> tuple[str, Any, str]:
    if not isinstance(step, Mapping) or len(step) != 1:
        raise wrong(path, step, f"one of {', '.join(WORDS)}, as in {EXAMPLE}")
    check_known(step, WORDS, path)
    ((word, value),) = step.items()
    return str(word), value, f"{path}.{word}"


def _duration(value: Any, path: str) -> float:
    if not isinstance(value, Mapping) or "duration" not in value:
        raise InvalidArgument(
            f"{path} has no duration, as in {{duration: 10m}}: 'tidegate canary pause' has a person decide", field=path
        )
    check_known(value, ("duration",), path)
    return Span().read(value["duration"], f"{path}.duration")


def _guardrails(value: Any, path: str) -> list[str]:
    if not isinstance(value, Mapping):
        raise wrong(path, value, "guardrails, as in {guardrails: ['errors:margin=abs:0.01']}")
    check_known(value, ("guardrails",), path)
    found: list[str] = Listed(Text("errors:margin=abs:0.01"), "a list").read(
        value.get("guardrails", []), f"{path}.guardrails"
    )
    return found
