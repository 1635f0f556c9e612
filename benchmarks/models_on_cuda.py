"""Training of POYO+ on a GPU in bfloat16: torch_brain 0.1.2's, eager and padded with a mask, against ours, packed.

    python benchmarks/models_on_cuda.py              # dim 512, depth 24, 256 ragged windows
    python benchmarks/models_on_cuda.py --windows 64

Both hold the same weights and see the same windows, of 0.1 to 1.2 times the mean number of tokens. Ours is compiled, if
`--eager` does not forbid it. Tokens are input tokens, padding not counted. Without a GPU it says so and
measures nothing.
"""

import argparse
import json
import statistics
import time
from dataclasses import replace
from typing import Any

import models
import torch
from torch import Tensor

SIZE = models.Size("H200", dim=512, latents=32, latent_step=0.125, sequence_length=1.0, windows=256, depth=24)
GOAL = 3.0
REPEATS = 5


def train_step(
    model: Any, contestant: models.Contestant, batch: dict[str, Any], targets: Tensor, weights: Tensor
) -> None:
    with torch.autocast("cuda", dtype=torch.bfloat16):
        predictions = model(**batch)[models.READOUT]
        loss = contestant.loss_fn(predictions.float(), targets, weights)
    loss.backward()
    contestant.model.zero_grad(set_to_none=True)


def compare(windows: int = SIZE.windows, *, compiled: bool = True) -> list[dict[str, Any]]:
    """Tokens a second of both; an empty list where there is no GPU."""
    if not torch.cuda.is_available():
        print("CUDA row (bf16, dim 512, depth 24, 256 ragged windows): skipped, no CUDA device here")
        return []
    size = replace(SIZE, windows=windows)
    batch, targets, weights = models.make_batch(size, (0.1, 1.2))
    tokens = int(batch["input_mask"].sum())
    packed = models.pack(batch)
    lengths = {name: values for name, values in packed.items() if name.endswith("_seqlen")}
    on_device = {name: values.cuda() for name, values in packed.items()}
    # Lengths on the host cost no synchronisation in eager mode; a graph wants them on the device.
    forms: dict[str, dict[str, Any]] = {"ours": {**on_device, **({} if compiled else lengths)}}
    forms["ours"]["output_counts"] = {models.READOUT: len(targets)}
    contestants = {"ours": models.build_ours(size)}
    if models.PeerPOYOPlus is not None:
        contestants["peer"] = models.build_peer(size)
        forms["peer"] = {name: values.cuda() for name, values in batch.items()}
        contestants["ours"].model.load_state_dict(contestants["peer"].model.state_dict())
    rates: dict[str, float] = {}
    for name, contestant in contestants.items():
        model = contestant.model.cuda()
        if name == "ours" and compiled:
            model = torch.compile(model)
        arguments = model, contestant, forms[name], targets.cuda(), weights.cuda()
        taken = []
        for number in range(REPEATS + 3):
            torch.cuda.synchronize()
            start = time.perf_counter()
            train_step(*arguments)
            torch.cuda.synchronize()
            if number >= 3:
                taken.append(time.perf_counter() - start)
        rates[name] = tokens / statistics.median(taken)
        contestant.model.cpu()
    ratio = rates["ours"] / rates["peer"] if "peer" in rates else None
    device = torch.cuda.get_device_name()
    shown = "-" if ratio is None else f"{ratio:.2f} ×"
    print(f"{device}, bf16, {windows} windows, tokens a second: {rates}, ratio {shown}, goal {GOAL:.1f} ×")
    return [
        {"benchmark": "models", "figure": "tokens a second", "device": device, **rates, "ratio": ratio, "goal": GOAL}
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=SIZE.windows)
    parser.add_argument("--eager", action="store_true", help="do not compile ours")
    chosen = parser.parse_args()
    for record in compare(chosen.windows, compiled=not chosen.eager):
        print(json.dumps(record))
