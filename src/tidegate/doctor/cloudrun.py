"""Check of Google Cloud Run: settings, credentials, whether its API answers in that region, and each right."""

from __future__ import annotations

from tidegate.doctor.findings import DoctorFacts, FindingState, Verdict
from tidegate.errors import EngineDenied, EngineUnavailable


def cloudrun(facts: DoctorFacts) -> Verdict:
    """Whether replicas could run there. Nothing is written.

    Only asked where replicas run there by default, or a setting names a project.
    """
    settings = facts.settings
    if settings.backend != "cloudrun" and settings.cloudrun_project is None:
        return (
            FindingState.OFF,
            "not used (--backend cloudrun runs replicas there; TIDEGATE_CLOUDRUN_PROJECT)",
        )
    from tidegate.adapters.cloudrun.api import CloudRunApi, Missing
    from tidegate.adapters.cloudrun.credentials import GoogleCredentials
    from tidegate.adapters.cloudrun.place import place_of
    from tidegate.adapters.cloudrun.rights import ACT_AS, RIGHTS, SECRET_RIGHTS, missing_words

    place = place_of(settings, facts.env)
    api = CloudRunApi(place, GoogleCredentials())
    services = len(api.services())
    try:
        rights = [*RIGHTS, *(SECRET_RIGHTS if place.key_secrets else ())]
        missing = api.missing_rights(rights)
    except EngineUnavailable as error:  # the API of projects is another one, which may not be enabled
        return FindingState.NOTE, f"Cloud Run in {place.region} answers; which rights there are is unknown ({error})"
    if missing:
        raise EngineDenied(missing_words(missing, place.project))
    account = place.service_account
    try:
        allowed = api.may_act_as(account)
    except Missing:
        name = account.partition("@")[0]
        raise EngineDenied(
            f"there is no service account {account}: make it ('gcloud iam service-accounts create {name} --project "
            f"{place.project}'), or correct TIDEGATE_CLOUDRUN_SERVICE_ACCOUNT"
        ) from None
    if not allowed:
        raise EngineDenied(
            f"these credentials may not start replicas as {account} ({ACT_AS}): 'gcloud iam service-accounts "
            f"add-iam-policy-binding {account} --member serviceAccount:PLATFORM --role roles/iam.serviceAccountUser'"
        )
    return FindingState.OK, (
        f"Cloud Run in {place.region} of {place.project} answers ({services} services), all {len(rights) + 1} rights "
        "that are needed"
    )
