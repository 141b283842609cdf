"""The pages, each with its routes. A page asks the client and says what its template shows; it decides nothing.

A new one is a module with `ROUTES`, named below; a template that extends `base.html`, in which blocks named `live_…`,
each in an element with that id, are kept fresh where the route is `live`; an entry in `nav.NAV` if every page names it.
"""

from __future__ import annotations

from tidegate.console.pages import (
    alerts,
    canary,
    deploy,
    endpoint,
    experiments,
    jobs,
    login,
    models,
    monitoring,
    overview,
    shadow,
)

ROUTES = (
    *login.ROUTES,
    *overview.ROUTES,
    *endpoint.ROUTES,
    *monitoring.ROUTES,
    *experiments.ROUTES,
    *canary.ROUTES,
    *shadow.ROUTES,
    *alerts.ROUTES,
    *deploy.ROUTES,
    *models.ROUTES,
    *jobs.ROUTES,
)
