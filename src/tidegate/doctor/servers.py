"""Checks of the servers that a platform rests on: database, MLflow, S3, RabbitMQ, Redis, the container engine."""

from __future__ import annotations

import contextlib
from importlib.util import find_spec
from urllib.parse import unquote, urlsplit

import urllib3

from tidegate.doctor.asking import CONNECT_TIMEOUT_S, READ_TIMEOUT_S, Server
from tidegate.doctor.findings import DoctorFacts, FindingState, Verdict
from tidegate.errors import EngineUnavailable, MissingExtra, PartUnavailable
from tidegate.system.child_env import engine_env

MLFLOW = ("http", "https")
WITHOUT_SERVER = ("file", "sqlite", "postgresql", "mysql", "mssql", "databricks", "uc")
"""What else MLflow opens; a database's scheme may name its driver (`postgresql+psycopg`)."""
BUCKET_OF_EXPERIMENT = "0"
"""MLflow's first experiment: where the server puts what nobody says otherwise of."""


def database(facts: DoctorFacts) -> Verdict:
    """Whether it answers, and has this release's schema."""
    from tidegate.store.database.engine import open_store, store_url

    url = facts.settings.database_url
    store = open_store(store_url(facts.settings.data_dir, url))
    try:
        if url is not None and store.file is None:
            Server("PostgreSQL", "DATABASE_URL", url).resolve()
        if store.file is not None and not store.file.exists():
            return FindingState.OFF, f"{store.where} is not there yet: 'tidegate up' makes it"
        schema = store.schema()
    finally:
        store.close()
    schema.refuse_newer()
    if schema.pending:
        have = f"schema {schema.found}" if schema.found else "no tables of Tidegate"
        return FindingState.NOTE, f"{store.where} answers and has {have}: 'tidegate up' brings it to {schema.newest}"
    return FindingState.OK, f"{store.where} answers, schema {schema.found}"


# -- MLflow and its artifacts -----------------------------------------------------------------------------------------


def mlflow(facts: DoctorFacts) -> Verdict:
    """Whether the server answers, takes user and password, and reaches its artifacts."""
    uri = facts.settings.mlflow_tracking_uri
    if uri is None:
        return FindingState.OFF, "embedded in the data directory (MLFLOW_TRACKING_URI names a server)"
    scheme = urlsplit(uri).scheme
    if scheme not in MLFLOW:
        if scheme and not scheme.startswith(WITHOUT_SERVER):
            raise PartUnavailable(
                f"MLflow knows no address that begins with '{scheme}:': give http://host:5000 as MLFLOW_TRACKING_URI"
            )
        return FindingState.OK, f"{scheme or 'a folder'}: opened by MLflow itself, without a server"
    server = _mlflow_server(facts, uri)
    root = _artifact_root(server)
    version = server.get("/version")
    said = f"MLflow {version.text if version.status == 200 else ''} at {server.where} answers".replace("  ", " ")
    if not root.startswith("mlflow-artifacts:"):
        return FindingState.OK, f"{said}, artifacts in {root or 'a place of its own'}"
    listed = server.get("/api/2.0/mlflow-artifacts/artifacts", {"path": ""})
    if listed.status != 200:
        return FindingState.WRONG, (
            f"{said}, but does not reach its artifacts ({listed.status}: {listed.text}): is their store up, the "
            "bucket there, and are the keys right? See the server's log"
        )
    return FindingState.OK, f"{said} and keeps the artifacts"


def _mlflow_server(facts: DoctorFacts, uri: str) -> Server:
    env = facts.env
    headers: dict[str, str] = {}
    if env.get("MLFLOW_TRACKING_USERNAME"):
        login = f"{env['MLFLOW_TRACKING_USERNAME']}:{env.get('MLFLOW_TRACKING_PASSWORD', '')}"
        headers = urllib3.make_headers(basic_auth=login)
    elif env.get("MLFLOW_TRACKING_TOKEN"):
        headers = {"authorization": f"Bearer {env['MLFLOW_TRACKING_TOKEN']}"}
    return Server("MLflow", "MLFLOW_TRACKING_URI", uri, headers)


