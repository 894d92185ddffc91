// Looks a host up with the C library, connects, sends a line and prints what comes back: HOST PORT.
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
  if (strchr(argv[1], ':') != NULL) hints.ai_flags = AI_NUMERICHOST;
  struct addrinfo* found = NULL;
  const int error = getaddrinfo(argv[1], argv[2], &hints, &found);
  if (error != 0) {
    printf("fetched %s: %s\n", argv[1], gai_strerror(error));
    return 3;
  }
  const int fd = socket(found->ai_family, SOCK_STREAM, 0);
  if (connect(fd, found->ai_addr, found->ai_addrlen) != 0) {
    perror("connect");
    return 4;
  }
  if (write(fd, "hello\n", 6) != 6) return 5;
  shutdown(fd, SHUT_WR);
  char buffer[1024] = "";
  const ssize_t n = read(fd, buffer, sizeof buffer - 1);
  printf("fetched %s: %s\n", argv[1], n > 0 ? buffer : "nothing");
  return n > 0 ? 0 : 6;
}
