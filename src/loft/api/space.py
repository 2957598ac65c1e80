"""Space: a namespace that belongs to a user or team (cluster.loft.sh/v1, connected clusters).

A view, not stored: the Namespace carries all of it, by the label and annotations below.
"""

from __future__ import annotations

from loft.api.management import EntityInfo
from loft.api.meta import Kind, ObjectMeta

SPACE_LABEL = "loft.sh/space"
"""Label with value "true": the namespace is a space."""
OWNER_USER = "loft.sh/owner-user"
"""Annotation: name of the user who owns the space."""
OWNER_TEAM = "loft.sh/owner-team"
"""Annotation: name of the team that owns the space."""
DISPLAY_NAME = "loft.sh/display-name"
DESCRIPTION = "loft.sh/description"


class SpaceSpec(Kind, frozen=True, kw_only=True):
    """Whose space it is. An update that names nobody leaves the owner as it is."""

    user: str = ""
    """Owner; the one who creates it when neither user nor team is given."""
    team: str = ""
    """Owning team, instead of a user."""
    finalizers: list[str] = []
    """Finalizers of the namespace; set by the server."""


class SpaceOwner(Kind, frozen=True, kw_only=True):
    """The owner as it is shown."""

    user: EntityInfo | None = None
    team: EntityInfo | None = None


class SpaceStatus(Kind, frozen=True, kw_only=True):
    """Observed state."""

    phase: str = ""
    """Active, or Terminating while it is being deleted."""
    owner: SpaceOwner | None = None


class Space(Kind, frozen=True, kw_only=True):
    """A namespace that belongs to somebody."""

    metadata: ObjectMeta = ObjectMeta()
    spec: SpaceSpec = SpaceSpec()
    status: SpaceStatus = SpaceStatus()
