"""What the Container Service asked a container to do, read from its environment."""

import re
from collections.abc import Mapping

from plugin.errors import ConfigError

VERBS = ("segment", "rank", "train", "finetune", "evaluate", "review")
"""The wrappers of command.json; each is the command of the same name."""

LEFT_OVER = re.compile(r"#[A-Za-z0-9_-]+#|\^.*\^", re.DOTALL)
"""A template that the service found no value for stays as it is."""

PREFIX = "BRS_"
SHOWN = 40


def verb_of(wrapper: str) -> str:
    """Return the command that a wrapper means.

    Raises
    ------
    ConfigError
        If no wrapper has that name.
    """
    if wrapper in VERBS:
        return wrapper
    raise ConfigError(
        "BRS_WRAPPER",
        found=f"{wrapper[:SHOWN]!r}",
        needed=f"one of {', '.join(VERBS)}",
        mend="install the command.json of this version of the image",
    )


def refuse_left_overs(environ: Mapping[str, str]) -> None:
    """Refuse a launch with a template that the service left as it was.

    Raises
    ------
    ConfigError
        If a ``BRS_`` variable holds a replacement key or a JSONPath.
    """
    for name in sorted(environ):
        value = environ[name]
        if name.startswith(PREFIX) and LEFT_OVER.search(value):
            raise ConfigError(
                name,
                found=f"the unresolved template {value[:SHOWN]!r}",
                needed="a value",
                mend="install the command.json of this version of the image",
            )
