"""The jobs' queue on RabbitMQ, in messages that Celery's workers and tools understand. Called by loops and workers.

A message holds a job's id and nothing else. Nobody else imports Celery, but the worker's own process.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import Any
from urllib.parse import unquote, urlsplit

from tidegate.core.ports import QueueState
from tidegate.errors import MissingExtra, PartUnavailable

TASK = "tidegate.job"
MESSAGES_MAX, DEAD_LETTERS_MAX = 100_000, 10_000
"""Bounds of the queues. Past the first the broker refuses messages, past the other it forgets the oldest."""
CONNECT_S, ANSWER_S = 4.0, 10.0
ADVICE = {
    "ACCESS_REFUSED": "correct user and password in CELERY_BROKER_URL, and the user's rights on the virtual host",
    "NOT_ALLOWED": "create the virtual host (rabbitmqctl add_vhost) and give the user rights on it, or correct "
    "CELERY_BROKER_URL",
    "PRECONDITION_FAILED": "a queue of this name was made with other arguments: delete it (rabbitmqctl delete_queue), "
    "or set TIDEGATE_JOB_QUEUE",
    "inequivalent arg": "a queue of this name was made with other arguments: delete it (rabbitmqctl delete_queue), or "
    "set TIDEGATE_JOB_QUEUE",
    "Name or service not known": "correct the host in CELERY_BROKER_URL",
    "No address associated": "correct the host in CELERY_BROKER_URL",
    "timed out": "start it, or look for a memory or disk alarm, which blocks it (rabbitmqctl status)",
}


def dead_letters_of(queue: str) -> str:
    """The queue for messages of abandoned jobs, and for those that nobody could read."""
    return f"{queue}.dead"


def make_app(url: str, queue: str) -> Any:
    """The Celery application of this broker, which connects on first use. Raises `MissingExtra` without Celery."""
    if find_spec("celery") is None:
        raise MissingExtra("CELERY_BROKER_URL is set, and Celery is missing: pip install 'tidegate[celery]'")
    from celery import Celery

    app = Celery("tidegate", set_as_current=False)
    app.conf.update(
        broker_url=url,
        broker_connection_timeout=CONNECT_S,
        broker_connection_max_retries=None,
        broker_connection_retry_on_startup=True,
        broker_transport_options={"confirm_publish": True},
        task_queues=[_jobs(queue)],
        task_default_queue=queue,
        task_create_missing_queues=False,
        task_serializer="json",
        result_serializer="json",
        event_serializer="json",
        accept_content=["json"],
        task_acks_late=True,  # by the task itself, once its job is claimed
        task_ignore_result=True,  # results are in the store
        worker_prefetch_multiplier=1,
        worker_enable_prefetch_count_reduction=False,
        worker_detect_quorum_queues=False,
        worker_cancel_long_running_tasks_on_connection_loss=True,  # those not yet claimed: see `worker.consumer`
        worker_send_task_events=True,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
    )
    return app


def _jobs(name: str) -> Any:
    from kombu import Exchange, Queue

    arguments = {
        "x-max-length": MESSAGES_MAX,
        "x-overflow": "reject-publish",
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": dead_letters_of(name),
    }
    return Queue(name, Exchange(name, type="direct"), routing_key=name, queue_arguments=arguments)


def _dead(name: str) -> Any:
    from kombu import Queue

    return Queue(dead_letters_of(name), queue_arguments={"x-max-length": DEAD_LETTERS_MAX})


class CeleryQueue:
    """`JobQueue` on RabbitMQ."""

    def __init__(self, url: str, queue: str) -> None:
        """Raises `MissingExtra` where Celery is not installed."""
        self._url, self._queue = urlsplit(url), queue
        self._app = make_app(url, queue)
        self._connection: Any = None

    @property
    def where(self) -> str:
        port = self._url.port or (5671 if self._url.scheme == "amqps" else 5672)
        vhost = unquote(self._url.path[1:]) or "/"
        return f"RabbitMQ at {self._url.hostname}:{port}, virtual host {vhost!r}"

    def look(self) -> QueueState:
        with self._connected() as connection:
            found = connection.default_channel.queue_declare(queue=self._queue, passive=True)
            return QueueState(found.message_count, found.consumer_count)

    def notify(self, job_id: str) -> None:
        with self._connected() as connection, self._app.amqp.Producer(connection) as producer:
            self._app.send_task(
                TASK,
                args=[job_id],
                task_id=job_id,
                queue=self._queue,
                producer=producer,
                retry=False,
                confirm_timeout=ANSWER_S,
            )

    def dead_letter(self, letter: dict[str, object]) -> None:
        with self._connected() as connection, self._app.amqp.Producer(connection) as producer:
            producer.publish(
                letter,
                exchange="",
                routing_key=dead_letters_of(self._queue),
                serializer="json",
                message_id=str(letter["job"]),
                retry=False,
                confirm_timeout=ANSWER_S,
            )

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(*_failures(connection)):
                connection.release()

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        """A connection that goes with the first failure on it, whatever that was."""
        from amqp.exceptions import AMQPError

        try:
            if self._connection is None:
                self._connection = self._connect()
            yield self._connection
        except (AMQPError, OSError) as error:
            self._drop()
            raise self._unavailable(error) from error

    def _connect(self) -> Any:
        bounds = {"read_timeout": ANSWER_S, "write_timeout": ANSWER_S}
        connection = self._app.connection_for_write(transport_options=bounds)
        try:
            connection.connect()
            for queue in (_dead(self._queue), _jobs(self._queue)):
                queue(connection.default_channel).declare()
        except BaseException:
            connection.collect(socket_timeout=1.0)
            raise
        return connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.collect(socket_timeout=1.0)

    def _unavailable(self, error: Exception) -> PartUnavailable:
        said = " ".join(str(error).split())[:300] or type(error).__name__
        if self._url.password:
            said = said.replace(unquote(self._url.password), "***")
        advice = next((advice for sign, advice in ADVICE.items() if sign in said), None)
        if advice:
            return PartUnavailable(f"{self.where} refuses ({said}): {advice}")
        return PartUnavailable(f"{self.where} does not answer ({said}): start it, or correct CELERY_BROKER_URL")


def _failures(connection: Any) -> tuple[type[Exception], ...]:
    return (*connection.connection_errors, *connection.channel_errors)
