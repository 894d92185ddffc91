// Host services for WebAssembly functions in C: the import module "brokkr".
//
// Build a WASI preview 1 command:
//   clang --target=wasm32-wasi --sysroot=/usr -O2 -I sdk/c program.c -o program.wasm
//
// Every call blocks and returns an int32_t: zero or more is a success and means what is said with it,
// less than zero is a failure: the code of its kind with a minus, as in HTTP:
//
//   -400 wrong arguments    -403 not allowed     -404 not there        -408 timed out
//   -409 conflict           -413 too large       -429 too many         -502 the other end failed
//   -503 not now            -507 no space
//
// What a call gives is kept by the host until the next call; brokkr_result_* read it, in parts:
// the payload, the header block ("NATS/1.0\r\nName: value\r\n...\r\n"), a list, and the text of an error.
// A list is records one behind the other, each a length (uint32_t, little endian) and so many bytes.
//
// Sizes are in bytes, texts have no zero at the end. A request may have 8 MiB in all; larger objects
// are read and written in pieces.
#ifndef BROKKR_H
#define BROKKR_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BROKKR_IMPORT(name) __attribute__((import_module("brokkr"), import_name(name)))

enum { BROKKR_PAYLOAD = 0, BROKKR_HEADERS = 1, BROKKR_LIST = 2, BROKKR_ERROR = 3 };

// The size of a part of the last result, and so many bytes of it from `offset` on; the number copied.
BROKKR_IMPORT("result_size") int32_t brokkr_result_size(int32_t part);
BROKKR_IMPORT("result_read")
int32_t brokkr_result_read(int32_t part, int32_t offset, void* out, int32_t size);
// The revision of what kv_get read or kv_put, kv_create and kv_update wrote.
BROKKR_IMPORT("result_revision") int64_t brokkr_result_revision(void);

// Key-value. kv_get gives the value's size. kv_keys lists keys that match the pattern (all when it is
// empty), at most `limit` when that is not 0; its result is the number. kv_history lists two records
// an entry: header block (Revision, Operation, Created) and value.
BROKKR_IMPORT("kv_get")
int32_t brokkr_kv_get(const char* bucket, int32_t bucket_size, const char* key, int32_t key_size);
BROKKR_IMPORT("kv_put")
int32_t brokkr_kv_put(const char* bucket, int32_t bucket_size, const char* key, int32_t key_size,
                      const void* value, int32_t value_size);
BROKKR_IMPORT("kv_create")  // -409 when the key has a value
int32_t brokkr_kv_create(const char* bucket, int32_t bucket_size, const char* key, int32_t key_size,
                         const void* value, int32_t value_size);
BROKKR_IMPORT("kv_update")  // -409 when `revision` is not the last
int32_t brokkr_kv_update(const char* bucket, int32_t bucket_size, const char* key, int32_t key_size,
                         const void* value, int32_t value_size, int64_t revision);
BROKKR_IMPORT("kv_delete")
int32_t brokkr_kv_delete(const char* bucket, int32_t bucket_size, const char* key, int32_t key_size);
BROKKR_IMPORT("kv_purge")
int32_t brokkr_kv_purge(const char* bucket, int32_t bucket_size, const char* key, int32_t key_size);
BROKKR_IMPORT("kv_keys")
int32_t brokkr_kv_keys(const char* bucket, int32_t bucket_size, const char* pattern,
                       int32_t pattern_size, int32_t limit);
BROKKR_IMPORT("kv_history")
int32_t brokkr_kv_history(const char* bucket, int32_t bucket_size, const char* key, int32_t key_size);
// Waits for changes after `revision` (0: the last of every key that is there, or the first to come) of keys
// that match the pattern, for at most `timeout_ms` (-408). Lists three records an entry: key, header block
// (Revision, Operation, Created) and value; result_revision is what to ask with next.
BROKKR_IMPORT("kv_watch")
int32_t brokkr_kv_watch(const char* bucket, int32_t bucket_size, const char* pattern,
                        int32_t pattern_size, int64_t revision, int32_t timeout_ms);

