"""The only folder that imports lm_eval."""

from headwater.eval.harness.deferred import defer

for library in ("datasets", "requests", "sacrebleu"):
    defer(library)
