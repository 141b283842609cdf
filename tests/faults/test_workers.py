"""Jobs on workers over RabbitMQ, while workers are killed, paused and stopped and the broker goes and comes back."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from support.control import ME, container_at
from support.platform import Platform, clean_env
from support.services.postgres import Postgres
from support.services.rabbitmq import RabbitMQ
from support.wait import until
from support.workers import SlowModel, Worker, Workers, queue_in, queue_registration, workers_of
from tidegate.adapters.celery_queue import CeleryQueue, dead_letters_of, make_app
from tidegate.core.ports import QueueState
from tidegate.doctor import servers as doctor_servers
from tidegate.doctor.findings import DoctorFacts
from tidegate.errors import PartUnavailable
from tidegate.settings import Settings
from tidegate.wire.rest import BuildRequest

pytestmark = [pytest.mark.slow, pytest.mark.long]

QUEUE = "tidegate.jobs"
LEASE_S = "4"


class Bed:
    """A platform on PostgreSQL, its broker, and workers with data directories of their own."""

    def __init__(self, folder: Path, url: str, broker: RabbitMQ, workers: Workers) -> None:
        self.folder, self.url, self.broker, self.workers = folder, url, broker, workers
        self.platform = Platform(folder / "platform", env=workers.env)

    def model(self, name: str) -> SlowModel:
        return SlowModel.at(self.folder / name)

    def ready(self) -> Worker:
        """Whatever a test before left: broker, platform and one worker run."""
        self.broker.start()
        if not self.platform.processes("tidegate.control"):
            self.platform.start()
        running = [worker for worker in self.workers.started if worker.process.poll() is None]
        for further in running[1:]:
            further.kill()
        return running[0] if running else self.workers.start()

    def queue(self, name: str) -> tuple[SlowModel, str]:
        """A model whose registration lasts until it is let go, and the job."""
        model = self.model(name)
        return model, queue_registration(self.platform, model, name)

    def job(self, job_id: str) -> Any:
        answer = self.platform.api("GET", f"/api/v1/jobs/{job_id}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def ended(self, job_id: str) -> Any:
        until(lambda: self.job(job_id)["finished_at"], timeout_s=120, what=f"the end of {self.job(job_id)}")
        return self.job(job_id)

    def loading(self, model: SlowModel, times: int = 1) -> None:
        until(lambda: model.loads == times, timeout_s=120, what=f"load {times} of {model.folder.name}")

    def registered_once(self, name: str) -> None:
        """One version here and one in the registry, whose next number says that there never was another."""
        (version,) = self.platform.done("models", "show", name)["versions"]
        assert version["version"] == "1"
        numbers = self.rows("SELECT version FROM versions WHERE model = %s", name)
        assert numbers == [("1",)]

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url) as connection:
            done = connection.execute(query, values)
            return done.fetchall() if done.description else []

    def status(self) -> Any:
        return self.platform.api("GET", "/api/v1/status").json()["queue"]

    def celery(self, *args: str) -> str:
        """What Celery's own command line says."""
        argv = [sys.executable, "-m", "celery", "-A", "tidegate.worker", *args]
        done = subprocess.run(
            argv, env=clean_env(**self.workers.env), capture_output=True, text=True, timeout=60, check=False
        )
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory, postgres: Postgres) -> Iterator[Bed]:
    """Nothing of it is started."""
    folder, url, broker = tmp_path_factory.mktemp("workers"), postgres.new_database(), RabbitMQ()
    env = {"DATABASE_URL": url, "CELERY_BROKER_URL": broker.url}
    env |= {"TIDEGATE_JOB_LEASE_S": LEASE_S, "TIDEGATE_WORKER_STOP_S": "0.2"}
    try:
        with workers_of(folder, env) as workers:
            made = Bed(folder, url, broker, workers)
            try:
                yield made
            finally:
                made.platform.stop()
    finally:
        broker.remove()


