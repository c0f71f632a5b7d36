"""From passages to vectors: a static model out of a wheel, or whatever LanceDB's registry has.

A vector says what a passage is about, also in other words than the query's. The default model is a
table with one vector for each token, read from the files of the ``wordllama`` package. Nothing of
that package runs, nor any of its dependencies, and nothing is ever downloaded. Only a model of
LanceDB's registry may use the network, and only when the caller named it.
"""

from __future__ import annotations

import functools
import json
import math
import mmap
import struct
import threading
from collections import Counter
from importlib.util import find_spec
from itertools import chain, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._text import show_value
from vespera_orchestrator.artifacts.search import vector_math
from vespera_orchestrator.artifacts.search.passages import WORD, identifier_parts
from vespera_orchestrator.contracts import Embedder
from vespera_orchestrator.errors import EmbedderError, InvalidInputError, MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

AUTO = "auto"
NONE = "none"
STATIC = "wordllama"
INSTALL_STATIC = "pip install 'vespera-orchestrator[vectors]'"

_MODEL = "l2_supercat_256"
_TOKENIZER = "l2_supercat_tokenizer_config.json"
_MATRIX = "embedding.weight"
_VOCABULARY = b'"vocab":'
_MERGES = b'"merges":'
_SPACE = "\u2581"
"""What the model's pieces have for a space; every text begins with one."""
_NO_PIECE = 1 << 30
_SAFETENSORS_LENGTH = 8
"""A file of this format begins with the length of its header, in so many bytes."""
_HALF_PRECISION = "F16"
_POOLING = 1
"""Raised when vectors are made differently from the same model."""
_BEYOND_LATIN = "\u0250"
_CACHED_WORDS = 50_000
"""For how many words the tokens are remembered: about 10 MB."""
_LONGEST_WORD = 200
"""Characters. What is longer is no word, and joining its pieces would take the square of that."""
_BATCH_TEXTS = 256
"""How many texts a model gets at a time."""
_MAX_REASON_CHARACTERS = 300
_WITHOUT_IT = "mode='text' does without"
_NOT_FINITE = "numbers that are not finite"


def choose(setting: str | Embedder | None) -> Embedder | None:
    """Return the embedder that *setting* names; ``None`` for a search by words alone.

    Args:
        setting: ``None`` or ``"auto"``: the static model where it is installed. ``"none"``: no
            vectors. ``"wordllama"``: the static model, which must be installed. ``"NAME"`` or
            ``"NAME:MODEL"``: one of LanceDB's registry. Or an object that keeps
            `contracts.Embedder`.

    Raises:
        MissingDependencyError: What the named one needs is not installed.
        InvalidInputError: None has this name.
    """
    if setting is not None and not isinstance(setting, str):
        return _checked(setting)
    name, _, model = (setting or AUTO).strip().partition(":")
    if name == NONE:
        return None
    if name == AUTO:
        return StaticEmbedder.find()
    if name == STATIC:
        static = StaticEmbedder.find()
        if static is None:
            raise MissingDependencyError("the embedder 'wordllama'", "wordllama", INSTALL_STATIC)
        return static
    return RegistryEmbedder(name, model or None)


def _checked(candidate: object) -> Embedder:
    if isinstance(candidate, Embedder):
        return candidate
    needs = "needs identity, dimensions, passages() and query(); see contracts.Embedder"
    raise InvalidInputError("embedder", f"{show_value(candidate)} {needs}")


# --- the static model ---------------------------------------------------------