def _artifact_root(server: Server) -> str:
    """Where the server puts artifacts; raises `PartUnavailable` where this is no MLflow that lets us in."""
    asked = "/api/2.0/mlflow/experiments/get"
    answer = server.get(asked, {"experiment_id": BUCKET_OF_EXPERIMENT})
    if answer.status == 403:
        raise PartUnavailable(
            f"MLflow at {server.where} refuses (403: {answer.text}): give this user the right to read, or let the "
            "server answer to this host name (mlflow server --allowed-hosts)"
        )
    experiment = answer.json().get("experiment")
    if answer.status == 200 and isinstance(experiment, dict):
        return str(experiment.get("artifact_location", ""))
    if answer.json().get("error_code") == "RESOURCE_DOES_NOT_EXIST":
        return ""
    if answer.status >= 500:
        raise PartUnavailable(
            f"MLflow at {server.where} fails ({answer.status}: {answer.text}): is its database up? See its log"
        )
    raise server.other(answer, asked)


def s3(facts: DoctorFacts) -> Verdict:
    """Whether the endpoint answers, the keys are taken, and the bucket of MLflow's artifacts is there."""
    url, bucket = facts.settings.mlflow_s3_endpoint_url, _bucket(facts)
    if url is None and bucket is None:
        return FindingState.OFF, "not used (MLFLOW_S3_ENDPOINT_URL names an S3 server of your own)"
    server = Server("S3", "MLFLOW_S3_ENDPOINT_URL", url or "https://s3.amazonaws.com")
    if url is not None:
        server.get("/")
    if find_spec("boto3") is None:
        raise MissingExtra(f"S3 at {server.where} is used, and boto3 is missing: pip install 'tidegate[s3]'")
    return FindingState.OK, _bucket_found(server, url, bucket)


def _bucket(facts: DoctorFacts) -> str | None:
    uri = facts.settings.mlflow_tracking_uri
    if uri is None or urlsplit(uri).scheme not in MLFLOW:
        return None
    with contextlib.suppress(PartUnavailable):  # told by MLflow's own check
        root = urlsplit(_artifact_root(_mlflow_server(facts, uri)))
        return root.netloc if root.scheme == "s3" else None
    return None


