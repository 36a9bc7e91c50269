"""Whoever writes to Redis may delay or drop work, and has nothing run or sent: a real worker meets what RQ would do."""

import os
import pickle
import signal
import socket
import subprocess
import sys

import pytest
from rq import Callback, Queue, Repeat, Retry
from rq.defaults import RQ_KEY_PREFIX
from rq.intermediate_queue import IntermediateQueue
from rq.job import Job
from rq.registry import ScheduledJobRegistry, StartedJobRegistry
from rq.serializers import JSONSerializer
from rq.webhook import Webhook
from rq.worker_registration import WORKERS_BY_QUEUE_KEY

from clinical_backend.jobs.redis_connection import hint_of
from clinical_backend.settings import load_settings
from clinical_backend.storage.database import Database
from clinical_backend.storage.schema import RoundState
from clinical_backend.storage.stores.stores import Stores
from tests.jobs.test_local_runner import wait_for

LEAVE, FAIL = "tests.jobs.hostile.leave", "tests.jobs.hostile.fail"
ATTEND = "clinical_backend.jobs.redis_worker.attend"
NAME = "clinical"


@pytest.fixture
def redis(redis_server):
    redis_server.client.flushdb()
    return redis_server.client


@pytest.fixture
def settings(tmp_path, redis_server):
    # Nothing answers as Label Studio, and there is no backbone: each round fails for a known reason.
    return load_settings(
        model_dir=tmp_path / "data",
        label_studio_url="http://127.0.0.1:9",
        label_studio_api_key="k",
        backbone="none:such",
        redis_url=redis_server.url,
    )


@pytest.fixture
def stores(settings):
    database = Database.in_folder(settings.model_dir)
    yield Stores(database)
    database.close()


@pytest.fixture
def marks(tmp_path):
    folder = tmp_path / "marks"
    folder.mkdir()
    return folder


@pytest.fixture
def start_worker(settings, marks):
    """Return a function that starts a worker."""
    started = []

    def start(**options):
        environment = settings.environment(os.environ) | {"HOSTILE_MARKS": str(marks)}
        process = subprocess.Popen([sys.executable, "-m", "clinical_backend", "worker"], env=environment, **options)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def listener():
    """Return a port that counts who calls."""
    with socket.create_server(("127.0.0.1", 0)) as made:
        made.setblocking(False)
        yield made


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def called(listener):
    try:
        listener.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def name_functions_in_jobs(redis, marks, listener):
    """Queue, as RQ's own client would, jobs of each kind that has a function called, a module loaded, or a host."""
    queue = Queue(NAME, connection=redis, serializer=JSONSerializer)
    queue.enqueue("os.mkdir", str(marks / "standard-library"))
    queue.enqueue(LEAVE, "function")
    queue.enqueue("tests.jobs.hostile.no_such")
    queue.enqueue(LEAVE, kwargs={"job_timeout": 1}, args=("keywords",))
    queue.enqueue(ATTEND, 3, False, on_success=Callback(LEAVE), job_id="on-success")
    queue.enqueue(FAIL, on_failure=Callback(LEAVE), job_id="on-failure")
    queue.enqueue(FAIL, retry=Retry(3), on_failure=Callback(LEAVE), job_id="retried")
    queue.enqueue(ATTEND, 3, False, repeat=Repeat(3, interval=0), on_success=Callback(LEAVE), job_id="repeated")
    first = queue.enqueue(ATTEND, 3, False, job_id="first")
    queue.enqueue(LEAVE, "dependent", depends_on=first)
    port = listener.getsockname()[1]
    ended = [Webhook(f"http://127.0.0.1:{port}/", state, method="POST") for state in ("finished", "failed")]
    queue.enqueue(ATTEND, 3, False, webhooks=ended)
    queue.enqueue(FAIL, webhooks=ended)
    method = Job.create("format", connection=redis, serializer=JSONSerializer, id="method", origin=NAME)
    method.data = JSONSerializer.dumps((LEAVE, "an instance", ["method"], {}))
    method.save()
    queue.push_job_id("method")


