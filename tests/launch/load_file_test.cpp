#include "launch/load_file.hpp"

#include <cstdlib>
#include <gtest/gtest.h>
#include <numeric>
#include <string>
#include <vector>

#include "comm/error.hpp"
#include "tests/support/temporary_folder.hpp"
#include "tests/support/tensor_bytes.hpp"

namespace moewe {
namespace {

using test::message_of;

std::string refusal(const std::string& text) {
  return message_of<InvalidInput>([&] { parse_loads(text, "LOADS"); });
}

TEST(LoadFile, IsReadAsItWasWritten) {
  LoadHistory history(2, 3, {2, 1, 3, 0});
  EXPECT_EQ(parse_loads(to_json(history), ""), history);
  for (std::int64_t i = 0; i < 5; ++i) history.add({{i, 7 - i, 0}, {3, i * i, 1'000'000'007}});
  EXPECT_EQ(parse_loads(to_json(history), ""), history);
  LoadHistory with_sources(1, 2, {4, 1, 3, 2});
  with_sources.add_by_source(std::vector<LoadTable>{{{1, 2}}, {{5, 0}}});
  EXPECT_EQ(parse_loads(to_json(with_sources), ""), with_sources);
}

TEST(LoadFile, IsReadAsSglangWritesItWithAnyDimensions) {
  const LoadHistory table = parse_loads(R"({"logical_count": [[1, 2.0, 3], [0, 0, 0]], "rank": 0})", "");
  EXPECT_EQ(table.total(), (LoadTable{{1, 2, 3}, {0, 0, 0}}));
  EXPECT_EQ(table.num_windows_seen(), 1U);
  const LoadHistory steps = parse_loads(R"({"logical_count": [[[1, 2]], [[3, 4]], [[5, 6]]]})", "");
  EXPECT_EQ(steps.total(), (LoadTable{{9, 12}}));
  ASSERT_EQ(steps.windows().size(), 3U);
  EXPECT_EQ(steps.windows()[1], (LoadTable{{3, 4}}));
  EXPECT_EQ(parse_loads(R"({"logical_count": [[[[1, 2]], [[3, 4]]], [[[5, 6]]]]})", ""), steps);
}

TEST(LoadFile, IsReadFromATraceOfChoices) {
  const test::TemporaryFolder folder;
  // 2 steps, 1 layer, 3 tokens, 2 choices
  test::write_bytes(folder / "trace",
                    test::safetensors_bytes(
                        {{"topk_ids", "U8", {2, 1, 3, 2}, std::string("\0\1\0\2\4\0\1\2\2\1\1\0", 12)}}));
  const LoadHistory history = read_loads(folder / "trace");
  EXPECT_EQ(history.windows().front(), (LoadTable{{3, 1, 1, 0, 1}}));
  EXPECT_EQ(history.total(), (LoadTable{{4, 4, 3, 0, 1}}));
  EXPECT_EQ(read_loads(folder / "trace", 6).num_experts(), 6U);
  EXPECT_THROW(read_loads(folder / "trace", 4), InvalidInput);
}

TEST(LoadFile, IsRefusedInOneSentence) {
  for (const auto& [text, message] : std::vector<std::pair<std::string, std::string>>{
           {"{}", "LOADS: has no loads: neither 'logical_count' nor 'moewe_loads' is there"},
           {R"({"logical_count": []})", "LOADS: logical_count is empty"},
           {R"({"logical_count": [[]]})", "LOADS: logical_count is empty"},
           {R"({"logical_count": {}})", "LOADS: logical_count must be a list"},
           {R"({"logical_count": [[1, -1]]})",
            "LOADS: logical_count[0][1] must be a whole number from 0 to 1099511627776"},
           {R"({"logical_count": [[1.5]]})",
            "LOADS: logical_count[0][0] must be a whole number from 0 to 1099511627776"},
           {R"({"logical_count": [[1e300]]})",
            "LOADS: logical_count[0][0] must be a whole number from 0 to 1099511627776"},
           {R"({"logical_count": [["1"]]})",
            "LOADS: logical_count[0][0] must be a whole number from 0 to 1099511627776"},
           {R"({"logical_count": [[1, 2], [3]]})",
            "LOADS: logical_count[1] has 1 numbers; every row must have equally many, and one at least"},
           {R"({"logical_count": [[[1, 2]], [[3]]]})",
            "LOADS: load history: a table of loads is not [1 layers][2 experts]"},
           {R"({"moewe_loads": 7})", "LOADS: moewe_loads, the format, must be 1"},
           {R"({"moewe_loads": 1})", "LOADS: 'num_windows' is missing"},
           {R"({"logical_count": [[1]], "logical_count": [[1]]})",
            "LOADS: key 'logical_count' stands twice in one object"},
           {"{", "LOADS: not valid JSON near its byte 2"}}) {
    EXPECT_EQ(refusal(text), message) << text;
  }
  EXPECT_NE(refusal(R"({"logical_count": [[1099511627776, 1]]})").find("LOADS: "), std::string::npos);
  const std::string good = to_json(LoadHistory(1, 1));
  for (const auto& [from, to] :
       std::vector<std::pair<std::string, std::string>>{{"\"num_windows\":16", "\"num_windows\":1"},
                                                        {"\"fast_shift\":1", "\"fast_shift\":99"},
                                                        {"\"num_windows_seen\":0", "\"num_windows_seen\":3"},
                                                        {"\"fast\":[[0]]", "\"fast\":[[0,0]]"},
                                                        {"\"num_sources\":0", "\"num_sources\":2"}}) {
    std::string bad = good;
    ASSERT_NE(bad.find(from), std::string::npos) << good;
    bad.replace(bad.find(from), from.size(), to);
    EXPECT_EQ(refusal(bad).rfind("LOADS: load history: ", 0), 0U) << refusal(bad);
  }
}

TEST(LoadFile, OfRecordedLoadsHasTheirTotals) {
  const char* data = std::getenv("MOEWE_DATA");
  if (data == nullptr) GTEST_SKIP() << "MOEWE_DATA is not set";
  const std::filesystem::path folder(data);
  const LoadHistory table = read_loads(folder / "deepseek_v3_load" / "prefill_in1024.json");
  EXPECT_EQ(table.num_layers(), 61U);
  EXPECT_EQ(table.num_experts(), 256U);
  for (std::size_t layer = 0; layer < 61; ++layer) {
    const auto& loads = table.total()[layer];
    EXPECT_EQ(std::accumulate(loads.begin(), loads.end(), std::int64_t{0}), layer < 3 ? 0 : 67108864);
  }
  const LoadHistory trace = read_loads(folder / "tiny-deepseek" / "routing_trace.safetensors", 32);
  EXPECT_EQ(trace.num_windows_seen(), 96U);
  EXPECT_EQ(std::accumulate(trace.total()[3].begin(), trace.total()[3].end(), std::int64_t{0}),
            96 * 2048 * 4);
  EXPECT_TRUE(trace.drift(0).is_significant());  // the kind of text changes over the steps
}

}  // namespace
}  // namespace moewe
