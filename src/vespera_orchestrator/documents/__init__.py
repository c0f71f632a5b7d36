"""Project documents that keep themselves up to date when tasks complete.

A document is a Markdown file under ``docs/`` of the project. The parts of it between marker lines,
its *sections*, are a view that follows the event log; the rest belongs to whoever writes it.

`Documents` is the whole of it. What documents show comes from `sources`, one module for each kind;
which documents a project has is in `project_types`. jinja2 is loaded when there is something to
render.
"""

from vespera_orchestrator.documents.completed_work import Inclusion
from vespera_orchestrator.documents.engine import Documents
from vespera_orchestrator.documents.proposals import Proposal
from vespera_orchestrator.documents.report import UpdateReport

__all__ = ["Documents", "Inclusion", "Proposal", "UpdateReport"]
