"""Every file that is kept beside the rounds vouches for itself: one flipped bit is harmless or refused by name."""

import hashlib
import random

import numpy as np
import pytest
import torch

from clinical_backend.errors import ModelError
from clinical_backend.learner.adaptation.network import AdaptedNetwork, load_adapted, save_adapted
from clinical_backend.learner.training_state import TrainingState
from clinical_backend.workspace.finetuning_record import FinetuningRecord, read_record, write_record

WEIGHTS, MODEL = bytes(range(200)), bytes(range(100, 250))


def adapted_network():
    return AdaptedNetwork(
        run="run",
        weights_sha256=hashlib.sha256(WEIGHTS).hexdigest(),
        model_sha256=hashlib.sha256(MODEL).hexdigest(),
        image_size=48,
        dimension=128,
        views="general",
        images=600,
        steps=300,
        seconds=12.5,
        loss=1.25,
        options={"seed": 0},
        versions={"torch": "2"},
    )


@pytest.fixture
def network():
    return adapted_network()


def flips(path, count, seed=0):
    """Yield so many times with one bit flipped at a random place; the file is whole again afterwards."""
    whole = path.read_bytes()
    draw = random.Random(seed)
    for _ in range(count):
        changed = bytearray(whole)
        changed[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        path.write_bytes(changed)
        yield
    path.write_bytes(whole)


@pytest.mark.parametrize("pattern", ["adapted.json", "*.safetensors", "*.onnx"])
def test_an_adapted_network_with_a_flipped_bit_is_the_same_or_refused(tmp_path, network, pattern):
    save_adapted(tmp_path, network, WEIGHTS, MODEL)
    (file,) = tmp_path.glob(pattern)
    refused = 0
    for _ in flips(file, 300):
        try:
            assert load_adapted(tmp_path) == network
        except ModelError:
            refused += 1
    assert refused > 250
    assert load_adapted(tmp_path) == network


def test_a_record_with_a_flipped_bit_is_the_same_or_none(tmp_path):
    record = FinetuningRecord(message="Fine-tuned.", backbone="net", labels=57, network="ab", learnt=("a" * 64,))
    write_record(tmp_path, record)
    kept = read_record(tmp_path)
    assert kept.model_copy(update={"sha256": None}) == record
    for _ in flips(tmp_path / "record.json", 300):
        found = read_record(tmp_path)
        assert found is None or found.model_copy(update={"sha256": None}) == record
    (tmp_path / "record.json").write_text(record.model_dump_json(exclude={"sha256"}))
    assert read_record(tmp_path) == record  # of an earlier version


def test_the_state_of_a_training_with_a_flipped_bit_is_the_same_or_begins_anew(tmp_path, caplog):
    def parts():
        torch.manual_seed(0)
        network = torch.nn.Linear(3, 2)
        return network, torch.optim.AdamW(network.parameters())

    network, optimizer = parts()
    network(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    state = TrainingState("run", step=5, seconds=1.5, loss=0.5)
    path = tmp_path / "state.safetensors"
    state.save(path, network, optimizer)
    expected = network.weight.detach().numpy().copy()
    refused = 0
    for _ in flips(path, 200):
        fresh, its_optimizer = parts()
        found = TrainingState.restore(path, "run", fresh, its_optimizer)
        refused += found is None
        assert found is None or (found == state and np.array_equal(fresh.weight.detach().numpy(), expected))
    assert refused > 150
    assert "it starts anew" in caplog.text
