"""`streams token`: signs a token with a key of one's own, and makes such a key."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Any

import click
from faust.cli.base import option

from streams.cli.base import StreamsCommand
from streams.errors import StreamsError
from streams.settings import Settings


def _patterns(name: str, meaning: str) -> Any:
    return option(f"--{name}", multiple=True, metavar="PATTERN", show_default=False, help=meaning)


class token(StreamsCommand):
    """Sign a bearer token and print it; it is not kept anywhere.

    For development, and for systems without an identity provider.  Workers that have the
    public key (STREAMS_AUTH_KEYS) take it.  A pattern is a group, or with @ before it a queue;
    * stands for any run of characters.
    """

    options = (
        option(
            "--key",
            type=click.Path(dir_okay=False, path_type=Path),
            required=True,
            help="The private key: PEM, or a JWK set with a secret.",
        ),
        option(
            "--new-key",
            type=click.Path(dir_okay=False, path_type=Path),
            metavar="PUBLIC",
            show_default=False,
            help="Make a new key first, and write its public half to this file.",
        ),
        option("--subject", default="", help="Whose token it is: the sender of all messages."),
        _patterns("publish", "Groups and @queues to send messages to."),
        _patterns("bind", "Groups to bind to; @queues to bind besides those of --read."),
        _patterns("read", "@queues to read, and groups whose members to list."),
        option("--observe", is_flag=True, help="Grant the state of the cluster, and metrics."),
        option("--admin", is_flag=True, help="Grant everything."),
        option("--rate", type=click.FloatRange(0), help="Events a second; 0 is no limit."),
        option("--hours", type=click.FloatRange(0, 100_000, min_open=True), default=1.0),
        option("--kid", help="Name of the key, for workers that have a JWK set."),
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
        """Sign and print."""
        from streams.security.permissions import CLAIM, permissions_of
        from streams.security.signing import make_key, sign

        settings = Settings.from_env()
        if new_key is not None:
            make_key(key, new_key)
        now = int(time.time())
        granted: dict[str, Any] = {
            name: list(given[name]) for name in ("publish", "bind", "read") if given[name]
        }
        granted |= {name: True for name in ("observe", "admin") if given[name]}
        if rate is not None:
            granted["rate"] = rate
        if settings.namespace:
            granted["namespace"] = settings.namespace
        claims: dict[str, Any] = {
            "jti": uuid.uuid4().hex,
            "iat": now,
            "exp": now + max(1, int(hours * 3600)),
            "aud": settings.auth_audience,
            CLAIM: granted,
        }
        if subject:
            claims["sub"] = subject
        if settings.auth_issuer:
            claims["iss"] = settings.auth_issuer
        permissions_of(claims, settings.namespace)  # Workers would say the same, only later.
        try:
            content = key.read_bytes()
        except OSError as error:
            raise StreamsError(f"cannot read {key}: {error.strerror}") from None
        click.echo(sign(claims, content, kid))
        return 0
