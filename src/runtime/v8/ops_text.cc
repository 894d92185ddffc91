#include <cstring>

#include "base/bytes.h"
#include "runtime/v8/ops.h"

namespace brokkr::runtime {
namespace {

void utf8_encode(const Arguments& arguments) {
  v8::Isolate* isolate = arguments.GetIsolate();
  if (!arguments[0]->IsString()) return throw_type_error(isolate, "not a string");
  std::string out;
  append_utf8(isolate, arguments[0].As<v8::String>(), out);
  v8::Local<v8::Uint8Array> bytes;
  if (make_bytes(isolate, out).ToLocal(&bytes)) arguments.GetReturnValue().Set(bytes);
}

v8::MaybeLocal<v8::String> decode_utf16(v8::Isolate* isolate, std::string_view bytes, bool fatal) {
  std::u16string units(bytes.size() / 2, u'\0');
  if (!units.empty()) std::memcpy(units.data(), bytes.data(), units.size() * 2);
  bool is_valid = bytes.size() % 2 == 0;
  for (size_t i = 0; i < units.size(); ++i) {
    const bool is_high = (units[i] & 0xfc00) == 0xd800;
    const bool is_low = (units[i] & 0xfc00) == 0xdc00;
    if (is_high && i + 1 < units.size() && (units[i + 1] & 0xfc00) == 0xdc00) {
      ++i;
    } else if (is_high || is_low) {
      units[i] = u'\ufffd';
      is_valid = false;
    }
  }
  if (fatal && !is_valid) return {};
  if (bytes.size() % 2 != 0) units += u'\ufffd';
  return v8::String::NewFromTwoByte(isolate, reinterpret_cast<const uint16_t*>(units.data()),
                                    v8::NewStringType::kNormal, static_cast<int>(units.size()));
}

// Bytes 0x80 to 0x9f of windows-1252, which is what the web means by Latin1.
constexpr char16_t kWindows1252[32] = {
    0x20ac, 0x81,   0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021, 0x02c6, 0x2030, 0x0160,
    0x2039, 0x0152, 0x8d,   0x017d, 0x8f,   0x90,   0x2018, 0x2019, 0x201c, 0x201d, 0x2022,
    0x2013, 0x2014, 0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0x9d,   0x017e, 0x0178};

v8::MaybeLocal<v8::String> decode_latin1(v8::Isolate* isolate, std::string_view bytes) {
  std::u16string units;
  units.reserve(bytes.size());
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    units += byte >= 0x80 && byte < 0xa0 ? kWindows1252[byte - 0x80] : static_cast<char16_t>(byte);
  }
  return v8::String::NewFromTwoByte(isolate, reinterpret_cast<const uint16_t*>(units.data()),
                                    v8::NewStringType::kNormal, static_cast<int>(units.size()));
}

// decode(bytes, encoding, fatal): text, or undefined when `fatal` and not valid.
void decode(const Arguments& arguments) {
  v8::Isolate* isolate = arguments.GetIsolate();
  const std::string_view bytes = bytes_of(arguments[0]);
  const bool fatal = arguments[2]->IsTrue();
  if (bytes.size() > static_cast<size_t>(v8::String::kMaxLength)) {
    return throw_range_error(isolate, "Invalid string length");
  }
  const int encoding =
      arguments[1]->IsInt32() ? arguments[1].As<v8::Int32>()->Value() : 0;
  v8::MaybeLocal<v8::String> text;
  if (encoding == 1) {
    text = decode_utf16(isolate, bytes, fatal);
  } else if (encoding == 2) {
    text = decode_latin1(isolate, bytes);
  } else if (!fatal || is_valid_utf8(bytes)) {
    text = try_string(isolate, bytes);
  }
  v8::Local<v8::String> result;
  if (text.ToLocal(&result)) arguments.GetReturnValue().Set(result);
}

void base64_encode_op(const Arguments& arguments) {
  v8::Isolate* isolate = arguments.GetIsolate();
  if (!arguments[0]->IsString()) return;
  const auto text = arguments[0].As<v8::String>();
  if (!text->ContainsOnlyOneByte()) return;
  std::string bytes(static_cast<size_t>(text->Length()), '\0');
  text->WriteOneByte(isolate, reinterpret_cast<uint8_t*>(bytes.data()), 0, text->Length(),
                     v8::String::NO_NULL_TERMINATION);
  v8::Local<v8::String> out;
  if (try_string(isolate, base64_encode(bytes)).ToLocal(&out)) arguments.GetReturnValue().Set(out);
}

void base64_decode_op(const Arguments& arguments) {
  v8::Isolate* isolate = arguments.GetIsolate();
  if (!arguments[0]->IsString()) return;
  const std::optional<std::string> bytes = base64_decode(to_text(isolate, arguments[0]));
  v8::Local<v8::String> out;
  if (bytes && v8::String::NewFromOneByte(isolate, reinterpret_cast<const uint8_t*>(bytes->data()),
                                          v8::NewStringType::kNormal,
                                          static_cast<int>(bytes->size()))
                   .ToLocal(&out)) {
    arguments.GetReturnValue().Set(out);
  }
}

}  // namespace

void add_text_ops(v8::Isolate* isolate, v8::Local<v8::Object> ops) {
  add_op(isolate, ops, "utf8Encode", utf8_encode);
  add_op(isolate, ops, "decode", decode);
  add_op(isolate, ops, "base64Encode", base64_encode_op);
  add_op(isolate, ops, "base64Decode", base64_decode_op);
}

}  // namespace brokkr::runtime
