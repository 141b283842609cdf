"""Check of the Kubernetes cluster that replicas run in: who it lets in, what they may, and whether it is new enough."""

from __future__ import annotations

from tidegate.doctor.findings import DoctorFacts, FindingState, Verdict


def cluster(facts: DoctorFacts) -> Verdict:
    """Whether it answers, has the namespace, and allows what the platform does there. Nothing is written.

    Only asked where replicas run there by default, or a setting names a cluster or a namespace.
    """
    settings = facts.settings
    wanted = settings.backend == "kubernetes"
    if not wanted and settings.kubeconfig_path is None and settings.namespace is None:
        return FindingState.OFF, "not used (--backend kubernetes runs replicas there; KUBECONFIG_PATH names a cluster)"
    from tidegate.adapters.kubernetes.api import connect
    from tidegate.adapters.kubernetes.rights import check_rights

    api = connect(settings.kubeconfig_path, settings.namespace, facts.env)
    version = api.check_version()
    api.check_namespace()
    check_rights(api)
    where = f"Kubernetes {version} at {api.where}"
    return FindingState.OK, f"{where} answers, namespace {api.namespace!r}, all rights that are needed"
