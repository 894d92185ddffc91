# Sourced by up.sh and demo.sh: starts and stops one server.

# Prints a TCP port that is free on the loopback address.
free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# start_server BINARY ADDRESS PORT [ARGUMENT...]: returns when the port answers; sets server_pid.
start_server() {
  local binary=$1 address=$2 port=$3
  shift 3
  if (exec 3<>"/dev/tcp/$address/$port") 2>/dev/null; then
    echo "port $port on $address is taken: stop what listens there, or choose another with PORT=" >&2
    return 1
  fi
  "$binary" up -a "$address" -p "$port" "$@" &
  server_pid=$!
  for _ in $(seq 300); do
    (exec 3<>"/dev/tcp/$address/$port") 2>/dev/null && return 0
    kill -0 "$server_pid" 2>/dev/null || { echo "the server ended before it listened" >&2; return 1; }
    sleep 0.1
  done
  echo "the server did not listen on $address:$port within 30 s" >&2
  return 1
}

stop_server() {
  [[ -n ${server_pid:-} ]] || return 0
  kill -TERM "$server_pid" 2>/dev/null || true
  wait "$server_pid" 2>/dev/null || true
  server_pid=
}