def test_a_job_waits_for_broker_and_worker_and_outlives_a_kill(bed: Bed) -> None:
    bed.platform.start()
    model, job_id = bed.queue("first")
    worker = bed.workers.start()
    until(lambda: bed.status()["reason"].endswith("correct CELERY_BROKER_URL"), what="the reason")
    said = bed.platform.cli("status").out
    assert f"jobs wait: RabbitMQ at 127.0.0.1:{bed.broker.port}" in said
    assert "they go on by themselves when it is back" in said
    worker.says("waiting: RabbitMQ at")
    worker.kill()
    bed.broker.start()
    until(lambda: bed.status()["messages"], what="a message for the job")
    assert "start one with 'tidegate worker'" in bed.platform.cli("status").out
    assert bed.job(job_id)["state"] == "queued"

    worker = bed.workers.start()
    bed.loading(model)
    job = bed.job(job_id)
    assert (job["state"], job["attempts"]) == ("running", 1)
    assert "loading the model" in job["message"]
    assert 0 < job["progress"] < 1
    assert job["message"] in job["log"]
    assert job_id in bed.celery("inspect", "active")
    queue = CeleryQueue(bed.broker.url, QUEUE)
    assert queue.look().messages == 0, "acknowledged while the job still runs"
    queue.notify(job_id)  # a message delivered twice
    until(lambda: queue.look().messages == 0, what="the second message being taken")

    worker.kill()
    bed.workers.start()
    bed.loading(model, times=2)
    assert bed.job(job_id)["attempts"] == 2
    model.let_go()
    job = bed.ended(job_id)
    assert (job["state"], job["result"]) == ("succeeded", {"model": "first", "version": "1", "created": True})
    queue.notify(job_id)  # and once more, after the end
    until(lambda: queue.look().messages == 0, what="the last message being taken")
    queue.close()
    assert bed.job(job_id) == job
    assert model.loads == 2
    bed.registered_once("first")


def test_jobs_outlive_the_broker_and_a_paused_worker_changes_nothing(bed: Bed) -> None:
    worker = bed.ready()
    model, job_id = bed.queue("second")
    bed.loading(model)
    bed.broker.kill()
    until(lambda: bed.status()["status"] == "unavailable", what="the broker's end being noticed")
    model.let_go()
    job = bed.ended(job_id)
    assert (job["state"], job["attempts"]) == ("succeeded", 1)
    model, job_id = bed.queue("third")
    assert bed.job(job_id)["state"] == "queued"
    bed.broker.start()
    bed.loading(model)  # by itself: control plane and worker found the broker again
    assert bed.job(job_id)["attempts"] == 1

    worker.send(signal.SIGSTOP)
    other = bed.workers.start()
    bed.loading(model, times=2)
    model.let_go()
    job = bed.ended(job_id)
    assert (job["state"], job["attempts"]) == ("succeeded", 2)
    worker.send(signal.SIGCONT)
    worker.says(f"another worker has taken over job {job_id}")
    assert bed.job(job_id) == job
    bed.registered_once("third")
    assert other.process.poll() is None


def test_a_job_is_given_back_by_a_worker_that_stops_and_given_up_after_too_many_deaths(bed: Bed) -> None:
    worker = bed.ready()
    model, job_id = bed.queue("fourth")
    bed.loading(model)
    assert worker.stop() == 0
    job = bed.job(job_id)
    given_back = "given back by its worker, waits for another"
    assert (job["state"], job["attempts"], job["message"]) == ("queued", 0, given_back)
    worker = bed.workers.start()
    bed.loading(model, times=2)
    assert bed.job(job_id)["attempts"] == 1

    bed.rows("UPDATE jobs SET attempts = 3 WHERE id = %s", job_id)  # as if two workers had died of it before
    worker.kill()
    bed.workers.start()
    job = bed.ended(job_id)
    assert (job["state"], job["error"]["code"], model.loads) == ("failed", "job_abandoned", 2)
    letter = until(lambda: _dead_letter(bed.broker.url), what="the dead letter")
    assert (letter["job"], letter["subject"], letter["error"]["code"]) == (job_id, "fourth", "job_abandoned")
    assert _dead_letter(bed.broker.url) is None
    assert bed.rows("SELECT count(*) FROM versions WHERE model = 'fourth'") == [(0,)]
    log = bed.platform.log()
    assert "Traceback" not in log
    assert "guest:guest" not in log + "".join(one.log for one in bed.workers.started)


