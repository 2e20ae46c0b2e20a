"""Workflows: what XNAT notes about each thing that was done, and its status."""

import itertools
from dataclasses import dataclass, field

_numbers = itertools.count(1)


@dataclass(slots=True)
class Workflow:
    """One workflow: of which object, in which project, and how it went."""

    pipeline: str
    object_id: str
    project: str
    data_type: str
    user: str
    status: str = "Complete"
    id: str = field(default_factory=lambda: str(next(_numbers)))

    def row(self) -> dict[str, str]:
        return {
            "wrk_workflowData_id": self.id,
            "pipeline_name": self.pipeline,
            "status": self.status,
            "id": self.object_id,
            "data_type": self.data_type,
            "ExternalID": self.project,
            "create_user": self.user,
        }