def disguise_as_hints(redis):
    """Give ids of hints to jobs with functions, and put jobs where RQ's housekeeping finds them."""
    queue = Queue(NAME, connection=redis, serializer=JSONSerializer)
    for hint in (hint_of(3, look=False), hint_of(3, look=True), hint_of(4, look=True)):
        queue.enqueue(LEAVE, hint, on_success=Callback(LEAVE), job_id=hint)
    lost = queue.enqueue(LEAVE, "lost", on_failure=Callback(LEAVE), on_stopped=Callback(LEAVE), job_id="lost")
    queue.remove(lost)
    redis.zadd(StartedJobRegistry(queue=queue).key, {"lost:an-execution": 1, "lost": 1})
    redis.lpush(IntermediateQueue(queue.key, redis).key, "lost")
    redis.set(IntermediateQueue(queue.key, redis).get_first_seen_key("lost"), 1)
    redis.zadd(ScheduledJobRegistry(queue=queue).key, {"lost": 1})
    pickled = Job.create(LEAVE, args=("pickled",), connection=redis, serializer=JSONSerializer, id="pickled")
    pickled.data = pickle.dumps((LEAVE, None, ("pickled",), {}))
    pickled.save()
    queue.push_job_id("pickled")


def litter(redis):
    """Put what is no hint into the queue and no worker into the list of workers, and tell workers to stand still."""
    redis.rpush(f"{RQ_KEY_PREFIX}:queue:{NAME}", b"\xff\xfe", b"", b"look-0", b"look-" + b"9" * 40, b"x" * 2**20)
    redis.sadd(WORKERS_BY_QUEUE_KEY % NAME, b"\xff", "rq:worker:none")
    redis.set(f"{RQ_KEY_PREFIX}:suspended", 1)


def test_a_worker_runs_no_function_that_redis_names_and_goes_on(redis, stores, start_worker, marks, listener, settings):
    stores.projects.register(3)
    stores.projects.register(4)
    name_functions_in_jobs(redis, marks, listener)
    disguise_as_hints(redis)
    worker = start_worker()
    wait_for(lambda: redis.llen(f"{RQ_KEY_PREFIX}:queue:{NAME}") == 0)
    assert names(marks) == []
    # What ordinary hints ask for comes after all that stood in the queue before.
    stores.projects.register(5)
    redis.rpush(f"{RQ_KEY_PREFIX}:queue:{NAME}", hint_of(5, look=False))
    wait_for(lambda: [row.state for row in stores.rounds.history(5)] == [RoundState.FAILED])
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0
    assert names(marks) == []
    assert not called(listener)
    assert stores.projects.ids() == [3, 4, 5]


def test_a_worker_takes_no_orders_and_outlives_keys_of_another_kind(redis, stores, start_worker, tmp_path):
    stores.projects.register(3)
    spoilt = [f"{RQ_KEY_PREFIX}:queue:{NAME}", WORKERS_BY_QUEUE_KEY % NAME]
    for key in spoilt:
        redis.hset(key, "neither", "list nor set")
    output = tmp_path / "output"
    with output.open("wb") as file:
        worker = start_worker(stderr=file)
    for key in reversed(spoilt):
        told = output.stat().st_size
        wait_for(lambda told=told: "the worker waits" in output.read_bytes()[told:].decode())
        redis.delete(key)
    wait_for(lambda: redis.smembers(WORKERS_BY_QUEUE_KEY % NAME))
    name = next(iter(redis.smembers(WORKERS_BY_QUEUE_KEY % NAME))).decode().removeprefix("rq:worker:")
    litter(redis)
    assert redis.publish(f"{RQ_KEY_PREFIX}:pubsub:{name}", '{"command": "shutdown"}') == 0
    redis.rpush(f"{RQ_KEY_PREFIX}:queue:{NAME}", hint_of(3, look=False))
    wait_for(lambda: [row.state for row in stores.rounds.history(3)] == [RoundState.FAILED])
    assert worker.poll() is None
