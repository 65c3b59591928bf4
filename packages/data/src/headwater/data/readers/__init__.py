"""Readers of files that are not WARC files of a run: one format a module.

A format has two functions:

    cut(file, size, partition_bytes) -> [(start, stop), …]    where the file may be cut into pieces
    read(file, piece, options) -> Item, Item, …               the records that begin in a piece

Whatever the cut, the records are the same, with the same places. A record that cannot be read is an item with a
`fault`; nothing that a file holds raises an exception.
"""
