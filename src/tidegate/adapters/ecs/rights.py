"""The rights on AWS that a platform needs to run replicas on ECS, as an IAM policy made of the calls it makes. Pure."""

from __future__ import annotations

from typing import Any

from tidegate.adapters.ecs.client import CALLS

VERSION = "2012-10-17"
"""Of the policy language: the newest there is."""
ROLE = "arn:aws:iam::ACCOUNT:role/EXECUTION_ROLE"
_LOOKING = ("describe_", "get_", "list_")
_OF_DEFINITIONS = ("register_task_definition", "deregister_task_definition", "delete_task_definitions")
_TAGGING = {"ssm": ("AddTagsToResource",)}
"""AWS asks for these where something is made with tags, though no call has that name."""


def action(service: str, operation: str) -> str:
    """As policies name a call.

    >>> action("ecs", "update_task_protection")
    'ecs:UpdateTaskProtection'
    """
    return f"{service}:{''.join(part.capitalize() for part in operation.split('_'))}"


def policy(role: str = ROLE) -> dict[str, Any]:
    """What to give the user or role that the control plane runs as; `role` is TIDEGATE_ECS_EXECUTION_ROLE."""
    looking = [action(service, one) for service, all_of in CALLS.items() for one in all_of if one.startswith(_LOOKING)]
    changing = [one for one in CALLS["ecs"] if not one.startswith((*_LOOKING, *_OF_DEFINITIONS))]
    ours = ("service/*/tidegate-*", "task-definition/tidegate-*:*", "task/*")
    keys = [action("ssm", one) for one in CALLS["ssm"]] + [f"ssm:{one}" for one in _TAGGING["ssm"]]
    return {
        "Version": VERSION,
        "Statement": [
            _allowed("Look", looking, "*"),
            _allowed("Change", [action("ecs", one) for one in changing], [f"arn:aws:ecs:*:*:{one}" for one in ours]),
            _allowed("Define", [action("ecs", one) for one in _OF_DEFINITIONS], "*"),
            _allowed("KeepKeys", keys, "arn:aws:ssm:*:*:parameter/tidegate/*"),
            _allowed("PassRole", ["iam:PassRole"], role)
            | {"Condition": {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}}},
        ],
    }


def _allowed(name: str, actions: list[str], resource: str | list[str]) -> dict[str, Any]:
    return {"Sid": f"Tidegate{name}", "Effect": "Allow", "Action": sorted(actions), "Resource": resource}
