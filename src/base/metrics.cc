#include "base/metrics.h"

#include <charconv>

namespace brokkr {

void MetricsText::family(std::string_view name, Type type, std::string_view help) {
  out_.append("# HELP ").append(name).append(" ").append(help).append("\n# TYPE ").append(name);
  out_.append(type == Type::Counter ? " counter\n"
              : type == Type::Gauge ? " gauge\n"
                                    : " histogram\n");
}

void MetricsText::sample(std::string_view name, double value, const Labels& labels) {
  out_ += name;
  if (!labels.empty()) {
    char separator = '{';
    for (const auto& [label, text] : labels) {
      out_ += separator;
      out_.append(label).append("=\"");
      for (const char c : text) {
        if (c == '\\' || c == '"') out_ += '\\';
        if (c == '\n') {
          out_ += "\\n";
        } else {
          out_ += c;
        }
      }
      out_ += '"';
      separator = ',';
    }
    out_ += '}';
  }
  char digits[32];
  const auto result = std::to_chars(digits, digits + sizeof digits, value);
  out_ += ' ';
  out_.append(digits, result.ptr);
  out_ += '\n';
}

}  // namespace brokkr
