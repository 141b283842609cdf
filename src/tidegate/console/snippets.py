"""Lines that ask an endpoint for a prediction: for curl, Python and JavaScript, to be pasted as they are. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tidegate.console.words import shell_word

Snippet = tuple[str, str]


def snippets(url: str, example: Any, *, with_key: bool) -> Sequence[Snippet]:
    """(language, text) with a real row; where a key is needed it comes from the environment."""
    body = json.dumps({"features": example}, ensure_ascii=False)
    return (("curl", _curl(url, body, with_key)), ("Python", _python(url, example, with_key)),
            ("JavaScript", _javascript(url, body, with_key)))  # fmt: skip


def _curl(url: str, body: str, with_key: bool) -> str:
    key = ' -H "Authorization: Bearer $TIDEGATE_API_KEY"' if with_key else ""
    return f"curl -sS {shell_word(url)} -H 'Content-Type: application/json'{key} -d {shell_word(body)}"


def _python(url: str, example: Any, with_key: bool) -> str:
    key = ', headers={"Authorization": f"Bearer {os.environ[\'TIDEGATE_API_KEY\']}"}' if with_key else ""
    lines = [
        *(["import os", ""] if with_key else []),
        "import requests",
        "",
        f"answer = requests.post({url!r}, json={{'features': {example!r}}}{key}, timeout=10)",
        "answer.raise_for_status()",
        "print(answer.json()['prediction'])",
    ]
    return "\n".join(lines)


def _javascript(url: str, body: str, with_key: bool) -> str:
    key = ', "Authorization": `Bearer ${process.env.TIDEGATE_API_KEY}`' if with_key else ""
    return "\n".join(
        [
            f"const answer = await fetch({json.dumps(url)}, {{",
            '  method: "POST",',
            f'  headers: {{ "Content-Type": "application/json"{key} }},',
            f"  body: JSON.stringify({body}),",
            "});",
            "console.log((await answer.json()).prediction);",
        ]
    )
