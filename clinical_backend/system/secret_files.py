"""Secrets in files, named by variables that end in ``_FILE``, as containers are given them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

from pydantic import SecretStr
from pydantic_settings import EnvSettingsSource, PydanticBaseSettingsSource

from clinical_backend.errors import SettingsError

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo
    from pydantic_settings import BaseSettings

__all__ = ["SecretFiles", "is_secret"]

_LONGEST: Final = 16_384
"""Bytes of a secret; tokens and URLs are far shorter, and a file named by mistake may be anything."""


def is_secret(field: FieldInfo) -> bool:
    """Tell whether a setting is one that is not shown."""
    return SecretStr in (field.annotation, *get_args(field.annotation))


class SecretFiles(PydanticBaseSettingsSource):
    """Reads the secrets whose files are named in the given sources.

    Parameters
    ----------
    settings_cls
        The settings.
    sources
        Where variables are looked for; of several that name a secret, the first counts.
    """

    def __init__(self, settings_cls: type[BaseSettings], *sources: PydanticBaseSettingsSource) -> None:
        super().__init__(settings_cls)
        self._sources = [source.env_vars for source in sources if isinstance(source, EnvSettingsSource)]

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return the secret of a field, if a file holds it."""
        return (self._read(field_name) if is_secret(field) else None), field_name, False

    def __call__(self) -> dict[str, Any]:
        """Return the secrets that files hold.

        Raises
        ------
        SettingsError
            When a file cannot be read or holds none, or a variable gives the same secret.
        """
        fields = self.settings_cls.model_fields.items()
        secrets = {name: self.get_field_value(field, name)[0] for name, field in fields}
        return {name: secret for name, secret in secrets.items() if secret is not None}

    def _read(self, name: str) -> str | None:
        for variables in self._sources:
            given, path = variables.get(name), variables.get(f"{name}_file")
            if given and path:
                raise SettingsError(
                    f"Both {name.upper()} and {name.upper()}_FILE are set.",
                    "Set one of them only: which of the two is meant cannot be told.",
                )
            if given:
                return None
            if path:
                return _content(f"{name.upper()}_FILE", Path(path))
        return None


def _content(variable: str, path: Path) -> str:
    """Return what a file holds, without the end of its line."""
    try:
        with path.open("rb") as file:
            content = file.read(_LONGEST + 1)
        secret = content.decode().rstrip("\r\n")
    except OSError as error:
        raise SettingsError(
            f"The file {path} of {variable} cannot be read: {error.strerror}.",
            "Name a file that is there and that the user of the backend may read.",
        ) from None
    except UnicodeDecodeError:
        raise SettingsError(
            f"The file {path} of {variable} is no text.", "Write the secret into it, and no more."
        ) from None
    if not secret.strip() or len(content) > _LONGEST or "\n" in secret:
        raise SettingsError(
            f"The file {path} of {variable} does not hold one line with a secret.",
            "Write the secret into it, and no more.",
        )
    return secret
