"""Errors by their code: what a process, a job's row or an answer said of one becomes the error again."""

from __future__ import annotations

from tidegate.errors import TidegateError


def by_code(code: str) -> type[TidegateError]:
    """The class with this code; `TidegateError` for a code this release does not know."""
    return _BY_CODE.get(code, TidegateError)


def _subclasses(cls: type[TidegateError]) -> list[type[TidegateError]]:
    return [cls, *(deeper for sub in cls.__subclasses__() for deeper in _subclasses(sub))]


_BY_CODE = {cls.code: cls for cls in _subclasses(TidegateError)}
