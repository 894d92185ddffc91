#pragma once

#include "cli/bucket.h"
#include "client/object_store.h"

// What the files of the object-store group share. Each run_* is one sub-command.
namespace brokkr::cli {

// The bucket of the argument "bucket", opened; without one the user picks it.
struct ObjectStoreTask {
  BucketApi api;
  client::ObjectStore store;
};
Result<ObjectStoreTask> open_store(const Context&, const Values&);

// Prints the report of `object info` on a bucket.
Status show_store(BucketApi&, const client::ObjectStore&);

int run_object_put(const Context&, const Values&);
int run_object_get(const Context&, const Values&);
int run_object_info(const Context&, const Values&);
int run_object_delete(const Context&, const Values&);

}  // namespace brokkr::cli
