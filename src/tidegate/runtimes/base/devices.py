"""Chooses the device a model runs on: the CPU unless a GPU is asked for, and an error that names what there is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tidegate.errors import NoSuchDevice

CPU, AUTO, CUDA = "cpu", "auto", "cuda"


def chosen_device(wanted: str | None, gpus: Callable[[], int], framework: str) -> str:
    """`cpu` or `cuda:N`. `auto` takes the first GPU where there is one, `cuda` must have one.

    Raises `NoSuchDevice` for one that does not exist. `gpus` counts them, and is only called when that matters.
    """
    if wanted in (None, CPU):
        return CPU
    available = [CPU, *(f"{CUDA}:{index}" for index in range(gpus()))]
    if wanted == AUTO:
        return available[1] if len(available) > 1 else CPU
    name = f"{CUDA}:0" if wanted == CUDA else str(wanted)
    if name not in available:
        raise _no_such_device(name if wanted != CUDA else CUDA, available, framework)
    return name


def only_cpu(wanted: str | None, framework: str) -> None:
    """Raise `NoSuchDevice` when a GPU is asked for and the framework, as it is served here, has none to choose."""
    if wanted not in (None, CPU, AUTO):
        raise _no_such_device(str(wanted), [CPU], framework)


def _no_such_device(name: str, available: Sequence[str], framework: str) -> NoSuchDevice:
    return NoSuchDevice(
        f"there is no device {name!r} for {framework} models here; available: {', '.join(available)}",
        device=name,
        available=list(available),
    )
