"""What all pages share: the templates, what signs forms, images, checks; and how a page is answered."""

from __future__ import annotations

import logging
import re
import secrets
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from html import escape
from threading import Lock
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import anyio
from anyio.to_thread import run_sync
from fastapi import Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse

from clinical_backend.errors import ClinicalError, LabelStudioUnavailableError, StorageError
from clinical_backend.jobs.settings_preview import PreviewJobs
from clinical_backend.service.connection import Checks
from clinical_backend.service.readers import ReaderNames
from clinical_backend.service.status import ProjectStatus
from clinical_backend.storage.trail import Actor, act_as, present_actor
from clinical_backend.web.pages.flash import Flash, forget_flash, keep_flash, read_flash
from clinical_backend.web.pages.previews import Previews
from clinical_backend.web.pages.signing import Signer
from clinical_backend.web.pages.templating import make_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from clinical_backend.storage.schema import Project
    from clinical_backend.workspace.workspace import Workspace

__all__ = ["BusyError", "ForeignFormError", "Site", "ThisSite", "UnknownProjectError", "search_status"]

logger = logging.getLogger(__name__)

_FORM_SECONDS = 12 * 3600  # a page that is left open in the morning can still be sent in the evening
_NUMBER = re.compile(r"\d{1,9}", re.ASCII)
_PREVIEWS_AT_A_TIME = 4
"""One is decoded while others are fetched; all other threads serve pages."""
_LOOKS_AT_A_TIME = 4
"""Of larger images, as many: what somebody looks at closely does not wait behind the small ones of a page."""

_LOOK_SECONDS = 0.5
"""To write that somebody looked takes 10 ms; longer only behind another writer of an SQLite database."""


_SEARCH_SECONDS = 25.0
"""A form waits so long, within the 30 seconds that proxies wait; a network that is loaded first takes some of them."""

Found = TypeVar("Found")


class UnknownProjectError(ClinicalError):
    """A page of a project is asked for that this backend does not serve."""

    def __init__(self, project_id: int) -> None:
        super().__init__(f"Project {project_id} is not connected.", f"Run `clinical connect --project {project_id}`.")


class ForeignFormError(ClinicalError):
    """A form was sent that none of our pages gave out, or that is too old."""

    def __init__(self) -> None:
        super().__init__("The form is too old, or comes from elsewhere.", "Load the page again and press it there.")


