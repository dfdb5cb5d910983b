"""Many queues over one connection: the WebSocket `/v1/stream`.

Frames are JSON objects with a `type`.  A client may give any frame a `ref`, which the reply
repeats (except for acks, which are confirmed in batches).

===============================  =====================================================
client                           reply
===============================  =====================================================
subscribe queue after credit     subscribed queue after; then message queue seq ... while
                                 there is credit; moved queue owner, when another worker
                                 takes over; unavailable queue retry_after, while none
                                 serves the queue; deleted queue, and the subscription
                                 ends
credit queue more
subscribe queue lease credit     the same for a competing consumer: each message goes to
  visibility_seconds consumer    one of them, and to another if it is not acked or nacked
                                 in time or the subscription ends
unsubscribe queue                unsubscribed queue
ack queue upto | seqs            acked queue upto | seqs, once Kafka has it
publish group | queue ...        published id partition offset, once Kafka has it
bind, unbind, open, close ...    confirmed partition offset: all of `POST /v1/events`
auth token                       authenticated; the first token may come with the
                                 request instead, as the subprotocol
                                 `streams.token.TOKEN` beside `streams.v1`; send a new
                                 one before it expires
ping                             pong
an invalid frame                 error code message
===============================  =====================================================

A client may send many frames in one WebSocket message, as a JSON array.  If it opens
`/v1/stream?batch=1`, it receives arrays only, which is much cheaper at high rates.

A delivery that becomes available again under its old seq, because its lease expired or it was
nacked, is also sent again to subscribers without a lease, marked `redelivered`.

Events of one connection are appended to Kafka in the order in which they were sent.

Any worker serves any queue.  It reads the queues of its own partitions itself, woken by the
fold; for other queues it is a client of their owner's `/v1/stream`.  When a partition moves,
the subscription continues at the new owner after the last seq sent.  Seqs derive from offsets
and are the same at every owner, so a connection loses nothing and receives nothing twice.
"""
