"""A name says which network, where its weights come from, and what is kept of what was downloaded."""

import json
import shutil
from pathlib import Path

import httpx2
import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from huggingface_hub import HfApi
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

from clinical_backend.errors import ModelError
from clinical_backend.learner.backbones import downloads, loading, networks
from clinical_backend.learner.backbones.loading import load_backbone, parse_backbone, require_backbone, tokenizer_folder
from clinical_backend.learner.backbones.networks import TorchBackbone
from tests.learner.backbones.published import images, write_published, write_timm
from tests.tiny_network import TINY

SMALL = {"embed_dim": 24, "depth": 2, "num_heads": 2}


@pytest.fixture
def repository(tmp_path):
    """Return the files of a repository of the hub."""
    folder = tmp_path / "repository"
    folder.mkdir()
    write_timm(folder, "vit_base_patch16_224", 64, **SMALL)
    return folder


class Hub:
    """Stands in for the Hugging Face hub, which no test calls: it has the files of one folder."""

    def __init__(self, monkeypatch, folder):
        self.folder, self.asked, self.refusal = folder, [], None
        monkeypatch.setattr(downloads, "list_repo_files", self.files)
        monkeypatch.setattr(downloads, "hf_hub_download", self.download)

    def files(self, name, *, revision):
        if self.refusal is not None:
            raise self.refusal
        return sorted(path.name for path in self.folder.iterdir())

    def download(self, name, file, *, revision, cache_dir):
        self.asked.append((name, file, revision))
        target = Path(cache_dir) / "blobs" / file
        target.parent.mkdir(exist_ok=True)
        shutil.copy(self.folder / file, target)
        return str(target)


@pytest.fixture
def hub(monkeypatch, repository):
    return Hub(monkeypatch, repository)


