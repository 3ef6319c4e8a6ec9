"""mini-swe-agent: its default agent, its own prompts for one, a local shell in the task's folder."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

import yaml  # type: ignore[import-untyped,unused-ignore]  # lives in the peers' environment only
from minisweagent import package_dir  # type: ignore[import-not-found]  # as above
from minisweagent.agents.default import DefaultAgent  # type: ignore[import-not-found]
from minisweagent.environments.local import LocalEnvironment  # type: ignore[import-not-found]
from minisweagent.models.litellm_model import LitellmModel  # type: ignore[import-not-found]
from minisweagent.models.litellm_textbased_model import LitellmTextbasedModel  # type: ignore[import-not-found]

from bench.agent.workers.lines import ANSWER_TOKENS, Told, serve

if TYPE_CHECKING:
    from pathlib import Path

PROMPTS = {"tools": ("mini.yaml", LitellmModel), "text": ("mini_textbased.yaml", LitellmTextbasedModel)}
"""By protocol: the prompts that the package has for it, and the model class that reads the answers."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--protocol", choices=sorted(PROMPTS), required=True)
    options = parser.parse_args()
    file, kind = PROMPTS[options.protocol]
    config = yaml.safe_load((package_dir / "config" / file).read_text(encoding="utf-8"))
    settings = {key: value for key, value in config["agent"].items() if key != "mode"}
    settings |= {"step_limit": options.steps, "cost_limit": 0.0}
    server = {"api_base": options.url, "api_key": os.environ["BENCH_KEY"]}
    model = config["model"] | {
        "model_name": f"openai/{options.model}",
        "cost_tracking": "ignore_errors",
        "model_kwargs": {**config["model"]["model_kwargs"], **server, "temperature": 0.0, "max_tokens": ANSWER_TOKENS},
    }

    def run(request: str, folder: Path, told: Told) -> tuple[str, str]:
        answering = kind(**model)
        texts = _overheard(answering, told)
        agent = DefaultAgent(answering, LocalEnvironment(cwd=str(folder), **config["environment"]), **settings)
        end = agent.run(request)
        status = end.get("exit_status", "")
        said = "\n".join(part for part in (*texts[-2:], end.get("submission", "")) if part.strip())
        return said or _last_output(agent.messages), "" if status == "Submitted" else status

    serve(run)


def _overheard(model: Any, told: Told) -> list[str]:
    """Return the list that the model's texts will be in, and tell of each answer."""
    texts: list[str] = []
    query = model._query  # noqa: SLF001  # the one place that every answer passes, refused ones included

    def overheard(*arguments: Any, **options: Any) -> Any:
        response = query(*arguments, **options)
        texts.append(response.choices[0].message.content or "")
        used = response.usage
        told.answered(prompt_tokens=used.prompt_tokens, completion_tokens=used.completion_tokens)
        return response

    model._query = overheard  # noqa: SLF001
    return texts


def _last_output(messages: list[dict[str, Any]]) -> str:
    """Return what the last command printed: it is what a person sees where the model says nothing."""
    outputs = [message["extra"]["raw_output"] for message in messages if "raw_output" in message.get("extra", {})]
    return str(outputs[-1]) if outputs else ""


if __name__ == "__main__":
    main()
