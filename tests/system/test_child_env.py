"""What a process that runs a model's code finds in its environment."""

from __future__ import annotations

import pytest

from tidegate.adapters.sandbox.inspection import clean_environment
from tidegate.system.child_env import engine_env, inherited_env, installer_env

SECRETS = {
    "SSH_PRIVATE_KEY": "x",
    "SENTRY_DSN": "x",
    "MY_DATABASE_URL": "x",
    "OPENAI_APIKEY": "x",
    "SSH_AUTH_SOCK": "x",
    "GPG_PASSPHRASE": "x",
    "MYSQL_PWD": "x",
    "STRIPE_KEY": "x",
    "SLACK_WEBHOOK_URL": "x",
    "aws_secret_access_key": "x",
    "AZURE_STORAGE_CONNECTION_STRING": "x",
    "GITHUB_PAT": "x",
    "SIGNINGKEY": "x",
    "SERVICE_JWT": "x",
    "SLACK_HOOK": "x",
    "INDEX": "https://hush@index.example/simple",
    "STORE": "AccountName=a;AccountKey=hush",
    "MONGO": "mongodb://user:hush@db.example/rows",
}
PLAIN = {
    "PATH": "/bin",
    "PWD": "/srv",
    "OLDPWD": "/",
    "LANG": "C",
    "KEYBOARD": "us",
    "FEED": "http://h.example:80/a@b:c",
}


@pytest.mark.parametrize("name", SECRETS)
def test_nothing_that_looks_like_a_secret_reaches_a_model(name: str) -> None:
    assert name not in inherited_env({**SECRETS, **PLAIN})
    assert name not in clean_environment({**SECRETS, **PLAIN})


def test_what_is_no_secret_stays() -> None:
    assert inherited_env({**SECRETS, **PLAIN}) == PLAIN


def test_installers_keep_their_indexes_and_the_docker_command_its_agent() -> None:
    index = {"PIP_INDEX_URL": "https://user:hush@index.example/simple", "HTTPS_PROXY": "http://u:p@proxy:3128"}
    assert installer_env({**SECRETS, **index, **PLAIN}) == index | PLAIN
    assert inherited_env(index) == {}
    assert engine_env({**SECRETS, **PLAIN}) == {"SSH_AUTH_SOCK": "x", **PLAIN}
