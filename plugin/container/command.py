"""A Container Service command as values: one field per key that the service knows.

A field's name is the JSON key with ``_`` for ``-``; its type says what the key holds.
Source: the service's ``Command`` and ``CommandCreation`` (3.7).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Mount:
    """A folder inside the container; an input feeds it, or it takes outputs."""

    name: str = ""
    path: str = ""
    writable: bool = False


@dataclass(frozen=True, slots=True)
class CommandInput:
    """A value that the launch form asks for, unless a wrapper provides it."""

    name: str = ""
    label: str = ""
    description: str = ""
    type: str = "string"
    required: bool = False
    matcher: str = ""
    default_value: str | None = None
    replacement_key: str = ""
    command_line_flag: str = ""
    command_line_separator: str | None = None
    true_value: str | None = None
    false_value: str | None = None
    sensitive: bool | None = None
    select_values: tuple[str, ...] = ()
    multiple_delimiter: str | None = None

    @property
    def key(self) -> str:
        """Return the text that templates hold in place of the value."""
        return self.replacement_key.strip() or f"#{self.name}#"

    @property
    def is_select(self) -> bool:
        """Tell whether the form shows a list of choices."""
        return self.type in ("select-one", "select-many")


@dataclass(frozen=True, slots=True)
class CommandOutput:
    """What is taken from a mount when the container ended well."""

    name: str = ""
    description: str = ""
    required: bool | None = None
    mount: str = ""
    path: str = ""
    glob: str = ""


@dataclass(frozen=True, slots=True)
class WrapperInput:
    """What external and derived inputs share."""

    name: str = ""
    label: str = ""
    description: str = ""
    type: str = "string"
    matcher: str = ""
    default_value: str | None = None
    user_settable: bool | None = None
    replacement_key: str = ""
    required: bool = True
    load_children: bool = True
    sensitive: bool | None = None
    provides_value_for_command_input: str = ""
    provides_files_for_command_mount: str = ""
    via_setup_command: str = ""

    @property
    def key(self) -> str:
        """Return the text that templates hold in place of the value."""
        return self.replacement_key.strip() or f"#{self.name}#"


@dataclass(frozen=True, slots=True)
class ExternalInput(WrapperInput):
    """The object that the user launches on."""


@dataclass(frozen=True, slots=True)
class DerivedInput(WrapperInput):
    """A value that the service takes from another input's object."""

    derived_from_wrapper_input: str = ""
    derived_from_xnat_object_property: str = ""
    multiple: bool = False
    parser: str = ""


@dataclass(frozen=True, slots=True)
class OutputHandler:
    """Where a command's output goes in XNAT."""

    name: str = ""
    accepts_command_output: str = ""
    as_a_child_of: str = ""
    as_a_child_of_wrapper_input: str = ""
    type: str = "Resource"
    xsi_type: str = ""
    label: str = ""
    format: str = ""
    content: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    via_wrapup_command: str = ""

    @property
    def target(self) -> str:
        """Return the input or handler it hangs on; the older key still counts."""
        return self.as_a_child_of or self.as_a_child_of_wrapper_input


@dataclass(frozen=True, slots=True)
class Wrapper:
    """One entry of the Run menu."""

    id: int | None = None
    name: str = ""
    label: str = ""
    description: str = ""
    contexts: tuple[str, ...] = ()
    external_inputs: tuple[ExternalInput, ...] = ()
    derived_inputs: tuple[DerivedInput, ...] = ()
    output_handlers: tuple[OutputHandler, ...] = ()

    @property
    def inputs(self) -> tuple[WrapperInput, ...]:
        """Return external, then derived inputs."""
        return (*self.external_inputs, *self.derived_inputs)


@dataclass(frozen=True, slots=True)
class SecretEnd:
    """Where a secret comes from, or goes to."""

    type: str = ""
    identifier: str = ""


@dataclass(frozen=True, slots=True)
class Secret:
    """A property of the XNAT server that becomes an environment variable."""

    source: SecretEnd = field(default_factory=SecretEnd)
    destination: SecretEnd = field(default_factory=SecretEnd)


@dataclass(frozen=True, slots=True)
class Command:
    """A command with its wrappers; memory in MiB, shared memory in bytes."""

    id: int | None = None
    name: str = ""
    label: str = ""
    description: str = ""
    version: str = ""
    schema_version: str = ""
    info_url: str = ""
    type: str = "docker"
    image: str = ""
    container_name: str = ""
    index: str = ""
    hash: str = ""
    working_directory: str = ""
    command_line: str = ""
    command_metadata: Any = None
    override_entrypoint: bool | None = None
    mounts: tuple[Mount, ...] = ()
    environment_variables: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, str] = field(default_factory=dict)
    inputs: tuple[CommandInput, ...] = ()
    outputs: tuple[CommandOutput, ...] = ()
    xnat: tuple[Wrapper, ...] = ()
    reserve_memory: int | None = None
    limit_memory: int | None = None
    limit_cpu: float | None = None
    shm_size: int | None = None
    runtime: str = ""
    ipc_mode: str = ""
    auto_remove: bool | None = None
    network: str = ""
    container_labels: Mapping[str, str] = field(default_factory=dict)
    gpus: str = ""
    generic_resources: Mapping[str, str] = field(default_factory=dict)
    ulimits: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[Secret, ...] = ()
    visibility: str = "public"
