"""smolagents: its CodeAgent with its own prompts, every import and ``open`` allowed, in the task's folder."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

from smolagents import CodeAgent, OpenAIModel  # type: ignore[import-not-found]  # lives in the peers' environment only

from bench.agent.workers.lines import ANSWER_TOKENS, Told, serve

if TYPE_CHECKING:
    from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--protocol", choices=["code"], required=True)
    options = parser.parse_args()
    model = OpenAIModel(
        model_id=options.model,
        api_base=options.url,
        api_key=os.environ["BENCH_KEY"],
        temperature=0.0,
        max_tokens=ANSWER_TOKENS,
    )

    def run(request: str, _: Path, told: Told) -> tuple[str, str]:
        def stepped(step: Any, **_: Any) -> None:
            used = getattr(step, "token_usage", None)
            if used is not None:
                told.answered(prompt_tokens=used.input_tokens, completion_tokens=used.output_tokens)

        agent = CodeAgent(
            tools=[],
            model=model,
            additional_authorized_imports=["*"],
            executor_kwargs={"additional_functions": {"open": open}},
            max_steps=options.steps,
            step_callbacks=[stepped],
            return_full_result=True,
            verbosity_level=0,
        )
        result = agent.run(request)
        return str(result.output), "" if result.state == "success" else result.state

    serve(run)


if __name__ == "__main__":
    main()
