#include "launch/output_digest.hpp"

#include <array>
#include <fmt/format.h>
#include <openssl/evp.h>
#include <vector>
#include <xxhash.h>

#include "comm/error.hpp"

namespace moewe {

struct OutputDigest::Sha256 {
  struct Free {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };

  static void check(int result) { expects(result == 1, "SHA-256 always succeeds"); }

  Sha256() { check(EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr)); }

  std::unique_ptr<EVP_MD_CTX, Free> context{EVP_MD_CTX_new()};
};

OutputDigest::OutputDigest() : sha256_(std::make_unique<Sha256>()) {}
OutputDigest::~OutputDigest() = default;

void OutputDigest::add(Communicator& communicator, std::span<const float> y, std::size_t hidden) {
  std::vector<XXH128_canonical_t> rows;
  for (std::size_t first = 0; first < y.size(); first += hidden) {
    rows.emplace_back();
    XXH128_canonicalFromHash(&rows.back(), XXH3_128bits(y.data() + first, hidden * sizeof(float)));
  }
  const std::vector<std::byte> all = communicator.gather(std::as_bytes(std::span(rows)), Rank{0});
  Sha256::check(EVP_DigestUpdate(sha256_->context.get(), all.data(), all.size()));
}

std::string OutputDigest::finish() {
  std::array<unsigned char, 32> digest{};
  unsigned length = 0;
  Sha256::check(EVP_DigestFinal_ex(sha256_->context.get(), digest.data(), &length));
  std::string text;
  for (const unsigned char byte : digest) text += fmt::format("{:02x}", byte);
  return text;
}

}  // namespace moewe
