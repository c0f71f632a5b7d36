"""From passages to vectors: the static model that comes inside a wheel, or whatever LanceDB's registry knows.

A vector says what a passage is about, also in other words than the query's. The default model is a table with one vector for each token,
read from the files of the ``wordllama`` package; nothing of that package runs, and nothing is ever downloaded. Only a model of LanceDB's
registry may reach for the network, and only when the caller named it.
"""

from __future__ import annotations

import threading
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vespera_orchestrator.artifacts.search.passages import WORD, identifier_parts
from vespera_orchestrator.contracts import Embedder
from vespera_orchestrator.errors import EmbedderError, InvalidInputError, MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

AUTO, NONE = "auto", "none"
STATIC = "wordllama"
INSTALL_STATIC = "pip install 'vespera-orchestrator[vectors]'"

_MODEL = "l2_supercat_256"
_POOLING = 1
"""Raised whenever vectors are made differently from the same model."""
_BEYOND_LATIN = "\u0250"
_WORDS_KNOWN = 50_000
"""So many words' tokens are remembered: about 10 MB."""
_AT_ONCE = 256
"""So many texts are handed to a model together."""


def choose(wanted: str | Embedder | None) -> Embedder | None:
    """Return the embedder that is meant, or ``None`` where words alone are to be searched.

    Args:
        wanted: ``None`` or ``"auto"``: the static model where it is installed. ``"none"``: no vectors. ``"wordllama"``: the static
            model, which must be installed. ``"NAME"`` or ``"NAME:MODEL"``: one of LanceDB's registry. Or an object that keeps
            `contracts.Embedder`.

    Raises:
        MissingDependencyError: What the named one needs is not installed.
        InvalidInputError: There is none of this name.
    """
    if wanted is not None and not isinstance(wanted, str):
        return _checked(wanted)
    name, _, model = (wanted or AUTO).strip().partition(":")
    if name == NONE:
        return None
    if name in {AUTO, STATIC}:
        found = StaticEmbedder.find()
        if found is None and name == STATIC:
            raise MissingDependencyError("the embedder 'wordllama'", "wordllama", INSTALL_STATIC)
        return found
    return RegistryEmbedder(name, model or None)


def _checked(given: object) -> Embedder:
    if not isinstance(given, Embedder):
        raise InvalidInputError(
            "embedder",
            f"{given!r} lacks what contracts.Embedder asks for: identity, dimensions, passages(), query()",
        )
    return given


# --- the static model ---------------------------------------------------------


class StaticEmbedder:
    """Sums the vectors of a text's tokens, each as often as the logarithm of its count says: a tenth of a millisecond for a passage.

    Deterministic, offline, 48 MB of memory; the same vectors on every machine. Safe to use from several threads.
    """

    dimensions = 256
    least_cosine = 0.25
    """Below it two texts have nothing to do with each other."""

    def __init__(self, folder: Path) -> None:
        self._weights = folder / "weights" / f"{_MODEL}.safetensors"
        self._tokens = folder / "tokenizers" / "l2_supercat_tokenizer_config.json"
        self._loaded: tuple[Any, Any] | None = None
        self._loading = threading.Lock()
        self._known: dict[str, list[int]] = {}

    @classmethod
    def find(cls) -> StaticEmbedder | None:
        """Return the model where it is installed with all it needs, without loading anything."""
        if (
            any(find_spec(name) is None for name in ("numpy", "tokenizers", "safetensors"))
            or (spec := find_spec(STATIC)) is None
        ):
            return None
        found = (cls(Path(place)) for place in spec.submodule_search_locations or ())
        return next((model for model in found if model.is_whole()), None)

    def is_whole(self) -> bool:
        """Tell whether both of its files are there."""
        return self._weights.is_file() and self._tokens.is_file()

    @property
    def identity(self) -> str:
        """The model's name, and the size of its file: another release of the package with the same model makes the same vectors."""
        return f"{STATIC}:{_MODEL}:{self._weights.stat().st_size}:{_POOLING}"

    def passages(self, texts: Sequence[str]) -> Any:
        """See `contracts.Embedder.passages`."""
        import numpy as np

        matrix, tokenizer = self._model()
        vectors: Any = np.zeros((len(texts), self.dimensions), np.float32)
        for place, tokens in enumerate(self._tokens_of(texts, tokenizer)):
            ids, counts = np.unique(np.asarray(tokens, np.int64), return_counts=True)
            vectors[place] = np.log1p(counts).astype(np.float32) @ matrix[ids]
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.where(lengths > 0, lengths, 1)

    def query(self, text: str) -> Any:
        """See `contracts.Embedder.query`."""
        return self.passages([text])[0]

    def _tokens_of(self, texts: Sequence[str], tokenizer: Any) -> Iterator[list[int]]:
        """Yield the tokens of each text, word by word: no token of the model reaches over a space, and most words come again and again."""
        words = [WORD.findall(text) for text in texts]
        # Replaced when full, never emptied: another thread may be reading it.
        known = self._known if len(self._known) < _WORDS_KNOWN else {}
        new = [word for word in set(chain.from_iterable(words)) if word not in known]
        encoded = tokenizer.encode_batch([_plain(word) for word in new], add_special_tokens=False)
        known.update((word, tokens.ids) for word, tokens in zip(new, encoded, strict=True))
        self._known = known
        for found in words:
            yield list(chain.from_iterable(map(known.__getitem__, found)))

    def _model(self) -> tuple[Any, Any]:
        with self._loading:
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded

    def _load(self) -> tuple[Any, Any]:
        import numpy as np
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        try:
            tokenizer = Tokenizer.from_file(str(self._tokens))
            matrix = load_file(self._weights)["embedding.weight"].astype(np.float32)
        except Exception as exc:
            # tokenizers raises Exception itself
            raise EmbedderError(
                "load the static model", str(exc), f"install it anew: {INSTALL_STATIC}"
            ) from exc
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return matrix, tokenizer


