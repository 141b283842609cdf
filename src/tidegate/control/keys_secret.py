"""`python -m tidegate.control.keys_secret --secret NAME`: the platform's keys in a cluster, made once.

Runs before the control plane in its pod (deploy/kubernetes), with the pod's own service account.
"""

from __future__ import annotations

import argparse
import os
import sys

from tidegate.adapters.kubernetes.api import connect
from tidegate.adapters.kubernetes.platform_secret import ensure_keys
from tidegate.errors import TidegateError
from tidegate.settings import Settings
from tidegate.system.ending import end


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 the keys are there, 1 failed (an error is one line on standard error), 2 wrong use."""
    parser = argparse.ArgumentParser(prog="tidegate keys secret", description="Make the platform's keys in a cluster.")
    parser.add_argument("--secret", required=True, help="name of the Secret that has them, in the pod's namespace")
    given = parser.parse_args(argv)
    try:
        settings = Settings.from_env()
        api = connect(settings.kubeconfig_path, settings.namespace, os.environ)
        made = ensure_keys(api, given.secret)
    except TidegateError as error:
        sys.stderr.write(f"error: {error.message}\n")
        return error.exit_code
    text = f"made {', '.join(made)}" if made else "all keys were there"
    sys.stdout.write(f"Secret '{given.secret}' in namespace '{api.namespace}': {text}\n")
    return 0


if __name__ == "__main__":
    end(main())
