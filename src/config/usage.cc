#include "config/flags.h"

namespace brokkr::config {

std::string usage_text(std::string_view program) {
  std::string text = "\nUsage: ";
  text += program;
  text += R"( [options]

Every option may be written with one dash or two, its value after a blank or '='.

Server:
  -a, --addr, --net HOST         address to listen on (default 0.0.0.0)
  -p, --port PORT                port for clients (default 4222, -1 for any free one)
  -n, --name, --server_name NAME name of this server (default: made up)
  -c, --config FILE              configuration file
  -t                             check the configuration file, print its digest, exit
  -P, --pid FILE                 write the process id to FILE
      --ports_file_dir DIR       write the ports in use to DIR/<program>_<pid>.ports
      --client_advertise HOST:PORT  address to tell clients about
  -m, --http_port PORT           port for monitoring (/varz /connz /healthz /metrics)
  -sl, --signal COMMAND[=PID]    send a signal to a running server: ldm stop quit term reopen
                                 reload; PID is a number, a pid file, or a prefix ending in '*'

Log:
  -l, --log FILE                 write the log to FILE
      --log_size_limit BYTES     start another file when FILE has grown to BYTES
  -T, --logtime                  time stamps in the log (default true)
      --logtime_utc              time stamps in UTC
  -D, --debug                    log what helps debugging
  -V, --trace                    log every protocol line
  -VV                            the same with the system account
  -DV, -DVV                      both of the above together
      --max_traced_msg_len N     cut payloads in the trace after N bytes

Who may connect:
      --user NAME --pass PASSWORD  one user (the password may be a bcrypt hash)
      --auth TOKEN               one token

Storage:
  -js, --jetstream               keep streams of messages (JetStream)
  -sd, --store_dir DIR           keep them in DIR/jetstream

Help:
  -h, --help                     this text
  -v, --version                  the version
      --help_tls                 about TLS

Accepted, without effect in this release:
  -ms, --https_port PORT  --profile PORT
  -s, --syslog  -r, --remote_syslog ADDR  --tls --tlscert --tlskey --tlsverify --tlscacert
  --cluster, --cluster_listen URL  --cluster_name  --cluster_advertise  --routes
  --no_advertise  --connect_retries N
)";
  return text;
}

std::string tls_help_text() {
  return R"(TLS is configured in the configuration file:

    tls {
        cert_file: "server.pem"   # the server's certificate
        key_file:  "key.pem"      # its private key
        ca_file:   "ca.pem"       # who signs the clients' certificates
        verify:    true           # ask clients for a certificate
        timeout:   2              # seconds for the handshake
    }

This release reads the block and serves connections without TLS.
)";
}

}  // namespace brokkr::config
