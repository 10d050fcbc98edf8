#include "tests/support/fault_names.hpp"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>
#include <regex>
#include <sstream>

#include "runtime/combine.hpp"
#include "runtime/paths/two_level_messages.hpp"

namespace moewe::test {
namespace {

/// Rows and checksums lie where these begin, in segments and in what a channel carries.
constexpr std::size_t alignment = 8;

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// The k of the source's token whose experts this rank has.
std::vector<std::uint32_t> choices_of(Rank source, std::uint32_t token, Rank computed_by) {
  const std::vector<ExpertId> experts = experts_of(source);
  std::vector<std::uint32_t> choices;
  for (std::uint32_t k = 0; k < top_k; ++k) {
    if (rank_of(experts[token * top_k + k]) == computed_by) choices.push_back(k);
  }
  return choices;
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

bool matches(const std::string& text, const std::string& pattern) {
  return std::regex_search(text, std::regex(pattern));
}

/// Of a message that holds no rows.
bool names_message(const std::string& text, const Place& place) {
  const int from = number(place.from), to = number(place.to);
  const auto kind = two_level::message_of(static_cast<Tag>(place.channel));
  const std::string of_pair = fmt::format(" from rank {} to rank {}", from, to);
  if (kind == two_level::Message::manifest)
    return has(text, "the manifest" + of_pair) || has(text, "dispatch" + of_pair + ": the manifest");
  if (kind != two_level::Message::counts) return false;
  return has(text, "the announcement" + of_pair) || has(text, "the counts" + of_pair) ||
         has(text, fmt::format("rank {} announces", from)) ||
         has(text, "dispatch" + of_pair + ": the counts") ||
         matches(text,
                 fmt::format("dispatch from (rank {0}|one of ranks [ 0-9]*\\b{0}\\b[ 0-9]*) to rank {1}: "
                             "the announcement",
                             from, to));
}

/// Of bytes in a segment that are no rows.
bool names_region(const std::string& text, const Place& place) {
  const std::string from = fmt::format(" from rank {} to ", number(place.from));
  for (const char* const what : {"the letter", "the manifest", "the place of outputs"}) {
    if (has(text, what + from)) return true;
  }
  if (has(text, fmt::format(" in the segment of rank {}", number(place.from)))) return true;
  if (place.carrier != Carrier::node_memory) return false;
  return has(text, "a part of the manifest from rank") ||  // that a relay shows
         matches(text, fmt::format("the (manifest|relay's letter) from rank [0-9]+ to rank {}",
                                   number(place.from)));
}

/// A flag of the direct path that is not seen: see DirectPath.
bool names_direct_flag(const std::string& text, const Place& place) {
  const std::string rank = fmt::format("rank {}", number(place.from));
  if (place.channel == 0)
    return has(text, fmt::format("dispatch from {} to rank", rank)) && has(text, "the letter");
  if (place.channel == 1)
    return matches(text, fmt::format("to {0}: room for the outputs of .*, before which {0} sums", rank));
  return has(text, fmt::format("return from {} to rank {}: the outputs of ", rank, place.channel - 2));
}

/// The same of a board: see two_level::Board.
bool names_node_flag(const std::string& text, const Place& place) {
  const int source = place.channel % static_cast<int>(num_ranks);
  const int rank = number(place.from);
  if (place.channel == source)
    return matches(text, fmt::format("dispatch from rank {} to rank [0-9]+: the (letter|rows) of rank {}\\b",
                                     rank, source));
  return matches(text,
                 fmt::format("return from rank {} to rank [0-9]+: the outputs of rank {}'s ", rank, source));
}

/// Whether what was lost, if it was, is on its way back.
bool is_of_return(const Place& place) {
  if (place.carrier == Carrier::message)
    return two_level::message_of(static_cast<Tag>(place.channel)) == two_level::Message::outputs;
  return place.channel >= static_cast<int>(place.carrier == Carrier::direct_memory ? 2 : num_ranks);
}

}  // namespace

FaultNames::FaultNames(const Way& way) : way_(way) {
  for (std::size_t step = 1; step <= num_steps; ++step) add_step(step);
}

void FaultNames::add_step(std::size_t step) {
  for (std::size_t rank = 0; rank < num_ranks; ++rank) {
    const Rank source = rank_at(rank);
    const std::vector<std::byte> rows = rows_of(source, step, way_.dtype);
    for (std::uint32_t token = 0; token < tokens_of_rank; ++token) {
      add(step, {Direction::dispatch, source, source, token, 0},
          std::span(rows).subspan(token * way_.row_bytes(), way_.row_bytes()));
      for (std::size_t by = 0; by < num_ranks; ++by) add_outputs(step, source, token, rank_at(by));
      if (way_.combine == Combine::fast) add_sums(step, source, token);
    }
  }
}

void FaultNames::add(std::size_t step, const RowLabel& label, std::span<const std::byte> row) {
  rows_[text_of(row)].push_back(label);
  checksums_[RoundAudit(step, label.source).checksum(label, row)].push_back(label);
}

/// What a rank gives back for a token. Returns it, row by row.
std::vector<std::byte> FaultNames::add_outputs(std::size_t step, Rank source, std::uint32_t token,
                                               Rank computed_by) {
  const std::vector<ExpertId> experts = experts_of(source);
  const std::vector<std::byte> rows = rows_of(source, step, way_.dtype);
  const std::vector<float> weights = weights_of_choices();
  const auto choices = choices_of(source, token, computed_by);
  std::vector<std::byte> outputs(choices.size() * way_.row_bytes());
  std::vector<PlannedAssignment> assignments;
  for (std::size_t i = 0; i < choices.size(); ++i) {
    const std::size_t choice = token * top_k + choices[i];
    turn_row(experts[choice], rows.data() + token * way_.row_bytes(), way_.row_bytes(),
             outputs.data() + i * way_.row_bytes());
    assignments.push_back({0, 0, token, choices[i], weights[choice]});
  }
  if (way_.combine == Combine::fast && !choices.empty()) {
    sum_rows({source, assignments, nullptr, &PlannedAssignment::row, 1, outputs.data(), nullptr,
              Stores::cached, outputs.data()},
             RowFormat{hidden, way_.dtype});
    outputs.resize(way_.row_bytes());
  }
  for (std::size_t i = 0; i * way_.row_bytes() < outputs.size(); ++i) {
    add(step, {Direction::back, source, computed_by, token, choices[i]},
        std::span(outputs).subspan(i * way_.row_bytes(), way_.row_bytes()));
  }
  return outputs;
}

/// What relays make of the sums of their node.
void FaultNames::add_sums(std::size_t step, Rank source, std::uint32_t token) {
  for (std::size_t node = 0; node < way_.topology.num_nodes(); ++node) {
    std::vector<std::vector<std::byte>> parts;
    std::uint32_t first_k = top_k;
    Rank relay = source;
    for (std::size_t rank = 0; rank < num_ranks; ++rank) {
      const auto choices = choices_of(source, token, rank_at(rank));
      if (way_.topology.node_of(rank_at(rank)) != node || choices.empty()) continue;
      parts.push_back(add_outputs(step, source, token, rank_at(rank)));
      first_k = std::min(first_k, choices.front());
      relay = two_level::relay_of(way_.topology, source, rank_at(rank));
    }
    if (parts.empty()) continue;
    std::vector<const std::byte*> rows;
    for (const auto& part : parts) rows.push_back(part.data());
    std::vector<std::byte> sum(way_.row_bytes());
    sum_partial_sums(rows, RowFormat{hidden, way_.dtype}, sum.data());
    add(step, {Direction::back, source, relay, token, first_k}, sum);
  }
}

FaultNames::Labels FaultNames::labels_in(const Strike& strike) const {
  Labels labels;
  const std::span<const std::byte> bytes(strike.bytes);
  const auto add_found = [&](const auto& map, const auto& content) {
    const auto found = map.find(content);
    if (found != map.end()) labels.insert(labels.end(), found->second.begin(), found->second.end());
  };
  const auto is_spoilt = [&](std::size_t begin, std::size_t length) {
    const auto first = strike.is_spoilt.begin() + static_cast<std::ptrdiff_t>(begin);
    return std::find(first, first + static_cast<std::ptrdiff_t>(length), true) !=
           first + static_cast<std::ptrdiff_t>(length);
  };
  for (std::size_t begin = 0; begin + alignment <= bytes.size(); begin += alignment) {
    if (is_spoilt(begin, alignment)) add_found(checksums_, get_checksum(bytes.data() + begin, 0));
    const bool is_whole = begin + way_.row_bytes() <= bytes.size();
    if (is_whole && is_spoilt(begin, way_.row_bytes()))
      add_found(rows_, text_of(bytes.subspan(begin, way_.row_bytes())));
  }
  return labels;
}

std::vector<FaultNames::Named> FaultNames::named_in(const std::string& text) const {
  static const std::regex pattern(
      "(dispatch|return) from rank ([0-9]+) to rank ([0-9]+): the (row|output)(s?) of (?:rank ([0-9]+)'s )?"
      "(?:[0-9]+ tokens from ([0-9]+) to ([0-9]+)|tokens? ([0-9]+(?: [0-9]+)*)(?:, choice ([0-9]+))?)");
  std::vector<Named> all;
  for (auto it = std::sregex_iterator(text.begin(), text.end(), pattern); it != std::sregex_iterator();
       ++it) {
    const auto number_at = [&](std::size_t i) { return static_cast<std::uint32_t>(std::stoul((*it)[i])); };
    const auto rank = [&](std::size_t i) { return rank_at(number_at(i)); };
    Named named{
        (*it)[1] == "dispatch" ? Direction::dispatch : Direction::back, rank(2), rank(3), {}, false, {}, {}};
    named.is_of_many = (*it)[5] == "s";
    named.source = (*it)[6].matched                         ? rank(6)
                   : named.direction == Direction::dispatch ? named.from
                                                            : named.to;
    if ((*it)[7].matched) {
      for (std::uint32_t token = number_at(7); token <= number_at(8); ++token) named.tokens.push_back(token);
    } else {
      std::istringstream tokens((*it)[9]);
      for (std::uint32_t token = 0; tokens >> token;) named.tokens.push_back(token);
    }
    if ((*it)[10].matched) named.k = number_at(10);
    all.push_back(named);
  }
  return all;
}

/// Of a token's row: whose experts compute with it, or who relays it to them.
bool FaultNames::is_receiver(Rank rank, const RowLabel& label) const {
  for (std::size_t by = 0; by < num_ranks; ++by) {
    if (choices_of(label.source, label.token, rank_at(by)).empty()) continue;
    const bool is_relay = way_.options.exchange.path == PathRequest::two_level &&
                          way_.topology.node_of(rank_at(by)) != way_.topology.node_of(label.source) &&
                          two_level::relay_of(way_.topology, label.source, rank_at(by)) == rank;
    if (is_relay || rank_at(by) == rank) return true;
  }
  return false;
}

bool FaultNames::is_row(const Named& named, const RowLabel& label) const {
  const bool is_of_token =
      std::find(named.tokens.begin(), named.tokens.end(), label.token) != named.tokens.end();
  if (named.direction != label.direction || named.source != label.source || !is_of_token) return false;
  if (named.direction == Direction::dispatch) return is_receiver(named.to, label);
  if (named.is_of_many) return named.from == label.computed_by || is_receiver(named.from, label);
  return named.from == label.computed_by && (!named.k || *named.k == label.k);
}

bool FaultNames::names(const std::string& text, const Strike& strike, const Labels& struck) const {
  const Place& place = strike.place;
  const bool is_message = place.carrier == Carrier::message;
  const auto num_spoilt = std::count(strike.is_spoilt.begin(), strike.is_spoilt.end(), true);
  if (!is_message && num_spoilt == 0)
    return place.carrier == Carrier::direct_memory ? names_direct_flag(text, place)
                                                   : names_node_flag(text, place);
  const bool is_row_alone = num_spoilt == 1 && !struck.empty();
  if (!is_row_alone && (is_message ? names_message(text, place) : names_region(text, place))) return true;
  for (const Named& named : named_in(text)) {
    if (std::any_of(struck.begin(), struck.end(),
                    [&](const RowLabel& label) { return is_row(named, label); }))
      return true;
  }
  return false;
}

bool FaultNames::are_right(const std::vector<Outcome::Failure>& failures, const Strike& strike) const {
  const Labels struck = labels_in(strike);
  // A second announcement may lie there until the next step receives its own.
  const bool may_be_next = strike.place.carrier == Carrier::message && strike.place.channel == 0;
  const bool blames_dispatch = std::any_of(failures.begin(), failures.end(), [&](const auto& failure) {
    return is_of_return(strike.place) && matches(failure.text, "(lacks|;) dispatch");
  });
  if (blames_dispatch) return false;
  return std::any_of(failures.begin(), failures.end(), [&](const Outcome::Failure& failure) {
    const bool is_then = failure.step == strike.step || (may_be_next && failure.step == strike.step + 1);
    return is_then && names(failure.text, strike, struck);
  });
}

}  // namespace moewe::test