class StaticEmbedder:
    """Sums the vectors of a text's tokens, each weighted by the logarithm of its count.

    A tenth of a millisecond for a passage, 25 MB of memory with numpy; a query needs no numpy.
    Deterministic and offline: the same vectors on every machine. Safe to use from several threads.
    """

    dimensions = 256
    least_cosine = 0.25
    """Below it two texts have nothing to do with each other."""

    def __init__(self, folder: Path) -> None:
        self._matrix_file = folder / "weights" / f"{_MODEL}.safetensors"
        self._tokenizer_file = folder / "tokenizers" / _TOKENIZER
        self._model: _StaticModel | None = None
        self._load_lock = threading.Lock()
        self._token_cache: dict[str, list[int]] = {}

    @classmethod
    def find(cls) -> StaticEmbedder | None:
        """Return the model if it and all it needs are installed. Loads nothing."""
        if find_spec("numpy") is None:
            return None
        spec = find_spec(STATIC)
        if spec is None:
            return None
        for folder in spec.submodule_search_locations or ():
            model = cls(Path(folder))
            if model.has_files():
                return model
        return None

    def has_files(self) -> bool:
        """Tell whether both of its files are there."""
        files = (self._matrix_file, self._tokenizer_file)
        return all(file.is_file() for file in files)

    @property
    def identity(self) -> str:
        """The model's name, and the size of its file.

        Another release of the package with the same model makes the same vectors.
        """
        size_bytes = self._matrix_file.stat().st_size
        parts = (STATIC, _MODEL, size_bytes, _POOLING)
        return ":".join(map(str, parts))

    def passages(self, texts: Sequence[str]) -> Any:
        """See `contracts.Embedder.passages`."""
        import numpy as np

        model = self._loaded_model()
        counts = [Counter(tokens) for tokens in self._token_ids(texts, model.pieces)]
        distinct = sorted(set().union(*counts))
        places = {token: place for place, token in enumerate(distinct)}
        # Half precision is slow to compute with: each row is converted once.
        matrix = model.matrix.as_array()[distinct].astype(np.float32)
        vectors: Any = np.zeros((len(texts), self.dimensions), np.float32)
        for number, of_text in enumerate(counts):
            rows = [places[token] for token in of_text]
            weights = np.log1p(np.fromiter(of_text.values(), np.float32, len(rows)))
            vectors[number] = weights @ matrix[rows]
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        lengths = np.where(lengths > 0, lengths, 1)
        return vectors / lengths

    def query(self, text: str) -> Any:
        """See `contracts.Embedder.query`.

        The same sum as for a passage. Numpy takes longer to load than this takes for any query.
        """
        model = self._loaded_model()
        (tokens,) = self._token_ids([text], model.pieces)
        sums = [0.0] * self.dimensions
        for token, count in Counter(tokens).items():
            weight = math.log1p(count)
            row = model.matrix.row(token)
            sums = [added + weight * number for added, number in zip(sums, row, strict=True)]
        length = vector_math.length(sums)
        return [number / length for number in sums] if length else sums

    def _token_ids(self, texts: Sequence[str], pieces: Mapping[str, int]) -> Iterator[list[int]]:
        """Yield the tokens of each text, word by word.

        No token of the model reaches over a space, and most words come again and again.
        """
        words_of_texts = [_words(text) for text in texts]
        cache = self._token_cache
        if len(cache) >= _CACHED_WORDS:
            # Replaced when full, never emptied: another thread may be reading it.
            cache = {}
        all_words = set(chain.from_iterable(words_of_texts))
        new_words = [word for word in all_words if word not in cache]
        for word in new_words:
            cache[word] = _tokens(_model_spelling(word), pieces)
        self._token_cache = cache
        for words in words_of_texts:
            tokens_of_words = map(cache.__getitem__, words)
            yield list(chain.from_iterable(tokens_of_words))

    def _loaded_model(self) -> _StaticModel:
        with self._load_lock:
            if self._model is None:
                self._model = self._load()
            return self._model

    def _load(self) -> _StaticModel:
        try:
            matrix = _Matrix.open(self._matrix_file, self.dimensions)
            return _StaticModel(matrix=matrix, pieces=_pieces(self._tokenizer_file))
        except (OSError, ValueError, KeyError, TypeError) as exc:
            remedy = f"install it again: {INSTALL_STATIC}"
            raise EmbedderError("load the static model", str(exc), remedy) from exc


@attrs.frozen(kw_only=True)
class _Matrix:
    """The vectors of the tokens in a file, of which only the rows that are used are read."""

    content: mmap.mmap
    start: int
    shape: tuple[int, int]
    row_format: struct.Struct

    @classmethod
    def open(cls, file: Path, dimensions: int) -> _Matrix:
        with file.open("rb") as stream:
            header_bytes = int.from_bytes(stream.read(_SAFETENSORS_LENGTH), "little")
            header = json.loads(stream.read(header_bytes))[_MATRIX]
            content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        rows, columns = header["shape"]
        if (header["dtype"], columns) != (_HALF_PRECISION, dimensions):
            raise ValueError(f"{file} has {columns} numbers of the type {header['dtype']} a row")
        start, end = header["data_offsets"]
        row_format = struct.Struct(f"<{columns}e")
        before = _SAFETENSORS_LENGTH + header_bytes
        if end - start != rows * row_format.size or before + end > len(content):
            raise ValueError(f"{file} is not whole")
        return cls(
            content=content, start=before + start, shape=(rows, columns), row_format=row_format
        )

    def row(self, number: int) -> Sequence[float]:
        if number >= self.shape[0]:
            raise IndexError(f"the static model has no token {number}")
        return self.row_format.unpack_from(self.content, self.start + number * self.row_format.size)

    def as_array(self) -> Any:
        import numpy as np

        count = math.prod(self.shape)
        numbers = np.frombuffer(self.content, np.float16, count, self.start)
        return numbers.reshape(self.shape)


