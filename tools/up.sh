#!/usr/bin/env bash
# up.sh BINARY [ARGUMENT...]: runs the server in the foreground with examples/echo.js deployed.
# PORT chooses another client port than 4222, ADDRESS another address than 127.0.0.1.
set -euo pipefail
binary=$(realpath "$1")
shift
root=$(realpath "$(dirname "${BASH_SOURCE[0]}")/..")
# shellcheck source=tools/server.sh
. "$root/tools/server.sh"
address=${ADDRESS:-127.0.0.1}
port=${PORT:-4222}
url=nats://$address:$port
option=
[[ $url == nats://127.0.0.1:4222 ]] || option=" -s $url"

trap stop_server EXIT
trap 'exit 0' INT  # the way to end it
trap 'exit 143' TERM
start_server "$binary" "$address" "$port" "$@"
"$binary" devrun "$root/examples/echo.js" --trigger_subject=echo --name echo -s "$url"
reply=$("$binary" req echo 'hello nex!' --raw -s "$url")

shown=${binary#"$PWD"/}
cat <<TEXT

The server listens on $url, and examples/echo.js answers on the subject "echo":

    hello nex!  ->  $reply

Try next, in another terminal:

    $shown req echo 'my own words'$option
    $shown devrun examples/echo.wasm --trigger_subject=echowasm$option
    $shown sub '>'$option

Ctrl-C stops the server; functions are deployed anew with devrun.
TEXT
wait "$server_pid"
