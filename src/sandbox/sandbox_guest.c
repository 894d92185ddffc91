// The program the room's tests run in a sandbox; its first argument says what it does.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static struct sockaddr_in address_of(const char *host, int port) {
  struct sockaddr_in address;
  memset(&address, 0, sizeof address);
  address.sin_family = AF_INET;
  address.sin_port = htons((unsigned short)port);
  inet_pton(AF_INET, host, &address.sin_addr);
  return address;
}

// Sends a word to host and port and prints what comes back.
static int ask(const char *host, int port) {
  struct sockaddr_in address = address_of(host, port);
  struct sockaddr_in6 address6;
  int is_6 = strchr(host, ':') != NULL;
  int fd = socket(is_6 ? AF_INET6 : AF_INET, SOCK_STREAM, 0);
  char bytes[256];
  ssize_t n;
  memset(&address6, 0, sizeof address6);
  address6.sin6_family = AF_INET6;
  address6.sin6_port = address.sin_port;
  if (is_6) inet_pton(AF_INET6, host, &address6.sin6_addr);
  if (connect(fd, is_6 ? (struct sockaddr *)&address6 : (struct sockaddr *)&address,
              is_6 ? sizeof address6 : sizeof address) != 0) {
    return errno;
  }
  if (write(fd, "PING", 4) != 4) return errno;
  n = read(fd, bytes, sizeof bytes);
  if (n > 0) fwrite(bytes, 1, (size_t)n, stdout);
  return n > 0 ? 0 : 1;
}

// Answers every connection with its own words; says when it listens.
static int serve(int port) {
  struct sockaddr_in address = address_of("127.0.0.1", port);
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 5) != 0) return errno;
  puts("listening");
  fflush(stdout);
  for (;;) {
    char bytes[256];
    int client = accept(fd, NULL, NULL);
    ssize_t n = read(client, bytes, sizeof bytes);
    if (n > 0 && write(client, bytes, (size_t)n) < 0) return 1;
    close(client);
  }
}

static int about(void) {
  char cwd[256] = "";
  char host[128] = "";
  char **variable;
  gethostname(host, sizeof host);
  printf("pid %d uid %d gid %d host %s cwd %s\n", getpid(), getuid(), getgid(), host,
         getcwd(cwd, sizeof cwd));
  for (variable = environ; *variable != NULL; ++variable) printf("%s\n", *variable);
  return 0;
}

static int print_file(const char *path) {
  char bytes[4096];
  size_t n;
  FILE *file = fopen(path, "r");
  if (file == NULL) return errno;
  while ((n = fread(bytes, 1, sizeof bytes, file)) > 0) fwrite(bytes, 1, n, stdout);
  return 0;
}

static int allocate(size_t megabytes) {
  size_t at;
  size_t bytes = megabytes << 20;
  char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return errno;
  for (at = 0; at < bytes; at += 4096) memory[at] = 1;
  return 0;
}

// How many processes it may have besides itself.
static int fork_many(int tries) {
  int made = 0;
  while (made < tries) {
    pid_t pid = fork();
    if (pid < 0) break;
    if (pid == 0) {
      pause();
      _exit(0);
    }
    ++made;
  }
  printf("%d\n", made);
  fflush(stdout);
  return 0;
}

static int write_bytes(const char *path, size_t megabytes) {
  static char bytes[1 << 20];
  int fd = open(path, O_CREAT | O_WRONLY, 0600);
  if (fd < 0) return errno;
  // A write that finds too little room is short; the next one says why.
  for (megabytes <<= 20; megabytes > 0;) {
    ssize_t n = write(fd, bytes, megabytes < sizeof bytes ? megabytes : sizeof bytes);
    if (n < 0) return errno;
    megabytes -= (size_t)n;
  }
  return 0;
}

// Leaves a child in a session of its own behind.
static int leave_daemon(void) {
  if (fork() == 0) {
    setsid();
    if (fork() == 0) {
      signal(SIGTERM, SIG_IGN);
      for (;;) pause();
    }
    _exit(0);
  }
  wait(NULL);
  puts("left");
  fflush(stdout);
  return 0;
}

int main(int argc, char **argv) {
  const char *what = argc > 1 ? argv[1] : "";
  const char *first = argc > 2 ? argv[2] : "0";
  if (strcmp(what, "exit") == 0) return atoi(first);
  if (strcmp(what, "ask") == 0) return ask(first, argc > 3 ? atoi(argv[3]) : 4222);
  if (strcmp(what, "serve") == 0) return serve(atoi(first));
  if (strcmp(what, "about") == 0) return about();
  if (strcmp(what, "cat") == 0) return print_file(first);
  if (strcmp(what, "allocate") == 0) return allocate((size_t)atoi(first));
  if (strcmp(what, "fork") == 0) return fork_many(atoi(first));
  if (strcmp(what, "write") == 0) return write_bytes(first, (size_t)atoi(argv[3]));
  if (strcmp(what, "daemon") == 0) return leave_daemon();
  if (strcmp(what, "daemon-wait") == 0) {
    leave_daemon();
    for (;;) pause();
  }
  if (strcmp(what, "wait") == 0) {
    puts("waiting");
    fflush(stdout);
    for (;;) pause();
  }
  if (strcmp(what, "stubborn") == 0) {
    signal(SIGTERM, SIG_IGN);
    puts("waiting");
    fflush(stdout);
    for (;;) pause();
  }
  if (strcmp(what, "flood") == 0) {
    static char bytes[1 << 16];
    memset(bytes, 'x', sizeof bytes);
    while (write(1, bytes, sizeof bytes) > 0) {
    }
    return 1;
  }
  if (strcmp(what, "spin") == 0) {
    for (;;) {
    }
  }
  fprintf(stderr, "what is %s?\n", what);
  return 2;
}