def _bucket_found(server: Server, url: str | None, bucket: str | None) -> str:
    """What was found; raises `PartUnavailable` for refused keys and a missing bucket."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

    bounds = Config(connect_timeout=CONNECT_TIMEOUT_S, read_timeout=READ_TIMEOUT_S, retries={"total_max_attempts": 1})
    keys = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    try:
        client = boto3.client("s3", endpoint_url=url, config=bounds)
        buckets = [one["Name"] for one in client.list_buckets()["Buckets"]] if bucket is None else None
        if bucket is not None:
            client.head_bucket(Bucket=bucket)
    except ClientError as error:
        code = str(error.response["Error"]["Code"])
        if code in ("404", "NoSuchBucket"):
            raise PartUnavailable(
                f"S3 at {server.where} has no bucket {bucket!r}, where MLflow keeps artifacts: make it"
            ) from None
        raise PartUnavailable(f"S3 at {server.where} refuses the keys ({code}): {keys}") from None
    except (NoCredentialsError, PartialCredentialsError):
        raise PartUnavailable(f"S3 at {server.where} answers, and there are no keys for it: {keys}") from None
    except (BotoCoreError, ValueError) as error:
        raise server.trouble(error) from None
    if buckets is None:
        return f"{server.where} answers and has the bucket {bucket!r}"
    return f"{server.where} answers, buckets: {', '.join(buckets) or 'none'}"


def capture_store(facts: DoctorFacts) -> Verdict:
    """Whether the bucket of captured rows is there, and takes the keys. Nothing is written."""
    settings = facts.settings
    if settings.capture_url is None:
        return FindingState.OFF, "in the data directory (TIDEGATE_CAPTURE_URL names a bucket of S3)"
    url = settings.capture_s3_endpoint_url
    if url is not None:
        Server("S3", "TIDEGATE_CAPTURE_S3_ENDPOINT_URL", url).get("/")
    from tidegate.capture.s3_files import S3Files

    try:
        S3Files(settings.capture_url, url, request_timeout_s=READ_TIMEOUT_S, attempts_max=1).check()
    except OSError as error:
        raise PartUnavailable(str(error.strerror or error)) from None
    return FindingState.OK, f"{settings.capture_url} answers and can be listed"


# -- queue and cache --------------------------------------------------------------------------------------------------


def rabbitmq(facts: DoctorFacts) -> Verdict:
    """Whether the broker takes user, password and virtual host."""
    url = facts.settings.celery_broker_url
    if url is None:
        return FindingState.OFF, "jobs run in the control plane (CELERY_BROKER_URL names a broker)"
    if find_spec("amqp") is None:
        raise MissingExtra("CELERY_BROKER_URL names RabbitMQ, and Celery is missing: pip install 'tidegate[celery]'")
    import amqp

    server, parts = Server("RabbitMQ", "CELERY_BROKER_URL", url), urlsplit(url)
    server.resolve()
    host = unquote(parts.path[1:]) or "/"
    connection = amqp.Connection(
        host=f"{parts.hostname}:{parts.port or (5671 if parts.scheme == 'amqps' else 5672)}",
        userid=unquote(parts.username or "guest"),
        password=unquote(parts.password or "guest"),
        virtual_host=host,
        ssl=parts.scheme == "amqps",
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        write_timeout=READ_TIMEOUT_S,
    )
    try:
        connection.connect()
        version = connection.server_properties.get("version", "")
    except amqp.exceptions.AccessRefused:
        user = unquote(parts.username or "guest")
        raise PartUnavailable(
            f"RabbitMQ at {server.where} refuses user {user!r} or the password: correct them in CELERY_BROKER_URL"
        ) from None
    except amqp.exceptions.NotAllowed as error:
        raise PartUnavailable(
            f"RabbitMQ at {server.where} refuses virtual host {host!r} ({error.reply_text}): make it (rabbitmqctl "
            "add_vhost, set_permissions), or correct CELERY_BROKER_URL"
        ) from None
    except (OSError, amqp.exceptions.AMQPError) as error:
        raise server.trouble(error, "it answers, but is no RabbitMQ: correct the port in CELERY_BROKER_URL") from None
    finally:
        with contextlib.suppress(Exception):  # whatever state it was left in
            connection.close()
    return FindingState.OK, f"RabbitMQ {version} at {server.where} answers, virtual host {host!r}"


def redis(facts: DoctorFacts) -> Verdict:
    """Whether it takes the password and answers."""
    url = facts.settings.redis_url
    if url is None:
        return FindingState.OFF, "not used: gateways limit and poll on their own (REDIS_URL names a server)"
    if find_spec("redis") is None:
        raise MissingExtra("REDIS_URL names a server, and its client is missing: pip install 'tidegate[redis]'")
    import redis as library
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    server = Server("Redis", "REDIS_URL", url)
    server.resolve()
    bounds = {"socket_connect_timeout": CONNECT_TIMEOUT_S, "socket_timeout": READ_TIMEOUT_S}
    try:
        with library.Redis.from_url(url, retry=Retry(NoBackoff(), 0), **bounds) as client:
            version = client.info("server").get("redis_version", "")
    except (library.AuthenticationError, library.exceptions.NoPermissionError) as error:
        raise PartUnavailable(
            f"Redis at {server.where} refuses user or password ({error}): correct them in REDIS_URL"
        ) from None
    except (library.RedisError, ValueError) as error:
        raise server.trouble(error, f"it answers, but not as Redis ({error}): correct REDIS_URL") from None
    return FindingState.OK, f"Redis {version} at {server.where} answers"


# -- containers -------------------------------------------------------------------------------------------------------


def docker(facts: DoctorFacts) -> Verdict:
    """Whether an engine answers. Only images and replicas in containers need one."""
    replicas = facts.settings.backend == "docker"
    if replicas and find_spec("docker") is None:
        raise MissingExtra("TIDEGATE_BACKEND=docker needs Docker's library: pip install 'tidegate[docker]'")
    from tidegate.adapters.docker.build import DockerCli

    try:
        return FindingState.OK, f"Docker {DockerCli(engine_env(facts.env)).check()} answers"
    except EngineUnavailable as error:
        if replicas or facts.env.get("DOCKER_HOST"):
            raise
        where = error.details.get("address", "the command 'docker'")
        return FindingState.OFF, f"no engine answers ({where}); only images and replicas in containers need one"
