"""Which cluster is meant, and what it is shown: files, contexts, service accounts, programs."""

from __future__ import annotations

import base64
import errno
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tidegate.adapters.kubernetes.credentials import FILE_TOKEN_FRESH_S, ExecCredentials, ExecPlugin, TokenFile
from tidegate.adapters.kubernetes.kubeconfig import find_access
from tidegate.errors import EngineDenied, EngineUnavailable

V1 = "client.authentication.k8s.io/v1"


def config(file: Path, *, cluster: Any = None, user: Any = None, **further: Any) -> Path:
    body = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "one",
        "clusters": [{"name": "c", "cluster": cluster or {"server": "https://127.0.0.1:6443/"}}],
        "users": [{"name": "u", "user": {"token": "hush"} if user is None else user}],
        "contexts": [{"name": "one", "context": {"cluster": "c", "user": "u", "namespace": "ml"}}],
        **further,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(body))
    return file


def refused(file: Path, env: dict[str, str] | None = None) -> str:
    with pytest.raises(EngineDenied) as caught:
        find_access(file, None, env or {}).credentials.current()
    assert isinstance(caught.value, EngineUnavailable)  # what runs there is unknown, and it is tried again
    return caught.value.message


def test_the_setting_goes_before_kubectls_own_places(tmp_path: Path) -> None:
    config(tmp_path / "home" / ".kube" / "config", cluster={"server": "https://home"})
    config(tmp_path / "env", cluster={"server": "https://env"})
    config(tmp_path / "own", cluster={"server": "https://own"})
    env = {"HOME": str(tmp_path / "home")}
    assert find_access(None, None, env).server == "https://home"
    env["KUBECONFIG"] = f"{tmp_path / 'missing'}{os.pathsep}{tmp_path / 'env'}"
    assert find_access(None, None, env).server == "https://env"
    found = find_access(tmp_path / "own", None, env)
    assert (found.server, found.namespace) == ("https://own", "ml")
    assert found.credentials.current().token == "hush"
    assert find_access(tmp_path / "own", "mine", env).namespace == "mine"
    assert "hush" not in repr(found)


def test_of_several_files_the_first_entry_of_a_name_counts(tmp_path: Path) -> None:
    first = tmp_path / "first"
    first.write_text(yaml.safe_dump({"contexts": [{"name": "two", "context": {"cluster": "c", "user": "u"}}]}))
    second = config(tmp_path / "a" / "second", **{"current-context": "two"})
    third = config(tmp_path / "third", cluster={"server": "https://third"}, user={"token": "third"})
    env = {"KUBECONFIG": os.pathsep.join(map(str, (first, second, third)))}
    found = find_access(None, None, env)
    assert (found.server, found.namespace) == ("https://127.0.0.1:6443", "default")
    assert found.credentials.current().token == "hush"


def test_files_are_found_from_where_the_kubeconfig_lies(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("an authority")
    (tmp_path / "token").write_text("from a file\n")
    cluster = {"server": "https://c", "certificate-authority": "ca.crt", "tls-server-name": "kubernetes"}
    found = find_access(config(tmp_path / "config", cluster=cluster, user={"tokenFile": "token"}), None, {})
    assert (found.ca_pem, found.server_name, found.verify) == (b"an authority", "kubernetes", True)
    assert found.credentials.current().token == "from a file"
    data = {name: base64.b64encode(name.encode()).decode() for name in ("ca", "cert", "key")}
    found = find_access(
        config(
            tmp_path / "config",
            cluster={"server": "https://c", "certificate-authority-data": data["ca"]},
            user={"client-certificate-data": data["cert"], "client-key-data": data["key"]},
        ),
        None,
        {},
    )
    shown = found.credentials.current()
    assert (found.ca_pem, shown.cert_pem, shown.key_pem, shown.token) == (b"ca", b"cert", b"key", None)


def test_proxies_are_those_of_the_kubeconfig_or_the_environment(tmp_path: Path) -> None:
    env = {"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "10.0.0.0/8, .internal"}
    wanted = {
        "https://c": "http://proxy:3128",
        "https://10.0.0.1:6443": None,
        "https://api.internal": None,
        "https://127.0.0.1:6443": None,
        "http://c": None,
    }
    for server, proxy in wanted.items():
        assert find_access(config(tmp_path / "c", cluster={"server": server}), None, env).proxy == proxy
    own = {"server": "https://c", "proxy-url": "http://own:1"}
    assert find_access(config(tmp_path / "c", cluster=own), None, env).proxy == "http://own:1"


def test_in_a_pod_the_service_account_is_used(tmp_path: Path) -> None:
    for name, text in {"token": "of the pod", "ca.crt": "an authority", "namespace": "team\n"}.items():
        (tmp_path / name).write_text(text)
    env = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}
    found = find_access(None, None, env, tmp_path)
    assert (found.server, found.namespace, found.ca_pem) == ("https://[fd00::1]:6443", "team", b"an authority")
    assert found.credentials.current().token == "of the pod"
    with pytest.raises(EngineDenied, match="Set KUBECONFIG_PATH to a kubeconfig"):
        find_access(None, None, {"HOME": str(tmp_path / "nobody")}, tmp_path)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"current-context": ""}, "no current context: kubectl config use-context NAME"),
        ({"current-context": "other"}, "names 'other', and there is nothing of that name among its contexts"),
        ({"clusters": []}, "names 'c', and there is nothing of that name among its clusters"),
        ({"users": None}, "names 'u', and there is nothing of that name among its users"),
        ({"clusters": [{"cluster": {}}]}, "an entry of 'clusters' without a name"),
        ({"kind": "Pod"}, "is no kubeconfig: its kind is not Config"),
        ({"cluster": {"server": "127.0.0.1:6443"}}, "https://host:6443 is wanted"),
        ({"cluster": {"server": "https://c", "certificate-authority": "none"}}, "as certificate-authority, cannot be"),
        ({"cluster": {"server": "https://c", "certificate-authority-data": "%"}}, "that is no base64"),
        ({"cluster": {"server": "https://c", "insecure-skip-tls-verify": "false"}}, "neither true nor false"),
        ({"cluster": {"server": "https://c", "proxy-url": "socks5://p"}}, "neither http nor https: not supported"),
        ({"user": {"auth-provider": {"name": "gcp"}}}, "which is not supported: use an exec plugin"),
        ({"user": {"username": "me", "password": "hush"}}, "which is not supported: use a token"),
        ({"user": {"token": "hush", "as": "you"}}, "acts as another user, which is not supported"),
        ({"user": {"client-certificate-data": "aGk="}}, "has a client certificate or its key, and not the other"),
        ({"user": {"exec": {"command": "x"}}}, "an exec plugin without command or apiVersion"),
        ({"user": {"exec": {"command": "x", "apiVersion": "v0"}}}, "has an exec plugin of v0"),
        (
            {"user": {"exec": {"command": "x", "apiVersion": V1, "interactiveMode": "Always"}}},
            "always wants a terminal",
        ),
    ],
)
def test_what_is_wrong_with_a_kubeconfig_is_said(tmp_path: Path, changed: dict[str, Any], told: str) -> None:
    said = refused(config(tmp_path / "config", **changed))
    assert told in said
    assert "hush" not in said


