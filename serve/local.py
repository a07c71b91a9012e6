"""Runs the endpoint on this machine until it is stopped."""

import contextlib
import logging
import signal
import threading

import ray
from ray import serve as ray_serve
from ray.serve.config import HTTPOptions, ProxyLocation
from ray.serve.schema import LoggingConfig

from noisestack.paths import joins_cluster
from noisestack.resources import Demand, Waiting, require
from noisestack.session import ray_session
from pipeline.errors import UserError
from serve.address import free_port, url_of, warn_when_open
from serve.app import application
from serve.key import read_key
from serve.replica import check_servable, open_encoders
from serve.settings import Settings

APPLICATION = "noisestack"


def serve_until_stopped(settings: Settings, host: str, port: int) -> None:
    """Serves until SIGINT or SIGTERM.

    Args:
        port: 0 takes a free one.

    Raises:
        UserError: a model that cannot be served, a port in use, too few CPUs or GPUs.
        KeyboardInterrupt: SIGINT or SIGTERM while it was still starting.
    """
    stored = check_servable(settings.model)
    encoders = open_encoders(stored, settings)  # refused here, and not by an actor
    takes_sentences = encoders.prompts is not None
    digest = read_key(settings.api_key_file)
    port = free_port(host, port)
    warn_when_open(host, has_key=digest is not None)
    joined = ray.is_initialized() or joins_cluster()
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    with ray_session(log_to_driver=True):
        require(demand := Demand(settings.num_replicas, settings.num_cpus, settings.num_gpus))
        if ray_serve.status().proxies:
            raise UserError(
                "Ray Serve already runs on this cluster; add the application to its config file "
                "and use `serve deploy`"
            )
        quiet = LoggingConfig(log_level="WARNING", enable_access_log=False)
        # Ray's own handler for SIGTERM would not stop Serve; and a command that a shell starts in
        # the background ignores SIGINT.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)
        try:
            ray_serve.start(
                proxy_location=ProxyLocation.HeadOnly,
                http_options=HTTPOptions(host=host, port=port),
                logging_config=quiet,
            )
            with Waiting("serve", [demand]):
                ray_serve.run(application(settings, digest), name=APPLICATION, logging_config=quiet)
            names: list[str] = stored.config.get("classes") or ["-"]
            prompt = "a red circle" if takes_sentences else names[0]
            url, needs_key = url_of(host, port), digest is not None
            _say(greeting(url, settings.served_name, prompt, needs_key=needs_key))
            with contextlib.suppress(KeyboardInterrupt):
                threading.Event().wait()
        finally:
            # Stopping takes seconds, and a second Ctrl-C would leave it half done.
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
            _say("stopping")
            _stop(joined=joined)


def _stop(*, joined: bool) -> None:
    """Finishes running requests, and removes all that belongs to Serve."""
    if APPLICATION in ray_serve.status().applications:
        ray_serve.delete(APPLICATION)
    # A private Ray ends right after this, and Serve with it. Shutting Serve down first would make
    # Ray print an error, since the controller kills itself during a call.
    if joined:
        ray_serve.shutdown()  # type: ignore[no-untyped-call]


def greeting(url: str, name: str, prompt: str, *, needs_key: bool) -> str:
    """The text that is printed when the endpoint is ready: its address and an example."""
    key = "the key" if needs_key else "none"
    return f"""
Serving {name} at {url}  (a page to try it on; Ctrl-C stops)

    from openai import OpenAI

    client = OpenAI(base_url="{url}/v1", api_key="{key}")
    answer = client.images.generate(
        model={name!r}, prompt={prompt!r}, n=4, extra_body={{"seed": 0}}
    )
"""


def _say(text: str) -> None:
    print(text, flush=True)