def test_refusals_say_what_to_do_and_lost_messages_are_sent_again(bed: Bed, tmp_path: Path) -> None:
    port = bed.broker.start().port
    for url, advice in (
        (f"amqp://guest:secret@127.0.0.1:{port}//", "correct user and password in CELERY_BROKER_URL"),
        (f"amqp://guest:guest@127.0.0.1:{port}/nowhere", "create the virtual host"),
    ):
        with pytest.raises(PartUnavailable, match=advice) as refused:
            CeleryQueue(url, QUEUE).look()
        assert "secret" not in refused.value.message
    other = f"{QUEUE}.other"  # which no worker reads
    own = container_at(tmp_path / "data", celery_broker_url=bed.broker.url, job_queue=other)
    queue = CeleryQueue(bed.broker.url, other)
    own.take_over()
    own.start()
    try:
        own.jobs.build("churn", "1", BuildRequest(), ME)
        until(lambda: queue.look().messages == 1, what="a message")
        with make_app(bed.broker.url, other).connection_for_read() as connection:
            lost = connection.default_channel.basic_get(other, no_ack=True)
            assert lost.content_type == "application/json"
            assert lost.properties["delivery_mode"] == 2, "outlives the broker"
            assert json.loads(lost.body)[0] == [own.jobs.find(None, None, 1)[0][0].id]
        until(lambda: queue.look().messages == 1, what="another message")
        seen = own.status.get().queue
        assert seen is not None
        assert (seen.status, seen.idle_workers) == ("ready", 0)
    finally:
        queue.close()
        own.close()


def test_the_doctor_tells_refusals_of_the_broker_apart(bed: Bed, tmp_path: Path) -> None:
    def told(url: str) -> str:
        env = {"CELERY_BROKER_URL": url}
        return doctor_servers.rabbitmq(DoctorFacts(Settings.from_env(env, data_dir=tmp_path), env))[1]

    port = bed.broker.start().port
    assert told(bed.broker.url).endswith(f"at 127.0.0.1:{port} answers, virtual host '/'")
    with pytest.raises(PartUnavailable, match="refuses user 'guest' or the password: correct them"):
        told(f"amqp://guest:secret@127.0.0.1:{port}//")
    with pytest.raises(PartUnavailable, match=r"refuses virtual host 'nowhere' .*: make it"):
        told(f"amqp://guest:guest@127.0.0.1:{port}/nowhere")
    with pytest.raises(PartUnavailable, match="does not speak TLS"):
        told(f"amqps://guest:guest@127.0.0.1:{port}/")


def test_a_full_worker_leaves_messages_to_others_and_goes_on_by_itself(bed: Bed, tmp_path: Path) -> None:
    bed.broker.start()
    small, data_dir = f"{QUEUE}.small", tmp_path / "data"
    own = container_at(data_dir, celery_broker_url=bed.broker.url, job_queue=small)
    (data_dir / "control.lock").touch()
    queue = CeleryQueue(bed.broker.url, small)
    own.take_over()
    own.start()
    models = [SlowModel.at(tmp_path / name) for name in ("one", "two")]
    env = {"CELERY_BROKER_URL": bed.broker.url, "TIDEGATE_JOB_QUEUE": small}
    try:
        with workers_of(tmp_path, env) as workers:
            jobs = [queue_in(own, model) for model in models]
            worker = workers.start(data_dir, jobs=1)
            bed.loading(models[0])
            until(lambda: queue.look() == QueueState(messages=1, idle_workers=0), what="the message given back")
            models[0].let_go()
            bed.loading(models[1])
            models[1].let_go()
            until(lambda: own.jobs.get(jobs[1]).finished_at, timeout_s=120, what="the end of both")
            until(lambda: queue.look() == QueueState(messages=0, idle_workers=1), what="room")
            assert [own.jobs.get(job).state for job in jobs] == ["succeeded", "succeeded"]
            assert [own.jobs.get(job).attempts for job in jobs] == [1, 1]
            assert worker.stop() == 0
    finally:
        queue.close()
        own.close()


def _dead_letter(url: str) -> Any:
    with make_app(url, QUEUE).connection_for_read() as connection:
        message = connection.default_channel.basic_get(dead_letters_of(QUEUE), no_ack=True)
        return None if message is None else json.loads(message.body)