class TestHub:
    def test_a_repository_is_downloaded_once_and_gives_what_its_folder_gives(self, hub, repository, tmp_path):
        specs = [parse_backbone("hf-hub:lab/eye@v1.2", folder=tmp_path / "kept") for _ in range(3)]
        assert hub.asked == [("lab/eye", "config.json", "v1.2"), ("lab/eye", "model.safetensors", "v1.2")]
        assert {spec.key for spec in specs} == {parse_backbone(str(repository), folder=tmp_path).key}
        assert specs[0].image_size == 64
        assert specs[0].weights.is_relative_to(tmp_path / "kept")
        kept = [path.name for path in (tmp_path / "kept" / "hub").iterdir() if path.is_dir()]
        assert kept == ["lab--eye--v1.2"]

    def test_where_it_holds_the_weights_of_two_libraries_those_of_its_description_are_downloaded(
        self, hub, repository, tmp_path
    ):
        write_published(repository, "open_clip plain")
        spec = parse_backbone("hf-hub:lab/eye", folder=tmp_path / "kept")
        assert spec.weights.name == "open_clip_model.safetensors"
        assert "model.safetensors" not in [file for _, file, _ in hub.asked]

    def test_its_tokenizer_is_downloaded_once_when_it_is_first_asked_for(self, hub, repository, tmp_path):
        spec = parse_backbone("hf-hub:lab/eye@v1.2", folder=tmp_path)
        (repository / "tokenizer.json").write_text("{}")
        found = {tokenizer_folder("hf-hub:lab/eye@v1.2?precision=half", spec) for _ in range(2)}
        assert hub.asked[2:] == [("lab/eye", "tokenizer.json", "v1.2")]
        assert [path.name for path in found.pop().iterdir()] == ["tokenizer.json"]
        assert parse_backbone("hf-hub:lab/eye@v1.2", folder=tmp_path).key == spec.key
        assert tokenizer_folder(str(repository), spec) is None

    def test_a_tokenizer_that_cannot_be_downloaded_is_refused(self, hub, tmp_path):
        spec = parse_backbone("hf-hub:lab/eye", folder=tmp_path)
        hub.refusal = OSError("no network")
        with pytest.raises(ModelError, match="How 'lab/eye' reads text cannot be downloaded"):
            tokenizer_folder("hf-hub:lab/eye", spec)

    def test_a_tokenizer_that_cannot_be_kept_is_refused(self, hub, tmp_path):
        spec = parse_backbone("hf-hub:lab/eye", folder=tmp_path)
        (tmp_path / "hub" / "lab--eye--tokenizer.lock").mkdir()
        with pytest.raises(ModelError, match="'lab/eye' cannot be kept"):
            tokenizer_folder("hf-hub:lab/eye", spec)

    def test_a_folder_that_cannot_be_made_is_refused(self, hub, tmp_path):
        (tmp_path / "hub").write_text("")
        with pytest.raises(ModelError, match="cannot be kept"):
            parse_backbone("hf-hub:lab/eye", folder=tmp_path)

    def test_files_that_were_changed_on_disk_are_downloaded_again(self, hub, tmp_path):
        spec = parse_backbone("hf-hub:lab/eye", folder=tmp_path)
        spec.weights.write_bytes(b"something else")
        assert parse_backbone("hf-hub:lab/eye", folder=tmp_path).key == spec.key
        assert len(hub.asked) == 4

    def test_a_repository_without_safetensors_says_how_to_convert(self, hub, repository, tmp_path):
        (repository / "model.safetensors").rename(repository / "pytorch_model.bin")
        with pytest.raises(ModelError, match=r"lab/eye has its weights in pytorch_model.bin only") as refusal:
            parse_backbone("hf-hub:lab/eye", folder=tmp_path)
        assert "safetensors.torch" in refusal.value.cure
        assert hub.asked == []

    @pytest.mark.parametrize(
        ("kind", "message", "cure"),
        [
            (GatedRepoError, "is gated", "https://huggingface.co/lab/eye"),
            (RepositoryNotFoundError, "knows no repository", "HF_TOKEN"),
            (HfHubHTTPError, "cannot be downloaded", "into a folder"),
            (ConnectionError, "cannot be downloaded", "into a folder"),
            (httpx2.ConnectError, "cannot be downloaded", "into a folder"),
            (httpx2.ReadTimeout, "cannot be downloaded", "into a folder"),
        ],
    )
    def test_a_refusal_says_what_to_do(self, hub, tmp_path, kind, message, cure):
        response = httpx2.Response(403, request=httpx2.Request("GET", "http://hub"))
        hub.refusal = kind("no", response=response) if issubclass(kind, HfHubHTTPError) else kind("no")
        with pytest.raises(ModelError, match=message) as refusal:
            parse_backbone("hf-hub:lab/eye", folder=tmp_path)
        assert cure in refusal.value.cure

    @pytest.mark.parametrize("name", ["hf-hub:", "hf-hub:eye", "hf-hub:lab/../eye", "hf-hub:/etc/passwd", "lab/eye"])
    def test_a_name_that_the_hub_cannot_have_is_refused_before_it_is_asked(self, hub, tmp_path, name):
        with pytest.raises(ModelError, match="is not known"):
            parse_backbone(name, folder=tmp_path)
        assert hub.asked == []

    def test_without_a_network_the_hub_itself_is_refused_with_what_to_do(self, tmp_path, monkeypatch):
        monkeypatch.setattr(downloads, "list_repo_files", HfApi("http://127.0.0.1:9").repo_info)
        with pytest.raises(ModelError, match="cannot be downloaded") as refusal:
            parse_backbone("hf-hub:lab/eye", folder=tmp_path)
        assert "no network" in refusal.value.cure

    @pytest.mark.parametrize("name", ["lab/eye", "hf_hub:lab/eye", "hf:lab/eye", "https://huggingface.co/lab/eye"])
    def test_a_repository_that_is_named_otherwise_is_guessed(self, hub, tmp_path, name):
        with pytest.raises(ModelError, match=r"Did you mean hf-hub:lab/eye\?"):
            parse_backbone(name, folder=tmp_path)
        assert hub.asked == []


class TestNamesOfTimm:
    @pytest.fixture
    def downloaded(self, monkeypatch):
        """Stand in for timm's download; note what was asked for."""
        asked = []

        def download(architecture, path):
            asked.append(architecture)
            path.parent.mkdir(exist_ok=True)
            safetensors.torch.save_file(timm.create_model(architecture, num_classes=0).state_dict(), path)

        monkeypatch.setattr(downloads, "download_weights", download)
        return asked

    def test_a_name_alone_is_that_of_timms_own_weights_which_are_downloaded_once(self, downloaded, tmp_path):
        names = [TINY, f"timm:{TINY}?weights=pretrained", TINY]
        specs = [parse_backbone(name, image_size=32, folder=tmp_path) for name in names]
        assert downloaded == [TINY]
        assert len({spec.key for spec in specs}) == 1

    def test_the_size_of_the_training_is_taken_where_nobody_says_another(self, downloaded, tmp_path):
        assert parse_backbone(TINY, folder=tmp_path).image_size == 160
        assert parse_backbone(TINY, folder=tmp_path, image_size=64).image_size == 64
        assert parse_backbone("efficientnet_lite0", folder=tmp_path).image_size == 128

    def test_a_name_that_timm_does_not_have_is_refused_with_those_near_it(self, downloaded, tmp_path):
        with pytest.raises(ModelError, match=r"'test_eficientnet' is not known. Did you mean test_efficientnet"):
            parse_backbone("test_eficientnet", folder=tmp_path)
        assert downloaded == []


