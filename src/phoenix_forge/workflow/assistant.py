"""The two tools of the workflow's own MCP server, for assistants that were told their names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from mcp.server.mcpserver import Context
from pydantic import Field, StringConstraints

from phoenix_forge.cli.mcp_tools import MaxTokens, Temperature, Tools, in_ollama

# Bounds of that server.
Prompt = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=10_000)]
System = Annotated[str, Field(max_length=5000)] | None


def tools(own: Tools) -> list[Callable[..., Any]]:
    """They ask what Forge's `own` tools ask; names, arguments and docstrings are what an assistant reads."""

    def query_sanctuary_model(
        call: Context,
        prompt: Prompt,
        temperature: Temperature = 0.7,
        max_tokens: MaxTokens = 2048,
        system_prompt: System = None,
    ) -> dict[str, Any]:
        """Query the fine-tuned model: the GGUF where there is one, else Ollama's. As query_model, closed book."""
        ctx = own.setup().context()
        model = "gguf" if ctx.workspace.gguf().exists() else "ollama"
        answer, _, _ = own.answered(
            call, ctx, model, prompt, system_prompt, max_tokens, temperature, closed=True
        )
        return {
            "model": ctx.config.model.name,
            "response": answer.text,
            "prompt_tokens": answer.prompt_tokens,
            "completion_tokens": answer.tokens,
            "total_tokens": answer.prompt_tokens + answer.tokens,
            "temperature": temperature,
            "status": "success",
        }

    def check_sanctuary_model_status() -> dict[str, Any]:
        """Whether the fine-tuned model can be queried, here or in Ollama. model_status says more."""
        ctx = own.setup().context()
        ollama = in_ollama(ctx)
        return {
            "status": "success",
            "model": ctx.config.model.name,
            "all_models": ollama["models"],
            "available": ollama["deployed"] or ctx.workspace.gguf().exists(),
        }

    return [query_sanctuary_model, check_sanctuary_model_status]
