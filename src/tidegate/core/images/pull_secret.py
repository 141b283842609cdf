"""What images are pulled with (`TIDEGATE_IMAGE_PULL_SECRET`): the name of a Secret of Kubernetes, or the ARN of one of
AWS's Secrets Manager. Each engine takes its own kind, and leaves the other alone. Pure.
"""

from __future__ import annotations

import re

from tidegate.errors import InvalidArgument

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_ARN = re.compile(r"arn:aws[-a-z]*:secretsmanager:[-a-z0-9]+:\d{12}:secret:[-A-Za-z0-9/_+=.@:]{1,600}")


def read_pull_secret(text: str | None) -> str | None:
    """None where none is set. Raises `InvalidArgument` for what is neither, without
    repeating it: it may be a password.

    >>> read_pull_secret("registry"), read_pull_secret("arn:aws:secretsmanager:eu-west-1:123456789012:secret:pull-Ab1")
    ('registry', 'arn:aws:secretsmanager:eu-west-1:123456789012:secret:pull-Ab1')
    """
    if not text:
        return None
    if not _NAME.fullmatch(text) and not _ARN.fullmatch(text):
        raise InvalidArgument(
            "TIDEGATE_IMAGE_PULL_SECRET is neither the name of a Secret (small letters, digits, '-' and '.') nor the "
            "ARN of a secret of AWS's Secrets Manager: it names what images are pulled with, and is not what is in it",
            field="TIDEGATE_IMAGE_PULL_SECRET",
        )
    return text


def of_kubernetes(secret: str | None) -> str | None:
    """The Secret's name; None where there is none, or one of AWS's."""
    return None if secret is None or _ARN.fullmatch(secret) else secret


def of_aws(secret: str | None) -> str | None:
    """The secret's ARN; None where there is none, or one of Kubernetes."""
    return secret if secret is not None and _ARN.fullmatch(secret) else None
