"""A request that is not answered, as OpenAI's API tells it."""

from __future__ import annotations

from typing import Any


class Refused(Exception):
    """`status` is HTTP's; `kind` and `param` are the `type` and `param` of OpenAI's error object."""

    def __init__(
        self,
        message: str,
        status: int = 400,
        kind: str = "invalid_request_error",
        param: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.kind, self.param = status, kind, param

    def shown(self) -> dict[str, Any]:
        return {
            "error": {
                "message": str(self),
                "type": self.kind,
                "param": self.param,
                "code": self.status,
            }
        }
