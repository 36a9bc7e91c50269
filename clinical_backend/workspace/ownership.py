"""Whether this installation may change a project: nothing is published or deleted where another one serves it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clinical_backend.labelstudio.connection.installation import Installation
from clinical_backend.storage.opening import identity_of
from clinical_backend.versions import installation_id, on_demand_version

if TYPE_CHECKING:
    from clinical_backend.labelstudio.resources import Project
    from clinical_backend.storage.stores.stores import Stores
    from clinical_backend.workspace.workspace import Workspace

__all__ = ["installation_of", "require_alone"]


def installation_of(stores: Stores, project_id: int) -> Installation:
    """Return this installation, with all that it published in a project."""
    versions = stores.rounds.versions(project_id)
    return Installation(
        installation_id(identity_of(stores.database)), frozenset({*versions, *map(on_demand_version, versions)})
    )


def require_alone(workspace: Workspace, project_id: int) -> Project:
    """Make sure, by asking Label Studio now, that no other installation serves a project, and return the project.

    Raises
    ------
    InstallationError
        When one does.
    """
    project = workspace.client.project(project_id)
    hooks = workspace.client.webhooks(project_id)
    installation_of(workspace.stores, project_id).require_alone(project, hooks, workspace.settings.public_url)
    return project
