"""The settings of a backend: read once from the environment, then passed in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from clinical_backend.errors import SettingsError
from clinical_backend.system.secret_files import SecretFiles, is_secret
from clinical_backend.text import read_json

__all__ = ["EVERY_ADDRESS", "Preannotate", "ProjectOptions", "Settings", "SettingsError", "load_settings"]

EVERY_ADDRESS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, not bound
"""Values of HOST with which the server listens on all addresses."""

Acquisition = Literal[
    "auto", "flqmi", "gcmi", "com", "flvmi", "logdetmi", "quality_diversity", "p_rare", "entropy", "random"
]


Training = Literal["head", "finetune"]
Seconds = Annotated[float, Field(gt=0)]
Blocks = Literal["all"] | Annotated[int, Field(ge=1)]


def _mode(value: object) -> object:
    """Read a yes or no, as earlier versions had it, as showing every class or none."""
    text = str(value).strip().lower()
    if text in {"true", "1", "yes", "on"}:
        return "all"
    return "off" if text in {"false", "0", "no"} else value


def _split(value: object) -> object:
    """Accept a string where a tuple of strings is meant: separated by commas, or a JSON list for names with commas."""
    if isinstance(value, str):
        if value.lstrip().startswith("["):
            with suppress(ValueError):
                return read_json(value)
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


Preannotate = Annotated[Literal["off", "confident", "all"], BeforeValidator(_mode)]
Names = Annotated[tuple[str, ...], BeforeValidator(_split)]


class ProjectOptions(BaseModel):
    """What one project may set for itself, on its page or through the backend's "Extra params" in Label Studio.

    Every field means what the setting of the same name means; ``None`` keeps the backend's own. An empty
    ``rare_classes``, ``group_field`` or ``class_control`` says that there is none, whatever is set elsewhere.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    acquisition: Acquisition | None = None
    queue_size: int | None = Field(default=None, ge=1, le=5000)
    audit_share: float | None = Field(default=None, ge=0.0, le=0.9)
    second_look_share: float | None = Field(default=None, ge=0.0, le=0.4)
    second_look_random_share: float | None = Field(default=None, ge=0.0, le=0.4)
    rare_classes: Names | None = None
    exemplar_control: str | None = Field(default=None, min_length=1)
    class_control: str | None = Field(default=None, max_length=200)
    stars: bool | None = None
    preannotate: Preannotate | None = None
    start_training_each_n_updates: int | None = Field(default=None, ge=1)
    training: Training | None = None
    finetuning_seconds: Seconds | None = None
    finetuning_blocks: Blocks | None = None
    group_field: str | None = Field(default=None, max_length=200)
    group_cap: int | None = Field(default=None, ge=1)


class Settings(BaseSettings):
    """Settings of the whole backend, each read from the environment variable of its name in capitals.

    A secret is read from a file instead where the variable of its name and ``_FILE`` says which.

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
    redis_url, redis_password
        Redis through which any number of workers, on any number of machines, are told what is due, and its password
        where the URL holds none. Without it the server runs rounds in a process of its own.
    workers
        Number of server processes. More than one needs ``redis_url``.
    log_format
        ``json`` writes one object per line, with the ids of project and round.
    start_training_each_n_updates
        A round is due after this many annotations were made or changed.
    queue_size
        Number of tasks that a round publishes.
    audit_share
        Share of the queue that is drawn at random, which gives the honest prevalence.
    second_look_share
        Share of the queue that holds doubtful labels, which another reader reads again without seeing the first answer.
    second_look_random_share
        Share of the queue that holds answered tasks drawn at random, to be read again so: they tell how far readers
        agree on ordinary cases.
    rare_classes
        Classes to look for, whatever is tagged, separated by commas, or as a JSON list. Without any, the classes of
        the tagged exemplars are.
    exemplar_control
        Name of the ``Choices`` control with which readers tag exemplars.
    class_control
        Name of the ``Choices`` control that holds the classes. Without it, the first one that can be learnt does.
    stars
        Whether a reader's star (ground truth) on an answer tags an exemplar too, and settles a tie between readers.
        A star that came with an import never does.
    preannotate
        Which queued tasks carry the model's class, ticked: none (``off``), those where held-out labels prove it right
        (``confident``), or ``all``. Random draws and second readings never do.
    acquisition
        ``auto`` chooses from what a round measures; any other name fixes the acquisition function.
    backbone, image_size
        Network that turns images into features, and the side of its square input in pixels.
    training
        What gives classes: a linear classifier of frozen features (``head``), or the backbone fine-tuned on the
        labels too, in the background, where held-out labels say that it is better (``finetune``).
    finetuning_seconds, finetuning_blocks
        How long that may take, and how many of the backbone's last blocks learn, or ``all``.
    adaptation
        Whether a small network learns each project's own images in the background (``auto``), or not (``off``).
    adaptation_seconds
        How long that may take for 6,000 images; for fewer proportionally less, down to a fifth.
    group_field
        Field of a task's data that names its patient or study: the tasks of one are never split between training
        and validation, and at most ``group_cap`` of them are in a queue. Without it, each task stands for itself.
    group_cap
        See ``group_field``.
    device
        ``auto`` takes CUDA where it is present.
    local_files_document_root
        Folder that holds the files of ``/data/local-files/`` on this machine, if it does: they are then
        read from disk.
    image_hosts
        Hosts, hosts with a port, and networks that images may come from although they are not public, separated
        by commas. Label Studio itself needs no entry.
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
    redis_url: SecretStr | None = None
    redis_password: SecretStr | None = None
    workers: int = Field(default=1, ge=1, le=64)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["text", "json"] = "text"
    start_training_each_n_updates: int = Field(default=10, ge=1)
    queue_size: int = Field(default=200, ge=1, le=5000)
    audit_share: float = Field(default=0.1, ge=0.0, le=0.9)
    second_look_share: float = Field(default=0.0, ge=0.0, le=0.4)
    second_look_random_share: float = Field(default=0.0, ge=0.0, le=0.4)
    rare_classes: Annotated[Names, NoDecode] = ()
    exemplar_control: str = Field(default="exemplar", min_length=1)
    class_control: str | None = Field(default=None, min_length=1, max_length=200)
    stars: bool = False
    preannotate: Preannotate = "off"
    acquisition: Acquisition = "auto"
    backbone: str = "efficientnet_lite0"
    image_size: int = Field(default=128, ge=32, le=1024)
    training: Training = "head"
    finetuning_seconds: Seconds = 300.0
    finetuning_blocks: Blocks = 2
    group_field: str | None = Field(default=None, min_length=1, max_length=200)
    group_cap: int = Field(default=1, ge=1)
    adaptation: Literal["auto", "off"] = "auto"
    adaptation_seconds: float = Field(default=900.0, gt=0)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    local_files_document_root: Path | None = None
    image_hosts: Annotated[Names, NoDecode] = ()
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
        return self.model_copy(update=options.model_dump(exclude_none=True))


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
    if (settings.basic_auth_user is None) != (settings.basic_auth_pass is None):
        raise SettingsError(
            "Only one of BASIC_AUTH_USER and BASIC_AUTH_PASS is set.",
            "Set both, or none for no authentication.",
        )
    if settings.workers > 1 and settings.redis_url is None:
        raise SettingsError(
            "WORKERS is more than 1, but REDIS_URL is not set.",
            "Several server processes share their work through Redis: set REDIS_URL, or WORKERS to 1.",
        )
    return settings
