// The same answer from a program that needs shared libraries: Debian's NATS client.
#include <nats/nats.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void on_request(natsConnection* nc, natsSubscription* sub, natsMsg* msg, void* closure) {
  (void)sub;
  (void)closure;
  natsConnection_Publish(nc, natsMsg_GetReply(msg), natsMsg_GetData(msg), natsMsg_GetDataLength(msg));
  natsMsg_Destroy(msg);
}

int main(void) {
  natsConnection* nc = NULL;
  natsSubscription* sub = NULL;
  natsStatus s = natsConnection_ConnectTo(&nc, getenv("NATS_URL"));
  if (s == NATS_OK) s = natsConnection_Subscribe(&sub, nc, "svc.library", on_request, NULL);
  if (s == NATS_OK) s = natsConnection_Flush(nc);
  if (s != NATS_OK) {
    fprintf(stderr, "%s\n", natsStatus_GetText(s));
    return 1;
  }
  puts("library echo is ready");
  fflush(stdout);
  for (;;) pause();
}
