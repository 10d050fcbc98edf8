// Whatever goes wrong on any way that rows travel is caught, computed on by nobody, and named: step, source,
// destination, and row or region. $MOEWE_FAULTS says how many of each kind on each way, in place of a few.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "comm/error.hpp"
#include "tests/support/audited_layer.hpp"
#include "tests/support/fault_names.hpp"

namespace moewe {
namespace {

using test::Carrier;
using test::Fault;
using test::FaultInjector;
using test::FaultNames;
using test::Outcome;
using test::Outputs;
using test::Place;
using test::Strike;
using test::Way;

#ifdef MOEWE_SANITIZED  // which is slow
constexpr std::size_t num_of_each = 2;
#else
constexpr std::size_t num_of_each = 15;
#endif

std::size_t times() {
  const char* const times = std::getenv("MOEWE_FAULTS");
  return times == nullptr ? num_of_each : std::stoul(times);
}

/// What became of the faults of one kind on one way.
struct Tally {
  std::size_t in_messages = 0;
  std::size_t in_memory = 0;
  std::map<ErrorKind, std::size_t> named;
  std::size_t unnamed = 0;
  std::map<std::string, std::size_t> harmless;  // by reason

  std::size_t num_named() const {
    std::size_t sum = 0;
    for (const auto& [kind, count] : named) sum += count;
    return sum;
  }
  std::size_t num_harmless() const {
    std::size_t sum = 0;
    for (const auto& [reason, count] : harmless) sum += count;
    return sum;
  }
};

/// Why a fault could do no harm.
std::string reason_of(Fault fault, const Place& place) {
  if (fault == Fault::delay) return "a delay breaks no promise";
  if (place.carrier == Carrier::message) return "what lay there was the same";
  if (fault == Fault::drop) return "nobody waited for the flag";
  if (fault == Fault::reorder) return "nobody looked before it was written, or read it";
  return "nobody reads it";
}

/// Faults of one kind on one way.
class Faults {
 public:
  Faults(const Way& way, Fault fault) : way_(way), fault_(fault), names_(way) {
    FaultInjector none(test::num_ranks, fault, std::nullopt, 0);
    expected_ = test::run(way, none).outputs;
    places_ = test::places_for(fault, none.events());
  }

  bool are_possible() const { return !places_.empty(); }

  /// So many that can be caught; a delay is not one of these, and none does harm.
  Tally strike(std::size_t times) {
    constexpr std::size_t most_attempts = 20;
    std::mt19937_64 random(7);
    for (std::size_t i = 0; i < most_attempts * times && num_done() < times; ++i) {
      FaultInjector injector(test::num_ranks, fault_, places_[random() % places_.size()], random());
      run_with(injector);
    }
    return tally_;
  }

 private:
  std::size_t num_done() const {
    return fault_ == Fault::delay ? tally_.num_harmless() : tally_.num_named() + tally_.unnamed;
  }

  void run_with(FaultInjector& injector) {
    const Outcome outcome = test::run(way_, injector);
    const auto& strike = injector.strike();
    EXPECT_TRUE(test::begins(outcome.outputs, expected_))
        << "a wrong output was returned: " << (strike ? describe(*strike) : "") << describe(outcome);
    if (!strike) {  // publications are not quite the same in every run
      EXPECT_TRUE(outcome.failures.empty()) << outcome.failures.front().text;
      return;
    }
    ++(strike->place.carrier == Carrier::message ? tally_.in_messages : tally_.in_memory);
    if (outcome.failures.empty()) {
      EXPECT_TRUE(test::begins(expected_, outcome.outputs));
      ++tally_.harmless[reason_of(fault_, strike->place)];
    } else {
      count_failure(outcome, *strike);
    }
  }

  void count_failure(const Outcome& outcome, const Strike& strike) {
    const bool is_right = names_.are_right(outcome.failures, strike);
    if (is_right) {
      ++tally_.named[outcome.failures.front().kind];
    } else {
      ++tally_.unnamed;
    }
    EXPECT_TRUE(is_right) << describe(strike) << describe(outcome);
  }

  static std::string describe(const Strike& strike) {
    const Place& place = strike.place;
    const auto first = std::find(strike.is_spoilt.begin(), strike.is_spoilt.end(), true);
    return fmt::format(
        "step {}, {} from rank {} to rank {}, channel {}, number {:#x}, {} of {} bytes from {} on\n",
        strike.step, place.carrier == Carrier::message ? "message" : "memory", number(place.from),
        number(place.to), place.channel, place.number, std::count(first, strike.is_spoilt.end(), true),
        strike.is_spoilt.size(), first - strike.is_spoilt.begin());
  }
  static std::string describe(const Outcome& outcome) {
    std::string text;
    for (const Outcome::Failure& failure : outcome.failures)
      text += fmt::format("  step {}: {}\n", failure.step, failure.text);
    return text;
  }

  Way way_;
  Fault fault_;
  FaultNames names_;
  Outputs expected_;
  std::vector<Place> places_;
  Tally tally_;
};

constexpr const char* columns = "{:<17} {:<10} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>9}{}\n";

std::string head() {
  return fmt::format(columns, "way", "fault", "messages", "memory", "by audit", "by wait", "by carr.",
                     "unnamed", "harmless", "");
}

std::string line(const Way& way, Fault fault, const Tally& tally) {
  const auto by = [&](ErrorKind kind) { return tally.named.contains(kind) ? tally.named.at(kind) : 0; };
  std::string why;
  for (const auto& [reason, count] : tally.harmless)
    why += fmt::format("{}{}", why.empty() ? ": " : ", ", reason);
  return fmt::format(columns, way.name, test::name_of(fault), tally.in_messages, tally.in_memory,
                     by(ErrorKind::verification), by(ErrorKind::timeout), by(ErrorKind::communication),
                     tally.unnamed, tally.num_harmless(), why);
}

/// At once: a long test is watched.
void show(const std::string& text) {
  std::fputs(text.c_str(), stdout);
  std::fflush(stdout);
}

TEST(Faults, OfEveryKindOnEveryWayAreNamedAndComputedOnByNobody) {
  show(head());
  for (const Way& way : test::ways()) {
    for (const Fault fault : test::all_faults) {
      SCOPED_TRACE(fmt::format("{}, {}", way.name, test::name_of(fault)));
      Faults faults(way, fault);
      if (!faults.are_possible()) {
        EXPECT_EQ(fault, Fault::duplicate) << "only what is published a second time says nothing new";
        EXPECT_FALSE(way.has_messages());
        show(line(way, fault, {}));
        continue;
      }
      const bool does_harm = fault != Fault::delay;
      const std::size_t num_wanted = does_harm ? times() : (times() + 9) / 10;
      const Tally tally = faults.strike(num_wanted);
      show(line(way, fault, tally));
      EXPECT_EQ(tally.unnamed, 0U);
      EXPECT_EQ(does_harm ? tally.num_named() : tally.num_harmless(), num_wanted);
    }
  }
}

}  // namespace
}  // namespace moewe