class BusyError(ClinicalError):
    """A search is not done now: another one is, or it takes too long."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem, "Try again in a moment.")


def search_status(error: ClinicalError) -> int:
    """Return the status of the page of a search that finds nothing for a reason: whether the same may work later."""
    return 503 if isinstance(error, (BusyError, LabelStudioUnavailableError)) else 422


class Site:
    """The pages of a backend.

    Parameters
    ----------
    workspace
        What they show and do.
    """

    def __init__(self, workspace: Workspace) -> None:
        key = workspace.settings.label_studio_api_key
        self.workspace = workspace
        self.stores = workspace.stores
        self.settings = workspace.settings
        self.signer = Signer(key.get_secret_value() if key else secrets.token_hex(32))
        self.checks = Checks(workspace)
        self.previews = Previews(workspace)
        self.settings_previews = PreviewJobs(workspace.settings)
        self.previewing = anyio.CapacityLimiter(_PREVIEWS_AT_A_TIME)
        self.looking = anyio.CapacityLimiter(_LOOKS_AT_A_TIME)
        self.adding = Lock()
        """Held while images of a form are decoded: one form at a time, so that threads are left for pages."""
        self.asking = Lock()
        """Held while Label Studio is asked for tasks with a value."""
        self.reading = Lock()
        """Held while a text tower reads words."""
        self.searching = ThreadPoolExecutor(max_workers=3, thread_name_prefix="search")
        """Does what a form waits for no longer than a person does: one thread for each of the three."""
        self._looked: set[tuple[str, int, str]] = set()
        self._looked_on = ""
        self._templates = make_environment()

    def close(self) -> None:
        """End what was started."""
        self.searching.shutdown(wait=False, cancel_futures=True)
        self.settings_previews.close()
        self.previews.close()

    @property
    def user(self) -> str:
        """Who uses the page of the present request, as far as is known: the user name that was entered."""
        return present_actor().name

    async def look(self, project_id: int, page: str) -> None:
        """Have the trail tell, once a day, that the user looked at a kind of page of a project.

        The page does not wait long for it: behind another writer it is told of later, beside the page. What cannot be
        written is tried again with the next page: pages say what is wrong with a full disk.
        """
        day = time.strftime("%Y-%m-%d", time.gmtime())
        if self._looked_on != day:
            self._looked, self._looked_on = set(), day
        seen = (self.user, project_id, page)
        if seen in self._looked:
            return
        self._looked.add(seen)
        with anyio.move_on_after(_LOOK_SECONDS):
            await run_sync(self._look, project_id, page, day, abandon_on_cancel=True)

    def _look(self, project_id: int, page: str, day: str) -> None:
        told = False
        try:
            if self.stores.projects.get(project_id) is not None:
                self.stores.trail.look(project_id, present_actor(), page, day)
                told = True
        except StorageError as error:
            logger.warning("Project %d: the trail does not tell who looked: %s", project_id, error)
        finally:
            if not told:
                self._looked.discard((self.user, project_id, page))

    def project(self, project_id: int) -> Project:
        """Return a project.

        Raises
        ------
        UnknownProjectError
            When this backend does not serve it.
        """
        found = self.stores.projects.get(project_id)
        if found is None:
            raise UnknownProjectError(project_id)
        return found

    def reader_names(self, project: Project) -> ReaderNames:
        """Return what the readers of a project are called on pages."""
        return ReaderNames(project.reader_names, self.settings.show_readers)

    def status(self, project_id: int) -> ProjectStatus:
        """Return where a project stands.

        Raises
        ------
        UnknownProjectError
            When this backend does not serve it.
        """
        return ProjectStatus(self.workspace.project(project_id), self.project(project_id))

    def search(self, turn: Lock, look: Callable[..., Found], *given: object) -> Found:
        """Return what a search finds that a person waits for: one at a time, and not for long.

        What takes longer goes on to its end, and keeps its turn until then.

        Parameters
        ----------
        turn
            Whose turn it is, of those that ``searching`` has a thread for.
        look, given
            What is done.

        Raises
        ------
        BusyError
            When another one is under way, or it takes too long.
        ClinicalError
            What it raises.
        """
        if not turn.acquire(blocking=False):
            raise BusyError("Another search is under way, or images are being read.")
        job = self.searching.submit(look, *given)
        job.add_done_callback(lambda _: turn.release())
        done, _ = wait([job], _SEARCH_SECONDS)
        if not done:
            job.add_done_callback(_tell)
            raise BusyError("It takes long: the network, or Label Studio, may still be starting.")
        return job.result()

    def known_of(self, project_id: int, tasks: Sequence[int]) -> dict[str, Any]:
        """Return what templates say of cases: their labels, the images of studies, and the tags of pages."""
        return {
            "labels": self.stores.labels.all(project_id, tasks),
            "studies": self.stores.studies.all(project_id, tasks),
            "tags": {task: tag.steer for task, tag in self.stores.page_tags.open(project_id).items()},
        }

    def page(self, request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
        """Return a page, with the message of the form that led to it."""
        flash = read_flash(request, self.signer)
        content = self.render(template, request, flash=flash, **values)
        response = HTMLResponse(content, status, {"Vary": "Accept"})
        if flash is not None:
            forget_flash(response)
        return response

    def page_in_parts(self, request: Request, template: str, late: Callable[[], str], **values: Any) -> Response:
        """Return a page that is shown before a part of it is computed, which stands where it writes ``late``.

        Parameters
        ----------
        late
            Computes that part, while the browser shows what stands before it.
        """
        mark = secrets.token_hex(8)
        page = self.page(request, template, late=mark, **values)
        before, after = bytes(page.body).split(mark.encode())

        def parts() -> Iterator[bytes]:
            yield before
            try:
                yield late().encode()
            except ClinicalError as error:  # too late for another page
                yield f'<div class="problem" role="alert"><p>{escape(str(error))}</p></div>'.encode()
            yield after

        response = StreamingResponse(parts(), page.status_code)
        response.raw_headers = [one for one in page.raw_headers if one[0] != b"content-length"]
        return response

    def fragment(self, request: Request, template: str, **values: Any) -> HTMLResponse:
        """Return a part of a page."""
        return HTMLResponse(self.render(template, request, **values))

    def render(self, template: str, request: Request, **values: Any) -> str:
        """Return a filled template."""
        return self._templates.get_template(template).render(
            token=self.token(request),
            label_studio=self.settings.browser_url,
            **{"project": None, "here": "", "flash": None} | values,
        )

    def token(self, request: Request) -> str:
        """Return what a form of ours, given to this user now, is known by."""
        return self.signer.sign(self._purpose(request), "")

    def check_form(self, request: Request, token: str) -> None:
        """Make sure that one of our pages gave out a form, to the same user.

        Raises
        ------
        ForeignFormError
            When not, or too long ago.
        """
        if self.signer.read(self._purpose(request), token, seconds=_FORM_SECONDS) is None:
            raise ForeignFormError

    def back(self, request: Request, path: str, flash: Flash) -> RedirectResponse:
        """Send the browser to a page that shows what came of its form."""
        response = RedirectResponse(path, 303)
        keep_flash(response, self.signer, flash, secure=request.url.scheme == "https")
        return response

    @staticmethod
    def _purpose(request: Request) -> str:
        return f"form {request.headers.get('authorization', '')}"


def _tell(job: Future[Any]) -> None:
    """Log why a search failed that nobody waits for any more."""
    error = None if job.cancelled() else job.exception()
    if error is not None:
        logger.warning("A search failed: %s", error)


async def _site(request: Request) -> Site:
    """Return the pages, with their user as who acts; every page and form is given them here."""
    site: Site = request.app.state.site
    act_as(Actor(request.state.user or "page", "page"))
    project_id, page = str(request.path_params.get("project_id", "")), _page_kind(request)
    if request.method in {"GET", "HEAD"} and page is not None and _NUMBER.fullmatch(project_id):
        await site.look(int(project_id), page)
    return site


def _page_kind(request: Request) -> str | None:
    """Return the kind of page that is asked for: its first part behind the project; ``None`` for a part of a page."""
    _, _, behind = request.scope["route"].path.partition("/{project_id}")
    kind = re.split(r"[/.]", behind.removeprefix("/"))[0] or "now"
    return None if kind == "fragments" else kind


ThisSite = Annotated[Site, Depends(_site)]
