"""Where every random stream of the package gets its seed: a generator that the caller passes, else torch's."""

import numpy as np
import torch

RandomGenerator = torch.Generator | np.random.Generator
"""What a caller may pass wherever something here is random."""


def draw_seed(generator: RandomGenerator | None = None) -> int:
    """Draw one 63-bit seed.

    Without a generator the seed comes from torch's default one. That makes ``torch.manual_seed`` (and Lightning's
    ``seed_everything``) enough to repeat a run, and it makes the streams of DataLoader workers differ, because torch
    seeds its default generator in each worker with that worker's own seed.

    Args:
        generator: Where to draw from; it advances by one draw.

    Returns:
        A seed in ``[0, 2**63)``.
    """
    if isinstance(generator, np.random.Generator):
        return int(generator.integers(0, 2**63 - 1, endpoint=True))
    device = "cpu" if generator is None else generator.device
    return int(torch.empty((), dtype=torch.int64, device=device).random_(generator=generator).item())
