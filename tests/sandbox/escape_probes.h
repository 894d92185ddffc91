#pragma once

// What a hostile program tries, one function a way out.

#ifdef __cplusplus
extern "C" {
#endif

// What the driver has laid out on the host for the probes to reach.
struct EscapeFacts {
  int victim;               // a process of root's, with ESCAPE_SECRET in its environment
  int tcp_port;             // it listens on 127.0.0.1
  int udp_port;             // it answers there
  const char *folder;       // a folder on the host everyone may enter
  const char *secret;       // a file in it everyone may read
  const char *socket_path;  // a unix socket in it everyone may connect to
  const char *abstract;     // an abstract unix socket's name
  const char *queue;        // a message queue everyone may open
  int shared_memory;        // a segment everyone may attach
  int is_image;             // runs in an image's root
  int is_root;              // as its root
  int is_control;           // nothing stops it: reaches for nothing outside of this machine
};

struct EscapeProbe {
  const char *name;
  int (*run)(const struct EscapeFacts *);  // 0: the way is open
  int is_for_bare_root;                    // an image allows it on purpose
  int leaves_machine;
  int is_right_of_root;                    // who in an image's root is root owns it
};

extern const struct EscapeProbe kEscapeProbes[];
extern const int kEscapeProbeCount;

// Reads "key=value" words.
struct EscapeFacts escape_facts(int argc, char **argv);

#ifdef __cplusplus
}
#endif
