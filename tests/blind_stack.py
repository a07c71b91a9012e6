"""Gaussian data at two resolutions, for which a stack of two stages is exact."""

import torch
from oracles import Gaussian, GaussianStack, covariance_matrix, with_blind_details

from pipeline.chain.schedule import Stage

STAGES = (Stage(2, 40.0, 1.0), Stage(4, 1.0, 0.02))


def blind_stack() -> GaussianStack:
    """Two resolutions, of data whose details nothing is known of: the stack's own assumption."""
    eigenvalues = [2.0, 0.9, 0.4, 0.1]
    mean = torch.tensor([0.3, -0.2, 0.1, 0.5], dtype=torch.float64)
    low = Gaussian((1, 2, 2), mean, covariance_matrix(eigenvalues, seed=1))
    tau2 = torch.tensor([[0.2], [0.1], [0.05]], dtype=torch.float64)
    return GaussianStack.of(with_blind_details(low, tau2), 2)
