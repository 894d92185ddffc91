// The same script as script.mjs for the official C client (Debian's libnats-dev).
#include <nats/nats.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECKED(call) check((call), #call)

static void check(natsStatus status, const char* call) {
  if (status == NATS_OK) return;
  fprintf(stderr, "%s: %s\n", call, natsStatus_GetText(status));
  exit(1);
}

static natsConnection* dial(const char* url, bool no_echo) {
  natsOptions* options = NULL;
  natsConnection* connection = NULL;
  CHECKED(natsOptions_Create(&options));
  CHECKED(natsOptions_SetURL(options, url));
  CHECKED(natsOptions_SetNoEcho(options, no_echo));
  CHECKED(natsOptions_SetAllowReconnect(options, false));
  CHECKED(natsConnection_Connect(&connection, options));
  natsOptions_Destroy(options);
  return connection;
}

static void answer(natsConnection* connection, natsSubscription* subscription, natsMsg* message, void* closure) {
  char text[256];
  (void)subscription;
  (void)closure;
  snprintf(text, sizeof text, "re: %.*s", natsMsg_GetDataLength(message), natsMsg_GetData(message));
  natsConnection_PublishString(connection, natsMsg_GetReply(message), text);
  natsMsg_Destroy(message);
}

static natsMsg* next(natsSubscription* subscription) {
  natsMsg* message = NULL;
  CHECKED(natsSubscription_NextMsg(&message, subscription, 5000));
  return message;
}

static void plain_and_headers(natsConnection* a, natsConnection* b) {
  natsSubscription* subscription = NULL;
  natsMsg *message = NULL, *sent = NULL;
  const char** values = NULL;
  int count = 0;

  CHECKED(natsConnection_SubscribeSync(&subscription, a, "clients.plain.*"));
  CHECKED(natsConnection_Flush(a));
  CHECKED(natsConnection_PublishString(b, "clients.plain.x", "hello"));
  message = next(subscription);
  printf("publish and subscribe: %s %s\n", natsMsg_GetSubject(message), natsMsg_GetData(message));
  natsMsg_Destroy(message);
  natsSubscription_Destroy(subscription);

  CHECKED(natsConnection_SubscribeSync(&subscription, a, "clients.headers"));
  CHECKED(natsConnection_Flush(a));
  CHECKED(natsMsg_Create(&sent, "clients.headers", NULL, "body", 4));
  CHECKED(natsMsgHeader_Add(sent, "Key", "one"));
  CHECKED(natsMsgHeader_Add(sent, "Key", "two"));
  CHECKED(natsConnection_PublishMsg(b, sent));
  message = next(subscription);
  CHECKED(natsMsgHeader_Values(message, "Key", &values, &count));
  printf("headers: %s,%s %s\n", values[0], count == 2 ? values[1] : "", natsMsg_GetData(message));
  free((void*)values);
  natsMsg_Destroy(message);
  natsMsg_Destroy(sent);
  natsSubscription_Destroy(subscription);
}

static void queue_group(natsConnection* a, natsConnection* b, const char* url) {
  natsConnection* owners[] = {a, a, b};
  natsSubscription* members[3] = {NULL, NULL, NULL};
  natsConnection* publisher = dial(url, false);
  int sum = 0;
  for (int i = 0; i < 3; i++) {
    CHECKED(natsConnection_QueueSubscribeSync(&members[i], owners[i], "clients.queue", "q"));
    CHECKED(natsConnection_Flush(owners[i]));
  }
  for (int i = 0; i < 30; i++) CHECKED(natsConnection_PublishString(publisher, "clients.queue", "x"));
  CHECKED(natsConnection_Flush(publisher));
  CHECKED(natsConnection_Flush(a));
  CHECKED(natsConnection_Flush(b));
  for (int i = 0; i < 3; i++) {
    natsMsg* message = NULL;
    while (natsSubscription_NextMsg(&message, members[i], 100) == NATS_OK) {
      sum++;
      natsMsg_Destroy(message);
    }
    natsSubscription_Destroy(members[i]);
  }
  printf("queue group: %d\n", sum);
  natsConnection_Destroy(publisher);
}

static void requests(natsConnection* a, natsConnection* b) {
  natsSubscription* subscription = NULL;
  natsMsg* reply = NULL;
  bool right = true;
  CHECKED(natsConnection_Subscribe(&subscription, a, "clients.service", answer, NULL));
  CHECKED(natsConnection_Flush(a));
  CHECKED(natsConnection_RequestString(&reply, b, "clients.service", "question", 5000));
  printf("request: %s\n", natsMsg_GetData(reply));
  natsMsg_Destroy(reply);
  for (int i = 0; i < 50; i++) {
    char question[16], expected[24];
    snprintf(question, sizeof question, "%d", i);
    snprintf(expected, sizeof expected, "re: %d", i);
    CHECKED(natsConnection_RequestString(&reply, b, "clients.service", question, 5000));
    right = right && strcmp(natsMsg_GetData(reply), expected) == 0;
    natsMsg_Destroy(reply);
  }
  printf("50 requests at once: %s\n", right ? "true" : "false");
  natsSubscription_Destroy(subscription);
  CHECKED(natsConnection_Flush(a));

  natsStatus status = natsConnection_RequestString(&reply, b, "clients.nobody", "x", 5000);
  printf("no responders: %s\n", status == NATS_NO_RESPONDERS ? "true" : "false");
  CHECKED(natsConnection_SubscribeSync(&subscription, a, "clients.silent"));
  CHECKED(natsConnection_Flush(a));
  status = natsConnection_RequestString(&reply, b, "clients.silent", "x", 200);
  printf("time-out: %s\n", status == NATS_TIMEOUT ? "true" : "false");
  natsSubscription_Destroy(subscription);
}

