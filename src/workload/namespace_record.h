#pragma once

#include "base/result.h"
#include "workload/desired.h"

namespace brokkr::workload {

// Whether a record says what a node can hold everybody to: a pattern nobody can read would claim nothing.
// Pure. Fails with InvalidArgument, naming what is wrong.
Status check_namespace_record(const NamespaceRecord&);

}  // namespace brokkr::workload
