#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "io/tls.h"
#include "io/tls_certificate.h"
#include "io/tls_memory.h"

namespace brokkr::io {
namespace {

using Kind = IoResult::Kind;

constexpr size_t kTlsRecordBytesMax = 16 << 10;
// What one write encrypts before it is handed on in one piece.
constexpr size_t kTlsWriteBytesMax = 64 << 10;
// Encrypted bytes that may wait. Only answers to the peer's own requests (key updates) can come on
// top of one write.
constexpr size_t kTlsWaitingBytesMax = 128 << 10;
// What one read of an open stream may bring in.
constexpr size_t kTlsReadBytes = 64 << 10;
constexpr size_t kTlsRecordHeader = 5;
// The record's and the message's header of a ClientHello.
constexpr size_t kTlsSniffBytes = kTlsRecordHeader + 4;
constexpr char kTlsHandshakeRecord = 0x16;
constexpr char kTlsClientHello = 0x01;

bool is_address(const std::string& name) {
  in6_addr any{};
  return inet_pton(AF_INET, name.c_str(), &any) == 1 || inet_pton(AF_INET6, name.c_str(), &any) == 1;
}

class TlsStream final : public TlsTransport, private TransportHandler, private Task {
 public:
  TlsStream(Loop& loop, std::unique_ptr<Transport> inner, std::shared_ptr<const TlsContext> context,
            std::string server_name, std::string_view early)
      : loop_(loop),
        inner_(std::move(inner)),
        context_(std::move(context)),
        server_name_(std::move(server_name)),
        early_(early) {}

  ~TlsStream() override {
    send_close_notify();
    SSL_free(ssl_);
  }

  void start_handshake(Callback<void(const Status&)> done) override {
    DCHECK(state_ == State::Idle);
    state_ = State::Handshaking;
    done_ = std::move(done);
    update_inner();
    loop_.schedule(*this);
  }

  void listen(TransportHandler* handler, bool readable, bool writable) override {
    handler_ = handler;
    wants_read_ = handler != nullptr && readable;
    wants_write_ = handler != nullptr && writable;
    update_inner();
    announce_input();
  }

  IoResult read(char* into, size_t bytes) override;
  IoResult write(const char* from, size_t bytes) override;
  void end_writing() override {
    send_close_notify();
    inner_->end_writing();
  }
  const Peer& peer() const override { return inner_->peer(); }
  int fd() const override { return inner_->fd(); }

  bool is_plain_text() const override { return is_plain_text_; }
  Transport& inner() override { return *inner_; }
  const TlsFacts& facts() const override { return facts_; }
  const std::string& failure() const override { return failure_; }

 private:
  enum class State : uint8_t { Idle, Handshaking, Open, Failed };

  static BIO_METHOD* bio_method();
  static int bio_read(BIO*, char*, int);
  static int bio_write(BIO*, const char*, int);
  static long bio_control(BIO*, int, long, void*);
  static int on_verify(int is_ok, X509_STORE_CTX*);
  static TlsStream& of(BIO* bio) { return *static_cast<TlsStream*>(BIO_get_data(bio)); }

  void on_readable() override;
  void on_writable() override;
  void run() override;

  void step_handshake();
  bool has_first_record();
  Status check_first_bytes();
  bool has_nothing_but_hello() const;
  size_t first_byte(size_t i) const;
  size_t first_record_bytes() const { return first_byte(3) << 8 | first_byte(4); }
  void make_ssl();
  void finish_handshake();
  void fail_handshake(std::string why);
  bool is_pinned() const;
  std::string handshake_error(int code);
  IoResult end_of_read(int code);
  void flush_waiting();
  void send_close_notify();
  void update_inner();
  void announce_input();

