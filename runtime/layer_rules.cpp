#include "runtime/layer_rules.hpp"

#include "runtime/model_config.hpp"

namespace moewe {
namespace {

void require_range(const std::string& where, const char* what, std::size_t value, Range range) {
  if (value >= range.low && value <= range.high) return;
  refuse(where, "{} must be a whole number from {} to {}, not {}", what, range.low, range.high, value);
}

void check_groups(const LayerSpec& spec, const std::string& where, const SizeWords& words) {
  const RouterSpec& router = spec.router;
  if (router.num_groups == 0 || spec.num_experts % router.num_groups != 0) {
    refuse(where, "{} must divide the {} experts, which {} does not", words.num_groups, spec.num_experts,
           router.num_groups);
  }
  if (router.kept_groups == 0 || router.kept_groups > router.num_groups) {
    refuse(where, "{} must be from 1 to {}, the number of groups, not {}", words.kept_groups,
           router.num_groups, router.kept_groups);
  }
  const std::size_t group = spec.num_experts / router.num_groups;
  if (router.num_groups > 1 && router.group_score == GroupScore::sum_of_two_largest && group < 2) {
    refuse(where, "{} must be at most {}, not {}: a group is judged by two of its experts", words.num_groups,
           spec.num_experts / 2, router.num_groups);
  }
  if (router.kept_groups * group < router.top_k) {
    refuse(where, "{} must be at least {}, not {}: {} is {} and a group has {} experts", words.kept_groups,
           (router.top_k + group - 1) / group, router.kept_groups, words.top_k, router.top_k, group);
  }
}

}  // namespace

void check_layer_spec(const LayerSpec& spec, const std::string& where, const SizeWords& words) {
  require_range(where, words.hidden, spec.expert.hidden, {1, max_dimension});
  require_range(where, words.intermediate, spec.expert.intermediate, {1, max_dimension});
  require_range(where, words.shared, spec.shared_intermediate, {0, max_dimension});
  require_range(where, words.num_experts, spec.num_experts, {1, max_experts});
  if (spec.router.top_k == 0 || spec.router.top_k > spec.num_experts) {
    refuse(where, "{} must be from 1 to {}, the number of experts, not {}", words.top_k, spec.num_experts,
           spec.router.top_k);
  }
  check_groups(spec, where, words);
  if (!(spec.router.scale > 0.0F && spec.router.scale <= max_scale)) {
    refuse(where, "{} must be above 0 and at most {}, not {}", words.scale, max_scale, spec.router.scale);
  }
}

void check_layer_spec(const LayerSpec& spec, const std::string& where) { check_layer_spec(spec, where, {}); }

}  // namespace moewe
