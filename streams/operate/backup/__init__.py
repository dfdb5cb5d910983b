"""Logical copies of a namespace: `streams export` and `streams import`.

`exporting` finds a cut through both tables (`snapshot`, `cut`) and writes what it holds
(`entries`) to a file (`file`).  `importing` turns such a file into the rows of an empty namespace
(`placing`) and writes their changelogs.
"""
