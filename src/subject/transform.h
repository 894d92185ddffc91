#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace brokkr::subject {

// A mapping of subjects: what `source` matches becomes `destination`, in which "$2" or
// "{{wildcard(2)}}" stands for the second "*" of the source, and functions compute tokens:
// partition(n[,tokens…]), random(n), split(t,sep), splitFromLeft/Right(t,n), sliceFromLeft/Right(t,n),
// left/right(t,n). A ">" at the end of both carries the rest over. Immutable.
class Transform {
 public:
  // Fails with InvalidSubject or InvalidArgument and a reason fit for the user. An empty source
  // stands for ">".
  static Result<Transform> make(std::string_view source, std::string_view destination);

  // The new subject; empty when `subject` does not match the source.
  std::string apply(std::string_view subject) const;

  const std::string& source() const { return source_; }
  const std::string& destination() const { return destination_; }

 private:
  enum class Kind : uint8_t {
    Literal, Wildcard, Partition, Random, Split, SplitFromLeft, SplitFromRight, SliceFromLeft,
    SliceFromRight, Left, Right, Rest
  };
  struct Part {
    Kind kind = Kind::Literal;
    std::string text;             // Literal: the token; Split: the separator
    std::vector<size_t> tokens;   // indexes of source tokens, from 0
    uint32_t number = 0;          // partitions, numbers, position or length
  };

  Transform() = default;
  static Result<Part> parse_part(std::string_view token, const std::vector<size_t>& wildcards);

  std::string source_;
  std::string destination_;
  std::vector<Part> parts_;
  size_t rest_index_ = 0;  // index of the source's ">"; its token count when it has none
};

}  // namespace brokkr::subject
