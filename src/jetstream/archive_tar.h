#pragma once

#include <memory>

#include "jetstream/archive.h"

namespace brokkr::jetstream {

// Reads a version 1 archive: a tar file with meta.inf, msgs/<n>.blk (the blocks of nats-server's file
// store, jetstream.md 9.1) and obs/<consumer>/{meta.inf,o.dat}.
std::unique_ptr<ArchiveReader> make_tar_reader(ArchiveSink& sink);

}  // namespace brokkr::jetstream
