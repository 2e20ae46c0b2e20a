"""Subscriptions of the Event Service, and the events that they caught."""

import itertools
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Subscription:
    """One subscription, as it was sent; ``project`` limits it."""

    id: int
    body: dict[str, Any]
    active: bool
    owner: str


@dataclass(frozen=True, slots=True)
class Delivered:
    """One event that a subscription caught."""

    subscription: int
    event_type: str
    status: str
    object_id: str
    project: str


@dataclass(slots=True)
class Events:
    """The service: off on a fresh XNAT."""

    enabled: bool = False
    subscriptions: dict[int, Subscription] = field(default_factory=dict)
    delivered: list[Delivered] = field(default_factory=list)
    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
