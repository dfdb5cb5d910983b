#!/usr/bin/env bash
# A client in plain curl: bind, publish, read, acknowledge, send many events at once.
#
#     examples/curl.sh URL
set -euo pipefail

url=${1%/}
tag=$$-$RANDOM
group=lobby-$tag ann=ann-$tag bob=bob-$tag
call() { curl --silent --show-error --fail-with-body --max-time 40 "$@"; }

call -X PUT "$url/v1/groups/$group/queues/$bob"
call -X PUT "$url/v1/queues/$ann/sessions/s1" --json "{\"groups\":[\"$group\"]}"
until call "$url/v1/groups/$group/queues" | grep -q "\"$ann\""; do :; done

call "$url/v1/groups/$group/messages" --json "{\"sender\":\"$ann\",\"body\":\"hello\"}"
echo
inbox=$(call "$url/v1/queues/$bob/messages?wait=30")
echo "$inbox"
seq=$(sed -E 's/.*"seq":([0-9]+).*/\1/' <<<"$inbox")
call "$url/v1/queues/$bob/acks" --json "{\"upto\":$seq}"
call "$url/v1/queues/$bob"
echo

call "$url/v1/events" -H 'Content-Type: application/x-ndjson' --data-binary @- <<EOF
{"type":"bind","group":"$group","queue":"cid-$tag"}
{"type":"message","group":"$group","sender":"$ann","body":"to three","id":"m-$tag"}
EOF
echo
call -X DELETE "$url/v1/queues/$ann/sessions/s1"
