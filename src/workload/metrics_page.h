#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/metrics.h"
#include "workload/tracer.h"
#include "workload/workload.h"

namespace brokkr::workload {

// What a node's workloads come to, for Prometheus: metrics `brokkr_workload_*` with the labels node,
// namespace, name and type, each event counted once. Histograms are written of what was called.
void write_workload_metrics(MetricsText& out, std::string_view node,
                            const std::vector<const Workload*>& workloads);
void write_tracer_metrics(MetricsText& out, std::string_view node, const Tracer::Counts&);

}  // namespace brokkr::workload
