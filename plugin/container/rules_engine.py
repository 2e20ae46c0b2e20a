"""What the container engines and the upload make of a command, beyond its syntax.

Source: the service's ``DockerControlApi``, ``KubernetesClientImpl`` and its
finalisation; each message says the consequence.
"""

from collections.abc import Iterator

from plugin.container import words
from plugin.container.command import Command
from plugin.container.findings import Finding, error, warning

VISIBLE_GPU = "NVIDIA_VISIBLE_DEVICES"


def engine_rules(command: Command) -> Iterator[Finding]:
    """Yield what Docker, Swarm, Kubernetes or the upload would make of it."""
    yield from _names(command)
    yield from _outputs(command)
    yield from _ignored(command)
    yield from _resources(command)
    yield from _secrets(command)


def _names(command: Command) -> Iterator[Finding]:
    if command.name.strip() and not words.KUBERNETES_NAME.fullmatch(command.name):
        yield warning(
            f"name '{command.name}': older services on Kubernetes need a-z, 0-9 and -"
        )
    if not command.version.strip():
        yield warning("has no version: the next release cannot be told from this one")
    for variable in command.environment_variables:
        if variable in words.RESERVED_VARIABLES:
            yield error(f"environment variable {variable} is the service's own")


def _outputs(command: Command) -> Iterator[Finding]:
    for output in command.outputs:
        if output.glob:
            yield warning(
                f"output '{output.name}': glob is ignored, everything directly in "
                "its path is uploaded"
            )
        if output.required is None:
            yield warning(f"output '{output.name}': say whether it is required")
        if not output.path.strip():
            yield warning(f"output '{output.name}' has no path: all of its mount goes")


def _ignored(command: Command) -> Iterator[Finding]:
    if command.gpus:
        yield warning("gpus is used by no engine: use generic-resources and runtime")
    if command.ipc_mode:
        yield warning("ipc-mode is lost when a command is created: use shm-size")
    if command.auto_remove:
        yield warning("auto-remove can remove the container before its logs are read")
    for name in command.generic_resources:
        if name != "gpu":
            yield warning(f"generic resource '{name}' is ignored on Kubernetes")


def _resources(command: Command) -> Iterator[Finding]:
    if (
        command.limit_memory
        and command.reserve_memory
        and command.limit_memory < command.reserve_memory
    ):
        yield error("limit-memory is below reserve-memory")
    asks_gpu = command.runtime == "nvidia" or "gpu" in command.generic_resources
    if asks_gpu and VISIBLE_GPU not in command.environment_variables:
        yield warning(f"asks for a GPU without {VISIBLE_GPU}: it may see none")


def _secrets(command: Command) -> Iterator[Finding]:
    for secret in command.secrets:
        if secret.source.type != "system-property":
            yield error(f"secret source '{secret.source.type}': only system-property")
        if secret.destination.type != "environment-variable":
            yield error(
                f"secret destination '{secret.destination.type}': "
                "only environment-variable"
            )
