"""What the endpoints of a server share."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from dualtk.serving.access import Access, Refusal
from dualtk.serving.admission import Admission
from dualtk.serving.description import Description
from dualtk.serving.limits import Limits
from dualtk.serving.metrics import Metrics
from dualtk.serving.scheduler import Scheduler
from dualtk.serving.web import HTTPConnection

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Context:
    """What the endpoints of a server share."""

    description: Description
    scheduler: Scheduler
    access: Access
    admission: Admission
    limits: Limits
    metrics: Metrics

    def refusal(self, connection: HTTPConnection, *, is_live: bool) -> Refusal | None:
        """Why a client gets no stream, or None; it is counted."""
        address = connection.client.host if connection.client is not None else ""
        found = self.access.refusal(connection) or self.admission.refusal(address, is_live=is_live)
        return None if found is None else self.refused(found)

    def refused(self, found: Refusal) -> Refusal:
        """Count a refusal."""
        self.metrics.count("refused", reason=found.reason)
        log.info("refused", extra={"fields": {"reason": found.reason, "status": found.status}})
        return found
