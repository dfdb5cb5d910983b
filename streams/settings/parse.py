"""Parsers: each turns the text of a variable into its value.

A parser raises `ValueError` with a description of the valid values; the caller puts the name
of the variable in front of it.
"""

from __future__ import annotations

import ipaddress
import math
import os
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB

_UNITS: Final = {"": 1, "KIB": KIB, "MIB": MIB, "GIB": GIB}
_HOST: Final = r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])"
_BROKER: Final = re.compile(rf"{_HOST}:(\d{{1,5}})", re.ASCII)
_URL: Final = re.compile(rf"https?://{_HOST}(?::\d{{1,5}})?/?", re.ASCII)
_JWKS_URL: Final = re.compile(rf"(https?)://({_HOST})(?::\d{{1,5}})?/\S*")


def whole(low: int, high: int) -> Callable[[str], int]:
    """Return a parser of whole numbers from `low` to `high`."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return value

    return parse


def seconds(low: float, high: float) -> Callable[[str], float]:
    """Return a parser of numbers of seconds from `low` to `high`."""

    def parse(text: str) -> float:
        value = _number(text)
        if not low <= value <= high:
            raise ValueError(f"a number of seconds from {low:g} to {high:g}")
        return value

    return parse


def size(low: int, high: int) -> Callable[[str], int]:
    """Return a parser of sizes in bytes, with or without a unit, from `low` to `high`."""

    def parse(text: str) -> int:
        match = re.fullmatch(r"(\d{1,15}) ?(|KiB|MiB|GiB)", text, re.IGNORECASE | re.ASCII)
        value = int(match[1]) * _UNITS[match[2].upper()] if match else -1
        if not low <= value <= high:
            raise ValueError(
                f"a number of bytes from {_shown_size(low)} to {_shown_size(high)}, "
                "such as 65536, 64KiB or 1MiB"
            )
        return value

    return parse


def choice(options: tuple[str, ...]) -> Callable[[str], str]:
    """Return a parser of one of some words, in any letter case."""

    def parse(text: str) -> str:
        for option in options:
            if option.upper() == text.upper():
                return option
        raise ValueError("one of " + ", ".join(options))

    return parse


def hours(text: str) -> int:
    """Parse a number of hours; -1 means forever."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value != -1 and not 1 <= value <= 1_000_000:
        raise ValueError("a whole number of hours from 1 to 1000000, or -1 for no limit")
    return value


def moment(text: str) -> int:
    """Parse a time in ISO 8601 with its offset from UTC; return milliseconds since the epoch."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = datetime.min
    if at.tzinfo is None:
        raise ValueError("a time such as 2026-11-30T18:00:00Z, with Z or an offset from UTC")
    return round(at.timestamp() * 1000)


def rate(text: str) -> float:
    """Parse a number of events per second; 0 means no limit."""
    value = _number(text)
    if not 0 <= value <= 1e9:
        raise ValueError("a number of events per second, or 0 for no limit")
    return value


def brokers(text: str) -> str:
    """Parse a list of `host:port`."""
    found = [broker.strip() for broker in text.split(",")]
    for broker in found:
        match = _BROKER.fullmatch(broker)
        if not match or not 1 <= int(match[1]) <= 65535:
            raise ValueError("host:port, or several separated by commas")
    return ",".join(found)


def folder(text: str) -> Path:
    """Parse the path of a folder, which need not exist yet."""
    path = Path(text).expanduser().absolute()
    if path.exists() and not path.is_dir():
        raise ValueError("the path of a folder, not of a file")
    try:
        os.fsencode(path).decode()
    except UnicodeDecodeError:
        raise ValueError("the path of a folder whose name is UTF-8") from None
    return path


def file(text: str) -> Path:
    """Parse the path of an existing file."""
    path = Path(text).expanduser().absolute()
    if not path.is_file():
        raise ValueError("the path of an existing file")
    return path


def host(text: str) -> str:
    """Parse a host name or an IP address."""
    if not re.fullmatch(r"[A-Za-z0-9._-]+", text, re.ASCII):
        try:
            ipaddress.IPv6Address(text)
        except ValueError:
            raise ValueError("a host name or an IP address, without a port") from None
    return text


def url(text: str) -> str:
    """Parse the base URL of a gateway; drops a trailing slash."""
    if not _URL.fullmatch(text):
        raise ValueError("http://host:port or https://host:port, as other workers reach this one")
    return text.rstrip("/")


def jwks_url(text: str) -> str:
    """Parse the URL of a JWK set: https, or http on a loopback address."""
    match = _JWKS_URL.fullmatch(text)
    if not match or (match[1] == "http" and not is_loopback(match[2])):
        raise ValueError("https://host/path (http:// is allowed on a loopback address only)")
    return text


def registry_url(text: str) -> str:
    """Parse the URL of a schema registry, perhaps with user and password."""
    if not re.fullmatch(r"https?://([^\s/@]+@)?[^\s/@?#]+(/[^\s?#]*)?", text.strip()):
        raise ValueError("http://host:port or https://user:password@host:port")
    return text.strip().rstrip("/")


def namespace(text: str) -> str:
    """Parse a prefix of topic names."""
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}", text, re.ASCII):
        raise ValueError("up to 100 letters, digits, '_', '-' and '.', not starting with '.'")
    return text


def any_text(text: str) -> str:
    """Return the text as it is."""
    return text


def token(text: str) -> str:
    """Parse a token; drops white space around it, such as the newline of a mounted file."""
    stripped = text.strip()
    if not all("!" <= character <= "~" for character in stripped):
        raise ValueError("a token: printable ASCII characters without spaces")
    return stripped


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address, with or without brackets, is a loopback address."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _number(text: str) -> float:
    """Return a number, or NaN, which is in no range."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _shown_size(value: int) -> str:
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if value and value % unit == 0:
            return f"{value // unit}{name}"
    return str(value)