def _plain(word: str) -> str:
    """Take an identifier apart, in small letters: a model of words knows ``config``, not ``parseConfig``.

    Of a word of another script than Latin nothing is left. The model spells it in bytes, and finds all of them alike.
    """
    return " ".join(identifier_parts(word) or [word]).lower() if max(word) < _BEYOND_LATIN else ""


# --- LanceDB's registry ---------------------------------------------------------


class RegistryEmbedder:
    """A model of LanceDB's embedding registry: ``sentence-transformers``, ``openai``, ``ollama`` and others.

    Loaded when first used. Keys and addresses come from where its own library looks for them (``OPENAI_API_KEY``, ``OLLAMA_HOST``).

    Args:
        name: Its name in the registry.
        model: Which of its models; its own default when ``None``.

    Raises:
        InvalidInputError: The registry has no such name.
    """

    def __init__(self, name: str, model: str | None) -> None:
        self._name, self._model = name, model
        self._function: Any = None
        self._dimensions = 0

    @property
    def identity(self) -> str:
        """Name and model, as they were asked for."""
        return f"{self._name}:{self._model or ''}"

    @property
    def dimensions(self) -> int:
        """How long its vectors are; some models are asked for one to find out."""
        if not self._dimensions:
            self._dimensions = int(self._ask("ndims"))
        return self._dimensions

    def passages(self, texts: Sequence[str]) -> Any:
        """See `contracts.Embedder.passages`."""
        return self._ask("compute_source_embeddings", list(texts))

    def query(self, text: str) -> Any:
        """See `contracts.Embedder.query`."""
        return self._ask("compute_query_embeddings", text)[0]

    def _ask(self, what: str, *given: Any) -> Any:
        try:
            return getattr(self._made(), what)(*given)
        except ImportError as exc:
            package = str(exc).removeprefix("Please install ").partition("\n")[0]
            raise MissingDependencyError(
                f"the embedder {self._name!r}", package, f"pip install {package}"
            ) from exc
        except (EmbedderError, InvalidInputError):
            raise
        except Exception as exc:
            remedy = "see that it can be reached; mode='text' searches without it"
            raise EmbedderError(
                "embed", f"{self.identity} said: {type(exc).__name__}: {exc}"[:300], remedy
            ) from exc

    def _made(self) -> Any:
        if self._function is None:
            from vespera_orchestrator.artifacts.search.table import lancedb

            lancedb()
            from lancedb.embeddings import get_registry

            known = get_registry()._functions  # noqa: SLF001 - there is no other way to list them
            if self._name not in known:
                raise InvalidInputError(
                    "embedder",
                    f"{self._name!r} is none of {', '.join([AUTO, NONE, STATIC, *sorted(known)])}",
                )
            self._function = known[self._name].create(
                **({} if self._model is None else {"name": self._model})
            )
        return self._function


# --- vectors ----------------------------------------------------------------------


def embed(embedder: Embedder, texts: Sequence[str]) -> Any:
    """Return one row for each text, as float32; a row of zeros where a text says nothing to the model.

    Raises:
        EmbedderError: It failed, or gave something else than it promised.
    """
    import numpy as np

    parts = [_rows(embedder, texts[at : at + _AT_ONCE]) for at in range(0, len(texts), _AT_ONCE)]
    return np.concatenate(parts) if parts else np.zeros((0, embedder.dimensions), np.float32)


def embed_query(embedder: Embedder, text: str) -> Any:
    """Return the query's vector, or ``None`` where it says nothing to the model. Errors as for `embed`."""
    vector = _array(embedder, [_called(embedder, lambda: embedder.query(text))], 1)[0]
    return vector if vector.any() else None


def dimensions(embedder: Embedder) -> int:
    """Return how long its vectors are. Errors as for `embed`."""
    found: int = _called(embedder, lambda: embedder.dimensions)
    if type(found) is not int or found < 1:
        raise EmbedderError(
            "embed",
            f"{embedder.identity} says that its vectors have {found!r} dimensions",
            "correct the embedder",
        )
    return found


def _rows(embedder: Embedder, texts: Sequence[str]) -> Any:
    return _array(embedder, _called(embedder, lambda: embedder.passages(texts)), len(texts))


def _called(embedder: Embedder, what: Callable[[], Any]) -> Any:
    try:
        return what()
    except (EmbedderError, InvalidInputError, MissingDependencyError):
        raise
    except Exception as exc:
        raise EmbedderError(
            "embed",
            f"{embedder.identity} raised {type(exc).__name__}: {exc}"[:300],
            "mode='text' does without",
        ) from exc


def _array(embedder: Embedder, given: Any, count: int) -> Any:
    import numpy as np

    empty = [0.0] * embedder.dimensions
    try:
        vectors = np.asarray([empty if vector is None else vector for vector in given], np.float32)
    except (TypeError, ValueError) as exc:
        raise EmbedderError(
            "embed", f"{embedder.identity} gave no vectors: {exc}", "mode='text' does without"
        ) from exc
    if vectors.shape != (count, embedder.dimensions) or not np.isfinite(vectors).all():
        what = f"{embedder.identity} gave {vectors.shape} instead of {(count, embedder.dimensions)}, or numbers that are not finite"
        raise EmbedderError("embed", what, "correct the embedder; mode='text' does without")
    return vectors
