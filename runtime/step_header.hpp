#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/layer_options.hpp"
#include "runtime/layer_spec.hpp"

namespace moewe {

enum class Operation : std::int64_t { construct_layer, run_step, run_round };

/// What all ranks must pass alike to one collective operation of an engine. Compared in its agreement: by its
/// digest, and value by value only where that differs.
class StepHeader {
 public:
  struct Field {
    const char* name;
    std::int64_t value;
  };

  /// Fields are compared in the order in which they were added: what explains most comes first.
  void add(const char* name, std::int64_t value) { fields_.push_back({name, value}); }
  void add(const LayerSpec& spec);
  void add(const LayerOptions& options);

  const std::vector<Field>& fields() const { return fields_; }
  std::int64_t digest() const;

 private:
  std::vector<Field> fields_;
};

/// Raised whenever what travels between ranks changes its meaning.
inline constexpr std::int64_t protocol_version = 2;

}  // namespace moewe