def test_files_that_are_no_kubeconfig_are_named(tmp_path: Path) -> None:
    assert refused(tmp_path / "none") == f"there is no kubeconfig {tmp_path / 'none'}: correct KUBECONFIG_PATH"
    (tmp_path / "text").write_text("a: b: c\n")
    assert "is no YAML at line 1" in refused(tmp_path / "text")
    (tmp_path / "list").write_text("[1]")
    assert "is no kubeconfig" in refused(tmp_path / "list")
    assert "is a directory" in refused(tmp_path).lower()


def test_a_kubeconfig_that_may_not_be_looked_at_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> os.stat_result:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "stat", denied)
    assert f"{tmp_path / 'config'} cannot be read: Permission denied" in refused(tmp_path / "config")


def test_a_token_in_a_file_is_read_again(tmp_path: Path) -> None:
    now = 1000.0
    file = tmp_path / "token"
    file.write_text("first")
    source = TokenFile(file, clock=lambda: now)
    first = source.current()
    file.write_text("second")
    assert source.current() == first
    renewed = source.renew(first)
    assert renewed is not None
    assert renewed.token == "second"
    assert source.renew(renewed) is None
    file.write_text("third")
    now += FILE_TOKEN_FRESH_S
    assert source.current().token == "third"
    file.write_text("")
    now += FILE_TOKEN_FRESH_S
    with pytest.raises(EngineDenied, match="is empty"):
        source.current()


def plugin(folder: Path, body: str, **fields: Any) -> ExecPlugin:
    """A program that counts its runs, and then does as `body` says."""
    script = folder / "plugin.py"
    script.write_text(f"import json, os, pathlib, sys\nlog = pathlib.Path({str(folder / 'runs')!r})\n")
    with script.open("a") as file:
        file.write(
            "log.write_text((log.read_text() if log.exists() else '') + os.environ['KUBERNETES_EXEC_INFO'] + '\\n')\n"
        )
        file.write(body)
    return ExecPlugin(sys.executable, (str(script),), {"WHO": "tests"}, **fields)


def printed(status: str, version: str = V1) -> str:
    return f"print(json.dumps({{'apiVersion': '{version}', 'kind': 'ExecCredential', 'status': {status}}}))"


def test_a_program_is_asked_until_what_it_gave_expires(tmp_path: Path) -> None:
    now = 1_900_000_000.0
    token, expires = "os.environ['WHO'] + str(len(log.read_text().splitlines()))", "'2030-03-17T18:00:00Z'"
    status = f"{{'token': {token}, 'expirationTimestamp': {expires}}}"
    source = ExecCredentials(plugin(tmp_path, printed(status), cluster={"server": "https://c"}), dict, lambda: now)
    first = source.current()
    assert first.token == "tests1"
    assert source.current() is first
    now = 1_900_087_200.0  # at its end
    second = source.current()
    assert second.token == "tests2"
    third = source.renew(second)
    assert third is not None
    assert third.token == "tests3"
    assert source.renew(second) is third  # somebody else renewed it
    told = json.loads((tmp_path / "runs").read_text().splitlines()[0])
    assert told["spec"] == {"interactive": False, "cluster": {"server": "https://c"}}


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("sys.exit('you are not logged in')", "gave no credentials (you are not logged in): log in again"),
        ("print('hello')", "no ExecCredential with a status"),
        (printed("{}"), "neither a token nor a client certificate"),
        (printed("{'token': 'x'}", "v9"), "it says ExecCredential of v9, and the kubeconfig wants"),
        (printed("{'token': 'x', 'expirationTimestamp': 'soon'}"), "no ExecCredential with a status"),
    ],
)
def test_a_program_that_gives_no_credentials_is_named(tmp_path: Path, body: str, told: str) -> None:
    with pytest.raises(EngineDenied) as caught:
        ExecCredentials(plugin(tmp_path, body), dict).current()
    assert told in caught.value.message


def test_a_program_that_is_not_there_is_said_with_its_hint(tmp_path: Path) -> None:
    told = ExecPlugin("no-such-login", install_hint="see https://example.com\nfor more")
    with pytest.raises(EngineDenied, match=r"there is none: install it.*\(see https://example.com for more\)"):
        ExecCredentials(told, lambda: {"PATH": str(tmp_path)}).current()
