import pytest

from clinical_backend.errors import StorageError
from clinical_backend.jobs.redis_connection import connect_redis, require_redis
from clinical_backend.settings import Settings, SettingsError, load_settings
from clinical_backend.storage.opening import open_database
from clinical_backend.system.secret_files import is_secret

SECRETS = sorted(name.upper() for name, field in Settings.model_fields.items() if is_secret(field))


@pytest.fixture(autouse=True)
def environment(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in SECRETS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BASIC_AUTH_USER", "label-studio")
    monkeypatch.setenv("BASIC_AUTH_PASS", "p")


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret"
    path.write_text("s3cr:t@/ \n")
    return path


def test_the_secrets_are_those_that_are_not_shown():
    assert SECRETS == [
        "BASIC_AUTH_PASS",
        "DATABASE_PASSWORD",
        "DATABASE_URL",
        "LABEL_STUDIO_API_KEY",
        "REDIS_PASSWORD",
        "REDIS_URL",
    ]


@pytest.mark.parametrize("name", SECRETS)
def test_each_secret_is_read_from_the_file_that_is_named_for_it(monkeypatch, secret, name):
    monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(f"{name}_FILE", str(secret))
    assert getattr(load_settings(), name.lower()).get_secret_value() == "s3cr:t@/ "


def test_a_file_may_be_named_in_dotenv_and_the_environment_comes_before_it(monkeypatch, tmp_path, secret):
    (tmp_path / ".env").write_text(f"LABEL_STUDIO_API_KEY_FILE={secret}\n")
    assert load_settings().api_key == "s3cr:t@/ "
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "of the environment")
    assert load_settings().api_key == "of the environment"


def test_another_process_reads_the_same_secret(monkeypatch, secret):
    monkeypatch.setenv("LABEL_STUDIO_API_KEY_FILE", str(secret))
    settings = load_settings()
    variables = settings.environment({"LABEL_STUDIO_API_KEY_FILE": str(secret)})
    monkeypatch.delenv("LABEL_STUDIO_API_KEY_FILE")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert load_settings() == settings


def test_a_secret_that_is_given_twice_is_refused(monkeypatch, secret):
    monkeypatch.setenv("BASIC_AUTH_PASS_FILE", str(secret))
    with pytest.raises(SettingsError, match="Both BASIC_AUTH_PASS and BASIC_AUTH_PASS_FILE"):
        load_settings()


@pytest.mark.parametrize("content", [b"", b"\n", b"two\nlines\n", b"\xff\xfe", b"x" * 20_000])
def test_a_file_without_a_secret_is_refused_by_its_name_and_not_shown(monkeypatch, secret, content):
    secret.write_bytes(content)
    monkeypatch.setenv("REDIS_URL_FILE", str(secret))
    with pytest.raises(SettingsError, match="REDIS_URL_FILE") as refused:
        load_settings()
    assert "two" not in str(refused.value)


def test_a_file_that_cannot_be_read_is_refused_with_the_cause(monkeypatch, tmp_path):
    monkeypatch.setenv("REDIS_URL_FILE", str(tmp_path / "none"))
    with pytest.raises(SettingsError, match="REDIS_URL_FILE cannot be read: No such file"):
        load_settings()


def test_a_password_of_its_own_opens_redis(redis_server):
    settings = load_settings(redis_url=redis_server.url, redis_password="s3cr:t@/")
    redis_server.client.config_set("requirepass", "s3cr:t@/")
    try:
        require_redis(connect_redis(settings))
    finally:
        redis_server.client.config_set("requirepass", "")


def test_a_password_of_its_own_goes_to_the_database_and_into_no_message():
    settings = load_settings(database_url="postgresql://postgres@127.0.0.1:9/clinical", database_password="s3cr:t@/")
    with pytest.raises(StorageError) as refused:
        open_database(settings)
    assert "s3cr" not in str(refused.value)
