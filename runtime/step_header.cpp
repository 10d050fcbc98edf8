#include "runtime/step_header.hpp"

#include <algorithm>
#include <bit>
#include <xxhash.h>

#include "comm/error.hpp"

namespace moewe {
namespace {

template <typename T>
std::int64_t as_number(T value) {
  return static_cast<std::int64_t>(value);
}

}  // namespace

void StepHeader::add(const char* name, std::int64_t value) {
  expects(num_fields_ < max_fields, "a header has at most max_fields fields");
  fields_[num_fields_++] = {name, value};
}

void StepHeader::add(const LayerSpec& spec) {
  const RouterSpec& router = spec.router;
  add("hidden size", as_number(spec.expert.hidden));
  add("intermediate size", as_number(spec.expert.intermediate));
  add("number of experts", as_number(spec.num_experts));
  add("top-k", as_number(router.top_k));
  add("activation", as_number(spec.expert.activation));
  add("gated experts", as_number(spec.expert.gated));
  add("shared experts' size", as_number(spec.shared_intermediate));
  add("router's score", as_number(router.score));
  add("router's renormalisation", as_number(router.renormalise));
  add("router's selection bias", as_number(router.has_selection_bias));
  add("number of groups", as_number(router.num_groups));
  add("number of kept groups", as_number(router.kept_groups));
  add("groups' score", as_number(router.group_score));
  add("router's scale (bits of an f32)", as_number(std::bit_cast<std::uint32_t>(router.scale)));
}

void StepHeader::add(const LayerOptions& options) {
  add("dtype", as_number(options.dtype));
  add("way to combine", as_number(options.combine));
  add("overlap", as_number(options.overlap));
  add("way to split", as_number(options.split));
  add("spare slots", as_number(options.spare_slots));
  add("staging slots", as_number(options.staging_slots));
  add("bounded capacity", as_number(options.capacity.has_value()));
  const CapacityOptions capacity = options.capacity.value_or(CapacityOptions{});
  add("capacity factor (bits of an f64)", std::bit_cast<std::int64_t>(capacity.factor));
  add("capacity rule", as_number(capacity.rule));
  add("overflow policy", as_number(capacity.policy));
  add("fair shares of the capacity", as_number(capacity.is_fair));
  add("renormalisation of kept weights", as_number(capacity.renormalise));
}

std::int64_t StepHeader::digest() const {
  std::array<std::int64_t, max_fields> values;
  std::transform(fields().begin(), fields().end(), values.begin(),
                 [](const Field& field) { return field.value; });
  return static_cast<std::int64_t>(XXH3_64bits(values.data(), num_fields_ * sizeof(std::int64_t)));
}

}  // namespace moewe
