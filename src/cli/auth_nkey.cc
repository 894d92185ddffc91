// brokkr auth nkey: keys by themselves; generating, signing, sealing.

#include <algorithm>
#include <cstdio>
#include <optional>

#include "base/bytes.h"
#include "cli/auth_commands.h"
#include "cli/files.h"
#include "cli/terminal.h"
#include "crypto/digest.h"
#include "crypto/nkey.h"
#include "crypto/xkey.h"

namespace brokkr::cli {
namespace {

using crypto::NkeyType;

constexpr size_t kDataBytesMax = 256 << 20;

Result<std::string> read_existing(const std::string& path, size_t bytes_max) {
  if (!is_file(path)) return Error{Errc::NotFound, "path '" + path + "' does not exist"};
  return read_file(path, bytes_max);
}

// The first line that is a key or a seed.
Result<std::string> read_key_file(const std::string& path) {
  const auto text = read_existing(path, 1 << 20);
  if (!text) return text.error();
  for (const std::string_view line : split(*text, '\n')) {
    const std::string_view key = trim(line);
    if (crypto::parse_public_key(key) || crypto::parse_seed(key)) return std::string(key);
  }
  return Error{Errc::Syntax, "could not find a valid key in " + path};
}

std::optional<NkeyType> type_of(const std::string& name) {
  for (const NkeyType type : {NkeyType::User, NkeyType::Account, NkeyType::Server, NkeyType::Cluster, NkeyType::Operator}) {
    if (name == crypto::to_string(type)) return type;
  }
  if (name == "curve" || name == "x25519") return NkeyType::Curve;
  return std::nullopt;
}

Result<std::string> public_key_of(const std::string& key) {
  if (crypto::parse_public_key(key)) return key;
  const auto seed = crypto::parse_seed(key);
  if (!seed) return seed.error();
  if (seed->type == NkeyType::Curve) return crypto::CurveKey::from_raw_seed(seed->bytes).public_key();
  return crypto::KeyPair::from_raw_seed(seed->type, seed->bytes).public_key();
}

crypto::KeyBytes entropy_of(const std::string& bytes) {
  crypto::KeyBytes out{};
  std::copy_n(bytes.begin(), out.size(), out.begin());
  return out;
}

int run_nkey_gen(const Context& context, const Values& values) {
  const auto type = type_of(to_lower(values.text("type")));
  if (!type) {
    return fail(context.program, "enum value must be one of user,account,server,cluster,operator,curve,x25519, got '" +
                                     values.text("type") + "'");
  }
  std::string entropy = crypto::random_bytes(crypto::kKeyBytes);
  if (const std::string path = values.text("entropy"); !path.empty()) {
    // A device has no end; the first bytes are what is wanted.
    std::FILE* const file = std::fopen(path.c_str(), "rbe");
    const size_t n = file == nullptr ? 0 : std::fread(entropy.data(), 1, entropy.size(), file);
    if (file != nullptr) std::fclose(file);
    if (n != entropy.size()) return fail(context.program, path + ": fewer than 32 bytes");
  }
  std::string seed = crypto::format_seed(*type, entropy_of(entropy));
  crypto::wipe(entropy);
  std::string text = seed + "\n";
  if (values.is_on("public")) text += *public_key_of(seed) + "\n";
  crypto::wipe(seed);
  const std::string path = values.text("output");
  if (path.empty()) {
    print(text);
  } else if (Status written = replace_file(path, text); !written) {
    return fail(context.program, written.error());
  }
  crypto::wipe(text);
  return 0;
}

int run_nkey_show(const Context& context, const Values& values) {
  const auto key = read_key_file(values.text("key"));
  if (!key) return fail(context.program, key.error());
  const auto public_key = public_key_of(*key);
  if (!public_key) return fail(context.program, public_key.error());
  print_line(*public_key);
  return 0;
}

int run_nkey_sign(const Context& context, const Values& values) {
  const auto text = read_key_file(values.text("key"));
  const auto key = text ? crypto::KeyPair::from_seed(*text) : Result<crypto::KeyPair>(text.error());
  if (!key) return fail(context.program, key.error());
  const auto data = read_existing(values.text("file"), kDataBytesMax);
  if (!data) return fail(context.program, data.error());
  print_line(base64url_encode(key->sign(*data)));
  return 0;
}

int run_nkey_verify(const Context& context, const Values& values) {
  const auto text = read_key_file(values.text("key"));
  const auto key = text ? public_key_of(*text) : Result<std::string>(text.error());
  if (!key) return fail(context.program, key.error());
  const auto data = read_existing(values.text("file"), kDataBytesMax);
  if (!data) return fail(context.program, data.error());
  const auto signature_text = read_existing(values.text("signature"), 65536);
  if (!signature_text) return fail(context.program, signature_text.error());
  const auto signature = crypto::base64url_decode_strict(trim(*signature_text));
  if (!signature) return fail(context.program, "the signature is not base64url");
  if (!crypto::verify_signature(*key, *data, *signature)) {
    return fail(context.program, "nkeys: signature verification failed");
  }
  print_line("Verified OK");
  return 0;
}

struct BoxTask {
  crypto::CurveKey key;
  std::string data;
};

Result<BoxTask> open_box_task(const Values& values) {
  const auto text = read_key_file(values.text("key"));
  if (!text) return text.error();
  auto key = crypto::CurveKey::from_seed(*text);
  if (!key) return key.error();
  auto data = read_existing(values.text("file"), kDataBytesMax);
  if (!data) return data.error();
  return BoxTask{std::move(*key), std::move(*data)};
}

int put_result(const Context& context, const Values& values, const std::string& bytes) {
  const std::string path = values.text("output");
  if (path.empty()) {
    print_line(bytes);
    return 0;
  }
  const Status written = replace_file(path, bytes);
  return written ? 0 : fail(context.program, written.error());
}

bool is_base64_wanted(const Values& values) { return !values.has("b64") || values.is_on("b64"); }

int run_nkey_seal(const Context& context, const Values& values) {
  const auto task = open_box_task(values);
  if (!task) return fail(context.program, task.error());
  auto box = task->key.seal(task->data, values.text("recipient"));
  if (!box) return fail(context.program, "invalid public key provided");
  return put_result(context, values, is_base64_wanted(values) ? base64_encode(*box) : *box);
}

int run_nkey_unseal(const Context& context, const Values& values) {
  const auto task = open_box_task(values);
  if (!task) return fail(context.program, task.error());
  std::string box = task->data;
  if (is_base64_wanted(values)) {
    auto decoded = base64_decode(trim(box));
    if (!decoded) return fail(context.program, "illegal base64 data");
    box = std::move(*decoded);
  }
  const auto data = task->key.open(box, values.text("sender"));
  if (!data) return fail(context.program, data.error());
  return put_result(context, values, *data);
}

}  // namespace

Command auth_nkey_command() {
  const Flag output{"output", "Write the result to a file", Kind::Text, "FILE"};
  const Flag b64{"b64", "The sealed data is base64 encoded, as is the default"};
  Command group{"nkey", {"nk"}, "Create and Use NKeys"};
  auto& parts = group.subcommands;
  parts.push_back(auth_part("gen", {}, "Generates NKeys",
                            {{"type", "Type of key: user, account, server, cluster, operator, curve, x25519"}},
                            {{"public", "Output the public key"},
                             {"entropy", "Source of entropy eg. /dev/urandom", Kind::Text, "FILE"},
                             {"output", "Write the key to a file", Kind::Text, "FILE"}},
                            run_nkey_gen));
  parts.push_back(auth_part("show", {}, "Show the public key", {{"key", "File containing NKey to act on"}}, {}, run_nkey_show));
  parts.push_back(auth_part("sign", {}, "Signs data using NKeys",
                            {{"file", "File to sign"}, {"key", "File containing NKey to sign with"}}, {}, run_nkey_sign));
  parts.push_back(auth_part("verify", {}, "Verify signed data",
                            {{"file", "File containing the data to check"}, {"signature", "File containing the signature"},
                             {"key", "File containing NKey to use for verification"}}, {}, run_nkey_verify));
  parts.push_back(auth_part("seal", {"encrypt", "enc"}, "Encrypts a file using NKeys",
                            {{"file", "File to encrypt"}, {"key", "File containing NKey to encrypt with"},
                             {"recipient", "Public XKey of recipient"}}, {output, b64}, run_nkey_seal));
  parts.push_back(auth_part("unseal", {"open", "decrypt", "dec"}, "Decrypts a file using NKeys",
                            {{"file", "File to decrypt"}, {"key", "File containing NKey to decrypt with"},
                             {"sender", "Public XKey of sender"}}, {output, b64}, run_nkey_unseal));
  return group;
}

}  // namespace brokkr::cli
