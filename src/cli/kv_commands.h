#pragma once

#include <string>

#include "cli/bucket.h"
#include "client/key_value.h"

// What the files of the key-value group share. Each run_* is one sub-command.
namespace brokkr::cli {

// The bucket of the argument "bucket", opened; without one the user picks it.
struct KeyValueTask {
  BucketApi api;
  client::KeyValue bucket;
};
Result<KeyValueTask> open_key_value(const Context&, const Values&);

// Prints the report of `kv info`.
Status show_key_value(BucketApi&, const client::KeyValue&);
// Prints the table of `kv history`.
Status show_history(KeyValueTask&, const std::string& key);

int run_kv_list(const Context&, const Values&);
int run_kv_info(const Context&, const Values&);
int run_kv_history(const Context&, const Values&);
int run_kv_watch(const Context&, const Values&);

}  // namespace brokkr::cli
