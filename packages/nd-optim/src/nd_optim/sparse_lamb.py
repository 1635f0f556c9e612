"""SparseLamb: LAMB (You et al. 2020, arXiv 1904.00962) for dense parameters, and row by row for embedding tables."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, overload

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, ParamsT, StateDict

from nd_optim.dense_step import step_tensor, step_tensors
from nd_optim.gradient_rows import check_gradient, check_touched_rows, gradient_rows
from nd_optim.group_options import OPTION_NAMES, LambOptions, check_options
from nd_optim.legacy_step import step_legacy
from nd_optim.optimizer_state import place_state, prepare_state
from nd_optim.row_step import step_rows
from nd_optim.shards import (
    is_sharded,
    local_part,
    local_rows,
    local_state,
    norms_over_processes,
    shards_split_alike,
    stand_in_for_nothing,
)

_Work = list[tuple[Tensor, Tensor, dict[str, Any]]]


class SparseLamb(Optimizer):
    """LAMB for dense parameters, and a row-sparse LAMB for tables of which a batch touches a few rows.

    Every option can be set per parameter group and is part of ``state_dict``. The package's README has the equations.

    Args:
        params: Parameters, named parameters, or groups of them, as for every torch optimizer.
        lr: Learning rate; a number or a one-element tensor (which CUDA graphs and ``torch.compile`` can change).
        betas: Decay of the first and second moment, each in [0, 1).
        eps: Added to the root of the second moment.
        weight_decay: Decay, inside the trust ratio as in the paper.
        clamp_value: Largest weight norm that the trust ratio counts; ``math.inf`` for no limit.
        adam: Fix the trust ratio at 1, which makes this Adam with decoupled decay (AdamW, when ``debias``).
        debias: Correct the moments for their start at zero.
        sparse: The parameters are tables, shape (V, ...): a row whose gradient is all zero is untouched (weight,
            moments, decay), and each row has its own moments, step count and trust ratio.
        maximize: Climb instead of descending.
        foreach: Step the dense parameters of a group together (faster on a GPU) or one by one (faster on a CPU, less
            memory); None chooses by device.
        capturable: Keep every count on the parameter's device and never wait for it, so that a CUDA graph can hold the
            step. A sparse group then costs a pass over its tables, unless their rows are passed to ``step``.
        legacy: Reproduce the numbers of torch_brain 0.1.2, failures included.

    Raises:
        ValueError: an option is out of its range or NaN.
        TypeError: an option has the wrong type, or is misspelt.

    Example:
        >>> import torch
        >>> from nd_optim import SparseLamb
        >>> units, readout = torch.nn.Embedding(1000, 8), torch.nn.Linear(8, 2)
        >>> groups = [{"params": units.parameters(), "sparse": True}, {"params": readout.parameters()}]
        >>> optimizer = SparseLamb(groups, lr=0.01, weight_decay=1e-4)
        >>> before = units.weight.detach().clone()
        >>> readout(units(torch.tensor([3, 7]))).square().sum().backward()
        >>> optimizer.step()
        >>> (units.weight != before).any(dim=1).nonzero().flatten().tolist()
        [3, 7]
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        clamp_value: float = 10.0,
        adam: bool = False,
        debias: bool = False,
        sparse: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        legacy: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "clamp_value": clamp_value,
            "adam": adam,
            "debias": debias,
            "sparse": sparse,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "legacy": legacy,
        }
        check_options(defaults)
        super().__init__(params, defaults)

    @overload
    def step(self, closure: None = None, *, touched_rows: Mapping[Tensor, Tensor] | None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float], *, touched_rows: Mapping[Tensor, Tensor] | None = None) -> float: ...

    @torch.no_grad()
    def step(
        self, closure: Callable[[], float] | None = None, *, touched_rows: Mapping[Tensor, Tensor] | None = None
    ) -> float | None:
        """Make one step.

        Args:
            closure: Evaluates the model again and returns the loss; runs with gradients enabled.
            touched_rows: For tables with dense gradients, the rows that may have one: parameter → row numbers (any
                integer tensor, such as the batch's unit indices; repetitions and untouched rows do no harm) or a
                boolean mask of shape (V,). It saves the pass over the gradient that finds them. A row left out is not
                stepped, so with data-parallel training pass the rows of all ranks, or nothing. Read after ``closure``
                ran; a row-sparse gradient and a legacy group do not need it.

        Returns:
            What ``closure`` returned, or None.

        Raises:
            UnsupportedGradientError: a gradient is complex, or sparse or split over processes where that is not
                possible.
            ValueError: ``touched_rows`` names no table of a sparse group or rows outside it, or a parameter's shape has
                changed. No parameter has moved then.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        touched_rows = touched_rows or {}
        self._check_before_step(touched_rows)
        for group in self.param_groups:
            work = self._gather(group)
            options = LambOptions.of(group)
            if group["legacy"]:
                for parameter, gradient, state in work:
                    step_legacy(parameter, gradient, state, options, sparse=group["sparse"])
            elif group["sparse"]:
                static_shapes = options.capturable or torch.compiler.is_compiling()
                for parameter, gradient, state in work:
                    listed = touched_rows.get(parameter)
                    if is_sharded(parameter):
                        gradient, state = local_part(gradient, like=parameter), local_state(state)
                        listed = None if listed is None else local_rows(listed, parameter)
                        parameter = local_part(parameter)
                        if not parameter.numel():
                            continue
                    found = gradient_rows(gradient, listed, static_shapes=static_shapes)
                    step_rows(parameter, found, state, options)
            else:
                _step_dense(work, options, group["foreach"])
        return loss

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters, with options of its own where it has them.

        Args:
            param_group: ``params`` and any of the constructor's options.

        Raises:
            ValueError: an option is out of its range or NaN, or a parameter is in two groups.
            TypeError: an option has the wrong type, or is misspelt.
        """
        check_options({**self.defaults, **param_group})
        super().add_param_group(param_group)

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Load what ``state_dict`` gave; the run then continues bit for bit.

        States of torch_brain 0.1.2's SparseLamb load too; options that it did not save stay as they are here.

        Args:
            state_dict: A state, for parameters of the same shapes in the same order. It shares no memory with the
                optimizer afterwards.

        Raises:
            ValueError: groups, parameters or shapes differ, or an option is out of its range. Nothing is loaded then.
        """
        # torch would cast every tensor to its parameter's dtype, which costs the float32 moments of a bfloat16
        # parameter their digits. What it does not know it passes on, so the states travel sealed, already in their
        # place. This hook is the last, so hooks of the caller see an open state.
        seal = self.register_load_state_dict_pre_hook(_seal_states)
        try:
            super().load_state_dict(state_dict)
        finally:
            seal.remove()

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            for name, value in self.defaults.items():
                group.setdefault(name, value)
        for parameter, saved in self.state.items():
            if isinstance(saved, _SealedState):
                self.state[parameter] = saved.state

    def _check_before_step(self, touched_rows: Mapping[Tensor, Tensor]) -> None:
        # All checks of all groups come before the first change, so that an error leaves no half-made step.
        tables: dict[Tensor, ParameterName] = {}
        for index, group in enumerate(self.param_groups):
            for position, parameter in enumerate(group["params"]):
                name = ParameterName(group, index, position)
                if group["sparse"]:
                    tables[parameter] = name
                if parameter.grad is None:
                    continue
                check_gradient(parameter, sparse=group["sparse"], legacy=group["legacy"], name=name)
                if _is_capturing(parameter) and not group["capturable"]:
                    raise RuntimeError(
                        f"{name}: a CUDA graph is being captured, and its group has capturable=False; "
                        "build SparseLamb with capturable=True"
                    )
                prepare_state(parameter, self.state[parameter], group, name)
        check_touched_rows(touched_rows, tables)

    def _gather(self, group: Mapping[str, Any]) -> _Work:
        # Empty tensors have no norm and nothing to move.
        return [
            (parameter, parameter.grad, self.state[parameter])
            for parameter in group["params"]
            if parameter.grad is not None and parameter.numel()
        ]


class ParameterName(NamedTuple):
    """How to call a parameter in an error; put into words only when one is raised."""

    group: Mapping[str, Any]
    group_number: int
    position: int

    def __str__(self) -> str:
        names = self.group.get("param_names")
        label = f"{names[self.position]!r}" if names else str(self.position)
        shape = tuple(self.group["params"][self.position].shape)
        return f"parameter {label} of group {self.group_number} (shape {shape})"


class _SealedState:
    def __init__(self, state: dict[str, Any]) -> None:
        self.state = state


def _seal_states(optimizer: Optimizer, state_dict: StateDict) -> StateDict:
    groups = [dict(group) for group in state_dict["param_groups"]]
    owners: dict[Any, tuple[Tensor, dict[str, Any], ParameterName]] = {}
    for index, (group, current) in enumerate(zip(groups, optimizer.param_groups, strict=False)):
        for name in OPTION_NAMES:
            group.setdefault(name, current[name])
        group["betas"] = tuple(group["betas"])  # a state that went through JSON has a list
        check_options(group)
        for position, (key, parameter) in enumerate(zip(group["params"], current["params"], strict=False)):
            owners[key] = (parameter, group, ParameterName(current, index, position))
    states = {}
    for key, saved in state_dict["state"].items():
        if key in owners:
            parameter, group, parameter_name = owners[key]
            saved = _SealedState(place_state(parameter, saved, group, parameter_name))
        states[key] = saved
    return {**state_dict, "param_groups": groups, "state": states}


def _step_dense(work: _Work, options: LambOptions, foreach: bool | None) -> None:
    _step_sharded([item for item in work if is_sharded(item[0])], options)
    work = [item for item in work if not is_sharded(item[0])]
    one_by_one: dict[torch.dtype, _Work] = {}
    together: dict[tuple[torch.device, torch.dtype], _Work] = {}
    for item in work:
        parameter = item[0]
        on_host = parameter.device.type == "cpu" and not options.capturable and not torch.compiler.is_compiling()
        if on_host and not foreach:
            one_by_one.setdefault(item[2]["exp_avg"].dtype, []).append(item)
        else:
            together.setdefault((parameter.device, parameter.dtype), []).append(item)
    for dtype, items in one_by_one.items():
        scratch = torch.empty(max(parameter.numel() for parameter, _, _ in items), dtype=dtype, device="cpu")
        for item in items:
            step_tensor(*item, options, scratch=scratch)
    for items in _batches(together, foreach):
        parameters, gradients, states = zip(*items, strict=True)
        step_tensors(parameters, gradients, states, options)


def _step_sharded(work: _Work, options: LambOptions) -> None:
    # Always together: one exchange of norms for all of them.
    for items in shards_split_alike(work):
        parts = []
        for parameter, gradient, state in items:
            part, of_state = local_part(parameter), local_state(state)
            if part.numel():
                parts.append((part, local_part(gradient, like=parameter), of_state))
            else:
                local_part(gradient, like=parameter)  # the other processes may wait for it
                parts.append(stand_in_for_nothing(of_state, part))
        parameters, gradients, states = zip(*parts, strict=True)
        step_tensors(parameters, gradients, states, options, norms_of_wholes=norms_over_processes(items[0][0]))


def _batches(together: Mapping[tuple[torch.device, torch.dtype], _Work], foreach: bool | None) -> Iterator[_Work]:
    for items in together.values():
        if foreach is False:
            yield from ([item] for item in items)
        else:
            yield items


def _is_capturing(parameter: Tensor) -> bool:
    return parameter.is_cuda and not torch.compiler.is_compiling() and torch.cuda.is_current_stream_capturing()
