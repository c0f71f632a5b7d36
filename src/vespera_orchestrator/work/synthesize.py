"""Gathering what the subtasks of a task brought, as an artifact."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vespera_orchestrator._model import ArtifactKind
from vespera_orchestrator._secrets import mask_and_warn
from vespera_orchestrator.errors import (
    CorruptContentError,
    InvalidInputError,
    TransitionError,
)
from vespera_orchestrator.progress.synthesis import synthesis

if TYPE_CHECKING:
    from vespera_orchestrator._model import Artifact, Task
    from vespera_orchestrator.artifacts import Artifacts
    from vespera_orchestrator.progress.overview import Overview


def synthesize(
    overview: Overview, artifacts: Artifacts, parent: Task, budget_tokens: int
) -> Artifact:
    """Write and save the synthesis of a parent; see `Orchestrator.synthesize_results`.

    Raises:
        TransitionError: The task has no subtasks.
    """
    results = overview.subtask_results(parent)
    if not results.subtasks:
        remedy = "plan subtasks with parent_task_id=, or complete it with your own detailed_work"
        state = f"{parent.status} without subtasks"
        raise TransitionError(parent.alias, state, "be synthesized", remedy)

    def text_of(artifact: Artifact) -> str:
        try:
            return mask_and_warn(artifacts.text(artifact), f"artifact {artifact.id}")
        except InvalidInputError:  # not text
            return f"({artifact.media_type}, {artifact.size_bytes} bytes)"
        except CorruptContentError as exc:
            return f"({exc.problem}; orch.artifacts.text({artifact.id!r}) says what you can do)"

    return artifacts.save(
        f"Synthesis: {parent.title}",
        synthesis(results, text_of, budget_tokens=budget_tokens),
        task=parent,
        kind=ArtifactKind.SYNTHESIS,
        metadata=results.metadata(),
    )
