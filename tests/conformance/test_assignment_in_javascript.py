"""The JavaScript that the documentation prints gives the published answers, in Node or in Chromium."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from support.services.chromium import Chromium

DOCS = Path(__file__).parents[2] / "docs"
CHECK = """
async (vectors) => {
  const wrong = [];
  let right = 0;
  const expect = (found, wanted, vector) => {
    if (JSON.stringify(found) === JSON.stringify(wanted)) right += 1;
    else wrong.push({ vector, found });
  };
  for (const one of vectors.unit_interval) expect(await unitInterval(one.salt, one.unit), one.u, one);
  for (const one of vectors.assignment) {
    expect((await assign(one.salt, one.unit, one.weights)).variant, one.variant, one);
  }
  for (const one of vectors.coverage) {
    const found = await assign(one.salt, one.unit, one.weights, one.coverage, one.uncovered);
    expect(found, { variant: one.variant, takesPart: one.takes_part }, one);
  }
  return { right, wrong };
}
"""


def published() -> str:
    (code,) = re.findall(r"```javascript\n(.*?)```", (DOCS / "assignment.md").read_text(), re.DOTALL)
    return str(code)


def in_node(node: str, script: str, vectors: Any) -> Any:
    whole = f"{script}\n(async () => console.log(JSON.stringify(await ({CHECK})({json.dumps(vectors)}))))();"
    ran = subprocess.run([node, "-"], input=whole, capture_output=True, text=True, check=True, timeout=60)
    return json.loads(ran.stdout)


def in_chromium(script: str, vectors: Any) -> Any:
    browser = Chromium()
    try:
        # A file's page may use Web Crypto; a page of plain HTTP from another machine may not.
        page = browser.visit((DOCS / "assignment-vectors.json").as_uri(), key=None).page
        return page.evaluate(f"async (vectors) => {{ {script}\n return await ({CHECK})(vectors); }}", vectors)
    finally:
        browser.remove()


def test_what_the_documentation_prints_gives_the_published_answers() -> None:
    vectors = json.loads((DOCS / "assignment-vectors.json").read_text())
    node = shutil.which("node")
    found = in_node(node, published(), vectors) if node else in_chromium(published(), vectors)
    assert found["wrong"] == []
    assert found["right"] == sum(len(vectors[name]) for name in ("unit_interval", "assignment", "coverage"))
