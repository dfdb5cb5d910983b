"""The core's shared library, and its functions.

The library has a plain C interface (`native/src/core.cpp`) and needs no header of Python, so one
build serves every version.  It comes with the distribution `group-streams-core`.
"""

from __future__ import annotations

import ctypes
import logging
from ctypes import POINTER, Structure, c_char_p, c_int32, c_int64, c_void_p, py_object
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from streams.errors import SettingsError

logger = logging.getLogger(__name__)

VERSION: Final = 6
"""Version of the interface, as the library must report it."""
MODES: Final = ("auto", "on", "off")
UNKNOWN: Final = object()
"""What `rows_get` returns for a row that no layer holds."""


class ChunkPointers(Structure):
    """The records of a chunk, as the core reads them; `streams.native.runs` keeps them alive."""

    _fields_ = (
        ("keys", c_char_p),
        ("key_ends", c_void_p),
        ("values", c_char_p),
        ("value_ends", c_void_p),
        ("offsets", c_void_p),
        ("times", c_void_p),
        ("count", c_int64),
    )


_P, _S, _N = c_void_p, c_char_p, c_int64
_BYTES = (_S, _N)
_RUN = (_P, POINTER(ChunkPointers), POINTER(c_int64), POINTER(c_int64), _N)
_BEGIN = (_P, _S, _P, _P)
_FUNCTIONS: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "rows_new": (_P, ()),
    "rows_free": (None, (_P,)),
    "rows_pending": (_P, (_P,)),
    "rows_get": (py_object, (_P, *_BYTES, *_BYTES)),
    "rows_put": (None, (_P, *_BYTES, *_BYTES, *_BYTES)),
    "rows_delete": (c_int32, (_P, *_BYTES, *_BYTES, c_int32)),
    "rows_scan": (py_object, (_P, *_BYTES)),
    "rows_live": (_P, (_P,)),
    "rows_frozen": (_P, (_P,)),
    "rows_freeze": (_P, (_P,)),
    "rows_thaw": (None, (_P,)),
    "rows_wanted": (py_object, (_P,)),
    "rows_supply": (None, (_P, _P, *_BYTES)),
    "layer_count": (_N, (_P,)),
    "layer_release": (None, (_P,)),
    "layer_sort": (None, (_P,)),
    "layer_read_sorted": (py_object, (_P, POINTER(c_int64), _N)),
    "layer_read": (py_object, (_P, POINTER(c_int64), _N)),
    "kafka_begin": (None, (_P,)),
    "kafka_newest": (_P, ()),
    "layer_produce": (c_int32, (_P, _P, c_int32, POINTER(c_int64))),
    "route_begin": (None, _BEGIN),
    "route_run": (c_int32, (*_RUN, c_int32, _N)),
    "route_counted": (None, (_P, POINTER(c_int64), POINTER(c_int64))),
    "fans_keep": (None, (_P, *_BYTES, _P, *_BYTES)),
    "fans_add": (None, (_P, *_BYTES, _N, *_BYTES)),
    "fans_remove": (None, (_P, *_BYTES, _N, *_BYTES)),
    "fans_drop": (None, (_P, *_BYTES)),
    "fans_columns": (py_object, (_P, *_BYTES, *_BYTES)),
    "packer_change": (_N, (_P, _N, _N, c_int32, *_BYTES, *_BYTES, *_BYTES)),
    "packer_delivery": (_N, (_P, _N, _N, _N, *_BYTES, *_BYTES, _N)),
    "packer_finished": (_N, (_P,)),
    "packer_flush": (_N, (_P,)),
    "packer_take": (py_object, (_P,)),
    "deliver_begin": (None, _BEGIN),
    "deliver_run": (c_int32, (*_RUN, c_int32, c_int32)),
    "deliver_delivered": (_N, (_P,)),
    "deliver_receivers": (py_object, (_P,)),
}
"""Result and arguments of each function."""


_GIVEN: Final = (
    "PyBytes_FromStringAndSize",
    "PyTuple_New",
    "PyTuple_SetItem",
    "PyList_New",
    "PyList_Append",
    "Py_IncRef",
    "Py_DecRef",
)
"""What the core is given of Python's stable interface; `struct Python` in `core.cpp`."""


class Library:
    """The loaded library.

    `held` has its functions as ones that keep the interpreter, `free` as ones that release it.
    A function that returns a Python object may only be called by `held`.
    """

    def __init__(self, path: Path) -> None:
        """Load the library.

        Raises:
            OSError: it is not there, or not for this machine or version.
        """
        self.path = path
        self.held: Any = ctypes.PyDLL(str(path))
        self.free: Any = ctypes.CDLL(str(path))
        version = self.held.core_version()
        if version != VERSION:
            raise OSError(f"{path} has interface {version}; this program uses {VERSION}")
        for library in (self.held, self.free):
            for name, (result, arguments) in _FUNCTIONS.items():
                if library is self.held or result is not py_object:
                    function = getattr(library, name)
                    function.restype, function.argtypes = result, arguments
        self.held.core_begin.argtypes = (_P, py_object, py_object)
        self.held.core_begin.restype = None
        given = [ctypes.cast(getattr(ctypes.pythonapi, name), _P) for name in _GIVEN]
        self.held.core_begin((_P * len(given))(*given), None, UNKNOWN)


@cache
def _load() -> tuple[Library | None, str]:
    """Return the library, or None and why there is none."""
    try:
        path: Path = import_module("streams_core").library()
    except ImportError:
        return None, "group-streams-core is not installed"
    try:
        return Library(path), ""
    except (OSError, AttributeError) as exc:
        return None, str(exc)


def load(mode: str) -> Library | None:
    """Return the core, or None if it is not to be used or not there; say so in the log.

    Args:
        mode: one of `MODES`.

    Raises:
        SettingsError: the mode is `on`, and there is no core.
    """
    library, reason = _load()
    if mode == "on" and library is None:
        raise SettingsError(f"STREAMS_NATIVE is on, but there is no native core: {reason}")
    logger.info("native core: %s", described(mode))
    return None if mode == "off" else library


def described(mode: str) -> str:
    """Return what does the work in a mode, in words."""
    library, reason = _load()
    if mode == "off":
        return "off"
    if library is None:
        return f"not in use ({reason}); Python does its work, more slowly"
    return f"in use ({library.path})"


def is_available() -> bool:
    """Tell whether the core can be loaded."""
    return _load()[0] is not None
