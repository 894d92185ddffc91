#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// Names of certificates as configurations and certificates write them. Pure.
namespace brokkr::auth {

// A distinguished name, in the order it is written. One element may hold several attributes.
class DistinguishedName {
 public:
  // RFC 4514. Absent when the text is no such name or holds a value in hex (#...).
  static std::optional<DistinguishedName> parse(std::string_view text);

  // Element by element; attributes within one in any order, their types whatever the case.
  bool equals(const DistinguishedName& other) const;
  // The same, with the elements in any order. Each element counts once.
  bool has_same_elements(const DistinguishedName& other) const;
  bool is_empty() const { return elements_.empty(); }

  // Without the domain components and what is neither of the usual attributes: what nats-server
  // compares last.
  DistinguishedName without_domain() const;

 private:
  using Attribute = std::pair<std::string, std::string>;  // type in upper case, value
  using Element = std::vector<Attribute>;
  static bool elements_equal(const Element& a, const Element& b);
  std::vector<Element> elements_;
};

}  // namespace brokkr::auth
