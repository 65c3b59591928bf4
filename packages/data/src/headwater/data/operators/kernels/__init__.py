"""Compiled loops over the UTF-8 bytes of whole batches of texts. No Python string is made for a word or a line.

Integers in, integers out: the same on every machine. No kernel starts threads, and none holds the interpreter's lock.
"""
