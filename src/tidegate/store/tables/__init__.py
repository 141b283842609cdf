"""All tables: whoever knows this module knows each of them (a backup above all). A file for each subject has them.

Each column has one writer: specs are written by services, status by loops, a claimed job by jobs. Times are seconds
since the epoch (float). JSON columns hold the shapes named beside them.
"""

from __future__ import annotations

from tidegate.store.tables.alerts import AlertRow as AlertRow
from tidegate.store.tables.alerts import AlertRulesRow as AlertRulesRow
from tidegate.store.tables.alerts import NotifierRow as NotifierRow
from tidegate.store.tables.alerts import OutboxRow as OutboxRow
from tidegate.store.tables.alerts import SilenceRow as SilenceRow
from tidegate.store.tables.aliases import KeptAliasRow as KeptAliasRow
from tidegate.store.tables.base import Base as Base
from tidegate.store.tables.canaries import CanaryRow as CanaryRow
from tidegate.store.tables.endpoints import AutomatedReplicasRow as AutomatedReplicasRow
from tidegate.store.tables.endpoints import AutomatedWeightsRow as AutomatedWeightsRow
from tidegate.store.tables.endpoints import EndpointRow as EndpointRow
from tidegate.store.tables.endpoints import FollowRow as FollowRow
from tidegate.store.tables.endpoints import HistoryRow as HistoryRow
from tidegate.store.tables.experiments import ExperimentLookRow as ExperimentLookRow
from tidegate.store.tables.experiments import ExperimentRow as ExperimentRow
from tidegate.store.tables.experiments import GuardrailFigureRow as GuardrailFigureRow
from tidegate.store.tables.experiments import RolloutRow as RolloutRow
from tidegate.store.tables.fleet import FailedReplicaRow as FailedReplicaRow
from tidegate.store.tables.fleet import ReplicaRow as ReplicaRow
from tidegate.store.tables.fleet import SnapshotRow as SnapshotRow
from tidegate.store.tables.fleet import VariantRow as VariantRow
from tidegate.store.tables.images import PushedImageRow as PushedImageRow
from tidegate.store.tables.jobs import JobRow as JobRow
from tidegate.store.tables.jobs import UploadRow as UploadRow
from tidegate.store.tables.models import ModelRow as ModelRow
from tidegate.store.tables.models import VersionRow as VersionRow
from tidegate.store.tables.monitoring import BaselineRow as BaselineRow
from tidegate.store.tables.monitoring import MonitorBlockRow as MonitorBlockRow
from tidegate.store.tables.monitoring import MonitorResultRow as MonitorResultRow
from tidegate.store.tables.monitoring import MonitorRow as MonitorRow
from tidegate.store.tables.platform import AuditRow as AuditRow
from tidegate.store.tables.platform import LeaseRow as LeaseRow
