"""The contrastive loss is the one of SimCLR's first equation."""

import math

import pytest
import torch

from clinical_backend.learner.adaptation.encoder import contrastive_loss


def test_the_loss_is_the_mean_of_the_papers_terms():
    first, second = torch.randn((2, 5, 4), generator=torch.Generator().manual_seed(0))
    rows = [row / row.norm() for row in (*first, *second)]
    terms = []
    for i, row in enumerate(rows):
        similarities = [float(row @ other) / 0.3 for other in rows]
        others = sum(math.exp(value) for k, value in enumerate(similarities) if k != i)
        terms.append(-math.log(math.exp(similarities[(i + 5) % 10]) / others))
    assert float(contrastive_loss(first, second, temperature=0.3)) == pytest.approx(sum(terms) / 10, rel=1e-5)


def test_views_that_find_each_other_cost_less_than_views_that_do_not():
    rows = torch.eye(6)
    together = contrastive_loss(rows, rows, temperature=0.1)
    apart = contrastive_loss(rows, rows.roll(1, dims=0), temperature=0.1)
    assert together < 0.01 < apart


def test_length_does_not_matter():
    first, second = torch.randn((2, 5, 4), generator=torch.Generator().manual_seed(0))
    assert torch.allclose(
        contrastive_loss(first, second, temperature=0.2), contrastive_loss(7.0 * first, second, temperature=0.2)
    )