  Loop& loop_;
  const std::unique_ptr<Transport> inner_;
  const std::shared_ptr<const TlsContext> context_;
  const std::string server_name_;
  SSL* ssl_ = nullptr;
  State state_ = State::Idle;
  bool wants_read_ = false;
  bool wants_write_ = false;
  bool is_plain_text_ = false;
  bool is_drained_ = false;       // the stream under it has given all it had
  bool has_more_ = false;         // a read would bring something without the stream under it
  bool is_corked_ = false;        // records are collected
  bool is_write_ended_ = false;   // close_notify is sent, or may not be any more
  size_t handshake_bytes_ = 0;
  TransportHandler* handler_ = nullptr;
  Callback<void(const Status&)> done_;
  std::string early_;             // read from `inner_`, not yet taken by OpenSSL
  std::string waiting_;           // encrypted, not yet taken by `inner_`
  size_t waiting_sent_ = 0;
  IoResult read_end_;             // how a read under it failed
  IoResult write_end_;            // how a write under it failed
  TlsFacts facts_;
  std::string failure_;
  std::string verify_failure_;
};

// --- the stream under OpenSSL ----------------------------------------------------------------

BIO_METHOD* TlsStream::bio_method() {
  static BIO_METHOD* const method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "transport");
    CHECK(made != nullptr);
    BIO_meth_set_read(made, bio_read);
    BIO_meth_set_write(made, bio_write);
    BIO_meth_set_ctrl(made, bio_control);
    return made;
  }();
  return method;
}

long TlsStream::bio_control(BIO*, int command, long, void*) {
  return command == BIO_CTRL_FLUSH ? 1 : 0;
}

int TlsStream::bio_read(BIO* bio, char* into, int size) {
  TlsStream& self = of(bio);
  BIO_clear_retry_flags(bio);
  const auto room = static_cast<size_t>(size);
  if (!self.early_.empty()) {
    const size_t n = std::min(room, self.early_.size());
    std::memcpy(into, self.early_.data(), n);
    self.early_.erase(0, n);
    if (self.early_.empty()) std::string().swap(self.early_);
    return static_cast<int>(n);
  }
  const IoResult got = self.is_drained_ ? IoResult{Kind::WouldBlock, 0, 0}
                                        : self.inner_->read(into, room);
  self.is_drained_ = self.is_drained_ || got.bytes < room;
  if (got.kind == Kind::Ok) {
    if (self.state_ == State::Handshaking) self.handshake_bytes_ += got.bytes;
    return static_cast<int>(got.bytes);
  }
  if (got.kind == Kind::WouldBlock) {
    BIO_set_retry_read(bio);
    return -1;
  }
  self.read_end_ = got;
  return got.kind == Kind::Closed ? 0 : -1;
}

int TlsStream::bio_write(BIO* bio, const char* from, int size) {
  TlsStream& self = of(bio);
  BIO_clear_retry_flags(bio);
  const auto bytes = static_cast<size_t>(size);
  size_t sent = 0;
  if (self.waiting_.empty() && !self.is_corked_) {
    const IoResult put = self.inner_->write(from, bytes);
    if (put.kind == Kind::Closed || put.kind == Kind::Failed) {
      self.write_end_ = put;
      return -1;
    }
    sent = put.bytes;
  } else if (self.waiting_.size() - self.waiting_sent_ + bytes > kTlsWaitingBytesMax) {
    BIO_set_retry_write(bio);
    return -1;
  }
  self.waiting_.append(from + sent, bytes - sent);
  return size;
}

void TlsStream::flush_waiting() {
  while (waiting_sent_ < waiting_.size()) {
    const IoResult put =
        inner_->write(waiting_.data() + waiting_sent_, waiting_.size() - waiting_sent_);
    if (put.kind == Kind::WouldBlock) return;
    if (put.kind != Kind::Ok) {
      write_end_ = put;
      break;  // whoever writes next hears of it
    }
    waiting_sent_ += put.bytes;
  }
  std::string().swap(waiting_);
  waiting_sent_ = 0;
}

// --- the handshake ---------------------------------------------------------------------------

// Keeps the reason of the certificate that is refused, for the log.
int TlsStream::on_verify(int is_ok, X509_STORE_CTX* verification) {
  auto* ssl = static_cast<SSL*>(
      X509_STORE_CTX_get_ex_data(verification, SSL_get_ex_data_X509_STORE_CTX_idx()));
  if (is_ok == 1 || SSL_get_verify_mode(ssl) == SSL_VERIFY_NONE) return is_ok;
  TlsStream& self = of(SSL_get_rbio(ssl));
  self.verify_failure_ = X509_verify_cert_error_string(X509_STORE_CTX_get_error(verification));
  if (X509* current = X509_STORE_CTX_get_current_cert(verification)) {
    const TlsCertificate facts = describe_certificate(current);
    self.verify_failure_ += " (" + facts.subject + " SHA-256: " + facts.sha256 + ")";
  }
  return 0;
}

