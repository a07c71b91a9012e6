"""`noisestack serve`: the endpoint on this machine, until Ctrl-C."""

from pydantic import Field

from noisestack.command import Command
from noisestack.config import JobConfig
from serve.settings import Settings


class ServeConfig(JobConfig, Settings):
    """Answers the OpenAI images API from a trained stack, and shows a page to try it on."""

    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 is every one")
    port: int = Field(8000, ge=0, le=65_535, description="port to listen on; 0 takes a free one")


def main(config: ServeConfig) -> None:
    """Serves until SIGINT or SIGTERM; errors as `serve.local.serve_until_stopped`."""
    # Ray and torch take seconds to import: `--help` and a mistyped flag need not wait for them.
    from serve.local import serve_until_stopped

    serve_until_stopped(config, config.host, config.port)


COMMAND = Command(ServeConfig, main, summary="answer the OpenAI images API from a stack")

if __name__ == "__main__":
    raise SystemExit(COMMAND.run())
