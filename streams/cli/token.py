"""`streams token`: signs a bearer token, and makes a signing key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from streams.cli.base import StreamsCommand, option
from streams.errors import StreamsError
from streams.settings import Settings


def _patterns(name: str, meaning: str) -> Any:
    return option(f"--{name}", multiple=True, metavar="PATTERN", show_default=False, help=meaning)


class token(StreamsCommand):
    """Sign a bearer token and print it; the token is not stored.

    For development, and for systems without an identity provider.  Workers that have the
    public key (STREAMS_AUTH_KEYS) accept it.  A PATTERN is a group, or @ and a queue;
    * stands for any characters.
    """

    options = (
        option(
            "--key",
            type=click.Path(dir_okay=False, path_type=Path),
            required=True,
            help="The private key: a PEM file, or a JWK set with a secret.",
        ),
        option(
            "--new-key",
            type=click.Path(dir_okay=False, path_type=Path),
            metavar="PUBLIC",
            show_default=False,
            help="Generate a new key first, and write the public key to this file.",
        ),
        option("--subject", default="", help="The holder's name: the sender of all its messages."),
        _patterns("publish", "Groups and @queues that the holder may send messages to."),
        _patterns("bind", "Groups to bind queues to, and @queues to bind besides those of --read."),
        _patterns("read", "@queues to read, and groups whose members may be listed."),
        option("--observe", is_flag=True, help="Permit the cluster status and the metrics."),
        option("--admin", is_flag=True, help="Permit everything."),
        option(
            "--rate",
            type=click.FloatRange(0),
            help="Rate limit in events per second; 0 means none.",
        ),
        option(
            "--hours",
            type=click.FloatRange(0, 100_000, min_open=True),
            default=1.0,
            help="How long it is valid.",
        ),
        option("--kid", help="Key id, for workers that have a JWK set."),
    )

    def execute_now(
        self,
        key: Path,
        new_key: Path | None,
        subject: str,
        hours: float,
        kid: str | None,
        rate: float | None,
        **given: Any,
    ) -> int:
        """Sign the token and print it."""
        from streams.operate.tokens import make_claims
        from streams.security.signing import make_key, sign

        settings = Settings.from_env()
        if new_key is not None:
            make_key(key, new_key)
        granted: dict[str, Any] = {
            name: list(given[name]) for name in ("publish", "bind", "read") if given[name]
        }
        granted |= {name: True for name in ("observe", "admin") if given[name]}
        if rate is not None:
            granted["rate"] = rate
        claims = make_claims(settings, granted, subject, hours)
        try:
            content = key.read_bytes()
        except OSError as error:
            raise StreamsError(f"cannot read {key}: {error.strerror}") from None
        click.echo(sign(claims, content, kid))
        return 0
