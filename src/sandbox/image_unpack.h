#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "sandbox/image_files.h"
#include "sandbox/image_tar.h"

// Making a folder from a tar file of unknown origin. Blocking; for a worker thread.
namespace brokkr::sandbox::image {

// What is left of an image's limits; taken from as files are made.
struct Budget {
  uint64_t bytes = 0;
  uint64_t files = 0;
};

enum class Form : uint8_t {
  Archive,     // files as they are, no owners
  Overlay,     // a layer by itself; whiteouts become overlay's
  MergeErase,  // first pass over a layer for a merged tree: only what its whiteouts hide is removed
  MergeAdd,    // second pass: only what it adds
};

// Makes the entries of `tar` below `root`. Names are bytes; a leading "/" means `root`. Refused with
// Corrupt: "..", a path through a link of this tar that is absolute or leads out, hard links to what is
// not a file of this tree. Left out: devices, pipes, sockets, setuid and setgid bits, extended
// attributes. Links of the layers below (`lower`, top first) are followed as inside the image, and
// folders an entry needs but the tar does not name get their mode and owner from there.
// Fails with LimitExceeded when the budget is used up.
Status unpack_tar(TarReader& tar, int root, Form form, const std::vector<int>& lower, Budget& budget);

// Whether this process may make overlay's whiteouts and opaque folders in `folder`.
bool can_make_whiteouts(int folder);

}  // namespace brokkr::sandbox::image
