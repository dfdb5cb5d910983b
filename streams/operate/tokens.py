"""The claims of bearer tokens that `streams token` signs."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import Any

from streams.security.permissions import CLAIM, permissions_of
from streams.settings import Settings


def make_claims(
    settings: Settings, granted: Mapping[str, Any], subject: str, hours: float
) -> dict[str, Any]:
    """Return the claims of a token for this system, valid for `hours` from now.

    `granted` is the permissions claim: lists of patterns under `publish`, `bind` and `read`,
    and optionally `observe`, `admin` and `rate`.

    Raises:
        BadToken: workers would refuse the permissions.
    """
    now = int(time.time())
    namespace = {"namespace": settings.namespace} if settings.namespace else {}
    claims: dict[str, Any] = {
        "jti": uuid.uuid4().hex,
        "iat": now,
        "exp": now + max(1, int(hours * 3600)),
        "aud": settings.auth_audience,
        CLAIM: {**granted, **namespace},
    }
    if subject:
        claims["sub"] = subject
    if settings.auth_issuer:
        claims["iss"] = settings.auth_issuer
    permissions_of(claims, settings.namespace)  # fail here, not at the worker
    return claims
