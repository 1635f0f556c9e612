"""Embedding of named things (units, sessions) with a vocabulary that travels in the weights' state.

Shapes: V names including the padding name, D width.
"""

import copy
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any, cast, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parameter import UninitializedParameter

from nd_data.nearest_names import name_hint, nearest_names
from nd_models.nn.recent_arrays import RecentArrays

PADDING_NAME = "NA"


class InfiniteVocabEmbedding(nn.Module):
    """An embedding table and the vocabulary that numbers its rows; the tokenizer of names.

    The module starts without a weight ("lazy"). `initialize_vocab` or loading a state gives it a vocabulary and a
    weight; `extend_vocab` and `subset_vocab` change both later. Row 0 belongs to the padding name "NA", stays zero and
    gets no gradient.

    The state holds `weight` and `vocab` (an `OrderedDict` from name to row). Loading into a lazy module takes the
    vocabulary over. Loading into one that has a vocabulary wants the same names, in any order, and moves the rows to
    where this module's vocabulary has them. What is loaded is never altered.

    Args:
        embedding_dim: Width D.
        init_scale: Standard deviation of new rows.
        kind: What the names are, for error messages: "unit", "session".

    >>> embedding = InfiniteVocabEmbedding(64, kind="unit")
    >>> embedding.initialize_vocab(["a/1", "a/2", "b/1"])
    >>> embedding.tokenizer("b/1")
    3
    >>> embedding.tokenizer(np.array(["a/2", "a/1"]))
    array([2, 1])
    >>> embedding.extend_vocab(["b/2"]).weight.shape
    torch.Size([5, 64])
    """

    weight: nn.Parameter
    vocab: "OrderedDict[str, int] | None"
    padding_idx = 0

    def __init__(self, embedding_dim: int, init_scale: float = 0.02, *, kind: str = "name") -> None:
        super().__init__()
        self.embedding_dim = embedding_dim
        self.init_scale = init_scale
        self.kind = kind
        self.weight = _unmaterialized()
        self.vocab = None
        self._names: list[str] = []
        self._recent = RecentArrays()

    def initialize_vocab(self, vocab: Iterable[str]) -> None:
        """Number the names from 1, in their order, and draw a row for each.

        Args:
            vocab: Distinct names, without "NA".

        Raises:
            ValueError: the vocabulary exists already, or a name comes twice or is reserved.
            TypeError: a name is not a string.
        """
        if self.vocab is not None:
            raise ValueError(
                f"the {self.kind} vocabulary is already initialised, with {len(self.vocab) - 1} names; "
                "use extend_vocab() to add more"
            )
        names = self._checked_names(vocab)
        self._set_vocab(names)
        with torch.no_grad():
            # A lazy parameter remembers its device and dtype.
            self.weight = _materialized(self.weight, (len(names) + 1, self.embedding_dim))
        self.reset_parameters()

    def extend_vocab(self, vocab: Iterable[str], exist_ok: bool = False) -> "InfiniteVocabEmbedding":
        """Add names with freshly drawn rows; the rows that exist stay as they are.

        The weight becomes a new parameter: build optimizers afterwards.

        Args:
            vocab: Distinct names.
            exist_ok: Pass over names that exist in place of refusing them.

        Raises:
            ValueError: no vocabulary yet, a name exists (without `exist_ok`), comes twice or is reserved.
        """
        known = self._require_vocab()
        names = self._checked_names(vocab)
        existing = [name for name in names if name in known]
        if existing and not exist_ok:
            raise ValueError(
                f"{len(existing)} of {len(names)} {self.kind} names are already in the vocabulary, first "
                f"{existing[0]!r}; pass exist_ok=True to keep their rows and add only the others"
            )
        new = [name for name in names if name not in known]
        if not new:
            return self
        fresh = self.weight.new_empty((len(new), self.embedding_dim)).detach().normal_(0.0, self.init_scale)
        self._replace_weight(torch.cat((self.weight.detach(), fresh)))
        self._set_vocab([*self._names[1:], *new])
        return self

    def subset_vocab(self, vocab: Iterable[str], inplace: bool = True) -> "InfiniteVocabEmbedding":
        """Keep only these names, with their rows, numbered anew in the order given.

        Args:
            vocab: Distinct names of the vocabulary.
            inplace: Change this module (its weight becomes a new parameter), or leave it and return another.

        Raises:
            ValueError: no vocabulary yet, no names, or a name twice.
            KeyError: a name is not in the vocabulary.
        """
        if not inplace:
            return copy.deepcopy(self).subset_vocab(vocab)
        self._require_vocab()
        names = self._checked_names(vocab)
        if not names:
            raise ValueError(f"cannot keep an empty {self.kind} vocabulary; name at least one")
        rows = torch.tensor([self.padding_idx, *self.tokenizer(names)], device=self.weight.device)
        self._replace_weight(self.weight.detach()[rows])
        self._set_vocab(names)
        return self

    @overload
    def tokenizer(self, words: str) -> int: ...  # type: ignore[overload-overlap] # a string is its own case

    @overload
    def tokenizer(self, words: "NDArray[Any]") -> "NDArray[np.int64]": ...

    @overload
    def tokenizer(self, words: Iterable[str]) -> list[int]: ...

    def tokenizer(self, words: "str | NDArray[Any] | Iterable[str]") -> "int | NDArray[np.int64] | list[int]":
        """Rows of names.

        An array of names that came before (the unit ids of a recording, window after window) is recognised as a whole
        and answered without looking at single names.

        Args:
            words: A name, an array of names (string or object dtype), or another iterable of names.

        Returns:
            An int for a name, an int64 array of the same shape for an array, otherwise a list of ints.

        Raises:
            ValueError: no vocabulary yet.
            KeyError: a name is not in the vocabulary.
        """
        vocab = self._require_vocab()
        if isinstance(words, str):
            return self._row(vocab, words)
        if not isinstance(words, np.ndarray):
            return [self._row(vocab, word) for word in words]
        remembered = self._recent.find(words)
        if remembered is not None:
            return remembered
        names = words.ravel().tolist()
        try:
            rows = np.fromiter(map(vocab.__getitem__, names), np.int64, len(names)).reshape(words.shape)
        except (KeyError, TypeError):
            # Slowly once more, for an error that names the culprit.
            rows = np.array([self._row(vocab, name) for name in names])
        self._recent.keep(words, rows)
        return rows.copy()

    def detokenizer(self, index: int) -> str:
        """The name of a row.

        Raises:
            ValueError: no vocabulary yet.
            IndexError: there is no such row.
        """
        size = len(self._require_vocab())
        if not 0 <= index < size:
            raise IndexError(f"row {index} is not in the {self.kind} vocabulary, whose rows are 0 to {size - 1}")
        return self._names[index]

    def is_lazy(self) -> bool:
        """Whether the module still has no vocabulary and no weight."""
        return isinstance(self.weight, UninitializedParameter)

    def reset_parameters(self) -> None:
        """Draw every row anew (the padding row is zero); the vocabulary stays."""
        if self.is_lazy():
            return
        with torch.no_grad():
            self.weight.normal_(0.0, self.init_scale)
            self.weight[self.padding_idx].zero_()

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name users know
        """Look rows up. Shape: any int64, to (..., D).

        Raises:
            ValueError: no vocabulary yet.
        """
        if self.is_lazy():
            self._require_vocab()
        return functional.embedding(input, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        """Width and number of rows, for `repr`."""
        return f"embedding_dim={self.embedding_dim}, num_embeddings={len(self.vocab) if self.vocab else 0}"

    def _row(self, vocab: Mapping[str, int], word: str) -> int:
        try:
            return vocab[word]
        except (KeyError, TypeError):
            raise self._unknown(vocab, word) from None

    def _unknown(self, vocab: Mapping[str, int], word: object) -> Exception:
        if not isinstance(word, str):
            return TypeError(f"{self.kind} names are strings, got {word!r} of type {type(word).__name__}")
        names = [name for name in vocab if name != PADDING_NAME]
        nearest = next(iter(nearest_names(word, names, most=1)), None)
        hint = f"; nearest: {nearest!r}" if nearest is not None else ""
        return KeyError(
            f"{self.kind} {word!r} is not in the vocabulary of {len(names)} {self.kind} names{hint}; "
            "add new ones with extend_vocab()"
        )

    def _require_vocab(self) -> "OrderedDict[str, int]":
        if self.vocab is None:
            raise ValueError(
                f"the {self.kind} vocabulary is not initialised; call initialize_vocab(names) once before "
                "tokenizing and training, or load a checkpoint"
            )
        return self.vocab

    def _checked_names(self, vocab: Iterable[str]) -> list[str]:
        if isinstance(vocab, str):
            raise ValueError(f"a {self.kind} vocabulary is a list of names, got the single string {vocab!r}")
        names = vocab.tolist() if isinstance(vocab, np.ndarray) else list(vocab)
        seen: set[str] = set()
        for name in names:
            if not isinstance(name, str):
                raise TypeError(f"{self.kind} names are strings, got {name!r} of type {type(name).__name__}")
            if name == PADDING_NAME:
                raise ValueError(f"{PADDING_NAME!r} is reserved for padding and cannot be a {self.kind} name")
            if name in seen:
                raise ValueError(f"{self.kind} name {name!r} comes twice; names must be distinct")
            seen.add(name)
        return names

    def _set_vocab(self, names: list[str]) -> None:
        self._names = [PADDING_NAME, *names]
        self.vocab = OrderedDict((name, row) for row, name in enumerate(self._names))
        self._recent = RecentArrays()

    def _replace_weight(self, weight: Tensor) -> None:
        self.weight = nn.Parameter(weight, requires_grad=self.weight.requires_grad)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        if self.is_lazy():
            destination[prefix + "weight"] = self.weight
        else:
            super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "vocab"] = None if self.vocab is None else self.vocab.copy()

    def _load_from_state_dict(
        self,
        state_dict: Mapping[str, Any],
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        own = {key: value for key, value in state_dict.items() if key.startswith(prefix)}
        weight_key, vocab_key = prefix + "weight", prefix + "vocab"
        incoming = own.pop(vocab_key, None)
        weight = own.get(weight_key)
        if weight is None:
            missing_keys.append(weight_key)
            return
        if isinstance(weight, UninitializedParameter):
            if not self.is_lazy():
                error_msgs.append(f"{weight_key}: the state has no {self.kind} vocabulary, this module has one")
            return
        if incoming is None:
            missing_keys.append(vocab_key)
            return
        check_vocab(incoming, weight, vocab_key)
        in_row_order = sorted(incoming, key=incoming.__getitem__)
        if self.vocab is None:
            with torch.no_grad():
                self.weight = _materialized(self.weight, tuple(weight.shape))
            self._set_vocab(in_row_order[1:])
        else:
            self._refuse_other_names(incoming, vocab_key)
            rows = torch.tensor([incoming[name] for name in self.vocab], device=weight.device)
            own[weight_key] = weight[rows]
        super()._load_from_state_dict(own, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)

    def _refuse_other_names(self, incoming: Mapping[str, int], vocab_key: str) -> None:
        known = self._require_vocab()
        absent = [name for name in known if name not in incoming]
        surplus = [name for name in incoming if name not in known]
        advice = "nd_models.load_overlapping_state(model, state) takes the rows of names that both have, and reports"
        if absent:
            raise ValueError(
                f"{vocab_key}: {len(absent)} {self.kind} names of this module are not in the state, first "
                f"{absent[0]!r} ({name_hint(absent[0], surplus, noun='known')}); {advice}"
            )
        if surplus:
            raise ValueError(
                f"{vocab_key}: the state holds {len(surplus)} {self.kind} names that this module does not know, first "
                f"{surplus[0]!r}; {advice}"
            )

    def __getstate__(self) -> dict[str, Any]:
        # What was recognised in one process is of no use to another, and only makes the copy larger.
        return {**self.__dict__, "_recent": RecentArrays()}


def _unmaterialized() -> nn.Parameter:
    lazy: Any = UninitializedParameter()
    return cast("nn.Parameter", lazy)


def _materialized(parameter: nn.Parameter, shape: tuple[int, ...]) -> nn.Parameter:
    if not isinstance(parameter, UninitializedParameter):
        return nn.Parameter(parameter.new_empty(shape), requires_grad=parameter.requires_grad)
    parameter.materialize(shape)
    return parameter


def check_vocab(vocab: object, weight: Tensor, key: str) -> None:
    """Refuse a vocabulary that does not number the rows of its weight.

    Args:
        vocab: What a state has as vocabulary.
        weight: Shape: (V, D).
        key: Its name in the state, for the error.

    Raises:
        ValueError: it is no mapping from V names to the rows 0 to V − 1, with the padding name at 0.
    """
    if (
        not isinstance(vocab, Mapping)
        or sorted(vocab.values()) != list(range(len(weight)))
        or vocab.get(PADDING_NAME) != 0
    ):
        raise ValueError(
            f"{key}: expected a mapping from {len(weight)} names to the rows 0 to {len(weight) - 1} of the "
            f"weight, with {PADDING_NAME!r} at 0; the state is damaged or of another format"
        )
