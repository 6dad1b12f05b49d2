"""forge plan and forge status as text."""

from __future__ import annotations

from typing import Any

from phoenix_forge.core.fsio import human

PREDICTED = (("vram_bytes", "of GPU memory"), ("memory_bytes", "memory"), ("disk_bytes", "disk"))


def duration(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.0f} h"
    )


def planned(result: dict[str, Any]) -> list[str]:
    """What `forge run` would do, a line a stage."""
    lines = []
    for step in result["steps"]:
        mark = (
            f"run   {step['name']}: {step['reason']}"
            if step["run"]
            else f"skip  {step['name']}: up to date"
        )
        costs = _costs(step)
        lines.append(mark + (f" ({', '.join(costs)})" if step["run"] and costs else ""))
    return [*lines, f"disk free: {human(result['disk_free_bytes'])}"]


def _costs(step: dict[str, Any]) -> list[str]:
    costs = [f"{human(step[key])} {word}" for key, word in PREDICTED if step.get(key)]
    if "seconds" in step:
        costs.append(f"about {duration(step['seconds'])}")
    if step.get("how"):
        costs.append(step["how"])
    if step["seconds_last_time"] is not None:
        costs.append(f"{duration(step['seconds_last_time'])} last time")
    return costs


def state(result: dict[str, Any]) -> list[str]:
    """Every stage with its state, and every artifact with its size, a line each."""
    lines = [
        f"{'✓' if s['up_to_date'] else '·'} {s['name']}: {s['reason'] or 'up to date'}"
        for s in result["stages"]
    ]
    return lines + [
        f"  {a['path']}  {human(a['bytes'])}  {a['sha256'][:12]}" for a in result["artifacts"]
    ]