@attrs.frozen(kw_only=True)
class _StaticModel:
    matrix: _Matrix
    pieces: Mapping[str, int]
    """The numbers of its pieces of words."""


def _words(text: str) -> list[str]:
    """Return the words of a text; of an endless one only its beginning, see `_LONGEST_WORD`."""
    return [word[:_LONGEST_WORD] for word in WORD.findall(text)]


def _pieces(file: Path) -> Mapping[str, int]:
    """Return the numbers of the model's pieces of words.

    The rest of the file, most of it, follows from them and is not even decoded; see `_tokens`.
    """
    content = file.read_bytes()
    start = content.index(b"{", content.index(_VOCABULARY))
    end = content.find(_MERGES, start)
    text = content[start : end if end > 0 else None].decode("utf-8")
    pieces, _ = json.JSONDecoder().raw_decode(text)
    if not isinstance(pieces, dict) or _SPACE not in pieces:
        raise ValueError(f"{file} has no pieces of words")
    return pieces


def _tokens(text: str, pieces: Mapping[str, int]) -> list[int]:
    """Return the tokens of *text*: byte-pair encoding, the piece with the lowest number first.

    That is the order in which the model's pieces were learned, and the one in which its own
    tokenizer joins them. As fast as that, and a tenth of its memory.
    """
    if not text:
        return []
    tokens: list[int] = []
    for part in _joined(_SPACE + text.replace(" ", _SPACE), pieces):
        number = pieces.get(part)
        if number is None:
            tokens += [pieces[f"<0x{byte:02X}>"] for byte in part.encode()]
        else:
            tokens.append(number)
    return tokens


def _joined(text: str, pieces: Mapping[str, int]) -> list[str]:
    """Return the characters of *text*, joined to pieces."""
    parts = list(text)
    ranks = [pieces.get(first + second, _NO_PIECE) for first, second in pairwise(parts)]
    while ranks and (lowest := min(ranks)) < _NO_PIECE:
        place = ranks.index(lowest)
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
        # Only the two pairs that the new piece is in have changed.
        del ranks[place]
        for pair in (place - 1, place):
            if 0 <= pair < len(ranks):
                ranks[pair] = pieces.get(parts[pair] + parts[pair + 1], _NO_PIECE)
    return parts


def _model_spelling(word: str) -> str:
    """Take an identifier apart, in small letters: the model knows ``config``, not ``parseConfig``.

    Nothing is left of a word in another script than Latin. The model spells it in bytes, and finds
    all of them alike.
    """
    if max(word) >= _BEYOND_LATIN:
        return ""
    parts = identifier_parts(word) or (word,)
    return " ".join(parts).lower()


# --- LanceDB's registry ---------------------------------------------------------


class RegistryEmbedder:
    """A model of LanceDB's registry: ``sentence-transformers``, ``openai``, ``ollama`` and others.

    Loaded when first used. Its own library looks for keys and addresses (``OPENAI_API_KEY``,
    ``OLLAMA_HOST``).

    Args:
        name: Its name in the registry.
        model: Which of its models; its own default when ``None``.
    """

    def __init__(self, name: str, model: str | None) -> None:
        self._name = name
        self._model = model
        self._function: Any = None
        self._dimensions = 0

    @property
    def identity(self) -> str:
        """Name and model, as the caller wrote them."""
        model = self._model or ""
        return f"{self._name}:{model}"

    @property
    def dimensions(self) -> int:
        """How long its vectors are; some models have to make one to find out."""
        if not self._dimensions:
            self._dimensions = int(self._call("ndims"))
        return self._dimensions

    def passages(self, texts: Sequence[str]) -> Any:
        """See `contracts.Embedder.passages`."""
        return self._call("compute_source_embeddings", list(texts))

    def query(self, text: str) -> Any:
        """See `contracts.Embedder.query`."""
        vectors = self._call("compute_query_embeddings", text)
        return vectors[0]

    def _call(self, method: str, *arguments: Any) -> Any:
        """Call a method of LanceDB's embedding function.

        Raises:
            InvalidInputError: The registry has no such name.
            MissingDependencyError: A package that it needs is not installed.
            EmbedderError: It failed.
        """
        try:
            return getattr(self._loaded_function(), method)(*arguments)
        except ImportError as exc:
            from vespera_orchestrator.artifacts.search.lancedb_private import missing_package

            package = missing_package(exc)
            raise MissingDependencyError(
                f"the embedder {show_value(self._name)}", package, f"pip install {package}"
            ) from exc
        except (EmbedderError, InvalidInputError):
            raise
        except Exception as exc:
            reason = f"{self.identity} said: {type(exc).__name__}: {exc}"
            remedy = "check that it can be reached; mode='text' searches without it"
            raise EmbedderError("embed", reason[:_MAX_REASON_CHARACTERS], remedy) from exc

    def _loaded_function(self) -> Any:
        if self._function is None:
            from vespera_orchestrator.artifacts.search.lancedb_private import embedding_functions

            functions = embedding_functions()
            function = functions.get(self._name)
            if function is None:
                choices = ", ".join([AUTO, NONE, STATIC, *sorted(functions)])
                raise InvalidInputError(
                    "embedder", f"{show_value(self._name)} is not one of {choices}"
                )
            options = {} if self._model is None else {"name": self._model}
            self._function = function.create(**options)
        return self._function


