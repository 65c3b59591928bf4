"""Walking a run in both directions: document → steps, step → documents, evaluation item → documents.

Nothing here reads a log of samples, because none is kept: the order of samples is a function that can be inverted
(`headwater.core.order`), and the rest stands in the artifacts.

* `documents` finds a document, kept or rejected, with every operator's verdict.
* `core.sidecar` says where its tokens lie, `training` at which steps they are read.
* `steps` lists the documents of one step.
* `items` looks through the whole corpus for an item, by `core.item_runs` and `core.item_coverage`.
* `show` prints all of these for people.
"""
