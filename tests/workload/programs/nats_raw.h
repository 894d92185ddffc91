// Just enough of a NATS client for test programs: plain sockets, no library, so that a program can be
// linked statically.
#pragma once

#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct nats_raw {
  FILE* in;
  FILE* out;
  char subject[256];
  char reply[256];
  char payload[1 << 16];
  size_t size;
};

// "nats://[token@|user:password@]host:port" with an IPv4 address.
static int nats_connect(struct nats_raw* c, const char* url) {
  char user[600] = "";
  char rest[256];
  snprintf(rest, sizeof rest, "%s", strstr(url, "://") ? strstr(url, "://") + 3 : url);
  char* host = rest;
  char* at = strrchr(rest, '@');
  if (at != NULL) {
    *at = 0;
    host = at + 1;
    char* colon = strchr(rest, ':');
    if (colon != NULL) {
      *colon = 0;
      snprintf(user, sizeof user, ",\"user\":\"%s\",\"pass\":\"%s\"", rest, colon + 1);
    } else {
      snprintf(user, sizeof user, ",\"auth_token\":\"%s\"", rest);
    }
  }
  char* port = strchr(host, ':');
  if (port != NULL) *port++ = 0;
  struct sockaddr_in address = {.sin_family = AF_INET};
  address.sin_port = htons((unsigned short)(port != NULL ? atoi(port) : 4222));
  if (inet_pton(AF_INET, host, &address.sin_addr) != 1) return -1;
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (fd < 0 || connect(fd, (struct sockaddr*)&address, sizeof address) != 0) return -1;
  c->in = fdopen(fd, "r");
  c->out = fdopen(dup(fd), "w");
  fprintf(c->out, "CONNECT {\"verbose\":false,\"pedantic\":false,\"protocol\":1,\"headers\":false%s}\r\n", user);
  return 0;
}

static inline void nats_subscribe(struct nats_raw* c, const char* subject, int sid) {
  fprintf(c->out, "SUB %s %d\r\n", subject, sid);
}

static void nats_publish(struct nats_raw* c, const char* subject, const char* bytes, size_t size) {
  fprintf(c->out, "PUB %s %zu\r\n", subject, size);
  fwrite(bytes, 1, size, c->out);
  fputs("\r\n", c->out);
}

static int nats_flush(struct nats_raw* c) { return fflush(c->out); }

// The sid of the next message; 0 for PONG, -1 for -ERR (the text is in payload), -2 when it is over.
static inline int nats_next(struct nats_raw* c) {
  char line[4096];
  for (;;) {
    if (fgets(line, sizeof line, c->in) == NULL) return -2;
    if (strncmp(line, "PING", 4) == 0) {
      fputs("PONG\r\n", c->out);
      fflush(c->out);
    } else if (strncmp(line, "PONG", 4) == 0) {
      return 0;
    } else if (strncmp(line, "-ERR", 4) == 0) {
      snprintf(c->payload, sizeof c->payload, "%.*s", (int)strcspn(line, "\r\n"), line);
      return -1;
    } else if (strncmp(line, "MSG ", 4) == 0) {
      int sid = 0;
      c->reply[0] = 0;
      unsigned long size = 0;
      if (sscanf(line, "MSG %255s %d %255s %lu", c->subject, &sid, c->reply, &size) != 4) {
        c->reply[0] = 0;
        if (sscanf(line, "MSG %255s %d %lu", c->subject, &sid, &size) != 3) return -2;
      }
      if (size + 2 > sizeof c->payload) return -2;
      if (fread(c->payload, 1, size + 2, c->in) != size + 2) return -2;
      c->payload[size] = 0;
      c->size = size;
      return sid;
    }
  }
}

