"""Publishing the event of one request: reads the body, parses it, appends the record.

Every request takes its share of the publish budget while it is under way.
"""

from __future__ import annotations

from collections.abc import Callable

from streams.gateway.auth.authenticator import Authenticator
from streams.gateway.http.bodies import json_object, read_body
from streams.gateway.http.context import RequestContext
from streams.gateway.http.fields import Fields
from streams.gateway.ports import RecordMetadata, RecordToSend
from streams.gateway.reads.seqs import Seqs
from streams.gateway.writes.admission import Admission, Share
from streams.gateway.writes.publishing import Publishing

SMALL_BODY_BYTES = 64 * 1024
"""Limit of a body that may be missing."""
LIST_BODY_BYTES = 1024 * 1024
"""Limit of a body that is a list of ids or seqs."""


class EventWriter:
    """Publishes events one at a time."""

    def __init__(
        self,
        authenticator: Authenticator,
        publishing: Publishing,
        admission: Admission,
        seqs: Seqs,
    ) -> None:
        self._authenticator = authenticator
        self._seqs = seqs
        self._publishing = publishing
        self._admission = admission

    async def write(self, record: RecordToSend) -> RecordMetadata:
        """Append a record that needs no body; returns once Kafka has confirmed it.

        Raises:
            HTTPError: 429 if the publish budget is used up.
            Unavailable: not confirmed.
        """
        with Share(self._admission):
            return await self._publishing.publish(record)

    async def write_body(
        self,
        context: RequestContext,
        limit: int,
        parse: Callable[[Fields], RecordToSend],
        *,
        optional: bool = False,
    ) -> tuple[RecordToSend, RecordMetadata]:
        """Append the record that `parse` makes of the request's JSON object.

        Args:
            context: the request, whose body is read, and the client, who is charged.
            limit: longest body, in bytes.
            parse: returns the record, or raises `HTTPError`.
            optional: whether a missing body counts as an empty object.

        Raises:
            HTTPError: 400, 408, 413 or 415 for the body; 429 if the publish budget is used
                up, or the event causes many and the client is over its rate limit.
            Unavailable: not confirmed.
            TooLarge: not sent.
        """
        with Share(self._admission, context.principal.name or None) as share:
            # Only the record is kept until Kafka has it, not its JSON too.
            record = parse(await _read_fields(context, limit, share, optional))
            if record.seq:
                await self._seqs.check_record(record)
            self._authenticator.charge_rest(context.principal, record.events)
            return record, await self._publishing.publish(record)


async def _read_fields(context: RequestContext, limit: int, share: Share, optional: bool) -> Fields:
    body = await read_body(context.request, limit, share)
    return {} if optional and not body.strip() else json_object(body)
