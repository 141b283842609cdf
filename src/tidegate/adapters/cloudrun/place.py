"""Where on Google Cloud replicas run, as the settings say, and where Google's APIs are. Reads no environment itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tidegate.errors import InvalidArgument
from tidegate.settings import Settings

APIS = {
    "run": "https://run.googleapis.com",
    "logging": "https://logging.googleapis.com",
    "iam": "https://iam.googleapis.com",
    "cloudresourcemanager": "https://cloudresourcemanager.googleapis.com",
    "secretmanager": "https://secretmanager.googleapis.com",
}
OVERRIDE = "CLOUDSDK_API_ENDPOINT_OVERRIDES_"
"""What the gcloud command too takes another address of an API from: a Private Service Connect endpoint, for example."""
_PROJECT = re.compile(r"[a-z][-a-z0-9]{4,28}[a-z0-9]|[0-9]{1,20}")
_REGION = re.compile(r"[a-z]+(-[a-z]+)+[0-9]{1,2}")
_ACCOUNT = re.compile(r"[^@\s]+@[^@\s]+\.gserviceaccount\.com")


@dataclass(frozen=True)
class CloudRunPlace:
    """`parent` is what services are called under; `service_account` whom replicas run as. `key_secrets`: their keys are
    kept in Secret Manager.
    """

    project: str
    region: str
    service_account: str
    concurrency: int
    apis: Mapping[str, str]
    key_secrets: bool = False

    @property
    def parent(self) -> str:
        """The name of project and region in the API."""
        return f"projects/{self.project}/locations/{self.region}"


def place_of(settings: Settings, env: Mapping[str, str]) -> CloudRunPlace:
    """As the settings say; `env` may name other addresses of Google's APIs. Raises `InvalidArgument`."""
    settings_given = {
        "TIDEGATE_CLOUDRUN_PROJECT": (settings.cloudrun_project, _PROJECT, "my-project"),
        "TIDEGATE_CLOUDRUN_REGION": (settings.cloudrun_region, _REGION, "europe-west1"),
        "TIDEGATE_CLOUDRUN_SERVICE_ACCOUNT": (
            settings.cloudrun_service_account,
            _ACCOUNT,
            "replicas@my-project.iam.gserviceaccount.com",
        ),
    }
    missing = [name for name, (value, _, _) in settings_given.items() if not value]
    if missing:
        examples = " ".join(f"{name}={settings_given[name][2]}" for name in missing)
        raise InvalidArgument(f"Cloud Run needs {' and '.join(missing)}: set for example {examples}", field="backend")
    for name, (value, shape, example) in settings_given.items():
        if not shape.fullmatch(value or ""):
            raise InvalidArgument(f"{name}={value!r} is none: give for example {example}", field="backend")
    apis = {name: env.get(f"{OVERRIDE}{name.upper()}", url).rstrip("/") for name, url in APIS.items()}
    return CloudRunPlace(
        str(settings.cloudrun_project),
        str(settings.cloudrun_region),
        str(settings.cloudrun_service_account),
        settings.cloudrun_concurrency,
        apis,
        settings.cloudrun_secrets,
    )
