"""What an endpoint that follows an alias of the registry does now: take a version in, roll to it, refuse it or wait.

`decide` is called by loops/follow for each such endpoint after each look at the registry.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tidegate.core.backoff import Backoff
from tidegate.errors import Conflict, PickleNotGranted

FollowState = Literal["current", "taking_in", "waiting", "refused"]
Known = Literal["here", "new", "other"]
JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]

AGAIN = Backoff(first_s=2.0, longest_s=60.0)


@dataclass(frozen=True)
class Following:
    """One endpoint's following as it is stored: the version that was dealt with last, and what came of it.

    `gated`: versions are scored on data, so that one that was taken in some other way is scored as well.
    """

    endpoint: str
    model: str
    alias: str
    gated: bool
    version: str | None
    state: FollowState
    code: str = ""
    job: str | None = None
    attempts: int = 0
    retry_at: float | None = None
    trouble: str = ""


@dataclass(frozen=True)
class AliasTarget:
    """The version that the alias names. `known`: `here` once it is taken in, `other` where that number is another's."""

    version: str
    known: Known


@dataclass(frozen=True)
class JobSeen:
    """How the job that takes a version in is doing. `passing`: what it failed of may be over later."""

    state: JobState
    code: str = ""
    message: str = ""
    passing: bool = False


@dataclass(frozen=True)
class AliasSeen:
    """What was observed: the alias's target, or why it is not known; the job, None when it is gone; the trust; what
    keeps the endpoint from rolling to any version, if something does; and whether Tidegate moved the alias itself.
    """

    target: AliasTarget | None
    problem: str = ""
    job: JobSeen | None = None
    trusted: bool = False
    held: str = ""
    ours: bool = False


@dataclass(frozen=True)
class Stay:
    """Nothing is done; `trouble` says why the alias could not be read, or is not followed for now."""

    trouble: str = ""


@dataclass(frozen=True)
class TakeIn:
    """Register the version, through the gate."""

    version: str
    attempts: int = 0


@dataclass(frozen=True)
class Roll:
    """Give the version all of the endpoint's traffic, once it is ready."""

    version: str


@dataclass(frozen=True)
class Ours:
    """Tidegate moved the alias to this version: it is dealt with, and the endpoint stays as it is."""

    version: str


@dataclass(frozen=True)
class Wait:
    """Try again at `retry_at`."""

    version: str
    reason: str
    attempts: int
    retry_at: float


@dataclass(frozen=True)
class Refuse:
    """Leave the endpoint as it is, and say why."""

    version: str
    code: str
    reason: str


Step = Stay | TakeIn | Roll | Ours | Wait | Refuse


def decide(following: Following, seen: AliasSeen, now: float) -> Step:
    """The truth table, top down; the first line that holds.

    | the alias | the last version dealt with | step |
    | --- | --- | --- |
    | cannot be read, or is gone | any | stay: unknown is no reason to change |
    | names another version, to which Tidegate moved it | any | dealt with: no roll |
    | names another version | any | roll, if it is here and needs no scoring; else take it in |
    | names the same | is being taken in | as its job ends: roll, refuse, or wait when the failure may pass |
    | names the same | waits, and its time has come | as if it were another |
    | names the same | was refused for what is mended now (trust, another's number) | as if it were another |
    | names the same | anything else | stay |

    Nothing is taken in and nothing rolled to while something holds the endpoint.
    """
    step = _step(following, seen, now)
    return Stay(seen.held) if seen.held and isinstance(step, TakeIn | Roll) else step


def _step(following: Following, seen: AliasSeen, now: float) -> Step:
    if seen.target is None:
        return Stay(seen.problem)
    if seen.target.version != following.version and seen.ours:
        return Ours(seen.target.version)
    if seen.target.version != following.version:
        return _begin(following, seen.target, 0)
    if following.state == "taking_in":
        return _as_job_ends(following, seen.target, seen.job, now)
    if _may_try_again(following, seen.target, seen.trusted, now):
        return _begin(following, seen.target, following.attempts)
    return Stay()


def _may_try_again(following: Following, target: AliasTarget, trusted: bool, now: float) -> bool:
    if following.state == "waiting":
        return now >= (following.retry_at or 0.0)
    # Codes of refusals that somebody has seen to since.
    return (following.code == PickleNotGranted.code and trusted) or (
        following.code == Conflict.code and target.known != "other"
    )


def _begin(following: Following, target: AliasTarget, attempts: int) -> Step:
    if target.known == "other":
        return Refuse(target.version, Conflict.code, another_version(following.model, target.version))
    if target.known == "here" and not following.gated:
        return Roll(target.version)
    return TakeIn(target.version, attempts)


def _as_job_ends(following: Following, target: AliasTarget, job: JobSeen | None, now: float) -> Step:
    if job is None:
        return TakeIn(target.version, following.attempts)
    if job.state == "succeeded":
        return Roll(target.version)
    if job.state not in ("failed", "cancelled"):
        return Stay()
    if not job.passing:
        return Refuse(target.version, job.code, job.message)
    attempts = following.attempts + 1
    return Wait(target.version, job.message, attempts, now + AGAIN.delay_s(attempts, 0.0))


def known(digest_here: str | None, digest_there: str | None) -> Known:
    """Whether the registry's version is the one of its number here; one without a digest there says nothing."""
    if digest_here is None:
        return "new"
    return "here" if digest_there in (None, digest_here) else "other"


def another_version(model: str, version: str) -> str:
    """Numbers begin anew when a model is deleted in the registry and made again."""
    return (
        f"the registry's version {version} of {model!r} is not the one that was taken in under this number: delete "
        f"that ('tidegate models delete {model}:{version}'), or register yours again, under a new number"
    )
