#!/usr/bin/env bash
# demo.sh BINARY: starts on a free port in a temporary folder, deploys every example, calls it and
# prints request and reply side by side. Exit 0 when every answer is the expected one, else 1.
set -uo pipefail
binary=$(realpath "$1")
root=$(realpath "$(dirname "${BASH_SOURCE[0]}")/..")
# shellcheck source=tools/server.sh
. "$root/tools/server.sh"
folder=$(mktemp -d "${TMPDIR:-/tmp}/brokkr-demo.XXXXXX")
port=$(free_port)
url=nats://127.0.0.1:$port
wrong=0

trap 'stop_server; rm -rf "$folder"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# example FILE SUBJECT REQUEST EXPECTED
example() {
  local file=$1 subject=$2 request=$3 expected=$4 reply mark=ok
  "$binary" devrun "$root/examples/$file" --trigger_subject="$subject" -s "$url" >"$folder/devrun.log" 2>&1 ||
    { cat "$folder/devrun.log" >&2; wrong=1; }
  reply=$("$binary" req "$subject" "$request" --raw -s "$url" 2>&1) || wrong=1
  [[ $reply == "$expected" ]] || { mark="WRONG, expected $expected"; wrong=1; }
  printf '%-10s  %-10s %-12s ->  %-50s %s\n' "$file" "$subject" "$request" "$reply" "$mark"
}

start_server "$binary" 127.0.0.1 "$port" --data "$folder/data" >"$folder/server.log" 2>&1 ||
  { cat "$folder/server.log" >&2; exit 1; }
printf '%-10s  %-10s %-12s     %s\n' example subject request reply
example echo.js echo 'hello nex!' '{"triggered_on":"echo","payload":"hello nex!"}'
example echo.wasm echowasm 'hello nex!' 'hello nex!echowasm'
{ "$binary" kv add dad_jokes -s "$url" && "$binary" kv put dad_jokes jokes '[{"setup":"a","punchline":"b"}]' -s "$url"; } \
  >"$folder/kv.log" 2>&1 || { cat "$folder/kv.log" >&2; wrong=1; }
example jokes.js jokes '' '{"joke":"a","punchline":"b"}'
example telemetry.js devices.123 '{"deviceId":"123","temperature":23}' \
  '{"ok":true,"subject":"devices.123","device":"123","temperature":23,"kv_bucket":"iot_devices","object_bucket":"iot_history","http_alert":null}'
example host-c/visits.wasm visits.home 'hello' '1'
[[ $wrong == 0 ]] || { echo "the server said:" >&2; tail -n 20 "$folder/server.log" >&2; }
exit "$wrong"