void TlsStream::make_ssl() {
  ssl_ = SSL_new(context_->native());
  CHECK(ssl_ != nullptr);
  BIO* bio = BIO_new(bio_method());
  CHECK(bio != nullptr);
  BIO_set_data(bio, this);
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl_, bio, bio);
  SSL_set_verify(ssl_, SSL_get_verify_mode(ssl_), on_verify);
  if (context_->is_server()) return SSL_set_accept_state(ssl_);
  SSL_set_connect_state(ssl_);
  if (server_name_.empty()) return;
  const bool is_number = is_address(server_name_);
  if (!is_number) SSL_set_tlsext_host_name(ssl_, server_name_.c_str());
  if (context_->settings().insecure) return;
  X509_VERIFY_PARAM* checks = SSL_get0_param(ssl_);
  // Names are looked for in the alternative names only, as Go does.
  X509_VERIFY_PARAM_set_hostflags(
      checks, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
  if (is_number) {
    X509_VERIFY_PARAM_set1_ip_asc(checks, server_name_.c_str());
  } else {
    X509_VERIFY_PARAM_set1_host(checks, server_name_.c_str(), server_name_.size());
  }
}

// Collects the first record, so that nothing but its bytes is held for a client that sends a part of
// it. True once it is here, or the handshake has failed.
bool TlsStream::has_first_record() {
  for (;;) {
    size_t wanted = kTlsSniffBytes;
    if (early_.size() >= kTlsSniffBytes || (!early_.empty() && early_[0] != kTlsHandshakeRecord)) {
      if (Status checked = check_first_bytes(); !checked) {
        fail_handshake(checked.error().text);
        return false;
      }
      wanted = kTlsRecordHeader + first_record_bytes();
    }
    if (early_.size() >= wanted) return true;
    char bytes[2048];
    const IoResult got = inner_->read(bytes, std::min(sizeof bytes, wanted - early_.size()));
    if (got.kind == Kind::WouldBlock) return false;
    if (got.kind != Kind::Ok) {
      read_end_ = got;
      fail_handshake(handshake_error(SSL_ERROR_SYSCALL));
      return false;
    }
    early_.append(bytes, got.bytes);
  }
}

// Whether the first record holds one whole message, and nothing has been read behind it.
bool TlsStream::has_nothing_but_hello() const {
  const size_t hello_bytes = first_byte(6) << 16 | first_byte(7) << 8 | first_byte(8);
  return hello_bytes + 4 == first_record_bytes() &&
         early_.size() == kTlsRecordHeader + first_record_bytes();
}

size_t TlsStream::first_byte(size_t i) const {
  return static_cast<size_t>(static_cast<uint8_t>(early_[i]));
}

// OpenSSL makes room for as long a message as its header promises, so that is looked at first.
Status TlsStream::check_first_bytes() {
  if (early_[0] != kTlsHandshakeRecord) {
    is_plain_text_ = true;
    return Error{Errc::InvalidArgument, "first record does not look like a TLS handshake"};
  }
  const size_t hello_bytes = first_byte(6) << 16 | first_byte(7) << 8 | first_byte(8);
  if (first_byte(1) != 3 || first_record_bytes() < kTlsSniffBytes - kTlsRecordHeader ||
      first_record_bytes() > kTlsRecordBytesMax || early_[5] != kTlsClientHello) {
    return Error{Errc::InvalidArgument, "first record is no ClientHello"};
  }
  if (hello_bytes > kClientHelloBytesMax) {
    return Error{Errc::LimitExceeded, "ClientHello of " + std::to_string(hello_bytes) +
                                          " bytes exceeds " + std::to_string(kClientHelloBytesMax)};
  }
  return {};
}

