"""The contrastive loss. Importing this imports torch."""

from __future__ import annotations

import torch

__all__ = ["contrastive_loss"]


def contrastive_loss(first: torch.Tensor, second: torch.Tensor, *, temperature: float) -> torch.Tensor:
    """Return the normalised-temperature cross-entropy of two views of each image.

    NT-Xent, Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020,
    equation 1: of the 2n − 1 other views in a batch, a view has to find the one of the same image. One
    2n × 2n matrix is all it needs; the general loss of pytorch-metric-learning 2.9 builds 2n × 2n(2n − 2),
    half a gigabyte at n = 256.

    Parameters
    ----------
    first, second
        Projections of shape (n, d), n of at least 2; row i of both belongs to image i. Any length.
    temperature
        Divides the cosine similarities.

    Returns
    -------
    torch.Tensor
        The mean over the 2n views, float32.
    """
    count = len(first)
    rows = torch.nn.functional.normalize(torch.cat([first, second]).float(), dim=1)
    logits = (rows @ rows.T) / temperature
    logits.fill_diagonal_(-torch.inf)
    partners = torch.arange(2 * count, device=rows.device).roll(count)
    return torch.nn.functional.cross_entropy(logits, partners)
