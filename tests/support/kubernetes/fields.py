"""Who manages which field, and what server-side apply makes of that. Lists are taken whole, maps by their keys.

The real server merges some lists by keys; what Tidegate applies has no list that two managers share.
"""

from __future__ import annotations

import copy
from typing import Any

from support.kubernetes.kinds import Refusal, Served
from support.kubernetes.store import stamp

Object = dict[str, Any]
Path = tuple[str, ...]
_UNOWNED = {("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace")}
_SERVERS = ("resourceVersion", "uid", "creationTimestamp", "generation", "managedFields", "deletionTimestamp")


def leaves(one: Object, under: Path = ()) -> dict[Path, Any]:
    """Each field without the fields in it, but for what nobody owns."""
    found: dict[Path, Any] = {}
    for key, value in one.items():
        path = (*under, key)
        if path in _UNOWNED or (under == ("metadata",) and key in _SERVERS):
            continue
        if isinstance(value, dict) and value:
            found |= leaves(value, path)
        else:
            found[path] = value
    return found


class Managers:
    """The managers of one object, as kept in its `managedFields`."""

    def __init__(self, one: Object | None) -> None:
        entries = [] if one is None else one["metadata"].get("managedFields", [])
        self.entries: list[Object] = copy.deepcopy(entries)

    def owned(self, entry: Object) -> set[Path]:
        return set(_paths(entry["fieldsV1"]))

    def mine(self, manager: str, operation: str, subresource: str = "") -> set[Path]:
        found = (one for one in self.entries if _who(one) == (manager, operation, subresource))
        return next((self.owned(one) for one in found), set())

    def others(self, path: Path, manager: str) -> list[Object]:
        """Entries of other managers that own the field, or one that this one would replace or be within."""
        return [
            one
            for one in self.entries
            if not (one["manager"] == manager and one["operation"] == "Apply")
            and any(own[: len(path)] == path[: len(own)] for own in self.owned(one))
        ]

    def put(self, who: tuple[str, str, str], served: Served, paths: set[Path]) -> None:
        kept = next((one for one in self.entries if _who(one) == who), None)
        if kept is not None and self.owned(kept) == paths:
            return
        self.entries = [one for one in self.entries if _who(one) != who]
        if paths:
            made = {
                "manager": who[0],
                "operation": who[1],
                "apiVersion": served.api_version,
                "time": stamp(),
                "fieldsType": "FieldsV1",
                "fieldsV1": _nested(paths),
                **({"subresource": who[2]} if who[2] else {}),
            }
            self.entries.append(made)

    def take(self, paths: set[Path], from_others_than: tuple[str, str, str]) -> None:
        """Whoever writes a field without apply owns it alone."""
        for entry in list(self.entries):
            if _who(entry) != from_others_than and (left := self.owned(entry)) & paths:
                entry["fieldsV1"] = _nested(left - paths)
                if not left - paths:
                    self.entries.remove(entry)


def apply(served: Served, live: Object | None, given: Object, manager: str, *, force: bool) -> Object:
    """The object as applied. Raises the 409 of a conflict."""
    managers = Managers(live)
    after = copy.deepcopy(live) if live is not None else {"metadata": {}}
    current, wanted = leaves(after), leaves(given)
    causes = []
    for path, value in wanted.items():
        if path in current and current[path] == value:
            continue
        for other in managers.others(path, manager):
            through = f" with subresource {chr(34)}{other['subresource']}{chr(34)}" if "subresource" in other else ""
            said = f'conflict with "{other["manager"]}"{through} using {other["apiVersion"]}'
            causes.append({"reason": "FieldManagerConflict", "message": said, "field": "." + ".".join(path)})
    if causes and not force:
        raise conflict(causes)
    who = manager, "Apply", ""
    mine = managers.mine(manager, "Apply")
    managers.take({path for path, value in wanted.items() if current.get(path) != value}, who)
    for path in mine - set(wanted):
        if not any(path in managers.owned(one) for one in managers.entries if _who(one) != who):
            _drop(after, path)
    for path, value in wanted.items():
        _put(after, path, copy.deepcopy(value))
    managers.put(who, served, set(wanted))
    after |= {"apiVersion": given["apiVersion"], "kind": given["kind"]}
    after["metadata"]["name"] = given["metadata"]["name"]
    after["metadata"]["managedFields"] = managers.entries
    return after


def updated(served: Served, before: Object | None, after: Object, manager: str, subresource: str = "") -> None:
    """Note in `after` that this manager wrote what differs from `before`."""
    managers = Managers(before)
    old, new = ({} if before is None else leaves(before)), leaves(after)
    wrote = {path for path, value in new.items() if path not in old or old[path] != value}
    who = manager, "Update", subresource
    managers.take(wrote | (set(old) - set(new)), who)
    managers.put(who, served, (managers.mine(*who) | wrote) & set(new))
    after["metadata"]["managedFields"] = managers.entries


def conflict(causes: list[Object]) -> Refusal:
    count = f"{len(causes)} conflict{'s' if len(causes) > 1 else ''}"
    told = f"{causes[0]['message']}: {causes[0]['field']}"
    if len(causes) > 1:
        by_who: dict[str, list[str]] = {}
        for cause in causes:
            by_who.setdefault(cause["message"].replace("conflict with", "conflicts with", 1), []).append(cause["field"])
        told = "\n".join("\n- ".join([f"{who}:", *names]) for who, names in by_who.items())
    return Refusal(409, "Conflict", f"Apply failed with {count}: {told}", causes=causes)


def merged(live: Any, patch: Any) -> Any:
    """A JSON merge patch (RFC 7386)."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    found = copy.deepcopy(live) if isinstance(live, dict) else {}
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = merged(found.get(key), value)
    return found


def _who(entry: Object) -> tuple[str, str, str]:
    return entry["manager"], entry["operation"], entry.get("subresource", "")


def _nested(paths: set[Path]) -> Object:
    root: Object = {}
    for path in sorted(paths):
        at = root
        for part in path:
            at = at.setdefault(f"f:{part}", {})
    return root


def _paths(nested: Object, under: Path = ()) -> list[Path]:
    if not nested:
        return [under] if under else []
    return [path for key, value in nested.items() for path in _paths(value, (*under, key.removeprefix("f:")))]


def _put(one: Object, path: Path, value: Any) -> None:
    for part in path[:-1]:
        if not isinstance(one.get(part), dict):
            one[part] = {}
        one = one[part]
    one[path[-1]] = value


def _drop(one: Object, path: Path) -> None:
    for part in path[:-1]:
        if not isinstance(one.get(part), dict):
            return
        one = one[part]
    one.pop(path[-1], None)
