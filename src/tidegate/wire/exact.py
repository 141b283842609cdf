"""How requests are validated: exactly. For the dataclasses of `wire` that clients send."""

from __future__ import annotations

from typing import Annotated, Any

STRICT = {"extra": "forbid"}
"""For the validator of requests: a misspelt field is an error, never silently without effect."""


class _Exact:
    """For the validator of requests, which looks for this method: 1 is no boolean, and text and true are no numbers."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return {**handler(source), "strict": True}


Flag = Annotated[bool, _Exact()]
Whole = Annotated[int, _Exact()]
Number = Annotated[float, _Exact()]
