#include "launch/output_digest.hpp"

#include <cstring>
#include <fmt/format.h>
#include <new>
#include <openssl/sha.h>
#include <type_traits>
#include <vector>
#include <xxhash.h>

#include "comm/error.hpp"

namespace moewe {

/// OpenSSL's older interface, since the newer one cannot be gone on from in another process.
struct OutputDigest::Hashes {
  struct Free {
    void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
  };

  static void check(int result) { expects(result == 1, "SHA-256 always succeeds"); }

  Hashes() {
    check(SHA256_Init(&sha256));
    if (!part) throw std::bad_alloc();
    XXH3_64bits_reset(part.get());
  }

  void add(std::span<const std::byte> digests) {
    check(SHA256_Update(&sha256, digests.data(), digests.size()));
    XXH3_64bits_update(part.get(), digests.data(), digests.size());
  }

  SHA256_CTX sha256{};
  std::unique_ptr<XXH3_state_t, Free> part{XXH3_createState()};
};

OutputDigest::OutputDigest() : hashes_(std::make_unique<Hashes>()) {}
OutputDigest::~OutputDigest() = default;

void OutputDigest::add(Communicator& communicator, std::span<const float> y, std::size_t hidden) {
  std::vector<XXH128_canonical_t> rows;
  for (std::size_t first = 0; first < y.size(); first += hidden) {
    rows.emplace_back();
    XXH128_canonicalFromHash(&rows.back(), XXH3_128bits(y.data() + first, hidden * sizeof(float)));
  }
  hashes_->add(communicator.gather(std::as_bytes(std::span(rows)), Rank{0}));
}

std::string OutputDigest::finish() {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest{};
  Hashes::check(SHA256_Final(digest.data(), &hashes_->sha256));
  std::string text;
  for (const unsigned char byte : digest) text += fmt::format("{:02x}", byte);
  return text;
}

OutputDigest::State OutputDigest::state() const {
  static_assert(std::is_trivially_copyable_v<SHA256_CTX> && sizeof(SHA256_CTX) == sizeof(State));
  State state;
  std::memcpy(state.data(), &hashes_->sha256, sizeof state);
  return state;
}

void OutputDigest::restore(const State& state) {
  SHA256_CTX sha256{};
  std::memcpy(&sha256, state.data(), sizeof state);
  if (sha256.num >= SHA256_CBLOCK || sha256.md_len != SHA256_DIGEST_LENGTH) {
    throw InvalidInput("what was kept of the outputs' hash is no state of a hash");
  }
  hashes_->sha256 = sha256;
}

std::uint64_t OutputDigest::take_part() {
  const std::uint64_t digest = XXH3_64bits_digest(hashes_->part.get());
  XXH3_64bits_reset(hashes_->part.get());
  return digest;
}

}  // namespace moewe
