#pragma once

#include "base/json.h"
#include "workload/desired.h"
#include "workload/json_members.h"

// Members of records that replies of the control API show too; for the room's .cc files only.
namespace brokkr::workload {

void write_namespace_members(json::Writer& out, const NamespaceRecord&);
void read_namespace_members(MemberReader& in, NamespaceRecord&);

}  // namespace brokkr::workload
