"""Settings that libraries read once, at import; so they are set before torch and lm_eval are imported."""

import logging
import os
import socket
from urllib.parse import urlsplit
from urllib.request import getproxies

from headwater.core.console import warn

_HUB = "https://huggingface.co"
_PATIENCE_SECONDS = 5


def prepare(hub: bool) -> None:
    """Keeps data sets offline unless the hub is allowed and answers, and the libraries quiet.

    Without an answer the libraries would try again and again, for half a minute to minutes.

    Args:
        hub: Whether data sets may be fetched from the Hugging Face hub.
    """
    if hub and (problem := _hub_problem()) is not None:
        warn(f"the Hugging Face hub cannot be reached ({problem}): only what is in its cache here is used")
        hub = False
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
        if hub:
            os.environ.pop(name, None)
        else:
            os.environ[name] = "1"
    # lm-eval's own switch for running generated code in this process: never.
    os.environ.pop("HF_ALLOW_CODE_EVAL", None)
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # The operations of generating one token are too small for threads that wait by spinning: on a busy machine of two
    # cores that took seven times as long, and as much processor time, as threads that sleep.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # lm-eval shows a bar for every task while it builds prompts; the stage shows its own, where they take time.
    os.environ.setdefault("TQDM_DISABLE", "1")
    # What lm-eval warns of (truncated prompts, few-shot settings) is counted in the results instead.
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    logging.getLogger("datasets").setLevel(logging.ERROR)


def _hub_problem() -> str | None:
    """Why no connection to the hub can be opened; None where one can, or where a proxy would open it."""
    url = urlsplit(os.environ.get("HF_ENDPOINT") or _HUB)
    if url.scheme in getproxies():
        return None
    try:
        port = url.port or {"http": 80}.get(url.scheme, 443)
        with socket.create_connection((url.hostname, port), timeout=_PATIENCE_SECONDS):
            return None
    except OSError as error:
        return f"{url.hostname}: {error}"
