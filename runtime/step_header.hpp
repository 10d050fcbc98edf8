#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "runtime/layer_options.hpp"
#include "runtime/layer_spec.hpp"

namespace moewe {

enum class Operation : std::int64_t { construct_layer, run_step, run_round, migrate };

/// What all ranks must pass alike to one collective operation of an engine. Compared in its agreement: by its
/// digest, and value by value only where that differs.
class StepHeader {
 public:
  static constexpr std::size_t max_fields = 64;

  struct Field {
    const char* name;
    std::int64_t value;
  };

  /// Fields are compared in the order in which they were added: what explains most comes first.
  void add(const char* name, std::int64_t value);
  void add(const LayerSpec& spec);
  void add(const LayerOptions& options);

  std::span<const Field> fields() const { return std::span(fields_).first(num_fields_); }
  std::int64_t digest() const;

 private:
  std::array<Field, max_fields> fields_{};  // made anew in every step, without allocating
  std::size_t num_fields_ = 0;
};

/// Raised whenever what travels between ranks changes its meaning.
inline constexpr std::int64_t protocol_version = 7;

}  // namespace moewe
