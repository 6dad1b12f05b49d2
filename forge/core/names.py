"""What names may be made of. They become parts of paths, commands and addresses, and have room for nothing else."""

_PART = r"[A-Za-z0-9_][A-Za-z0-9._-]*"
MODEL = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}$"
HUB_ID = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9_][A-Za-z0-9._-]{0,95}$"  # ORG/NAME
# NAME, OWNER/NAME or HOST[:PORT]/OWNER/NAME, each with or without a :TAG; see ollama/types/model in Ollama's source.
OLLAMA = rf"^([A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]{{1,5}})?/)?({_PART}/)?{_PART}(:{_PART})?$"
