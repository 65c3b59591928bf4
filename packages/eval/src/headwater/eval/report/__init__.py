"""The report of an evaluation: a self-contained page, Markdown and JUnit.

`read` finds the evaluation, the one it is held against and those of other steps; `pairs` compares two on the same
items; `items` packs the items for the page's script; `charts` draws what `headwater.core.page` has no drawing for;
`view` puts together what is shown and `render` puts that into the template; `texts` writes Markdown and JUnit.
"""
