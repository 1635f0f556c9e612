"""Row-sparse steps: each row is LAMB of its own, untouched rows are untouched, however the gradient comes."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nd_optim import SparseLamb, UnsupportedGradientError

FORMS = [
    "dense",
    "repeated rows",
    "more rows",
    "mask",
    "row-sparse",
    "repeated row-sparse",
    "row-sparse and rows",
    "full row-sparse",
]
SHAPES = [(9, 4), (9,), (9, 2, 3), (9, 1), (1, 4)]
# looking for the touched rows; keeping every shape static, as a CUDA graph needs
PATHS: list[dict[str, Any]] = [{}, {"capturable": True}]


def row_gradient(shape: tuple[int, ...], touched: list[int], generator: torch.Generator) -> Tensor:
    gradient = torch.zeros(shape, dtype=torch.float64)
    gradient[touched] = torch.randn((len(touched), *shape[1:]), generator=generator, dtype=torch.float64)
    return gradient


def as_coo(gradient: Tensor, touched: list[int], repeat: int = 1) -> Tensor:
    rows = torch.tensor(touched * repeat, dtype=torch.int64)
    values = gradient[torch.tensor(touched, dtype=torch.int64)].repeat(repeat, *[1] * (gradient.ndim - 1)) / repeat
    with torch.sparse.check_sparse_tensor_invariants():
        return torch.sparse_coo_tensor(rows[None], values, gradient.shape)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "options",
    [
        {"adam": adam, "debias": debias, "weight_decay": decay, "clamp_value": clamp}
        for adam, debias, decay, clamp in itertools.product([False, True], [False, True], [0.0, 0.1], [0.5, math.inf])
    ],
)
def test_row_sparse_steps_equal_lamb_applied_row_by_row(
    path: dict[str, Any], shape: tuple[int, ...], options: dict[str, Any], numpy_row_lamb: Any
) -> None:
    options = {"lr": 0.03, "betas": (0.8, 0.98), "eps": 1e-5, **options}
    generator = torch.Generator().manual_seed(0)
    table = nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64))
    table.data[0] = 0  # a row of zeros has the trust ratio 1
    oracle = numpy_row_lamb(table.detach().numpy(), **options)
    optimizer = SparseLamb([table], sparse=True, **options, **path)
    for _ in range(12):
        touched = torch.randperm(shape[0], generator=generator)[: max(1, shape[0] // 2)].tolist()
        table.grad = row_gradient(shape, touched, generator)
        optimizer.step()
        np.testing.assert_allclose(table.detach().numpy(), oracle.step(table.grad.numpy()), rtol=1e-11, atol=1e-13)


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_untouched_rows_keep_every_bit_of_weight_and_moments(data: st.DataObject) -> None:
    rows = data.draw(st.integers(1, 8), "rows")
    touched = sorted(data.draw(st.sets(st.integers(0, rows - 1)), "touched"))
    path = data.draw(st.sampled_from(PATHS), "path")
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 2**32 - 1), "seed"))
    shape = (rows, *data.draw(st.sampled_from([(), (3,), (2, 2)]), "row_shape"))
    table = nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64))
    optimizer = SparseLamb([table], lr=0.5, weight_decay=0.5, sparse=True, debias=True, **path)
    table.grad = row_gradient(shape, list(range(rows)), generator)
    optimizer.step()
    before = {"weight": table.detach().clone(), **{key: value.clone() for key, value in optimizer.state[table].items()}}
    table.grad = row_gradient(shape, touched, generator)
    optimizer.step()
    after = {"weight": table.detach(), **optimizer.state[table]}
    others = [row for row in range(rows) if row not in touched]
    for key, old in before.items():
        assert torch.equal(after[key][others], old[others])
    for row in touched:
        assert not torch.equal(after["weight"][row], before["weight"][row])
        assert int(after["row_steps"][row]) == 2


@pytest.mark.parametrize("path", PATHS)
def test_a_rows_step_does_not_depend_on_batch_mates_or_vocabulary(path: dict[str, Any]) -> None:
    generator = torch.Generator().manual_seed(1)
    row, gradients = torch.randn(6, generator=generator).double(), torch.randn(5, 6, generator=generator).double()
    results = []
    for vocabulary, mates in ((1, []), (50, []), (50, list(range(1, 50))), (5000, [7, 4999])):
        table = nn.Parameter(torch.randn(vocabulary, 6, generator=generator, dtype=torch.float64) * 100)
        table.data[0] = row
        optimizer = SparseLamb([table], lr=0.1, weight_decay=0.1, sparse=True, **path)
        for gradient in gradients:
            table.grad = row_gradient((vocabulary, 6), mates, generator) * 1000
            table.grad[0] = gradient
            optimizer.step()
        results.append(table[0].detach().clone())
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], rtol=1e-13, atol=0)


@pytest.mark.parametrize("path", PATHS)
def test_a_row_seen_later_is_corrected_for_its_own_steps(path: dict[str, Any]) -> None:
    table = nn.Parameter(torch.ones(2, 3, dtype=torch.float64))
    optimizer = SparseLamb([table], lr=0.1, adam=True, debias=True, sparse=True, eps=1e-12, **path)
    for step in range(4):
        table.grad = torch.zeros_like(table)
        table.grad[0] = 1.0
        table.grad[1] = 5.0 if step == 3 else 0.0
        optimizer.step()
    # With its own count, a first step has exactly the length of the learning rate; with the table's it would not.
    torch.testing.assert_close(table[1].detach(), torch.full((3,), 0.9, dtype=torch.float64), rtol=1e-10, atol=0)
    assert optimizer.state[table]["row_steps"].tolist() == [4, 1]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_form_of_a_gradient_gives_the_same_run(path: dict[str, Any], shape: tuple[int, ...]) -> None:
    def touched_at(step: int) -> list[int]:
        return sorted({(step * 3) % shape[0], (step * 5 + 1) % shape[0]})

    def listing(form: str, touched: list[int]) -> Tensor | None:
        if form == "repeated rows":
            return torch.tensor([touched, touched[::-1]], dtype=torch.int32)
        if form == "more rows":
            return torch.arange(shape[0])
        if form == "mask":
            return torch.tensor([row in touched for row in range(shape[0])])
        return None

    results = {}
    for form in FORMS:
        generator = torch.Generator().manual_seed(2)
        table = nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64))
        optimizer = SparseLamb([table], lr=0.05, weight_decay=0.1, debias=True, sparse=True, **path)
        for step in range(6):
            touched = touched_at(step)
            gradient = row_gradient(shape, touched, generator)
            if form == "repeated row-sparse":
                table.grad = as_coo(gradient, touched, repeat=2)
            elif form == "full row-sparse":
                table.grad = as_coo(gradient, list(range(shape[0])))
            else:
                table.grad = as_coo(gradient, touched) if "row-sparse" in form else gradient
            rows = listing("more rows" if form == "row-sparse and rows" else form, touched)
            optimizer.step(touched_rows=None if rows is None else {table: rows})
        results[form] = (table.detach(), optimizer.state[table]["row_steps"])
    for weight, steps in results.values():
        torch.testing.assert_close(weight, results["dense"][0], rtol=1e-13, atol=1e-15)
        assert torch.equal(steps, results["dense"][1])


def test_static_and_searched_rows_give_the_same_run() -> None:
    tables = [nn.Parameter(torch.randn(40, 3, generator=torch.Generator().manual_seed(3))) for _ in PATHS]
    optimizers = [
        SparseLamb([table], sparse=True, debias=True, **path) for table, path in zip(tables, PATHS, strict=True)
    ]
    generator = torch.Generator().manual_seed(4)
    for step in range(10):
        gradient = row_gradient((40, 3), [step, step + 5, 39], generator).float()
        for table, optimizer in zip(tables, optimizers, strict=True):
            table.grad = gradient
            optimizer.step()
    torch.testing.assert_close(tables[0], tables[1], rtol=1e-6, atol=1e-7)


def test_an_embedding_trains_alike_with_sparse_and_dense_gradients() -> None:
    runs = []
    for sparse_gradients in (False, True):
        torch.manual_seed(0)
        embedding = nn.Embedding(30, 5, sparse=sparse_gradients)
        optimizer = SparseLamb(embedding.parameters(), lr=0.1, weight_decay=0.01, sparse=True)
        generator = torch.Generator().manual_seed(5)
        for _ in range(10):
            indices = torch.randint(0, 30, (8,), generator=generator)
            optimizer.zero_grad()
            (embedding(indices) - 1).square().sum().backward()
            optimizer.step()
        runs.append(embedding.weight.detach())
    torch.testing.assert_close(runs[0], runs[1], rtol=1e-5, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 10))
def test_renumbering_the_rows_renumbers_the_result(seed: int, rows: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(rows, generator=generator)
    weight = torch.randn(rows, 3, generator=generator, dtype=torch.float64)
    tables = [nn.Parameter(weight.clone()), nn.Parameter(weight[order])]
    optimizers = [SparseLamb([table], lr=0.1, sparse=True, weight_decay=0.1) for table in tables]
    for _ in range(3):
        touched = torch.randperm(rows, generator=generator)[: rows // 2 + 1].tolist()
        gradient = row_gradient((rows, 3), touched, generator)
        for table, optimizer, numbering in zip(tables, optimizers, (torch.arange(rows), order), strict=True):
            table.grad = gradient[numbering]
            optimizer.step()
    torch.testing.assert_close(tables[1].detach(), tables[0].detach()[order], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("path", PATHS)
def test_rows_with_tiny_and_negative_gradients_are_touched(path: dict[str, Any]) -> None:
    table = nn.Parameter(torch.ones(5, 2))
    table.grad = torch.tensor([[0.0, 0.0], [-1.0, -2.0], [1e-30, 0.0], [-1e-45, 0.0], [-0.0, 0.0]])
    optimizer = SparseLamb([table], sparse=True, **path)
    optimizer.step()
    assert optimizer.state[table]["row_steps"].tolist() == [0, 1, 1, 1, 0]


@pytest.mark.parametrize("path", PATHS)
def test_a_nan_stays_in_its_row(path: dict[str, Any]) -> None:
    table = nn.Parameter(torch.ones(4, 2))
    table.grad = torch.tensor([[1.0, 1.0], [torch.nan, 0.0], [0.0, 0.0], [0.0, torch.inf]])
    SparseLamb([table], sparse=True, **path).step()
    assert table.isnan().any(dim=1).tolist() == [False, True, False, True]


@pytest.mark.parametrize("path", PATHS)
def test_rows_left_out_of_the_list_are_not_stepped(path: dict[str, Any]) -> None:
    table = nn.Parameter(torch.ones(4, 2))
    table.grad = torch.ones(4, 2)
    optimizer = SparseLamb([table], sparse=True, **path)
    optimizer.step(touched_rows={table: torch.tensor([1, 2])})
    assert optimizer.state[table]["row_steps"].tolist() == [0, 1, 1, 0]
    optimizer.step(touched_rows={table: torch.tensor([], dtype=torch.int64)})
    assert optimizer.state[table]["row_steps"].tolist() == [0, 1, 1, 0]


def test_touched_rows_are_read_after_the_closure() -> None:
    table = nn.Parameter(torch.ones(4, 2))
    optimizer = SparseLamb([table], sparse=True)
    touched: dict[Tensor, Tensor] = {}

    def closure() -> float:
        touched[table] = torch.tensor([3])
        table.grad = torch.zeros(4, 2)
        table.grad[3] = 1
        return 0.0

    optimizer.step(closure, touched_rows=touched)
    assert optimizer.state[table]["row_steps"].tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("path", PATHS)
def test_half_precision_tables_have_float32_moments(path: dict[str, Any], numpy_row_lamb: Any) -> None:
    table = nn.Parameter(torch.randn(6, 4, generator=torch.Generator().manual_seed(6)).bfloat16())
    oracle = numpy_row_lamb(table.detach().double().numpy(), lr=0.25, weight_decay=0.1)
    table.grad = row_gradient((6, 4), [1, 4], torch.Generator().manual_seed(7)).bfloat16()
    optimizer = SparseLamb([table], lr=0.25, weight_decay=0.1, sparse=True, **path)
    optimizer.step()
    expected = oracle.step(table.grad.double().numpy())
    assert optimizer.state[table]["exp_avg"].dtype == torch.float32
    spacing = torch.finfo(torch.bfloat16).eps * np.abs(expected) + 1e-6
    assert np.all(np.abs(table.detach().double().numpy() - expected) <= 0.51 * spacing)


@pytest.mark.parametrize("path", PATHS)
def test_a_transposed_table_steps_like_a_plain_one(path: dict[str, Any]) -> None:
    weight = torch.randn(6, 4, generator=torch.Generator().manual_seed(8))
    gradient = row_gradient((6, 4), [0, 3], torch.Generator().manual_seed(9)).float()
    plain, transposed = nn.Parameter(weight.clone()), nn.Parameter(weight.T.contiguous().T)
    plain.grad, transposed.grad = gradient, gradient.T.contiguous().T
    SparseLamb([plain, transposed], lr=0.1, sparse=True, **path).step()
    torch.testing.assert_close(transposed, plain)


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        (torch.tensor([0, 4]), ValueError, "expected row numbers from 0 to 3, found 4"),
        (torch.tensor([-1]), ValueError, "found -1"),
        (torch.ones(3, dtype=torch.bool), ValueError, r"mask of shape \(4,\), found \(3,\)"),
        (torch.tensor([0.0]), TypeError, "found torch.float32"),
    ],
)
def test_rows_outside_the_table_are_refused_before_anything_moves(
    rows: Tensor, error: type[Exception], message: str
) -> None:
    dense, table = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(4, 2))
    dense.grad, table.grad = torch.ones(2), torch.ones(4, 2)
    optimizer = SparseLamb([{"params": [dense]}, {"params": [table], "sparse": True}])
    with pytest.raises(error, match=message):
        optimizer.step(touched_rows={table: rows})
    assert torch.equal(dense, torch.ones(2))
    assert torch.equal(table, torch.ones(4, 2))


def test_touched_rows_of_something_else_name_the_tables_that_exist() -> None:
    table, stranger = nn.Parameter(torch.ones(4, 2)), nn.Parameter(torch.ones(3))
    optimizer = SparseLamb([("unit_emb.weight", table)], sparse=True)
    table.grad = torch.ones(4, 2)
    message = r"'unit_emb.weight' of group 0 \(shape \(4, 2\)\).*found a tensor of shape \(3,\)"
    with pytest.raises(ValueError, match=message):
        optimizer.step(touched_rows={stranger: torch.tensor([0])})


def test_gradients_of_the_wrong_kind_are_refused_before_anything_moves() -> None:
    def refused(parameter: nn.Parameter, gradient: Tensor, message: str, **options: Any) -> None:
        bystander = nn.Parameter(torch.ones(2))
        bystander.grad = torch.ones(2)
        parameter.grad = gradient
        optimizer = SparseLamb([{"params": [bystander], "sparse": False}, {"params": [parameter]}], **options)
        with pytest.raises(UnsupportedGradientError, match=message) as caught:
            optimizer.step()
        assert isinstance(caught.value, TypeError)
        assert isinstance(caught.value, RuntimeError)
        assert torch.equal(bystander, torch.ones(2))

    table = torch.ones(4, 2)
    row_sparse = as_coo(torch.ones(4, 2), [1])
    refused(nn.Parameter(table), row_sparse, "group 1 .* sparse gradient .* dense group; .* sparse=True")
    refused(nn.Parameter(table), row_sparse, "legacy=True", sparse=True, legacy=True)
    refused(nn.Parameter(table), table.to_sparse_coo(), "with 2 sparse dimensions", sparse=True)
    complex_table = torch.ones(4, 2, dtype=torch.complex64)
    for sparse in (False, True):
        refused(nn.Parameter(complex_table), complex_table, "real gradient, found torch.complex64", sparse=sparse)


def test_a_scalar_has_no_rows() -> None:
    scalar = nn.Parameter(torch.tensor(1.0))
    scalar.grad = torch.tensor(1.0)
    with pytest.raises(ValueError, match="needs at least one dimension"):
        SparseLamb([scalar], sparse=True).step()


def test_cost_follows_the_touched_rows_not_the_vocabulary() -> None:
    """Counted in elements written by the kernels, which does not depend on how busy the machine is."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class ElementCounter(TorchDispatchMode):
        largest = 0

        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = function(*args, **(kwargs or {}))
            in_place = function.__name__.split(".")[0].endswith("_")
            if isinstance(result, Tensor) and not in_place and result.layout is torch.strided:
                self.largest = max(self.largest, result.numel())
            return result

    table = nn.Parameter(torch.zeros(10_000, 8))
    rows = torch.tensor([3, 9_999])
    dense = torch.zeros(10_000, 8)
    dense[rows] = 1
    optimizer = SparseLamb([table], sparse=True)
    table.grad = as_coo(dense, rows.tolist())
    optimizer.step()
    with ElementCounter() as row_sparse:
        optimizer.step()
    table.grad = dense
    with ElementCounter() as listed:
        optimizer.step(touched_rows={table: rows})
    with ElementCounter() as searched:
        optimizer.step()
    assert row_sparse.largest <= 2 * 8
    assert listed.largest <= 10_000  # one flag a row
    assert searched.largest <= 10_000  # one extreme a row, from the one pass over the gradient
