"""The stream without a client library: JSON frames over a WebSocket.

    python examples/plain_websocket.py [URL of a worker]

It works the same in every language that has WebSockets.  Credit limits how many messages the
worker sends ahead.  After a lost connection, subscribe with the last seq as `after`.
"""

import asyncio
import sys
import uuid

import aiohttp

URL = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:6066"


async def main() -> None:
    """Bind, publish, read and acknowledge over one connection."""
    queue, group = f"queue-{uuid.uuid4()}", f"group-{uuid.uuid4()}"
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{URL}/v1/stream") as stream,
    ):
        await stream.send_json({"type": "subscribe", "queue": queue, "credit": 2})
        await stream.send_json({"type": "bind", "group": group, "queue": queue, "ref": "b"})
        for number in range(4):
            say = {"type": "publish", "group": group, "body": f"message {number}", "ref": number}
            await stream.send_json(say)
        done = 0
        while done < 4:
            frame = await stream.receive_json(timeout=20)
            print(frame["type"], frame.get("ref", ""), frame.get("body", ""))
            match frame["type"]:
                case "message":
                    await stream.send_json({"type": "ack", "queue": queue, "seqs": [frame["seq"]]})
                    await stream.send_json({"type": "credit", "queue": queue, "more": 1})
                case "acked":
                    done += len(frame["seqs"])
                case "error":
                    raise SystemExit(frame["message"])
    print("done")


asyncio.run(main())
