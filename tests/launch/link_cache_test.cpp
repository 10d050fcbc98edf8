#include "launch/link_cache.hpp"

#include <cstdlib>
#include <fstream>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "comm/error.hpp"
#include "comm/log.hpp"
#include "tests/support/temporary_folder.hpp"

namespace moewe {
namespace {

using std::chrono::hours;

const LinkCosts costs{{{"mpi", LinkCost{1.0 / 3e4, 1.0 / 117e6}, std::nullopt},
                       {"ucx", LinkCost{2e-5, 1.1e-8}, LinkCost{1e-6, 1e-10}}},
                      LinkCost{1e-7, 1.0 / 9.8e9}};
const ClusterKey cluster{"two nodes \"a\" and 'b'\n"};

class Cache : public testing::Test {
 protected:
  void SetUp() override {
    set_log_sink([this](LogLevel, std::string_view line) { lines_.emplace_back(line); });
  }
  void TearDown() override {
    set_log_sink([](LogLevel, std::string_view) {});
  }

  std::string text() const {
    std::ifstream file(cache_.file_of(cluster));
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void put(const std::string& bytes) const {
    std::filesystem::create_directories(folder_ / "cache");
    std::ofstream(cache_.file_of(cluster), std::ios::trunc) << bytes;
  }
  std::string with(const std::string& part, const std::string& other) const {
    std::string changed = text();
    const std::size_t at = changed.find(part);
    if (at == std::string::npos) throw std::runtime_error(part + " is not in the file");
    return changed.replace(at, part.size(), other);
  }
  void expect_ignored(const std::string& what) {
    lines_.clear();
    EXPECT_FALSE(cache_.read(cluster, now_)) << what;
    ASSERT_EQ(lines_.size(), 1U) << what;
    EXPECT_NE(lines_[0].find("links are measured anew"), std::string::npos) << lines_[0];
  }

  const test::TemporaryFolder folder_;
  const LinkCache cache_{folder_ / "cache"};
  const LinkCache::Time now_ = std::chrono::system_clock::now();
  std::vector<std::string> lines_;
};

TEST_F(Cache, GivesBackWhatWasWrittenForTheSameClusterAndNothingElse) {
  EXPECT_FALSE(cache_.read(cluster, now_));
  cache_.write(cluster, costs, now_);
  EXPECT_EQ(cache_.read(cluster, now_), costs);
  EXPECT_EQ(cache_.read(cluster, now_ + LinkCache::lifetime), costs);
  EXPECT_FALSE(cache_.read({"another"}, now_));
  EXPECT_TRUE(lines_.empty());
}

TEST_F(Cache, IgnoresWhatIsTooOldOrOfTheFutureOrOfAnotherCluster) {
  cache_.write(cluster, costs, now_ - LinkCache::lifetime - hours(1));
  expect_ignored("old");
  cache_.write(cluster, costs, now_ + hours(1));
  expect_ignored("future");
  cache_.write({"another"}, costs, now_);
  std::filesystem::copy_file(cache_.file_of({"another"}), cache_.file_of(cluster),
                             std::filesystem::copy_options::overwrite_existing);
  expect_ignored("another cluster");
}

TEST_F(Cache, IgnoresWhatItDidNotWrite) {
  cache_.write(cluster, costs, now_);
  std::vector<std::string> hostile{"", "{", "[]", "null", std::string(1U << 20U, ' '), text() + "x"};
  for (const char* value : {"0", "-1", "1e300", "null", "\"fast\"", "{}", "[]", "1e999", "101"}) {
    const std::string latency = "\"latency_s\": 1e-07";
    hostile.push_back(with(latency, std::string("\"latency_s\": ") + value));
  }
  hostile.push_back(with("\"format\": 1", "\"format\": 2"));
  hostile.push_back(with("\"format\": 1", "\"format\": 1, \"more\": 1"));
  hostile.push_back(with("\"carrier\": \"ucx\"", "\"carrier\": \"mpi\""));
  hostile.push_back(with("\"carrier\": \"ucx\"", "\"carrier\": 7"));
  hostile.push_back(with("\"memory\"", "\"memories\""));
  for (const std::string& bytes : hostile) {
    put(bytes);
    expect_ignored(bytes.substr(0, 2000));
  }
  for (std::size_t length = 1; length < 60; ++length) {
    cache_.write(cluster, costs, now_);
    put(text().substr(0, length * text().size() / 60));
    expect_ignored("cut");
  }
}

TEST_F(Cache, IgnoresWhatIsNoFile) {
  std::filesystem::create_directories(cache_.file_of(cluster));
  expect_ignored("a folder");
  std::filesystem::remove(cache_.file_of(cluster));
  ASSERT_EQ(mkfifo(cache_.file_of(cluster).c_str(), 0600), 0);
  expect_ignored("a pipe");
}

TEST_F(Cache, DoesWithoutWhereNothingCanBeWritten) {
  std::ofstream(folder_ / "file") << "no folder";
  const LinkCache cache(folder_ / "file");
  cache.write(cluster, costs, now_);
  ASSERT_EQ(lines_.size(), 1U);
  EXPECT_NE(lines_[0].find("the next run measures the links again"), std::string::npos) << lines_[0];
}

TEST_F(Cache, LeavesNothingElseBehind) {
  for (int i = 0; i < 3; ++i) cache_.write(cluster, costs, now_);
  const std::filesystem::directory_iterator files(folder_ / "cache");
  EXPECT_EQ(std::distance(begin(files), end(files)), 1);
}

TEST_F(Cache, LiesWhereTheEnvironmentSays) {
  const auto file_with = [&](const char* moewe, const char* xdg, const char* home) -> std::string {
    for (const auto& [name, value] :
         {std::pair{"MOEWE_CACHE_DIR", moewe}, {"XDG_CACHE_HOME", xdg}, {"HOME", home}})
      value == nullptr ? unsetenv(name) : setenv(name, value, 1);
    const auto cache = LinkCache::of_user();
    return cache ? cache->file_of(cluster).parent_path().lexically_normal().string() : "none";
  };
  EXPECT_EQ(file_with("/m", "/x", "/h"), "/m");
  EXPECT_EQ(file_with(nullptr, "/x", "/h"), "/x/moewe");
  EXPECT_EQ(file_with("", "relative", "/h"), "/h/.cache/moewe");
  EXPECT_EQ(file_with(nullptr, nullptr, nullptr), "none");
}

TEST(LinkCostsText, IsParsedToTheSameCosts) {
  EXPECT_EQ(parse_link_costs(to_text(costs), "here"), costs);
  EXPECT_THROW(parse_link_costs("{}", "here"), InvalidInput);
}

}  // namespace
}  // namespace moewe
