"""The settings of a backend: read once from the environment, then passed in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    ValidationError,
)
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from clinical_backend.errors import SettingsError
from clinical_backend.project_settings import Names, ProjectOptions, ProjectSettings
from clinical_backend.study import IMAGES_PER_TASK
from clinical_backend.system.secret_files import SecretFiles, is_secret

__all__ = ["EVERY_ADDRESS", "Settings", "SettingsError", "load_settings"]

EVERY_ADDRESS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, not bound
"""Values of HOST with which the server listens on all addresses."""


_LONGEST_NAME = 200
"""Characters of a user's name: what the trail keeps of one."""


class Settings(BaseSettings, ProjectSettings):
    """Settings of the whole backend, each read from the environment variable of its name in capitals.

    A secret is read from a file instead where the variable of its name and ``_FILE`` says which. Those that a project
    may set for itself are in :class:`ProjectSettings`.

    Attributes
    ----------
    label_studio_url
        Where Label Studio answers, with its sub-path if it has one. ``LABEL_STUDIO_HOST`` is read too.
    label_studio_public_url
        Where people's browsers reach Label Studio, if that is another address.
    label_studio_api_key
        A legacy token or a personal access token of a user who may edit the projects.
    backend_url
        Where Label Studio reaches this backend; ``clinical connect`` registers it.
    model_dir
        Folder for everything that is kept: database, features, checkpoints.
    database_url, database_password
        PostgreSQL instead of the SQLite database in that folder, and its password where the URL holds none.
    kept_rounds
        Of so many of the latest published rounds, the models are kept, to go back to.
    host, port
        Address that the server listens on.
    allowed_hosts
        Further names and addresses that this server is reached by, as those of a proxy before it.
    open_access
        Whether the server may listen on other addresses than loopback without asking for a password.
    basic_auth_user, basic_auth_pass
        When both are set, every call but the liveness check needs them.
    basic_auth_names
        Further user names that the same password goes with, one for each lead: what is done on pages is noted under
        the name that was entered, which nothing proves.
    redis_url, redis_password
        Redis through which any number of workers, on any number of machines, are told what is due, and its password
        where the URL holds none. Without it the server runs rounds in a process of its own.
    workers
        Number of server processes. More than one needs ``redis_url``.
    log_format
        ``json`` writes one object per line, with the ids of project and round.
    backbone, image_size
        Network that turns images into features, and the side of its square input in pixels; by default the size that
        it was trained with, or the packaged network's own, of which there are two.
    adaptation
        Whether a small network learns each project's own images in the background (``auto``), or not (``off``).
    adaptation_seconds
        How long that may take for 6,000 images; for fewer proportionally less, down to a fifth.
    device
        ``auto`` takes CUDA where it is present.
    local_files_document_root
        Folder that holds the files of ``/data/local-files/`` on this machine, if it does: they are then
        read from disk.
    image_hosts
        Hosts, hosts with a port, and networks that images may come from although they are not public, separated
        by commas. Label Studio itself needs no entry.
    show_readers
        Whether the pages tell what each reader answered: by name, by number, or (``off``) not at all; then none of it
        is kept.
    images_per_task
        How many images of a task with several are read; of more, evenly spaced ones.
    image_check_days
        Within so many days an image that was replaced under the same address is noticed; 0 never looks.
    reconcile_seconds
        How often every project is compared with Label Studio, for what no webhook told.
    predict_seconds
        How long one call of ``/predict`` may take before the images that are left are answered empty.
    round_timeout_seconds
        How long a worker may be at one project before its round fails and is tried again later.
    worker_timeout_seconds
        A worker that gave no sign of life for so long is taken for dead and ended, and its round is run again.
    stall_timeout_seconds
        A round that did not get on for so long is taken to hang: its worker is ended, and it is run again. Half of that
        is told as a problem.
    embed_seconds
        How long a round reads new images before it goes on with those that it has; the next round goes on from there.
    slow_host_seconds
        How long a round waits, beyond what images usually take, for one host before it leaves the host's other images
        for later.
    ray_address
        ``host:port`` of the head of a Ray cluster that embeds many new images; the backend's machine must be a node of
        it. The nodes are told these settings, the API key among them.
    ray_min_images
        The number of new images from which on that cluster embeds them.
    seed
        Seed of every random draw.
    """

    model_config = SettingsConfigDict(
        env_file=".env", extra="ignore", frozen=True, env_ignore_empty=True, populate_by_name=True
    )

    label_studio_url: str = Field(
        default="http://localhost:8080",
        validation_alias=AliasChoices("LABEL_STUDIO_URL", "LABEL_STUDIO_HOST"),
    )
    label_studio_public_url: str | None = None
    label_studio_api_key: SecretStr | None = None
    backend_url: str | None = None
    model_dir: Path = Path("clinical-data")
    database_url: SecretStr | None = None
    database_password: SecretStr | None = None
    kept_rounds: int = Field(default=5, ge=1)
    host: str = "127.0.0.1"
    port: int = Field(default=9090, ge=0, le=65535)
    allowed_hosts: Annotated[Names, NoDecode] = ()
    open_access: bool = False
    basic_auth_user: str | None = None
    basic_auth_pass: SecretStr | None = None
    basic_auth_names: Annotated[Names, NoDecode] = ()
    redis_url: SecretStr | None = None
    redis_password: SecretStr | None = None
    workers: int = Field(default=1, ge=1, le=64)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["text", "json"] = "text"
    backbone: str = "efficientnet_lite"
    image_size: int | None = Field(default=None, ge=32, le=1024)
    adaptation: Literal["auto", "off"] = "auto"
    adaptation_seconds: float = Field(default=900.0, gt=0)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    local_files_document_root: Path | None = None
    image_hosts: Annotated[Names, NoDecode] = ()
    show_readers: Literal["names", "numbers", "off"] = "names"
    images_per_task: int = Field(default=IMAGES_PER_TASK, ge=1, le=1000)
    image_check_days: float = Field(default=7.0, ge=0.0, le=3650.0)
    reconcile_seconds: float = Field(default=60.0, gt=0)
    predict_seconds: float = Field(default=60.0, gt=0)
    round_timeout_seconds: int = Field(default=14_400, ge=1)
    worker_timeout_seconds: float = Field(default=30.0, ge=1)
    stall_timeout_seconds: float = Field(default=600.0, ge=1)
    embed_seconds: float = Field(default=600.0, gt=0)
    slow_host_seconds: float = Field(default=60.0, gt=0)
    ray_address: str | None = None
    ray_min_images: int = Field(default=5000, ge=1)
    seed: int = 0

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - named in the environment instead
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read what was passed, then the environment, then ``.env``; of secrets also the files that these name."""
        files = SecretFiles(settings_cls, env_settings, dotenv_settings)
        return init_settings, files, env_settings, dotenv_settings

    @property
    def basic_auth(self) -> tuple[str, str] | None:
        """User and password, where both are set."""
        if self.basic_auth_user and self.basic_auth_pass:
            return self.basic_auth_user, self.basic_auth_pass.get_secret_value()
        return None

    @property
    def api_key(self) -> str:
        """The API key.

        Raises
        ------
        SettingsError
            When none is set.
        """
        if self.label_studio_api_key is None:
            raise SettingsError(
                "LABEL_STUDIO_API_KEY is not set.",
                "Copy a token from Account & Settings in Label Studio and set it in the environment.",
            )
        return self.label_studio_api_key.get_secret_value()

    @property
    def public_url(self) -> str:
        """Address of this backend as Label Studio sees it."""
        host = "localhost" if self.host in EVERY_ADDRESS else self.host
        host = f"[{host}]" if ":" in host else host
        return (self.backend_url or f"http://{host}:{self.port}").rstrip("/")

    def page_of(self, project_id: int) -> str:
        """Return the address of a project's page."""
        return f"{self.public_url}/projects/{project_id}"

    @property
    def browser_url(self) -> str:
        """Root of Label Studio as people's browsers reach it, without a slash at the end."""
        return (self.label_studio_public_url or self.label_studio_url).rstrip("/")

    @property
    def local_roots(self) -> tuple[Path, ...]:
        """Folders that images may be read from without asking Label Studio."""
        return () if self.local_files_document_root is None else (self.local_files_document_root,)

    def environment(self, base: Mapping[str, str]) -> dict[str, str]:
        """Return an environment from which another process reads these very settings."""
        secrets = {f"{name}_FILE".upper() for name, field in type(self).model_fields.items() if is_secret(field)}
        variables = {name: value for name, value in base.items() if name not in secrets}
        for name, value in self:
            if value is None:
                variables.pop(name.upper(), None)
            elif isinstance(value, SecretStr):
                variables[name.upper()] = value.get_secret_value()
            elif isinstance(value, tuple):
                variables[name.upper()] = json.dumps(value)
            else:
                variables[name.upper()] = str(value)
        return variables

    def for_project(self, options: ProjectOptions) -> Settings:
        """Return these settings with a project's own options laid over them."""
        return self.model_copy(update=options.model_dump(exclude_unset=True))