static void limits(natsConnection* a, natsConnection* b) {
  natsSubscription* subscription = NULL;
  natsMsg* message = NULL;
  CHECKED(natsConnection_SubscribeSync(&subscription, a, "clients.max"));
  CHECKED(natsSubscription_AutoUnsubscribe(subscription, 2));
  CHECKED(natsConnection_Flush(a));
  for (const char* payload = "123"; *payload; payload++) CHECKED(natsConnection_Publish(b, "clients.max", payload, 1));
  CHECKED(natsConnection_Flush(b));
  printf("unsubscribe after two: ");
  for (int i = 0; natsSubscription_NextMsg(&message, subscription, i < 2 ? 5000 : 200) == NATS_OK; i++) {
    printf("%s%s", i ? "," : "", natsMsg_GetData(message));
    natsMsg_Destroy(message);
  }
  printf("\n");
  natsSubscription_Destroy(subscription);

  CHECKED(natsConnection_SubscribeSync(&subscription, b, "clients.own"));
  CHECKED(natsConnection_PublishString(b, "clients.own", "mine"));
  CHECKED(natsConnection_Flush(b));
  CHECKED(natsConnection_PublishString(a, "clients.own", "theirs"));
  message = next(subscription);
  printf("no echo: %s\n", natsMsg_GetData(message));
  natsMsg_Destroy(message);
  natsSubscription_Destroy(subscription);

  int size = (int)natsConnection_GetMaxPayload(a);
  char* large = malloc((size_t)size);
  memset(large, 7, (size_t)size);
  CHECKED(natsConnection_SubscribeSync(&subscription, a, "clients.large"));
  CHECKED(natsConnection_Flush(a));
  CHECKED(natsConnection_Publish(b, "clients.large", large, size));
  message = next(subscription);
  bool same = natsMsg_GetDataLength(message) == size && memcmp(natsMsg_GetData(message), large, (size_t)size) == 0;
  printf("payload of the limit: %s\n", same ? "true" : "false");
  natsMsg_Destroy(message);
  natsSubscription_Destroy(subscription);
  free(large);
}

static void drains(natsConnection* a, natsConnection* b) {
  natsSubscription* subscription = NULL;
  natsMsg* message = NULL;
  int drained = 0;
  CHECKED(natsConnection_SubscribeSync(&subscription, a, "clients.drain"));
  CHECKED(natsConnection_Flush(a));
  for (int i = 0; i < 100; i++) CHECKED(natsConnection_PublishString(b, "clients.drain", "x"));
  CHECKED(natsConnection_Flush(b));
  CHECKED(natsConnection_Flush(a));
  CHECKED(natsSubscription_Drain(subscription));
  while (natsSubscription_NextMsg(&message, subscription, 1000) == NATS_OK) {
    drained++;
    natsMsg_Destroy(message);
  }
  printf("drain delivers what was queued: %d\n", drained);
  natsSubscription_Destroy(subscription);

  int64_t round_trip = -1;
  CHECKED(natsConnection_GetRTT(a, &round_trip));
  printf("round trip: %s\n", round_trip >= 0 ? "true" : "false");
  CHECKED(natsConnection_Drain(a));
  for (int i = 0; i < 500 && !natsConnection_IsClosed(a); i++) nats_Sleep(10);
  printf("connection drains: %s\n", natsConnection_IsClosed(a) ? "true" : "false");
}

static void functions(natsConnection* connection) {
  const char* subjects[] = {"echo", "echowasm"};
  for (int i = 0; i < 2; i++) {
    natsMsg* reply = NULL;
    CHECKED(natsConnection_RequestString(&reply, connection, subjects[i], "hello nex!", 5000));
    printf("%s: %.*s\n", subjects[i], natsMsg_GetDataLength(reply), natsMsg_GetData(reply));
    natsMsg_Destroy(reply);
  }
}

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  natsConnection* a = dial(argv[1], false);
  natsConnection* b = dial(argv[1], true);
  if (argc > 2 && strcmp(argv[2], "functions") == 0) {
    functions(a);
  } else {
    plain_and_headers(a, b);
    queue_group(a, b, argv[1]);
    requests(a, b);
    limits(a, b);
    drains(a, b);
  }
  natsConnection_Destroy(a);
  natsConnection_Destroy(b);
  nats_Close();
  return 0;
}