void TlsStream::step_handshake() {
  is_drained_ = false;
  bool is_whole_hello = false;
  if (ssl_ == nullptr) {
    if (context_->is_server() && !has_first_record()) return;  // may have destroyed this
    is_whole_hello = context_->is_server() && has_nothing_but_hello();
    make_ssl();
  }
  HandshakeMemory memory;
  ERR_clear_error();
  const int result = SSL_do_handshake(ssl_);
  const int code = result == 1 ? SSL_ERROR_NONE : SSL_get_error(ssl_, result);
  flush_waiting();
  if (result == 1) return finish_handshake();
  if (code != SSL_ERROR_WANT_READ && code != SSL_ERROR_WANT_WRITE) {
    return fail_handshake(handshake_error(code));
  }
  if (handshake_bytes_ > kHandshakeBytesMax) return fail_handshake("handshake is too long");
  // The hello is understood and the answer sent; of the client's next message there is nothing yet.
  if (is_whole_hello && handshake_bytes_ == 0 && code == SSL_ERROR_WANT_READ) memory.release();
  update_inner();
}

std::string TlsStream::handshake_error(int code) {
  if (!verify_failure_.empty()) {
    return openssl_error("certificate verify failed") + ": " + verify_failure_;
  }
  if (read_end_.kind == Kind::Failed) return system_error("read", read_end_.error).text;
  if (read_end_.kind == Kind::Closed || write_end_.kind == Kind::Closed ||
      code == SSL_ERROR_ZERO_RETURN) {
    ERR_clear_error();
    return "EOF";
  }
  return openssl_error("handshake failure");
}

bool TlsStream::is_pinned() const {
  const auto& pins = context_->settings().pinned_certs;
  if (pins.empty()) return true;
  return !facts_.peer_chain.empty() &&
         std::find(pins.begin(), pins.end(), facts_.peer_chain.front().spki_sha256) != pins.end();
}

void TlsStream::finish_handshake() {
  facts_ = describe_session(ssl_);
  if (!is_pinned()) return fail_handshake("certificate not pinned");
  state_ = State::Open;
  SSL_set_default_read_buffer_len(ssl_, kTlsReadBytes);
  has_more_ = SSL_has_pending(ssl_) == 1 || !early_.empty();
  update_inner();
  announce_input();
  const Callback<void(const Status&)> done = std::move(done_);
  done({});
}

void TlsStream::fail_handshake(std::string why) {
  state_ = State::Failed;
  failure_ = std::move(why);
  update_inner();
  announce_input();
  const Callback<void(const Status&)> done = std::move(done_);
  done(Error{Errc::Closed, failure_});
}

// --- the open stream -------------------------------------------------------------------------

IoResult TlsStream::read(char* into, size_t bytes) {
  if (state_ == State::Failed) return {Kind::Failed, 0, EPROTO};
  if (state_ != State::Open) return {Kind::WouldBlock, 0, 0};
  is_drained_ = false;
  IoResult total;
  ERR_clear_error();
  while (total.bytes < bytes) {
    size_t n = 0;
    if (SSL_read_ex(ssl_, into + total.bytes, bytes - total.bytes, &n) == 1) {
      total.bytes += n;
      continue;
    }
    const int code = SSL_get_error(ssl_, 0);
    if (code == SSL_ERROR_WANT_READ || code == SSL_ERROR_WANT_WRITE) {
      has_more_ = false;
      break;
    }
    // What came before the end is handed out first; the next read meets the end again.
    has_more_ = true;
    if (total.bytes == 0) total = end_of_read(code);
    break;
  }
  if (total.bytes == bytes) has_more_ = SSL_has_pending(ssl_) == 1 || !early_.empty();
  if (!waiting_.empty()) {
    flush_waiting();
    update_inner();
  }
  if (total.kind == Kind::Ok && total.bytes == 0) total.kind = Kind::WouldBlock;
  announce_input();
  return total;
}

