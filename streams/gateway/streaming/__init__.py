"""Many queues over one connection: the WebSocket `/v1/stream`.

Frames are JSON objects with a `type`.  A client may give each of its frames a `ref`, which
comes back in what answers it (not of an ack: those of a queue are gathered).

===============================  =====================================================
client                           answered, in time, with
===============================  =====================================================
subscribe queue after credit     subscribed queue after; then message queue seq ... as
                                 long as there is credit; moved queue owner, when
                                 another worker serves it from now on; unavailable
                                 queue retry_after, while none does
credit queue more
subscribe queue lease credit     the same for a competing consumer: each message goes to
  visibility_seconds consumer    one of those who subscribe so, and comes to another when
                                 it is neither acked nor nacked in time, or the
                                 subscription ends
unsubscribe queue                unsubscribed queue
ack queue upto | seqs            acked queue upto | seqs, once Kafka has it
publish group | queue ...        published id partition offset, once Kafka has it
bind, unbind, open, close ...    confirmed partition offset: all of `POST /v1/events`
auth token                       authenticated; a token comes with the request, as a
                                 subprotocol beside `streams.v1` (`streams.token.TOKEN`),
                                 or so; again, before it expires
ping                             pong
anything wrong                   error code message
===============================  =====================================================

A client may send many frames in one WebSocket message, as a JSON array, and is sent arrays,
and nothing else, if it opens `/v1/stream?batch=1`: much cheaper for both where much comes.

What comes back to be had again under the seq that it had (its lease is over, or it was nacked)
is sent again to who reads the queue without leases too, with `redelivered`.

What one connection sends goes to Kafka in that order.

Any worker serves any queue.  Those of its own partitions it reads itself, woken by the fold;
for the others it is a client of their owners' `/v1/stream`.  When a partition moves, the
subscription goes on at the new owner after the last seq sent: seqs are places in the log,
the same for every owner, so that nothing is lost or sent twice within a connection.
"""
