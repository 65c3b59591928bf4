"""Drops one notice that lm-eval logs for every task with data of its own, 57 times for MMLU."""

import logging


def drop_custom_dataset_notice() -> None:
    """Takes the notice out of lm-eval's log; everything else stays. May be called more than once."""
    logger = logging.getLogger("lm_eval.api.task")
    if _keep not in logger.filters:
        logger.addFilter(_keep)


def _keep(record: logging.LogRecord) -> bool:
    return "Custom kwargs can be passed to" not in record.getMessage()
