"""Weights for a model whose units and sessions are partly others: rows go by name.

Shapes: V names, D width.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nd_models.decoder_model import DecoderModel, named_vocabularies
from nd_models.nn.infinite_vocab_embedding import PADDING_NAME, InfiniteVocabEmbedding, check_vocab

_SHOWN = 3


@dataclass(frozen=True)
class VocabularyReport:
    """What became of the names when a vocabulary met another.

    Attributes:
        kind: What the names are: "unit", "session".
        mapped: Names in both: their rows were taken.
        new: Names of the model that the other did not have: their rows are fresh.
        dropped: Names of the other that the model does not have: their rows were left out.
    """

    kind: str
    mapped: tuple[str, ...]
    new: tuple[str, ...]
    dropped: tuple[str, ...]

    def __str__(self) -> str:
        parts = [f"{len(names)} {word}{_few(names)}" for word, names in self._parts() if names or word == "mapped"]
        return f"{self.kind} names: {', '.join(parts)}"

    def _parts(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        return ("mapped", self.mapped), ("new", self.new), ("dropped", self.dropped)


def load_overlapping_state(
    model: nn.Module, state: Mapping[str, Any], *, skip: Iterable[str] = ()
) -> dict[str, VocabularyReport]:
    """Load a state into a model whose vocabularies are its own already.

    Rows of names that both know are taken, names that only the model knows keep the rows they have, names that only the
    state knows are left out. All other weights must fit. A vocabulary that is not initialised takes the state's. The
    state is not altered.

    Args:
        model: The model; changed in place.
        state: What `state_dict()` of a like model gave.
        skip: Beginnings of names of weights that stay as they are, such as `readout.`.

    Returns:
        By the embedding's name (`unit_emb`, `session_emb`), what became of the names.

    Raises:
        ValueError: a weight is missing, not known or of another shape. The model is unchanged then.

    >>> from nd_models.nn import InfiniteVocabEmbedding
    >>> pretrained, fresh = nn.Sequential(InfiniteVocabEmbedding(4)), nn.Sequential(InfiniteVocabEmbedding(4))
    >>> pretrained[0].initialize_vocab(["a", "b"])
    >>> fresh[0].initialize_vocab(["b", "c"])
    >>> print(load_overlapping_state(fresh, pretrained.state_dict())["0"])
    name names: 1 mapped ('b'), 1 new ('c'), 1 dropped ('a')
    >>> bool((fresh[0].weight[1] == pretrained[0].weight[2]).all())
    True
    """
    own = model.state_dict()
    kept = tuple(skip)
    fitted = {name: value for name, value in state.items() if not name.startswith(kept)}
    fitted |= {name: value for name, value in own.items() if name.startswith(kept)}
    embeddings = {name: embedding for name, embedding in named_vocabularies(model) if not name.startswith(kept)}
    _refuse_other_weights(own, fitted, embeddings)
    reports = {name: _fit(name, embedding, fitted) for name, embedding in embeddings.items()}
    model.load_state_dict(fitted, strict=True)
    return reports


def adapt_vocabularies(
    model: DecoderModel, *, unit_ids: Iterable[str], session_ids: Iterable[str], keep_others: bool = True
) -> dict[str, VocabularyReport]:
    """Let a pretrained model know the units and sessions of other recordings.

    Names that it knows keep their rows, others get fresh ones. The weights become new parameters: build optimizers
    afterwards.

    Args:
        model: The model, with initialised vocabularies; changed in place.
        unit_ids: `dataset.get_unit_ids()` of the recordings.
        session_ids: `dataset.get_session_ids()` of the recordings.
        keep_others: False drops all other units and sessions, for a smaller model.

    Returns:
        By the embedding's name (`unit_emb`, `session_emb`), what became of the names.

    Raises:
        ValueError: a vocabulary is not initialised, or names come twice. The model is unchanged then.
    """
    wanted = {"unit_emb": list(unit_ids), "session_emb": list(session_ids)}
    reports = {}
    for name, names in wanted.items():
        embedding: InfiniteVocabEmbedding = getattr(model, name)
        if embedding.vocab is None:
            raise ValueError(
                f"the vocabulary of {name} is not initialised: there is nothing to adapt; call "
                f"model.{name}.initialize_vocab(names)"
            )
        if len(set(names)) != len(names):
            raise ValueError(f"the {embedding.kind} names hold one twice; names must be distinct")
        reports[name] = _report(embedding.kind, names, embedding.vocab, dropped=not keep_others)
    for name, names in wanted.items():
        embedding = getattr(model, name)
        embedding.extend_vocab(names, exist_ok=True)
        if not keep_others:
            embedding.subset_vocab(names)
    return reports


def _fit(name: str, embedding: InfiniteVocabEmbedding, state: dict[str, Any]) -> VocabularyReport:
    """Put the embedding's own vocabulary and rows into `state`, with the rows of names that `state` has from there."""
    vocab_key, weight_key = f"{name}.vocab", f"{name}.weight"
    incoming, weight = state[vocab_key], state[weight_key]
    if incoming is None:
        raise ValueError(f"{vocab_key}: the state has no {embedding.kind} vocabulary; its model was never initialised")
    check_vocab(incoming, weight, vocab_key)
    known = embedding.vocab
    if known is None:
        return VocabularyReport(embedding.kind, tuple(_names(incoming)), (), ())
    report = _report(embedding.kind, _names(known), incoming, dropped=True)
    merged = embedding.weight.detach().clone()
    ours = torch.tensor([known[one] for one in report.mapped], dtype=torch.int64)
    theirs = torch.tensor([incoming[one] for one in report.mapped], dtype=torch.int64)
    merged[ours.to(merged.device)] = weight[theirs.to(weight.device)].to(merged)
    state[vocab_key], state[weight_key] = known, merged
    return report


def _report(kind: str, names: Iterable[str], other: Mapping[str, int], *, dropped: bool) -> VocabularyReport:
    names = list(names)
    present = set(names)
    return VocabularyReport(
        kind,
        mapped=tuple(name for name in names if name in other),
        new=tuple(name for name in names if name not in other),
        dropped=tuple(name for name in _names(other) if name not in present) if dropped else (),
    )


def _refuse_other_weights(
    own: Mapping[str, Any], state: Mapping[str, Any], embeddings: Mapping[str, InfiniteVocabEmbedding]
) -> None:
    missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    if missing or unknown:
        raise ValueError(f"the state does not fit the model: missing {missing}, not known {unknown}")
    for name, value in own.items():
        if not isinstance(value, Tensor) or state[name] is value:
            continue
        found: tuple[int, ...]
        expected: tuple[int, ...]
        embedding = embeddings.get(name.removesuffix(".weight"))
        if embedding is not None:
            if state[f"{name.removesuffix('weight')}vocab"] is None:
                continue  # its weight has no shape either
            found, expected = tuple(state[name].shape[1:]), (embedding.embedding_dim,)
        else:
            found, expected = tuple(state[name].shape), tuple(value.shape)
        if found != expected:
            raise ValueError(
                f"the state does not fit the model: {name} has {'rows of ' if embedding else ''}shape {found} in the "
                f"state and {expected} in the model"
            )


def _names(vocabulary: Mapping[str, int]) -> list[str]:
    return [name for name in vocabulary if name != PADDING_NAME]


def _few(names: tuple[str, ...]) -> str:
    more = f", … {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f" ({', '.join(map(repr, names[:_SHOWN]))}{more})" if names else ""