# --- vectors ----------------------------------------------------------------------


def embed(embedder: Embedder, texts: Sequence[str]) -> Any:
    """Return one row for each text, as float32; zeros where a text says nothing to the model.

    Raises:
        EmbedderError: It failed, or returned something else than it promised.
    """
    import numpy as np

    if not texts:
        return np.zeros((0, embedder.dimensions), np.float32)
    parts = []
    for start in range(0, len(texts), _BATCH_TEXTS):
        batch = texts[start : start + _BATCH_TEXTS]
        vectors = _call(embedder, functools.partial(embedder.passages, batch))
        parts.append(_array(embedder, vectors, len(batch)))
    return np.concatenate(parts)


def embed_query(embedder: Embedder, text: str) -> list[float] | None:
    """Return the query's vector, or ``None`` where it says nothing to the model.

    Raises:
        EmbedderError: As for `embed`.
    """
    vector = _call(embedder, lambda: embedder.query(text))
    if vector is None:
        return None
    try:
        numbers = [float(number) for number in vector]
    except (TypeError, ValueError) as exc:
        reason = f"{embedder.identity} returned no vector: {exc}"
        raise EmbedderError("embed", reason, _WITHOUT_IT) from exc
    if len(numbers) != embedder.dimensions:
        problem = f"{len(numbers)} numbers instead of {embedder.dimensions}"
        raise _unusable(embedder, problem)
    if not all(map(math.isfinite, numbers)):
        raise _unusable(embedder, _NOT_FINITE)
    return numbers if any(numbers) else None


def dimensions(embedder: Embedder) -> int:
    """Return how long its vectors are.

    Raises:
        EmbedderError: As for `embed`.
    """
    length: int = _call(embedder, lambda: embedder.dimensions)
    if type(length) is int and length >= 1:
        return length
    raise EmbedderError(
        "embed",
        f"{embedder.identity} says that its vectors have {show_value(length)} dimensions",
        "correct the embedder",
    )


def _call(embedder: Embedder, action: Callable[[], Any]) -> Any:
    try:
        return action()
    except (EmbedderError, InvalidInputError, MissingDependencyError):
        raise
    except Exception as exc:
        reason = f"{embedder.identity} raised {type(exc).__name__}: {exc}"
        raise EmbedderError("embed", reason[:_MAX_REASON_CHARACTERS], _WITHOUT_IT) from exc


def _array(embedder: Embedder, vectors: Any, count: int) -> Any:
    """Return *vectors* as an array with *count* rows; ``None`` among them becomes zeros."""
    import numpy as np

    zeros = [0.0] * embedder.dimensions
    try:
        rows = [zeros if vector is None else vector for vector in vectors]
        array = np.asarray(rows, np.float32)
    except (TypeError, ValueError) as exc:
        reason = f"{embedder.identity} returned no vectors: {exc}"
        raise EmbedderError("embed", reason, _WITHOUT_IT) from exc
    expected = (count, embedder.dimensions)
    problem = ""
    if array.shape != expected:
        problem = f"an array of {array.shape} instead of {expected}"
    elif not np.isfinite(array).all():
        problem = _NOT_FINITE
    if problem:
        raise _unusable(embedder, problem)
    return array


def _unusable(embedder: Embedder, problem: str) -> EmbedderError:
    reason = f"{embedder.identity} returned {problem}"
    return EmbedderError("embed", reason, f"correct the embedder; {_WITHOUT_IT}")
