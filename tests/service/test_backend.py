import asyncio
import gc
from concurrent.futures import Future
from types import SimpleNamespace

from clinical_backend.errors import StorageError
from clinical_backend.jobs.local_runner import LocalRunner
from clinical_backend.labelstudio.contract import WebhookRequest
from clinical_backend.service.backend import Backend
from clinical_backend.settings import load_settings
from clinical_backend.storage.database import Database
from clinical_backend.workspace.workspace import Workspace


def test_an_event_that_fails_after_it_was_answered_leaves_no_traceback(tmp_path):
    database = Database.in_folder(tmp_path)
    settings = load_settings(model_dir=tmp_path, label_studio_api_key="k")
    backend = Backend(Workspace(settings, database), LocalRunner({}))
    event = WebhookRequest.model_validate(
        {"action": "ANNOTATION_CREATED", "project": {"id": 1}, "annotation": {"id": 1, "task": 1, "result": []}}
    )
    faults = []

    async def answer():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context["message"]))
        outcomes = [Future()]
        backend._events = SimpleNamespace(put=lambda *_: outcomes[0], is_behind=False, answer_seconds=0.01)
        assert await backend.receive_soon(event) is None
        outcomes[0].set_exception(StorageError("The disk is full.", "Make room."))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        outcomes.clear()
        backend._events = None
        gc.collect()

    asyncio.run(answer())
    database.close()
    assert faults == []