// Objects. object_get gives the size of an object of at most 4 MiB. Descriptions are JSON: the payload of
// object_put, object_info and object_commit, whose results are its size, and the records of object_list.
BROKKR_IMPORT("object_get")
int32_t brokkr_object_get(const char* bucket, int32_t bucket_size, const char* name, int32_t name_size);
BROKKR_IMPORT("object_put")
int32_t brokkr_object_put(const char* bucket, int32_t bucket_size, const char* name, int32_t name_size,
                          const void* bytes, int32_t size);
BROKKR_IMPORT("object_delete")
int32_t brokkr_object_delete(const char* bucket, int32_t bucket_size, const char* name, int32_t name_size);
BROKKR_IMPORT("object_info")
int32_t brokkr_object_info(const char* bucket, int32_t bucket_size, const char* name, int32_t name_size);
BROKKR_IMPORT("object_list") int32_t brokkr_object_list(const char* bucket, int32_t bucket_size);

// In pieces, of any size: the result of an open is a handle. object_read gives the size of the next piece
// (at most 1 MiB), 0 at the end. An object that is written is there after object_commit; object_close
// without it takes everything back.
BROKKR_IMPORT("object_open_read")
int32_t brokkr_object_open_read(const char* bucket, int32_t bucket_size, const char* name,
                                int32_t name_size);
BROKKR_IMPORT("object_open_write")
int32_t brokkr_object_open_write(const char* bucket, int32_t bucket_size, const char* name,
                                 int32_t name_size);
BROKKR_IMPORT("object_read") int32_t brokkr_object_read(int32_t handle);
BROKKR_IMPORT("object_write")
int32_t brokkr_object_write(int32_t handle, const void* bytes, int32_t size);
BROKKR_IMPORT("object_commit") int32_t brokkr_object_commit(int32_t handle);
BROKKR_IMPORT("object_close") int32_t brokkr_object_close(int32_t handle);

// Messages. Header blocks may be empty. A time-out of 0 ms is the function's own. request gives the size
// of the reply; request_many lists replies, until `max` of them came (0: until they stop coming).
BROKKR_IMPORT("publish")
int32_t brokkr_publish(const char* subject, int32_t subject_size, const char* reply, int32_t reply_size,
                       const char* headers, int32_t headers_size, const void* payload, int32_t size);
BROKKR_IMPORT("request")
int32_t brokkr_request(const char* subject, int32_t subject_size, const char* headers,
                       int32_t headers_size, const void* payload, int32_t size, int32_t timeout_ms);
BROKKR_IMPORT("request_many")
int32_t brokkr_request_many(const char* subject, int32_t subject_size, const char* headers,
                            int32_t headers_size, const void* payload, int32_t size, int32_t timeout_ms,
                            int32_t max);

// HTTP: the result is the response's status; payload its body, headers its headers.
BROKKR_IMPORT("http")
int32_t brokkr_http(const char* method, int32_t method_size, const char* url, int32_t url_size,
                    const char* headers, int32_t headers_size, const void* body, int32_t body_size,
                    int32_t timeout_ms);

// A part of the last result in memory of its own, with a zero behind it; free it. NULL when there is no
// memory. `size` may be NULL.
static inline char* brokkr_result_copy(int32_t part, int32_t* size) {
  const int32_t bytes = brokkr_result_size(part);
  char* copy = (char*)malloc((size_t)bytes + 1);
  if (copy == NULL) return NULL;
  copy[brokkr_result_read(part, 0, copy, bytes)] = '\0';
  if (size != NULL) *size = bytes;
  return copy;
}

// The next record of a list: its size and, through `record`, where it begins. -1 at the end. `at` starts
// at 0.
static inline int32_t brokkr_next_record(const char* list, int32_t list_size, int32_t* at,
                                         const char** record) {
  uint32_t size;
  if (list_size - *at < 4) return -1;
  memcpy(&size, list + *at, 4);
  if (size > (uint32_t)(list_size - *at - 4)) return -1;
  *record = list + *at + 4;
  *at += 4 + (int32_t)size;
  return (int32_t)size;
}

#ifdef __cplusplus
}
#endif

#endif
