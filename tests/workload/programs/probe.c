// A program for tests: what it does is its first argument.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "nats_raw.h"

extern char** environ;

static void say(const char* text) {
  puts(text);
  fflush(stdout);
}

static int print_environment(void) {
  for (char** variable = environ; *variable != NULL; ++variable) puts(*variable);
  say("end of environment");
  return 0;
}

static int eat_memory(void) {
  for (size_t bytes = 0;; bytes += 1 << 20) {
    char* piece = malloc(1 << 20);
    if (piece == NULL) return 3;
    memset(piece, 1, 1 << 20);
  }
}

// Children of children that ignore SIGTERM in sessions of their own.
static int leave_grandchildren(void) {
  for (int i = 0; i < 3; ++i) {
    if (fork() == 0) {
      setsid();
      if (fork() == 0) {
        signal(SIGTERM, SIG_IGN);
        signal(SIGHUP, SIG_IGN);
        for (;;) pause();
      }
      _exit(0);
    }
  }
  while (wait(NULL) > 0) {
  }
  say("grandchildren are there");
  for (;;) pause();
}

// Sends back what each connection says until it ends, then "bye".
static int serve(int port) {
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  const int one = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  struct sockaddr_in address = {.sin_family = AF_INET};
  address.sin_port = htons((unsigned short)port);
  if (bind(listener, (struct sockaddr*)&address, sizeof address) != 0 || listen(listener, 64) != 0) {
    perror("bind");
    return 1;
  }
  say("listening");
  for (;;) {
    const int fd = accept(listener, NULL, NULL);
    if (fd < 0) return 1;
    if (fork() == 0) {
      char buffer[65536];
      ssize_t n;
      while ((n = read(fd, buffer, sizeof buffer)) > 0) {
        for (ssize_t sent = 0; sent < n;) {
          const ssize_t m = write(fd, buffer + sent, (size_t)(n - sent));
          if (m <= 0) _exit(1);
          sent += m;
        }
      }
      if (write(fd, "bye", 3) != 3) _exit(1);
      _exit(0);
    }
    close(fd);
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
  }
}

static int find_host(const char* name, struct in_addr* into) {
  if (inet_pton(AF_INET, name, into) == 1) return 0;
  FILE* hosts = fopen("/etc/hosts", "r");
  char line[1024];
  while (hosts != NULL && fgets(line, sizeof line, hosts) != NULL) {
    char* rest = NULL;
    const char* address = strtok_r(line, " \t\r\n", &rest);
    for (const char* word; address != NULL && (word = strtok_r(NULL, " \t\r\n", &rest)) != NULL;) {
      if (strcmp(word, name) == 0) return inet_pton(AF_INET, address, into) == 1 ? 0 : -1;
    }
  }
  return -1;
}

// Connects, says a line, prints what comes back.
static int fetch(const char* host, int port) {
  struct sockaddr_in address = {.sin_family = AF_INET};
  address.sin_port = htons((unsigned short)port);
  if (find_host(host, &address.sin_addr) != 0) {
    printf("fetch %s:%d: no such host\n", host, port);
    return 4;
  }
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (connect(fd, (struct sockaddr*)&address, sizeof address) != 0) {
    printf("fetch %s:%d: %s\n", host, port, strerror(errno));
    return 5;
  }
  if (write(fd, "hello\n", 6) != 6) return 6;
  shutdown(fd, SHUT_WR);
  char buffer[1024];
  size_t size = 0;
  ssize_t n;
  while (size < sizeof buffer - 1 && (n = read(fd, buffer + size, sizeof buffer - 1 - size)) > 0) size += (size_t)n;
  buffer[size] = 0;
  printf("fetch %s:%d: got %zu bytes: %s\n", host, port, size, buffer);
  return size > 0 ? 0 : 7;
}

static int publish(const char* subject, const char* text) {
  static struct nats_raw c;
  if (nats_connect(&c, getenv("NATS_URL")) != 0) return 8;
  nats_publish(&c, subject, text, strlen(text));
  fputs("PING\r\n", c.out);
  nats_flush(&c);
  const int next = nats_next(&c);
  if (next != 0) printf("publish: %s\n", c.payload);
  return next == 0 ? 0 : 9;
}

int main(int argc, char** argv) {
  const char* mode = argc > 1 ? argv[1] : "sleep";
  const char* first = argc > 2 ? argv[2] : "";
  const char* second = argc > 3 ? argv[3] : "";
  if (strcmp(mode, "env") == 0) return print_environment();
  if (strcmp(mode, "exit") == 0) return atoi(first);
  if (strcmp(mode, "eat") == 0) return eat_memory();
  if (strcmp(mode, "forks") == 0) return leave_grandchildren();
  if (strcmp(mode, "serve") == 0) return serve(atoi(first));
  if (strcmp(mode, "fetch") == 0) return fetch(first, atoi(second));
  if (strcmp(mode, "publish") == 0) return publish(first, second);
  if (strcmp(mode, "exists") == 0) return access(first, F_OK) == 0 ? 0 : 1;
  if (strcmp(mode, "crash") == 0) abort();
  if (strcmp(mode, "lines") == 0) {
    for (int i = 0; i < atoi(first); ++i) printf("line %d\n", i);
    fprintf(stderr, "and an error");
    return 0;
  }
  if (strcmp(mode, "append") == 0) {  // a file that counts the runs
    FILE* file = fopen(first, "a");
    if (file == NULL) return 10;
    fputs("x", file);
    printf("runs: %ld\n", ftell(file));
    return fclose(file);
  }
  if (strcmp(mode, "ill") == 0) {  // is well for so many milliseconds
    FILE* file = fopen("/tmp/well", "w");
    if (file != NULL) fclose(file);
    say("well");
    usleep((unsigned)atoi(first) * 1000);
    unlink("/tmp/well");
    say("ill");
  }
  if (strcmp(mode, "stubborn") == 0) signal(SIGTERM, SIG_IGN);
  if (strcmp(mode, "gentle") == 0) {
    sigset_t set;
    int number = 0;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    say("up");
    sigwait(&set, &number);
    say("going");
    return 0;
  }
  say("up");
  for (;;) pause();
}
