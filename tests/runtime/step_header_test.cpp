#include "runtime/step_header.hpp"

#include <functional>
#include <gtest/gtest.h>
#include <set>

#include "comm/error.hpp"

namespace moewe {
namespace {

StepHeader header_of(const LayerSpec& spec, const LayerOptions& options) {
  StepHeader header;
  header.add("layer", 3);
  header.add(spec);
  header.add(options);
  return header;
}

const LayerSpec plain_spec{{16, 24, Activation::silu, true}, 8, {2, true}, 0};

/// All ways to change one thing.
std::vector<std::function<void(LayerSpec&)>> spec_changes() {
  return {[](LayerSpec& s) { s.expert.hidden = 17; },
          [](LayerSpec& s) { s.expert.intermediate = 25; },
          [](LayerSpec& s) { s.expert.activation = Activation::gelu; },
          [](LayerSpec& s) { s.expert.gated = false; },
          [](LayerSpec& s) { s.num_experts = 16; },
          [](LayerSpec& s) { s.shared_intermediate = 1; },
          [](LayerSpec& s) { s.router.top_k = 3; },
          [](LayerSpec& s) { s.router.renormalise = false; },
          [](LayerSpec& s) { s.router.score = Score::sigmoid; },
          [](LayerSpec& s) { s.router.has_selection_bias = true; },
          [](LayerSpec& s) { s.router.num_groups = 2; },
          [](LayerSpec& s) { s.router.kept_groups = 2; },
          [](LayerSpec& s) { s.router.group_score = GroupScore::sum_of_two_largest; },
          [](LayerSpec& s) { s.router.scale = 1.0000001F; }};
}

std::vector<std::function<void(LayerOptions&)>> option_changes() {
  return {[](LayerOptions& o) { o.dtype = Dtype::bf16; },
          [](LayerOptions& o) { o.spare_slots = 1; },
          [](LayerOptions& o) { o.staging_slots = 1; },
          [](LayerOptions& o) { o.combine = Combine::fast; },
          [](LayerOptions& o) { o.capacity.emplace(); },
          [](LayerOptions& o) { o.capacity.emplace().factor = 1.0000000000000002; },
          [](LayerOptions& o) { o.capacity.emplace().rule = CapacityRule::vmoe; },
          [](LayerOptions& o) { o.capacity.emplace().policy = OverflowPolicy::error; },
          [](LayerOptions& o) { o.capacity.emplace().renormalise = true; },
          [](LayerOptions& o) { o.capacity.emplace().is_fair = true; }};
}

/// Names of the fields that two headers differ in.
std::vector<std::string> differences(const StepHeader& a, const StepHeader& b) {
  std::vector<std::string> names;
  EXPECT_EQ(a.fields().size(), b.fields().size());
  for (std::size_t i = 0; i < a.fields().size(); ++i) {
    EXPECT_STREQ(a.fields()[i].name, b.fields()[i].name);
    if (a.fields()[i].value != b.fields()[i].value) names.emplace_back(a.fields()[i].name);
  }
  return names;
}

TEST(StepHeader, EqualHeadersHaveEqualDigests) {
  EXPECT_EQ(header_of(plain_spec, {}).digest(), header_of(plain_spec, {}).digest());
  EXPECT_EQ(StepHeader().digest(), StepHeader().digest());
}

TEST(StepHeader, EveryChangeOfALayerIsOneFieldOfItsOwnAndChangesTheDigest) {
  const StepHeader plain = header_of(plain_spec, {});
  std::set<std::int64_t> digests{plain.digest()};
  std::set<std::string> names;
  for (const auto& change : spec_changes()) {
    LayerSpec spec = plain_spec;
    change(spec);
    const StepHeader header = header_of(spec, {});
    const std::vector<std::string> changed = differences(plain, header);
    ASSERT_EQ(changed.size(), 1U);
    names.insert(changed[0]);
    digests.insert(header.digest());
  }
  EXPECT_EQ(names.size(), spec_changes().size());
  EXPECT_EQ(digests.size(), spec_changes().size() + 1);
}

TEST(StepHeader, EveryChangeOfAnOptionChangesTheDigest) {
  std::set<std::int64_t> digests{header_of(plain_spec, {}).digest()};
  for (const auto& change : option_changes()) {
    LayerOptions options;
    change(options);
    const StepHeader header = header_of(plain_spec, options);
    EXPECT_FALSE(differences(header_of(plain_spec, {}), header).empty());
    digests.insert(header.digest());
  }
  EXPECT_EQ(digests.size(), option_changes().size() + 1);
}

TEST(StepHeader, TheOrderAndTheNumberOfFieldsCount) {
  StepHeader ab, ba, a, aa;
  ab.add("x", 1);
  ab.add("y", 2);
  ba.add("x", 2);
  ba.add("y", 1);
  a.add("x", 0);
  aa.add("x", 0);
  aa.add("y", 0);
  const std::set<std::int64_t> digests{ab.digest(), ba.digest(), a.digest(), aa.digest(),
                                       StepHeader().digest()};
  EXPECT_EQ(digests.size(), 5U);
}

TEST(StepHeader, HasRoomForMoreThanALayerAndRefusesTooManyFields) {
  StepHeader header = header_of(plain_spec, {});
  EXPECT_LE(header.fields().size(), StepHeader::max_fields - 16);
  while (header.fields().size() < StepHeader::max_fields) header.add("one more", 0);
  EXPECT_THROW(header.add("one too many", 0), Error);
}

}  // namespace
}  // namespace moewe
