"""The application on Ray Serve. In a Serve config file: ``import_path: serve.app:build``."""

from fastapi import FastAPI
from ray import serve as ray_serve
from ray.serve import Application

from serve.key import read_key
from serve.replica import Replica
from serve.settings import AppConfig, Settings

# The engine's own queue decides which requests wait or are refused, so Serve must pass on all.
_MAX_ONGOING_REQUESTS = 100_000
# Each try loads the model again, and a model that failed once seldom loads later.
_MAX_TRIES = 3


class SamplingServer:
    """A `Replica` in an actor of Ray Serve."""

    def __init__(self, settings: Settings, digest: bytes | None) -> None:
        self.replica = Replica(settings, digest)

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Called by Serve in the replica: an application is never pickled."""
        return self.replica.app

    async def check_health(self) -> None:
        """Called by Serve, which replaces a replica that raises here."""
        if not self.replica.engine.healthy:
            raise RuntimeError("the sampling engine has stopped or fails every time")


def application(settings: Settings, digest: bytes | None) -> Application:
    """The application, for ``ray.serve.run``.

    Args:
        digest: of the key that requests must carry; None for no key.
    """
    deployment = ray_serve.deployment(
        name="sampling",
        num_replicas=settings.num_replicas,
        max_ongoing_requests=_MAX_ONGOING_REQUESTS,
        max_constructor_retry_count=_MAX_TRIES,
        ray_actor_options={"num_cpus": settings.num_cpus, "num_gpus": settings.num_gpus},
    )(ray_serve.ingress()(SamplingServer))
    bound: Application = deployment.bind(settings, digest)
    return bound


def build(config: AppConfig) -> Application:
    """The application that a Serve config file's ``args`` describe.

    Raises:
        UserError: the key's file cannot be read.
    """
    return application(config, read_key(config.api_key_file))