class TestPrecision:
    def test_half_precision_has_a_key_of_its_own(self, tiny_name, tmp_path):
        exact, half = (
            parse_backbone(name, image_size=32, folder=tmp_path) for name in (tiny_name, tiny_name + "&precision=half")
        )
        assert exact.key != half.key
        assert "half" in half.key

    def test_a_cpu_computes_in_full_precision_whatever_is_asked(self, tiny_name, tmp_path):
        exact, half = (
            TorchBackbone(parse_backbone(name, image_size=32, folder=tmp_path), "cpu")
            for name in (tiny_name, tiny_name + "&precision=half")
        )
        assert np.array_equal(exact.embed(images(32)), half.embed(images(32)))

    @pytest.mark.parametrize("option", ["precision=double", "colour=red"])
    def test_an_option_that_is_not_known_is_refused(self, tmp_path, option):
        with pytest.raises(ModelError, match="not known"):
            parse_backbone(f"efficientnet_lite0?{option}", folder=tmp_path)


class TestMemory:
    @pytest.fixture
    def small_device(self, tiny_name, tmp_path, monkeypatch):
        """Return a backbone on a device that takes so many images at once, and the sizes of its batches."""

        def make(most):
            backbone = TorchBackbone(parse_backbone(tiny_name, image_size=32, folder=tmp_path), "cpu")
            run, batches = backbone._run, []

            def bounded(batch):
                if len(batch) > most:
                    raise torch.OutOfMemoryError("no memory")
                batches.append(len(batch))
                return run(batch)

            monkeypatch.setattr(backbone, "_run", bounded)
            return backbone, batches

        return make

    def test_a_batch_that_does_not_fit_is_halved_until_it_does(self, small_device):
        pixels = np.concatenate([images(32)] * 5)[:9]
        (bounded, batches), (free, _) = small_device(3), small_device(9)
        assert np.abs(bounded.embed(pixels) - free.embed(pixels)).max() < 1e-5
        assert max(batches) <= 3
        assert bounded.batch_size <= 4

    def test_a_device_that_takes_no_single_image_is_named(self, small_device):
        backbone, _ = small_device(0)
        with pytest.raises(ModelError, match="no memory left"):
            backbone.embed(images(32))

    def test_a_network_too_large_for_a_file_of_onnx_runs_in_torch(self, tiny_name, tmp_path, monkeypatch):
        monkeypatch.setattr(loading, "LARGEST_EXPORT", 1000)
        backbone = load_backbone(tiny_name, image_size=32, folder=tmp_path, device="cpu")
        assert backbone.engine == "torch on cpu"
        assert not list(tmp_path.glob("*.onnx"))


def test_a_description_of_what_was_downloaded_vouches_for_each_file(hub, tmp_path):
    spec = parse_backbone("hf-hub:lab/eye", folder=tmp_path)
    assert sorted(json.loads((spec.weights.parent / "sha256.json").read_text())) == ["config.json", "model.safetensors"]
    assert networks.build_network(spec)[1] == 24


@pytest.mark.parametrize("name", ["efficientnet_lite", "hf-hub:lab/eye@v1", "resnet18?precision=half", "any_of_timms"])
def test_a_name_is_checked_without_a_download(hub, name):
    require_backbone(name)
    assert hub.asked == []


def test_a_name_that_cannot_be_understood_or_names_nothing_is_refused_before_anything_is_loaded(tmp_path, repository):
    require_backbone(str(repository))
    require_backbone(f"timm:resnet18?weights={repository}/model.safetensors")
    for name in ("", "lab/eye", "hf-hub:eye", f"{tmp_path}/none", f"timm:resnet18?weights={tmp_path}/none.safetensors"):
        with pytest.raises(ModelError):
            require_backbone(name)
