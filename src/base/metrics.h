#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace brokkr {

// Builds one scrape in Prometheus text format 0.0.4. Families keep the order of their first sample;
// label values are escaped here. A value type; Loop-confined.
class MetricsText {
 public:
  enum class Type : uint8_t { Counter, Gauge, Histogram };
  using Labels = std::vector<std::pair<std::string_view, std::string_view>>;

  // `name` matches [a-z_]+; `help` is one line.
  void family(std::string_view name, Type, std::string_view help);
  void sample(std::string_view name, double value, const Labels& labels = {});
  const std::string& text() const { return out_; }

 private:
  std::string out_;
};

}  // namespace brokkr
