#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/callback.h"
#include "base/result.h"
#include "store/block_codec.h"
#include "store/files.h"
#include "store/record.h"

// Looking into a store's directory without changing anything: for tools and tests. The store may be
// running meanwhile; what it writes just then may look damaged. Blocks.
namespace brokkr::store {

class Stream;

// Takes one line of text, without its end.
using LineSink = FunctionRef<void(std::string_view line)>;

// How the directory's store is encrypted, if it is.
struct StoreKeys {
  Cipher cipher = Cipher::None;
  std::string key;
  std::string previous_key;
};
struct VerifyReport {
  uint64_t files = 0;
  uint64_t bytes = 0;
  uint64_t messages = 0;  // whole ones in run files
  uint64_t frames = 0;    // whole ones in the log
  // "runs/0000000000000007.run at 8192: content of message 12 damaged", one for every place.
  std::vector<std::string> damage;
  // What is worth a word and no damage: a torn end of the log, files that are not the store's.
  std::vector<std::string> notes;
};
// Checks every checksum of catalogs, log and run files. Fails when the directory cannot be read, or with PermissionDenied when the key is wrong.
Result<VerifyReport> verify_store(Files&, const std::string& directory, Keyring* keys);

// Opens a store of what is in the directory, with all changes kept in memory, and reads every message:
// finds what is missing though all that is there is whole. Adds to the report's damage.
Status verify_streams(Files&, const std::string& directory, const StoreKeys&, VerifyReport&);

// What is in one file of a store, by its name's ending, as text; damage too.
Status dump_file(Files&, const std::string& path, Keyring* keys, LineSink out);

struct ExportReport {
  uint64_t messages = 0;
  std::vector<uint64_t> lost;         // sequences found damaged
  std::vector<std::string> warnings;  // what opening the store had to say
};
// Opens a store of what is in the directory, with all changes kept in memory, and visits the
// messages of one stream in order. NotFound: no such stream.
Result<ExportReport> visit_messages(Files&, const std::string& directory, const StoreKeys&,
                                    std::string_view account, std::string_view stream,
                                    FunctionRef<void(const Record&)> visit);
// The same for its streams.
Result<ExportReport> visit_streams(Files&, const std::string& directory, const StoreKeys&,
                                   FunctionRef<void(Stream&)> visit);

}  // namespace brokkr::store
