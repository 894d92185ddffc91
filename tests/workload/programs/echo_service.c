// The echo service of the examples without a client library: answers svc.echo, and $SRV as micro
// services do.
#include "nats_raw.h"

static const char kIdentity[] =
    "\"name\":\"EchoService\",\"id\":\"%s\",\"version\":\"1.0.0\",\"metadata\":{}";

int main(void) {
  static struct nats_raw c;
  const char* url = getenv("NATS_URL");
  if (nats_connect(&c, url != NULL ? url : "nats://192.168.127.1:4222") != 0) {
    perror("connect");
    return 1;
  }
  const char* id = getenv("NEX_WORKLOAD_ID");
  if (id == NULL) id = "echo1";
  char identity[256];
  snprintf(identity, sizeof identity, kIdentity, id);
  const char* verbs[] = {"PING", "INFO", "STATS"};
  nats_subscribe(&c, "svc.echo", 1);
  for (int i = 0; i < 3; ++i) {
    char subject[256];
    snprintf(subject, sizeof subject, "$SRV.%s", verbs[i]);
    nats_subscribe(&c, subject, 2 + i);
    snprintf(subject, sizeof subject, "$SRV.%s.EchoService", verbs[i]);
    nats_subscribe(&c, subject, 5 + i);
    snprintf(subject, sizeof subject, "$SRV.%s.EchoService.%s", verbs[i], id);
    nats_subscribe(&c, subject, 8 + i);
  }
  fputs("PING\r\n", c.out);
  nats_flush(&c);
  unsigned long requests = 0;
  for (;;) {
    char answer[1024];
    const int sid = nats_next(&c);
    if (sid == -2) return 1;
    if (sid == -1) fprintf(stderr, "%s\n", c.payload);
    if (sid == 0) {
      puts("echo service is ready");
      fflush(stdout);
    }
    if (sid <= 0 || c.reply[0] == 0) continue;
    if (sid == 1) {
      ++requests;
      nats_publish(&c, c.reply, c.payload, c.size);
    } else {
      const int verb = (sid - 2) % 3;
      const char* type = verb == 0 ? "ping" : verb == 1 ? "info" : "stats";
      const char* more = verb == 1 ? ",\"description\":\"\",\"endpoints\":[{\"name\":\"default\","
                                    "\"subject\":\"svc.echo\",\"queue_group\":\"q\"}]"
                                  : "";
      char stats[256] = "";
      if (verb == 2) {
        snprintf(stats, sizeof stats,
                 ",\"started\":\"2026-01-01T00:00:00Z\",\"endpoints\":[{\"name\":\"default\","
                 "\"subject\":\"svc.echo\",\"queue_group\":\"q\",\"num_requests\":%lu,\"num_errors\":0,"
                 "\"last_error\":\"\",\"processing_time\":0,\"average_processing_time\":0}]", requests);
      }
      const int n = snprintf(answer, sizeof answer, "{\"type\":\"io.nats.micro.v1.%s_response\",%s%s%s}",
                             type, identity, more, stats);
      nats_publish(&c, c.reply, answer, (size_t)n);
    }
    nats_flush(&c);
  }
}
