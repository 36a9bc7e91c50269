"""A Label Studio that keeps one project in memory, with faults on demand.

The end-to-end tests prove rounds against the real one. This stands in where the real one cannot be brought
to do a thing at a chosen moment: to fail between two calls, to lose a project, to answer 404 for everything.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

from clinical_backend.errors import LabelStudioRefusedError
from clinical_backend.labelstudio.releases import NEWEST_TESTED
from clinical_backend.labelstudio.resources import (
    AnnotatedTask,
    Annotation,
    Backend,
    Project,
    Task,
    User,
    View,
    Webhook,
)

CONFIG = (
    '<View><Image name="image" value="$image"/><Choices name="diagnosis" toName="image" choice="single">'
    '<Choice value="dark"/><Choice value="red"/></Choices><Choices name="exemplar" toName="image"'
    ' choice="multiple"><Choice value="more like this"/><Choice value="not like this"/></Choices></View>'
)
NOT_FOUND = LabelStudioRefusedError("Label Studio refuses: not found.", "Correct it.", status=404)


class FakeLabelStudio:
    """Holds project 1."""

    def __init__(self, uris):
        self.uris = dict(uris)
        self.data = {}
        self.withheld = set()
        self.answers = {}
        self.overlap = {}
        self.unlabelled = set()
        self.predictions = {}
        self.config = CONFIG
        self.model_version = ""
        self.skip_queue = ""
        self.maximum_annotations = 1
        self.evaluate_predictions_automatically = False
        self.created_at = datetime(2026, 1, 1, tzinfo=UTC)
        self.faults = {}
        self.meanwhile = {}
        self.calls = []
        self.sampling = "Uncertainty sampling"
        self.show_collab_predictions = True
        self.hooks = ["http://backend/webhook"]
        self.release = NEWEST_TESTED
        self.url = "http://label-studio"
        self.hook_fields = {}
        self.entries = ["http://backend"]
        self.tabs = []

    def annotate(self, task_id, name, *, exemplar=False, **fields):
        chosen = {"diagnosis": name} | ({"exemplar": "more like this"} if exemplar else {})
        result = [{"from_name": control, "value": {"choices": [value]}} for control, value in chosen.items()]
        now = datetime.now(UTC)
        made = {"id": task_id, "result": result, "created_at": now, "lead_time": 0.0, "completed_by": 1} | fields
        self.answers[task_id] = [Annotation(**made)]

    def annotate_images(self, task_id, names, *, exemplar=False):
        """Answer image by image, by their places in the list, as ``perItem`` has it."""
        chosen = {place: name if isinstance(name, list) else [name] for place, name in names.items()}
        result = [
            {"from_name": "diagnosis", "item_index": place, "value": {"choices": values}}
            for place, values in chosen.items()
        ]
        if exemplar:
            result.append({"from_name": "exemplar", "value": {"choices": ["more like this"]}})
        self.annotate(task_id, "", result=result)

    def read_again(self, task_id, name, reader=2, **fields):
        """Have another reader answer, which Label Studio counts as it does."""
        first = self.answers[task_id]
        self.annotate(task_id, name, completed_by=reader, id=1000 * reader + task_id, **fields)
        self.answers[task_id] = [*first, *self.answers[task_id]]
        if len(self.answers[task_id]) >= self.overlap.get(task_id, 1):
            self.unlabelled.discard(task_id)

    def served_again(self):
        """Return the answered tasks that other readers are served, in order."""
        return [task for task in self.queue() if task in self.unlabelled]

    def queue(self):
        """Return what readers are served, in order."""
        served = self.predictions.get(self.model_version, [])
        return [item["task"] for item in sorted(served, key=lambda item: item["score"])]

    def _call(self, name):
        self.calls.append(name)
        self.meanwhile.pop(name, lambda: None)()
        fault = self.faults.get(name)
        if fault is not None:
            raise fault

    def whoami(self):
        self._call("whoami")
        return User(id=1)

    def version(self):
        self._call("version")
        return self.release

    def server_time(self):
        return time.time()

    def users(self):
        self._call("users")
        return [User(id=1, first_name="Ada", last_name="Byron"), User(id=2)]

    def project(self, project_id):
        self._call("project")
        return Project(
            id=project_id,
            label_config=self.config,
            model_version=self.model_version,
            sampling=self.sampling,
            show_collab_predictions=self.show_collab_predictions,
            created_at=self.created_at,
            task_number=len(self.uris),
            skip_queue=self.skip_queue,
            maximum_annotations=self.maximum_annotations,
            evaluate_predictions_automatically=self.evaluate_predictions_automatically,
        )

    def tasks(self, project_id, *, after_id=None):
        self._call("tasks")
        return [
            Task(id=task, withheld=True)
            if task in self.withheld
            else Task(id=task, data={"image": uri} | self.data.get(task, {}))
            for task, uri in self.uris.items()
            if task > (after_id or 0)
        ]

    def existing_tasks(self, project_id, task_ids):
        self._call("existing_tasks")
        return {task for task in task_ids if task in self.uris}

    def annotated_tasks(self, project_id):
        self._call("annotated_tasks")
        return [
            AnnotatedTask(id=task, withheld=True)
            if task in self.withheld
            else AnnotatedTask(id=task, annotations=answers)
            for task, answers in self.answers.items()
        ]

    def tasks_with_answers(self, project_id, task_ids):
        self._call("tasks_with_answers")
        return [
            AnnotatedTask(
                id=task,
                data={"image": self.uris[task]} | self.data.get(task, {}),
                annotations=self.answers.get(task, []),
                overlap=self.overlap.get(task, 1),
                is_labeled=task in self.answers and task not in self.unlabelled,
            )
            for task in sorted(set(task_ids))
            if task in self.uris and task not in self.withheld
        ]

    def update_task(self, task_id, *, overlap, is_labeled):
        self._call("update_task")
        if task_id not in self.uris:
            raise NOT_FOUND
        self.overlap[task_id] = overlap
        (self.unlabelled.discard if is_labeled else self.unlabelled.add)(task_id)

    def import_predictions(self, project_id, items):
        self._call("import_predictions")
        for item in items:
            chosen = [choice for region in item["result"] for choice in region["value"].get("choices", ())]
            if all(f'value="{choice}"' in self.config for choice in chosen):  # the others it drops, and says nothing
                self.predictions.setdefault(item["model_version"], []).append(item)
        return len(items)

    def model_versions(self, project_id):
        self._call("model_versions")
        return {version: len(items) for version, items in self.predictions.items()}

    def delete_model_version(self, project_id, version):
        self._call("delete_model_version")
        return len(self.predictions.pop(version))

    def update_project(self, project_id, **fields):
        self._call("update_project")
        for name, value in fields.items():
            setattr(self, name, value)

    def webhooks(self, project_id):
        self._call("webhooks")
        return [
            Webhook(id=number, url=url, project=project_id, **self.hook_fields.get(url, {}))
            for number, url in enumerate(self.hooks, 1)
        ]

    def create_webhook(self, project_id, url, **fields):
        self._call("create_webhook")
        self.hooks.append(url)
        self.hook_fields[url] = fields

    def update_webhook(self, webhook_id, **fields):
        self._call("update_webhook")
        url = self.hooks[webhook_id - 1]
        self.hook_fields[url] = self.hook_fields.get(url, {}) | fields

    def add_backend(self, project_id, url, **fields):
        self._call("add_backend")
        self.entries.append(url)

    def backends(self, project_id):
        self._call("backends")
        return [Backend(id=number, url=url, project=project_id) for number, url in enumerate(self.entries, 1)]

    def views(self, project_id):
        self._call("views")
        return [View(id=1, data={"title": "Rare cases first"}), *self.tabs]

    def create_view(self, project_id, data):
        self._call("create_view")
        self.tabs.append(View(id=2 + len(self.tabs), data=data))

    def update_view(self, view, project_id, data):
        self._call("update_view")
        self.tabs = [View(id=one.id, data=one.data | data) if one.id == view.id else one for one in self.tabs]
