import pytest

from clinical_backend.project_settings import ProjectOptions
from clinical_backend.settings import SettingsError, load_settings


def test_the_older_name_of_the_address_is_read_too(monkeypatch):
    monkeypatch.setenv("LABEL_STUDIO_HOST", "http://studio:8080")
    assert load_settings().label_studio_url == "http://studio:8080"


def test_a_wrong_value_is_named_without_being_shown(monkeypatch):
    monkeypatch.setenv("QUEUE_SIZE", "secret-looking")
    with pytest.raises(SettingsError, match="QUEUE_SIZE") as refused:
        load_settings()
    assert "secret-looking" not in str(refused.value)


@pytest.mark.parametrize(("user", "password"), [("reader", None), ("reader", ""), ("", "secret"), (None, "secret")])
def test_half_of_the_credentials_is_refused(user, password):
    with pytest.raises(SettingsError, match="BASIC_AUTH_PASS"):
        load_settings(basic_auth_user=user, basic_auth_pass=password)


def test_credentials_that_are_empty_are_none():
    assert load_settings(basic_auth_user="", basic_auth_pass="").basic_auth is None


def test_names_without_a_password_and_names_that_no_browser_can_send_are_refused():
    with pytest.raises(SettingsError, match="no password goes with these names"):
        load_settings(basic_auth_names="ada, ben")
    for names in ("ada:x", '["ada", ""]', '["ada\\tx"]', "a" * 201):
        with pytest.raises(SettingsError, match="A name in BASIC_AUTH_NAMES"):
            load_settings(basic_auth_user="u", basic_auth_pass="p", basic_auth_names=names)


def test_a_missing_key_is_refused_with_its_cure(monkeypatch):
    monkeypatch.delenv("LABEL_STUDIO_API_KEY", raising=False)
    with pytest.raises(SettingsError, match="Account & Settings"):
        load_settings().api_key  # noqa: B018


def test_options_of_a_project_lie_over_the_settings():
    settings = load_settings(queue_size=100, rare_classes="a, b")
    own = settings.for_project(ProjectOptions.model_validate({"queue_size": 7, "unknown": 1}))
    assert (own.queue_size, own.rare_classes, settings.queue_size) == (7, ("a", "b"), 100)


def test_another_process_reads_the_same_settings(monkeypatch, tmp_path):
    settings = load_settings(
        label_studio_api_key="k", rare_classes=("a", "b"), model_dir=tmp_path, preannotate="confident", audit_share=0.2
    )
    for name, value in settings.environment({}).items():
        monkeypatch.setenv(name, value)
    assert load_settings() == settings


@pytest.mark.parametrize(("given", "read"), [("3", 3), ("all", "all")])
def test_the_last_blocks_or_all_of_them_are_fine_tuned(monkeypatch, given, read):
    monkeypatch.setenv("FINETUNING_BLOCKS", given)
    assert load_settings().finetuning_blocks == read
    own = load_settings().for_project(ProjectOptions.model_validate({"training": "finetune", "finetuning_blocks": 1}))
    assert (own.training, own.finetuning_blocks, load_settings().training) == ("finetune", 1, "head")


@pytest.mark.parametrize("wrong", ["0", "some"])
def test_blocks_that_cannot_be_are_refused(monkeypatch, wrong):
    monkeypatch.setenv("FINETUNING_BLOCKS", wrong)
    with pytest.raises(SettingsError, match="FINETUNING_BLOCKS"):
        load_settings()


def test_the_key_is_not_shown():
    assert "hidden" not in repr(load_settings(label_studio_api_key="hidden"))


@pytest.mark.parametrize(
    ("given", "mode"),
    [("true", "all"), ("1", "all"), ("yes", "all"), ("TRUE", "all"), ("false", "off"), ("0", "off"), ("no", "off")]
    + [(mode, mode) for mode in ("off", "confident", "all")],
)
def test_what_earlier_versions_called_preannotation_is_still_read(monkeypatch, given, mode):
    monkeypatch.setenv("PREANNOTATE", given)
    assert load_settings().preannotate == mode
    assert ProjectOptions(preannotate=given).preannotate == mode
    for name, value in load_settings().environment({}).items():
        monkeypatch.setenv(name, value)
    assert load_settings().preannotate == mode


def test_by_default_no_class_is_ticked(monkeypatch):
    monkeypatch.delenv("PREANNOTATE", raising=False)
    assert load_settings().preannotate == "off"


def test_an_unknown_mode_of_preannotation_is_refused_by_name(monkeypatch):
    monkeypatch.setenv("PREANNOTATE", "sometimes")
    with pytest.raises(SettingsError, match="PREANNOTATE"):
        load_settings()


def test_names_with_commas_are_given_as_a_list_and_reach_other_processes_whole(monkeypatch):
    monkeypatch.setenv("RARE_CLASSES", '["carcinoma, basal", "nevus"]')
    settings = load_settings(label_studio_api_key="k")
    assert settings.rare_classes == ("carcinoma, basal", "nevus")
    monkeypatch.setenv("RARE_CLASSES", settings.environment({})["RARE_CLASSES"])
    assert load_settings().rare_classes == ("carcinoma, basal", "nevus")
    assert load_settings(rare_classes="[odd, b").rare_classes == ("[odd", "b")
