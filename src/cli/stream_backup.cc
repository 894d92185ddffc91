#include "cli/stream_commands.h"
#include "cli/terminal.h"

namespace brokkr::cli {
int run_stream_backup(const Context& context, const Values&) { return fail(context.program, "not yet"); }
int run_stream_restore(const Context& context, const Values&) { return fail(context.program, "not yet"); }
}  // namespace brokkr::cli
