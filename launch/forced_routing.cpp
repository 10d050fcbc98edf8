#include "launch/forced_routing.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <limits>
#include <numbers>
#include <numeric>
#include <optional>
#include <string_view>

#include "comm/error.hpp"
#include "launch/parse_number.hpp"
#include "runtime/random.hpp"

namespace moewe {
namespace {

constexpr double largest_exponent = 10;
constexpr std::int32_t largest_set = std::numeric_limits<std::int32_t>::max();  // ids are no larger

// Different streams of one seed, and none of those that rows and weights are made of.
constexpr std::uint64_t popularity_stream = 0x706F70756C617269U;
constexpr std::uint64_t choice_stream = 0x63686F6963657321U;

/// Inside (0, 1), and never so close to 1 that its logarithm is 0.
double to_uniform(std::uint64_t bits) { return (static_cast<double>(bits >> 12U) + 0.5) * 0x1p-52; }

/// Box and Muller, 1958.
double to_normal(std::uint64_t radius_bits, std::uint64_t angle_bits) {
  const double radius = std::sqrt(-2 * std::log(to_uniform(radius_bits)));
  return radius * std::cos(2 * std::numbers::pi * to_uniform(angle_bits));
}

bool is_exponent(double parameter) { return parameter > 0 && parameter <= largest_exponent; }

ForcedRoutingSpec parse_exponent(Popularity popularity, const std::string& text, std::string_view number) {
  const auto parameter = parse_number<double>(number);
  if (!parameter || !is_exponent(*parameter)) {
    throw InvalidInput(fmt::format("--routing {}: a number above 0 and at most {} belongs behind the colon",
                                   text, largest_exponent));
  }
  return {popularity, *parameter};
}

ForcedRoutingSpec parse_hot(const std::string& text, std::string_view number) {
  const auto count = parse_number<std::int32_t>(number);
  if (!count || *count < 1) {
    throw InvalidInput(
        fmt::format("--routing {}: a whole number of experts, at least 1, belongs behind the colon", text));
  }
  return {Popularity::hot, static_cast<double>(*count)};
}

bool is_usable(const ForcedRoutingSpec& spec, std::size_t num_experts, std::size_t top_k) {
  if (spec.popularity == Popularity::uniform) return spec.parameter == 0;
  if (spec.popularity != Popularity::hot) return is_exponent(spec.parameter);
  return spec.parameter == std::floor(spec.parameter) && spec.parameter >= static_cast<double>(top_k) &&
         spec.parameter <= static_cast<double>(num_experts);
}

void check(const ForcedRoutingSpec& spec, std::size_t num_experts, std::size_t top_k) {
  if (top_k < 1 || top_k > num_experts) {
    throw InvalidInput(fmt::format("--routing {}: top-{} of {} experts must be from 1 to all experts",
                                   describe(spec), top_k, num_experts));
  }
  if (is_usable(spec, num_experts, top_k)) return;
  const bool is_hot = spec.popularity == Popularity::hot;
  throw InvalidInput(fmt::format("--routing {}: with top-{} of {} experts the number must be {}",
                                 describe(spec), top_k, num_experts,
                                 is_hot ? fmt::format("whole, from {} to {}", top_k, num_experts)
                                        : fmt::format("above 0 and at most {}", largest_exponent)));
}

/// A random order of all experts.
std::vector<std::size_t> shuffled(std::uint64_t stream, std::size_t num_experts) {
  std::vector<std::size_t> order(num_experts);
  std::iota(order.begin(), order.end(), 0);
  const auto key = [&](std::size_t e) { return scatter(stream + e); };  // no two alike
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return key(a) < key(b); });
  return order;
}

std::vector<double> lognormal_popularity(double sigma, std::uint64_t stream, std::size_t num_experts) {
  std::vector<double> popularity(num_experts);
  for (std::size_t e = 0; e < num_experts; ++e)
    popularity[e] = std::exp(sigma * to_normal(scatter(stream + 2 * e), scatter(stream + 2 * e + 1)));
  return popularity;
}

std::vector<double> zipf_popularity(double exponent, std::uint64_t stream, std::size_t num_experts) {
  const std::vector<std::size_t> order = shuffled(stream, num_experts);
  std::vector<double> popularity(num_experts);
  for (std::size_t i = 0; i < num_experts; ++i)
    popularity[order[i]] = std::pow(static_cast<double>(i + 1), -exponent);
  return popularity;
}

std::vector<double> hot_popularity(double num_hot, std::uint64_t stream, std::size_t num_experts) {
  const std::vector<std::size_t> order = shuffled(stream, num_experts);
  std::vector<double> popularity(num_experts, 0.0);
  for (std::size_t i = 0; i < static_cast<std::size_t>(num_hot); ++i) popularity[order[i]] = 1.0;
  return popularity;
}

