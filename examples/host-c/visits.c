// Counts visits in a key-value bucket, keeps what was sent as an object, and tells others.
//   clang --target=wasm32-wasi --sysroot=/usr -O2 -I sdk/c examples/host-c/visits.c -o visits.wasm
//   brokkr devrun visits.wasm --trigger_subject='visits.*'
#include <brokkr.h>
#include <stdio.h>

#define TEXT(text) (text), (int32_t)(sizeof(text) - 1)

static int fail(const char* what, int32_t code) {
  char* error = brokkr_result_copy(BROKKR_ERROR, NULL);
  fprintf(stderr, "%s: %d %s\n", what, -code, error);
  return 1;
}

// One more, also when others count at the same time.
static int32_t count(const char* key, int32_t key_size, long* visits) {
  for (;;) {
    char text[32];
    int32_t done = brokkr_kv_get(TEXT("visits"), key, key_size);
    if (done < 0 && done != -404) return done;
    *visits = 1;
    int64_t revision = 0;
    if (done >= 0) {
      char* value = brokkr_result_copy(BROKKR_PAYLOAD, NULL);
      *visits = strtol(value, NULL, 10) + 1;
      revision = brokkr_result_revision();
      free(value);
    }
    const int32_t size = snprintf(text, sizeof text, "%ld", *visits);
    done = revision == 0 ? brokkr_kv_create(TEXT("visits"), key, key_size, text, size)
                         : brokkr_kv_update(TEXT("visits"), key, key_size, text, size, revision);
    if (done != -409) return done;
  }
}

int main(int argc, char** argv) {
  (void)argc;
  const char* subject = argv[1];
  const char* page = strrchr(subject, '.') != NULL ? strrchr(subject, '.') + 1 : subject;
  const int32_t page_size = (int32_t)strlen(page);
  long visits = 0;
  int32_t done = count(page, page_size, &visits);
  if (done < 0) return fail("count", done);

  const int32_t object = brokkr_object_open_write(TEXT("visits"), page, page_size);
  if (object < 0) return fail("open", object);
  static char piece[4096];
  for (size_t size; (size = fread(piece, 1, sizeof piece, stdin)) > 0;) {
    if ((done = brokkr_object_write(object, piece, (int32_t)size)) < 0) return fail("write", done);
  }
  if ((done = brokkr_object_commit(object)) < 0) return fail("commit", done);

  const int32_t size = snprintf(piece, sizeof piece, "%s %ld", page, visits);
  done = brokkr_publish(TEXT("visited"), TEXT(""), TEXT(""), piece, size);
  if (done < 0) return fail("publish", done);
  printf("%ld", visits);
  return 0;
}
