"""Settings → what runs jobs: the part of the composition root that control planes and workers have in common."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from tidegate import clock as clocks
from tidegate.adapters.artifacts.baselines import DirectoryBaselines
from tidegate.adapters.artifacts.store import DirectoryArtifacts, ManifestFiles
from tidegate.adapters.docker.build import DockerCli
from tidegate.adapters.images.files import ImageFiles
from tidegate.adapters.images.wheelhouse import Wheelhouse
from tidegate.adapters.locks import FileLock
from tidegate.adapters.mlflow.registry import MlflowRegistry
from tidegate.adapters.sandbox import confinement
from tidegate.clock import Clock
from tidegate.environments import Environments
from tidegate.jobs.acceleration import Acceleration
from tidegate.jobs.baseline import BaselineJob, BaselineMaker
from tidegate.jobs.bench import Bench
from tidegate.jobs.build import BuildJob
from tidegate.jobs.register import RegisterJob
from tidegate.jobs.spec import JobSpec
from tidegate.services.jobs.uploads import Uploads
from tidegate.services.models.catalog import Models
from tidegate.services.models.files_home import files_of_platform
from tidegate.services.monitoring.baselines import Baselines
from tidegate.settings import Settings
from tidegate.store.database.engine import Store
from tidegate.system.child_env import engine_env, installer_env
from tidegate.system.run_dir import run_dir

FILES_WAIT_S, INTAKE_WAIT_S = 300.0, 600.0
"""How long to wait for others who move or remove versions' files, or who number a version."""


@dataclass(frozen=True)
class JobParts:
    """What control planes and workers have in common: models, their files, and the functions of jobs on them."""

    registry: MlflowRegistry
    artifacts: DirectoryArtifacts
    files_lock: FileLock
    models: Models
    uploads: Uploads
    register: RegisterJob
    build: BuildJob
    baselines: Baselines
    baseline: BaselineJob

    def specs(self) -> tuple[JobSpec, ...]:
        """Every kind of job there is."""
        return (
            JobSpec("register", self._register_on),
            JobSpec("build", self._build_on),
            JobSpec("baseline", self._baseline_on),
        )

    def _register_on(self, store: Store) -> RegisterJob:
        models = replace(self.models, store=store)
        acceleration = replace(self.register.acceleration, models=models)
        return replace(self.register, models=models, acceleration=acceleration, baselines=self._maker_on(store))

    def _build_on(self, store: Store) -> BuildJob:
        return replace(self.build, models=replace(self.models, store=store))

    def _baseline_on(self, store: Store) -> BaselineJob:
        return replace(self.baseline, maker=self._maker_on(store))

    def _maker_on(self, store: Store) -> BaselineMaker:
        return BaselineMaker(replace(self.models, store=store), replace(self.baselines, store=store))


def job_parts(settings: Settings, store: Store, files_dir: Path, clock: Clock) -> JobParts:
    """Made of the settings; nothing of the models is readable to a model's process from here on."""
    confinement.hide(settings.data_dir.absolute(), files_dir, run_dir(settings.data_dir))
    registry = _registry(settings, files_dir)
    artifacts = DirectoryArtifacts(files_dir / "artifacts")
    files_lock = FileLock(files_dir / "files.lock", FILES_WAIT_S, "the folder of the versions' files")
    intake = FileLock(files_dir / "intake.lock", INTAKE_WAIT_S, "the numbering of new versions")
    manifests, environments = ManifestFiles(files_dir / "versions"), Environments(files_dir / "environments")
    models = Models(store, registry, artifacts, manifests, clock, environments, files_lock)
    uploads = Uploads(store, files_dir / "uploads", settings.upload_bytes_max, clock)
    scratch_root, bytes_max = settings.data_dir / "jobs", settings.upload_bytes_max
    register = RegisterJob(models, registry, uploads, scratch_root, bytes_max, Acceleration(models), intake)
    build = _build_job(settings, models, ImageFiles(manifests), clock)
    baselines = Baselines(store, DirectoryBaselines(files_dir / "baselines"), clock)
    baseline = BaselineJob(BaselineMaker(models, baselines), uploads, scratch_root)
    return JobParts(registry, artifacts, files_lock, models, uploads, register, build, baselines, baseline)


def build_bench(settings: Settings, store: Store, clock: Clock = clocks.now) -> Bench:
    """What a worker needs to run jobs, on a store of this release's schema. Raises `DataDirUnusable`."""
    files_dir = files_of_platform(store, settings.files_dir, settings.data_dir)
    parts = job_parts(settings, store, files_dir, clock)
    bench = Bench(store, parts.specs(), parts.uploads, settings.job_lease_s, letters=True)
    bench.sweep(settings.data_dir / "jobs")
    return bench


def _build_job(settings: Settings, models: Models, files: ImageFiles, clock: Clock) -> BuildJob:
    wheels_dir = (settings.wheels_dir or settings.data_dir / "wheels").absolute()
    scratch_root = settings.data_dir / "jobs"
    wheelhouse = Wheelhouse(wheels_dir, installer_env(), settings.wheels_bytes_max)
    return BuildJob(models, DockerCli(engine_env()), wheelhouse, files, scratch_root, settings.image_base, clock)


def _registry(settings: Settings, files_dir: Path) -> MlflowRegistry:
    if settings.mlflow_tracking_uri:
        return MlflowRegistry.remote(settings.mlflow_tracking_uri, settings.mlflow_s3_endpoint_url)
    return MlflowRegistry.embedded(files_dir)
