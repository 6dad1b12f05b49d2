"""Everything that exists for the workflow that Forge implements (docs/workflow.md), and nothing else.

No room imports this one. What it adds to their tables is listed in extensions.json beside this file; the scripts of a
checkout's forge/ start at `scripts`.
"""
