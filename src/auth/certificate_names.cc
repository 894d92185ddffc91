#include "auth/certificate_names.h"

#include <algorithm>

namespace brokkr::auth {
namespace {

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool is_special(char c) {
  return std::string_view(" \"#+,;<=>\\").find(c) != std::string_view::npos;
}

std::string upper(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  return out;
}

// One type or value of a name: blanks around it do not count unless escaped.
class NameText {
 public:
  void add(char c, bool is_escaped) {
    if (c == ' ' && !is_escaped) {
      if (text_.empty()) return;
      ++trailing_blanks_;
    } else {
      trailing_blanks_ = 0;
    }
    text_ += c;
  }
  std::string take() {
    text_.resize(text_.size() - trailing_blanks_);
    trailing_blanks_ = 0;
    std::string out;
    out.swap(text_);
    return out;
  }

 private:
  std::string text_;
  size_t trailing_blanks_ = 0;
};

// Reads "\," or "\2C" at `at`, which is left on its last character. False when it is neither.
bool read_escape(std::string_view text, size_t& at, char& out) {
  if (++at >= text.size()) return false;
  if (is_special(text[at])) {
    out = text[at];
    return true;
  }
  if (at + 1 >= text.size()) return false;
  const int high = hex_value(text[at]);
  const int low = hex_value(text[at + 1]);
  if (high < 0 || low < 0) return false;
  out = static_cast<char>(high * 16 + low);
  ++at;
  return true;
}

}  // namespace

std::optional<DistinguishedName> DistinguishedName::parse(std::string_view text) {
  DistinguishedName name;
  Element element;
  NameText part;
  std::string type;
  bool has_type = false;
  const auto end_attribute = [&] {
    if (!has_type || type.empty()) return false;
    element.emplace_back(upper(type), part.take());
    has_type = false;
    return true;
  };
  if (text.empty()) return std::nullopt;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\\') {
      char escaped = 0;
      if (!read_escape(text, i, escaped)) return std::nullopt;
      part.add(escaped, true);
    } else if (c == '=' && !has_type) {
      type = part.take();
      has_type = true;
      if (i + 1 < text.size() && text[i + 1] == '#') return std::nullopt;
    } else if (c == ',' || c == '+') {
      if (!end_attribute()) return std::nullopt;
      if (c == ',') name.elements_.push_back(std::exchange(element, {}));
    } else {
      part.add(c, false);
    }
  }
  if (!end_attribute()) return std::nullopt;
  name.elements_.push_back(std::move(element));
  return name;
}

// Each attribute of one finds a partner of its own in the other.
bool DistinguishedName::elements_equal(const Element& a, const Element& b) {
  return a.size() == b.size() && std::is_permutation(a.begin(), a.end(), b.begin());
}

bool DistinguishedName::equals(const DistinguishedName& other) const {
  return elements_.size() == other.elements_.size() &&
         std::equal(elements_.begin(), elements_.end(), other.elements_.begin(), elements_equal);
}

bool DistinguishedName::has_same_elements(const DistinguishedName& other) const {
  return elements_.size() == other.elements_.size() &&
         std::is_permutation(elements_.begin(), elements_.end(), other.elements_.begin(),
                             elements_equal);
}

DistinguishedName DistinguishedName::without_domain() const {
  static constexpr std::string_view kUsual[] = {"SERIALNUMBER", "CN", "POSTALCODE", "STREET", "ST",
                                                "L",            "OU", "O",          "C"};
  DistinguishedName out;
  for (const Element& element : elements_) {
    const bool is_usual =
        element.size() > 1 || std::find(std::begin(kUsual), std::end(kUsual),
                                        element.front().first) != std::end(kUsual);
    if (is_usual) out.elements_.push_back(element);
  }
  return out;
}

}  // namespace brokkr::auth
