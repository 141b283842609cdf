"""What the platform's account asks Google Cloud for: `tidegate doctor` tests each right, and the role in
`deploy/cloudrun/role.yaml` has these and no others.
"""

from __future__ import annotations

RIGHTS: dict[str, str] = {
    "run.services.list": "find its services again, with what they say of its workloads",
    "run.services.get": "read a service before it is changed",
    "run.services.create": "make the service of an endpoint",
    "run.services.update": "make revisions, move traffic and tags",
    "run.services.delete": "delete the service with its last workload",
    "run.revisions.list": "see which revisions are ready, and why one failed",
    "run.revisions.delete": "delete revisions that no workload has any more",
    "run.operations.get": "see why a service could not be made",
    "run.routes.invoke": "call the tags of its revisions: gateways do that, with ID tokens",
    "logging.logEntries.list": "show logs of replicas, and the last lines of one that failed",
    "artifactregistry.repositories.downloadArtifacts": "have Cloud Run pull an image: whoever deploys needs it too",
}
"""In the project, by what each is for."""
SECRET_RIGHTS: dict[str, str] = {
    "secretmanager.secrets.create": "make the secret with the key of a workload's replicas",
    "secretmanager.versions.add": "put the key into it",
    "secretmanager.secrets.delete": "delete it with the workload",
}
"""The same, with `TIDEGATE_CLOUDRUN_SECRETS` alone: they are not in the role's file."""
ACT_AS = "iam.serviceAccounts.actAs"
"""On the service account that replicas run as (roles/iam.serviceAccountUser), and on no other."""


def role() -> dict[str, object]:
    """A role for `gcloud iam roles create tidegate --file`."""
    return {
        "title": "Tidegate",
        "description": "What a Tidegate platform needs in a project to run replicas on Cloud Run",
        "stage": "GA",
        "includedPermissions": sorted(RIGHTS),
    }


def missing_words(missing: list[str], project: str) -> str:
    """In a sentence, what to type."""
    if set(missing) <= SECRET_RIGHTS.keys():
        return (
            f"these credentials lack {', '.join(missing)}, which TIDEGATE_CLOUDRUN_SECRETS needs: 'gcloud iam roles "
            f"update tidegate --project {project} --add-permissions {','.join(missing)}'"
        )
    return (
        f"these credentials lack {', '.join(missing)}: give their account the role in deploy/cloudrun/role.yaml "
        f"('gcloud iam roles create tidegate --project {project} --file deploy/cloudrun/role.yaml', then 'gcloud "
        f"projects add-iam-policy-binding {project} --member serviceAccount:ACCOUNT --role "
        f"projects/{project}/roles/tidegate')"
    )
