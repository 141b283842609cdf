"""The use cases that a document is made of, and the same within one transaction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from sqlalchemy.orm import Session

from tidegate.services.alerting.rules import AlertRules
from tidegate.services.canaries.use_cases import Canaries
from tidegate.services.capture.settings import CaptureRulesOf
from tidegate.services.endpoints.lifecycle import Endpoints
from tidegate.services.experiments.lifecycle import Experiments
from tidegate.services.monitoring.monitoring import Monitoring
from tidegate.services.shadows.shadows import Shadows

Wake = Callable[[], None]


@dataclass(frozen=True)
class UseCases:
    """One for each section of a document."""

    endpoints: Endpoints
    capture_rules: CaptureRulesOf
    monitoring: Monitoring
    alert_rules: AlertRules
    experiments: Experiments
    canaries: Canaries
    shadows: Shadows

    def joined(self, tx: Session, later: Callable[[Wake], Wake]) -> UseCases:
        """The same, which write in a transaction that is open already and have loops woken `later`."""
        return UseCases(
            replace(self.endpoints, store=self.endpoints.store.joined(tx), changed=later(self.endpoints.changed)),
            replace(
                self.capture_rules, store=self.capture_rules.store.joined(tx), changed=later(self.capture_rules.changed)
            ),
            replace(self.monitoring, store=self.monitoring.store.joined(tx), wake=later(self.monitoring.wake)),
            replace(self.alert_rules, store=self.alert_rules.store.joined(tx), changed=later(self.alert_rules.changed)),
            replace(
                self.experiments,
                store=self.experiments.store.joined(tx),
                changed=later(self.experiments.changed),
                wake=later(self.experiments.wake),
            ),
            replace(
                self.canaries,
                store=self.canaries.store.joined(tx),
                changed=later(self.canaries.changed),
                wake=later(self.canaries.wake),
            ),
            replace(self.shadows, store=self.shadows.store.joined(tx), changed=later(self.shadows.changed)),
        )
