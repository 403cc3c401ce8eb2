"""Which machine this is, whatever its name: agents of one name on two machines are told apart by it."""

from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def running_machine() -> str | None:
    """The kernel's id of this boot: the same in all containers of a machine, another one on its clone and after it was
    started again. None where the kernel has none (Linux has)."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip() or None
    except OSError:
        return None