/// In proportion; the sum is anything.
std::vector<double> draw_popularity(const ForcedRoutingSpec& spec, std::uint64_t stream,
                                    std::size_t num_experts) {
  switch (spec.popularity) {
    case Popularity::uniform:
      return std::vector<double>(num_experts, 1.0);
    case Popularity::lognormal:
      return lognormal_popularity(spec.parameter, stream, num_experts);
    case Popularity::zipf:
      return zipf_popularity(spec.parameter, stream, num_experts);
    case Popularity::hot:
      return hot_popularity(spec.parameter, stream, num_experts);
  }
  throw Error(ErrorKind::internal, "broken invariant: a popularity is one of those declared");
}

struct Candidate {
  double key;
  std::size_t expert;
};

/// `best` is ordered, best first; its last one leaves.
void insert(std::span<Candidate> best, Candidate candidate) {
  std::size_t place = best.size() - 1;
  for (; place > 0 && best[place - 1].key < candidate.key; --place) best[place] = best[place - 1];
  best[place] = candidate;
}

/// The experts with the largest log p - log(-log u), u uniform and an expert's own, are a draw without
/// replacement (Kool, van Hoof and Welling, "Stochastic Beams and Where to Find Them: The Gumbel-Top-k
/// Trick", ICML 2019). The order of those keys is the order of p / -log u, which takes one logarithm, and as
/// -log u >= 1 - u most experts are beaten before it is taken. Of equal keys the lower id is the better one.
void draw(std::uint64_t token, std::span<const double> popularity, std::span<Candidate> best) {
  std::fill(best.begin(), best.end(), Candidate{0, 0});
  for (std::size_t e = 0; e < popularity.size(); ++e) {
    const double u = to_uniform(scatter(token + e));
    if (popularity[e] <= best.back().key * (1 - u)) continue;
    const double key = popularity[e] / -std::log(u);
    if (key > best.back().key) insert(best, {key, e});
  }
}

}  // namespace

ForcedRoutingSpec parse_forced_routing(const std::string& text) {
  if (text == "uniform") return {};
  const std::size_t colon = text.find(':');
  const std::string_view name = std::string_view(text).substr(0, colon);
  if (colon != std::string::npos) {
    const std::string_view number = std::string_view(text).substr(colon + 1);
    if (name == "lognormal") return parse_exponent(Popularity::lognormal, text, number);
    if (name == "zipf") return parse_exponent(Popularity::zipf, text, number);
    if (name == "hot") return parse_hot(text, number);
  }
  throw InvalidInput(
      fmt::format("--routing {} is not available; choose from: router, uniform, lognormal:SIGMA, zipf:S, "
                  "hot:K, trace:FILE",
                  text));
}

std::string describe(const ForcedRoutingSpec& spec) {
  switch (spec.popularity) {
    case Popularity::uniform:
      return "uniform";
    case Popularity::lognormal:
      return fmt::format("lognormal:{}", spec.parameter);
    case Popularity::zipf:
      return fmt::format("zipf:{}", spec.parameter);
    case Popularity::hot:
      return fmt::format("hot:{}", spec.parameter);
  }
  throw Error(ErrorKind::internal, "broken invariant: a popularity is one of those declared");
}

ForcedRouting::ForcedRouting(const ForcedRoutingSpec& spec, std::uint64_t seed, std::size_t num_experts,
                             std::size_t top_k)
    : spec_(spec), seed_(seed), num_experts_(num_experts), top_k_(top_k) {
  check(spec, num_experts, top_k);
}

void ForcedRouting::read(std::size_t layer, std::size_t step, TokenRange range, std::span<ExpertId> experts,
                         std::span<float> weights) const {
  expects(experts.size() == range.count * top_k_ && weights.size() == experts.size(),
          "a forced routing has room for its tokens");
  const std::vector<double> popularity = this->popularity(layer);
  const std::uint64_t stream = scatter(scatter(scatter(seed_ ^ choice_stream) ^ layer) ^ step);
  std::vector<Candidate> best(top_k_);
  for (std::size_t t = 0; t < range.count; ++t) {
    draw(scatter(stream ^ (range.first + t)), popularity, best);
    for (std::size_t k = 0; k < top_k_; ++k) experts[t * top_k_ + k] = expert_at(best[k].expert);
  }
  std::fill(weights.begin(), weights.end(), 1.0F / static_cast<float>(top_k_));
}

std::vector<double> ForcedRouting::popularity(std::size_t layer) const {
  const std::uint64_t stream = scatter(scatter(seed_ ^ popularity_stream) ^ layer);
  std::vector<double> popularity = draw_popularity(spec_, stream, num_experts_);
  const double sum = std::accumulate(popularity.begin(), popularity.end(), 0.0);
  for (double& p : popularity) p /= sum;
  return popularity;
}

}  // namespace moewe
