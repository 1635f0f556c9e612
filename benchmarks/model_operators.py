"""Where the time of a training step goes: operators of torch_brain 0.1.2 and of ours, and the floor of bare products.

    python benchmarks/model_operators.py             # the large size of models.py
    python benchmarks/model_operators.py --single
    python benchmarks/model_operators.py --attention # ways to attend to ragged windows, alone

Prints Markdown tables. Times are processor time of one step, with the peer's and our step on the same batch. The floor
is what the projections of one training step take, each called alone on arrays of its shape: by PyTorch's `linear` (MKL)
and by the products that our layers use. Attention and all that is no product come on top of it.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import models
import torch
from torch.nn import functional
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.profiler import ProfilerActivity, profile

from nd_models.nn.blocked_attention import attend
from nd_models.nn.packing import bounds_of
from nd_models.nn.products import product

FLASH = "_scaled_dot_product_flash_attention_for_cpu"
HEAD_PRODUCTS = ("_convolution_pointwise", "_convolution_transpose_pointwise")
GROUPS = {
    "matrix products": ("mm", "addmm", "bmm", "linear", "_linear_pointwise", *HEAD_PRODUCTS),
    "attention kernel": (FLASH, f"{FLASH}_backward"),
    "softmax of our own attention": ("_softmax", "exp2", "amax", "log2"),
    "random numbers of dropout": ("bernoulli_", "random_", "ge"),
    "layer norm": ("native_layer_norm", "native_layer_norm_backward"),
    "GELU": ("gelu", "gelu_backward"),
    "copies and concatenations": ("copy_", "cat", "clone", "stack", "index_select", "fill_", "zero_"),
    "element by element": ("mul", "mul_", "add", "add_", "sub", "sub_", "neg", "div", "div_", "sum", "conj_physical_"),
}


def operators(contestant: models.Contestant, batch: Sequence[Any]) -> dict[str, float]:
    """Seconds of processor time of one training step by group of operators."""
    contestant.train_step(*batch)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        contestant.train_step(*batch)
    taken = dict.fromkeys((*GROUPS, "all else"), 0.0)
    group_of = {name: group for group, names in GROUPS.items() for name in names}
    for event in profiler.key_averages():
        name = event.key.rpartition("::")[2]
        taken[group_of.get(name, "all else")] += event.self_cpu_time_total / 1e6
    return taken


def products_of(size: models.Size) -> list[tuple[int, int, int]]:
    """Rows, inputs and outputs of every projection of one forward pass; attention heads of 64, one or eight."""
    latents = size.windows * size.latents * round(size.sequence_length / size.latent_step)
    inputs, queries, width = size.windows * size.tokens, size.windows * size.queries, size.dim
    feed = [(width, 8 * width), (4 * width, width)]
    encoder = [(latents, width, 64), (inputs, width, 128), (latents, 64, width), *((latents, *pair) for pair in feed)]
    layer = [(latents, width, 1536), (latents, 512, width), *((latents, *pair) for pair in feed)]
    decoder = [(queries, width, 64), (latents, width, 128), (queries, 64, width), *((queries, *pair) for pair in feed)]
    return [*encoder, *layer * size.depth, *decoder]


def floor(size: models.Size, multiply: Callable[..., Any]) -> float:
    """Seconds of one training step's projections: forward, and both gradients of each, which are as large."""
    known: dict[tuple[int, int, int], float] = {}
    for rows, inner, outer in set(products_of(size)):
        x, weight = torch.randn(rows, inner), torch.randn(outer, inner)
        known[rows, inner, outer] = median_of(lambda x=x, weight=weight: multiply(x, weight))
    return 3 * sum(known[shape] for shape in products_of(size))


def median_of(function: Callable[[], Any], repeats: int = 3) -> float:
    function()
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        taken.append(time.process_time() - start)
    return statistics.median(taken)


def compare_attention(windows: int = 32, queries: int = 128, longest: int = 1200, width: int = 64) -> None:
    """Cross-attention of one head from dense queries to ragged contexts, forward, in every way that PyTorch has."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(longest // 12, longest + 1, (windows,), generator=generator)
    query = torch.randn(windows, 1, queries, width)
    key, value = torch.randn(2, windows, 1, longest, width)
    mask = (torch.arange(longest) < lengths[:, None])[:, None, None]
    offsets = torch.cat((torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)))
    flat = [torch.cat([part[row, 0, :length] for row, length in enumerate(lengths)]) for part in (key, value)]
    jagged = [torch.nested.nested_tensor_from_jagged(part[:, None], offsets).transpose(1, 2) for part in flat]
    starts = torch.arange(windows + 1) * queries
    rows = query.transpose(1, 2).reshape(-1, 1, width)
    asked = torch.nested.nested_tensor_from_jagged(rows, starts).transpose(1, 2)
    document = torch.repeat_interleave(torch.arange(windows), lengths)
    blocks = create_block_mask(
        lambda _batch, _head, q, k: q // queries == document[k], None, None, len(rows), len(document), device="cpu"
    )
    compiled = torch.compile(flex_attention)
    sdpa, bounds = functional.scaled_dot_product_attention, bounds_of(lengths.tolist())
    read = torch.empty_like(query)
    ways = {
        "padded, SDPA with a mask": lambda: sdpa(query, key, value, attn_mask=mask),
        "nested tensors (jagged), SDPA": lambda: sdpa(asked, *jagged),
        "flex attention, compiled, block mask": lambda: compiled(
            rows.transpose(0, 1)[None], *(part[None, None] for part in flat), block_mask=blocks
        ),
        "window by window, SDPA": lambda: [
            sdpa(query[row : row + 1], flat[0][None, None, a:b], flat[1][None, None, a:b])
            for row, (a, b) in enumerate(bounds)
        ],
        "window by window, blocked products": lambda: [
            attend(query[row], flat[0][None, a:b], flat[1][None, a:b], out=read[row])
            for row, (a, b) in enumerate(bounds)
        ],
    }
    print(f"{windows} windows, {queries} queries each, contexts of {longest // 12} to {longest}, one head of {width}\n")
    print("| way | ms |\n|---|---|")
    for name, way in ways.items():
        try:
            with torch.no_grad():
                shown = f"{1000 * median_of(way, 7):.1f}"
        except Exception as error:  # a way that does not work here is a result too
            shown = f"does not run: {type(error).__name__}"
        print(f"| {name} | {shown} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--single", action="store_true", help="the single-session size in place of the large one")
    parser.add_argument("--attention", action="store_true", help="ways to attend to ragged windows")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default: 1)")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    if arguments.attention:
        compare_attention()
        return
    size = models.SINGLE if arguments.single else models.LARGE
    batch = models.make_batch(size)
    sides = {"torch_brain 0.1.2": None if models.PeerPOYOPlus is None else models.build_peer(size)}
    sides["ours"] = models.build_ours(size)
    tables = {name: operators(side, batch) for name, side in sides.items() if side is not None}
    print(f"Training step, {size.name} size, {arguments.threads} thread(s), seconds of processor time\n")
    print("| operators | " + " | ".join(tables) + " |\n|---|" + "---|" * len(tables))
    for group in (*GROUPS, "all else"):
        print(f"| {group} | " + " | ".join(f"{taken[group]:.2f}" for taken in tables.values()) + " |")
    print("| **sum** | " + " | ".join(f"**{sum(taken.values()):.2f}**" for taken in tables.values()) + " |")
    for name, multiply in (("PyTorch's `linear`", functional.linear), ("our products", product)):
        print(f"\nFloor, projections alone, {name}: {floor(size, multiply):.2f} s")


if __name__ == "__main__":
    main()
