"""Which parts of a model learn, by name."""

from collections.abc import Iterable

from torch import nn

from nd_data.nearest_names import name_hint


def set_trainable(model: nn.Module, parts: Iterable[str]) -> None:
    """Let the parameters of these parts learn, and no other.

    Args:
        model: The model.
        parts: Dotted names of modules or parameters, such as `unit_emb`, `proc_layers.3` or `readout`.

    Raises:
        KeyError: a part does not exist. Nothing is changed then.

    >>> model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    >>> set_trainable(model, ["1"])
    >>> [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    ['1.weight', '1.bias']
    """
    wanted = tuple(parts)
    parameters = dict(model.named_parameters())
    chosen: set[str] = set()
    modules = {name for name, _ in model.named_modules() if name}
    for part in wanted:
        if part not in modules and part not in parameters:
            raise KeyError(
                f"{type(model).__name__} has no part {part!r}; "
                f"{name_hint(part, modules | parameters.keys(), noun='known')}"
            )
        chosen.update(name for name in parameters if name == part or name.startswith(f"{part}."))
    for name, parameter in parameters.items():
        # The attribute, because requires_grad_() refuses parameters that have no shape yet.
        parameter.requires_grad = name in chosen
