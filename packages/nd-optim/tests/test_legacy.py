"""``legacy=True`` against the arithmetic of torch_brain 0.1.2 in NumPy, where the package itself is not at hand."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nd_optim import SparseLamb


def peer_step(
    weight: Any, first: Any, second: Any, gradient: Any, *, decay: float, clamp: float, adam: bool, sparse: bool
) -> tuple[Any, Any, Any]:
    """One step at lr 0.05, betas (0.8, 0.9), eps 1e-6: rows without gradient lose their moments, not their weight."""
    first, second = 0.8 * first + 0.2 * gradient, 0.9 * second + 0.1 * gradient**2
    moves = np.ones(len(weight), dtype=bool)
    if sparse:
        moves = np.abs(gradient).sum(axis=-1) > 0
        first[~moves] = second[~moves] = 0
    update = first / (np.sqrt(second) + 1e-6) + decay * weight
    weight_norm, update_norm = min(np.sqrt(np.sum(weight**2)), clamp), np.sqrt(np.sum(update**2))
    ratio = 1.0 if adam or weight_norm == 0 or update_norm == 0 else weight_norm / update_norm
    weight = weight.copy()
    weight[moves] -= 0.05 * ratio * update[moves]
    return weight, first, second


@pytest.mark.parametrize("capturable", [False, True])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("options", [{}, {"decay": 0.1}, {"decay": 0.1, "clamp": 0.3}, {"decay": 0.1, "adam": True}])
def test_legacy_steps_equal_the_equations_of_the_peer(options: dict[str, Any], sparse: bool, capturable: bool) -> None:
    settings = {"decay": 0.0, "clamp": 10.0, "adam": False, **options}
    generator = torch.Generator().manual_seed(0)
    table = nn.Parameter(torch.randn(8, 3, generator=generator, dtype=torch.float64))
    state = (table.detach().numpy().copy(), np.zeros((8, 3)), np.zeros((8, 3)))
    optimizer = SparseLamb(
        [table],
        lr=0.05,
        betas=(0.8, 0.9),
        weight_decay=settings["decay"],
        clamp_value=settings["clamp"],
        adam=settings["adam"],
        sparse=sparse,
        capturable=capturable,
        legacy=True,
    )
    for step in range(14):
        gradient = torch.randn(8, 3, generator=generator, dtype=torch.float64)
        gradient[torch.arange(8) % 7 < step % 8] = 0  # from all rows touched to none
        table.grad = gradient
        optimizer.step()
        state = peer_step(*state, gradient.numpy(), sparse=sparse, **settings)
        np.testing.assert_allclose(table.detach().numpy(), state[0], rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(optimizer.state[table]["exp_avg"].numpy(), state[1], rtol=1e-12, atol=1e-14)


def test_legacy_ignores_a_list_of_touched_rows_which_it_does_not_need() -> None:
    tables = [nn.Parameter(torch.ones(4, 2)) for _ in range(2)]
    for table, rows in zip(tables, (None, torch.tensor([1])), strict=True):
        table.grad = torch.tensor([[0.0, 0.0], [1.0, 2.0], [3.0, 0.0], [0.0, 0.0]])
        optimizer = SparseLamb([table], sparse=True, legacy=True)
        optimizer.step(touched_rows=None if rows is None else {table: rows})
    assert torch.equal(tables[0], tables[1])
