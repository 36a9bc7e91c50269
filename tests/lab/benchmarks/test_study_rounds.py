"""The benchmark of rounds whose tasks have several images."""

from clinical_backend.lab.benchmarks.study_rounds import main, open_case
from clinical_backend.rounds.inputs import choose_inputs


def test_its_project_has_all_features_and_one_image_stands_for_each_task(tmp_path):
    with open_case(tmp_path, 120, 4, 100, seed=0) as (project, snapshot):
        inputs, reason = choose_inputs(project, snapshot)
    assert reason.startswith("the image that decides")
    assert inputs.pool.tasks.tolist() == list(range(100, 120))
    assert len(inputs.labelled) == 100
    assert set(inputs.images) == set(range(120))


def test_it_says_how_long_a_round_takes(capsys):
    main([310], 2, 1)
    assert "310" in capsys.readouterr().out
