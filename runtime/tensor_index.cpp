#include "runtime/tensor_index.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "comm/error.hpp"
#include "runtime/strict_json.hpp"

namespace moewe {
namespace {

constexpr std::size_t max_tensors = 1 << 22;
constexpr std::size_t max_shards = 4096;

bool ends_with(std::string_view text, std::string_view end) {
  return text.size() > end.size() && text.substr(text.size() - end.size()) == end;
}

/// Takes the events of JSON that is known to be strict; looks at weight_map only: what published
/// indexes say of total sizes is often no longer true.
class IndexReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit IndexReader(const std::string& where) : where_(where) {}

  TensorIndex index;
  bool has_weight_map = false;

  bool start_object(std::size_t /*unknown*/) override {
    if (depth_ == 1 && section_ == Section::weight_map) {
      has_weight_map = true;
    } else {
      require_value_place();
    }
    ++depth_;
    return true;
  }

  bool start_array(std::size_t /*unknown*/) override {
    require_value_place();
    ++depth_;
    return true;
  }

  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(std::string& name) override {
    if (depth_ == 1) section_ = section_called(name);
    if (depth_ == 2) key_ = std::move(name);
    return true;
  }

  bool string(std::string& value) override {
    if (!is_entry(Section::weight_map)) return require_value_place();
    if (index.shard_of.size() == max_tensors) fail(fmt::format("more than {} tensors", max_tensors));
    index.shard_of.emplace(std::move(key_), shard_number(value));
    return true;
  }

  bool number_integer(std::int64_t /*value*/) override { return require_value_place(); }
  bool number_unsigned(std::uint64_t /*value*/) override { return require_value_place(); }
  bool number_float(double /*value*/, const std::string& /*text*/) override { return require_value_place(); }
  bool null() override { return require_value_place(); }
  bool boolean(bool /*value*/) override { return require_value_place(); }
  bool binary(nlohmann::json::binary_t& /*value*/) override { return require_value_place(); }
  bool parse_error(std::size_t position, const std::string& /*token*/,
                   const nlohmann::json::exception& /*error*/) override {
    fail(fmt::format("not valid JSON near byte {}", position));
  }

 private:
  enum class Section { other, weight_map };

  static Section section_called(std::string_view name) {
    return name == "weight_map" ? Section::weight_map : Section::other;
  }

  bool is_entry(Section section) const { return depth_ == 2 && section_ == section; }

  bool close() {
    if (--depth_ == 1) section_ = Section::other;
    return true;
  }

  /// Refuses values where only an object of strings, or the whole index, may stand.
  bool require_value_place() const {
    if (section_ != Section::weight_map) return true;
    if (depth_ == 1) fail("weight_map is not an object");
    fail(fmt::format("weight_map must give a file name to tensor '{}'", printable(key_)));
  }

  std::size_t shard_number(const std::string& file) {
    if (!index.shards.empty() && index.shards[last_shard_] == file) return last_shard_;
    const auto [position, is_new] = numbers_.try_emplace(file, index.shards.size());
    if (is_new) add_shard(file);
    return last_shard_ = position->second;
  }

  void add_shard(const std::string& file) {
    const bool is_plain = file.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos &&
                          file.find("..") == std::string::npos && ends_with(file, ".safetensors");
    if (!is_plain) {
      fail(fmt::format("'{}' must be the name of a .safetensors file in the same folder", printable(file)));
    }
    if (index.shards.size() == max_shards) fail(fmt::format("more than {} files", max_shards));
    index.shards.push_back(file);
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw InvalidInput(fmt::format("{}: {}", where_, what));
  }

  const std::string& where_;
  std::size_t depth_ = 0;
  Section section_ = Section::other;
  std::string key_;
  std::size_t last_shard_ = 0;
  std::map<std::string, std::size_t> numbers_;
};

bool is_object(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  return first != std::string_view::npos && text[first] == '{';
}

}  // namespace

TensorIndex parse_tensor_index(std::string_view text, const std::string& where) {
  check_strict_json(text, where);
  if (!is_object(text)) throw InvalidInput(fmt::format("{}: not a JSON object", where));
  IndexReader reader(where);
  nlohmann::json::sax_parse(text, &reader);
  if (!reader.has_weight_map) throw InvalidInput(fmt::format("{}: weight_map is missing", where));
  return std::move(reader.index);
}

}  // namespace moewe
