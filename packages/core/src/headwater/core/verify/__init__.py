"""`headwater verify`: hashes every file of a run again, and derives its counts and its order again.

* `walk` finds the artifacts of a run and reads their manifests, byte for byte.
* `files` hashes what they list, and names what no manifest lists; `parents` follows the lineage by digest.
* `recipe` checks the seal of `recipe.yaml`, and compares it with what the stages were run with.
* `documents`, `tokens` and `training` count again what the counters say.
* `report` runs all of these and holds the result.
"""
