"""The processor that an engine's rounding may depend on, named as far as it matters."""

import platform
from pathlib import Path

from model.engine import Engine

CPU_FACTS = Path("/proc/cpuinfo")
VECTORS = ("avx", "amx", "fma", "f16c", "sse", "asimd", "sve", "bf16", "i8mm")
"""How the names of the instructions begin that compute with several numbers at once."""


def processor_of(engine: Engine) -> str:
    """Return the name of what an engine computes on, and what that can do."""
    if engine.runtime == "openvino":
        from model.openvino_runner import capabilities

        return f"{cpu_type()}: {' '.join(capabilities())}"
    import torch

    if engine.on_gpu:
        return str(torch.cuda.get_device_name(engine.device))
    return f"{cpu_type()}: {torch.backends.cpu.get_cpu_capability()}"


def cpu_type(facts: Path = CPU_FACTS) -> str:
    """Return a CPU's architecture, name and vector instructions, as Linux tells them.

    Off Linux it is the name alone.
    """
    values = cpu_facts(facts)
    if not values:
        return f"{platform.machine()} {platform.processor()}"
    able = (values.get("flags") or values.get("Features") or "").split()
    vectors = sorted(flag for flag in able if flag.startswith(VECTORS))
    return " ".join((platform.machine(), values.get("model name", ""), *vectors))


def cpu_facts(facts: Path = CPU_FACTS) -> dict[str, str]:
    """Return what Linux tells of the last processor, by key; nothing off Linux."""
    try:
        lines = facts.read_text(errors="replace").splitlines()
    except OSError:
        return {}
    told = (line.partition(":") for line in lines if ":" in line)
    return {key.strip(): value.strip() for key, _, value in told}
