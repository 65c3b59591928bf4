"""The run report: one self-contained HTML page drawn from the artifacts of a run folder.

`read` turns the files of a run into the plain values of `view`; `charts` and `headwater.core.page` draw them as SVG;
`render` puts them into the template; `build` writes the artifact. Nothing in `charts` or `render` touches the disk, so
a live page can use the same pieces.
"""
