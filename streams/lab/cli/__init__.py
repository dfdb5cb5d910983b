"""The lab's commands: `streams bench`, `demo`, `faults` and `run`.

Importing this package registers them; `streams.cli.own_commands` does so where the lab is
installed.
"""

from streams.lab.cli import bench, demo, faults, run  # noqa: F401 - each registers its command