IoResult TlsStream::end_of_read(int code) {
  // The end without a close_notify is an end: our protocols know whether a message is whole.
  const bool is_end = code == SSL_ERROR_ZERO_RETURN || read_end_.kind == Kind::Closed;
  if (code != SSL_ERROR_ZERO_RETURN) is_write_ended_ = true;  // OpenSSL forbids it after errors
  if (is_end) {
    ERR_clear_error();
    return {Kind::Closed, 0, 0};
  }
  if (read_end_.kind == Kind::Failed) {
    failure_ = system_error("read", read_end_.error).text;
    return read_end_;
  }
  failure_ = openssl_error("read failed");
  return {Kind::Failed, 0, EPROTO};
}

IoResult TlsStream::write(const char* from, size_t bytes) {
  if (state_ == State::Failed) return {Kind::Failed, 0, EPROTO};
  if (state_ != State::Open) return {Kind::WouldBlock, 0, 0};
  if (!waiting_.empty()) flush_waiting();
  if (!waiting_.empty()) return {Kind::WouldBlock, 0, 0};
  if (write_end_.kind != Kind::Ok) return write_end_;
  if (is_write_ended_) return {Kind::Closed, 0, EPIPE};
  bytes = std::min(bytes, kTlsWriteBytesMax);
  if (bytes == 0) return {};
  is_corked_ = bytes > kTlsRecordBytesMax;
  if (is_corked_) waiting_.reserve(bytes + (bytes / kTlsRecordBytesMax + 1) * 256);
  size_t n = 0;
  ERR_clear_error();
  const bool is_written = SSL_write_ex(ssl_, from, bytes, &n) == 1;
  is_corked_ = false;
  if (!waiting_.empty()) flush_waiting();
  if (!waiting_.empty()) update_inner();
  if (is_written) return {Kind::Ok, n, 0};
  is_write_ended_ = true;
  if (write_end_.kind != Kind::Ok) return write_end_;
  failure_ = openssl_error("write failed");
  write_end_ = {Kind::Failed, 0, EPROTO};
  return write_end_;
}

void TlsStream::send_close_notify() {
  if (state_ != State::Open || is_write_ended_) return;
  is_write_ended_ = true;
  ERR_clear_error();
  SSL_shutdown(ssl_);
  ERR_clear_error();
  if (!waiting_.empty()) flush_waiting();
}

// --- events ----------------------------------------------------------------------------------

void TlsStream::update_inner() {
  if (state_ == State::Handshaking) return inner_->listen(this, true, !waiting_.empty());
  const bool is_open = state_ == State::Open;
  const bool is_heard = is_open && (handler_ != nullptr || !waiting_.empty());
  inner_->listen(is_heard ? this : nullptr, is_open && wants_read_,
                 is_open && (wants_write_ || !waiting_.empty()));
}

// What is here already makes no descriptor readable.
void TlsStream::announce_input() {
  if (wants_read_ && (has_more_ || state_ == State::Failed)) loop_.schedule(*this);
}

void TlsStream::run() {
  if (state_ == State::Handshaking) return step_handshake();
  if (wants_read_ && (has_more_ || state_ == State::Failed)) handler_->on_readable();
}

void TlsStream::on_readable() {
  if (state_ == State::Handshaking) return step_handshake();
  if (wants_read_) handler_->on_readable();
}

void TlsStream::on_writable() {
  const bool was_waiting = !waiting_.empty();
  if (was_waiting) flush_waiting();
  update_inner();
  if (state_ != State::Open || !waiting_.empty() || handler_ == nullptr) return;
  // Without anything to write it tells of a hang-up, which the handler finds out by writing.
  if (wants_write_ || !was_waiting) handler_->on_writable();
}

}  // namespace

std::unique_ptr<TlsTransport> wrap_tls_server(Loop& loop, std::unique_ptr<Transport> inner,
                                              std::shared_ptr<const TlsContext> context,
                                              std::string_view early) {
  CHECK(context->is_server());
  return std::make_unique<TlsStream>(loop, std::move(inner), std::move(context), "", early);
}

std::unique_ptr<TlsTransport> wrap_tls_client(Loop& loop, std::unique_ptr<Transport> inner,
                                              std::shared_ptr<const TlsContext> context,
                                              const std::string& server_name,
                                              std::string_view early) {
  CHECK(!context->is_server());
  return std::make_unique<TlsStream>(loop, std::move(inner), std::move(context), server_name, early);
}

}  // namespace brokkr::io
