"""Loads one URL with wrk from a core of its own and reads the figures back as JSON."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lib import processes

# Requests are made once, before the clock starts; each goes out in turn, so that no cache of answers can help.
_SCRIPT = """
local requests, at = {}, 0
init = function(args)
  wrk.method = "POST"
%(headers)s
  local file = io.open("%(bodies)s", "rb")
  for length in function() return file:read("*l") end do
    requests[#requests + 1] = wrk.format(nil, nil, nil, file:read(tonumber(length)))
  end
  file:close()
end
request = function() at = at %% #requests + 1; return requests[at] end
done = function(summary, latency, all)
  local e = summary.errors
  io.stderr:write(string.format(
    '{"requests":%%d,"duration_us":%%d,"p50_us":%%d,"p99_us":%%d,"not_2xx":%%d,"socket_errors":%%d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), e.status,
    e.connect + e.read + e.write + e.timeout))
end
"""
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Figures:
    """One run: throughput, latency and what went wrong."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    failed: int


def script(folder: Path, name: str, bodies: Sequence[bytes], headers: Mapping[str, str] = JSON) -> Path:
    """A wrk script that sends these bodies in turn."""
    file = folder / f"{name}.bodies"
    file.write_bytes(b"".join(b"%d\n%b" % (len(body), body) for body in bodies))
    lines = [f'  wrk.headers["{key}"] = "{value}"' for key, value in headers.items()]
    path = folder / f"{name}.lua"
    path.write_text(_SCRIPT % {"bodies": file, "headers": "\n".join(lines)})
    return path


def load(url: str, lua: Path, *, seconds: int, connections: int, core: int | None) -> Figures:
    """One thread of wrk for `seconds`; raises `BenchmarkFailed` when wrk is missing or ends badly."""
    if shutil.which("wrk") is None:
        raise processes.BenchmarkFailed("wrk is not installed: apt-get install wrk (brew install wrk on macOS)")
    load_s = ["-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", str(lua), url]
    # stderr holds the figures alone; wrk's own report goes to stdout.
    argv = processes.pinned(["sh", "-c", 'exec wrk "$@" 2>&1 >/dev/null', "wrk", *load_s], core)
    figures = json.loads(processes.run(argv, timeout_s=seconds + 60).splitlines()[-1])
    return Figures(
        requests_per_s=figures["requests"] / (figures["duration_us"] / 1e6),
        p50_ms=figures["p50_us"] / 1000,
        p99_ms=figures["p99_us"] / 1000,
        failed=figures["not_2xx"] + figures["socket_errors"],
    )