def _can_be_entered(name: str) -> bool:
    return bool(name.strip()) and ":" not in name and name.isprintable() and len(name) <= _LONGEST_NAME


def load_settings(**overrides: Any) -> Settings:
    """Read the settings from the environment and ``.env``; keyword arguments win.

    Raises
    ------
    SettingsError
        Naming each wrong setting. Values are left out, since one of them may be a secret.
    """
    try:
        settings = Settings(**overrides)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(str(part) for part in item['loc']).upper()}: {item['msg']}" for item in error.errors()
        )
        raise SettingsError(f"Settings are wrong: {wrong}.", "Correct these environment variables.") from None
    password = settings.basic_auth_pass and settings.basic_auth_pass.get_secret_value()
    if bool(settings.basic_auth_user) != bool(password):
        raise SettingsError(
            "Only one of BASIC_AUTH_USER and BASIC_AUTH_PASS is set.",
            "Set both, or none for no authentication.",
        )
    if settings.basic_auth_names and settings.basic_auth is None:
        raise SettingsError(
            "BASIC_AUTH_NAMES is set, but no password goes with these names.",
            "Set BASIC_AUTH_USER and BASIC_AUTH_PASS too.",
        )
    if not all(map(_can_be_entered, settings.basic_auth_names)):
        raise SettingsError(
            "A name in BASIC_AUTH_NAMES is empty, or has a colon or a sign that is not shown, which browsers cannot"
            f" send, or more than {_LONGEST_NAME} characters, which the trail cannot tell apart.",
            "Name the person otherwise.",
        )
    if settings.workers > 1 and settings.redis_url is None:
        raise SettingsError(
            "WORKERS is more than 1, but REDIS_URL is not set.",
            "Several server processes share their work through Redis: set REDIS_URL, or WORKERS to 1.",
        )
    return settings
